"""Features of tokens: the side of their grid, and whether they are those a model was fitted to."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroenc.encoders.inputs import check_features
from neuroenc.errors import InputError


def side_of(n_tokens: int) -> int:
    """Side of a square grid of tokens.

    Raises
    ------
    InputError
        They are no square.
    """
    side = round(n_tokens**0.5)
    if side**2 != n_tokens:
        raise InputError(f"{n_tokens} tokens are no square grid. Pool the network to 'grid:<k>'.")
    return side


def grid_of(n_tokens: int) -> tuple[int, int]:
    """Rows and columns of tokens: of a square grid, or one row of those that are none (words, say)."""
    side = round(n_tokens**0.5)
    return (side, side) if side**2 == n_tokens else (1, n_tokens)


def check_tokens(estimator: Any, X: Any) -> NDArray[Any]:
    """Check features of tokens against those the model was fitted to.

    Parameters
    ----------
    estimator : estimator
        With `n_tokens_`, `n_channels_` and perhaps `sets`: whether tokens that are NaN are not there.
    X : array of shape (n_samples, n_tokens, n_channels)

    Raises
    ------
    InputError
        Another number of dimensions, tokens or channels; not finite.
    """
    X = check_features(estimator, X, ndim=3, dtype=np.float32, sets=getattr(estimator, "sets", False))
    for name, found, expected in (
        ("tokens", X.shape[1], estimator.n_tokens_), ("channels", X.shape[2], estimator.n_channels_)
    ):  # fmt: skip
        if found != expected:
            raise InputError(
                f"Features have {found} {name}, the model was fitted to {expected}. Extract them with the "
                "same layers and pooling."
            )
    return X
