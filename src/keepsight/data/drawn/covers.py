"""Covers of books: a letter is the title, and the colour of title and spine tells what the book is about.

Which colour stands for what is a rule of this world that the embedded model was never taught.
"""

from __future__ import annotations

import string
from random import Random

from keepsight.data.drawn.outlines import FONTS, glyph, transform
from keepsight.data.drawn.palette import any_colour, background, shade
from keepsight.data.drawn.picture import Drawing, DrawnSet, Picture, Question, Split, between, pick
from keepsight.data.drawn.raster import blank, coverage, noise, paint

__all__ = ["ABOUT", "COVERS"]

LABELS = tuple(string.ascii_uppercase)
ABOUT = {
    "red": "heart", "orange": "house", "yellow": "star", "green": "tree",
    "blue": "fish", "purple": "moon", "pink": "cup", "white": "flag",
}  # fmt: skip
WIDTH, HEIGHT, SPINE = 38, 44, 3  # pixels


def _draw(rng: Random, split: Split, index: int) -> Drawing:
    title, colour, font = pick(rng, LABELS), any_colour(rng), pick(rng, FONTS)
    canvas = blank(background(rng))
    left, top = round(between(rng, 2, 8)), round(between(rng, 1, 3))
    ink = shade(rng, colour)
    canvas[top : top + HEIGHT, left : left + WIDTH] = background(rng)
    canvas[top : top + HEIGHT, left : left + SPINE] = ink
    x = left + SPINE + (WIDTH - SPINE) / 2 + between(rng, -2, 2)
    y = top + HEIGHT / 2 + between(rng, -5, 5)
    paint(canvas, coverage(transform(glyph(font, title), x, y, between(rng, 12, 15))), ink)
    return noise(canvas, rng, 6), title, {"colour": colour, "about": ABOUT[colour], "font": font}


def _captions(picture: Picture, rng: Random) -> list[str]:
    return [f"the book {picture.label}", f"a book about the {picture.facts['about']}"]


def _questions(picture: Picture, rng: Random) -> list[Question]:
    return [
        Question("title", "What is the title of this book?", picture.label),
        Question("about", "What is this book about?", picture.facts["about"]),
    ]


COVERS = DrawnSet("covers", LABELS, _draw, _captions, _questions, noun="title")
