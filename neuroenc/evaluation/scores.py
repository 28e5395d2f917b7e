"""Scores of predictions, all vectorised over neuroids."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def standardise(values: ArrayLike) -> NDArray[np.float64]:
    """Centre and scale columns to unit length; NaN where a column is constant or not finite."""
    x = np.asarray(values, np.float64)
    with np.errstate(invalid="ignore"):
        x = x - x.mean(0)
        norm = np.sqrt((x**2).sum(0))
    # rounding leaves a constant column a little off zero
    tiny = 1e-7 * np.abs(np.asarray(values, np.float64)).max(0, initial=0) * np.sqrt(len(x))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(norm > tiny, x / norm, np.nan))


def pearson_r(y: ArrayLike, prediction: ArrayLike) -> NDArray[np.float64]:
    """Pearson correlation of each column.

    Parameters
    ----------
    y, prediction : arrays of shape (n, …)

    Returns
    -------
    ndarray of shape (…)
        NaN where either side is constant or not finite.
    """
    return np.asarray((standardise(y) * standardise(prediction)).sum(0))


def r2_score(y: ArrayLike, prediction: ArrayLike) -> NDArray[np.float64]:
    """Coefficient of determination of each column, 1 - residual / total sum of squares.

    NaN where `y` is constant or either side is not finite.
    """
    y, prediction = np.asarray(y, np.float64), np.asarray(prediction, np.float64)
    residual = ((y - prediction) ** 2).sum(0)
    total = ((y - y.mean(0)) ** 2).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        known = np.isfinite(standardise(y)[0]) & np.isfinite(residual)
        return np.asarray(np.where(known, 1 - residual / total, np.nan))


def normalised_r(r: ArrayLike, ceiling: ArrayLike, *, threshold: float) -> tuple[NDArray[np.float64], int]:
    """Divide r by its ceiling.

    Parameters
    ----------
    r : array of shape (n_neuroids, …)
    ceiling : array of the same shape
        Share of explainable variance; r is divided by its square root.
    threshold : float
        A ceiling below this says nothing about the model: the score is NaN. Nothing is clipped.

    Returns
    -------
    normalised : ndarray of shape (n_neuroids, …)
    n_below : int
        Neuroids left out, those whose ceiling is unknown among them.
    """
    ceiling = np.asarray(ceiling, np.float64)
    known = ceiling >= threshold
    with np.errstate(invalid="ignore", divide="ignore"):
        out = np.where(known, np.asarray(r, np.float64) / np.sqrt(np.where(known, ceiling, 1)), np.nan)
    return out, int((~known).sum())
