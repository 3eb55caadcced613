"""What the player is told and may write: the prompt, an expert's thoughts, other words for a command.

Source: Zhai, dissertation, figures C.10 (prompt) and C.23 (answers), appendix C.1 (the commands' old forms).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from keepsight.envs.household.facts import House, Scene
from keepsight.envs.household.goals import Goal

__all__ = ["aliases", "prompt", "thoughts", "visible"]

# Figure C.10, "Your are" included. The line of thought is left out where no chain of thought is asked for.
_PROMPT = (
    "Your are an expert in the ALFRED Embodied Environment. You are also given the following text description of the current "
    "scene: {scene}. Your task is to {task}. Your admissible actions of the current situation are: {admissible}. Your response "
    "should be a valid json file in the following format:\n"
)
_THOUGHTS = (
    '"thoughts": "first describe what do you see in the image using the text description, then carefully think about which '
    'action to complete the task. ",\n'
)
_ACTION = '"action": "an admissible action"\n'
_MOVE = re.compile(r"move (.+) to (.+)")
_STATES = {"clean": "clean", "heat": "hot", "cool": "cool"}


def prompt(scene: str, task: str, admissible: Sequence[str], *, with_thoughts: bool) -> str:
    """Figure C.10 for a scene's text, a task's sentence and the admissible commands."""
    asked = _PROMPT.format(scene=[scene], task=task, admissible=list(admissible))
    return asked + "{\n" + (_THOUGHTS if with_thoughts else "") + _ACTION + "}"


def aliases(commands: Sequence[str]) -> Mapping[str, str]:
    """Other words for `commands`: the forms that the dissertation prints and ALFWorld had before its version 0.4."""
    found: dict[str, str] = {}
    for command in commands:
        verb, _, rest = command.partition(" ")
        if moved := _MOVE.fullmatch(command):
            thing, holder = moved.groups()
            found |= {f"put {thing} {where} {holder}": command for where in ("in/on", "in", "on")}
        elif verb == "use":
            found[f"toggle {rest}"] = command
        elif command.startswith("go to "):
            found[f"goto {command.removeprefix('go to ')}"] = command
    return found


def visible(house: House, scene: Scene) -> list[tuple[str, str]]:
    """(object, receptacle) of what can be seen from where the player stands, in the alphabet's order."""
    shut = house.openable - scene.opened
    return sorted((t, h) for t, h in scene.inside if house.place.get(h) == scene.at and h not in shut)


def thoughts(
    house: House, goal: Goal, scene: Scene, task: str, plan: Sequence[str], seen: frozenset[str]
) -> str:
    """An expert's reasons for `plan[0]`, as in figure C.23: what is there, what is asked, what is to be done.

    Args:
        plan: the commands that remain, at least one.
        seen: objects that have come into sight so far. Where the others are is not told.
    """
    sentences = [
        f"Based on the text description, I am {_standing(house, scene)}.",
        *_sights(house, scene),
        *([f"I am carrying the {scene.carried}."] if scene.carried else []),
        f"My task is to {task}. {_reason(house, goal, plan, seen)}, so I should {plan[0]}.",
    ]
    return " ".join(sentences)


def _standing(house: House, scene: Scene) -> str:
    here = sorted(holder for holder, place in house.place.items() if place == scene.at)
    if not here:
        return "in the middle of the room"
    states = {holder: "an open " if holder in scene.opened else "a closed " for holder in house.openable}
    return "in front of " + _listed([f"{states.get(each, 'the ')}{each}" for each in here])


def _sights(house: House, scene: Scene) -> list[str]:
    sights = [f"the {thing}" for thing, _ in visible(house, scene)]
    return [f"I can see {_listed(sights)}."] if sights else []


def _reason(house: House, goal: Goal, plan: Sequence[str], seen: frozenset[str]) -> str:
    step = next((each for each in plan if not each.startswith(("go to ", "open "))), None)
    if step is None:
        return f"The {goal.lamp} is on already"
    verb, _, rest = step.partition(" ")
    if verb == "use":
        return f"The {rest} must be turned on"
    thing, _, holder = re.split(r" (from|to|with) ", rest)
    if verb == "move":
        if house.kind[thing] == goal.thing and house.kind[holder] == goal.holder:
            return f"The {thing} is to be put into or on the {holder}"
        return "My hands must be free"
    if verb in _STATES:
        return f"The {thing} is not {_STATES[verb]} yet, and that is what the {holder} is for"
    if thing in seen:
        return f"I need the {thing}, which I have seen at the {holder}"
    return f"I still look for one {house.kind[thing]} and have not seen all that is at the {holder}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
