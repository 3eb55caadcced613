"""An audit of four checkpoints on all drawn sets, against the way of the published scripts.

Those load the checkpoint for every data set and ask one picture at a time. Here the checkpoints share their base in
memory, pictures go through the frozen tower once, and questions are asked in batches. Both sides give the same texts
and score them with the same scorer; only this side also runs the other judges, writes the runs and compares them.

How much that is depends on how far the machine can run a batch in parallel. The published scripts are also a process
of their own per checkpoint and data set; the ratio with these starts counted (28 there, one here) is in `detail`.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
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
STARTS = 3  # timed
GOAL = 10
LIBRARIES = "import torch, peft; from transformers import AutoModelForImageTextToText, AutoProcessor"


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
        texts = {(each, task.name): _one_by_one(each, task) for each in refs for task in tasks}
        theirs = time.perf_counter() - before
    different = _different(matrix, texts)
    assert not different, f"{different} of the answers differ"
    start = statistics.median(_start() for _ in range(STARTS))
    n, starts = sum(map(len, texts.values())), len(texts)
    ratio, with_starts = theirs / ours, (theirs + starts * start) / (ours + start)
    detail = (
        f"{ours:.1f} s against {theirs:.1f} s for {n} answers of {len(refs)} checkpoints on {len(tasks)} sets, all the "
        f"same; with a process start of {start:.1f} s per checkpoint and set {with_starts:.1f} times"
    )
    return Record("audit_batched", ratio, GOAL, ratio >= GOAL, n, detail)


def _start() -> float:
    """Seconds until a process has imported what asking a model needs."""
    before = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", LIBRARIES], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return time.perf_counter() - before


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
