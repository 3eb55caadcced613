"""Colours with names, and backgrounds that no named colour can be taken for."""

from __future__ import annotations

from random import Random

from keepsight.data.drawn.picture import between, pick
from keepsight.data.drawn.raster import Colour

__all__ = ["COLOURS", "any_colour", "background", "shade"]

COLOURS: dict[str, Colour] = {
    "red": (220, 40, 40),
    "orange": (245, 140, 25),
    "yellow": (240, 225, 50),
    "green": (45, 165, 60),
    "blue": (50, 90, 225),
    "purple": (135, 50, 180),
    "pink": (250, 150, 190),
    "white": (245, 245, 245),
}


def shade(rng: Random, name: str, spread: int = 12) -> Colour:
    """The named colour, each channel off by at most `spread`."""
    r, g, b = (min(255, max(0, channel + round(between(rng, -spread, spread)))) for channel in COLOURS[name])
    return r, g, b


def background(rng: Random) -> Colour:
    """A dark, nearly grey colour."""
    level = between(rng, 15, 75)
    r, g, b = (round(level + between(rng, -10, 10)) for _ in range(3))
    return r, g, b


def any_colour(rng: Random) -> str:
    name: str = pick(rng, tuple(COLOURS))
    return name
