"""Intervals and tests, compared with scipy and closed forms, and their coverage."""

import numpy as np
import pytest
from scipy import stats

from embodia.scripts.report.statistics import (
    bootstrap,
    by_level,
    compare,
    interval,
    mcnemar,
    newcombe,
    resampled_means,
    sign_flip,
    wilson,
)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (1, 1), (7, 20), (199, 200), (3, 1000)])
def test_wilson_is_scipys(k, n):
    expected = stats.binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k, n)[:3] == pytest.approx((k / n, expected.low, expected.high), abs=1e-12)


def test_wilson_refuses_what_is_no_proportion():
    with pytest.raises(ValueError, match="not a proportion"):
        wilson(3, 2)


def test_bootstrap_is_scipys_bca_on_a_skewed_score():
    x = np.random.default_rng(0).exponential(size=60)
    expected = stats.bootstrap((x,), np.mean, n_resamples=20_000, method="BCa", rng=1).confidence_interval
    got = bootstrap(x, resamples=20_000)
    assert (got.low, got.high) == pytest.approx(tuple(expected), abs=0.01)
    assert bootstrap(x, resamples=20_000) == got, "seeded"
    assert got.high - got.value > got.value - got.low, "a long right tail pulls the interval right"


def test_bootstrap_covers_the_mean_of_normals():
    rng = np.random.default_rng(3)
    covered = 0
    for trial in range(300):
        got = bootstrap(rng.normal(size=40), resamples=1000, seed=trial)
        covered += got.low <= 0 <= got.high
    assert 0.90 <= covered / 300 <= 0.98


def test_resampling_in_chunks_keeps_every_resample(monkeypatch):
    monkeypatch.setattr("embodia.scripts.report.statistics.CHUNK", 50)
    assert resampled_means(np.arange(20.0), 101, np.random.default_rng(0)).shape == (101,)


def test_the_interval_follows_the_score():
    assert interval([0, 1, 1, 1]).method == "wilson"
    assert interval([0.2, 0.4, 1.0]).method == "bca"
    constant = interval([0.5] * 9)
    assert (constant.low, constant.high) == (0.5, 0.5)


@pytest.mark.parametrize("bad", [[], [1.0, np.nan], [np.inf]])
def test_no_statistics_without_numbers(bad):
    with pytest.raises(ValueError, match=r"there are no episodes|not a finite"):
        interval(bad)


def test_mcnemar_by_hand():
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 0) == pytest.approx(2 * 0.5**5)
    assert mcnemar(17, 31) == pytest.approx(stats.binomtest(17, 48).pvalue)
    assert mcnemar(8, 2) == pytest.approx(2 * (1 + 10 + 45) / 2**10)


def test_newcombe_covers_the_difference_of_paired_proportions():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(600):  # two policies on shared levels: difference 0.2, strongly correlated
        u = rng.random(50)
        a, b = (u < 0.7).astype(float), ((u + 0.1 * rng.random(50)) < 0.55).astype(float)
        got = newcombe(a, b)
        inside += got.low <= 0.7 - 0.5 <= got.high
    assert 0.92 <= inside / 600 <= 0.99


def test_newcombe_is_antisymmetric_and_never_empty():
    a, b = np.ones(30), np.ones(30)
    same = newcombe(a, b)
    assert same.value == 0
    assert same.low < 0 < same.high, "thirty equal successes do not prove equality"
    b[:7] = 0
    there, back = newcombe(a, b), newcombe(b, a)
    assert there[:3] == pytest.approx((-back.value, -back.high, -back.low))


def test_sign_flip_is_exact_on_few_and_agrees_with_scipy_on_many():
    assert sign_flip(np.array([1.0, 2.0, 3.0])) == pytest.approx(2 / 8)
    d = np.random.default_rng(5).normal(0.3, 1, 60)
    expected = stats.permutation_test(
        (d, np.zeros(60)), lambda x, y, axis: (x - y).mean(axis), permutation_type="samples", n_resamples=20_000, rng=2
    ).pvalue
    assert sign_flip(d) == pytest.approx(expected, abs=0.01)


def test_noise_is_called_noise_and_a_difference_a_difference():
    rng = np.random.default_rng(7)
    hardness = rng.random(200)
    a, b = (hardness < 0.8).astype(float), (hardness < 0.6).astype(float)
    found = compare(a, b)
    assert found.test == "mcnemar"
    assert found.difference.low > 0
    assert found.p_value < 1e-6
    alarms = sum(compare(x, x + rng.normal(0, 0.1, 40)).p_value < 0.05 for x in rng.random((40, 40)))
    assert alarms <= 6, "two of forty comparisons of equals may look like a difference"
    with pytest.raises(ValueError, match="same seeds"):
        compare(a, b[:-1])


def test_differences_equal_but_for_rounding_are_one_number():
    a = np.linspace(1, 2, 40)
    found = compare(a, a + 4.0).difference
    assert (found.value, found.low, found.high) == pytest.approx((-4, -4, -4))


def test_the_lower_of_two_is_better_where_it_is_said_so():
    a, b = np.array([1.0, 2.0, 5.0]), np.array([2.0, 3.0, 4.0])
    higher, lower = compare(a, b), compare(a, b, better="lower")
    assert (higher.better, higher.worse) == (1, 2)
    assert (lower.better, lower.worse) == (2, 1)
    assert (higher.difference, higher.p_value) == (lower.difference, lower.p_value)


def test_repeats_of_a_level_count_once():
    levels = ["a", "b", "a", "c", "b", "a"]
    (means,) = by_level(levels, [1, 0, 1, 1, 1, 0])
    np.testing.assert_allclose(means, [2 / 3, 1 / 2, 1])
    (same,) = by_level(list("abcdef"), [1, 0, 1, 1, 1, 0])
    np.testing.assert_array_equal(same, [1, 0, 1, 1, 1, 0])
    ten_times = by_level(["one"] * 10, [1.0] * 10)[0]
    assert interval(ten_times) == wilson(1, 1), "an episode that is judged ten times is one episode"


def test_chance_on_one_level_is_kept_and_pairs_stay_pairs():
    solved, drawn = by_level(["one"] * 4, [1, 1, 1, 1], [0, 1, 0, 0])
    np.testing.assert_array_equal(solved, [1, 1, 1, 1])
    np.testing.assert_array_equal(drawn, [0, 1, 0, 0])
