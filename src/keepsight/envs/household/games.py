"""Our own games: a room is drawn, a task for it, and the problem written in ALFWorld's PDDL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from keepsight.envs.household.engine import need_packages
from keepsight.envs.household.facts import TREATMENTS, Fact, read_house, read_scene
from keepsight.envs.household.goals import TASKS, Goal
from keepsight.envs.household.planner import shortest_plan
from keepsight.envs.household.rooms import LAMP, LAMP_STANDS, ROOMS
from keepsight.errors import KeepsightError

__all__ = ["Game", "draw_game", "sentences"]

_DRAWS = 100  # of a room for one game; almost every room serves
_PROBLEM = """\
(define (problem {name})
(:domain alfred)
(:objects
{objects}
)
(:init
{init}
)
{goal}
"""


@dataclass(frozen=True)
class Game:
    """A game as ALFWorld's files have it. Names are ALFRED's ("Mug"), empty where the task has none."""

    name: str  # <task>-<object>-None-<receptacle>-<scene>/trial_<id>, as the folders are called
    task: str  # of goals.TASKS
    thing: str
    holder: str
    lamp: str
    problem: str  # PDDL

    @property
    def goal(self) -> Goal:
        """The task, in the engine's words."""
        return Goal(self.task, self.thing.lower(), self.holder.lower(), self.lamp.lower())


def sentences(goal: Goal) -> tuple[str, ...]:
    """ALFWorld's wordings of a task ("put a cool mug in cabinet")."""
    need_packages()
    from alfworld.gen.goal_library import gdict

    templates: Sequence[str] = gdict[goal.task]["templates"]
    return tuple(each.format(obj=goal.thing, recep=goal.holder, toggle=goal.lamp) for each in templates)


@lru_cache(maxsize=512)
def draw_game(number: int, tasks: tuple[str, ...] = tuple(TASKS)) -> Game:
    """The game of that number; its task is number modulo `len(tasks)`.

    The room, what stands and lies in it and the wanted object are drawn from a generator that the number seeds. Wanted
    objects lie elsewhere than the task wants them, and a plan is searched for: every game can be won.
    """
    need_packages()
    rng = np.random.default_rng(number)
    task = tasks[number % len(tasks)]
    for _ in range(_DRAWS):
        draft = _Draft(rng, task)
        if draft.possible and (game := draft.game(number)) is not None:
            return game
    raise KeepsightError(f"no room was found for game {number} ({task}); take another number")


class _Draft:
    """A room while it is furnished."""

    def __init__(self, rng: np.random.Generator, task: str) -> None:
        from alfworld.gen.constants import GOALS_VALID

        self.rng, self.task = rng, task
        self.room = _one_of(rng, sorted(GOALS_VALID[task] & ROOMS.keys()))
        self.holders = [
            kind
            for kind, (least, most) in ROOMS[self.room].receptacles.items()
            for _ in range(int(rng.integers(least, most + 1)))
        ]
        self.lying: list[tuple[str, int]] = []  # (kind of object, number of receptacle)
        pairs = self._pairs()
        self.possible = bool(pairs)
        if pairs:
            self.thing, self.holder = pairs[int(rng.integers(len(pairs)))]
            self._furnish()

    def _pairs(self) -> list[tuple[str, str]]:
        """(object, receptacle) that the task may name; the receptacle is empty under a lamp."""
        verb = TASKS[self.task]
        things = [each for each in ROOMS[self.room].objects if verb is None or each in _can(verb)]
        if self.task == "look_at_obj_in_light":
            return [(each, "") for each in things if len(self._places(each)) > 0]
        kinds = sorted(set(self.holders))
        pairs = [(each, kind) for each in things for kind in kinds if each in _fit()[kind]]
        return [(each, kind) for each, kind in pairs if any(k != kind for k in self._kinds_for(each))]

    def _furnish(self) -> None:
        """Lays down the wanted objects, away from where they are wanted, then others."""
        wanted = (
            int(self.rng.integers(2, 4))
            if self.task == "pick_two_obj_and_place"
            else int(self.rng.integers(1, 3))
        )
        for _ in range(wanted):
            self._lay(self.thing, away_from=self.holder)
        others = [each for each in ROOMS[self.room].objects if each != self.thing and self._places(each)]
        for _ in range(int(self.rng.integers(6, 13))):
            self._lay(_one_of(self.rng, others))
        stands = [i for i, kind in enumerate(self.holders) if kind in LAMP_STANDS]
        if stands:
            self.lying.append((LAMP, stands[int(self.rng.integers(len(stands)))]))

    def _lay(self, thing: str, away_from: str = "") -> None:
        places = [i for i in self._places(thing) if self.holders[i] != away_from]
        self.lying.append((thing, places[int(self.rng.integers(len(places)))]))

    def _places(self, thing: str) -> list[int]:
        return [i for i, kind in enumerate(self.holders) if thing in _fit()[kind]]

    def _kinds_for(self, thing: str) -> set[str]:
        return {self.holders[i] for i in self._places(thing)}

    def game(self, number: int) -> Game | None:
        """The game, if it can be won."""
        lamp = LAMP if self.task == "look_at_obj_in_light" else ""
        name = f"{self.task}-{self.thing}-None-{self.holder or LAMP}-{1000 + number}/trial_{number:09d}"
        facts, objects = self._facts()
        game = Game(
            name, self.task, self.thing, self.holder, lamp, _problem(name, facts, objects, lamp, self)
        )
        lower = [tuple(word.lower() for word in fact) for fact in facts]
        return None if shortest_plan(read_house(lower), game.goal, read_scene(lower)) is None else game

    def _facts(self) -> tuple[list[Fact], list[tuple[str, str]]]:
        """What holds at first, and (name, type) of everything."""
        spots = self.rng.permutation(200)  # coordinates in steps of 25 cm, each taken once
        ids = [
            _id(kind, int(spot)) for kind, spot in zip([*self.holders, *(k for k, _ in self.lying)], spots)
        ]
        holders, things = ids[: len(self.holders)], ids[len(self.holders) :]
        places = [f"loc_bar_{i}_bar_0_bar_0_bar_0" for i in range(len(holders) + 1)]
        facts: list[Fact] = [("atLocation", "agent1", places[-1])]
        for holder, kind, place in zip(holders, self.holders, places):
            facts += [("receptacleType", holder, f"{kind}Type"), ("receptacleAtLocation", holder, place)]
            facts += [("openable", holder)] if kind in _openable() else []
        for thing, (kind, where) in zip(things, self.lying):
            facts += [("objectType", thing, f"{kind}Type"), ("inReceptacle", thing, holders[where])]
            facts += [("objectAtLocation", thing, places[where])]
            facts += [("toggleable" if kind == LAMP else "pickupable", thing)]
            facts += [(able, thing) for verb, (able, _, _) in TREATMENTS.items() if kind in _can(verb)]
        kinds, lying = sorted(set(self.holders)), sorted({kind for kind, _ in self.lying})
        facts += [("canContain", f"{h}Type", f"{t}Type") for h in kinds for t in lying if t in _fit()[h]]
        objects = [("agent1", "agent"), *((each, "location") for each in places)]
        objects += [*((each, "receptacle") for each in holders), *((each, "object") for each in things)]
        objects += [
            *((f"{each}Type", "rtype") for each in kinds),
            *((f"{each}Type", "otype") for each in lying),
        ]
        return facts, objects


def _problem(
    name: str, facts: Sequence[Fact], objects: Sequence[tuple[str, str]], lamp: str, draft: _Draft
) -> str:
    from alfworld.gen.goal_library import gdict

    goal = gdict[draft.task]["pddl"].format(obj=draft.thing, recep=draft.holder, toggle=lamp)
    return _PROBLEM.format(
        name="plan_" + name.rpartition("_")[2],
        objects="\n".join(f"{each} - {kind}" for each, kind in objects),
        init="\n".join(f"({' '.join(fact)})" for fact in facts),
        goal=goal.replace("#", "-").strip(),
    )


def _id(kind: str, spot: int) -> str:
    """An id as ALFWorld's files have them: kind and coordinates. A basin's has both its kinds."""
    x, z = divmod(spot, 20)
    where = f"_bar__plus_{x:02d}_dot_00_bar__plus_00_dot_90_bar__minus_{z // 4:02d}_dot_{z % 4 * 25:02d}"
    outer = kind.removesuffix("Basin")
    return f"{outer}{where}" + (f"_bar_{kind}" if outer != kind else "")


def _one_of(rng: np.random.Generator, words: Sequence[str]) -> str:
    return words[int(rng.integers(len(words)))]


def _fit() -> Mapping[str, Any]:
    from alfworld.gen.constants import VAL_RECEPTACLE_OBJECTS

    return VAL_RECEPTACLE_OBJECTS


def _can(verb: str) -> Any:
    from alfworld.gen.constants import VAL_ACTION_OBJECTS

    return VAL_ACTION_OBJECTS[f"{verb.capitalize()}able"]


def _openable() -> Any:
    from alfworld.gen.constants import OPENABLE_CLASS_SET

    return OPENABLE_CLASS_SET
