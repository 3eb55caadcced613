"""The page of a diagnosis: what explains a model's figure on a picture set, question by question, in one HTML file.

It needs no script: the policy allows none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keepsight.report.findings_file import write_findings
from keepsight.report.html import asset, policy, safe, templates
from keepsight.report.notes import version_of_keepsight
from keepsight.report.plots import plot_svg
from keepsight.report.wording import MISSING, count, figure, listed, printable
from keepsight.scoring.findings import Diagnosis, Finding
from keepsight.store.files import replace_file
from keepsight.types import MetricValue

__all__ = [
    "DIAGNOSIS_PAGE",
    "VERDICTS",
    "figure_text",
    "plain_interval",
    "summary",
    "write_diagnosis",
    "write_diagnosis_page",
]

DIAGNOSIS_PAGE = "diagnosis.html"
MOST_ROWS = 6  # figures of a question that are shown at once
# verdict -> (sign, words); the words stand beside the sign wherever it is shown
VERDICTS: Mapping[str, tuple[str, str]] = {
    "yes": ("●", "yes"),
    "no": ("○", "no"),
    "no_evidence": ("?", "no evidence"),
    "failed": ("×", "failed"),
}


@dataclass(frozen=True)
class Entry:
    """A question in the summary."""

    anchor: str
    question: str
    title: str
    verdict: str
    sign: str
    words: str
    answer: str


@dataclass(frozen=True)
class FigureRow:
    """A figure as the table shows it."""

    name: str
    value: str
    interval: str
    n: str
    not_ok: str


@dataclass(frozen=True)
class Drawing:
    """A plot as the template places it."""

    title: str
    svg: Any


@dataclass(frozen=True)
class Section:
    """A finding as the template shows it."""

    entry: Entry
    figures: tuple[FigureRow, ...]
    more: tuple[FigureRow, ...]  # folded away
    level: str
    plots: tuple[Drawing, ...]
    notes: tuple[str, ...]
    settings: str


def write_diagnosis(diagnosis: Diagnosis, directory: str | Path) -> Path:
    """Writes `findings.json` and `diagnosis.html` into `directory`; returns the page's path.

    Raises:
        StoreError: the directory cannot be written.
    """
    write_findings(diagnosis, directory)
    return write_diagnosis_page(diagnosis, Path(directory) / DIAGNOSIS_PAGE)


def write_diagnosis_page(diagnosis: Diagnosis, path: str | Path) -> Path:
    """Writes the page alone and returns its path. Raises StoreError when it cannot be written."""
    css = asset("page.css") + asset("diagnosis.css")
    html = (
        templates()
        .get_template("diagnosis.html.j2")
        .render(
            title=printable(f"{diagnosis.model} on {diagnosis.pictures}: what explains it – keepsight"[:180]),
            model=printable(diagnosis.model),
            pictures=printable(diagnosis.pictures),
            version=version_of_keepsight(),
            summary=printable(summary(diagnosis)),
            entries=[*map(_entry, diagnosis.findings), *_failed(diagnosis)],
            sections=[_section(finding) for finding in diagnosis.findings],
            facts=_facts(diagnosis),
            css=safe(css),
            policy=policy(css=css),
        )
    )
    replace_file(Path(path), html.encode("utf-8", "replace"), durable=False)
    return Path(path)


def summary(diagnosis: Diagnosis) -> str:
    """How the questions came out, in a line: "Yes: gap and probe; no: decoding; failed: objective"."""
    by_verdict: dict[str, list[str]] = {"yes": [], "no": [], "no_evidence": [], "failed": []}
    for finding in diagnosis.findings:
        by_verdict[finding.verdict].append(finding.question)
    by_verdict["failed"] = [each.question for each in diagnosis.failed]
    told = "; ".join(f"{VERDICTS[key][1]}: {listed(names)}" for key, names in by_verdict.items() if names)
    return (told[:1].upper() + told[1:]).replace("_", " ")


def figure_text(metric: MetricValue) -> str:
    """A figure in its own unit: shares as parts of 1."""
    return _number(metric.value)


def plain_interval(metric: MetricValue) -> str:
    """Both ends of a figure's interval in the figure's own unit: "0.12 to 0.34"."""
    if math.isnan(metric.low) or math.isnan(metric.high):
        return MISSING
    return f"{_number(metric.low)} to {_number(metric.high)}"


def _number(value: float) -> str:
    """Three decimals where the first of them tells something; counts as counts."""
    if not math.isfinite(value) or 0 < abs(value) < 0.001:
        return figure(value, share=False)
    if value == round(value):
        return f"{value:,.0f}".replace("-", "−")
    digits = 3 if abs(value) < 10 else 1 if abs(value) < 1000 else 0
    return f"{value:,.{digits}f}".replace("-", "−")


def _entry(finding: Finding) -> Entry:
    sign, words = VERDICTS[finding.verdict]
    question = printable(finding.question)
    told = (printable(finding.title), finding.verdict, sign, words, printable(finding.answer))
    return Entry(_anchor(finding.question), question, *told)


def _failed(diagnosis: Diagnosis) -> list[Entry]:
    sign, words = VERDICTS["failed"]
    return [
        Entry(
            "", printable(each.question), printable(each.title), "failed", sign, words, printable(each.error)
        )
        for each in diagnosis.failed
    ]


def _anchor(question: str) -> str:
    return "q-" + "".join(c if c.isascii() and c.isalnum() else "-" for c in question)


def _section(finding: Finding) -> Section:
    rows = tuple(_figure_row(metric) for metric in finding.figures)
    shown = len(rows) if len(rows) <= MOST_ROWS + 2 else MOST_ROWS
    return Section(
        entry=_entry(finding),
        figures=rows[:shown],
        more=rows[shown:],
        level=f"{100 * finding.deciding.level:.3g} % interval",
        plots=tuple(Drawing(printable(plot.title), safe(plot_svg(plot))) for plot in finding.plots),
        notes=tuple(map(printable, finding.notes)),
        settings=printable(_as_text(finding.settings)),
    )


def _figure_row(metric: MetricValue) -> FigureRow:
    n = count(metric.n) if metric.n == metric.total else f"{count(metric.n)} of {count(metric.total)}"
    not_ok = ", ".join(f"{count(n)} {status}" for status, n in metric.not_ok.items() if n)
    return FigureRow(
        printable(metric.name.replace("_", " ")),
        _number(metric.value),
        plain_interval(metric),
        n,
        printable(not_ok),
    )


def _facts(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    """What all questions shared, for the head of the page."""
    shared = [(name.replace("_", " "), _as_text(value)) for name, value in diagnosis.settings.items()]
    facts = [("labels", count(diagnosis.labels)), *shared, ("checkpoint", diagnosis.checkpoint_digest[:12])]
    return [(printable(name), printable(value)) for name, value in facts]


def _as_text(value: Any) -> str:
    if isinstance(value, Mapping):
        return json.dumps(dict(value), indent=1, ensure_ascii=False, default=str) if value else ""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_as_text, value)) or "none"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return str(value)
