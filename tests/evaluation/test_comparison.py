"""Paired tests of encoders: by hand, by all signs, under the null, and where one truly is better."""

from itertools import product

import numpy as np
import pytest
import xarray as xr
from sklearn.linear_model import Ridge

from neuroenc.config import Comparison, Evaluation
from neuroenc.errors import ContractError, InputError
from neuroenc.evaluation import compare, pearson_r, r2_score, split_half
from tests.conftest import toy_responses

IDS = np.array([f"p{i:02d}" for i in range(12)])
PAIR = Comparison(better="b", than=["a"])


def names(n):
    return np.array([f"p{i:04d}" for i in range(n)])


def predictions(values, ids=IDS, folds=None, neuroids=None):
    n, k = values.shape[:2]
    fold = np.zeros(n, int) if folds is None else folds
    dims = ("presentation", "neuroid", "time_bin")[: values.ndim]
    return xr.Dataset(
        {"prediction": (dims, values), "training": (("fold", "stimulus"), np.zeros((fold.max() + 1, 1), bool))},
        {"stimulus_id": ("presentation", ids), "fold": ("presentation", fold),
         "neuroid_id": ("neuroid", neuroids if neuroids is not None else [f"n{i}" for i in range(k)]),
         "training_stimulus_id": ("stimulus", ["none"])},
        {"model": "m", "kind": "predictions"},
    )  # fmt: skip


def pair(y, a, b, ids=IDS, folds=None, comparison=PAIR, **options):
    given = {"n_permutations": 400, "n_bootstraps": 200} | options
    fits = {"a": predictions(a, ids, folds), "b": predictions(b, ids, folds)}
    return compare(
        toy_responses(np.random.default_rng(0), ids, y.astype("f4")), fits, comparison, Evaluation(**given)
    )


def unit(v):
    return (v - v.mean(0)) / v.std(0)


def all_exchanges(score, a, b):
    return np.array([
        score(np.where(t, a, b)) - score(np.where(t, b, a))
        for t in (np.array(turn)[:, None] for turn in product([False, True], repeat=len(a)))
    ])  # fmt: skip


def all_signs(gain):
    return np.array([(np.array(turn)[:, None] * gain).sum(0) for turn in product([-1, 1], repeat=len(gain))])


@pytest.mark.parametrize("metric", ["pearson_r", "r2"])
def test_the_difference_is_that_of_scores_and_p_counts_all_exchanges(metric):
    rng = np.random.default_rng(0)
    y = rng.normal(size=(12, 4)).astype("f4").astype(float)
    a, b = y + rng.normal(size=(12, 4)), y + 0.7 * rng.normal(size=(12, 4))
    order = rng.permutation(12)  # rows of the better in another order
    fits = {"a": predictions(a), "b": predictions(b[order], IDS[order])}
    found = compare(
        toy_responses(rng, IDS, y.astype("f4")), fits, Comparison(better="b", than=["a"], metric=metric),
        Evaluation(n_permutations=20_000, n_bootstraps=100),
    )  # fmt: skip
    r, r2 = pearson_r(y, b) - pearson_r(y, a), r2_score(y, b) - r2_score(y, a)
    np.testing.assert_allclose(found["difference"].sel(metric="pearson_r").values[0], r, atol=1e-6)
    np.testing.assert_allclose(found["difference"].sel(metric="r2").values[0], r2, atol=1e-5)
    if metric == "pearson_r":
        expected = r
        null = all_exchanges(lambda v: pearson_r(y, v), unit(a), unit(b))
    else:
        expected = r2
        null = all_signs(((y - a) ** 2 - (y - b) ** 2) / ((y - y.mean(0)) ** 2).sum(0))
    np.testing.assert_allclose(found["p"].values[0], (null >= expected - 1e-9).mean(0), atol=0.012)
    np.testing.assert_allclose(found["p_worse"].values[0], (null <= expected + 1e-9).mean(0), atol=0.012)
    region = found.set_index(region="region_name").sel(region="A")
    assert region["region_difference"].values[0, 0] == pytest.approx(expected[[0, 2]].mean(), abs=1e-6)
    assert region["region_p"].values[0] == pytest.approx(
        (null[:, [0, 2]].mean(1) >= expected[[0, 2]].mean() - 1e-9).mean(), abs=0.012
    )


def test_the_normalised_difference_is_that_over_the_ceiling():
    rng = np.random.default_rng(1)
    ids = np.repeat(IDS, 4)
    signal = rng.normal(size=(12, 3))
    y = np.repeat(signal, 4, axis=0) + 0.5 * rng.normal(size=(48, 3))
    fits = {"a": predictions(signal + rng.normal(size=signal.shape)), "b": predictions(signal)}
    options = Evaluation(ceiling="split_half", n_permutations=100, n_bootstraps=100)
    responses = toy_responses(rng, ids, y.astype("f4"))
    found = compare(responses, fits, PAIR, options)["difference"]
    limit = np.sqrt(split_half(y.astype("f4").reshape(12, 4, 3))[1])
    np.testing.assert_allclose(
        found.sel(metric="normalised_r"), found.sel(metric="pearson_r") / limit, rtol=1e-4
    )


def equally_good(rng, kind, n, k):
    """Two models of the same expected score."""
    y = rng.normal(size=(n, k))
    if kind == "both good":
        return y, *(y + rng.normal(size=y.shape) for _ in range(2))
    if kind == "both bad":
        return y, *(rng.normal(size=y.shape) for _ in range(2))
    # r is .5 of both, of quite different predictions
    if kind == "one heavy-tailed":
        other = rng.standard_t(5, size=y.shape) / np.sqrt(5 / 3)
    else:
        other = rng.uniform(-np.sqrt(3), np.sqrt(3), size=y.shape)
    return y, y + np.sqrt(3) * rng.normal(size=y.shape), y + np.sqrt(3) * other


@pytest.mark.parametrize(
    ("kind", "metric"),
    [("both good", "pearson_r"), ("both bad", "pearson_r"), ("one heavy-tailed", "pearson_r"),
     ("one bounded", "pearson_r"), ("both good", "r2"), ("both bad", "r2")],
)  # fmt: skip
def test_p_is_uniform_where_both_are_as_good(kind, metric):
    rng = np.random.default_rng(1)
    y, a, b = equally_good(rng, kind, 60, 1500)
    found = pair(y, a, b, names(60), comparison=Comparison(better="b", than=["a"], metric=metric))
    for level in (0.05, 0.2, 0.5):
        bound = 4 * np.sqrt(level * (1 - level) / 1500)
        assert np.mean(found["p"].values <= level) == pytest.approx(level, abs=bound)
    assert found["wins"].sum() <= 3


def test_one_that_contains_the_other_does_not_win_by_size():
    """Ridge on useless columns beside the true ones: no better, so that it wins in at most 5 %."""
    rng = np.random.default_rng(2)
    X, extra = rng.normal(size=(300, 10)), rng.normal(size=(300, 40))
    y = X @ rng.normal(size=(10, 800)) + 4 * rng.normal(size=(300, 800))
    own, both = X, np.hstack([X, extra])
    a, b = (Ridge(alpha=10.0).fit(v[:200], y[:200]).predict(v[200:]) for v in (own, both))
    found = pair(y[200:], a, b, names(100))
    assert np.mean(found["p"].values <= 0.05) <= 0.05 and found["wins"].sum() == 0
    # and where the added columns are true ones it does
    y += 6 * extra[:, :1]
    a, b = (Ridge(alpha=10.0).fit(v[:200], y[:200]).predict(v[200:]) for v in (own, both))
    assert pair(y[200:], a, b, names(100))["wins"].mean() > 0.8


def test_a_known_gain_is_found_with_the_power_of_the_exact_test():
    """r is .6 and .75 in a third, equal in the rest: false discoveries at most 5 %, most true ones found."""
    rng = np.random.default_rng(3)
    n, k = 200, 900
    y = rng.normal(size=(n, k))
    a = y + 4 / 3 * rng.normal(size=y.shape)
    spread = np.where(np.arange(k) < k // 3, 0.88, 4 / 3)
    found = pair(y, a, y + spread * rng.normal(size=y.shape), names(n), n_permutations=2000)
    wins = found["wins"].values
    true = np.arange(k) < k // 3
    assert wins[true].mean() > 0.8 and wins[~true].sum() / wins.sum() < 0.08
    total, n_wins, low, high = found["region_count"].values[0]
    assert total == k and n_wins == wins.sum() and 0.3 * true.sum() < low <= true.sum() <= high <= k


def test_bootstrap_intervals_hold_the_true_difference():
    rng = np.random.default_rng(4)
    y = rng.normal(size=(150, 1000))
    a, b = y + rng.normal(size=y.shape), y + 0.5 * rng.normal(size=y.shape)
    truth = 1 / np.sqrt(1.25) - 1 / np.sqrt(2)
    found = pair(y, a, b, names(150), n_bootstraps=400)
    inside = (found["low"].values[0] < truth) & (truth < found["high"].values[0])
    assert 0.92 < inside.mean() < 0.97
    mean, low, high = found["region_difference"].values[0, 0]
    assert low < mean < high and high - low < np.median(found["high"] - found["low"]) / 5


def test_equivalence_asks_for_an_interval_within_delta():
    rng = np.random.default_rng(5)
    y = rng.normal(size=(400, 30))
    a = y + rng.normal(size=y.shape)
    near = a + 0.02 * rng.normal(size=y.shape)
    wide = Comparison(better="b", than=["a"], delta=0.02)
    assert pair(y, a, near, names(400), comparison=wide)["equivalent"].all()
    far = pair(y, a, y + 0.8 * rng.normal(size=y.shape), names(400), comparison=wide)
    assert not far["equivalent"].any() and not far["region_equivalent"].any()


def test_all_rivals_must_be_beaten():
    rng = np.random.default_rng(6)
    y = rng.normal(size=(200, 60))
    weak, even, best = (y + s * rng.normal(size=y.shape) for s in (2.0, 0.7, 0.7))
    fits = {k: predictions(v, names(200)) for k, v in (("a", weak), ("c", even), ("b", best))}
    options = Evaluation(n_permutations=500, n_bootstraps=100)
    responses = toy_responses(rng, names(200), y.astype("f4"))
    one = compare(responses, fits, Comparison(better="b", than=["a"]), options)
    both = compare(responses, fits, Comparison(better="b", than=["a", "c"]), options)
    np.testing.assert_array_equal(one["p"].values[0], both["p"].values[0])
    np.testing.assert_array_equal(both["wins_p"].values, both["p"].values.max(0))
    assert one["wins"].mean() > 0.9 and both["wins"].sum() <= 2


def test_a_gain_in_some_time_bins_is_found_and_noise_in_many_is_not():
    rng = np.random.default_rng(7)
    y = rng.normal(size=(120, 40, 15))
    a = y + rng.normal(size=y.shape)
    b = y + rng.normal(size=y.shape)
    b[:, :20, 4:7] = y[:, :20, 4:7] + 0.3 * rng.normal(size=(120, 20, 3))
    found = pair(y, a, b, names(120), n_permutations=1000)
    assert found["p"].dims == ("rival", "neuroid", "time_bin")
    assert found["wins"].values[:20].all() and found["wins"].values[20:].sum() <= 2
    null = found["neuroid_p"].values[0, 20:]
    assert (null <= 0.05).sum() <= 4 and np.nanmean(null) > 0.3


@pytest.mark.parametrize("who", ["another in each bin", "the same in both"])
def test_a_rival_that_is_as_good_in_each_bin_is_not_beaten(who):
    """Two rivals of which one is as good, whose noise is that of all bins: wins_p is below .05 in .08 if each
    rival is held against its own draws alone, where another is as good in each bin.
    """
    rng = np.random.default_rng(11)
    n, k = 240, 800

    def same():
        return np.repeat(rng.normal(size=(n, k, 1)), 2, 2)

    y = same()
    fits = {"b": y + same()}
    for number, name in enumerate("ac"):
        good = [number == 0, number == (who == "another in each bin")]
        fits[name] = y + same() * np.where(good, 1.0, 1.8)
    found = compare(
        toy_responses(rng, names(n), y.astype("f4")), {f: predictions(v, names(n)) for f, v in fits.items()},
        Comparison(better="b", than=["a", "c"]), Evaluation(n_permutations=400, n_bootstraps=100),
    )  # fmt: skip
    for level in (0.05, 0.1):
        assert np.mean(found["wins_p"].values <= level) <= level + 3 * np.sqrt(level * (1 - level) / k)
    assert np.mean(found["p"].values[1, :, 0] <= 0.05) > 0.95  # and the other one is


def test_who_wins_in_one_bin_and_loses_in_another_wins():
    """Between how many win holds those that do: what excludes it is to lose in every bin."""
    rng = np.random.default_rng(7)
    y = rng.normal(size=(100, 40, 6))
    a, b = y + rng.normal(size=y.shape), y + rng.normal(size=y.shape)
    b[:, :, :2] = y[:, :, :2] + 0.3 * rng.normal(size=(100, 40, 2))
    a[:, :, 4:] = y[:, :, 4:] + 0.3 * rng.normal(size=(100, 40, 2))
    a[:, :10] = y[:, :10] + 0.3 * rng.normal(size=(100, 10, 6))
    b[:, :10] = y[:, :10] + rng.normal(size=(100, 10, 6))
    found = pair(y, a, b, names(100), n_permutations=1000)
    total, wins, low, high = found["region_count"].values[0]
    assert total == 40 and wins == 30 and low <= 30 <= high <= 32


def test_an_exchange_that_leaves_nothing_that_varies_counts():
    """Predictions of one event each, half of which an exchange puts out; and neuroids known at two stimuli."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(12, 6)).astype("f4").astype(float)
    a, b = np.zeros((2, 12, 6))
    a[rng.integers(6, size=6), np.arange(6)] = b[6 + rng.integers(6, size=6), np.arange(6)] = 1

    def r(v):
        return np.nan_to_num(pearson_r(y, v))

    found = pair(y, a, b, n_permutations=20_000)
    null, expected = all_exchanges(r, unit(a), unit(b)), r(b) - r(a)
    np.testing.assert_allclose(found["p"].values[0], (null >= expected - 1e-9).mean(0), atol=0.015)
    above = (null.mean(1) >= expected.mean() - 1e-9).mean()
    assert found["region_p"].values[0, 0] == pytest.approx(above, abs=0.015)
    y[2:, 0] = np.nan
    for metric in ("pearson_r", "r2"):
        some = pair(y, y + a, y + b + 0.1, comparison=Comparison(better="b", than=["a"], metric=metric))
        assert np.abs(some["region_sample"].values).max() < 100, metric


def test_r2_is_compared_where_scores_have_it():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(60, 3))
    a, b = y + rng.normal(size=y.shape), y + rng.normal(size=y.shape)
    b[:, 1], a[:, 2] = 3.0, 0.0
    found = pair(y, a, b, names(60), comparison=Comparison(better="b", than=["a"], metric="r2"))
    for name in ("p", "low", "wins_p"):
        assert np.isfinite(found[name].values.ravel()).tolist() == [True, False, False], name
    assert np.isnan(found["difference"].sel(metric="r2").values[0, 1:]).all()


def test_running_stimuli_are_exchanged_by_stretches():
    """Slow responses and slow errors: single words exchanged would call noise a difference."""
    rng = np.random.default_rng(8)
    n, k = 600, 300

    def slow():
        steps = rng.normal(size=(n + 40, k))
        return np.stack([steps[i : i + 40].mean(0) for i in range(n)]) * np.sqrt(40)

    y, a, b = slow(), slow(), slow()
    responses = toy_responses(rng, names(n), y.astype("f4")).assign_coords(
        film=("presentation", np.full(n, "f")), onset=("presentation", np.arange(n) * 1.0)
    )
    fits = {"a": predictions(y + 2 * a, names(n)), "b": predictions(y + 2 * b, names(n))}
    given = {"n_permutations": 400, "n_bootstraps": 100}
    by_stretch = compare(responses, fits, PAIR, Evaluation(stretch=60, **given))
    by_word = compare(responses, fits, PAIR, Evaluation(stretch=1, **given))
    assert by_stretch.attrs["unit"] == "stretch of 60 s" and by_stretch.attrs["n_units"] == 10
    assert np.mean(by_stretch["p"] <= 0.05) < 0.1 < 0.2 < np.mean(by_word["p"] <= 0.05)
    with pytest.raises(InputError, match="5 stretches of 120 s can be exchanged, expected 6"):
        compare(responses, fits, PAIR, Evaluation(stretch=120, **given))


def test_a_better_encoder_is_found_and_folds_are_averaged():
    rng = np.random.default_rng(2)
    y = rng.normal(size=(120, 8)).astype("f4").astype(float)
    a, b = y + 2 * rng.normal(size=y.shape), y + 0.5 * rng.normal(size=y.shape)
    folds = np.arange(120) % 2
    found = pair(y, a, b, names(120), folds, n_permutations=1000)
    halves = [
        pearson_r(y[folds == f], b[folds == f]) - pearson_r(y[folds == f], a[folds == f]) for f in (0, 1)
    ]
    np.testing.assert_allclose(found["difference"].values[0, 0], np.mean(halves, 0), atol=1e-6)
    assert (found.attrs["unit"], found.attrs["interval_unit"]) == ("stimulus", "fold")
    assert (found["q"].values < 0.01).all() and found["region_p"].values[0, 0] == pytest.approx(1 / 1001)


@pytest.mark.parametrize(("n_folds", "repeats"), [(2, 1), (5, 1), (5, 3)])
@pytest.mark.parametrize("metric", ["pearson_r", "r2"])
def test_two_as_good_over_folds_are_neither_told_apart_nor_outside_the_interval(metric, n_folds, repeats):
    """Ridge on two halves of what drives the responses, refitted in each fold."""
    p, inside = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        X, weight = rng.normal(size=(2, 100, 20)), rng.normal(size=(2, 20, 15))
        y = (X @ (weight / np.linalg.norm(weight, axis=1, keepdims=True))).sum(0) + rng.normal(size=(100, 15))
        orders = [rng.permutation(100) for _ in range(repeats)]
        tests = [order[k::n_folds] for order in orders for k in range(n_folds)]
        a, b = (
            np.concatenate([
                Ridge(alpha=10.0).fit(np.delete(x, t, 0), np.delete(y, t, 0)).predict(x[t]) for t in tests
            ])
            for x in X
        )  # fmt: skip
        fold = np.repeat(np.arange(len(tests)), [len(t) for t in tests])
        ids = names(100)[np.concatenate(tests)]
        fits = {"a": predictions(a, ids, fold), "b": predictions(b, ids, fold)}
        found = compare(
            toy_responses(rng, names(100), y.astype("f4")), fits,
            Comparison(better="b", than=["a"], metric=metric), Evaluation(n_permutations=200, n_bootstraps=200),
        )  # fmt: skip
        p.append(found["p"].values)
        inside.append((found["low"].values < 0) & (found["high"].values > 0))
    assert 0.012 < np.mean(np.array(p) <= 0.05) < 0.08
    assert 0.88 < np.mean(inside) < 0.99


def test_what_is_missing_costs_itself_alone():
    rng = np.random.default_rng(3)
    y = rng.normal(size=(12, 3)).astype("f4").astype(float)
    a, b = y + rng.normal(size=y.shape), y + rng.normal(size=y.shape)
    y[3, 0], a[:, 1] = np.nan, np.nan
    for metric in ("pearson_r", "r2"):
        found = pair(y, a, b, comparison=Comparison(better="b", than=["a"], metric=metric))
        r = found["difference"].sel(metric="pearson_r").values[0]
        rest = np.arange(12) != 3
        expected = pearson_r(y[rest, 0], b[rest, 0]) - pearson_r(y[rest, 0], a[rest, 0])
        assert r[0] == pytest.approx(expected, abs=1e-6)
        for name in ("p", "low", "high"):
            assert np.isfinite(found[name].values[0]).tolist() == [True, False, True], name
        assert found["region_count"].values[0, 0] == 2


def test_what_cannot_be_compared_is_one_line():
    rng = np.random.default_rng(4)
    y = rng.normal(size=(12, 3)).astype("f4")
    responses, one = toy_responses(rng, IDS, y), predictions(y)
    with pytest.raises(ContractError, match="of the same test stimuli and folds"):
        compare(responses, {"b": one, "a": predictions(y[:10], IDS[:10])}, PAIR)
    with pytest.raises(ContractError, match="differ in 3 neuroids"):
        compare(responses, {"b": one, "a": predictions(y, neuroids=["a", "b", "c"])}, PAIR)
    with pytest.raises(ContractError, match="responses have 1 time bins, the predictions 2"):
        compare(responses, {"b": one, "a": predictions(np.stack([y, y], 2))}, PAIR)
    with pytest.raises(InputError, match="'a'"):
        compare(responses, {"b": one, "as": one}, PAIR)
    with pytest.raises(InputError, match="5 test stimuli can be exchanged, expected 6"):
        few = predictions(y[:5], IDS[:5])
        compare(responses, {"b": few, "a": few}, PAIR)


def test_groups_turn_as_wholes_and_keep_the_rate_of_false_positives():
    """Two fits, equally good, that err alike within groups of five: one by one, they seem to differ."""
    rng = np.random.default_rng(0)
    group = np.repeat([f"g{i:02d}" for i in range(24)], 5)
    ids, n = names(len(group)), 150
    y = np.repeat(rng.normal(size=(24, n)), 5, 0) + 0.5 * rng.normal(size=(len(group), n))
    err = [np.repeat(rng.normal(size=(24, n)), 5, 0) for _ in range(2)]
    fits = {k: predictions(y + 2 * e, ids) for k, e in zip("ab", err, strict=True)}
    options = Evaluation(n_permutations=200, n_bootstraps=200)
    responses = toy_responses(rng, ids, y.astype("f4"))
    grouped = responses.assign_coords(group=("presentation", group))
    alone, together = (compare(r, fits, PAIR, options) for r in (responses, grouped))
    assert (alone.attrs["unit"], together.attrs["unit"], together.attrs["n_units"]) == (
        "stimulus",
        "group",
        24,
    )
    rate = [float((f["p"] < 0.05).mean()) for f in (alone, together)]
    assert rate[0] > 0.1 and rate[1] <= 0.08
    with pytest.raises(InputError, match="4 groups of test stimuli can be exchanged, expected 6 or more"):
        few = np.repeat(["a", "b", "c", "d"], 30)
        compare(responses.assign_coords(group=("presentation", few)), fits, PAIR, options)
