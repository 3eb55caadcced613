"""What every environment is: a Gymnasium environment that shows a picture, speaks text and reads text.

There are two kinds. A `TextEnv` reads a whole answer and judges it. An `ActionEnv` is one whose answers name an action;
with `action="index"` it takes the actions' numbers instead and shows the picture alone, for ordinary RL libraries.

Source: Zhai, "Towards Foundation Models that Learn and Adapt" (dissertation), sections 4.4 (h and f) and 5.3.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from keepsight.envs.actions import PARSERS, Parsed, ParseStatus
from keepsight.envs.any_text import MOST_CHARACTERS, AnyText
from keepsight.errors import UsageError

__all__ = [
    "ActionEnv",
    "ActionForm",
    "Move",
    "Picture",
    "TextEnv",
    "choice",
    "flag",
    "place",
    "whole_number",
]

Picture = NDArray[np.uint8]  # [h, w, 3]
ActionForm = Literal["text", "index"]


def flag(name: str, value: Any) -> bool:
    """`value`, if it is true or false: any other text would count as true. Raises UsageError otherwise."""
    if not isinstance(value, bool):
        raise UsageError(f"{name} is {value!r}; give true or false")
    return value


def choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """`value`, if it is one of `choices`. Raises UsageError otherwise."""
    known = tuple(choices)
    if not isinstance(value, str) or value not in known:
        raise UsageError(f"{name} is {value!r}; give {' or '.join(known)}")
    return value


def whole_number(name: str, value: Any, least: int, most: int | None = None) -> int:
    """`value`, if it is a whole number of `least` to `most`, both included. Raises UsageError otherwise."""
    if (
        not isinstance(value, int)
        or isinstance(value, bool)
        or value < least
        or (most is not None and value > most)
    ):
        raise UsageError(
            f"{name} is {value!r}; give a whole number from {least}" + ("" if most is None else f" to {most}")
        )
    return value


def place(name: str, value: Any) -> Path:
    """`value` as the path of a file or folder that is there. Raises UsageError otherwise."""
    found = Path(value).expanduser() if isinstance(value, (str, Path)) and value != "" else None
    if found is None or not os.path.exists(found):
        raise UsageError(f"{name} is {str(value)!r}; give a file or folder that is there")
    return found


@dataclass(frozen=True)
class Move:
    """What an answer did."""

    reward: float
    answer: str | None = None  # the action that was done, or the answer as read
    status: ParseStatus = "parsed"
    message: str = ""  # the verifier's word
    terminated: bool = False
    truncated: bool = False
    solved: bool = False
    tags: tuple[str, ...] = ()


class TextEnv(gymnasium.Env[Any, Any], ABC):
    """An environment that is answered in text.

    An observation is `{"image": uint8 [h, w, 3], "text": str}`; the text is the whole dialogue so far (`dialogue`).

    `info` holds of every step: `answer` (what was done, or read), `status` (`parsed`, `illegal` or `unparsed`), `message`
    (the verifier's word), `solved`, `tags`, `steps`; `facts()`; and under `hidden` what no player may see.

    Subclasses give the hooks `start`, `paint`, `prompt`, `judge`, and `expert` where one exists. All their randomness is
    drawn from `self.np_random`, so that a seed is an episode.
    """

    checks_recognition: bool = (
        False  # of an answer that states what it sees its moves say `recognized` or `misrecognized`
    )
    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 2}  # type: ignore[misc]
    VERSION: ClassVar[str] = "0"  # raise it when the same answers lead elsewhere
    reset_options: ClassVar[tuple[str, ...]] = ()  # names of the options that `start` knows
    horizon: int = 1  # most steps of an episode
    reward_bounds: tuple[float, float] = (-float("inf"), float("inf"))  # of one step
    paid_at_end: bool = False  # whether the only reward above 0 ends the episode

    def __init__(
        self, size: tuple[int, int], *, thoughts: bool, shows_picture: bool, render_mode: str | None
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise UsageError(f"render_mode is {render_mode!r}; give rgb_array or None")
        self.size = size  # h, w
        self.thoughts = flag("thoughts", thoughts)  # whether the prompt asks for a chain of thought
        self.shows_picture = shows_picture  # whether a model is given the picture
        self.render_mode = render_mode
        self.steps = 0
        self.replies: list[
            str
        ] = []  # after the prompt: answer, verifier's reply, answer, ... where answers are revised
        self._over = True
        self._seed: int | None = None  # that the episode was begun with
        self.action_space: spaces.Space[Any] = AnyText()
        self.observation_space: spaces.Space[Any] = spaces.Dict(
            {"image": spaces.Box(0, 255, (*size, 3), np.uint8), "text": AnyText()}
        )

    # ---- what a subclass gives

    @abstractmethod
    def start(self, options: Mapping[str, Any]) -> None:
        """Draws the first state from `self.np_random`. `options` are some of `reset_options`."""

    @abstractmethod
    def paint(self, canvas: Picture) -> None:
        """Draws the present state over all of `canvas`, uint8 [h, w, 3]."""

    @abstractmethod
    def prompt(self) -> str:
        """The first turn: the paper's h(o)."""

    @abstractmethod
    def judge(self, text: str) -> Move:
        """Does what an answer says and says what came of it."""

    def expert(self) -> str | None:
        """A best answer to the present observation in the form that the prompt asks for; None where there is none."""
        return None

    def mistake(self, rng: np.random.Generator) -> str | None:
        """A wrong answer that lets the episode go on, in the form that the prompt asks for; None where none is known."""
        return None

    def facts(self) -> dict[str, Any]:
        """Of the present state what may be told; copies, never live objects."""
        return {}

    def files(self) -> tuple[Path, ...]:
        """The files that the episodes come from; their content is part of a run's identity."""
        return ()

    def hidden(self) -> dict[str, Any]:
        """Of the present state what no player may see."""
        return {}

    @property
    def published(self) -> int | None:
        """How many episodes a published set has; None where episodes are drawn."""
        return None

    # ---- what all share

    @property
    def judges_steps(self) -> bool:
        """Whether it is known of single answers if they are right: its moves say `correct` or `wrong`, or `best` does."""
        return False

    @property
    def return_bounds(self) -> tuple[float, float] | None:
        """Between which an episode's rewards add up; None where `reward_bounds` are not known."""
        low, high = self.reward_bounds
        if not (math.isfinite(low) and math.isfinite(high)):
            return None
        return min(low, low * self.horizon), high if self.paid_at_end else max(high, high * self.horizon)

    @property
    def dialogue(self) -> tuple[str, ...]:
        """The user's and the model's turns, a user's turn first and last."""
        return (self.prompt(), *self.replies)

    @property
    def text(self) -> str:
        """The dialogue as one text."""
        return "\n".join(self.dialogue)

    def picture(self) -> Picture:
        """The present state, a new array uint8 [h, w, 3]."""
        canvas = np.empty((*self.size, 3), np.uint8)
        self.paint(canvas)
        return canvas

    def render(self) -> Any:
        """`picture()` with render_mode rgb_array, else None."""
        return self.picture() if self.render_mode == "rgb_array" else None

    def observation(self) -> Any:
        """What `reset` and `step` return first."""
        return {"image": self.picture(), "text": self.text}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begins an episode; one seed, one episode. Raises UsageError for an option that is not one of `reset_options`."""
        self.begin(seed=seed, options=options)
        return self.observation(), self.info(Move(0.0))

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Answers the present observation. Raises gymnasium's ResetNeeded after the end of an episode."""
        move = self.play(action)
        return self.observation(), move.reward, move.terminated, move.truncated, self.info(move)

    def begin(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> None:
        """`reset` without an observation."""
        for name in options or {}:
            if name not in self.reset_options:
                known = ", ".join(self.reset_options) or "none"
                raise UsageError(f"{type(self).__name__} has no reset option {name!r}; it takes {known}")
        super().reset(seed=seed)
        self._seed = seed
        self.steps = 0
        self.replies = []
        self._over = False
        self.start(options or {})

    def chosen(self, count: int) -> int:
        """Which of `count` episodes begins: one drawn evenly; of a published set the seed's, round and round.

        So consecutive seeds ask each of a published set once before any is asked again.
        """
        if self.published and self._seed is not None:
            return self._seed % count
        return int(self.np_random.integers(count))

    def play(self, action: Any) -> Move:
        """`step` without an observation."""
        if self._over:
            raise gymnasium.error.ResetNeeded("the episode is over; call reset")
        move = self._moved(action)
        self.steps += 1
        if self.steps >= self.horizon and not move.terminated and not move.truncated:
            move = replace(move, truncated=True)
        self._over = move.terminated or move.truncated
        return move

    def _moved(self, action: Any) -> Move:
        if not isinstance(action, str):
            raise UsageError(
                f"the action is of type {type(action).__name__}; this environment is answered in text"
            )
        return self.judge(action[:MOST_CHARACTERS])

    def info(self, move: Move) -> dict[str, Any]:
        """What `reset` and `step` return last, after `move`."""
        return {
            "answer": move.answer,
            "status": move.status,
            "message": move.message,
            "solved": move.solved,
            "tags": move.tags,
            "steps": self.steps,
            **self.facts(),
            "hidden": self.hidden(),
        }


class ActionEnv(TextEnv):
    """An environment whose answers name an action.

    An answer that names none of `actions` is replaced by one of the legal actions, drawn evenly (equation 4.1); the move
    then says `illegal` (another word stood where the action should) or `unparsed`, and has the tag `random_action`. A number
    beyond the present actions is illegal in the same way.
    Subclasses give `actions`, `act`, and `legal` where not all actions are legal at all times.
    """

    actions: tuple[str, ...]  # in the order of their numbers

    def __init__(
        self,
        size: tuple[int, int],
        *,
        action: ActionForm,
        parser: str,
        thoughts: bool,
        render_mode: str | None,
        shows_picture: bool = True,
        most_actions: int | None = None,
    ) -> None:
        super().__init__(size, thoughts=thoughts, shows_picture=shows_picture, render_mode=render_mode)
        choice("action", action, ("text", "index"))
        choice("parser", parser, PARSERS)
        self.action_form = action
        self.parse = PARSERS[parser]
        if action == "index":
            self.action_space = spaces.Discrete(most_actions or len(self.actions))
            self.observation_space = spaces.Box(0, 255, (*size, 3), np.uint8)

    @abstractmethod
    def act(self, name: str) -> Move:
        """Does one of `actions`."""

    def legal(self) -> tuple[str, ...]:
        """The actions that can be done now; never empty."""
        return self.actions

    def best(self) -> frozenset[str]:
        """The actions that an expert may choose now; empty where none is better than another, or none is known."""
        return frozenset()

    @property
    def judges_steps(self) -> bool:
        """Whether `best` is given."""
        return type(self).best is not ActionEnv.best

    def illegal(self, move: Move) -> Move:
        """What an answer that named no action costs: by default nothing beyond the random action's own outcome."""
        return move

    def read(self, text: str) -> Parsed:
        """Which of `actions` a text names."""
        return self.parse(text, self.actions)

    def judge(self, text: str) -> Move:
        """Does the action that `text` names, else a random legal one."""
        parsed = self.read(text)
        return self._instead(parsed.status) if parsed.action is None else self.act(parsed.action)

    def _instead(self, status: ParseStatus) -> Move:
        legal = self.legal()
        move = self.act(legal[int(self.np_random.integers(len(legal)))])
        return self.illegal(replace(move, status=status, tags=(*move.tags, "random_action")))

    def observation(self) -> Any:
        """The picture alone in index form."""
        return self.picture() if self.action_form == "index" else super().observation()

    def _moved(self, action: Any) -> Move:
        if self.action_form == "text":
            return super()._moved(action)
        most = int(self.action_space.n)  # type: ignore[attr-defined]
        if not isinstance(action, (int, np.integer)) or not 0 <= action < most:
            raise UsageError(f"the action is {action!r}; give a number from 0 to {most - 1}")
        return self.act(self.actions[int(action)]) if action < len(self.actions) else self._instead("illegal")
