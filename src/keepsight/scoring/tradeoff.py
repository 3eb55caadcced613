"""The knee of a trade-off: from which point on more of the cure costs more than it brings.

After Satopaa et al. 2011 ("Finding a 'kneedle' in a haystack"): both axes are scaled to [0, 1], and the knee is the point farthest
from the chord between the first and the last, on the side of more gain for less cost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from keepsight.types import KeepsightError

__all__ = ["knee"]

_FLAT = 1e-9


def knee(cost: Sequence[float], gain: Sequence[float]) -> int | None:
    """The place of the knee among points in order of dose, or None: fewer than three points, an axis without extent, or no
    point on the good side of the chord. Of equally far points the first.

    Args:
        cost, gain: of every point, the smallest dose first; finite numbers.
    """
    if len(cost) != len(gain) or not all(map(math.isfinite, [*cost, *gain])):
        raise KeepsightError("a knee needs a finite cost and a finite gain for every point")
    if len(cost) < 3 or max(cost) - min(cost) < _FLAT or max(gain) - min(gain) < _FLAT:
        return None
    x, y = _scaled(cost), _scaled(gain)
    dx, dy = x[-1] - x[0], y[-1] - y[0]
    if (
        dx < 0 or dy < 0 or math.hypot(dx, dy) < _FLAT
    ):  # more of the cure costs less, or brings less: no trade
        return None
    above = [((b - y[0]) * dx - (a - x[0]) * dy) / math.hypot(dx, dy) for a, b in zip(x, y)]
    best = max(above)
    if best < _FLAT:
        return None
    return next(place for place, distance in enumerate(above) if distance > best - _FLAT)


def _scaled(values: Sequence[float]) -> list[float]:
    low, high = min(values), max(values)
    return [(value - low) / (high - low) for value in values]
