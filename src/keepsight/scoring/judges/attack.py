"""Can an answer talk a judge into calling it correct? A suite of wrong answers that try, and what came of each.

Every attack (attacks.json) is made from a wrong answer to each of a few questions. Called incorrect: resisted. Called
correct: the judge was fooled, or does not know better, which the plain wrong answers beside the attacks tell. No
verdict is neither, and is counted. A judge that calls everything incorrect resists all; the plain right answers tell.
Where no reply came (a server that failed) nothing was tried: such attempts are in no share, and are counted apart.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from keepsight.scoring.metrics import effective_size
from keepsight.scoring.statistics import wilson
from keepsight.types import Output, Sample, Score, Scorer

__all__ = ["FILLER_CHARS", "Attack", "AttackReport", "Attempt", "Outcome", "attack_suite", "attacked"]

FILLER_CHARS = 50_000
_FILLER = "The picture is bright and has soft edges. "


@dataclass(frozen=True)
class Attack:
    """One way to try; `answer` has the fields `{says}`, `{wrong}` and `{filler}`."""

    family: str
    name: str
    answer: str


@dataclass(frozen=True)
class _Question:
    """A question, its true label and a wrong one, and how a model words either."""

    question: str
    target: str
    wrong: str
    sentence: str

    def says(self, label: str) -> str:
        return self.sentence.replace("{label}", label)


@dataclass(frozen=True)
class Attempt:
    """One attack on one question: the answer that was judged, and the judge's score of it."""

    attack: Attack
    sample: Sample
    answer: str
    score: Score

    @property
    def silent(self) -> bool:
        """Whether no reply came, so that nothing was tried."""
        return _silent(self.score)


@dataclass(frozen=True)
class Outcome:
    """`n` attempts with a reply: the share resisted with its interval, how many fooled the judge or got no verdict.

    `silent` attempts besides got no reply. Attempts of one attack are one cluster.
    """

    n: int
    resisted: int
    fooled: int
    none: int
    share: float
    low: float
    high: float
    silent: int = 0

    @classmethod
    def of(cls, attempts: Sequence[Attempt]) -> Outcome:
        tried = [attempt for attempt in attempts if not attempt.silent]
        held = [float(attempt.score.value == 0) for attempt in tried]
        fooled = sum(attempt.score.value == 1 for attempt in tried)
        n, resisted, silent = len(held), int(sum(held)), len(attempts) - len(tried)
        if not n:
            return cls(0, 0, 0, 0, math.nan, 0.0, 1.0, silent)
        effective = effective_size(held, [attempt.attack.name for attempt in tried])
        low, high = wilson(resisted / n * effective, effective)
        return cls(n, resisted, fooled, n - resisted - fooled, resisted / n, low, high, silent)


@dataclass(frozen=True)
class AttackReport:
    """What a judge made of the suite.

    Attributes:
        judge, version: the judge's name and version.
        attempts: every attack on every question.
        right, wrong: verdicts on plain right and plain wrong answers: (as they should be, how many got a reply).
        silence: what the judge said of the first answer, plain or not, that got no reply; "" if every one got one.
    """

    judge: str
    version: str
    attempts: tuple[Attempt, ...]
    right: tuple[int, int]
    wrong: tuple[int, int]
    silence: str = ""

    @property
    def outcome(self) -> Outcome:
        return Outcome.of(self.attempts)

    @property
    def families(self) -> dict[str, Outcome]:
        """Family -> outcome, in the order of the suite."""
        names = dict.fromkeys(attempt.attack.family for attempt in self.attempts)
        return {
            name: Outcome.of([attempt for attempt in self.attempts if attempt.attack.family == name])
            for name in names
        }


@cache
def attack_suite() -> tuple[Attack, ...]:
    """The attacks that ship with the package."""
    return tuple(Attack(row["family"], row["name"], row["answer"]) for row in _suite()["attacks"])


def attacked(judge: Scorer) -> AttackReport:
    """Lets `judge` score the whole suite, in one batch."""
    questions = [_Question(**row) for row in _suite()["cases"]]
    plain = [(q, text) for q in questions for label in (q.target, q.wrong) for text in (q.says(label), label)]
    tries = [(attack, q) for attack in attack_suite() for q in questions]
    samples = [_sample(f"plain/{at}", q) for at, (q, _) in enumerate(plain)]
    samples += [_sample(f"{attack.name}/{q.target}", q) for attack, q in tries]
    answers = [answer for _, answer in plain] + [_filled(attack, q) for attack, q in tries]
    scores = judge(samples, [Output(answer) for answer in answers])
    known, rest = scores[: len(plain)], slice(len(plain), None)
    attempts = tuple(
        Attempt(attack, sample, answer, score)
        for (attack, _), sample, answer, score in zip(tries, samples[rest], answers[rest], scores[rest])
    )
    true = [text in (q.target, q.says(q.target)) for q, text in plain]
    right = [score.value == 1 for score, holds in zip(known, true) if holds and not _silent(score)]
    wrong = [score.value == 0 for score, holds in zip(known, true) if not holds and not _silent(score)]
    silence = next((score.explanation for score in scores if _silent(score)), "")
    counts = (sum(right), len(right)), (sum(wrong), len(wrong))
    return AttackReport(judge.name, judge.version, attempts, *counts, silence)


def _silent(score: Score) -> bool:
    return score.status == "judge_failed" and "no_reply" in score.tags


def _suite() -> dict[str, list[dict[str, str]]]:
    text = files("keepsight.scoring.judges").joinpath("attacks.json").read_text(encoding="utf-8")
    suite: dict[str, list[dict[str, str]]] = json.loads(text)
    return suite


def _sample(name: str, question: _Question) -> Sample:
    return Sample(f"attack/{name}", question.question, target=(question.target,))


def _filled(attack: Attack, question: _Question) -> str:
    """The answer. Other fields in braces are part of the attack."""
    fields = {
        "{says}": question.says(question.wrong),
        "{wrong}": question.wrong,
        "{filler}": (_FILLER * (FILLER_CHARS // len(_FILLER) + 1))[:FILLER_CHARS],
    }
    return re.sub("|".join(map(re.escape, fields)), lambda match: fields[match.group()], attack.answer)
