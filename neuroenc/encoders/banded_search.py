"""The strengths of banded ridge: candidates by random search, then descent, on the cross-validated R2.

Every candidate is ridge on a mixture of the spaces, decomposed from products that all candidates share.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from tqdm import tqdm

from neuroenc import ranking
from neuroenc.blocks import blocks, columns
from neuroenc.encoders.factorise import Fold, covers, operators, project, score
from neuroenc.encoders.missing import Smoother
from neuroenc.encoders.solvers import target_block
from neuroenc.real import varies

Floats = NDArray[Any]
NEGLIGIBLE = 1e-8  # gamma of a band that takes no part while candidates are compared
SEARCH_TOLERANCE = 3e-5  # of the predictions, while candidates are compared


def candidates(n_bands: int, number: int, seed: int) -> Floats:
    """Draw gammas: equal weights first, then from Dirichlet distributions of concentration 0.1 and 1.

    Parameters
    ----------
    n_bands, number, seed : int

    Returns
    -------
    array of shape (number, n_bands)
    """
    rng = np.random.default_rng(seed)
    if n_bands == 1:
        return np.ones((1, 1))
    drawn = [rng.dirichlet(np.full(n_bands, 0.1 if i % 2 else 1.0)) for i in range(number - 1)]
    return np.array([np.full(n_bands, 1 / n_bands), *drawn])


def kernels(X: Any, band: Floats, *, fit_intercept: bool) -> Floats:
    """Products of the rows of each space, (n_bands, n, n), in blocks of columns.

    Parameters
    ----------
    X : array of shape (n, p)
    band : array of int, (p,)
    fit_intercept : bool
        Of centred columns.
    """
    out = np.zeros((band.max() + 1, len(X), len(X)))
    for cut in columns(*X.shape):
        part = X[:, cut].astype(float)
        if fit_intercept:
            part -= part.mean(0)
        for b in np.unique(band[cut]):
            mine = part[:, band[cut] == b]
            out[b] += mine @ mine.T
    return out


def eigh(kernel: Floats) -> tuple[Floats, Floats]:
    """Eigenvalues and vectors of a symmetric matrix, in whose place the vectors are written."""
    found: tuple[Floats, Floats] = scipy.linalg.eigh(
        kernel.T, driver="evd", overwrite_a=True, check_finite=False
    )
    return found


class Spaces(NamedTuple):
    """The training rows of a fold, from which ridge on every mixture of the spaces is decomposed.

    With more columns than training rows by the kernels of the spaces, which are mixed before the rows of the
    fold are taken from them and centred; else by the products of the columns.
    """

    band: Floats
    """(p,): the space of each column"""
    centre: Floats
    """(p,): mean of the training rows"""
    own: Floats
    """(p, p), or kernels of all rows, (n_bands, n, n)"""
    fitted: Floats
    """(n_train, p), less the centre; if there are kernels the numbers of these rows"""
    held: Floats
    """(n_held, p), less the centre, or the numbers of these rows"""
    centred: bool
    """Whether the mean of the training rows is taken off kernels"""

    @property
    def dual(self) -> bool:
        """Whether these are kernels."""
        return self.own.ndim == 3

    @classmethod
    def of_columns(cls, X: Floats, band: Floats, train: Any, held: Any, *, fit_intercept: bool) -> Self:
        """Take the rows of a fold."""
        fitted, shown = X[train].astype(float), X[held].astype(float)
        centre = fitted.mean(0) if fit_intercept else np.zeros(X.shape[1])
        fitted -= centre
        shown -= centre
        return cls(band, centre, fitted.T @ fitted, fitted, shown, fit_intercept)

    def mixed(self, gamma: Floats) -> tuple[Floats, Floats]:
        """Mix the kernels: those of the training rows, (n_train, n_train), and of the held with them."""
        kernel = np.tensordot(gamma, self.own, 1)
        return _of_fold(kernel, self.fitted, self.held, fit_intercept=self.centred)

    def decompose(self, gamma: Floats) -> tuple[Floats, Floats, Floats]:
        """Decompose columns scaled by sqrt(gamma).

        Returns
        -------
        values, towards, away
            As `factorise.eigenbasis`: the eigenvalues, the way to the eigenbasis from the responses, or from
            their products with the columns, and the held rows in it.
        """
        if self.dual:
            fitted, held = self.mixed(gamma)
            values, towards = eigh(fitted)
            return values, towards, held @ towards
        used = np.flatnonzero(gamma[self.band] > NEGLIGIBLE)
        scale = np.sqrt(gamma[self.band[used]])
        values, vectors = eigh(scale[:, None] * self.own[np.ix_(used, used)] * scale)
        towards = np.zeros((len(self.band), len(used)))
        towards[used] = scale[:, None] * vectors
        return values, towards, self.held @ towards

    def smoother(self, values: Floats, towards: Floats, away: Floats, *, fit_intercept: bool) -> Smoother:
        """Return the decomposition as a map of responses that may be missing."""
        if self.dual:
            return Smoother.of(values, towards, away, fit_intercept=fit_intercept)
        root = np.sqrt(np.maximum(values, np.finfo(float).tiny))
        basis = self.fitted @ (towards / root)
        return Smoother.of(values, basis, away * root, fit_intercept=fit_intercept)


def _of_fold(kernel: Floats, train: Any, held: Any, *, fit_intercept: bool) -> tuple[Floats, Floats]:
    """Take the rows of a fold out of a kernel, and the mean of its training rows off."""
    fitted, shown = kernel[np.ix_(train, train)], kernel[np.ix_(held, train)]
    if fit_intercept:
        level = fitted.mean(0)
        shown -= level + shown.mean(1, keepdims=True) - level.mean()
        fitted -= level + level[:, None] - level.mean()
    return fitted, shown


def search(
    X: Any, own: Any, Y: Floats, band: Floats, gammas: Floats, alphas: Floats, folds: list[Any],
    n_kept: int, fit_intercept: bool,
) -> tuple[Floats, Floats, Floats]:  # fmt: skip
    """Find the best candidate and alpha of each target, with its score.

    The Gram matrices of the folds and the projections of Y serve all candidates. The first fold is scored
    for all targets; the others only where a candidate is among the `n_kept` best.
    """
    lacks = np.isnan(Y).any(0)
    incomplete, Y = Y[:, lacks].astype(float), np.where(lacks, 0, Y) if lacks.any() else Y
    n, p = X.shape
    centred, total = np.zeros((n, 0), Y.dtype), np.zeros((0, Y.shape[1]), Y.dtype)
    projected = [total] * len(folds)
    if p <= n:
        centred = (X - X.mean(0, dtype=float)).astype(X.dtype) if fit_intercept else X
        total, projected = project([held for _, held in folds], centred, Y)
    scores = np.zeros((len(gammas), len(alphas), Y.shape[1]), np.float32)
    going = np.ones((len(gammas), Y.shape[1]), bool)
    steps = tqdm(total=len(folds) * len(gammas), desc="banded ridge", disable=None)
    for number, (train, held) in enumerate(folds):
        if number == 1 and len(gammas) > n_kept:
            going = _best(scores.max(1), n_kept)
        dual, rest = len(train) < p, covers([train, held], n)
        if dual:
            spaces = Spaces(band, np.zeros(0), own, train, held, fit_intercept)
        else:
            spaces = Spaces.of_columns(centred, band, train, held, fit_intercept=fit_intercept)
        for c, gamma in enumerate(gammas):
            t = np.flatnonzero(going[c])
            steps.update()
            if not len(t):
                continue
            values, towards, away = spaces.decompose(gamma)
            centre = spaces.centre.astype(Y.dtype)
            fold = operators(
                Fold(train, held, dual, centre, towards, [], rest, away), np.clip(values, 0, None), alphas,
                Y.dtype, tolerance=SEARCH_TOLERANCE,
            )  # fmt: skip
            for cut in blocks(len(t), target_block(len(held), fold.mixing.shape[1], Y.itemsize)):
                rows: Any = cut if len(t) == Y.shape[1] else t[cut]
                scores[c][:, rows] += score(
                    fold, centred, Y[:, rows], total[:, rows], projected[number][:, rows],
                    fit_intercept=fit_intercept,
                )  # fmt: skip
            mine = going[c][lacks]
            if mine.any():
                smoother = spaces.smoother(values, towards, away, fit_intercept=fit_intercept)
                scores[c][:, np.flatnonzero(lacks)[mine]] += smoother.score(
                    alphas, incomplete[train][:, mine], incomplete[held][:, mine]
                )
    steps.close()
    scores = np.where(going[:, None], scores / len(folds), -np.inf)
    flat = scores.reshape(-1, Y.shape[1])
    where = ranking.best(flat)
    return where // len(alphas), alphas[where % len(alphas)], flat[where, np.arange(Y.shape[1])]


def _best(scores: Floats, n_kept: int) -> NDArray[np.bool_]:
    """Say which candidates each target goes on with, (n_candidates, n_targets)."""
    going = np.zeros(scores.shape, bool)
    np.put_along_axis(going, np.argsort(-scores, axis=0)[:n_kept], True, axis=0)
    going[0] = True  # plain ridge is never dropped by one fold's chance
    return going


def descend(
    own: Any, Y: Floats, strength: Floats, best: Floats, folds: list[Any], n_steps: int, fit_intercept: bool
) -> tuple[Floats, Floats]:
    """Improve the strengths of each target by descent on its cross-validated R2.

    The gradient with respect to log strength follows from implicit differentiation of the dual
    solution; the linear systems of all targets are solved together by conjugate gradients. Steps adapt
    to the sign of the gradient (Riedmiller and Braun 1993, resilient backpropagation).
    """
    size = np.sqrt((Y.astype(float) ** 2).mean(0))
    Y = Y / np.where(size > 0, size, 1)  # whatever the unit
    theta = np.log(np.maximum(strength, 1e-12)).T
    step, before = np.full(theta.shape, 0.5), np.zeros(theta.shape)
    kept, kept_score = theta.copy(), best.copy()
    problems = []
    for train, held in folds:
        fitted, other = map(
            np.stack, zip(*(_of_fold(k, train, held, fit_intercept=fit_intercept) for k in own), strict=True)
        )
        truth, target = Y[held], Y[train]
        if fit_intercept:
            target, truth = target - target.mean(0), truth - target.mean(0)
        # what does not vary in a fold scores 0 there, whatever the strengths
        spread = np.where(varies(truth), ((truth - truth.mean(0)) ** 2).sum(0), np.inf)
        problems.append((fitted, other, target, truth, spread))
    warm: list[tuple[Any, Any]] = [(None, None)] * len(folds)
    for _ in tqdm(range(n_steps + 1), desc="descent", disable=None):
        delta, score_now, slope = np.exp(theta), np.zeros(theta.shape[1]), np.zeros(theta.shape)
        for f, (fitted, other, target, truth, spread) in enumerate(problems):
            dual = _conjugate_gradients(fitted, delta, target, warm[f][0])
            shown = np.stack([k @ dual for k in other])
            residual = truth - (delta[:, None] * shown).sum(0)
            pulled = sum(d * (k.T @ residual) for d, k in zip(delta, other, strict=True))
            adjoint = _conjugate_gradients(fitted, delta, pulled, warm[f][1])
            warm[f] = (dual, adjoint)
            score_now += np.isfinite(spread) - (residual**2).sum(0) / spread
            for i in range(len(theta)):
                change = (residual * shown[i]).sum(0) - (adjoint * (fitted[i] @ dual)).sum(0)
                slope[i] += 2 * delta[i] * change / spread
        score_now /= len(problems)
        better = score_now > kept_score
        kept[:, better], kept_score[better] = theta[:, better], score_now[better]
        agree = slope * before
        step = np.clip(step * np.where(agree > 0, 1.2, np.where(agree < 0, 0.5, 1.0)), 1e-3, 1.0)
        theta = np.clip(theta + step * np.sign(slope), -40, 40)
        before = slope
    return np.exp(kept).T, kept_score


def _conjugate_gradients(
    kernels: Floats, delta: Floats, target: Any, start: Any, n_steps: int = 100
) -> Floats:
    """Solve (sum_i delta_i K_i + I) c = y for every target, each with its own delta."""

    def times(c: Floats) -> Floats:
        out = c.copy()
        for d, k in zip(delta, kernels, strict=True):
            out += k @ (c * d)
        return out

    found = np.zeros_like(target, dtype=float) if start is None else start.copy()
    residual = target - times(found)
    direction, size = residual.copy(), (residual**2).sum(0)
    goal = 1e-10 * np.maximum((target**2).sum(0), 1e-30)
    for _ in range(n_steps):
        if (size <= goal).all():
            break
        along = times(direction)
        length = size / np.maximum((direction * along).sum(0), 1e-300)
        found += length * direction
        residual -= length * along
        new = (residual**2).sum(0)
        direction = residual + new / np.maximum(size, 1e-300) * direction
        size = new
    return found
