import numpy as np
import pytest
import scipy.linalg
import torch
import xarray as xr
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, LeaveOneGroupOut, PredefinedSplit
from sklearn.utils.estimator_checks import parametrize_with_checks

from neuroenc.encoders.ridge import RidgeCV, cross_validate, decompose, solve
from neuroenc.errors import InputError

ALPHAS = np.logspace(-1, 5, 13)
FOLDS = KFold(5, shuffle=True, random_state=0)


def problem(n, p, t=12, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * rng.uniform(0.2, 3, p) + rng.normal(size=p)
    Y = X @ rng.normal(size=(p, t)) * 0.2 + rng.normal(size=(n, t)) * np.geomspace(0.1, 60, t) + 5
    return X, Y


SHAPES = [(200, 40), (60, 150), (80, 80)]


@pytest.mark.parametrize(("n", "p"), SHAPES)
@pytest.mark.parametrize("intercept", [True, False])
def test_weights_are_scipys(n, p, intercept):
    X, Y = problem(n, p)
    alpha = np.geomspace(0.5, 500, Y.shape[1])
    coef, b = solve(decompose(X, Y, fit_intercept=intercept), alpha)
    centred, target = (X - X.mean(0), Y - Y.mean(0)) if intercept else (X, Y)
    for k, a in enumerate(alpha):
        expected = scipy.linalg.solve(centred.T @ centred + a * np.eye(p), centred.T @ target[:, k])
        np.testing.assert_allclose(coef[:, k], expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(b, Y.mean(0) - X.mean(0) @ coef if intercept else 0, atol=1e-9)


@pytest.mark.parametrize(("n", "p"), SHAPES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 1e-5)])
def test_agrees_with_himalaya(n, p, dtype, tolerance):
    himalaya = pytest.importorskip("himalaya.ridge")
    from himalaya.scoring import r2_score as score

    X, Y = problem(n, p)
    ours = RidgeCV(ALPHAS, cv=FOLDS, dtype=dtype).fit(X, Y)
    theirs = himalaya.RidgeCV(ALPHAS, cv=FOLDS, fit_intercept=True, solver_params={"score_func": score})
    theirs.fit(X, Y)
    np.testing.assert_allclose(ours.alpha_, theirs.best_alphas_, rtol=1e-6)
    scale = np.abs(theirs.coef_).max()
    np.testing.assert_allclose(ours.coef_.T / scale, theirs.coef_ / scale, atol=tolerance)
    assert ours.coef_.dtype == dtype


@pytest.mark.parametrize(("n", "p"), SHAPES)
def test_agrees_with_scikit_learn(n, p):
    """Per target scikit-learn can choose alpha by any splitter through a grid search only."""
    X, Y = problem(n, p)
    ours = RidgeCV(ALPHAS, cv=FOLDS).fit(X, Y)
    for k in range(Y.shape[1]):
        search = GridSearchCV(Ridge(), {"alpha": ALPHAS}, cv=FOLDS, scoring="r2").fit(X, Y[:, k])
        assert search.best_params_["alpha"] == pytest.approx(ours.alpha_[k])
        assert search.best_score_ == pytest.approx(ours.best_score_[k], abs=1e-9)
        np.testing.assert_allclose(search.best_estimator_.coef_, ours.coef_[k], rtol=1e-8, atol=1e-9)
        assert search.best_estimator_.intercept_ == pytest.approx(ours.intercept_[k], abs=1e-8)


def test_every_alpha_is_scored_as_by_refitting():
    X, Y = problem(90, 30, t=3)
    folds = list(FOLDS.split(X))
    found = cross_validate(X, Y, ALPHAS, folds)
    for i, a in enumerate(ALPHAS):
        expected = np.mean(
            [r2_score(Y[v], Ridge(alpha=a).fit(X[t], Y[t]).predict(X[v]), multioutput="raw_values")
             for t, v in folds], axis=0,
        )  # fmt: skip
        np.testing.assert_allclose(found[i], expected, atol=1e-9)


@pytest.mark.parametrize(
    "splitter",
    [
        4,
        GroupKFold(3),
        LeaveOneGroupOut(),
        PredefinedSplit(np.arange(60) % 4),
        list(KFold(3).split(np.zeros(60))),
    ],
)
def test_any_splitter(splitter):
    X, Y = problem(60, 10)
    groups = np.arange(60) // 15
    fitted = RidgeCV(ALPHAS, cv=splitter).fit(X, Y, groups=groups)
    assert np.isfinite(fitted.best_score_).all()


@pytest.mark.parametrize("device", [None, "cpu"])
def test_numpy_torch_and_xarray_in_and_out(device):
    X, Y = problem(60, 15)
    plain = RidgeCV(ALPHAS).fit(X, Y)
    tensor = RidgeCV(ALPHAS).fit(torch.tensor(X), torch.tensor(Y))
    out = tensor.predict(torch.tensor(X))
    assert isinstance(out, torch.Tensor) and isinstance(tensor.coef_, torch.Tensor)
    np.testing.assert_allclose(out, plain.predict(X), rtol=1e-8)
    on_device = RidgeCV(ALPHAS, device=device).fit(X, Y)
    assert isinstance(on_device.coef_, np.ndarray) and isinstance(on_device.predict(X), np.ndarray)
    np.testing.assert_allclose(on_device.coef_, plain.coef_, rtol=1e-7, atol=1e-10)
    arrays = (
        xr.DataArray(
            X, dims=("stimulus", "feature_index"), coords={"stimulus_id": ("stimulus", np.arange(60))}
        ),
        xr.DataArray(Y, dims=("presentation", "neuroid"), coords={"roi": ("neuroid", np.arange(12))}),
    )
    labelled = RidgeCV(ALPHAS, device=device).fit(*arrays).predict(arrays[0])
    assert labelled.dims == ("stimulus", "neuroid")
    assert {"stimulus_id", "roi"} <= set(labelled.coords)
    np.testing.assert_allclose(labelled, plain.predict(X), rtol=1e-8)


def test_torch_in_keeps_torch_with_a_device_and_refuses_nan():
    X, Y = map(torch.tensor, problem(60, 15))
    fitted = RidgeCV(ALPHAS, device="cpu").fit(X, Y)
    assert isinstance(fitted.coef_, torch.Tensor)
    with pytest.raises(ValueError, match="X has 60 rows, y has 59"):
        RidgeCV(ALPHAS).fit(X, Y[1:])
    Y[3, 2] = torch.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        RidgeCV(ALPHAS).fit(X, Y)


def test_time_bins_are_targets_of_their_own():
    X, Y = problem(60, 15)
    flat, bins = RidgeCV(ALPHAS).fit(X, Y), RidgeCV(ALPHAS).fit(X, Y.reshape(60, 4, 3))
    assert bins.coef_.shape == (4, 3, 15)
    np.testing.assert_array_equal(bins.coef_.reshape(12, 15), flat.coef_)
    np.testing.assert_array_equal(bins.alpha_.ravel(), flat.alpha_)
    assert bins.predict(X).shape == (60, 4, 3)
    labelled = xr.DataArray(Y.reshape(60, 4, 3), dims=("presentation", "neuroid", "time_bin"))
    rows = xr.DataArray(X, dims=("stimulus", "feature_index"))
    assert RidgeCV(ALPHAS).fit(rows, labelled).predict(rows).dims == ("stimulus", "neuroid", "time_bin")


def test_single_target():
    X, Y = problem(60, 15)
    fitted = RidgeCV(ALPHAS).fit(X, Y[:, 0])
    assert fitted.coef_.shape == (15,) and fitted.alpha_.shape == () and fitted.predict(X).shape == (60,)


def test_constant_target_does_not_disturb_the_others():
    X, Y = problem(60, 15)
    Y[:, 3] = 2.5
    fitted = RidgeCV(ALPHAS).fit(X, Y)
    np.testing.assert_allclose(fitted.coef_[3], 0, atol=1e-12)
    assert fitted.intercept_[3] == pytest.approx(2.5)
    others = np.delete(np.arange(12), 3)
    np.testing.assert_allclose(fitted.coef_[others], RidgeCV(ALPHAS).fit(X, Y[:, others]).coef_, rtol=1e-9)


@pytest.mark.parametrize("alphas", [[0, 1], [-1.0], []])
def test_alphas_must_be_above_zero(alphas):
    X, Y = problem(30, 5)
    with pytest.raises(InputError, match="must be above 0"):
        RidgeCV(alphas).fit(X, Y)


@parametrize_with_checks([RidgeCV()])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)
