"""Which picture was seen? Retrieval by decoded embeddings, its direction in the name.

`brain_to_image`: for each response, rank the pictures. `image_to_brain`: for each picture, the responses. In
the released code of MindEye1 and MindEye2 the two columns are swapped (the similarity is transposed before it
is ranked): their "image retrieval" is image_to_brain here, and their "brain retrieval" brain_to_image.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroenc.errors import InputError, InputWarning
from neuroenc.evaluation.identification import cosine as cosine  # offered here: `retrieval(cosine(a, b))`
from neuroenc.evaluation.statistics import mean_limits, resample, widened
from neuroenc.ranking import ahead, copies, square

Floats = NDArray[np.float64]
N_WAY = 300  # pictures, drawn at random, among which the literature retrieves


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
        Fewer pictures than candidates; `k` or `n_way` that is no whole number of 1 or more; no square matrix.
    """
    from scipy.stats import hypergeom  # loads for a second

    s = square(similarity)
    n = s.shape[1]
    for name, asked in (("k", k), ("n_way", n_way)):
        if asked is not None and (asked < 1 or asked != int(asked)):
            raise InputError(f"Invalid value for {name!r}: {asked!r}. Expected a whole number of 1 or more.")
    if n_way is not None and n_way > n:
        raise InputError(f"{n} pictures are too few for {n_way}-way retrieval. Ask for {n} or fewer.")
    before = ahead(s)
    if n_way is None:
        return np.asarray(before < k, np.float64)
    return np.asarray(hypergeom.cdf(k - 1, n - 1, before, n_way - 1), np.float64)


def interval(
    values: ArrayLike, unit: ArrayLike | None = None, *, n_bootstraps: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap a mean, (low, high), 95 %; values of one unit, else each by itself, are drawn together.

    NaN of a single unit (`statistics.resample`).
    """
    x = np.asarray(values, np.float64)
    one_fold = np.zeros(len(x))
    return mean_limits(x, resample(np.arange(len(x)), one_fold, stretch=unit, n=n_bootstraps, seed=seed))


def retrieval(
    similarity: ArrayLike, *, n_way: int | None = None, unit: ArrayLike | None = None,
    n_bootstraps: int = 1000, seed: int = 0,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Score both directions, top-1 and top-5.

    Parameters
    ----------
    similarity : array of shape (n, n)
        Row: decoded, column: picture.
    n_way : int, optional
        As in `hits`.
    unit : array of shape (n,), optional
        Pictures that are drawn together, e.g. their concepts.
    n_bootstraps : int
        Of the pictures that are asked for; the candidates stay.
    seed : int

    Returns
    -------
    dict
        Metric, e.g. brain_to_image_top1 -> value, low, high (95 %), chance.
    """
    s = square(similarity)
    n = len(s)
    if twice := copies(s):
        warnings.warn(
            f"{twice} of {n} pictures have the embedding of another one: they are never told apart, so that "
            "chance and the highest score are lower. Keep each once, e.g. the mean of its presentations.",
            InputWarning, stacklevel=2,
        )  # fmt: skip
    out = {}
    for direction, table in (("brain_to_image", s), ("image_to_brain", s.T)):
        for k in (1, 5):
            found = hits(table, k, n_way)
            low, high = interval(found, unit, n_bootstraps=n_bootstraps, seed=seed)
            if k < (n_way or n):
                low, high = widened(low, high, n if unit is None else len(np.unique(unit)))
            out[f"{direction}_top{k}"] = {
                "value": float(found.mean()), "low": low, "high": high, "chance": min(1.0, k / (n_way or n)),
            }  # fmt: skip
    return out
