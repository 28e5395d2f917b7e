"""Finite impulse responses: features of earlier samples as features of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def delay(X: ArrayLike, delays: Sequence[int], groups: ArrayLike | None = None) -> NDArray[Any]:
    """Put delayed copies of the features side by side.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        In order of time.
    delays : sequence of int
        In samples; positive ones look back.
    groups : array of shape (n_samples,), optional
        Runs or stories: nothing passes from one to the next.

    Returns
    -------
    array of shape (n_samples, n_delays * n_features)
        Zero where there is nothing to look back to.
    """
    X = np.asarray(X)
    group = np.zeros(len(X)) if groups is None else np.asarray(groups)
    out = np.zeros((len(X), len(delays), X.shape[1]), X.dtype)
    index = np.arange(len(X))
    for i, d in enumerate(delays):
        source = index - d
        inside = (source >= 0) & (source < len(X))
        inside[inside] = group[source[inside]] == group[index[inside]]
        out[inside, i] = X[source[inside]]
    return out.reshape(len(X), -1)
