"""One sign, such as an anchor or a telephone. The embedded model is never taught these: it is what one would tune it on."""

from __future__ import annotations

from random import Random

from keepsight.data.drawn.outlines import glyph, transform
from keepsight.data.drawn.palette import any_colour, background, shade
from keepsight.data.drawn.phrases import a, presence_pair
from keepsight.data.drawn.picture import Drawing, DrawnSet, Picture, Question, Split, between, pick
from keepsight.data.drawn.raster import SIDE, blank, coverage, noise, paint

__all__ = ["SIGNS"]

GLYPHS = {
    "sun": "☀",
    "cloud": "☁",
    "umbrella": "☂",
    "telephone": "☎",
    "crown": "♔",
    "note": "♫",
    "anchor": "⚓",
    "gear": "⚙",
    "airplane": "✈",
    "scissors": "✂",
}
LABELS = tuple(GLYPHS)


def _draw(rng: Random, split: Split, index: int) -> Drawing:
    label, colour = pick(rng, LABELS), any_colour(rng)
    scale = between(rng, 13, 20)
    x, y = (between(rng, scale + 2, SIDE - scale - 2) for _ in range(2))
    outline = transform(glyph("sans", GLYPHS[label]), x, y, scale, angle=between(rng, -0.2, 0.2))
    canvas = blank(background(rng))
    paint(canvas, coverage(outline), shade(rng, colour))
    return noise(canvas, rng, 6), label, {"colour": colour}


def _captions(picture: Picture, rng: Random) -> list[str]:
    return [a(picture.label), a(f"{picture.facts['colour']} {picture.label}")]


def _questions(picture: Picture, rng: Random) -> list[Question]:
    label, colour = picture.label, picture.facts["colour"]
    return [
        *presence_pair(rng, LABELS, label),
        Question("open", "What sign is it?", label),
        Question("colour", f"What color is the {label}?", colour),
        Question("caption", "Describe the image.", a(f"{colour} {label}")),
    ]


SIGNS = DrawnSet("signs", LABELS, _draw, _captions, _questions)
