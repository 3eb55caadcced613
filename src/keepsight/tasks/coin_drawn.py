"""CoIN's eight tasks as far as the world that ships has them, small enough to tune on all of them in minutes.

Source of the kinds and of the wordings: Chen et al. (arXiv:2403.08350), section 4.1 and Table 1; see `data.drawn.coin`. What
is asked for in a form is scored in that form (*instruction following*); the judges `semantic` and `general_knowledge`
score what an answer says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from keepsight.data.coin.item import INSTRUCTIONS
from keepsight.data.drawn.coin import LIKE, drawn_rows
from keepsight.errors import UsageError
from keepsight.inference import Generate
from keepsight.scoring.boxes import BoxAccuracy, BoxOverlap
from keepsight.scoring.choice_letter import ChoiceLetter, LetterOnly
from keepsight.scoring.metrics import accuracy, refused_share, unparsed_share
from keepsight.scoring.vqa import Contains, Exact
from keepsight.tasks.coin import volume_of
from keepsight.types import Sample, Scorer, Task

__all__ = ["KINDS", "coin_drawn"]

VERSION = "1"
KINDS = tuple(LIKE)
MAX_NEW_TOKENS = 32  # a box takes 21
_TRAIN, _TEST = 1200, 300
_SCORERS: dict[str, tuple[Scorer, ...]] = {
    "choices": (LetterOnly(), ChoiceLetter()),
    "boxes": (BoxAccuracy(), BoxOverlap()),
}


def coin_drawn(
    kind: str,
    *,
    instruction: Literal["type1", "type2"] = "type1",
    n: int = _TEST,
    n_train: int = _TRAIN,
    volume: float = 1.0,
    seed: int = 0,
) -> Task:
    """One of CoIN's kinds of task over drawn pictures.

    Args:
        kind: a name of `KINDS`.
        instruction: the wording of CoIN's Table 1.
        n, n_train: rows asked, and rows that `train()` draws `volume` from.
        volume: share of the training rows; a smaller one is part of a larger one.
        seed: of pictures, questions and volume.

    Raises:
        UsageError: a setting that makes no sense.
    """
    for what, given, fine in (
        ("instruction", instruction, instruction in INSTRUCTIONS),
        ("n", n, type(n) is int and n > 0),
        ("n_train", n_train, type(n_train) is int and n_train > 0),
        ("volume", volume, type(volume) in (int, float) and 0 < volume <= 1),
    ):
        if not fine:
            raise UsageError(f"coin_drawn:{kind}: {what}={given!r}; give {_GIVE[what]}")
    score, *judges = _SCORERS.get(kind, (Exact(), Contains()))

    def train() -> Sequence[Sample]:
        return volume_of(drawn_rows(kind, "train", n_train, instruction=instruction, seed=seed), volume, seed)

    return Task(
        name=f"coin_drawn:{kind}" + ("" if instruction == "type1" else f"-{instruction}"),
        version=VERSION,
        test=lambda: drawn_rows(kind, "test", n, instruction=instruction, seed=seed),
        infer=Generate(max_new_tokens=MAX_NEW_TOKENS),
        score=score,
        metrics=(accuracy, unparsed_share, refused_share),
        train=train,
        judges=tuple(judges),
        description=f"CoIN's kind of {LIKE[kind]}, drawn.",
    )


_GIVE = {
    "instruction": "type1 or type2",
    "n": "a number of rows",
    "n_train": "a number of rows",
    "volume": "a share above 0 and up to 1",
}
