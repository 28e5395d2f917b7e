"""Banded ridge: several feature spaces, one strength for each, chosen per target.

la Tour, Eickenberg, Nunez-Elizalde, Gallant (2022), NeuroImage 264, 119728. With X = [X_1 … X_m] the
objective is ||Y - XW||² + sum_i alpha / gamma_i ||W_i||², the gammas summing to one: ridge on columns
scaled by sqrt(gamma_i).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from neuroenc.blocks import BLOCK_BYTES, blocks, columns
from neuroenc.encoders.banded_search import candidates, descend, eigh, kernels, search
from neuroenc.encoders.design import Design
from neuroenc.encoders.inputs import (
    DTYPES,
    check_alphas,
    check_enough,
    check_features,
    check_fit,
    folds_of,
    join_rows,
)
from neuroenc.encoders.missing import Smoother, fill
from neuroenc.errors import InputError
from neuroenc.names import names

Floats = NDArray[Any]


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

    OPTIONS: ClassVar[dict[str, Any]] = {
        "dtype": DTYPES,
        "n_candidates": 1,
        "n_kept": 1,
        "n_gradient_steps": 0,
    }

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
        check_alphas(self.alphas)
        groups = join_rows(X, groups, "groups")[1]
        X, y = check_fit(self, X, y, dtype=self.dtype)
        dtype = X.dtype
        n, p = X.shape
        X = X if p > n else X[:]  # features that outnumber the rows are never whole
        if not self.fit_intercept and p <= n:
            X = X.astype(float)  # see RidgeCV
        self.bands_, self._band = np.unique(_names(self.bands, p), return_inverse=True)
        shape = y.shape[1:]
        Y = check_enough(y).astype(X.dtype)
        folds = folds_of(self.cv, n, groups, y)
        y_mean = _centre(Y, fit_intercept=self.fit_intercept)
        strength, best, dual = self._choose(X, Y, check_alphas(self.alphas), folds)
        self.alpha_ = (1 / strength.sum(1)).reshape(shape)
        self.gamma_ = (strength / strength.sum(1, keepdims=True)).reshape(*shape, -1)
        self.best_score_ = best.reshape(shape)
        self._solve(X, Y, y_mean, shape, dtype, dual)
        return self

    def _choose(self, X: Any, Y: Floats, alphas: Floats, folds: list[Any]) -> tuple[Floats, Floats, Any]:
        """Choose the strengths of each target; where features outnumber rows also give weights of the rows.

        The kernels of the spaces, which both take, are not kept.
        """
        gammas = candidates(len(self.bands_), self.n_candidates, self.seed)
        wide = any(len(train) < X.shape[1] for train, _ in folds)
        own: Any = None
        if wide or self.n_gradient_steps:
            own = kernels(X, self._band, fit_intercept=self.fit_intercept)
        which, alpha, best = search(
            X, own, Y, self._band, gammas, alphas, folds, self.n_kept, self.fit_intercept
        )
        strength = gammas[which] / alpha[:, None]
        whole = np.isfinite(Y).all(0)
        if self.n_gradient_steps and whole.any():
            strength[whole], best[whole] = descend(
                own, Y[:, whole], strength[whole], best[whole], folds, self.n_gradient_steps,
                self.fit_intercept,
            )  # fmt: skip
        dual = None
        if X.shape[1] > len(X):
            dual = solve_kernels(own, Y, strength, fit_intercept=self.fit_intercept)
        return strength, best, dual

    def _solve(
        self, X: Any, Y: Floats, y_mean: Floats, shape: tuple[int, ...], dtype: Any, dual: Any
    ) -> None:
        strength = (self.gamma_ / np.asarray(self.alpha_)[..., None]).reshape(Y.shape[1], -1)
        self._x_mean = _mean(X) if self.fit_intercept else np.zeros(X.shape[1])
        if dual is None:
            coef, more = solve_banded(X, Y, self._band, strength, fit_intercept=self.fit_intercept)
        else:
            coef = weights_of(X, dual[0], self._band, strength, fit_intercept=self.fit_intercept)
            more = dual[1]
        coef = coef.astype(dtype, copy=False)
        shift = np.concatenate([coef[t] @ self._x_mean for t in columns(X.shape[1], len(coef))])
        self.coef_ = coef.reshape(*shape, X.shape[1])
        self._y_mean = (y_mean + more).reshape(shape)
        self.intercept_ = np.asarray(self._y_mean - shift.reshape(shape)).astype(dtype)

    def refit(self, X: Any, y: Any) -> BandedRidgeCV:
        """Fit a copy to other rows, at the strengths that were chosen here."""
        check_is_fitted(self)
        made = copy(self)
        dtype = self.coef_.dtype
        X, y = check_fit(made, X, y, dtype=dtype if self.fit_intercept else float)
        Y = y.reshape(len(X), -1).astype(X.dtype)
        y_mean = _centre(Y, fit_intercept=self.fit_intercept)
        dual = None
        if X.shape[1] > len(X):
            strength = (self.gamma_ / np.asarray(self.alpha_)[..., None]).reshape(Y.shape[1], -1)
            own = kernels(X, self._band, fit_intercept=self.fit_intercept)
            dual = solve_kernels(own, Y, strength, fit_intercept=self.fit_intercept)
            del own
        else:
            X = X[:]
        made._solve(X, Y, y_mean, self.intercept_.shape, dtype, dual)
        return made

    def predict(self, X: Any) -> Floats:
        """Predict, (n_samples, n_targets)."""
        check_is_fitted(self)
        y_mean = self._y_mean.astype(self.coef_.dtype)
        return np.concatenate([rows @ self.coef_.T + y_mean for rows in self._centred(X)])

    def predict_bands(self, X: Any) -> Floats:
        """Predict by each space alone, (n_bands, n_samples, n_targets), each of mean 0 in training.

        Without the last dimension for a single target. Their sum is `predict` less its mean over the training
        rows.
        """
        check_is_fitted(self)
        mine = [self._band == b for b in range(len(self.bands_))]
        parts = [[rows[:, m] @ self.coef_[..., m].T for m in mine] for rows in self._centred(X)]
        return np.concatenate([np.stack(part) for part in parts], axis=1)

    def _centred(self, X: Any) -> Iterator[Floats]:
        """Take the mean off, in blocks of rows."""
        X = check_features(self, X)
        dtype = np.result_type(X.dtype, self.coef_)
        for rows in blocks(len(X), max(1, BLOCK_BYTES // (4 * X.shape[1]))):
            yield (X[rows] - self._x_mean).astype(dtype, copy=False)


def _names(bands: ArrayLike | None, p: int) -> NDArray[Any]:
    """Return the name of the space of each column, a text or a whole number."""
    if bands is None:
        return np.zeros(p, int)
    found, given = names(bands, "bands"), np.asarray(bands)
    if found.shape != (p,):
        raise InputError(
            f"Invalid value for 'bands': names of shape {found.shape}. Expected one for each of {p} columns."
        )
    return given if given.dtype.kind in "iu" else found


def _mean(X: Any) -> Floats:
    """Mean of the columns in double precision; of what is read in parts in blocks of them."""
    cuts = columns(*X.shape) if isinstance(X, Design) else [slice(None)]
    return np.concatenate([X[:, cut].mean(0, dtype=float) for cut in cuts])


def _centre(Y: Floats, *, fit_intercept: bool) -> Floats:
    """Take the mean of what is there off each target, in place; return it."""
    y_mean = np.zeros(Y.shape[1])
    for cut in columns(*Y.shape) if fit_intercept else []:
        y_mean[cut] = np.nanmean(Y[:, cut], 0, dtype=float)
        Y[:, cut] = Y[:, cut] - y_mean[cut]
    return y_mean


def _mixtures(strength: Floats) -> tuple[Floats, list[NDArray[np.int64]]]:
    """List the mixtures of the spaces that targets have, and the targets of each."""
    mixture = np.round(strength / strength.sum(1, keepdims=True), 12)
    shared, group = np.unique(mixture, axis=0, return_inverse=True)
    return shared, [np.flatnonzero(group.ravel() == g) for g in range(len(shared))]


def solve_banded(
    X: Floats, Y: Floats, band: Floats, strength: Floats, *, fit_intercept: bool = True
) -> tuple[Floats, Floats]:
    """Solve for each target at its own strengths; targets of one mixture share a factorisation.

    Parameters
    ----------
    X : array of shape (n, p)
        p <= n.
    Y : array of shape (n, n_targets)
        Centred; NaN where values are missing.
    band : array of int, (p,)
    strength : array of shape (n_targets, n_bands)
        gamma / alpha of each band.
    fit_intercept : bool

    Returns
    -------
    coef : array of shape (n_targets, p)
    y_mean : array of shape (n_targets,)
        To add to the mean that was taken off: 0 for targets that lack nothing.
    """
    coef, y_mean = np.empty((Y.shape[1], X.shape[1]), Y.dtype), np.zeros(Y.shape[1])
    lacks: Any = np.isnan(Y).any(0)
    centred = X - X.mean(0, dtype=float) if fit_intercept else X.astype(float)
    gram, rows = centred.T @ centred, centred.T.astype(X.dtype)
    cross = rows @ (np.where(lacks, 0, Y) if lacks.any() else Y)
    for gamma, t in zip(*_mixtures(strength), strict=True):
        alpha, scale = 1 / strength[t].sum(1), np.sqrt(gamma[band])
        values, vectors = eigh(scale[:, None] * gram * scale)
        if lacks[t].any():
            root = np.sqrt(np.maximum(values, np.finfo(float).tiny))
            basis = centred @ (scale[:, None] * vectors / root)
            mine, y_mean[t] = _complete(values, basis, alpha, Y[:, t], fit_intercept=fit_intercept)
            cross[:, t] = rows @ mine
        towards = (scale[:, None] * vectors).astype(X.dtype)
        shrink = 1 / (np.clip(values, 0, None)[:, None] + alpha)
        coef[t] = (towards @ (towards.T @ cross[:, t] * shrink.astype(X.dtype))).T
    return coef, y_mean


def solve_kernels(own: Floats, Y: Floats, strength: Floats, *, fit_intercept: bool) -> tuple[Floats, Floats]:
    """Solve for the weights of the rows, where features outnumber them.

    Parameters
    ----------
    own : array of shape (n_bands, n, n)
        Kernels of the spaces.
    Y, strength, fit_intercept
        As in `solve_banded`.

    Returns
    -------
    dual : array of shape (n_targets, n)
    y_mean : array of shape (n_targets,)
    """
    dual, y_mean = np.empty(Y.shape[::-1], Y.dtype), np.zeros(Y.shape[1])
    for gamma, t in zip(*_mixtures(strength), strict=True):
        values, vectors = eigh(np.tensordot(gamma, own, 1))
        for cut in columns(len(Y), len(t)):
            some = t[cut]
            mine, alpha = Y[:, some], 1 / strength[some].sum(1)
            if np.isnan(mine).any():
                mine, y_mean[some] = _complete(values, vectors, alpha, mine, fit_intercept=fit_intercept)
            shrink = 1 / (np.clip(values, 0, None)[:, None] + alpha)
            dual[some] = (vectors @ (vectors.T @ mine * shrink)).T
    return dual, y_mean


def _complete(
    values: Floats, basis: Floats, alpha: Floats, Y: Floats, *, fit_intercept: bool
) -> tuple[Floats, Floats]:
    """Fill in what targets lack; return them centred, and the mean that was taken off of those that do."""
    lacks = np.isnan(Y).any(0)
    out, y_mean = Y.copy(), np.zeros(Y.shape[1])
    smoother = Smoother.of(values, basis, basis[:0], fit_intercept=fit_intercept)
    out[:, lacks] = fill(smoother, alpha[lacks], Y[:, lacks].astype(float))
    if fit_intercept:
        y_mean[lacks] = out[:, lacks].mean(0, dtype=float)
        out[:, lacks] -= y_mean[lacks].astype(Y.dtype)
    return out, y_mean


def weights_of(X: Any, dual: Floats, band: Floats, strength: Floats, *, fit_intercept: bool) -> Floats:
    """Return the weights of the features, (n_targets, p), from those of the rows of X, (n, p)."""
    gamma = (strength / strength.sum(1, keepdims=True)).astype(dual.dtype)
    coef = np.empty((len(dual), X.shape[1]), dual.dtype)
    for cut in columns(max(X.shape[0], len(coef)), X.shape[1]):
        part = X[:, cut].astype(float)
        part = part - part.mean(0) if fit_intercept else part
        coef[:, cut] = dual @ part.astype(dual.dtype)
        coef[:, cut] *= gamma[:, band[cut]]
    return coef
