"""A result matrix read as a sequence of stages, and its cells drawn again: what the continual figures rest on.

The first row is the base; every further row is the model after one stage, and `meta["tuned_on"]` says which column asks that
stage's task. Multi-task training has the base and one row, and learnt the first columns, as many as it was given stages. A cell is the mean of one scorer's values over the samples that it scored. Draws take whole clusters, the same
ones for every row of a column, of all matrices that are compared; columns are drawn apart from each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from keepsight.scoring.forgetting import pair_runs
from keepsight.scoring.metrics import not_ok_counts
from keepsight.types import KeepsightError, ResultMatrix, Run, Score

__all__ = ["Array", "Column", "TaskSequence", "is_joint", "read_row", "read_sequences", "resampled"]

Array = np.ndarray[Any, np.dtype[Any]]

_CELLS = 2_000_000  # numbers drawn at once


@dataclass(frozen=True)
class Column:
    """One task's scores in every row: R rows, n samples."""

    name: str
    ids: tuple[str, ...]
    clusters: Array  # [n] number of the cluster that each sample belongs to
    values: Array  # [R, n]; nan where nothing was scored, or where the row has no result
    there: tuple[bool, ...]  # per row: whether there is a result
    not_ok: tuple[Mapping[str, int], ...]  # per row: status -> count
    asked: Run  # the first row's with a result
    scorer: str | None  # whose values they are; None: the headline scorer's

    def means(self) -> Array:
        """Mean of the scored values of every row, [R]; nan where there is none."""
        return _ratios(np.nansum(self.values, axis=1), (~np.isnan(self.values)).sum(axis=1))


@dataclass(frozen=True)
class TaskSequence:
    """Base and stages of one training in sequence: 1 + T rows, C columns, of which the first T are the stages' tasks.

    Of multi-task training there are two rows alone: the base and what learnt all T at once.
    """

    rows: tuple[str, ...]
    columns: tuple[Column, ...]
    stages: int  # T

    @property
    def joint(self) -> bool:
        """Whether several tasks were learnt at once."""
        return len(self.rows) == 2 and self.stages > 1

    @property
    def tasks(self) -> tuple[str, ...]:
        """The columns that were trained on, in the order of training."""
        return tuple(column.name for column in self.columns[: self.stages])

    @property
    def unseen(self) -> tuple[str, ...]:
        """The columns that were never trained on."""
        return tuple(column.name for column in self.columns[self.stages :])

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    @property
    def there(self) -> Array:
        """Which cells have a result, [1 + T, C]."""
        return np.array([column.there for column in self.columns]).T

    def means(self) -> Array:
        """[1 + T, C]"""
        return np.stack([column.means() for column in self.columns], axis=1)


def read_sequences(matrices: Sequence[ResultMatrix], scorer: str | None = None) -> list[TaskSequence]:
    """The matrices with their columns in order of training, samples in the first one's order.

    Args:
        matrices: each with the base's row first, then one row per stage; cells of tasks that are still to come may be missing.
        scorer: whose scores to read (default: each run's headline scorer).

    Raises:
        KeepsightError: a row whose task is not known, a task learnt twice, a cell without a result or without a scored
            answer that the figures need; other tasks in one matrix than in another; or runs of one column that asked
            other samples or were scored by other rules.
    """
    first, *others = [_read(matrix, scorer) for matrix in matrices]
    return [first, *(_aligned(other, first) for other in others)]


def read_row(matrix: ResultMatrix, row: str, tasks: Sequence[str], scorer: str | None = None) -> TaskSequence:
    """One row alone on some tasks: [1, C] cells, no stages.

    Raises:
        KeepsightError: a task without a result or without a scored answer.
    """
    alone = ResultMatrix((row,), tuple(tasks), {(row, task): matrix[row, task] for task in tasks})
    return _require_scored(TaskSequence((row,), tuple(_column(alone, task, scorer) for task in tasks), 0))


def resampled(sequences: Sequence[TaskSequence], n_resamples: int, seed: int) -> list[Array]:
    """Cells of every sequence when the samples are drawn anew, [n_resamples, 1 + T, C] each.

    One draw of a column serves all rows of all sequences, so that differences between them are paired. A draw without a
    scored answer gives nan.

    Args:
        sequences: read together.
    """
    cells: dict[str, list[Array]] = {}  # per column one [n_resamples, 1 + T] for every sequence
    for number, column in enumerate(sequences[0].columns):
        values = [sequence.column(column.name).values for sequence in sequences]
        rng = np.random.default_rng([seed, number])
        means = _drawn(np.concatenate(values), column.clusters, n_resamples, rng)
        cells[column.name] = np.split(means, np.cumsum([len(each) for each in values])[:-1], axis=1)
    return [
        np.stack([cells[column.name][place] for column in sequence.columns], axis=2)
        for place, sequence in enumerate(sequences)
    ]


# ---- reading ------------------------------------------------------------------------------------------------------


def is_joint(matrix: ResultMatrix) -> bool:
    """Whether the matrix is of multi-task training: one checkpoint beside the base, of many stages, and no word on which it learnt."""
    return bool(_planned(matrix)) and len(matrix.rows) == 2 and matrix.rows[1] not in _tuned_on(matrix)


def _planned(matrix: ResultMatrix) -> int:
    """How many stages the training was given; 0 where the matrix does not say."""
    told = matrix.meta.get("sequence")
    stages = told.get("stages") if isinstance(told, Mapping) else None
    return len(stages) if isinstance(stages, (list, tuple)) else 0


def _tuned_on(matrix: ResultMatrix) -> Mapping[str, str]:
    return matrix.meta.get("tuned_on") or {}


def _read(matrix: ResultMatrix, scorer: str | None) -> TaskSequence:
    joint = is_joint(matrix)
    tasks = list(matrix.cols[: _planned(matrix)]) if joint else _tasks(matrix)
    unseen = [col for col in matrix.cols if col not in tasks]
    _require_cells(matrix, tasks, unseen, joint=joint)
    columns = tuple(_column(matrix, col, scorer) for col in [*tasks, *unseen])
    return _require_scored(TaskSequence(matrix.rows, columns, len(tasks)))


def _require_scored(sequence: TaskSequence) -> TaskSequence:
    for row, col in np.argwhere(sequence.there & np.isnan(sequence.means())):
        raise KeepsightError(
            f"no answer of {sequence.rows[row]} on {sequence.columns[col].name} was scored; score the run again or "
            "leave the task out"
        )
    return sequence


def _tasks(matrix: ResultMatrix) -> list[str]:
    """The column of each stage's task, in order."""
    tuned_on = _tuned_on(matrix)
    if len(matrix.rows) < 2:
        raise KeepsightError(
            "a sequence needs the base and at least one stage; audit a checkpoint after each stage"
        )
    if matrix.rows[0] in tuned_on:
        raise KeepsightError(
            f"the first row, {matrix.rows[0]}, was tuned on {tuned_on[matrix.rows[0]]}; put the base first"
        )
    found: dict[str, str] = {}
    for row in matrix.rows[1:]:
        task = tuned_on.get(row)
        if task is None:
            raise KeepsightError(
                f'the task that {row} learnt is not known: set meta["tuned_on"][{row!r}] to its column'
            )
        if task not in matrix.cols:
            raise KeepsightError(f"{row} learnt {task}, which is no column of the matrix; audit {task}, too")
        if task in found:
            raise KeepsightError(
                f"{task} is learnt twice, by {found[task]} and {row}; keep one row per stage and one stage per task"
            )
        found[task] = row
    return list(found)


def _require_cells(matrix: ResultMatrix, tasks: Sequence[str], unseen: Sequence[str], *, joint: bool) -> None:
    """Every task from its own stage on; tasks never trained on at both ends."""
    learnt = [len(tasks)] if joint else range(1, len(matrix.rows))
    needed = [(row, col) for row, known in zip(matrix.rows[1:], learnt) for col in tasks[:known]]
    needed += [(row, col) for row in (matrix.rows[0], matrix.rows[-1]) for col in unseen]
    for cell in needed:
        matrix[cell]  # raises


def _column(matrix: ResultMatrix, col: str, scorer: str | None) -> Column:
    runs = [matrix.runs.get((row, col)) for row in matrix.rows]
    first = next(run for run in runs if run is not None)
    ids = tuple(record.sample.id for record in first.records)
    number: dict[str, int] = {}
    clusters = [number.setdefault(record.sample.cluster, len(number)) for record in first.records]
    scores = [None if run is None else _scores(first, run, ids, col, scorer) for run in runs]
    return Column(
        col,
        ids,
        np.array(clusters, dtype=np.intp),
        np.array([[np.nan] * len(ids) if row is None else [score.value for score in row] for row in scores]),
        tuple(row is not None for row in scores),
        tuple({} if row is None else not_ok_counts(row) for row in scores),
        first,
        scorer,
    )


def _scores(first: Run, run: Run, ids: Sequence[str], col: str, scorer: str | None) -> list[Score]:
    """One run's scores in the order of `ids`."""
    if run is not first:
        pair_runs(first, run, scorer)  # says why two runs cannot be compared
    records = {record.sample.id: record for record in run.records}
    name = run.scorer if scorer is None else scorer
    _require_same_samples(ids, records, col)
    unscored = next((id for id in ids if name not in records[id].scores), None)
    if unscored is not None:
        raise KeepsightError(f"sample {unscored} of {col} has no score of {name}; score the run by {name}")
    return [records[id].scores[name] for id in ids]


def _require_same_samples(ids: Sequence[str], others: Mapping[str, Any], col: str) -> None:
    different = set(ids) ^ set(others)
    if different:
        raise KeepsightError(
            f"sample {min(different)} of {col} was not asked everywhere; audit all on the same samples"
        )


def _aligned(sequence: TaskSequence, first: TaskSequence) -> TaskSequence:
    """The sequence with the samples of each column in the first one's order."""
    different = set(first.tasks) ^ set(sequence.tasks) or set(first.unseen) ^ set(sequence.unseen)
    if different:
        raise KeepsightError(
            f"{first.rows[-1]} and {sequence.rows[-1]} have other tasks ({', '.join(sorted(different))}); audit both on "
            "the same ones, in the same roles"
        )
    columns = []
    for column in sequence.columns:
        other = first.column(column.name)
        place = {id: at for at, id in enumerate(column.ids)}
        _require_same_samples(other.ids, place, column.name)
        if column.asked is not other.asked:
            pair_runs(other.asked, column.asked, column.scorer)  # says why two runs cannot be compared
        values = column.values[:, [place[id] for id in other.ids]]
        columns.append(replace(column, ids=other.ids, clusters=other.clusters, values=values))
    return replace(sequence, columns=tuple(columns))


# ---- drawing ------------------------------------------------------------------------------------------------------


def _drawn(values: Array, clusters: Array, n_resamples: int, rng: np.random.Generator) -> Array:
    """Means of all rows of `values` [R, n] over clusters drawn with replacement, [n_resamples, R]."""
    sums, sizes = (
        np.stack([np.bincount(clusters, weights=row) for row in rows])  # [R, clusters]
        for rows in (np.nan_to_num(values), ~np.isnan(values))
    )
    # sorted, so that nothing depends on the order of the samples
    kinds, times = np.unique(np.concatenate([sums, sizes]), axis=1, return_counts=True)  # [2R, k], [k]
    rows = max(1, _CELLS // sums.shape[1])
    parts = []
    for start in range(0, n_resamples, rows):
        totals = _often(times, min(rows, n_resamples - start), rng) @ kinds.T  # [rows, 2R]
        parts.append(_ratios(*np.split(totals, 2, axis=1)))
    return np.concatenate(parts)


def _often(times: Array, size: int, rng: np.random.Generator) -> Array:
    """How often each kind of cluster comes in `size` draws of as many clusters as there are, [size, k]."""
    k, clusters = len(times), int(times.sum())
    if 8 * k <= clusters:  # a multinomial count costs about as much as eight single draws
        return rng.multinomial(clusters, times / clusters, size=size).astype(float)
    kind = np.repeat(np.arange(k), times)[rng.integers(0, clusters, size=(size, clusters))]
    flat = (kind + k * np.arange(size)[:, None]).ravel()
    return np.bincount(flat, minlength=size * k).reshape(size, k).astype(float)


def _ratios(sums: Array, sizes: Array) -> Array:
    """Means without rounding dust, so that equal cells stay equal; nan for none."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.round(sums / sizes, 12))
