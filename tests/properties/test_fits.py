"""What must not change a fit: the order of rows and neuroids, units, jobs; and what missing values mean."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from neuroenc.encoders.banded import BandedRidgeCV
from neuroenc.encoders.ridge import RidgeCV

ALPHAS = np.logspace(-1, 3, 5)


@st.composite
def problems(draw):
    """X, Y and folds of any small shape, tall or wide."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, p, t = draw(st.integers(8, 40)), draw(st.integers(1, 60)), draw(st.integers(1, 6))
    X = rng.normal(size=(n, p)) * rng.uniform(0.1, 10, p) + rng.normal(size=p) * draw(
        st.sampled_from([0, 100])
    )
    Y = X @ rng.normal(size=(p, t)) * draw(st.sampled_from([0.0, 0.1])) + rng.normal(size=(n, t))
    inner = rng.permutation(np.arange(n) % draw(st.integers(2, 4)))
    return rng, X, Y, inner


def folds(inner):
    return [(np.flatnonzero(inner != k), np.flatnonzero(inner == k)) for k in np.unique(inner)]


def fit(X, Y, inner, kind=RidgeCV):
    options = {"n_candidates": 3, "bands": np.arange(X.shape[1]) % 2} if kind is BandedRidgeCV else {}
    return kind(ALPHAS, cv=folds(inner), **options).fit(X, Y)


def near(a, b, Y):
    """Predictions that agree; two alphas of equal score may be exchanged by rounding."""
    np.testing.assert_allclose(a, b, atol=1e-6 * (1 + np.nanmax(np.abs(Y))))


KINDS = st.sampled_from([RidgeCV, BandedRidgeCV])


@given(problems(), KINDS)
@settings(max_examples=40)
def test_the_order_of_rows_and_neuroids_does_not_matter(problem, kind):
    rng, X, Y, inner = problem
    rows, neuroids = rng.permutation(len(X)), rng.permutation(Y.shape[1])
    one, other = fit(X, Y, inner, kind), fit(X[rows], Y[rows][:, neuroids], inner[rows], kind)
    np.testing.assert_allclose(other.best_score_, one.best_score_[neuroids], atol=1e-6)
    near(other.predict(X), one.predict(X)[:, neuroids], Y)


@given(problems(), KINDS, st.sampled_from([1e-13, 1e-3, 1e6]))
@settings(max_examples=40)
def test_the_unit_of_the_responses_does_not_matter(problem, kind, unit):
    _, X, Y, inner = problem
    one, other = fit(X, Y, inner, kind), fit(X, Y * unit, inner, kind)
    np.testing.assert_allclose(other.best_score_, one.best_score_, atol=1e-6)
    near(other.predict(X) / unit, one.predict(X), Y)


@given(problems(), KINDS)
@settings(max_examples=40)
def test_two_jobs_of_neuroids_make_what_one_makes(problem, kind):
    _, X, Y, inner = problem
    half = Y.shape[1] // 2
    parts = [fit(X, part, inner, kind) for part in (Y[:, :half], Y[:, half:]) if part.shape[1]]
    one = fit(X, Y, inner, kind)
    near(np.concatenate([m.predict(X) for m in parts], 1), one.predict(X), Y)


@given(problems(), KINDS, st.floats(0.02, 0.4))
@settings(max_examples=40)
def test_a_missing_value_is_a_row_left_out(problem, kind, share):
    rng, X, Y, inner = problem
    lost = Y.copy()
    lost[rng.random(Y.shape) < share] = np.nan
    k = int(rng.integers(Y.shape[1]))
    there = np.isfinite(lost[:, k])
    enough = np.unique(inner[there], return_counts=True)[1]
    lost[:, np.isfinite(lost).sum(0) < 2] = 0.0  # another one that would be refused
    if len(enough) < len(np.unique(inner)) or enough.min() < 2:
        return
    found = fit(X, lost, inner, kind)
    alone = fit(X[there], lost[there, k], inner[there], kind)
    np.testing.assert_allclose(found.best_score_[k], alone.best_score_, atol=1e-5)
    near(found.predict(X)[:, k], alone.predict(X), Y)
    if kind is RidgeCV:
        model = Ridge(alpha=float(found.alpha_[k])).fit(X[there], lost[there, k])
        near(found.predict(X)[:, k], model.predict(X), Y)
