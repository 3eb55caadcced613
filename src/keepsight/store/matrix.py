"""matrix.json: the result matrix as figures, with the way down to the run behind each of them."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keepsight.store.files import read_document, replace_file
from keepsight.store.runs import load_run, runs_at
from keepsight.store.schema import MatrixFile
from keepsight.types import KeepsightError, MetricValue, ResultMatrix, Run

__all__ = ["load_evaluation", "load_matrix", "plain", "write_matrix"]


def write_matrix(matrix: ResultMatrix, drops: Sequence[Any], root: str | Path) -> Path:
    """Writes `root/matrix.json`.

    Args:
        matrix: cells may be missing; `meta["failed"]` then says why ({row, col, error} each).
        drops: dataclass objects, one per comparison (`scoring.forgetting.Drop`).
        root: the store's directory; run paths are written relative to it.
    """
    root = Path(root)
    meta = dict(matrix.meta)
    failed = meta.pop("failed", [])
    file = MatrixFile(
        rows=list(matrix.rows),
        cols=list(matrix.cols),
        values=[[_value(metric) for metric in row] for row in _metrics(matrix)],
        intervals=[[_interval(metric) for metric in row] for row in _metrics(matrix)],
        n=[[metric.n if metric else None for metric in row] for row in _metrics(matrix)],
        metrics=[_metric_name(matrix, col) for col in matrix.cols],
        forgetting=[plain(dataclasses.asdict(drop)) for drop in drops],
        runs=[[_run_path(matrix, row, col, root) for col in matrix.cols] for row in matrix.rows],
        failed=failed,
        meta=plain(json.loads(json.dumps(meta, default=str))),
    )
    path = root / "matrix.json"
    data = file.model_dump_json(indent=1).encode() + b"\n"
    if (
        not os.path.exists(path) or path.read_bytes() != data
    ):  # a finished audit can be read again on a read-only disk
        replace_file(path, data)
    return path


def load_matrix(path: str | Path) -> ResultMatrix:
    """Reads a matrix.json, or the one in a directory, with all its runs.

    Raises KeepsightError when the file or one of its runs is missing or damaged.
    """
    path = Path(path)
    path = path / "matrix.json" if os.path.isdir(path) else path
    file = read_document(path, MatrixFile)
    if len(file.runs) != len(file.rows) or any(len(line) != len(file.cols) for line in file.runs):
        raise KeepsightError(
            f"{path}: runs does not have a place for every row and column; run the audit again"
        )
    runs = {
        (row, col): load_run(_run_inside(path, where))
        for row, line in zip(file.rows, file.runs)
        for col, where in zip(file.cols, line)
        if where is not None
    }
    _require_finished(path, runs)
    meta = {**file.meta, "failed": file.failed} if file.failed else file.meta
    return ResultMatrix(tuple(file.rows), tuple(file.cols), runs, meta)


def load_evaluation(path: str | Path) -> ResultMatrix:
    """The runs that one model left in a directory without a matrix.json, or a run directory, as a matrix of one row.

    Raises KeepsightError when the runs are of several checkpoints (which of them is the base is written nowhere), when two
    are of one task, or when one of them is missing, damaged or not finished.
    """
    path = Path(path)
    found = [load_run(each) for each in runs_at(path)]
    rows = list(dict.fromkeys(run.manifest["checkpoint"] for run in found))
    cols = list(dict.fromkeys(run.manifest["task"] for run in found))
    if len(rows) > 1 or len(cols) < len(found):
        what = f"{len(rows)} checkpoints" if len(rows) > 1 else "one task twice"
        raise KeepsightError(
            f"{path} holds runs of {what} and no matrix.json; give a run directory, or run keepsight audit"
        )
    runs = {(rows[0], run.manifest["task"]): run for run in found}
    _require_finished(path, runs)
    return ResultMatrix(tuple(rows), tuple(cols), runs)


def _run_inside(path: Path, where: str) -> Path:
    """A run directory named in a matrix.json, which may come from elsewhere: it must lie beside the file or below."""
    run = path.parent / where
    try:
        inside = run.resolve().is_relative_to(path.parent.resolve())
        os.stat(run)  # some Pythons resolve a name that no file can have without a word
    except FileNotFoundError:
        pass  # a run that is not there is named by whoever reads it
    except (OSError, ValueError, RuntimeError):
        inside = False
    if not inside:
        raise KeepsightError(
            f"{path}: the run {where[:200]!r} lies outside its directory; run the audit again"
        )
    return run


def _require_finished(path: Path, runs: Mapping[tuple[str, str], Run]) -> None:
    """An unfinished run may lack scores: it is no cell of a matrix."""
    for (row, col), run in runs.items():
        if run.manifest["status"] != "success":
            raise KeepsightError(f"{path}: the run of {row} on {col} is not finished; run the audit again")


def _metrics(matrix: ResultMatrix) -> list[list[MetricValue | None]]:
    return [
        [matrix[row, col].headline if (row, col) in matrix.runs else None for col in matrix.cols]
        for row in matrix.rows
    ]


def _value(metric: MetricValue | None) -> float | None:
    return None if metric is None or math.isnan(metric.value) else metric.value


def _interval(metric: MetricValue | None) -> list[float] | None:
    return None if metric is None or math.isnan(metric.value) else [metric.low, metric.high]


def _metric_name(matrix: ResultMatrix, col: str) -> str | None:
    return next((run.headline.name for (_, c), run in matrix.runs.items() if c == col), None)


def _run_path(matrix: ResultMatrix, row: str, col: str, root: Path) -> str | None:
    run = matrix.runs.get((row, col))
    return None if run is None or run.path is None else Path(os.path.relpath(run.path, root)).as_posix()


def plain(value: Any) -> Any:
    """`value` with null for nan, which JSON does not have."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value
