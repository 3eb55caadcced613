"""What a benchmark says."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Record"]


@dataclass(frozen=True)
class Record:
    """One benchmark: the measured ratio, what it should be, and whether it is."""

    name: str
    ratio: float
    goal: float
    ok: bool
    n: int  # how much was measured: runs, samples or resamples, as `detail` says
    detail: str
