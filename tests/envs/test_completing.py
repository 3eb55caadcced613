"""The search for the end of a formula, against the enumeration of formulas."""

import re
from collections.abc import Iterator
from random import Random

import pytest

from keepsight.envs.completing import completion, fewest_tokens
from keepsight.envs.solving import solutions
from keepsight.scoring.verifiers.arithmetic import IllFormed, value_of

ALL = "+-*/()"


def formulas(left: tuple[int, ...], most: int, begun: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """All well-formed formulas of at most `most` tokens that use each number once, useless brackets included."""
    depth = begun.count("(") - begun.count(")")
    if len(begun) + depth + 2 * len(left) - (not begun or begun[-1] in "+-*/(") > most:
        return
    if not begun or begun[-1] in "+-*/(":
        for at, number in enumerate(left):
            if number not in left[:at]:
                yield from formulas(left[:at] + left[at + 1 :], most, (*begun, str(number)))
        yield from formulas(left, most, (*begun, "("))
        return
    if not left and not depth:
        yield begun
    for token in "+-*/" if left else "":
        yield from formulas(left, most, (*begun, token))
    if depth:
        yield from formulas(left, most, (*begun, ")"))


def value(tokens):
    try:
        return value_of(" ".join(tokens))
    except IllFormed:
        return None


@pytest.mark.parametrize(
    "numbers, target, most",
    [
        ((2, 6), 12, 9),
        ((2, 6), 3, 9),
        ((5, 5), 0, 9),
        ((2, 2, 3), 8, 9),
        ((1, 5, 7), 2, 9),
        ((1, 2, 4), 8, 9),
    ],
)
def test_it_finds_the_shortest_end_of_every_beginning(numbers, target, most):
    """Of every beginning of every formula, right or wrong, that leaves room for the longest end that is ever needed."""
    shortest: dict[tuple[str, ...], int] = {}
    beginnings = set()
    for tokens in formulas(numbers, most):
        right = value(tokens) == target
        for at in range(len(tokens) + 1):
            beginnings.add(tokens[:at])
            if right:
                shortest[tokens[:at]] = min(len(tokens) - at, shortest.get(tokens[:at], most))
    checked = 0
    for begun in beginnings:
        left = list(numbers)
        for token in begun:
            if token.isdigit():
                left.remove(int(token))
        opened = begun.count("(") - begun.count(")")
        if len(begun) + opened + 2 * len(left) + 2 * max(len(left) - 1, 0) > most:
            continue
        checked += 1
        assert fewest_tokens(begun, left, target, ALL) == shortest.get(begun), begun
    assert checked > 20


def test_ends_are_formulas_of_the_target():
    rng = Random(1)
    for _ in range(30):
        numbers = tuple(rng.randint(1, 10) for _ in range(4))
        fewest = min((len(re.findall(r"\d+|\D", text)) for text in solutions(numbers, 24)), default=None)
        assert fewest_tokens((), numbers, 24, ALL) == fewest
        for begun in ((), ("(",), (str(numbers[0]),)):
            left = numbers[1:] if begun and begun[0] != "(" else numbers
            end = completion(begun, left, 24, ALL)
            assert (end is None) == (fewest_tokens(begun, left, 24, ALL) is None)
            assert end is None or (
                value((*begun, *end)) == 24 and len(end) == fewest_tokens(begun, left, 24, ALL)
            )


@pytest.mark.parametrize(
    "begun, left, ends",
    [
        (("2", "4"), (5, 5), False),  # two numbers side by side
        (("+",), (5, 5), False),
        ((")",), (5, 5), False),
        (("3", "/", "(", "2", "-", "2", ")"), (), False),  # divides by zero
        (("4", "*", "6"), (), True),
        (("(", "4", "*", "6"), (), True),
        (("4", "*", "6", "*", "(", "5"), (5,), True),  # (5/5)
        (("25", "-", "5", "/", "("), (5,), True),
        (("24", "/", "5", "*"), (5,), True),
        (("(", "(", "(", "(", "(", "(", "24"), (), True),
    ],
)
def test_beginnings(begun, left, ends):
    end = completion(begun, left, 24, ALL)
    assert (end is not None) == ends
    assert not ends or value((*begun, *end)) == 24


def test_only_the_given_operators_are_used():
    assert completion((), (3, 4), 12, "+*") == ("3", "*", "4") and completion((), (10, 2), 5, "+*") is None
    assert completion((), (36, 12), 24, "+*") is None and completion((), (36, 12), 24, ALL) is not None
    assert completion((), (2, 3, 4), 20, "+*") is None and completion((), (2, 3, 4), 20, "+*()") is not None
