"""Scores of predictions, all vectorised over neuroids."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroenc.errors import InputError
from neuroenc.names import row_names, same_order
from neuroenc.real import unmasked, varies


def paired(
    y: ArrayLike, prediction: ArrayLike, **rows: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return responses and predictions that belong together, without masks.

    Parameters
    ----------
    y, prediction : arrays of one shape, (n, …)
    **rows : arrays of shape (n,), optional
        What is said of each row, by the name it goes by in errors.

    Raises
    ------
    InputError
        They have other shapes, which would be broadcast; both name their rows, in another order; what is
        said of the rows is not of as many.
    """
    same_order(prediction, np.array(row_names(y), str), "prediction")
    y, prediction = unmasked(y), unmasked(prediction)
    if y.shape != prediction.shape:
        raise InputError(
            f"y has shape {y.shape}, prediction {prediction.shape}, expected the same. Bring both into "
            "(n_rows, n_neuroids)."
        )
    for name, values in rows.items():
        if values is not None and np.shape(values) != y.shape[:1]:
            raise InputError(
                f"{name} has shape {np.shape(values)}, expected {y.shape[:1]}: one for each row of y."
            )
    return y, prediction


def standardise(values: ArrayLike, known: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Centre and scale columns to unit length.

    Parameters
    ----------
    values : array of shape (n, …)
    known : bool array of the same shape, optional
        What counts; the rest becomes 0. None: all.

    Returns
    -------
    ndarray of shape (n, …)
        NaN where a column is constant (`real.varies`), not finite, or has fewer than two values.
    """
    known = None if known is None or known.all() else known
    values = unmasked(values)
    vary = varies(values, known=known)
    x = np.array(values, np.float64)
    count: Any = len(x) if known is None else known.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        if known is not None:
            x[~known] = 0
        x -= x.sum(0) / count
        if known is not None:
            x[~known] = 0
        x /= np.where(vary, np.sqrt((x**2).sum(0)), np.nan)
    return x


def pearson_r(
    y: ArrayLike, prediction: ArrayLike, known: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Pearson correlation of each column.

    Parameters
    ----------
    y, prediction : arrays of shape (n, …)
    known : bool array of the same shape, optional
        What counts; None: all.

    Returns
    -------
    ndarray of shape (…)
        NaN where either side is constant or not finite, or fewer than two rows count.

    Raises
    ------
    InputError
        As `paired`.
    """
    y, prediction = paired(y, prediction)
    r = (standardise(y, known) * standardise(prediction, known)).sum(0)
    return np.asarray(r if len(y) else np.full(y.shape[1:], np.nan))


def r2_score(
    y: ArrayLike, prediction: ArrayLike, known: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Coefficient of determination of each column, 1 - residual / total sum of squares.

    Over what is `known`, as in `pearson_r`; NaN where `y` is constant or either side is not finite.
    """
    y, prediction = paired(y, prediction)
    vary = varies(y, known=known)
    y, prediction = y.astype(np.float64), prediction.astype(np.float64)
    known = np.ones(y.shape, bool) if known is None else known
    with np.errstate(invalid="ignore", divide="ignore"):
        residual = (np.where(known, y - prediction, 0) ** 2).sum(0)
        mean = np.where(known, y, 0).sum(0) / known.sum(0)
        total = (np.where(known, y - mean, 0) ** 2).sum(0)
        return np.asarray(np.where(vary & np.isfinite(residual), 1 - residual / total, np.nan))


def normalised_r(r: ArrayLike, ceiling: ArrayLike, *, threshold: float) -> tuple[NDArray[np.float64], int]:
    """Divide r by its ceiling.

    Parameters
    ----------
    r : array of shape (n_neuroids, …)
    ceiling : array of the same shape, or one for all
        Share of explainable variance, at most 1; r is divided by its square root.
    threshold : float
        A ceiling below this, or of 0, says nothing about the model: the score is NaN. Nothing is clipped.

    Returns
    -------
    normalised : ndarray of shape (n_neuroids, …)
    n_below : int
        Neuroids left out, those whose ceiling is unknown among them.

    Raises
    ------
    InputError
        Arrays of other shapes; a ceiling above 1, as of percent.
    """
    ceiling = np.asarray(ceiling, np.float64)
    if ceiling.shape not in ((), np.shape(r)):
        raise InputError(f"ceiling has shape {ceiling.shape}, r {np.shape(r)}, expected the same.")
    if (ceiling > 1 + 1e-6).any():
        raise InputError(
            f"ceiling holds {np.nanmax(ceiling):g}, expected a share of variance, 0 to 1. Divide percent by "
            "100."
        )
    known = (ceiling >= threshold) & (ceiling > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        out = np.where(known, np.asarray(r, np.float64) / np.sqrt(np.where(known, ceiling, 1)), np.nan)
    return out, int((~known).sum())
