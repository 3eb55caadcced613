"""ALFWorld's rooms without its packages: facts, conditions, plans, words and pictures of a small hand-made kitchen."""

import itertools
import sys
from dataclasses import replace

import numpy as np
import pytest

import keepsight.envs
from keepsight.envs.household import engine
from keepsight.envs.household.facts import TREATMENTS, House, Scene, read_house, read_scene
from keepsight.envs.household.goals import TASKS, Goal
from keepsight.envs.household.picture import View, drawn, view
from keepsight.envs.household.planner import first_commands, shortest_plan, successors
from keepsight.envs.household.wording import aliases, prompt, thoughts, visible
from keepsight.errors import KeepsightError

HOLDERS = {"counter": 1, "cabinet": 2, "fridge": 1, "microwave": 1, "sinkbasin": 1}
THINGS = {"mug 1": "cabinet 2", "mug 2": "counter 1", "knife 1": "counter 1", "desklamp 1": "counter 1"}


def kitchen(things=THINGS, *more):
    """The facts of a kitchen in which every receptacle has a place of its own but the sinkbasin, which is at the counter."""
    facts = [("atlocation", "agent1", "loc 9"), ("holdsany", "agent1")]
    names = [f"{kind} {i + 1}" for kind, count in HOLDERS.items() for i in range(count)]
    for name in names:
        kind = name.split()[0]
        facts += [("receptacletype", name, f"{kind}type"), ("receptacleatlocation", name, place(name))]
        facts += [("openable", name)] if kind in ("cabinet", "fridge", "microwave") else []
        facts += [("cancontain", f"{kind}type", "mugtype")]
    facts += [("cancontain", "countertype", "knifetype")]
    for name, holder in things.items():
        kind = name.split()[0]
        facts += [("objecttype", name, f"{kind}type"), ("inreceptacle", name, holder)]
        facts += [("toggleable" if kind == "desklamp" else "pickupable", name)]
        facts += [(able, name) for able, _, _ in TREATMENTS.values() if kind == "mug"]
    return [*facts, *more]


def place(holder):
    return "at counter 1" if holder == "sinkbasin 1" else f"at {holder}"


def goals():
    for task in TASKS:
        lighted = task == "look_at_obj_in_light"
        yield Goal(task, "mug", "" if lighted else "cabinet", "desklamp" if lighted else "")


def world(*more, things=THINGS):
    facts = kitchen(things, *more)
    return read_house(facts), read_scene(facts)


# ---- facts and conditions


def test_facts_become_a_house_and_a_scene():
    house, scene = world(("opened", "cabinet 2"), ("ishot", "mug 1"), ("holds", "agent1", "mug 2"))
    assert house.kind["cabinet 1"] == "cabinet" and house.kind["mug 1"] == "mug"
    assert house.place["sinkbasin 1"] == house.place["counter 1"] == "at counter 1"
    assert house.lamps == {"desklamp 1"} and house.portable == {"mug 1", "mug 2", "knife 1"}
    assert house.able["heat"] == {"mug 1", "mug 2"} and ("counter", "knife") in house.fits
    assert scene.at == "loc 9" and scene.carried == "mug 2" and scene.opened == {"cabinet 2"}
    assert scene.treated == {("heat", "mug 1")} and ("mug 1", "cabinet 2") in scene.inside


@pytest.mark.parametrize(
    ("task", "more", "things", "holding"),
    [
        ("pick_and_place_simple", (), {"mug 1": "counter 1"}, (False,)),
        ("pick_and_place_simple", (), {"mug 1": "cabinet 1"}, (True,)),
        (
            "pick_heat_then_place_in_recep",
            (),
            {"mug 1": "cabinet 1", "mug 2": "counter 1"},
            (True, False, False),
        ),
        (
            "pick_heat_then_place_in_recep",
            [("ishot", "mug 2")],
            {"mug 1": "cabinet 1", "mug 2": "counter 1"},
            (True, True, False),
        ),
        ("pick_heat_then_place_in_recep", [("ishot", "mug 1")], {"mug 1": "cabinet 1"}, (True, True, True)),
        ("pick_cool_then_place_in_recep", [("ishot", "mug 1")], {"mug 1": "cabinet 1"}, (True, False, False)),
        (
            "pick_clean_then_place_in_recep",
            [("isclean", "knife 1")],
            {"knife 1": "cabinet 1"},
            (False, False, False),
        ),
        ("pick_two_obj_and_place", (), {"mug 1": "cabinet 1", "mug 2": "cabinet 2"}, (True, False)),
        ("pick_two_obj_and_place", (), {"mug 1": "cabinet 1", "mug 2": "cabinet 1"}, (True, True)),
        ("look_at_obj_in_light", [("holds", "agent1", "mug 1")], {"desklamp 1": "counter 1"}, (True, False)),
        ("look_at_obj_in_light", [("istoggled", "desklamp 1")], {"desklamp 1": "counter 1"}, (False, False)),
    ],
)
def test_conditions(task, more, things, holding):
    goal = next(each for each in goals() if each.task == task)
    facts = [
        *kitchen(things, *more),
        ("objecttype", "mug 1", "mugtype"),
        ("objecttype", "knife 1", "knifetype"),
    ]
    assert goal.conditions(read_house(facts), read_scene(facts)) == holding


def test_a_lamp_counts_where_the_player_stands():
    goal = next(each for each in goals() if each.task == "look_at_obj_in_light")
    house, scene = world(("istoggled", "desklamp 1"))
    assert goal.conditions(house, scene) == (False, False)
    assert goal.conditions(house, replace(scene, at=place("counter 1"))) == (False, True)


# ---- plans


def everything(house: House, scene: Scene):
    """(command, scene after it) of all commands that change a scene, written down from the PDDL domain."""
    here = [each for each, where in house.place.items() if where == scene.at]
    for holder, where in house.place.items():
        yield f"go to {holder}", replace(scene, at=where)
    for holder in here:
        if holder in house.openable - scene.opened:
            yield f"open {holder}", replace(scene, opened=scene.opened | {holder})
        elif holder in house.openable:
            yield f"close {holder}", replace(scene, opened=scene.opened - {holder})
        is_open = holder not in house.openable or holder in scene.opened
        for thing, inside in scene.inside:
            if inside == holder and is_open and thing in house.portable and scene.carried is None:
                yield (
                    f"take {thing} from {holder}",
                    replace(scene, carried=thing, inside=scene.inside - {(thing, holder)}),
                )
        if (thing := scene.carried) is None:
            continue
        if is_open and (house.kind[holder], house.kind[thing]) in house.fits:
            yield (
                f"move {thing} to {holder}",
                replace(scene, carried=None, inside=scene.inside | {(thing, holder)}),
            )
        for verb, (_, _, kind) in TREATMENTS.items():
            if house.kind[holder] == kind and thing in house.able[verb]:
                lost = {("heat", thing), ("cool", thing)} if verb != "clean" else set()
                yield (
                    f"{verb} {thing} with {holder}",
                    replace(scene, treated=scene.treated - lost | {(verb, thing)}),
                )
    for lamp, holder in scene.inside:
        if lamp in house.lamps and holder in here:
            yield f"use {lamp}", replace(scene, lit=scene.lit | {lamp})


def by_brute_force(house, goal, scene):
    """(length of a shortest plan, commands that begin one), by going through all scenes."""
    level, seen, length = {scene: frozenset()}, {scene}, 0
    while level:
        if done := [firsts for there, firsts in level.items() if all(goal.conditions(house, there))]:
            return length, frozenset().union(*done)
        then = {}
        for there, firsts in level.items():
            for command, after in everything(house, there):
                if after not in seen:
                    then[after] = then.get(after, frozenset()) | (firsts or {command})
        seen |= then.keys()
        level, length = then, length + 1
    return None


@pytest.mark.parametrize("goal", list(goals()), ids=lambda goal: goal.task)
@pytest.mark.parametrize("seed", range(8))
def test_plans_are_shortest_and_all_beginnings_are_found(goal, seed):
    """Against a search through all scenes, after a random beginning of the game."""
    rng = np.random.default_rng(seed)
    mugs = {
        f"mug {n}": ("cabinet 2", "counter 1", "fridge 1", "sinkbasin 1")[int(rng.integers(4))]
        for n in (1, 2)
    }
    house, scene = world(things={**mugs, "knife 1": "counter 1", "desklamp 1": "counter 1"})
    for _ in range(int(rng.integers(40))):
        commands = list(everything(house, scene))
        scene = commands[int(rng.integers(len(commands)))][1]
    if seed % 2 and scene.carried is None:
        scene = replace(scene, carried="knife 1", inside=scene.inside - {("knife 1", "counter 1")})
    length, firsts = by_brute_force(house, goal, scene)
    plan = shortest_plan(house, goal, scene)
    assert len(plan) == length and first_commands(house, goal, scene) == firsts
    for command in plan:
        scene = dict(everything(house, scene))[command]
    assert all(goal.conditions(house, scene))


def test_successors_are_commands_of_the_domain():
    house, scene = world()
    for goal, _ in itertools.product(goals(), range(2)):
        there = scene
        for _ in range(8):
            mine, theirs = dict(successors(house, goal, there)), dict(everything(house, there))
            assert mine.items() <= theirs.items()
            there = mine[sorted(mine)[len(mine) // 2]]


def test_what_cannot_be_won_has_no_plan():
    house, scene = world(things={"knife 1": "counter 1"})
    for goal in goals():
        assert shortest_plan(house, goal, scene) is None and first_commands(house, goal, scene) == frozenset()


# ---- words


def test_the_prompt_is_figure_c10():
    text = prompt(
        "You arrive at loc 0.", "put a cool mug in cabinet", ["look", "go to fridge 1"], with_thoughts=True
    )
    assert text == (
        "Your are an expert in the ALFRED Embodied Environment. You are also given the following text description of the "
        "current scene: ['You arrive at loc 0.']. Your task is to put a cool mug in cabinet. Your admissible actions of the "
        "current situation are: ['look', 'go to fridge 1']. Your response should be a valid json file in the following "
        'format:\n{\n"thoughts": "first describe what do you see in the image using the text description, then carefully '
        'think about which action to complete the task. ",\n"action": "an admissible action"\n}'
    )
    bare = prompt(
        "You arrive at loc 0.", "put a cool mug in cabinet", ["look", "go to fridge 1"], with_thoughts=False
    )
    start = text.index('"thoughts"')
    assert bare == text[:start] + text[text.index('"action"') :]


def test_old_words_for_commands():
    commands = [
        "move mug 1 to cabinet 2",
        "use desklamp 1",
        "go to fridge 1",
        "look",
        "heat mug 1 with microwave 1",
    ]
    assert aliases(commands) == {
        "put mug 1 in/on cabinet 2": "move mug 1 to cabinet 2",
        "put mug 1 in cabinet 2": "move mug 1 to cabinet 2",
        "put mug 1 on cabinet 2": "move mug 1 to cabinet 2",
        "toggle desklamp 1": "use desklamp 1",
        "goto fridge 1": "go to fridge 1",
    }


def test_thoughts_do_not_tell_what_was_not_seen():
    house, scene = world(things={"mug 1": "cabinet 2", "desklamp 1": "counter 1"})
    for goal in goals():
        if plan := shortest_plan(house, goal, scene):
            blind = thoughts(house, goal, scene, "do it", plan, frozenset())
            assert "mug 1" not in blind and plan[0] in blind and "do it" in blind
            assert "mug 1" in thoughts(house, goal, scene, "do it", plan, frozenset({"mug 1"}))


# ---- pictures


def test_a_picture_shows_what_can_be_seen_and_no_more():
    house, scene = world()
    there = replace(scene, at=place("cabinet 2"))
    assert visible(house, there) == [] and "mug" not in str(view(house, there))
    opened = replace(there, opened=frozenset({"cabinet 2"}), treated=frozenset({("cool", "mug 1")}))
    assert view(house, opened) == View((("cabinet 2", "open", ("mug 1 (cool)",)),))
    assert [each for each, *_ in view(house, replace(scene, at=place("counter 1"))).holders] == [
        "counter 1",
        "sinkbasin 1",
    ]
    assert view(house, scene).holders == () and set(view(house, scene).around) == set(house.place)


def test_different_views_are_different_pictures():
    things = tuple(f"saltshaker {i}" for i in range(60))
    views = [
        View((("cabinet 2", state, things[:n]),), carried, ())
        for state, n, carried in itertools.product(("open", ""), (0, 1, 7, 30, 60), ("", "mug 1"))
    ]
    views += [View((("cabinet 2", "open", ("egg 1", *things[1:])),))]
    views += [View((("cabinet 2", "closed", ()),)), View((), "", things[:40]), View(())]
    pictures = [drawn(each) for each in views]
    assert all(each.shape == (300, 300, 3) and each.dtype == np.uint8 for each in pictures)
    assert len({each.tobytes() for each in pictures}) == len(views)
    foot = {each[280:].tobytes() for each in pictures}
    assert len(foot) == 1 and len(np.unique(pictures[0][280:])) > 10, (
        "the label that says what kind of picture it is"
    )


# ---- without the packages


def test_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "textworld", None)
    monkeypatch.setitem(sys.modules, "alfworld", None)
    engine._package.cache_clear()
    try:
        with pytest.raises(KeepsightError, match=r"pip install 'keepsight\[text-env\]'"):
            keepsight.envs.make("alfworld")
    finally:
        engine._package.cache_clear()
