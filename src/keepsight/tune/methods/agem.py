"""A-GEM: no step may go, to first order, against the mean gradient of a few samples of the earlier stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any

from keepsight.tune.answers import answer_gradients
from keepsight.tune.config import SFTConfig
from keepsight.tune.methods.memory import earlier_samples, require_memory
from keepsight.tune.methods.method import Method
from keepsight.tune.methods.settings import require_count
from keepsight.tune.methods.stage import Stage
from keepsight.tune.shards import whole
from keepsight.tune.trainable import seeded, trained_parameters
from keepsight.types import Sample

if TYPE_CHECKING:
    from keepsight.models import HFModel

__all__ = ["AGEM"]


@dataclass
class AGEM(Method):
    """Takes from a step's gradient g the part that raises the memory's loss, g - (g.r / r.r) r where g.r < 0.

    Source: Chaudhry et al. 2019 (arXiv:1812.00420, equation 11). r is the gradient of the mean loss over the answer
    tokens of `batch_size` samples of the memory, which follow from the step's number. What differs from the paper:
    the memory is chosen when the sequence begins, by the samples themselves and not by a running reservoir, and the
    projected gradient goes on through clipping and AdamW, whose moments the guarantee does not reach.

    Every process computes the same r, which costs a forward and backward pass of `batch_size` samples per step.
    """

    share: float = 0.05
    """Part of every earlier stage's samples that is kept."""
    budget: int | None = None
    """Samples kept in all, split evenly over the earlier stages; overrides share."""
    batch_size: int = 16
    """Samples of the memory that one step is held against."""
    seed: int = 0
    """Decides which samples are kept, and which of them a step looks at."""

    name = "agem"

    def __post_init__(self) -> None:
        require_memory(self.name, self.share, self.budget, self.seed)
        require_count(self.name, "batch_size", self.batch_size, 1)
        self._config = SFTConfig()
        self._memory: Sequence[Sample] = ()
        self._stage = self._step = 0

    def arrange(self, stages: Sequence[Stage]) -> list[Stage]:
        kept = earlier_samples(stages, share=self.share, budget=self.budget, seed=self.seed)
        return [replace(stage, memory=old) for stage, old in zip(stages, kept)]

    def configure(self, config: SFTConfig) -> SFTConfig:
        self._config = config  # for a loss of its own: precision, longest sequence
        return config

    def start_stage(self, model: HFModel, stage: Stage) -> None:
        self._memory, self._stage, self._step = stage.memory, stage.number, 0

    def edit_gradients(self, model: HFModel) -> None:
        self._step += 1
        if not self._memory:
            return
        key = (self.seed, "agem", self._stage, self._step)
        looked_at = _drawn(self._memory, self.batch_size, key)
        with seeded(model.module.device, *key):  # dropout, the same in every process
            reference = answer_gradients(model, looked_at, self._config)
        _project(trained_parameters(model.module), reference)

    def state_dict(self) -> dict[str, Any]:
        import torch

        return {"step": torch.tensor(self._step)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._step = int(state["step"]) if state else 0


def _drawn(memory: Sequence[Sample], count: int, key: Sequence[Any]) -> list[Sample]:
    return Random("/".join(map(str, key))).sample(list(memory), min(count, len(memory)))


def _project(trained: Mapping[str, Any], reference: Mapping[str, Any]) -> None:
    """Turns the parameters' gradients so that their product with `reference` is not negative."""
    import torch

    held = {name: trained[name].grad for name in reference if trained[name].grad is not None}
    product = _product(held, reference)
    if product >= 0:
        return
    factor = product / _product(reference, reference)
    with torch.no_grad():
        for name, r in reference.items():
            trained[name].grad = held[name] - factor * r if name in held else -factor * r


def _product(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """Over all elements of the tensors of `one`, also those that other processes hold."""
    return float(whole(sum((value * other[name]).sum() for name, value in one.items()), keep=True))
