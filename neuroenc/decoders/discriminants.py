"""Linear discriminants with a shrunk covariance, of rows that are read in parts.

With class means m_k, shares pi_k and the covariance S common to the classes, the score of class k for x is
w_k' (x - m_k / 2) + log pi_k, w_k = S^-1 m_k. S is the mean over classes, by their shares, of covariances
shrunk as Ledoit and Wolf (2004, Journal of Multivariate Analysis 88, 365) choose it for features of unit
variance: S = A'A + diag(d), A the centred rows scaled by the square roots of pi_k (1 - s_k) / n_k and
d = sum_k pi_k s_k mu_k sigma_k^2. Where features outnumber rows Woodbury's identity solves in the rows:
S^-1 = D^-1 - D^-1 A' (I + A D^-1 A')^-1 A D^-1. The scores are those of scikit-learn's
LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from neuroenc.blocks import columns

Floats = NDArray[np.float64]


class Spread(NamedTuple):
    """What the classes are like."""

    mean: Floats
    """(n_classes, p)"""
    scale: Floats
    """(n_classes, p): standard deviation, 1 where a feature does not vary in a class"""
    share: Floats
    """(n_classes,) of the rows"""
    kept: Floats
    """(n_classes,): 1 - s, of the covariance as measured"""
    level: Floats
    """(n_classes,): s mu, towards which the variances are shrunk"""

    @classmethod
    def of(cls, X: Any, label: NDArray[np.int64]) -> Spread:
        """Measure rows, (n, p), of classes 0, 1, … that each have some."""
        n, p = X.shape
        rows = [np.flatnonzero(label == k) for k in range(int(label.max()) + 1)]
        mean, scale = np.empty((2, len(rows), p))
        gram = [np.zeros((min(len(r), p),) * 2) for r in rows]
        power = [np.zeros(len(r)) for r in rows]
        # products of the rows in blocks of columns, or of the columns, for which all of them are read at once
        for cut in columns(n, p) if p > n else [slice(0, p)]:
            part = np.asarray(X[:, cut], np.float64)
            for k, own in enumerate(rows):
                z = part[own]
                mean[k, cut] = z.mean(0)
                z -= mean[k, cut]
                deviation = np.sqrt((z**2).mean(0))
                still = deviation <= 10 * np.finfo(float).eps * np.abs(mean[k, cut])
                scale[k, cut] = np.where(still, 1, deviation)
                z = np.where(still, 0, z / scale[k, cut])
                gram[k] += z @ z.T if len(own) == len(gram[k]) else z.T @ z
                power[k] += (z**2).sum(1)
        shrunk = [_shrinkage(g, w, p) for g, w in zip(gram, power, strict=True)]
        s, mu = np.array(shrunk).T
        return cls(mean, scale, np.array([len(r) for r in rows]) / n, 1 - s, s * mu)


def _shrinkage(gram: Floats, power: Floats, p: int) -> tuple[float, float]:
    """Return the shrinkage of Ledoit and Wolf, and the mean variance.

    Parameters
    ----------
    gram : array
        Z Z' or Z'Z of the centred rows Z of a class.
    power : array of shape (n,)
        Sums of squares of the rows.
    p : int
        Features.
    """
    n = len(power)
    mu = power.sum() / n / p
    square = (gram**2).sum() / n**2
    error, spread = ((power**2).sum() / n - square) / (p * n), square / p - mu**2
    error = min(error, spread)
    return (0.0 if error == 0 or p == 1 else error / spread), mu


def discriminants(X: Any, label: NDArray[np.int64], new: Any) -> Floats:
    """Fit to rows of known classes and score new ones, (m, n_classes).

    Parameters
    ----------
    X, new : arrays or Designs of shape (n, p), (m, p)
        Read in blocks of columns where these outnumber the rows.
    label : int array of shape (n,)
        0, 1, …, each there.
    """
    n, p = X.shape
    spread = Spread.of(X, label)
    root = np.sqrt(spread.share * spread.kept / np.bincount(label))[label]
    diagonal = (spread.share * spread.level) @ spread.scale**2
    dual = p > n and bool((diagonal > 0).all())
    product = np.zeros((len(spread.share), len(new)))
    size = np.zeros(len(spread.share))
    cuts = columns(n, p) if dual else [slice(0, p)]

    def rows(cut: slice) -> Floats:
        return (np.asarray(X[:, cut], np.float64) - spread.mean[label][:, cut]) * root[:, None]

    if dual:
        system, right = np.eye(n), np.zeros((n, len(size)))
        for cut in cuts:
            A = rows(cut)
            scaled = A / diagonal[cut]
            system += scaled @ A.T
            right += scaled @ spread.mean[:, cut].T
        solved = scipy.linalg.solve(system, right, assume_a="pos", overwrite_a=True)
    for cut in cuts:
        A, mean = rows(cut), spread.mean[:, cut]
        if dual:
            weights = (mean - solved.T @ A) / diagonal[cut]
        else:
            covariance = A.T @ A
            covariance[np.diag_indices(p)] += diagonal
            weights = np.linalg.lstsq(covariance, mean.T, rcond=None)[0].T
        product += weights @ np.asarray(new[:, cut], np.float64).T
        size += (weights * mean).sum(1)
    return np.asarray((product - 0.5 * size[:, None] + np.log(spread.share)[:, None]).T)
