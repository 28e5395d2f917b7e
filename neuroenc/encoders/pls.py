"""Partial least squares, the mapping of Brain-Score: 25 components, no scaling.

Schrimpf et al. (2018), bioRxiv 407007. The work is in `pls_components`; here is the estimator.
"""

from __future__ import annotations

from copy import copy
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from neuroenc.blocks import BLOCK_BYTES, blocks, columns
from neuroenc.encoders.factorise import read
from neuroenc.encoders.inputs import Rows, as_fitted, check_features, check_fit, folds_of, join_rows
from neuroenc.encoders.missing import r2
from neuroenc.encoders.pls_components import EXACT, OfColumns, OfRows, cross_products
from neuroenc.errors import InputError

Floats = NDArray[Any]


class PLS(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Partial least squares regression.

    Parameters
    ----------
    n_components : int
        At most; never more than features or training rows less one allow.
    cv : int, splitter or iterable of (train, validation)
        For `best_score_` only: nothing is chosen.

    Attributes
    ----------
    coef_ : array of shape (n_targets, n_features)
    best_score_ : array of shape (n_targets,)
        Validation R2, mean over folds; 0 where the target is constant.
    """

    OPTIONS: ClassVar[dict[str, Any]] = {"n_components": 1}

    def __init__(self, n_components: int = 25, *, cv: Any = 5) -> None:
        self.n_components = n_components
        self.cv = cv

    def fit(self, X: Any, y: Any, groups: ArrayLike | None = None) -> Self:
        """Fit.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
        y : array of shape (n_samples, n_targets) or (n_samples,)
        groups : array of shape (n_samples,), optional

        Raises
        ------
        InputError
            As `RidgeCV`; y lacks values: all targets are decomposed together, and would be fitted to the rows
            that all of them have.
        """
        groups = join_rows(X, groups, "groups")[1]
        X, y = check_fit(self, X, y)
        Y = self._complete(y)
        folds = folds_of(self.cv, len(X), groups, y)
        products = cross_products(X, Y)
        self._solve(products, len(X))
        scores = np.zeros(Y.shape[1])
        for train, held in folds:
            found = products.fit(np.bincount(train, minlength=len(X)), self._number(X.shape[1], train))
            along = products.scores(found, held)
            for t in columns(len(held), Y.shape[1]):
                scores[t] += r2(Y[held, t], along @ found.loading[:, t] + found.y_mean[t]) / len(folds)
        self.best_score_ = scores[0] if self._single else scores
        return self

    def refit(self, X: Any, y: Any) -> PLS:
        """Fit a copy to other rows."""
        made = copy(self)
        X, y = check_fit(made, X, y)
        made._solve(cross_products(X, self._complete(y)), len(X))
        return made

    def _complete(self, y: Floats) -> Floats:
        Y = y.reshape(len(y), -1)
        lacks: Any = np.isnan(Y).any(0)
        if lacks.any():
            raise InputError(
                f"{lacks.sum()} of {len(lacks)} targets lack values in {np.isnan(Y).any(1).sum()} rows, "
                "and PLS fits all targets together. Leave these out, or use ridge."
            )
        return Y

    def _number(self, n_features: int, rows: Rows) -> int:
        return max(1, min(self.n_components, n_features, len(rows) - 1))

    def _solve(self, products: OfColumns | OfRows, n: int) -> None:
        """Fit to all rows."""
        rows = np.arange(n)
        found = products.fit(np.ones(n, np.int64), self._number(products.X.shape[1], rows))
        rotation, self._x_mean = products.linear(found)
        self.coef_, self._y_mean = found.loading.T @ rotation, found.y_mean

    def predict(self, X: Any) -> Floats:
        """Predict, (n_samples, n_targets), of a single target (n_samples,) where y was so."""
        check_is_fitted(self)
        X = check_features(self, X)
        out = np.empty((len(X), len(self.coef_)))
        for rows in blocks(len(X), max(1, BLOCK_BYTES // (8 * X.shape[1]))):
            out[rows] = (read(X, rows, EXACT) - self._x_mean) @ self.coef_.T + self._y_mean
        return as_fitted(self, out)
