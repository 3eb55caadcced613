"""One capital letter in one of six fonts."""

from __future__ import annotations

import string
from random import Random

from keepsight.data.drawn.outlines import FONTS, glyph, transform
from keepsight.data.drawn.palette import any_colour, background, shade
from keepsight.data.drawn.phrases import presence_pair
from keepsight.data.drawn.picture import Drawing, DrawnSet, Picture, Question, Split, between, pick
from keepsight.data.drawn.raster import SIDE, blank, coverage, noise, paint

__all__ = ["LETTERS"]

LABELS = tuple(string.ascii_uppercase)


def _draw(rng: Random, split: Split, index: int) -> Drawing:
    label, font, colour = pick(rng, LABELS), pick(rng, FONTS), any_colour(rng)
    scale = between(rng, 12, 19)
    x, y = (between(rng, scale + 2, SIDE - scale - 2) for _ in range(2))
    outline = transform(glyph(font, label), x, y, scale, angle=between(rng, -0.15, 0.15))
    canvas = blank(background(rng))
    paint(canvas, coverage(outline), shade(rng, colour))
    return noise(canvas, rng, 6), label, {"colour": colour, "font": font}


def _captions(picture: Picture, rng: Random) -> list[str]:
    return [f"the letter {picture.label}", f"a {picture.facts['colour']} letter {picture.label}"]


def _questions(picture: Picture, rng: Random) -> list[Question]:
    colour = picture.facts["colour"]
    guess = colour if rng.random() < 0.5 else any_colour(rng)
    return [
        *presence_pair(rng, LABELS, picture.label, "the letter {}", article=False),
        Question("open", "What letter is it?", picture.label),
        Question("colour", "What color is the letter?", colour),
        Question("presence of colour", f"Is it {guess}?", "Yes" if guess == colour else "No"),
        Question("caption", "Describe the image.", f"a {colour} letter {picture.label}"),
    ]


LETTERS = DrawnSet("letters", LABELS, _draw, _captions, _questions)
