"""DARE: drop most entries of each task vector at random, scale up the others, and merge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keepsight.tune.methods.settings import require_count, require_one_of
from keepsight.tune.methods.task_vectors import TaskVectors
from keepsight.tune.methods.ties import agreeing_mean
from keepsight.tune.trainable import seeded

__all__ = ["Dare", "dropped"]

_COMBINATIONS = ("mean", "sum", "ties")


@dataclass
class Dare(TaskVectors):
    """`base + weight * merger` of the dropped-and-rescaled task vectors after each stage (arXiv:2311.03099).

    Each stage is tuned from the base. An entry falls or stays by the seed, the stage's number and the tensor's name: a
    stage's vector is dropped alike in every merger. `combine="sum"` is the paper's task arithmetic, and with `density=1` plain task arithmetic.

    What differs from the paper: the default is the mean of the vectors, because a sum outgrows any fixed `weight` as
    stages come; a LoRA's merger is cut back to `rank`, and `recompression_error` says what that costs.
    """

    density: float = 0.5
    """Share of each task vector's entries that stay (1 - the paper's drop rate); they are divided by it."""
    weight: float = 1.0
    """Factor of the merged task vector."""
    combine: str = "mean"
    """How the vectors become one: mean, sum, or ties (mean of those that agree with the elected sign)."""
    seed: int = 0
    """Decides which entries stay."""
    rank: int = 0
    """Rank of the merged LoRA; 0 is that of the tuned ones. A sum of them has all their ranks together."""

    name = "dare"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of(self.name, "combine", self.combine, _COMBINATIONS)
        require_count(self.name, "seed", self.seed, 0)

    def merged(self, name: str, vectors: Any) -> Any:
        import torch

        kept = torch.stack(
            [
                dropped(vector, self.density, self.seed, number, name)
                for number, vector in enumerate(vectors, 1)
            ]
        )
        combine = {
            "mean": lambda: kept.mean(dim=0),
            "sum": lambda: kept.sum(dim=0),
            "ties": lambda: agreeing_mean(kept),
        }
        return self.weight * combine[self.combine]()


def dropped(vector: Any, density: float, *key: Any) -> Any:
    """The tensor with each entry kept with probability `density` and then divided by it: its expectation is the tensor.

    Args:
        key: what the stream of random numbers follows from; it is drawn on the CPU, the same on every device.
    """
    import torch

    if density == 1:
        return vector
    with seeded(torch.device("cpu"), *key):
        stays = torch.rand(vector.shape) < density
    return vector * stays.to(vector.device) / density
