"""Teach the embedded model NumberLine from an expert's rows, and see what that costs elsewhere (dissertation, chapter 4).

    python -m recipes.numberline [--tiny] --output_path out/numberline

Rows without chain of thought (appendix C.3, Figure C.16), LoRA tuning, then an audit: the episodes of `env:numberline` with
the expert's and a random player's success beside the model's, and the sets that the model knew before. Writes claims.json,
index.html and the audit's page with its episodes; run again it resumes.

What differs from the paper:
1. The model is the small one that ships, tuned on some hundred episodes instead of 20,000 rows.
2. NumberLine has 30 states where a move is due: training shows all of them, so success is no generalisation.

The embedded model learns the form of an answer and not which one is right: its tower sees 48 x 48 pixels, where two frames
differ by 2 % of a feature's length. `recipes.feature_policy`, which scales those differences up, learns the game from it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keepsight import tasks
from keepsight.console import claim_lines
from keepsight.envs.demonstrations import build_demonstrations
from keepsight.report.claims import Claim, verdict_on, write_claims
from keepsight.scoring.forgetting import pair_runs
from keepsight.scoring.statistics import PairedDifference, paired_difference
from keepsight.types import ResultMatrix, Run, Score
from keepsight.verbs import audit, fine_tune
from recipes import command_line

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


FULL, TINY = Size(600, 3, 100, 200), Size(8, 1, 4, 4)


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
    """What tuning gave, how far it is from chance and from the expert, and what it cost."""
    base, tuned = matrix.rows
    before, after = matrix[base, GAME], matrix[tuned, GAME]
    return [
        _claim(
            "An expert's rows raise the share of NumberLine episodes that are solved",
            f"{PAPER}, section 4.5, Table 4.2", "24.8 % after SFT (LLaVA-7b; before it: not given)", _above(after, before),
        ),
        _claim(
            "They teach the form of an answer: fewer steps whose text names no legal action", "a question of ours", "not asked",
            _apart(before.scores("illegal_rate"), after.scores("illegal_rate"), after),
        ),
        _claim(
            "The tuned model solves more episodes than a random player", "a control of ours", "not asked",
            _apart(after.scores(), after.scores("random"), after),
        ),
        _claim(
            "It solves fewer than the expert", "a control of ours", "not asked",
            _apart(after.scores("expert"), after.scores(), after),
        ),
        *(
            _claim(
                f"Learning NumberLine costs accuracy on {name}", "a question of ours", "not asked",
                _above(matrix[base, name], matrix[tuned, name]),
            )
            for name in OTHERS
        ),
    ]  # fmt: skip


def _above(better: Run, worse: Run) -> PairedDifference:
    """How far one run lies above another, paired by sample."""
    pairs = pair_runs(better, worse)
    return paired_difference(pairs.reference, pairs.current, pairs.clusters, bounds=pairs.bounds)


def _apart(better: Sequence[Score], worse: Sequence[Score], run: Run) -> PairedDifference:
    """How far one player of a run's episodes lies above another, on the episodes that both have a score of."""
    both = [place for place in range(len(better)) if better[place].scored and worse[place].scored]
    return paired_difference(
        [better[place].value for place in both],
        [worse[place].value for place in both],
        [run.records[place].sample.cluster for place in both],
    )


def _claim(claim: str, source: str, published: str, change: PairedDifference) -> Claim:
    """A claim that a difference is above zero, in points."""
    interval = (100 * change.low, 100 * change.high)
    return Claim(
        claim, source, published, 100 * change.difference, interval, change.n, verdict_on(interval), "points"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true", help="few rows: shows that it runs, not that it holds")
    parser.add_argument("--output_path", type=Path, default=Path("out/numberline"))
    options = parser.parse_args(arguments)
    matrix = study(options.output_path, TINY if options.tiny else FULL)
    claims, pages = claims_of(matrix), {"The audit and its episodes": "forgetting.html"}
    write_claims(claims, options.output_path, title=TITLE, links=pages)
    print(matrix)
    print("\n".join(claim_lines(claims, 110)))


if __name__ == "__main__":
    command_line(main)
