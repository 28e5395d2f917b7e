"""One factorisation of X from which ridge at every alpha, and its cross-validation, are matrix products.

X = U diag(s) V' comes from the smaller Gram matrix, accumulated in float64 and in blocks, so that X
may stay on disk. In the coordinates U each direction has unit length: single precision costs it its own
digits only, however badly X is conditioned. Works on NumPy arrays and torch tensors alike.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace
from array_api_compat import device as device_of

from neuroenc.blocks import BLOCK_BYTES, blocks
from neuroenc.encoders.inputs import not_finite
from neuroenc.errors import InputError

Array = Any  # numpy.ndarray or torch.Tensor
RUNS = (0.1, 0.25, 0.45, 0.65, 0.85, 0.96, 1.0)  # eigenvalues fall fast at both ends
LEAST_TO_CUT = 400  # directions
ROUNDING = float(np.finfo(np.float64).eps)


class Factors(NamedTuple):
    """Thin singular value decomposition of the centred X."""

    left: Array
    """(n, rank), in the dtype of the computation"""
    singular: Array
    """(rank,) float64"""
    right: Array | None
    """(p, rank) float64; None where p >= n: the solution is then left in the rows of X"""
    mean: Array
    """(p,) float64, taken off the columns; 0 without an intercept"""
    origin: Array
    """(n,) float64: the product of the centred rows with the mean; only where right is None"""


class Fold(NamedTuple):
    """What scores every alpha on one fold, whatever the targets."""

    train: Array
    validation: Array
    dual: bool
    """Whether `towards` takes the training responses themselves, or their projection on U"""
    centre: Array
    """(rank,): mean of the training rows of U"""
    towards: Array
    """(rank or n_train, n_directions): to the eigenbasis of the training rows"""
    operators: list[Array]
    """one for each run of directions, (n_run, n_basis_of_run * n_validation): from the eigenbasis to
    parts of the validation predictions"""
    rest: bool
    """Whether the training rows are all the rows that are not held out"""
    mixing: Array
    """(n_alphas, n_basis + 1) float64: the residual at an alpha is this mixture of all parts and of the
    truth, whose column is -1"""


def read(source: Any, index: Any, like: Array) -> Array:
    """Read part of an array in memory or on disk as `like` is kept."""
    values = source[index]
    if isinstance(getattr(values, "values", None), np.ndarray):  # xarray
        values = values.values
    xp = array_namespace(like)
    return xp.astype(xp.asarray(values, device=device_of(like)), like.dtype)


def factorise(X: Any, like: Array, *, fit_intercept: bool = True, block_bytes: int = BLOCK_BYTES) -> Factors:
    """Decompose X through its smaller Gram matrix.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Anything that can be sliced: an array, a tensor, a memory map, an HDF5 dataset.
    like : array of any shape
        Of the kind, device and dtype to compute with.
    fit_intercept : bool
        Centre the columns.
    block_bytes : int
        Of X held at a time.

    Raises
    ------
    InputError
        X is not finite; its columns are named.
    """
    xp = array_namespace(like)
    n, p = X.shape
    exact = xp.zeros((1,), dtype=xp.float64, device=device_of(like))
    mean = xp.zeros((p,), dtype=xp.float64, device=device_of(like))
    gram = xp.zeros((min(n, p),) * 2, dtype=xp.float64, device=device_of(like))
    origin = xp.zeros((n,), dtype=xp.float64, device=device_of(like))
    dual = p >= n
    across = blocks(p, max(1, block_bytes // (8 * n))) if dual else blocks(n, max(1, block_bytes // (8 * p)))
    if dual:
        for columns in across:
            part = read(X, (slice(None), columns), exact)
            if fit_intercept:
                mean[columns] = xp.mean(part, axis=0)
            part = part - mean[columns]
            gram += part @ part.T
            origin += part @ mean[columns]
    else:
        # sums are taken off an early guess of the mean, so that nothing large cancels
        shift = xp.mean(read(X, across[0], exact), axis=0) if fit_intercept else xp.zeros_like(mean)
        for rows in across:
            part = read(X, rows, exact) - shift
            mean += xp.sum(part, axis=0)
            gram += part.T @ part
        mean = mean / n if fit_intercept else xp.zeros_like(mean)
        gram -= n * (mean[:, None] * mean)
        mean = mean + shift
    if not bool(xp.isfinite(xp.sum(gram))):
        raise InputError(_not_finite(X, across, dual))
    values, vectors = xp.linalg.eigh(gram)
    del gram
    if dual:
        return Factors(xp.astype(vectors, like.dtype), xp.clip(values, 0.0, None) ** 0.5, None, mean, origin)
    # small eigenvalues drown in the rounding of the largest; the rows along their vectors do not
    values = xp.zeros_like(values)
    for rows in across:
        values += xp.sum(((read(X, rows, exact) - mean) @ vectors) ** 2, axis=0)
    singular = values**0.5
    keep = singular > xp.max(singular) * ROUNDING
    singular, vectors = singular[keep], vectors[:, keep]
    left = xp.empty((n, singular.shape[0]), dtype=like.dtype, device=device_of(like))
    scaled = vectors / singular
    for rows in across:
        left[rows] = xp.astype((read(X, rows, exact) - mean) @ scaled, like.dtype)
    return Factors(left, singular, vectors, mean, origin)


def _not_finite(X: Any, across: list[slice], dual: bool) -> str:
    """Name the columns of X that are not finite."""
    bad: set[int] = set()
    for part in across:
        values = read(X, (slice(None), part) if dual else part, np.zeros(1))
        bad |= {int(c) + (part.start if dual else 0) for c in np.flatnonzero(~np.isfinite(values).all(0))}
    return not_finite(sorted(bad), X.shape[1])


def eigenbasis(
    factors: Factors, train: Array, validation: Array, *, fit_intercept: bool
) -> tuple[Array, bool, Array, Array, Array]:
    """Decompose the training rows of a fold, in the coordinates of U.

    Returns
    -------
    centre, dual, values, towards, away
        As in `Fold`: the eigenvalues, the way to the eigenbasis, and the validation rows in it, in float64.
    """
    xp = array_namespace(factors.left)
    fitted, held = (xp.astype(factors.left[rows], xp.float64) for rows in (train, validation))
    centre = xp.mean(fitted, axis=0) if fit_intercept else xp.zeros_like(factors.singular)
    for rows in (fitted, held):
        rows -= centre
        rows *= factors.singular
    dual = fitted.shape[0] < fitted.shape[1]
    values, vectors = xp.linalg.eigh(fitted @ fitted.T if dual else fitted.T @ fitted)
    if dual:
        return centre, dual, values, vectors, (held @ fitted.T) @ vectors
    return centre, dual, values, factors.singular[:, None] * vectors, held @ vectors


def prepare(
    factors: Factors, train: Array, validation: Array, alphas: Array, *, fit_intercept: bool = True
) -> Fold:
    """Build the operators of one fold.

    The shrinkage 1 / (eigenvalue + alpha) over the grid of alphas has a tiny numerical rank: along
    eigenvalues that lie close together 4 to 7 in single precision, however many alphas. So the
    directions are cut into runs; each run's leading combinations over alpha give a few parts of the
    predictions, and every alpha is a mixture of these: a hundred alphas cost what ten do.

    Parameters
    ----------
    factors : Factors
    train, validation : arrays of int
        Rows.
    alphas : array of shape (n_alphas,), float64
    fit_intercept : bool
    """
    left = factors.left
    xp = array_namespace(left)
    centre, dual, values, towards, away = eigenbasis(factors, train, validation, fit_intercept=fit_intercept)
    rest = covers([train, validation], left.shape[0])
    fold = Fold(train, validation, dual, xp.astype(centre, left.dtype), towards, [], rest, away)
    return operators(fold, values, alphas, left.dtype)


def operators(fold: Fold, values: Array, alphas: Array, dtype: Any, tolerance: float | None = None) -> Fold:
    """Complete a fold that knows its eigenbasis.

    Parameters
    ----------
    fold : Fold
        With `mixing` the validation rows in the eigenbasis, (n_validation, n_directions).
    values : array of shape (n_directions,)
        Eigenvalues of the training rows, ascending.
    alphas : array of shape (n_alphas,), float64
    dtype : dtype
        Of the computation.
    tolerance : float, optional
        Share of the predictions that the mixtures may miss; None: the precision of `dtype`.
    """
    away, towards = fold.mixing, fold.towards
    xp = array_namespace(away)
    n = values.shape[0]
    seen = values > (values[-1] if n else 0.0) * (n * ROUNDING)
    values = xp.where(seen, values, xp.zeros_like(values))
    shrink = xp.astype(seen, xp.float64)[:, None] / (values[:, None] + alphas)
    # how much a unit of response along each direction moves the validation predictions
    weight = xp.linalg.vector_norm(away, axis=0) * (1.0 if fold.dual else values**0.5)
    weighted = weight[:, None] * shrink
    tolerance = tolerance or 4 * float(xp.finfo(dtype).eps)
    least = tolerance * float(xp.linalg.vector_norm(weighted))
    towards, away = xp.astype(towards, dtype), xp.astype(away, dtype)
    made, mixings = [], []
    for run in runs(n):
        _, size, mixing = xp.linalg.svd(weighted[run], full_matrices=False)
        mixing = mixing[: max(1, int(xp.sum(size > least)))].T
        parts = xp.astype(shrink[run] @ mixing, dtype)
        made.append(xp.reshape(parts[:, :, None] * away.T[run][:, None, :], (parts.shape[0], -1)))
        mixings.append(mixing)
    mixing = xp.concat([*mixings, -xp.ones_like(alphas)[:, None]], axis=1)
    return fold._replace(towards=towards, operators=made, mixing=mixing)


def runs(n: int) -> list[slice]:
    """Cut n directions, weakest first, into runs of eigenvalues that lie close together."""
    if n < LEAST_TO_CUT:
        return [slice(0, n)]
    ends = [round(n * end) for end in RUNS]
    return [slice(*pair) for pair in zip([0, *ends], ends, strict=False)]


def project(validation: list[Array], left: Array, Y: Array) -> tuple[Array, list[Array]]:
    """Project a block of targets on U, and the validation rows of each fold alone.

    Parameters
    ----------
    validation : list of arrays of int
        Rows of each fold.
    left : array of shape (n, rank)
    Y : array of shape (n, n_targets)

    Returns
    -------
    total : array of shape (rank, n_targets)
    held : list of arrays of shape (rank, n_targets)
    """
    held = [left[rows].T @ Y[rows] for rows in validation]
    return (sum(held) if covers(validation, Y.shape[0]) else left.T @ Y), held


def covers(parts: list[Array], n: int) -> bool:
    """Say whether sets of rows hold each of `n` rows once."""
    rows = [np.asarray(part.tolist(), dtype=int) for part in parts]
    return bool((np.bincount(np.concatenate(rows), minlength=n) == 1).all())


def score(
    fold: Fold, left: Array, Y: Array, total: Array, held: Array, *, fit_intercept: bool = True
) -> Array:
    """Score every alpha on one fold for a block of targets.

    Parameters
    ----------
    fold : Fold
    left : array of shape (n, rank)
    Y : array of shape (n, n_targets)
        Centred on all rows.
    total, held : arrays of shape (rank, n_targets)
        As `project` gives them.
    fit_intercept : bool

    Returns
    -------
    array of shape (n_alphas, n_targets), float64
        R2 on the validation rows; 0 where the target is constant there, within its rounding.
    """
    xp = array_namespace(left)
    truth = Y[fold.validation]
    n_train, n_held, n_targets = fold.train.shape[0], truth.shape[0], Y.shape[1]
    spread = xp.sum((truth - xp.mean(truth, axis=0)) ** 2, axis=0, dtype=xp.float64)
    vary = varies(truth)
    if not fold.dual and fold.rest:
        summed = xp.sum(Y, axis=0) - xp.sum(truth, axis=0)
        source = total - held - fold.centre[:, None] * summed
    else:
        fitted = Y[fold.train]
        summed = xp.sum(fitted, axis=0)
        source = fitted
        if not fold.dual:
            source = left[fold.train].T @ fitted - fold.centre[:, None] * summed
    if fit_intercept:
        truth = truth - summed / n_train
    rotated = source.T @ fold.towards
    # the truth stands beside the parts as one more of them: one product gives every residual
    n_parts = fold.mixing.shape[1]
    parts = xp.empty((n_targets, n_parts * n_held), dtype=left.dtype, device=device_of(left))
    parts[:, -n_held:] = truth.T
    row = column = 0
    for operator in fold.operators:
        there = slice(column, column + operator.shape[1])
        xp.matmul(rotated[:, row : row + operator.shape[0]], operator, out=parts[:, there])
        row, column = row + operator.shape[0], there.stop
    parts = xp.reshape(parts, (n_targets, n_parts, n_held))
    mixing = fold.mixing
    if mixing.shape[0] < n_parts:
        left_over = xp.astype(mixing, parts.dtype) @ parts
        residual = xp.astype(xp.vecdot(left_over, left_over).T, xp.float64)
    else:  # many alphas: of the products of the parts with each other
        products = xp.reshape(parts @ xp.matrix_transpose(parts), (n_targets, -1))
        pairs = xp.reshape(mixing[:, :, None] * mixing[:, None, :], (mixing.shape[0], -1))
        residual = pairs @ xp.astype(products, xp.float64).T
    safe = xp.where(vary, spread, xp.ones_like(spread))
    return xp.where(vary, 1 - residual / safe, xp.zeros_like(residual))


def varies(values: Array) -> Array:
    """Say which columns are not constant but for rounding: `real.varies`, of arrays of any library."""
    xp = array_namespace(values)
    rounding = 8 * float(xp.finfo(values.dtype).eps) * xp.max(xp.abs(values), axis=0)
    return xp.max(values, axis=0) - xp.min(values, axis=0) > rounding
