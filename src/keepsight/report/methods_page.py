"""Several ways to tune on one sequence side by side: one page with a table, a plot of what learning cost, and published claims.

All figures of two methods that are compared come from the same drawn samples, so that "A beats B" has an interval. The page
needs no script: the policy allows none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from keepsight.report.claims import Claim
from keepsight.report.continual import INSTRUCTION, KNOWLEDGE, NAMES, FigureCell, figure_cell, is_joint
from keepsight.report.html import asset, policy, safe, templates
from keepsight.report.notes import version_of_keepsight
from keepsight.report.plots import plot_svg
from keepsight.report.wording import MISSING, count, figure, printable
from keepsight.scoring.continual import (
    ContinualMetrics,
    average_of_row,
    continual_difference,
    continual_metrics,
)
from keepsight.scoring.findings import Line, Plot
from keepsight.scoring.matched import matched_forgetting
from keepsight.store.files import replace_file
from keepsight.types import KeepsightError, MetricValue, ResultMatrix

__all__ = ["Methods", "write_methods_page"]

Settings = Mapping[str, ResultMatrix]
Methods = Mapping[str, ResultMatrix | Settings]


@dataclass(frozen=True)
class Entry:
    """One method under one setting, and how it is called."""

    method: str
    title: str
    matrix: ResultMatrix


Measured = tuple[Entry, ContinualMetrics]


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
        told = [{cells[place].n for cells in filled} - {""} for place in range(len(NAMES))]
        shown = [place for place, n in enumerate(told) if n]
        columns = [
            Column(name.title, name.meaning, *(told[place] if len(told[place]) == 1 else ()))
            for place, name in enumerate(NAMES.values())
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
    differences: Table | None
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
    title: str = "Continual methods compared",
    reference: str | None = None,
    level: float = 0.95,
    n_resamples: int = 10_000,
) -> Path:
    """Writes the page and returns its path.

    Args:
        matrices: method -> its matrix (base and a row per stage), or setting -> matrix: epochs, rates, seeds of one method, whose
            points the plot joins. A matrix of the base and one row that no `meta["tuned_on"]` knows is multi-task training.
        claims: shown below, with their verdicts.
        reference: the method that the others are compared with (default: the first that is a sequence).

    Raises:
        KeepsightError: no matrix is a sequence, or the reference is none.
    """
    entries = _entries(matrices)
    base = _reference(entries, reference)
    scorers: list[str | None] = [None, *(name for name in KNOWLEDGE if _all_have(entries, name))]
    several = len(scorers) > 2
    blocks = []
    for scorer in scorers:
        study = _Study.of(entries, base, {"scorer": scorer, "level": level, "n_resamples": n_resamples})
        knowledge = f"General knowledge ({scorer})" if several else "General knowledge"
        blocks.append(study.block(knowledge if scorer else INSTRUCTION))
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
            level=f"{100 * level:.3g}\u00a0%",
            blocks=blocks,
            claims=[_claim_row(claim) for claim in claims],
            css=safe(css),
            policy=policy(css=css),
        )
    )
    replace_file(Path(path), html.encode("utf-8", "replace"), durable=False)
    return Path(path)


def _entries(matrices: Methods) -> list[Entry]:
    found = []
    for method, given in matrices.items():
        settings = {"": given} if isinstance(given, ResultMatrix) else given
        for setting, matrix in settings.items():
            found.append(Entry(method, f"{method}, {setting}" if setting else method, matrix))
    return found


def _reference(entries: Sequence[Entry], name: str | None) -> Entry:
    found = next(
        (each for each in entries if not is_joint(each.matrix) and name in (None, each.method)), None
    )
    if found is None:
        what = f"{name!r} is none of the sequences" if name else "no method learnt its tasks in sequence"
        raise KeepsightError(f"{what}; give matrices of the base and one row per stage")
    return found


def _all_have(entries: Sequence[Entry], scorer: str) -> bool:
    records = [record for entry in entries for run in entry.matrix.runs.values() for record in run.records]
    return bool(records) and all(scorer in record.scores for record in records)


@dataclass(frozen=True)
class _Study:
    """The entries read by one scorer. `measured` holds per title the figures, an average alone, or why there are none."""

    entries: Sequence[Entry]
    reference: Entry
    how: Mapping[str, Any]  # scorer, level, n_resamples
    base: ContinualMetrics
    zero_shot: MetricValue
    measured: Mapping[str, ContinualMetrics | MetricValue | str]

    @classmethod
    def of(cls, entries: Sequence[Entry], reference: Entry, how: Mapping[str, Any]) -> _Study:
        base = continual_metrics(reference.matrix, **how)
        zero_shot = average_of_row(reference.matrix, base.rows[0], base.tasks, **how)
        return cls(
            entries,
            reference,
            how,
            base,
            zero_shot,
            {each.title: _measured(each, base, how) for each in entries},
        )

    @property
    def share(self) -> bool:
        """Whether scores are shares of 1."""
        return all(0 <= value <= 1 for row in self.base.means for value in row if not math.isnan(value))

    def block(self, title: str) -> Block:
        row = _only_average(figure_cell("average_accuracy", self.zero_shot, share=self.share))
        differences = [
            self._difference(entry) for entry, _ in self._sequences() if entry is not self.reference
        ]
        matched, unmatched = self._matched()
        return Block(
            title=title,
            figures=Table.of([MethodRow("zero-shot", row, note="the base"), *map(self._row, self.entries)]),
            differences=Table.of(differences) if differences else None,
            plot=safe(plot_svg(self._plot())),
            matched=tuple(matched),
            unmatched=unmatched,
        )

    def _sequences(self) -> list[Measured]:
        found = [(entry, self.measured[entry.title]) for entry in self.entries]
        return [(entry, metrics) for entry, metrics in found if isinstance(metrics, ContinualMetrics)]

    def _row(self, entry: Entry) -> MethodRow:
        title, found = printable(entry.title), self.measured[entry.title]
        if isinstance(found, str):
            return MethodRow(title, why_not=printable(found))
        if isinstance(found, MetricValue):
            cell = figure_cell("average_accuracy", found, share=self.share)
            return MethodRow(title, _only_average(cell), note="all tasks at once")
        return MethodRow(
            title, _cells(found, self.share), note="reference" if entry is self.reference else ""
        )

    def _difference(self, entry: Entry) -> MethodRow:
        title = printable(entry.title)
        try:
            found = continual_difference(entry.matrix, self.reference.matrix, **self.how)
        except KeepsightError as error:
            return MethodRow(title, why_not=printable(str(error)))
        return MethodRow(title, _cells(found, self.share, change=True))

    def _by_method(self) -> dict[str, list[Measured]]:
        found: dict[str, list[Measured]] = {}
        for entry, metrics in self._sequences():
            found.setdefault(entry.method, []).append((entry, metrics))
        return found

    def _matched(self) -> tuple[list[MatchedRow], str]:
        """Every other method against the reference, where any has several settings; and who shares no score with it."""
        methods = self._by_method()
        if all(len(settings) == 1 for settings in methods.values()):
            return [], ""
        own = methods.pop(self.reference.method)
        rows, apart = [], []
        for method, settings in methods.items():
            row = self._matched_row(method, settings, own)
            if row is None:
                apart.append(f"{method} ({self._learnt(settings)})")
            else:
                rows.append(row)
        told = f"{'; '.join(apart)}. {self.reference.method} learnt to {self._learnt(own)}." if apart else ""
        return rows, printable(told)

    def _matched_row(
        self, method: str, settings: Sequence[Measured], own: Sequence[Measured]
    ) -> MatchedRow | None:
        """None where no score is reached by both."""
        title = printable(method)
        matrices = [[entry.matrix for entry, _ in each] for each in (settings, own)]
        try:
            found = matched_forgetting(matrices[0], matrices[1], **self.how)
        except KeepsightError as error:
            return MatchedRow(title, why_not=printable(str(error)))
        figures = [each for each in (found.first, found.second, found.difference) if each is not None]
        if found.at is None or not figures:
            return None
        cells = tuple(
            figure_cell("maximal_forgetting", each, share=self.share) for each in figures
        )  # as there, positive is lost
        return MatchedRow(title, figure(found.at, share=self.share), cells)

    def _learnt(self, settings: Sequence[Measured]) -> str:
        """From where to where a method's settings learnt the new tasks."""
        values = [metrics["learning_accuracy"].value for _, metrics in settings]
        ends = dict.fromkeys(figure(value, share=self.share) for value in (min(values), max(values)))
        return "–".join(ends)

    def _plot(self) -> Plot:
        """Forgetting against the score on new tasks: a line per method, a point per setting."""
        lines = []
        for method, settings in self._by_method().items():
            figures = [each.figures for _, each in settings if "backward_transfer" in each.figures]
            lost = [each["backward_transfer"] for each in figures]
            lines.append(
                Line(
                    method,
                    y=tuple(-each.value for each in lost),
                    low=tuple(-each.high for each in lost),
                    high=tuple(-each.low for each in lost),
                    x=tuple((100 if self.share else 1) * each["learning_accuracy"].value for each in figures),
                )
            )
        return Plot(
            "Forgetting against new-task score",
            tuple(lines),
            x_label="score just after learning" + (", %" if self.share else ""),
            y_label="lost per earlier task" + (", % points" if self.share else ""),
            share=self.share,
        )


def _measured(
    entry: Entry, base: ContinualMetrics, how: Mapping[str, Any]
) -> ContinualMetrics | MetricValue | str:
    try:
        if is_joint(entry.matrix):
            return average_of_row(entry.matrix, entry.matrix.rows[-1], base.tasks, **how)
        return continual_metrics(entry.matrix, **how)
    except KeepsightError as error:
        return str(error)


def _only_average(cell: FigureCell) -> tuple[FigureCell, ...]:
    return tuple(cell if name == "average_accuracy" else FigureCell(MISSING) for name in NAMES)


def _cells(metrics: ContinualMetrics, share: bool, change: bool | None = None) -> tuple[FigureCell, ...]:
    return tuple(
        figure_cell(name, metrics[name], share=share, change=change)
        if name in metrics.figures
        else FigureCell(MISSING, hint=printable(metrics.why_not[name]))
        for name in NAMES
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
