"""Resets of GeneralPoints with a picture each, against finding the solutions by trying everything, and against PIL."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from io import BytesIO

import numpy as np
from PIL import Image

from benchmarks.record import Record
from keepsight.envs import make
from keepsight.envs.cards import FELT, Card, places, sprite
from keepsight.envs.generalpoints import GeneralPoints

__all__ = ["measure"]

RESETS = 5000
TRIED = 4  # hands that are solved by trying everything
DRAWN = 50  # hands that are drawn with PIL
CARD_WIDTH = 750  # of the pictures that PIL starts from, as in the released environment
PER_SECOND = 5000
GOAL = 200


def measure(ref: str = "tiny") -> Record:
    """All hands are the environment's own; trying everything must find them solvable as well."""
    env = make("generalpoints", vision=True)
    assert isinstance(env, GeneralPoints)
    env.reset(seed=0)
    first, rate = _rate(env), _rate(env)
    hands = [_drawn(env) for _ in range(DRAWN)]
    tried = _seconds_of_trying(hands[:TRIED])
    drawn = _seconds_of_pil(hands, env.size[0])
    detail = (
        f"{rate:,.0f} resets/s (must be at least {PER_SECOND:,}), {first:,.0f} in the first {RESETS:,}; trying every "
        f"formula takes {tried:.2f} s a hand, PIL {1000 * drawn:.1f} ms a picture, {rate * drawn:.0f} times a reset"
    )
    ok = rate >= PER_SECOND and rate * tried >= GOAL
    return Record("env_resets", rate * tried, GOAL, ok, RESETS, detail)


def _rate(env: GeneralPoints) -> float:
    """Resets per second."""
    before = time.perf_counter()
    for _ in range(RESETS):
        env.reset()
    return RESETS / (time.perf_counter() - before)


def _drawn(env: GeneralPoints) -> tuple[Card, ...]:
    env.reset()
    return env.cards


def _seconds_of_trying(hands: Sequence[Sequence[Card]]) -> float:
    """Per hand."""
    before = time.perf_counter()
    assert all(24 in _values([card.value() for card in hand]) for hand in hands)
    return (time.perf_counter() - before) / len(hands)


def _values(numbers: Sequence[int]) -> set[Fraction]:
    """Of every order of four numbers, every choice of operators, every way to bracket."""
    found: set[Fraction] = set()
    for order in itertools.permutations(map(Fraction, numbers)):
        for operators in itertools.product("+-*/", repeat=3):
            found.update(_bracketed(order, operators))
    return found


def _bracketed(numbers: Sequence[Fraction], operators: Sequence[str]) -> Iterator[Fraction]:
    """Values of the formulas that differ in their brackets alone, as often as they come."""
    if len(numbers) == 1:
        yield numbers[0]
    for at, operator in enumerate(operators):
        for left in _bracketed(numbers[: at + 1], operators[:at]):
            for right in _bracketed(numbers[at + 1 :], operators[at + 1 :]):
                if operator != "/" or right:
                    yield _worth(left, operator, right)


def _worth(left: Fraction, operator: str, right: Fraction) -> Fraction:
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
    return left / right


def _seconds_of_pil(hands: Sequence[Sequence[Card]], side: int) -> float:
    """Per picture: each card read from a file, made smaller and pasted."""
    files = {card: _file(card) for hand in hands for card in hand}
    before = time.perf_counter()
    for hand in hands:
        picture = _pasted([files[card] for card in hand], side)
    seconds = (time.perf_counter() - before) / len(hands)
    assert picture.shape == (side, side, 3)
    return seconds


def _file(card: Card) -> bytes:
    file = BytesIO()
    Image.fromarray(sprite(card, CARD_WIDTH)).save(file, "png")
    return file.getvalue()


def _pasted(files: Sequence[bytes], side: int) -> np.ndarray:
    canvas = Image.new("RGB", (side, side), FELT)
    corners, width = places(len(files), (0, 0, side, side // 3), centred=True)
    for file, corner in zip(files, corners):
        canvas.paste(Image.open(BytesIO(file)).resize((width, width * 7 // 5)), corner)
    return np.array(canvas)
