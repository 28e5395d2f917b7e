"""Retrieval by an encoder: how likely is a response, given what is predicted for each picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
SHRINKAGES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def shrunk_precision(residual: ArrayLike, shrinkage: float) -> Floats:
    """Invert the covariance of residuals, shrunk towards its diagonal.

    Parameters
    ----------
    residual : array of shape (n_samples, n_neuroids)
    shrinkage : float
        From 0, the covariance as measured, to 1, its diagonal.
    """
    r = np.asarray(residual, np.float64)
    covariance = r.T @ r / len(r)
    diagonal = np.diag(np.diag(covariance))
    return np.asarray(np.linalg.inv((1 - shrinkage) * covariance + shrinkage * diagonal))


def choose_shrinkage(residual: ArrayLike, n_folds: int = 5, seed: int = 0) -> float:
    """Choose the shrinkage under which held-out residuals are most likely.

    Parameters
    ----------
    residual : array of shape (n_samples, n_neuroids)
    n_folds : int
    seed : int
    """
    r = np.asarray(residual, np.float64)
    parts = np.array_split(np.random.default_rng(seed).permutation(len(r)), n_folds)
    score = np.zeros(len(SHRINKAGES))
    for held in parts:
        rest = np.setdiff1d(np.arange(len(r)), held)
        for i, shrinkage in enumerate(SHRINKAGES):
            precision = shrunk_precision(r[rest], shrinkage)
            _, determinant = np.linalg.slogdet(precision)
            score[i] += len(held) * determinant - np.einsum("nv,vw,nw->", r[held], precision, r[held])
    return SHRINKAGES[int(score.argmax())]


def likelihood(measured: ArrayLike, predicted: ArrayLike, residual: ArrayLike) -> Floats:
    """Log-likelihood of each response under each picture's prediction, up to a constant.

    Noise is Gaussian with the covariance of the validation residuals, shrunk as they themselves say (Kay et
    al. 2008 rank by correlation, which takes noise as even and independent).

    Parameters
    ----------
    measured, predicted : arrays of shape (n_stimuli, n_neuroids)
        Standardised per neuroid by the training responses.
    residual : array of shape (n_validation, n_neuroids)
        Measured less predicted, for stimuli the model was not fitted to; in the same units.

    Returns
    -------
    array of shape (n_stimuli, n_stimuli)
        Row: measured, column: predicted.
    """
    y, f, r = (np.asarray(v, np.float64) for v in (measured, predicted, residual))
    known = np.isfinite(y).all(0) & np.isfinite(f).all(0) & np.isfinite(r).all(0)
    y, f, r = y[:, known], f[:, known], r[:, known]
    precision = shrunk_precision(r, choose_shrinkage(r))
    own, other = (np.einsum("nv,vw,nw->n", v, precision, v) for v in (y, f))
    return np.asarray(y @ precision @ f.T - 0.5 * (own[:, None] + other))
