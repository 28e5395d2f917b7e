"""Predictive intervals from the residuals of stimuli a model was not fitted to: split conformal prediction.

With n residuals r of stimuli that are exchangeable with the next one, the k-th smallest of |r|,
k = ceil((n + 1) level), is not exceeded by the next with a probability of at least `level` and at most
level + 1 / (n + 1), whatever their distribution (Vovk, Gammerman and Shafer 2005; Lei et al. 2018).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroenc.errors import InputError

STEPS = 200  # levels that are kept: 1 / STEPS, 2 / STEPS, …


def half_widths(residual: NDArray[Any]) -> NDArray[np.float32]:
    """Return the half width of the interval of each target at each level.

    Parameters
    ----------
    residual : array of shape (n_stimuli, n_targets)
        Response less prediction; NaN where there is none.

    Returns
    -------
    array of shape (STEPS - 1, n_targets)
        Infinite where there are too few residuals for the level.
    """
    nothing = np.full((1, residual.shape[1]), np.nan)  # so that there is a row to take
    ordered = np.sort(np.abs(np.concatenate([residual, nothing], dtype=np.float64)), axis=0)  # NaN last
    known = np.isfinite(ordered).sum(0)
    level = np.arange(1, STEPS)[:, None] / STEPS
    rank = np.ceil((known + 1) * level - 1e-9).astype(int)
    found = np.take_along_axis(ordered, np.minimum(rank, known + 1) - 1, axis=0)
    return np.where(rank > known, np.inf, found).astype(np.float32)


def row_of(level: float) -> int:
    """Find the row of `half_widths` of a level, or of the next higher.

    Raises
    ------
    InputError
        It is no share, or nearer to 1 than the rows reach.
    """
    if not 0 < level <= 1 - 1 / STEPS:
        raise InputError(
            f"Invalid value for 'level': {level!r}. Expected above 0 and at most {1 - 1 / STEPS:g}."
        )
    return int(np.ceil(level * STEPS - 1e-9)) - 1
