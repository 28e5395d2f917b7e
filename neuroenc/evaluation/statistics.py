"""Intervals, p-values and false discovery, vectorised over neuroids."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control
from tqdm import tqdm

from neuroenc.evaluation.scores import pearson_r, standardise

K = TypeVar("K", bound=Hashable)
Score = Callable[[ArrayLike, ArrayLike], NDArray[np.float64]]


def per_fold(score: Score, y: ArrayLike, prediction: ArrayLike, fold: ArrayLike) -> NDArray[np.float64]:
    """Score each fold by itself.

    Folds are never pooled: a training mean leans away from the held-out values, so that pooled
    predictions of pure noise correlate with it negatively.

    Parameters
    ----------
    score : callable
        From (y, prediction), each (n, n_neuroids), to (n_neuroids,).
    y, prediction : arrays of shape (n_rows, n_neuroids)
    fold : array of shape (n_rows,)

    Returns
    -------
    ndarray of shape (n_folds, n_neuroids)
    """
    y, prediction, fold = np.asarray(y), np.asarray(prediction), np.asarray(fold)
    return np.stack([score(y[fold == f], prediction[fold == f]) for f in np.unique(fold)])


def bootstrap_r(
    y: ArrayLike,
    prediction: ArrayLike,
    stimulus: ArrayLike,
    fold: ArrayLike,
    groups: Mapping[K, NDArray[np.bool_]],
    *,
    stretch: ArrayLike | None = None,
    n: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[NDArray[np.float64], dict[K, tuple[float, float]]]:
    """Percentile intervals of Pearson r, the mean over folds.

    Stimuli are resampled, of films and stories stretches of them; where each is tested in one of several
    folds (runs, stories), the folds are, because what is held out together is not independent.

    Parameters
    ----------
    y, prediction : arrays of shape (n_rows, n_neuroids)
    stimulus, fold : arrays of shape (n_rows,)
        Rows of one stimulus are drawn together.
    stretch : array of shape (n_rows,), optional
        Of running stimuli: what is drawn together in place of a stimulus.
    groups : mapping of name to bool array of shape (n_neuroids,)
        Sets of neuroids whose mean r gets an interval as well.
    n : int
        Bootstrap samples, the same for every neuroid.
    level : float
    seed : int

    Returns
    -------
    interval : ndarray of shape (2, n_neuroids)
        NaN where r is.
    group_interval : dict of name to (low, high)
        Of the mean over the neuroids whose r is defined; NaN where there is none.
    """
    y, prediction, fold = np.asarray(y), np.asarray(prediction), np.asarray(fold)
    ids, inverse = np.unique(np.asarray(stimulus if stretch is None else stretch), return_inverse=True)
    folds = np.unique(fold)
    rows = [np.flatnonzero(fold == f) for f in folds]
    by_fold = len(folds) > 1 and _tested_once(np.asarray(stimulus), rows)
    rng = np.random.default_rng(seed)
    units = len(folds) if by_fold else len(ids)
    drawn = rng.multinomial(units, np.full(units, 1 / units), n).astype(np.float64)
    tails = [(1 - level) / 2, (1 + level) / 2]
    interval = np.full((2, y.shape[1]), np.nan)
    total = {name: np.zeros(n) for name in groups}
    count = {name: np.zeros(n) for name in groups}
    for start in range(0, y.shape[1], 4096):
        a, b = y[:, start : start + 4096], prediction[:, start : start + 4096]
        if by_fold:
            r = drawn @ per_fold(pearson_r, a, b, fold) / units
        else:
            r = np.mean([_weighted_r(a[k], b[k], drawn[:, inverse[k]]) for k in rows], axis=0)
        finite = np.isfinite(per_fold(pearson_r, a, b, fold)).all(0)
        # a neuroid that fires to few stimuli may be constant in a sample: it is left out of that one
        here = np.isfinite(r)
        finite &= here.any(0)
        quantile = np.quantile if here[:, finite].all() else np.nanquantile
        known = np.where(here, r, np.nan)[:, finite]
        interval[:, start + np.flatnonzero(finite)] = quantile(known, tails, axis=0)
        r = np.where(here, r, 0)
        for name, members in groups.items():
            inside = members[start : start + 4096] & finite
            total[name] += r[:, inside].sum(1)
            count[name] += here[:, inside].sum(1)
    limits = {
        name: tuple(np.quantile(total[name] / k, tails).tolist()) if k.all() else (np.nan, np.nan)
        for name, k in count.items()
    }
    return interval, limits


def _weighted_r(
    y: NDArray[np.float64], prediction: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Pearson r under each row of weights, (n_samples, n_neuroids)."""
    y, prediction = standardise(y), standardise(prediction)  # unit columns: the moments lose no digits
    weight = weight / weight.sum(1, keepdims=True)
    my, mp = weight @ y, weight @ prediction
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt((weight @ y**2 - my**2) * (weight @ prediction**2 - mp**2))
        return np.asarray((weight @ (y * prediction) - my * mp) / spread)


def permutation_p(
    y: ArrayLike,
    prediction: ArrayLike,
    stimulus: ArrayLike,
    fold: ArrayLike,
    *,
    film: ArrayLike | None = None,
    n: int = 1000,
    seed: int = 0,
) -> NDArray[np.float64]:
    """One-sided p of Pearson r above 0, the mean over folds, permuting responses within folds.

    With one fold the test is exact: the prediction has not seen the test responses. With several,
    test responses of one fold are training responses of others, so that r of the folds are
    correlated, which permuting finished predictions does not show. The null is then widened by
    the largest factor this correlation can cause: where each stimulus is tested once, the variance
    of the sum over pairs of folds at most doubles, because (a + b)² <= 2 (a² + b²); where folds
    are repeated draws, it grows at most by their number.

    Parameters
    ----------
    y, prediction : arrays of shape (n_rows, n_neuroids)
    stimulus, fold : arrays of shape (n_rows,)
        Rows are exchanged within a fold only.
    film : array of shape (n_rows,), optional
        Of running stimuli, whose rows stand in order of time: neighbours are alike and must stay so, so that
        the responses to each film are shifted in a circle by a random time instead of being shuffled.
    n : int
        Permutations, the same for every neuroid, so that correlation between neuroids is kept.
    seed : int

    Returns
    -------
    ndarray of shape (n_neuroids,)
        (1 + number of permuted r at least as large) / (1 + n), never 0 (Phipson & Smyth 2010);
        NaN where r is.
    """
    y, prediction, fold = np.asarray(y), np.asarray(prediction), np.asarray(fold)
    rows = [np.flatnonzero(fold == f) for f in np.unique(fold)]
    zy, zp = np.empty((2, *y.shape), np.float32)
    for members in rows:  # the sum of products is then the sum of the folds' r
        zy[members] = standardise(y[members])
        zp[members] = standardise(prediction[members])
    observed = np.einsum("nv,nv->v", zy, zp) / widening(np.asarray(stimulus), rows)
    rng = np.random.default_rng(seed)
    above = np.zeros(zy.shape[1])
    order = np.arange(len(fold))
    for _ in tqdm(range(n), "permutations", disable=None, delay=2):
        for members in rows:
            order[members] = exchange(rng, members, film)
        above += np.einsum("nv,nv->v", zy[order], zp) >= observed
    return np.asarray(np.where(np.isfinite(observed), (1 + above) / (1 + n), np.nan))


def exchange(
    rng: np.random.Generator, members: NDArray[np.int64], film: ArrayLike | None
) -> NDArray[np.int64]:
    """Exchange rows under the null: shuffled, or each film shifted in a circle.

    Parameters
    ----------
    rng : Generator
    members : int array
        Rows of one fold; of running stimuli in order of time.
    film : array of shape (n_rows,) or None
        Of all rows.

    Returns
    -------
    int array of the shape of `members`
    """
    if film is None:
        return rng.permutation(members)
    out = members.copy()
    here = np.asarray(film)[members]
    for name in np.unique(here):
        run = np.flatnonzero(here == name)
        out[run] = np.roll(members[run], rng.integers(len(run)))
    return out


def widening(stimulus: NDArray[np.str_], rows: list[NDArray[np.int64]]) -> float:
    """Return the factor by which correlation between folds can widen the null of their mean.

    Parameters
    ----------
    stimulus : array of shape (n_rows,)
    rows : list of int arrays
        Of each fold.
    """
    if len(rows) == 1:
        return 1.0
    return float(np.sqrt(2 if _tested_once(stimulus, rows) else len(rows)))


def _tested_once(stimulus: NDArray[np.str_], rows: list[NDArray[np.int64]]) -> bool:
    return len(set(stimulus)) == sum(len(set(stimulus[r])) for r in rows)


def fdr(p: ArrayLike) -> NDArray[np.float64]:
    """Benjamini-Hochberg q-values; NaN is left out and stays NaN."""
    p = np.asarray(p, np.float64)
    q = np.full(p.shape, np.nan)
    known = np.isfinite(p)
    if known.any():
        q[known] = false_discovery_control(p[known])
    return q
