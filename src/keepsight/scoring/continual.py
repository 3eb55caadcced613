"""How a model fared through a sequence of tasks: averages, transfer and forgetting, each with its interval.

The formulas (`scoring.continual_formulas`) take plain triangles of scores; `continual_metrics` computes all of them for a result
matrix, `continual_difference` those of one method minus another's. All figures of a call come from the same draws of whole
clusters of samples (`scoring.sequences`). `n` counts the samples that were scored in every cell a figure reads, `total` all
samples of these columns, `not_ok` the scores by status.

Intervals are percentiles of the draws, widened twice. What no sample shows is not impossible: each end is moved outwards, in
quadrature, by z^2 / (N + z^2) of the scores' range, the change that N clusters without a change cannot exclude; so, where nothing
moved, the interval is Tango's, and of an average where all is right it is Wilson's. And each holds its figure, also where the
maximum of several noisy scores is flattered in every draw. None reaches beyond what the scores' range makes possible.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from keepsight.scoring.continual_formulas import (
    Convention,
    average_accuracy,
    average_accuracy_of,
    backward_transfer,
    backward_transfer_of,
    forward_transfer,
    forward_transfer_of,
    learning_accuracy,
    learning_accuracy_of,
    maximal_forgetting,
    maximal_forgetting_of,
    mean_average_accuracy,
    mean_average_accuracy_of,
)
from keepsight.scoring.sequences import Array, Column, TaskSequence, read_row, read_sequences, resampled
from keepsight.scoring.statistics import percentiles, tango
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


@dataclass(frozen=True)
class _Figure:
    """How a figure comes from cells [..., 1 + T, C] (base first, the T tasks before unseen ones), and which it reads."""

    compute: Callable[[Array, int], Array]  # cells, T -> [...]
    reads: Callable[[int, int], Array]  # T, C -> [1 + T, C], true where it reads
    none: str = ""  # why it reads no cell
    score: bool = False  # it lies between the lowest score and the highest; else it is a change
    reach: Callable[[int], float] = lambda size: 1.0  # T -> the largest change, in ranges of the scores


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


def _before_all(size: int, cols: int) -> Array:
    mask = np.zeros((size + 1, cols), dtype=bool)
    mask[0, :size] = True
    return mask


_AT_ONCE = "its tasks were learnt all at once, so that nothing came after one"
_ONE_STAGE = "there is a single stage: nothing comes before or after it"
_FIGURES: dict[str, _Figure] = {
    "zero_shot": _Figure(
        lambda cells, size: np.asarray(cells[..., 0, :size].mean(axis=-1)), _before_all, score=True
    ),
    "average_accuracy": _Figure(
        lambda cells, size: average_accuracy_of(_stages(cells, size)), _at_end, score=True
    ),
    "backward_transfer": _Figure(
        lambda cells, size: backward_transfer_of(_stages(cells, size), "formula"),
        lambda size, cols: _earlier(_at_end(size, cols) | _when_learnt(size, cols), size),
        _ONE_STAGE,
    ),
    "backward_transfer_coin_tables": _Figure(
        lambda cells, size: backward_transfer_of(_stages(cells, size), "coin_tables"),
        lambda size, cols: _earlier(_at_end(size, cols) | _when_learnt(size, cols), size),
        _ONE_STAGE,
        reach=lambda size: (size - 1) / size,
    ),
    "mean_average_accuracy": _Figure(
        lambda cells, size: mean_average_accuracy_of(_stages(cells, size)), _since_learnt, score=True
    ),
    "forward_transfer": _Figure(
        lambda cells, size: forward_transfer_of(cells[..., :size]), _before_learnt, _ONE_STAGE
    ),
    "maximal_forgetting": _Figure(
        lambda cells, size: maximal_forgetting_of(_stages(cells, size)),
        lambda size, cols: _earlier(_since_learnt(size, cols), size),
        _ONE_STAGE,
    ),
    "learning_accuracy": _Figure(
        lambda cells, size: learning_accuracy_of(_stages(cells, size)), _when_learnt, score=True
    ),
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
        """A figure of `METRICS`. Raises KeepsightError when it cannot be had, with the reason."""
        if name in self.figures:
            return self.figures[name]
        why = self.why_not.get(name, f"choose from {', '.join(METRICS)}")
        raise KeepsightError(f"the sequence has no {name}: {why}")


def continual_metrics(
    matrix: ResultMatrix,
    *,
    scorer: str | None = None,
    level: float = 0.95,
    seed: int = 0,
    n_resamples: int = 10_000,
) -> ContinualMetrics:
    """All of `METRICS` for a matrix of the base and one row per stage; of multi-task training those that need no stages.

    Args:
        matrix: `meta["tuned_on"]` names each stage row's column. Columns that no stage learnt enter "unseen" only. Where it
            does not know the only row beside the base, the first columns were learnt at once, as many as
            `meta["sequence"]["stages"]` has.
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
            score=_FIGURES[name].score,
            reach=_FIGURES[name].reach(sequence.stages),
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
    return _metric("average_accuracy", [(cells, every)], value, draws.mean(axis=(1, 2)), level, score=True)


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

    `means` are differences, too, in the order of `first`. The two may have learnt the tasks in another order, or all at once;
    then `means` has the base and the end alone.

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
            figure = _FIGURES[name]
            reach = 1.0 if figure.score else 2 * figure.reach(pair[0].stages)
            figures[name] = figure_of(name, pair, float(value), draws, level, reach=reach)
    rows = [0, -1] if any(sequence.joint for sequence in pair) else list(range(len(pair[0].rows)))
    means = [sequence.means()[rows] for sequence in pair]
    order = [[*pair[1].tasks, *pair[1].unseen].index(column.name) for column in pair[0].columns]
    first_rows = replace(pair[0], rows=tuple(pair[0].rows[row] for row in rows))
    return _metrics_of(first_rows, _minus(means[0], means[1][:, order]), figures, why_not)


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
        between = figure.reads(sequence.stages, len(sequence.columns))[1:-1]
        reads = _reads(name, sequence)
        missing = np.argwhere(reads & ~sequence.there)
        if sequence.joint and between.any():
            found[name] = _AT_ONCE
        elif not reads.any():
            found[name] = figure.none
        elif len(missing):
            row, col = missing[0]
            found[name] = f"there is no result of {sequence.rows[row]} on {sequence.columns[col].name}"
    return found


def _reads(name: str, sequence: TaskSequence) -> Array:
    """Which cells a figure reads, [rows, C]."""
    reads = _FIGURES[name].reads(sequence.stages, len(sequence.columns))
    return reads[[0, -1]] if sequence.joint else reads


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
    *,
    score: bool = False,
    reach: float = 1.0,
) -> MetricValue:
    """A value with its interval, and with the samples that it rests on in all of the sequences.

    Args:
        draws: the same value of the samples drawn anew, [n_resamples].
        reads: the figures that it is made of (default: the one called `name`).
        score: whether it is a mean of scores, and lies between the lowest and the highest; else it is a change.
        reach: the largest change there can be, up or down, in ranges of the scores; of one change minus another it is 2.
    """
    names = reads or (name,)
    read = [(each, np.any([_reads(part, each) for part in names], axis=0)) for each in sequences]
    return _metric(name, read, value, draws, level, score=score, reach=reach)


def _metric(
    name: str,
    read: Sequence[tuple[TaskSequence, Array]],
    value: float,
    draws: Array,
    level: float,
    *,
    score: bool,
    reach: float = 1.0,
) -> MetricValue:
    """`read`: sequences and which of their cells [rows, C] the value rests on."""
    cells = [
        [
            (column, row)
            for sequence, mask in read
            for place, column in enumerate(sequence.columns)
            if column.name == task
            for row in np.flatnonzero(mask[:, place]).tolist()
        ]
        for task in (column.name for column in read[0][0].columns)
    ]
    cells = [rows for rows in cells if rows]
    scored = sum(
        int(np.all([~np.isnan(column.values[row]) for column, row in rows], axis=0).sum()) for rows in cells
    )
    not_ok: Counter[str] = Counter()
    for column, row in (cell for rows in cells for cell in rows):
        not_ok.update(column.not_ok[row])
    low, high = _widened(value, interval_of(value, draws, level), cells, level, score=score, reach=reach)
    total = sum(len(rows[0][0].ids) for rows in cells)
    return MetricValue(name, value, low, high, scored, total, level, dict(sorted(not_ok.items())))


def interval_of(value: float, draws: Array, level: float) -> tuple[float, float]:
    """Percentile ends that hold the value itself; nan where so many draws have none that an end is not known."""
    if math.isnan(value) or np.isnan(draws).mean() > (1 - level) / 2:
        return math.nan, math.nan
    _, low, high = percentiles(draws, level)
    return min(low, value), max(high, value)


def _widened(
    value: float,
    ends: tuple[float, float],
    cells: Sequence[Sequence[tuple[Column, int]]],
    level: float,
    *,
    score: bool,
    reach: float,
) -> tuple[float, float]:
    """The ends moved outwards by what so few clusters cannot exclude, as far as possible. `cells`: per task the rows that are read."""
    values = np.array([end for rows in cells for column, row in rows for end in _range(column.values[row])])
    lowest, highest = min(0.0, values.min()), max(1.0, values.max())
    clusters = sum(int(rows[0][0].clusters.max()) + 1 for rows in cells)
    span = highest - lowest
    least = span * tango(0, 0, clusters, level)[1]
    low, high = value - math.hypot(value - ends[0], least), value + math.hypot(ends[1] - value, least)
    bounds = (lowest, highest) if score else (-reach * span, reach * span)
    return min(max(low, bounds[0]), value), max(min(high, bounds[1]), value)  # nan stays nan


def _range(values: Array) -> tuple[float, float]:
    return float(np.nanmin(values)), float(np.nanmax(values))
