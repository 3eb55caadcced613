"""How a model fared through a sequence of tasks: averages, transfer and forgetting, each with its interval.

The formulas take a lower-triangular matrix of scores: row i holds the scores after stage i, column j is the j-th task in order of
training. What stands above the diagonal (tasks still to come) may be missing or nan; only forward transfer reads it. Scores keep
their unit: per cent in, per cent out.

`continual_metrics` computes them for a result matrix: all figures of a call come from the same draws of whole clusters of
samples (`scoring.sequences`), percentile intervals, widened to the figure itself where a maximum is flattered by noise. `n` counts
the samples that were scored in every cell a figure reads, `total` all samples of these columns, `not_ok` the scores by status.

Sources: CoIN, section 4.1.3 "Performance Evaluation", metrics (1) to (3), for ACC, BWT and MAA; Lopez-Paz & Ranzato 2017 (Gradient
Episodic Memory), equations 2 to 4, for ACC, BWT and forward transfer; Chaudhry et al. 2018 (Riemannian Walk) for the forgetting
measure; Riemer et al. 2019 (Meta-Experience Replay) for learning accuracy.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from keepsight.scoring.sequences import Array, TaskSequence, read_row, read_sequences, resampled
from keepsight.scoring.statistics import percentiles
from keepsight.types import KeepsightError, MetricValue, ResultMatrix

__all__ = [
    "METRICS",
    "ContinualMetrics",
    "Convention",
    "average_accuracy",
    "average_of_row",
    "backward_transfer",
    "continual_difference",
    "continual_metrics",
    "figure_of",
    "forward_transfer",
    "interval_of",
    "learning_accuracy",
    "maximal_forgetting",
    "mean_average_accuracy",
    "unavailable",
    "values_of",
]

Convention = Literal["formula", "coin_tables"]
Scores = Sequence[Sequence[float]]  # lower-triangular, rows of 1, 2, ... T numbers or all of T


# ---- formulas -----------------------------------------------------------------------------------------------------


def average_accuracy(scores: Scores) -> float:
    """ACC = 1/T sum_i A[T, i]: mean over all tasks after the last stage. CoIN section 4.1.3 (1)."""
    return float(_average_accuracy(_square(scores)))


def backward_transfer(scores: Scores, convention: Convention = "formula") -> float:
    """BWT = 1/(T-1) sum_{i<T} (A[T, i] - A[i, i]): what became of each task since it was learnt. Negative is forgotten.

    CoIN section 4.1.3 (2). nan for a single task.

    Args:
        convention: "formula" divides by T - 1, as published; "coin_tables" by T, which counts the last task's 0 and is what
            CoIN's Tables 2 to 6 print.
    """
    if convention not in ("formula", "coin_tables"):
        raise KeepsightError(f'convention {convention!r} is unknown; choose "formula" or "coin_tables"')
    return float(_backward_transfer(_square(scores), convention))


def mean_average_accuracy(scores: Scores) -> float:
    """MAA = 1/T sum_j (1/j sum_{i<=j} A[j, i]): mean over stages of the mean over the tasks met so far.

    CoIN section 4.1.3 (3); the column "MCC" of its Tables 2 to 6.
    """
    return float(_mean_average_accuracy(_square(scores)))


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
    value = float(_forward_transfer(np.vstack([np.asarray(base, dtype=float), cells])))
    if math.isnan(value) and len(cells) > 1:
        raise KeepsightError(
            "forward transfer needs every task's score just before it is learnt, and the base's"
        )
    return value


def maximal_forgetting(scores: Scores) -> float:
    """1/(T-1) sum_{j<T} (max_{j<=l<T} A[l, j] - A[T, j]): the best a task ever was, minus what is left. Positive is forgotten.

    Chaudhry et al. 2018, over the stages since the task was learnt. At least -BWT. nan for a single task.
    """
    return float(_maximal_forgetting(_square(scores)))


def learning_accuracy(scores: Scores) -> float:
    """1/T sum_i A[i, i]: the score on each task just after it was learnt. Riemer et al. 2019."""
    return float(_learning_accuracy(_square(scores)))


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


# Cells are [..., T, T] here, so that thousands of draws are one call.


def _average_accuracy(cells: Array) -> Array:
    return np.asarray(cells[..., -1, :].mean(axis=-1))


def _backward_transfer(cells: Array, convention: Convention) -> Array:
    size = cells.shape[-1]
    since_learnt = cells[..., -1, :-1] - _diagonal(cells)[..., :-1]  # [..., T - 1]
    if size == 1:
        return np.full(cells.shape[:-2], np.nan)
    return np.asarray(since_learnt.sum(axis=-1) / (size - 1 if convention == "formula" else size))


def _mean_average_accuracy(cells: Array) -> Array:
    seen = [cells[..., stage, : stage + 1].mean(axis=-1) for stage in range(cells.shape[-1])]
    return np.asarray(np.mean(seen, axis=0))


def _forward_transfer(cells: Array) -> Array:
    """Of cells with the base in front, [..., 1 + T, T]."""
    size = cells.shape[-1]
    if size == 1:
        return np.full(cells.shape[:-2], np.nan)
    task = np.arange(1, size)
    return np.asarray((cells[..., task, task] - cells[..., 0, 1:]).mean(axis=-1))


def _maximal_forgetting(cells: Array) -> Array:
    size = cells.shape[-1]
    if size == 1:
        return np.full(cells.shape[:-2], np.nan)
    lost = [cells[..., task:-1, task].max(axis=-1) - cells[..., -1, task] for task in range(size - 1)]
    return np.asarray(np.mean(lost, axis=0))


def _learning_accuracy(cells: Array) -> Array:
    return np.asarray(_diagonal(cells).mean(axis=-1))


def _diagonal(cells: Array) -> Array:
    return np.diagonal(cells, axis1=-2, axis2=-1)


# ---- figures of a result matrix -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Figure:
    """How a figure comes from cells [..., 1 + T, C] (base first, the T tasks before unseen ones), and which it reads."""

    compute: Callable[[Array, int], Array]  # cells, T -> [...]
    reads: Callable[[int, int], Array]  # T, C -> [1 + T, C], true where it reads
    none: str = ""  # why it reads no cell


def _stages(cells: Array, size: int) -> Array:
    return cells[..., 1:, :size]


def _earlier(mask: Array, size: int) -> Array:
    """Without the last task, which nothing follows."""
    mask[:, size - 1] = False
    return mask


def _at_end(size: int, cols: int) -> Array:
    mask = np.zeros((size + 1, cols), dtype=bool)
    mask[-1, :size] = True
    return mask


def _when_learnt(size: int, cols: int) -> Array:
    return np.eye(size + 1, cols, k=-1, dtype=bool)


def _before_learnt(size: int, cols: int) -> Array:
    """The base and the row before each task's own; the first task's is the base itself."""
    mask = np.eye(size + 1, cols, dtype=bool) & (np.arange(cols) < size)
    mask[0, 1:size] = True
    mask[:, 0] = False
    return mask


def _since_learnt(size: int, cols: int) -> Array:
    return np.tri(size + 1, cols, k=-1, dtype=bool) & (np.arange(cols) < size)


def _unseen(size: int, cols: int) -> Array:
    mask = np.zeros((size + 1, cols), dtype=bool)
    mask[[0, -1], size:] = True
    return mask


_ONE_STAGE = "there is a single stage: nothing comes before or after it"
_FIGURES: dict[str, _Figure] = {
    "average_accuracy": _Figure(lambda cells, size: _average_accuracy(_stages(cells, size)), _at_end),
    "backward_transfer": _Figure(
        lambda cells, size: _backward_transfer(_stages(cells, size), "formula"),
        lambda size, cols: _earlier(_at_end(size, cols) | _when_learnt(size, cols), size),
        _ONE_STAGE,
    ),
    "backward_transfer_coin_tables": _Figure(
        lambda cells, size: _backward_transfer(_stages(cells, size), "coin_tables"),
        lambda size, cols: _earlier(_at_end(size, cols) | _when_learnt(size, cols), size),
        _ONE_STAGE,
    ),
    "mean_average_accuracy": _Figure(
        lambda cells, size: _mean_average_accuracy(_stages(cells, size)), _since_learnt
    ),
    "forward_transfer": _Figure(
        lambda cells, size: _forward_transfer(cells[..., :size]), _before_learnt, _ONE_STAGE
    ),
    "maximal_forgetting": _Figure(
        lambda cells, size: _maximal_forgetting(_stages(cells, size)),
        lambda size, cols: _earlier(_since_learnt(size, cols), size),
        _ONE_STAGE,
    ),
    "learning_accuracy": _Figure(lambda cells, size: _learning_accuracy(_stages(cells, size)), _when_learnt),
    "unseen": _Figure(
        lambda cells, size: np.asarray((cells[..., -1, size:] - cells[..., 0, size:]).mean(axis=-1)),
        _unseen,
        "every audited task was trained on",
    ),
}
METRICS = tuple(_FIGURES)  # "unseen": mean change against the base on tasks never trained on


@dataclass(frozen=True)
class ContinualMetrics:
    """The figures of one sequence, or of one minus another. A name is either in `figures` or in `why_not`."""

    rows: tuple[str, ...]  # base first, then a row per stage
    tasks: tuple[str, ...]  # in order of training
    unseen: tuple[str, ...]
    means: tuple[
        tuple[float, ...], ...
    ]  # per row the mean score on every task, then on unseen ones; nan: no result
    figures: Mapping[str, MetricValue]
    why_not: Mapping[str, str]

    def __getitem__(self, name: str) -> MetricValue:
        return self.figures[name]


def continual_metrics(
    matrix: ResultMatrix,
    *,
    scorer: str | None = None,
    level: float = 0.95,
    seed: int = 0,
    n_resamples: int = 10_000,
) -> ContinualMetrics:
    """All of `METRICS` for a matrix of the base and one row per stage.

    Args:
        matrix: `meta["tuned_on"]` names each stage row's column. Columns that no stage learnt enter "unseen" only.
        scorer: whose scores to read, e.g. a judge of general knowledge (default: the headline scorer's).
        level: of each interval on its own; nothing is corrected for their number.

    Raises:
        KeepsightError: the matrix is no sequence; see `scoring.sequences.read_sequences`.
    """
    (sequence,) = read_sequences([matrix], scorer)
    (cells,) = resampled([sequence], n_resamples, seed)
    why_not = unavailable(sequence)
    figures = {
        name: figure_of(
            name,
            [sequence],
            float(values_of(name, sequence, sequence.means())),
            values_of(name, sequence, cells),
            level,
        )
        for name in METRICS
        if name not in why_not
    }
    return _metrics_of(sequence, sequence.means(), figures, why_not)


def average_of_row(
    matrix: ResultMatrix,
    row: str,
    tasks: Sequence[str],
    *,
    scorer: str | None = None,
    level: float = 0.95,
    seed: int = 0,
    n_resamples: int = 10_000,
) -> MetricValue:
    """Plain mean over tasks of one checkpoint: zero-shot and multi-task, whose column "MCC" in CoIN's Tables 2 and 3 is this.

    Raises:
        KeepsightError: a task without a result, or without a scored answer.
    """
    cells = read_row(matrix, row, tasks, scorer)
    (draws,) = resampled([cells], n_resamples, seed)
    value, every = float(cells.means().mean()), np.ones((1, len(tasks)), dtype=bool)
    return _metric("average_accuracy", [(cells, every)], value, draws.mean(axis=(1, 2)), level)


def continual_difference(
    first: ResultMatrix,
    second: ResultMatrix,
    *,
    scorer: str | None = None,
    level: float = 0.95,
    seed: int = 0,
    n_resamples: int = 10_000,
) -> ContinualMetrics:
    """All of `METRICS` of `first` minus those of `second`: the same drawn samples serve both, so the intervals are paired.

    `means` are differences, too, in the order of `first`. The two may have learnt the tasks in another order.

    Raises:
        KeepsightError: one of them is no sequence, or they have other tasks or samples.
    """
    pair = read_sequences([first, second], scorer)
    drawn = resampled(pair, n_resamples, seed)
    why_not = {**unavailable(pair[0]), **unavailable(pair[1])}
    figures = {}
    for name in METRICS:
        if name not in why_not:
            value, draws = (
                _minus(*(values_of(name, sequence, cells) for sequence, cells in zip(pair, each)))
                for each in ([sequence.means() for sequence in pair], drawn)
            )
            figures[name] = figure_of(name, pair, float(value), draws, level)
    means = [sequence.means() for sequence in pair]
    order = [[*pair[1].tasks, *pair[1].unseen].index(column.name) for column in pair[0].columns]
    return _metrics_of(pair[0], _minus(means[0], means[1][:, order]), figures, why_not)


def _minus(first: Array, second: Array) -> Array:
    """Without rounding dust: what was added in another order is still the same."""
    return np.asarray(np.round(first - second, 12))


def _metrics_of(
    sequence: TaskSequence, means: Array, figures: Mapping[str, MetricValue], why_not: Mapping[str, str]
) -> ContinualMetrics:
    return ContinualMetrics(
        sequence.rows, sequence.tasks, sequence.unseen, tuple(map(tuple, means.tolist())), figures, why_not
    )


# ---- pieces that other comparisons are made of --------------------------------------------------------------------


def unavailable(sequence: TaskSequence) -> dict[str, str]:
    """Name -> reason of every figure that has nothing to read, or would read a cell without a result."""
    found = {}
    for name, figure in _FIGURES.items():
        reads = figure.reads(sequence.stages, len(sequence.columns))
        missing = np.argwhere(reads & ~sequence.there)
        if not reads.any():
            found[name] = figure.none
        elif len(missing):
            row, col = missing[0]
            found[name] = f"there is no result of {sequence.rows[row]} on {sequence.columns[col].name}"
    return found


def values_of(name: str, sequence: TaskSequence, cells: Array) -> Array:
    """A figure of many draws: cells [..., 1 + T, C] -> [...]."""
    return _FIGURES[name].compute(cells, sequence.stages)


def figure_of(
    name: str,
    sequences: Sequence[TaskSequence],
    value: float,
    draws: Array,
    level: float,
    reads: Sequence[str] = (),
) -> MetricValue:
    """A value with its interval, and with the samples that it rests on in all of the sequences.

    Args:
        draws: the same value of the samples drawn anew, [n_resamples].
        reads: the figures that it is made of (default: the one called `name`).
    """
    names = reads or (name,)
    read = [
        (each, np.any([_FIGURES[part].reads(each.stages, len(each.columns)) for part in names], axis=0))
        for each in sequences
    ]
    return _metric(name, read, value, draws, level)


def _metric(
    name: str, read: Sequence[tuple[TaskSequence, Array]], value: float, draws: Array, level: float
) -> MetricValue:
    """`read`: sequences and which of their cells [rows, C] the value rests on."""
    scored, total, not_ok = 0, 0, Counter[str]()
    for name_of_task in (column.name for column in read[0][0].columns):
        rows = [
            (column, row)
            for sequence, mask in read
            for place, column in enumerate(sequence.columns)
            if column.name == name_of_task
            for row in np.flatnonzero(mask[:, place])
        ]
        if rows:
            total += len(rows[0][0].ids)
            scored += int(np.all([~np.isnan(column.values[row]) for column, row in rows], axis=0).sum())
            for column, row in rows:
                not_ok.update(column.not_ok[row])
    low, high = interval_of(value, draws, level)
    return MetricValue(name, value, low, high, scored, total, level, dict(sorted(not_ok.items())))


def interval_of(value: float, draws: Array, level: float) -> tuple[float, float]:
    """Percentile ends that hold the value itself; nan where so many draws have none that an end is not known."""
    if math.isnan(value) or np.isnan(draws).mean() > (1 - level) / 2:
        return math.nan, math.nan
    _, low, high = percentiles(draws, level)
    return min(low, value), max(high, value)
