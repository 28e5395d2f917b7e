import itertools

import numpy as np
import pytest
from scipy.stats import bootstrap, kstest, pearsonr, permutation_test
from scipy.stats import t as student
from sklearn.linear_model import Ridge

from neuroenc.errors import InputError
from neuroenc.evaluation import permutation, statistics
from neuroenc.evaluation.classification import over_folds
from neuroenc.evaluation.pairs import score_patterns
from neuroenc.evaluation.scores import pearson_r

RNG = np.random.default_rng(0)
N, V = 60, 200
TRUTH = RNG.normal(size=(N, V))


def test_permutation_p_is_uniform_without_signal():
    p = permutation.permutation_p(
        RNG.normal(size=(N, 500)), RNG.normal(size=(N, 500)), np.arange(N), np.zeros(N), n=400
    )
    assert kstest(p, "uniform").pvalue > 0.01
    assert p.min() > 0


def test_permutation_p_is_scipys():
    y, prediction = TRUTH[:, 0], TRUTH[:, 0] * 0.3 + TRUTH[:, 1]
    expected = permutation_test(
        (y,), lambda a: pearsonr(a, prediction)[0], permutation_type="pairings", n_resamples=2000,
        alternative="greater", rng=0,
    ).pvalue  # fmt: skip
    found = permutation.permutation_p(y[:, None], prediction[:, None], np.arange(N), np.zeros(N), n=2000)[0]
    assert found == pytest.approx(expected, abs=0.02)


def test_smallest_p_is_one_over_n_plus_one():
    p = permutation.permutation_p(TRUTH, TRUTH, np.arange(N), np.zeros(N), n=99)
    np.testing.assert_allclose(p, 0.01)


def test_permutations_stay_within_folds():
    """A difference between folds alone is no prediction."""
    fold = np.repeat([0, 1], N // 2)
    step = fold[:, None] * 100.0
    y, noise = TRUTH + step, RNG.normal(size=(N, V)) + step
    p = permutation.permutation_p(y, noise, np.arange(N), fold, n=200)
    assert (p < 0.05).mean() < 0.1
    assert abs(statistics.per_fold(pearson_r, y, noise, fold).mean()) < 0.05


def test_leave_one_out_of_noise_scores_zero_not_less():
    """Predicting each run by the mean of the others: pooled over runs this leans below 0."""
    runs, items = 12, 8
    noise = RNG.normal(size=(runs, items, 500))
    prediction = (noise.sum(0) - noise) / (runs - 1)
    fold = np.repeat(np.arange(runs), items)
    flat = [v.reshape(runs * items, -1) for v in (noise, prediction)]
    assert pearson_r(*flat).mean() < -0.04
    assert abs(statistics.per_fold(pearson_r, *flat, fold).mean()) < 0.02
    # r of the runs are correlated here; the widened null rejects no more than the nominal rate
    p = permutation.permutation_p(*flat, np.arange(runs * items), fold, n=200)
    assert 0.01 < (p < 0.05).mean() < 0.055


def test_repeated_draws_of_one_split_are_no_further_evidence():
    y, prediction = RNG.normal(size=(2, N, 400))
    three = [np.concatenate([v] * 3) for v in (y, prediction)]
    ids, fold = np.tile(np.arange(N), 3), np.repeat([0, 1, 2], N)
    p = permutation.permutation_p(*three, ids, fold, n=300)
    assert (p < 0.05).mean() == pytest.approx(0.05, abs=0.03)


def test_bootstrap_interval_is_scipys():
    y, prediction = TRUTH[:, :3], TRUTH[:, :3] + RNG.normal(size=(N, 3))
    found, _ = statistics.bootstrap_r(y, prediction, np.arange(N), np.zeros(N), {}, n=4000)
    for v in range(3):
        expected = bootstrap(
            (y[:, v], prediction[:, v]), lambda a, b: pearsonr(a, b)[0], paired=True, vectorized=False,
            method="percentile", n_resamples=4000, rng=1,
        ).confidence_interval  # fmt: skip
        np.testing.assert_allclose(found[:, v], [expected.low, expected.high], atol=0.02)


def test_interval_of_a_group_covers_its_mean_and_is_narrower():
    y = TRUTH + RNG.normal(size=(N, 1))
    prediction = TRUTH + 2 * RNG.normal(size=(N, V))
    members = np.arange(V) < 100
    each, groups = statistics.bootstrap_r(
        y, prediction, np.arange(N), np.zeros(N), {"half": members, "none": members & False}
    )
    low, high = groups["half"]
    assert low < pearson_r(y, prediction)[members].mean() < high
    assert high - low < 0.8 * (each[1] - each[0])[members].mean()
    assert np.isnan(groups["none"]).all()


@pytest.mark.parametrize(("n", "snr"), [(6, 1.0), (20, 1.0), (40, 3.0)])
def test_the_interval_of_a_region_is_about_its_mean(n, snr):
    """Bootstrap r is lower by r (1 - r²) / 2n in every neuroid: of many the mean lay outside the interval."""
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(n, 800))
    y = snr * signal + rng.normal(size=(n, 800))
    everyone = {"all": np.ones(800, bool)}
    each, groups = statistics.bootstrap_r(y, signal, np.arange(n), np.zeros(n), everyone, n=300)
    low, high = groups["all"]
    mean, true = pearson_r(y, signal).mean(), snr / np.sqrt(1 + snr**2)
    assert (low + high) / 2 == pytest.approx(mean, abs=0.2 * (high - low))
    assert ((each[0] <= true) & (true <= each[1])).mean() > 0.91  # of 6 stimuli percentiles held .88


def test_rows_of_one_stimulus_are_drawn_together():
    doubled = [np.concatenate([v, v]) for v in (TRUTH, TRUTH[:, ::-1] + TRUTH)]
    one_fold = np.zeros(2 * N)
    together, _ = statistics.bootstrap_r(*doubled, np.tile(np.arange(N), 2), one_fold, {})
    apart, _ = statistics.bootstrap_r(*doubled, np.arange(2 * N), one_fold, {})
    width = [(v[1] - v[0]).mean() for v in (together, apart)]
    assert width[0] > 1.3 * width[1]  # twice the rows are not twice the evidence


@pytest.mark.parametrize("n_folds", [3, 12])
def test_runs_vary_by_students_t_where_each_stimulus_has_its_own(n_folds):
    fold = np.repeat(np.arange(n_folds), N // n_folds)
    y, prediction = TRUTH, TRUTH + RNG.normal(size=(N, V))
    interval, _ = statistics.bootstrap_r(y, prediction, np.arange(N), fold, {}, n=20_000)
    r = statistics.per_fold(pearson_r, y, prediction, fold)
    half = student.ppf(0.975, n_folds - 1) * r.std(0, ddof=1) / np.sqrt(n_folds) * np.sqrt(2)
    expected = (r.mean(0) + half * np.array([[-1], [1]])).clip(-1, 1)
    np.testing.assert_allclose(interval, expected, atol=0.1 * half.max())


@pytest.mark.parametrize(("n_folds", "repeats"), [(2, 1), (5, 1), (5, 3)])
def test_intervals_over_folds_hold_the_true_r(n_folds, repeats):
    """Ridge refitted in each fold, each time to other stimuli: the stimuli of one fold train the others."""
    r, intervals = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(100, 20))
        weight = rng.normal(size=(20, 15))
        y = X @ (weight / np.linalg.norm(weight, axis=0)) + rng.normal(size=(100, 15))
        orders = [rng.permutation(100) for _ in range(repeats)]
        tests = [order[k::n_folds] for order in orders for k in range(n_folds)]
        prediction = np.concatenate([
            Ridge(alpha=10.0).fit(np.delete(X, t, 0), np.delete(y, t, 0)).predict(X[t]) for t in tests
        ])  # fmt: skip
        ids, fold = np.concatenate(tests), np.repeat(np.arange(len(tests)), [len(t) for t in tests])
        intervals.append(statistics.bootstrap_r(y[ids], prediction, ids, fold, {}, n=200)[0])
        r.append(statistics.per_fold(pearson_r, y[ids], prediction, fold).mean(0))
    low, high = np.moveaxis(intervals, 1, 0)
    truth = np.mean(r)
    assert 0.88 < ((low < truth) & (truth < high)).mean() < 0.99


def test_fdr_is_benjamini_hochberg_and_skips_nan():
    p = np.array([0.01, np.nan, 0.02, 0.03, 0.5])
    np.testing.assert_allclose(statistics.fdr(p), [0.04, np.nan, 0.04, 0.04, 0.5])
    assert np.isnan(statistics.fdr([np.nan])).all()


def test_a_neuroid_that_seldom_fires_does_not_leave_the_mean():
    rng = np.random.default_rng(0)
    prediction = rng.standard_normal((40, 60))
    y = prediction + rng.standard_normal((40, 60))
    y[:, 20:] = 0
    y[np.arange(40), 20 + np.arange(40)] = 1  # one event each: constant in a third of the samples
    fold, everyone = np.zeros(40, int), {"all": np.ones(60, bool)}
    interval, limits = statistics.bootstrap_r(y, prediction, np.arange(40).astype(str), fold, everyone, n=500)
    r = pearson_r(y, prediction)
    low, high = limits["all"]
    assert low < r.mean() < high < r[:20].mean()
    assert np.isfinite(interval).all()


def autocorrelated(n_films, length, n, rng):
    """Noise of which neighbours in time are alike, for each film anew."""
    out = rng.normal(size=(n_films, length, n))
    for t in range(1, length):
        out[:, t] = 0.9 * out[:, t - 1] + np.sqrt(1 - 0.81) * out[:, t]
    return out.reshape(n_films * length, n)


def test_shifting_films_keeps_the_nominal_rate_where_shuffling_does_not():
    rng = np.random.default_rng(3)
    y, prediction = (autocorrelated(3, 200, 400, rng) for _ in range(2))
    ids, fold, film = np.arange(600), np.zeros(600), np.repeat(["a", "b", "c"], 200)
    shifted = permutation.permutation_p(y, prediction, ids, fold, film=film, n=300)
    shuffled = permutation.permutation_p(y, prediction, ids, fold, n=300)
    assert (shifted < 0.05).mean() < 0.08
    assert (shuffled < 0.05).mean() > 0.2


def test_exchange_shifts_each_film_by_itself():
    film = np.array(["a"] * 5 + ["b"] * 3)
    out = permutation.exchange(np.random.default_rng(0), np.arange(8), film)
    for name in ("a", "b"):
        rows = np.flatnonzero(film == name)
        assert any(np.array_equal(out[rows], np.roll(rows, k)) for k in range(len(rows)))


def test_an_interval_of_six_stretches_holds_the_true_r():
    rng, hit = np.random.default_rng(5), []
    for _ in range(40):
        prediction = autocorrelated(1, 240, 15, rng)
        y = prediction + autocorrelated(1, 240, 15, rng)
        (low, high), _ = statistics.bootstrap_r(
            y, prediction, np.arange(240), np.zeros(240), {}, stretch=np.arange(240) // 40, n=200
        )
        hit.append((low < np.sqrt(0.5)) & (np.sqrt(0.5) < high))
    assert np.mean(hit) > 0.9
    assert statistics.expansion(6) == pytest.approx(np.sqrt(6 / 5) * 2.5706 / 1.96, rel=1e-3)
    assert statistics.expansion(1000) == pytest.approx(1, abs=3e-3)


def test_stretches_cover_the_true_r_where_single_stimuli_do_not():
    rng = np.random.default_rng(4)
    signal = autocorrelated(1, 600, 300, rng)
    y, prediction = signal + autocorrelated(1, 600, 300, rng), signal
    stretch = np.arange(600) // 40
    hit = {}
    for name, units in (("stretch", stretch), ("single", None)):
        interval, _ = statistics.bootstrap_r(
            y, prediction, np.arange(600), np.zeros(600), {}, stretch=units, n=300
        )
        truth = np.sqrt(0.5)
        hit[name] = ((interval[0] < truth) & (truth < interval[1])).mean()
    assert hit["stretch"] > 0.78 and hit["single"] < 0.6


def test_a_single_unit_has_no_interval():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(30, 3))
    prediction, ids, fold = y + rng.normal(size=(30, 3)), np.arange(30), np.zeros(30, int)
    stretch = np.full(30, "film/0")
    interval, of_all = statistics.bootstrap_r(
        y, prediction, ids, fold, {"all": np.ones(3, bool)}, stretch=stretch, n=100
    )
    assert np.isnan(interval).all() and np.isnan(of_all["all"]).all()
    found = score_patterns(y, prediction, ids, fold, stretch=stretch, n_bootstraps=100, n_permutations=100)
    assert found["picture_r"].value > 0.5 and np.isnan(found["picture_r"].low)
    scores, label = rng.normal(size=(30, 2)), np.arange(30) % 2
    found = over_folds(scores, label, fold, np.full(30, "run 1"), n_bootstraps=100)
    assert np.isfinite(found["auc"]["value"]) and np.isnan(found["auc"]["low"])


def in_groups(rng, sizes, n_neuroids):
    """Responses and predictions that are alike within groups and know nothing of one another."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    made = [
        rng.normal(size=(len(sizes), n_neuroids))[group] + 0.5 * rng.normal(size=(len(group), n_neuroids))
        for _ in range(2)
    ]
    return group, *made


@pytest.mark.parametrize("sizes", [[10] * 20, [2, 3, 5, 8, 12, 20, 30] * 3, [1] * 30 + [2] * 30])
def test_groups_are_exchanged_and_drawn_as_wholes(sizes):
    """Pictures of a concept are alike: shuffled one by one, a quarter of the nulls has p below .05."""
    rng = np.random.default_rng(0)
    p, inside, alone = [], [], []
    for seed in range(10):
        group, y, prediction = in_groups(rng, sizes, 100)
        ids, fold = np.arange(len(group)), np.zeros(len(group), int)
        p.append(permutation.permutation_p(y, prediction, ids, fold, group=group, n=400, seed=seed))
        alone.append(permutation.permutation_p(y, prediction, ids, fold, n=200, seed=seed))
        interval, _ = statistics.bootstrap_r(y, prediction, ids, fold, {}, stretch=group, n=400, seed=seed)
        inside.append((interval[0] <= 0) & (interval[1] >= 0))
    rate = np.mean(np.array(p) <= 0.05)
    assert rate <= 0.065 and np.mean(np.array(p) <= 0.01) <= 0.02
    assert np.mean(inside) >= 0.9
    if len(set(sizes)) == 1:
        assert rate > 0.02
    if max(sizes) > 2:
        assert np.mean(np.array(alone) <= 0.05) > 0.15


def test_groups_of_one_size_are_exchanged_in_all_ways():
    """Against every order of four groups of one row and of two groups of three, by hand."""
    rng = np.random.default_rng(1)
    group, y, prediction = in_groups(rng, [1, 1, 1, 1, 3, 3, 5], 3)
    order = rng.permutation(len(group))
    p = permutation.permutation_p(
        y[order], prediction[order], order, np.zeros(len(group), int), group=group[order], n=8000
    )
    zy, zp = ((v - v.mean(0)) / v.std(0) for v in (y, prediction))
    triples = [
        np.r_[np.array(first), np.array(second)]
        for a, b in ((range(4, 7), range(7, 10)), (range(7, 10), range(4, 7)))
        for first in itertools.permutations(a) for second in itertools.permutations(b)
    ]  # fmt: skip
    fives = list(itertools.permutations(range(10, 15)))
    null = np.array([
        (zy[np.r_[np.array(ones), three, np.array(five)]] * zp).sum(0)
        for ones in itertools.permutations(range(4)) for three in triples for five in fives[:: len(fives) // 12]
    ])  # fmt: skip
    expected = (null >= (zy * zp).sum(0) - 1e-9).mean(0)
    np.testing.assert_allclose(p, expected, atol=0.03)


def test_a_group_of_a_size_of_its_own_stays():
    group = np.array(["a", "b", "b", "c", "c", "c"])
    rng = np.random.default_rng(0)
    for _ in range(20):
        out = permutation.exchange(rng, np.arange(6), None, group)
        assert out[0] == 0 and set(out[1:3]) == {1, 2} and set(out[3:]) == {3, 4, 5}
    seen = {tuple(permutation.exchange(rng, np.arange(4), None, np.array(list("aabb")))) for _ in range(200)}
    assert len(seen) == 8, "two orders of groups, two of rows in each"


def test_rows_without_a_name_each_are_refused():
    y, ids = RNG.normal(size=(12, 2)), np.arange(12).astype(str)
    for wrong in ({"stimulus": ids[:5], "fold": ids}, {"stimulus": ids, "fold": ids[:1]}):
        with pytest.raises(InputError, match="one for each row of y"):
            permutation.permutation_p(y, y, **wrong, n=5)
    with pytest.raises(InputError, match=r"y has shape \(12,\)"):
        permutation.permutation_p(y[:, 0], y[:, 0], ids, np.zeros(12), n=5)


@pytest.mark.parametrize("odd", [1.2, -0.1, np.inf])
def test_q_of_what_is_no_probability_is_refused(odd):
    with pytest.raises(InputError, match="1 of 2 p-values are not between 0 and 1"):
        statistics.fdr([odd, 0.1])
