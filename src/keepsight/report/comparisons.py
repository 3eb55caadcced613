"""Every comparison that the page shows, computed once: drops against each reference, by row and column index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from keepsight.report.lineage import column_titles, row_titles, tuned_columns
from keepsight.scoring.forgetting import Against, Drop, forgetting
from keepsight.types import KeepsightError, ResultMatrix, Run

__all__ = ["Audit", "Reference", "read_audit"]

Cell = tuple[int, int]  # row and column index
_LABELS: dict[Against, tuple[str, str]] = {
    "base": ("base", "every checkpoint against the first row"),
    "own": ("own", "each set against the checkpoint just after it was tuned"),
    "best": (
        "best so far",
        "each cell against the best checkpoint up to it; the best of several is flattered",
    ),
}


@dataclass(frozen=True)
class Reference:
    """One way to compare: its drops by cell, or why there are none."""

    key: Against
    label: str
    meaning: str
    drops: Mapping[Cell, Drop] = field(default_factory=dict)
    why_not: str = ""
    incomparable: Mapping[Cell, str] = field(default_factory=dict)  # cells that cannot be compared, and why


@dataclass(frozen=True)
class Audit:
    """A result matrix with its comparisons and with the names the page uses."""

    matrix: ResultMatrix
    level: float
    rows: tuple[str, ...]
    cols: tuple[str, ...]
    tuned: Mapping[int, int]
    references: tuple[Reference, ...]

    @property
    def base(self) -> Mapping[Cell, Drop]:
        """The drops against the base."""
        return self.references[0].drops

    def reference(self, key: Against) -> Reference:
        """One of the references by its name."""
        return next(reference for reference in self.references if reference.key == key)

    def run(self, row: int, col: int) -> Run | None:
        """The run of a cell, or None where there is none."""
        return self.matrix.runs.get((self.matrix.rows[row], self.matrix.cols[col]))

    def reference_rows(self, row: int, col: int) -> tuple[int, ...]:
        """The rows that a cell is compared with under any reference."""
        names = {name: index for index, name in enumerate(self.matrix.rows)}
        found = [reference.drops.get((row, col)) for reference in self.references]
        return tuple(dict.fromkeys(names[drop.reference_row] for drop in found if drop is not None))

    def failures(self) -> dict[Cell, str]:
        """Why cells have no run, where the matrix says so."""
        rows = {name: index for index, name in enumerate(self.matrix.rows)}
        cols = {name: index for index, name in enumerate(self.matrix.cols)}
        told = self.matrix.meta.get("failed")
        cells = (
            [cell for cell in told if isinstance(cell, Mapping)] if isinstance(told, (list, tuple)) else []
        )
        return {
            (rows[cell["row"]], cols[cell["col"]]): str(cell.get("error", ""))
            for cell in cells
            if cell.get("row") in rows and cell.get("col") in cols
        }


def read_audit(matrix: ResultMatrix, level: float = 0.95) -> Audit:
    """Compares a matrix against all references. A reference that cannot be had is kept with its reason."""
    return Audit(
        matrix,
        level,
        tuple(row_titles(matrix.rows)),
        tuple(column_titles(matrix.cols)),
        tuned_columns(matrix),
        tuple(_reference(matrix, key, level) for key in _LABELS),
    )


def _reference(matrix: ResultMatrix, key: Against, level: float) -> Reference:
    label, meaning = _LABELS[key]
    rows = {name: index for index, name in enumerate(matrix.rows)}
    cols = {name: index for index, name in enumerate(matrix.cols)}
    try:
        found = {(rows[drop.row], cols[drop.col]): drop for drop in forgetting(matrix, key, level=level)}
    except KeepsightError as error:
        return Reference(key, label, meaning, why_not=str(error))
    incomparable = {cell: drop.why for cell, drop in found.items() if drop.verdict == "not comparable"}
    drops = {cell: drop for cell, drop in found.items() if cell not in incomparable}
    why_not = next(iter(incomparable.values()), "no cell of this audit has such a reference")
    return Reference(key, label, meaning, drops, "" if drops else why_not, incomparable)
