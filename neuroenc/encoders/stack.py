"""Stacking: one mixture of encoders for each target, chosen on validation predictions.

Wolpert (1992); Breiman (1996): weights that are not negative and sum to one. Lin, Naselaris, Kay, Wehbe
(2024), "Stacked regressions and structured variance partitioning", use the same for voxels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroenc.errors import InputError

Floats = NDArray[Any]


def stack_weights(validation: Floats, truth: Floats, *, select: bool = False, n_steps: int = 2000) -> Floats:
    """Weights that minimise the squared error of the mixture.

    Parameters
    ----------
    validation : array of shape (n_members, n_samples, n_targets)
        Predictions of stimuli the members were not fitted to. A member that is NaN for a target takes
        no part in it.
    truth : array of shape (n_samples, n_targets)
    select : bool
        Give all weight to the single best member.
    n_steps : int
        At most, of accelerated projected gradient (Beck and Teboulle 2009).

    Returns
    -------
    array of shape (n_members, n_targets)
        Not negative, of sum one; NaN where no member predicts.

    Raises
    ------
    InputError
        Shapes that do not match.
    """
    validation, truth = np.asarray(validation, float), np.asarray(truth, float)
    if validation.shape[1:] != truth.shape:
        raise InputError(
            f"Validation predictions of shape {validation.shape[1:]}, responses of {truth.shape}. Make both "
            "of the same stimuli and neuroids."
        )
    k, n = validation.shape[:2]
    there: Any = np.isfinite(validation).all(1) & np.isfinite(truth).all(0)
    residual = np.where(there[:, None], validation - truth, 0)
    gram = np.einsum("ant,bnt->tab", residual, residual, optimize=True) / n
    large = np.where(there.T, 0, 1e6 * (1 + np.abs(gram).max((1, 2)))[:, None])
    gram += large[:, :, None] * np.eye(k)  # keeps absent members at weight 0
    if select:
        weights = np.eye(k)[np.einsum("taa->ta", gram).argmin(1)]
    else:
        scale = np.linalg.eigvalsh(gram)[:, -1][:, None]
        weights = np.where(there.T, 1.0, 0.0)
        weights /= np.maximum(weights.sum(1, keepdims=True), 1)
        ahead, momentum = weights, 1.0
        for _ in range(n_steps):
            slope = np.einsum("tab,tb->ta", gram, ahead)
            new = _simplex(ahead - slope / np.maximum(scale, 1e-300), there.T)
            following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            ahead = new + (momentum - 1) / following * (new - weights)
            change = np.abs(new - weights).max(initial=0.0)
            weights, momentum = new, following
            if change < 1e-9:
                break
    out = weights.T.copy()
    out[:, ~there.any(0)] = np.nan
    return out


def _simplex(values: Floats, there: NDArray[np.bool_]) -> Floats:
    """Project rows on the simplex of the members that are there (Duchi et al. 2008)."""
    values = np.where(there, values, -np.inf)
    ordered = -np.sort(-values, axis=1)
    finite = np.isfinite(ordered)
    excess = np.cumsum(np.where(finite, ordered, 0), axis=1) - 1
    number = np.arange(1, values.shape[1] + 1)
    positive = finite & (ordered - excess / number > 0)
    rho = np.maximum(positive.sum(1), 1)
    shift = excess[np.arange(len(values)), rho - 1] / rho
    return np.maximum(np.where(there, values - shift[:, None], 0), 0)


def stack(predictions: Floats, weights: Floats) -> Floats:
    """Mix members' predictions.

    Parameters
    ----------
    predictions : array of shape (n_members, n_samples, n_targets)
    weights : array of shape (n_members, n_targets)

    Returns
    -------
    array of shape (n_samples, n_targets)
    """
    taken = np.where(weights[:, None] > 0, predictions, 0)
    return np.where(np.isnan(weights).all(0), np.nan, np.einsum("mnt,mt->nt", taken, np.nan_to_num(weights)))
