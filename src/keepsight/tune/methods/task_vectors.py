"""What TIES and DARE share: every stage is tuned from the base, and after it the task vectors so far are merged.

A task vector is what a stage changed: tuned weights minus base. Of a LoRA the factors are kept, its matrix [out, in] is
formed one layer at a time; the merged matrix is cut back to a LoRA by an SVD. Kept per stage: the LoRA's
factors and the projector's difference (of a full tuning: a difference as large as the model).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from keepsight.tune.methods.low_rank import (
    Cut,
    factors,
    lora_layers,
    plain_parameters,
    put,
    saved_as,
    truncated,
)
from keepsight.tune.methods.method import Method
from keepsight.tune.methods.settings import require_count, require_number
from keepsight.tune.methods.stage import Stage
from keepsight.tune.shards import whole
from keepsight.tune.trainable import LORA_NAME

if TYPE_CHECKING:
    from keepsight.models import HFModel

__all__ = ["TaskVectors"]

_ERROR = "recompression_error"
_A, _B = ".lora_A", ".lora_B"


class TaskVectors(Method):
    """Keeps the task vectors and puts their merger on the base; a subclass says what merging one tensor means.

    Attributes:
        recompression_error: relative Frobenius norm of what the cut to a LoRA left out at the last stage.
    """

    continues = False

    density: float
    weight: float
    rank: int

    def __post_init__(self) -> None:
        require_number(self.name, "density", self.density, 1e-6, 1)
        require_number(self.name, "weight", self.weight, 0)
        require_count(self.name, "rank", self.rank, 0)
        self.recompression_error = 0.0
        self._vectors: list[dict[str, Any]] = []  # of the stages so far, on the CPU
        self._cuts: dict[str, Cut] = {}  # the merged LoRA by layer, once the stage has ended

    @abstractmethod
    def merged(self, name: str, vectors: Any) -> Any:
        """One tensor's merger: [t, ...] of t stages -> [...]."""

    def wrap(self, model: HFModel) -> None:
        # Refuses adapters that cannot be added up before anything is learnt.
        lora_layers(model.module, self.name)

    def start_stage(self, model: HFModel, stage: Stage) -> None:
        plain = plain_parameters(model.module)
        self._cuts = {}
        self._base = {name: value.detach().to("cpu", copy=True) for name, value in plain.items()}

    def end_stage(self, model: HFModel, stage: Stage) -> None:
        import torch

        module = model.module
        layers = lora_layers(module, self.name)
        self._vectors.append(self._learnt(module, layers))
        for name, parameter in plain_parameters(module).items():
            vectors = torch.stack([vector[name] for vector in self._vectors]).to(parameter.device)
            put(parameter, self._base[name].to(parameter.device) + self.merged(name, vectors))
        for name, layer in layers.items():
            weight = layer.lora_A[LORA_NAME].weight
            dense = torch.stack(
                [
                    vector[name + _B].to(weight.device) @ vector[name + _A].to(weight.device)
                    for vector in self._vectors
                ]
            )  # [t, out, in]
            merged = self.merged(name, dense) / layer.scaling[LORA_NAME]
            self._cuts[name] = truncated(merged, self.rank or len(weight))
        self.recompression_error = Cut.error(list(self._cuts.values()))

    def as_saved(self, model: HFModel) -> AbstractContextManager[None]:
        """Once the stage has ended: the merged LoRA, whose rank need not be that of the tuned one."""
        matrices = {name: (cut.b, cut.a) for name, cut in self._cuts.items()}
        return saved_as(model.module, matrices) if matrices else nullcontext()

    def _learnt(self, module: Any, layers: Mapping[str, Any]) -> dict[str, Any]:
        """This stage's task vector; B with the LoRA's scaling in it, so that B A is the change."""
        vector = {
            name: whole(parameter.detach(), keep=True).cpu() - self._base[name]
            for name, parameter in plain_parameters(module).items()
        }
        for name, layer in layers.items():
            b, a = factors(layer)
            vector |= {name + _B: (b * layer.scaling[LORA_NAME]).cpu(), name + _A: a.to("cpu", copy=True)}
        return vector

    def state_dict(self) -> dict[str, Any]:
        import torch

        named = {
            f"{number}/{name}": value
            for number, vector in enumerate(self._vectors, 1)
            for name, value in vector.items()
        }
        return {_ERROR: torch.tensor(self.recompression_error, dtype=torch.float64), **named}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.recompression_error = float(state.get(_ERROR, 0.0))
        numbered: dict[int, dict[str, Any]] = {}
        for key, value in state.items():
            number, slash, name = key.partition("/")
            if slash:
                numbered.setdefault(int(number), {})[name] = value
        self._vectors = [numbered[number] for number in sorted(numbered)]
