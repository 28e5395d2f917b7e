"""Accuracy over time: the mean of a region in each bin, significant by clusters of bins."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroenc.blocks import columns
from neuroenc.evaluation.permutation import EQUAL, exchange, p_value, widening
from neuroenc.evaluation.scores import standardise


def cluster_p(
    y: ArrayLike,
    prediction: ArrayLike,
    stimulus: ArrayLike,
    fold: ArrayLike,
    members: NDArray[np.bool_],
    *,
    film: ArrayLike | None = None,
    group: ArrayLike | None = None,
    n_stimuli: int | None = None,
    level: float = 0.05,
    n: int = 1000,
    seed: int = 0,
) -> NDArray[np.float64]:
    """One-sided p of the mean Pearson r of some neuroids above 0 in each time bin, corrected over time.

    Neighbouring bins whose mean r passes its own null at `level` form a cluster; its mass, the sum of their
    z, is compared with the largest of each permutation (Maris and Oostenveld 2007). A cluster as a whole is
    significant, not its edges. The permutations, and how they are widened over folds, are those of
    `permutation_p`.

    Parameters
    ----------
    y, prediction : arrays of shape (n_rows, n_neuroids, n_time_bins)
        A missing response, NaN, stands at the mean.
    stimulus, fold : arrays of shape (n_rows,)
    members : bool array of shape (n_neuroids,)
        Whose mean is tested; those that are constant in a bin are left out there.
    film : array of shape (n_rows,), optional
        Of running stimuli, as in `permutation_p`.
    group : array of shape (n_rows,), optional
        As in `permutation_p`.
    n_stimuli : int, optional
        As in `permutation_p`.
    level : float
        Of single bins, to form clusters.
    n : int
        Permutations.
    seed : int

    Returns
    -------
    ndarray of shape (n_time_bins,)
        p of the cluster a bin belongs to; 1 in none.
    """
    y, prediction = (np.asarray(v, np.float32)[:, members] for v in (y, prediction))
    fold = np.asarray(fold)
    n_bins = y.shape[2]
    rows = [np.flatnonzero(fold == f) for f in np.unique(fold)]
    rng = np.random.default_rng(seed)
    null, observed, count = np.zeros((n, n_bins)), np.zeros(n_bins), np.zeros(n_bins)
    for some in rows:
        known = np.isfinite(y[some])
        a, b = (standardise(v[some], known) for v in (y, prediction))
        good = np.isfinite(a).all(0) & np.isfinite(b).all(0)
        a, b = (np.where(good, v, 0).transpose(2, 0, 1) for v in (a, b))
        count += good.sum(0)
        observed += np.einsum("tiv,tiv->t", a, b)
        here = [None if v is None else np.asarray(v)[some] for v in (film, group)]
        orders = np.stack([exchange(rng, np.arange(len(some)), *here) for _ in range(n)])
        for cut in columns(n_bins * max(n, len(some)), len(some)):
            # sums over neuroids of what permutation pairs
            pairs = a @ b[:, cut].transpose(0, 2, 1)
            null += pairs[:, orders[:, cut], np.arange(pairs.shape[2])].sum(2).T
    count = np.where(count > 0, count, np.nan)
    observed = observed / count / widening(stimulus, rows, n_stimuli)
    null /= count
    mean, spread = null.mean(0), null.std(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        z, null_z = ((v - mean) / spread for v in (observed, null))
    flat = ~(spread > EQUAL)  # bins in which all are silent, or nothing can be exchanged
    z[flat] = null_z[:, flat] = 0
    threshold = np.quantile(null_z, 1 - level, axis=0)
    largest = np.array([max((mass for _, _, mass in _clusters(v, threshold)), default=0.0) for v in null_z])
    p = np.ones(n_bins)
    for start, stop, mass in _clusters(z, threshold):
        p[start:stop] = p_value(mass, largest)
    return p


def _clusters(z: NDArray[np.float64], threshold: NDArray[np.float64]) -> list[tuple[int, int, float]]:
    """List (start, stop, mass) of runs of bins above their thresholds."""
    above = np.concatenate([[False], z > threshold + EQUAL, [False]])
    edges = np.flatnonzero(above[1:] != above[:-1]).reshape(-1, 2)
    return [(int(a), int(b), float(z[a:b].sum())) for a, b in edges]
