"""The matrix as the page draws it: one view per row, column and cell, against the base."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from keepsight.report.comparisons import Audit
from keepsight.report.curves import is_share
from keepsight.report.lineage import lines
from keepsight.report.wording import count, figure, interval, printable, span
from keepsight.scoring.forgetting import Drop
from keepsight.types import MetricValue, Run

__all__ = [
    "SHADES",
    "CellView",
    "ColumnView",
    "RowView",
    "Shade",
    "columns",
    "firsts_of_methods",
    "headline",
    "rows",
    "scale",
    "shade_of",
]

SHADES = (0.01, 0.05, 0.15, 0.40)  # a difference at or above the k-th gets the k-th shade


@dataclass(frozen=True)
class Shade:
    """One step of the colour scale and what it stands for."""

    shade: int
    label: str


@dataclass(frozen=True)
class ColumnView:
    """A column's heading."""

    title: str
    hint: str
    tuned: bool


@dataclass(frozen=True)
class CellView:
    """What stands in one cell, all as text. `missing` says why there is no figure, "" if there is one."""

    key: str  # "row.column"
    told: str  # the whole cell in words
    value: str = ""
    ends: str = ""
    n: str = ""
    change: str = ""
    verdict: str = ""
    shade: int = 0
    tuned: bool = False
    missing: str = ""


@dataclass(frozen=True)
class RowView:
    """A row's heading and its cells."""

    title: str
    hint: str
    note: str
    first_of_method: bool
    cells: tuple[CellView, ...]


def columns(audit: Audit) -> list[ColumnView]:
    """The headings; a column is marked as tuned when every tuned row was tuned on it."""
    always = set(audit.tuned.values())
    return [
        ColumnView(printable(title), printable(name), always == {col})
        for col, (title, name) in enumerate(zip(audit.cols, audit.matrix.cols))
    ]


def rows(audit: Audit) -> list[RowView]:
    """Every row with its cells against the base."""
    firsts = firsts_of_methods(audit)
    failed = audit.failures()
    everywhere = len(set(audit.tuned.values())) == 1
    views = []
    for row, title in enumerate(audit.rows):
        tuned = audit.tuned.get(row)
        note = (
            ("reference" if len(audit.rows) > 1 else "")
            if row == 0
            else ""
            if tuned is None or everywhere
            else f"tuned on {audit.cols[tuned]}"
        )
        cells = tuple(_cell(audit, row, col, failed.get((row, col), "")) for col in range(len(audit.cols)))
        views.append(
            RowView(
                printable(title), printable(audit.matrix.rows[row]), printable(note), row in firsts, cells
            )
        )
    return views


def firsts_of_methods(audit: Audit) -> set[int]:
    """The rows at which a new method begins."""
    return {line.rows[0] for line in lines(audit.matrix.rows)}


def headline(run: Run) -> MetricValue:
    """The headline figure of a run, empty when the run has none (it stopped before anything was scored)."""
    return (
        run.metrics[0] if run.metrics else MetricValue("", math.nan, math.nan, math.nan, 0, len(run.records))
    )


def shade_of(difference: float, verdict: str = "forgotten") -> int:
    """The colour step of reference minus current: negative for a loss, faint without evidence."""
    if math.isnan(difference):
        return 0
    steps = sum(abs(difference) >= least for least in SHADES)
    if verdict == "no evidence":
        steps = min(steps, 1)
    return -steps if difference > 0 else steps


def scale() -> list[Shade]:
    """The colour scale from most lost to most gained."""
    ends = [f"{100 * least:.0f}" for least in SHADES]
    names = [*(f"{a}–{b}" for a, b in pairwise(ends)), f"{ends[-1]}+"]
    steps = [Shade(step, name) for step, name in enumerate(names, start=1)]
    return [Shade(-step.shade, step.label) for step in reversed(steps)] + steps


def _cell(audit: Audit, row: int, col: int, error: str) -> CellView:
    key = f"{row}.{col}"
    place = printable(f"{audit.rows[row]} on {audit.cols[col]}")
    run = audit.run(row, col)
    if run is None:
        reason = printable(error) or "this cell has no run"
        return CellView(key, f"{place}: no result; {reason}", missing="no result")
    found = headline(run)
    share = is_share(audit.matrix, col)
    drop = audit.base.get((row, col))
    change, verdict = _change(drop)
    unscored = f" of {count(found.total)}" if found.n != found.total else ""
    value, ends = figure(found.value, share=share), interval(found.low, found.high, share=share)
    why_not = printable(audit.references[0].incomparable.get((row, col), ""))
    against = f"; not comparable with {audit.rows[0]}: {why_not}" if why_not else _told(drop)
    told = f"{place}: {value}, interval {ends}, n {count(found.n)}{unscored}{against}"
    return CellView(
        key,
        told,
        value,
        ends,
        f"n {count(found.n)}" + (f"/{count(found.total)}" if unscored else ""),
        "not comparable" if why_not else change,
        "not comparable" if why_not else verdict,
        shade_of(drop.difference, drop.verdict) if drop else 0,
        audit.tuned.get(row) == col,
    )


def _change(drop: Drop | None) -> tuple[str, str]:
    """The difference with its mark, filled only where it is real."""
    if drop is None or math.isnan(drop.difference):
        return "", ""
    size = f"{100 * abs(drop.difference):.1f}"
    if float(size) == 0:
        return "= 0.0", drop.verdict
    marks = ("▽", "△") if drop.verdict == "no evidence" else ("▼", "▲")
    return f"{marks[drop.difference < 0]} {size}", drop.verdict


def _told(drop: Drop | None) -> str:
    if drop is None or math.isnan(drop.difference):
        return ""
    moved = "lost" if drop.difference > 0 else "gained"
    ends = span(drop.low, drop.high)
    size = f"{100 * abs(drop.difference):.1f}"
    return f"; {moved} {size} points against {drop.reference_row} ({ends} lost): {drop.verdict}"
