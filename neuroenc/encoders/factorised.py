"""Factorised readout: where times what, solved by alternating ridge.

Klindt, Ecker, Euler, Bethge (2017), arXiv 1711.02653: y = sum_l sum_c s_l f_c x_lc, a spatial mask times
feature weights. The objective ||y - X(s, f)||² + alpha ||s||² ||f||² is quadratic in each factor: both
are solved exactly in turn, from the best rank-one approximation of ridge.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh
from scipy.linalg.blas import ssyrk as syrk
from scipy.linalg.lapack import dposv as posv
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted
from tqdm import tqdm

from neuroenc import ranking
from neuroenc.blocks import blocks
from neuroenc.encoders.design import Design
from neuroenc.encoders.factorise import Factors, factorise
from neuroenc.encoders.inputs import (
    as_fitted,
    check_alphas,
    check_enough,
    check_fit,
    folds_of,
    in_parts,
    join_rows,
)
from neuroenc.encoders.memory import AT_ONCE_BYTES, LEAST_ROWS, ROWS_BYTES, TARGETS_BYTES
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

    OPTIONS: ClassVar[dict[str, Any]] = {"n_alternations": 1}

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
        groups = join_rows(X, groups, "groups")[1]
        X, y = check_fit(self, X, y, ndim=3, dtype=np.float32)
        X = in_parts(X)
        self.n_tokens_, self.n_channels_ = X.shape[1:]
        Y = check_enough(y)
        folds = folds_of(self.cv, len(X), groups, Y)
        factors = _factors(X)
        scores = np.zeros((len(alphas), Y.shape[1]))
        bar = tqdm(total=len(folds) + 1, desc="factorised", disable=None)
        for train, held in folds:
            check_enough(Y[train])
            start = first_masks(X, Y, train, factors)
            shown, mean = X.take(train), mean_tokens(X.take(train))
            for t in _target_blocks(X, Y.shape[1]):
                strengths = np.repeat(alphas[::-1, None], t.stop - t.start, axis=1)
                found = alternate(shown, mean, Y[train][:, t], strengths, start[t], self.n_alternations)
                for i, (mask, feature, intercept) in zip(range(len(alphas))[::-1], found, strict=True):
                    read = apply(X.take(held), mask, feature) + intercept
                    scores[i, t] += r2(Y[held, t], read) / len(folds)
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
        start, mean = first_masks(X, Y, np.arange(len(X)), factors), mean_tokens(X)
        parts = [
            next(alternate(X, mean, Y[:, t], self.alpha_[None, t], start[t], 2 * self.n_alternations))
            for t in _target_blocks(X, Y.shape[1])
        ]
        self.mask_, self.feature_, self.intercept_ = map(np.concatenate, zip(*parts, strict=True))

    def predict(self, X: Any) -> Floats:
        """Predict, (n_samples, n_targets), of a single target (n_samples,) where y was so."""
        check_is_fitted(self)
        X = check_tokens(self, X)
        return as_fitted(self, apply(X, self.mask_, self.feature_) + self.intercept_)


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
            vector[:] = _largest(exact @ exact.T)
        else:
            vector[:] = exact @ _largest(exact.T @ exact)
    return out


def _largest(gram: Floats) -> Floats:
    """Eigenvector of the largest eigenvalue."""
    return np.asarray(eigh(gram, subset_by_index=[len(gram) - 1] * 2, check_finite=False)[1][:, 0])


def _row_blocks(X: Any) -> list[slice]:
    return blocks(len(X), max(LEAST_ROWS, ROWS_BYTES // (4 * X.shape[1] * X.shape[2])))


def _target_blocks(X: Any, n_targets: int) -> list[slice]:
    """Cut targets so that the normal equations of a block fit `TARGETS_BYTES`."""
    return blocks(n_targets, max(1, TARGETS_BYTES // (4 * max(X.shape[1:]) ** 2)))


def mean_tokens(X: Any) -> Floats:
    """Mean over rows, (n_tokens, n_channels)."""
    mean: Floats = sum(X[rows].sum(0, dtype=float) for rows in _row_blocks(X)) / len(X)
    return mean.astype(np.float32)


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
    X: Any, mean: Floats, Y: Floats, alphas: Floats, mask: Floats, n_alternations: int
) -> Iterator[tuple[Floats, Floats, Floats]]:
    """Solve features given masks and masks given features, in turn.

    Parameters
    ----------
    X : array of shape (n, n_tokens, n_channels)
        In memory or read in parts.
    mean : array of shape (n_tokens, n_channels)
        Of the rows.
    Y : array of shape (n, n_targets)
    alphas : array of shape (n_alphas, n_targets)
        Taken one after the other, each from the masks of the last.
    mask : array of shape (n_targets, n_tokens)
        Where to start.
    n_alternations : int

    Yields
    ------
    mask, feature, intercept : arrays of shape (n_targets, n_tokens), (n_targets, n_channels), (n_targets,)
        At each alpha.
    """
    level = np.nanmean(Y, 0, dtype=float)
    centred = (Y - level).astype(Y.dtype)
    lacks = np.isnan(Y).any(0)
    length = np.linalg.norm(mask, axis=1, keepdims=True)  # 0 of a constant target, which stays so
    first = s = (mask / np.where(length > 0, length, 1)).astype(np.float32)
    of_features = normal_equations(X, mean, s, centred, under_masks=True)
    for alpha in alphas:
        for _ in range(n_alternations):
            f = _ridge(*of_features, alpha)
            del of_features  # which are as large as the next
            length = np.linalg.norm(f, axis=1, keepdims=True)
            f = f / np.where(length > 0, length, 1)
            s = _ridge(*normal_equations(X, mean, f, centred, under_masks=False), alpha)
            length = np.linalg.norm(s, axis=1, keepdims=True)
            s = np.where(length > 0, s / np.where(length > 0, length, 1), first).astype(np.float32)
            of_features = normal_equations(X, mean, s, centred, under_masks=True)
        total = s.sum(1, keepdims=True)
        sign = np.sign(total) + (total == 0)
        masks, features = s * sign, _ridge(*of_features, alpha) * sign
        offset = np.einsum("tl,lc,tc->t", masks, mean, features, optimize=True)
        intercept = level - offset
        if lacks.any():  # the rows of such a target have a mean of their own
            there = np.isfinite(Y[:, lacks])
            shown = apply(X, masks[lacks], features[lacks]) - offset[lacks]
            intercept[lacks] -= (shown * there).sum(0) / there.sum(0)
        yield masks, features, intercept.astype(np.float32)


def normal_equations(
    X: Any, mean: Floats, factor: Floats, Y: Floats, *, under_masks: bool
) -> tuple[Floats, Floats]:
    """Sum the normal equations of each target, Z'Z and Z'y, of features under its mask or of read tokens.

    Parameters
    ----------
    X : array of shape (n, n_tokens, n_channels)
    mean : array of shape (n_tokens, n_channels)
    factor : array of shape (n_targets, n_tokens or n_channels)
        Masks, or feature weights.
    Y : array of shape (n, n_targets)
        Centred.
    under_masks : bool
        Sum the tokens under masks; else read each by the feature weights.

    Returns
    -------
    gram : array of shape (n_targets, n_unknowns, n_unknowns)
        The lower half.
    towards : array of shape (n_targets, n_unknowns)
    """
    n_tokens, n_channels = mean.shape
    k, size = len(factor), n_channels if under_masks else n_tokens
    gram, towards = np.zeros((k, size, size), np.float32), np.zeros((k, size), np.float32)
    summed = np.zeros((k, size))
    absent = np.isnan(Y)
    lacking: Any = absent.any(0)
    cuts = _row_blocks(X)
    at_once = min(k, max(1, AT_ONCE_BYTES // (4 * cuts[0].stop * size)))
    room = np.empty(at_once * cuts[0].stop * size, np.float32)  # new memory takes longer than the products
    for rows in cuts:
        part = X[rows] - mean
        n = len(part)
        for t in blocks(k, at_once):
            Z = room[: (t.stop - t.start) * n * size].reshape(-1, n, size)
            if under_masks:
                np.matmul(factor[t], part, out=Z.transpose(1, 0, 2))
            else:
                np.matmul(factor[t], part.reshape(-1, n_channels).T, out=Z.reshape(len(Z), -1))
            truth = Y[rows, t].T
            if lacking[t].any():
                Z *= ~absent[rows, t].T[:, :, None]
                truth = np.nan_to_num(truth)
                summed[t] += Z.sum(1)
            towards[t] += (truth[:, None] @ Z)[:, 0]
            for own, out in zip(Z, gram[t], strict=True):
                syrk(1.0, own.T, beta=1.0, c=out.T, overwrite_c=1)
    for i in np.flatnonzero(lacking):  # the rows of such a target have a mean of their own
        gram[i] -= np.outer(summed[i], summed[i]) / (len(Y) - absent[:, i].sum())
    return gram, towards


def _ridge(gram: Floats, towards: Floats, alpha: Floats) -> Floats:
    """Ridge of each target from its normal equations, (n_targets, n_unknowns)."""
    out = np.empty_like(towards)
    for i, (own, strength) in enumerate(zip(gram, alpha, strict=True)):
        exact = own.T.astype(float)  # whose upper half is read, in place
        exact.T.flat[:: len(exact) + 1] += strength
        out[i] = posv(exact, towards[i].astype(float), overwrite_a=1)[1]
    return out
