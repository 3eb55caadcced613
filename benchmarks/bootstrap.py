"""The paired bootstrap of 10,000 samples with 10,000 resamples, against the loop one would write first."""

from __future__ import annotations

import time
from random import Random

from benchmarks.record import Record
from keepsight.scoring.statistics import paired_bootstrap

__all__ = ["measure"]

SAMPLES = RESAMPLES = 10_000
LOOPED = 100  # resamples the loop is given; its time for all of them is this many times less
GOAL = 20
SECONDS = 1.0


def measure(ref: str = "tiny") -> Record:
    """Both must give the same interval, up to the resampling noise of the loop's few resamples."""
    random = Random(0)
    reference = [random.random() for _ in range(SAMPLES)]
    current = [value - 0.1 * random.random() for value in reference]
    before = time.perf_counter()
    result = paired_bootstrap(reference, current, n_resamples=RESAMPLES)
    ours = time.perf_counter() - before
    before = time.perf_counter()
    means = _looped([a - b for a, b in zip(reference, current)], random)
    loop = (time.perf_counter() - before) * RESAMPLES / LOOPED
    spread = result.high - result.low
    low, high = sorted(means)[2], sorted(means)[-3]
    assert abs(low - result.low) < spread / 2 and abs(high - result.high) < spread / 2
    detail = (
        f"{ours:.2f} s for {SAMPLES} samples x {RESAMPLES} resamples (must be under {SECONDS:g} s), "
        f"a Python loop {loop:.0f} s (from {LOOPED} of its resamples)"
    )
    return Record("bootstrap", loop / ours, GOAL, ours < SECONDS and loop / ours >= GOAL, RESAMPLES, detail)


def _looped(differences: list[float], random: Random) -> list[float]:
    """Means of resamples, one after the other."""
    n = len(differences)
    return [sum(differences[random.randrange(n)] for _ in range(n)) / n for _ in range(LOOPED)]
