"""Partial least squares, the mapping of Brain-Score: 25 components, no scaling.

Schrimpf et al. (2018), bioRxiv 407007. The decomposition is scikit-learn's; here it gets the interface
of the other readouts.
"""

from __future__ import annotations

from copy import copy
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.cross_decomposition import PLSRegression
from sklearn.utils.validation import check_is_fitted

from neuroenc.encoders.inputs import check_features, check_fit, folds_of
from neuroenc.encoders.missing import r2
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
        X, y = check_fit(self, X, y, dtype=float)
        X = X[:].astype(float)
        self._single = y.ndim == 1
        Y = self._complete(y)
        folds = folds_of(self.cv, len(X), groups, y)
        scores = np.zeros(Y.shape[1])
        for train, held in folds:
            shown = self._model(X[train], Y[train]).predict(X[held]).reshape(len(held), -1)
            scores += r2(Y[held], shown) / len(folds)
        model = self._model(X, Y)
        self.coef_, self._x_mean, self._y_mean = model.coef_, X.mean(0), Y.mean(0)
        self.best_score_ = scores[0] if self._single else scores
        return self

    def refit(self, X: Any, y: Any) -> PLS:
        """Fit a copy to other rows."""
        made = copy(self)
        X, y = check_fit(made, X, y, dtype=float)
        X = X[:].astype(float)
        Y = self._complete(y)
        model = self._model(X, Y)
        made.coef_, made._x_mean, made._y_mean = model.coef_, X.mean(0), Y.mean(0)
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

    def _model(self, X: Floats, Y: Floats) -> PLSRegression:
        number = max(1, min(self.n_components, X.shape[1], len(X) - 1))
        return PLSRegression(number, scale=False, max_iter=1000).fit(X, Y)

    def predict(self, X: Any) -> Floats:
        """Predict, (n_samples, n_targets)."""
        check_is_fitted(self)
        X = check_features(self, X, dtype=float)[:].astype(float)
        out = (X - self._x_mean) @ self.coef_.T + self._y_mean
        return np.asarray(out[:, 0] if self._single else out)
