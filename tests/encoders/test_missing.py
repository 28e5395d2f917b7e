"""Missing responses, held against fits to the rows that are there."""

import h5py
import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold

from neuroenc.encoders.missing import r2
from neuroenc.encoders.ridge import RidgeCV
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
