"""Weight averaging: after each stage, go back part of the way to where it started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keepsight.tune.methods.low_rank import (
    Cut,
    factors,
    lora_layers,
    plain_parameters,
    put,
    put_factors,
    truncated_sum,
)
from keepsight.tune.methods.method import Method
from keepsight.tune.methods.settings import require_number
from keepsight.tune.methods.stage import Stage
from keepsight.tune.shards import whole

if TYPE_CHECKING:
    from keepsight.models import HFModel

__all__ = ["WiseFT"]


@dataclass
class WiseFT(Method):
    """`(1 - weight) * before + weight * after` of all weights, where each stage ends (WiSE-FT, arXiv:2109.01903, Eq. 1).

    Before the first stage is the base. What differs from the paper:
    1. It averages once, with the zero-shot model; here every stage ends with an average, and the next one starts there.
    2. A LoRA is averaged in the space of the weights: `(1 - w) B0 A0 + w B1 A1` has up to twice the rank and is cut back
       to its rank by an SVD. `recompression_error`, kept in the state, is the share that this costs.

    Checkpoints of earlier epochs of a stage are not averaged.
    """

    weight: float = 0.5
    """Share of the freshly tuned weights in the average: 1 is plain sequential tuning, 0 learns nothing."""

    name = "wise_ft"

    def __post_init__(self) -> None:
        require_number(self.name, "weight", self.weight, 0, 1)
        self.recompression_error = 0.0

    def wrap(self, model: HFModel) -> None:
        lora_layers(
            model.module, self.name
        )  # refuses adapters that cannot be averaged, before anything is learnt

    def start_stage(self, model: HFModel, stage: Stage) -> None:
        module = model.module
        self._plain = {name: _kept(value) for name, value in plain_parameters(module).items()}
        self._pairs = {
            name: tuple(map(_kept, factors(layer))) for name, layer in lora_layers(module, self.name).items()
        }

    def end_stage(self, model: HFModel, stage: Stage) -> None:
        import torch

        self.recompression_error = 0.0
        if self.weight == 1:
            return
        module = model.module
        for name, parameter in plain_parameters(module).items():
            after = whole(parameter.detach(), keep=True)
            put(parameter, torch.lerp(self._plain[name].to(after), after, self.weight))
        cuts = []
        for name, layer in lora_layers(module, self.name).items():
            cut = self._averaged(self._pairs[name], factors(layer))
            put_factors(layer, cut)
            cuts.append(cut)
        self.recompression_error = Cut.error(cuts)

    def _averaged(self, before: tuple[Any, ...], after: tuple[Any, ...]) -> Cut:
        """Two products, each as its B and its A."""
        import torch

        (b_before, a_before), (b_after, a_after) = before, after
        both = torch.cat([(1 - self.weight) * b_before, self.weight * b_after.cpu()], dim=1)  # [out, 2r]
        size = float(torch.linalg.matrix_norm(a_after))
        return truncated_sum(both, torch.cat([a_before, a_after.cpu()]), len(a_after), size)

    def state_dict(self) -> dict[str, Any]:
        import torch

        return {"recompression_error": torch.tensor(self.recompression_error, dtype=torch.float64)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.recompression_error = float(state.get("recompression_error", 0.0))


def _kept(value: Any) -> Any:
    """A copy in the machine's memory, where a second copy of a large model is cheapest."""
    return value.detach().to("cpu", copy=True)
