"""The six kinds of task: what each asks for, and which of its conditions hold (Shridhar et al., ALFWorld, section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from keepsight.envs.household.facts import House, Scene

__all__ = ["TASKS", "Goal"]

# ALFRED's names, in ALFWorld's order -> the verb of facts.TREATMENTS that the object needs first
TASKS: Mapping[str, str | None] = {
    "pick_and_place_simple": None,
    "look_at_obj_in_light": None,
    "pick_clean_then_place_in_recep": "clean",
    "pick_heat_then_place_in_recep": "heat",
    "pick_cool_then_place_in_recep": "cool",
    "pick_two_obj_and_place": None,
}


@dataclass(frozen=True)
class Goal:
    """A task with its objects. Kinds are bare words in lower case ("mug")."""

    task: str  # of TASKS
    thing: str  # kind of object
    holder: str = ""  # kind of receptacle; none under a lamp
    lamp: str = ""  # kind of lamp; only under a lamp

    @property
    def treatment(self) -> str | None:
        """What must be done to the object before it is put down."""
        return TASKS[self.task]

    def conditions(self, house: House, scene: Scene) -> tuple[bool, ...]:
        """Which conditions hold: one for a simple task, two for two objects or a lamp, three where something is treated.

        They are those of ALFWorld's `goal_conditions_met`, computed from facts; all of them hold exactly when the task is
        done.
        """
        if self.task == "look_at_obj_in_light":
            return self._held(house, scene), self._under_light(house, scene)
        placed = self._placed(house, scene)
        if self.task == "pick_two_obj_and_place":
            most = max((len(things) for things in placed.values()), default=0)
            return most >= 1, most >= 2
        there = set().union(*placed.values())
        if self.treatment is None:
            return (bool(there),)
        done = {
            name for verb, name in scene.treated if verb == self.treatment and house.kind[name] == self.thing
        }
        return bool(there), bool(done), bool(there & done)

    def _placed(self, house: House, scene: Scene) -> dict[str, set[str]]:
        """Receptacle of the wanted kind -> wanted objects in it."""
        placed: dict[str, set[str]] = {}
        for thing, holder in scene.inside:
            if house.kind[thing] == self.thing and house.kind[holder] == self.holder:
                placed.setdefault(holder, set()).add(thing)
        return placed

    def _held(self, house: House, scene: Scene) -> bool:
        return scene.carried is not None and house.kind[scene.carried] == self.thing

    def _under_light(self, house: House, scene: Scene) -> bool:
        lit = {lamp for lamp in scene.lit & house.lamps if house.kind[lamp] == self.lamp}
        return any(thing in lit and house.place[holder] == scene.at for thing, holder in scene.inside)
