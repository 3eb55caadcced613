"""What several processes answered for one run: each beside the writer has a journal of its own until it is merged."""

from __future__ import annotations

import os
from pathlib import Path

from keepsight.store.files import Journal, read_rows
from keepsight.store.rows import Identity, output_row, row_fault
from keepsight.store.schema import OutputRow
from keepsight.types import KeepsightError, Output, Sample

__all__ = ["PartWriter", "part_files", "read_part"]

_NAME = "outputs.rank-{}.jsonl"


class PartWriter:
    """Writes one rank's answers into a run directory that another process holds; a context manager.

    Raises KeepsightError when the directory is not there: then the processes do not share a file system.
    """

    def __init__(self, root: Path, identity: Identity, path: Path, rank: int) -> None:
        if not os.path.exists(path / "manifest.json"):
            raise KeepsightError(f"{path} is not there; all ranks need one output path that they share")
        self._root = root
        self._identity = identity
        self._journal = Journal(path / _NAME.format(rank))

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, *failure: object) -> None:
        self._journal.close()

    def add_output(self, index: int, sample: Sample, output: Output, *, latency_s: float = 0.0) -> None:
        """Appends an answer. `index` is the sample's place in the identity's samples."""
        self._journal.append(
            output_row(self._root, self._identity, index, sample, output, latency_s=latency_s)
        )


def part_files(run: Path) -> dict[int, Path]:
    """Rank -> journal, of the ranks whose answers are not merged yet."""
    found = {int(path.stem.rpartition("-")[2]): path for path in run.glob(_NAME.format("[0-9]*"))}
    return dict(sorted(found.items()))


def read_part(path: Path) -> dict[str, OutputRow]:
    """doc_id -> the row that counts. Raises KeepsightError when one is not as it was written."""
    rows = {row.doc_id: row for row in read_rows(path, OutputRow)}
    root = path.resolve().parents[3]
    for row in rows.values():
        if fault := row_fault(root, row):
            raise KeepsightError(f"{path}, sample {row.doc_id}: {fault}; remove this file and run again")
    return rows
