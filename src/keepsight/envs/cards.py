"""Playing cards, and pictures of hands of them. The art is drawn here: no picture files.

A card's picture is drawn once for each size and kept; a hand is laid on the table by copying.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from keepsight.envs.lettering import ink

__all__ = [
    "DECK",
    "FACES",
    "FACES_TOLD",
    "FELT",
    "RANKS",
    "SUITS",
    "Card",
    "deal",
    "draw_hand",
    "places",
    "sprite",
]

RANKS = ("A", "2", "3", "4", "5", "6", "7", "8", "9", "10", "J", "Q", "K")
SUITS = ("H", "S", "D", "C")
FELT = (53, 101, 77)  # the table

Colour = tuple[int, int, int]
Mask = NDArray[np.uint8]
Box = tuple[int, int, int, int]  # left, top, width, height, in pixels

_NUMBERS = {rank: at + 1 for at, rank in enumerate(RANKS)}
GAP = 0.06  # between two cards, of a card's width
FINER = {True: 4, False: 2}  # times larger than asked for are small and large cards drawn, then made smaller
SMALL = 150  # pixels wide
_SYMBOLS = {"H": "♥", "S": "♠", "D": "♦", "C": "♣"}
_RED, _BLACK = (196, 18, 34), (20, 20, 24)
_PAPER, _RIM, _PANEL = (255, 255, 253), (120, 124, 122), (246, 240, 222)
_BACK, _WEAVE = (36, 66, 130), (120, 150, 206)
_TWO, _THREE, _FOUR = (0.0, 1.0), (0.0, 1 / 2, 1.0), (0.0, 1 / 3, 2 / 3, 1.0)
# Where a number's pips stand in their field, 0 to 1: the heights of those in the two columns, of those in the middle.
_PIPS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "A": ((), (0.5,)),
    "2": ((), _TWO),
    "3": ((), _THREE),
    "4": (_TWO, ()),
    "5": (_TWO, (0.5,)),
    "6": (_THREE, ()),
    "7": (_THREE, (0.25,)),
    "8": (_THREE, (0.25, 0.75)),
    "9": (_FOUR, (0.5,)),
    "10": (_FOUR, (1 / 6, 5 / 6)),
}


class Card(NamedTuple):
    """A rank of `RANKS` and a suit of `SUITS`."""

    rank: str
    suit: str

    @property
    def red(self) -> bool:
        """Whether it is a heart or a diamond."""
        return self.suit in ("H", "D")

    def value(self, faces: Sequence[int] = (10, 10, 10)) -> int:
        """Its number: the ace is 1, `faces` are those of J, Q and K."""
        number = _NUMBERS[self.rank]
        return number if number <= 10 else faces[number - 11]


# What J, Q and K count, and how prompts say it (figures C.6, D.1 and D.10).
FACES = {"10": (10, 10, 10), "11-13": (11, 12, 13)}
FACES_TOLD = {
    "10": "'J', 'Q', and 'K' count as '10'",
    "11-13": "'J', 'Q', and 'K' count as '11', '12', and '13' respectively",
}
DECK = tuple(Card(rank, suit) for suit in SUITS for rank in RANKS)


def deal(rng: np.random.Generator, n: int) -> tuple[Card, ...]:
    """`n` cards of `DECK`, each even among all 52, with replacement."""
    return tuple(DECK[int(rng.integers(len(DECK)))] for _ in range(n))  # an array of a few takes longer


def draw_hand(
    canvas: NDArray[np.uint8],
    cards: Sequence[Card | None],
    box: Box,
    *,
    largest: int = 10_000,
    centred: bool = False,
    felt: Colour = FELT,
) -> None:
    """Lays `cards` (None: face down) inside `box` of `canvas` [h, w, 3], from left to right, in as many rows as make them largest.

    Args:
        largest: the widest that a card may be, in pixels.
        centred: in the box, rather than in its upper left corner.
        felt: the colour under the cards' round corners.
    """
    corners, width = places(len(cards), box, largest, centred)
    height = _height(width)
    for card, (x, y) in zip(cards, corners):
        canvas[y : y + height, x : x + width] = sprite(card, width, felt)


@lru_cache(maxsize=4096)
def places(
    n: int, box: Box, largest: int = 10_000, centred: bool = False
) -> tuple[tuple[tuple[int, int], ...], int]:
    """The upper left corners (x, y) of `n` cards in `box`, and their width; every card is inside."""
    left, top, wide, high = box
    width, columns = max((_widest(columns, n, wide, high), columns) for columns in range(1, n + 1))
    width = max(min(width, largest), 1)
    height, step_x = _height(width), _step(width)
    step_y = height + step_x - width
    rows = -(-n // columns)
    if centred:
        left += (wide - (columns - 1) * step_x - width) // 2
        top += (high - (rows - 1) * step_y - height) // 2
    return tuple((left + at % columns * step_x, top + at // columns * step_y) for at in range(n)), width


@lru_cache(maxsize=2048)
def sprite(card: Card | None, width: int, felt: Colour = FELT) -> NDArray[np.uint8]:
    """The picture of a card, uint8 [h, `width`, 3] and read-only; None is one that lies face down."""
    finer = FINER[width <= SMALL]
    wide, high = width * finer, _height(width) * finer
    picture = Image.new("RGB", (wide, high), felt)
    draw = ImageDraw.Draw(picture)
    rim = max(2, wide // 90)
    draw.rounded_rectangle((0, 0, wide - 1, high - 1), wide // 14, fill=_PAPER, outline=_RIM, width=rim)
    if card is None:
        _draw_back(draw, wide, high)
    else:
        _draw_face(picture, card)
    drawn = np.asarray(picture.resize((width, _height(width)), Image.Resampling.BOX)).copy()
    drawn.setflags(write=False)
    return drawn


def _height(width: int) -> int:
    return max(round(width * 7 / 5), 1)


def _step(width: int) -> int:
    return width + max(round(GAP * width), 1)


def _widest(columns: int, n: int, wide: int, high: int) -> int:
    """The width of the largest cards of which `n` fit into the box in `columns`; 0 if none do."""
    rows = -(-n // columns)
    guess = int(min(wide / columns, high / rows / 1.4)) + 1
    for width in range(guess, 0, -1):
        across = (columns - 1) * _step(width) + width
        down = (rows - 1) * (_height(width) + _step(width) - width) + _height(width)
        if across <= wide and down <= high:
            return width
    return 0


def _draw_back(draw: ImageDraw.ImageDraw, wide: int, high: int) -> None:
    """A blue field of small diamonds inside a white edge."""
    edge, line = wide // 12, max(1, wide // 60)
    field = (edge, edge, wide - edge, high - edge)
    draw.rectangle(field, fill=_BACK, outline=_WEAVE, width=line)
    columns, rows = 6, 9
    cell_x, cell_y = (wide - 2 * edge) / columns, (high - 2 * edge) / rows
    for row in range(rows):
        for column in range(columns):
            x, y = edge + (column + 0.5) * cell_x, edge + (row + 0.5) * cell_y
            rx, ry = 0.36 * cell_x, 0.36 * cell_y
            draw.polygon(((x, y - ry), (x + rx, y), (x, y + ry), (x - rx, y)), outline=_WEAVE, width=line)


def _draw_face(picture: Image.Image, card: Card) -> None:
    """Rank and suit in two corners, upside down in the lower one; pips, or a face's panel, between them."""
    wide, _ = picture.size
    colour = _RED if card.red else _BLACK
    suit = _SYMBOLS[card.suit]
    corner = Image.new("L", picture.size)
    middle = int(0.125 * wide)
    rank_high, suit_high = int(0.20 * wide), int(0.15 * wide)
    _stamp(corner, card.rank, (middle, int(0.06 * wide) + rank_high // 2), rank_high, widest=int(0.18 * wide))
    _stamp(corner, suit, (middle, int(0.10 * wide) + rank_high + suit_high // 2), suit_high)
    picture.paste(colour, mask=corner)
    picture.paste(colour, mask=corner.rotate(180))
    if card.rank in _PIPS:
        _draw_pips(picture, card, colour)
    else:
        _draw_panel(picture, card, colour)


def _draw_pips(picture: Image.Image, card: Card, colour: Colour) -> None:
    """The pips of a number; those of the lower half upside down."""
    wide, high = picture.size
    size = int((0.45 if card.rank == "A" else 0.18) * wide)
    columns, middle = _PIPS[card.rank]
    pips = [(x, y) for x in (0.36, 0.64) for y in columns] + [(0.5, y) for y in middle]
    upright, inverted = Image.new("L", picture.size), Image.new("L", picture.size)
    for x, y in pips:
        layer, (x, y) = (upright, (x, y)) if y <= 0.5 else (inverted, (1 - x, 1 - y))
        _stamp(layer, _SYMBOLS[card.suit], (round(x * wide), round((0.17 + 0.66 * y) * high)), size)
    picture.paste(colour, mask=upright)
    picture.paste(colour, mask=inverted.rotate(180))


def _draw_panel(picture: Image.Image, card: Card, colour: Colour) -> None:
    """J, Q and K: a framed panel with the letter and the suit."""
    wide, high = picture.size
    box = (int(0.29 * wide), int(0.13 * high), int(0.71 * wide), int(0.87 * high))
    ImageDraw.Draw(picture).rectangle(box, fill=_PANEL, outline=colour, width=max(2, wide // 70))
    letters = Image.new("L", picture.size)
    _stamp(letters, card.rank, (wide // 2, int(0.38 * high)), int(0.34 * wide), widest=int(0.34 * wide))
    _stamp(letters, _SYMBOLS[card.suit], (wide // 2, int(0.66 * high)), int(0.26 * wide))
    picture.paste(colour, mask=letters)


def _stamp(layer: Image.Image, text: str, centre: tuple[int, int], high: int, *, widest: int = 0) -> None:
    """Puts `text` on `layer`, `high` pixels high and no wider than `widest`, over what is there."""
    shape = Image.fromarray(ink(text, max(high, 8), bold=True))
    wide = round(shape.width * high / shape.height)
    size = (max(min(wide, widest or wide), 1), max(high, 1))
    shape = shape.resize(size)
    layer.paste(255, (centre[0] - size[0] // 2, centre[1] - size[1] // 2), mask=shape)
