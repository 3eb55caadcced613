"""Spikes in a training loss: where it suddenly left its usual course, and whether it came back.

Source: the phenomenon of arXiv:2405.18415, figure 5 and appendix B.5, which shows it without defining it. The rule is ours.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["Spike", "loss_spikes"]

_SIGMA = 1.4826  # a normal distribution's standard deviation over its median absolute deviation
_FEWEST = 5  # losses before one can be called unusual


@dataclass(frozen=True)
class Spike:
    """Steps `start` to `end`, both included, counted from 0."""

    start: int
    end: int
    peak: float  # the highest loss in it; inf or nan where the loss was no number
    usual: float  # the median before it
    recovered: bool  # the loss came back before the curve ended


def loss_spikes(
    losses: Sequence[float],
    *,
    window: int = 30,
    deviations: float = 6.0,
    factor: float = 1.5,
    least: float = 0.1,
    calm: int = 3,
) -> list[Spike]:
    """Stretches where the loss is unusual against a trailing window of usual losses.

    A loss is unusual when it is no number, or exceeds the window's median by all three: `deviations` robust standard
    deviations (median absolute deviation), the `factor`, and `least` (nats; so that the noise of a loss near zero is
    none). Losses of a spike do not enter the window. A spike ends before the first `calm` usual losses in a row.
    """
    usual: deque[float] = deque(maxlen=window)
    spikes: list[Spike] = []
    start, quiet = -1, 0
    level = bound = math.inf
    for step, loss in enumerate(losses):
        if start < 0:
            level, bound = _course(usual, deviations, factor, least)
            if math.isfinite(loss) and loss <= bound:
                usual.append(loss)
            else:
                start, quiet = step, 0
        elif math.isfinite(loss) and loss <= bound:
            quiet += 1
            if quiet == calm:
                spikes.append(_spike(losses, start, step - calm, level, recovered=True))
                usual.extend(losses[step - calm + 1 : step + 1])
                start = -1
        else:
            quiet = 0
    if start >= 0:
        spikes.append(_spike(losses, start, len(losses) - 1 - quiet, level, recovered=quiet > 0))
    return spikes


def _course(usual: Sequence[float], deviations: float, factor: float, least: float) -> tuple[float, float]:
    """The median of the usual losses, and the bound above which one is unusual."""
    if len(usual) < _FEWEST:
        return (median(usual) if usual else math.nan), math.inf
    level = median(usual)
    spread = _SIGMA * median(abs(loss - level) for loss in usual)
    return level, max(level + deviations * spread, level * factor, level + least)


def _spike(losses: Sequence[float], start: int, end: int, usual: float, *, recovered: bool) -> Spike:
    inside = losses[start : end + 1]
    peak = math.nan if any(math.isnan(loss) for loss in inside) else max(inside)
    return Spike(start, end, peak, usual, recovered)
