"""How long `import keepsight` takes, in starts of a bare interpreter."""

from __future__ import annotations

from benchmarks import help_start
from benchmarks.record import Record

__all__ = ["measure"]

GOAL = 10  # at most


def measure(ref: str = "tiny") -> Record:
    """Median of alternating runs, so that a busy moment hits both."""
    start, imported = help_start.compared(["-c", "pass"], ["-c", "import keepsight"])
    detail = f"import {1000 * imported:.0f} ms, bare interpreter {1000 * start:.0f} ms, medians of {help_start.RUNS} runs; at most"
    return Record("import_time", imported / start, GOAL, imported / start <= GOAL, help_start.RUNS, detail)
