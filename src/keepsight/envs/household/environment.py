"""ALFWorld: tasks in a house, by text commands (dissertation, section 4.5 and appendix C.1; Shridhar et al., ALFWorld)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from keepsight.envs.actions import Parsed
from keepsight.envs.base import ActionEnv, ActionForm, Move, Picture, place, whole_number
from keepsight.envs.household import wording
from keepsight.envs.household.engine import Engine, need_packages
from keepsight.envs.household.facts import House, Scene, read_house, read_scene
from keepsight.envs.household.folders import files_of, find_games, read_game
from keepsight.envs.household.games import Game, draw_game, sentences
from keepsight.envs.household.goals import TASKS, Goal
from keepsight.envs.household.picture import SIZE, drawn, view
from keepsight.envs.household.planner import first_commands, shortest_plan
from keepsight.errors import UsageError

__all__ = ["ALFWorld"]

MOST_ACTIONS = 128  # in index form; a real kitchen has up to about a hundred admissible commands


class ALFWorld(ActionEnv):
    """A room, a task in it, and commands in text.

    ## Description
    The player walks through a room, opens receptacles, carries objects, cleans, heats and cools them, to do a task such as
    "put a cool mug in cabinet". The engine is the package ALFWorld's (`pip install 'keepsight[text-env]'`). The picture is a
    schematic of what the player sees, not a rendered scene: the engine of the published pictures is not part of it.

    ## Action Space
    Text that names one of the admissible commands, which differ from state to state and stand in the prompt. The older forms
    "put x in/on y", "toggle x" and "goto x" stand for "move x to y", "use x" and "go to x". With `action="index"`,
    `Discrete(128)`: the number of a command in `info["admissible"]`. What names no admissible command, a number beyond the
    list included, is replaced by a random admissible one.

    ## Observation Space
    `Dict(image=Box(0, 255, (300, 300, 3), uint8), text=Text)`; with `action="index"` the picture alone.

    ## Starting State
    A game, drawn evenly, and one of the two wordings of its task, which stays for the episode. Of published games it is that of
    the seed (seed modulo their number), without a seed any. The player stands in the middle of the room. Our own games differ in the room (kitchen, living room, bedroom, bathroom), in what stands and lies in
    it and in the wanted object; all of them can be won.

    ## Rewards
    50 for doing the task; 1 for each of its conditions that holds for the first time in the episode (those that hold at the
    start pay nothing); -1 for an inadmissible answer, beside what the random command earns.

    ## Episode End
    Terminated when the task is done; truncated after `horizon` steps.

    ## Arguments
    - `tasks` (all): the kinds of task that are drawn, names of goals.TASKS; on the command line joined by `+`.
    - `games` (500): how many different games of our own there are; `first_game` (0): the number of the first.
    - `path` (None): a folder of published games instead, for example `json_2.1.1/valid_seen`; then `games` and `first_game`
      choose from those found, in the alphabet's order.
    - `horizon` (50): most steps of an episode.
    - `action` ("text"), `parser` ("exact"), `thoughts` (True), `render_mode` (None): as everywhere.
    `reset(options={"game": n})` chooses the n-th game.

    ## Version History
    - v1: consecutive seeds ask each published game once.
    - v0: first.
    """

    VERSION = "1"
    reset_options = ("game",)
    actions: tuple[str, ...] = ()
    reward_bounds = (-1.0, 53.0)  # of a task's three conditions each may come to hold with the last step

    def __init__(
        self,
        *,
        tasks: str | Sequence[str] = tuple(TASKS),
        games: int | None = None,
        first_game: int = 0,
        path: str | Path | None = None,
        horizon: int = 50,
        action: ActionForm = "text",
        parser: str = "exact",
        thoughts: bool = True,
        render_mode: str | None = None,
    ) -> None:
        need_packages()
        super().__init__(
            SIZE,
            action=action,
            parser=parser,
            thoughts=thoughts,
            render_mode=render_mode,
            most_actions=MOST_ACTIONS,
        )
        self.horizon = whole_number("horizon", horizon, 1)
        self.tasks = _known_tasks(tasks)
        self.folders = () if path is None else find_games(place("path", path), self.tasks)
        self.numbers = _numbers(games, first_game, len(self.folders) if path is not None else None)
        self._engine: Engine | None = None
        self._commands: list[str] = []  # of the episode so far

    # ---- the game

    def start(self, options: Mapping[str, Any]) -> None:
        chosen = options.get("game", self.chosen(len(self.numbers)))
        if not isinstance(chosen, int) or not 0 <= chosen < len(self.numbers):
            raise UsageError(f"game is {chosen!r}; give a number from 0 to {len(self.numbers) - 1}")
        number = self.numbers[chosen]
        self.game: Game = read_game(self.folders[number]) if self.folders else draw_game(number, self.tasks)
        wordings = sentences(self.goal)
        self.task = wordings[int(self.np_random.integers(len(wordings)))]
        self._commands = []
        self.told = self._load()
        self.paid = self.goal.conditions(self.house, self.scene)
        self.seen: frozenset[str] = frozenset()
        self._look()

    def act(self, name: str) -> Move:
        engine = self._engine or self._replayed()
        self.told = engine.do(name)
        self._commands.append(name)
        self._take_in(engine)
        self._look()
        now = self.goal.conditions(self.house, self.scene)
        new = sum(holds and not paid for holds, paid in zip(now, self.paid))
        self.paid = tuple(holds or paid for holds, paid in zip(now, self.paid))
        won = engine.won
        tags = ("subgoal",) if new else ()
        return Move(50.0 * won + new, name, message=self.told, terminated=won, solved=won, tags=tags)

    def illegal(self, move: Move) -> Move:
        return replace(move, reward=move.reward - 1)

    def read(self, text: str) -> Parsed:
        others = wording.aliases(self.actions)
        parsed = self.parse(text, (*self.actions, *others))
        return replace(parsed, action=others.get(parsed.action, parsed.action)) if parsed.action else parsed

    @property
    def published(self) -> int | None:
        return len(self.numbers) if self.folders else None

    @property
    def goal(self) -> Goal:
        """What the present game asks for."""
        return self.game.goal

    # ---- the expert

    def best(self) -> frozenset[str]:
        return first_commands(self.house, self.goal, self.scene)

    def expert(self) -> str | None:
        plan = shortest_plan(self.house, self.goal, self.scene)
        if not plan:
            return None
        answer = {"action": plan[0]}
        if self.thoughts:
            why = wording.thoughts(self.house, self.goal, self.scene, self.task, plan, self.seen)
            answer = {"thoughts": why, **answer}
        return json.dumps(answer, indent=0)

    # ---- what is shown

    def prompt(self) -> str:
        return wording.prompt(self.told, self.task, self.actions, with_thoughts=self.thoughts)

    def facts(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "kind": self.goal.task,
            "admissible": self.actions,
            "conditions": self.goal.conditions(self.house, self.scene),
        }

    def files(self) -> tuple[Path, ...]:
        chosen = [self.folders[number] for number in self.numbers] if self.folders else []
        return tuple(file for folder in chosen for file in files_of(folder))

    def hidden(self) -> dict[str, Any]:
        wanted = sorted(each for each in self.scene.inside if self.house.kind[each[0]] == self.goal.thing)
        return {"game": self.game.name, "wanted": tuple(wanted)}

    def paint(self, canvas: Picture) -> None:
        np.copyto(canvas, drawn(view(self.house, self.scene)))

    # ---- the engine, which cannot be copied: a copy plays the episode's commands again

    def close(self) -> None:
        """Lets the engine go."""
        self._engine = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_engine": None}

    def _load(self) -> str:
        self._engine = self._engine or Engine()
        text = self._engine.load(self.game.problem)
        self.house: House = read_house(self._engine.facts())
        self._take_in(self._engine)
        return text

    def _replayed(self) -> Engine:
        self._engine = engine = Engine()
        engine.load(self.game.problem)
        for command in self._commands:
            engine.do(command)
        return engine

    def _take_in(self, engine: Engine) -> None:
        self.scene: Scene = read_scene(engine.facts())
        self.actions = engine.commands

    def _look(self) -> None:
        self.seen |= {thing for thing, _ in wording.visible(self.house, self.scene)}


def _known_tasks(tasks: str | Sequence[str]) -> tuple[str, ...]:
    listed = isinstance(tasks, (str, list, tuple))
    names = tuple(tasks.split("+") if isinstance(tasks, str) else tasks) if listed else ()
    if not names or not all(isinstance(name, str) and name in TASKS for name in names):
        raise UsageError(f"tasks is {tasks!r}; give some of {', '.join(TASKS)}, joined by +")
    return names


def _numbers(games: int | None, first: int, found: int | None) -> range:
    """The numbers of the games that may be drawn."""
    whole_number("first_game", first, 0)
    if games is not None:
        whole_number("games", games, 1)
    if found is None:
        return range(first, first + (games or 500))
    if first >= found:
        raise UsageError(f"first_game is {first}, but only {found} games were found; give a smaller number")
    return range(first, min(found, first + (games or found)))
