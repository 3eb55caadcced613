"""EMT on the embedded model (Zhai et al., arXiv:2309.10313): tune on one set, watch the others, hold the findings against the numbers.

    python -m recipes.emt [--tiny] [--tuned letters] --output_path out/emt

The same as `keepsight demo` on all held-out pictures, for any drawn set; writes claims.json, index.html and the audit's page.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from keepsight.data.drawn import ALL_SETS
from keepsight.demo import TITLE, TUNED_SET, demo, emt_claims
from keepsight.report.claims import write_claims
from recipes import command_line


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--tiny", action="store_true", help="few pictures, one epoch: shows that it runs, not that it holds"
    )
    parser.add_argument("--tuned", default=TUNED_SET, choices=sorted(ALL_SETS))
    parser.add_argument("--output_path", type=Path, default=Path("out/emt"))
    options = parser.parse_args(arguments)
    size = {"n": 12, "n_train": 64, "tuning": {"num_train_epochs": 1}} if options.tiny else {"n": 300}
    matrix = demo(options.output_path, tuned=options.tuned, **size)
    write_claims(emt_claims(matrix, f"emt:{options.tuned}"), options.output_path, title=TITLE)


if __name__ == "__main__":
    command_line(main)
