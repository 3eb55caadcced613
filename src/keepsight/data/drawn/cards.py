"""One playing card of 52. The class is its suit; rank and full name are facts, captions and questions."""

from __future__ import annotations

from random import Random

import numpy as np
from numpy.typing import NDArray

from keepsight.data.drawn.outlines import glyph, transform
from keepsight.data.drawn.palette import background
from keepsight.data.drawn.phrases import presence_pair
from keepsight.data.drawn.picture import Drawing, DrawnSet, Picture, Question, Split, between, pick
from keepsight.data.drawn.raster import Colour, blank, coverage, noise, paint

__all__ = ["CARDS", "RANKS", "SUITS"]

SUITS = {"hearts": "♥", "spades": "♠", "clubs": "♣", "diamonds": "♦"}
RANKS = {
    "ace": "A", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7",
    "eight": "8", "nine": "9", "ten": "10", "jack": "J", "queen": "Q", "king": "K",
}  # fmt: skip
LABELS = tuple(SUITS)
RED: Colour = (205, 30, 45)
BLACK: Colour = (20, 20, 25)


def _draw(rng: Random, split: Split, index: int) -> Drawing:
    suit, rank = pick(rng, LABELS), pick(rng, tuple(RANKS))
    paper = round(between(rng, 225, 255))
    canvas = blank(background(rng))
    left, top = round(between(rng, 5, 11)), round(between(rng, 1, 4))
    canvas[top : top + 43, left : left + 32] = paper
    ink = RED if suit in ("hearts", "diamonds") else BLACK
    _print_rank(canvas, RANKS[rank], left, top, ink)
    paint(canvas, coverage(transform(glyph("sans", SUITS[suit]), left + 20, top + 29, 10.5)), ink)
    return noise(canvas, rng, 5), suit, {"suit": suit, "rank": rank, "card": f"{rank} of {suit}"}


def _print_rank(canvas: NDArray[np.int32], text: str, left: int, top: int, ink: Colour) -> None:
    stretch = 1.0 if len(text) == 1 else 0.8
    for place, character in enumerate(text):
        outline = transform(
            glyph("sans-bold", character), left + 9 + 9 * place, top + 10, 7.5, stretch=stretch
        )
        paint(canvas, coverage(outline), ink)


def _captions(picture: Picture, rng: Random) -> list[str]:
    return [picture.label, f"the {picture.facts['card']}"]


def _questions(picture: Picture, rng: Random) -> list[Question]:
    facts = picture.facts
    other = f"{pick(rng, tuple(RANKS))} of {facts['suit']}"
    guess = facts["card"] if rng.random() < 0.5 else other
    return [
        *presence_pair(rng, LABELS, facts["suit"], "a card of {}", article=False),
        Question("presence of card", f"Is it the {guess}?", "Yes" if guess == facts["card"] else "No"),
        Question("open", "What suit is the card?", facts["suit"]),
        Question("rank", "What rank is the card?", facts["rank"]),
        Question("card", "What card is it?", facts["card"]),
        Question("caption", "Describe the image.", f"the {facts['card']}"),
    ]


CARDS = DrawnSet("cards", LABELS, _draw, _captions, _questions)
