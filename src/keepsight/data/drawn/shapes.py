"""One plain shape, turned, scaled and coloured at random."""

from __future__ import annotations

from random import Random

from keepsight.data.drawn.outlines import kind_outline, transform
from keepsight.data.drawn.palette import any_colour, background, shade
from keepsight.data.drawn.phrases import a, presence_pair
from keepsight.data.drawn.picture import Drawing, DrawnSet, Picture, Question, Split, between, pick
from keepsight.data.drawn.raster import SIDE, blank, coverage, noise, paint

__all__ = ["SHAPES"]

LABELS = ("circle", "square", "triangle", "pentagon", "hexagon", "star", "cross", "ring", "moon", "heart")


def _draw(rng: Random, split: Split, index: int) -> Drawing:
    label, colour = pick(rng, LABELS), any_colour(rng)
    scale = between(rng, 11, 19)
    x, y = (between(rng, scale + 2, SIDE - scale - 2) for _ in range(2))
    outline = transform(kind_outline(label), x, y, scale, angle=between(rng, -0.3, 0.3))
    canvas = blank(background(rng))
    paint(canvas, coverage(outline), shade(rng, colour))
    return noise(canvas, rng, 6), label, {"colour": colour, "size": "large" if scale > 15 else "small"}


def _captions(picture: Picture, rng: Random) -> list[str]:
    return [a(picture.label), a(f"{picture.facts['colour']} {picture.label}")]


def _questions(picture: Picture, rng: Random) -> list[Question]:
    label, colour = picture.label, picture.facts["colour"]
    guess = colour if rng.random() < 0.5 else any_colour(rng)
    return [
        *presence_pair(rng, LABELS, label),
        Question("open", "What shape is it?", label),
        Question("colour", f"What color is the {label}?", colour),
        Question("presence of colour", f"Is it {guess}?", "Yes" if guess == colour else "No"),
        Question("caption", "Describe the image.", a(f"{colour} {label}")),
    ]


SHAPES = DrawnSet("shapes", LABELS, _draw, _captions, _questions)
