import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold
from sklearn.utils.estimator_checks import parametrize_with_checks

from neuroenc.encoders.banded import BandedRidgeCV
from neuroenc.encoders.banded_search import candidates
from neuroenc.encoders.ridge import RidgeCV
from neuroenc.errors import InputError

ALPHAS = np.logspace(-1, 4, 8)
FOLDS = KFold(4, shuffle=True, random_state=0)
BANDS = np.repeat(["a", "b", "c"], [10, 20, 30])


def problem(n=150, t=9, seed=0):
    """Targets 0, 3, 6 … live in band a, 1, 4, … in b, the rest in both."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 60))
    W = rng.normal(size=(60, t))
    W[10:, 0::3] = 0
    W[:10, 1::3] = W[30:, 1::3] = 0
    W[30:, 2::3] = 0
    return X, X @ W * 0.3 + rng.normal(size=(n, t)) + 3


@pytest.mark.parametrize("n", [150, 50])
def test_weights_are_ridge_on_scaled_columns(n):
    X, Y = problem(n)
    fitted = BandedRidgeCV(ALPHAS, bands=BANDS, cv=FOLDS).fit(X, Y)
    band = np.unique(BANDS, return_inverse=True)[1]
    for t in range(9):
        scale = np.sqrt(fitted.gamma_[t][band])
        ridge = Ridge(fitted.alpha_[t]).fit(X * scale, Y[:, t])
        np.testing.assert_allclose(fitted.coef_[t], ridge.coef_ * scale, atol=1e-6)
        assert fitted.intercept_[t] == pytest.approx(ridge.intercept_, abs=1e-6)


@pytest.mark.parametrize("n", [150, 50])
def test_best_score_is_that_of_refitting(n):
    X, Y = problem(n)
    fitted = BandedRidgeCV(ALPHAS, bands=BANDS, cv=FOLDS, n_kept=99).fit(X, Y)
    band = np.unique(BANDS, return_inverse=True)[1]
    for t in range(9):
        scale = np.sqrt(fitted.gamma_[t][band])
        expected = [
            r2_score(Y[v, t], Ridge(fitted.alpha_[t]).fit(X[i] * scale, Y[i, t]).predict(X[v] * scale))
            for i, v in FOLDS.split(X)
        ]
        assert fitted.best_score_[t] == pytest.approx(np.mean(expected), abs=1e-3)


def test_one_band_is_plain_ridge():
    X, Y = problem()
    banded, plain = (m.fit(X, Y) for m in (BandedRidgeCV(ALPHAS, cv=FOLDS), RidgeCV(ALPHAS, cv=FOLDS)))
    np.testing.assert_allclose(banded.alpha_, plain.alpha_)
    np.testing.assert_allclose(banded.coef_, plain.coef_, atol=1e-7)


def test_the_band_that_drives_a_target_gets_the_strength_and_tests_better():
    X, Y = problem(300)
    train, test = slice(0, 150), slice(150, 300)
    banded = BandedRidgeCV(ALPHAS, bands=BANDS, cv=FOLDS, n_candidates=40).fit(X[train], Y[train])
    assert (banded.gamma_[0::3].argmax(1) == 0).all() and (banded.gamma_[1::3].argmax(1) == 1).all()
    plain = RidgeCV(ALPHAS, cv=FOLDS).fit(X[train], Y[train])
    score = [r2_score(Y[test], m.predict(X[test])) for m in (banded, plain)]
    assert score[0] > score[1] + 0.02


def test_agrees_with_himalaya_on_the_same_candidates():
    himalaya = pytest.importorskip("himalaya.ridge")
    from himalaya.scoring import r2_score as score

    X, Y = problem(300, t=60)
    train, test = slice(0, 150), slice(150, 300)
    gammas = candidates(3, 20, 0)
    ours = BandedRidgeCV(ALPHAS, bands=BANDS, cv=FOLDS).fit(X[train], Y[train])
    theirs = himalaya.GroupRidgeCV(
        groups=np.unique(BANDS, return_inverse=True)[1], cv=FOLDS, fit_intercept=True,
        solver_params={"n_iter": gammas, "alphas": ALPHAS, "score_func": score, "progress_bar": False},
    ).fit(X[train], Y[train])  # fmt: skip
    found = [r2_score(Y[test], m.predict(X[test])) for m in (ours, theirs)]
    assert found[0] > found[1] - 0.002


def test_descent_improves_the_validated_score():
    X, Y = problem(120)
    start = BandedRidgeCV(ALPHAS, bands=BANDS, cv=FOLDS, n_candidates=3).fit(X, Y)
    found = BandedRidgeCV(ALPHAS, bands=BANDS, cv=FOLDS, n_candidates=3, n_gradient_steps=25).fit(X, Y)
    assert (found.best_score_ >= start.best_score_ - 1e-6).all()
    assert found.best_score_.mean() > start.best_score_.mean() + 0.005
    # and the score it claims is that of refitting at its strengths
    band = np.unique(BANDS, return_inverse=True)[1]
    scale = np.sqrt(found.gamma_[2][band])
    expected = [
        r2_score(Y[v, 2], Ridge(found.alpha_[2]).fit(X[i] * scale, Y[i, 2]).predict(X[v] * scale))
        for i, v in FOLDS.split(X)
    ]
    assert found.best_score_[2] == pytest.approx(np.mean(expected), abs=2e-3)


@pytest.mark.parametrize("unit", [1e-13, 1e-8, 1e6])
def test_descent_does_not_ask_for_the_unit_of_the_responses(unit):
    X, Y = problem(t=3)
    plain, other = (
        BandedRidgeCV(ALPHAS, bands=BANDS, cv=FOLDS, n_candidates=4, n_gradient_steps=5).fit(X, y)
        for y in (Y, Y * unit)
    )
    np.testing.assert_allclose(other.best_score_, plain.best_score_, atol=1e-9)
    np.testing.assert_allclose(other.predict(X) / unit, plain.predict(X), atol=1e-6)


def test_descent_far_from_zero_and_where_a_fold_does_not_vary():
    X, Y = problem(t=2)
    far = (X + 1e5).astype("f4")
    Y[37:, 1] = 0.5
    options = {"bands": BANDS, "cv": KFold(4), "n_candidates": 4, "n_gradient_steps": 5}
    single = BandedRidgeCV(ALPHAS, **options).fit(far, Y.astype("f4"))
    double = BandedRidgeCV(ALPHAS, **options).fit(far.astype("f8"), Y)
    np.testing.assert_allclose(single.best_score_, double.best_score_, atol=1e-4)
    shown = [m.predict(far.astype(m.coef_.dtype))[:, 0] for m in (single, double)]
    np.testing.assert_allclose(*shown, atol=1e-3)
    band = np.unique(BANDS, return_inverse=True)[1]
    expected = []
    for train, held in KFold(4).split(X):  # what does not vary in a fold counts 0
        scale = np.sqrt(double.gamma_[1][band])
        ridge = Ridge(double.alpha_[1]).fit(far[train].astype("f8") * scale, Y[train, 1])
        shown = ridge.predict(far[held].astype("f8") * scale)
        expected.append(r2_score(Y[held, 1], shown) if np.ptp(Y[held, 1]) else 0)
    assert double.best_score_[1] == pytest.approx(np.mean(expected), abs=1e-4)


def test_parts_add_up():
    X, Y = problem()
    fitted = BandedRidgeCV(ALPHAS, bands=BANDS, cv=FOLDS).fit(X, Y)
    np.testing.assert_allclose(fitted.predict_bands(X).sum(0) + Y.mean(0), fitted.predict(X), atol=1e-6)
    np.testing.assert_allclose(fitted.refit(X, Y).coef_, fitted.coef_, atol=1e-9)


def test_bands_must_name_every_column():
    X, Y = problem()
    with pytest.raises(InputError, match=r"names of shape \(2,\)"):
        BandedRidgeCV(bands=["a", "b"]).fit(X, Y)
    with pytest.raises(InputError, match="must be above 0"):
        BandedRidgeCV([0.0]).fit(X, Y)


@pytest.mark.parametrize(
    ("bands", "message"),
    [
        ([None] * 10, "bands has nothing in row 0"),
        ([np.nan] * 5 + [1.0] * 5, "bands has nothing in row 0"),
        (["a"] * 9 + ["a "], "differ in the blanks"),
        ("aaaaabbbbb", "names of shape"),
        ([["a"] * 10], "names of shape"),
    ],
)
def test_what_names_no_band_is_refused(bands, message):
    X, Y = problem()
    with pytest.raises(InputError, match=message):
        BandedRidgeCV(bands=bands).fit(X[:, :10], Y)


def test_bands_of_texts_and_numbers_are_names():
    X, Y = problem()
    mixed = BandedRidgeCV(ALPHAS, bands=["a", 1] * 5, cv=FOLDS, n_candidates=3).fit(X[:, :10], Y)
    assert mixed.bands_.tolist() == ["1", "a"]
    same = BandedRidgeCV(ALPHAS, bands=["b", "a"] * 5, cv=FOLDS, n_candidates=3).fit(X[:, :10], Y)
    np.testing.assert_array_equal(mixed.coef_, same.coef_)


@parametrize_with_checks([BandedRidgeCV(n_candidates=2)])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)
