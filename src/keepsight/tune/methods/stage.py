"""One stage of a sequence: what is learnt in it, and what is known of those before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keepsight.types import Sample

__all__ = ["Stage"]


@dataclass(frozen=True)
class Stage:
    """The samples of one stage; `target[0]` is the text to learn.

    A plain fine-tune is the first of one stage.
    """

    name: str
    samples: Sequence[Sample]
    task: str | None = None  # the column of the result matrix that asks what this stage teaches
    memory: tuple[Sample, ...] = ()  # samples of earlier stages that the method may look at
    number: int = 1  # counted from 1
    count: int = 1  # stages in all

    @property
    def follows(self) -> bool:
        """Whether a stage went before."""
        return self.number > 1
