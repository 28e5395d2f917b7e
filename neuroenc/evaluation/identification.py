"""Which picture was seen? Measured responses against the responses an encoder predicts."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pattern_similarity(
    measured: ArrayLike, predicted: ArrayLike, weight: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Correlate patterns over neuroids (Kay et al. 2008, with weights).

    Parameters
    ----------
    measured, predicted : arrays of shape (n_stimuli, n_neuroids)
        Standardised per neuroid by the *training* responses: statistics of the test set would be
        transductive.
    weight : array of shape (n_neuroids,), optional
        Weight of each neuroid, e.g. its validation R2; below 0 counts as 0.

    Returns
    -------
    ndarray of shape (n_stimuli, n_stimuli)
        Row: measured, column: predicted.
    """
    a, b = np.asarray(measured, np.float64), np.asarray(predicted, np.float64)
    w = np.ones(a.shape[1]) if weight is None else np.clip(np.asarray(weight, np.float64), 0, None)
    known = np.isfinite(a).all(0) & np.isfinite(b).all(0) & np.isfinite(w) & (w > 0)
    w = w[known] / w[known].sum()
    a, b = (x[:, known] - (x[:, known] @ w)[:, None] for x in (a, b))
    a, b = (x * np.sqrt(w) / np.sqrt(x**2 @ w)[:, None] for x in (a, b))
    return np.asarray(a @ b.T)


def top_k(similarity: ArrayLike, k: int) -> float:
    """Share of rows whose own column is among the `k` largest; chance is k / n_columns.

    Of equal values the own column counts as the last, so that a constant predictor earns nothing.
    """
    s = np.asarray(similarity, np.float64)
    better = (s >= np.diag(s)[:, None]).sum(1)  # itself included
    return float((better <= k).mean())
