"""The hooks and the state through which a continual-learning method takes part in a sequence and in the training loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keepsight.tune.config import SFTConfig
from keepsight.tune.methods.stage import Stage

if TYPE_CHECKING:
    from keepsight.models import HFModel

__all__ = ["Method"]


class Method:
    """Does nothing at any hook. A method overrides those it needs; `sequence` and `sft` call each of them in plain sight.

    `model` is the model that is trained: its torch module is `model.module`, a batch of it `model.training_batch(samples)`.
    """

    name = "method"
    continues = True  # a stage starts from the checkpoint of the one before; False: from the base
    keeps_stages = False  # the checkpoints of all stages are needed after the last one
    penalises_answers = False  # the penalty is a mean over answer tokens: a batch counts by how many it has

    @property
    def settings(self) -> dict[str, Any]:
        """What besides the name decides what is learnt; plain JSON. The fields, if the method is a dataclass."""
        return asdict(self) if is_dataclass(self) else {}

    def configure(self, config: SFTConfig) -> SFTConfig:
        """The settings of every stage, changed where the method needs others."""
        return config

    def arrange(self, stages: Sequence[Stage]) -> list[Stage]:
        """Before anything is learnt: mix earlier samples in, set `memory` aside, make one stage of several."""
        return list(stages)

    def carries_on(self, name: str) -> bool:
        """Whether a stage goes on with this tensor of the checkpoint before it; if not, it starts as in the first one."""
        return True

    def wrap(self, model: HFModel) -> None:
        """Once per stage, after the trained tensors are chosen and hold their start values: add modules of the method's
        own to `model.module`."""

    def start_stage(self, model: HFModel, stage: Stage) -> None:
        """Before the optimiser is built: remember weights, prepare memories."""

    def penalty(self, model: HFModel, batch: Mapping[str, Any], outputs: Any) -> Any:
        """A scalar, of which the mean over a step's batches is added to its loss; 0.0 adds nothing.

        A batch counts by its answer tokens if `penalises_answers`. Called in every forward pass, so keep it cheap.
        """
        return 0.0

    def edit_gradients(self, model: HFModel) -> None:
        """After the backward passes of a step, before clipping: project or mask `parameter.grad` in place."""

    def end_stage(self, model: HFModel, stage: Stage) -> None:
        """After the last step and before the stage's last checkpoint is written: merge weights, store importances."""

    def as_saved(self, model: HFModel) -> AbstractContextManager[None]:
        """Entered while a checkpoint is written, of any epoch: `model.module` in the form in which it is to be read back."""
        return nullcontext()

    def checkpoint_ref(self, checkpoints: Sequence[Path], base: str) -> str | Path:
        """What is asked after a stage: a checkpoint of `base`, or the ref of a model of another kind.

        Called in the first process when the stage is finished; may write beside the checkpoints.

        Args:
            checkpoints: the last one of every stage so far, this stage's at the end.
            base: the ref of the model that is tuned.
        """
        return checkpoints[-1]

    def state_dict(self) -> dict[str, Any]:
        """Tensors that a later stage or a resumed run needs, by name."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
