"""Outlines of everything we draw, in a box from -1 to 1 (y downwards): object kinds, and glyphs read from glyphs.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from math import cos, pi, sin

import numpy as np
from numpy.typing import NDArray

from keepsight.data.drawn.raster import Contours

__all__ = ["FACING_KINDS", "FONTS", "KINDS", "glyph", "kind_outline", "transform"]

Points = list[tuple[float, float]]


def _regular(corners: int, radius: float = 1.0, start: float = -pi / 2) -> Points:
    angles = [start + 2 * pi * i / corners for i in range(corners)]
    return [(radius * cos(a), radius * sin(a)) for a in angles]


def _star() -> Points:
    outer, inner = _regular(5), _regular(5, 0.42, -pi / 2 + pi / 5)
    return [point for pair in zip(outer, inner) for point in pair]


def _moon() -> Points:
    """A crescent that opens to the right."""
    outer = [(cos(a), sin(a)) for a in np.linspace(0.25 * pi, 1.75 * pi, 24)]
    inner = [(0.35 + 0.8 * cos(a), 0.8 * sin(a)) for a in np.linspace(1.66 * pi, 0.34 * pi, 20)]
    return [(x + 0.1, y) for x, y in outer + inner]


def _heart() -> Points:
    angles = np.linspace(0, 2 * pi, 32, endpoint=False)
    return [(sin(a) ** 3, -(13 * cos(a) - 5 * cos(2 * a) - 2 * cos(3 * a) - cos(4 * a)) / 16) for a in angles]


def _cross() -> Points:
    w = 0.34
    return [
        (-w, -1),
        (w, -1),
        (w, -w),
        (1, -w),
        (1, w),
        (w, w),
        (w, 1),
        (-w, 1),
        (-w, w),
        (-1, w),
        (-1, -w),
        (-w, -w),
    ]


def _cup() -> list[Points]:
    """A cup whose handle is on the right."""
    body: Points = [(-0.9, -0.8), (0.45, -0.8), (0.3, 0.9), (-0.75, 0.9)]
    handle: Points = [(0.42, -0.5), (1.0, -0.5), (1.0, 0.45), (0.36, 0.45)]
    hole: Points = [(0.42, -0.22), (0.74, -0.22), (0.74, 0.17), (0.36, 0.17)]
    return [body, handle, hole]


_OUTLINES: dict[str, Callable[[], list[Points]]] = {
    "circle": lambda: [_regular(28, 0.95)],
    "square": lambda: [[(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)]],
    "triangle": lambda: [[(0, -0.95), (1, 0.8), (-1, 0.8)]],
    "pentagon": lambda: [_regular(5)],
    "hexagon": lambda: [_regular(6, 1.0, 0.0)],
    "star": lambda: [_star()],
    "cross": lambda: [_cross()],
    "ring": lambda: [_regular(28), _regular(28, 0.55)],
    "moon": lambda: [_moon()],
    "heart": lambda: [_heart()],
    "arrow": lambda: [[(-1, -0.28), (0.1, -0.28), (0.1, -0.8), (1, 0), (0.1, 0.8), (0.1, 0.28), (-1, 0.28)]],
    "fish": lambda: [
        [
            (1, 0),
            (0.6, -0.38),
            (0.05, -0.52),
            (-0.4, -0.25),
            (-1, -0.62),
            (-0.8, 0),
            (-1, 0.62),
            (-0.4, 0.25),
            (0.05, 0.52),
            (0.6, 0.38),
        ],
        [(0.5, -0.2), (0.68, -0.2), (0.68, -0.02), (0.5, -0.02)],
    ],
    "house": lambda: [
        [(0, -1), (1, -0.15), (0.75, -0.15), (0.75, 0.95), (-0.75, 0.95), (-0.75, -0.15), (-1, -0.15)],
        [(-0.22, 0.95), (-0.22, 0.3), (0.22, 0.3), (0.22, 0.95)],
    ],
    "tree": lambda: [
        [
            (0, -1),
            (0.6, -0.3),
            (0.35, -0.3),
            (0.85, 0.4),
            (0.2, 0.4),
            (0.2, 1),
            (-0.2, 1),
            (-0.2, 0.4),
            (-0.85, 0.4),
            (-0.35, -0.3),
            (-0.6, -0.3),
        ],
    ],
    "cup": _cup,
    "flag": lambda: [[(-0.7, -1), (0.95, -0.45), (-0.45, 0.1), (-0.45, 1), (-0.7, 1)]],
}

KINDS = (
    "circle",
    "square",
    "triangle",
    "star",
    "cross",
    "ring",
    "moon",
    "heart",
    "arrow",
    "fish",
    "house",
    "tree",
    "cup",
    "flag",
)
FACING_KINDS = frozenset(
    {"moon", "arrow", "fish", "cup", "flag"}
)  # drawn facing right; mirrored when facing left

FONTS = ("sans", "sans-bold", "sans-oblique", "mono", "serif", "serif-bold")


@cache
def kind_outline(name: str) -> tuple[NDArray[np.float64], ...]:
    """The contours of an object kind, facing right where it can face."""
    return tuple(np.array(points, float) for points in _OUTLINES[name]())


@cache
def _glyphs() -> dict[str, dict[str, list[list[list[int]]]]]:
    text = files("keepsight.data.drawn").joinpath("glyphs.json").read_text(encoding="utf-8")
    fonts: dict[str, dict[str, list[list[list[int]]]]] = json.loads(text)["fonts"]
    return fonts


@cache
def glyph(font: str, character: str) -> tuple[NDArray[np.float64], ...]:
    """The contours of one character, its larger extent scaled to the box. Made by `recipes.glyphs` from DejaVu fonts."""
    return tuple(np.array(contour, float) / 1000 for contour in _glyphs()[font][character])


def transform(
    contours: Contours,
    x: float,
    y: float,
    scale: float,
    *,
    angle: float = 0.0,
    mirror: bool = False,
    stretch: float = 1.0,
) -> list[NDArray[np.float64]]:
    """Mirror, stretch (x), turn (radians), scale and move outlines from the unit box to pixels."""
    turn = np.array([[cos(angle), sin(angle)], [-sin(angle), cos(angle)]]) * scale
    flip = np.array([-stretch if mirror else stretch, 1.0])
    return [(contour * flip) @ turn + (x, y) for contour in contours]
