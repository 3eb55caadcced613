"""Majorities and self-agreement, from votes counted by hand."""

import math

import pytest

from keepsight.scoring.judges.repeats import Votes, self_agreement, votes_of
from keepsight.types import Sample, Score


@pytest.mark.parametrize(
    "votes, majority, agreement",
    [
        ((1, 0, 0), True, math.nan),
        ((0, 1, 0), False, math.nan),
        ((0, 0, 1), None, math.nan),
        ((2, 1, 0), True, 1 / 3),
        ((1, 2, 0), False, 1 / 3),
        ((3, 0, 0), True, 1.0),
        ((1, 1, 0), None, 0.0),
        ((2, 2, 0), None, 1 / 3),
        ((1, 0, 2), None, math.nan),  # one voice of three is no majority
        ((2, 0, 2), None, 1.0),
        ((3, 1, 1), True, 0.5),
    ],
)
def test_majority_of_all_repeats(votes, majority, agreement):
    found = Votes(*votes)
    assert found.majority is majority
    assert found.agreement == pytest.approx(agreement, nan_ok=True)
    assert votes_of(Score(1.0, tags=("cut", found.tag))) == found


def test_self_agreement_counts_answers_and_each_wording_once():
    samples = [Sample(f"s{at}", "q", target=("cat",)) for at in range(30)]
    agreed = [Score(1.0, f"answer {at}", tags=("votes:3/0/0",)) for at in range(30)]
    found = self_agreement(samples, agreed)
    assert (found.value, found.n, found.high) == (1.0, 30, 1.0) and found.low == pytest.approx(
        0.8865, abs=1e-3
    )
    one_wording = [Score(1.0, "cat", tags=("votes:3/0/0",))] * 30
    assert self_agreement(samples, one_wording).low < 0.21  # one pair that agrees shows little
    split = [Score(1.0, f"answer {at}", tags=("votes:2/1/0",)) for at in range(30)]
    assert self_agreement(samples, split).value == pytest.approx(1 / 3)


def test_a_judge_asked_once_has_no_self_agreement():
    found = self_agreement([Sample("s", "q")], [Score(1.0, "a")])
    assert found.n == 0 and math.isnan(found.value)
