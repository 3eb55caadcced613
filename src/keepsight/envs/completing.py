"""Which tokens still lead a begun formula to its target, and how soon: exact, for any beginning that the rules allow.

A beginning is read into a stack of sums, one for each open bracket. What can follow is looked up in tables, one for every
part of the numbers that are left, of the values that the part can have and the fewest tokens that write them.

In a product `a/b*c` and in a sum `a-b+c` the signs can be turned, at the same length, so that what follows a product is
one factor `x`, as `*x` or `/x`, and what follows a sum is one term. Brackets that change nothing are never opened, but
those that the beginning has opened are closed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, product
from typing import NamedTuple

from keepsight.envs.solving import Numbers, Value, parts, ratio

__all__ = ["completion", "fewest_tokens"]

Tokens = Mapping[Value, int]  # for each value the fewest tokens that write it
Table = Callable[[Numbers, str], Tokens]


class Sum(NamedTuple):
    """A sum that is being written: `total`, and after it `product`."""

    total: Value
    product: Value
    pending: str  # "*" or "/" where a factor must follow, "" where an operator may


Stack = tuple[Sum, ...]  # the innermost bracket last
_OPEN = Sum((0, 1), (1, 1), "*")


def fewest_tokens(begun: Sequence[str], left: Sequence[int], target: int, operators: str) -> int | None:
    """The fewest tokens after `begun` that use each number of `left` once and reach `target`; None where none do.

    Args:
        operators: those that may be used: `+*`, or more of `+-*/()`.
    """
    stack: Stack | None = (_OPEN,)
    for token in begun:
        stack = _after(stack, token) if stack else None
    return _fewest(stack, tuple(sorted(left)), target, operators) if stack else None


def completion(
    begun: Sequence[str], left: Sequence[int], target: int, operators: str
) -> tuple[str, ...] | None:
    """The tokens of such a shortest end of the formula, or None."""
    fewest = fewest_tokens(begun, left, target, operators)
    if not fewest:
        return None if fewest is None else ()
    for token in (*map(str, left), *operators):
        rest = _without(left, int(token)) if token.isdigit() else left
        if fewest_tokens((*begun, token), rest, target, operators) == fewest - 1:
            return (token, *(completion((*begun, token), rest, target, operators) or ()))
    raise AssertionError("where an end exists, a token leads to it")


@lru_cache(maxsize=65536)
def _fewest(stack: Stack, left: Numbers, target: int, operators: str) -> int | None:
    *outer, top = stack
    if outer:
        return _least(_through(tuple(outer), top, left, target, operators))
    if top == _OPEN:
        return _sums(left, operators).get((target, 1)) if left else None
    if top.pending:
        return _least(
            _further(count, _with_factor(stack, value), rest, target, operators)
            for value, count, rest in _any(_factors, left, operators)
        )
    return _least(_to_the_end(top, left, target, operators))


def _through(outer: Stack, top: Sum, left: Numbers, target: int, operators: str) -> Iterator[int | None]:
    """The ends that close the innermost bracket first, each value of it once."""
    closings: dict[tuple[Value, Numbers], int] = {}
    for value, count, rest in _closings(top, left, operators):
        closings[value, rest] = min(count, closings.get((value, rest), count))
    for (value, rest), count in closings.items():
        yield _further(count + 1, _with_factor(outer, value), rest, target, operators)


def _closings(top: Sum, left: Numbers, operators: str) -> Iterator[tuple[Value, int, Numbers]]:
    """(value, tokens, numbers left) of all that a bracket can come to."""
    if top == _OPEN:
        yield from _any(_sums, left, operators)
    elif top.pending:
        for value, count, rest in _any(_factors, left, operators):
            if after := _with_factor((top,), value):
                yield from (
                    (end, count + more, last) for end, more, last in _closings(after[0], rest, operators)
                )
    else:
        for written, count, rest in _longer(top.product, left, operators):
            total = _plus(top.total, written)
            yield total, count, rest
            for value, more, last in _any(_sums, rest, operators):
                yield from (
                    (_plus(total, term), count + 1 + more, last) for term in _signed(value, operators)
                )


def _to_the_end(top: Sum, left: Numbers, target: int, operators: str) -> Iterator[int | None]:
    """The ends that write no bracket around what is there."""
    for written, count, rest in _longer(top.product, left, operators):
        reached = _plus(top.total, written)
        missing = _plus((target, 1), (-reached[0], reached[1]))
        if not rest:
            yield count if missing[0] == 0 else None
            continue
        for term in _signed(missing, operators):
            more = _sums(rest, operators).get(term)
            yield None if more is None else count + 1 + more


def _longer(begun: Value, left: Numbers, operators: str) -> Iterator[tuple[Value, int, Numbers]]:
    """A product as it is, and multiplied or divided by more."""
    yield begun, 0, left
    for (top, bottom), count, rest in _any(_products, left, operators):
        yield ratio(begun[0] * top, begun[1] * bottom), count + 1, rest
        if "/" in operators and top:
            yield ratio(begun[0] * bottom, begun[1] * top), count + 1, rest


def _further(count: int, stack: Stack | None, left: Numbers, target: int, operators: str) -> int | None:
    more = _fewest(stack, left, target, operators) if stack else None
    return None if more is None else count + more


def _least(counts: Iterable[int | None]) -> int | None:
    return min((count for count in counts if count is not None), default=None)


# ---- what a part of the numbers can be


def _any(table: Table, left: Numbers, operators: str) -> Iterator[tuple[Value, int, Numbers]]:
    """(value, tokens, numbers left) of every value that `table` has for a part of `left`."""
    for part, rest in _parts(left):
        yield from ((value, count, rest) for value, count in table(part, operators).items())


@lru_cache(maxsize=16384)
def _sums(numbers: Numbers, operators: str) -> Tokens:
    """Without brackets around them; a product is a sum of one term."""
    return _least_of(chain(_products(numbers, operators).items(), _true_sums(numbers, operators)))


@lru_cache(maxsize=16384)
def _products(numbers: Numbers, operators: str) -> Tokens:
    """Terms of a sum; a factor is a product of one."""
    found = [*_factors(numbers, operators).items()]
    for part, rest in _parts(numbers)[:-1]:
        for ((a, b), m), ((c, d), n) in _pairs(_products(part, operators), _factors(rest, operators)):
            found.append((ratio(a * c, b * d), m + n + 1))
            if c and "/" in operators:
                found.append((ratio(a * d, b * c), m + n + 1))
    return _least_of(found)


@lru_cache(maxsize=16384)
def _factors(numbers: Numbers, operators: str) -> Tokens:
    """A number, or a sum of several in brackets."""
    if len(numbers) == 1:
        return {(numbers[0], 1): 1}
    if "(" not in operators:
        return {}
    return _least_of((value, count + 2) for value, count in _true_sums(numbers, operators))


def _true_sums(numbers: Numbers, operators: str) -> Iterator[tuple[Value, int]]:
    """Those of two terms or more."""
    for part, rest in _parts(numbers)[:-1]:
        for (x, m), (y, n) in _pairs(_sums(part, operators), _products(rest, operators)):
            yield from ((_plus(x, term), m + n + 1) for term in _signed(y, operators))


def _pairs(left: Tokens, right: Tokens) -> Iterator[tuple[tuple[Value, int], tuple[Value, int]]]:
    return product(left.items(), right.items())


def _least_of(counts: Iterable[tuple[Value, int]]) -> Tokens:
    least: dict[Value, int] = {}
    for value, count in counts:
        if count < least.get(value, count + 1):
            least[value] = count
    return least


@lru_cache(maxsize=16384)
def _parts(numbers: Numbers) -> tuple[tuple[Numbers, Numbers], ...]:
    """(part, rest) for every part that is not empty, the whole last."""
    return tuple(sorted(parts(numbers, len(numbers)), key=lambda pair: len(pair[0])))


# ---- a formula, token after token


def _after(stack: Stack, token: str) -> Stack | None:
    """The stack when `token` is written; None where it may not be, or divides by zero."""
    total, written, pending = stack[-1]
    if pending:
        if token == "(":
            return (*stack, _OPEN)
        return _with_factor(stack, (int(token), 1)) if token.isdigit() else None
    if token == ")":
        return _with_factor(stack[:-1], _plus(total, written)) if len(stack) > 1 else None
    if token in ("+", "-"):
        return (*stack[:-1], Sum(_plus(total, written), (1 if token == "+" else -1, 1), "*"))
    return (*stack[:-1], Sum(total, written, token)) if token in ("*", "/") else None


def _with_factor(stack: Stack, factor: Value) -> Stack | None:
    total, (a, b), pending = stack[-1]
    c, d = factor if pending == "*" else factor[::-1]
    return (*stack[:-1], Sum(total, ratio(a * c, b * d), "")) if d else None


def _signed(value: Value, operators: str) -> tuple[Value, ...]:
    return (value, (-value[0], value[1])) if "-" in operators else (value,)


def _plus(left: Value, right: Value) -> Value:
    return ratio(left[0] * right[1] + right[0] * left[1], left[1] * right[1])


def _without(numbers: Sequence[int], number: int) -> Numbers:
    at = numbers.index(number)
    return (*numbers[:at], *numbers[at + 1 :])
