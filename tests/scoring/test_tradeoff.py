"""The knee of a trade-off."""

import math

import pytest

from keepsight.scoring.tradeoff import knee
from keepsight.types import KeepsightError


@pytest.mark.parametrize(
    ("cost", "gain", "place"),
    [
        ([0, 1, 2, 10], [0, 5, 8, 9], 2),
        ([0, 0.02, 0.06, 0.74], [0, 0.27, 0.33, 0.68], 2),
        ([0, 100, 200, 1000], [0, 0.05, 0.08, 0.09], 2),  # units do not matter
        ([0, 1, 2], [0, 1, 2], None),  # a straight line
        ([0, 5, 9, 10], [0, 1, 2, 10], None),  # costs first
        ([0, 1, 10], [0, 9, 10], 1),
        ([0, 2, 4, 10], [0, 6, 8, 10], 1),  # equally far: the smaller share
        ([0, 10], [0, 10], None),
        ([0, 0, 0], [0, 1, 2], None),  # it costs nothing
        ([0, -5, -10], [0, 1, 10], None),  # more of it costs less: no trade
    ],
)
def test_the_knee_is_farthest_above_the_chord(cost, gain, place):
    assert knee(cost, gain) == place


def test_a_knee_needs_numbers():
    with pytest.raises(KeepsightError, match="finite"):
        knee([0, 1, math.nan], [0, 1, 2])
