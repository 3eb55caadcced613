"""Tables over runs for reports: pure functions from runs to rows of plain values.

The *answer* of a record is what the taxonomy read, else what the label judge read, else the headline scorer's answer;
`NO_ANSWER` stands for none. Shares come with their count and n.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from keepsight.scoring.forgetting import Verdict
from keepsight.types import Record

__all__ = [
    "NO_ANSWER",
    "Agreement",
    "AnswerFlow",
    "AnswerShare",
    "ClassChange",
    "FailureCounts",
    "LeakRow",
    "Share",
    "answer_of",
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
