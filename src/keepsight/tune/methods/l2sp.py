"""L2-SP: weight decay towards where the weights came from instead of towards zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keepsight.tune.methods.anchors import add_pull, named, require_same_tensors, under, weights_of
from keepsight.tune.methods.method import Method
from keepsight.tune.methods.settings import require_number, require_one_of
from keepsight.tune.methods.stage import Stage

if TYPE_CHECKING:
    from keepsight.models import HFModel

__all__ = ["L2SP"]


@dataclass
class L2SP(Method):
    """Penalty strength/2 * sum_i (w_i - w0_i)^2 over the trained tensors, in every stage.

    Source: Li, Grandvalet, Davoine 2018 (arXiv:1802.01483, section 3). w0 is the start of the stage, or the base: the
    start of the first stage, where a LoRA adds nothing. For a LoRA the distance is that of its two matrices, not of
    their product. There is no second term for a new output layer, because there is none.
    """

    strength: float = 0.1
    """Weight of the penalty; 0 is plain sequential tuning."""
    toward: str = "stage"
    """Where the weights are held: stage (the start of each stage) or base (the start of the first)."""

    name = "l2sp"

    def __post_init__(self) -> None:
        require_number(self.name, "strength", self.strength, 0)
        require_one_of(self.name, "toward", self.toward, ("stage", "base"))
        self._anchors: dict[str, Any] = {}

    def start_stage(self, model: HFModel, stage: Stage) -> None:
        if not self.strength:
            return
        if self.toward == "stage" or not self._anchors:
            self._anchors = weights_of(model.module)
        require_same_tensors(self.name, self._anchors, model.module)

    def edit_gradients(self, model: HFModel) -> None:
        if self.strength:
            add_pull(model.module, self._anchors, self.strength)

    def state_dict(self) -> dict[str, Any]:
        return named("base", self._anchors) if self.toward == "base" else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self.toward == "base":
            self._anchors = under("base", state)
