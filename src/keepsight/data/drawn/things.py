"""One large thing of those that scenes show small, turned and mirrored.

The embedded model knows the words and the forms, but was never taught such pictures: it is what one would tune it on.
"""

from __future__ import annotations

from random import Random

from keepsight.data.drawn.outlines import kind_outline, transform
from keepsight.data.drawn.palette import any_colour, background, shade
from keepsight.data.drawn.phrases import a, presence_pair
from keepsight.data.drawn.picture import Drawing, DrawnSet, Picture, Question, Split, between, pick
from keepsight.data.drawn.raster import SIDE, blank, coverage, noise, paint

__all__ = ["THINGS"]

LABELS = ("arrow", "fish", "house", "tree", "cup", "flag")


def _draw(rng: Random, split: Split, index: int) -> Drawing:
    label, colour = pick(rng, LABELS), any_colour(rng)
    scale = between(rng, 12, 20)
    x, y = (between(rng, scale + 2, SIDE - scale - 2) for _ in range(2))
    angle, mirror = between(rng, -0.5, 0.5), rng.random() < 0.5
    outline = transform(kind_outline(label), x, y, scale, angle=angle, mirror=mirror)
    canvas = blank(background(rng))
    paint(canvas, coverage(outline), shade(rng, colour))
    return noise(canvas, rng, 6), label, {"colour": colour}


def _captions(picture: Picture, rng: Random) -> list[str]:
    return [a(picture.label), a(f"{picture.facts['colour']} {picture.label}")]


def _questions(picture: Picture, rng: Random) -> list[Question]:
    label, colour = picture.label, picture.facts["colour"]
    return [
        *presence_pair(rng, LABELS, label),
        Question("open", "What thing is it?", label),
        Question("colour", f"What color is the {label}?", colour),
        Question("caption", "Describe the image.", a(f"{colour} {label}")),
    ]


THINGS = DrawnSet("things", LABELS, _draw, _captions, _questions)
