"""An audit of four checkpoints on all drawn sets, against the way of the published scripts.

Those load one checkpoint after the other and ask it one picture at a time. Here the checkpoints share their base in
memory, pictures go through the frozen tower once, and questions are asked in batches. Both sides answer with the same
words and score them with the same scorer; only this side also writes runs, judges and statistics.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.checkpoints import all_sets, four_checkpoints
from benchmarks.record import Record
from keepsight import models
from keepsight.evaluate import audit
from keepsight.store import Store
from keepsight.types import ResultMatrix, Task

__all__ = ["measure"]

PICTURES = 60  # of each set
GOAL = 10


def measure(ref: str = "tiny") -> Record:
    """Wall-clock time of both ways, weights loaded from disk by both; the same texts are asserted."""
    tasks = all_sets(PICTURES)
    for task in tasks:
        task.test()  # drawing the pictures is neither side's work
    with tempfile.TemporaryDirectory() as folder:
        refs = four_checkpoints(ref, Path(folder))
        before = time.perf_counter()
        matrix = audit([models.load(each) for each in refs], tasks, Store(Path(folder) / "out"), rows=refs)
        ours = time.perf_counter() - before
        before = time.perf_counter()
        texts = {
            cell: _one_by_one(each, task) for each in refs for task in tasks for cell in [(each, task.name)]
        }
        theirs = time.perf_counter() - before
    different = _different(matrix, texts)
    assert not different, f"{different} of the answers differ"
    n = sum(map(len, texts.values()))
    detail = f"{ours:.1f} s against {theirs:.1f} s for {n} answers of 4 checkpoints on {len(tasks)} sets, all the same"
    return Record("audit_batched", theirs / ours, GOAL, theirs / ours >= GOAL, n, detail)


def _one_by_one(ref: str, task: Task) -> list[str]:
    """Loads the checkpoint and asks it one picture at a time."""
    model = models.load(ref)
    assert isinstance(model, models.HFModel)
    model = model.unshared()
    texts = []
    for sample in task.test():
        ((_, output),) = task.infer(model, [sample], batch_size=1)
        task.score([sample], [output])
        texts.append(output.text)
    return texts


def _different(matrix: ResultMatrix, texts: dict[tuple[str, str], list[str]]) -> int:
    said = {cell: [record.output.text for record in run.records] for cell, run in matrix.runs.items()}
    return sum(a != b for cell, answers in texts.items() for a, b in zip(said[cell], answers, strict=True))
