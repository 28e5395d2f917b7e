"""Real numbers as they are stored: in single precision, finite or missing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroenc.errors import ContractError


def real32(values: ArrayLike, source: str) -> NDArray[np.float32]:
    """Return numbers as float32, NaN where one is missing.

    Parameters
    ----------
    values : array
    source : str
        Where they are from, for errors.

    Raises
    ------
    ContractError
        They are no real numbers, or infinite as float32.
    """
    found = np.asarray(values)
    if found.dtype.kind not in "fiub":
        raise ContractError(
            f"{source} holds {found.dtype}, expected real numbers (NaN where one is missing)."
        )
    with np.errstate(over="ignore"):
        out = found.astype(np.float32, copy=False)
    # the extremes without NaN: no array as large as the responses is made
    if out.size and np.isinf([np.fmin.reduce(out, axis=None), np.fmax.reduce(out, axis=None)]).any():
        first = tuple(map(int, np.argwhere(np.isinf(out))[0]))
        raise ContractError(
            f"{source} holds {found[first]!s} at {first}: infinite, or beyond single precision. Expected "
            "finite numbers, NaN where one is missing."
        )
    return out


def deviation(
    values: NDArray[Any], axis: int | tuple[int, ...] = 0, *, missing: bool = False
) -> NDArray[Any]:
    """Return the standard deviation, exactly 0 of what is constant but for rounding.

    std(x), and 0 where max(x) - min(x) <= 8 eps max(|x|): the mean of equal numbers may round to another, and
    a quotient by what is left would be noise of any size.

    Parameters
    ----------
    values : array of float
    axis : int or tuple of int
    missing : bool
        Leave NaN out; else the deviation of what holds one is NaN.
    """
    scale = np.asarray((np.nanstd if missing else np.std)(values, axis=axis))
    low, high = np.fmin.reduce(values, axis=axis), np.fmax.reduce(values, axis=axis)
    rounding = 8 * np.finfo(values.dtype).eps * np.maximum(np.abs(low), np.abs(high))
    return np.where(high - low <= rounding, 0 * scale, scale)
