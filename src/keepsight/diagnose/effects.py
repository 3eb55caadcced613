"""Effects as figures: paired differences, their verdict when only one side is guilty, and how they are written."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

from keepsight.scoring.findings import FindingVerdict
from keepsight.scoring.statistics import paired_difference
from keepsight.types import MetricValue

__all__ = ["difference", "loss_verdict", "percent", "points"]


def difference(
    name: str,
    reference: Sequence[float],
    current: Sequence[float],
    clusters: Sequence[Hashable],
    unpaired: int = 0,
) -> MetricValue:
    """Mean of reference minus current over the same samples, with its paired interval.

    Args:
        unpaired: samples that one of the two could not be scored on; they are counted in the total.
    """
    not_ok = {"unpaired": unpaired} if unpaired else {}
    if not reference:
        return MetricValue(name, math.nan, math.nan, math.nan, 0, unpaired, not_ok=not_ok)
    found = paired_difference(reference, current, clusters)
    return MetricValue(
        name, found.difference, found.low, found.high, found.n, found.n + unpaired, not_ok=not_ok
    )


def loss_verdict(lost: MetricValue, matters: float = 0.05) -> FindingVerdict:
    """Whether something was lost, when a gain is no loss.

    `yes`: the interval lies above zero; `no`: it lies below what would matter, however far.
    """
    if lost.low > 0:
        return "yes"
    return "no" if lost.high < matters else "no_evidence"  # nan is no evidence


def percent(share: float) -> str:
    """0.123 -> "12.3 %"."""
    return f"{100 * share:.1f} %"


def points(effect: MetricValue) -> str:
    """A difference in points of accuracy with its interval: "9.3 [4.0, 14.6]"."""
    return f"{100 * effect.value:.1f} [{100 * effect.low:.1f}, {100 * effect.high:.1f}]"
