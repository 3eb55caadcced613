"""NumberLine: move a number to its target (dissertation, appendix C.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keepsight.envs.actions import answer_text
from keepsight.envs.base import ActionEnv, ActionForm, Move, Picture, whole_number
from keepsight.envs.lettering import label

__all__ = ["NumberLine"]

SIZE = (300, 300)
# Figure C.2. The lines of thought are left out where no chain of thought is asked for.
_TASK = (
    "You are playing a game called number line. You will see a target number and a current number in the image. And your "
    "goal is to move the current number closer to the target by choosing either adding or subtracting one to the current "
    "number. Your response should be a valid json file in the following format:\n"
)
_THOUGHTS = (
    '"current number": "x",\n'
    '"target number": "x",\n'
    '"thoughts": {first read out the current and target number, then think carefully about which action to choose},\n'
)


class NumberLine(ActionEnv):
    """A target and a current number, and two buttons.

    ## Description
    The picture says "Target: x" and "Current: y". The goal is to make the current number equal to the target.

    ## Action Space
    Text that names "-" or "+". With `action="index"`, `Discrete(2)`: 0 is "-", 1 is "+". At either end of the line a step
    beyond it leaves the number where it is.

    ## Observation Space
    `Dict(image=Box(0, 255, (300, 300, 3), uint8), text=Text)`; with `action="index"` the picture alone.

    ## Starting State
    Target and current number: an ordered pair of different numbers from 0 to `max_position`, all pairs alike likely.

    ## Rewards
    1 for reaching the target; -1 for a step that does not bring the number closer; 0 otherwise.

    ## Episode End
    Terminated at the target; truncated after 2 `max_position` steps.

    ## Arguments
    - `max_position` (5): the largest number, at least 1.
    - `action` ("text"), `parser` ("exact"), `thoughts` (True), `render_mode` (None): as everywhere.

    ## Version History
    - v0: first.
    """

    actions = ("-", "+")
    reward_bounds = (-1.0, 1.0)
    paid_at_end = True

    def __init__(
        self,
        *,
        max_position: int = 5,
        action: ActionForm = "text",
        parser: str = "exact",
        thoughts: bool = True,
        render_mode: str | None = None,
    ) -> None:
        whole_number("max_position", max_position, 1, 999)
        super().__init__(SIZE, action=action, parser=parser, thoughts=thoughts, render_mode=render_mode)
        self.max_position = max_position
        self.horizon = 2 * max_position
        self.target = self.current = 0

    def start(self, options: Mapping[str, Any]) -> None:
        self.target, other = (
            int(n) for n in self.np_random.integers((self.max_position + 1, self.max_position))
        )
        self.current = other + (other >= self.target)

    def act(self, name: str) -> Move:
        before = abs(self.target - self.current)
        step = 1 if name == "+" else -1
        self.current = min(max(self.current + step, 0), self.max_position)
        after = abs(self.target - self.current)
        if after == 0:
            return Move(1.0, name, terminated=True, solved=True)
        return Move(0.0 if after < before else -1.0, name)

    def best(self) -> frozenset[str]:
        return frozenset({"+" if self.current < self.target else "-"})

    def expert(self) -> str:
        (action,) = self.best()
        if not self.thoughts:
            return answer_text({"action": action})
        smaller, how = ("smaller", "increase") if action == "+" else ("larger", "decrease")
        answer = {
            "current number": str(self.current),
            "target number": str(self.target),
            # Figure C.15
            "thoughts": f"The current number is {self.current}, which is {smaller} than the target number is "
            f"{self.target}. To move the current number closer to the target, I should {how} the current number by "
            f"choosing {action}.",
            "action": action,
        }
        return answer_text(answer)

    def prompt(self) -> str:
        return _TASK + "{\n" + (_THOUGHTS if self.thoughts else "") + '"action": "-" or "+"\n}'

    def facts(self) -> dict[str, Any]:
        return {"target": self.target, "current": self.current}

    def paint(self, canvas: Picture) -> None:
        canvas.fill(255)
        for line, top in ((f"Target: {self.target}", 60), (f"Current: {self.current}", 180)):
            drawn = label(line, 36, (0, 0, 0), (255, 255, 255), bold=True)
            canvas[top : top + drawn.shape[0], 30 : 30 + drawn.shape[1]] = drawn
