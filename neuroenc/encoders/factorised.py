"""Factorised readout: where times what, solved by alternating ridge.

Klindt, Ecker, Euler, Bethge (2017), arXiv 1711.02653: y = sum_l sum_c s_l f_c x_lc, a spatial mask times
feature weights. The objective ||y - X(s, f)||² + alpha ||s||² ||f||² is quadratic in each factor: both
are solved exactly in turn, from the best rank-one approximation of ridge.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted
from tqdm import tqdm

from neuroenc import ranking
from neuroenc.encoders.inputs import check_alphas, check_enough, check_fit, folds_of
from neuroenc.encoders.missing import r2
from neuroenc.encoders.ridge import RidgeCV
from neuroenc.encoders.tokens import check_tokens

Floats = NDArray[Any]
BLOCK_BYTES = 64 * 2**20  # pooled features held at a time


class FactorisedCV(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """One spatial mask and one set of feature weights for each target.

    Parameters
    ----------
    alphas : sequence of float
        Strengths that are tried; the best of each target by cross-validation.
    n_alternations : int
        Times both factors are solved.
    cv : int, splitter or iterable of (train, validation)

    Attributes
    ----------
    mask_ : array of shape (n_targets, n_tokens)
        Of unit length.
    feature_ : array of shape (n_targets, n_channels)
    intercept_, alpha_, best_score_ : arrays of shape (n_targets,)
    """

    def __init__(
        self,
        alphas: Sequence[float] | Floats = (1.0, 10.0, 100.0, 1e3, 1e4),
        *,
        n_alternations: int = 4,
        cv: Any = 5,
    ) -> None:
        self.alphas = alphas
        self.n_alternations = n_alternations
        self.cv = cv

    def fit(self, X: Any, y: Any, groups: ArrayLike | None = None) -> Self:
        """Choose alphas and solve.

        Parameters
        ----------
        X : array of shape (n_samples, n_tokens, n_channels)
        y : array of shape (n_samples, n_targets)
            NaN marks a missing value: the target is fitted to the rows it has.
        groups : array of shape (n_samples,), optional
        """
        alphas = check_alphas(self.alphas)
        X, y = check_fit(self, X, y, ndim=3, dtype=np.float32)
        self.n_tokens_, self.n_channels_ = X.shape[1:]
        Y = check_enough(y)
        folds = folds_of(self.cv, len(X), groups, Y)
        scores = np.zeros((len(alphas), Y.shape[1]))
        bar = tqdm(total=len(folds) * len(alphas) + 1, desc="factorised", disable=None)
        for train, held in folds:
            check_enough(Y[train])
            start = self._start(X[train], Y[train])
            for i in range(len(alphas))[::-1]:  # from strong to weak, each from the last
                alpha = np.full(Y.shape[1], alphas[i])
                mask, feature, intercept = alternate(X[train], Y[train], alpha, start, self.n_alternations)
                start = mask
                scores[i] += r2(Y[held], apply(X[held], mask, feature) + intercept) / len(folds)
                bar.update()
        best = ranking.best(scores)
        self.alpha_, self.best_score_ = alphas[best], scores[best, np.arange(Y.shape[1])]
        self.mask_, self.feature_, self.intercept_ = alternate(
            X, Y, self.alpha_, self._start(X, Y), 2 * self.n_alternations
        )
        bar.update()
        bar.close()
        return self

    def refit(self, X: Any, y: Any) -> FactorisedCV:
        """Fit a copy to other rows, at the alphas that were chosen here."""
        made = copy(self)
        X, y = check_fit(made, X, y, ndim=3, dtype=np.float32)
        Y = check_enough(y)
        made.mask_, made.feature_, made.intercept_ = alternate(
            X, Y, self.alpha_, self._start(X, Y), 2 * self.n_alternations
        )
        return made

    def _start(self, X: Floats, Y: Floats) -> Floats:
        """Masks of the best rank-one approximation of ridge's weights."""
        flat = X.reshape(len(X), -1)
        wide = np.logspace(2, 7, 6)
        coef = RidgeCV(wide, cv=2, dtype="float32").fit(flat, Y).coef_.reshape(-1, *X.shape[1:])
        return np.linalg.svd(coef, full_matrices=False)[0][:, :, 0]

    def predict(self, X: Any) -> Floats:
        """Predict, (n_samples, n_targets)."""
        check_is_fitted(self)
        X = check_tokens(self, X)
        return apply(X, self.mask_, self.feature_) + self.intercept_


def apply(X: Floats, mask: Floats, feature: Floats) -> Floats:
    """Read out, (n_samples, n_targets)."""
    out = np.empty((len(X), len(mask)), np.float32)
    size = max(1, BLOCK_BYTES // (4 * X.shape[0] * X.shape[2]))
    for start in range(0, len(mask), size):
        t = slice(start, start + size)
        out[:, t] = np.einsum("tnc,tc->nt", _pool(X, mask[t]), feature[t], optimize=True)
    return out


def alternate(
    X: Floats, Y: Floats, alpha: Floats, mask: Floats, n_alternations: int
) -> tuple[Floats, Floats, Floats]:
    """Solve features given masks and masks given features, in turn.

    Parameters
    ----------
    X : array of shape (n, n_tokens, n_channels)
    Y : array of shape (n, n_targets)
    alpha : array of shape (n_targets,)
    mask : array of shape (n_targets, n_tokens)
        Where to start.
    n_alternations : int

    Returns
    -------
    mask, feature, intercept : arrays of shape (n_targets, n_tokens), (n_targets, n_channels), (n_targets,)
    """
    mean = X.mean(0)
    level = np.nanmean(Y, 0, dtype=float)
    X, centred, n_targets = X - mean, (Y - level).astype(Y.dtype), Y.shape[1]
    turned = np.ascontiguousarray(X.transpose(0, 2, 1))
    masks = np.empty((n_targets, X.shape[1]), np.float32)
    features = np.empty((n_targets, X.shape[2]), np.float32)
    size = max(1, BLOCK_BYTES // (4 * X.shape[0] * max(X.shape[1:])))
    for start in range(0, n_targets, size):
        t = slice(start, start + size)
        s = mask[t] / np.linalg.norm(mask[t], axis=1, keepdims=True)
        for _ in range(n_alternations):
            f = _ridge(_pool(X, s), centred[:, t], alpha[t])
            length = np.linalg.norm(f, axis=1, keepdims=True)
            f = f / np.where(length > 0, length, 1)
            s = _ridge(_pool(turned, f), centred[:, t], alpha[t])
            length = np.linalg.norm(s, axis=1, keepdims=True)
            s = np.where(length > 0, s / np.where(length > 0, length, 1), mask[t])
        masks[t], features[t] = s, _ridge(_pool(X, s), centred[:, t], alpha[t])
    sign = np.sign(masks.sum(1, keepdims=True)) + (masks.sum(1, keepdims=True) == 0)
    masks, features = masks * sign, features * sign
    intercept = level - np.einsum("tl,lc,tc->t", masks, mean, features, optimize=True)
    lacks = np.isnan(Y).any(0)
    if lacks.any():  # the rows of such a target have a mean of their own
        there = np.isfinite(Y[:, lacks])
        shown = apply(X, masks[lacks], features[lacks])
        intercept[lacks] -= (shown * there).sum(0) / there.sum(0)
    return masks, features, intercept.astype(np.float32)


def _pool(X: Floats, mask: Floats) -> Floats:
    """Features under each mask, (n_targets, n, n_channels)."""
    return np.ascontiguousarray((mask.astype(X.dtype) @ X).transpose(1, 0, 2))


def _ridge(Z: Floats, Y: Floats, alpha: Floats) -> Floats:
    """Ridge for each target on features and rows of its own, (n_targets, n_features)."""
    there = np.isfinite(Y)
    if not there.all():
        weight = there.T[:, :, None].astype(Z.dtype)
        Z = (Z - (Z * weight).sum(1, keepdims=True) / weight.sum(1, keepdims=True)) * weight
        Y = np.where(there, Y, 0)
    gram = np.matmul(Z.transpose(0, 2, 1), Z).astype(float)
    index = np.arange(Z.shape[2])
    gram[:, index, index] += alpha[:, None]
    cross = np.einsum("tnc,nt->tc", Z, Y, optimize=True)
    return np.linalg.solve(gram, cross[..., None].astype(float))[..., 0].astype(np.float32)
