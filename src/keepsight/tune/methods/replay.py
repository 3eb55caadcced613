"""Experience replay: a few samples of the earlier stages are learnt again in each stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from keepsight.tune.methods.memory import earlier_samples, require_memory
from keepsight.tune.methods.method import Method
from keepsight.tune.methods.stage import Stage

__all__ = ["Replay"]


@dataclass(frozen=True)
class Replay(Method):
    """Mixes what is kept of the earlier stages into the samples of a stage.

    Source: experience replay as in Chaudhry et al. 2019 (arXiv:1902.10486, section 4). What differs: every kept sample
    is seen as often as a new one, shuffled among them, where the paper adds a batch of the memory to every batch. So a
    stage grows by what is kept, and by nothing else.
    """

    share: float = 0.05
    """Part of every earlier stage's samples that is kept."""
    budget: int | None = None
    """Samples kept in all, split evenly over the earlier stages; overrides share."""
    seed: int = 0
    """Decides which samples are kept."""

    name = "replay"

    def __post_init__(self) -> None:
        require_memory(self.name, self.share, self.budget, self.seed)

    def arrange(self, stages: Sequence[Stage]) -> list[Stage]:
        kept = earlier_samples(stages, share=self.share, budget=self.budget, seed=self.seed)
        return [replace(stage, samples=[*stage.samples, *old]) for stage, old in zip(stages, kept)]
