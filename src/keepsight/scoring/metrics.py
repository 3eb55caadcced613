"""Figures over the scores of one task. A metric is a function `(samples, scores) -> MetricValue`.

Samples of one cluster (the same picture, the same episode) are not independent: shares then get Wilson's interval on
the *effective* number of samples (n over the design effect), other means a bootstrap of whole clusters.
What could not be scored is never guessed: `n` counts what was, `not_ok` the rest by status.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import replace

from keepsight.scoring.statistics import alike_interval, bootstrap_mean, bootstrap_ratio, wilson
from keepsight.types import KeepsightError, MetricValue, Sample, Score

__all__ = [
    "accuracy",
    "common_bounds",
    "effective_size",
    "mean_score",
    "mean_value",
    "multiple_labels_share",
    "not_ok_counts",
    "refused_share",
    "unparsed_share",
    "yes_ratio",
]


def accuracy(samples: Sequence[Sample], scores: Sequence[Score]) -> MetricValue:
    """Share of 1 among the scored samples. Raises KeepsightError for a value that is neither 0 nor 1."""
    for sample, score in zip(samples, scores, strict=True):
        if score.scored and score.value not in (0.0, 1.0):
            raise KeepsightError(
                f"sample {sample.id} has the score {score.value:g}; accuracy needs 0 or 1, use mean_value instead"
            )
    kept = [(sample, score.value) for sample, score in zip(samples, scores, strict=True) if score.scored]
    return _share("accuracy", kept, scores)


def mean_value(samples: Sequence[Sample], scores: Sequence[Score]) -> MetricValue:
    """Mean of the values of the scored samples by their weights, with a bootstrap interval (recall, IoU, rewards).

    Where all values are alike no resample differs from another: then weighted ones that are 0 or 1 get Wilson's interval
    on the clusters, and values whose bounds are told `statistics.alike_interval`.
    """
    kept = [(sample, score) for sample, score in zip(samples, scores, strict=True) if score.scored]
    clusters = [sample.cluster for sample, _ in kept]
    if any(score.weight != 1 for _, score in kept):
        counted = [(sample, score.value) for sample, score in kept if score.weight]
        if len(ends := {value for _, value in counted}) == 1 and ends <= {0.0, 1.0}:
            return replace(_share("mean_value", counted, scores), n=len(kept))
        sums, weights = zip(*((score.value * score.weight, score.weight) for _, score in kept))
        return _metric("mean_value", *bootstrap_ratio(sums, weights, clusters), len(kept), scores)
    values = [score.value for _, score in kept]
    mean = math.fsum(values) / len(values) if values else math.nan
    low, high = bootstrap_mean(values, clusters)
    bounds = common_bounds([score for _, score in kept])
    if bounds is not None and len(set(values)) == 1:
        low, high = alike_interval(values[0], bounds, len(set(clusters)))
    return _metric("mean_value", mean, low, high, len(kept), scores)


def mean_score(samples: Sequence[Sample], scores: Sequence[Score]) -> MetricValue:
    """`accuracy` where every score is 0 or 1 and could be nothing else, `mean_value` of all other scorers."""
    binary = all(
        score.value in (0.0, 1.0) and score.weight == 1 and score.bounds in (None, (0.0, 1.0))
        for score in scores
        if score.scored
    )
    return accuracy(samples, scores) if binary else mean_value(samples, scores)


def yes_ratio(samples: Sequence[Sample], scores: Sequence[Score]) -> MetricValue:
    """Share of "yes" among the answers read as yes or no. Far from the share of true yes: the model is biased."""
    kept = [
        (sample, float(score.answer == "yes"))
        for sample, score in zip(samples, scores, strict=True)
        if score.answer in ("yes", "no")
    ]
    return _share("yes_ratio", kept, scores)


def multiple_labels_share(samples: Sequence[Sample], scores: Sequence[Score]) -> MetricValue:
    """Share of the answers that name more than one label: an echo of the label list names them all.

    Reads the tag `multiple_labels` of the label match; what was never generated is no answer.
    """
    kept = [
        (sample, float("multiple_labels" in score.tags))
        for sample, score in zip(samples, scores, strict=True)
        if score.status != "error"
    ]
    return _share("multiple_labels_share", kept, scores)


def unparsed_share(samples: Sequence[Sample], scores: Sequence[Score]) -> MetricValue:
    """Share of all samples whose answer could not be read."""
    return _status_share("unparsed_share", "unparsed", samples, scores)


def refused_share(samples: Sequence[Sample], scores: Sequence[Score]) -> MetricValue:
    """Share of all samples that the model declined to answer."""
    return _status_share("refused_share", "refused", samples, scores)


def not_ok_counts(scores: Sequence[Score]) -> dict[str, int]:
    """How many scores have each status other than "ok", in alphabetical order."""
    return dict(sorted(Counter(score.status for score in scores if score.status != "ok").items()))


def common_bounds(scores: Sequence[Score]) -> tuple[float, float] | None:
    """The bounds that hold of all scores; None where one does not tell its own."""
    told = [score.bounds for score in scores if score.bounds is not None]
    if not told or len(told) < len(scores):
        return None
    return min(low for low, _ in told), max(high for _, high in told)


def _status_share(name: str, status: str, samples: Sequence[Sample], scores: Sequence[Score]) -> MetricValue:
    kept = [(sample, float(score.status == status)) for sample, score in zip(samples, scores, strict=True)]
    return _share(name, kept, scores)


def _share(name: str, kept: Sequence[tuple[Sample, float]], scores: Sequence[Score]) -> MetricValue:
    if not kept:
        return _metric(name, math.nan, math.nan, math.nan, 0, scores)
    values = [value for _, value in kept]
    share = math.fsum(values) / len(values)
    effective = effective_size(values, [sample.cluster for sample, _ in kept])
    low, high = wilson(share * effective, effective)
    return _metric(name, share, low, high, len(kept), scores)


def _metric(name: str, value: float, low: float, high: float, n: int, scores: Sequence[Score]) -> MetricValue:
    return MetricValue(name, value, low, high, n, len(scores), not_ok=not_ok_counts(scores))


def effective_size(values: Sequence[float], clusters: Sequence[Hashable]) -> float:
    """Number of independent 0/1 values that would know the share as well as these clustered ones.

    n / design effect, the variance of the share between clusters over that of independent samples, never more than n.
    All values equal: the variance says nothing, so every cluster counts once.
    """
    totals: dict[Hashable, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        total = totals.setdefault(cluster, [0.0, 0.0])
        total[0] += value
        total[1] += 1
    n, c = len(values), len(totals)
    share = math.fsum(values) / n
    if c == n:
        return float(n)
    if c == 1 or share in (0.0, 1.0):
        return float(c)
    between = math.fsum((total - share * size) ** 2 for total, size in totals.values()) * c / (c - 1) / n**2
    effect = between / (share * (1 - share) / n)
    return n / max(1.0, effect)
