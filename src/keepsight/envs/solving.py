"""Which formulas of given numbers, each used once, have a given value: exact, and kept for every hand once asked.

The search goes backwards from the target. The numbers are split in two; for every value `y` of the smaller part the value
`x` that the larger part must have follows from the operator, so that only those are looked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import combinations, product
from math import gcd

from keepsight.errors import UsageError

__all__ = ["Formula", "Numbers", "Value", "joined", "parts", "ratio", "solution", "solutions", "solvable"]

MOST_NUMBERS = 5
Numbers = tuple[int, ...]  # in rising order: a multiset
Value = tuple[int, int]  # a fraction in lowest terms; Fraction itself takes three times as long
Way = tuple[str, bool]  # an operator, and whether the larger part stands before it
# The text, and its last operation: "+" also for "-", "*" also for "/", "" for a number alone.
Formula = tuple[str, str]


def solution(numbers: tuple[int, ...], target: int) -> str | None:
    """The first of `solutions`, or None where there is none."""
    return next(iter(solutions(numbers, target)), None)


def solvable(numbers: tuple[int, ...], target: int) -> bool:
    """Whether a formula that uses each of `numbers` once equals `target`."""
    return bool(solutions(numbers, target))


def solutions(numbers: tuple[int, ...], target: int) -> tuple[str, ...]:
    """All formulas of `+ - * /` that use each of `numbers` once and equal `target`, the fewest brackets first.

    Brackets stand only where reading from left to right, products first, would come out otherwise: `a+(b-c)` is written
    `a+b-c`. Formulas that differ in the order of their terms are different ones. The order of `numbers` has no effect.

    Raises:
        UsageError: no numbers, or more than five.
    """
    if not 1 <= len(numbers) <= MOST_NUMBERS:
        raise UsageError(f"{len(numbers)} numbers to make {target} of; give 1 to {MOST_NUMBERS}")
    return _solutions(tuple(sorted(numbers)), target)


@lru_cache(maxsize=16384)
def _solutions(numbers: Numbers, target: int) -> tuple[str, ...]:
    texts = {text for text, _ in _formulas(numbers, (target, 1))}
    return tuple(sorted(texts, key=lambda text: (len(text), text)))


@lru_cache(maxsize=65536)
def _formulas(numbers: Numbers, target: Value) -> frozenset[Formula]:
    if len(numbers) == 1:
        return frozenset({(str(numbers[0]), "")}) if target == (numbers[0], 1) else frozenset()
    found: set[Formula] = set()
    for small, large in _splits(numbers):
        possible = _values(large) if len(large) <= 3 else None  # larger parts have too many
        for y in _values(small):
            for x, ways in _wanted(y, target, large):
                if possible is None or x in possible:
                    found.update(_all_joined(_formulas(small, y), _formulas(large, x), ways))
    return frozenset(found)


def _wanted(y: Value, target: Value, large: Numbers) -> Iterator[tuple[Value, tuple[Way, ...]]]:
    """(the value x that `large` must have, the ways to join it with y) so that `target` comes out."""
    (a, b), (t, u) = y, target
    yield ratio(t * b - a * u, u * b), (("+", True), ("+", False))
    yield ratio(t * b + a * u, u * b), (("-", True),)
    yield ratio(a * u - t * b, u * b), (("-", False),)
    if a:
        yield ratio(t * b, u * a), (("*", True), ("*", False))
        yield ratio(t * a, u * b), (("/", True),)
        if t:
            yield ratio(a * u, b * t), (("/", False),)
    elif t == 0:
        for x in _values(large):
            yield x, (("*", True), ("*", False), ("/", False)) if x[0] else (("*", True), ("*", False))


def _all_joined(ys: Iterable[Formula], xs: Iterable[Formula], ways: tuple[Way, ...]) -> Iterator[Formula]:
    for y, x in product(ys, xs):
        for operator, x_first in ways:
            yield joined(x, operator, y) if x_first else joined(y, operator, x)


def joined(left: Formula, operator: str, right: Formula) -> Formula:
    """`left operator right`, with no more brackets than it needs."""
    kind = "+" if operator in "+-" else "*"
    before = f"({left[0]})" if kind == "*" and left[1] == "+" else left[0]
    bracketed = right[1] and ((operator in "-*/" and right[1] == "+") or (operator == "/"))
    after = f"({right[0]})" if bracketed else right[0]
    return before + operator + after, kind


@lru_cache(maxsize=16384)
def _values(numbers: Numbers) -> frozenset[Value]:
    """All values of formulas that use each of `numbers` once."""
    if len(numbers) == 1:
        return frozenset({(numbers[0], 1)})
    found: set[Value] = set()
    for small, large in _splits(numbers):
        for (a, b), (c, d) in product(_values(small), _values(large)):
            found.update(ratio(top, b * d) for top in (a * d + c * b, a * d - c * b, c * b - a * d, a * c))
            if c:
                found.add(ratio(a * d, b * c))
            if a:
                found.add(ratio(b * c, a * d))
    return frozenset(found)


def ratio(top: int, bottom: int) -> Value:
    """top / bottom in lowest terms. `bottom` is not 0."""
    shared = gcd(top, bottom) if bottom > 0 else -gcd(top, bottom)
    return top // shared, bottom // shared


@lru_cache(maxsize=16384)
def _splits(numbers: Numbers) -> tuple[tuple[Numbers, Numbers], ...]:
    """The ways to part a multiset in two that are not empty, the smaller part first."""
    return tuple(sorted(parts(numbers, len(numbers) // 2)))


def parts(numbers: Numbers, most: int) -> set[tuple[Numbers, Numbers]]:
    """(part, rest) for every part of 1 to `most` numbers."""
    places = range(len(numbers))
    return {
        (tuple(numbers[i] for i in chosen), tuple(numbers[i] for i in places if i not in chosen))
        for size in range(1, most + 1)
        for chosen in combinations(places, size)
    }
