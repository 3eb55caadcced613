"""Which drops of a result matrix are real: every cell against its reference, paired, corrected, with a verdict.

Difference = reference minus current, over the samples that both runs scored: positive means lost. All comparisons of
one call are a family: p-values are Holm-adjusted over it and each interval is taken at its comparison's Holm level, so
a drop is called "forgotten" exactly when its corrected interval lies above zero. Everything else that does not lie
below zero is "no evidence", which is not the same as "kept". Two runs that asked different things, or whose answers were
scored by different rules, are "not comparable": that comparison says why, has no figures and is no part of the family.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from keepsight.scoring.metrics import common_bounds
from keepsight.scoring.statistics import (
    PairedDifference,
    agreeing,
    holm,
    holm_levels,
    paired_difference,
)
from keepsight.types import KeepsightError, Record, ResultMatrix, Run

__all__ = [
    "Against",
    "Drop",
    "NotComparable",
    "Pairing",
    "Verdict",
    "comparisons",
    "correct",
    "forgetting",
    "incomparable_cells",
    "pair_runs",
    "resamples_for",
    "verdict_of",
]

_ASKED = ("prompt", "target")
Against = Literal["base", "own", "best"]
Verdict = Literal["forgotten", "improved", "no evidence", "not comparable"]


class NotComparable(KeepsightError):
    """Two runs cannot be paired; the message says why."""


@dataclass(frozen=True)
class Drop:
    """One cell against its reference. `reference` and `current` are means over the same `n` samples."""

    row: str
    col: str
    reference_row: str
    reference: float
    current: float
    difference: float  # reference - current: positive = lost
    low: float  # corrected interval, at `level`
    high: float
    p: float
    p_adjusted: float  # Holm over all comparisons of the call
    n: int
    lost: int  # samples whose score went down
    gained: int
    verdict: Verdict
    unpaired: int = 0  # samples of either run that were not scored in both
    level: float = 0.95  # the Holm level of this interval
    method: str = "mcnemar"
    against: str = "base"
    why: str = ""  # of the verdict "not comparable"


@dataclass(frozen=True)
class Pairing:
    """Scores of two runs on the samples that both scored, in the reference's order."""

    ids: tuple[str, ...]
    reference: tuple[float, ...]
    current: tuple[float, ...]
    clusters: tuple[str, ...]
    unpaired: int
    bounds: tuple[float, float] | None = None  # between which all of them must lie, where the scores tell


def forgetting(matrix: ResultMatrix, against: Against = "base", *, level: float = 0.95) -> list[Drop]:
    """A Drop for every cell that has a reference, row by row.

    Args:
        against: what a cell is compared with.
            "base": the first row.
            "own": the latest earlier row that was tuned on the column's own set, from `matrix.meta["tuned_on"]`
                (`{row: col}`); columns never tuned on, and rows tuned on the column itself, have no Drop.
            "best": the best row so far. The best of several noisy values is flattered, so these drops are, too.
        level: probability that none of the verdicts is wrong, if nothing was forgotten (family-wise).

    A cell that would be compared with itself, or whose run is missing, has no Drop.
    """
    cells = list(comparisons(matrix, against))
    found = [_paired(matrix[reference, col], matrix[row, col]) for row, col, reference in cells]
    results = iter(correct([pairing for pairing in found if isinstance(pairing, Pairing)], level))
    return [
        _drop(*cell, pairing, *next(results), against)
        if isinstance(pairing, Pairing)
        else _not_comparable(*cell, pairing, against)
        for cell, pairing in zip(cells, found, strict=True)
    ]


def incomparable_cells(matrix: ResultMatrix, against: Against = "base") -> dict[tuple[str, str], str]:
    """(row, col) -> why the cell cannot be compared with its reference; no statistics are computed."""
    found = {
        (row, col): _paired(matrix[reference, col], matrix[row, col])
        for row, col, reference in comparisons(matrix, against)
    }
    return {cell: why for cell, why in found.items() if isinstance(why, str)}


def correct(pairings: Sequence[Pairing], level: float = 0.95) -> list[tuple[PairedDifference, float]]:
    """Each comparison with its interval at the Holm level of the family, and its adjusted p-value."""
    n_resamples = resamples_for(len(pairings), level)
    pvalues = [_compare(pairing, level, n_resamples).p for pairing in pairings]
    results = []
    for pairing, adjusted, own_level in zip(
        pairings, holm(pvalues), holm_levels(pvalues, level), strict=True
    ):
        result = _compare(pairing, own_level, n_resamples)
        low, high = agreeing(result.low, result.high, adjusted < 1 - level)
        results.append((dataclasses.replace(result, low=low, high=high), adjusted))
    return results


def resamples_for(comparisons: int, level: float) -> int:
    """How often to draw, so that an interval's end at the strictest level is a replicate and not the most extreme one."""
    return max(10_000, math.ceil(20 * comparisons / (1 - level)))


def pair_runs(reference: Run, current: Run, scorer: str | None = None) -> Pairing:
    """Joins the scores of two runs by sample id.

    Args:
        scorer: whose scores (default: each run's headline scorer).

    Raises:
        NotComparable: the runs asked different things under one id, are of two versions of a task, or were scored by
            different rules; or an id comes twice in a run.
    """
    before, after = _by_id(reference), _by_id(current)
    first, second = scorer or reference.scorer, scorer or current.scorer
    _check_same_rules(reference, current, first, second)
    ids, values, told = [], [], []
    for key, record in before.items():
        if key not in after:
            continue
        pair = _value(record, first), _value(after[key], second)
        scored = not any(math.isnan(value) for value in pair)
        _check_same_question(record, after[key], reference, current, pictures=scored)
        if scored:
            ids.append(key)
            values.append(pair)
            told += [record.scores[first], after[key].scores[second]]
    return Pairing(
        tuple(ids),
        tuple(value for value, _ in values),
        tuple(value for _, value in values),
        tuple(before[key].sample.cluster for key in ids),
        unpaired=len(before.keys() | after.keys()) - len(ids),
        bounds=common_bounds(told),
    )


def verdict_of(low: float, high: float) -> Verdict:
    """What an interval of reference minus current says."""
    if low > 0:
        return "forgotten"
    return "improved" if high < 0 else "no evidence"


def comparisons(matrix: ResultMatrix, against: Against) -> Iterator[tuple[str, str, str]]:
    """(row, col, reference row) of every cell to compare; see `forgetting` for what a reference is."""
    choose = {"base": _base_row, "own": _own_row, "best": _best_row}
    if against not in choose:
        raise KeepsightError(f'cannot compare against {against!r}; choose "base", "own" or "best"')
    for position, row in enumerate(matrix.rows):
        for col in matrix.cols:
            if (row, col) not in matrix.runs:
                continue
            reference = choose[against](matrix, position, col)
            if reference is not None and reference != row and (reference, col) in matrix.runs:
                yield row, col, reference


def _base_row(matrix: ResultMatrix, position: int, col: str) -> str | None:
    return matrix.rows[0]


def _own_row(matrix: ResultMatrix, position: int, col: str) -> str | None:
    tuned_on = matrix.meta.get("tuned_on")
    if not tuned_on:
        raise KeepsightError(
            'forgetting against "own" needs to know what each row was tuned on: set meta["tuned_on"]'
        )
    if tuned_on.get(matrix.rows[position]) == col:
        return None
    earlier = [row for row in matrix.rows[:position] if tuned_on.get(row) == col]
    return earlier[-1] if earlier else None


def _best_row(matrix: ResultMatrix, position: int, col: str) -> str | None:
    means = {
        row: _mean([score.value for score in matrix[row, col].scores() if score.scored])
        for row in matrix.rows[: position + 1]
        if (row, col) in matrix.runs
    }
    known = {row: mean for row, mean in means.items() if not math.isnan(mean)}
    return max(known, key=lambda row: known[row]) if known else None


def _paired(reference: Run, current: Run) -> Pairing | str:
    """The pairing, or why there is none."""
    try:
        return pair_runs(reference, current)
    except NotComparable as error:
        return str(error)


def _compare(pairing: Pairing, level: float, n_resamples: int) -> PairedDifference:
    return paired_difference(
        pairing.reference,
        pairing.current,
        pairing.clusters,
        level,
        bounds=pairing.bounds,
        n_resamples=n_resamples,
    )


def _drop(
    row: str,
    col: str,
    reference_row: str,
    pairing: Pairing,
    result: PairedDifference,
    p_adjusted: float,
    against: str,
) -> Drop:
    return Drop(
        row=row,
        col=col,
        reference_row=reference_row,
        reference=_mean(pairing.reference),
        current=_mean(pairing.current),
        difference=result.difference,
        low=result.low,
        high=result.high,
        p=result.p,
        p_adjusted=p_adjusted,
        n=result.n,
        lost=result.lost,
        gained=result.gained,
        verdict=verdict_of(result.low, result.high),
        unpaired=pairing.unpaired,
        level=result.level,
        method=result.method,
        against=against,
    )


def _not_comparable(row: str, col: str, reference_row: str, why: str, against: str) -> Drop:
    nan = math.nan
    return Drop(
        row=row,
        col=col,
        reference_row=reference_row,
        reference=nan,
        current=nan,
        difference=nan,
        low=nan,
        high=nan,
        p=1.0,
        p_adjusted=1.0,
        n=0,
        lost=0,
        gained=0,
        verdict="not comparable",
        method="",
        against=against,
        why=why,
    )


def _value(record: Record, scorer: str) -> float:
    """nan where the scorer has no word on this record: a run that was stopped before it was scored."""
    score = record.scores.get(scorer)
    return math.nan if score is None else score.value


def _by_id(run: Run) -> dict[str, Record]:
    records: dict[str, Record] = {}
    for record in run.records:
        if record.sample.id in records:
            raise NotComparable(
                f"sample id {record.sample.id} comes twice in the run {_name(run)}; ids must be unique"
            )
        records[record.sample.id] = record
    return records


def _check_same_rules(reference: Run, current: Run, first: str, second: str) -> None:
    """A difference of two figures means something only if both were read by the same rules."""
    names = f"{_name(reference)} and {_name(current)}"
    if first != second:
        raise NotComparable(f"{names} were scored by {first} and {second}; let one scorer score both")
    versions = [run.manifest.get("scorers", {}).get(first) for run in (reference, current)]
    if versions[0] != versions[1]:
        raise NotComparable(
            f"{names} were scored by different versions of {first} ({versions[0]}, {versions[1]}); score both again"
        )
    versions = [run.manifest.get("task_version") for run in (reference, current)]
    if versions[0] != versions[1]:
        raise NotComparable(
            f"{names} were asked versions {versions[0]} and {versions[1]} of the task; evaluate both on one"
        )


def _check_same_question(
    before: Record, after: Record, reference: Run, current: Run, *, pictures: bool
) -> None:
    """The id alone does not make a pair: prompt, target and pictures must be the same, too."""
    told = {field: getattr(before.sample, field) != getattr(after.sample, field) for field in _ASKED}
    if pictures:  # what was scored could be read
        told["picture"] = before.sample.media != after.sample.media
    for field, differs in told.items():
        if differs:
            raise NotComparable(
                f"sample {before.sample.id} has another {field} in {_name(current)} than in {_name(reference)}; "
                "evaluate both on the same task"
            )


def _name(run: Run) -> str:
    return str(run.manifest.get("checkpoint") or run.path or "unnamed")


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
