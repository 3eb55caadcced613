"""The world that ships: real digits and seven sets drawn here, the same picture on every machine.

`SETS` is what the embedded model is taught; `UNTAUGHT` it has never seen, so that there is something to tune it on.
"""

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
from keepsight.data.drawn.things import THINGS

__all__ = ["ALL_SETS", "SETS", "SIDE", "UNTAUGHT", "DrawnSet", "Picture", "Question"]

SETS: dict[str, DrawnSet] = {
    "digits": DIGITS,
    "shapes": SHAPES,
    "letters": LETTERS,
    "textures": TEXTURES,
    "cards": CARDS,
    "colours": BLOTS,
    "scenes": SCENES,
}
UNTAUGHT: dict[str, DrawnSet] = {"things": THINGS}
ALL_SETS: dict[str, DrawnSet] = {**SETS, **UNTAUGHT}
