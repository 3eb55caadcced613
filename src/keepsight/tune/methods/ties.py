"""TIES merging of the stages' task vectors: trim, elect signs, mean of those that agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keepsight.tune.methods.task_vectors import TaskVectors

__all__ = ["Ties", "agreeing_mean", "trimmed"]


@dataclass
class Ties(TaskVectors):
    """`base + weight * TIES(task vectors)` after each stage, each of them tuned from the base (arXiv:2306.01708, Alg. 1).

    What differs from the paper: the share that is kept counts within each tensor, not over the whole model at once, so
    that a model of any size is merged one layer at a time (peft's `ties_svd` does the same); a LoRA's merger is cut
    back to `rank`, and `recompression_error` says what that costs.
    """

    density: float = 0.2
    """Share of each task vector that is kept: its largest entries."""
    weight: float = 1.0
    """Factor of the merged task vector (the paper's lambda)."""
    rank: int = 0
    """Rank of the merged LoRA; 0 is that of the tuned ones. A sum of them has all their ranks together."""

    name = "ties"

    def merged(self, name: str, vectors: Any) -> Any:
        import torch

        kept = torch.stack([trimmed(vector, self.density) for vector in vectors])
        return self.weight * agreeing_mean(kept)


def trimmed(vector: Any, density: float) -> Any:
    """The tensor with only its `density` largest entries (by size; at least one), zeros elsewhere."""
    import torch

    flat = vector.reshape(-1)
    largest = flat.abs().topk(max(1, int(density * len(flat)))).indices
    return torch.zeros_like(flat).index_copy_(0, largest, flat[largest]).reshape(vector.shape)


def agreeing_mean(vectors: Any) -> Any:
    """Per entry, the mean of those that have the sign of their sum: [t, ...] -> [...]."""
    elected = vectors.sum(dim=0).sign()  # [...]
    agreeing = vectors.sign() == elected  # [t, ...]: zeros only where the sum is zero
    return (vectors * agreeing).sum(dim=0) / agreeing.sum(dim=0).clamp(min=1)
