"""The hooks and the state through which a continual-learning method takes part in a sequence and in the training loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any

from keepsight.tune.methods.stage import Stage

if TYPE_CHECKING:
    from keepsight.models import HFModel
    from keepsight.tune.config import SFTConfig

__all__ = ["Method"]


class Method:
    """Does nothing at any hook. A method overrides those it needs; `sequence` and `sft` call each of them in plain sight.

    `model` is the model that is trained: its torch module is `model.module`, a batch of it `model.training_batch(samples)`.
    """

    name = "method"
    continues = True  # a stage starts from the checkpoint of the one before; False: from the base
    keeps_stages = False  # the checkpoints of all stages are needed after the last one

    @property
    def settings(self) -> dict[str, Any]:
        """What besides the name decides what is learnt; plain JSON. The fields, if the method is a dataclass."""
        return asdict(self) if is_dataclass(self) else {}

    def arrange(self, stages: Sequence[Stage]) -> list[Stage]:
        """Before anything is learnt: mix earlier samples in, set `memory` aside, make one stage of several."""
        return list(stages)

    def configure(self, config: SFTConfig) -> None:
        """First of a stage: the settings it is learnt with, for a method that computes a loss of its own."""

    def wrap(self, model: HFModel) -> None:
        """Once per stage, after the trained tensors are chosen and hold their start values: add modules of the method's
        own to `model.module`."""

    def start_stage(self, model: HFModel, stage: Stage) -> None:
        """Before the optimiser is built: remember weights, prepare memories."""

    def penalty(self, model: HFModel, batch: Mapping[str, Any], outputs: Any) -> Any:
        """A scalar added to the loss of a batch; 0.0 adds nothing. Called in every forward pass, so keep it cheap."""
        return 0.0

    def edit_gradients(self, model: HFModel) -> None:
        """After the backward passes of a step, before clipping: project or mask `parameter.grad` in place."""

    def end_stage(self, model: HFModel, stage: Stage) -> None:
        """After the last step and before the stage's last checkpoint is written: merge weights, store importances."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors that a later stage or a resumed run needs, by name."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
