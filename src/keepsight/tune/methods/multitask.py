"""All stages at once: what could be reached if nothing had to be learnt after something else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keepsight.tune.methods.method import Method
from keepsight.tune.methods.stage import Stage

__all__ = ["Multitask"]


@dataclass(frozen=True)
class Multitask(Method):
    """One stage of the samples of all, shuffled together: the upper bound of CoIN (arXiv:2403.08350, section 5.1)."""

    name = "multitask"

    def arrange(self, stages: Sequence[Stage]) -> list[Stage]:
        return [Stage("all", [sample for stage in stages for sample in stage.samples])]
