"""Intervals, p-values and false discovery, vectorised over neuroids."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control

from neuroenc.evaluation.scores import pearson_r, standardise


def centre_within(values: ArrayLike, fold: ArrayLike) -> NDArray[np.float64]:
    """Subtract each fold's mean, so that folds can be pooled."""
    out = np.array(values, np.float64)
    for f in np.unique(np.asarray(fold)):
        rows = np.asarray(fold) == f
        out[rows] -= out[rows].mean(0)
    return out


def bootstrap_r(
    y: ArrayLike,
    prediction: ArrayLike,
    stimulus: ArrayLike,
    *,
    n: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile interval of Pearson r, resampling stimuli.

    Parameters
    ----------
    y, prediction : arrays of shape (n_rows, n_neuroids)
        Centred within folds where there are several.
    stimulus : array of shape (n_rows,)
        Rows of one stimulus are drawn together.
    n : int
        Bootstrap samples, the same for every neuroid.
    level : float
    seed : int

    Returns
    -------
    low, high : ndarrays of shape (n_neuroids,)
    """
    y, prediction = np.asarray(y, np.float64), np.asarray(prediction, np.float64)
    ids, inverse = np.unique(np.asarray(stimulus), return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(ids), np.full(len(ids), 1 / len(ids)), n)
    weight = drawn[:, inverse] / drawn[:, inverse].sum(1, keepdims=True)
    # unit columns first: the moments below then lose no digits
    y, prediction = standardise(y), standardise(prediction)
    my, mp = weight @ y, weight @ prediction
    with np.errstate(invalid="ignore", divide="ignore"):
        vy, vp = weight @ y**2 - my**2, weight @ prediction**2 - mp**2
        r = (weight @ (y * prediction) - my * mp) / np.sqrt(vy * vp)
    tail = (1 - level) / 2
    finite = np.isfinite(r).all(0)
    low, high = np.full((2, r.shape[1]), np.nan)
    if finite.any():
        low[finite], high[finite] = np.quantile(r[:, finite], [tail, 1 - tail], axis=0)
    return low, high


def permutation_p(
    y: ArrayLike, prediction: ArrayLike, fold: ArrayLike, *, n: int = 1000, seed: int = 0
) -> NDArray[np.float64]:
    """One-sided p of Pearson r above 0, permuting responses within folds.

    Parameters
    ----------
    y, prediction : arrays of shape (n_rows, n_neuroids)
    fold : array of shape (n_rows,)
        Rows are exchanged within a fold only.
    n : int
        Permutations, the same for every neuroid, so that correlation between neuroids is kept.
    seed : int

    Returns
    -------
    ndarray of shape (n_neuroids,)
        (1 + number of permuted r at least as large) / (1 + n), never 0 (Phipson & Smyth 2010);
        NaN where r is.
    """
    fold = np.asarray(fold)
    zy, zp = (standardise(centre_within(v, fold)).astype(np.float32) for v in (y, prediction))
    observed = (zy * zp).sum(0)
    rng = np.random.default_rng(seed)
    rows = [np.flatnonzero(fold == f) for f in np.unique(fold)]
    above = np.zeros(zy.shape[1])
    order = np.arange(len(fold))
    for _ in range(n):
        for members in rows:
            order[members] = rng.permutation(members)
        above += np.einsum("nv,nv->v", zy[order], zp) >= observed
    return np.asarray(np.where(np.isfinite(observed), (1 + above) / (1 + n), np.nan))


def fdr(p: ArrayLike) -> NDArray[np.float64]:
    """Benjamini-Hochberg q-values; NaN is left out and stays NaN."""
    p = np.asarray(p, np.float64)
    q = np.full(p.shape, np.nan)
    known = np.isfinite(p)
    if known.any():
        q[known] = false_discovery_control(p[known])
    return q


def mean_interval(
    values: ArrayLike, *, n: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """Mean over neuroids with a percentile bootstrap over neuroids; NaN is left out."""
    x = np.asarray(values, np.float64)
    x = x[np.isfinite(x)]
    if not len(x):
        return float("nan"), float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means = x[rng.integers(len(x), size=(n, len(x)))].mean(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(x.mean()), float(low), float(high)


def pooled_r(y: ArrayLike, prediction: ArrayLike, fold: ArrayLike) -> NDArray[np.float64]:
    """Pearson r over all folds after centring both sides within each."""
    return pearson_r(centre_within(y, fold), centre_within(prediction, fold))
