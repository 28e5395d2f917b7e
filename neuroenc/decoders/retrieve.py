"""Which picture was seen? Retrieval by decoded embeddings, its direction in the name.

`brain_to_image`: for each response, rank the pictures. `image_to_brain`: for each picture, the responses. In
the released code of MindEye1 and MindEye2 the two columns are swapped (the similarity is transposed before it
is ranked): their "image retrieval" is image_to_brain here, and their "brain retrieval" brain_to_image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroenc.errors import InputError
from neuroenc.evaluation.identification import cosine as cosine  # offered here: `retrieval(cosine(a, b))`
from neuroenc.ranking import ahead

Floats = NDArray[np.float64]


def hits(similarity: ArrayLike, k: int, n_way: int | None = None) -> Floats:
    """Probability that each row finds its own column among the `k` most similar.

    Parameters
    ----------
    similarity : array of shape (n, n)
        What belongs together stands on the diagonal. Of equal values the own column counts as the last;
        a value that is not a number stands behind all others.
    k : int
    n_way : int, optional
        Candidates: the own column and n_way - 1 others drawn at random. The probability is exact, the mean
        over all draws (the field draws thirty times). None: all.

    Returns
    -------
    array of shape (n,)

    Raises
    ------
    InputError
        Fewer pictures than candidates.
    """
    from scipy.stats import hypergeom  # loads for a second

    s = np.asarray(similarity, np.float64)
    n = s.shape[1]
    if n_way is not None and n_way > n:
        raise InputError(f"{n} pictures are too few for {n_way}-way retrieval. Ask for {n} or fewer.")
    before = ahead(s)
    if n_way is None:
        return np.asarray(before < k, np.float64)
    return np.asarray(hypergeom.cdf(k - 1, n - 1, before, n_way - 1), np.float64)


def retrieval(
    similarity: ArrayLike, *, n_way: int | None = None, n_bootstraps: int = 1000, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Score both directions, top-1 and top-5.

    Parameters
    ----------
    similarity : array of shape (n, n)
        Row: decoded, column: picture.
    n_way : int, optional
        As in `hits`.
    n_bootstraps : int
        Of the pictures that are asked for; the candidates stay.
    seed : int

    Returns
    -------
    dict
        Metric, e.g. brain_to_image_top1 -> value, low, high (95 %), chance.
    """
    s = np.asarray(similarity)
    n = len(s)
    drawn = np.random.default_rng(seed).integers(0, n, (n_bootstraps, n))
    out = {}
    for direction, table in (("brain_to_image", s), ("image_to_brain", s.T)):
        for k in (1, 5):
            found = hits(table, k, n_way)
            low, high = np.quantile(found[drawn].mean(1), [0.025, 0.975])
            out[f"{direction}_top{k}"] = {
                "value": float(found.mean()), "low": float(low), "high": float(high),
                "chance": min(1.0, k / (n_way or n)),
            }  # fmt: skip
    return out
