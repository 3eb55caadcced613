"""The section of the page on a training in sequence: the figures, every task after every stage, the gates of a mixture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from keepsight.report.comparisons import Audit
from keepsight.report.continual import NAMES, FigureCell, ScoredSequence, SequenceFigures
from keepsight.report.curves import Curve, CurvePoint, is_share
from keepsight.report.gates import Gates, gates
from keepsight.report.grid import shade_of
from keepsight.report.html import safe
from keepsight.report.lineage import column_titles
from keepsight.report.verdict import Finding, Part, Verdict
from keepsight.report.wording import count, figure, interval, percent, points, printable, span
from keepsight.scoring.continual import ContinualMetrics
from keepsight.scoring.forgetting import NotComparable
from keepsight.scoring.format_loss import FormatLoss, format_losses, overall_loss
from keepsight.types import MetricValue

__all__ = ["SequenceView", "sequence_verdict", "sequence_view"]

# ---- what the page says first -------------------------------------------------------------------------------------


def sequence_verdict(figures: SequenceFigures, level: float) -> Verdict | None:
    """What became of what was learnt. None where there are no figures, or a single stage."""
    if not figures.by_scorer or "backward_transfer" not in figures.by_scorer[0].metrics.figures:
        return None
    scored = figures.by_scorer[0]
    name = Part(figures.method or "The model", strong=True)
    return Verdict(
        (Part(f"After {figures.done}, "), name, *_since_learnt(scored, level)),
        tuple(_findings(figures, level)),
    )


def _since_learnt(scored: ScoredSequence, level: float) -> tuple[Part, ...]:
    cell, unit = scored.cell("backward_transfer"), _unit(scored)
    if cell.verdict == "no evidence":
        return (
            Part(
                f" shows no evidence of a change on earlier tasks since they were learnt ({cell.text}{unit})."
            ),
        )
    moved = "lost" if cell.verdict == "forgotten" else "gained"
    ends = _bare_span(scored.metrics["backward_transfer"], scored.share)
    words = f" {moved} {cell.text.lstrip('+−')}{unit} per earlier task since it was learnt ({_percent(level)} interval {ends})"
    task, learnt, now = _worst(scored.metrics)
    if moved == "gained" or now >= learnt:
        return (Part(f"{words}."),)
    shown = f", {figure(learnt, share=scored.share)} → {figure(now, share=scored.share)}{' %' if scored.share else ''}."
    return (Part(f"{words}: most on "), Part(task, strong=True), Part(shown))


def _findings(figures: SequenceFigures, level: float) -> list[Finding]:
    first = figures.by_scorer[0]
    average, over = first.cell("average_accuracy"), first.cell("mean_average_accuracy")
    per_cent = " %" if first.share else ""
    words = (
        f"The mean over the {figures.stages} tasks is {average.text}{per_cent} at the end ({average.ends},"
        f" n\u00a0{average.n}), and {over.text}{per_cent} over all stages (MAA, {over.ends})."
    )
    found = [Finding("no evidence", (Part(words),))]
    for scored in figures.by_scorer[1:]:
        cell = scored.cell("backward_transfer")
        words = f": {cell.text}{_unit(scored)} per earlier task since it was learnt ({cell.ends}, n\u00a0{cell.n})."
        found.append(Finding(cell.verdict, (Part(scored.title, strong=True), Part(words))))
    if "unseen" in first.metrics.figures:
        cell, n = first.cell("unseen"), len(first.metrics.unseen)
        sets = "1 task" if n == 1 else f"{n} tasks"
        words = f" ({sets} that no stage learnt): {cell.text}{_unit(first)} against the base ({cell.ends}, n\u00a0{cell.n})."
        found.append(Finding(cell.verdict, (Part("Unseen", strong=True), Part(words))))
    return found


def _worst(metrics: ContinualMetrics) -> tuple[str, float, float]:
    """The earlier task that lost most since it was learnt: title, score then, score now."""
    titles = column_titles([*metrics.tasks, *metrics.unseen])
    then = [metrics.means[place + 1][place] for place in range(len(metrics.tasks) - 1)]
    place = min(range(len(then)), key=lambda at: metrics.means[-1][at] - then[at])
    return titles[place], then[place], metrics.means[-1][place]


def _unit(scored: ScoredSequence) -> str:
    return " points" if scored.share else ""


def _percent(level: float) -> str:
    return f"{100 * level:.3g}\u00a0%"


def _bare_span(value: MetricValue, share: bool) -> str:
    """Both ends without their signs, the smaller change first."""
    ends = sorted((abs(value.low), abs(value.high)))
    return " to ".join(percent(end) if share else f"{end:.3g}" for end in ends)


# ---- the section of the page --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SummaryRow:
    """One figure for every scorer."""

    title: str
    meaning: str
    cells: tuple[FigureCell, ...]


@dataclass(frozen=True)
class Square:
    """One task after one stage. `kind`: before | learnt | since | unseen | none."""

    text: str
    hint: str
    kind: str
    shade: int = 0
    place: tuple[int, int] | None = None  # row and column of the audit


@dataclass(frozen=True)
class StageRow:
    """One checkpoint on every task."""

    title: str
    squares: tuple[Square, ...]


@dataclass(frozen=True)
class LossRow:
    """What one task lost since it was learnt: in all, and by what was lost."""

    title: str
    cells: tuple[FigureCell, ...]  # lost, format, knowledge, unclear
    overall: bool = False


@dataclass(frozen=True)
class TaskChart:
    """One task through the stages; `learnt`: by one of them."""

    title: str
    learnt: bool
    svg: Any


@dataclass(frozen=True)
class SequenceView:
    """All that the template reads."""

    hint: str
    why_not: str
    scorers: tuple[str, ...]
    summary: tuple[SummaryRow, ...]
    tasks: tuple[str, ...]
    first_unseen: int  # place among `tasks`; their number if there is none
    triangle: tuple[StageRow, ...]
    charts: tuple[TaskChart, ...]
    charts_hint: str
    gates: Gates | None
    losses: tuple[LossRow, ...] = ()
    losses_hint: str = ""


def sequence_view(audit: Audit, figures: SequenceFigures) -> SequenceView:
    scored = figures.by_scorer
    order = _order(audit, figures)
    return SequenceView(
        hint=_hint(figures, audit.level),
        why_not=figures.why_not,
        scorers=tuple(each.title for each in scored),
        summary=tuple(
            SummaryRow(NAMES[name].title, NAMES[name].meaning, tuple(each.cell(name) for each in scored))
            for name in NAMES
            if any(name in each.metrics.figures for each in scored)
        ),
        tasks=tuple(printable(audit.cols[col]) for col in order),
        first_unseen=figures.stages,
        triangle=tuple(_stage_row(audit, row, order, figures) for row in range(len(audit.rows)))
        if scored
        else (),
        charts=tuple(_chart(audit, figures, place, col) for place, col in enumerate(order)),
        charts_hint=_charts_hint(figures),
        gates=gates(audit.matrix),
        losses=_losses(audit, figures),
        losses_hint=_losses_hint(figures),
    )


def _losses(audit: Audit, figures: SequenceFigures) -> tuple[LossRow, ...]:
    """Lost form beside lost knowledge, a row per task that a stage before the last one taught; by the first judge."""
    if len(figures.by_scorer) < 2 or figures.stages < 2 or figures.joint:
        return ()
    matrix, judge = audit.matrix, figures.by_scorer[1].scorer
    last = matrix.rows[-1]
    titles = dict(zip(matrix.cols, audit.cols))
    rows = [
        _loss_row(titles[cell.col], cell.loss)
        for cell in format_losses(matrix, knowledge=judge)
        if cell.row == last and cell.loss is not None
    ]
    try:
        return (*rows, _loss_row("all of these", overall_loss(matrix, knowledge=judge), overall=True))
    except NotComparable:  # the cell concerned says why
        return ()


def _loss_row(title: str, loss: FormatLoss, *, overall: bool = False) -> LossRow:
    cells = [
        FigureCell(figure(part.value), interval(part.low, part.high), count(part.n))
        for part in (loss.lost, *loss.parts)
    ]
    return LossRow(printable(title), tuple(cells), overall)


def _losses_hint(figures: SequenceFigures) -> str:
    if len(figures.by_scorer) < 2:
        return ""
    judge = printable(figures.by_scorer[1].scorer)
    return (
        f"Answers that were right when their task was learnt and are not at the end, per cent of all n. Format: by {judge} the truth is"
        " still said, not in the form asked for. Knowledge: it is not said any more. Unclear: this judge did not find it while the"
        " answer was right."
    )


def _order(audit: Audit, figures: SequenceFigures) -> list[int]:
    """The audit's columns in order of training, unseen ones behind."""
    if not figures.by_scorer:
        return []
    metrics = figures.by_scorer[0].metrics
    return [audit.matrix.cols.index(name) for name in (*metrics.tasks, *metrics.unseen)]


def _hint(figures: SequenceFigures, level: float) -> str:
    method = f"{figures.method}: " if figures.method else ""
    many = " Both columns rest on the same answers." if len(figures.by_scorer) == 2 else ""
    if figures.joint:
        many += " Nothing came after a task, so that none could be forgotten: there is no BWT and no MAA."
    return printable(
        f"{method}{figures.done}. Scores in per cent, changes in points, each with its {_percent(level)} interval from samples"
        f" drawn anew for all stages together, and n samples that were scored wherever the figure looks.{many}"
    )


def _charts_hint(figures: SequenceFigures) -> str:
    ghosts = [each.title for each in figures.by_scorer[1:] if each.share]
    told = f" Grey: {', '.join(ghosts).lower()}." if ghosts else ""
    unseen = (
        " Orange: tasks that no stage learnt."
        if figures.by_scorer and figures.by_scorer[0].metrics.unseen
        else ""
    )
    return (
        f"The upright line marks the stage that learns the task; the dashed line is the base.{unseen}{told}"
    )


def _stage_row(audit: Audit, row: int, order: list[int], figures: SequenceFigures) -> StageRow:
    return StageRow(
        printable(audit.rows[row]),
        tuple(_square(audit, row, col, place, figures) for place, col in enumerate(order)),
    )


def _square(audit: Audit, row: int, col: int, place: int, figures: SequenceFigures) -> Square:
    learnt, unseen = figures.learnt_at(place), place >= figures.stages
    run = audit.run(row, col)
    where = printable(f"{audit.rows[row]} on {audit.cols[col]}")
    if run is None:
        return Square("", f"{where}: no result", "none")
    found, share = run.headline, is_share(audit.matrix, col)
    told = f"{where}: {figure(found.value, share=share)} ({interval(found.low, found.high, share=share)}), n {count(found.n)}"
    if not unseen and row <= learnt:
        kind = "learnt" if row == learnt else "before"
        return Square(
            figure(found.value, share=share),
            told + ("; learnt here" if kind == "learnt" else ""),
            kind,
            0,
            (row, col),
        )
    drops = audit.base if unseen else audit.reference("own").drops
    drop = drops.get((row, col))
    if drop is None:
        return Square(figure(found.value, share=share), told, "unseen" if unseen else "since", 0, (row, col))
    since = "against the base" if unseen else "since it was learnt"
    told += f"; {points(-drop.difference)} {since} ({span(-drop.high, -drop.low)}): {drop.verdict}"
    return Square(
        figure(found.value, share=share),
        told,
        "unseen" if unseen else "since",
        shade_of(drop.difference, drop.verdict),
        (row, col),
    )


def _chart(audit: Audit, figures: SequenceFigures, place: int, col: int) -> TaskChart:
    share = is_share(audit.matrix, col)
    values = [audit.run(row, col) for row in range(len(audit.rows))]
    points_ = tuple(
        CurvePoint(
            row,
            str(row) if row else "base",
            run.headline.value,
            run.headline.low,
            run.headline.high,
            run.headline.n,
        )
        if run is not None
        else CurvePoint(-1, str(row) if row else "base", math.nan, math.nan, math.nan, 0)
        for row, run in enumerate(values)
    )
    ghosts = tuple(
        tuple(row[place] for row in each.metrics.means)
        for each in figures.by_scorer[1:]
        if each.share and share
    )
    ends = [end for point in points_ for end in (point.low, point.high, point.value) if math.isfinite(end)]
    bottom, top = (0.0, 1.0) if share or not ends else (min(ends), max(ends))
    learnt = figures.learnt_at(place) if place < figures.stages else None
    title = printable(audit.cols[col])
    curve = Curve(title, figures.method, col, learnt is not None, points_, ghosts, share, bottom, top, learnt)
    return TaskChart(title, learnt is not None, safe(curve.svg()))
