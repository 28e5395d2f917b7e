"""Real numbers as they are stored: in single precision, finite or missing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroenc.errors import ContractError, InputError


def is_torch(values: Any) -> bool:
    """Say whether values are a tensor, without importing torch."""
    return type(values).__module__.partition(".")[0] == "torch"


def unmasked(values: Any, source: str = "the array") -> NDArray[Any]:
    """Return an array, also of a tensor, in which what a masked array hides is NaN.

    Parameters
    ----------
    values : array of any shape, or tensor
    source : str
        What it is, for errors.

    Raises
    ------
    InputError
        Its rows are of different lengths.
    """
    if is_torch(values):
        values = values.detach().cpu()
        return np.asarray((values.float() if str(values.dtype) == "torch.bfloat16" else values).numpy())
    if isinstance(values, np.ma.MaskedArray):
        whole = values.dtype.kind in "biu"
        values = np.ma.filled(values.astype(np.float64) if whole else values, np.nan)
    try:
        return np.asarray(values)
    except ValueError:
        raise InputError(
            f"The rows of {source} are of different lengths. Give one array of numbers."
        ) from None


def real32(values: ArrayLike, source: str) -> NDArray[np.float32]:
    """Return numbers as float32, NaN where one is missing.

    Parameters
    ----------
    values : array of any shape
    source : str
        Where they are from, for errors.

    Raises
    ------
    ContractError
        They are no real numbers, or infinite as float32.
    """
    found = unmasked(values, source)
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


def varies(
    values: ArrayLike, axis: int | tuple[int, ...] = 0, *, known: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Say where numbers are not constant: max(x) - min(x) > 8 eps max(|x|), eps that of their precision.

    The mean of equal numbers may round to another, and a quotient by what is left would be noise of any size.

    Parameters
    ----------
    values : array of any shape
        NaN does not count.
    axis : int or tuple of int
    known : bool array of the same shape, optional
        What counts; None: all.
    """
    values = np.asarray(values)
    values = values if values.dtype.kind == "f" else values.astype(np.float64)
    where: Any = True if known is None else known
    low = np.fmin.reduce(values, axis=axis, where=where, initial=np.inf)
    high = np.fmax.reduce(values, axis=axis, where=where, initial=-np.inf)
    rounding = 8 * np.finfo(values.dtype).eps * np.maximum(np.abs(low), np.abs(high))
    return np.asarray((low < high) & ~(high - low <= rounding))


def deviation(
    values: NDArray[Any], axis: int | tuple[int, ...] = 0, *, missing: bool = False
) -> NDArray[Any]:
    """Return the standard deviation, exactly 0 of what does not vary but for rounding (`varies`).

    Parameters
    ----------
    values : array of any shape
    axis : int or tuple of int
    missing : bool
        Leave NaN out; else the deviation of what holds one is NaN.
    """
    if not missing:
        scale = np.asarray(np.std(values, axis=axis))
        return np.where(varies(values, axis), scale, 0 * scale)
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):  # nothing is known of what has no value
        n = known.sum(axis, keepdims=True)
        mean = np.where(known, values, 0).sum(axis, keepdims=True, dtype=np.float64) / n
        power = np.where(known, values - mean, 0) ** 2
        scale = np.sqrt(power.sum(axis, keepdims=True) / n).astype(values.dtype).squeeze(axis)
    return np.where(varies(values, axis), scale, 0 * scale)


def zscore(values: NDArray[Any], base: NDArray[Any] | None = None) -> NDArray[Any]:
    """Scale columns by the mean and standard deviation of some rows.

    Parameters
    ----------
    values : array of float, (n, …)
    base : array of shape (m, …), optional
        The rows that scale; None: all of `values`.

    Returns
    -------
    array of the shape and precision of `values`
        NaN in a column of which `base` does not vary but for rounding (`varies`), or holds a NaN.
    """
    base = values if base is None else base
    rows = base.astype(np.float64)
    scale = np.where(varies(base), rows.std(0), np.nan)
    return ((values - rows.mean(0)) / scale).astype(values.dtype)


def sum_groups(values: NDArray[Any], group: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum the rows of each group, (n_groups, …), in double precision.

    Parameters
    ----------
    values : array of shape (n, …)
    group : int array of shape (n,)
        Of each row, from 0; each has one at least.
    """
    order = np.argsort(group, kind="stable")
    first = np.searchsorted(group[order], np.arange(group.max(initial=-1) + 1))
    return np.asarray(np.add.reduceat(values[order], first, axis=0, dtype=np.float64))
