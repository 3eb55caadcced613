"""EZPoints: make 12 of two cards (dissertation, appendix C.1)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

from keepsight.envs.base import ActionForm, choice, whole_number
from keepsight.envs.cards import RANKS, SUITS, Card
from keepsight.envs.formula import FormulaEnv
from keepsight.errors import UsageError

__all__ = ["EZPoints", "Sampling", "pairs"]

Sampling = Literal["published", "uniform_pairs"]
# Figure C.4. The lines of thought are left out where no chain of thought is asked for.
_TASK = (
    "You are an expert card game player. You are observing two cards in the image. You are observing the current formula: "
    "'{formula}'. You can choose between {actions}. The number or operator you choose will be appended to the current "
    "formula. Note that 'J', 'Q', and 'K' count as '10'. Your goal is to output a formula that evaluates to {target}, and "
    "each number can only be used once. Your response should be a valid json file in the following format:\n"
)
_THOUGHTS = (
    '"cards": [x, y],\n'
    "\"current formula\": '{formula}',\n"
    "\"thoughts\": {{First check whether the current formula 'z' is complete. If the current formula 'z' is complete, output "
    "'='. Otherwise consider which number or operator should be appended to the current formula to make it equal {target}.}}\n"
)
_ACTION = '"action": "{number}" or "{operator}"\n}'


class EZPoints(FormulaEnv):
    """Two cards and a target that their sum or product is.

    ## Description
    The picture shows two cards and the formula so far. The goal is a formula that uses both numbers once and equals the
    target. J, Q and K are 10. Every hand can be solved.

    ## Action Space
    Text that names a number from 1 to 10, "+", "*" or "=". With `action="index"`, `Discrete(13)`: 0 to 9 are the numbers 1
    to 10, then "+", "*", "=". A number that is not on the cards, or used up, is illegal: the formula stays as it is.

    ## Observation Space
    `Dict(image=Box(0, 255, (300, 300, 3), uint8), text=Text)`; with `action="index"` the picture alone. The text has the
    formula.

    ## Starting State
    With `sampling="published"`, the first card is even from 2 to K; the second is a quotient or a difference of the target
    and the first, each half the time where both exist, and is an ace or a number; then their order is even. So 37.5 % of
    the hands for 12 are {2, 10}. With "uniform_pairs" all pairs of numbers that make the target are alike likely. Suits are
    even.

    ## Rewards
    10 for "=" when the formula equals the target and uses both cards; -1 for another "="; -1 for an illegal number; 0
    otherwise.

    ## Episode End
    Terminated by "="; truncated after 5 steps.

    ## Arguments
    - `target_points` (12): a whole number that two numbers from 1 to 10 make.
    - `sampling` ("published"): or "uniform_pairs".
    - `action` ("text"), `parser` ("exact"), `thoughts` (True), `render_mode` (None): as everywhere.

    ## Version History
    - v0: first.
    """

    horizon = 5
    hand_box = (5, 10, 290, 230)
    letters, label_top, formula_at = 20, 258, (108, 258)

    def __init__(
        self,
        *,
        target_points: int = 12,
        sampling: Sampling = "published",
        action: ActionForm = "text",
        parser: str = "exact",
        thoughts: bool = True,
        render_mode: str | None = None,
    ) -> None:
        whole_number("target_points", target_points, 1, 100)
        if not pairs(target_points):
            raise UsageError(
                f"target_points is {target_points}; give a number that two cards make, such as 12"
            )
        choice("sampling", sampling, ("published", "uniform_pairs"))
        super().__init__(
            range(1, 11),
            "+*",
            target_points=target_points,
            action=action,
            parser=parser,
            thoughts=thoughts,
            render_mode=render_mode,
        )
        self.sampling = sampling

    def start(self, options: Mapping[str, Any]) -> None:
        first, second = self._published() if self.sampling == "published" else self._uniform()
        swapped, suit, other = self.np_random.integers((2, 4, 4))
        cards = (Card(first, SUITS[suit]), Card(second, SUITS[other]))
        self.lay(cards[::-1] if swapped else cards)

    def prompt(self) -> str:
        names = {
            "formula": self.written,
            "actions": list(self.actions),
            "target": self.target_points,
        }
        thoughts = _THOUGHTS.format(**names) if self.thoughts else ""
        return _TASK.format(**names) + "{\n" + thoughts + _ACTION

    def _published(self) -> tuple[str, str]:
        firsts = _firsts(self.target_points)
        at, which = self.np_random.integers((len(firsts), 2))
        rank, partners = firsts[at]
        return rank, RANKS[partners[which % len(partners)] - 1]

    def _uniform(self) -> tuple[str, str]:
        possible = pairs(self.target_points)
        at, face, other = self.np_random.integers((len(possible), 4, 4))
        low, high = possible[at]
        return _rank(low, face), _rank(high, other)


@lru_cache(maxsize=128)
def pairs(target: int) -> tuple[tuple[int, int], ...]:
    """The pairs of numbers from 1 to 10, the smaller first, whose sum or product is `target`."""
    return tuple((a, b) for a in range(1, 11) for b in range(a, 11) if a + b == target or a * b == target)


@lru_cache(maxsize=128)
def _firsts(target: int) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """(rank of a first card, numbers that make `target` with it: quotient, difference)."""
    cards = [Card(rank, SUITS[0]) for rank in RANKS[1:]] if target > 2 else [Card("A", SUITS[0])]
    found = ((card.rank, _partners(card.value(), target)) for card in cards)
    return tuple(each for each in found if each[1])


def _partners(number: int, target: int) -> tuple[int, ...]:
    wanted = ([target // number] if target % number == 0 else []) + [target - number]
    return tuple(each for each in wanted if 1 <= each <= 10)


def _rank(number: int, face: int) -> str:
    """One of the ranks of a number: `face`, 0 to 3, chooses among 10, J, Q and K."""
    return RANKS[number - 1 + (face if number == 10 else 0)]
