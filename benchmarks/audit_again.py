"""The same audit a second time: everything is read back, nothing is asked, no weights are loaded."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.checkpoints import all_sets, four_checkpoints
from benchmarks.record import Record
from keepsight import models
from keepsight.evaluate import audit
from keepsight.store import Store
from keepsight.types import VLM, Output, ResultMatrix, Sample

__all__ = ["measure"]

PICTURES = 200  # of each set
GOAL = 100


class Counted:
    """A model that counts the samples it is asked."""

    def __init__(self, model: VLM) -> None:
        self.model = model
        self.name = model.name
        self.digest = model.digest
        self.asked = 0

    def generate(self, samples: Sequence[Sample], **settings: Any) -> Iterator[tuple[int, Output]]:
        """Asks the model."""
        self.asked += len(samples)
        return self.model.generate(samples, **settings)


def measure(ref: str = "tiny") -> Record:
    """Wall-clock time of both audits; the second must ask nothing and give the same figures."""
    with tempfile.TemporaryDirectory() as folder:
        refs = four_checkpoints(ref, Path(folder))
        first, matrix, asked = _timed(refs, Path(folder) / "out")
        second, again, asked_again = _timed(refs, Path(folder) / "out")
    assert asked == len(refs) * len(matrix.cols) * PICTURES and asked_again == 0
    assert all(again[cell].metrics == run.metrics for cell, run in matrix.runs.items())
    detail = (
        f"{first:.1f} s, then {second:.2f} s for {asked} answers of 4 checkpoints; {asked_again} model calls"
    )
    return Record("audit_again", first / second, GOAL, first / second >= GOAL, asked, detail)


def _timed(refs: Sequence[str], folder: Path) -> tuple[float, ResultMatrix, int]:
    before = time.perf_counter()
    counted = [Counted(models.load(ref)) for ref in refs]
    matrix = audit(counted, all_sets(PICTURES), Store(folder), rows=refs)
    return time.perf_counter() - before, matrix, sum(model.asked for model in counted)
