"""Exact ridge from responses to embeddings: the baseline that equals deep methods at one hour of data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from neuroenc.decoders.target import Target
from neuroenc.encoders.design import is_whole
from neuroenc.encoders.inputs import check_features, check_fit, same_length
from neuroenc.encoders.ridge import RidgeCV

Floats = NDArray[Any]
ALPHAS = tuple(np.logspace(0, 6, 13).tolist())


class RidgeDecoder(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Ridge to whitened principal components of embeddings, one alpha per component.

    Parameters
    ----------
    alphas : array of shape (n_alphas,)
    n_components : int or None
        Of the embeddings of the training pictures.
    cv : int, splitter or iterable of (train, validation)

    Attributes
    ----------
    target_ : Target
        The space of components.
    alpha_ : array of shape (n_components,)
    best_score_ : array of shape (n_components,)
        R2 on the validation folds, their mean.
    """

    def __init__(
        self, alphas: Sequence[float] = ALPHAS, *, n_components: int | None = 100, cv: Any = 5
    ) -> None:
        self.alphas = alphas
        self.n_components = n_components
        self.cv = cv

    def fit(self, X: Any, y: Any, target: Target | None = None) -> Self:
        """Fit.

        Parameters
        ----------
        X : array or Design of shape (n_samples, n_neuroids)
            Responses, standardised.
        y : array or Design of shape (n_samples, n_features)
            Embeddings of the pictures, flattened. X and y may be read in parts, neither is then copied whole.
        target : Target, optional
            The space that is decoded into; else learned from y.

        Raises
        ------
        InputError
            As `RidgeCV`; values that are not finite.
        """
        if is_whole(y):
            X, y = check_fit(self, X, y, y_ndim=3, dtype=np.float32)
        else:
            X = check_features(self, X, dtype=np.float32, reset=True)
            same_length(X, y)
        self.target_ = target or Target.fit(y, self.n_components)
        self.ridge_ = RidgeCV(self.alphas, cv=self.cv).fit(X, self.target_.transform(y))
        self.alpha_, self.best_score_ = self.ridge_.alpha_, self.ridge_.best_score_
        return self

    def predict_components(self, X: Any) -> Floats:
        """Predict in the space of components, (n_samples, n_components)."""
        check_is_fitted(self)
        return np.asarray(self.ridge_.predict(check_features(self, X, dtype=np.float32)))

    def predict(self, X: Any) -> Floats:
        """Predict embeddings, (n_samples, n_features)."""
        return self.target_.inverse(self.predict_components(X))
