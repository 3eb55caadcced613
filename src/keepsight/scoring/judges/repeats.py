"""A judge asked several times about one answer: the majority, and how far it agrees with itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from keepsight.scoring.metrics import effective_size, not_ok_counts
from keepsight.scoring.statistics import wilson
from keepsight.types import MetricValue, Sample, Score

__all__ = ["Votes", "self_agreement", "votes_of"]

_TAG = "votes:"


@dataclass(frozen=True)
class Votes:
    """How often one answer was called correct, incorrect, or got no verdict."""

    correct: int
    incorrect: int
    none: int

    @property
    def total(self) -> int:
        return self.correct + self.incorrect + self.none

    @property
    def majority(self) -> bool | None:
        """Correct or not, if more than half of *all* repeats say so, those without a verdict included."""
        if 2 * self.correct > self.total:
            return True
        return False if 2 * self.incorrect > self.total else None

    @property
    def tag(self) -> str:
        """How the votes stand among a score's tags."""
        return f"{_TAG}{self.correct}/{self.incorrect}/{self.none}"

    @property
    def agreement(self) -> float:
        """Of all pairs of verdicts the share that is equal; nan without two verdicts."""
        given = self.correct + self.incorrect
        pairs = math.comb(given, 2)
        return (math.comb(self.correct, 2) + math.comb(self.incorrect, 2)) / pairs if pairs else math.nan


def votes_of(score: Score) -> Votes | None:
    """The votes behind a score, if the judge was asked more than once."""
    for tag in score.tags:
        if tag.startswith(_TAG):
            correct, incorrect, none = map(int, tag.removeprefix(_TAG).split("/"))
            return Votes(correct, incorrect, none)
    return None


def self_agreement(samples: Sequence[Sample], scores: Sequence[Score]) -> MetricValue:
    """Share of pairs of repeats that gave the same verdict, over answers with at least two verdicts.

    Equal (question, answer, target) were asked once and count as one cluster. Wilson's interval on the number of
    answers: right if the judge is asked twice, too wide otherwise, because an answer's further pairs tell more.
    """
    kept = [
        (votes.agreement, (sample.prompt, sample.target, score.answer))
        for sample, score in zip(samples, scores, strict=True)
        if (votes := votes_of(score)) is not None and not math.isnan(votes.agreement)
    ]
    not_ok = not_ok_counts(scores)
    if not kept:
        return MetricValue("self_agreement", math.nan, math.nan, math.nan, 0, len(scores), not_ok=not_ok)
    shares = [share for share, _ in kept]
    mean = math.fsum(shares) / len(shares)
    effective = effective_size(shares, [pair for _, pair in kept])
    low, high = wilson(min(mean * effective, effective), effective)
    return MetricValue("self_agreement", mean, low, high, len(kept), len(scores), not_ok=not_ok)
