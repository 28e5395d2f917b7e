"""Dissimilarity matrices, and how alike two of them are.

A matrix is kept as its upper triangle, row by row (SciPy's condensed form). Every measure but Kendall's is
the cosine of two vectors that `prepare` makes of such triangles, so that one product compares a matrix with
many.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroenc.blocks import BLOCK_BYTES, blocks
from neuroenc.errors import InputError, invalid
from neuroenc.names import row_names, same_order
from neuroenc.real import varies

Distance = Literal["correlation", "euclidean", "crossnobis"]
Measure = Literal["spearman", "kendall", "pearson", "cosine", "whitened_cosine", "cka"]
Floats = NDArray[Any]
FEWEST = 4  # stimuli: debiased CKA divides by n - 3
DOUBLE = 2048  # up to so many stimuli in double precision, beyond in single
WHOLE = 2000  # neuroids whose whole covariance is inverted: 8 s
KENDALL = 2500  # stimuli: one comparison of 3 million pairs takes seconds
ROUNDING = 256  # times the precision of a matrix, by its largest value: distances this close are equal


def usable(patterns: ArrayLike, distance: Distance) -> NDArray[np.bool_]:
    """Say which patterns have a distance: finite, and for the correlation distance not constant.

    Parameters
    ----------
    patterns : array of shape (n_stimuli, …)
    distance : {"correlation", "euclidean", "crossnobis"}
    """
    if distance not in get_args(Distance):
        raise invalid("distance", distance, get_args(Distance))
    values = np.asarray(patterns)
    flat = values.reshape(len(values), -1)
    good = np.isfinite(flat).all(1)
    return np.asarray(good & varies(flat, 1)) if distance == "correlation" else good


def dissimilarity(patterns: ArrayLike, distance: Distance = "correlation") -> Floats:
    """Give the distance of each pair of patterns.

    correlation: 1 - r. euclidean: |a - b|² / p. crossnobis: the mean over all pairs of different repeats r,
    s of (a_r - b_r)·(a_s - b_s) / p, whose expectation is the squared distance without noise, hence below 0
    now and then (Walther et al. 2016, equation 4).

    Parameters
    ----------
    patterns : array of shape (n_stimuli, p); for crossnobis (n_stimuli, n_repeats, p)
        For crossnobis whitened by `whiten`, which makes the distance that of Mahalanobis.
    distance : {"correlation", "euclidean", "crossnobis"}

    Returns
    -------
    ndarray of shape (n_stimuli (n_stimuli - 1) / 2,)
        Float64 up to 2,048 stimuli, float32 beyond.

    Raises
    ------
    InputError
        Patterns of other dimensions; one that is not finite or, for the correlation distance, constant; fewer
        than two repeats.
    """
    values = np.asarray(patterns)
    n = len(values) if values.ndim else 0
    layout = "(n_stimuli, n_repeats, p)" if distance == "crossnobis" else "(n_stimuli, p)"
    if values.ndim != (3 if distance == "crossnobis" else 2) or not values.size:
        raise InputError(f"patterns has shape {values.shape}, expected {layout}, none of them 0.")
    values = values.astype(np.float64 if n <= DOUBLE else np.float32, copy=True)
    bad = np.flatnonzero(~usable(values, distance))
    if len(bad):
        raise InputError(
            f"{len(bad)} of {n} patterns are not finite, or constant, first that of row {bad[0]}: they have "
            f"no "
            f"{distance} distance. Leave these stimuli out."
        )
    if distance == "correlation":
        values -= values.mean(1, keepdims=True)
        values /= np.sqrt((values**2).sum(1, keepdims=True))
        return _triangle(n, lambda cut: 1 - values[cut] @ values[cut.start :].T, values.dtype)
    values -= values.mean(0)  # distances stay, rounding falls
    values /= np.sqrt(values.shape[-1])
    if distance == "euclidean":
        size = (values**2).sum(1)
        return _triangle(
            n,
            lambda cut: np.maximum(
                size[cut, None] + size[cut.start :] - 2 * values[cut] @ values[cut.start :].T, 0
            ),
            values.dtype,
        )
    k = values.shape[1]
    if k < 2:
        raise InputError(
            f"crossnobis needs 2 repeats of each stimulus or more, found {k}. Use 'correlation'."
        )
    # sum over r != s: that over all pairs less that over r = s
    total, pairs = values.sum(1), k * (k - 1)
    size = ((total**2).sum(1) - (values**2).sum((1, 2))) / pairs

    def cross(cut: slice) -> Floats:
        product = total[cut] @ total[cut.start :].T
        for r in range(k):
            product -= values[cut, r] @ values[cut.start :, r].T
        return size[cut, None] + size[cut.start :] - 2 * product / pairs

    return _triangle(n, cross, values.dtype)


def _triangle(n: int, rows: Any, dtype: Any) -> Floats:
    """Gather the upper triangle from blocks of rows, of which `rows` gives the columns from its first on."""
    out = np.empty(n * (n - 1) // 2, dtype)
    at = 0
    for cut in blocks(n, max(1, BLOCK_BYTES // (8 * n))):
        for i, row in enumerate(rows(cut)):
            above = row[i + 1 :]
            out[at : at + len(above)] = above
            at += len(above)
    return out


def whiten(trials: ArrayLike) -> Floats:
    """Scale patterns by the noise between repeats: x Σ^(-1/2), Σ the covariance within stimuli.

    Σ is shrunk towards a multiple of the identity after Ledoit & Wolf (2004); of more than 2,000 neuroids its
    diagonal alone is taken, and neuroids whose repeats do not vary but for rounding are left out.

    Parameters
    ----------
    trials : array of shape (n_stimuli, n_repeats, p)

    Returns
    -------
    ndarray of shape (n_stimuli, n_repeats, at most p)
    """
    from sklearn.covariance import ledoit_wolf

    values = np.asarray(trials, np.float64)
    n, k, p = values.shape
    within = (values - values.mean(1, keepdims=True)).reshape(n * k, p)
    if p > WHOLE:
        noisy = varies(values, 1).any(0)
        spread = np.sqrt((within[:, noisy] ** 2).sum(0) / (n * (k - 1)))
        return np.asarray(values[:, :, noisy] / spread)
    covariance = ledoit_wolf(within, assume_centered=True)[0] * k / (k - 1)
    power, basis = np.linalg.eigh(covariance)
    if not power[0] > 0:
        raise InputError(
            f"The noise between repeats has no inverse: {p} neuroids, {n} stimuli, {k} repeats, least "
            f"variance "
            f"{power[0]:g}, expected above 0. Are repeats copies of one another? Use 'correlation'."
        )
    return np.asarray(values @ (basis / np.sqrt(power)) @ basis.T)


def prepare(triangle: ArrayLike, measure: Measure) -> Floats:
    """Make the vector of unit length whose product with another is the measure.

    spearman: mean ranks, centred. pearson: the distances, centred. cosine: as they are. whitened_cosine:
    the matrix centred by rows and columns, -HDH / 2, with its diagonal: the cosine of distances whitened by
    the covariance they have where all patterns are alike (Diedrichsen et al. 2021); of Euclidean distances it
    is also linear CKA as it was published first (Kornblith et al. 2019), which grows with the number of
    features over stimuli. cka: the matrix U-centred, which debiases it (Székely & Rizzo 2014; Murphy et al.
    2024). kendall: mean ranks; see `agreement`.

    Parameters
    ----------
    triangle : array of shape (n (n - 1) / 2,)
    measure : str

    Returns
    -------
    ndarray of shape (n (n - 1) / 2,), for whitened_cosine (n (n + 1) / 2,)
        NaN where all distances are equal, so that nothing can agree with them.
    """
    if measure not in get_args(Measure):
        raise invalid("measure", measure, get_args(Measure))
    d = np.asarray(triangle)
    if measure in ("spearman", "kendall"):
        out = _ranks(d) - d.dtype.type((len(d) + 1) / 2)
    elif measure == "cosine":
        out = d.copy()
    elif measure == "pearson":
        out = d - d.mean(dtype=np.float64).astype(d.dtype)
    else:
        out = _centre(d, unbiased=measure == "cka")
    size = float(np.sqrt(np.einsum("i,i->", out, out, dtype=np.float64)))
    flat = np.ptp(d) <= _rounding(d) if measure != "cosine" else not size > 0
    return np.full_like(out, np.nan) if flat else np.divide(out, size, out=out)


def _real(values: ArrayLike) -> Floats:
    found = np.asarray(values)
    return found if found.dtype == np.float32 else found.astype(np.float64)


def _rounding(d: Floats) -> float:
    """Return how far apart numbers of a matrix may lie that are equal but for rounding."""
    return float(ROUNDING * np.finfo(d.dtype).eps * np.abs(d).max())


def _ranks(d: Floats) -> Floats:
    """Rank from 1, equal ones by their mean: as SciPy, in half of the time and memory.

    The same distance comes out as numbers that differ by rounding. Neighbours within `ROUNDING` are equal,
    unless they go on in a chain farther than that: then it is a continuum, where the numbers stand as they
    are.
    """
    order = np.argsort(d)
    values = d[order]
    close = _rounding(values[[0, -1]])
    first = np.flatnonzero(np.concatenate([[True], np.diff(values) > close]))
    following = np.append(first[1:], len(d))
    new = values[1:] != values[:-1]
    tied = values[following - 1] - values[first] <= close
    new &= ~np.repeat(tied, following - first)[1:]
    new[first[1:] - 1] = True
    del values
    first = np.flatnonzero(np.concatenate([[True], new]))
    following = np.append(first[1:], len(d))
    out = np.empty_like(d)
    out[order] = np.repeat((first + following + 1) / 2, following - first)
    return out


def _centre(d: Floats, *, unbiased: bool) -> Floats:
    """Centre by rows and columns; unbiased: so that rows without their diagonal sum to 0."""
    n = n_stimuli(d)
    start = np.concatenate([[0], np.cumsum(np.arange(n - 1, 0, -1))])
    rows = np.zeros(n)
    for i in range(n - 1):
        part = d[start[i] : start[i + 1]]
        rows[i] += part.sum(dtype=np.float64)
        rows[i + 1 :] += part
    by, whole = (n - 2, (n - 1) * (n - 2)) if unbiased else (n, n * n)
    mean, level = rows / by, rows.sum() / whole
    out = np.empty(len(d) + (0 if unbiased else n), d.dtype)
    scale = 1.0 if unbiased else np.sqrt(2)  # a pair stands twice in the matrix, the diagonal once
    for i in range(n - 1):
        out[start[i] : start[i + 1]] = scale * (d[start[i] : start[i + 1]] - mean[i] - mean[i + 1 :] + level)
    if not unbiased:
        out[len(d) :] = level - 2 * mean
    return out


def n_stimuli(triangle: Floats) -> int:
    """Return the number of rows of the matrix."""
    return int((1 + np.sqrt(1 + 8 * len(triangle))) / 2)


def agreement(many: Floats, one: Floats, measure: Measure) -> NDArray[np.float64]:
    """Compare matrices with one.

    Parameters
    ----------
    many : array of shape (k, N)
    one : array of shape (N,)
        All by `prepare`.
    measure : str
        kendall: tau a, (concordant - discordant) / all pairs of pairs of stimuli, which ties do not raise
        (Nili et al. 2014).

    Returns
    -------
    ndarray of shape (k,)
        NaN where one side is.
    """
    if measure == "kendall":
        return np.array([_tau_a(v, one) for v in many])
    out = np.zeros(len(many))
    for cut in blocks(len(one), 2**18):  # sums of single precision stay short
        out += many[:, cut] @ one[cut]
    return out


def _tau_a(a: Floats, b: Floats) -> float:
    from scipy.stats import kendalltau

    if np.isnan(a[0]) or np.isnan(b[0]):
        return float("nan")
    pairs = len(a) * (len(a) - 1) / 2
    ties = [
        (count * (count - 1) / 2).sum() for count in (np.unique(v, return_counts=True)[1] for v in (a, b))
    ]
    # tau b = (concordant - discordant) / sqrt((pairs - ties of a) (pairs - ties of b))
    return float(kendalltau(a, b).statistic * np.sqrt((1 - ties[0] / pairs) * (1 - ties[1] / pairs)))


def compare(a: ArrayLike, b: ArrayLike, measure: Measure = "spearman") -> float:
    """Compare two dissimilarity matrices.

    Parameters
    ----------
    a, b : arrays of shape (n, n) or (n (n - 1) / 2,)
        NaN, and what is not the size of a triangle, is refused; so are tables that name their stimuli in
        another order.
    measure : {"spearman", "kendall", "pearson", "cosine", "whitened_cosine", "cka"}

    Raises
    ------
    InputError
        Of other sizes, of fewer than four stimuli, or with a value that is not a number.
    """
    same_order(b, np.array(row_names(a), str), "b")
    first, second = triangle(a), triangle(b)
    if len(first) != len(second):
        raise InputError(
            f"The matrices are of {n_stimuli(first)} and {n_stimuli(second)} stimuli, expected the same. "
            f"Select "
            "the stimuli both have."
        )
    limit(n_stimuli(first), measure)
    return float(agreement(prepare(first, measure)[None], prepare(second, measure), measure)[0])


def triangle(matrix: ArrayLike) -> Floats:
    """Return the upper triangle of a square matrix; one that is given stays as it is, and so does float32.

    Raises
    ------
    InputError
        It is neither, not symmetric, its diagonal is not 0, or it holds values that are not finite.
    """
    values = _real(matrix)
    if values.ndim == 2:
        if values.shape[0] != values.shape[1] or not np.allclose(values, values.T, equal_nan=True):
            raise InputError(
                f"A dissimilarity matrix has the shape {values.shape} or is not symmetric. Expected (n, n) "
                f"with "
                "d(i, j) = d(j, i)."
            )
        apart = np.nan_to_num(np.diagonal(values))
        if len(values) and np.abs(apart).max() > 1e-6 * np.nanmax(np.abs(values)):
            raise InputError(
                f"The diagonal of a matrix holds {apart[np.abs(apart).argmax()]:g}, expected 0, no distance. "
                "Are these similarities? Take 1 - r."
            )
        values = values[np.triu_indices(len(values), 1)]
    n = n_stimuli(values)
    if values.ndim != 1 or n * (n - 1) // 2 != len(values):
        raise InputError(f"{values.shape} values are no triangle of a matrix, expected n (n - 1) / 2.")
    if not np.isfinite(values).all():
        raise InputError(
            f"{(~np.isfinite(values)).sum()} of {len(values)} dissimilarities are not finite numbers. Leave "
            f"out "
            "the stimuli they belong to."
        )
    return values


def limit(n: int, measure: Measure) -> None:
    """Refuse too few stimuli, and too many for Kendall's tau a."""
    if n < FEWEST:
        raise InputError(f"{n} stimuli are too few to compare matrices of, expected {FEWEST} or more.")
    if measure == "kendall" and n > KENDALL:
        raise InputError(
            f"Kendall's tau a of {n} stimuli compares {n * (n - 1) // 2} pairs with one another, expected "
            f"at most "
            f"{KENDALL} stimuli. Use 'spearman'."
        )


def over_subjects(triangles: ArrayLike, measure: Measure) -> tuple[float, float]:
    """Give the noise ceiling over subjects (Nili et al. 2014).

    Parameters
    ----------
    triangles : array of shape (n_subjects, n (n - 1) / 2)
    measure : str

    Returns
    -------
    lower : float
        Mean agreement of a subject with the mean of the others, NaN of one subject.
    upper : float
        Mean agreement of a subject with the mean of all, itself among them: no matrix does much better.
    """
    own = np.array([prepare(t, measure) for t in np.asarray(triangles)])
    if len(own) < 2:
        return float("nan"), float("nan")
    if measure in ("spearman", "kendall"):
        # sums of ranks are exact, ties stay ties
        ranks = np.array([_ranks(_real(t)).astype(float) for t in np.asarray(triangles)])
        mean, others = prepare(ranks.sum(0), measure), (ranks.sum(0) - r for r in ranks)
        pooled = (prepare(r, measure) for r in others)
    else:
        mean, pooled = _unit(own.sum(0)), (_unit(own.sum(0) - v) for v in own)
    lower = [agreement(v[None], p, measure)[0] for v, p in zip(own, pooled, strict=True)]
    return float(np.mean(lower)), float(np.mean(agreement(own, mean, measure)))


def _unit(v: Floats) -> Floats:
    return np.asarray(v / np.sqrt(np.einsum("i,i->", v, v, dtype=np.float64)))
