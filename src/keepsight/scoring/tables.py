"""Tables over runs for reports: pure functions from runs to rows of plain values.

The *answer* of a record is what the taxonomy read, else what the label judge read, else the headline scorer's answer;
`NO_ANSWER` stands for none. Shares come with their count and n.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from keepsight.scoring.forgetting import Pairing, Verdict, correct, pair_runs, verdict_of
from keepsight.scoring.labels import LabelMatcher
from keepsight.scoring.statistics import wilson
from keepsight.scoring.taxonomy import CATEGORIES
from keepsight.types import Record, Run

__all__ = [
    "NO_ANSWER",
    "Agreement",
    "AnswerFlow",
    "AnswerShare",
    "ClassChange",
    "FailureCounts",
    "LeakRow",
    "Share",
    "agreement_table",
    "answer_flow",
    "answer_of",
    "cohen_kappa",
    "failure_counts",
    "leak_share",
    "leak_table",
    "per_class",
]

NO_ANSWER = "(no answer)"


@dataclass(frozen=True)
class Share:
    """`count` of `n` with the Wilson interval of their ratio."""

    count: int
    n: int
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class AnswerShare:
    """One answer, how often it was given, and its share of the row's n."""

    answer: str
    count: int
    share: float


@dataclass(frozen=True)
class LeakRow:
    """One true class: its commonest answers (EMT Table 3)."""

    truth: str
    n: int
    answers: tuple[AnswerShare, ...]
    others: int  # samples whose answer is not listed


@dataclass(frozen=True)
class AnswerFlow:
    """`count` samples of class `truth` went from one answer to another between two checkpoints."""

    truth: str
    before: str
    after: str
    count: int
    share: float  # of the samples in both runs
    right_before: int  # of these `count`, how many were scored 1 before
    right_after: int
    sample_ids: tuple[str, ...]


@dataclass(frozen=True)
class Agreement:
    """Two scorers over the same outputs. Compared: value 1 or not, on samples that both scored."""

    first: str
    second: str
    n: int
    agree: int
    share: float
    low: float
    high: float
    kappa: float  # Cohen's; nan when both scorers always say the same one thing
    only_first: tuple[int, ...]  # indices of records that only the first scorer calls right
    only_second: tuple[int, ...]
    unscored: int  # records that one of the two could not score

    @property
    def disagreements(self) -> tuple[int, ...]:
        """Indices into run.records where the two differ, ascending."""
        return tuple(sorted(self.only_first + self.only_second))


@dataclass(frozen=True)
class ClassChange:
    """One true class before and after, paired; interval at the class's Holm level over all classes."""

    label: str
    n: int
    before: float
    after: float
    difference: float  # before - after: positive = lost
    low: float
    high: float
    p: float
    p_adjusted: float
    lost: int
    gained: int
    verdict: Verdict
    unpaired: int = 0


@dataclass(frozen=True)
class FailureCounts:
    """How answers failed: counts per category, per flag, per status, out of `n` records."""

    n: int
    categories: Mapping[str, int] = field(default_factory=dict)
    flags: Mapping[str, int] = field(default_factory=dict)
    statuses: Mapping[str, int] = field(default_factory=dict)


def answer_of(record: Record) -> str:
    """The answer of a record as tables show it."""
    for name in ("taxonomy", "label", *record.scores):
        score = record.scores.get(name)
        if score is not None:
            return score.answer if score.answer is not None else NO_ANSWER
    return NO_ANSWER


def leak_table(run: Run, top: int | None = 3) -> list[LeakRow]:
    """For every true class its commonest answers with their shares (EMT Table 3), classes in the run's order.

    Args:
        top: how many answers per class; None lists all of them.
    """
    by_truth: dict[str, Counter[str]] = {}
    for record in run.records:
        by_truth.setdefault(_truth(record), Counter())[answer_of(record)] += 1
    rows = []
    for truth, answers in by_truth.items():
        n = sum(answers.values())
        listed = _ranked(answers)[:top]
        shares = tuple(AnswerShare(answer, count, count / n) for answer, count in listed)
        rows.append(LeakRow(truth, n, shares, n - sum(count for _, count in listed)))
    return rows


def answer_flow(before: Run, after: Run, top: int | None = None) -> list[AnswerFlow]:
    """What was said -> what is said now, per true class, commonest first; unchanged answers included.

    Only samples in both runs count, whether scored or not.
    """
    now = {record.sample.id: record for record in after.records}
    pairs = [(record, now[record.sample.id]) for record in before.records if record.sample.id in now]
    groups: dict[tuple[str, str, str], list[tuple[Record, Record]]] = {}
    for old, new in pairs:
        groups.setdefault((_truth(old), answer_of(old), answer_of(new)), []).append((old, new))
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return [
        AnswerFlow(
            *answers,
            count=len(members),
            share=len(members) / len(pairs),
            right_before=sum(_right(old, before.scorer) for old, _ in members),
            right_after=sum(_right(new, after.scorer) for _, new in members),
            sample_ids=tuple(old.sample.id for old, _ in members),
        )
        for answers, members in ordered[:top]
    ]


def agreement_table(run: Run) -> list[Agreement]:
    """Every pair of scorers over the same outputs, in the order the scorers appear in the run."""
    names = list(dict.fromkeys(name for record in run.records for name in record.scores))
    return [_agreement(run, first, second) for first, second in combinations(names, 2)]


def cohen_kappa(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Agreement beyond chance of two raters who say yes or no (Cohen 1960). nan when chance alone explains all."""
    n = both + only_first + only_second + neither
    if n == 0:
        return math.nan
    yes_first, yes_second = (both + only_first) / n, (both + only_second) / n
    by_chance = yes_first * yes_second + (1 - yes_first) * (1 - yes_second)
    if by_chance == 1:
        return math.nan
    return ((both + neither) / n - by_chance) / (1 - by_chance)


def per_class(before: Run, after: Run, level: float = 0.95, scorer: str | None = None) -> list[ClassChange]:
    """Each true class before and after, paired, Holm-corrected over the classes, in the order of `before`.

    `scorer` is whose scores are compared, by default each run's headline scorer's.
    """
    labels: dict[str, str] = {}
    for run in (before, after):
        labels.update({record.sample.id: _truth(record) for record in run.records})
    whole = pair_runs(before, after, scorer)
    joined = set(whole.ids)
    missing = Counter(label for key, label in labels.items() if key not in joined)
    parts = {
        label: _of_class(whole, labels, label, missing[label]) for label in dict.fromkeys(labels.values())
    }
    results = correct(list(parts.values()), level)
    return [
        ClassChange(
            label=label,
            n=result.n,
            before=_mean(part.reference),
            after=_mean(part.current),
            difference=result.difference,
            low=result.low,
            high=result.high,
            p=result.p,
            p_adjusted=adjusted,
            lost=result.lost,
            gained=result.gained,
            verdict=verdict_of(result.low, result.high),
            unpaired=part.unpaired,
        )
        for (label, part), (result, adjusted) in zip(parts.items(), results, strict=True)
    ]


def failure_counts(run: Run) -> FailureCounts:
    """Taxonomy categories and flags of a run, and the statuses of its headline scorer. All categories are listed."""
    scores = [record.scores["taxonomy"] for record in run.records if "taxonomy" in record.scores]
    categories = Counter(score.explanation for score in scores)
    flags = Counter(tag for score in scores for tag in score.tags)
    statuses: Counter[str] = Counter(
        str(record.scores[run.scorer].status) for record in run.records if run.scorer in record.scores
    )
    return FailureCounts(
        n=len(run.records),
        categories={category: categories[category] for category in CATEGORIES},
        flags=dict(_ranked(flags)),
        statuses=dict(_ranked(statuses)),
    )


def leak_share(run: Run, foreign: Iterable[str]) -> Share:
    """Share of answers that name a label of `foreign` and none of the run's own labels.

    Own labels are the samples' choices and targets; a label that both sets know is no leak. Denied labels do not count.
    """
    own = dict.fromkeys(label for r in run.records for label in (*r.sample.choices, *r.sample.target))
    matcher = LabelMatcher(own, foreign={"foreign": tuple(foreign)})
    answered = [record for record in run.records if record.output.error is None]
    count = sum(_leaks(matcher, record.output.text) for record in answered)
    low, high = wilson(count, len(answered))
    return Share(count, len(answered), count / len(answered) if answered else math.nan, low, high)


def _agreement(run: Run, first: str, second: str) -> Agreement:
    cells: dict[tuple[bool, bool], list[int]] = {(a, b): [] for a in (True, False) for b in (True, False)}
    for index, record in enumerate(run.records):
        scores = record.scores.get(first), record.scores.get(second)
        if scores[0] is not None and scores[1] is not None and scores[0].scored and scores[1].scored:
            cells[scores[0].value == 1, scores[1].value == 1].append(index)
    counts = {key: len(indices) for key, indices in cells.items()}
    n, agree = sum(counts.values()), counts[True, True] + counts[False, False]
    low, high = wilson(agree, n)
    kappa = cohen_kappa(counts[True, True], counts[True, False], counts[False, True], counts[False, False])
    return Agreement(
        first,
        second,
        n,
        agree,
        agree / n if n else math.nan,
        low,
        high,
        kappa,
        only_first=tuple(cells[True, False]),
        only_second=tuple(cells[False, True]),
        unscored=len(run.records) - n,
    )


def _of_class(whole: Pairing, labels: Mapping[str, str], label: str, missing: int) -> Pairing:
    kept = [index for index, key in enumerate(whole.ids) if labels[key] == label]
    return Pairing(
        tuple(whole.ids[index] for index in kept),
        tuple(whole.reference[index] for index in kept),
        tuple(whole.current[index] for index in kept),
        tuple(whole.clusters[index] for index in kept),
        unpaired=missing,
        bounds=whole.bounds,
    )


def _leaks(matcher: LabelMatcher, text: str) -> bool:
    mentions = [mention for mention in matcher.match(text) if not mention.negated]
    return bool(mentions) and all(mention.source is not None for mention in mentions)


def _truth(record: Record) -> str:
    return ", ".join(record.sample.target)


def _right(record: Record, scorer: str) -> bool:
    return scorer in record.scores and record.scores[scorer].value == 1


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _ranked(counter: Counter[str]) -> list[tuple[str, int]]:
    """Commonest first, equal counts in alphabetical order."""
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))
