"""Ranking many labels in one packed pass, against one full pass per label: the same model, the same numbers."""

from __future__ import annotations

from typing import Any

from benchmarks.labels import LABELS, PREFIX, Asked
from benchmarks.record import Record
from keepsight.models.ranking import WAYS

__all__ = ["largest_difference", "measure"]

GOAL = 100
CLOSE = 1e-4  # log-probability, float32


def measure(ref: str = "tiny", labels: int = LABELS, prefix: int = PREFIX) -> Record:
    """Both ways on one picture; log-probabilities must agree."""
    asked = Asked.of(ref, labels, prefix)
    ours, packed = asked.timed(WAYS["packed"])
    theirs, plain = asked.timed(WAYS["plain"])
    apart = largest_difference(packed, plain)
    detail = (
        f"{ours:.3f} s against {theirs:.1f} s for {labels} labels after {prefix} tokens; log-probabilities differ by at "
        f"most {apart:.1e}"
    )
    return Record("label_scoring", theirs / ours, GOAL, theirs / ours >= GOAL, labels, detail)


def largest_difference(one: Any, other: Any) -> float:
    """Between log-probabilities; asserts that they are the same."""
    apart = float((one - other).abs().max())
    assert apart < CLOSE, f"log-probabilities differ by {apart}"
    return apart
