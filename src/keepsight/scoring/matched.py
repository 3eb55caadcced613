"""Forgetting at equal learning: two methods compared where both have learnt the new tasks equally well.

A method that learns less forgets less, and so does a smaller step: MoELoRA's softmax gate divides its update by the number of
experts, so at equal rates it is compared with a LoRA of a fraction of its alpha. Each setting of a method (an epoch, a rate) is a
point: the score on new tasks, and the forgetting of earlier ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keepsight.scoring.continual import figure_of, unavailable, values_of
from keepsight.scoring.sequences import Array, TaskSequence, read_sequences, resampled
from keepsight.types import KeepsightError, MetricValue, ResultMatrix

__all__ = ["Matched", "MatchedForgetting", "forgetting_at_matched_new_task_score", "matched_forgetting"]

Point = tuple[float, float]  # (score on new tasks, forgetting of earlier ones)


@dataclass(frozen=True)
class Matched:
    """Forgetting of two methods at one new-task score; both None with `why_not` when no score is reached by both."""

    at: float | None
    first: float | None
    second: float | None
    why_not: str = ""


@dataclass(frozen=True)
class MatchedForgetting:
    """The same with intervals. `at` is the new-task score; `difference` is first minus second, paired."""

    at: float | None
    first: MetricValue | None
    second: MetricValue | None
    difference: MetricValue | None
    why_not: str = ""


def forgetting_at_matched_new_task_score(
    first: Sequence[Point], second: Sequence[Point], at: float | None = None
) -> Matched:
    """How much two methods forget when they have learnt the new tasks equally well.

    A method that learns less forgets less; a comparison at equal steps or rates shows that, too. Between neighbouring points
    of a method its forgetting is interpolated, never extrapolated; points of one score are averaged.

    Args:
        first, second: of every setting (epoch, learning rate, ...) of a method the score on new tasks and the forgetting of
            earlier ones, e.g. `learning_accuracy` and minus `backward_transfer`.
        at: the new-task score (default: the highest that both reach).
    """
    points = [np.asarray(each, dtype=float).reshape(-1, 2) for each in (first, second)]
    if not all(map(len, points)) or not all(np.all(np.isfinite(each)) for each in points):
        raise KeepsightError(
            "each method needs at least one point of two finite numbers: new-task score, forgetting"
        )
    score = min(each[:, 0].max() for each in points) if at is None else at
    found = [
        float(_interpolated(each[None, :, 0], each[None, :, 1], np.array([score]))[0]) for each in points
    ]
    for name, each, value in zip(("first", "second"), points, found):
        if math.isnan(value):
            low, high = each[:, 0].min(), each[:, 0].max()
            why_not = f"the {name} method's new-task scores reach from {low:.4g} to {high:.4g}, which leaves out {score:.4g}"
            return Matched(None, None, None, why_not)
    return Matched(float(score), found[0], found[1])


def matched_forgetting(
    first: Sequence[ResultMatrix],
    second: Sequence[ResultMatrix],
    *,
    scorer: str | None = None,
    at: float | None = None,
    level: float = 0.95,
    seed: int = 0,
    n_resamples: int = 10_000,
) -> MatchedForgetting:
    """`forgetting_at_matched_new_task_score` of two methods with intervals, one matrix per setting.

    The new-task score is the learning accuracy; forgetting is minus the backward transfer, of a single stage minus the change
    on unseen tasks. Where `at` is not given, every draw is matched at the highest score that both reach in it.

    Raises:
        KeepsightError: a matrix is no sequence, or they have other tasks or samples.
    """
    sequences = read_sequences([*first, *second], scorer)
    name = "backward_transfer" if sequences[0].stages > 1 else "unseen"
    if why_not := unavailable(sequences[0]).get(name):
        raise KeepsightError(
            f"{sequences[0].rows[-1]} has nothing to forget: {why_not}; audit other tasks, too"
        )
    points = [_point(name, sequence, sequence.means()) for sequence in sequences]
    told = [(float(x), float(y)) for x, y in points]
    found = forgetting_at_matched_new_task_score(told[: len(first)], told[len(first) :], at)
    if found.first is None or found.second is None:
        return MatchedForgetting(None, None, None, None, found.why_not)
    draws = _matched_draws(name, sequences, len(first), at, n_resamples, seed)
    reads = ("learning_accuracy", name)
    values = (found.first, found.second, found.first - found.second)
    figures = [
        figure_of("forgetting_at_matched_new_task_score", sequences, value, each, level, reads, reach=reach)
        for value, each, reach in zip(values, (draws[0], draws[1], draws[0] - draws[1]), (1, 1, 2))
    ]
    return MatchedForgetting(found.at, figures[0], figures[1], figures[2])


def _matched_draws(
    name: str,
    sequences: Sequence[TaskSequence],
    first: int,
    at: float | None,
    n_resamples: int,
    seed: int,
) -> tuple[Array, Array]:
    """Forgetting of the first `first` sequences' method and of the other's in every draw, [n_resamples] each."""
    cells = resampled(sequences, n_resamples, seed)
    points = np.array([_point(name, *each) for each in zip(sequences, cells)])  # [settings, 2, n_resamples]
    x, y = points[:, 0].T, points[:, 1].T
    parts = slice(None, first), slice(first, None)
    highest = np.minimum(x[:, parts[0]].max(axis=1), x[:, parts[1]].max(axis=1))
    where = highest if at is None else np.full(n_resamples, at)
    return (
        _interpolated(x[:, parts[0]], y[:, parts[0]], where),
        _interpolated(x[:, parts[1]], y[:, parts[1]], where),
    )


def _point(name: str, sequence: TaskSequence, cells: Array) -> tuple[Array, Array]:
    return values_of("learning_accuracy", sequence, cells), -values_of(name, sequence, cells)


def _interpolated(x: Array, y: Array, at: Array) -> Array:
    """y at `at` [rows] between the neighbouring points of each row, [rows, points]; nan outside of them."""
    at = at[:, None]
    with np.errstate(invalid="ignore"):
        below = np.where(x <= at, x, -np.inf).max(axis=1, keepdims=True)  # [rows, 1]
        above = np.where(x >= at, x, np.inf).min(axis=1, keepdims=True)
        left, right = (
            np.where(x == end, y, 0).sum(axis=1) / (x == end).sum(axis=1) for end in (below, above)
        )  # nan where no point is on that side
        share = np.where(above > below, (at - below) / (above - below), 0.0)[:, 0]
        return np.asarray(left + share * (right - left))
