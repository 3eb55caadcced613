"""Effects as figures: paired differences, the verdict where only one side is harm, and how both are written."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

from keepsight.scoring.findings import FindingVerdict
from keepsight.scoring.statistics import PairedDifference, paired_difference
from keepsight.types import MetricValue

__all__ = ["difference_of", "figure", "guilty", "percent", "points"]


def difference_of(
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
    if not reference:
        left_out = {"unpaired": unpaired} if unpaired else {}
        return MetricValue(name, math.nan, math.nan, math.nan, 0, unpaired, not_ok=left_out)
    return figure(name, paired_difference(reference, current, clusters), len(reference) + unpaired)


def figure(name: str, result: PairedDifference, total: int) -> MetricValue:
    """A paired difference as a figure; pairs that could not be made are counted."""
    left_out = {"unpaired": total - result.n} if result.n < total else {}
    return MetricValue(
        name, result.difference, result.low, result.high, result.n, total, result.level, left_out
    )


def guilty(low: float, high: float, matters: float = 0.05) -> FindingVerdict:
    """The verdict on a suspect whose harm has this interval: `yes` above zero; `no` below what would matter, or negative.

    `findings.verdict_of` convicts on either side of zero; here only one side is harm.
    """
    if math.isnan(low) or math.isnan(high):
        return "no_evidence"
    if low > 0:
        return "yes"
    return "no" if high < matters else "no_evidence"


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def points(metric: MetricValue) -> str:
    """A difference of shares with its interval, in points."""
    return f"{100 * metric.value:.1f} points [{100 * metric.low:.1f}, {100 * metric.high:.1f}]"
