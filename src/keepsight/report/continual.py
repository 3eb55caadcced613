"""The continual figures of a training in sequence as people read them: their names, their units, and lines for a terminal.

There only where a matrix says that it is a sequence (`meta["sequence"]`): its rows are the base and one checkpoint per stage.
Headline scores say whether instructions were followed; where a judge of general knowledge has read the same answers, its
figures stand beside them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import wrap

from keepsight.report.wording import MISSING, count, figure, interval, points, printable, span
from keepsight.scoring.continual import ContinualMetrics, continual_metrics
from keepsight.scoring.sequences import is_joint
from keepsight.types import KeepsightError, MetricValue, ResultMatrix

__all__ = [
    "INSTRUCTION",
    "KNOWLEDGE",
    "NAMES",
    "FigureCell",
    "Name",
    "ScoredSequence",
    "SequenceFigures",
    "figure_cell",
    "read_figures",
]

KNOWLEDGE = ("general_knowledge", "semantic")  # judges that ignore the form of an answer
INSTRUCTION = "Instruction following"


@dataclass(frozen=True)
class Name:
    """What a figure is called: in a table, in a terminal, and what it says."""

    title: str
    short: str
    meaning: str
    change: bool = True  # a difference of scores, not a score


NAMES: Mapping[str, Name] = {
    "zero_shot": Name(
        "Zero-shot", "zero-shot", "Mean over all tasks of the base, before anything was learnt.", change=False
    ),
    "average_accuracy": Name(
        "Average at the end (ACC)", "ACC", "Mean over all tasks after the last stage.", change=False
    ),
    "mean_average_accuracy": Name(
        "Mean over stages (MAA)",
        "MAA",
        "After every stage the mean over the tasks met so far; the mean of these.",
        False,
    ),
    "learning_accuracy": Name(
        "Just after learning",
        "when learnt",
        "Mean over tasks of the score after their own stage.",
        change=False,
    ),
    "backward_transfer": Name(
        "Backward transfer (BWT), formula",
        "BWT 1/(T−1)",
        "Score at the end minus score when learnt, over the T − 1 tasks before the last: the published formula.",
    ),
    "backward_transfer_coin_tables": Name(
        "Backward transfer (BWT), CoIN's tables",
        "BWT 1/T (CoIN)",
        "The same sum divided by T, as CoIN's tables print it: use it only beside them.",
    ),
    "maximal_forgetting": Name(
        "Maximal forgetting",
        "max. forgetting",
        "The best a task ever was since it was learnt, minus its score at the end. Positive is forgotten.",
    ),
    "forward_transfer": Name(
        "Forward transfer",
        "forward",
        "Score just before a task is learnt minus the base's: what earlier stages did for it.",
    ),
    "unseen": Name(
        "Unseen tasks",
        "unseen",
        "Mean change against the base on tasks that no stage learnt; not in ACC, BWT or MAA.",
    ),
}


@dataclass(frozen=True)
class FigureCell:
    """One figure in a table: its value, its interval, its n, and how it is coloured."""

    text: str
    ends: str = ""
    n: str = ""
    verdict: str = ""  # of a change: forgotten | improved | no evidence
    hint: str = ""


@dataclass(frozen=True)
class ScoredSequence:
    """The figures of one scorer; `share`: its scores are shares of 1, written in per cent and points."""

    title: str
    metrics: ContinualMetrics
    share: bool
    scorer: str = ""  # of a judge beside the headline

    def cell(self, name: str) -> FigureCell:
        if name not in self.metrics.figures:
            return FigureCell(MISSING, hint=printable(self.metrics.why_not[name]))
        return figure_cell(name, self.metrics[name], share=self.share)


@dataclass(frozen=True)
class SequenceFigures:
    """Everything that is computed of a sequence, instruction following first. Empty, with `why_not`, if it is none."""

    method: str
    planned: int  # stages of the whole sequence; fewer may be done
    by_scorer: tuple[ScoredSequence, ...] = ()
    why_not: str = ""
    joint: bool = False  # all tasks were learnt at once

    @property
    def stages(self) -> int:
        return len(self.by_scorer[0].metrics.tasks) if self.by_scorer else 0

    def learnt_at(self, place: int) -> int:
        """The row that learns the task at a place in the order of training; the base is row 0."""
        return 1 if self.joint else place + 1

    @property
    def done(self) -> str:
        if self.joint:
            return f"{self.stages} task{'s' if self.stages != 1 else ''} learnt all at once"
        of = f" of {self.planned}" if self.planned > self.stages else ""
        return f"{self.stages}{of} stage" + ("s" if (self.planned or self.stages) != 1 else "")

    def text(self, width: int) -> list[str]:
        """Lines for a terminal, each at most `width` cells of plain letters wide."""
        method = f" by {self.method}" if self.method else ""
        if not self.by_scorer:
            return wrap(f"No figures of the sequence{method}: {self.why_not}.", width)
        level = self.by_scorer[0].metrics["average_accuracy"].level
        lines = wrap(f"{self.done}{method}, {100 * level:.3g} % intervals:", width)
        for scored in self.by_scorer:
            if len(self.by_scorer) > 1:
                lines += wrap(f"{scored.title}:", width)
            for name, called in NAMES.items():
                if name in scored.metrics.figures:
                    cell = scored.cell(name)
                    told = f"{called.short:<15} {cell.text:>6} [{cell.ends}] n\u00a0{cell.n}"
                    lines += [
                        line.replace("\u00a0", " ") for line in wrap(told, width, subsequent_indent=" " * 4)
                    ]
        return lines


def read_figures(matrix: ResultMatrix, level: float = 0.95) -> SequenceFigures | None:
    """The continual figures of a matrix that says it is a sequence; None of any other."""
    told = matrix.meta.get("sequence")
    if not isinstance(told, Mapping):
        return None
    method = printable("+".join(str(told[key]) for key in ("trained", "method") if told.get(key)))
    stages = told.get("stages")
    planned = len(stages) if isinstance(stages, (list, tuple)) else 0
    try:
        first = _scored(INSTRUCTION, matrix, None, level)
    except KeepsightError as error:
        return SequenceFigures(method, planned, why_not=printable(str(error)))
    return SequenceFigures(method, planned, (first, *_knowledge(matrix, level)), joint=is_joint(matrix))


def figure_cell(name: str, value: MetricValue, *, share: bool, change: bool | None = None) -> FigureCell:
    """A figure as a table shows it.

    Args:
        change: whether it is a difference (default: what `name` is).
    """
    change = NAMES[name].change if change is None else change
    n = count(value.n) + (f"/{count(value.total)}" if value.n != value.total else "")
    if not change:
        return FigureCell(figure(value.value, share=share), interval(value.low, value.high, share=share), n)
    lost = (-value.low, -value.high) if name == "maximal_forgetting" else (value.high, value.low)
    verdict = "forgotten" if lost[0] < 0 else "improved" if lost[1] > 0 else "no evidence"
    if share:
        return FigureCell(points(value.value), span(value.low, value.high), n, verdict)
    ends = f"{_signed(value.low)} to {_signed(value.high)}" if not math.isnan(value.low) else MISSING
    return FigureCell(_signed(value.value), ends, n, verdict)


def _signed(value: float) -> str:
    return f"{value:+.3g}".replace("-", "−")


def _scored(title: str, matrix: ResultMatrix, scorer: str | None, level: float) -> ScoredSequence:
    metrics = continual_metrics(matrix, scorer=scorer, level=level)
    known = [value for row in metrics.means for value in row if not math.isnan(value)]
    return ScoredSequence(title, metrics, all(0 <= value <= 1 for value in known), scorer or "")


def _knowledge(matrix: ResultMatrix, level: float) -> list[ScoredSequence]:
    """The judges of general knowledge that have read every answer."""
    records = [record for run in matrix.runs.values() for record in run.records]
    there = [name for name in KNOWLEDGE if records and all(name in record.scores for record in records)]
    found = []
    for name in there:
        title = "General knowledge" if len(there) == 1 else f"General knowledge ({name})"
        try:
            found.append(_scored(title, matrix, name, level))
        except KeepsightError:  # all answers to a task unscored: the judges' section tells how many
            continue
    return found
