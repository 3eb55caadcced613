"""Formulas of whole numbers, `+ - * /` and round brackets, worked out exactly.

    sum     = product { ("+" | "-") product }
    product = factor { ("*" | "/") factor }
    factor  = number | "(" sum ")"

Nothing else is a formula: no sign before a number, no power, no whole division, no two numbers side by side. The text is
never given to Python's own `eval`. What it costs is bounded by the limits below, whatever the text.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from keepsight.errors import KeepsightError

__all__ = ["IllFormed", "numbers_in", "rounded_value_of", "value_of"]

Kind = type[Fraction] | type[float]

MOST_CHARACTERS = 256  # of a formula
MOST_DEPTH = 32  # of brackets within brackets
MOST_DIGITS = 6  # of a number
_TOKEN = re.compile(r"[ \t]*(?:(?P<number>[0-9]+)|(?P<sign>[-+*/()]))")


class IllFormed(KeepsightError):
    """The text is no formula, or has no value."""

    def __init__(self, message: object = "") -> None:
        # It quotes one character or one short number: no key to blot out, which would take most of a verifier's time.
        Exception.__init__(self, message)


def value_of(text: str) -> Fraction:
    """The exact value of a formula.

    Raises:
        IllFormed: the text is no formula, is beyond a limit, or divides by zero. The message says which.
    """
    return Fraction(_worked_out(text, Fraction))


def rounded_value_of(text: str) -> float:
    """The value as floating point gives it, where 8/(3-8/3) is not quite 24. Raises as `value_of` does."""
    return float(_worked_out(text, float))


def numbers_in(text: str) -> tuple[int, ...]:
    """The numbers of a formula, in the order in which they stand.

    Raises:
        IllFormed: something stands there that no formula has, or the text is beyond a limit.
    """
    return tuple(token for token in _tokens(text) if isinstance(token, int))


def _worked_out(text: str, kind: Kind) -> Any:
    reader = _Reader(_tokens(text), kind)
    value = reader.sum(0)
    if reader.next is not None:
        raise IllFormed(f"{reader.next!r} stands where an operator should")
    return value


def _tokens(text: str) -> list[int | str]:
    if len(text) > MOST_CHARACTERS:
        raise IllFormed(f"it has {len(text)} characters, more than {MOST_CHARACTERS}")
    text, at = text.rstrip(" \t"), 0
    tokens: list[int | str] = []
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise IllFormed(f"{text[at:].lstrip()[:1]!r} is no digit, operator or bracket")
        tokens.append(_number(found["number"]) if found["number"] else found["sign"])
        at = found.end()
    return tokens


def _number(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise IllFormed(f"a number has {len(digits)} digits, more than {MOST_DIGITS}")
    if digits[0] == "0" and digits != "0":
        raise IllFormed(f"the number {digits} begins with a zero")
    return int(digits)


class _Reader:
    """Reads tokens from left to right, one function per rule of the grammar."""

    def __init__(self, tokens: list[int | str], kind: Kind) -> None:
        self.tokens = tokens
        self.kind = kind  # of its values
        self.at = 0

    @property
    def next(self) -> int | str | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def take(self) -> int | str | None:
        token = self.next
        self.at += 1
        return token

    def sum(self, depth: int) -> Any:
        value = self.product(depth)
        while self.next in ("+", "-"):
            added = self.take() == "+"
            term = self.product(depth)
            value = value + term if added else value - term
        return value

    def product(self, depth: int) -> Any:
        value = self.factor(depth)
        while self.next in ("*", "/"):
            times = self.take() == "*"
            by = self.factor(depth)
            if not times and by == 0:
                raise IllFormed("it divides by zero")
            value = value * by if times else value / by
        return value

    def factor(self, depth: int) -> Any:
        token = self.take()
        if isinstance(token, int):
            return self.kind(token)
        if token != "(":
            raise IllFormed(
                "it ends too early" if token is None else f"{token!r} stands where a number should"
            )
        if depth == MOST_DEPTH:
            raise IllFormed(f"more than {MOST_DEPTH} brackets stand within each other")
        value = self.sum(depth + 1)
        if self.take() != ")":
            raise IllFormed("a bracket is not closed")
        return value
