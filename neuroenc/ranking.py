"""Who comes first, where some values are unknown: what is not a number never wins."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroenc.errors import InputError

EQUAL = 1e-12  # products of the same numbers round to others, by where they stand in a matrix


def best(values: ArrayLike, axis: int | None = 0) -> Any:
    """Place of the largest value; of equal ones the first, and NaN only where all are NaN.

    Parameters
    ----------
    values : array of any shape
    axis : int or None
        As in `numpy.argmax`, which takes NaN for the largest.
    """
    v = np.asarray(values, np.float64)
    return np.where(np.isnan(v), -np.inf, v).argmax(axis)


def square(similarity: ArrayLike) -> NDArray[np.float64]:
    """Return similarities whose rows and columns belong together, (n, n).

    Raises
    ------
    InputError
        They are not square, or of nothing.
    """
    s = np.asarray(similarity, np.float64)
    if s.ndim != 2 or s.shape[0] != s.shape[1] or not len(s):
        raise InputError(
            f"similarity has shape {s.shape}, expected (n, n): what belongs together stands on the diagonal. "
            "Look for pictures of a larger pool by `Index.search`."
        )
    return s


def copies(similarity: ArrayLike) -> int:
    """Count the columns that equal another one but for rounding: what they are of cannot be told apart.

    Parameters
    ----------
    similarity : array of shape (n_rows, n)
    """
    s = np.asarray(similarity, np.float64)
    s = s[:, np.isfinite(s).all(0)]
    if not s.size:
        return 0
    s = s[:, np.argsort(s.sum(0), kind="stable")]  # copies have one sum
    same = np.abs(np.diff(s, axis=1)).max(0) <= 1e-9 * np.abs(s).max()
    return int((np.append(same, False) | np.append(False, same)).sum())


def ahead(similarity: ArrayLike, first: int = 0) -> NDArray[np.int64]:
    """Count the columns that stand before each row's own.

    Parameters
    ----------
    similarity : array of shape (n_rows, n)
        What belongs together stands on the diagonal. Of equal values the own column counts as the last, so
        that a constant predictor earns nothing; equal are those within `EQUAL` of the largest in the row. A
        value that is not a number stands behind all others, and an own one behind everything.
    first : int
        Column of the first row: of a matrix that is made in blocks of rows.

    Returns
    -------
    int array of shape (n_rows,)
        0: found first; n - 1: found last.
    """
    s = np.asarray(similarity, np.float64)
    own = np.diagonal(s, first)
    largest = np.maximum(np.fmax.reduce(s, axis=1), -np.fmin.reduce(s, axis=1))
    rounding = np.where(np.isfinite(largest), EQUAL * largest, 0)
    return np.where(np.isnan(own), s.shape[1] - 1, (s >= (own - rounding)[:, None]).sum(1) - 1)
