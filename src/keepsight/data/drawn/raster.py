"""Filling outlines into pixels with whole numbers only, so that a picture is the same on every machine.

No font engine, no imaging library and no floating-point sum decides a pixel: outlines are rounded to a fine grid once and
everything after that is integer arithmetic. Shapes are [n, 2] float arrays of x, y in pixels, y downwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np
from numpy.typing import NDArray

__all__ = ["SIDE", "Colour", "Contours", "blank", "coverage", "noise", "paint"]

SIDE = (
    48  # pixels; four 24-pixel cells, each big enough for a playing card or an object with a facing direction
)
SUBSAMPLES = 4  # per pixel and axis, so coverage runs from 0 to 16
GRID = 64  # outline vertices are rounded to 1/64 of a subsample

Contours = Sequence[NDArray[np.float64]]
Colour = tuple[int, int, int]


def coverage(contours: Contours, side: int = SIDE) -> NDArray[np.int32]:
    """How much of each pixel the outlines cover: [side, side], 0 (nothing) to 16 (all). Even-odd rule, so holes work."""
    width = side * SUBSAMPLES
    starts, ends = _edges(contours)
    toggles = np.zeros(width * (width + 1), np.int32)
    rows = GRID * np.arange(width, dtype=np.int64) + GRID // 2  # [w] sample heights
    low = np.minimum(starts[:, 1], ends[:, 1])[:, None]
    high = np.maximum(starts[:, 1], ends[:, 1])[:, None]
    edge, row = np.nonzero((low <= rows) & (rows < high))
    rise = ends[edge, 1] - starts[edge, 1]
    x = starts[edge, 0] + (rows[row] - starts[edge, 1]) * (ends[edge, 0] - starts[edge, 0]) // rise
    column = np.clip((x - GRID // 2) // GRID + 1, 0, width)
    np.add.at(toggles, row * (width + 1) + column, 1)
    inside = np.cumsum(toggles.reshape(width, width + 1), axis=1)[:, :width] & 1
    return inside.reshape(side, SUBSAMPLES, side, SUBSAMPLES).sum(axis=(1, 3)).astype(np.int32)


def _edges(contours: Contours) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    scale = SUBSAMPLES * GRID
    rounded = [np.floor(np.asarray(c) * scale + 0.5).astype(np.int64) for c in contours]
    starts = np.concatenate(rounded)
    ends = np.concatenate([np.roll(c, -1, axis=0) for c in rounded])
    return starts, ends


def blank(colour: Colour, side: int = SIDE) -> NDArray[np.int32]:
    """A canvas [side, side, 3] of one colour."""
    return np.broadcast_to(np.array(colour, np.int32), (side, side, 3)).copy()


def paint(canvas: NDArray[np.int32], mask: NDArray[np.int32], colour: Colour, x: int = 0, y: int = 0) -> None:
    """Lays `colour` over the canvas where `mask` (a coverage) says so, its corner at pixel x, y. Clips at the border."""
    height, width = mask.shape
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + height, canvas.shape[0]), min(x + width, canvas.shape[1])
    if bottom <= top or right <= left:
        return
    part = canvas[top:bottom, left:right]
    share = mask[top - y : bottom - y, left - x : right - x, None]
    part += ((np.array(colour, np.int32) - part) * share + 8) // 16


def noise(canvas: NDArray[np.int32], rng: Random, strength: int) -> NDArray[np.uint8]:
    """The finished picture: the canvas with independent noise of at most +-`strength` grey levels."""
    if strength:
        raw = np.frombuffer(rng.randbytes(canvas.size), np.uint8).reshape(canvas.shape)
        canvas = canvas + raw.astype(np.int32) % (2 * strength + 1) - strength
    return np.clip(canvas, 0, 255).astype(np.uint8)
