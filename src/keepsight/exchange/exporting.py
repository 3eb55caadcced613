"""Runs and matrices for other programs: CSV for spreadsheets, LaTeX for papers, logs for Inspect's viewer."""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from keepsight.exchange.inspect_log import inspect_json
from keepsight.scoring.forgetting import Drop, forgetting
from keepsight.store import load_matrix, load_run
from keepsight.types import KeepsightError, ResultMatrix, Run

__all__ = ["FORMATS", "export", "latex_text", "matrix_csv", "matrix_latex", "run_csv", "safe_cell"]

FORMATS = ("csv", "latex", "inspect")

# A spreadsheet takes a cell that begins like this for a formula, blanks before it notwithstanding; the last four are the
# full-width forms of the first ones.
_FORMULA = re.compile(r"^[\s\u200b\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20]|^[\t\r\n]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "[": "{[}",  # at the beginning of a row it would be an option of the \\ before it
    "]": "{]}",
    "-": "{-}",  # no ligatures in names
    "\n": " ",
    "\r": " ",
    "\t": " ",
}
_MARKS = {"forgotten": r"\textsuperscript{--}", "improved": r"\textsuperscript{+}"}


def export(path: str | Path, form: str, output: str | Path) -> list[Path]:
    """Writes a run directory, or the directory of an audit, in another program's form; returns the files.

    Args:
        path: a run directory (one row per sample), or an audit's directory or matrix.json (one row per cell).
        form: "csv", "latex" (of an audit), or "inspect" (of an audit: one log per run).
        output: the file to write; a directory for the logs of an audit.

    Raises:
        KeepsightError: an unknown form, an unreadable run, or a form that does not fit.
    """
    source, target = Path(path), Path(output)
    if form not in FORMATS:
        raise KeepsightError(f"format {form!r} is none of {', '.join(FORMATS)}")
    whole = source.name == "matrix.json" or os.path.exists(source / "matrix.json")
    if form == "latex" and not whole:
        raise KeepsightError(
            f"{source} is no audit (no matrix.json); LaTeX is made of a matrix, CSV of a run"
        )
    if form == "inspect" and whole:
        return _inspect_logs(load_matrix(source), target)
    if form == "inspect":
        return [_written(target, inspect_json(load_run(source)))]
    if form == "latex":
        return [_written(target, matrix_latex(load_matrix(source)).encode())]
    text = matrix_csv(load_matrix(source)) if whole else run_csv(load_run(source))
    return [_written(target, text.encode())]


def _inspect_logs(matrix: ResultMatrix, folder: Path) -> list[Path]:
    if os.path.isfile(folder):
        raise KeepsightError(f"{folder} is a file; the logs of an audit need a directory")
    written = []
    for run in matrix.runs.values():
        # Inspect's viewer reads date and task from the name, and the identity keeps two runs apart.
        stamp = re.sub(r"[^0-9T]", "-", str(run.manifest["created"])[:19])
        task = re.sub(r"[^A-Za-z0-9]+", "-", str(run.manifest["task"])).strip("-")
        name = f"{stamp}_{task}_{run.manifest['fingerprint'][:22]}.json"
        written.append(_written(folder / name, inspect_json(run)))
    return written


def _written(path: Path, data: bytes) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise KeepsightError(f"{path} cannot be written: {error.strerror}; give another --output") from error
    return path


# ---- CSV ----------------------------------------------------------------------------------------------------------


def safe_cell(text: str) -> str:
    """Text that a spreadsheet shows and does not compute: what could be a formula gets an apostrophe in front."""
    text = _CONTROL.sub("\ufffd", text)
    return f"'{text}" if _FORMULA.search(text) else text


def run_csv(run: Run) -> str:
    """One row per sample: what was asked, what was said, and every scorer's word on it."""
    names = list(run.manifest["scorers"])
    of_scorer = ("value", "status", "answer", "explanation", "tags")
    head = ["doc_id", "group", "prompt", "target", "output", "error", "images"]
    head += [f"{name}.{part}" for name in names for part in of_scorer]
    return _csv(head, (_sample_row(record, names) for record in run.records))


def _sample_row(record: Any, names: Sequence[str]) -> Iterator[str | float | None]:
    sample, output = record.sample, record.output
    images = " ".join(medium.path.name for medium in sample.media if medium.path is not None)
    yield from (sample.id, sample.group, sample.prompt, " | ".join(sample.target))
    yield from (output.text, output.error, images)
    for name in names:
        score = record.scores.get(name)
        if score is None:
            yield from (None,) * 5
        else:
            yield from (score.value, score.status, score.answer, score.explanation, " ".join(score.tags))


def matrix_csv(matrix: ResultMatrix) -> str:
    """One row per cell: the figure, its interval, and what was forgotten since the first row."""
    drops = {(drop.row, drop.col): drop for drop in forgetting(matrix)}
    failed = {(cell["row"], cell["col"]): cell["error"] for cell in matrix.meta.get("failed", ())}
    change = ("reference", "current", "difference", "low", "high", "p", "p_adjusted", "n", "lost", "gained")
    figures_of = ("name", "value", "low", "high", "n", "total")
    head = ["row", "col", "metric", *figures_of[1:], "error", "reference_row", "verdict", "why"]
    head += [f"drop.{name}" for name in change]

    def rows() -> Iterator[list[Any]]:
        for row in matrix.rows:
            for col in matrix.cols:
                run, drop = matrix.runs.get((row, col)), drops.get((row, col))
                found = run.headline if run is not None and run.metrics else None
                figures = [getattr(found, name, None) for name in figures_of]
                told = [getattr(drop, name, None) for name in ("reference_row", "verdict", "why")]
                lost = [getattr(drop, name, None) for name in change]
                yield [row, col, *figures, failed.get((row, col)), *told, *lost]

    return _csv(head, rows())


def _csv(head: Sequence[str], rows: Iterator[Any]) -> str:
    """Commas, CRLF, every cell of text quoted (RFC 4180); numbers as they are, nothing for what is not known."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow([safe_cell(name) for name in head])
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return text.getvalue()


def _cell(value: str | float | None) -> str | float:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return value if isinstance(value, (int, float)) else safe_cell(value)


# ---- LaTeX --------------------------------------------------------------------------------------------------------


def latex_text(text: str) -> str:
    """Text that LaTeX prints and does not read."""
    return "".join(_LATEX.get(sign, sign) for sign in _CONTROL.sub("\ufffd", text))


def matrix_latex(matrix: ResultMatrix) -> str:
    """A table (package booktabs) with the interval below each figure, marks where a change is real, n in the last row.

    Columns whose figures all lie between 0 and 1 are in per cent.
    """
    drops = {(drop.row, drop.col): drop for drop in forgetting(matrix)}
    lines = [rf"\begin{{tabular}}{{l{'r' * len(matrix.cols)}}}", r"\toprule"]
    lines += [" & ".join(["", *map(latex_text, matrix.cols)]) + r" \\", r"\midrule"]
    for row in matrix.rows:
        cells = [
            _latex_cell(matrix.runs.get((row, col)), drops.get((row, col)), _unit(matrix, col))
            for col in matrix.cols
        ]
        lines.append(" & ".join([latex_text(row), *(value for value, _ in cells)]) + r" \\")
        lines.append(" & ".join(["", *(ends for _, ends in cells)]) + r" \\")
    counts = [
        _range([matrix.runs[row, col] for row in matrix.rows if (row, col) in matrix.runs])
        for col in matrix.cols
    ]
    lines += [r"\midrule", " & ".join(["$n$", *counts]) + r" \\", r"\bottomrule", r"\end{tabular}"]
    base = latex_text(matrix.rows[0])
    lines.append(
        rf"% {_MARKS['forgotten']} forgotten, {_MARKS['improved']} improved against {base}, 95\,\% corrected (Holm)"
    )
    return "\n".join(lines) + "\n"


def _unit(matrix: ResultMatrix, col: str) -> float:
    """100 for shares, 1 for all other figures."""
    runs = [matrix.runs[row, col] for row in matrix.rows if (row, col) in matrix.runs]
    values = [run.headline.value for run in runs if run.metrics and not math.isnan(run.headline.value)]
    return 100.0 if all(0 <= value <= 1 for value in values) else 1.0


def _latex_cell(run: Run | None, drop: Drop | None, unit: float) -> tuple[str, str]:
    """The figure with its mark, and its interval."""
    if run is None or not run.metrics or math.isnan(run.headline.value):
        return "--", ""
    found, mark = run.headline, _MARKS.get(drop.verdict, "") if drop else ""
    ends = rf"{{\scriptsize {unit * found.low:.1f}--{unit * found.high:.1f}}}"
    return f"{unit * found.value:.1f}{mark}", ends


def _range(runs: Sequence[Run]) -> str:
    found = sorted({run.headline.n for run in runs if run.metrics})
    return "--" if not found else f"{found[0]}" if len(found) == 1 else f"{found[0]}--{found[-1]}"
