"""Ridge for a block of targets from the factors of X, and how much memory that takes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from neuroenc.blocks import BLOCK_BYTES, blocks, columns
from neuroenc.encoders import missing
from neuroenc.encoders.factorise import (
    ROUNDING,
    Array,
    Factors,
    Fold,
    factorise,
    project,
    read,
    runs,
    score,
    varies,
)  # fmt: skip
from neuroenc.errors import InputWarning
from neuroenc.real import is_torch

LIBRARY_BYTES = 40 * 2**20  # what matrix libraries and the allocator keep, by chance more or less
THREAD_BYTES = 16 * 2**20  # what each further thread keeps
LEAST_TARGETS = 64  # at a time
SIDE_BY_SIDE = 2**28  # bytes of the folds that are prepared side by side


class Prepared(NamedTuple):
    """What fits any block of targets, on one device."""

    factors: Factors
    folds: list[Fold]
    alphas: Array
    """(n_alphas,) float64"""

    @property
    def n_targets_at_once(self) -> int:
        """Targets whose predictions of the largest fold stay in a few megabytes."""
        n_held = max(fold.validation.shape[0] for fold in self.folds)
        n_parts = max(fold.mixing.shape[1] for fold in self.folds)
        return target_block(n_held, n_parts, self.factors.left.itemsize)


@contextmanager
def threads(most: int) -> Iterator[int]:
    """Share the cores between threads of one matrix product each, which does more than all on one product.

    Parameters
    ----------
    most : int
        Threads that are wanted at most.

    Yields
    ------
    int
        How many there are: those that the matrix library has, which has one in each of them meanwhile.
    """
    blas = _libraries().select(user_api="blas")
    n = min(most, max((library.num_threads for library in blas.lib_controllers), default=1))
    with blas.limit(limits=1) if n > 1 else nullcontext():
        yield max(1, n)


def in_threads(n: int, work: Callable[..., Any], *parts: Iterable[Any]) -> list[Any]:
    """Do some work for each part, in `n` threads; one is the caller's own.

    A thread that is new takes memory of its own, and what the one before it freed is not given back.
    """
    if n == 1:
        return list(map(work, *parts))
    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(work, *parts))


@cache
def _libraries() -> ThreadpoolController:
    """Find the matrix libraries once: the search takes longer than a small fit."""
    return ThreadpoolController()


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
    y_mean = xp.sum(Y, axis=0, dtype=xp.float64) / Y.shape[0]
    y_mean = y_mean if fit_intercept else xp.zeros_like(y_mean)
    highest, lowest = (xp.astype(v, xp.float64) - y_mean for v in (xp.max(Y, axis=0), xp.min(Y, axis=0)))
    size = xp.where(highest > -lowest, highest, -lowest)
    if fit_intercept:  # what rounding leaves of a constant is no variation
        size = xp.where(varies(Y), size, xp.zeros_like(size))
    # near one, so that squares of single precision neither vanish nor overflow; by powers of two: exactly
    unit = 2.0 ** xp.floor(xp.log2(xp.where(size > 0, size, xp.ones_like(size))))
    exact = Y - y_mean
    exact *= xp.where(size > 0, 1 / unit, xp.zeros_like(unit))
    Y = xp.astype(exact, Y.dtype)
    del exact
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


def at_alphas(X: NDArray[Any], Y: NDArray[Any], alpha: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Solve ridge with an intercept at one given alpha per target.

    Parameters
    ----------
    X : array of shape (n, p)
    Y : array of shape (n, n_targets)
        NaN marks a missing value.
    alpha : array of shape (n_targets,)

    Returns
    -------
    coef : array of shape (n_targets, p)
    intercept : array of shape (n_targets,)
    """
    factors = factorise(X, X)
    own = missing.smoother(factors.left, factors.singular, fit_intercept=True)
    mean = X.mean(0)
    coef, intercept = np.empty((Y.shape[1], X.shape[1]), X.dtype), np.empty(Y.shape[1], X.dtype)
    for t in columns(*Y.shape):
        target = missing.fill(own, alpha[t], Y[:, t])
        level = target.mean(0, dtype=float)
        centred = (target - level).astype(target.dtype)
        solved = solve(factors, factors.left.T @ centred, alpha[t])
        coef[t] = solved @ (X - mean) if factors.right is None else solved
        intercept[t] = level - coef[t] @ mean
    return coef, intercept


def fit_lacking(
    factors: Factors, folds: list[Any], alphas: NDArray[Any], targets: NDArray[np.int64],
    take: Callable[[Any], NDArray[Any]], *, n_targets: int, fit_intercept: bool,
) -> Iterator[tuple[NDArray[np.int64], Fitted]]:  # fmt: skip
    """Fit targets that lack values, as if only the rows they have were there.

    Parameters
    ----------
    factors : Factors
        Of NumPy arrays.
    folds : list of (train, validation)
    alphas : array of shape (n_alphas,)
    targets : array of int
    take : callable
        From targets to their values, (n, n_of_these).
    n_targets : int
        That there are.
    fit_intercept : bool

    Yields
    ------
    targets, fitted
        Those with fewer than two values are NaN, of which it warns.
    """
    each = [take(targets[cut]) for cut in blocks(len(targets), missing.TARGETS_AT_ONCE)]
    enough = np.concatenate([np.isfinite(Y).sum(0) > 1 for Y in each])
    if not enough.all():
        few = targets[~enough]
        warnings.warn(
            f"{len(few)} of {n_targets} targets have fewer than two values, first {few[0]}: they are NaN.",
            InputWarning,
            stacklevel=4,
        )
        n_weights = factors.left.shape[0] if factors.right is None else len(factors.mean)
        none = np.full(len(few), np.nan)
        scores = np.full((len(alphas), len(few)), np.nan)
        yield few, Fitted(np.full((len(few), n_weights), np.nan), none, none, scores)
    targets = targets[enough]
    smoothers = (
        (missing.Smoother.of_rows(factors, *fold, fit_intercept=fit_intercept), *fold) for fold in folds
    )
    scores = missing.choose(smoothers, alphas, len(targets), lambda cut: take(targets[cut]))
    alpha = alphas[scores.argmax(0)]
    whole = missing.smoother(factors.left, factors.singular, fit_intercept=fit_intercept)
    for cut in blocks(len(targets), missing.TARGETS_AT_ONCE):
        Y = missing.fill(whole, alpha[cut], take(targets[cut]))
        y_mean = Y.mean(0) if fit_intercept else np.zeros(Y.shape[1])
        coef = solve(factors, factors.left.T @ (Y - y_mean), alpha[cut])
        yield targets[cut], Fitted(coef, y_mean, alpha[cut], scores[:, cut])


class Solution:
    """Alphas, weights and scores of all targets, filled in block by block.

    Parameters
    ----------
    coef : array of shape (n_targets, n_weights)
        Where the weights are written: an array, a memory map, an HDF5 dataset.
    n_alphas : int
    """

    def __init__(self, coef: Any, n_alphas: int) -> None:
        self.coef = coef
        self.scores = np.empty((n_alphas, coef.shape[0]), coef.dtype)
        self.alpha, self.y_mean, self.intercept = np.empty((3, coef.shape[0]))

    def put(self, targets: Any, fitted: Fitted, factors: Factors) -> None:
        """Keep what was fitted."""
        self.coef[targets] = as_numpy(fitted.coef)
        moved = factors.mean if factors.right is not None else factors.origin
        self.alpha[targets], self.y_mean[targets] = as_numpy(fitted.alpha), as_numpy(fitted.y_mean)
        shift = as_numpy(fitted.coef @ read(moved, slice(None), fitted.coef[:0]))
        self.intercept[targets] = self.y_mean[targets] - shift
        self.scores[:, targets] = as_numpy(fitted.scores)


def as_numpy(values: Any) -> NDArray[Any]:
    """Return a tensor or an array as NumPy's."""
    return values.detach().cpu().numpy() if is_torch(values) else np.asarray(values)


def forecast(
    n: int, p: int, n_targets: int, n_alphas: int, n_folds: int, *, itemsize: int = 4,
    coef_in_memory: bool = True, n_threads: int = 1,
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
    n_threads : int
        Of the matrix library, which prepare folds side by side.
    """
    rank = min(n, p)
    n_held = -(-n // n_folds)
    n_train = n - n_held
    k = min(rank, n_train)
    n_runs = len(runs(k))
    per_run = min(n_alphas, 14 if n_runs == 1 else 5)
    block = min(n_targets, target_block(n_held, per_run * n_runs, itemsize))
    source = min(BLOCK_BYTES, 8 * n * p)
    gram = 8 * rank**2
    left = itemsize * n * rank
    right = 0 if p >= n else gram
    fold = itemsize * (min(rank, n_train) * k + k * per_run * n_held)
    factorising = max(2 * gram + 5 * source // 2, 5 * gram)
    projecting = left + 3 * gram + 3 * source if p < n else 0
    side_by_side = min(n_threads, n_folds, folds_at_once(n, rank, k))
    # a dual fold has its kernel beside the vectors, which a thread of its own does not give back; when it
    # is freed is chance, and this is the most
    apart = side_by_side > 1 and (k < rank or p >= n)
    one = 8 * (n * rank + (8.6 if apart else 5) * k**2)
    preparing = left + right + (n_folds - side_by_side) * fold + side_by_side * one
    out = n_targets * (itemsize * (n_alphas + 4) + (itemsize * rank if coef_in_memory else 0))
    n_parts = per_run * n_runs + 1
    parts = itemsize * block * (n_parts + (n_alphas if n_alphas < n_parts else 0)) * n_held
    each = parts + block * (n * (2 * itemsize + 8) + itemsize * (n_folds + 3) * rank + 16 * n_parts**2)
    scoring = left + right + n_folds * fold + each + out
    kept = LIBRARY_BYTES + THREAD_BYTES * (n_threads - 1)
    return round(kept + max(factorising, projecting, preparing, scoring))


def folds_at_once(n: int, rank: int, k: int) -> int:
    """Folds that are prepared side by side: in `SIDE_BY_SIDE` bytes, of (n, rank) factors and rank k each."""
    return max(1, SIDE_BY_SIDE // (8 * (n * rank + 5 * k**2)))


def target_block(n_held: int, n_parts: int, itemsize: int) -> int:
    """Targets done at a time, so that the parts of their predictions stay in a few megabytes."""
    return int(np.clip(BLOCK_BYTES // (itemsize * n_held * n_parts), LEAST_TARGETS, 2048))
