"""Which samples of a stage are kept for later ones: decided by each sample's own number, drawn from its content.

The kept ones are those with the smallest numbers, as a reservoir would hold them (Vitter 1985, with the draw moved into
the sample). So a smaller memory is part of a larger one, and neither the order of the samples nor what comes later
changes who is kept: a memory that has to shrink only lets samples go.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from keepsight.tune.methods.settings import require_count, require_number
from keepsight.tune.methods.stage import Stage
from keepsight.types import Sample, digest_of

__all__ = ["chosen", "earlier_samples", "require_memory"]


def require_memory(method: str, share: float, budget: int | None, seed: int) -> None:
    """Raises UsageError unless the first two say how large a memory is, and the seed is one."""
    require_number(method, "share", share, 0, 1)
    if budget is not None:
        require_count(method, "budget", budget, 0)
    require_count(method, "seed", seed, 0)


def earlier_samples(
    stages: Sequence[Stage], *, share: float, budget: int | None, seed: int
) -> list[tuple[Sample, ...]]:
    """For every stage what is kept of those before it, in their order.

    Args:
        share: part of each stage that is kept, rounded up.
        budget: samples kept in all, split evenly over the earlier stages; overrides `share`. A stage that has fewer
            leaves its room to the others.
        seed: of the draw.
    """
    kept = []
    for position in range(len(stages)):
        sizes = [len(stage.samples) for stage in stages[:position]]
        parts = [_part(size, share) for size in sizes] if budget is None else _split(budget, sizes)
        kept.append(tuple(s for stage, part in zip(stages, parts) for s in chosen(stage.samples, part, seed)))
    return kept


def chosen(samples: Sequence[Sample], count: int, seed: int) -> list[Sample]:
    """`count` of the samples, or all if there are fewer, in their order."""
    numbers = [digest_of([seed, sample.digest()]) for sample in samples] if count else []
    smallest = sorted(range(len(numbers)), key=numbers.__getitem__)[:count]
    return [samples[index] for index in sorted(smallest)]


def _part(size: int, share: float) -> int:
    return math.ceil(round(share * size, 6))  # 0.07 * 100 is a little more than 7


def _split(budget: int, sizes: Sequence[int]) -> list[int]:
    """As even as can be: the smallest stages are asked first, so that what they lack goes to the others."""
    parts, left = [0] * len(sizes), budget
    for asked, index in enumerate(sorted(range(len(sizes)), key=lambda i: (sizes[i], i))):
        parts[index] = min(sizes[index], left // (len(sizes) - asked))
        left -= parts[index]
    return parts
