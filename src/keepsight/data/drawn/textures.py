"""A surface in two colours that fills the picture."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np
from numpy.typing import NDArray

from keepsight.data.drawn.palette import any_colour, background, shade
from keepsight.data.drawn.phrases import presence_pair
from keepsight.data.drawn.picture import Drawing, DrawnSet, Picture, Question, Split, between, pick
from keepsight.data.drawn.raster import SIDE, blank, noise, paint

__all__ = ["TEXTURES"]

Field = NDArray[np.int64]
Y, X = np.mgrid[0:SIDE, 0:SIDE].astype(np.int64)


def _waves(x: Field, y: Field, p: int) -> NDArray[np.bool_]:
    """Horizontal bands whose height follows a parabola arc per half wave: whole numbers, no sine."""
    t = x % (2 * p)
    bump = (t % p) * (p - t % p) * 4 // p
    return (y + np.where(t < p, bump, -bump) // 2) % p < p // 2


def _zigzag(x: Field, y: Field, p: int) -> NDArray[np.bool_]:
    return (y + np.abs(x % (2 * p) - p)) % p < p // 2


def _bricks(x: Field, y: Field, p: int) -> NDArray[np.bool_]:
    course = y // p
    return (y % p < p - 2) & ((x + course % 2 * p) % (2 * p) < 2 * p - 2)


def _dots(x: Field, y: Field, p: int) -> NDArray[np.bool_]:
    dx, dy = 2 * (x % p) - p + 1, 2 * (y % p) - p + 1
    return 5 * (dx * dx + dy * dy) < 2 * p * p


def _rings(x: Field, y: Field, p: int) -> NDArray[np.bool_]:
    far = (x - SIDE) ** 2 + (y - SIDE) ** 2
    return np.floor(np.sqrt(far.astype(float))).astype(np.int64) % p < p // 2


_PATTERNS: dict[str, Callable[[Field, Field, int], NDArray[np.bool_]]] = {
    "stripes": lambda x, y, p: y % p < p // 2,
    "bars": lambda x, y, p: x % p < p // 2,
    "slants": lambda x, y, p: (x + y) % (p + 2) < (p + 2) // 2,
    "grid": lambda x, y, p: (x % p < 2) | (y % p < 2),
    "dots": _dots,
    "checks": lambda x, y, p: (x // (p // 2) + y // (p // 2)) % 2 == 0,
    "zigzag": _zigzag,
    "waves": _waves,
    "bricks": _bricks,
    "arcs": _rings,
}
LABELS = tuple(_PATTERNS)


def _draw(rng: Random, split: Split, index: int) -> Drawing:
    label, colour = pick(rng, LABELS), any_colour(rng)
    period = pick(rng, (8, 10, 12))
    dx, dy = (int(between(rng, 0, 24)) for _ in range(2))
    canvas = blank(background(rng))
    mask = _PATTERNS[label](X + dx, Y + dy, period).astype(np.int32) * 16
    paint(canvas, mask, shade(rng, colour))
    return noise(canvas, rng, 10), label, {"colour": colour, "period": period}


def _captions(picture: Picture, rng: Random) -> list[str]:
    return [picture.label, f"{picture.facts['colour']} {picture.label}"]


def _questions(picture: Picture, rng: Random) -> list[Question]:
    label, colour = picture.label, picture.facts["colour"]
    guess = colour if rng.random() < 0.5 else any_colour(rng)
    yes, no = presence_pair(rng, LABELS, label, "a pattern of {}", article=False)
    return [
        yes,
        no,
        Question("open", "What pattern is it?", label),
        Question("colour", "What color is the pattern?", colour),
        Question("presence of colour", f"Is it {guess}?", "Yes" if guess == colour else "No"),
        Question("caption", "Describe the image.", f"{colour} {label}"),
    ]


TEXTURES = DrawnSet("textures", LABELS, _draw, _captions, _questions)
