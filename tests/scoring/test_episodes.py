"""Figures of episodes, from tables of rewards and tags."""

import math

import pytest

from keepsight.scoring import episodes
from keepsight.scoring.episodes import (
    IllegalRate,
    PositiveReturn,
    Recognition,
    Return,
    Solved,
    StepAccuracy,
    Steps,
    UnstatedRate,
    success_rate,
)
from keepsight.scoring.metrics import mean_score
from keepsight.types import Output, Record, Sample, Score

SCORERS = (
    Solved(),
    Return(),
    PositiveReturn(),
    StepAccuracy(),
    Recognition(),
    UnstatedRate(),
    IllegalRate(),
    Steps(),
)


def step(reward: float, *tags: str, status="ok") -> Score:
    return Score(reward, "a", status, tags=tags)


def episode(*rewards: Score) -> Output:
    steps = tuple(
        Record(Sample(f"e/{at}", "?", group="e"), Output("a"), {"reward": reward})
        for at, reward in enumerate(rewards)
    )
    return Output("a", steps=steps)


WON = episode(step(0, "correct"), step(1, "correct", "solved"))
# a wrong move on the way: the task is solved, the published code's rate does not count it
DETOUR = episode(step(-1, "wrong"), step(0, "correct"), step(1, "correct", "solved"))
LOST = episode(
    step(-1, "random_action", "wrong", status="unparsed"), step(-1, "illegal", "wrong", "truncated")
)
MUTE = episode(
    step(0, "random_action", status="unparsed"), step(1, "random_action", "solved", status="unparsed")
)
SEEN = episode(step(-1.5, "misrecognized"), step(-1, "recognized"), step(-1, "recognized"), step(5, "solved"))
ENDED = episode(step(-1.0))


@pytest.mark.parametrize(
    ("output", "values", "weights"),
    [  # solved, return, positive return, step accuracy, recognition, unstated rate, illegal rate, steps
        (WON, (1, 1, 1, 1, 0, 1, 0, 2), (2, 2)),
        (DETOUR, (1, 0, 0, 2 / 3, 0, 1, 0, 3), (3, 3)),
        (LOST, (0, -2, 0, 0, 0, 1, 1, 2), (2, 2)),
        (MUTE, (1, 1, 1, None, 0, 1, 1, 2), (0, 2)),
        (SEEN, (1, 1.5, 1, None, 2 / 4, 1 / 4, 0, 4), (0, 4)),
        (ENDED, (0, -1, 0, None, 0, 1, 0, 1), (0, 1)),
    ],
)
def test_every_figure(output, values, weights):
    scores = [scorer([Sample("e", "?")], [output])[0] for scorer in SCORERS]
    assert [None if math.isnan(score.value) else score.value for score in scores] == list(values)
    assert all(score.status == "ok" for score in scores[1:])
    judged, steps = weights
    weighted = {3: judged, 4: steps, 5: steps, 6: steps}
    for place, score in enumerate(scores):
        assert score.weight == (weighted.get(place) or 1), "unscored or counted once"


def test_how_an_episode_ended():
    outputs = [WON, LOST, ENDED, MUTE, episode(step(1, "solved", "truncated"))]
    scores = Solved()([Sample("e", "?")] * 5, outputs)
    ends = ["solved", "out of steps", "not solved", "solved", "solved"]
    assert [score.answer for score in scores] == ends
    assert [score.status for score in scores] == ["ok", "ok", "ok", "unparsed", "ok"]
    assert scores[0].explanation == "2 steps, return 1" and scores[2].explanation == "1 step, return -1"


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda scorer: scorer.name)
def test_what_was_not_played_is_not_scored(scorer):
    failed = Output("a", error="step e/1: gone", steps=WON.steps)
    scores = scorer([Sample("e", "?")] * 2, [failed, Output("solved")])
    assert [score.status for score in scores] == ["error"] * 2 and not any(score.scored for score in scores)
    assert "gone" in scores[0].explanation and "no episode" in scores[1].explanation


def test_a_share_of_steps_counts_every_step_once():
    samples = [Sample(f"e{at}", "?") for at in range(3)]
    found = mean_score(samples, StepAccuracy()(samples, [WON, DETOUR, LOST]))
    assert found.value == pytest.approx(4 / 7) and found.low <= found.value <= found.high
    assert mean_score(samples, IllegalRate()(samples, [WON, DETOUR, LOST])).value == pytest.approx(2 / 7)
    unjudged = mean_score(samples, StepAccuracy()(samples, [WON, MUTE, SEEN]))
    assert (unjudged.value, unjudged.n, unjudged.total) == (1.0, 1, 3)


def test_returns_and_steps_that_are_all_alike_have_an_interval():
    """Its ends are what twenty episodes cannot exclude at the bounds of return and steps."""
    samples = [Sample(f"e{at}", "?") for at in range(20)]
    outputs = [DETOUR] * 20
    found = mean_score(samples, Return((-10.0, 1.0))(samples, outputs))
    assert (found.value, found.low, found.high) == pytest.approx((0, -1.611, 0.161), abs=1e-3)
    steps = mean_score(samples, Steps(10)(samples, outputs))
    assert (steps.value, steps.low, steps.high) == pytest.approx(
        (3, 3 - 2 * 0.1611, 3 + 7 * 0.1611), abs=1e-3
    )
    assert mean_score(samples, Steps()(samples, outputs)).low == 3, "nothing is known of what it may be"


def test_episodes_that_begin_alike_make_the_interval_wider():
    scores = Solved()([Sample("e", "?")] * 20, [WON] * 10 + [LOST] * 10)
    alone = success_rate([Sample(f"e{at}", "?") for at in range(20)], scores)
    alike = success_rate([Sample(f"e{at}", "?", group=str(at // 10)) for at in range(20)], scores)
    assert alone.name == "success_rate" and alone.value == alike.value == 0.5 and alone.n == alike.n == 20
    assert alike.high - alike.low > alone.high - alone.low


def test_names_are_unique_and_everything_has_a_version():
    classes = [getattr(episodes, name) for name in episodes.__all__ if name[0].isupper()]
    assert len({each.name for each in classes}) == len(classes) == len(SCORERS)
    assert all(each.version for each in classes)
