"""Scenes: the facts are what the pixels show, and every question's answer follows from the facts."""

from itertools import combinations
from random import Random

import numpy as np
import pytest

from keepsight.data.drawn import SETS
from keepsight.data.drawn.outlines import FACING_KINDS, KINDS
from keepsight.data.drawn.palette import COLOURS
from keepsight.data.drawn.scenes import PLACES, name_of, relation

SCENES = SETS["scenes"].test(150)
every_scene = pytest.mark.parametrize("scene", SCENES[:60], ids=lambda s: s.id)


def test_there_are_enough_kinds():
    assert len(KINDS) >= 12 and len(set(KINDS)) == len(KINDS)


@every_scene
def test_something_of_the_named_colour_stands_in_every_box_and_nothing_outside(scene):
    pixels = scene.pixels.astype(int)
    empty = np.ones(pixels.shape[:2], bool)
    ground = np.median(pixels.reshape(-1, 3), axis=0)
    for thing in scene.facts["objects"]:
        x0, y0, x1, y1 = thing["box"]
        assert 0 <= x0 < x1 <= 48 and 0 <= y0 < y1 <= 48
        inside = pixels[y0:y1, x0:x1].reshape(-1, 3)
        near = np.abs(inside - np.array(COLOURS[thing["colour"]])).max(axis=1) <= 12 + 6 + 1
        assert near.mean() > 0.15
        empty[y0:y1, x0:x1] = False
    if len(scene.facts["objects"]) < 3:
        assert np.abs(pixels[empty] - ground).max() <= 13  # noise of +-6 round the ground


@every_scene
def test_count_size_place_and_facing_are_consistent(scene):
    objects = scene.facts["objects"]
    assert scene.label == ("one", "two", "three", "four")[len(objects) - 1]
    assert len({(o["row"], o["col"]) for o in objects}) == len(objects)
    for thing in objects:
        x0, y0, x1, y1 = thing["box"]
        assert (y0 + y1) / 2 // 24 == thing["row"] and (x0 + x1) / 2 // 24 == thing["col"]
        assert max(x1 - x0, y1 - y0) > 15 if thing["size"] == "large" else max(x1 - x0, y1 - y0) <= 15
        assert (thing["facing"] in ("left", "right")) == (thing["kind"] in FACING_KINDS)


def test_facing_mirrors_the_outline():
    from keepsight.data.drawn.scenes import _stencil

    for kind in FACING_KINDS:
        right, left = (_stencil(kind, "large", facing)[0] for facing in ("right", "left"))
        assert np.abs(right - left[:, ::-1]).max() <= 4 and not np.array_equal(right, left)


@every_scene
def test_answers_follow_from_the_facts(scene):
    objects = scene.facts["objects"]
    kinds, names = {o["kind"] for o in objects}, {name_of(o) for o in objects}
    by_kind = {o["kind"]: o for o in objects}
    for question in SETS["scenes"].questions(scene, Random(scene.id)):
        words = question.prompt.rstrip("?").split()
        if question.kind == "yes/no":
            thing = " ".join(words[3:-3])
            assert (thing in kinds | names) == (question.answer == "Yes"), question
        elif question.kind == "colour":
            assert by_kind[words[-1]]["colour"] == question.answer
        elif question.kind == "where":
            thing = by_kind[words[-1]]
            assert PLACES[thing["row"], thing["col"]] == question.answer
        elif question.kind == "relation":
            first, second = by_kind[words[2]], by_kind[words[-1]]
            assert (" ".join(words[3:-2]) in relation(first, second)) == (question.answer == "Yes")
        elif question.kind == "caption":
            assert all(name in question.answer for name in names)


def test_relations_are_opposites():
    opposite = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
    for scene in SCENES:
        for first, second in combinations(scene.facts["objects"], 2):
            assert (
                sorted(relation(second, first)) == sorted(opposite[w] for w in relation(first, second)) != []
            )
