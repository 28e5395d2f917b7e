"""Order, scale and blocks change no statistic; ties are ties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom, norm
from scipy.stats import t as student

from neuroenc.evaluation import permutation, statistics
from neuroenc.evaluation.scores import pearson_r

N, V = 30, 6


def drawn(seed, n_folds):
    rng = np.random.default_rng(seed)
    y = np.where(rng.random((N, V)) < 0.5, rng.integers(0, 3, (N, V)), 0).astype("f4")
    y[rng.random((N, V)) < 0.05] = np.nan
    prediction = np.nan_to_num(y) + rng.integers(0, 3, (N, V))
    ids = np.array([f"p{i:02d}" for i in range(N)])
    return rng, y, prediction.astype("f4"), ids, np.arange(N) % n_folds


def measure(y, prediction, ids, fold, groups):
    p = permutation.permutation_p(y, prediction, ids, fold, n=99)
    interval, limits = statistics.bootstrap_r(y, prediction, ids, fold, groups, n=100)
    return p, interval, limits


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 3]))
def test_order_scale_and_blocks_change_nothing(seed, n_folds):
    rng, y, prediction, ids, fold = drawn(seed, n_folds)
    half = np.arange(V) < 3
    p, interval, limits = measure(y, prediction, ids, fold, {"half": half})
    rows, columns = rng.permutation(N), rng.permutation(V)
    scale = rng.uniform(1e-3, 1e3, V)
    other = measure(
        (y * scale + 5)[rows][:, columns], prediction[rows][:, columns], ids[rows], fold[rows],
        {"half": half[columns]},
    )  # fmt: skip
    np.testing.assert_array_equal(other[0], p[columns])
    np.testing.assert_allclose(other[1], interval[:, columns], atol=1e-5)
    np.testing.assert_allclose(other[2]["half"], limits["half"], atol=1e-5)
    first, second = (measure(y[:, m], prediction[:, m], ids, fold, {}) for m in (half, ~half))
    np.testing.assert_array_equal(np.concatenate([first[0], second[0]]), p)
    np.testing.assert_allclose(np.concatenate([first[1], second[1]], 1), interval, atol=1e-9)


@pytest.mark.parametrize(("n", "k", "m", "hit"), [(20, 4, 8, 3), (24, 6, 12, 5), (100, 20, 50, 14)])
def test_p_of_ties_is_the_hypergeometric_one_in_any_order(n, k, m, hit):
    y, category = np.zeros(n), (np.arange(n) < m).astype(float)
    y[:hit] = 1
    y[m : m + k - hit] = 1
    rng = np.random.default_rng(0)
    orders = np.array([rng.permutation(n) for _ in range(10)])
    p = permutation.permutation_p(
        y[orders].T, category[orders].T, np.arange(n).astype(str), np.zeros(n), n=4000
    )
    np.testing.assert_allclose(p, hypergeom.sf(hit - 1, n, m, k), atol=0.03)


def test_a_sample_without_events_has_no_r():
    rng = np.random.default_rng(0)
    y = np.zeros((20, 3))
    y[0] = 5, 2, 7
    prediction = y + 0.3 * rng.standard_normal((20, 3))
    interval, limits = statistics.bootstrap_r(
        y, prediction, np.arange(20), np.zeros(20), {"all": np.ones(3, bool)}, n=3000
    )
    samples = rng.integers(0, 20, (3000, 20))
    samples = samples[(samples == 0).any(1)]
    wide = np.sqrt(20 / 19) * student.ppf(0.975, 19) / norm.ppf(0.975)
    for v in range(3):
        by_hand = np.array([np.corrcoef(y[s, v], prediction[s, v])[0, 1] for s in samples])
        value = np.corrcoef(y[:, v], prediction[:, v])[0, 1]
        wanted = value + wide * np.quantile(by_hand - by_hand.mean(), [0.025, 0.975])
        np.testing.assert_allclose(interval[:, v], wanted.clip(-1, 1), atol=0.03)
    low, high = limits["all"]
    assert low <= pearson_r(y, prediction).mean() + 1e-12 and interval[0].min() > 0.3 and high < 1


def test_an_empty_fold_in_a_sample_costs_no_interval():
    rng = np.random.default_rng(1)
    rows = np.concatenate([rng.choice(12, 3, replace=False) for _ in range(4)])
    y = rng.standard_normal((12, 5))[rows]
    prediction = y + rng.standard_normal(y.shape)
    interval, limits = statistics.bootstrap_r(
        y, prediction, rows, np.repeat(np.arange(4), 3), {"all": np.ones(5, bool)}, n=500
    )
    assert np.isfinite(interval).all() and np.isfinite(limits["all"]).all()


def test_a_missing_response_costs_itself_alone():
    rng = np.random.default_rng(2)
    y = rng.standard_normal((40, 2))
    prediction = y + rng.standard_normal((40, 2))
    ids, fold = np.array([f"{i:02d}" for i in range(40)]), np.zeros(40)
    holes = y.copy()
    holes[:7, 0] = np.nan
    assert statistics.per_fold(pearson_r, holes, prediction, fold)[0] == pytest.approx(
        [np.corrcoef(y[7:, 0], prediction[7:, 0])[0, 1], np.corrcoef(y[:, 1], prediction[:, 1])[0, 1]]
    )
    found = permutation.permutation_p(holes, prediction, ids, fold, n=500)
    assert found[0] == permutation.permutation_p(y[7:, :1], prediction[7:, :1], ids[7:], fold[7:], n=500)[0]
    assert found[1] == permutation.permutation_p(y, prediction, ids, fold, n=500)[1]


def test_widening_counts_the_folds_that_part_a_pair():
    thirds = [np.arange(10), np.arange(10, 20), np.arange(20, 30)]
    assert permutation.widening(np.arange(30), thirds) == pytest.approx(np.sqrt(2))
    assert permutation.widening(np.arange(10), thirds[:1], 30) == pytest.approx(1)
    same = [np.arange(k * 10, k * 10 + 10) for k in range(3)]
    assert permutation.widening(np.tile(np.arange(10), 3), same, 50) == pytest.approx(np.sqrt(3))
    rng = np.random.default_rng(0)
    tests = [rng.permutation(100)[:20] for _ in range(6)]
    count, ordered = np.zeros((2, 100, 100))
    for t in tests:
        inside = np.isin(np.arange(100), t)
        count += inside[:, None] != inside
        ordered += inside[:, None] & ~inside
    rows = [np.arange(20 * k, 20 * k + 20) for k in range(6)]
    found = permutation.widening(np.concatenate(tests), rows, 100)
    assert found == pytest.approx(np.sqrt((count**2).sum() / count.sum()))
    found = permutation.widening(np.concatenate(tests), rows, 100, together=True)
    assert found == pytest.approx(np.sqrt((count**2).sum() / 2 / (ordered**2).sum()))
    # where a stimulus moves in all its folds at once, folds that are one say nothing new
    assert permutation.widening(np.tile(np.arange(10), 3), same, 50, together=True) == pytest.approx(1)
    assert permutation.widening(np.arange(30), thirds, together=True) == pytest.approx(np.sqrt(2))
