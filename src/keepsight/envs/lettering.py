"""Text in pictures, in the font that ships (DejaVu Sans, made by recipes/fonts.py)."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import as_file, files

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = ["blend", "ink", "text_size", "write"]

Colour = tuple[int, int, int]
_FILES = {False: "DejaVuSans.ttf", True: "DejaVuSans-Bold.ttf"}


def write(
    canvas: NDArray[np.uint8],
    text: str,
    at: tuple[int, int],
    size: int,
    colour: Colour,
    *,
    bold: bool = False,
) -> None:
    """Writes one line over `canvas` [h, w, 3], its upper left corner `at` (x, y) pixels; what is outside is cut off.

    Args:
        size: of the font, in pixels.
    """
    blend(canvas, _mask(text, size, bold), at, colour)


def text_size(text: str, size: int, *, bold: bool = False) -> tuple[int, int]:
    """Width and height in pixels that `write` takes."""
    height, width = _mask(text, size, bold).shape
    return width, height


def ink(text: str, size: int, *, bold: bool = False) -> NDArray[np.uint8]:
    """Coverage 0..255 [h, w] of one line, without the empty rows and columns around it."""
    mask = _mask(text, size, bold)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if rows.size else mask[:0, :0]


def blend(canvas: NDArray[np.uint8], mask: NDArray[np.uint8], at: tuple[int, int], colour: Colour) -> None:
    """Lays `colour` over `canvas` [h, w, 3] as far as `mask` [h', w'] (255: wholly) says, at (x, y)."""
    (left, top), (height, width) = at, canvas.shape[:2]
    x, y = max(left, 0), max(top, 0)
    part = mask[y - top : height - top, x - left : width - left]
    if part.size == 0:
        return
    under = canvas[y : y + part.shape[0], x : x + part.shape[1]]
    share = part[..., None].astype(np.uint16)  # [h', w', 1]
    under[...] = (under * (255 - share) + np.array(colour, np.uint16) * share + 127) // 255


@lru_cache(maxsize=8192)
def _mask(text: str, size: int, bold: bool) -> NDArray[np.uint8]:
    """Coverage 0..255 [h, w] of one line; the height is the font's own, so that lines stand alike."""
    font = _font(size, bold)
    ascent, descent = font.getmetrics()
    image = Image.new("L", (max(1, round(font.getlength(text)) + 1), ascent + descent))
    ImageDraw.Draw(image).text((0, 0), text, fill=255, font=font)
    mask = np.asarray(image).copy()
    mask.setflags(write=False)
    return mask


@lru_cache(maxsize=64)
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    with as_file(files("keepsight.envs") / "fonts" / _FILES[bold]) as path:
        return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)
