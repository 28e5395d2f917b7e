"""Banded ridge: several feature spaces, one strength for each, chosen per target.

la Tour, Eickenberg, Nunez-Elizalde, Gallant (2022), NeuroImage 264, 119728. With X = [X_1 … X_m] the
objective is ||Y - XW||² + sum_i alpha / gamma_i ||W_i||², the gammas summing to one: ridge on columns
scaled by sqrt(gamma_i).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted
from tqdm import tqdm

from neuroenc import ranking
from neuroenc.encoders.factorise import Fold, covers, operators, project, score
from neuroenc.encoders.inputs import check_alphas, check_enough, check_features, check_fit, folds_of
from neuroenc.encoders.missing import Smoother, fill
from neuroenc.errors import InputError
from neuroenc.real import varies

Floats = NDArray[Any]
NEGLIGIBLE = 1e-8  # gamma of a band that takes no part while candidates are compared
SEARCH_TOLERANCE = 3e-5  # of the predictions, while candidates are compared


def candidates(n_bands: int, number: int, seed: int) -> Floats:
    """Draw gammas: equal weights first, then from Dirichlet distributions of concentration 0.1 and 1.

    Parameters
    ----------
    n_bands, number, seed : int

    Returns
    -------
    array of shape (number, n_bands)
    """
    rng = np.random.default_rng(seed)
    if n_bands == 1:
        return np.ones((1, 1))
    drawn = [rng.dirichlet(np.full(n_bands, 0.1 if i % 2 else 1.0)) for i in range(number - 1)]
    return np.array([np.full(n_bands, 1 / n_bands), *drawn])


class BandedRidgeCV(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Ridge with one strength per feature space and target, chosen by cross-validation.

    Parameters
    ----------
    alphas : sequence of float
    bands : array of shape (n_features,), optional
        The name of the feature space of each column; None: all columns are one.
    n_candidates : int
        Mixtures of the spaces that are tried; the first is plain ridge.
    n_gradient_steps : int
        Steps of descent on the cross-validated error from the best candidate of each target, each
        target with its own strengths; kept where validation is better.
    n_kept : int
        After the first fold each target goes on with its so many best candidates only.
    cv : int, splitter or iterable of (train, validation)
    fit_intercept : bool
    seed : int
    dtype : {"float32", "float64"} or None

    Attributes
    ----------
    coef_ : array of shape (n_targets, n_features)
    intercept_, alpha_, best_score_ : arrays of shape (n_targets,)
    gamma_ : array of shape (n_targets, n_bands)
    bands_ : array of shape (n_bands,)
        The order of the spaces in `gamma_` and `predict_bands`.

    Notes
    -----
    Labels and missing values are met as `RidgeCV` meets them; the descent of `n_gradient_steps` improves the
    targets that lack nothing.
    """

    def __init__(
        self,
        alphas: Sequence[float] | Floats = (0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5),
        *,
        bands: ArrayLike | None = None,
        n_candidates: int = 20,
        n_gradient_steps: int = 0,
        n_kept: int = 5,
        cv: Any = 5,
        fit_intercept: bool = True,
        seed: int = 0,
        dtype: str | None = None,
    ) -> None:
        self.alphas = alphas
        self.bands = bands
        self.n_candidates = n_candidates
        self.n_gradient_steps = n_gradient_steps
        self.n_kept = n_kept
        self.cv = cv
        self.fit_intercept = fit_intercept
        self.seed = seed
        self.dtype = dtype

    def fit(self, X: Any, y: Any, groups: ArrayLike | None = None) -> Self:
        """Choose the strengths and solve.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
        y : array of shape (n_samples, n_targets) or (n_samples,)
        groups : array of shape (n_samples,), optional
            Handed to the splitter.

        Raises
        ------
        InputError
            An alpha is not above 0; bands do not name every column; as `RidgeCV`.
        """
        alphas = check_alphas(self.alphas)
        X, y = check_fit(self, X, y, dtype=self.dtype)
        X = X[:]
        dtype = X.dtype
        X = X if self.fit_intercept else X.astype(float)  # see RidgeCV
        n, p = X.shape
        names = np.zeros(p, int) if self.bands is None else np.asarray(self.bands)
        if names.shape != (p,):
            raise InputError(
                f"Invalid value for 'bands': {len(names)} names. Expected one for each of {p} columns."
            )
        self.bands_, band = np.unique(names, return_inverse=True)
        shape = y.shape[1:]
        Y = check_enough(y).astype(X.dtype)
        folds = folds_of(self.cv, n, groups, y)
        gammas = candidates(len(self.bands_), self.n_candidates, self.seed)
        y_mean = np.nanmean(Y, 0, dtype=float) if self.fit_intercept else np.zeros(Y.shape[1])
        Y = (Y - y_mean).astype(X.dtype)
        which, alpha, best = _search(X, Y, band, gammas, alphas, folds, self.n_kept, self.fit_intercept)
        strength = gammas[which] / alpha[:, None]
        whole = np.isfinite(Y).all(0)
        if self.n_gradient_steps and whole.any():
            strength[whole], best[whole] = _descend(
                X, Y[:, whole], band, strength[whole], best[whole], folds, self.n_gradient_steps,
                self.fit_intercept,
            )  # fmt: skip
        self.alpha_ = (1 / strength.sum(1)).reshape(shape)
        self.gamma_ = (strength / strength.sum(1, keepdims=True)).reshape(*shape, -1)
        self.best_score_ = best.reshape(shape)
        self._band = band
        self._solve(X, Y, y_mean, shape, dtype)
        return self

    def _solve(self, X: Floats, Y: Floats, y_mean: Floats, shape: tuple[int, ...], dtype: Any) -> None:
        strength = (self.gamma_ / np.asarray(self.alpha_)[..., None]).reshape(Y.shape[1], -1)
        coef, more = solve_banded(X, Y, self._band, strength, fit_intercept=self.fit_intercept)
        self.coef_ = coef.astype(dtype).reshape(*shape, X.shape[1])
        self._x_mean = X.mean(0, dtype=float) if self.fit_intercept else np.zeros(X.shape[1])
        self._y_mean = (y_mean + more).reshape(shape)
        self.intercept_ = np.asarray(self._y_mean - self.coef_ @ self._x_mean).astype(dtype)

    def refit(self, X: Any, y: Any) -> BandedRidgeCV:
        """Fit a copy to other rows, at the strengths that were chosen here."""
        check_is_fitted(self)
        made = copy(self)
        dtype = self.coef_.dtype
        X, y = check_fit(made, X, y, dtype=dtype if self.fit_intercept else float)
        X = X[:]
        Y = y.reshape(len(X), -1)
        y_mean = np.nanmean(Y, 0, dtype=float) if self.fit_intercept else np.zeros(Y.shape[1])
        made._solve(X, (Y - y_mean).astype(X.dtype), y_mean, self.intercept_.shape, dtype)
        return made

    def predict(self, X: Any) -> Floats:
        """Predict, (n_samples, n_targets)."""
        check_is_fitted(self)
        X = self._centred(X)
        return np.asarray(X @ self.coef_.T + self._y_mean.astype(self.coef_.dtype))

    def predict_bands(self, X: Any) -> Floats:
        """Predict by each space alone, (n_bands, n_samples, n_targets), each of mean 0 in training.

        Without the last dimension for a single target. Their sum is `predict` less its mean over the training
        rows.
        """
        check_is_fitted(self)
        X = self._centred(X)
        mine = [self._band == b for b in range(len(self.bands_))]
        return np.stack([X[:, m] @ self.coef_[..., m].T for m in mine])

    def _centred(self, X: Any) -> Floats:
        X = check_features(self, X)[:]
        return (X - self._x_mean).astype(np.result_type(X, self.coef_), copy=False)


class Spaces(NamedTuple):
    """The training rows of a fold, from which ridge on every mixture of the spaces is decomposed."""

    band: Floats
    """(p,): the space of each column"""
    centre: Floats
    """(p,): mean of the training rows"""
    fitted: Floats
    """(n_train, p) float64, less the centre"""
    shown: Floats
    """(n_held, p) float64, less the centre"""
    gram: Floats
    """(p, p); with more columns than training rows the kernel of each space, (n_bands, n_train, n_train)"""
    other: Floats | None
    """With more columns than training rows: kernels of the held rows, (n_bands, n_held, n_train)"""

    @classmethod
    def of(cls, centred: Floats, band: Floats, train: Any, held: Any, *, fit_intercept: bool) -> Self:
        """Take the rows of a fold."""
        fitted, shown = centred[train].astype(float), centred[held].astype(float)
        centre = fitted.mean(0) if fit_intercept else np.zeros(centred.shape[1])
        fitted -= centre
        shown -= centre
        if len(train) < centred.shape[1]:
            own, other = _kernels(fitted, fitted, band), _kernels(shown, fitted, band)
            return cls(band, centre, fitted, shown, own, other)
        return cls(band, centre, fitted, shown, fitted.T @ fitted, None)

    def decompose(self, gamma: Floats) -> tuple[Floats, Floats, Floats]:
        """Decompose columns scaled by sqrt(gamma).

        Returns
        -------
        values, towards, away
            As `factorise.eigenbasis`: the eigenvalues, the way to the eigenbasis from the responses, or from
            their products with the columns, and the held rows in it.
        """
        if self.other is not None:
            values, towards = np.linalg.eigh(np.tensordot(gamma, self.gram, 1))
            return values, towards, np.tensordot(gamma, self.other, 1) @ towards
        used = np.flatnonzero(gamma[self.band] > NEGLIGIBLE)
        scale = np.sqrt(gamma[self.band[used]])
        values, vectors = np.linalg.eigh(scale[:, None] * self.gram[np.ix_(used, used)] * scale)
        towards = np.zeros((len(self.band), len(used)))
        towards[used] = scale[:, None] * vectors
        return values, towards, self.shown @ towards

    def smoother(self, values: Floats, towards: Floats, away: Floats, *, fit_intercept: bool) -> Smoother:
        """Return the decomposition as a map of responses that may be missing."""
        if self.other is not None:
            return Smoother.of(values, towards, away, fit_intercept=fit_intercept)
        root = np.sqrt(np.maximum(values, np.finfo(float).tiny))
        basis = self.fitted @ (towards / root)
        return Smoother.of(values, basis, away * root, fit_intercept=fit_intercept)


def _search(
    X: Floats, Y: Floats, band: Floats, gammas: Floats, alphas: Floats, folds: list[Any], n_kept: int,
    fit_intercept: bool,
) -> tuple[Floats, Floats, Floats]:  # fmt: skip
    """Find the best candidate and alpha of each target, with its score.

    The Gram matrices of the folds and the projections of Y serve all candidates. The first fold is scored
    for all targets; the others only where a candidate is among the `n_kept` best.
    """
    centred = (X - X.mean(0, dtype=float)).astype(X.dtype) if fit_intercept else X
    lacks = np.isnan(Y).any(0)
    incomplete, Y = Y[:, lacks].astype(float), np.where(lacks, 0, Y)
    total, projected = project([held for _, held in folds], centred, Y)
    scores = np.zeros((len(gammas), len(alphas), Y.shape[1]), np.float32)
    going = np.ones((len(gammas), Y.shape[1]), bool)
    steps = tqdm(total=len(folds) * len(gammas), desc="banded ridge", disable=None)
    for number, (train, held) in enumerate(folds):
        if number == 1 and len(gammas) > n_kept:
            going = _best(scores.max(1), n_kept)
        spaces = Spaces.of(centred, band, train, held, fit_intercept=fit_intercept)
        rest = covers([train, held], len(X))
        for c, gamma in enumerate(gammas):
            t = np.flatnonzero(going[c])
            steps.update()
            if not len(t):
                continue
            values, towards, away = spaces.decompose(gamma)
            dual, centre = spaces.other is not None, spaces.centre.astype(X.dtype)
            fold = operators(
                Fold(train, held, dual, centre, towards, [], rest, away), np.clip(values, 0, None), alphas,
                X.dtype, tolerance=SEARCH_TOLERANCE,
            )  # fmt: skip
            rows: Any = slice(None) if len(t) == Y.shape[1] else t
            scores[c][:, rows] += score(
                fold, centred, Y[:, rows], total[:, rows], projected[number][:, rows],
                fit_intercept=fit_intercept,
            )  # fmt: skip
            mine = going[c][lacks]
            if mine.any():
                smoother = spaces.smoother(values, towards, away, fit_intercept=fit_intercept)
                scores[c][:, np.flatnonzero(lacks)[mine]] += smoother.score(
                    alphas, incomplete[train][:, mine], incomplete[held][:, mine]
                )
    steps.close()
    scores = np.where(going[:, None], scores / len(folds), -np.inf)
    flat = scores.reshape(-1, Y.shape[1])
    where = ranking.best(flat)
    return where // len(alphas), alphas[where % len(alphas)], flat[where, np.arange(Y.shape[1])]


def _best(scores: Floats, n_kept: int) -> NDArray[np.bool_]:
    """Say which candidates each target goes on with, (n_candidates, n_targets)."""
    going = np.zeros(scores.shape, bool)
    np.put_along_axis(going, np.argsort(-scores, axis=0)[:n_kept], True, axis=0)
    going[0] = True  # plain ridge is never dropped by one fold's chance
    return going


def _kernels(A: Floats, B: Floats, band: Floats) -> Floats:
    return np.stack([A[:, band == b] @ B[:, band == b].T for b in range(band.max() + 1)])


def solve_banded(
    X: Floats, Y: Floats, band: Floats, strength: Floats, *, fit_intercept: bool = True
) -> tuple[Floats, Floats]:
    """Solve for each target at its own strengths; targets of one mixture share a factorisation.

    Parameters
    ----------
    X : array of shape (n, p)
    Y : array of shape (n, n_targets)
        Centred; NaN where values are missing.
    band : array of int, (p,)
    strength : array of shape (n_targets, n_bands)
        gamma / alpha of each band.

    Returns
    -------
    coef : array of shape (n_targets, p)
    y_mean : array of shape (n_targets,)
        To add to the mean that was taken off: 0 for targets that lack nothing.
    """
    n, p = X.shape
    centred = X - X.mean(0, dtype=float) if fit_intercept else X.astype(float)
    coef = np.empty((Y.shape[1], p), X.dtype)
    y_mean = np.zeros(Y.shape[1])
    lacks: Any = np.isnan(Y).any(0)
    Y = Y.copy() if lacks.any() else Y

    def complete(t: Floats, values: Floats, basis: Floats, alpha: Floats) -> None:
        own = lacks[t]
        if own.any():
            smoother = Smoother.of(values, basis, basis[:0], fit_intercept=fit_intercept)
            Y[:, t[own]] = fill(smoother, alpha[own], Y[:, t[own]].astype(float))
            if fit_intercept:
                y_mean[t[own]] = Y[:, t[own]].mean(0, dtype=float)
                Y[:, t[own]] -= y_mean[t[own]].astype(Y.dtype)

    mixture = np.round(strength / strength.sum(1, keepdims=True), 12)
    shared, group = np.unique(mixture, axis=0, return_inverse=True)
    if p <= n:
        gram, cross = centred.T @ centred, centred.T.astype(X.dtype) @ np.where(lacks, 0, Y)
    else:
        kernels = _kernels(centred, centred, band)
    for g, gamma in enumerate(shared):
        t = np.flatnonzero(group == g)
        alpha = 1 / strength[t].sum(1)
        if p <= n:
            scale = np.sqrt(gamma[band])
            values, vectors = np.linalg.eigh(scale[:, None] * gram * scale)
            if lacks[t].any():
                root = np.sqrt(np.maximum(values, np.finfo(float).tiny))
                complete(t, values, centred @ (scale[:, None] * vectors / root), alpha)
                cross[:, t] = centred.T.astype(X.dtype) @ Y[:, t]
            towards = (scale[:, None] * vectors).astype(X.dtype)
            shrink = 1 / (np.clip(values, 0, None)[:, None] + alpha)
            coef[t] = (towards @ (towards.T @ cross[:, t] * shrink.astype(X.dtype))).T
        else:
            values, vectors = np.linalg.eigh(np.tensordot(gamma, kernels, 1))
            complete(t, values, vectors, alpha)
            shrink = 1 / (np.clip(values, 0, None)[:, None] + alpha)
            coef[t] = ((vectors @ (vectors.T @ Y[:, t] * shrink)).T @ centred) * gamma[band]
    return coef, y_mean


def _descend(
    X: Floats, Y: Floats, band: Floats, strength: Floats, best: Floats, folds: list[Any], n_steps: int,
    fit_intercept: bool,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Improve the strengths of each target by descent on its cross-validated R2.

    The gradient with respect to log strength follows from implicit differentiation of the dual
    solution; the linear systems of all targets are solved together by conjugate gradients. Steps adapt
    to the sign of the gradient (Riedmiller and Braun 1993, resilient backpropagation).
    """
    X = X - X.mean(0, dtype=float) if fit_intercept else X.astype(float)
    size = np.sqrt((Y.astype(float) ** 2).mean(0))
    Y = Y / np.where(size > 0, size, 1)  # whatever the unit
    theta = np.log(np.maximum(strength, 1e-12)).T
    step, before = np.full(theta.shape, 0.5), np.zeros(theta.shape)
    kept, kept_score = theta.copy(), best.copy()
    problems = []
    for train, held in folds:
        fitted, shown, truth, target = X[train], X[held], Y[held], Y[train]
        if fit_intercept:
            fitted, shown = fitted - fitted.mean(0), shown - fitted.mean(0)
            target, truth = target - target.mean(0), truth - target.mean(0)
        # what does not vary in a fold scores 0 there, whatever the strengths
        spread = np.where(varies(truth), ((truth - truth.mean(0)) ** 2).sum(0), np.inf)
        problems.append(
            (_kernels(fitted, fitted, band), _kernels(shown, fitted, band), target, truth, spread)
        )
    warm: list[tuple[Any, Any]] = [(None, None)] * len(folds)
    for _ in tqdm(range(n_steps + 1), desc="descent", disable=None):
        delta, score_now, slope = np.exp(theta), np.zeros(theta.shape[1]), np.zeros(theta.shape)
        for f, (own, other, target, truth, spread) in enumerate(problems):
            dual = _conjugate_gradients(own, delta, target, warm[f][0])
            shown = np.stack([k @ dual for k in other])
            residual = truth - (delta[:, None] * shown).sum(0)
            pulled = sum(d * (k.T @ residual) for d, k in zip(delta, other, strict=True))
            adjoint = _conjugate_gradients(own, delta, pulled, warm[f][1])
            warm[f] = (dual, adjoint)
            score_now += np.isfinite(spread) - (residual**2).sum(0) / spread
            for i in range(len(theta)):
                change = (residual * shown[i]).sum(0) - (adjoint * (own[i] @ dual)).sum(0)
                slope[i] += 2 * delta[i] * change / spread
        score_now /= len(problems)
        better = score_now > kept_score
        kept[:, better], kept_score[better] = theta[:, better], score_now[better]
        agree = slope * before
        step = np.clip(step * np.where(agree > 0, 1.2, np.where(agree < 0, 0.5, 1.0)), 1e-3, 1.0)
        theta = np.clip(theta + step * np.sign(slope), -40, 40)
        before = slope
    return np.exp(kept).T, kept_score


def _conjugate_gradients(
    kernels: Floats, delta: Floats, target: Any, start: Any, n_steps: int = 100
) -> Floats:
    """Solve (sum_i delta_i K_i + I) c = y for every target, each with its own delta."""

    def times(c: Floats) -> Floats:
        out = c.copy()
        for d, k in zip(delta, kernels, strict=True):
            out += k @ (c * d)
        return out

    found = np.zeros_like(target, dtype=float) if start is None else start.copy()
    residual = target - times(found)
    direction, size = residual.copy(), (residual**2).sum(0)
    goal = 1e-10 * np.maximum((target**2).sum(0), 1e-30)
    for _ in range(n_steps):
        if (size <= goal).all():
            break
        along = times(direction)
        length = size / np.maximum((direction * along).sum(0), 1e-300)
        found += length * direction
        residual -= length * along
        new = (residual**2).sum(0)
        direction = residual + new / np.maximum(size, 1e-300) * direction
        size = new
    return found
