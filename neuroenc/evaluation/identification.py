"""Which picture was seen? Measured responses against the responses an encoder predicts."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroenc.blocks import columns
from neuroenc.ranking import ahead
from neuroenc.real import varies

FEWEST = 3  # neuroids, by weight, whose pattern has a correlation worth the name


def cosine(decoded: ArrayLike, true: ArrayLike) -> NDArray[np.float64]:
    """Return the cosine of each decoded embedding (row) with each true one (column).

    Parameters
    ----------
    decoded, true : arrays of shape (n, n_features), (m, n_features)
        The cosine with nothing but zeros is 0.
    """
    a, b = (np.asarray(v, np.float64) for v in (decoded, true))
    length = [np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b)]
    a, b = (v / np.where(n == 0, 1, n) for v, n in zip((a, b), length, strict=True))
    return np.asarray(a @ b.T)


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
    a, b = _inner(measured, predicted, weight)
    return np.asarray(a @ b.T)


def own_rank(
    measured: ArrayLike, predicted: ArrayLike, weight: ArrayLike | None = None
) -> NDArray[np.int64] | None:
    """Count the predictions that are more like each measured pattern than its own (`ranking.ahead`).

    Parameters
    ----------
    measured, predicted, weight
        As in `pattern_similarity`, whose result is made and ranked in blocks of rows.

    Returns
    -------
    int array of shape (n_stimuli,)
        None where no pattern can be compared.
    """
    a, b = _inner(measured, predicted, weight)
    if not (np.isfinite(a).any() and np.isfinite(b).any()):
        return None
    rows = columns(len(b), len(a))
    return np.concatenate([ahead(a[cut] @ b.T, cut.start) for cut in rows])


def _inner(
    measured: ArrayLike, predicted: ArrayLike, weight: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Patterns whose inner products are the similarities."""
    a, b = np.asarray(measured, np.float64), np.asarray(predicted, np.float64)
    w = np.ones(a.shape[1]) if weight is None else np.asarray(weight, np.float64)
    known = np.isfinite(a).all(0) & np.isfinite(b).all(0) & np.isfinite(w) & (w > 0)
    if not known.any():
        return np.full((len(a), 1), np.nan), np.full((len(b), 1), np.nan)
    a, b, w = a[:, known], b[:, known], w[known] / w[known].max()
    w = w / w.sum()
    if 1 / (w**2).sum() < FEWEST - 1e-9:  # 2 a'b - a'a - b'b
        a, b = a * np.sqrt(w), b * np.sqrt(w)
        one = np.ones((len(a), 1)), np.ones((len(b), 1))
        power = [-(x**2).sum(1, keepdims=True) for x in (a, b)]
        return np.hstack([2 * a, power[0], one[0]]), np.hstack([b, one[1], power[1]])
    for x in (a, b):
        x -= (x @ w)[:, None]
        x *= np.sqrt(w)
        x /= _size(np.einsum("ij,ij->i", x, x))[:, None]
    return a, b


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
    rows = np.asarray(train)
    centre, scale = np.full((2, rows.shape[1]), np.nan)
    for cut in columns(*rows.shape):
        x = np.array(rows[:, cut], np.float64)
        vary = varies(rows[:, cut])
        here = np.isfinite(x)
        x[~here] = 0
        with np.errstate(invalid="ignore", divide="ignore"):
            centre[cut] = x.sum(0) / here.sum(0)
            x -= centre[cut]
            x[~here] = 0
            scale[cut] = np.where(vary, np.sqrt((x**2).sum(0) / here.sum(0)), np.nan)
    out = []
    for v in values:
        z = np.array(v, np.float64)
        z -= centre
        z /= scale
        some = np.isfinite(z)
        z[~some & some.any(0)] = 0
        out.append(z)
    return out


def _size(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Root of the power of patterns; NaN where a pattern is flat."""
    return np.sqrt(np.where(power > 0, power, np.nan))
