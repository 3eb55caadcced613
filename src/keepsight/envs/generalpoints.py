"""GeneralPoints: an equation of four cards, revised until the verifier is content (dissertation, section 5.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from keepsight.envs.actions import answer_text
from keepsight.envs.base import Move, Picture, TextEnv, choice, flag, whole_number
from keepsight.envs.cards import FACES, FACES_TOLD, FELT, RANKS, Card, draw_hand
from keepsight.envs.solving import Formula, joined, solution, solutions, solvable
from keepsight.errors import UsageError
from keepsight.scoring.verifiers.arithmetic import IllFormed, value_of
from keepsight.scoring.verifiers.points import REWARDS, Hand, RecognitionPenalty, verdict

__all__ = ["GeneralPoints"]

CARDS = 4
TIMEOUT = -1.0  # for failing at the last attempt, besides what that attempt earns
MOST_DRAWS = 10_000
NEAR_MISSES = 16  # formulas of which a wrong answer takes the one that comes closest
DECKS = {
    colours: tuple(Card(rank, suit) for suit in suits for rank in RANKS)
    for colours, suits in {"mixed": "HSDC", "red": "HD", "black": "SC"}.items()
}
# The released prompts, without the full stop inside their sentence about the face cards; nearly figures D.1 and D.2.
_TASK = (
    "[Task Description]\n"
    "You are an expert {target} points card game player. {given}\n"
    "Note that {faces}, and each card must be used once.\n"
    "Your goal is to output a formula that evaluates to {target} using numbers from the cards and operators such as '+', "
    "'-', '*', '/', '(', ')', and '='.\n\n"
)
_INPUT = "[Input]\nCards: {cards}\n\n"
_OUTPUT = (
    "[Output]\n{asked}"
    "{{\n"
    '  "cards": [x, y, z, w], where {faces},\n'
    '  "number": [a, b, c, d], where a, b, c, and d are the numbers on the cards,\n'
    "  \"formula\": 'an equation that equals {target}',\n"
    "}}"
)
_GIVEN = {
    False: "You will receive a set of 4 cards.",
    True: "You are observing these four cards in the image.",
}
_ASKED = {False: "", True: "Your response should be a valid json file in the following format:\n"}
_REPLY = "You failed this trial because {}"  # figure D.2


def _deck(rng: np.random.Generator, deck: Sequence[Card]) -> list[Card]:
    rest, n = list(deck), len(deck)
    return [rest.pop(at) for at in rng.integers((n, n - 1, n - 2, n - 3)).tolist()]


def _with_replacement(rng: np.random.Generator, deck: Sequence[Card]) -> list[Card]:
    return [deck[at] for at in rng.integers(len(deck), size=CARDS).tolist()]


def _face_card(rng: np.random.Generator, deck: Sequence[Card]) -> list[Card]:
    while True:
        cards = _deck(rng, deck)
        if any(card.rank in "JQK" for card in cards):
            return cards


def _forced_face_card(rng: np.random.Generator, deck: Sequence[Card]) -> list[Card]:
    cards = _with_replacement(rng, deck)
    at = int(rng.integers(CARDS))
    cards[at] = Card("JQK"[int(rng.integers(3))], cards[at].suit)
    return cards


SAMPLINGS: Mapping[str, Callable[[np.random.Generator, Sequence[Card]], list[Card]]] = {
    "deck": _deck,
    "with_replacement": _with_replacement,
    "face_card": _face_card,
    "forced_face_card": _forced_face_card,
}


class GeneralPoints(TextEnv):
    """Four cards, and an equation of their numbers that gives 24.

    ## Description
    The goal is a formula that uses the number of each card once and equals the target. The cards are a picture (GP-VL,
    `vision=True`) or stand in the prompt (GP-L). The verifier says why an answer failed, and the answer may be revised: the
    dialogue grows by the answer and the verifier's word.

    ## Action Space
    Text with the fields `cards`, `number` and `formula`, as the prompt says; JSON is read leniently.

    ## Observation Space
    `Dict(image=Box(0, 255, (resolution, resolution, 3), uint8), text=Text)`; the text is the dialogue so far. Without
    `vision` the picture is for people.

    ## Starting State
    Four cards as `sampling` says, drawn again until a solution exists.

    ## Rewards
    5 for a right equation; -1 for a legal one with another value; -2 for one that does not use each number once; -3 for any
    other answer; -1 besides for failing at the last attempt. With `vision`, -1.5 for an answer that does not name the cards.

    ## Episode End
    Terminated by a right equation; truncated at the last failed attempt.

    ## Arguments
    - `vision` (False): whether the cards are shown as a picture rather than named in the prompt.
    - `target_points` (24): what the formula must equal.
    - `face_cards` ("10"): J, Q and K count as 10; "11-13": as 11, 12 and 13.
    - `colours` ("mixed"): of the suits; "red" or "black".
    - `sampling` ("deck"): 4 of a deck without replacement; "face_card": the same, with a J, Q or K among them;
      "with_replacement": each card by itself; "forced_face_card": the same, and one of the four made a J, Q or K (the
      released code's way; more hands with several faces are drawn by "face_card").
    - `attempts` (5): answers to one hand.
    - `recognition_penalty` ("replace"): -1.5 stands for the formula's reward, which cannot solve the hand then; "add": it is
      added, and a right formula solves the hand whatever the cards were taken for.
    - `resolution` (300): height and width of the picture in pixels; 1200 in the paper.
    - `action` ("text"), `render_mode` (None): as everywhere; there is no index form.

    ## Version History
    - v0: first.
    """

    reward_bounds = (REWARDS["illegal"] + REWARDS["recognition"] + TIMEOUT, REWARDS["correct"])
    paid_at_end = True

    def __init__(
        self,
        *,
        vision: bool = False,
        target_points: int = 24,
        face_cards: str | int = "10",
        colours: str = "mixed",
        sampling: str = "deck",
        attempts: int = 5,
        recognition_penalty: RecognitionPenalty = "replace",
        resolution: int = 300,
        action: str = "text",
        render_mode: str | None = None,
    ) -> None:
        flag("vision", vision)
        if action != "text":
            raise UsageError(f"action is {action!r}; GeneralPoints is answered in text alone; give text")
        choice("face_cards", str(face_cards), FACES)
        choice("colours", colours, DECKS)
        choice("sampling", sampling, SAMPLINGS)
        choice("recognition_penalty", recognition_penalty, ("replace", "add"))
        whole_number("target_points", target_points, 1, 9999)
        whole_number("attempts", attempts, 1, 100)
        whole_number("resolution", resolution, 64, 4096)
        super().__init__(
            (resolution, resolution), thoughts=False, shows_picture=vision, render_mode=render_mode
        )
        self.target_points = target_points
        self.face_cards = str(face_cards)
        self.colours = colours
        self.sampling = sampling
        self.recognition_penalty = recognition_penalty
        self.checks_recognition = vision
        self.horizon = attempts
        self.cards: tuple[Card, ...] = ()
        self.hand = Hand((), (), target_points)

    def start(self, options: Mapping[str, Any]) -> None:
        draw, deck = SAMPLINGS[self.sampling], DECKS[self.colours]
        faces = FACES[self.face_cards]
        for _ in range(MOST_DRAWS):
            cards = tuple(draw(self.np_random, deck))
            numbers = tuple(card.value(faces) for card in cards)
            if solvable(numbers, self.target_points):
                self.cards = cards
                self.hand = Hand(tuple(card.rank for card in cards), numbers, self.target_points)
                return
        raise UsageError(
            f"target_points is {self.target_points}: none of {MOST_DRAWS:,} hands makes it; give a smaller one"
        )

    def judge(self, text: str) -> Move:
        said = verdict(
            text, self.hand, sees_cards=self.shows_picture, recognition_penalty=self.recognition_penalty
        )
        last = not said.solved and self.steps + 1 >= self.horizon
        if not said.solved:
            self.replies += [text, _REPLY.format(said.message)]
        return Move(
            said.reward + (TIMEOUT if last else 0.0),
            said.answer.formula,
            said.status,
            said.message,
            terminated=said.solved,
            truncated=last,
            solved=said.solved,
            tags=said.tags,
        )

    def expert(self) -> str:
        formula = solution(self.hand.numbers, self.target_points)
        assert formula is not None  # `start` leaves no other hand
        return self._answer(self.hand.ranks, self.hand.numbers, formula)

    def mistake(self, rng: np.random.Generator) -> str:
        """One of three: another value, a number that no card has, a card taken for another."""
        ranks, numbers = self.hand.ranks, self.hand.numbers
        kind = int(rng.integers(3))
        if kind == 0:
            return self._answer(ranks, numbers, _near_miss(rng, numbers, self.target_points))
        taken_ranks, taken = self._mistaken(rng)
        formula = solution(taken, self.target_points) or _near_miss(rng, taken, self.target_points)
        return self._answer(*((ranks, numbers) if kind == 1 else (taken_ranks, taken)), formula)

    def _mistaken(self, rng: np.random.Generator) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Ranks and numbers with one card taken for a rank whose number the hand does not have; solvable where one is."""
        found: list[tuple[tuple[str, ...], tuple[int, ...]]] = []
        for at, rank in rng.permutation([(at, rank) for at in range(CARDS) for rank in range(len(RANKS))]):
            card = Card(RANKS[rank], self.cards[at].suit)
            number = card.value(FACES[self.face_cards])
            if number in self.hand.numbers:
                continue
            ranks, numbers = list(self.hand.ranks), list(self.hand.numbers)
            ranks[at], numbers[at] = card.rank, number
            found.append((tuple(ranks), tuple(numbers)))
            if solvable(found[-1][1], self.target_points):
                return found[-1]
        return found[0]

    def _answer(self, ranks: Sequence[str], numbers: Sequence[int], formula: str) -> str:
        """The keys of figures D.1 and D.2, as JSON proper."""
        fields = {"cards": ranks, "number": numbers, "formula": f"{formula}={self.target_points}"}
        return answer_text(fields)

    def prompt(self) -> str:
        vision = self.shows_picture
        words = _TASK + ("" if vision else _INPUT) + _OUTPUT
        return words.format(
            target=self.target_points,
            faces=FACES_TOLD[self.face_cards],
            given=_GIVEN[vision],
            cards=list(self.hand.ranks),
            asked=_ASKED[vision],
        )

    def facts(self) -> dict[str, Any]:
        return {
            "cards": tuple(card.suit + card.rank for card in self.cards),
            "numbers": self.hand.numbers,
            "target": self.target_points,
            "attempts_left": self.horizon - self.steps,
        }

    def hidden(self) -> dict[str, Any]:
        return {"solutions": solutions(self.hand.numbers, self.target_points)}

    def paint(self, canvas: Picture) -> None:
        side = self.size[0]
        np.copyto(canvas, _table(side))
        edge, high = max(side // 60, 1), round(0.34 * side)  # so that a single row makes the largest cards
        draw_hand(canvas, self.cards, (edge, (side - high) // 2, side - 2 * edge, high), centred=True)


def _near_miss(rng: np.random.Generator, numbers: Sequence[int], target: int) -> str:
    """Of some random formulas of `numbers` the one whose value is closest to `target` without being it."""
    formulas = ["-".join(map(str, sorted(numbers)))]  # below zero: never the target
    formulas += [_random_formula(rng, numbers) for _ in range(NEAR_MISSES)]
    distances = {}
    for formula in formulas:
        try:
            distances[formula] = abs(value_of(formula) - target)
        except IllFormed:  # it divides by zero
            continue
    return min((formula for formula, distance in distances.items() if distance), key=distances.__getitem__)


def _random_formula(rng: np.random.Generator, numbers: Sequence[int]) -> str:
    parts: list[Formula] = [(str(number), "") for number in numbers]
    while len(parts) > 1:
        left, right = (parts.pop(int(rng.integers(len(parts)))) for _ in range(2))
        parts.append(joined(left, "+-*/"[int(rng.integers(4))], right))
    return parts[0][0]


@lru_cache(maxsize=16)
def _table(side: int) -> Picture:
    table = np.full((side, side, 3), FELT, np.uint8)
    table.setflags(write=False)
    return table
