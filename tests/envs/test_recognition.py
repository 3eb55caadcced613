"""One rule of recognition in every environment that checks it: right, wrong and unstated are three outcomes of all answers."""

import json

import pytest

from keepsight import envs
from keepsight.envs import ENVS
from keepsight.errors import UsageError
from keepsight.scoring.episodes import Recognition, UnstatedRate
from keepsight.tasks import get
from keepsight.types import Output, Record, Sample, Score
from tests.envs.small import QUICK

# environment -> arguments with which it asks what is seen, the field, and an answer to it that is never right
CHECKED = {
    "ezpoints": ({}, "cards", [1, 1]),
    "points24": ({}, "cards", ["K", "K", "K", "K"]),
    "generalpoints": ({"vision": True}, "cards", ["9", "9", "9", "9"]),
    "virl": ({}, "current observation", "an intersection, or no intersection"),
    "virl with pictures": ({"vision": True}, "current observation", "an intersection, or no intersection"),
}
SOLVABLE = 5  # not every hand of Points24 is
NOTHING = [None, [], ""]  # a field that is there and says nothing


def made(case):
    name = case.split()[0]
    env = envs.make(name, **{**QUICK.get(name, {}), **CHECKED[case][0]})
    env.reset(seed=SOLVABLE)
    return env


def said(env, field, value):
    return json.dumps({**json.loads(env.expert()), field: value})


def unstated(env, field):
    """Answers that do not state what is seen in the form that is asked for."""
    without = {name: value for name, value in json.loads(env.expert()).items() if name != field}
    texts = ["", "no idea", json.dumps(without), json.dumps({**without, "thoughts": "I see them well"})]
    return [*texts, *(said(env, field, value) for value in NOTHING)]


def recognition(tags):
    return tuple(tag for tag in tags if tag in ("recognized", "misrecognized"))


def test_the_table_has_every_environment_that_checks_it():
    checking = set()
    for name in ENVS:
        for arguments in ({}, {"vision": True}):
            try:
                env = envs.make(name, **{**QUICK.get(name, {}), **arguments})
            except UsageError:  # it has no such argument
                continue
            checking |= {name} if env.checks_recognition else set()
    assert checking == {case.split()[0] for case in CHECKED}


@pytest.mark.parametrize("case", CHECKED)
def test_what_is_stated_is_right_or_wrong_and_what_is_not_is_neither(case):
    _, field, wrong = CHECKED[case]
    env = made(case)
    assert env.checks_recognition
    assert recognition(env.play(env.expert()).tags) == ("recognized",)
    env = made(case)
    assert recognition(env.play(said(env, field, wrong)).tags) == ("misrecognized",)
    for text in unstated(env, field):
        env = made(case)
        assert recognition(env.play(text).tags) == (), text


@pytest.mark.parametrize("case", CHECKED)
def test_no_answer_is_left_out_of_the_figures(case):
    """One right, one wrong and the unstated ones, each as an episode's step."""
    _, field, wrong = CHECKED[case]
    texts = [made(case).expert(), said(made(case), field, wrong), *unstated(made(case), field)]
    moves = [made(case).play(text) for text in texts]
    steps = tuple(
        Record(Sample("e", "?"), Output(text), {"reward": Score(move.reward, tags=move.tags)})
        for text, move in zip(texts, moves)
    )
    n = len(texts)
    (seen,), (unsaid,) = (
        scorer([Sample("e", "?")], [Output("", steps=steps)]) for scorer in (Recognition(), UnstatedRate())
    )
    assert (seen.value, seen.weight) == (1 / n, n) and seen.explanation == f"1 of {n} steps"
    assert (unsaid.value, unsaid.weight) == ((n - 2) / n, n)


@pytest.mark.parametrize("case", CHECKED)
def test_both_figures_stand_with_the_task(case):
    name = case.split()[0]
    task = get(f"env:{name}", n=1, **{**QUICK.get(name, {}), **CHECKED[case][0]})
    assert {"recognition", "unstated_rate"} <= {judge.name for judge in task.judges}
