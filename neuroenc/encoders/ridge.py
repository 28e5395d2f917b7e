"""Exact ridge regression with one alpha per target, chosen by cross-validation.

The work is in `factorise`; here are the estimator and the forecast of its memory. alpha is
scikit-learn's: the objective is ||Y - XW||² + alpha ||W||².
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from typing import Any, NamedTuple, Self

import numpy as np
import xarray as xr
from array_api_compat import array_namespace
from array_api_compat import device as device_of
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from neuroenc.blocks import BLOCK_BYTES, blocks
from neuroenc.encoders import missing
from neuroenc.encoders.factorise import (
    ROUNDING,
    Array,
    Factors,
    Fold,
    factorise,
    prepare,
    project,
    read,
    score,
    varies,
)  # fmt: skip
from neuroenc.encoders.inputs import (
    check_alphas,
    check_features,
    check_fit,
    folds_of,
    is_torch,
    join_rows,
    same_columns,
    same_length,
)
from neuroenc.errors import InputError

BLAS_BYTES = 32 * 2**20  # what the matrix library keeps for itself


class Fitted(NamedTuple):
    """Ridge for a block of targets."""

    coef: Array
    """(n_targets, p), or (n_targets, n) where the solution is in the rows of X"""
    y_mean: Array
    alpha: Array
    scores: Array
    """(n_alphas, n_targets)"""


def fit_block(
    factors: Factors, folds: list[Fold], alphas: Array, Y: Array, *, fit_intercept: bool = True
) -> Fitted:
    """Choose the alpha of each target by cross-validation and solve.

    Parameters
    ----------
    factors : Factors
    folds : list of Fold
    alphas : array of shape (n_alphas,), float64
    Y : array of shape (n, n_targets)
    fit_intercept : bool
    """
    xp = array_namespace(Y)
    exact = xp.astype(Y, xp.float64)
    y_mean = xp.mean(exact, axis=0) if fit_intercept else xp.zeros_like(exact[0])
    exact = exact - y_mean
    size = xp.max(xp.abs(exact), axis=0)
    if fit_intercept:  # what rounding leaves of a constant is no variation
        size = xp.where(varies(Y), size, xp.zeros_like(size))
        exact = xp.where(size > 0, exact, xp.zeros_like(exact))
    # near one, so that squares of single precision neither vanish nor overflow; by powers of two: exactly
    unit = 2.0 ** xp.floor(xp.log2(xp.where(size > 0, size, xp.ones_like(size))))
    Y = xp.astype(exact / unit, Y.dtype)
    projected, held = project([f.validation for f in folds], factors.left, Y)
    total: Any = 0.0
    for fold, rows in zip(folds, held, strict=True):
        total = total + score(fold, factors.left, Y, projected, rows, fit_intercept=fit_intercept)
    scores = xp.astype(total / len(folds), Y.dtype)
    alpha = alphas[xp.argmax(scores, axis=0)]
    coef = solve(factors, projected, alpha) * xp.astype(unit, Y.dtype)[:, None]
    return Fitted(coef, y_mean, alpha, scores)


def solve(factors: Factors, projected: Array, alpha: Array) -> Array:
    """Weights at one alpha per target.

    Parameters
    ----------
    factors : Factors
    projected : array of shape (rank, n_targets)
        left' Y of the centred responses.
    alpha : array of shape (n_targets,)

    Returns
    -------
    array of shape (n_targets, p), or (n_targets, n) of the rows of the centred X if p >= n
    """
    xp = array_namespace(projected)
    singular = factors.singular[:, None]
    shrunk = singular
    if factors.right is None:  # what the rows do not span, rounding alone has put there
        least = xp.max(singular) ** 2 * len(factors.singular) * ROUNDING if len(factors.singular) else 0.0
        shrunk = xp.astype(singular**2 > least, xp.float64)
    shrunk = projected * xp.astype(shrunk / (singular**2 + alpha), projected.dtype)
    basis = factors.left if factors.right is None else xp.astype(factors.right, projected.dtype)
    return shrunk.T @ basis.T


def forecast(
    n: int, p: int, n_targets: int, n_alphas: int, n_folds: int, *, itemsize: int = 4,
    coef_in_memory: bool = True,
) -> int:  # fmt: skip
    """Forecast the bytes `RidgeCV` takes at its peak, over what X and y occupy if in memory.

    Parameters
    ----------
    n, p, n_targets, n_alphas, n_folds : int
        Rows, features, targets, alphas, folds.
    itemsize : int
        4 for float32, 8 for float64.
    coef_in_memory : bool
        False where the weights are written to `coef_out` on disk.
    """
    rank = min(n, p)
    n_held = -(-n // n_folds)
    n_train = n - n_held
    k = min(rank, n_train)
    runs = max(1, min(6, k // 200))
    per_run = min(n_alphas, 14 if runs == 1 else 9 if runs < 4 else 6)
    block = min(n_targets, target_block(n_held, min(n_alphas, per_run) * runs, itemsize))
    source = min(BLOCK_BYTES, 8 * n * p)
    gram = 8 * rank**2
    left = itemsize * n * rank
    right = 0 if p >= n else gram
    fold = itemsize * (min(rank, n_train) * k + k * per_run * n_held)
    factorising = max(2 * gram + 5 * source // 2, 5 * gram)
    projecting = left + 3 * gram + 3 * source
    preparing = left + right + (n_folds - 1) * fold + 8 * (n * rank + 5 * k**2)
    out = n_targets * (itemsize * (n_alphas + 4) + (itemsize * rank if coef_in_memory else 0))
    parts = itemsize * block * (per_run * runs + 1) * n_held
    each = parts + itemsize * block * (3 * n + (n_folds + 3) * rank) + 16 * block * (per_run * runs) ** 2
    scoring = left + right + n_folds * fold + each + out
    return BLAS_BYTES + max(factorising, projecting, preparing, scoring)


def target_block(n_held: int, n_parts: int, itemsize: int) -> int:
    """Targets done at a time, so that the parts of their predictions stay in a few megabytes."""
    return int(np.clip(BLOCK_BYTES // (itemsize * n_held * n_parts), 64, 2048))


class RidgeCV(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Ridge regression, exact, one alpha per target, chosen by cross-validation.

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
        alphas = check_alphas(self.alphas)
        X, y = join_rows(X, y)
        self._template: dict[str, Any] | None = None
        if isinstance(y, xr.DataArray):
            self._template = {
                "dims": y.dims[1:],
                "coords": {k: c.variable for k, c in y.coords.items() if not {*y.dims[:1]} & {*c.dims}},
            }
        X, y, keep = self._checked(X, y)
        n, p = X.shape
        shape = tuple(y.shape[1:])
        if len(shape) != 1:  # every (neuroid, time) is a target; a single one stands in a column
            y = y.values if isinstance(y, xr.DataArray) else y
            y = y.reshape(n, -1)
        n_targets = y.shape[1]
        folds = folds_of(self.cv, n, groups, y if isinstance(y, np.ndarray) else None)
        devices = [self.device] if isinstance(self.device, str) or self.device is None else self.device
        likes = [self._like(X, device) for device in devices]
        xp = array_namespace(likes[0])
        grid = xp.asarray(alphas, device=device_of(likes[0]))
        factors = factorise(X, likes[0], fit_intercept=self.fit_intercept)
        largest = float(max(factors.singular, default=0.0)) ** 2
        if alphas[0] < largest * min(n, p) * ROUNDING:
            warnings.warn(
                f"The smallest alpha, {alphas[0]:g}, is below the rounding of X'X, whose largest eigenvalue "
                f"is {largest:.3g}: weights at it are not exact. Scale X or raise alpha.", stacklevel=2,
            )  # fmt: skip
        prepared = []
        for train, validation in folds:
            rows, held = (xp.asarray(r, device=device_of(likes[0])) for r in (train, validation))
            prepared.append(prepare(factors, rows, held, grid, fit_intercept=self.fit_intercept))
        n_held, n_parts = (max(len(v) for _, v in folds), max(f.mixing.shape[1] for f in prepared))
        cuts = blocks(n_targets, target_block(n_held, n_parts, likes[0].itemsize))
        copies = [(factors, prepared, grid)] + [_moved((factors, prepared, grid), k) for k in likes[1:]]
        coef = coef_out
        if coef is None:
            coef = np.empty((n_targets, n if p >= n else p), self._name(X))
        self.cv_scores_ = np.empty((len(alphas), n_targets), coef.dtype)
        alpha, y_mean, intercept = np.empty((3, n_targets))

        lacking = np.zeros(n_targets, bool)  # a value or more

        def keep_block(cut: Any, fitted: Fitted, parts: Factors) -> None:
            coef[cut] = _numpy(fitted.coef)
            moved = parts.mean if parts.right is not None else parts.origin
            alpha[cut], y_mean[cut] = _numpy(fitted.alpha), _numpy(fitted.y_mean)
            intercept[cut] = y_mean[cut] - _numpy(fitted.coef @ read(moved, slice(None), fitted.coef[:0]))
            self.cv_scores_[:, cut] = _numpy(fitted.scores)

        def work(number: int) -> None:
            like, (parts, operators, candidates) = likes[number], copies[number]
            for cut in cuts[number :: len(likes)]:
                Y = read(y, (slice(None), cut), like)
                space = array_namespace(Y)
                if not bool(space.isfinite(space.sum(Y))):
                    if bool(space.any(space.isinf(Y))):
                        raise InputError(
                            f"y contains infinite values in targets {cut.start} to {cut.stop - 1}. "
                            "Leave these out; NaN marks a missing value."
                        )
                    lacking[cut] = _numpy(space.any(space.isnan(Y), axis=0))
                whole = np.flatnonzero(~lacking[cut])
                if len(whole) == Y.shape[1]:
                    keep_block(
                        cut,
                        fit_block(parts, operators, candidates, Y, fit_intercept=self.fit_intercept),
                        parts,
                    )
                elif len(whole):
                    Y = Y[:, space.asarray(whole, device=device_of(Y))]
                    fitted = fit_block(parts, operators, candidates, Y, fit_intercept=self.fit_intercept)
                    keep_block(cut.start + whole, fitted, parts)

        with ThreadPoolExecutor(len(likes)) as pool:
            list(pool.map(work, range(len(likes))))
        if lacking.any():
            ours = Factors(*(None if v is None else _numpy(v) for v in factors))
            for cut, fitted in self._fit_lacking(ours, folds, alphas, y, np.flatnonzero(lacking)):
                keep_block(cut, fitted, ours)
        if not np.nan_to_num(self.cv_scores_).any():
            raise InputError(
                f"All {n_targets} targets are constant in every fold. Leave constant ones out; where they "
                "vary between folds only, shuffle: cv=KFold(5, shuffle=True)."
            )
        chosen = np.minimum(np.searchsorted(alphas, alpha), len(alphas) - 1)
        best = np.take_along_axis(self.cv_scores_, chosen[None], axis=0)[0]
        self._y_mean = y_mean
        self._shape = shape
        self._x_mean = _numpy(factors.mean)
        if p >= n:
            self.dual_coef_, self.X_fit_ = coef, X
        else:
            self._coef = coef
        self._kept = likes[0] if keep else None  # attributes are of the kind of the input
        self.intercept_ = self._leave(intercept.astype(coef.dtype).reshape(shape))
        self.alpha_ = self._leave(alpha.reshape(shape))
        self.best_score_ = self._leave(best.reshape(shape))
        self.cv_scores_ = self._leave(self.cv_scores_.reshape(len(alphas), *shape))
        return self

    def _fit_lacking(
        self, factors: Factors, folds: list[Any], alphas: Any, y: Any, targets: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], Fitted]]:
        """Fit targets that lack values, as if only the rows they have were there."""

        def take(index: Any) -> NDArray[Any]:
            return _numpy(read(y, (slice(None), targets[index]), np.zeros(0)))

        each = [take(cut) for cut in blocks(len(targets), missing.TARGETS_AT_ONCE)]
        enough = np.concatenate([np.isfinite(Y).sum(0) > 1 for Y in each])
        if not enough.all():
            warnings.warn(
                f"{(~enough).sum()} of {self.cv_scores_.shape[1]} targets have fewer than two values, first "
                f"{targets[~enough][0]}: they are NaN.", stacklevel=3,
            )  # fmt: skip
            shape = (
                int((~enough).sum()),
                factors.left.shape[0] if factors.right is None else len(factors.mean),
            )
            none = np.full(shape[0], np.nan)
            scores = np.full((len(alphas), shape[0]), np.nan)
            yield targets[~enough], Fitted(np.full(shape, np.nan), none, none, scores)
        targets = targets[enough]
        smoothers = (
            (missing.Smoother.of_rows(factors, *fold, fit_intercept=self.fit_intercept), *fold)
            for fold in folds
        )
        scores = missing.choose(smoothers, alphas, len(targets), take)
        alpha = alphas[scores.argmax(0)]
        whole = missing.smoother(factors.left, factors.singular, fit_intercept=self.fit_intercept)
        for cut in blocks(len(targets), missing.TARGETS_AT_ONCE):
            Y = missing.fill(whole, alpha[cut], take(cut))
            y_mean = Y.mean(0) if self.fit_intercept else np.zeros(Y.shape[1])
            coef = solve(factors, factors.left.T @ (Y - y_mean), alpha[cut])
            yield targets[cut], Fitted(coef, y_mean, alpha[cut], scores[:, cut])

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
        Y = xp.reshape(read(y, slice(None), like), (len(y), -1))
        factors = factorise(X, like, fit_intercept=self.fit_intercept)
        if bool(xp.any(xp.isnan(Y))):
            ours = missing.smoother(*map(_numpy, factors[:2]), fit_intercept=self.fit_intercept)
            Y = read(missing.fill(ours, _numpy(self.alpha_).ravel(), _numpy(Y)), slice(None), like)
        exact = xp.astype(Y, xp.float64)
        y_mean = xp.mean(exact, axis=0) if self.fit_intercept else xp.zeros_like(exact[0])
        Y = xp.astype(exact - y_mean, Y.dtype)
        alpha = xp.asarray(_numpy(self.alpha_).ravel(), device=device_of(like))
        coef = solve(factors, factors.left.T @ Y, alpha)
        moved = factors.mean if factors.right is not None else factors.origin
        intercept = _numpy(y_mean) - _numpy(coef @ read(moved, slice(None), like))
        for name in ("dual_coef_", "X_fit_", "_coef"):
            made.__dict__.pop(name, None)
        if factors.right is None:
            made.dual_coef_, made.X_fit_ = _numpy(coef), X
        else:
            made._coef = _numpy(coef)
        made._x_mean, made._y_mean = _numpy(factors.mean), _numpy(y_mean)
        made.intercept_ = made._leave(intercept.astype(made._weights.dtype).reshape(self._shape))
        return made

    @property
    def coef_(self) -> Any:
        """Weights, (n_targets, n_features) with the targets' own dimensions."""
        check_is_fitted(self)
        if not hasattr(self, "X_fit_"):
            flat = len(self._shape) == 1  # weights on disk are left there
            return self._leave(self._coef if flat else self._coef.reshape(*self._shape, -1))
        coef = np.empty((self.dual_coef_.shape[0], self.n_features_in_), self.dual_coef_.dtype)
        for columns in blocks(self.n_features_in_, max(1, BLOCK_BYTES // (8 * self.X_fit_.shape[0]))):
            rows = read(self.X_fit_, (slice(None), columns), np.zeros(1)) - self._x_mean[columns]
            coef[:, columns] = self.dual_coef_[:] @ rows.astype(coef.dtype)
        return self._leave(coef.reshape(*self._shape, -1))

    def predict(self, X: Any) -> Any:
        """Predict, (n_samples, …) with the targets' own dimensions, of the kind of X."""
        check_is_fitted(self)
        X = source = same_columns(self, X)
        if _is_whole(X) and not is_torch(X):
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

        if hasattr(self, "X_fit_"):
            design: Any = 0
            for columns in blocks(p, max(1, BLOCK_BYTES // (8 * self.X_fit_.shape[0]))):
                cut = (slice(None), columns)
                design = design + centred(X, cut) @ centred(self.X_fit_, cut).T
        else:
            rows = blocks(n, max(1, BLOCK_BYTES // (8 * p)))
            design = xp.concat([centred(X, (cut, slice(None))) for cut in rows])
        out = design @ read(self._weights, slice(None), like).T + read(self._y_mean, slice(None), like)
        out = xp.reshape(out, (n, *self._shape))
        if isinstance(source, xr.DataArray):
            template = self._template or {
                "dims": [f"target_{i}" for i in range(len(self._shape))],
                "coords": {},
            }
            labels = {k: c.variable for k, c in source.coords.items() if c.dims == source.dims[:1]}
            dims = (source.dims[0], *template["dims"])
            return xr.DataArray(_numpy(out), dims=dims, coords=labels | template["coords"])
        return out if is_torch(source) else _numpy(out)

    @property
    def _weights(self) -> Any:
        return self.dual_coef_ if hasattr(self, "X_fit_") else self._coef

    def _checked(self, X: Any, y: Any) -> tuple[Any, Any, bool]:
        """Check shapes and values; say whether tensors came in."""
        if _is_whole(X) and _is_whole(y) and not is_torch(X):
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


def _is_whole(X: Any) -> bool:
    """Say whether an array is in memory, and not a file that is read in parts."""
    if isinstance(X, xr.DataArray):
        return bool(X.variable._in_memory)
    return not isinstance(X, np.memmap) and not type(X).__module__.startswith("h5py")


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


def _dtype_of(values: NDArray[Any]) -> Any:
    import torch

    return getattr(torch, str(values.dtype))


def _numpy(values: Any) -> NDArray[Any]:
    return values.detach().cpu().numpy() if is_torch(values) else np.asarray(values)


def _moved(values: Any, like: Any) -> Any:
    """Copy all tensors in nested tuples and lists to the device of `like`."""
    if is_torch(values):
        return values.to(like.device)
    if isinstance(values, (tuple, list)):
        made = [_moved(v, like) for v in values]
        return type(values)(*made) if hasattr(values, "_fields") else type(values)(made)
    return values
