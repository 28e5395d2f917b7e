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
    groups: dict[str, NDArray[np.bool_]],
    *,
    n: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[NDArray[np.float64], dict[str, tuple[float, float]]]:
    """Percentile intervals of Pearson r, resampling stimuli.

    Parameters
    ----------
    y, prediction : arrays of shape (n_rows, n_neuroids)
        Centred within folds where there are several.
    stimulus : array of shape (n_rows,)
        Rows of one stimulus are drawn together.
    groups : mapping of name to bool array of shape (n_neuroids,)
        Sets of neuroids whose mean r gets an interval as well.
    n : int
        Bootstrap samples, the same for every neuroid.
    level : float
    seed : int

    Returns
    -------
    interval : ndarray of shape (2, n_neuroids)
    group_interval : dict of name to (low, high)
        Of the mean over the neuroids whose r is defined; NaN where there is none.
    """
    y, prediction = standardise(y), standardise(prediction)
    ids, inverse = np.unique(np.asarray(stimulus), return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(ids), np.full(len(ids), 1 / len(ids)), n)
    weight = drawn[:, inverse] / drawn[:, inverse].sum(1, keepdims=True)
    tails = [(1 - level) / 2, (1 + level) / 2]
    interval = np.full((2, y.shape[1]), np.nan)
    total = {name: np.zeros(n) for name in groups}
    count = dict.fromkeys(groups, 0)
    for start in range(0, y.shape[1], 4096):
        block = slice(start, start + 4096)
        a, b = y[:, block], prediction[:, block]
        ma, mb = weight @ a, weight @ b
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = np.sqrt((weight @ a**2 - ma**2) * (weight @ b**2 - mb**2))
            r = (weight @ (a * b) - ma * mb) / spread
        finite = np.isfinite(r).all(0)
        interval[:, start + np.flatnonzero(finite)] = np.quantile(r[:, finite], tails, axis=0)
        for name, members in groups.items():
            inside = members[block] & finite
            total[name] += r[:, inside].sum(1)
            count[name] += int(inside.sum())
    limits = {
        name: tuple(np.quantile(total[name] / k, tails).tolist()) if k else (np.nan, np.nan)
        for name, k in count.items()
    }
    return interval, limits


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


def pooled_r(y: ArrayLike, prediction: ArrayLike, fold: ArrayLike) -> NDArray[np.float64]:
    """Pearson r over all folds after centring both sides within each."""
    return pearson_r(centre_within(y, fold), centre_within(prediction, fold))
