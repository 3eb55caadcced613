"""Intervals and tests against scipy, brute force and plain loops, and the properties that verdicts rest on."""

import itertools
import math
import random
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import binomtest

from keepsight.scoring import statistics
from keepsight.scoring.statistics import (
    agreeing,
    bootstrap_mean,
    bootstrap_ratio,
    clopper_pearson,
    holm,
    holm_levels,
    mcnemar_exact,
    paired_bootstrap,
    paired_difference,
    sign_flip,
    tango,
    wilson,
)
from keepsight.types import KeepsightError

LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99, 0.9999)


def pair(lost, gained, kept=0):
    """Scores of `lost` + `gained` + `kept` pairs."""
    reference = [1.0] * lost + [0.0] * gained + [1.0] * kept
    current = [0.0] * lost + [1.0] * gained + [1.0] * kept
    return reference, current


def excludes_zero(result):
    return result.low > 0 or result.high < 0


# ---- one share ----


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n", [1, 2, 7, 30, 1000])
def test_wilson_and_clopper_pearson_equal_scipy(n, level):
    for k in sorted({0, 1, n // 3, n // 2, n - 1, n}):
        test = binomtest(k, n)
        assert wilson(k, n, level) == pytest.approx(tuple(test.proportion_ci(level, "wilson")), abs=1e-12)
        assert clopper_pearson(k, n, level) == pytest.approx(
            tuple(test.proportion_ci(level, "exact")), abs=1e-9
        )


def test_wilson_of_a_published_example():
    # Newcombe 1998, Statistics in Medicine 17:857-872, table I, method 3
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_wilson_of_nothing_is_everything():
    assert wilson(0, 0) == (0.0, 1.0)


@given(st.integers(1, 500), st.data())
def test_share_intervals_hold_the_share_and_mirror(n, data):
    k = data.draw(st.integers(0, n))
    for interval in (wilson, clopper_pearson):
        low, high = interval(k, n)
        assert 0 <= low <= k / n <= high <= 1
        assert interval(n - k, n) == pytest.approx((1 - high, 1 - low), abs=1e-9)
        assert interval(k, n, 0.99)[0] <= low + 1e-12


@pytest.mark.parametrize("k, n, level", [(-1, 5, 0.95), (6, 5, 0.95), (1, 5, 0.0), (1, 5, 1.0), (1, 5, 95)])
def test_impossible_shares_are_refused(k, n, level):
    for interval in (wilson, clopper_pearson):
        with pytest.raises(KeepsightError):
            interval(k, n, level)


# ---- McNemar and Tango ----


def test_mcnemar_equals_the_binomial_test():
    for lost, gained in itertools.product(range(12), repeat=2):
        expected = binomtest(lost, lost + gained, 0.5).pvalue if lost + gained else 1.0
        assert mcnemar_exact(lost, gained) == pytest.approx(expected, rel=1e-9)
    assert mcnemar_exact(400, 300) == pytest.approx(binomtest(400, 700).pvalue, rel=1e-9)


def test_mcnemar_of_known_values():
    assert mcnemar_exact(0, 0) == 1
    assert mcnemar_exact(5, 0) == 2 * 0.5**5
    assert mcnemar_exact(7, 2) == pytest.approx(2 * (1 + 9 + 36) / 2**9)
    with pytest.raises(KeepsightError):
        mcnemar_exact(-1, 3)


def brute_tango(lost, gained, n, level):
    """The score interval by maximising the constrained likelihood numerically, instead of Tango's closed form."""

    def statistic(difference):
        def minus_likelihood(p_gained):
            cells = (
                (lost, p_gained + difference),
                (gained, p_gained),
                (n - lost - gained, 1 - 2 * p_gained - difference),
            )
            return -sum(k * math.log(max(p, 1e-300)) for k, p in cells if k)

        bounds = max(0.0, -difference), (1 - difference) / 2
        best = minimize_scalar(minus_likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-13}).x
        variance = n * (2 * best + difference - difference**2)
        return (lost - gained - n * difference) / math.sqrt(variance)

    z = -binomial_z(level)
    middle = (lost - gained) / n
    return (
        brentq(lambda d: statistic(d) - z, -1 + 1e-9, middle - 1e-9),
        brentq(lambda d: statistic(d) + z, middle + 1e-9, 1 - 1e-9),
    )


def binomial_z(level):
    from scipy.stats import norm

    return norm.ppf((1 - level) / 2)


@pytest.mark.parametrize("level", [0.8, 0.95, 0.999])
@pytest.mark.parametrize(
    "lost, gained, n", [(12, 2, 50), (0, 1, 44), (3, 0, 20), (5, 5, 30), (40, 8, 60), (1, 9, 400)]
)
def test_tango_equals_brute_force(lost, gained, n, level):
    assert tango(lost, gained, n, level) == pytest.approx(brute_tango(lost, gained, n, level), abs=2e-5)


def test_tango_at_the_edges():
    low, high = tango(0, 0, 100)
    assert (low, high) == (-high, pytest.approx(1.96**2 / (100 + 1.96**2), abs=1e-4))
    assert tango(100, 0, 100)[1] == pytest.approx(1.0)
    assert tango(100, 0, 100)[0] == pytest.approx(1 - 2 * 1.96**2 / (100 + 1.96**2), abs=1e-4)
    assert tango(0, 0, 0) == (-1.0, 1.0)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 200), st.sampled_from(LEVELS))
def test_tango_mirrors_and_holds_the_estimate(lost, gained, kept, level):
    n = lost + gained + kept
    if n == 0:
        return
    low, high = tango(lost, gained, n, level)
    assert -1 <= low <= (lost - gained) / n <= high <= 1
    assert tango(gained, lost, n, level) == pytest.approx((-high, -low), abs=1e-9)


def test_where_the_exact_test_is_significant_tango_excludes_zero_by_itself():
    """So the trimming only ever widens: no interval is moved away from zero to please a p-value."""
    for level in (0.9, 0.95, 0.99, 0.999):
        for lost, gained in itertools.product(range(40), repeat=2):
            if mcnemar_exact(lost, gained) < 1 - level:
                low, high = tango(lost, gained, 100, level)
                assert low > 0 or high < 0


@pytest.mark.parametrize(
    "p_lost, p_gained, n", [(0.5, 0.0, 100), (0.3, 0.1, 100), (0.02, 0.0, 300), (0.05, 0.01, 50)]
)
def test_the_interval_covers_the_truth(p_lost, p_gained, n):
    """Catastrophic forgetting is (0.5, 0.0): there an interval that takes the share of changed pairs as known fails."""
    draws = np.random.default_rng(0).multinomial(n, [p_lost, p_gained, 1 - p_lost - p_gained], size=1500)
    kinds, counts = np.unique(draws, axis=0, return_counts=True)
    covered = 0
    for (lost, gained, kept), count in zip(kinds, counts):
        result = paired_difference(*pair(lost, gained, kept))
        covered += count * (result.low <= p_lost - p_gained <= result.high)
    assert covered / 1500 > 0.925


# ---- verdict and interval agree, whatever the method ----


@settings(max_examples=300)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 80), st.floats(0.01, 0.9999))
def test_mcnemar_interval_excludes_zero_exactly_when_significant(lost, gained, kept, level):
    result = paired_difference(*pair(lost, gained, kept), level=level)
    assert excludes_zero(result) == (result.p < 1 - level)
    assert result.low <= result.high or math.isnan(result.low)


def test_at_equality_zero_is_inside():
    result = paired_difference(*pair(5, 0, 3), level=0.9375)  # p = 1 - level = 1/16 exactly
    assert result.p == 1 - 0.9375
    assert result.low == 0


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.sampled_from([0.0, 0.3, 0.5, 1.0])), max_size=25
    ),
    st.integers(1, 6),
    st.sampled_from(LEVELS),
)
def test_resampled_intervals_exclude_zero_exactly_when_significant(pairs, n_clusters, level):
    reference, current = [a for a, _ in pairs], [b for _, b in pairs]
    clusters = [index % n_clusters for index in range(len(pairs))]
    for method in (paired_bootstrap, sign_flip):
        for groups in (None, clusters):
            result = method(reference, current, clusters=groups, level=level, n_resamples=999)
            assert excludes_zero(result) == (result.p < 1 - level)
            assert 0 < result.p <= 1
            if pairs:
                assert result.low <= result.high


@given(st.floats(-1, 1), st.floats(-1, 1), st.booleans())
def test_agreeing_agrees_and_touches_nothing_else(a, b, significant):
    low, high = sorted((a, b))
    new = agreeing(low, high, significant)
    assert (new[0] > 0 or new[1] < 0) == significant
    if (low > 0 or high < 0) == significant:
        assert new == (low, high)
    assert new == pytest.approx(
        (min(low, 0) if not significant else new[0], max(high, 0) if not significant else new[1])
    )


# ---- sign flips ----


@settings(max_examples=60)
@given(st.integers(0, 7), st.integers(0, 6))
def test_flipping_single_pairs_is_mcnemar(lost, gained):
    result = sign_flip(*pair(lost, gained))
    assert result.p == pytest.approx(mcnemar_exact(lost, gained))


def test_many_flips_come_near_mcnemar():
    result = sign_flip(*pair(60, 35, 200), n_resamples=40_000)
    assert result.p == pytest.approx(mcnemar_exact(60, 35), abs=0.004)
    assert (result.low, result.high) == pytest.approx(tango(60, 35, 295), abs=0.012)


def test_flips_equal_a_plain_loop():
    differences = [[1, 0], [1, 1], [-1], [0, 1, 1], [1], [0], [-1, 0]]
    reference = [float(d > 0) for group in differences for d in group]
    current = [float(d < 0) for group in differences for d in group]
    clusters = [index for index, group in enumerate(differences) for _ in group]
    sums = [sum(group) for group in differences]
    observed = sum(sums)
    as_large = sum(
        sum(s * flip for s, flip in zip(sums, flips)) >= observed
        for flips in itertools.product([1, -1], repeat=7)
    )
    result = sign_flip(reference, current, clusters)
    assert result.p == pytest.approx(2 * as_large / 2**7)
    subsets = [s for size in range(1, 8) for s in itertools.combinations(range(7), size)]
    ratios = sorted(sum(sums[i] for i in s) / sum(len(differences[i]) for i in s) for s in subsets)
    rank = math.ceil(128 * 0.2 / 2) - 1  # order statistics that leave a tenth on either side
    narrow = sign_flip(reference, current, clusters, level=0.8)
    assert (narrow.low, narrow.high) == pytest.approx((min(ratios[rank - 1], 0), ratios[-rank]))


def test_a_handful_of_clusters_proves_nothing():
    reference, current = pair(100, 0)
    result = paired_difference(reference, current, [index // 25 for index in range(100)])
    assert (result.method, result.clusters, result.n) == ("sign flip", 4, 100)
    assert result.p == pytest.approx(2 / 16)
    assert result.low == 0


def test_unmoved_clusters_still_have_a_width():
    result = paired_difference(*pair(0, 0, 40), clusters=[index // 2 for index in range(40)])
    assert (result.low, result.high) == tango(0, 0, 20)
    assert result.p == 1


def test_graded_scores_that_do_not_move_have_a_width_where_their_range_is_known():
    same = [0.3, 0.5] * 10
    found = paired_difference(same, same, bounds=(0.0, 1.0))
    assert (found.low, found.high) == tango(0, 0, 20) and (found.difference, found.p) == (0, 1)
    wide = paired_difference(same, same, [i // 2 for i in range(20)], bounds=(-1.0, 3.0))
    assert (wide.low, wide.high) == pytest.approx([4 * end for end in tango(0, 0, 10)])
    assert paired_difference(same, same).high == 0, "of scores without bounds nothing is known"
    moved = [0.3] * 20, same
    assert paired_difference(*moved, bounds=(0.0, 1.0)) == paired_difference(*moved)


def test_scores_that_happen_to_be_0_or_1_keep_their_range():
    found = paired_difference([0.0] * 20, [0.0] * 20, bounds=(-10.0, 1.0))
    assert (found.low, found.high) == pytest.approx([11 * end for end in tango(0, 0, 20)])


def test_clusters_of_one_are_no_clusters():
    reference, current = pair(9, 2, 20)
    assert paired_difference(reference, current, list(range(31))) == paired_difference(reference, current)
    assert paired_difference(reference, current).method == "mcnemar"


def test_asking_the_same_picture_again_is_no_new_evidence():
    reference, current = pair(12, 3, 15)
    once = sign_flip(reference, current)
    clusters = [index % 30 for index in range(120)]
    four_times = paired_difference(reference * 4, current * 4, clusters)
    assert four_times.p == pytest.approx(once.p, abs=0.01)
    assert (four_times.low, four_times.high) == pytest.approx((once.low, once.high), abs=0.02)
    assert paired_difference(reference * 4, current * 4).p < once.p / 10


# ---- bootstrap ----


def loop_bootstrap(differences, sizes, n_resamples, level, seed):
    """The same percentile bootstrap, one draw at a time."""
    rng = random.Random(seed)
    clusters = list(zip(differences, sizes))
    replicates = []
    for _ in range(n_resamples):
        drawn = [rng.choice(clusters) for _ in clusters]
        replicates.append(sum(d for d, _ in drawn) / sum(s for _, s in drawn))
    replicates.sort()
    rank = math.ceil((n_resamples + 1) * (1 - level) / 2) - 1
    below = sum(r <= 0 for r in replicates)
    above = sum(r >= 0 for r in replicates)
    return replicates[rank - 1], replicates[-rank], 2 * (1 + min(below, above)) / (n_resamples + 1)


def test_bootstrap_equals_a_plain_loop():
    rng = random.Random(1)
    differences = [round(rng.gauss(0.2, 0.6), 1) for _ in range(40)]
    result = paired_bootstrap(differences, [0.0] * 40, n_resamples=20_000)
    low, high, p = loop_bootstrap(differences, [1] * 40, 20_000, 0.95, 2)
    assert (result.low, result.high) == pytest.approx((low, high), abs=0.01)
    assert result.p == pytest.approx(p, abs=0.006)
    assert result.difference == pytest.approx(sum(differences) / 40)


def test_clustered_bootstrap_equals_a_plain_loop():
    rng = random.Random(3)
    groups = [
        [round(rng.gauss(0.2, 0.3) + shift, 1) for _ in range(rng.randint(1, 5))]
        for shift in [-0.4, 0.5, 0.1] * 9
    ]
    flat = [d for group in groups for d in group]
    clusters = [index for index, group in enumerate(groups) for _ in group]
    result = paired_bootstrap(flat, [0.0] * len(flat), 20_000, clusters=clusters)
    low, high, p = loop_bootstrap([sum(g) for g in groups], [len(g) for g in groups], 20_000, 0.95, 4)
    assert (result.low, result.high) == pytest.approx((low, high), abs=0.012)
    assert result.p == pytest.approx(p, abs=0.012)


@pytest.mark.parametrize(
    "clusters",
    [None, [index // 2 for index in range(500)], [index // 4 * 2 + (index % 4 > 0) for index in range(500)]],
)
def test_counting_and_indexing_draw_the_same_distribution(clusters):
    """Few distinct differences are counted, many are indexed: nearly equal data must give nearly equal answers."""
    rng = np.random.default_rng(5)
    few = rng.choice([-0.5, 0.0, 0.25, 1.0], size=500, p=[0.3, 0.3, 0.2, 0.2])
    many = few + rng.normal(0, 1e-7, size=500)
    zeros = [0.0] * 500
    counted = paired_bootstrap(few, zeros, 10_000, clusters=clusters)
    indexed = paired_bootstrap(many, zeros, 10_000, clusters=clusters)
    assert (indexed.low, indexed.high) == pytest.approx((counted.low, counted.high), abs=0.004)
    assert indexed.p == pytest.approx(counted.p, abs=0.02)


def test_a_handful_of_samples_proves_nothing():
    result = paired_bootstrap([0.9, 0.8, 0.7, 0.9, 0.6], [0.1] * 5)
    assert result.p == 2**-4
    assert result.low == 0
    assert paired_bootstrap([0.9, 0.8, 0.7, 0.9, 0.6, 0.7], [0.1] * 6).low > 0


def test_rounding_dust_is_no_difference():
    result = paired_bootstrap([0.1 + 0.2] * 30, [0.3] * 30)
    assert (result.difference, result.lost, result.p) == (0.0, 0, 1.0)


@pytest.mark.parametrize("method", [paired_bootstrap, sign_flip])
def test_differences_that_cancel_count_as_none(method):
    """Tenths and whole numbers draw the same resamples; only whole numbers add up without rounding."""
    tenths = method([0.1, 0.2, 0.7] * 5, [0.0, 0.0, 1.0] * 5, clusters=None)
    whole = method([1, 2, 7] * 5, [0, 0, 10] * 5, clusters=None)
    assert tenths.p == whole.p
    assert (tenths.low, tenths.high) == pytest.approx((whole.low / 10, whole.high / 10))


@pytest.mark.parametrize("method", [paired_bootstrap, sign_flip, paired_difference])
@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("binary", [False, True])
def test_order_and_names_do_not_matter(method, clustered, binary):
    rng = random.Random(6)
    draw = (lambda: float(rng.random() < 0.5)) if binary else (lambda: rng.random())
    rows = [(draw(), draw(), f"c{rng.randrange(30)}") for _ in range(150)]
    shuffled = rng.sample(rows, len(rows))
    results = [
        method(
            [a for a, _, _ in some],
            [b for _, b, _ in some],
            clusters=[name(c) for _, _, c in some] if clustered else None,
        )
        for some, name in ((rows, str), (shuffled, lambda c: ("renamed", c[::-1])))
    ]
    assert results[0] == results[1]


@pytest.mark.parametrize("method", [paired_bootstrap, sign_flip])
def test_a_seed_repeats_and_leaves_the_global_stream_alone(method):
    reference = [random.Random(index).random() for index in range(50)]
    np.random.seed(11)
    random.seed(11)
    before = np.random.get_state()[1].tolist(), random.getstate()
    first = method(reference, [0.45] * 50, seed=1)
    assert method(reference, [0.45] * 50, seed=1) == first
    assert method(reference, [0.45] * 50, seed=2) != first
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before


def test_false_alarms_are_rare():
    """Under no difference at all, about a twentieth of the verdicts may be wrong, for every method."""
    rng = np.random.default_rng(7)
    wrong = {"mcnemar": 0, "sign flip": 0, "bootstrap": 0}
    for _ in range(200):
        binary = rng.integers(0, 2, size=(2, 60)).astype(float)
        picture = (
            rng.integers(0, 2, size=(2, 20)).repeat(3, axis=1).astype(float)
        )  # three equal answers per picture
        real = rng.normal(size=(2, 60))
        clusters = [index // 3 for index in range(60)]
        for result in (
            paired_difference(*binary),
            paired_difference(*picture, clusters, n_resamples=499),
            paired_difference(*real, n_resamples=499),
        ):
            wrong[result.method] += result.p < 0.05
    assert all(count <= 19 for count in wrong.values()), wrong  # 10 expected; 19 is 3 standard deviations up


def test_ten_thousand_by_ten_thousand_in_a_second():
    differences = np.random.default_rng(8).normal(0.01, 1, size=10_000)
    start = time.process_time()
    paired_bootstrap(differences, np.zeros(10_000))
    assert time.process_time() - start < 2.0  # 0.4 s on an idle core


def test_bootstrap_of_a_mean():
    values = [0.0] * 30 + [1.0] * 70
    assert bootstrap_mean(values) == pytest.approx(wilson(70, 100), abs=0.02)
    clustered = bootstrap_mean(values, [index // 10 for index in range(100)])
    assert clustered[1] - clustered[0] > 2 * (wilson(70, 100)[1] - wilson(70, 100)[0])
    assert all(math.isnan(end) for end in bootstrap_mean([]))
    assert bootstrap_mean([0.4]) == (0.4, 0.4)


def test_nothing_to_compare():
    for method in (paired_bootstrap, sign_flip, paired_difference):
        result = method([], [])
        assert (result.n, result.p) == (0, 1)
        assert math.isnan(result.difference)
        assert not excludes_zero(result)


@pytest.mark.parametrize(
    "arguments",
    [([1.0], [1.0, 0.0]), ([1.0], [0.5], ["a", "b"]), ([math.nan], [1.0]), ([math.inf], [0.5])],
)
def test_unpaired_input_is_refused(arguments):
    with pytest.raises(KeepsightError):
        paired_difference(*arguments)


# ---- Holm ----


def stepwise(pvalues, alpha):
    """Holm's procedure in its own words: smallest first against alpha / m, alpha / (m - 1), ... until one fails."""
    rejected = [False] * len(pvalues)
    for rank, index in enumerate(sorted(range(len(pvalues)), key=pvalues.__getitem__)):
        if pvalues[index] * (len(pvalues) - rank) >= alpha:
            break
        rejected[index] = True
    return rejected


P_VALUES = st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.001, 0.01, 0.04, 1.0])), max_size=12)


def test_holm_of_a_known_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.7]) == [0.7]


@given(P_VALUES, st.sampled_from([0.01, 0.05, 0.2]))
def test_holm_is_the_step_down_procedure(pvalues, alpha):
    adjusted = holm(pvalues)
    assert [p < alpha for p in adjusted] == stepwise(pvalues, alpha)


@given(P_VALUES)
def test_holm_is_monotone_and_no_smaller(pvalues):
    adjusted = holm(pvalues)
    assert all(p <= a <= 1 for p, a in zip(pvalues, adjusted))
    order = sorted(range(len(pvalues)), key=pvalues.__getitem__)
    ranked = [adjusted[index] for index in order]
    assert ranked == sorted(ranked)
    assert all(
        a <= min(1, len(pvalues) * p) or math.isclose(a, len(pvalues) * p) or a == max(ranked) or a in ranked
        for p, a in zip(pvalues, adjusted)
    )


@given(P_VALUES, st.randoms())
def test_holm_does_not_know_the_order(pvalues, rng):
    order = list(range(len(pvalues)))
    rng.shuffle(order)
    shuffled = [pvalues[index] for index in order]
    assert holm(shuffled) == [holm(pvalues)[index] for index in order]
    assert holm_levels(shuffled) == [holm_levels(pvalues)[index] for index in order]


@given(P_VALUES, st.sampled_from([0.8, 0.95, 0.99]))
def test_each_holm_level_decides_as_the_procedure_does(pvalues, level):
    for p, adjusted, own in zip(pvalues, holm(pvalues), holm_levels(pvalues, level)):
        assert own >= level or math.isclose(own, level)
        if not math.isclose(p, 1 - own, rel_tol=1e-9):
            assert (p < 1 - own) == (adjusted < 1 - level)


def test_holm_levels_of_a_known_example():
    levels = holm_levels([0.001, 0.5, 0.013, 0.04])
    assert [1 - level for level in levels] == pytest.approx([0.05 / 4, 0.05 / 2, 0.05 / 3, 0.05 / 2])


def test_importing_the_statistics_is_light():
    assert "scipy" not in vars(statistics)


class TestBootstrapRatio:
    def test_a_ratio_of_sums_and_its_interval(self):
        rng = random.Random(1)
        below = [float(rng.random() < 0.3) for _ in range(400)]
        above = [float(rng.random() < 0.6) for _ in range(400)]
        ratio, low, high = bootstrap_ratio(above, below)
        assert ratio == sum(above) / sum(below) and low < ratio < high and low > 1.4 and high < 2.8

    def test_it_covers_the_truth_about_as_often_as_it_says(self):
        inside = 0
        for seed in range(50):
            rng = random.Random(seed)
            below = [float(rng.random() < 0.3) for _ in range(200)]
            above = [float(rng.random() < 0.6) for _ in range(200)]
            _, low, high = bootstrap_ratio(above, below, n_resamples=1000)
            inside += low <= 2.0 <= high
        assert 43 <= inside <= 50

    def test_nothing_below(self):
        assert all(map(math.isnan, bootstrap_ratio([1.0, 0.0], [0.0, 0.0])))
        assert all(map(math.isnan, bootstrap_ratio([], [])))

    def test_too_little_below_has_no_upper_end(self):
        ratio, low, high = bootstrap_ratio([1.0] * 20, [1.0, *[0.0] * 19])
        assert (ratio, high) == (20.0, math.inf) and low < 20

    def test_whole_clusters_are_drawn(self):
        above, below = [1.0, 0.0] * 50, [0.0, 1.0, 1.0, 1.0] * 25
        clusters = [i // 4 for i in range(100)]
        _, low, high = bootstrap_ratio(above, below, clusters)
        assert low == high == pytest.approx(2 / 3)  # every cluster has the same ratio
        assert bootstrap_ratio(above, below)[1] < 0.6

    def test_lengths_must_agree(self):
        with pytest.raises(KeepsightError, match="one entry per sample"):
            bootstrap_ratio([1.0], [1.0, 0.0])
