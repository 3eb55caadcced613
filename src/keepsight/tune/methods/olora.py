"""O-LoRA: each stage learns a LoRA of its own, in a subspace orthogonal to those before, which stay as they are."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keepsight.tune.methods.low_rank import factors, is_lora, lora_layers, saved_as
from keepsight.tune.methods.method import Method
from keepsight.tune.methods.settings import require_number
from keepsight.tune.methods.stage import Stage
from keepsight.tune.shards import is_sharded
from keepsight.tune.trainable import LORA_NAME, seeded, trained_parameters
from keepsight.types import KeepsightError

if TYPE_CHECKING:
    from keepsight.models import HFModel

__all__ = ["OLoRA"]

_EARLIER = "earlier"  # the adapter that holds what the stages before have learnt
_A, _B, _SCALING = "lora_A", "lora_B", "scaling"


@dataclass
class OLoRA(Method):
    """Adds `strength * sum over layers of |A_earlier A^T|` to the loss (arXiv:2310.14152, section 3).

    |.| is the sum of the entries' sizes, as in the released code.

    The checkpoint after stage k is one plain LoRA of the base with rank k r: the A's of all stages below each other, the
    B's beside each other. Its product is the sum of theirs, so nothing needs to know of stages when it is asked.

    What differs from the released code:
    1. The projector is tuned on from stage to stage without a penalty, as in every other method here.
    2. Every stage starts with an A of its own: the first stage's start values with their columns in another order.
       With the same seed in each, two stages would start in one subspace.
    3. The earlier LoRA gets no dropout: it does not learn.
    """

    strength: float = 0.5
    """Weight of the overlap with the earlier subspaces in the loss (0.5 in the released code)."""

    name = "olora"

    def __post_init__(self) -> None:
        require_number(self.name, "strength", self.strength, 0)
        self._stack: dict[str, Any] = {}  # layer/lora_A, layer/lora_B of the stages before; and their scaling
        self._layers: dict[str, Any] = {}
        self._earlier: dict[str, Any] = {}  # layer -> A of the stages before, where the model is

    def carries_on(self, name: str) -> bool:
        return not is_lora(name)

    def wrap(self, model: HFModel) -> None:
        module = model.module
        self._layers, self._earlier = lora_layers(module, self.name), {}
        if not self._layers:
            raise KeepsightError("olora keeps a LoRA per stage, and none is trained here; tune lora")
        if not self._stack:
            return
        if {f"{name}/{part}" for name in self._layers for part in (_A, _B)} != set(self._stack) - {_SCALING}:
            raise KeepsightError(
                "the LoRA of the stages before has other layers than this one; give the same base"
            )
        self._wear_earlier(module)
        for name, layer in self._layers.items():
            _shuffle_columns(layer.lora_A[LORA_NAME].weight, name, len(self._stack[f"{name}/{_A}"]))

    def _wear_earlier(self, module: Any) -> None:
        """Adds the stack as a second LoRA, active and frozen."""
        import torch
        from peft import inject_adapter_in_model

        trained = set(trained_parameters(module))
        active = {name: list(layer.active_adapters) for name, layer in self._layers.items()}
        rank = len(next(value for name, value in self._stack.items() if name.endswith(_A)))
        config = copy.deepcopy(module.peft_config[LORA_NAME])
        config.r, config.lora_dropout, scaling = rank, 0.0, float(self._stack[_SCALING])
        with seeded(module.device, self.name), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Already found a `peft_config`")  # that is the point
            inject_adapter_in_model(config, module, _EARLIER)
        for name, layer in self._layers.items():
            for part in (_A, _B):
                value = self._stack[f"{name}/{part}"].to(layer.lora_A[LORA_NAME].weight)
                getattr(layer, part)[_EARLIER].weight = torch.nn.Parameter(value, requires_grad=False)
            layer.scaling[_EARLIER], self._earlier[name] = scaling, layer.lora_A[_EARLIER].weight.detach()
            layer.set_adapter([*active[name], _EARLIER])
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(name in trained)

    def penalty(self, model: HFModel, batch: Mapping[str, Any], outputs: Any) -> Any:
        import torch

        if not self._earlier or not self.strength:
            return 0.0
        total: Any = 0.0
        with torch.autocast(model.module.device.type, enabled=False):
            for name, layer in self._layers.items():
                own = layer.lora_A[LORA_NAME].weight
                own = own.full_tensor() if is_sharded(own) else own  # its gradient is sharded again
                total = total + (self._earlier[name] @ own.T).abs().sum()  # [(k-1)r, r]
        return self.strength * total

    def end_stage(self, model: HFModel, stage: Stage) -> None:
        import torch

        scaling = next(iter(self._layers.values())).scaling[LORA_NAME]
        self._stack = {_SCALING: torch.tensor(scaling, dtype=torch.float64)}
        for name, layer in self._layers.items():
            b, a = _stacked(layer)
            self._stack |= {f"{name}/{_A}": a.to("cpu", copy=True), f"{name}/{_B}": b.to("cpu", copy=True)}

    def as_saved(self, model: HFModel) -> AbstractContextManager[None]:
        """The trained LoRA as the stack of all, for as long as it is written."""
        return saved_as(model.module, {name: _stacked(layer) for name, layer in self._layers.items()})

    def state_dict(self) -> dict[str, Any]:
        return dict(self._stack)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._stack = dict(state)


def _stacked(layer: Any) -> tuple[Any, Any]:
    """B [out, k r] and A [k r, in] of all stages so far, under the scaling of this one."""
    import torch

    b, a = factors(layer)
    if _EARLIER not in layer.lora_A:
        return b, a
    b_before, a_before = factors(layer, _EARLIER)
    ratio = layer.scaling[_EARLIER] / layer.scaling[LORA_NAME]  # 1 unless a stage had another lora_alpha
    return torch.cat([ratio * b_before, b], dim=1), torch.cat([a_before, a])


def _shuffle_columns(weight: Any, name: str, stages: int) -> None:
    """Start values drawn alike for every column stay such in another order."""
    import torch

    with torch.no_grad(), seeded(torch.device("cpu"), name, stages):
        weight.copy_(weight[:, torch.randperm(weight.shape[1]).to(weight.device)])
