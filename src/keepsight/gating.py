"""The gate: may this checkpoint be merged, released, trained on? A verb of its own, over runs that are finished.

What is compared, and when it passes, is told in docs/gate.md.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from keepsight.scoring.forgetting import NotComparable, Pairing, pair_runs
from keepsight.scoring.gate import Held, Outcome, hold_to
from keepsight.store import load_matrix, load_run
from keepsight.types import KeepsightError, ResultMatrix, Run

__all__ = ["Decision", "Gated", "gate"]

Decision = Literal["passed", "failed", "too little data"]


@dataclass(frozen=True)
class Gated:
    """One run against the base's run of the same task. Differences are base minus run: positive is forgotten."""

    row: str
    col: str
    outcome: Outcome
    forgotten: float | None = None  # None where nothing could be compared
    low: float | None = None  # ends of the interval at `level`
    high: float | None = None
    n: int = 0
    unpaired: int = 0  # samples that were not scored in both runs
    level: float = 0.95  # corrected for the number of comparisons
    method: str = ""
    why: str = ""  # why nothing could be compared


@dataclass(frozen=True)
class Gate:
    """All comparisons of a gate and what follows from them."""

    max_forgetting: float
    strict: bool
    cells: tuple[Gated, ...]

    @property
    def decision(self) -> Decision:
        """Failed: forgetting beyond the limit is shown (strict: or not ruled out)."""
        outcomes = {cell.outcome for cell in self.cells}
        if "beyond" in outcomes or (self.strict and "undecided" in outcomes):
            return "failed"
        return "too little data" if "too little data" in outcomes else "passed"

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as `keepsight gate --json` prints it."""
        return {
            "decision": self.decision,
            "max_forgetting": self.max_forgetting,
            "strict": self.strict,
            "cells": [asdict(cell) for cell in self.cells],
        }


def gate(
    runs: ResultMatrix | Sequence[Run | str | Path],
    max_forgetting: float,
    *,
    strict: bool = False,
    tasks: Sequence[str] = (),
    level: float = 0.95,
) -> Gate:
    """Holds runs to a limit on forgetting; no model is needed.

    Args:
        runs: a matrix or an audit's directory: every cell against the first row. Or run directories, the base's first:
            every run against the first run of its task.
        max_forgetting: how much of the score may be lost on a task: 0.02 is two points.
        strict: pass only when forgetting beyond the limit is ruled out, not merely not shown.
        tasks: only these; by default all.
        level: probability that the gate does not fail by chance, over all comparisons together.

    Raises:
        KeepsightError: unreadable runs, a task without a second run, or nothing to compare at all.
    """
    found = _comparisons(runs)
    known = list(dict.fromkeys(cell.col for cell in found))
    if unknown := [task for task in tasks if task not in known]:
        raise KeepsightError(f"no run of task {unknown[0]!r} is gated; there are {', '.join(known)}")
    cells = [cell for cell in found if not tasks or cell.col in tasks]
    if not cells:
        raise KeepsightError("nothing to compare: give the base's run and at least one other of its task")
    paired = [cell.paired() for cell in cells]
    held = iter(
        hold_to(max_forgetting, [pairing for pairing in paired if isinstance(pairing, Pairing)], level)
    )
    return Gate(
        max_forgetting,
        strict,
        tuple(
            _gated(cell, pairing, next(held))
            if isinstance(pairing, Pairing)
            else Gated(cell.row, cell.col, "too little data", why=pairing)
            for cell, pairing in zip(cells, paired, strict=True)
        ),
    )


@dataclass(frozen=True)
class _Cell:
    """What is compared with what; `why` says what is missing."""

    row: str
    col: str
    base: Run | None
    run: Run | None
    why: str = ""

    def paired(self) -> Pairing | str:
        """The scores side by side, or why there are none."""
        if self.base is None or self.run is None:
            return self.why
        for run in (self.base, self.run):
            if (status := run.manifest["status"]) != "success":
                return f"run {run.path} is not finished ({status})"
        try:
            return pair_runs(self.base, self.run)
        except NotComparable as error:
            return str(error)


def _comparisons(runs: ResultMatrix | Sequence[Run | str | Path]) -> list[_Cell]:
    if isinstance(runs, ResultMatrix):
        return _of_matrix(runs)
    if len(runs) == 1 and not isinstance(runs[0], Run) and _is_audit(Path(runs[0])):
        return _of_matrix(load_matrix(runs[0]))
    return _of_runs([run if isinstance(run, Run) else load_run(run) for run in runs])


def _is_audit(path: Path) -> bool:
    return path.name == "matrix.json" or os.path.exists(path / "matrix.json")


def _of_matrix(matrix: ResultMatrix) -> list[_Cell]:
    failed = {(cell["row"], cell["col"]): cell["error"] for cell in matrix.meta.get("failed", ())}
    base = matrix.rows[0]
    cells = []
    for row in matrix.rows[1:]:
        for col in matrix.cols:
            why = failed.get((row, col)) or failed.get((base, col)) or "this cell has no run"
            cells.append(_Cell(row, col, matrix.runs.get((base, col)), matrix.runs.get((row, col)), why))
    return cells


def _of_runs(runs: Sequence[Run]) -> list[_Cell]:
    """Every run against the first of its task. A task with one run has nothing to be held against: an error."""
    by_task: dict[str, list[Run]] = {}
    for run in runs:
        by_task.setdefault(str(run.manifest["task"]), []).append(run)
    alone = [task for task, its in by_task.items() if len(its) < 2]
    if alone:
        raise KeepsightError(
            f"task {alone[0]} has one run; give the base's run and the other's, or an audit's directory"
        )
    return [_Cell(_row(run), task, its[0], run) for task, its in by_task.items() for run in its[1:]]


def _row(run: Run) -> str:
    return str(run.manifest["checkpoint"])


def _gated(cell: _Cell, pairing: Pairing, held: Held) -> Gated:
    found = held.found
    measured = found.n > 0
    return Gated(
        row=cell.row,
        col=cell.col,
        outcome=held.outcome,
        forgotten=found.difference if measured else None,
        low=found.low if measured else None,
        high=found.high if measured else None,
        n=found.n,
        unpaired=pairing.unpaired,
        level=found.level,
        method=found.method,
        why="" if measured else "the runs have no scored sample in common",
    )
