"""Figures over scores: n, denominators, intervals, clusters."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepsight.scoring.boxes import BoxAccuracy, BoxOverlap
from keepsight.scoring.coin_rules import CoinBox, CoinVote
from keepsight.scoring.metrics import (
    accuracy,
    effective_size,
    mean_score,
    mean_value,
    refused_share,
    unparsed_share,
    yes_ratio,
)
from keepsight.scoring.recall import ObjectRecall
from keepsight.scoring.semantic import Semantic
from keepsight.scoring.statistics import alike_interval, wilson
from keepsight.scoring.vqa import Contains, Exact, VqaVote
from keepsight.types import KeepsightError, Output, Sample, Score

METRICS = (accuracy, mean_value, yes_ratio, unparsed_share, refused_share)


def samples(count, per_cluster=1):
    return [Sample(f"s{index}", "p", group=f"g{index // per_cluster}") for index in range(count)]


def scores(*values):
    return [Score(float(value)) for value in values]


def test_accuracy_is_the_share_of_right_answers_with_wilsons_interval():
    metric = accuracy(samples(10), scores(*[1] * 8, 0, 0))
    assert (metric.name, metric.value, metric.n, metric.total) == ("accuracy", 0.8, 10, 10)
    assert (metric.low, metric.high) == pytest.approx(wilson(8, 10))
    assert metric.not_ok == {}


def test_what_is_not_scored_is_counted_and_not_guessed():
    some = [
        Score(1.0),
        Score(0.0, status="unparsed"),
        Score(math.nan, status="error"),
        Score(math.nan, status="judge_failed"),
        Score(math.nan, status="refused"),
        Score(math.nan, status="refused"),
    ]
    metric = accuracy(samples(6), some)
    assert (metric.value, metric.n, metric.total) == (0.5, 2, 6)
    assert metric.not_ok == {"error": 1, "judge_failed": 1, "refused": 2, "unparsed": 1}
    assert unparsed_share(samples(6), some).value == pytest.approx(1 / 6)
    assert refused_share(samples(6), some).value == pytest.approx(2 / 6)
    assert refused_share(samples(6), some).n == 6


def test_accuracy_wants_right_or_wrong():
    with pytest.raises(KeepsightError, match=r"sample s1 has the score 0\.5"):
        accuracy(samples(2), scores(1, 0.5))


def test_a_mean_of_graded_values():
    metric = mean_value(samples(200), scores(*[0.25, 0.75] * 100))
    assert metric.value == 0.5
    assert (metric.low, metric.high) == pytest.approx(
        (0.5 - 1.96 * 0.25 / 200**0.5, 0.5 + 1.96 * 0.25 / 200**0.5), abs=0.003
    )


def test_yes_ratio_is_over_readable_answers():
    some = [Score(1.0, "yes"), Score(0.0, "yes"), Score(1.0, "no"), Score(0.0, None, "unparsed")]
    metric = yes_ratio(samples(4), some)
    assert (metric.value, metric.n, metric.total) == (pytest.approx(2 / 3), 3, 4)
    assert metric.not_ok == {"unparsed": 1}


@pytest.mark.parametrize("metric", METRICS)
def test_nothing_scored_has_no_value(metric):
    empty = metric([], [])
    assert (empty.n, empty.total) == (0, 0)
    assert math.isnan(empty.value) and math.isnan(empty.low) and math.isnan(empty.high)


@pytest.mark.parametrize("metric", METRICS)
def test_metrics_check_that_samples_and_scores_match(metric):
    with pytest.raises(ValueError):
        metric(samples(2), scores(1))


@pytest.mark.parametrize(
    ("value", "bounds", "n", "low", "high"),
    [  # Wilson's interval for none of 20 ends at 0.1611, for none of 5 at 0.4345
        (0.0, (-10.0, 1.0), 20, -1.611, 0.1611),
        (-10.0, (-10.0, 1.0), 20, -10.0, -10 + 11 * 0.1611),
        (1.0, (0.0, 1.0), 5, 1 - 0.4345, 1.0),
        (2.0, (0.0, 10.0), 5, 2 - 2 * 0.4345, 2 + 8 * 0.4345),
    ],
)
def test_values_that_are_all_alike_are_not_certain_where_bounds_are_told(value, bounds, n, low, high):
    alike = [Score(value, bounds=bounds)] * n
    for metric in (mean_value, mean_score):
        found = metric(samples(n), alike)
        assert (found.value, found.n) == (value, n)
        assert (found.low, found.high) == pytest.approx((low, high), abs=1e-3)
    halved = mean_value(samples(n * 2, per_cluster=2), alike * 2)
    assert (halved.low, halved.high) == pytest.approx((low, high), abs=1e-3), "a cluster counts once"
    untold = mean_value(samples(n), [*alike[1:], Score(value)])
    assert untold.low == untold.high == value


def test_a_mean_within_wider_bounds_is_no_share():
    alike = [Score(value, bounds=(-2.0, 3.0)) for value in (0.0, 1.0, 1.0)]
    assert mean_score(samples(3), alike).name == "mean_value"
    assert mean_score(samples(3), [Score(0.0, bounds=(0.0, 1.0))] * 3).name == "accuracy"


ANSWERS = ("red",) * 4 + ("blue",) * 6
GRADED = [
    (VqaVote(), Sample("a", "?", meta={"answers": ANSWERS}), "green"),
    (CoinVote(), Sample("a", "?", meta={"answers": ANSWERS}), "green"),
    (BoxOverlap(), Sample("a", "?", target=("[0, 0, 0.5, 0.5]",)), "[0.1, 0.1, 0.5, 0.5]"),
    (Semantic(), Sample("a", "?", target=("dark red",)), "red"),
    (ObjectRecall(["dog", "cat"]), Sample("a", "?", target=("dog", "cat")), "a dog"),
]


@pytest.mark.parametrize(("scorer", "sample", "said"), GRADED, ids=lambda value: getattr(value, "name", ""))
def test_graded_answers_that_are_all_alike_are_not_certain(scorer, sample, said):
    asked = [replace(sample, id=str(i)) for i in range(5)]
    scores = scorer(asked, [Output(said)] * 5)
    found = mean_score(asked, scores)
    assert {score.bounds for score in scores} == {(0.0, 1.0)}
    low, high = alike_interval(found.value, (0.0, 1.0), 5)
    assert (found.low, found.high) == pytest.approx((low, high)) and high - low > 0.4


def test_what_is_right_or_wrong_needs_no_bounds():
    box = Sample("a", "?", target=("[0, 0, 0.5, 0.5]",))
    for scorer in (BoxAccuracy(), Exact(), Contains(), CoinBox()):
        assert scorer([box], [Output("[0, 0, 0.5, 0.5]")])[0].bounds is None


@pytest.mark.parametrize("metric", [accuracy, mean_value])
def test_the_same_picture_again_is_no_new_evidence(metric):
    once = metric(samples(40), scores(*[1] * 30, *[0] * 10))
    repeated = metric(samples(200, per_cluster=5), scores(*[1] * 150, *[0] * 50))
    assert repeated.value == once.value
    assert repeated.n == 200
    assert repeated.high - repeated.low == pytest.approx(once.high - once.low, rel=0.08)


def test_independent_answers_in_clusters_keep_their_weight():
    alternating = [1.0, 0.0] * 100
    assert effective_size(alternating, [index // 2 for index in range(200)]) == 200


def test_effective_size_by_hand():
    # share 1/2; totals off by 1, 1 and 0: variance 2 * 3/2 / 36 = 1/12, twice that of 6 independent answers
    assert effective_size([1.0, 1.0, 0.0, 0.0, 1.0, 0.0], list("aabbcc")) == pytest.approx(3)


def test_unanimous_clusters_count_once():
    assert effective_size([1.0] * 50, [index // 5 for index in range(50)]) == 10
    assert effective_size([1.0, 0.0, 1.0], ["one", "one", "one"]) == 1


@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.integers(0, 8)), min_size=1, max_size=60))
def test_effective_size_lies_between_one_and_n(rows):
    size = effective_size([value for value, _ in rows], [cluster for _, cluster in rows])
    assert 0 < size <= len(rows)


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.integers(0, 8)), min_size=1, max_size=40), st.randoms()
)
def test_metrics_do_not_know_the_order(rows, rng):
    shuffled = rng.sample(rows, len(rows))
    metrics = [
        accuracy(
            [Sample(f"{i}", "p", group=f"g{c}") for i, (_, c) in enumerate(some)], [Score(v) for v, _ in some]
        )
        for some in (rows, shuffled)
    ]
    assert metrics[0].value == metrics[1].value
    assert (metrics[0].low, metrics[0].high) == pytest.approx((metrics[1].low, metrics[1].high))
    assert metrics[0].low <= metrics[0].value <= metrics[0].high


def test_a_weighted_mean_is_that_of_the_things_weighed():
    """An episode of four steps with three right, one of a single wrong step, one that was not judged."""
    samples = [Sample(str(i), "?") for i in range(3)]
    scores = [Score(0.75, weight=4), Score(0.0, weight=1), Score(0.0, weight=0)]
    found = mean_score(samples, scores)
    assert (found.name, found.value, found.n) == ("mean_value", 0.6, 3)
    assert found.low <= 0.6 <= found.high
    unjudged = mean_score(samples, [Score(0.0, weight=0)] * 3)
    assert math.isnan(unjudged.value)
    assert mean_score(samples, [Score(1.0, weight=2)] * 3).name == "mean_value"


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_weighted_shares_that_are_all_alike_have_wilsons_interval_on_the_clusters(value):
    """No step of twelve episodes being right does not mean that none ever is."""
    given = [Score(value, weight=7.0)] * 12 + [Score(1 - value, weight=0.0)]
    metric = mean_value(samples(13, per_cluster=2), given)
    assert (metric.name, metric.value, metric.n) == ("mean_value", value, 13)
    assert (metric.low, metric.high) == pytest.approx(wilson(6 * value, 6))
