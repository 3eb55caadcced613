"""A training row of several exchanges as a sample: which answers are learnt, and which only stand before them.

A model's turn may carry OpenAI's `"weight"`: 0 for an answer that is shown and not learnt, 1 (as where none is given) for
one that is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keepsight.types import KeepsightError

__all__ = ["conversation_fields", "is_learnt"]

Exchange = tuple[str, str]  # question, answer


def is_learnt(turn: Mapping[str, Any]) -> bool:
    """What a model's turn says by its `weight`. Raises KeepsightError for one that is neither 0 nor 1."""
    weight = turn.get("weight")
    if weight is None:  # a column that other rows fill
        return True
    if isinstance(weight, bool) or weight not in (0, 1):
        raise KeepsightError(f"the weight of an answer is {weight!r:.40}; give 0 (not learnt) or 1 (learnt)")
    return bool(weight)


def conversation_fields(exchanges: Sequence[Exchange], learnt: Sequence[bool]) -> dict[str, Any]:
    """A Sample's `history`, `target` and `meta`: unlearnt answers come first and are history, then all are learnt.

    Of those the first is the target, and the exchanges after it stand in `meta["turns"]` as `[[question, answer], ...]`.

    Raises:
        KeepsightError: no answer is learnt, or an unlearnt one follows one that is.
    """
    first = list(learnt).index(True) if any(learnt) else len(learnt)
    if first == len(learnt):
        raise KeepsightError("all answers have weight 0: nothing is left to learn")
    if not all(learnt[first:]):
        raise KeepsightError(
            "an answer of weight 0 follows a learnt one; only first answers can be left unlearnt: split the row"
        )
    turns = [turn for exchange in exchanges for turn in exchange]  # question, answer, question, ...
    later = [list(exchange) for exchange in exchanges[first + 1 :]]
    return {
        "history": tuple(turns[1 : 2 * first + 1]),
        "target": (exchanges[first][1],),
        "meta": {"turns": later} if later else {},
    }
