"""The world that ships: real digits and six sets drawn here, the same picture on every machine."""

from __future__ import annotations

from keepsight.data.drawn.cards import CARDS
from keepsight.data.drawn.colours import BLOTS
from keepsight.data.drawn.digits import DIGITS
from keepsight.data.drawn.letters import LETTERS
from keepsight.data.drawn.picture import DrawnSet, Picture, Question
from keepsight.data.drawn.raster import SIDE
from keepsight.data.drawn.scenes import SCENES
from keepsight.data.drawn.shapes import SHAPES
from keepsight.data.drawn.textures import TEXTURES

__all__ = ["SETS", "SIDE", "DrawnSet", "Picture", "Question"]

SETS: dict[str, DrawnSet] = {
    "digits": DIGITS,
    "shapes": SHAPES,
    "letters": LETTERS,
    "textures": TEXTURES,
    "cards": CARDS,
    "colours": BLOTS,
    "scenes": SCENES,
}
