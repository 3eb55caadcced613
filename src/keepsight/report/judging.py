"""Whether the judges agree: what each calls right, how often two agree, the answers on which they differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, zip_longest

from keepsight.report.comparisons import Audit
from keepsight.report.episodes import has_episodes
from keepsight.report.failures import Told
from keepsight.report.gallery import TAXONOMY, judges_disagree, read_as
from keepsight.report.grid import firsts_of_methods
from keepsight.report.wording import count, interval, percent, printable
from keepsight.scoring.judges.repeats import self_agreement
from keepsight.scoring.statistics import wilson
from keepsight.scoring.tables import Agreement, agreement_table
from keepsight.types import Record, Run

__all__ = ["Disputed", "JudgeRow", "Judges", "judges"]

MOST_PAIRS = 6  # columns of pairs; four judges


@dataclass(frozen=True)
class JudgeRow:
    """One checkpoint: the share that each judge calls right, and the agreement of each pair."""

    title: str
    first_of_method: bool
    shares: tuple[Told, ...]
    pairs: tuple[Told, ...]


@dataclass(frozen=True)
class Word:
    """One judge's word on one answer; `right` is yes, no or "" when it gave none."""

    text: str
    hint: str
    right: str


@dataclass(frozen=True)
class Disputed:
    """One answer on which judges differ."""

    checkpoint: str
    set: str
    truth: str
    text: str
    words: tuple[Word, ...]


@dataclass(frozen=True)
class Judges:
    """Everything the page says about judges, over the sets that no checkpoint was tuned on."""

    names: tuple[str, ...]
    pairs: tuple[str, ...]
    rows: tuple[JudgeRow, ...]
    disputed: tuple[Disputed, ...]
    disputed_note: str
    hint: str


def judges(audit: Audit, most_disputed: int = 12) -> Judges | None:
    """Compares the judges checkpoint by checkpoint. None when there are not two of them."""
    cols = _judged(audit)
    names = _names(audit, cols)
    if not cols:
        return None
    pairs = list(combinations(names, 2))[:MOST_PAIRS]
    firsts = firsts_of_methods(audit)
    rows = []
    for row, title in enumerate(audit.rows):
        pooled = _pooled(audit, row, cols)
        if pooled is not None:
            rows.append(
                JudgeRow(printable(title), row in firsts, _shares(pooled, names), _agreements(pooled, pairs))
            )
    cases, total = _disputed(audit, cols, names, most_disputed)
    note = f"{len(cases)} of {count(total)} answers on which judges differ, taken in turn from all checkpoints and sets."
    return Judges(
        tuple(names),
        tuple(f"{a} · {b}" for a, b in pairs),
        tuple(rows),
        tuple(cases),
        note,
        _hint(audit, names, cols),
    )


def _judged(audit: Audit) -> list[int]:
    """The columns with at least two judges, those that any checkpoint was tuned on apart if others are left."""
    several = [
        col for col in range(len(audit.cols)) if not _played(audit, col) and len(_names(audit, [col])) > 1
    ]
    tuned = set(audit.tuned.values())
    return [col for col in several if col not in tuned] or several


def _played(audit: Audit, col: int) -> bool:
    """Whether a column holds episodes: their scorers measure different things and are no judges of one another."""
    return any(has_episodes(audit.run(row, col)) for row in range(len(audit.rows)))


def _names(audit: Audit, cols: Sequence[int]) -> list[str]:
    """The scorers that judge right or wrong, headline first; the taxonomy sorts failures and is no judge."""
    runs = [run for row in range(len(audit.rows)) for col in cols if (run := audit.run(row, col)) is not None]
    names = {name for run in runs for record in run.records[:50] for name in record.scores}
    ordered = [*(str(run.manifest.get("scorer", "")) for run in runs), *sorted(names)]
    return [name for name in dict.fromkeys(ordered) if name in names and name != TAXONOMY]


def _pooled(audit: Audit, row: int, cols: Sequence[int]) -> Run | None:
    """One run that holds a checkpoint's records of several columns."""
    runs = [run for run in (audit.run(row, col) for col in cols) if run is not None]
    return replace(runs[0], records=tuple(record for run in runs for record in run.records)) if runs else None


def _shares(pooled: Run, names: Sequence[str]) -> tuple[Told, ...]:
    return tuple(_share_of(pooled, name) for name in names)


def _share_of(pooled: Run, name: str) -> Told:
    judged = [(record.sample, record.scores[name]) for record in pooled.records if name in record.scores]
    scores = [score for _, score in judged]
    values = [score.value for score in scores if score.scored]
    failed = sum(score.status == "judge_failed" for score in scores)
    soft = f"{count(failed)} without a verdict" if failed else ""
    if not values:
        return Told("–", "scored nothing", soft)
    right = sum(value == 1 for value in values)
    low, high = wilson(right, len(values))
    hint = f"{count(right)} of {count(len(values))}, 95 % interval {interval(low, high)}"
    left = len(scores) - len(values)
    if left:
        hint += f"; {count(left)} not scored"
    again = self_agreement([sample for sample, _ in judged], scores)
    if again.n:
        span = interval(again.low, again.high)
        hint += f"; asked again it says the same in {percent(again.value)} % of cases ({span}, n {count(again.n)})"
    return Told(percent(right / len(values)), hint, soft)


def _agreements(pooled: Run, pairs: Sequence[tuple[str, str]]) -> tuple[Told, ...]:
    found = {frozenset((table.first, table.second)): table for table in agreement_table(pooled)}
    return tuple(_agreement(found.get(frozenset(pair))) for pair in pairs)


def _agreement(table: Agreement | None) -> Told:
    if table is None or not table.n:
        return Told("–")
    kappa = "κ –" if math.isnan(table.kappa) else f"κ {table.kappa:.2f}".replace("-", "−")
    hint = (
        f"{count(table.agree)} of {count(table.n)}, 95 % interval {interval(table.low, table.high)};"
        f" only {table.first} says right: {count(len(table.only_first))},"
        f" only {table.second}: {count(len(table.only_second))}"
    )
    return Told(percent(table.share), printable(hint), kappa)


def _disputed(
    audit: Audit, cols: Sequence[int], names: Sequence[str], most: int
) -> tuple[list[Disputed], int]:
    """Disagreements taken in turn from all cells, last checkpoints first, and how many there are in all."""
    queues = []
    for row in reversed(range(len(audit.rows))):
        for col in cols:
            run = audit.run(row, col)
            if run is not None:
                queues.append([(row, col, record) for record in run.records if judges_disagree(record)])
    turns = [case for turn in zip_longest(*queues) for case in turn if case is not None]
    shown = {
        record.output.text: (row, col, record) for row, col, record in reversed(turns)
    }  # each wording once
    chosen = list(reversed(shown.values()))[:most]
    return [_case(audit, row, col, record, names) for row, col, record in chosen], len(turns)


def _case(audit: Audit, row: int, col: int, record: Record, names: Sequence[str]) -> Disputed:
    words = []
    for name in names:
        score = record.scores.get(name)
        if score is None or not score.scored:
            words.append(Word("–", score.status if score else "not asked", ""))
            continue
        right = "yes" if score.value == 1 else "no"
        read = read_as(record, score)
        words.append(
            Word(
                printable(f"{'✓' if right == 'yes' else '✗'} {read or ''}".rstrip())[:60],
                printable(score.explanation)[:300],
                right,
            )
        )
    truth = ", ".join(record.sample.target[:3])
    text = record.output.text[:300] or "(empty)"
    return Disputed(
        printable(audit.rows[row]),
        printable(audit.cols[col]),
        printable(truth),
        printable(text),
        tuple(words),
    )


def _hint(audit: Audit, names: Sequence[str], cols: Sequence[int]) -> str:
    sets = "1 set" if len(cols) == 1 else f"{len(cols)} sets"
    left = (
        " that no checkpoint was tuned on"
        if audit.tuned and not set(cols) & set(audit.tuned.values())
        else ""
    )
    return (
        f"A verdict depends on who reads the answers. Over {sets}{left}: what each of {len(names)} judges calls"
        " right, and how often two of them agree (Cohen's κ: 1 is perfect, 0 is chance). The matrix above follows"
        f" {names[0]}."
    )
