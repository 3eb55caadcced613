"""A judge beside a person: the table by hand, and intervals that cover as often as they say."""

import math

import numpy as np
import pytest

from keepsight.scoring.calibration import calibrate, corrected_accuracy
from keepsight.types import KeepsightError, MetricValue, Sample, Score


def beside(tp, fp, fn, tn, *, failed=0, wordings=None):
    """A calibration from a table; every answer has a wording of its own, or one of `wordings`."""
    pairs = [(1.0, True)] * tp + [(1.0, False)] * fp + [(0.0, True)] * fn + [(0.0, False)] * tn
    scores = [
        Score(value, f"answer {at if wordings is None else at % wordings}")
        for at, (value, _) in enumerate(pairs)
    ]
    scores += [Score(math.nan, status="judge_failed")] * failed
    labels = [label for _, label in pairs] + [True] * failed
    samples = [Sample(f"s{at}", "q", target=("cat",)) for at in range(len(scores))]
    return calibrate(samples, scores, labels)


def accuracy_of(share, n):
    return MetricValue("accuracy", share, 0.0, 1.0, n, n)


def test_the_table_by_hand():
    found = beside(40, 10, 5, 45, failed=3)
    assert (found.n, found.not_ok) == (100, {"judge_failed": 3})
    assert found.agreement.value == pytest.approx(0.85) and found.agreement.n == 100
    assert found.precision.value == pytest.approx(40 / 50) and found.precision.n == 50
    assert found.recall.value == pytest.approx(40 / 45) and found.recall.n == 45
    assert found.specificity.value == pytest.approx(45 / 55) and found.specificity.n == 55
    assert found.kappa.value == pytest.approx((0.85 - 0.5) / 0.5)
    for estimate in (found.agreement, found.precision, found.recall, found.specificity, found.kappa):
        assert estimate.low < estimate.value < estimate.high
    # The large-sample interval of kappa (Cohen 1960) is 0.70 +- 0.14.
    assert (found.kappa.low, found.kappa.high) == pytest.approx((0.56, 0.84), abs=0.03)


def test_perfect_agreement_on_few_answers_is_not_certainty():
    few, many = beside(5, 0, 0, 5), beside(200, 0, 0, 200)
    assert few.kappa.value == few.kappa.high == 1 and 0.4 < few.kappa.low < 0.8 < many.kappa.low
    assert few.agreement.low < 0.75


def test_equal_answers_weigh_once():
    free, tied = beside(40, 10, 5, 45), beside(40, 10, 5, 45, wordings=10)
    assert tied.agreement.value == free.agreement.value and tied.shrink <= free.shrink == 1
    all_right = beside(50, 0, 0, 50, wordings=4)
    assert all_right.agreement.low < 0.55 and all_right.kappa.low < 0.5


def test_sides_that_are_missing():
    found = beside(10, 2, 0, 0)
    assert math.isnan(found.kappa.value) or found.kappa.value == pytest.approx(0)
    assert beside(10, 0, 0, 0).specificity.n == 0 and math.isnan(beside(10, 0, 0, 0).specificity.value)
    assert math.isnan(beside(10, 0, 0, 0).kappa.value)
    with pytest.raises(KeepsightError, match="no verdict on any of 2 labelled"):
        beside(0, 0, 0, 0, failed=2)


def test_the_correction_undoes_known_errors():
    judge = beside(900, 200, 100, 800)  # sensitivity .9, specificity .8
    for truth in (0.0, 0.3, 0.75, 1.0):
        judged = 0.9 * truth + 0.2 * (1 - truth)
        found = corrected_accuracy(accuracy_of(judged, 5000), judge, 5000)
        assert found.value == pytest.approx(truth, abs=1e-9) and found.n == 5000
        assert found.low <= truth <= found.high and found.high - found.low < 0.12
    perfect = corrected_accuracy(accuracy_of(0.6, 500), beside(500, 0, 0, 500), 500)
    assert perfect.value == pytest.approx(0.6)
    assert corrected_accuracy(accuracy_of(0.1, 5000), judge, 5000).value == 0  # below 1 - specificity


@pytest.mark.parametrize(
    "table", [(10, 10, 10, 10), (3, 0, 0, 1), (0, 10, 10, 0), (40, 0, 0, 0), (12, 8, 8, 12)]
)
def test_no_correction_by_a_judge_that_may_be_chance(table):
    assert corrected_accuracy(accuracy_of(0.5, 1000), beside(*table), 1000) is None


def test_nothing_judged_nothing_corrected():
    assert corrected_accuracy(accuracy_of(math.nan, 0), beside(40, 0, 0, 40), 0) is None


@pytest.mark.parametrize(
    "truth, sensitivity, specificity", [(0.5, 0.9, 0.8), (0.9, 0.95, 0.7), (0.2, 0.8, 0.97)]
)
def test_intervals_cover_the_truth(truth, sensitivity, specificity, monkeypatch):
    """200 labelled of 1,000 judged answers, 300 times: 95 % intervals of kappa and of the corrected accuracy."""
    monkeypatch.setattr("keepsight.scoring.calibration._DRAWS", 2000)  # rougher, and quick
    rng = np.random.default_rng(5)
    cells = np.array(
        [
            truth * sensitivity,
            (1 - truth) * (1 - specificity),
            truth * (1 - sensitivity),
            (1 - truth) * specificity,
        ]
    )
    observed, judged = cells[0] + cells[3], cells[0] + cells[1]
    chance = judged * truth + (1 - judged) * (1 - truth)
    kappa = (observed - chance) / (1 - chance)
    trials, covered = 300, np.zeros(2)
    for _ in range(trials):
        tp, fp, fn, tn = rng.multinomial(200, cells)
        judge = beside(tp, fp, fn, tn)
        share = rng.binomial(1000, judged) / 1000
        found = corrected_accuracy(accuracy_of(share, 1000), judge, 1000)
        covered += [judge.kappa.low <= kappa <= judge.kappa.high, found.low <= truth <= found.high]
    assert np.all(covered / trials > 0.92), covered / trials
