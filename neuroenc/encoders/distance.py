"""How far a picture lies from those an encoder was fitted to, in the features it reads.

The features of each fitted model are standardised as it reads them, and models count alike:
d² = mean over models of the mean over features of (z - z')². Kept are sketches of z with SIZE numbers, in
which every feature is added to one of them under a random sign (Weinberger et al. 2009): squared distances
keep their mean, and vary by sqrt(2 / SIZE).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from neuroenc.blocks import BLOCK_BYTES, blocks
from neuroenc.encoders.design import Design

SIZE = 512
SEED = 0
FAR = 0.99  # share of training pictures that lie nearer to the next than what counts as outside


def hashing(n_features: int) -> dict[str, NDArray[Any]]:
    """Draw where each feature is added, and under which sign; few features have a place each."""
    if n_features <= SIZE:
        return {"place": np.arange(n_features, dtype=np.int16), "sign": np.ones(n_features, np.int8)}
    rng = np.random.default_rng(SEED)
    sign = 2 * rng.integers(0, 2, n_features, np.int8) - 1
    return {"place": rng.integers(0, SIZE, n_features, np.int16), "sign": sign.astype(np.int8)}


def sketch(designs: Sequence[Design], hashed: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    """Sketch stimuli.

    Parameters
    ----------
    designs : list of Design
        What each fitted model reads of the same stimuli, standardised and flat.
    hashed : dict
        As `hashing` draws it for all their columns.

    Returns
    -------
    array of shape (n_stimuli, at most SIZE)
    """
    n, size, start = len(designs[0]), int(hashed["place"].max()) + 1, 0
    out = np.zeros((n, size), np.float32)
    for X in designs:
        width = X.shape[1]
        at = slice(start, start + width)
        start += width
        to = sparse.coo_array(
            (hashed["sign"][at].astype(np.float32), (hashed["place"][at], np.arange(width))), (size, width)
        ).tocsr()
        for rows in blocks(n, max(1, BLOCK_BYTES // (4 * width))):
            out[rows] += (to @ X[rows].T).T / np.sqrt(width * len(designs))
    return out


def nearest(points: NDArray[np.float32], others: NDArray[np.float32] | None = None) -> NDArray[np.float64]:
    """Return the distance of each point to the nearest of the others; None: of the same, but itself."""
    to = np.asarray(points if others is None else others, np.float64)
    squares = (to**2).sum(1)
    out = np.empty(len(points))
    for rows in blocks(len(points), max(1, BLOCK_BYTES // (8 * len(to)))):
        some = np.asarray(points[rows], np.float64)
        squared = (some**2).sum(1)[:, None] + squares - 2 * some @ to.T
        if others is None:
            squared[np.arange(len(some)), np.arange(rows.start, rows.stop)] = np.inf
        out[rows] = np.sqrt(np.maximum(squared.min(1), 0))
    return out
