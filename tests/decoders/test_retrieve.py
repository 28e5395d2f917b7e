import warnings

import numpy as np
import pytest
import xarray as xr
from scipy.stats import binomtest, multivariate_normal

from neuroenc.decoders import match, retrieve, scores
from neuroenc.errors import InputError, InputWarning
from neuroenc.evaluation.identification import cosine

RNG = np.random.default_rng(0)


def test_directions_are_what_their_names_say():
    """Two responses are drawn to one picture: each finds a picture, one picture finds the wrong response."""
    similarity = np.array([[0.9, 0.1, 0.0], [0.95, 0.99, 0.0], [0.0, 0.1, 0.5]])
    found = retrieve.retrieval(similarity)
    assert found["brain_to_image_top1"]["value"] == 1.0
    assert found["image_to_brain_top1"]["value"] == pytest.approx(2 / 3)
    assert found["brain_to_image_top1"]["chance"] == pytest.approx(1 / 3)
    assert found["brain_to_image_top5"] == {"value": 1.0, "low": 1.0, "high": 1.0, "chance": 1.0}


def test_n_way_is_the_mean_over_all_draws():
    decoded, true = RNG.normal(size=(2, 60, 8))
    similarity = cosine(decoded + true, true)
    for k in (1, 5):
        exact = retrieve.hits(similarity, k, 20).mean()
        drawn = []
        for _ in range(600):
            some = RNG.choice(60, 20, replace=False)
            drawn.append(retrieve.hits(similarity[np.ix_(some, some)], k).mean())
        assert exact == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / np.sqrt(600))
    np.testing.assert_array_equal(retrieve.hits(similarity, 1, 60), retrieve.hits(similarity, 1))


def test_chance_and_ties():
    similarity = RNG.normal(size=(400, 400))
    found = retrieve.retrieval(similarity, n_way=50)
    for name, k in (("brain_to_image_top1", 1), ("image_to_brain_top5", 5)):
        assert found[name]["chance"] == k / 50
        assert found[name]["value"] == pytest.approx(k / 50, abs=0.025)
        assert found[name]["low"] < found[name]["value"] < found[name]["high"]
    assert retrieve.hits(np.zeros((10, 10)), 1).sum() == 0
    with pytest.raises(InputError, match=r"'n_way': 0\. Expected a whole number of 1 or more"):
        retrieve.retrieval(np.eye(10), n_way=0)
    with pytest.raises(InputError, match=r"shape \(10, 12\), expected \(n, n\)"):
        retrieve.retrieval(np.eye(10, 12))
    with pytest.raises(InputError, match="of one width"):
        cosine(np.eye(3), np.eye(4))
    with pytest.raises(InputError, match="10 pictures are too few for 300-way retrieval"):
        retrieve.hits(np.zeros((10, 10)), 1, 300)


@pytest.mark.parametrize("how", [{"k": 0}, {"k": 1, "n_way": 2.5}])
def test_what_is_no_number_of_candidates_is_refused(how):
    with pytest.raises(InputError, match="Expected a whole number of 1 or more"):
        retrieve.hits(np.eye(4), **how)


def test_units_that_are_not_one_a_picture_are_refused():
    with pytest.raises(InputError, match=r"shape \(6,\), expected \(5,\)"):
        retrieve.retrieval(np.eye(5), unit=np.arange(6), n_bootstraps=10)


def test_all_found_of_few_pictures_is_not_certain():
    """Of 12 pictures that are all found the next may be missed: Clopper and Pearson's limits of 12 of 12."""
    found = retrieve.retrieval(np.eye(12), n_bootstraps=50)
    limits = binomtest(12, 12).proportion_ci(0.95, "exact")
    top1 = found["brain_to_image_top1"]
    assert (top1["low"], top1["high"]) == pytest.approx((limits.low, 1))
    none = retrieve.retrieval(-np.eye(12), unit=np.arange(12) // 2, n_bootstraps=50)["brain_to_image_top1"]
    assert (none["low"], none["high"]) == pytest.approx(
        (0, binomtest(0, 6).proportion_ci(0.95, "exact").high)
    )
    sure = retrieve.retrieval(np.eye(4), n_bootstraps=50)["brain_to_image_top5"]
    assert (sure["low"], sure["high"]) == (1, 1)


def test_pictures_that_stand_twice_are_warned_of():
    """Single presentations as rows: of each picture the copy counts against it, and a perfect decoder finds none."""
    true = np.repeat(RNG.normal(size=(10, 6)), 2, axis=0)
    with pytest.warns(InputWarning, match="20 of 20 pictures have the embedding of another one"):
        found = retrieve.retrieval(cosine(true + 0.1 * RNG.normal(size=true.shape), true), n_bootstraps=10)
    assert found["brain_to_image_top1"]["value"] == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        retrieve.retrieval(cosine(true[::2], true[::2]), n_bootstraps=10)
        retrieve.retrieval(np.full((4, 4), np.nan), n_bootstraps=10)


def test_likelihood_is_that_of_a_gaussian():
    covariance = np.cov(RNG.normal(size=(6, 40)) * np.arange(1, 7)[:, None])
    residual = RNG.multivariate_normal(np.zeros(6), covariance, 500)
    y, f = RNG.normal(size=(2, 9, 6))
    found = match.likelihood(y, f, residual)
    shrinkage = match.choose_shrinkage(residual)
    measured = residual.T @ residual / len(residual)
    shrunk = (1 - shrinkage) * measured + shrinkage * np.diag(np.diag(measured))
    expected = [[multivariate_normal(m, shrunk).logpdf(v) for m in f] for v in y]
    np.testing.assert_allclose(found - found[0, 0], np.array(expected) - expected[0][0], rtol=1e-6, atol=1e-6)


def test_shrinkage_is_the_most_likely_on_held_out_residuals():
    """Against the density of scipy, more neuroids than samples too."""
    for n in (30, 300):
        residual = RNG.normal(size=(n, 40)) @ RNG.normal(size=(40, 40))
        fitted, held = residual[: n // 2], residual[n // 2 :]
        measured = fitted.T @ fitted / len(fitted)
        expected = [
            2
            * multivariate_normal(np.zeros(40), (1 - s) * measured + s * np.diag(np.diag(measured)))
            .logpdf(held)
            .sum()
            for s in match.SHRINKAGES
        ]
        found = match.Noise.fit(fitted).log_likelihood(held)
        np.testing.assert_allclose(found - found[0], np.array(expected) - expected[0], rtol=1e-6, atol=1e-6)


def test_shrinkage_follows_the_samples():
    mixing = RNG.normal(size=(40, 40))
    correlated = RNG.normal(size=(4000, 40)) @ mixing
    few, many = match.choose_shrinkage(correlated[:60]), match.choose_shrinkage(correlated)
    assert many < few <= 1
    assert match.choose_shrinkage(RNG.normal(size=(100, 40))) >= 0.8


def test_noise_shared_by_neuroids_is_seen_through():
    shared = RNG.normal(size=(300, 1)) * 3
    predicted = RNG.normal(size=(300, 10))
    measured = predicted + shared + 0.5 * RNG.normal(size=(300, 10))
    train, test = slice(0, 200), slice(200, 300)
    whitened = match.likelihood(measured[test], predicted[test], (measured - predicted)[train])
    plain = -((measured[test, None] - predicted[None, test]) ** 2).sum(-1)
    assert retrieve.hits(whitened, 1).mean() > 0.85 > 0.6 > retrieve.hits(plain, 1).mean()


def test_pictures_of_one_group_are_drawn_as_one():
    """Whether a picture is found is a matter of its group here: 8 groups of 5 say as much as 8 pictures."""
    true, group = RNG.normal(size=(40, 60)), np.repeat([f"g{i}" for i in range(8)], 5)
    found = np.where((np.arange(40) // 5 % 2 == 0)[:, None], true, RNG.normal(size=(40, 60)))
    dims = ("presentation", "component")
    decoded = xr.Dataset(
        dict.fromkeys(("embedding", "sampled", "expected", "point"), (dims, found)) | {"true": (dims, true)},
        {"stimulus_id": ("presentation", [f"s{i:02d}" for i in range(40)]), "fold": ("presentation", np.zeros(40, int))},
    )  # fmt: skip
    decoded["point"] = dims, true  # the prior finds all
    alone, together = (
        scores.score(decoded),
        scores.score(decoded.assign_coords(group=("presentation", group))),
    )
    a, b = (s["brain_to_image_top1"] for s in (alone, together))
    assert a["value"] == b["value"] == 1
    plain = decoded.drop_vars("point")
    a, b = (
        scores.score(d)["brain_to_image_top1"]
        for d in (plain, plain.assign_coords(group=("presentation", group)))
    )
    assert a["value"] == b["value"]
    assert b["high"] - b["low"] > 1.6 * (a["high"] - a["low"])
    a, b = (
        scores.prior_gain(d)["top1"] for d in (decoded, decoded.assign_coords(group=("presentation", group)))
    )
    assert a["gain"] == b["gain"] and b["high"] - b["low"] > 1.6 * (a["high"] - a["low"])
