"""How long `keepsight --help` takes, in starts of a bare interpreter."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks.record import Record

__all__ = ["RUNS", "compared", "measure"]

RUNS = 15
GOAL = 10  # at most


def measure(ref: str = "tiny") -> Record:
    """Median of alternating runs, so that a busy moment hits both."""
    start, shown = compared(["-c", "pass"], ["-m", "keepsight.cli", "--help"])
    detail = f"--help {1000 * shown:.0f} ms, bare interpreter {1000 * start:.0f} ms, medians of {RUNS} runs; at most"
    return Record("help_start", shown / start, GOAL, shown / start <= GOAL, RUNS, detail)


def compared(first: Sequence[str], second: Sequence[str]) -> tuple[float, float]:
    """Median seconds of an interpreter with either list of arguments."""
    pairs = [(_seconds(first), _seconds(second)) for _ in range(RUNS)]
    one, other = zip(*pairs)
    return statistics.median(one), statistics.median(other)


def _seconds(arguments: Sequence[str]) -> float:
    before = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - before
