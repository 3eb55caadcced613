"""A blot of one colour; its form means nothing."""

from __future__ import annotations

from math import cos, pi, sin
from random import Random

import numpy as np

from keepsight.data.drawn.palette import COLOURS, background, shade
from keepsight.data.drawn.phrases import presence_pair
from keepsight.data.drawn.picture import Drawing, DrawnSet, Picture, Question, Split, between, pick
from keepsight.data.drawn.raster import blank, coverage, noise, paint

__all__ = ["BLOTS"]

LABELS = tuple(COLOURS)


def _draw(rng: Random, split: Split, index: int) -> Drawing:
    label = pick(rng, LABELS)
    corners = 9
    x, y, size = between(rng, 18, 30), between(rng, 18, 30), between(rng, 9, 20)
    angles = [2 * pi * i / corners for i in range(corners)]
    radii = [size * between(rng, 0.6, 1.1) for _ in angles]
    outline = np.array([(x + r * cos(a), y + r * sin(a)) for a, r in zip(angles, radii)])
    canvas = blank(background(rng))
    paint(canvas, coverage([outline]), shade(rng, label, 18))
    return noise(canvas, rng, 8), label, {"colour": label}


def _captions(picture: Picture, rng: Random) -> list[str]:
    return [picture.label, f"a {picture.label} blot" if picture.label != "orange" else "an orange blot"]


def _questions(picture: Picture, rng: Random) -> list[Question]:
    yes, no = presence_pair(rng, LABELS, picture.label, "the color {}", article=False)
    return [
        yes,
        no,
        Question("open", "What color is it?", picture.label),
        Question("caption", "Describe the image.", _captions(picture, rng)[1]),
    ]


BLOTS = DrawnSet("colours", LABELS, _draw, _captions, _questions)
