"""The forgetting page: one HTML file that needs nothing but a browser.

The script and the style are constants; the policy names them by digest, so that an element that slipped in would not
run.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from keepsight.report.changes import Changes, Heat, flows, heats
from keepsight.report.comparisons import Audit, read_audit
from keepsight.report.continual import read_figures
from keepsight.report.curves import Curve, curves
from keepsight.report.details import page_data
from keepsight.report.episode_views import EpisodesView, episodes_view
from keepsight.report.failures import FailureBar, Kind, Told, failures
from keepsight.report.gallery import Caps, build_gallery
from keepsight.report.grid import ColumnView, RowView, Shade, columns, headline, rows, scale
from keepsight.report.html import asset, policy, safe, templates
from keepsight.report.judging import Judges, judges
from keepsight.report.notes import (
    Fact,
    Note,
    checkpoints,
    date,
    episodes_alone,
    facts,
    notes,
    tasks,
    version_of_keepsight,
    warnings,
)
from keepsight.report.sequence import SequenceView, sequence_verdict, sequence_view
from keepsight.report.verdict import Verdict, verdict
from keepsight.report.wording import count, listed, printable
from keepsight.store.files import replace_file
from keepsight.types import KeepsightError, ResultMatrix

__all__ = ["Page", "page_of", "write_html"]

_FLOWS_HINT = (
    "The largest real drops at the last checkpoint of every method. Blue: the answer became right; orange: it is"
    " wrong now."
)
_CLASSES_HINT = (
    "Share right of every class, in per cent, most forgotten first; colour is the change since the base. Single"
    " classes have few pictures: read patterns, not squares. Select a square to see its pictures."
)


@dataclass(frozen=True)
class Option:
    """One choice of the reference switch."""

    key: str
    label: str
    title: str
    available: bool


@dataclass(frozen=True)
class Chart:
    """A curve as the template places it."""

    title: str
    tuned: bool
    svg: Any


@dataclass(frozen=True)
class FailureRow:
    """A bar as the template places it."""

    title: str
    first_of_method: bool
    bar: Any
    shares: tuple[Told, ...]
    leak: Told
    n: str


@dataclass(frozen=True)
class FailureTable:
    """All bars."""

    kinds: tuple[Kind, ...]
    rows: tuple[FailureRow, ...]
    apart: bool
    note: str


@dataclass(frozen=True)
class Page:
    """Everything the template reads. Text is plain; only SVG made here and JSON are marked as safe."""

    title: str
    version: str
    subject: str
    date: str
    verdict: Verdict
    facts: tuple[Fact, ...]
    warnings: tuple[str, ...]
    references: tuple[Option, ...]
    matrix_hint: str
    cols: list[ColumnView]
    rows: list[RowView]
    scale: list[Shade]
    episodes: EpisodesView | None
    pictures: bool  # whether any task has pictures that are no episodes
    sequence: SequenceView | None  # has curves of its own
    curves: list[tuple[str, list[Chart]]]
    curves_hint: str
    failures: FailureTable | None
    flows: list[dict[str, Any]]
    flows_hint: str
    classes: list[Heat]
    classes_hint: str
    judges: Judges | None
    notes: tuple[Note, ...]
    checkpoints: list[dict[str, str]]
    tasks: list[dict[str, str]]
    data: dict[str, Any]


def write_html(matrix: ResultMatrix, path: str | os.PathLike[str], *, level: float = 0.95) -> Path:
    """Writes the page of an audit and returns its path.

    Args:
        matrix: at least one row and one column; cells may be missing.
        path: the file to write; its directory is made. An existing file is replaced in one step.
        level: of the family of intervals against a reference.

    Raises:
        KeepsightError: an empty matrix, or a path that cannot be written.
    """
    target = Path(path)
    page = page_of(matrix, target, level=level)
    css = asset("page.css") + (asset("sequence.css") if page.sequence else "")
    css += asset("episodes.css") if page.episodes else ""
    script = asset("page.js") + (asset("episodes.js") if page.episodes else "")
    html = (
        _environment()
        .get_template("page.html.j2")
        .render(
            page=page,
            css=safe(css),
            script=safe(script),
            policy=policy(css=css, script=script),
        )
    )
    replace_file(target, html.encode("utf-8", "replace"), durable=False)
    return target


def page_of(matrix: ResultMatrix, path: Path, *, level: float = 0.95) -> Page:
    """The numbers and words of a page.

    Raises:
        KeepsightError: the matrix has no row or no column.
    """
    if not matrix.rows or not matrix.cols:
        raise KeepsightError(
            "the result matrix has no row or no column; audit at least one checkpoint on one task"
        )
    audit = read_audit(matrix, level)
    changes = Changes(audit)
    caps = Caps.for_matrix(len(matrix.rows), len(matrix.cols))
    cells = [(row, col) for row in range(len(matrix.rows)) for col in range(len(matrix.cols))]
    gallery = build_gallery(matrix, {cell: audit.reference_rows(*cell) for cell in cells}, caps)
    figures = read_figures(matrix, level)
    episodes = episodes_view(audit, caps)
    found = (figures and sequence_verdict(figures, level)) or verdict(audit)
    return Page(
        title=printable(f"{found.text} – keepsight"[:180]),
        version=version_of_keepsight(),
        subject=printable(audit.rows[0]),
        date=date(matrix),
        verdict=found,
        facts=tuple(facts(audit)),
        warnings=tuple(warnings(audit)),
        references=tuple(_options(audit)),
        matrix_hint=_matrix_hint(audit),
        cols=columns(audit),
        rows=rows(audit),
        scale=scale(),
        episodes=episodes,
        pictures=episodes is None or len(episodes.tasks) < len(audit.cols),
        sequence=sequence_view(audit, figures) if figures else None,
        curves=[] if figures and figures.by_scorer else _charts(matrix),
        curves_hint=_curves_hint(audit),
        failures=_failure_table(audit),
        flows=_flow_views(audit, changes),
        flows_hint=_FLOWS_HINT,
        classes=heats(changes, caps.classes),
        classes_hint=_CLASSES_HINT,
        judges=judges(audit),
        notes=tuple(notes(audit)),
        checkpoints=checkpoints(audit),
        tasks=tasks(audit),
        data=page_data(audit, changes, gallery, caps, path),
    )


# ---- template -----------------------------------------------------------------------------------------


def _environment() -> Any:
    environment = templates()
    environment.filters["island"] = _island
    environment.filters["across"] = _across
    return environment


def _across(charts: int, most: int = 7) -> int:
    """How many charts stand side by side, so that all lines of charts are about equally long."""
    return math.ceil(charts / math.ceil(charts / most))


def _island(data: Any) -> Any:
    """JSON that cannot end its script element, open a comment or hold a character special to HTML."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return safe(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


# ---- pieces of the page ---------------------------------------------------------------------------


def _options(audit: Audit) -> list[Option]:
    return [
        Option(
            reference.key,
            reference.label,
            printable(f"not available: {reference.why_not}" if reference.why_not else reference.meaning),
            not reference.why_not or reference.key == "base",
        )
        for reference in audit.references
    ]


def _matrix_hint(audit: Audit) -> str:
    names = {headline(run).name.replace("_", " ") for run in audit.matrix.runs.values()} - {""}
    what = listed(sorted(names)) or "No figure"
    mark = (
        " The mark shows the difference to the reference in points, filled where the corrected interval excludes zero."
        if len(audit.rows) > 1
        else ""
    )
    scored = "episodes" if episodes_alone(audit) else "samples"
    return printable(
        f"{what.capitalize()} in per cent, with its 95 % interval and the number of scored {scored}.{mark}"
    )


def _curves_hint(audit: Audit) -> str:
    return (
        "From the base through every checkpoint, with 95 % intervals; the dashed line is the base."
        + (" Grey lines are the other methods on the same set." if len(_charts(audit.matrix)) > 1 else "")
        + (" Blue is the tuned set." if audit.tuned else "")
    )


def _charts(matrix: ResultMatrix) -> list[tuple[str, list[Chart]]]:
    return [(printable(line.method), [_chart(curve) for curve in charts]) for line, charts in curves(matrix)]


def _chart(curve: Curve) -> Chart:
    return Chart(printable(curve.title), curve.tuned, safe(curve.svg()))


def _failure_table(audit: Audit) -> FailureTable | None:
    found = failures(audit)
    if found is None:
        return None
    return FailureTable(found.kinds, tuple(_failure_row(bar) for bar in found.rows), found.apart, found.note)


def _failure_row(bar: FailureBar) -> FailureRow:
    title = printable(bar.title)
    return FailureRow(title, bar.first_of_method, safe(bar.svg()), tuple(bar.shares), bar.leak, count(bar.n))


def _flow_views(audit: Audit, changes: Changes) -> list[dict[str, Any]]:
    return [
        {
            "title": flow.title,
            "note": flow.note,
            "link": "#"
            + urlencode(
                {"cell": audit.matrix.rows[flow.row], "set": audit.matrix.cols[flow.col]}, errors="replace"
            ),
            "rows": [
                {
                    "before": row.before,
                    "now": row.now,
                    "n": count(row.n),
                    "right": row.right,
                    "bar": safe(row.bar()),
                }
                for row in flow.rows
            ],
        }
        for flow in flows(changes)
    ]
