"""What a diagnosis gives back: the answer to one question about a model, the figures behind it and how to draw them.

Plots hold numbers only; the report draws them (`report.plots`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from keepsight.types import KeepsightError, MetricValue

__all__ = [
    "Diagnosis",
    "FailedQuestion",
    "Finding",
    "FindingVerdict",
    "Line",
    "Plot",
    "PlotKind",
    "verdict_of",
]

FindingVerdict = Literal["yes", "no", "no_evidence"]
PlotKind = Literal["lines", "bars", "points"]


@dataclass(frozen=True)
class Line:
    """One series of a plot. `low` and `high` are the interval of each `y`, or empty; nan leaves a gap."""

    name: str
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    x: tuple[float, ...] = ()  # for `points`, or `lines` on a numeric axis; else the plot's ticks

    def __post_init__(self) -> None:
        for other in (self.low, self.high, self.x):
            if other and len(other) != len(self.y):
                raise KeepsightError(
                    f"series {self.name!r} has {len(self.y)} values and {len(other)} beside them"
                )


@dataclass(frozen=True)
class Plot:
    """One figure: series over ticks (`lines`, `bars`) or over numbers (`points`)."""

    title: str
    lines: tuple[Line, ...]
    ticks: tuple[str, ...] = ()  # names on the horizontal axis
    x_label: str = ""
    y_label: str = ""
    kind: PlotKind = "lines"
    share: bool = True  # y is a share between 0 and 1, written in percent
    log_x: bool = False  # 0 is drawn at the left edge


@dataclass(frozen=True)
class Finding:
    """One question asked of a model, answered.

    `verdict` says whether the suspect is guilty: `yes` (its interval excludes zero), `no` (the interval excludes an
    effect of the size that would matter) or `no_evidence`.
    """

    question: str  # the name in `diagnose.QUESTIONS`
    title: str  # in words: "Is it the prompt?"
    verdict: FindingVerdict
    answer: str  # one plain sentence with the figure that decides
    figures: tuple[MetricValue, ...]  # the deciding one first
    plots: tuple[Plot, ...] = ()
    notes: tuple[str, ...] = ()  # what was left out, what did not work, how to read it
    settings: Mapping[str, Any] = field(default_factory=dict)  # everything needed to run it again

    def __post_init__(self) -> None:
        if not self.figures:
            raise KeepsightError(f"finding {self.question!r} has no figure; a verdict follows from one")

    @property
    def deciding(self) -> MetricValue:
        return self.figures[0]


@dataclass(frozen=True)
class FailedQuestion:
    """A question that could not be answered, and why."""

    question: str
    title: str
    error: str


@dataclass(frozen=True)
class Diagnosis:
    """The questions asked about one model and one picture set, in order; `failed` are those without an answer."""

    model: str
    checkpoint_digest: str
    pictures: str  # the set's name
    labels: int
    findings: tuple[Finding, ...]
    failed: tuple[FailedQuestion, ...] = ()
    settings: Mapping[str, Any] = field(
        default_factory=dict
    )  # what all questions shared: sizes, seed, baseline

    def __getitem__(self, question: str) -> Finding:
        """The answer to a question. Raises KeepsightError when that failed, with its cause, or was not asked."""
        for finding in self.findings:
            if finding.question == question:
                return finding
        failed = {each.question: f": {each.error}" for each in self.failed}
        raise KeepsightError(
            f"there is no answer to {question} about {self.model} on {self.pictures}{failed.get(question, '')}; "
            "run the diagnosis again, it asks what is missing"
        )


def verdict_of(low: float, high: float, matters: float = 0.05) -> FindingVerdict:
    """The verdict on an effect with this interval: `no` when all of it is smaller than what would matter.

    Args:
        matters: the smallest effect worth knowing, in the figure's unit (default: 5 points of accuracy).
    """
    if math.isnan(low) or math.isnan(high):
        return "no_evidence"
    if low > 0 or high < 0:
        return "yes"
    return "no" if -matters < low and high < matters else "no_evidence"
