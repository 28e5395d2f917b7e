"""Retrieval by an encoder: how likely is a response, given what is predicted for each picture."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroenc.ranking import best

Floats = NDArray[np.float64]
SHRINKAGES = np.array([0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])


class Noise(NamedTuple):
    """Covariance of residuals, by the directions they span: never neuroids by neuroids in memory."""

    scale: Floats
    """Standard deviation of each neuroid, (n_neuroids,)"""
    direction: Floats
    """Of the correlation, (n_directions, n_neuroids), orthonormal"""
    variance: Floats
    """Along them, (n_directions,)"""

    @classmethod
    def fit(cls, residual: ArrayLike) -> Self:
        """Measure residuals, (n_samples, n_neuroids), none constant."""
        r = np.asarray(residual, np.float64)
        scale = np.sqrt((r**2).mean(0))
        _, singular, direction = np.linalg.svd(r / scale, full_matrices=False)
        return cls(scale, direction, singular**2 / len(r))

    def product(self, a: Floats, b: Floats, shrinkage: float) -> Floats:
        """Return a @ inverse covariance @ b', the correlation shrunk towards none."""
        a, b = a / self.scale, b / self.scale
        along = 1 / ((1 - shrinkage) * self.variance + shrinkage) - 1 / shrinkage
        return np.asarray((a @ self.direction.T * along) @ (b @ self.direction.T).T + a @ b.T / shrinkage)

    def log_likelihood(self, residual: Floats) -> Floats:
        """Sum over new residuals at each of `SHRINKAGES`, up to a constant."""
        z = residual / self.scale
        inside = (z @ self.direction.T) ** 2
        outside = (z**2).sum() - inside.sum()
        out = []
        for s in SHRINKAGES:
            value = (1 - s) * self.variance + s
            rest = len(self.scale) - len(value)
            determinant = np.log(value).sum() + rest * np.log(s)
            out.append(-len(z) * determinant - (inside / value).sum() - outside / s)
        return np.array(out)


def choose_shrinkage(residual: ArrayLike, n_folds: int = 5, seed: int = 0) -> float:
    """Choose the shrinkage under which held-out residuals are most likely.

    Parameters
    ----------
    residual : array of shape (n_samples, n_neuroids)
    n_folds : int
    seed : int

    Returns
    -------
    float
        From 0, the correlation as measured, to 1, none.
    """
    r = np.asarray(residual, np.float64)
    if len(r) < 2:  # nothing is known of correlations
        return 1.0
    n_folds = min(n_folds, len(r))
    parts = np.array_split(np.random.default_rng(seed).permutation(len(r)), n_folds)
    score = np.zeros(len(SHRINKAGES))
    for held in parts:
        rest = r[np.setdiff1d(np.arange(len(r)), held)]
        known = (rest**2).sum(0) > 0
        score += Noise.fit(rest[:, known]).log_likelihood(r[held][:, known])
    return float(SHRINKAGES[best(score)])


def likelihood(measured: ArrayLike, predicted: ArrayLike, residual: ArrayLike) -> Floats:
    """Log-likelihood of each response under each picture's prediction, up to a constant.

    Noise is Gaussian with the covariance of the validation residuals, its correlations shrunk as they
    themselves say (Kay et al. 2008 rank by correlation, which takes noise as even and independent).

    Parameters
    ----------
    measured, predicted : arrays of shape (n_stimuli, n_neuroids)
        Standardised per neuroid by the training responses.
    residual : array of shape (n_validation, n_neuroids)
        Measured less predicted, for stimuli the model was not fitted to; in the same units.

    Returns
    -------
    array of shape (n_stimuli, n_stimuli)
        Row: measured, column: predicted; NaN where no neuroid has residuals.
    """
    y, f, r = (np.asarray(v, np.float64) for v in (measured, predicted, residual))
    known = np.isfinite(y).all(0) & np.isfinite(f).all(0) & np.isfinite(r).all(0) & (np.abs(r).max(0) > 0)
    if not known.any():
        return np.full((len(y), len(f)), np.nan)
    y, f, r = y[:, known], f[:, known], r[:, known]
    noise, shrinkage = Noise.fit(r), choose_shrinkage(r)
    own, other = (np.diag(noise.product(v, v, shrinkage)) for v in (y, f))
    return noise.product(y, f, shrinkage) - 0.5 * (own[:, None] + other)
