"""Timings as ratios: two things measured in the same run, on the same outputs. One file per benchmark, one line here.

python -m benchmarks [NAME ...] [--json FILE]
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import (
    audit_again,
    audit_batched,
    bootstrap,
    env_resets,
    guidance_cost,
    harness_overhead,
    help_start,
    import_time,
    judge_refill,
    label_scoring,
    label_scoring_kv,
    moelora_step,
    probe_solver,
)
from benchmarks.record import Record

__all__ = ["BENCHMARKS", "Record"]

# name -> function of the ref of the model to measure with (only the audits and the probe ask a model)
BENCHMARKS: dict[str, Callable[[str], Record]] = {
    "help_start": help_start.measure,
    "bootstrap": bootstrap.measure,
    "audit_batched": audit_batched.measure,
    "audit_again": audit_again.measure,
    "judge_refill": judge_refill.measure,
    "harness_overhead": harness_overhead.measure,
    "import_time": import_time.measure,
    "label_scoring": label_scoring.measure,
    "label_scoring_kv": label_scoring_kv.measure,
    "guidance_cost": guidance_cost.measure,
    "probe_solver": probe_solver.measure,
    "moelora_step": moelora_step.measure,
    "env_resets": env_resets.measure,
}
