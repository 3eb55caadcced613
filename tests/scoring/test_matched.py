"""Forgetting at equal learning: between neighbours, never beyond them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepsight.scoring.continual import continual_metrics
from keepsight.scoring.matched import forgetting_at_matched_new_task_score, matched_forgetting
from keepsight.types import KeepsightError
from tests.scoring.conftest import make_matrix, make_run
from tests.scoring.test_continual import sequence


@pytest.mark.parametrize(
    ("first", "second", "at", "expected"),
    [
        ([(0, 0), (10, 5)], [(4, 1), (8, 3)], None, (8, 4, 3)),  # the highest that both reach
        ([(0, 0), (10, 5)], [(4, 1), (8, 3)], 6, (6, 3, 2)),
        ([(10, 5), (0, 0), (2, 9)], [(4, 1), (8, 3)], 6, (6, 7, 2)),  # neighbours in score, not in the list
        ([(8, 5)], [(4, 1), (8, 3)], None, (8, 5, 3)),
        ([(8, 5), (8, 7), (8, 0)], [(4, 1), (9, 3)], None, (8, 4, 2.6)),  # points of one score are averaged
        ([(0, 0), (10, 5)], [(4, 1), (8, 3)], 4, (4, 2, 1)),
    ],
)
def test_between_neighbours(first, second, at, expected):
    found = forgetting_at_matched_new_task_score(first, second, at)
    assert (found.at, found.first, found.second, found.why_not) == (*map(pytest.approx, expected), "")


@pytest.mark.parametrize(
    ("first", "second", "at", "told"),
    [
        ([(0, 0), (3, 5)], [(4, 1), (8, 3)], None, "the second method's new-task scores reach from 4 to 8"),
        ([(4, 1), (8, 3)], [(0, 0), (3, 5)], None, "the first method's new-task scores reach from 4 to 8"),
        ([(0, 0), (10, 5)], [(4, 1), (8, 3)], 9, "which leaves out 9"),
        ([(5, 1)], [(6, 1)], None, "leaves out 5"),
    ],
)
def test_never_beyond(first, second, at, told):
    found = forgetting_at_matched_new_task_score(first, second, at)
    assert (found.at, found.first, found.second) == (None, None, None) and told in found.why_not


@pytest.mark.parametrize("points", [[], [(float("nan"), 1)], [(1, float("inf"))]])
def test_points_are_numbers(points):
    with pytest.raises(KeepsightError, match="two finite numbers"):
        forgetting_at_matched_new_task_score(points, [(1, 1)])


points = st.lists(st.tuples(st.integers(0, 20), st.integers(-50, 50)), min_size=1, max_size=6)


@given(points, points)
def test_what_is_matched_lies_among_the_points(first, second):
    found = forgetting_at_matched_new_task_score(first, second)
    if found.why_not:
        return
    for method, value in ((first, found.first), (second, found.second)):
        assert min(x for x, _ in method) <= found.at <= max(x for x, _ in method)
        assert min(y for _, y in method) - 1e-9 <= value <= max(y for _, y in method) + 1e-9
    again = forgetting_at_matched_new_task_score(second[::-1], first[::-1])
    assert (again.first, again.second) == pytest.approx((found.second, found.first))


def setting(learnt, left, unseen=0.5):
    """Two stages: what is scored on a task when it is learnt, and on the first one at the end."""
    return sequence([[0.1, 0.1, 0.5], [learnt, 0.1, 0.5], [left, learnt, unseen]], unseen=1, n=100)


def test_matched_forgetting_of_matrices():
    first, second = [setting(0.6, 0.5), setting(0.9, 0.3)], [setting(0.55, 0.55), setting(0.8, 0.7)]
    found = matched_forgetting(first, second, n_resamples=500)
    points = [
        [
            (each["learning_accuracy"].value, -each["backward_transfer"].value)
            for each in map(continual_metrics, method)
        ]
        for method in (first, second)
    ]
    expected = forgetting_at_matched_new_task_score(*points)
    assert (found.at, found.first.value, found.second.value) == (expected.at, expected.first, expected.second)
    assert found.difference.value == pytest.approx(expected.first - expected.second)
    assert 0 < found.difference.low < found.difference.value < found.difference.high
    assert (found.difference.n, found.difference.total) == (200, 200)
    assert found.difference.high - found.difference.low < sum(
        f.high - f.low for f in (found.first, found.second)
    )


def test_unmatched_matrices_have_a_reason():
    found = matched_forgetting([setting(0.4, 0.4)], [setting(0.9, 0.9)], n_resamples=50)
    assert found.difference is None and "leaves out" in found.why_not


def test_a_match_that_hardly_any_draw_has_is_not_known():
    """One setting each, equal by chance: with other samples they would not have matched."""
    first = setting(0.8, 0.5)
    runs = {
        (row, col): make_run(
            [run.records[index - 7].scores["label"].value for index in range(100)],
            ids=[record.sample.id for record in run.records],
        )
        for (row, col), run in first.runs.items()
    }
    found = matched_forgetting([first], [make_matrix(runs, first.meta)], n_resamples=200)
    assert found.difference.value == 0
    assert all(
        math.isnan(end) for figure in (found.first, found.difference) for end in (figure.low, figure.high)
    )
    found = matched_forgetting([first], [setting(0.8, 0.2)], n_resamples=200)  # learnt the same in every draw
    assert found.difference.high < 0 and found.difference.value == pytest.approx(-0.3, abs=0.1)


def test_a_single_stage_forgets_unseen_tasks():
    first = [sequence([[0.1, 0.9], [x, y]], unseen=1) for x, y in ((0.5, 0.8), (0.9, 0.4))]
    second = [sequence([[0.1, 0.9], [x, y]], unseen=1) for x, y in ((0.4, 0.9), (0.9, 0.85))]
    found = matched_forgetting(first, second, n_resamples=300)
    assert found.first.value == pytest.approx(0.5, abs=0.15) and found.difference.low > 0
    with pytest.raises(KeepsightError, match="nothing to forget"):
        matched_forgetting([sequence([[0.1], [0.9]])], [sequence([[0.1], [0.8]])])
