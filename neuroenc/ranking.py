"""Who comes first, where some values are unknown: what is not a number never wins."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def best(values: ArrayLike, axis: int | None = 0) -> Any:
    """Place of the largest value; of equal ones the first, and NaN only where all are NaN.

    Parameters
    ----------
    values : array
    axis : int or None
        As in `numpy.argmax`, which takes NaN for the largest.
    """
    v = np.asarray(values, np.float64)
    return np.where(np.isnan(v), -np.inf, v).argmax(axis)


def ahead(similarity: ArrayLike) -> NDArray[np.int64]:
    """Count the columns that stand before each row's own.

    Parameters
    ----------
    similarity : array of shape (n, n)
        What belongs together stands on the diagonal. Of equal values the own column counts as the last, so
        that a constant predictor earns nothing; a value that is not a number stands behind all others, and
        an own one behind everything.

    Returns
    -------
    int array of shape (n,)
        0: found first; n - 1: found last.
    """
    s = np.asarray(similarity, np.float64)
    own = np.diag(s)
    return np.where(np.isnan(own), s.shape[1] - 1, (s >= own[:, None]).sum(1) - 1)
