"""Receptive fields: features pooled under a Gaussian, the best of a grid of fields for each target.

St-Yves and Naselaris (2018), NeuroImage 180, 188 (feature-weighted receptive fields): y = w' sum_l
g(l; x, y, sigma) x_l. All targets share a field's pooled features, so that ridge is solved for all of
them at once, exactly, with one alpha per target; the field with the best validation R2 is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted
from tqdm import tqdm

from neuroenc.blocks import BLOCK_BYTES, blocks
from neuroenc.encoders.inputs import DTYPES, as_fitted, check_enough, check_fit, folds_of, join_rows
from neuroenc.encoders.memory import POOLED_BYTES
from neuroenc.encoders.ridge import RidgeCV
from neuroenc.encoders.solvers import at_alphas
from neuroenc.encoders.tokens import check_tokens, side_of

Floats = NDArray[Any]


def fields(n_positions: int, sizes: Sequence[float]) -> Floats:
    """List fields: centre x, y (0 to 1 from the left and the top) and sigma, all in picture widths.

    Returns
    -------
    array of shape (n_positions² * n_sizes + 1, 3)
        The last one sees the picture evenly (sigma infinite).
    """
    at = (np.arange(n_positions) + 0.5) / n_positions
    made = [(x, y, s) for s in sizes for y in at for x in at]
    return np.array([*made, (0.5, 0.5, np.inf)])


def pooling(field: Floats, side: int) -> Floats:
    """Weight of each cell of a grid under a field, (side²,), of sum one."""
    at = (np.arange(side) + 0.5) / side
    x, y, sigma = field
    if np.isinf(sigma):
        return np.full(side**2, 1 / side**2)
    weight = np.exp(-((at[None, :] - x) ** 2 + (at[:, None] - y) ** 2) / (2 * sigma**2)).ravel()
    return np.asarray(weight / weight.sum())


class GaussianFieldCV(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Ridge on features pooled under the best Gaussian field of each target.

    Parameters
    ----------
    alphas : sequence of float
    n_positions : int
        Centres along each side of the picture.
    sizes : sequence of float
        Sigmas in picture widths.
    cv : int, splitter or iterable of (train, validation)
    dtype : {"float32", "float64"}
    device : str, optional
        Of torch, on which ridge is solved; None: NumPy.

    Attributes
    ----------
    field_ : array of shape (n_targets, 3)
        x, y (0 to 1 from the left and the top) and sigma in picture widths.
    coef_ : array of shape (n_targets, n_channels)
    intercept_, alpha_, best_score_ : arrays of shape (n_targets,)
    """

    OPTIONS: ClassVar[dict[str, Any]] = {"dtype": DTYPES[:2], "n_positions": 1}

    def __init__(
        self,
        alphas: Sequence[float] | Floats = (0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5),
        *,
        n_positions: int = 8,
        sizes: Sequence[float] = (0.06, 0.12, 0.24),
        cv: Any = 5,
        dtype: str = "float32",
        device: str | None = None,
    ) -> None:
        self.alphas = alphas
        self.n_positions = n_positions
        self.sizes = sizes
        self.cv = cv
        self.dtype = dtype
        self.device = device

    def fit(self, X: Any, y: Any, groups: ArrayLike | None = None) -> Self:
        """Try every field; keep the best of each target.

        Parameters
        ----------
        X : array of shape (n_samples, n_tokens, n_channels)
            Tokens of a square grid, row by row. In memory or on disk, from where rows are read.
        y : array of shape (n_samples, n_targets)
        groups : array of shape (n_samples,), optional

        Raises
        ------
        InputError
            Tokens that are no square grid.
        """
        groups = join_rows(X, groups, "groups")[1]
        X, Y = check_fit(self, X, y, ndim=3, dtype=self.dtype)
        self.n_tokens_, self.n_channels_ = X.shape[1:]
        self._side = side_of(self.n_tokens_)
        Y = check_enough(Y)
        folds = folds_of(self.cv, len(X), groups, Y)
        n_targets = Y.shape[1]
        self.best_score_ = np.full(n_targets, -np.inf)
        self.field_ = np.zeros((n_targets, 3))
        self.alpha_, self.intercept_ = np.zeros(n_targets), np.zeros(n_targets, self.dtype)
        self.coef_ = np.zeros((n_targets, self.n_channels_), self.dtype)
        grid = fields(self.n_positions, self.sizes)
        for field, pooled in tqdm(self._pooled(X, grid), "fields", len(grid), disable=None):
            ridge = RidgeCV(self.alphas, cv=folds, dtype=self.dtype, device=self.device).fit(pooled, Y)
            better = ridge.best_score_ > self.best_score_
            self.best_score_[better] = ridge.best_score_[better]
            self.field_[better], self.alpha_[better] = field, ridge.alpha_[better]
            self.coef_[better], self.intercept_[better] = ridge.coef_[better], ridge.intercept_[better]
        return self

    def refit(self, X: Any, y: Any) -> GaussianFieldCV:
        """Fit a copy to other rows, at the fields and alphas that were chosen here."""
        made = copy(self)
        made.coef_, made.intercept_ = self.coef_.copy(), self.intercept_.copy()
        X, Y = check_fit(made, X, y, ndim=3, dtype=self.dtype)
        for field, pooled in self._pooled(X, np.unique(self.field_, axis=0)):
            t = np.flatnonzero((self.field_ == field).all(1))
            made.coef_[t], made.intercept_[t] = at_alphas(pooled, Y[:, t], self.alpha_[t])
        return made

    def _pooled(self, X: Any, some: Floats) -> Iterator[tuple[Floats, Floats]]:
        """Pool features under each field, (n_samples, n_channels); as many in one pass over X as fit."""
        n, n_tokens, n_channels = X.shape
        itemsize = np.dtype(self.dtype).itemsize
        for part in blocks(len(some), max(1, POOLED_BYTES // (itemsize * n * n_channels))):
            weight = np.stack([pooling(field, self._side) for field in some[part]]).astype(self.dtype)
            pooled = np.empty((len(weight), n, n_channels), self.dtype)
            for rows in blocks(n, max(1, BLOCK_BYTES // (itemsize * n_tokens * n_channels))):
                pooled[:, rows] = (weight @ X[rows].astype(self.dtype, copy=False)).transpose(1, 0, 2)
            yield from zip(some[part], pooled, strict=True)

    def predict(self, X: Any) -> Floats:
        """Predict, (n_samples, n_targets), of a single target (n_samples,) where y was so."""
        check_is_fitted(self)
        X = check_tokens(self, X)
        out = np.empty((len(X), len(self.coef_)), self.dtype)
        for field, pooled in self._pooled(X, np.unique(self.field_, axis=0)):
            t = (self.field_ == field).all(1)
            out[:, t] = pooled @ self.coef_[t].T + self.intercept_[t]
        return as_fitted(self, out)
