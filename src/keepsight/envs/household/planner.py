"""Shortest plans: which commands bring a task to its end soonest, by one who knows where everything is.

The search deepens: for bound = estimate, estimate + 1, ... it goes through the scenes level by level (every command costs
one) and drops a scene when commands so far + `estimate` exceed the bound. The estimate is never too large, so the first
bound at which the goal is met is the length of a shortest plan, and the level-by-level search has met all of them.

Only commands that can stand in a shortest plan are tried (`successors`): going to, opening and taking from where a wanted
object lies; going to what treats it; putting down what is carried; going to a lamp and using it. Opening what holds
nothing wanted, closing, looking and examining bring no scene nearer to a goal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations

from keepsight.envs.household.facts import TREATMENTS, House, Scene
from keepsight.envs.household.goals import Goal

__all__ = ["estimate", "first_commands", "shortest_plan", "successors"]

_SLACK = 8  # commands beyond the estimate after which a plan is given up
_Reached = dict[
    Scene, tuple[frozenset[str], tuple[str, ...]]
]  # scene -> (first commands of ways there, one such way)


def shortest_plan(house: House, goal: Goal, scene: Scene) -> tuple[str, ...] | None:
    """The commands of a shortest plan, the first in the alphabet among equals; None where none is found."""
    found = _search(house, goal, scene)
    return None if found is None else found[1]


def first_commands(house: House, goal: Goal, scene: Scene) -> frozenset[str]:
    """The commands that begin a shortest plan; empty where there is none, or where nothing is left to do."""
    found = _search(house, goal, scene)
    return frozenset() if found is None else found[0]


def _search(house: House, goal: Goal, scene: Scene) -> tuple[frozenset[str], tuple[str, ...]] | None:
    least = estimate(house, goal, scene)
    if least is None:
        return None
    for bound in range(least, least + _SLACK + 1):
        if (found := _within(house, goal, scene, bound)) is not None:
            return found
    return None


def _within(
    house: House, goal: Goal, scene: Scene, bound: int
) -> tuple[frozenset[str], tuple[str, ...]] | None:
    """First commands of all plans of exactly `bound` commands, if no plan is shorter, and one such plan."""
    reached: _Reached = {scene: (frozenset(), ())}
    seen = {scene}
    for left in range(bound, 0, -1):
        done = [ways for there, ways in reached.items() if all(goal.conditions(house, there))]
        if done:
            return _merged(done)
        reached = _next_level(house, goal, reached, left - 1, seen)
        seen.update(reached)
    done = [ways for there, ways in reached.items() if all(goal.conditions(house, there))]
    return _merged(done) if done else None


def _next_level(house: House, goal: Goal, reached: _Reached, left: int, seen: set[Scene]) -> _Reached:
    """The scenes one command further from which the goal may be `left` commands away."""
    level: _Reached = {}
    for there, (firsts, way) in reached.items():
        for command, then in successors(house, goal, there):
            if then in seen:
                continue
            more = estimate(house, goal, then)
            if more is None or more > left:
                continue
            ways = [(firsts or frozenset({command}), (*way, command))]
            level[then] = _merged([*ways, level[then]] if then in level else ways)
    return level


def _merged(ways: list[tuple[frozenset[str], tuple[str, ...]]]) -> tuple[frozenset[str], tuple[str, ...]]:
    return frozenset().union(*(firsts for firsts, _ in ways)), min(way for _, way in ways)


def successors(house: House, goal: Goal, scene: Scene) -> Iterator[tuple[str, Scene]]:
    """(command, scene after it) of every admissible command that may begin a shortest plan."""
    yield from _journeys(house, goal, scene)
    here = [each for each, place in house.place.items() if place == scene.at]
    for holder in here:
        if _is_shut(house, scene, holder):
            yield f"open {holder}", replace(scene, opened=scene.opened | {holder})
    if scene.carried is None:
        yield from _takings(house, goal, scene)
    else:
        yield from _uses_of_the_carried(house, goal, scene, scene.carried, here)
    for lamp, holder in scene.inside:
        if _is_lamp(house, goal, lamp) and holder in here:
            yield f"use {lamp}", replace(scene, lit=scene.lit | {lamp})


def _journeys(house: House, goal: Goal, scene: Scene) -> Iterator[tuple[str, Scene]]:
    wanted = {holder for thing, holder in scene.inside if _is_wanted(house, goal, thing, holder)}
    wanted |= {holder for thing, holder in scene.inside if _is_lamp(house, goal, thing)}
    if scene.carried is not None:
        kind = house.kind[scene.carried]
        wanted |= {each for each in house.place if (house.kind[each], kind) in house.fits}
        if goal.treatment:
            wanted |= {each for each in house.place if house.kind[each] == TREATMENTS[goal.treatment][2]}
    places = {house.place[holder] for holder in wanted if holder in house.place} - {scene.at}
    for holder, place in house.place.items():  # several receptacles may stand in one place
        if place in places:
            yield f"go to {holder}", replace(scene, at=place)


def _takings(house: House, goal: Goal, scene: Scene) -> Iterator[tuple[str, Scene]]:
    for thing, holder in scene.inside:
        reachable = house.place.get(holder) == scene.at and not _is_shut(house, scene, holder)
        if reachable and _is_wanted(house, goal, thing, holder):
            yield (
                f"take {thing} from {holder}",
                replace(scene, carried=thing, inside=scene.inside - {(thing, holder)}),
            )


def _uses_of_the_carried(
    house: House, goal: Goal, scene: Scene, thing: str, here: list[str]
) -> Iterator[tuple[str, Scene]]:
    for holder in here:
        if (house.kind[holder], house.kind[thing]) in house.fits and not _is_shut(house, scene, holder):
            inside = scene.inside | {(thing, holder)}
            yield f"move {thing} to {holder}", replace(scene, carried=None, inside=inside)
        verb = goal.treatment
        if verb and thing in house.able[verb] and house.kind[holder] == TREATMENTS[verb][2]:
            undone = {"heat": {("cool", thing)}, "cool": {("heat", thing)}}.get(verb, set())
            yield (
                f"{verb} {thing} with {holder}",
                replace(scene, treated=scene.treated - undone | {(verb, thing)}),
            )


def estimate(house: House, goal: Goal, scene: Scene) -> int | None:
    """At least how many commands are missing to the goal; None where no object can ever meet it."""
    if all(goal.conditions(house, scene)):
        return 0
    ways = {
        "look_at_obj_in_light": _to_light,
        "pick_two_obj_and_place": _to_two,
    }.get(goal.task, _to_one)
    return min(ways(house, goal, scene), default=None)


def _to_one(house: House, goal: Goal, scene: Scene) -> Iterator[int]:
    """Fetch, treat, put down: for each object, each thing that treats it and each receptacle of the wanted kind."""
    verb = goal.treatment
    for thing, fetched in _fetches(house, goal, scene):
        untreated = verb is not None and (verb, thing) not in scene.treated
        if verb is not None and untreated and thing not in house.able[verb]:
            continue
        for means in _of_kind(house, TREATMENTS[verb][2]) if verb is not None and untreated else [None]:
            for end in _ends(house, goal):
                stops = [*fetched, *([house.place[means]] if means else []), house.place[end]]
                shut = {*_holder_of(scene, thing), end}
                yield _cost(house, scene, thing, stops, shut) + untreated + 1


def _to_light(house: House, goal: Goal, scene: Scene) -> Iterator[int]:
    """Fetch, go to a lamp, use it where it was not used."""
    lamps = [each for each in scene.inside if _is_lamp(house, goal, each[0]) and each[1] in house.place]
    for thing, fetched in _fetches(house, goal, scene):
        for lamp, holder in lamps:
            stops = [*fetched, house.place[holder]]
            yield _cost(house, scene, thing, stops, {*_holder_of(scene, thing)}) + (lamp not in scene.lit)


def _to_two(house: House, goal: Goal, scene: Scene) -> Iterator[int]:
    """Fetch and put down what is missing of two, in the best order, for each receptacle of the wanted kind."""
    fetches = _fetches(house, goal, scene)
    for end in _ends(house, goal):
        there = {thing for thing, holder in scene.inside if holder == end}
        others = [(thing, fetched) for thing, fetched in fetches if thing not in there]
        missing = 2 - sum(house.kind[thing] == goal.thing for thing in there)
        for order in permutations(others, missing):
            if any(thing == scene.carried for thing, _ in order[1:]):
                continue
            stops = [stop for _, fetched in order for stop in (*fetched, house.place[end])]
            shut = {end}.union(*(_holder_of(scene, thing) for thing, _ in order))
            yield _cost(house, scene, order[0][0], stops, shut) + missing + max(0, missing - 1)


def _fetches(house: House, goal: Goal, scene: Scene) -> list[tuple[str, list[str]]]:
    """(wanted object, the place to fetch it from: none if it is carried)."""
    found = [
        (thing, [house.place[holder]])
        for thing, holder in scene.inside
        if house.kind[thing] == goal.thing and thing in house.portable and holder in house.place
    ]
    if scene.carried is not None and house.kind[scene.carried] == goal.thing:
        found.append((scene.carried, []))
    return found


def _cost(house: House, scene: Scene, first: str, stops: list[str], shut: set[str]) -> int:
    """Commands to take `first`, to go to the `stops` in turn and to open what is shut."""
    taking = 0 if scene.carried == first else 1 if scene.carried is None else 2  # put down, take
    journeys = sum(before != after for before, after in zip([scene.at, *stops], stops))
    return taking + journeys + sum(_is_shut(house, scene, holder) for holder in shut)


def _ends(house: House, goal: Goal) -> list[str]:
    return _of_kind(house, goal.holder) if (goal.holder, goal.thing) in house.fits else []


def _of_kind(house: House, kind: str) -> list[str]:
    return [each for each in house.place if house.kind[each] == kind]


def _holder_of(scene: Scene, thing: str) -> list[str]:
    return [holder for each, holder in scene.inside if each == thing]


def _is_shut(house: House, scene: Scene, holder: str) -> bool:
    return holder in house.openable and holder not in scene.opened


def _is_wanted(house: House, goal: Goal, thing: str, holder: str) -> bool:
    return house.kind[thing] == goal.thing and thing in house.portable and holder in house.place


def _is_lamp(house: House, goal: Goal, thing: str) -> bool:
    return bool(goal.lamp) and thing in house.lamps and house.kind[thing] == goal.lamp
