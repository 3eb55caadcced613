"""Axes of a plot: from numbers to places in a drawing, and which numbers to write beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Scale", "log_scale", "round_scale"]

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)  # what people count in


@dataclass(frozen=True)
class Scale:
    """Numbers between `low` and `high` as shares of an axis; `ticks` are written, `lowest` is where a logarithm begins."""

    low: float
    high: float
    ticks: tuple[float, ...]
    lowest: float | None = None  # of a logarithmic axis: the smallest positive number; 0 lies left of it

    def __call__(self, value: float) -> float:
        """Where `value` lies, 0 to 1."""
        if self.lowest is None:
            return (value - self.low) / ((self.high - self.low) or 1.0)
        if value <= 0:
            return 0.0
        decades = math.log10(self.high / self.lowest) or 1.0
        start = _ZERO_ROOM if self.low == 0 else 0.0
        return start + (1 - start) * min(1.0, max(0.0, math.log10(value / self.lowest) / decades))


_ZERO_ROOM = 0.12  # of a logarithmic axis that has to show 0, too


def round_scale(values: Iterable[float], *, about: int = 4, zero: bool = False) -> Scale:
    """A linear axis over all finite `values` that begins and ends at round numbers.

    Args:
        about: how many steps there should be.
        zero: whether 0 has to be on it.
    """
    known = [value for value in values if math.isfinite(value)] + ([0.0] if zero else [])
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if low == high:  # from 0 to it: no per cent beyond 100
        low, high = min(low, 0.0), max(high, 0.0) if high else 1.0
    step = _step((high - low) / about)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(place * step for place in range(first, last + 1))
    return Scale(ticks[0], ticks[-1], ticks)


def log_scale(values: Iterable[float], *, most: int = 6) -> Scale:
    """A logarithmic axis over whole decades; 0 and below get a place at the left edge."""
    known = [value for value in values if math.isfinite(value)]
    positive = [value for value in known if value > 0] or [1.0]
    first = math.floor(math.log10(min(positive)) + 1e-9)
    last = max(first + 1, math.ceil(math.log10(max(positive)) - 1e-9))
    every = math.ceil((last - first + 1) / most)
    decades = tuple(10.0**power for power in range(first, last + 1, every))
    with_zero = any(value <= 0 for value in known)
    return Scale(
        0.0 if with_zero else 10.0**first,
        10.0**last,
        ((0.0, *decades) if with_zero else decades),
        lowest=10.0**first,
    )


def _step(rough: float) -> float:
    """The round number that is next to `rough` from above."""
    size = 10.0 ** math.floor(math.log10(rough))
    return next(size * step for step in _STEPS if size * step >= rough * (1 - 1e-9))
