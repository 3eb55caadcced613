"""Points24: make 24 of four cards, token by token (dissertation, appendix C.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keepsight.envs.base import ActionForm, choice, whole_number
from keepsight.envs.cards import FACES, FACES_TOLD, deal
from keepsight.envs.formula import FormulaEnv

__all__ = ["Points24"]

OPERATORS = "+-*/()"
# Figure C.6. The lines of thought are left out where no chain of thought is asked for.
_TASK = (
    "You are an expert {target} points card game player. You are observing these four cards in the image. You are observing "
    "the current formula: '{formula}'. You can choose between {actions}. The number or operator you choose will be appended "
    "to the current formula. Note that {faces}. Your goal is to output a formula that evaluates to {target}, and each number "
    "can only be used once. Your response should be a valid json file in the following format:\n"
)
_THOUGHTS = (
    '"cards": [x, y, z, w],\n'
    "\"current formula\": '{formula}'\n"
    '"thoughts": {{First check whether the current formula equals {target}. If the current formula equals {target}, output '
    "'='. Otherwise consider which number or operator should be appended to the current formula to make it equal {target}.}}\n"
)
_ACTION = '"action": "{number}" or "{operator}"\n}'


class Points24(FormulaEnv):
    """Four cards and a target.

    ## Description
    The picture shows four cards and the formula so far. The goal is a formula that uses all four numbers once and equals
    the target, exactly: fractions on the way are allowed, two numbers side by side are not. Not every hand can be solved:
    about 73 % of them for 24, 79 % where J, Q and K are 11 to 13.

    ## Action Space
    Text that names a number from 1 to 10, "+", "-", "*", "/", "(", ")" or "=". With `action="index"`, `Discrete(17)`, in
    this order; where face cards are 11 to 13, `Discrete(20)`. A number that is not on the cards, or used up, is illegal:
    the formula stays as it is.

    ## Observation Space
    `Dict(image=Box(0, 255, (300, 300, 3), uint8), text=Text)`; with `action="index"` the picture alone. The text has the
    formula.

    ## Starting State
    Four cards, each even among 52 and drawn with replacement.

    ## Rewards
    10 for "=" when the formula equals the target and uses all cards; -1 for another "="; -1 for an illegal number; 0
    otherwise.

    ## Episode End
    Terminated by "="; truncated after 20 steps.

    ## Arguments
    - `target_points` (24): a whole number from 1 to 999.
    - `face_cards` ("10"): what J, Q and K are; or "11-13".
    - `action` ("text"), `parser` ("exact"), `thoughts` (True), `render_mode` (None): as everywhere.

    ## Version History
    - v0: first.
    """

    horizon = 20
    hand_box = (5, 10, 290, 190)
    letters, label_top, formula_at = 16, 208, (10, 236)

    def __init__(
        self,
        *,
        target_points: int = 24,
        face_cards: str | int = "10",
        action: ActionForm = "text",
        parser: str = "exact",
        thoughts: bool = True,
        render_mode: str | None = None,
    ) -> None:
        whole_number("target_points", target_points, 1, 999)
        choice("face_cards", str(face_cards), FACES)
        faces, self._faces_told = FACES[str(face_cards)], FACES_TOLD[str(face_cards)]
        super().__init__(
            range(1, max(faces) + 1),
            OPERATORS,
            target_points=target_points,
            faces=faces,
            action=action,
            parser=parser,
            thoughts=thoughts,
            render_mode=render_mode,
        )

    def start(self, options: Mapping[str, Any]) -> None:
        self.lay(deal(self.np_random, 4))

    def prompt(self) -> str:
        names = {
            "formula": self.written,
            "actions": list(self.actions),
            "target": self.target_points,
            "faces": self._faces_told,
        }
        thoughts = _THOUGHTS.format(**names) if self.thoughts else ""
        return _TASK.format(**names) + "{\n" + thoughts + _ACTION
