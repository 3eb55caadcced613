"""Scene questions are balanced, true, hard where they should be, and clustered by picture."""

from collections import Counter

import pytest

from keepsight.data.drawn import SETS
from keepsight.tasks.scenes import objects_in_scenes, polling_scenes
from keepsight.types import Output


@pytest.fixture(scope="module")
def scenes():
    return {scene.id: scene.facts["objects"] for scene in SETS["scenes"].test(60)}


@pytest.fixture(scope="module")
def polls():
    return polling_scenes(n=60).test()


def test_yes_and_no_are_balanced_per_picture_and_kind_of_question(polls):
    assert len(polls) == 240 and len({s.id for s in polls}) == 240
    for picture in {s.cluster for s in polls}:
        asked = [s for s in polls if s.cluster == picture]
        assert Counter((s.meta["asked"], s.target[0]) for s in asked) == dict.fromkeys(
            [(what, answer) for what in ("kind", "colour and kind") for answer in ("Yes", "No")], 1
        )
    assert len({s.cluster for s in polls}) == 60


def test_answers_are_true(polls, scenes):
    for sample in polls:
        objects = scenes[sample.id.rpartition("/")[0]]
        named = {thing["kind"] for thing in objects} | {
            f"{thing['colour']} {thing['kind']}" for thing in objects
        }
        assert (sample.meta["thing"] in named) == (sample.target[0] == "Yes"), sample
        assert sample.meta["thing"] in sample.prompt


def test_most_absent_pairs_are_made_of_parts_that_are_there(polls, scenes):
    hard = possible = 0
    for sample in polls:
        objects = scenes[sample.id.rpartition("/")[0]]
        if sample.meta["asked"] == "kind" or sample.target[0] == "Yes":
            continue
        colour, kind = sample.meta["thing"].split()
        assert kind in {thing["kind"] for thing in objects}
        if len({thing["colour"] for thing in objects}) > 1 and len({thing["kind"] for thing in objects}) > 1:
            possible += 1
            hard += colour in {thing["colour"] for thing in objects}
    assert hard == possible > 20


def test_polls_are_the_same_every_time_and_follow_the_seed(polls):
    assert [s.digest() for s in polling_scenes(n=60).test()] == [s.digest() for s in polls]
    assert [s.prompt for s in polling_scenes(n=60, seed=1).test()] != [s.prompt for s in polls]


def test_polling_figures(polls):
    task = polling_scenes()
    scores = task.score(polls, [Output("Yes.")] * len(polls))
    figures = {m.name: m.value for m in (metric(polls, scores) for metric in task.metrics)}
    assert figures == {"accuracy": 0.5, "yes_ratio": 1.0, "unparsed_share": 0.0}


def test_captions_are_scored_for_what_they_name_and_what_they_make_up(scenes):
    task = objects_in_scenes(n=60)
    samples = task.test()
    assert all(set(s.target) == {t["kind"] for t in scenes[s.id]} for s in samples)
    right = [Output(" and ".join(f"a {kind}" for kind in s.target)) for s in samples]
    scores = task.score(samples, right)
    assert [metric(samples, scores).value for metric in task.metrics] == [1.0, 0.0, 0.0]
    wrong = task.score(samples, [Output("a cup, a flag, a moon and a house")] * 60)
    recall, made_up, _ = (metric(samples, wrong) for metric in task.metrics)
    assert (recall.name, made_up.name) == ("object_recall", "hallucinating_captions")
    assert 0 < recall.value < 0.6 and made_up.value > 0.9
