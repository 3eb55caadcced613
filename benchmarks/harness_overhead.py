"""What the harness adds to a sample: identity, cache, journal on the disk, scores, metrics; against the bare loop.

The model is a replay, so that asking costs next to nothing and what is left is ours.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.record import Record
from keepsight import models
from keepsight.evaluate import evaluate
from keepsight.store import Store
from keepsight.tasks import get
from keepsight.types import VLM, Task

__all__ = ["measure"]

PICTURES = 1000
RUNS = 3
GOAL = 1  # millisecond per sample, at most


def measure(ref: str = "tiny") -> Record:
    """The difference of both ways per sample in milliseconds, the median of several runs; the same scores are asserted."""
    task = get("emt:letters", n=PICTURES)
    samples = task.test()
    model = models.Replay({sample.id: {"text": sample.target[0]} for sample in samples})
    with tempfile.TemporaryDirectory() as folder:
        pairs = [_both(model, task, Path(folder) / str(number)) for number in range(RUNS)]
    overhead = statistics.median(ours - loop for ours, loop in pairs)
    bare = statistics.median(loop for _, loop in pairs)
    per_sample = 1000 * overhead / len(samples)
    detail = (
        f"milliseconds per sample over a bare loop's {1000 * bare / len(samples):.2f}, medians of {RUNS} runs; "
        "at most"
    )
    return Record("harness_overhead", per_sample, GOAL, per_sample <= GOAL, len(samples), detail)


def _both(model: VLM, task: Task, folder: Path) -> tuple[float, float]:
    """Seconds of an evaluation into a new store, and of asking and scoring alone."""
    before = time.perf_counter()
    run = evaluate(model, task, Store(folder))
    ours = time.perf_counter() - before
    before = time.perf_counter()
    samples = task.test()
    outputs = [output for _, output in sorted(task.infer(model, samples), key=lambda pair: pair[0])]
    scores = [score.value for scorer in (task.score, *task.judges) for score in scorer(samples, outputs)]
    loop = time.perf_counter() - before
    assert scores[: len(samples)] == [score.value for score in run.scores()]
    return ours, loop
