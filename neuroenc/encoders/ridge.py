"""Exact ridge regression with one alpha per target, chosen by cross-validation.

The functional core works on NumPy arrays and torch tensors alike; `RidgeCV` wraps it in
scikit-learn's interface. alpha is scikit-learn's: the objective is ||Y - XW||² + alpha ||W||².
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import xarray as xr
from array_api_compat import array_namespace
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.model_selection import check_cv
from sklearn.utils.validation import check_is_fitted, validate_data

from neuroenc.errors import InputError

Array = Any  # numpy.ndarray or torch.Tensor


class Decomposition(NamedTuple):
    """Eigendecomposition of the centred Gram matrix of the rows or of the columns of X."""

    eigenvalues: Array
    """(rank,)"""
    loading: Array
    """(rank, n_targets): Y in the eigenbasis."""
    basis: Array
    """(n_features, rank): from features to the eigenbasis."""
    x_mean: Array
    y_mean: Array


def decompose(X: Array, Y: Array, *, fit_intercept: bool = True) -> Decomposition:
    """Decompose a ridge problem so that the solution for every alpha is a product of matrices.

    The prediction of new rows is `(X_new - x_mean) @ basis @ (loading / (eigenvalues + alpha))`,
    plus `y_mean`. The smaller Gram matrix is used. All is float64, whatever X is: squaring
    doubles the digits a condition number eats.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
    Y : array of shape (n_samples, n_targets)
    fit_intercept : bool
        Centre both; otherwise their means are taken as 0.
    """
    xp = array_namespace(X, Y)
    X, Y = xp.astype(X, xp.float64), xp.astype(Y, xp.float64)
    x_mean, y_mean = xp.mean(X, axis=0), xp.mean(Y, axis=0)
    if not fit_intercept:
        x_mean, y_mean = xp.zeros_like(x_mean), xp.zeros_like(y_mean)
    X, Y = X - x_mean, Y - y_mean
    if X.shape[0] >= X.shape[1]:
        eigenvalues, basis = xp.linalg.eigh(X.T @ X)
        loading = basis.T @ (X.T @ Y)
    else:
        eigenvalues, vectors = xp.linalg.eigh(X @ X.T)
        basis, loading = X.T @ vectors, vectors.T @ Y
    return Decomposition(xp.clip(eigenvalues, 0.0, None), loading, basis, x_mean, y_mean)


def solve(problem: Decomposition, alpha: Array) -> tuple[Array, Array]:
    """Weights and intercepts at one alpha per target.

    Parameters
    ----------
    problem : Decomposition
    alpha : array of shape (n_targets,)

    Returns
    -------
    coef : array of shape (n_features, n_targets)
    intercept : array of shape (n_targets,)
    """
    coef = problem.basis @ (problem.loading / (problem.eigenvalues[:, None] + alpha[None, :]))
    return coef, problem.y_mean - problem.x_mean @ coef


def cross_validate(
    X: Array,
    Y: Array,
    alphas: Array,
    folds: Iterable[tuple[Array, Array]],
    *,
    fit_intercept: bool = True,
) -> Array:
    """Score every alpha for every target by cross-validation.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
    Y : array of shape (n_samples, n_targets)
    alphas : array of shape (n_alphas,)
    folds : iterable of (train rows, validation rows)

    Returns
    -------
    array of shape (n_alphas, n_targets)
        R2 on the validation rows, mean over folds; 0 in a fold where the target is constant.
    """
    xp = array_namespace(X, Y)
    total, n_folds = xp.zeros((alphas.shape[0], Y.shape[1]), dtype=X.dtype), 0
    for train, validation in folds:
        problem = decompose(X[train], Y[train], fit_intercept=fit_intercept)
        projected = xp.astype((X[validation] - problem.x_mean) @ problem.basis, X.dtype)
        truth = Y[validation]
        spread = xp.sum((truth - xp.mean(truth, axis=0)) ** 2, axis=0)
        truth = xp.astype(truth - problem.y_mean, X.dtype)
        varies = spread > 0
        spread = xp.where(varies, spread, xp.ones_like(spread))
        for i in range(alphas.shape[0]):
            shrunk = xp.astype(problem.loading / (problem.eigenvalues + alphas[i])[:, None], X.dtype)
            residual = xp.sum((truth - projected @ shrunk) ** 2, axis=0)
            total[i] += xp.where(varies, 1 - residual / spread, xp.zeros_like(spread))
        n_folds += 1
    return total / n_folds


class RidgeCV(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Ridge regression, exact, one alpha per target, chosen by cross-validation.

    Parameters
    ----------
    alphas : sequence of float
        Candidates, all above 0; the best of each target is in `alpha_`.
    cv : int, splitter or iterable of (train, validation)
        As scikit-learn's `check_cv` takes it; an int means unshuffled folds. Give folds by
        stimulus or group where rows depend on each other.
    fit_intercept : bool
    dtype : {"float32", "float64"} or None
        Of the computation; None keeps that of X. The eigenproblem is always float64.
    device : str or None
        Of torch, e.g. "cuda"; None computes where the input lives.

    Attributes
    ----------
    coef_ : array of shape (n_targets, n_features), (n_neuroids, n_time_bins, n_features) for a
        response with time bins, (n_features,) for a single target
    intercept_, alpha_, best_score_ : arrays of shape (n_targets,), (n_neuroids, n_time_bins) or ()
        `best_score_` is the validation R2 of the chosen alpha, mean over folds.
    cv_scores_ : array of shape (n_alphas, …)

    Notes
    -----
    X and y may be NumPy arrays, torch tensors or DataArrays; predictions are of the kind of X. Of
    equal scores the first alpha wins.
    """

    def __init__(
        self,
        alphas: Sequence[float] | NDArray[np.float64] = (0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5),
        *,
        cv: Any = 5,
        fit_intercept: bool = True,
        dtype: str | None = None,
        device: str | None = None,
    ) -> None:
        self.alphas = alphas
        self.cv = cv
        self.fit_intercept = fit_intercept
        self.dtype = dtype
        self.device = device

    def fit(self, X: Any, y: Any, groups: ArrayLike | None = None) -> Self:
        """Choose alphas and solve.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
        y : array of shape (n_samples, n_targets), (n_samples, n_neuroids, n_time_bins) or
            (n_samples,)
        groups : array of shape (n_samples,), optional
            Handed to the splitter.

        Raises
        ------
        InputError
            An alpha is not above 0.
        ValueError
            As scikit-learn: shapes that do not match, NaN or infinite values.
        """
        self._template: dict[str, Any] | None = None
        if isinstance(y, xr.DataArray):
            self._template = {
                "dims": y.dims[1:],
                "coords": {k: c.variable for k, c in y.coords.items() if y.dims[0] not in c.dims},
            }
        X, y = _values(X), _values(y)
        times = tuple(y.shape[1:]) if getattr(y, "ndim", 0) == 3 else None
        if times:  # every (neuroid, time) is a target
            y = y.reshape(len(y), -1)
        keep = _is_torch(X)
        if keep:
            self.n_features_in_ = X.shape[1]
            if len(X) != len(y):
                raise ValueError(f"X has {len(X)} rows, y has {len(y)}; they must be the same.")
            if not all(np.isfinite(_numpy(v).sum(dtype=np.float64)) for v in (X, y)):
                raise ValueError("X or y contains NaN or infinite values.")
        else:
            X, y = validate_data(
                self, X, y, multi_output=True, y_numeric=True, ensure_min_samples=2,
                dtype=[self.dtype] if self.dtype else [np.float64, np.float32],
            )  # fmt: skip
        shape = times or tuple(y.shape[1:])
        X = self._compute(X)
        Y = self._compute(y, like=X).reshape(X.shape[0], -1)
        alphas = np.sort(np.asarray(self.alphas, dtype=float).ravel())
        if not len(alphas) or alphas[0] <= 0:
            raise InputError(f"Invalid value for 'alphas': {self.alphas!r}. All must be above 0.")
        rows = np.zeros((X.shape[0], 1))
        folds = list(check_cv(self.cv).split(rows, rows[:, 0], groups))
        grid = self._compute(alphas, like=X)
        scores = cross_validate(X, Y, grid, folds, fit_intercept=self.fit_intercept)
        best = array_namespace(X).argmax(scores, axis=0)
        alpha = grid[best]
        coef, intercept = solve(decompose(X, Y, fit_intercept=self.fit_intercept), alpha)
        best_score = array_namespace(X).take_along_axis(scores, best[None], axis=0)[0]
        leave = _same if keep else _numpy  # attributes are of the kind of the input
        self.coef_ = leave(self._compute(coef, like=X).T).reshape(*shape, X.shape[1])
        self.intercept_ = leave(self._compute(intercept, like=X)).reshape(shape)
        self.alpha_ = leave(alpha).reshape(shape)
        self.best_score_ = leave(best_score).reshape(shape)
        self.cv_scores_ = leave(scores).reshape(len(alphas), *shape)
        return self

    def predict(self, X: Any) -> Any:
        """Predict, (n_samples, …) with the targets' own dimensions, of the kind of X."""
        check_is_fitted(self)
        source, X = X, _values(X)
        if not _is_torch(X):
            X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        coef = self._compute(self.coef_, like=X)
        X = self._compute(X, like=coef)
        flat = X @ coef.reshape(-1, X.shape[1]).T
        shape = tuple(self.coef_.shape[:-1])
        out = flat.reshape(X.shape[0], *shape) + self._compute(self.intercept_, like=coef)
        if isinstance(source, xr.DataArray):
            template = self._template or {
                "dims": [f"target_{i}" for i in range(len(shape))],
                "coords": {},
            }
            rows = {k: c.variable for k, c in source.coords.items() if c.dims == source.dims[:1]}
            dims = (source.dims[0], *template["dims"])
            return xr.DataArray(_numpy(out), dims=dims, coords=rows | template["coords"])
        return out if _is_torch(source) else _numpy(out)

    def _compute(self, values: Any, like: Any = None) -> Any:
        """Bring an array to where and how it is computed."""
        target = values if like is None else like
        if self.device is None and not _is_torch(target):
            dtype = self.dtype or (target.dtype if target.dtype.kind == "f" else np.float64)
            return np.asarray(_numpy(values), dtype=dtype)
        import torch

        name = self.dtype or str(target.dtype).split(".")[-1]
        dtype = getattr(torch, name if name.startswith("float") else "float64")
        device = self.device or target.device
        return torch.as_tensor(values, device=device).to(dtype)


def _values(X: Any) -> Any:
    return X.values if isinstance(X, xr.DataArray) else X


def _is_torch(values: Any) -> bool:
    return type(values).__module__.partition(".")[0] == "torch"


def _same(values: Any) -> Any:
    return values


def _numpy(values: Any) -> NDArray[Any]:
    return values.detach().cpu().numpy() if _is_torch(values) else np.asarray(values)
