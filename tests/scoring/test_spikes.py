"""Where a loss left its course, as a table of curves."""

import math

import pytest

from keepsight.scoring.spikes import Spike, loss_spikes

FALL = [2.0 * 0.95**i for i in range(40)]  # 2.0 down to 0.27
NOISE = [0.5 + 0.02 * (i % 3) for i in range(40)]
NAN, INF = math.nan, math.inf


def spans(losses, **settings):
    return [(spike.start, spike.end, spike.recovered) for spike in loss_spikes(losses, **settings)]


@pytest.mark.parametrize(
    "losses, expected",
    [
        ([], []),
        ([5.0], []),
        (FALL, []),
        (NOISE, []),
        ([0.001 * (1 + i % 5) for i in range(40)], []),  # a factor of five, but of nothing
        (FALL[::-1], []),  # a slow rise is a course, no spike
        ([*NOISE, 3.0, *NOISE], [(40, 40, True)]),
        ([*NOISE, 3.0, 2.0, 1.0, *NOISE], [(40, 42, True)]),
        ([*NOISE, 3.0, 0.5, 3.0, *NOISE], [(40, 42, True)]),  # two usual losses are no return
        ([*NOISE, 3.0, *NOISE, 4.0, 4.0, *NOISE], [(40, 40, True), (81, 82, True)]),
        ([*NOISE, *[7.0] * 30], [(40, 69, False)]),  # a new level is not a recovery
        ([*NOISE, 3.0], [(40, 40, False)]),
        ([*NOISE, 3.0, 0.5], [(40, 40, True)]),
        ([*NOISE, NAN], [(40, 40, False)]),
        ([*NOISE, INF, *NOISE], [(40, 40, True)]),
        ([NAN, *NOISE], [(0, 0, True)]),
        ([9.0, 1.0, 1.0, 1.0, 1.0, 1.0], []),  # the first losses are no spike
        ([*NOISE, 0.7, *NOISE], []),  # high for this noise, but not by half
        ([*NOISE, 0.9, *NOISE], [(40, 40, True)]),
    ],
)
def test_spikes(losses, expected):
    assert spans(losses) == expected


def test_what_a_spike_tells():
    (spike,) = loss_spikes([*[1.0] * 10, 2.0, 8.0, 2.0, *[1.0] * 5])
    assert spike == Spike(10, 12, 8.0, 1.0, True)
    (broken,) = loss_spikes([*[1.0] * 10, 8.0, NAN])
    assert math.isnan(broken.peak) and not broken.recovered


def test_every_bound_counts():
    curve = [*NOISE, 0.9, *NOISE]
    assert spans(curve, deviations=20) == spans(curve, factor=2.0) == spans(curve, least=0.5) == []
