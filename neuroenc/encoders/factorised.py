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
from scipy.linalg.lapack import dposv as posv
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted
from tqdm import tqdm

from neuroenc import ranking
from neuroenc.blocks import blocks
from neuroenc.encoders.design import Design
from neuroenc.encoders.factorise import Factors, factorise
from neuroenc.encoders.inputs import check_alphas, check_enough, check_fit, folds_of, in_parts
from neuroenc.encoders.memory import ROWS_BYTES, TARGETS_BYTES
from neuroenc.encoders.missing import r2
from neuroenc.encoders.ridge import RidgeCV
from neuroenc.encoders.tokens import check_tokens

Floats = NDArray[Any]


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
            In memory or on disk, from where rows are read.
        y : array of shape (n_samples, n_targets)
            NaN marks a missing value: the target is fitted to the rows it has.
        groups : array of shape (n_samples,), optional
        """
        alphas = check_alphas(self.alphas)
        X, y = check_fit(self, X, y, ndim=3, dtype=np.float32)
        X = in_parts(X)
        self.n_tokens_, self.n_channels_ = X.shape[1:]
        Y = check_enough(y)
        folds = folds_of(self.cv, len(X), groups, Y)
        factors = _factors(X)
        scores = np.zeros((len(alphas), Y.shape[1]))
        bar = tqdm(total=len(folds) * len(alphas) + 1, desc="factorised", disable=None)
        for train, held in folds:
            check_enough(Y[train])
            start = first_masks(X, Y, train, factors)
            for i in range(len(alphas))[::-1]:  # from strong to weak, each from the last
                alpha = np.full(Y.shape[1], alphas[i])
                mask, feature, intercept = alternate(
                    X.take(train), Y[train], alpha, start, self.n_alternations
                )
                start = mask
                scores[i] += r2(Y[held], apply(X.take(held), mask, feature) + intercept) / len(folds)
                bar.update()
        best = ranking.best(scores)
        self.alpha_, self.best_score_ = alphas[best], scores[best, np.arange(Y.shape[1])]
        self._solve(X, Y, factors)
        bar.update()
        bar.close()
        return self

    def refit(self, X: Any, y: Any) -> FactorisedCV:
        """Fit a copy to other rows, at the alphas that were chosen here."""
        made = copy(self)
        X, y = check_fit(made, X, y, ndim=3, dtype=np.float32)
        X = in_parts(X)
        made._solve(X, check_enough(y), _factors(X))
        return made

    def _solve(self, X: Design, Y: Floats, factors: Factors) -> None:
        """Solve for all rows, at the alphas that were chosen."""
        start = first_masks(X, Y, np.arange(len(X)), factors)
        self.mask_, self.feature_, self.intercept_ = alternate(
            X, Y, self.alpha_, start, 2 * self.n_alternations
        )

    def predict(self, X: Any) -> Floats:
        """Predict, (n_samples, n_targets)."""
        check_is_fitted(self)
        X = check_tokens(self, X)
        return apply(X, self.mask_, self.feature_) + self.intercept_


def _factors(X: Design) -> Factors:
    """Decompose the features of all tokens side by side, once for all folds."""
    return factorise(X.flattened(), np.zeros(0, np.float32))


def first_masks(X: Design, Y: Floats, rows: NDArray[np.int64], factors: Factors) -> Floats:
    """Masks of the best rank-one approximation of ridge's weights, (n_targets, n_tokens).

    Ridge of the rows on U diag(s) is ridge on X: what differs is a rotation, which turns weights back.

    Parameters
    ----------
    X : Design of shape (n, n_tokens, n_channels)
    Y : array of shape (n, n_targets)
    rows : array of int
        That are fitted.
    factors : Factors
        Of all rows of X.
    """
    _, n_tokens, n_channels = X.shape
    rotated = (factors.left * factors.singular).astype(np.float32)
    ridge = RidgeCV(np.logspace(2, 7, 6), cv=2, dtype="float32").fit(rotated[rows], Y[rows])
    own = X.take(rows)
    masks = np.empty((Y.shape[1], n_tokens), np.float32)
    for t in blocks(Y.shape[1], max(1, TARGETS_BYTES // (8 * n_tokens * n_channels))):
        if hasattr(ridge, "dual_coef_"):  # weights of the centred rows
            share = ridge.dual_coef_[t] - ridge.dual_coef_[t].mean(1, keepdims=True)
            coef = np.zeros((len(share), n_tokens * n_channels), np.float32)
            for part in _row_blocks(own):
                coef += share[:, part] @ own[part].reshape(-1, coef.shape[1])
        else:  # fewer features than rows
            coef = ridge.coef_[t] @ np.asarray(factors.right, np.float32).T
        masks[t] = _leading(coef.reshape(-1, n_tokens, n_channels))
    return masks


def _leading(coef: Floats) -> Floats:
    """Left singular vector of the largest singular value, (n_targets, n_tokens)."""
    out = np.empty(coef.shape[:2])
    for vector, one in zip(out, coef, strict=True):
        exact = one.astype(float)
        if one.shape[0] <= one.shape[1]:
            vector[:] = np.linalg.eigh(exact @ exact.T)[1][:, -1]
        else:
            vector[:] = exact @ np.linalg.eigh(exact.T @ exact)[1][:, -1]
    return out


def _row_blocks(X: Any) -> list[slice]:
    return blocks(len(X), max(1, ROWS_BYTES // (4 * X.shape[1] * X.shape[2])))


def apply(X: Any, mask: Floats, feature: Floats) -> Floats:
    """Read out, (n_samples, n_targets)."""
    n, n_tokens, n_channels = X.shape
    out = np.empty((n, len(mask)), np.float32)
    for rows in _row_blocks(X):
        part = X[rows]
        for t in blocks(len(mask), max(1, ROWS_BYTES // (4 * len(part) * n_tokens))):
            seen = part.reshape(-1, n_channels) @ feature[t].T
            out[rows, t] = np.einsum("nlt,tl->nt", seen.reshape(len(part), n_tokens, -1), mask[t])
    return out


def alternate(
    X: Any, Y: Floats, alpha: Floats, mask: Floats, n_alternations: int
) -> tuple[Floats, Floats, Floats]:
    """Solve features given masks and masks given features, in turn.

    Parameters
    ----------
    X : array of shape (n, n_tokens, n_channels)
        In memory or read in parts.
    Y : array of shape (n, n_targets)
    alpha : array of shape (n_targets,)
    mask : array of shape (n_targets, n_tokens)
        Where to start.
    n_alternations : int

    Returns
    -------
    mask, feature, intercept : arrays of shape (n_targets, n_tokens), (n_targets, n_channels), (n_targets,)
    """
    mean = sum(X[rows].sum(0, dtype=float) for rows in _row_blocks(X)) / len(X)
    level = np.nanmean(Y, 0, dtype=float)
    mean, centred, n_targets = mean.astype(np.float32), (Y - level).astype(Y.dtype), Y.shape[1]
    n, n_tokens, n_channels = X.shape
    masks, features = (
        np.empty((n_targets, n_tokens), np.float32),
        np.empty((n_targets, n_channels), np.float32),
    )
    size = max(1, TARGETS_BYTES // (4 * n * (n_tokens + n_channels)))
    pooled = np.empty((min(size, n_targets), n, n_channels), np.float32)
    read = np.empty((min(size, n_targets), n, n_tokens), np.float32)
    for t in blocks(n_targets, size):
        own, strength, k = centred[:, t], alpha[t], t.stop - t.start
        s = (mask[t] / np.linalg.norm(mask[t], axis=1, keepdims=True)).astype(np.float32)
        for _ in range(n_alternations):
            f = _ridge(_under_masks(X, mean, s, pooled[:k]), own, strength)
            length = np.linalg.norm(f, axis=1, keepdims=True)
            f = f / np.where(length > 0, length, 1)
            s = _ridge(_under_features(X, mean, f, read[:k]), own, strength)
            length = np.linalg.norm(s, axis=1, keepdims=True)
            s = np.where(length > 0, s / np.where(length > 0, length, 1), mask[t]).astype(np.float32)
        masks[t], features[t] = s, _ridge(_under_masks(X, mean, s, pooled[:k]), own, strength)
    sign = np.sign(masks.sum(1, keepdims=True)) + (masks.sum(1, keepdims=True) == 0)
    masks, features = masks * sign, features * sign
    offset = np.einsum("tl,lc,tc->t", masks, mean, features, optimize=True)
    intercept = level - offset
    lacks = np.isnan(Y).any(0)
    if lacks.any():  # the rows of such a target have a mean of their own
        there = np.isfinite(Y[:, lacks])
        shown = apply(X, masks[lacks], features[lacks]) - offset[lacks]
        intercept[lacks] -= (shown * there).sum(0) / there.sum(0)
    return masks, features, intercept.astype(np.float32)


def _under_masks(X: Any, mean: Floats, mask: Floats, out: Floats) -> Floats:
    """Sum centred features under each mask, into (n_targets, n, n_channels)."""
    for rows in _row_blocks(X):
        np.matmul(mask, X[rows] - mean, out=out[:, rows].transpose(1, 0, 2))
    return out


def _under_features(X: Any, mean: Floats, feature: Floats, out: Floats) -> Floats:
    """Read centred tokens by the feature weights of each target, into (n_targets, n, n_tokens)."""
    n_tokens = X.shape[1]
    flat = out.reshape(len(out), -1)
    for rows in _row_blocks(X):
        part = (X[rows] - mean).reshape(-1, X.shape[2])
        np.matmul(feature, part.T, out=flat[:, rows.start * n_tokens : rows.stop * n_tokens])
    return out


def _ridge(Z: Floats, Y: Floats, alpha: Floats) -> Floats:
    """Ridge for each target on features and rows of its own, (n_targets, n_features)."""
    out = np.empty((Z.shape[0], Z.shape[2]), np.float32)
    for k, (own, truth) in enumerate(zip(Z, Y.T, strict=True)):
        if not (there := np.isfinite(truth)).all():
            own, truth = own[there] - own[there].mean(0), truth[there]
        gram = (own.T @ own).astype(float)
        gram.flat[:: len(gram) + 1] += alpha[k]
        out[k] = posv(gram, (truth @ own).astype(float))[1]
    return out
