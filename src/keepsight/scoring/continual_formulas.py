"""Formulas of continual learning: from a triangle of scores to averages, transfer and forgetting.

They take a lower-triangular matrix of scores: row i holds the scores after stage i, column j is the j-th task in order of training.
What stands above the diagonal (tasks still to come) may be missing or nan; only forward transfer reads it. Scores keep their
unit: per cent in, per cent out. Each has a twin with `_of` for many triangles at once, [..., T, T] -> [...].

Sources: CoIN, section 4.1.3 "Performance Evaluation", metrics (1) to (3), for ACC, BWT and MAA; Lopez-Paz & Ranzato 2017 (Gradient
Episodic Memory), equations 2 to 4, for ACC, BWT and forward transfer; Chaudhry et al. 2018 (Riemannian Walk) for the forgetting
measure; Riemer et al. 2019 (Meta-Experience Replay) for learning accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from keepsight.scoring.sequences import Array
from keepsight.types import KeepsightError

__all__ = [
    "Convention",
    "average_accuracy",
    "average_accuracy_of",
    "backward_transfer",
    "backward_transfer_of",
    "forward_transfer",
    "forward_transfer_of",
    "learning_accuracy",
    "learning_accuracy_of",
    "maximal_forgetting",
    "maximal_forgetting_of",
    "mean_average_accuracy",
    "mean_average_accuracy_of",
]

Convention = Literal["formula", "coin_tables"]
Scores = Sequence[Sequence[float]]  # lower-triangular, rows of 1, 2, ... T numbers or all of T


def average_accuracy(scores: Scores) -> float:
    """ACC = 1/T sum_i A[T, i]: mean over all tasks after the last stage. CoIN section 4.1.3 (1)."""
    return float(average_accuracy_of(_square(scores)))


def backward_transfer(scores: Scores, convention: Convention = "formula") -> float:
    """BWT = 1/(T-1) sum_{i<T} (A[T, i] - A[i, i]): what became of each task since it was learnt. Negative is forgotten.

    CoIN section 4.1.3 (2). nan for a single task.

    Args:
        convention: "formula" divides by T - 1, as published; "coin_tables" by T, which counts the last task's 0 and is what
            CoIN's Tables 2 to 6 print.
    """
    if convention not in ("formula", "coin_tables"):
        raise KeepsightError(f'convention {convention!r} is unknown; choose "formula" or "coin_tables"')
    return float(backward_transfer_of(_square(scores), convention))


def mean_average_accuracy(scores: Scores) -> float:
    """MAA = 1/T sum_j (1/j sum_{i<=j} A[j, i]): mean over stages of the mean over the tasks met so far.

    CoIN section 4.1.3 (3); the column "MCC" of its Tables 2 to 6.
    """
    return float(mean_average_accuracy_of(_square(scores)))


def forward_transfer(scores: Scores, base: Sequence[float]) -> float:
    """FWT = 1/(T-1) sum_{i>1} (A[i-1, i] - base[i]): what earlier stages did for a task that is not yet learnt.

    Lopez-Paz & Ranzato 2017, equation 4. nan for a single task.

    Args:
        scores: with the cells just above the diagonal.
        base: the untrained model's score on every task, in order of training.
    """
    cells = _square(scores)
    if len(base) != len(cells):
        raise KeepsightError(f"{len(cells)} tasks need as many scores of the base, not {len(base)}")
    value = float(forward_transfer_of(np.vstack([np.asarray(base, dtype=float), cells])))
    if math.isnan(value) and len(cells) > 1:
        raise KeepsightError(
            "forward transfer needs every task's score just before it is learnt, and the base's"
        )
    return value


def maximal_forgetting(scores: Scores) -> float:
    """1/(T-1) sum_{j<T} (max_{j<=l<T} A[l, j] - A[T, j]): the best a task ever was, minus what is left. Positive is forgotten.

    Chaudhry et al. 2018, over the stages since the task was learnt. At least -BWT. nan for a single task.
    """
    return float(maximal_forgetting_of(_square(scores)))


def learning_accuracy(scores: Scores) -> float:
    """1/T sum_i A[i, i]: the score on each task just after it was learnt. Riemer et al. 2019."""
    return float(learning_accuracy_of(_square(scores)))


def _square(scores: Scores) -> Array:
    """[T, T], nan above the diagonal where nothing was given."""
    size = len(scores)
    if not size or any(not place < len(row) <= size for place, row in enumerate(scores)):
        raise KeepsightError(
            "a sequence of T tasks needs T rows of scores, the i-th with at least i and at most T numbers"
        )
    cells = np.full((size, size), np.nan)
    for place, row in enumerate(scores):
        cells[place, : len(row)] = row
    if not np.all(np.isfinite(cells[np.tril_indices(size)])):
        place = np.argwhere(~np.isfinite(np.where(np.tri(size, dtype=bool), cells, 0.0)))[0]
        raise KeepsightError(f"the score after stage {place[0] + 1} on task {place[1] + 1} is missing")
    return cells


# ---- many triangles at once ---------------------------------------------------------------------------------------


def average_accuracy_of(cells: Array) -> Array:
    return np.asarray(cells[..., -1, :].mean(axis=-1))


def backward_transfer_of(cells: Array, convention: Convention) -> Array:
    size = cells.shape[-1]
    since_learnt = cells[..., -1, :-1] - _diagonal(cells)[..., :-1]  # [..., T - 1]
    if size == 1:
        return np.full(cells.shape[:-2], np.nan)
    return np.asarray(since_learnt.sum(axis=-1) / (size - 1 if convention == "formula" else size))


def mean_average_accuracy_of(cells: Array) -> Array:
    seen = [cells[..., stage, : stage + 1].mean(axis=-1) for stage in range(cells.shape[-1])]
    return np.asarray(np.mean(seen, axis=0))


def forward_transfer_of(cells: Array) -> Array:
    """Of cells with the base in front, [..., 1 + T, T]."""
    size = cells.shape[-1]
    if size == 1:
        return np.full(cells.shape[:-2], np.nan)
    task = np.arange(1, size)
    return np.asarray((cells[..., task, task] - cells[..., 0, 1:]).mean(axis=-1))


def maximal_forgetting_of(cells: Array) -> Array:
    size = cells.shape[-1]
    if size == 1:
        return np.full(cells.shape[:-2], np.nan)
    lost = [cells[..., task:-1, task].max(axis=-1) - cells[..., -1, task] for task in range(size - 1)]
    return np.asarray(np.mean(lost, axis=0))


def learning_accuracy_of(cells: Array) -> Array:
    return np.asarray(_diagonal(cells).mean(axis=-1))


def _diagonal(cells: Array) -> Array:
    return np.diagonal(cells, axis1=-2, axis2=-1)
