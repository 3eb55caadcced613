"""The verifier of GeneralPoints: from an answer to its reward and the words that go back into the dialogue.

Source: Zhai, "Towards Foundation Models that Learn and Adapt" (dissertation), section 5.4 and appendix D.1.

What differs from the released code (its rule is `points_released.released_verdict`):
1. One penalty, the most specific one: nothing is added up, and no part of a solution earns anything.
2. Values are exact (8/(3-8/3) is 24), blanks are allowed, and what stands right of "=" must be the target.
3. Valid JSON is read as well as the prompt's own, invalid form. "1" is "A", and "T" is "10".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

from keepsight.errors import UsageError
from keepsight.scoring.verifiers.arithmetic import MOST_DIGITS, IllFormed, numbers_in, value_of
from keepsight.scoring.verifiers.fields import read_fields

__all__ = [
    "REWARDS",
    "Hand",
    "PointsAnswer",
    "RecognitionPenalty",
    "Verdict",
    "rank_of",
    "ranks_of",
    "read_answer",
    "verdict",
]

RecognitionPenalty = Literal["replace", "add"]
Status = Literal["parsed", "illegal", "unparsed"]
# Appendix D.1. `numbers` is for a formula that is legal but does not use each of the hand's numbers once.
REWARDS = {"correct": 5.0, "value": -1.0, "numbers": -2.0, "illegal": -3.0, "recognition": -1.5}
MOST_ITEMS = 64  # of a list in an answer; what follows is not read
_RANKS = {"1": "A", "T": "10", "ACE": "A", "JACK": "J", "QUEEN": "Q", "KING": "K"}
_SUIT = "[♥♡♠♤♦♢♣♧]\ufe0f?"
_SUITED = re.compile(
    rf"(?:{_SUIT})?\s*(10|[1-9TJQKA]|ACE|JACK|QUEEN|KING)(?:\s*{_SUIT}|[HSDC]|\s+OF\s+(?:HEART|SPADE|DIAMOND|CLUB)S?)?"
)
# Right of "=", as people and models write the target: 24, 24.0 or, at a sentence's end, "24."
_NUMBER = re.compile(rf"[0-9]{{1,{MOST_DIGITS}}}(?:\.[0-9]{{0,{MOST_DIGITS}}})?")


@dataclass(frozen=True)
class Hand:
    """What was to be solved."""

    ranks: tuple[str, ...]  # A, 2 to 10, J, Q, K
    numbers: tuple[int, ...]  # what the ranks count as
    target: int = 24


@dataclass(frozen=True)
class PointsAnswer:
    """An answer as it was read; None is what it does not give."""

    cards: tuple[str, ...] | None = None  # ranks
    numbers: tuple[str, ...] | None = None
    formula: str | None = None


@dataclass(frozen=True)
class Verdict:
    """What the verifier says.

    `status`: `parsed` if the formula is one and has a value, whatever its numbers are; `illegal` if not (it earned -3);
    `unparsed` if there was none. Wrong numbers are no fault of form: of a picture they are mostly misread cards.
    """

    reward: float
    message: str
    status: Status = "parsed"
    solved: bool = False
    tags: tuple[str, ...] = ()
    answer: PointsAnswer = PointsAnswer()


def verdict(
    text: str, hand: Hand, *, sees_cards: bool = False, recognition_penalty: RecognitionPenalty = "replace"
) -> Verdict:
    """Judges an answer.

    Args:
        sees_cards: the cards were a picture. Then an answer that names cards has the tag `recognized` or `misrecognized`:
            whether they are the ranks of the hand, in any order. One that names none has neither, and did not recognize
            them either.
        recognition_penalty: what an answer earns that did not recognize the cards. `replace`: -1.5 whatever the formula is, which cannot
            solve the hand (as released). `add`: -1.5 besides the formula's reward (as printed), so that a right formula
            earns 3.5 and solves the hand. The message says of both no more than that: which numbers are wrong, and which
            are missing, would give the cards away.

    Raises:
        UsageError: another `recognition_penalty`.
    """
    if recognition_penalty not in ("replace", "add"):
        raise UsageError(f"recognition_penalty is {recognition_penalty!r}; give replace or add")
    answer = read_answer(text)
    judged = replace(_formula_verdict(answer.formula, hand), answer=answer)
    if not sees_cards:
        return judged
    if answer.cards is not None and sorted(answer.cards) == sorted(hand.ranks):
        return replace(judged, tags=("recognized",))
    judged = replace(judged, tags=() if answer.cards is None else ("misrecognized",))
    judged, penalty = replace(judged, message="you recognized wrong cards."), REWARDS["recognition"]
    if recognition_penalty == "replace":
        return replace(judged, reward=penalty, solved=False)
    return replace(judged, reward=judged.reward + penalty)


def read_answer(text: str) -> PointsAnswer:
    """The fields of an answer: `cards` as ranks, `number` as texts, `formula` without outer blanks."""
    given = read_fields(text, ("cards", "number", "formula"))
    formula = given.get("formula")
    if isinstance(formula, int) and not isinstance(formula, bool) and abs(formula) < 10**MOST_DIGITS:
        formula = str(formula)
    return PointsAnswer(
        ranks_of(given.get("cards")),
        _items(given.get("number")),
        formula.strip() if isinstance(formula, str) and formula.strip() else None,
    )


def ranks_of(told: Any) -> tuple[str, ...] | None:
    """The ranks that an answer's field `cards` names, a list or a text with commas; None if it is neither, or empty."""
    items = None if isinstance(told, str) and "," not in told else _items(told)
    return tuple(map(rank_of, items)) if items and any(items) else None


def rank_of(told: str) -> str:
    """A card's rank as `Hand` writes it: "1" and "ace" are "A", "T" is "10", "6♠" is "6"; what is no rank stays as it is."""
    name = told.strip().upper()
    suited = _SUITED.fullmatch(name)
    rank = suited[1] if suited else name
    return _RANKS.get(rank, rank)


def _items(value: Any) -> tuple[str, ...] | None:
    """A list's items, or the parts of a text between commas; None for anything else."""
    if isinstance(value, str):
        value = value.strip("[] ").split(",")
    if not isinstance(value, list):
        return None
    return tuple(str(item)[:MOST_ITEMS].strip(" \t\"'") for item in value[:MOST_ITEMS])


def _formula_verdict(formula: str | None, hand: Hand) -> Verdict:
    if formula is None:
        return Verdict(REWARDS["illegal"], "your answer has no formula.", "unparsed")
    try:
        left, right = _sides(formula)
        value, numbers = value_of(left), numbers_in(left)
    except IllFormed as error:
        return Verdict(REWARDS["illegal"], f"your formula is illegal: {error}.", "illegal")
    if wrong := _wrong_numbers(numbers, hand.numbers):
        return Verdict(REWARDS["numbers"], f"{', '.join(wrong)}.")
    if value != hand.target or right not in (None, hand.target):
        return Verdict(REWARDS["value"], "your formula is incorrect.")  # figure D.2
    return Verdict(REWARDS["correct"], "Correct solution.", solved=True)


def _sides(formula: str) -> tuple[str, Fraction | None]:
    """What stands left of "=", and the number right of it. Raises IllFormed."""
    left, *others = formula.split("=")
    if not others:
        return left, None
    right = others[0].strip()
    if len(others) > 1:
        raise IllFormed("it has more than one '='")
    if not _NUMBER.fullmatch(right):
        raise IllFormed("what stands right of '=' is no number")
    return left, Fraction(right)


def _wrong_numbers(used: Sequence[int], given: Sequence[int]) -> list[str]:
    """In the released verifier's words; empty where each number is used once."""
    have, want = Counter(used), Counter(given)
    found = {
        "you used invalid numbers: {}": [n for n in have if n not in want],
        "you used numbers: {} too many times": [n for n in have if n in want and have[n] > want[n]],
        "you didn't use numbers: {}": [n for n in want if have[n] < want[n]],
    }
    return [words.format(sorted(numbers)) for words, numbers in found.items() if numbers]
