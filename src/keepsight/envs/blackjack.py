"""Blackjack against a dealer, from pictures of the cards (dissertation, appendix C.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np

from keepsight.envs.actions import answer_text
from keepsight.envs.base import ActionEnv, ActionForm, Move, Picture, flag
from keepsight.envs.cards import FELT, Card, deal, draw_hand
from keepsight.envs.lettering import write

__all__ = ["Blackjack", "best_actions", "points", "values_of_actions"]

SIZE = (300, 300)
WHITE = (255, 255, 255)
CARD = 70  # pixels wide, at most
DEALER, PLAYER = (5, 25, 290, 98), (5, 150, 290, 145)  # where their cards lie: left, top, width, height
EVEN, NATURAL = Fraction(1), Fraction(3, 2)  # what a win pays
MOST_HITS = 20  # two aces, nineteen more, and the next one is too much
# The deck never runs out: the numbers of a card, and how likely each is.
CHANCES = tuple((number, Fraction(4 if number == 10 else 1, 13)) for number in range(1, 11))
# Figure C.8. The line of thought is left out where no chain of thought is asked for.
_TASK = (
    "You are a blackjack player. You are observing the current game state, you can choose between ['stand', 'hit']. Your "
    "response should be a valid json file in the following format:\n"
)
_THOUGHTS = (
    '"thoughts": "{first describe your total points and the dealer\'s total points then think about which action to '
    'choose}",\n'
)


class Blackjack(ActionEnv):
    """A hand of cards, a dealer, and the choice to take one more card.

    ## Description
    The picture shows one card of the dealer, another that lies face down, and all cards of the player. The goal is to come
    closer to 21 than the dealer, and not beyond. J, Q and K are 10; an ace is 11 where that is not beyond 21, else 1. The
    dealer takes cards below 17. The rules are those of Gymnasium's Blackjack-v1.

    ## Action Space
    Text that names "stand" or "hit". With `action="index"`, `Discrete(2)`: 0 is "stand", 1 is "hit".

    ## Observation Space
    `Dict(image=Box(0, 255, (300, 300, 3), uint8), text=Text)`; with `action="index"` the picture alone. Cards are made
    smaller where many must find room. The dealer's other cards are under `hidden` in `info` alone.

    ## Starting State
    Two cards each, every card even among 52 and drawn with replacement.

    ## Rewards
    When the player stands: 1 for a win, 0 for a draw, -1 for a loss; with `natural`, 1.5 for a win with an ace and a 10 in
    two cards. -1 for more than 21 points. 0 for another hit.

    ## Episode End
    Terminated when the player stands or has more than 21 points.

    ## Arguments
    - `natural` (False): whether a win with an ace and a 10 pays 1.5.
    - `action` ("text"), `parser` ("exact"), `thoughts` (True), `render_mode` (None): as everywhere.

    ## Version History
    - v0: first.
    """

    actions = ("stand", "hit")
    reward_bounds = (-1.0, 1.5)
    horizon = MOST_HITS + 1

    def __init__(
        self,
        *,
        natural: bool = False,
        action: ActionForm = "text",
        parser: str = "exact",
        thoughts: bool = True,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(SIZE, action=action, parser=parser, thoughts=thoughts, render_mode=render_mode)
        self.natural = flag("natural", natural)
        self.dealer: tuple[Card, ...] = ()
        self.player: tuple[Card, ...] = ()

    @property
    def return_bounds(self) -> tuple[float, float]:
        """Those of a reward: the only one that is not 0 ends the hand."""
        return self.reward_bounds

    def start(self, options: Mapping[str, Any]) -> None:
        cards = deal(self.np_random, 4)
        self.dealer, self.player = cards[:2], cards[2:]

    def act(self, name: str) -> Move:
        if name == "stand":
            return self._settled()
        self.player = self.player + deal(self.np_random, 1)
        total, _ = points(self.player)
        if total > 21:
            return Move(-1.0, name, message=f"the player has {total} points", terminated=True)
        return Move(0.0, name)

    def best(self) -> frozenset[str]:
        return best_actions(*points(self.player), self.dealer[0].value(), self._pays())

    def expert(self) -> str:
        action = "stand" if "stand" in self.best() else "hit"
        if not self.thoughts:
            return answer_text({"action": action})
        ours, theirs = points(self.player)[0], points(self.dealer[:1])[0]
        # Figure C.17
        thoughts = f"I have {ours} points and the dealer has {theirs} points. I think I should {action}."
        return answer_text({"thoughts": thoughts, "action": action})

    def prompt(self) -> str:
        return _TASK + "{\n" + (_THOUGHTS if self.thoughts else "") + '"action": "stand" or "hit"\n}'

    def facts(self) -> dict[str, Any]:
        return {
            "dealer": _names(self.dealer[:1]),
            "player": _names(self.player),
            "points": points(self.player)[0],
        }

    def hidden(self) -> dict[str, Any]:
        return {"dealer": _names(self.dealer[1:])}

    def paint(self, canvas: Picture) -> None:
        np.copyto(canvas, _table())
        draw_hand(canvas, self.dealer[:1], DEALER, largest=CARD)  # over the first that lies face down
        draw_hand(canvas, self.player, PLAYER, largest=CARD)

    def _settled(self) -> Move:
        while points(self.dealer)[0] < 17:
            self.dealer = self.dealer + deal(self.np_random, 1)
        ours, theirs = points(self.player)[0], points(self.dealer)[0]
        won = ours > theirs or theirs > 21
        reward = float(self._pays()) if won else 0.0 if ours == theirs else -1.0
        message = f"the player has {ours} points, the dealer {theirs}"
        return Move(reward, "stand", message=message, terminated=True, solved=won)

    def _pays(self) -> Fraction:
        """What a win with the player's cards pays."""
        natural = self.natural and len(self.player) == 2 and points(self.player)[0] == 21
        return NATURAL if natural else EVEN


def points(cards: Sequence[Card]) -> tuple[int, bool]:
    """The total, and whether an ace in it counts 11."""
    total = sum(card.value() for card in cards)
    soft = total <= 11 and any(card.rank == "A" for card in cards)
    return (total + 10, True) if soft else (total, False)


def best_actions(total: int, soft: bool, shown: int, pays: Fraction = Fraction(1)) -> frozenset[str]:
    """The actions of greatest expected reward against a dealer who shows `shown`: basic strategy for a deck without end.

    Args:
        total: the player's points.
        soft: whether an ace in them counts 11.
        pays: what a win pays if the player stands now.
    """
    values = values_of_actions(total, soft, shown, pays)
    return frozenset(name for name, value in values.items() if value == max(values.values()))


@lru_cache(maxsize=4096)
def values_of_actions(
    total: int, soft: bool, shown: int, pays: Fraction = Fraction(1)
) -> dict[str, Fraction]:
    """The expected reward of each action, exact, when play goes on at its best; by dynamic programming over the totals."""
    ends = _dealer_ends(*_with(0, False, shown))
    stand = sum(
        (chance * (pays if end > 21 or total > end else 0 if total == end else -1) for end, chance in ends),
        Fraction(0),
    )
    return {"stand": stand, "hit": _value_of_hit(total, soft, shown)}


def _value_of_hit(total: int, soft: bool, shown: int) -> Fraction:
    value = Fraction(0)
    for number, chance in CHANCES:
        after, still = _with(total, soft, number)
        value += chance * (-1 if after > 21 else max(values_of_actions(after, still, shown).values()))
    return value


@lru_cache(maxsize=256)
def _dealer_ends(total: int, soft: bool) -> tuple[tuple[int, Fraction], ...]:
    """(points, chance) of what a dealer with `total` ends with."""
    if total >= 17:
        return ((total, Fraction(1)),)
    ends: dict[int, Fraction] = {}
    for number, chance in CHANCES:
        for end, share in _dealer_ends(*_with(total, soft, number)):
            ends[end] = ends.get(end, Fraction(0)) + chance * share
    return tuple(ends.items())


def _with(total: int, soft: bool, number: int) -> tuple[int, bool]:
    """The points after one more card."""
    total += number
    if number == 1 and not soft and total <= 11:
        return total + 10, True
    if soft and total > 21:
        return total - 10, False
    return total, soft


def _names(cards: Sequence[Card]) -> tuple[str, ...]:
    return tuple(card.suit + card.rank for card in cards)


@lru_cache(maxsize=1)
def _table() -> Picture:
    """The table with two cards of the dealer face down. One for all games, so that many at once find it in fast memory."""
    table = np.empty((*SIZE, 3), np.uint8)
    table[:] = FELT
    write(table, "Dealer", (5, 5), 16, WHITE, bold=True)
    write(table, "Player", (5, 130), 16, WHITE, bold=True)
    draw_hand(table, (None, None), DEALER, largest=CARD)
    table.setflags(write=False)
    return table
