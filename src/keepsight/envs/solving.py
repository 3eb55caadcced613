"""Which formulas of given numbers, each used once, have a given value: exact, and kept for every hand once asked.

The search goes backwards from the target. The numbers are split in two; for every value `y` of the smaller part the value
`x` that the larger part must have follows from the operator, so that only those are looked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import combinations

from keepsight.errors import UsageError

__all__ = ["solution", "solutions", "solvable"]

MOST_NUMBERS = 5
Numbers = tuple[int, ...]  # in rising order: a multiset
Formula = tuple[
    str, str
]  # the text, and its last operation: "+" also for "-", "*" also for "/", "" for a number


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
    texts = {text for text, _ in _formulas(numbers, Fraction(target))}
    return tuple(sorted(texts, key=lambda text: (len(text), text)))


@lru_cache(maxsize=65536)
def _formulas(numbers: Numbers, target: Fraction) -> frozenset[Formula]:
    if len(numbers) == 1:
        return frozenset({(str(numbers[0]), "")}) if target == numbers[0] else frozenset()
    found: set[Formula] = set()
    for small, large in _splits(numbers):
        for y in _values(small):
            for operator, x, x_first in _wanted(y, target, large):
                if len(large) <= 3 and x not in _values(large):
                    continue
                for one in _formulas(small, y):
                    for other in _formulas(large, x):
                        found.add(_joined(other, operator, one) if x_first else _joined(one, operator, other))
    return frozenset(found)


def _wanted(y: Fraction, target: Fraction, large: Numbers) -> Iterator[tuple[str, Fraction, bool]]:
    """(operator, the value x that `large` must have, whether it stands first), so that both together are `target`."""
    yield from (("+", target - y, True), ("+", target - y, False))
    yield from (("-", target + y, True), ("-", y - target, False))
    if y:
        yield from (("*", target / y, True), ("*", target / y, False), ("/", target * y, True))
        if target:
            yield "/", y / target, False
    elif target == 0:
        for x in _values(large):
            yield from (("*", x, True), ("*", x, False))
            if x:
                yield "/", x, False


def _joined(left: Formula, operator: str, right: Formula) -> Formula:
    kind = "+" if operator in "+-" else "*"
    before = f"({left[0]})" if kind == "*" and left[1] == "+" else left[0]
    bracketed = right[1] and ((operator in "-*/" and right[1] == "+") or (operator == "/"))
    after = f"({right[0]})" if bracketed else right[0]
    return before + operator + after, kind


@lru_cache(maxsize=16384)
def _values(numbers: Numbers) -> frozenset[Fraction]:
    """All values of formulas that use each of `numbers` once."""
    if len(numbers) == 1:
        return frozenset({Fraction(numbers[0])})
    found: set[Fraction] = set()
    for small, large in _splits(numbers):
        for a in _values(small):
            for b in _values(large):
                found.update((a + b, a - b, b - a, a * b))
                found.update(top / bottom for top, bottom in ((a, b), (b, a)) if bottom)
    return frozenset(found)


@lru_cache(maxsize=16384)
def _splits(numbers: Numbers) -> tuple[tuple[Numbers, Numbers], ...]:
    """The ways to part a multiset in two that are not empty, the smaller part first."""
    places = range(len(numbers))
    parts = {
        (tuple(numbers[i] for i in chosen), tuple(numbers[i] for i in places if i not in chosen))
        for size in range(1, len(numbers) // 2 + 1)
        for chosen in combinations(places, size)
    }
    return tuple(sorted(parts))
