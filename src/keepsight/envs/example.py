"""An environment to copy: a coin that is dark or bright. Play it with `--tasks env:path/to/your/file.py:Coin`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keepsight.envs import ActionEnv, Move
from keepsight.envs.base import ActionForm, Picture

__all__ = ["Coin"]


class Coin(ActionEnv):
    """A dark or a bright coin: say which.

    ## Description
    One picture, one colour, one answer.

    ## Action Space
    Text that names "dark" or "bright". With `action="index"`, `Discrete(2)`.

    ## Observation Space
    `Dict(image=Box(0, 255, (64, 64, 3), uint8), text=Text)`; with `action="index"` the picture alone.

    ## Starting State
    Both sides alike likely.

    ## Rewards
    1 for the right side, -1 for the other.

    ## Episode End
    Terminated by the first answer.

    ## Arguments
    - `action` ("text"), `parser` ("exact"), `thoughts` (False), `render_mode` (None): as everywhere.

    ## Version History
    - v0: first.
    """

    actions = ("dark", "bright")
    reward_bounds = (-1.0, 1.0)

    def __init__(
        self,
        *,
        action: ActionForm = "text",
        parser: str = "exact",
        thoughts: bool = False,
        render_mode: str | None = None,
    ) -> None:
        super().__init__((64, 64), action=action, parser=parser, thoughts=thoughts, render_mode=render_mode)
        self.side = "dark"

    def start(self, options: Mapping[str, Any]) -> None:
        self.side = self.actions[int(self.np_random.integers(2))]

    def act(self, name: str) -> Move:
        right = name == self.side
        return Move(1.0 if right else -1.0, name, terminated=True, solved=right)

    def best(self) -> frozenset[str]:
        return frozenset({self.side})

    def expert(self) -> str:
        return f'{{"action": "{self.side}"}}'

    def prompt(self) -> str:
        return 'Is the coin dark or bright? Answer in JSON: {"action": "dark" or "bright"}'

    def paint(self, canvas: Picture) -> None:
        canvas[:] = 40 if self.side == "dark" else 215
