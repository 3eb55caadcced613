"""The five hooks and the state through which a continual-learning method takes part in the training loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keepsight.types import Sample

__all__ = ["Method"]


class Method:
    """Does nothing at any hook. A method overrides those it needs; `sft` calls each of them in plain sight."""

    name = "method"

    def wrap(self, model: Any) -> None:
        """Once, after the trained tensors are chosen: add modules of the method's own (LoRA experts, ...) to `model`,
        the torch module."""

    def start_stage(self, model: Any, samples: Sequence[Sample]) -> None:
        """Before the optimiser is built: remember weights, estimate importances, mix in replayed samples."""

    def penalty(self, model: Any, batch: Mapping[str, Any], outputs: Any) -> Any:
        """A scalar added to the loss of a batch; 0.0 adds nothing. Called in every forward pass, so keep it cheap."""
        return 0.0

    def edit_gradients(self, model: Any) -> None:
        """After the backward passes of a step, before clipping: project or mask `parameter.grad` in place."""

    def end_stage(self, model: Any, samples: Sequence[Sample]) -> None:
        """After the last step: merge weights, store importances for the next stage."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors that a later stage or a resumed run needs, by name."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
