"""GeneralPoints as the released code of "SFT Memorizes, RL Generalizes" judges it, for comparison with its figures.

Not for new work. What it does that `points.verdict` does not:
1. Every fault of the grammar costs 3, and 2 each for numbers that are not there and for numbers left out: all are added.
2. Blanks are illegal characters. What stands right of the first "=" is not read.
3. Values are floating point: 8/(3-8/3) is neither right nor wrong, and earns 0.
4. The beginning of a solution earns 1 if it has no value.
5. Of a picture's cards, a list in valid JSON is never recognized, nor is a list of four whole numbers without quotes.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain, zip_longest
from typing import Any

from keepsight.scoring.verifiers.arithmetic import IllFormed, rounded_value_of, value_of
from keepsight.scoring.verifiers.points import REWARDS, Hand, PointsAnswer, Verdict

__all__ = ["released_verdict"]

PARTIAL = 1.0
_TOKEN = re.compile(r"\d+|[+\-*/()]")
_CARDS = re.compile(r'"cards": \[([^\]]+)\]')
_FORMULA = re.compile(r'"formula": "(.*?)"')
_BEFORE_NUMBER, _BEFORE_OPERATOR = (None, "operator", "("), ("number", ")")
# What may stand before a token of a kind, and the released words where something else does.
_ORDER: dict[str, tuple[tuple[str | None, ...], str]] = {
    "number": (_BEFORE_NUMBER, "invalid sequence after number"),
    "operator": (_BEFORE_OPERATOR, "invalid sequence after operator"),
    "(": (_BEFORE_NUMBER, "invalid sequence before '('"),
    ")": (_BEFORE_OPERATOR, "invalid sequence after ')'"),
}
# Between which numbers, from 0, its solver opens and closes brackets.
_BRACKETS = ((), ((0, 1),), ((0, 2),), ((1, 2),), ((1, 3),), ((2, 3),), ((0, 1), (2, 3)))


def released_verdict(text: str, hand: Hand, solutions: Sequence[str], *, sees_cards: bool = False) -> Verdict:
    """Judges an answer by the released rule.

    Args:
        solutions: all formulas that solve `hand`, as `keepsight.envs.solving.solutions` gives them.
        sees_cards: the cards were a picture.
    """
    cards, formula = _cards(text), _formula(text)
    answer = PointsAnswer(cards or None, formula=formula)
    tags: tuple[str, ...] = ()
    if sees_cards:
        if sorted(cards) != sorted(hand.ranks):
            wrong = "you recognized wrong cards"
            return Verdict(REWARDS["recognition"], wrong, tags=("misrecognized",), answer=answer)
        tags = ("recognized",)
    judged = list(_judged(formula.partition("=")[0], hand, tuple(solutions)))
    reward = sum((reward for reward, _ in judged), 0.0)
    message = ", ".join(words for _, words in judged) + "."
    solved = reward == REWARDS["correct"]
    legal = all(each != REWARDS["illegal"] for each, _ in judged)
    return Verdict(reward, message, "parsed" if legal else "illegal", solved, tags, answer)


def _field(text: str, name: str, pattern: re.Pattern[str], end: str) -> tuple[Any, bool]:
    """The value, and whether it came out of JSON. `end` is what `pattern` ends with."""
    try:
        return json.loads(text)[name], True
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        # not beyond the last end: many beginnings without one would take quadratic time
        found = pattern.search(text, 0, text.rfind(end) + 1)
        return (found[1] if found else "None"), False


def _cards(text: str) -> tuple[str, ...]:
    value, from_json = _field(text, "cards", _CARDS, "]")
    if not isinstance(value, str):
        return ()
    items = re.sub(r"[\[\]' ]", "", value).split(",")
    whole = not from_json and all(re.fullmatch(r"\s*[+-]?\d+\s*", item) for item in value.split(", "))
    return tuple(items) if len(items) == 4 and not whole else ()


def _formula(text: str) -> str:
    value, _ = _field(text, "formula", _FORMULA, '"')
    return value if isinstance(value, str) else "None"


def _judged(formula: str, hand: Hand, solutions: tuple[str, ...]) -> Iterator[tuple[float, str]]:
    tokens = _TOKEN.findall(formula)
    if "".join(tokens) != formula:
        yield REWARDS["illegal"], "illegal characters"
        return
    faults = [(REWARDS["illegal"], words) for words in _grammar_faults(tokens)]
    faults += [(REWARDS["numbers"], words) for words in _number_faults(tokens, hand.numbers)]
    yield from faults or _valued(formula, tokens, hand.target, _as_released(solutions, hand.target))


def _grammar_faults(tokens: Sequence[str]) -> Iterator[str]:
    before, open_brackets = None, 0
    for token in tokens:
        kind = token if token in "()" else "number" if token.isdigit() else "operator"
        allowed, words = _ORDER[kind]
        if before not in allowed:
            yield words
        elif kind == "(":
            open_brackets += 1
        elif kind == ")" and open_brackets == 0:
            yield "unmatched closing parenthesis"
        elif kind == ")":
            open_brackets -= 1
        before = kind


def _number_faults(tokens: Sequence[str], given: Sequence[int]) -> Iterator[str]:
    want, have = Counter(given), Counter(int(token[:20]) for token in tokens if token.isdigit())
    invalid = [n for n in have if n not in want]
    if invalid:
        yield f"you used invalid numbers: {invalid}"
    elif overused := [n for n in have if have[n] > want[n]]:
        yield f"you used numbers: {overused} too many times"
    if unused := [n for n in want if want[n] > have[n]]:
        yield f"you didn't use numbers: {unused}"


def _valued(
    formula: str, tokens: Sequence[str], target: int, solutions: frozenset[str]
) -> Iterator[tuple[float, str]]:
    """Of a formula without the faults above."""
    try:
        if rounded_value_of(formula) == target:
            yield REWARDS["correct"], "Correct solution"
            return
    except IllFormed:
        if _begins_one(formula, solutions):
            yield PARTIAL, "partial solution"
            return
    read = ""
    for token in tokens:
        if not _begins_one(read + token, solutions):
            partly = f"{read} is partially correct but the full formula"
            yield REWARDS["value"], f"{partly if read else 'your formula'} does not match any solution"
            return
        read += token


def _begins_one(formula: str, solutions: frozenset[str]) -> bool:
    return any(solution.startswith(formula) for solution in solutions)


@lru_cache(maxsize=4096)
def _as_released(solutions: tuple[str, ...], target: int) -> frozenset[str]:
    """The solutions with the brackets of the released solver: none or one pair, needed or not, or two side by side."""
    found = set()
    for bare in {solution.replace("(", "").replace(")", "") for solution in solutions}:
        numbers, operators = re.split(r"[-+*/]", bare), re.findall(r"[-+*/]", bare)
        for brackets in _BRACKETS if len(numbers) == 4 else ((),):
            formula = _bracketed(numbers, operators, brackets)
            try:
                if value_of(formula) == target:
                    found.add(formula)
            except IllFormed:
                continue
    return frozenset(found)


def _bracketed(numbers: Sequence[str], operators: Sequence[str], brackets: Sequence[tuple[int, int]]) -> str:
    words = list(numbers)
    for first, last in brackets:
        words[first], words[last] = f"({words[first]}", f"{words[last]})"
    return "".join(chain.from_iterable(zip_longest(words, operators, fillvalue="")))
