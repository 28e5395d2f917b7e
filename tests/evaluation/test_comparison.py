"""The paired test of two encoders: by hand, by all signs, and under the null."""

from itertools import product

import numpy as np
import pytest
import xarray as xr

from neuroenc.errors import ContractError, InputError
from neuroenc.evaluation import compare, pearson_r
from tests.conftest import toy_responses

IDS = np.array([f"p{i:02d}" for i in range(12)])


def predictions(values, ids=IDS, folds=None, neuroids=None):
    n, k = values.shape
    fold = np.zeros(n, int) if folds is None else folds
    return xr.Dataset(
        {"prediction": (("presentation", "neuroid"), values), "training": (("fold", "stimulus"), np.zeros((fold.max() + 1, 1), bool))},
        {"stimulus_id": ("presentation", ids), "fold": ("presentation", fold),
         "neuroid_id": ("neuroid", neuroids if neuroids is not None else [f"n{i}" for i in range(k)]),
         "training_stimulus_id": ("stimulus", ["none"])},
        {"model": "m", "kind": "predictions"},
    )  # fmt: skip


def test_the_difference_is_that_of_r_and_p_counts_all_signs():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(12, 4)).astype("f4")
    a, b = y + rng.normal(size=(12, 4)), y + 0.7 * rng.normal(size=(12, 4))
    responses = toy_responses(rng, IDS, y)
    order = rng.permutation(12)
    found = compare(responses, predictions(a), predictions(b[order], IDS[order]), n_permutations=20_000)
    expected = pearson_r(y, b) - pearson_r(y, a)
    np.testing.assert_allclose(found["difference"].values, expected, atol=1e-6)

    def unit(v):
        return (v - v.mean(0)) / v.std(0)

    a, b = unit(a), unit(b)
    null = []
    for turn in product([False, True], repeat=12):
        t = np.array(turn)[:, None]
        null.append(pearson_r(y, np.where(t, a, b)) - pearson_r(y, np.where(t, b, a)))
    null = np.array(null)
    exact = (np.abs(null) >= np.abs(expected) - 1e-9).mean(0)
    np.testing.assert_allclose(found["p"].values, exact, atol=0.012)
    region = found.set_index(region="region_name").sel(region="A")
    assert region["region_difference"].item() == pytest.approx(expected[[0, 2]].mean(), abs=1e-6)
    assert region["region_p"].item() == pytest.approx(
        (np.abs(null[:, [0, 2]].mean(1)) >= abs(expected[[0, 2]].mean()) - 1e-9).mean(), abs=0.012
    )


def test_p_is_uniform_where_both_are_as_good():
    rng = np.random.default_rng(1)
    ids = np.array([f"p{i:02d}" for i in range(60)])
    y = rng.normal(size=(60, 1500)).astype("f4")
    a, b = (y + rng.normal(size=y.shape) for _ in range(2))
    p = compare(toy_responses(rng, ids, y), predictions(a, ids), predictions(b, ids), n_permutations=400)[
        "p"
    ].values
    for level in (0.05, 0.2, 0.5):
        assert np.mean(p <= level) == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 1500))


def test_a_better_encoder_is_found_and_folds_are_averaged():
    rng = np.random.default_rng(2)
    ids = np.array([f"p{i:03d}" for i in range(120)])
    y = rng.normal(size=(120, 8)).astype("f4")
    a, b = y + 2 * rng.normal(size=y.shape), y + 0.5 * rng.normal(size=y.shape)
    folds = np.arange(120) % 2
    found = compare(toy_responses(rng, ids, y), predictions(a, ids, folds), predictions(b, ids, folds))
    halves = [
        pearson_r(y[folds == f], b[folds == f]) - pearson_r(y[folds == f], a[folds == f]) for f in (0, 1)
    ]
    np.testing.assert_allclose(found["difference"].values, np.mean(halves, 0), atol=1e-6)
    assert (found["q"].values < 0.01).all() and found["region_p"].values[0] == pytest.approx(1 / 1001)


def test_what_is_missing_costs_itself_alone():
    rng = np.random.default_rng(3)
    y = rng.normal(size=(12, 3)).astype("f4")
    a, b = y + rng.normal(size=y.shape), y + rng.normal(size=y.shape)
    y[3, 0], a[:, 1] = np.nan, np.nan
    found = compare(toy_responses(rng, IDS, y), predictions(a), predictions(b))["difference"].values
    rest = np.arange(12) != 3
    assert found[0] == pytest.approx(
        pearson_r(y[rest, 0], b[rest, 0]) - pearson_r(y[rest, 0], a[rest, 0]), abs=1e-6
    )
    assert np.isnan(found[1]) and np.isfinite(found[2])


def test_what_cannot_be_compared_is_one_line():
    rng = np.random.default_rng(4)
    y = rng.normal(size=(12, 3)).astype("f4")
    responses, one = toy_responses(rng, IDS, y), predictions(y)
    with pytest.raises(ContractError, match="of the same test stimuli and folds"):
        compare(responses, one, predictions(y[:10], IDS[:10]))
    with pytest.raises(ContractError, match="differ in 3 neuroids"):
        compare(responses, one, predictions(y, neuroids=["a", "b", "c"]))
    running = responses.assign_coords(
        film=("presentation", np.full(12, "f")), onset=("presentation", np.arange(12.0))
    )
    with pytest.raises(InputError, match="cannot be exchanged one by one"):
        compare(running, one, one)
