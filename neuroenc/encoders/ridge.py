"""Exact ridge regression with one alpha per target, chosen by cross-validation.

The work is in `factorise` and `solvers`; here is the estimator. alpha is scikit-learn's: the objective is
||Y - XW||² + alpha ||W||² (Hoerl & Kennard 1970).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any, ClassVar, Self

import numpy as np
import xarray as xr
from array_api_compat import array_namespace
from array_api_compat import device as device_of
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from neuroenc.blocks import BLOCK_BYTES, blocks, columns
from neuroenc.encoders import missing
from neuroenc.encoders.design import is_whole
from neuroenc.encoders.factorise import ROUNDING, Factors, Fold, factorise, prepare, read
from neuroenc.encoders.inputs import (
    DTYPES,
    check_alphas,
    check_features,
    check_fit,
    check_options,
    folds_of,
    join_rows,
    same_columns,
    same_length,
)
from neuroenc.encoders.solvers import (
    LEAST_TARGETS,
    Fitted,
    Prepared,
    Solution,
    as_numpy,
    fit_block,
    fit_lacking,
    folds_at_once,
    in_threads,
    solve,
    threads,
)  # fmt: skip
from neuroenc.errors import InputError, InputWarning
from neuroenc.real import is_torch


class RidgeCV(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Ridge regression, exact, one alpha per target, chosen by cross-validation.

    The objective is ||Y - XW||² + alpha ||W||² (Hoerl & Kennard 1970), with scikit-learn's alpha.

    Parameters
    ----------
    alphas : sequence of float
        Candidates, all above 0; the best of each target is in `alpha_`.
    cv : int, splitter or iterable of (train, validation)
        As scikit-learn's `check_cv` takes it, rows by number or by masks; an int means unshuffled folds. Give
        folds by stimulus or group where rows depend on each other. A fold of one validation row has no R2
        and does not count.
    fit_intercept : bool
    dtype : {"float32", "float64"} or None
        Of the computation; None keeps that of X. The eigenproblems are always float64, and without an
        intercept all is: single precision cannot hold features and responses far from zero.
    device : str, sequence of str or None
        Of torch, e.g. "cuda"; several share the targets in blocks; None computes where the input lives.

    Attributes
    ----------
    coef_ : array of shape (n_targets, n_features), (n_neuroids, n_time_bins, n_features) for a
        response with time bins, (n_features,) for a single target
        With more features than rows it is made from `dual_coef_` each time it is asked for.
    dual_coef_ : array of shape (n_targets, n_samples)
        Only with more features than rows: weights of the centred rows of `X_fit_`; `predict` never
        forms `coef_`.
    intercept_, alpha_, best_score_ : arrays of shape (n_targets,), (n_neuroids, n_time_bins) or ()
        `best_score_` is the validation R2 of the chosen alpha, mean over folds.
    cv_scores_ : array of shape (n_alphas, …)

    Notes
    -----
    X and y may be NumPy arrays, torch tensors or DataArrays; predictions are of the kind of X. Memory
    maps, HDF5 datasets and DataArrays opened from a file are read in blocks and never whole. Of equal
    scores the first alpha wins.

    DataArrays that both carry labels of their rows are joined by them (`inputs.join_rows`). NaN in y marks a
    missing value: alpha and weights of a target are exactly those of a fit to the rows it has (`missing`). A
    target with fewer than two values is NaN.
    """

    OPTIONS: ClassVar[dict[str, Any]] = {"dtype": DTYPES}

    def __init__(
        self,
        alphas: Sequence[float] | NDArray[np.float64] = (0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5),
        *,
        cv: Any = 5,
        fit_intercept: bool = True,
        dtype: str | None = None,
        device: str | Sequence[str] | None = None,
    ) -> None:
        self.alphas = alphas
        self.cv = cv
        self.fit_intercept = fit_intercept
        self.dtype = dtype
        self.device = device

    def fit(self, X: Any, y: Any, groups: ArrayLike | None = None, *, coef_out: Any = None) -> Self:
        """Choose alphas and solve.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
        y : array of shape (n_samples, n_targets), (n_samples, n_neuroids, n_time_bins) or
            (n_samples,)
        groups : array of shape (n_samples,), optional
            Handed to the splitter.
        coef_out : array of shape (n_targets, n_features), optional
            Where the weights are written block by block, e.g. a memory map or an HDF5 dataset; with
            more features than rows (n_targets, n_samples), for `dual_coef_`.

        Raises
        ------
        InputError
            An alpha is not above 0; fewer rows than folds; every target constant; X or y not finite; shapes,
            labels or kinds of values that cannot be fitted.
        """
        for name in ("dual_coef_", "X_fit_", "_coef"):  # of an earlier fit, perhaps of another shape
            self.__dict__.pop(name, None)
        check_options(self)
        alphas = check_alphas(self.alphas)
        X, y = join_rows(X, y)
        groups = join_rows(X, groups, "groups")[1]
        self._template = _template(y)
        X, y, keep = self._checked(X, y)
        n, p = X.shape
        self._shape = tuple(y.shape[1:])
        y = _targets(y)
        folds = folds_of(self.cv, n, groups, y if isinstance(y, np.ndarray) else None)
        prepared = self._prepare(X, folds, alphas)
        coef = np.empty((y.shape[1], min(n, p)), self._name(X)) if coef_out is None else coef_out
        solution = Solution(coef, len(alphas))
        self._solve(prepared, y, folds, alphas, solution)
        if not np.nan_to_num(solution.scores).any():
            raise InputError(
                f"All {y.shape[1]} targets are constant in every fold. Leave constant ones out; where they "
                "vary between folds only, shuffle: cv=KFold(5, shuffle=True)."
            )
        self._x_mean, self._y_mean = as_numpy(prepared[0].factors.mean), solution.y_mean
        if p >= n:
            self.dual_coef_, self.X_fit_ = coef, X
        else:
            self._coef = coef
        # attributes are of the kind of the input
        self._kept = prepared[0].factors.left[:0, 0] if keep else None
        chosen = np.minimum(np.searchsorted(alphas, solution.alpha), len(alphas) - 1)
        best = np.take_along_axis(solution.scores, chosen[None], axis=0)[0]
        self.intercept_ = self._leave(solution.intercept.astype(coef.dtype).reshape(self._shape))
        self.alpha_ = self._leave(solution.alpha.reshape(self._shape))
        self.best_score_ = self._leave(best.reshape(self._shape))
        self.cv_scores_ = self._leave(solution.scores.reshape(len(alphas), *self._shape))
        return self

    def _prepare(self, X: Any, folds: list[Any], alphas: NDArray[np.float64]) -> list[Prepared]:
        """Factorise X and prepare the folds, once; copy that to each device."""
        devices = [self.device] if isinstance(self.device, str) or self.device is None else self.device
        first, *others = (self._like(X, device) for device in devices)
        xp = array_namespace(first)
        grid = xp.asarray(alphas, device=device_of(first))
        factors = factorise(X, first, fit_intercept=self.fit_intercept)
        largest = float(max(factors.singular, default=0.0)) ** 2
        if alphas[0] < largest * min(X.shape) * ROUNDING:
            warnings.warn(
                f"The smallest alpha, {alphas[0]:g}, is below the rounding of X'X, whose largest eigenvalue "
                f"is {largest:.3g}: weights at it are not exact. Scale X or raise alpha.", InputWarning,
                stacklevel=3,
            )  # fmt: skip

        def operators(fold: Any) -> Fold:
            train, held = (xp.asarray(rows, device=device_of(first)) for rows in fold)
            return prepare(factors, train, held, grid, fit_intercept=self.fit_intercept)

        rank = len(factors.singular)
        most = folds_at_once(len(X), rank, min(rank, max(len(train) for train, _ in folds)))
        with threads(1 if is_torch(first) else most) as n:
            ready = in_threads(n, operators, folds)
        prepared = Prepared(factors, ready, grid)
        return [prepared, *(_moved(prepared, like) for like in others)]

    def _solve(
        self, prepared: list[Prepared], y: Any, folds: list[Any], alphas: NDArray[np.float64],
        solution: Solution,
    ) -> None:  # fmt: skip
        """Fit all targets in blocks, which the devices share; then those that lack values."""
        n_targets = y.shape[1]
        lacking = np.zeros(n_targets, bool)

        def work(cuts: list[slice], mine: Prepared) -> None:
            for cut in cuts:
                Y = read(y, (slice(None), cut), mine.factors.left)
                lacking[cut] = lacks = _lacks(Y, cut)
                if lacks.all():
                    continue
                if lacks.any():
                    whole = array_namespace(Y).asarray(np.flatnonzero(~lacks), device=device_of(Y))
                    Y = Y[:, whole]
                fitted = fit_block(*mine, Y, fit_intercept=self.fit_intercept)
                solution.put(cut.start + np.flatnonzero(~lacks) if lacks.any() else cut, fitted, mine.factors)

        # torch has threads of its own
        most = 1 if is_torch(prepared[0].factors.left) else max(1, n_targets // LEAST_TARGETS)
        with threads(most) as n:
            cuts = blocks(n_targets, max(LEAST_TARGETS, prepared[0].n_targets_at_once // n))
            workers = prepared if n == 1 else prepared * n
            shares = [cuts[k :: len(workers)] for k in range(len(workers))]
            in_threads(len(workers), work, shares, workers)
        if lacking.any():
            ours = Factors(*(None if v is None else as_numpy(v) for v in prepared[0].factors))
            for targets, fitted in fit_lacking(
                ours, folds, alphas, np.flatnonzero(lacking),
                lambda t: as_numpy(read(y, (slice(None), t), np.zeros(0))),
                n_targets=n_targets, fit_intercept=self.fit_intercept,
            ):  # fmt: skip
                solution.put(targets, fitted, ours)

    def refit(self, X: Any, y: Any) -> RidgeCV:
        """Fit a copy to other rows, at the alphas that were chosen here.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
        y : array of shape (n_samples, n_targets)
        """
        check_is_fitted(self)
        made = copy(self)
        like = self._like(X, self.device if isinstance(self.device, str) else None)
        xp = array_namespace(like)
        y = _targets(y)
        factors = factorise(X, like, fit_intercept=self.fit_intercept)
        solution = Solution(np.empty((y.shape[1], min(X.shape)), str(like.dtype).split(".")[-1]), 0)
        alphas = as_numpy(self.alpha_).ravel()
        for cut in columns(*y.shape):
            Y = read(y, (slice(None), cut), like)
            if bool(xp.any(xp.isnan(Y))):
                ours = missing.smoother(*map(as_numpy, factors[:2]), fit_intercept=self.fit_intercept)
                Y = read(missing.fill(ours, alphas[cut], as_numpy(Y)), slice(None), like)
            exact = xp.astype(Y, xp.float64)
            y_mean = xp.mean(exact, axis=0) if self.fit_intercept else xp.zeros_like(exact[0])
            alpha = xp.asarray(alphas[cut], device=device_of(like))
            coef = solve(factors, factors.left.T @ xp.astype(exact - y_mean, Y.dtype), alpha)
            solution.put(cut, Fitted(coef, y_mean, alpha, Y[:0]), factors)
        for name in ("dual_coef_", "X_fit_", "_coef"):
            made.__dict__.pop(name, None)
        if factors.right is None:
            made.dual_coef_, made.X_fit_ = solution.coef, X
        else:
            made._coef = solution.coef
        made._x_mean, made._y_mean = as_numpy(factors.mean), solution.y_mean
        intercept = solution.intercept.astype(solution.coef.dtype)
        made.intercept_ = made._leave(intercept.reshape(self._shape))
        return made

    @property
    def coef_(self) -> Any:
        """Weights, (n_targets, n_features) with the targets' own dimensions."""
        check_is_fitted(self)
        if not hasattr(self, "X_fit_"):
            flat = len(self._shape) == 1  # weights on disk are left there
            return self._leave(self._coef if flat else self._coef.reshape(*self._shape, -1))
        coef = np.empty((self.dual_coef_.shape[0], self.n_features_in_), self.dual_coef_.dtype)
        for cut, block in self.coef_blocks(slice(None)):
            coef[:, cut] = block
        return self._leave(coef.reshape(*self._shape, -1))

    def coef_blocks(self, targets: Any) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Make weights of some targets from `dual_coef_`, in blocks of features.

        Parameters
        ----------
        targets : slice or array of int

        Yields
        ------
        columns, weights
            (n_targets, n_columns) of them.
        """
        dual = self.dual_coef_[targets]
        for cut in columns(max(self.X_fit_.shape[0], len(dual)), self.n_features_in_):
            rows = read(self.X_fit_, (slice(None), cut), np.zeros(1)) - self._x_mean[cut]
            yield cut, dual @ rows.astype(dual.dtype)

    def predict(self, X: Any) -> Any:
        """Predict, (n_samples, …) with the targets' own dimensions, of the kind of X."""
        check_is_fitted(self)
        X = source = same_columns(self, X)
        if is_whole(X) and not is_torch(X):
            X = check_features(self, X)
        else:
            _check_shape(X, self.n_features_in_)
        device = self.device if isinstance(self.device, str) or self.device is None else self.device[0]
        like = self._like(X, device)
        if self.dtype is None:
            like = like.to(_dtype_of(self._weights)) if is_torch(like) else like.astype(self._weights.dtype)
        xp = array_namespace(like)
        n, p = X.shape
        exact = xp.zeros(0, dtype=xp.float64, device=device_of(like))
        mean = read(self._x_mean, slice(None), exact)

        def centred(source: Any, cut: Any) -> Any:  # before it is rounded
            return xp.astype(read(source, cut, exact) - mean[cut[1]], like.dtype)

        weights, y_mean = self._weights, read(self._y_mean, slice(None), like)
        if hasattr(self, "X_fit_"):
            kernel: Any = 0
            for part in columns(max(n, self.X_fit_.shape[0]), p):
                cut = (slice(None), part)
                kernel = kernel + centred(X, cut) @ centred(self.X_fit_, cut).T
            out = kernel @ read(weights, slice(None), like).T + y_mean
        elif is_whole(weights):
            weights = read(weights, slice(None), like).T
            rows = blocks(n, max(1, BLOCK_BYTES // (8 * p)))
            out = xp.concat([centred(X, (part, slice(None))) @ weights + y_mean for part in rows])
        else:
            out = y_mean
            for part in columns(max(n, len(weights)), p):
                cut = (slice(None), part)
                out = out + centred(X, cut) @ read(weights, cut, like).T
        out = xp.reshape(out, (n, *self._shape))
        if isinstance(source, xr.DataArray):
            template = self._template or {
                "dims": [f"target_{i}" for i in range(len(self._shape))],
                "coords": {},
            }
            labels = {k: c.variable for k, c in source.coords.items() if c.dims == source.dims[:1]}
            dims = (source.dims[0], *template["dims"])
            return xr.DataArray(as_numpy(out), dims=dims, coords=labels | template["coords"])
        return out if is_torch(source) else as_numpy(out)

    @property
    def _weights(self) -> Any:
        return self.dual_coef_ if hasattr(self, "X_fit_") else self._coef

    def _checked(self, X: Any, y: Any) -> tuple[Any, Any, bool]:
        """Check shapes and values; say whether tensors came in."""
        if is_whole(X) and is_whole(y) and not is_torch(X):
            return *check_fit(self, X, y, y_ndim=3, dtype=self.dtype), False
        same_columns(self, X, reset=True)
        _check_shape(X)
        self.n_features_in_ = X.shape[1]
        if not 1 <= len(y.shape) <= 3:
            raise InputError(
                f"y has shape {tuple(y.shape)}. Expected up to (n_samples, n_neuroids, n_time_bins)."
            )
        same_length(X, y)
        return X, y, is_torch(X)

    def _like(self, X: Any, device: str | None) -> Any:
        """Return an empty array of the kind, dtype and device that is computed with."""
        name = self._name(X) if self.fit_intercept else "float64"
        if device is None and not is_torch(X):
            return np.zeros(0, name)
        import torch

        return torch.zeros(0, dtype=getattr(torch, name), device=device or X.device)

    def _name(self, X: Any) -> str:
        """Return the dtype of what is learned."""
        name = self.dtype or str(X.dtype).split(".")[-1]
        return name if name in ("float32", "float64") else "float64"

    def _leave(self, values: NDArray[Any]) -> Any:
        if self._kept is None:
            return values
        return read(values, slice(None) if values.ndim else (), self._kept)


def _check_shape(X: Any, n_features: int | None = None) -> None:
    """Refuse a tensor or a file of another shape, or of no real numbers."""
    if len(X.shape) != 2 or not min(X.shape):
        raise InputError(f"X has shape {tuple(X.shape)}. Expected (n_samples, n_features).")
    if "complex" in str(X.dtype):
        raise InputError(f"Complex data not supported: X is {X.dtype}. Give real numbers.")
    if n_features is not None and X.shape[1] != n_features:
        raise InputError(
            f"X has {X.shape[1]} features, but RidgeCV is expecting {n_features} features as input."
        )


def _targets(y: Any) -> Any:
    """Return y as (n, n_targets): every (neuroid, time) is a target, a single one stands in a column."""
    if len(y.shape) == 2:
        return y
    return (y.values if isinstance(y, xr.DataArray) else y).reshape(len(y), -1)


def _template(y: Any) -> dict[str, Any] | None:
    """Return what labels predictions: the dimensions and coordinates of the targets."""
    if not isinstance(y, xr.DataArray):
        return None
    dims = y.dims[1:]
    return {"dims": dims, "coords": {k: c.variable for k, c in y.coords.items() if set(c.dims) <= set(dims)}}


def _lacks(Y: Any, cut: slice) -> NDArray[np.bool_]:
    """Say which targets of a block lack a value.

    Raises
    ------
    InputError
        A value is infinite.
    """
    xp = array_namespace(Y)
    if bool(xp.isfinite(xp.sum(Y))):
        return np.zeros(Y.shape[1], bool)
    if bool(xp.any(xp.isinf(Y))):
        raise InputError(
            f"y contains infinite values in targets {cut.start} to {cut.stop - 1}. Leave these out; NaN "
            "marks a missing value."
        )
    return as_numpy(xp.any(xp.isnan(Y), axis=0))


def _dtype_of(values: NDArray[Any]) -> Any:
    import torch

    return getattr(torch, str(values.dtype))


def _moved(values: Any, like: Any) -> Any:
    """Copy all tensors in nested tuples and lists to the device of `like`."""
    if is_torch(values):
        return values.to(like.device)
    if isinstance(values, (tuple, list)):
        made = [_moved(v, like) for v in values]
        return type(values)(*made) if hasattr(values, "_fields") else type(values)(made)
    return values
