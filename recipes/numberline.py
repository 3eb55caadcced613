"""Teach the embedded model NumberLine from an expert's rows, and see what that costs elsewhere (dissertation, chapter 4).

    python -m recipes.numberline [--tiny] --output_path out/numberline

Rows without chain of thought (appendix C.3, Figure C.16), LoRA tuning, then an audit: the episodes of `env:numberline` with
the expert's and a random player's success beside the model's, and the sets that the model knew before. Writes claims.json,
index.html and the audit's page with its episodes; run again it resumes.

What differs from the paper:
1. The model is the small one that ships, tuned on some hundred episodes instead of 20,000 rows.
2. NumberLine has 30 states where a move is due: training shows all of them, so success is no generalisation.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keepsight import tasks
from keepsight.envs.demonstrations import build_demonstrations
from keepsight.report.claims import Claim, verdict_on, write_claims
from keepsight.scoring.forgetting import pair_runs
from keepsight.scoring.statistics import PairedDifference, paired_difference
from keepsight.types import ResultMatrix, Run
from keepsight.verbs import audit, fine_tune

__all__ = ["claims_of", "study"]

TITLE = "NumberLine from an expert's rows, on the embedded model"
PAPER = "Towards Foundation Models that Learn and Adapt"
GAME = "env:numberline"
OTHERS = ("emt:shapes", "emt:digits")
TUNING: dict[str, Any] = {
    "method": "lora", "learning_rate": 1e-3, "per_device_train_batch_size": 32, "lora_r": 32, "lora_alpha": 64, "lora_dropout": 0.0,
    "save_steps": 0,
}  # fmt: skip
NEW_TOKENS = 32  # the answer has about twenty; the base does not stop by itself


@dataclass(frozen=True)
class Size:
    """How much is learnt and asked."""

    episodes: int  # learnt
    epochs: int
    games: int  # asked
    pictures: int  # asked, of each other set


FULL, TINY = Size(600, 3, 200, 200), Size(8, 1, 4, 4)


def study(output: Path, size: Size) -> ResultMatrix:
    """Builds the rows, tunes and audits; rows of the matrix are the base and the last epoch."""
    data = output / "data" / "train.json"
    if not os.path.exists(data):
        build_demonstrations("numberline", data.parent, episodes=size.episodes, arguments={"thoughts": False})
    fine_tune("tiny", data, output / "tuned", num_train_epochs=size.epochs, **TUNING)
    game = tasks.get(GAME, n=size.games, thoughts=False)
    others = [tasks.get(name, n=size.pictures) for name in OTHERS]
    return audit(
        ["tiny", output / "tuned" / f"epoch-{size.epochs}"], [game, *others], output, tuned_on=GAME,
        gen_kwargs={"max_new_tokens": NEW_TOKENS},
    )  # fmt: skip


def claims_of(matrix: ResultMatrix) -> list[Claim]:
    """What tuning gave, how far it is from the expert and from chance, and what it cost."""
    base, tuned = matrix.rows
    before, after = matrix[base, GAME], matrix[tuned, GAME]
    kept = [_lost([matrix[tuned, name]], [matrix[base, name]]) for name in OTHERS]
    return [
        _above_zero(
            "An expert's rows raise the share of NumberLine episodes that are solved", "section 4.5, Table 4.2",
            "24.8 % after SFT (LLaVA-7b; the share before is not given)", _lost([after], [before]),
        ),
        _above_zero(
            "The tuned model solves more episodes than a random player", "not asked", "not asked",
            _against(after, "random", -1),
        ),
        _above_zero(
            "The tuned model solves fewer episodes than the expert", "not asked", "not asked", _against(after, "expert", 1)
        ),
        *(
            _above_zero(f"Learning NumberLine costs accuracy on {name}", "not asked", "not asked", change)
            for name, change in zip(OTHERS, kept)
        ),
    ]  # fmt: skip


def _lost(current: Sequence[Run], reference: Sequence[Run]) -> PairedDifference:
    """Reference minus current over all samples, by sample; see `_above_zero` for the sign."""
    pairings = [pair_runs(then, now) for then, now in zip(reference, current)]
    return paired_difference(
        [value for pairing in pairings for value in pairing.reference],
        [value for pairing in pairings for value in pairing.current],
        [cluster for pairing in pairings for cluster in pairing.clusters],
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true", help="few rows: shows that it runs, not that it holds")
    parser.add_argument("--output_path", type=Path, default=Path("out/numberline"))
    options = parser.parse_args(arguments)
    matrix = study(options.output_path, TINY if options.tiny else FULL)
    print(matrix)


if __name__ == "__main__":
    main()
