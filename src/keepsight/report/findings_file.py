"""findings.json: a diagnosis on disk. The same bytes for the same findings; null where nothing could be measured."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from keepsight.scoring.findings import Diagnosis, FailedQuestion, Finding, Line, Plot
from keepsight.store.files import read_document, replace_file
from keepsight.store.rows import metric_of, metric_row
from keepsight.store.schema import SCHEMA_VERSION, FailedRow, FindingRow, FindingsFile, LineRow, PlotRow
from keepsight.types import KeepsightError

__all__ = ["FINDINGS", "read_findings", "write_findings"]

FINDINGS = "findings.json"


def write_findings(diagnosis: Diagnosis, directory: str | Path) -> Path:
    """Writes `directory/findings.json` and returns its path.

    Raises:
        StoreError: the directory cannot be written.
    """
    file = FindingsFile(
        model=diagnosis.model,
        checkpoint_digest=diagnosis.checkpoint_digest,
        pictures=diagnosis.pictures,
        labels=diagnosis.labels,
        findings=[_finding_row(finding) for finding in diagnosis.findings],
        failed=[FailedRow(**dataclasses.asdict(each)) for each in diagnosis.failed],
        settings=_plain(diagnosis.settings),
    )
    path = Path(directory) / FINDINGS
    replace_file(path, file.model_dump_json(indent=1).encode() + b"\n")
    return path


def read_findings(path: str | Path) -> Diagnosis:
    """The diagnosis of a findings.json, or of the one in a directory.

    Raises:
        KeepsightError: the file is missing, damaged, or of a later version of keepsight.
    """
    path = Path(path)
    path = path / FINDINGS if os.path.isdir(path) else path
    file = read_document(path, FindingsFile)
    if file.schema_version > SCHEMA_VERSION:
        raise KeepsightError(f"{path} has schema_version {file.schema_version}; update keepsight to read it")
    return Diagnosis(
        model=file.model,
        checkpoint_digest=file.checkpoint_digest,
        pictures=file.pictures,
        labels=file.labels,
        findings=tuple(_finding(path, row) for row in file.findings),
        failed=tuple(FailedQuestion(**row.model_dump()) for row in file.failed),
        settings=file.settings,
    )


def _finding_row(finding: Finding) -> FindingRow:
    return FindingRow(
        question=finding.question,
        title=finding.title,
        verdict=finding.verdict,
        answer=finding.answer,
        figures=[metric_row(figure) for figure in finding.figures],
        plots=[_plot_row(plot) for plot in finding.plots],
        notes=list(finding.notes),
        settings=_plain(finding.settings),
    )


def _plot_row(plot: Plot) -> PlotRow:
    plain = {field.name: getattr(plot, field.name) for field in dataclasses.fields(plot)}
    return PlotRow(**{**plain, "ticks": list(plot.ticks), "lines": [_line_row(line) for line in plot.lines]})


def _line_row(line: Line) -> LineRow:
    return LineRow(
        name=line.name, y=_nulled(line.y), low=_nulled(line.low), high=_nulled(line.high), x=_nulled(line.x)
    )


def _finding(path: Path, row: FindingRow) -> Finding:
    try:
        plots = tuple(_plot(plot) for plot in row.plots)
    except KeepsightError as error:  # series of unequal length: somebody edited the file
        raise KeepsightError(f"{path}: question {row.question}: {error}; run the diagnosis again") from error
    return Finding(
        question=row.question,
        title=row.title,
        verdict=row.verdict,
        answer=row.answer,
        figures=tuple(metric_of(figure) for figure in row.figures),
        plots=plots,
        notes=tuple(row.notes),
        settings=row.settings,
    )


def _plot(row: PlotRow) -> Plot:
    lines = tuple(
        Line(line.name, *(_numbers(part) for part in (line.y, line.low, line.high, line.x)))
        for line in row.lines
    )
    return Plot(row.title, lines, tuple(row.ticks), row.x_label, row.y_label, row.kind, row.share, row.log_x)


def _nulled(values: Sequence[float]) -> list[float | None]:
    return [None if math.isnan(value) else float(value) for value in values]


def _numbers(values: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(math.nan if value is None else value for value in values)


def _plain(settings: Any) -> Any:
    """Settings as JSON has them: null for nan, text for what is neither number, text, list nor mapping."""
    if settings is None or isinstance(settings, (str, int)):
        return settings
    if isinstance(settings, Integral):  # numpy's
        return int(settings)
    if isinstance(settings, Real):
        return None if math.isnan(settings) else float(settings)
    if isinstance(settings, (list, tuple)):
        return [_plain(part) for part in settings]
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        return _plain(dataclasses.asdict(settings))
    try:
        return {str(name): _plain(value) for name, value in dict(settings).items()}
    except (TypeError, ValueError):
        return str(settings)
