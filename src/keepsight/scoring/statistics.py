"""Intervals and tests for shares, and for two checkpoints asked the same samples.

Every difference here is *reference minus current*: positive means lost. An interval and its p-value always tell the
same story: the interval at `level` excludes zero exactly when `p < 1 - level`.

| scores | samples | p-value | interval |
|---|---|---|---|
| all 0 or 1 | independent | exact McNemar (binomial on the discordant pairs) | Tango's score interval |
| all 0 or 1 | clustered | sign flips of whole clusters | subset ratios, the dual of the sign flips |
| any other | independent or clustered | paired bootstrap of samples or whole clusters | percentiles; where no cluster moved, Tango's in units of the scores' range, if that is known |

Sources: Wilson 1927; Clopper & Pearson 1934; McNemar 1947; Hartigan 1969 (subset means); Holm 1979; Tango 1998
(*Statistics in Medicine* 17:891-908, eq. 7 and the appendix).

Why not Clopper-Pearson on lost / (lost + gained), scaled by the share of discordant pairs? It is the exact dual of
McNemar's test, but takes that share as known: with 50 lost, none gained of 100 its upper end is the estimate itself,
and it covers the truth about half the time. Tango's interval covers, and is trimmed where the exact test is stricter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from keepsight.types import KeepsightError

__all__ = [
    "PairedDifference",
    "agreeing",
    "alike_interval",
    "bootstrap_mean",
    "bootstrap_ratio",
    "clopper_pearson",
    "holm",
    "holm_levels",
    "mcnemar_exact",
    "paired_bootstrap",
    "paired_difference",
    "percentiles",
    "sign_flip",
    "tango",
    "wilson",
]

_DUST = 1e-12  # relative size of what is only rounding

Array = np.ndarray[Any, np.dtype[Any]]
Method = Literal["mcnemar", "sign flip", "bootstrap"]


@dataclass(frozen=True)
class PairedDifference:
    """Mean of reference minus current over `n` pairs, its interval at `level`, and its two-sided p-value."""

    difference: float
    low: float
    high: float
    p: float
    n: int
    lost: int  # pairs whose score went down
    gained: int  # pairs whose score went up
    method: Method
    level: float = 0.95
    clusters: int = 0  # independent units behind the n pairs; equal to n when nothing is clustered


# ---- one share ----------------------------------------------------------------------------------------------------


def wilson(k: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval for k successes of n. Both may be effective (non-integer) counts. n = 0 gives (0, 1)."""
    _check_count(k, n, level)
    if n == 0:
        return 0.0, 1.0
    z2 = _z(level) ** 2
    share = k / n
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2) / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return (0.0 if k == 0 else max(0.0, centre - half)), (1.0 if k == n else min(1.0, centre + half))


def clopper_pearson(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Exact (conservative) interval for k successes of n: each tail holds at most (1 - level) / 2."""
    from scipy.special import betaincinv

    _check_count(k, n, level)
    tail = (1 - level) / 2
    low = float(betaincinv(k, n - k + 1, tail)) if k > 0 else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return low, high


# ---- two checkpoints, the same samples ----------------------------------------------------------------------------


def mcnemar_exact(lost: int, gained: int) -> float:
    """Two-sided exact McNemar p-value: were the lost and gained pairs tosses of a fair coin? 1 without any."""
    from scipy.special import bdtr

    if lost < 0 or gained < 0:
        raise KeepsightError(f"lost and gained are counts, not {lost} and {gained}")
    return min(1.0, 2 * float(bdtr(min(lost, gained), lost + gained, 0.5)))


@lru_cache(maxsize=65536)  # a page shows the same counts many times over
def tango(lost: int, gained: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Score interval for the difference (lost - gained) / n of two shares measured on the same n samples.

    All values of the difference that a score test at `level` would not reject (Tango 1998). It has a sensible width
    also when no pair changed, or all of them did.
    """
    _check_count(lost + gained, n, level)
    if n == 0:
        return -1.0, 1.0
    z = _z(level)
    estimate = (lost - gained) / n
    low = _bisect(lambda d: _tango_statistic(d, lost, gained, n) - z, -1.0, estimate)
    high = _bisect(lambda d: _tango_statistic(d, lost, gained, n) + z, estimate, 1.0)
    return low, high


def paired_difference(
    reference: Sequence[float],
    current: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    *,
    bounds: tuple[float, float] | None = None,
    seed: int = 0,
    n_resamples: int = 10_000,
) -> PairedDifference:
    """Compares two checkpoints on the same samples by the method that fits the scores (table at the top).

    Args:
        reference, current: scores in the same sample order, length n, no nan.
        clusters: one label per pair; pairs that share one (a picture, an episode) are not independent.
        bounds: between which the scores must lie, if that is known; 0/1 scores need none.
        seed, n_resamples: used by the methods that draw; McNemar's does not.
    """
    if not _binary(reference, current) or bounds not in (None, (0.0, 1.0)):
        return paired_bootstrap(reference, current, n_resamples, seed, clusters, level, bounds)
    if clusters is not None and len(set(clusters)) < len(clusters):
        return sign_flip(reference, current, clusters, level, seed=seed, n_resamples=n_resamples)
    pairs = _Pairs.of(reference, current, None)
    p = mcnemar_exact(pairs.lost, pairs.gained)
    low, high = tango(pairs.lost, pairs.gained, pairs.n, level)
    return pairs.result(p, low, high, "mcnemar", level)


def paired_bootstrap(
    reference: Sequence[float],
    current: Sequence[float],
    n_resamples: int = 10_000,
    seed: int = 0,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    bounds: tuple[float, float] | None = None,
) -> PairedDifference:
    """Percentile bootstrap of the mean paired difference, drawing whole clusters.

    The p-value is the level at which the percentile interval reaches zero, but at least 2^(1-m) for the m clusters
    that changed at all: a handful of samples that agree is a handful of coin tosses, however often resampled. Where none did,
    resamples know nothing: the interval is then what so few clusters cannot exclude of scores within `bounds`.
    """
    pairs = _Pairs.of(reference, current, clusters)
    if pairs.n == 0:
        return pairs.result(1.0, math.nan, math.nan, "bootstrap", level)
    if bounds is not None and not np.any(pairs.sums):
        span = bounds[1] - bounds[0]
        low, high = tango(0, 0, pairs.clusters, level)
        return pairs.result(1.0, span * low, span * high, "bootstrap", level)
    replicates = _cleaned(_bootstrap_ratios(pairs.sums, pairs.sizes, n_resamples, seed), pairs.sums)
    p, low, high = percentiles(replicates, level)
    floor = 2.0 ** (1 - int(np.count_nonzero(pairs.sums)))
    return pairs.result(min(1.0, max(p, floor)), low, high, "bootstrap", level)


def sign_flip(
    reference: Sequence[float],
    current: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    *,
    seed: int = 0,
    n_resamples: int = 10_000,
) -> PairedDifference:
    """Exchanges reference and current within whole clusters, at random: exact if they are interchangeable.

    With clusters of one and 0/1 scores this is McNemar's test. Flipping the clusters of a set A makes a shifted total
    at least as large as observed exactly when the ratio sum(A) / size(A) is at most the shift, so the ordered ratios of
    random sets are the interval's ends (Hartigan 1969). All sets are tried when there are no more than `n_resamples`.
    """
    pairs = _Pairs.of(reference, current, clusters)
    if not np.any(pairs.sums):  # no cluster moved, which says no more than as many unmoved single pairs
        low, high = tango(0, 0, pairs.clusters, level)
        return pairs.result(1.0, low, high, "sign flip", level)
    sums, sizes = _subset_totals(pairs.sums, pairs.sizes, n_resamples, seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = _cleaned(sums / sizes, pairs.sums)
    p, low, high = percentiles(ratios, level)
    return pairs.result(p, low, high, "sign flip", level)


def bootstrap_mean(
    values: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    *,
    seed: int = 0,
    n_resamples: int = 10_000,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean, drawing whole clusters. Empty input gives (nan, nan)."""
    pairs = _Pairs.of(values, [0.0] * len(values), clusters)
    if pairs.n == 0:
        return math.nan, math.nan
    _, low, high = percentiles(_bootstrap_ratios(pairs.sums, pairs.sizes, n_resamples, seed), level)
    return low, high


def alike_interval(
    value: float, bounds: tuple[float, float], n: int, level: float = 0.95
) -> tuple[float, float]:
    """Interval of a mean whose n independent values are all `value`, where a bootstrap has nothing to draw.

    As large a share of other values as Wilson's interval cannot exclude after none of n, all of them at one of `bounds`,
    between which the values must lie. For 0 or 1 between 0 and 1 it is Wilson's interval.
    """
    low, high = bounds
    others = wilson(0, n, level)[1]
    return value - others * (value - low), value + others * (high - value)


def bootstrap_ratio(
    above: Sequence[float],
    below: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    *,
    seed: int = 0,
    n_resamples: int = 10_000,
) -> tuple[float, float, float]:
    """sum(above) / sum(below) over the same samples, and its percentile bootstrap interval, drawing whole clusters.

    Args:
        above, below: at least 0, e.g. the errors of two models on the same pictures.

    Returns:
        (ratio, low, high); all nan where `below` is all zero. `high` is inf, or both ends are, when so many resamples
        have nothing below.
    """
    if len(above) != len(below) or (clusters is not None and len(clusters) != len(above)):
        raise KeepsightError("above, below and clusters must have one entry per sample")
    number: dict[Hashable, int] = {}
    labels: Sequence[Hashable] = range(len(above)) if clusters is None else clusters
    codes = np.array([number.setdefault(label, len(number)) for label in labels], dtype=np.intp)
    sums, sizes = (np.bincount(codes, weights=np.asarray(p, dtype=float)) for p in (above, below))  # [c]
    if not np.any(sizes):
        return math.nan, math.nan, math.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = _bootstrap_ratios(sums, sizes, n_resamples, seed)
    ordered = np.sort(ratios[~np.isnan(ratios)])  # nan: neither has any in this resample, which says nothing
    outside = max(1, math.ceil((len(ordered) + 1) * (1 - level) / 2 - 1e-9))
    return float(sums.sum() / sizes.sum()), float(ordered[outside - 1]), float(ordered[-outside])


# ---- many comparisons ---------------------------------------------------------------------------------------------


def holm(pvalues: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given."""
    adjusted = [0.0] * len(pvalues)
    highest = 0.0
    for rank, index in enumerate(_ascending(pvalues)):
        highest = max(highest, min(1.0, (len(pvalues) - rank) * pvalues[index]))
        adjusted[index] = highest
    return adjusted


def holm_levels(pvalues: Sequence[float], level: float = 0.95) -> list[float]:
    """Per comparison, the level at which its own interval excludes zero exactly when Holm's procedure rejects.

    That is 1 - alpha / (m - rank) up to the first comparison that is not rejected; all later ones share its level.
    Equal p-values share the strictest level, so the order of the comparisons does not matter.
    """
    alpha, m = 1 - level, len(pvalues)
    levels = [level] * m
    rank, p_before = 0, -1.0
    stopped = False
    for position, index in enumerate(_ascending(pvalues)):
        if not stopped and pvalues[index] != p_before:
            rank, p_before = position, pvalues[index]
        levels[index] = 1 - alpha / (m - rank)
        stopped = stopped or (m - rank) * pvalues[index] >= alpha
    return levels


def agreeing(low: float, high: float, significant: bool) -> tuple[float, float]:
    """The interval, trimmed so that it excludes zero exactly when the test is `significant`.

    Not significant: an end beyond zero is drawn back to it. Significant, yet zero inside: only rounding, or Tango's
    normal approximation below p = 1e-4, can bring that about; the end is moved just past zero.
    """
    if math.isnan(low) or math.isnan(high):
        return low, high
    if not significant:
        return min(low, 0.0), max(high, 0.0)
    if low <= 0.0 <= high:
        tiny = math.ulp(0.0)
        return (tiny, max(high, tiny)) if low + high > 0 else (min(low, -tiny), -tiny)
    return low, high


# ---- how it is done -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pairs:
    """Paired differences summed over clusters, sorted so that nothing depends on the order of the samples."""

    sums: Array  # [c] sum of reference - current per cluster
    sizes: Array  # [c] pairs per cluster
    n: int
    lost: int
    gained: int

    @property
    def clusters(self) -> int:
        return len(self.sizes)

    @classmethod
    def of(
        cls, reference: Sequence[float], current: Sequence[float], clusters: Sequence[Hashable] | None
    ) -> _Pairs:
        if len(reference) != len(current) or (clusters is not None and len(clusters) != len(reference)):
            raise KeepsightError("reference, current and clusters must have one entry per pair")
        scores = np.asarray([reference, current], dtype=float)  # [2, n]
        differences = scores[0] - scores[1]  # [n]
        if not np.all(np.isfinite(differences)):
            raise KeepsightError(
                "a paired comparison got a score that is nan or infinite: leave that pair out"
            )
        differences[np.abs(differences) <= _DUST * np.abs(scores).max(axis=0)] = 0.0  # 0.1 + 0.2 is 0.3
        number: dict[Hashable, int] = {}
        labels = range(len(differences)) if clusters is None else clusters
        codes = np.array([number.setdefault(label, len(number)) for label in labels], dtype=np.intp)
        by_code = np.lexsort(
            (differences, codes)
        )  # within a cluster in order of size: the same float sum always
        sums = np.bincount(codes[by_code], weights=differences[by_code], minlength=len(number))
        sizes = np.bincount(codes, minlength=len(number))
        order = np.lexsort((sizes, sums))
        lost, gained = int(np.sum(differences > 0)), int(np.sum(differences < 0))
        return cls(sums[order], sizes[order], len(differences), lost, gained)

    def result(self, p: float, low: float, high: float, method: Method, level: float) -> PairedDifference:
        difference = float(np.sum(self.sums)) / self.n if self.n else math.nan
        low, high = agreeing(low, high, p < 1 - level)
        return PairedDifference(
            difference, low, high, p, self.n, self.lost, self.gained, method, level, self.clusters
        )


def _bootstrap_ratios(sums: Array, sizes: Array, n_resamples: int, seed: int) -> Array:
    """Replicates [n_resamples] of total / size when len(sums) clusters are drawn with replacement.

    Few distinct clusters: one multinomial draw per replicate counts how often each came. Many: indices are drawn and
    looked up in chunks that stay in the cache.
    """
    rng = np.random.default_rng(seed)
    kinds, counts = np.unique(np.stack([sums, sizes]), axis=1, return_counts=True)  # [2, k], [k]
    if kinds.shape[1] <= 100:
        drawn = rng.multinomial(len(sums), counts / len(sums), size=n_resamples)  # [n_resamples, k]
        return np.asarray((drawn @ kinds[0]) / (drawn @ kinds[1]))
    one_size = bool(np.all(sizes == sizes[0]))
    ratios = np.empty(n_resamples)
    rows = max(1, 1_000_000 // len(sums))
    for start in range(0, n_resamples, rows):
        chunk = min(rows, n_resamples - start)
        index = rng.integers(0, len(sums), size=(chunk, len(sums)))
        total = sums.take(index).sum(axis=1)
        size = sizes[0] * len(sums) if one_size else sizes.take(index).sum(axis=1)
        ratios[start : start + chunk] = total / size
    return ratios


def _subset_totals(sums: Array, sizes: Array, n_resamples: int, seed: int) -> tuple[Array, Array]:
    """Totals and sizes of sets of clusters: every non-empty set if there are few, else random ones."""
    if 2 ** len(sums) <= n_resamples:
        members = np.arange(1, 2 ** len(sums))[:, None] >> np.arange(len(sums)) & 1  # [2^c - 1, c]
        return members @ sums, members @ sizes
    rng = np.random.default_rng(seed)
    total, size = np.zeros(n_resamples), np.zeros(n_resamples)
    kinds, counts = np.unique(np.stack([sums, sizes]), axis=1, return_counts=True)  # [2, k], [k]
    for kind_sum, kind_size, count in zip(kinds[0], kinds[1], counts, strict=True):
        taken = rng.binomial(count, 0.5, size=n_resamples)
        total += taken * kind_sum
        size += taken * kind_size
    return total, size


def percentiles(replicates: Array, level: float) -> tuple[float, float, float]:
    """p-value and interval ends from replicates of a difference, read so that they agree.

    The observed data count as one more replicate on either side. A replicate that is nan (an empty set) lies on both
    sides of everything.
    """
    empty = int(np.count_nonzero(np.isnan(replicates)))
    ordered = np.sort(replicates[~np.isnan(replicates)])
    total = len(replicates) + 1
    below = 1 + empty + int(np.searchsorted(ordered, 0.0, side="right"))
    above = 1 + empty + len(ordered) - int(np.searchsorted(ordered, 0.0, side="left"))
    p = min(1.0, 2 * min(below, above) / total)
    rank = math.ceil(total * (1 - level) / 2 - 1e-9) - 1 - empty  # this many may lie outside either end
    rank = min(max(rank, 1), (len(ordered) + 1) // 2)
    return p, float(ordered[rank - 1]), float(ordered[-rank])


def _cleaned(replicates: Array, sums: Array) -> Array:
    """Replicates with rounding dust set to exactly zero, so that differences that cancel count as none."""
    dust = _DUST * float(np.max(np.abs(sums), initial=0.0))
    return np.where(np.abs(replicates) <= dust, 0.0, replicates)


def _tango_statistic(difference: float, lost: int, gained: int, n: int) -> float:
    """Score statistic of H0: share(reference) - share(current) = difference. Falls as the difference grows."""
    a = 2.0 * n
    b = -lost - gained + (2 * n - lost + gained) * difference
    c = -gained * difference * (1 - difference)
    restricted = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)  # estimate of P(gained) under H0
    variance = n * (2 * restricted + difference * (1 - difference))
    distance = lost - gained - n * difference
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def _bisect(falling: Callable[[float], float], low: float, high: float) -> float:
    """Root of a falling function on [low, high], or the end it has not crossed."""
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2


def _ascending(values: Sequence[float]) -> list[int]:
    return sorted(range(len(values)), key=lambda index: values[index])


def _binary(*series: Sequence[float]) -> bool:
    return all(value in (0.0, 1.0) for values in series for value in values)


def _z(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)


def _check_count(k: float, n: float, level: float) -> None:
    if not 0 <= k <= n:
        raise KeepsightError(f"{k} of {n} is not a share")
    if not 0 < level < 1:
        raise KeepsightError(f"a confidence level lies between 0 and 1, not at {level}")
