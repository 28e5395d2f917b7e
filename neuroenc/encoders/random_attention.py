"""Random-feature attention: frozen random queries route the tokens, ridge reads them out, exactly.

The routing of attention without its training: queries and keys are drawn once by the seed (as the weights of
Rahimi and Recht 2007, "Random features for large-scale kernel machines", and of the random networks of
Peng et al. 2021, "Random feature attention", arXiv 2103.02143, are), so that the fit is one ridge in closed
form with one alpha per target.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from neuroenc.blocks import BLOCK_BYTES, blocks
from neuroenc.encoders.inputs import as_fitted, check_enough, check_fit, join_rows
from neuroenc.encoders.ridge import RidgeCV
from neuroenc.encoders.solvers import at_alphas
from neuroenc.encoders.tokens import check_tokens, grid_of

Floats = NDArray[Any]
SIZES = (0.06, 0.5)  # smallest and largest sigma of the places that queries look at, in picture widths
SHARPNESS = (0.25, 4.0)  # smallest and largest standard deviation of the scores of what tokens hold


def draw(n_queries: int, n_tokens: int, n_channels: int, seed: int) -> tuple[Floats, Floats]:
    """Draw queries.

    Returns
    -------
    content : array of shape (n_queries, n_channels)
        Gaussian: its product with a standardised token has a standard deviation within `SHARPNESS`.
    place : array of shape (n_queries, n_tokens)
        Scores of places, -d² / 2 sigma², of the distance from a centre that is drawn from the picture. Tokens
        that are no square grid stand in one row.
    """
    rng = np.random.default_rng(seed)
    rows, columns = grid_of(n_tokens)
    centre = rng.random((n_queries, 2))
    sigma, sharpness = (low * (high / low) ** rng.random((n_queries, 1)) for low, high in (SIZES, SHARPNESS))
    content = rng.standard_normal((n_queries, n_channels)) * sharpness / n_channels**0.5
    x, y = (np.arange(columns) + 0.5) / columns, (np.arange(rows) + 0.5) / rows
    across = (x - centre[:, :1])[:, None] ** 2
    down = (y - centre[:, 1:])[:, :, None] ** 2 if rows > 1 else 0.0
    place = -(across + down).reshape(n_queries, n_tokens) / (2 * sigma**2)
    return content.astype(np.float32), place.astype(np.float32)


def route(X: Any, content: Floats, place: Floats) -> Floats:
    """Pool tokens by frozen queries, t_k = sum_l softmax_l(u_k · x_l + g_kl) x_l.

    Parameters
    ----------
    X : array of shape (n, n_tokens, n_channels)
        In memory or read in parts, batch by batch. A token that is NaN is not there.
    content, place : arrays of shape (n_queries, n_channels), (n_queries, n_tokens)

    Returns
    -------
    array of shape (n, n_queries * n_channels)
    """
    n, n_tokens, n_channels = X.shape
    out = np.empty((n, len(content), n_channels), np.float32)
    for rows in blocks(n, max(1, BLOCK_BYTES // (4 * n_tokens * (n_channels + len(content))))):
        x = X[rows].astype(np.float32, copy=False)
        absent = np.isnan(x[..., 0])
        if absent.any():
            x = np.where(absent[..., None], 0, x)
        score = content @ x.transpose(0, 2, 1) + place
        out[rows] = softmax(np.where(absent[:, None], -np.inf, score), -1) @ x
    return out.reshape(n, -1)


class RandomAttentionCV(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Ridge on tokens that frozen random queries pool.

    Parameters
    ----------
    n_queries : int
    alphas : sequence of float
    cv : int, splitter or iterable of (train, validation)
    seed : int
        Of the queries.
    device : str, optional
        Of torch, on which ridge is solved; None: NumPy.

    Attributes
    ----------
    content_, place_ : arrays of shape (n_queries, n_channels), (n_queries, n_tokens)
        The queries.
    coef_ : array of shape (n_targets, n_queries * n_channels)
    intercept_, alpha_, best_score_ : arrays of shape (n_targets,)
    """

    sets: ClassVar[bool] = True

    def __init__(
        self,
        *,
        n_queries: int = 32,
        alphas: Sequence[float] | Floats = (0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6),
        cv: Any = 5,
        seed: int = 0,
        device: str | None = None,
    ) -> None:
        self.n_queries = n_queries
        self.alphas = alphas
        self.cv = cv
        self.seed = seed
        self.device = device

    def fit(self, X: Any, y: Any, groups: ArrayLike | None = None) -> Self:
        """Route, then choose the alpha of each target.

        Parameters
        ----------
        X : array of shape (n_samples, n_tokens, n_channels)
            Standardised channels. In memory or on disk, from where rows are read.
        y : array of shape (n_samples, n_targets)
            NaN marks a missing value.
        groups : array of shape (n_samples,), optional
        """
        groups = join_rows(X, groups, "groups")[1]
        X, Y = check_fit(self, X, y, ndim=3, dtype=np.float32, sets=True)
        self.n_tokens_, self.n_channels_ = X.shape[1:]
        self.content_, self.place_ = draw(self.n_queries, self.n_tokens_, self.n_channels_, self.seed)
        ridge = RidgeCV(self.alphas, cv=self.cv, device=self.device)
        ridge.fit(route(X, self.content_, self.place_), check_enough(Y), groups)
        self.coef_, self.intercept_ = ridge.coef_, ridge.intercept_
        self.alpha_, self.best_score_ = ridge.alpha_, ridge.best_score_
        return self

    def refit(self, X: Any, y: Any) -> RandomAttentionCV:
        """Fit a copy to other rows, at the alphas that were chosen here."""
        made = copy(self)
        X, Y = check_fit(made, X, y, ndim=3, dtype=np.float32, sets=True)
        made.coef_, made.intercept_ = at_alphas(
            route(X, self.content_, self.place_), check_enough(Y), self.alpha_
        )
        return made

    def predict(self, X: Any) -> Floats:
        """Predict, (n_samples, n_targets), of a single target (n_samples,) where y was so."""
        check_is_fitted(self)
        routed = route(check_tokens(self, X), self.content_, self.place_)
        return as_fitted(self, routed @ self.coef_.T + self.intercept_)
