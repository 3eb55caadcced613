"""What EZPoints and Points24 share: a formula of the numbers on the cards is written token by token, "=" ends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from keepsight.envs.actions import answer_text
from keepsight.envs.base import ActionEnv, ActionForm, Move, Picture
from keepsight.envs.cards import FELT, RANKS, Box, Card, draw_hand
from keepsight.envs.completing import completion, fewest_tokens
from keepsight.envs.lettering import label, write
from keepsight.scoring.verifiers.arithmetic import IllFormed, value_of
from keepsight.scoring.verifiers.fields import read_fields
from keepsight.scoring.verifiers.points import ranks_of

__all__ = ["FormulaEnv"]

SIZE = (300, 300)
WHITE = (255, 255, 255)
LEFT, RIGHT = 10, 292  # between them the formula is written


class FormulaEnv(ActionEnv):
    """Subclasses give `start`, which calls `lay`, `prompt`, and the places of the picture."""

    reward_bounds = (-1.0, 10.0)
    paid_at_end = True
    hand_box: Box
    letters: int  # size of the formula's letters, in pixels
    label_top: int  # where "Formula:" stands
    formula_at: tuple[int, int]  # where the first token stands, (x, y)

    def __init__(
        self,
        numbers: Sequence[int],
        operators: str,
        *,
        target_points: int,
        faces: tuple[int, int, int] = (10, 10, 10),
        action: ActionForm,
        parser: str,
        thoughts: bool,
        render_mode: str | None,
    ) -> None:
        self.actions = (*map(str, numbers), *operators, "=")
        super().__init__(SIZE, action=action, parser=parser, thoughts=thoughts, render_mode=render_mode)
        self.operators = operators
        self.target_points = target_points
        self.faces = faces
        self.checks_recognition = thoughts  # only then is asked what is on the cards
        self.cards: tuple[Card, ...] = ()
        self.numbers: tuple[int, ...] = ()
        self.formula: tuple[str, ...] = ()

    def lay(self, cards: Sequence[Card]) -> None:
        """Begins with these cards and an empty formula."""
        self.cards = tuple(cards)
        self.numbers = tuple(card.value(self.faces) for card in cards)
        self.formula = ()

    @property
    def left(self) -> tuple[int, ...]:
        """The numbers that the formula has not used."""
        rest = list(self.numbers)
        for token in self.formula:
            if token.isdigit():
                rest.remove(int(token))
        return tuple(rest)

    @property
    def steps_left(self) -> int:
        """How many answers the episode may still have."""
        return self.horizon - self.steps

    def legal(self) -> tuple[str, ...]:
        left = {str(number) for number in self.left}
        return tuple(action for action in self.actions if action in left or not action.isdigit())

    def act(self, name: str) -> Move:
        if name == "=":
            return self._judged()
        if name.isdigit() and int(name) not in self.left:
            return Move(-1.0, name, "illegal", f"no card is left for {name}")
        self.formula = (*self.formula, name)
        return Move(0.0, name)

    def judge(self, text: str) -> Move:
        seen = _numbers_seen(text, self.faces)
        move = super().judge(text)
        if seen is None:
            return move
        tag = "recognized" if sorted(seen) == sorted(self.numbers) else "misrecognized"
        return replace(move, tags=(*move.tags, tag))

    def best(self) -> frozenset[str]:
        """The actions after which the target can still be reached in time; empty where it cannot be reached now."""
        return frozenset(action for action in self.legal() if self._wins_after(action))

    def expert(self) -> str | None:
        """The next token of a shortest end of the formula; None where it cannot be reached in time."""
        end = completion(self.formula, self.left, self.target_points, self.operators)
        if end is None or len(end) >= self.steps_left:
            return None
        action = end[0] if end else "="
        if not self.thoughts:
            return answer_text({"action": action})
        fields = {"cards": list(self.numbers), "formula": self.written, "thoughts": self._thought(end)}
        return answer_text({**fields, "action": action})  # figures C.19 and C.21

    @property
    def written(self) -> str:
        """The formula without spaces."""
        return "".join(self.formula)

    def facts(self) -> dict[str, Any]:
        return {
            "cards": tuple(card.suit + card.rank for card in self.cards),
            "numbers": self.numbers,
            "formula": self.written,
        }

    def paint(self, canvas: Picture) -> None:
        np.copyto(canvas, _empty_table(self.label_top, self.letters))
        draw_hand(canvas, self.cards, self.hand_box, centred=True)
        x, y = self.formula_at
        for token in self.formula:
            drawn = label(token + " ", self.letters, WHITE, FELT)
            height, width, _ = drawn.shape
            if x + width > RIGHT:
                x, y = LEFT, y + height
            canvas[y : y + height, x : x + width] = drawn
            x += width

    def _judged(self) -> Move:
        if self.left:
            return Move(-1.0, "=", message="the formula does not use all cards", terminated=True)
        try:
            value = value_of(" ".join(self.formula))  # spaces keep 2 and 4 from being 24
        except IllFormed as problem:
            return Move(-1.0, "=", message=f"{self.written!r} is no formula: {problem}", terminated=True)
        if value != self.target_points:
            message = f"{self.written} is {value}, not {self.target_points}"
            return Move(-1.0, "=", message=message, terminated=True)
        message = f"{self.written} is {self.target_points}"
        return Move(10.0, "=", message=message, terminated=True, solved=True)

    def _wins_after(self, action: str) -> bool:
        left = list(self.left)
        if action == "=":
            return fewest_tokens(self.formula, left, self.target_points, self.operators) == 0
        if action.isdigit():
            left.remove(int(action))
        more = fewest_tokens((*self.formula, action), left, self.target_points, self.operators)
        return more is not None and more + 2 <= self.steps_left

    def _thought(self, end: tuple[str, ...]) -> str:
        formula, target = self.written, self.target_points
        if not end:
            return f"'{formula}' is a complete formula, since '{formula}={target}', I should output '='"
        return (
            f"'{formula}' is an incomplete formula, since '{formula}{''.join(end)}={target}', I should append "
            f"'{end[0]}' to the current formula"
        )


def _numbers_seen(text: str, faces: tuple[int, int, int]) -> list[int] | None:
    """The numbers that an answer gives to the cards in its field "cards"; None if it gives none."""
    if "cards" not in text.casefold():
        return None
    ranks = ranks_of(read_fields(text, ("cards",)).get("cards"))
    return None if ranks is None else [_number(rank, faces) for rank in ranks]


def _number(rank: str, faces: tuple[int, int, int]) -> int:
    """A card as a number; -1 if it is none."""
    if rank in RANKS:
        return Card(rank, "S").value(faces)
    return int(rank) if rank.isascii() and rank.isdigit() and len(rank) <= 2 else -1


@lru_cache(maxsize=8)
def _empty_table(label_top: int, letters: int) -> Picture:
    table = np.empty((*SIZE, 3), np.uint8)
    table[:] = FELT
    write(table, "Formula:", (LEFT, label_top), letters, WHITE)
    table.setflags(write=False)
    return table
