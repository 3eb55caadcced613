"""Timings as ratios: two things measured in the same run, on the same outputs. One file per benchmark, one line here.

python -m benchmarks [NAME ...] [--json FILE]
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.audit_again import audit_again
from benchmarks.audit_batched import audit_batched
from benchmarks.bootstrap import bootstrap
from benchmarks.help_start import help_start
from benchmarks.record import Record

__all__ = ["BENCHMARKS", "Record"]

# name -> function of the ref of the model to measure with (only the audits ask a model)
BENCHMARKS: dict[str, Callable[[str], Record]] = {
    "help_start": help_start,
    "bootstrap": bootstrap,
    "audit_batched": audit_batched,
    "audit_again": audit_again,
}
