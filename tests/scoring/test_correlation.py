"""Correlations over classes: the values are scipy's, the intervals agree with the permutation test, a fit never falls."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from keepsight.scoring.correlation import correlation, correlation_difference, rising_fit, threshold_of
from keepsight.types import KeepsightError


def drawn(n, strength, seed):
    rng = np.random.default_rng(seed)
    x = rng.lognormal(3, 2, n).round()
    return x.tolist(), (strength * np.log1p(x) + rng.normal(0, 1, n)).round(1).tolist()


@pytest.mark.parametrize("n", [5, 40, 300])
@pytest.mark.parametrize(("kind", "theirs"), [("spearman", spearmanr), ("pearson", pearsonr)])
def test_the_value_is_scipys(n, kind, theirs):
    x, y = drawn(n, 0.5, n)
    found = correlation(x, y, kind, n_resamples=200)
    assert found.value == pytest.approx(theirs(x, y).statistic) and found.n == n
    assert found.low <= found.value <= found.high


def test_what_does_not_vary_has_no_correlation():
    for x, y in (
        ([1, 2, 3, 4], [0, 0, 0, 0]),
        ([5, 5, 5, 5], [0, 1, 0, 1]),
        ([1, 2], [1, 2]),
        ([0.1] * 5, [1, 2, 3, 4, 5]),
    ):
        found = correlation(x, y)
        assert (
            math.isnan(found.value) and math.isnan(found.low) and math.isnan(found.high) and found.n == len(x)
        )


def test_a_handful_of_classes_is_no_correlation():
    """Four classes in perfect order come about in 2 of 24 orders."""
    assert correlation([1, 2, 3, 4], [1, 2, 3, 4]).low == 0
    six = correlation([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6])  # 2 of 720
    assert six.value == 1 and six.low > 0


def test_intervals_cover():
    missed = 0
    for seed in range(40):
        x, y = drawn(60, 0.0, 1000 + seed)
        found = correlation(x, y, n_resamples=200)
        missed += not found.low <= 0 <= found.high
    assert missed <= 6  # 2 expected
    strong = correlation(*drawn(200, 1.0, 3), n_resamples=300)
    assert 0.5 < strong.low < strong.value < strong.high < 1


def test_the_same_call_gives_the_same_interval():
    x, y = drawn(50, 0.3, 1)
    assert correlation(x, y, seed=1) == correlation(x, y, seed=1)


def test_a_difference_is_over_the_same_classes():
    x, y = drawn(150, 1.0, 5)
    noise = np.random.default_rng(9).random(150).tolist()
    found = correlation_difference(x, y, noise, n_resamples=300)
    assert found.value == pytest.approx(spearmanr(x, y).statistic - spearmanr(x, noise).statistic)
    assert found.low > 0.2
    same = correlation_difference(x, y, y, n_resamples=300)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    assert math.isnan(correlation_difference(x, y, [1.0] * 150).value)


def test_a_rising_fit_never_falls_and_keeps_the_mean():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, y = rng.integers(0, 12, 30).tolist(), rng.random(30).tolist()
        fit = dict(rising_fit(x, y))
        values = [fit[value] for value in sorted(set(x))]
        assert all(a <= b + 1e-12 for a, b in pairwise(values))
        assert sum(fit[value] for value in x) == pytest.approx(sum(y))
    assert rising_fit([3, 1, 2], [0.3, 0.1, 0.2]) == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert rising_fit([1, 2, 3], [1.0, 0.0, 0.5]) == [(1, 0.5), (2, 0.5), (3, 0.5)]


def test_the_threshold_is_where_the_fit_is_enough():
    assert threshold_of([0, 10, 100, 1000], [0.0, 0.1, 0.6, 0.9], 0.5) == 100
    assert math.isnan(threshold_of([0, 10], [0.0, 0.1], 0.5))


def test_what_cannot_be_correlated_is_refused():
    for x, y in (([1, 2], [1]), ([1, math.nan], [1, 2])):
        with pytest.raises(KeepsightError, match="two finite numbers"):
            correlation(x, y)
    with pytest.raises(KeepsightError, match="spearman or pearson"):
        correlation([1, 2, 3], [1, 2, 3], "kendall")
