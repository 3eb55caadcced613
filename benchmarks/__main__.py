"""`python -m benchmarks [NAME ...] [--json FILE] [--model REF]`: prints one line per benchmark, exits with 1 if one misses its goal."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks import BENCHMARKS, Record


def main() -> int:
    """Runs the named benchmarks, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the records as a JSON list")
    parser.add_argument(
        "--model", default="tiny", metavar="REF", help="the model that the audits ask (default: tiny)"
    )
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in BENCHMARKS]:
        parser.error(f"no benchmark {unknown[0]!r}; choose from {', '.join(BENCHMARKS)}")
    records = []
    for name in arguments.names or BENCHMARKS:
        record = BENCHMARKS[name](arguments.model)
        records.append(record)
        verdict = "ok  " if record.ok else "MISS"
        print(
            f"{verdict} {record.name}: {_ratio(record)} (goal {record.goal:g}), {record.detail}", flush=True
        )
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(record) for record in records], indent=1) + "\n")
    return 0 if all(record.ok for record in records) else 1


def _ratio(record: Record) -> str:
    """One decimal, or as many as it takes to see a miss."""
    told = [f"{record.ratio:.{digits}f}" for digits in range(1, 7)]
    return next((text for text in told if record.ok or float(text) != record.goal), told[0])


if __name__ == "__main__":
    sys.exit(main())
