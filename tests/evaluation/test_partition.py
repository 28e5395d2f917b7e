import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from neuroenc import config, splits
from neuroenc.arrays import CONTRACT, make_features
from neuroenc.errors import InputError
from neuroenc.evaluation.partition import commonality, partition, product_measure, subsets
from neuroenc.evaluation.scores import pearson_r, r2_score
from tests.conftest import toy_responses


def test_product_measure_sums_to_the_score_and_is_himalayas():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(80, 5))
    parts = rng.normal(size=(3, 80, 5)) * 0.3 + truth * 0.2
    for metric, score in (("r2", r2_score), ("r", pearson_r)):
        for level in (0, 3):  # the mean of a prediction is measured against the mean of the truth
            found = product_measure(truth + level, parts, metric)
            np.testing.assert_allclose(found.sum(0), score(truth + level, parts.sum(0)), atol=1e-10)
    lost = np.where(np.arange(80)[:, None] < 5, np.nan, truth + 3)
    np.testing.assert_allclose(
        product_measure(lost, parts).sum(0), r2_score(lost[5:], parts.sum(0)[5:]), atol=1e-10
    )
    scoring = pytest.importorskip("himalaya.scoring")
    centred, still = truth - truth.mean(0), parts - parts.mean(1, keepdims=True)
    np.testing.assert_allclose(
        product_measure(centred, still, "r2"), scoring.r2_score_split(centred, still), atol=1e-10
    )
    np.testing.assert_allclose(
        product_measure(truth, parts, "r"), scoring.correlation_score_split(centred, parts), atol=1e-10
    )
    with pytest.raises(InputError, match="'r2', 'r'"):
        product_measure(truth, parts, "mse")
    for wrong in (parts[:, :, :1], parts[:, :79], parts[0]):
        with pytest.raises(InputError, match="has shape"):
            product_measure(truth, wrong)


def test_commonality_of_linear_regression_is_the_textbooks():
    """Unique parts by leaving out, pairwise shares by hand, and all of them sum to the whole."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(300, 3))
    X[:, 1] += X[:, 0]
    y = X @ [1.0, 0.5, -0.7] + rng.normal(size=300)
    r2 = {
        s: np.array([LinearRegression().fit(X[:, list(map(int, s))], y).score(X[:, list(map(int, s))], y)])
        for s in subsets(["0", "1", "2"])
    }
    found = commonality(r2)
    whole = r2["0", "1", "2"]
    assert found["0"] == pytest.approx(whole - r2["1", "2"])
    assert found["0&1"] == pytest.approx(r2["0", "2"] + r2["1", "2"] - r2["2",] - whole)
    triple = r2["0",] + r2["1",] + r2["2",] - r2["0", "1"] - r2["0", "2"] - r2["1", "2"] + whole
    assert found["0&1&2"] == pytest.approx(triple)
    assert sum(found.values()) == pytest.approx(whole)
    del r2["0",]
    with pytest.raises(InputError, match="is missing"):
        commonality(r2)


@pytest.fixture
def spaces(toy):
    """Targets 0 and 1 are driven by A, 2 and 3 by B, 4 and 5 by what both hold."""
    rng = np.random.default_rng(3)
    ids = toy[0]["stimulus_id"].values
    own_a, own_b, common = (rng.normal(size=(120, 4)) for _ in range(3))
    tables = {"A": np.concatenate([own_a, common], 1), "B": np.concatenate([own_b, common], 1)}
    attrs = dict.fromkeys(CONTRACT, "toy")
    features = {
        k: make_features(
            v.astype("f4"), stimulus_id=ids, layer=np.array(["x"] * 8), attrs=attrs | {"model": k}
        )
        for k, v in tables.items()
    }
    weight = rng.normal(size=(4, 2))
    Y = np.concatenate([d @ weight for d in (own_a, own_b, common)], 1) + 0.5 * rng.normal(size=(120, 6))
    return features, toy_responses(rng, ids, Y)


def test_partition_finds_what_is_unique_and_what_is_shared(toy, spaces):
    features, responses = spaces
    split = splits.make(toy[0], config.Split(kind="stimulus", n_folds=2))
    found = partition(responses, features, split, config.Banded(alphas=(-1, 5, 8), n_candidates=8))
    share = {m: found["score"].sel(metric=m).values for m in ("unique A", "unique B", "shared A&B")}
    assert (share["unique A"][:2] > 0.5).all() and (share["unique A"][2:] < 0.1).all()
    assert (share["unique B"][2:4] > 0.5).all() and (np.delete(share["unique B"], [2, 3]) < 0.1).all()
    assert (share["shared A&B"][4:] > 0.5).all() and (share["shared A&B"][:4] < 0.1).all()
    whole = found["score"].sel(metric="r2 A+B").values
    np.testing.assert_allclose(sum(share.values()), whole, atol=1e-5)
    measured = sum(found["score"].sel(metric=f"split r2 {k}").values for k in "AB")
    np.testing.assert_allclose(measured, whole, atol=1e-4)
    measured = sum(found["score"].sel(metric=f"split r {k}").values for k in "AB")
    np.testing.assert_allclose(measured, found["score"].sel(metric="pearson_r").values, atol=1e-4)


def test_partition_wants_two_to_five_spaces(toy, spaces):
    features, responses = spaces
    split = splits.make(toy[0], config.Split(kind="stimulus"))
    with pytest.raises(InputError, match="1 feature spaces"):
        partition(responses, {"A": features["A"]}, split, config.Banded())


@pytest.mark.parametrize("n_folds", [1, 2])
def test_unique_shares_are_those_of_linear_regression_where_nothing_is_shrunk(toy, spaces, n_folds):
    features, responses = spaces
    split = splits.make(toy[0], config.Split(kind="stimulus", n_folds=n_folds))
    options = config.Banded(alphas=(-6, -6, 1), n_candidates=1, dtype="float64")
    found = partition(responses, features, split, options, config.Evaluation(n_bootstraps=200))
    unique = found["unique"].values
    for k, (name, other) in enumerate(("AB", "BA")):
        direct = [
            _r2("AB", *spaces, split, fold) - _r2(other, *spaces, split, fold) for fold in range(n_folds)
        ]
        np.testing.assert_allclose(unique[k, :, 0], np.mean(direct, axis=0), atol=1e-4)
        np.testing.assert_allclose(unique[k, :, 0], found["score"].sel(metric=f"unique {name}"), atol=1e-5)
    assert (unique[..., 1] <= unique[..., 2]).all()


def _r2(names, features, responses, split, fold):
    side, ids = split["side"].values[fold], split["stimulus_id"].values
    Y = responses["response"].values[np.argsort(responses["stimulus_id"].values)][np.argsort(np.argsort(ids))]
    X = np.concatenate([features[n]["feature"].values for n in names], 1)
    X = X[np.argsort(features[names[0]]["stimulus_id"].values)][np.argsort(np.argsort(ids))]
    train, test = side == splits.TRAIN, side == splits.TEST
    return r2_score(Y[test], LinearRegression().fit(X[train], Y[train]).predict(X[test]))


def test_the_zone_is_the_space_that_drives_a_neuroid(toy, spaces):
    features, responses = spaces
    split = splits.make(toy[0], config.Split(kind="stimulus"))
    found = partition(responses, features, split, config.Banded(alphas=(-1, 5, 8), n_candidates=8))
    zone = found["zone"].values
    assert found["space_name"].values[zone[:4]].tolist() == ["A", "A", "B", "B"] and (zone[4:] == -1).all()
