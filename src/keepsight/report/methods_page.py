"""Several ways to tune on one sequence on one page: tables, a plot of what learning cost, and published claims.

The page needs no script: the policy allows none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from keepsight.report.claims import Claim
from keepsight.report.continual import NAMES, FigureCell, figure_cell
from keepsight.report.html import asset, policy, safe, templates
from keepsight.report.methods import Entry, Methods, Study, read_methods
from keepsight.report.notes import version_of_keepsight
from keepsight.report.plots import plot_svg
from keepsight.report.wording import MISSING, count, figure, printable
from keepsight.scoring.continual import ContinualMetrics
from keepsight.scoring.findings import Line, Plot
from keepsight.scoring.matched import MatchedForgetting
from keepsight.store.files import replace_file

__all__ = ["Methods", "methods_page", "write_methods_page"]

TITLE = "Continual methods compared"
_COLUMNS = tuple(name for name in NAMES if name != "zero_shot")  # which has a row of its own


@dataclass(frozen=True)
class Column:
    """The head of a column; `n` is empty where its cells have several."""

    title: str
    meaning: str
    n: str = ""


@dataclass(frozen=True)
class MethodRow:
    """One line of a table; `why_not` stands instead of cells."""

    title: str
    cells: tuple[FigureCell, ...] = ()
    why_not: str = ""
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Methods and their figures; a figure that no method has is no column."""

    columns: tuple[Column, ...]
    rows: tuple[MethodRow, ...]

    @classmethod
    def of(cls, rows: Sequence[MethodRow]) -> Table:
        filled = [row.cells for row in rows if row.cells]
        told = [{cells[place].n for cells in filled} - {""} for place in range(len(_COLUMNS))]
        shown = [place for place, n in enumerate(told) if n]
        columns = [
            Column(NAMES[name].title, NAMES[name].meaning, *(told[place] if len(told[place]) == 1 else ()))
            for place, name in enumerate(_COLUMNS)
            if place in shown
        ]
        return cls(
            tuple(columns),
            tuple(
                replace(row, cells=tuple(row.cells[place] for place in shown if row.cells)) for row in rows
            ),
        )


@dataclass(frozen=True)
class MatchedRow:
    """Forgetting of a method and of the reference at one new-task score."""

    title: str
    at: str = ""
    cells: tuple[FigureCell, ...] = ()
    why_not: str = ""


@dataclass(frozen=True)
class Block:
    """All that rests on one scorer."""

    title: str
    figures: Table
    differences: Table
    plot: Any
    matched: tuple[MatchedRow, ...]
    unmatched: str  # which methods never learnt as much as the reference, or never as little

    @property
    def names(self) -> tuple[tuple[str, str], ...]:
        """What its columns are called and mean."""
        return tuple((column.title, column.meaning) for column in self.figures.columns)


@dataclass(frozen=True)
class ClaimRow:
    """A published claim as the table shows it."""

    claim: str
    source: str
    published: str
    measured: str
    unit: str
    interval: str
    n: str
    verdict: str
    words: str


def write_methods_page(
    matrices: Methods,
    claims: Sequence[Claim],
    path: str | Path,
    *,
    title: str = TITLE,
    reference: str | None = None,
    level: float = 0.95,
    n_resamples: int = 10_000,
) -> Path:
    """Writes the page and returns its path.

    Args:
        matrices, reference: as of `keepsight.report.methods.read_methods`. The plot joins a method's settings.
        claims: shown below, with their verdicts.

    Raises:
        KeepsightError: no matrix is a sequence, or the reference is none.
    """
    studies = read_methods(matrices, reference=reference, level=level, n_resamples=n_resamples)
    return methods_page(studies, path, claims, title=title)


def methods_page(
    studies: Sequence[Study], path: str | Path, claims: Sequence[Claim] = (), *, title: str = TITLE
) -> Path:
    """Writes the page of what was read already, and returns its path."""
    base, blocks = studies[0].reference, [_block(study) for study in studies]
    css = asset("page.css") + asset("diagnosis.css") + asset("sequence.css")
    html = (
        templates()
        .get_template("methods.html.j2")
        .render(
            title=printable(title),
            version=version_of_keepsight(),
            names=tuple(dict.fromkeys(column for each in blocks for column in each.names)),
            reference=printable(base.title),
            reference_method=printable(base.method),
            subject=printable(base.matrix.rows[0]),
            level=f"{100 * studies[0].level:.3g}\u00a0%",
            blocks=blocks,
            claims=[_claim_row(claim) for claim in claims],
            css=safe(css),
            policy=policy(css=css),
        )
    )
    replace_file(Path(path), html.encode("utf-8", "replace"), durable=False)
    return Path(path)


def _block(study: Study) -> Block:
    differences = [
        _row(study, entry, study.differences[entry.title], change=True)
        for entry in study.entries
        if entry.title in study.differences
    ]
    apart = [
        f"{method} ({_learnt(study, method)})"
        for method, found in study.matched.items()
        if isinstance(found, MatchedForgetting) and found.at is None
    ]
    own = study.reference.method
    told = f"{'; '.join(apart)}. {own} learnt to {_learnt(study, own)}." if apart else ""
    return Block(
        title=study.title,
        figures=Table.of([_row(study, entry, study.figures[entry.title]) for entry in study.entries]),
        differences=Table.of(differences),
        plot=safe(plot_svg(_plot(study))),
        matched=tuple(
            _matched_row(method, found, study.share)
            for method, found in study.matched.items()
            if isinstance(found, str) or found.at is not None
        ),
        unmatched=printable(told),
    )


def _row(study: Study, entry: Entry, found: ContinualMetrics | str, change: bool | None = None) -> MethodRow:
    title = printable(entry.title)
    if isinstance(found, str):
        return MethodRow(title, why_not=printable(found))
    note = "reference" if entry is study.reference else entry.note
    return MethodRow(title, _cells(found, study.share, change), note="" if change else note)


def _matched_row(method: str, found: MatchedForgetting | str, share: bool) -> MatchedRow:
    if isinstance(found, str):
        return MatchedRow(printable(method), why_not=printable(found))
    figures = [each for each in (found.first, found.second, found.difference) if each is not None]
    cells = [figure_cell("maximal_forgetting", each, share=share) for each in figures]  # positive is lost
    return MatchedRow(printable(method), figure(found.at or 0.0, share=share), tuple(cells))


def _learnt(study: Study, method: str) -> str:
    """From where to where a method's settings learnt the new tasks."""
    values = study.learnt(method)
    ends = dict.fromkeys(figure(value, share=study.share) for value in (min(values), max(values)))
    return "–".join(ends)


def _plot(study: Study) -> Plot:
    """Forgetting against the score on new tasks: a line per method, a point per setting."""
    methods: dict[str, list[ContinualMetrics]] = {}
    for entry, metrics in study.sequences:
        methods.setdefault(entry.method, []).append(metrics)
    lines = []
    for method, settings in methods.items():
        figures = [each.figures for each in settings if "backward_transfer" in each.figures]
        lost = [each["backward_transfer"] for each in figures]
        lines.append(
            Line(
                method,
                y=tuple(-each.value for each in lost),
                low=tuple(-each.high for each in lost),
                high=tuple(-each.low for each in lost),
                x=tuple((100 if study.share else 1) * each["learning_accuracy"].value for each in figures),
            )
        )
    return Plot(
        "Forgetting against new-task score",
        tuple(lines),
        x_label="score just after learning" + (", %" if study.share else ""),
        y_label="lost per earlier task" + (", % points" if study.share else ""),
        share=study.share,
    )


def _cells(metrics: ContinualMetrics, share: bool, change: bool | None) -> tuple[FigureCell, ...]:
    return tuple(
        figure_cell(name, metrics[name], share=share, change=change)
        if name in metrics.figures
        else FigureCell(MISSING, hint=printable(metrics.why_not[name]))
        for name in _COLUMNS
    )


def _claim_row(claim: Claim) -> ClaimRow:
    low, high = claim.interval
    decimals = 1 if claim.unit.startswith(("points", "%")) else 3
    measured, low_end, high_end = (_number(value, decimals) for value in (claim.measured, low, high))
    ends = MISSING if MISSING in (low_end, high_end) else f"{low_end} to {high_end}"
    return ClaimRow(
        printable(claim.claim),
        printable(claim.source),
        printable(claim.published),
        measured,
        printable(claim.unit),
        ends,
        count(claim.n),
        claim.verdict,
        claim.verdict.replace("_", " "),
    )


def _number(value: float, decimals: int) -> str:
    return MISSING if math.isnan(value) else f"{value:.{decimals}f}".replace("-", "−")
