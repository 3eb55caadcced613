"""LoRA with a smaller alpha: the control that every comparison with MoELoRA needs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from keepsight.errors import UsageError
from keepsight.tune.config import SFTConfig
from keepsight.tune.methods.method import Method
from keepsight.tune.methods.settings import require_number

__all__ = ["LowAlpha"]


@dataclass
class LowAlpha(Method):
    """Sequential tuning with lora_alpha divided: the update that MoELoRA makes while its gates are uniform.

    Softmax gates over N experts sum to 1, so at uniform gates the update of CoIN's equation 4 (arXiv:2403.08350,
    section 4.3) is that of a LoRA with alpha / N. Whatever this control keeps as well is no merit of the experts.
    """

    divisor: float = 8
    """What lora_alpha is divided by: the number of experts of the MoELoRA it is compared with."""

    name = "low_alpha"

    def __post_init__(self) -> None:
        require_number(self.name, "divisor", self.divisor, 1e-3)

    def configure(self, config: SFTConfig) -> SFTConfig:
        """The same settings with alpha / divisor.

        Raises:
            UsageError: nothing with an alpha is trained.
        """
        if config.method not in ("lora", "moelora"):
            raise UsageError(
                f"method low_alpha changes LoRA's alpha, and {config.method} has none; write lora+low_alpha"
            )
        return replace(config, lora_alpha=config.lora_alpha / self.divisor)
