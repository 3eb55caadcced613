"""The forgetting page: one HTML file that needs nothing but a browser.

Text of models and users reaches the page on two ways only: through the template's autoescape, or as JSON that the
script turns into text nodes. The script and the style are constants; the policy names them by digest, so that an
element that slipped in would not run.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from keepsight.report.changes import Changes, Heat, flows, heats
from keepsight.report.comparisons import Audit, read_audit
from keepsight.report.curves import Curve, curves
from keepsight.report.details import page_data
from keepsight.report.failures import FailureBar, Kind, Told, failures
from keepsight.report.gallery import Caps, build_gallery
from keepsight.report.grid import ColumnView, RowView, Shade, columns, headline, rows, scale
from keepsight.report.judging import Judges, judges
from keepsight.report.verdict import Verdict, verdict
from keepsight.report.wording import count, listed, printable
from keepsight.types import KeepsightError, ResultMatrix, Run

__all__ = ["Page", "page_of", "policy", "write_html"]

TOO_MANY_UNSCORED = 0.02  # a share of all answers; fewer are told among the facts, more are a warning


@dataclass(frozen=True)
class Fact:
    """A name, a value, and what to know about it."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Option:
    """One choice of the reference switch."""

    key: str
    label: str
    title: str
    available: bool


@dataclass(frozen=True)
class Note:
    """A paragraph on how things were measured."""

    name: str
    text: str


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
    html = (
        _environment()
        .get_template("page.html.j2")
        .render(
            page=page_of(matrix, target, level=level),
            css=_safe(_asset("page.css")),
            script=_safe(_asset("page.js")),
            policy=policy(),
        )
    )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f".{target.name}.part")
        unfinished.write_bytes(html.encode("utf-8", "replace"))
        unfinished.replace(target)
    except OSError as error:
        raise KeepsightError(
            f"cannot write the page {target}: {error.strerror}; choose another path"
        ) from error
    return target


def policy() -> str:
    """The Content-Security-Policy: nothing is fetched, only this script runs, only this style applies."""
    return (
        f"default-src 'none'; img-src data:; script-src '{_digest(_asset('page.js'))}';"
        f" style-src '{_digest(_asset('page.css'))}'; base-uri 'none'; form-action 'none'"
    )


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
    found = verdict(audit)
    return Page(
        title=printable(f"{found.text} – keepsight"[:180]),
        version=_version(),
        subject=printable(audit.rows[0]),
        date=_date(matrix),
        verdict=found,
        facts=tuple(_facts(audit)),
        warnings=tuple(_warnings(audit)),
        references=tuple(_options(audit)),
        matrix_hint=_matrix_hint(audit),
        cols=columns(audit),
        rows=rows(audit),
        scale=scale(),
        curves=_charts(matrix),
        curves_hint=_curves_hint(audit),
        failures=_failure_table(audit),
        flows=_flow_views(audit, changes),
        flows_hint="The largest real drops at the last checkpoint of every method. Blue: the answer became right; orange: it is wrong now.",
        classes=heats(changes, caps.classes),
        classes_hint="Share right of every class, in per cent, most forgotten first; colour is the change since the base. Single classes have few pictures: read patterns, not squares.",
        judges=judges(audit),
        notes=tuple(_notes(audit)),
        checkpoints=_checkpoints(audit),
        tasks=_tasks(audit),
        data=page_data(audit, changes, gallery, caps, path),
    )


# ---- template ---------------------------------------------------------------------------------------------------


def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("keepsight.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["island"] = _island
    return environment


def _island(data: Any) -> Any:
    """JSON that cannot end its script element, open a comment or hold a character that HTML treats specially."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return _safe(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _safe(text: str) -> Any:
    """Marks text made in this package as not to be escaped again."""
    from markupsafe import Markup

    return Markup(text)  # our own SVG, CSS, script and escaped JSON only


def _asset(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("keepsight")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown"


# ---- words ------------------------------------------------------------------------------------------------------


def _facts(audit: Audit) -> list[Fact]:
    runs = list(audit.matrix.runs.values())
    answers = sum(len(run.records) for run in runs)
    scored = sum(headline(run).n for run in runs)
    sizes = sorted({len(run.records) for run in runs})
    pictures = (
        f"{count(sizes[0])}"
        if len(sizes) == 1
        else f"{count(sizes[0])} to {count(sizes[-1])}"
        if sizes
        else "no"
    )
    tuned = [audit.cols[col] for col in sorted(set(audit.tuned.values()))]
    note = "" if scored == answers else f"{count(scored)} scored, {count(answers - scored)} not"
    facts = [
        Fact("Checkpoints", count(len(audit.rows)), "base first"),
        Fact("Sets", count(len(audit.cols)), f"{pictures} samples each"),
        Fact("Answers", count(answers), note),
    ]
    if tuned:
        facts.append(Fact("Tuned on", printable(listed(tuned))))
    if audit.base:
        real = sum(drop.verdict == "forgotten" for drop in audit.base.values())
        facts.append(Fact("Real drops", f"{real} of {len(audit.base)}", "comparisons with the base"))
    facts.append(Fact("Certainty", f"{100 * audit.level:.3g} %", "over all comparisons, Holm"))
    return facts


def _warnings(audit: Audit) -> list[str]:
    cells = len(audit.rows) * len(audit.cols)
    missing = cells - len(audit.matrix.runs)
    found = []
    if missing:
        failed = audit.failures()
        first = next(iter(failed.items()), None)
        example = (
            f" The first: {audit.rows[first[0][0]]} on {audit.cols[first[0][1]]}: {first[1]}" if first else ""
        )
        found.append(f"{missing} of {cells} cells have no result and enter no comparison.{example}")
    unfinished = [
        run for run in audit.matrix.runs.values() if run.manifest.get("status", "success") != "success"
    ]
    if unfinished:
        found.append(
            f"{len(unfinished)} of {cells} runs did not finish; their figures rest on fewer samples."
        )
    answers = sum(headline(run).total for run in audit.matrix.runs.values())
    unscored = answers - sum(headline(run).n for run in audit.matrix.runs.values())
    if unscored > TOO_MANY_UNSCORED * answers:
        found.append(
            f"{count(unscored)} of {count(answers)} answers could not be scored; they are neither right nor wrong."
        )
    if audit.references[0].why_not and len(audit.rows) > 1:
        found.append(f"Nothing is compared with the base: {audit.references[0].why_not}")
    return [printable(text) for text in found]


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
    names = {headline(run).name for run in audit.matrix.runs.values()} - {""}
    unit = "in per cent" if all(column for column in audit.cols) else ""
    what = listed(sorted(names)) or "No figure"
    return printable(
        f"{what.capitalize()} {unit}, with its 95 % interval and the number of scored samples. The mark shows the"
        f" difference to the reference in points, filled where the corrected interval excludes zero."
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
    return Chart(printable(curve.title), curve.tuned, _safe(curve.svg()))


def _failure_table(audit: Audit) -> FailureTable | None:
    found = failures(audit)
    if found is None:
        return None
    return FailureTable(found.kinds, tuple(_failure_row(bar) for bar in found.rows), found.apart, found.note)


def _failure_row(bar: FailureBar) -> FailureRow:
    title = printable(bar.title)
    return FailureRow(title, bar.first_of_method, _safe(bar.svg()), tuple(bar.shares), bar.leak, count(bar.n))


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
                    "bar": _safe(row.bar()),
                }
                for row in flow.rows
            ],
        }
        for flow in flows(changes)
    ]


def _notes(audit: Audit) -> list[Note]:
    methods = sorted({drop.method for reference in audit.references for drop in reference.drops.values()})
    certainty = f"{100 * audit.level:.3g} %"
    notes = [
        Note(
            "Accuracy and its interval",
            "Share of scored samples that the headline scorer calls right, with its 95 % interval (Wilson for shares)."
            " n is the number of scored samples; an answer that nobody could score, a refusal and a failed judge are"
            " counted apart.",
        ),
        Note(
            "Forgetting",
            "Reference minus current on the same samples, in points: positive is lost. The word forgotten stands only"
            " where the corrected interval excludes zero. No evidence does not mean that nothing was lost.",
        ),
        Note(
            "Interval and correction",
            f"Paired ({listed(methods) or 'no comparison'}), samples that share a picture count as one cluster."
            f" Holm's correction over all {len(audit.base)} comparisons with the base: with {certainty} certainty none of"
            " the verdicts is wrong. Each interval stands at its own corrected level, so that it always agrees with the"
            " verdict.",
        ),
        Note(
            "References",
            "Base: the first row. Own: the checkpoint that had just been tuned on the set. Best so far: the best row up"
            " to the cell; the best of several noisy figures is flattered, and so are these drops.",
        ),
        Note(
            "Failures and leaks",
            "Every answer is correct, incorrect, an intrinsic or an extrinsic hallucination, or no answer. A foreign"
            " label is a label of another audited set that is not one of this set: the answer leaks from elsewhere.",
        ),
        Note(
            "Pictures",
            "Chosen by rule, not by hand: lost by the most checkpoints first, classes in turn. The cap and the full"
            " number stand with each choice. Thumbnails are encoded anew, without the files' metadata.",
        ),
    ]
    libraries = _libraries(audit.matrix)
    return [*notes, Note("Versions", libraries)] if libraries else notes


def _libraries(matrix: ResultMatrix) -> str:
    found: dict[str, set[str]] = {}
    for run in matrix.runs.values():
        libraries = run.manifest.get("libraries") or run.manifest.get("versions") or {}
        for name, version in libraries.items() if isinstance(libraries, Mapping) else ():
            found.setdefault(str(name), set()).add(str(version))
    return printable(
        ", ".join(f"{name} {' / '.join(sorted(versions))}" for name, versions in sorted(found.items()))
    )


def _date(matrix: ResultMatrix) -> str:
    """The day on which the last run of the audit was written, as it says itself."""
    days = [str(run.manifest.get("updated") or "")[:10] for run in matrix.runs.values()]
    return printable(max([*days, str(matrix.meta.get("created") or "")[:10]]))


def _checkpoints(audit: Audit) -> list[dict[str, str]]:
    found = []
    for row, name in enumerate(audit.matrix.rows):
        runs = [run for col in range(len(audit.cols)) if (run := audit.run(row, col)) is not None]
        digests = sorted({str(run.manifest.get("checkpoint_digest", "")) for run in runs} - {""})
        tuned = audit.tuned.get(row)
        found.append(
            {
                "name": printable(name),
                "digest": printable(", ".join(digests)) or "–",
                "tuned": printable(audit.cols[tuned]) if tuned is not None else "–",
            }
        )
    return found


def _tasks(audit: Audit) -> list[dict[str, str]]:
    return [_task(audit, col) for col in range(len(audit.cols))]


def _task(audit: Audit, col: int) -> dict[str, str]:
    runs = [run for row in range(len(audit.rows)) if (run := audit.run(row, col)) is not None]
    name = printable(audit.matrix.cols[col])
    if not runs:
        blank = dict.fromkeys(("version", "samples", "headline", "scorers", "inference", "prompt"), "–")
        return {"name": name, **blank}
    first = runs[0]
    prompt = first.records[0].sample.prompt if first.records else "–"
    scorers = first.manifest.get("scorers") or {}
    told = (
        [f"{scorer} {version}" for scorer, version in scorers.items()]
        if isinstance(scorers, Mapping)
        else list(scorers)
    )
    return {
        "name": name,
        "version": printable(str(first.manifest.get("task_version", "–"))),
        "samples": count(len(first.records)),
        "headline": printable(headline(first).name),
        "scorers": printable(", ".join(map(str, told))),
        "inference": printable(_settings(first)),
        "prompt": printable(prompt if len(prompt) <= 400 else f"{prompt[:400]} …"),
    }


def _settings(run: Run) -> str:
    settings = run.manifest.get("inference") or {}
    if not isinstance(settings, Mapping):
        return str(settings)
    return ", ".join(f"{name} {value}" for name, value in settings.items())
