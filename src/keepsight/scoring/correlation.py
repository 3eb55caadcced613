"""Do two figures of each class go together? Spearman and Pearson with intervals over classes, and a rising fit.

The unit is the class: intervals draw classes with replacement, tests exchange them. An interval excludes zero exactly when
the permutation test rejects at its level, so a handful of classes cannot be called a correlation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations
from typing import Any, Literal

import numpy as np

from keepsight.scoring.statistics import agreeing
from keepsight.types import KeepsightError, MetricValue

__all__ = ["CorrelationKind", "correlation", "correlation_difference", "rising_fit", "threshold_of"]

CorrelationKind = Literal["spearman", "pearson"]
Array = np.ndarray[Any, np.dtype[Any]]

_FEWEST = 3  # two points always lie on a line
_FLAT = 1e-12
_CELLS = 2_000_000  # numbers drawn at once


def correlation(
    x: Sequence[float],
    y: Sequence[float],
    kind: CorrelationKind = "spearman",
    *,
    name: str = "",
    level: float = 0.95,
    seed: int = 0,
    n_resamples: int = 2000,
) -> MetricValue:
    """The correlation over n classes; nan with a nan interval where one side is the same for all, or n is below 3.

    Percentile bootstrap over classes, agreeing with a permutation test (all permutations where there are few). A draw in
    which one side does not vary has no correlation and lies on both sides of everything.

    Args:
        x, y: one finite number per class, [n].
        kind: Spearman (mean ranks for ties) or Pearson.
        name: of the figure (default: `kind`).
    """
    pairs = _pairs(x, y)
    value = float(_rows(pairs[0][None], pairs[1][None], kind)[0])
    name, n = name or kind, pairs.shape[1]
    if math.isnan(value):
        return MetricValue(name, math.nan, math.nan, math.nan, n, n, level)
    rng = np.random.default_rng(seed)
    drawn = np.concatenate(
        [_rows(pairs[0][at], pairs[1][at], kind) for at in _resamples(rng, n, n_resamples)]
    )
    low, high = _ends(drawn, value, level, 1.0)
    p = _permutation_p(pairs, value, kind, rng, n_resamples)
    low, high = agreeing(low, high, p < 1 - level)
    return MetricValue(name, value, low, high, n, n, level)


def correlation_difference(
    x: Sequence[float],
    y: Sequence[float],
    other: Sequence[float],
    kind: CorrelationKind = "spearman",
    *,
    name: str = "",
    level: float = 0.95,
    seed: int = 0,
    n_resamples: int = 2000,
) -> MetricValue:
    """Correlation of x and y minus correlation of x and `other`, over the same classes: bootstrap drawing all three."""
    first, second = _pairs(x, y), _pairs(x, other)
    n = first.shape[1]
    value = float(
        _rows(first[0][None], first[1][None], kind)[0] - _rows(second[0][None], second[1][None], kind)[0]
    )
    name = name or f"{kind} difference"
    if math.isnan(value):
        return MetricValue(name, math.nan, math.nan, math.nan, n, n, level)
    rng = np.random.default_rng(seed)
    drawn = [
        _rows(first[0][at], first[1][at], kind) - _rows(second[0][at], second[1][at], kind)
        for at in _resamples(rng, n, n_resamples)
    ]
    return MetricValue(name, value, *_ends(np.concatenate(drawn), value, level, 2.0), n, n, level)


def rising_fit(x: Sequence[float], y: Sequence[float]) -> list[tuple[float, float]]:
    """(x, fitted y) at each distinct x in order: the least-squares fit among all that never fall (isotonic regression).

    Neighbours that would fall are pooled until none does.
    """
    _pairs(x, y)
    blocks: list[tuple[list[float], float, int]] = []  # the x values, mean of y, count
    for value in sorted(set(x)):
        own = [b for a, b in zip(x, y) if a == value]
        blocks.append(([value], math.fsum(own) / len(own), len(own)))
        while len(blocks) > 1 and blocks[-2][1] >= blocks[-1][1]:
            (before, mean, n), (after, mean_after, m) = blocks[-2:]
            blocks[-2:] = [(before + after, (n * mean + m * mean_after) / (n + m), n + m)]
    return [(value, mean) for values, mean, _ in blocks for value in values]


def threshold_of(x: Sequence[float], y: Sequence[float], enough: float) -> float:
    """The smallest x from which on the rising fit is at least `enough`; nan if it never is."""
    return next((value for value, fitted in rising_fit(x, y) if fitted >= enough), math.nan)


def _pairs(x: Sequence[float], y: Sequence[float]) -> Array:
    pairs = np.asarray([x, y], dtype=float) if len(x) == len(y) else np.empty((0, 0))
    if pairs.shape[0] != 2 or not np.all(np.isfinite(pairs)):
        raise KeepsightError("a correlation needs two finite numbers for every class")
    return pairs


def _rows(x: Array, y: Array, kind: CorrelationKind) -> Array:
    """Correlation along the last axis, [rows, n] and [rows, n] -> [rows]; nan where a row does not vary."""
    if kind == "spearman":
        from scipy.stats import rankdata

        x, y = rankdata(x, axis=-1), rankdata(y, axis=-1)
    elif kind != "pearson":
        raise KeepsightError(f"correlation {kind!r} is unknown; give spearman or pearson")
    if x.shape[-1] < _FEWEST:
        return np.full(len(x), math.nan)
    x, y = x - x.mean(axis=-1, keepdims=True), y - y.mean(axis=-1, keepdims=True)
    spread = np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1))  # [rows]
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (x * y).sum(axis=-1) / spread
    scale = np.abs(x).max(axis=-1) * np.abs(y).max(axis=-1)
    return np.where((scale > 0) & (spread > _FLAT * scale), np.clip(found, -1.0, 1.0), math.nan)


def _resamples(rng: np.random.Generator, n: int, count: int) -> list[Array]:
    """Chunks of rows of n indices, `count` rows in all."""
    rows = max(1, _CELLS // n)
    return [rng.integers(0, n, size=(min(rows, count - start), n)) for start in range(0, count, rows)]


def _ends(drawn: Array, value: float, level: float, extreme: float) -> tuple[float, float]:
    """Percentiles; a draw without a correlation counts below and above. The observed one is a draw, too."""
    tail = (1 - level) / 2
    below, above = (np.where(np.isnan(drawn), end, drawn) for end in (-extreme, extreme))
    low = float(np.quantile(np.append(below, value), tail, method="lower"))
    return low, float(np.quantile(np.append(above, value), 1 - tail, method="higher"))


def _permutation_p(
    pairs: Array, value: float, kind: CorrelationKind, rng: np.random.Generator, count: int
) -> float:
    """Two-sided: how often a random assignment of y to classes correlates as much, the observed one included."""
    n = pairs.shape[1]
    if kind == "spearman":  # exchanging classes exchanges their ranks
        from scipy.stats import rankdata

        pairs, kind = rankdata(pairs, axis=-1), "pearson"
    x, y = pairs[0][None], pairs[1]
    if math.factorial(min(n, 20)) <= count:
        orders = np.array(list(permutations(range(n))))
        found = np.abs(_rows(np.broadcast_to(x, orders.shape), y[orders], kind))
        return float(np.mean(found >= abs(value) - _FLAT))
    hits, rows = 1, max(1, _CELLS // n)
    for start in range(0, count, rows):
        size = min(rows, count - start)
        shuffled = rng.permuted(np.broadcast_to(y, (size, n)), axis=1)
        found = np.abs(_rows(np.broadcast_to(x, (size, n)), shuffled, kind))
        hits += int(np.count_nonzero(found >= abs(value) - _FLAT))
    return hits / (count + 1)
