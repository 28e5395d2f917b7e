"""Which picture was seen? Measured responses against the responses an encoder predicts."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroenc.ranking import ahead

FEWEST = 3  # neuroids, by weight, whose pattern has a correlation worth the name


def pattern_similarity(
    measured: ArrayLike, predicted: ArrayLike, weight: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Correlate patterns over neuroids (Kay et al. 2008, with weights).

    Of one neuroid there is no correlation, and of two it is 1 or -1: where the weights leave fewer than three
    neuroids in effect, (sum of w)² / sum of w² (Kish 1965), patterns are compared by their distance instead,
    which is the rank by the one value.

    Parameters
    ----------
    measured, predicted : arrays of shape (n_stimuli, n_neuroids)
        Standardised per neuroid by the *training* responses: statistics of the test set would be
        transductive.
    weight : array of shape (n_neuroids,), optional
        Weight of each neuroid, e.g. its validation R2; below 0 and not finite count as 0.

    Returns
    -------
    ndarray of shape (n_stimuli, n_stimuli)
        Row: measured, column: predicted. Correlations, or distances squared and negative; NaN where no
        neuroid has weight.
    """
    a, b = np.asarray(measured, np.float64), np.asarray(predicted, np.float64)
    w = np.ones(a.shape[1]) if weight is None else np.asarray(weight, np.float64)
    known = np.isfinite(a).all(0) & np.isfinite(b).all(0) & np.isfinite(w) & (w > 0)
    if not known.any():
        return np.full((len(a), len(b)), np.nan)
    a, b, w = a[:, known], b[:, known], w[known] / w[known].max()
    w = w / w.sum()
    if 1 / (w**2).sum() < FEWEST - 1e-9:
        a, b = a * np.sqrt(w), b * np.sqrt(w)
        return np.asarray(2 * a @ b.T - (a**2).sum(1)[:, None] - (b**2).sum(1))
    a, b = (x - (x @ w)[:, None] for x in (a, b))
    a, b = (x * np.sqrt(w) / _size(x**2 @ w)[:, None] for x in (a, b))
    return np.asarray(a @ b.T)


def standardise_by(train: ArrayLike, *values: ArrayLike) -> list[NDArray[np.float64]]:
    """Standardise by the training responses; a missing value stands at their mean, which says nothing.

    Parameters
    ----------
    train : array of shape (n_training, n_neuroids)
    *values : arrays of shape (n, n_neuroids)

    Returns
    -------
    list of arrays of the shapes of `values`
        NaN for neuroids that have no value or do not vary in training.
    """
    x = np.asarray(train, np.float64)
    here = np.isfinite(x)
    with np.errstate(invalid="ignore", divide="ignore"):
        centre = np.where(here, x, 0).sum(0) / here.sum(0)
        scale = np.sqrt((np.where(here, x - centre, 0) ** 2).sum(0) / here.sum(0))
        # rounding leaves a constant neuroid a little off zero
        scale = np.where(scale > 1e-7 * np.abs(centre), scale, np.nan)
        out = []
        for v in values:
            z = (np.asarray(v, np.float64) - centre) / scale
            some = np.isfinite(z)
            out.append(np.where(~some & some.any(0), 0, z))
    return out


def _size(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Root of the power of patterns; NaN where a pattern is flat."""
    return np.sqrt(np.where(power > 0, power, np.nan))


def top_k(similarity: ArrayLike, k: int) -> float:
    """Share of rows whose own column is among the `k` largest; chance is k / n_columns.

    Of equal values the own column counts as the last, so that a constant predictor earns nothing; so does one
    that is not a number.
    """
    return float((ahead(similarity) < k).mean())
