"""Headings in degrees, clockwise from north, and the words for them (V-IRL, dissertation, appendix D.2)."""

from __future__ import annotations

import math

__all__ = ["DIRECTIONS", "RELATIONS", "TURNS", "bearing", "direction", "relation", "turn", "wrapped"]

DIRECTIONS = ("north", "northeast", "east", "southeast", "south", "southwest", "west", "northwest")
TURNS = ("left", "right", "slightly left", "slightly right")
RELATIONS = ("front", "right front", "right", "right behind", "behind", "left behind", "left", "left front")

Place = tuple[float, float]


def wrapped(degrees: float) -> float:
    """The same angle in (-180, 180]."""
    return 180.0 - (180.0 - degrees) % 360.0


def direction(heading: float) -> str:
    """The nearest of the eight words of the compass."""
    return DIRECTIONS[round(heading / 45.0) % 8]


def relation(heading: float, towards: float) -> str:
    """On which side of someone who faces `heading` a thing lies whose bearing is `towards`."""
    return RELATIONS[round((towards - heading) / 45.0) % 8]


def turn(before: float, after: float) -> str:
    """How one turns from the heading `before` to `after`: slightly by at most 45 degrees.

    The difference is wrapped, so that from 350 to 10 is slightly right.
    """
    by = wrapped(after - before)
    side = "right" if by > 0 else "left"
    return side if abs(by) > 45 else f"slightly {side}"


def bearing(start: Place, end: Place) -> float:
    """The heading from `start` to `end`, both (east, north) in metres; in [0, 360)."""
    return math.degrees(math.atan2(end[0] - start[0], end[1] - start[1])) % 360.0
