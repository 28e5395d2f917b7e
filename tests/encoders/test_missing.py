"""Missing responses, held against fits to the rows that are there."""

import h5py
import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold

from neuroenc.encoders.attention import AttentionRouting
from neuroenc.encoders.banded import BandedRidgeCV
from neuroenc.encoders.factorised import alternate, mean_tokens
from neuroenc.encoders.gaussian import GaussianFieldCV, pooling
from neuroenc.encoders.missing import complete, r2
from neuroenc.encoders.pls import PLS
from neuroenc.encoders.ridge import RidgeCV
from neuroenc.encoders.stack import stack_weights
from neuroenc.encoders.training import Processes, _step
from neuroenc.errors import InputError

ALPHAS = np.logspace(-1, 4, 6)
FOLDS = list(KFold(4, shuffle=True, random_state=0).split(np.zeros(60)))


def holed(n=60, p=20, t=7, seed=0):
    """Targets that lack nothing, one value, the same three, a fold's rows, and half of all."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) + 3
    Y = X @ rng.normal(size=(p, t)) * 0.3 + 2 * rng.normal(size=(n, t)) + 5
    Y[4, 1] = np.nan
    Y[[2, 30, 31], 2:4] = np.nan
    Y[FOLDS[1][1], 4] = np.nan
    Y[rng.permutation(n)[: n // 2], 5] = np.nan
    return X, Y


def without(X, y, alphas=ALPHAS, intercept=True):
    """Scores at each alpha, and the model at the best one, of the rows that are there: scikit-learn's."""
    there = np.isfinite(y)
    scores = np.zeros((len(alphas), len(FOLDS)))
    for f, (train, held) in enumerate(FOLDS):
        train, held = train[there[train]], held[there[held]]
        for i, a in enumerate(alphas):
            if len(held) > 1:
                model = Ridge(alpha=a, fit_intercept=intercept).fit(X[train], y[train])
                scores[i, f] = r2_score(y[held], model.predict(X[held]))
    scores = scores.mean(1)
    best = alphas[scores.argmax()]
    return scores, Ridge(alpha=best, fit_intercept=intercept).fit(X[there], y[there])


@pytest.mark.parametrize("p", [20, 60, 150])
@pytest.mark.parametrize("intercept", [True, False])
def test_ridge_of_a_target_is_that_of_the_rows_it_has(p, intercept):
    X, Y = holed(p=p)
    found = RidgeCV(ALPHAS, cv=FOLDS, fit_intercept=intercept).fit(X, Y)
    for k in range(Y.shape[1]):
        scores, model = without(X, Y[:, k], intercept=intercept)
        np.testing.assert_allclose(found.cv_scores_[:, k], scores, atol=1e-8)
        assert found.alpha_[k] == pytest.approx(model.alpha)
        np.testing.assert_allclose(found.coef_[k], model.coef_, atol=1e-8)
        np.testing.assert_allclose(found.predict(X)[:, k], model.predict(X), atol=1e-7)


def test_time_bins_tensors_files_and_masked_arrays_lack_values_alike(tmp_path):
    X, Y = holed()
    plain = RidgeCV(ALPHAS, cv=FOLDS).fit(X, Y)
    bins = RidgeCV(ALPHAS, cv=FOLDS).fit(X, Y[:, :6].reshape(60, 3, 2))
    np.testing.assert_allclose(bins.coef_.reshape(6, -1), plain.coef_[:6], atol=1e-10)
    tensor = RidgeCV(ALPHAS, cv=FOLDS).fit(torch.tensor(X), torch.tensor(Y))
    np.testing.assert_allclose(tensor.coef_, plain.coef_, atol=1e-10)
    hidden = np.ma.masked_invalid(Y)
    hidden.data[np.isnan(Y)] = 1e3
    np.testing.assert_array_equal(RidgeCV(ALPHAS, cv=FOLDS).fit(X, hidden).coef_, plain.coef_)
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["x"], file["y"] = X, Y
        coef = file.create_dataset("coef", (7, 20), "f4")
        RidgeCV(ALPHAS, cv=FOLDS).fit(file["x"], file["y"], coef_out=coef)
        np.testing.assert_allclose(coef[:], plain.coef_, atol=1e-6)


def test_single_precision_fills_in_as_exactly_as_it_fits():
    X, Y = holed()
    found = RidgeCV(ALPHAS, cv=FOLDS).fit(X.astype("f4"), Y.astype("f4"))
    exact = RidgeCV(ALPHAS, cv=FOLDS).fit(X, Y)
    np.testing.assert_array_equal(found.alpha_, exact.alpha_.astype("f8"))
    np.testing.assert_allclose(found.coef_, exact.coef_, atol=1e-5)


def test_a_refit_leaves_out_what_is_missing():
    X, Y = holed()
    whole = RidgeCV(ALPHAS, cv=FOLDS).fit(X, np.nan_to_num(Y, nan=5.0))
    again = whole.refit(X[:40], Y[:40])
    for k in range(Y.shape[1]):
        there = np.isfinite(Y[:40, k])
        model = Ridge(alpha=whole.alpha_[k]).fit(X[:40][there], Y[:40, k][there])
        np.testing.assert_allclose(again.coef_[k], model.coef_, atol=1e-9)
        np.testing.assert_allclose(again.intercept_[k], model.intercept_, atol=1e-8)


def test_targets_without_values_are_nan_and_counted():
    X, Y = holed()
    Y[:, 6], Y[1:, 5] = np.nan, np.nan
    with pytest.warns(UserWarning, match="2 of 7 targets have fewer than two values, first 5: they are NaN"):
        found = RidgeCV(ALPHAS, cv=FOLDS).fit(X, Y)
    assert np.isnan(found.predict(X)).all(0).tolist() == [False] * 5 + [True, True]
    assert np.isnan(found.best_score_[5:]).all() and np.isfinite(found.best_score_[:5]).all()
    with pytest.raises(InputError, match="all 420 values are missing"):
        RidgeCV(ALPHAS, cv=FOLDS).fit(X, np.full_like(Y, np.nan))


def test_r2_is_scikit_learns_over_the_rows_that_are_there():
    _, Y = holed()
    shown = np.nan_to_num(Y, nan=0) * 0.9
    for k in range(7):
        there = np.isfinite(Y[:, k])
        assert r2(Y, shown)[k] == pytest.approx(r2_score(Y[there, k], shown[there, k]), abs=1e-12)
    constant = np.full((50, 2), [0.1, np.nan])
    assert r2(constant, constant + 1e-3).tolist() == [0, 0]


@pytest.mark.parametrize("p", [20, 150])
@pytest.mark.parametrize("intercept", [True, False])
def test_banded_ridge_of_a_target_is_that_of_the_rows_it_has(p, intercept):
    """Each target alone, without its missing rows, chooses and solves the same."""
    X, Y = holed(p=p)
    bands = np.arange(p) % 2
    options = {"bands": bands, "n_candidates": 4, "fit_intercept": intercept}
    found = BandedRidgeCV(ALPHAS, cv=FOLDS, **options).fit(X, Y)
    for k in range(4):  # the last one lacks all of a fold, which scikit-learn's splitters cannot have
        there = np.flatnonzero(np.isfinite(Y[:, k]))
        place = np.full(60, -1)
        place[there] = np.arange(len(there))
        folds = [tuple(place[r][place[r] >= 0] for r in fold) for fold in FOLDS]
        alone = BandedRidgeCV(ALPHAS, cv=folds, **options).fit(X[there], Y[there, k])
        assert found.alpha_[k] == pytest.approx(alone.alpha_)
        np.testing.assert_allclose(found.gamma_[k], alone.gamma_)
        np.testing.assert_allclose(found.best_score_[k], alone.best_score_, atol=1e-5)
        np.testing.assert_allclose(found.coef_[k], alone.coef_, atol=1e-8)
        np.testing.assert_allclose(found.predict(X)[:, k], alone.predict(X), atol=1e-7)
    again = found.refit(X[:40], Y[:40])
    there = np.isfinite(Y[:40, 3])
    scale = np.sqrt(found.gamma_[3] / found.alpha_[3])[bands]
    model = Ridge(alpha=1, fit_intercept=intercept).fit(X[:40][there] * scale, Y[:40, 3][there])
    np.testing.assert_allclose(again.predict(X)[:, 3], model.predict(X * scale), atol=1e-7)


def test_factorised_masks_are_those_of_the_rows_a_target_has():
    rng = np.random.default_rng(0)
    X, mask = rng.normal(size=(80, 4, 3)).astype("f4") + 1, rng.normal(size=(2, 4)).astype("f4")
    Y = rng.normal(size=(80, 2)).astype("f4") + 3
    Y[[5, 9, 70], 1] = np.nan
    there = np.isfinite(Y[:, 1])
    found = next(alternate(X, mean_tokens(X), Y, np.array([[2.0, 2.0]]), mask, 6))
    alone = next(alternate(X[there], mean_tokens(X[there]), Y[there, 1:], np.array([[2.0]]), mask[1:], 6))
    for one, other in zip(found, alone, strict=True):
        np.testing.assert_allclose(one[1], other[0], atol=1e-4)


def test_gaussian_fields_take_ridge_as_it_is():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(60, 4, 3)), rng.normal(size=(60, 3)) + 2
    Y[:, 1] += X[:, 2].sum(1)
    Y[[3, 20], 1] = np.nan
    found = GaussianFieldCV(ALPHAS, n_positions=2, sizes=(0.2,), cv=FOLDS, dtype="float64").fit(X, Y)
    pooled = np.einsum("nlc,l->nc", X, pooling(found.field_[1], 2))
    there = np.isfinite(Y[:, 1])
    model = Ridge(alpha=found.alpha_[1]).fit(pooled[there], Y[there, 1])
    np.testing.assert_allclose(found.predict(X)[:, 1], model.predict(pooled), atol=1e-6)
    again = found.refit(X[:40], Y[:40])
    model = Ridge(alpha=found.alpha_[1]).fit(pooled[:40][there[:40]], Y[:40, 1][there[:40]])
    np.testing.assert_allclose(again.predict(X)[:, 1], model.predict(pooled), atol=1e-6)


def test_the_loss_of_a_trained_readout_does_not_count_what_is_missing():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(60, 4, 3)).astype("f4"), rng.normal(size=(60, 3)).astype("f4")
    holes = Y.copy()
    holes[[3, 20], 1] = np.nan
    options = {"max_epochs": 2, "cv": FOLDS, "n_dimensions": 8, "n_heads": 2, "n_hidden": 8}
    found = AttentionRouting(readout="gradient", **options).fit(X, holes)
    assert np.isfinite(found.predict(X)).all() and np.isfinite(found.best_score_).all()
    assert np.isfinite(found.history_).all()
    x, y = torch.randn(4, 3), torch.zeros(4, 3)
    y[1, 2] = torch.nan
    holder = torch.nn.Module()
    holder.x = torch.nn.Parameter(x.clone())
    holder.forward = lambda rows: holder.x
    optimiser = torch.optim.SGD(holder.parameters(), lr=0.0)
    value = _step(holder, x, y, 4, optimiser, 1e9, Processes.here("cpu"))
    there = ~torch.isnan(y)
    assert value == pytest.approx(float((x[there] ** 2).sum() / 4), rel=1e-5)
    assert holder.x.grad[1, 2] == 0 and (holder.x.grad[there] != 0).all()
    with pytest.raises(InputError, match="2 targets lack values in 2 rows"):
        PLS(2).fit(X[:, 0], np.where(np.arange(60)[:, None] % 50 == 3, np.nan, Y[:, :2]))


def test_stacks_learn_from_the_rows_that_are_there():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(50, 4))
    members = np.stack([truth + rng.normal(size=truth.shape) * s for s in (0.5, 1.0)])
    holes = truth.copy()
    holes[[7, 30], 2] = np.nan
    found = stack_weights(members, holes, select=True)
    assert np.isfinite(found).all() and (found[:, 2] == [1, 0]).all()
    np.testing.assert_allclose(stack_weights(members, holes).sum(0), 1)


def test_decoders_keep_what_is_complete():
    Y = np.random.default_rng(0).normal(size=(20, 10))
    Y[:, 9] = np.nan
    lost = Y.copy()
    lost[4, :] = np.nan
    lost[4, 0] = 1.0  # one trial lacks eight of nine
    rows, neuroids, said = complete(lost)
    assert (~rows).nonzero()[0].tolist() == [4] and neuroids.sum() == 9
    assert said.startswith("1 of 20 stimuli and 1 of 10 neuroids lack values")
    lost = Y.copy()
    lost[3:9, 2] = np.nan  # one neuroid lacks six trials
    rows, neuroids, _ = complete(lost)
    assert rows.all() and (~neuroids).nonzero()[0].tolist() == [2, 9]
    lost[np.arange(20), np.arange(20) % 9] = np.nan
    with pytest.raises(InputError, match="none is complete"):
        complete(lost)
