"""Patterns over neuroids, stimulus by stimulus: two against two, and the correlation of each.

2V2 (Mitchell et al. 2008, Science 320, 1191) asks of two stimuli whether their measured patterns are more
like the predictions of their own than like those exchanged. Oota et al. (2022, arXiv 2204.08261) score
vision-language encoders of BOLD5000 and Pereira's concepts so, and by the Pearson correlation of each
stimulus' pattern, which is not that of a neuroid over stimuli.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroenc.blocks import blocks
from neuroenc.errors import InputError, invalid
from neuroenc.evaluation.permutation import exchange, p_value, widening
from neuroenc.evaluation.scores import paired
from neuroenc.evaluation.statistics import resample

Floats = NDArray[np.floating]
Measure = Literal["cosine", "pearson"]
METRICS = ("two_versus_two", "picture_r")
FEWEST = 3  # neuroids, whose pattern has a correlation worth the name
NULL_PAIRS = 10  # drawn of each stimulus for the null of 2V2, which is 8 % wider than that of all pairs
NULL_STIMULI = 2048  # drawn for the null, so that all similarities are held
EQUAL = 1e-6  # sums of cosines, and means of r, that differ by less are equal: in single precision they are
ROWS = 256  # of similarities that stay in the processor's cache


class Estimate(NamedTuple):
    """A score over stimuli."""

    value: float
    low: float
    high: float
    """Ends of the bootstrap interval"""
    null: float
    """Mean where stimuli are exchanged"""
    p: float


def unit_rows(values: ArrayLike, measure: Measure) -> Floats:
    """Scale patterns so that their products are cosines, or correlations.

    Parameters
    ----------
    values : array of shape (n_stimuli, n_neuroids)
        float32 stays so.
    measure : {"cosine", "pearson"}

    Returns
    -------
    array of shape (n_stimuli, n_neuroids)
        A pattern that is flat is 0, like nothing.
    """
    if measure not in get_args(Measure):
        raise invalid("measure", measure, get_args(Measure))
    rows = np.asarray(values)
    rows = rows if rows.dtype in (np.float32, np.float64) else rows.astype(float)
    if measure == "pearson":
        rows = rows - rows.mean(1, keepdims=True, dtype=float).astype(rows.dtype)
    size = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    return np.asarray(rows / np.where(size > 0, size, 1))


def _patterns(y: ArrayLike, prediction: ArrayLike) -> tuple[Floats, Floats]:
    """Return measured and predicted patterns, (n_stimuli, n_neuroids) each."""
    y, prediction = paired(y, prediction)
    if y.ndim != 2:
        raise InputError(f"y has shape {y.shape}, expected (n_stimuli, n_neuroids).")
    return y, prediction


def two_versus_two(y: ArrayLike, prediction: ArrayLike, measure: Measure = "cosine") -> float:
    """Share of pairs of stimuli that are told apart: S_ii + S_jj > S_ij + S_ji; of equal sums half.

    S is the similarity of the measured pattern i with the predicted j, made and compared in blocks of rows.
    Chance is .5.

    Parameters
    ----------
    y, prediction : arrays of shape (n_stimuli, n_neuroids)
        In units in which neuroids may be added up, e.g. standardised by the training responses.
    measure : {"cosine", "pearson"}

    Returns
    -------
    float
        NaN of fewer than two stimuli.

    Raises
    ------
    InputError
        Arrays of other shapes; another measure; values that are not finite, whose stimuli lose all pairs.
    """
    y, prediction = _patterns(y, prediction)
    lost = ~(np.isfinite(y) & np.isfinite(prediction))
    if lost.any():
        raise InputError(
            f"{lost.any(1).sum()} of {len(lost)} stimuli lack values of {lost.any(0).sum()} of "
            f"{lost.shape[1]} neuroids (NaN or infinite), first stimulus {lost.any(1).argmax()}. Leave "
            "out the neuroids, or the stimuli."
        )
    a, b = unit_rows(y, measure), unit_rows(prediction, measure)
    total = sum(float(won.sum(dtype=float)) for _, won in _wins(a, b))
    n_pairs = len(a) * (len(a) - 1) / 2
    return total / n_pairs if n_pairs else float("nan")


def picture_r(y: ArrayLike, prediction: ArrayLike) -> NDArray[np.float64]:
    """Correlate each measured pattern with its prediction, over neuroids.

    Parameters
    ----------
    y, prediction : arrays of shape (n_stimuli, n_neuroids)

    Returns
    -------
    ndarray of shape (n_stimuli,)
        0 where a pattern is flat, NaN where a value is not finite.

    Raises
    ------
    InputError
        Arrays of other shapes.
    """
    y, prediction = _patterns(y, prediction)
    a, b = unit_rows(y, "pearson"), unit_rows(prediction, "pearson")
    return np.einsum("ij,ij->i", a, b, dtype=np.float64)


def _wins(a: Floats, b: Floats) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Compare stimuli with those behind them, some rows at a time.

    Yields
    ------
    rows : slice
    won : array of shape (n_rows, n_stimuli - rows.start)
        1 where row i beats stimulus j > i, 0.5 of equal sums, 0 elsewhere.
    """
    own = np.einsum("ij,ij->i", a, b)
    left, right = np.concatenate([a, b], 1), np.concatenate([b, a], 1)
    for rows in blocks(len(a), ROWS):
        crossed = left[rows] @ right[rows.start :].T
        crossed -= own[rows, None]
        crossed -= own[rows.start :]
        won = (crossed < -EQUAL).astype(np.float32)
        won += crossed <= EQUAL
        won /= 2
        n = len(won)
        won[:, :n] = np.triu(won[:, :n], 1)
        yield rows, won


def score_patterns(
    y: ArrayLike, prediction: ArrayLike, stimulus: ArrayLike, fold: ArrayLike, *,
    stretch: ArrayLike | None = None, film: ArrayLike | None = None, group: ArrayLike | None = None,
    n_stimuli: int | None = None, n_bootstraps: int = 1000, n_permutations: int = 1000, level: float = 0.95,
    seed: int = 0,
) -> dict[str, Estimate]:  # fmt: skip
    """Score patterns of each fold by each of `METRICS`; a score is the mean over folds.

    Intervals resample what those of `bootstrap_r` do. Under the null measured patterns are exchanged within
    folds, as in `permutation_p`, and the distance of a score from the mean of the null is divided by
    `widening`. The null of 2V2 takes `NULL_PAIRS` pairs of each stimulus, which widens it a little.

    Parameters
    ----------
    y, prediction : arrays of shape (n_rows, n_neuroids)
        Standardised by the training responses; neuroids that are not finite in all rows of a fold do not
        count there.
    stimulus, fold : arrays of shape (n_rows,)
    stretch, film, group : arrays of shape (n_rows,), optional
        As `bootstrap_r` and `permutation_p` take them.
    n_stimuli : int, optional
        As in `permutation_p`.
    n_bootstraps, n_permutations, seed : int
    level : float

    Returns
    -------
    dict of metric to Estimate
        NaN where a fold has fewer than two stimuli or three neuroids.
    """
    y, prediction, stimulus, fold = (np.asarray(v) for v in (y, prediction, stimulus, fold))
    rows = [np.flatnonzero(fold == f) for f in np.unique(fold)]
    drawn = resample(stimulus, fold, stretch=stretch, n_stimuli=n_stimuli, n=n_bootstraps, seed=seed)
    rng = np.random.default_rng(seed)
    values, nulls, patterns = [], [], {}
    for at in rows:
        known = np.isfinite(y[at]).all(0) & np.isfinite(prediction[at]).all(0)
        if known.sum() < FEWEST or len(at) < 2:
            return dict.fromkeys(METRICS, Estimate(*[float("nan")] * 5))
        a, b = y[np.ix_(at, known)], prediction[np.ix_(at, known)]
        patterns[int(at[0])] = a, b
        values.append(scored(a, b))
        film_, group_ = (None if v is None else np.asarray(v)[at] for v in (film, group))
        nulls.append(_exchanged(a, b, film_, group_, n_permutations, rng))
    found, null = np.mean(values, axis=0), np.mean(nulls, axis=0)
    sample = drawn.of(np.array(values), lambda at, weight: resampled(*patterns[int(at[0])], weight.T).T)
    low, high = np.full((2, len(METRICS)), np.nan)
    if np.isfinite(sample).any():
        low, high = np.nanquantile(sample, [(1 - level) / 2, (1 + level) / 2], axis=0).clip(-1, 1)
    middle = null.mean(1)
    narrowed = middle + (found - middle) / widening(stimulus, rows, n_stimuli)
    p = p_value(narrowed, null.T, equal=EQUAL)
    return {
        metric: Estimate(*map(float, (found[i], low[i], high[i], middle[i], p[i])))
        for i, metric in enumerate(METRICS)
    }


def scored(a: Floats, b: Floats) -> NDArray[np.float64]:
    """Score patterns of one fold by each of `METRICS`, (n_metrics,)."""
    return np.array([two_versus_two(a, b), picture_r(a, b).mean()])


def resampled(a: Floats, b: Floats, weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Score under weights of the stimuli, (n_stimuli, n_samples): (n_metrics, n_samples).

    A pair weighs as much as the product of its two; a stimulus drawn twice is no pair with itself.
    """
    w = weight.astype(np.float32)
    total, of_pairs = w.sum(0, dtype=float), (w**2).sum(0, dtype=float)
    n_pairs = (total**2 - of_pairs) / 2
    out = np.zeros((len(METRICS), w.shape[1]))
    for rows, won in _wins(unit_rows(a, "cosine"), unit_rows(b, "cosine")):
        out[0] += np.einsum("ib,ib->b", w[rows], won @ w[rows.start :], dtype=float)
    out[1] = picture_r(a, b) @ w
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(out / np.stack([n_pairs, total]))


def _exchanged(
    a: Floats,
    b: Floats,
    film: NDArray[np.str_] | None,
    group: NDArray[np.str_] | None,
    n: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Score with measured patterns exchanged, (n_metrics, n)."""
    kept = np.arange(len(a))
    if len(a) > NULL_STIMULI:
        kept = np.sort(rng.choice(len(a), NULL_STIMULI, replace=False))
    m, alike = len(kept), [None if v is None else v[kept] for v in (film, group)]
    i = np.repeat(np.arange(m), NULL_PAIRS)
    j = (i + rng.integers(1, m, len(i))) % m
    cosine, r = ((unit_rows(a[kept], k) @ unit_rows(b[kept], k).T).ravel() for k in ("cosine", "pearson"))
    out = np.empty((len(METRICS), n))
    for number in range(n):
        start = exchange(rng, np.arange(m), *alike) * m
        own = cosine.take(start + np.arange(m))
        crossed = cosine.take(start.take(i) + j) + cosine.take(start.take(j) + i)
        crossed -= own.take(i) + own.take(j)
        out[0, number] = ((crossed < -EQUAL).mean() + (crossed <= EQUAL).mean()) / 2
        out[1, number] = r.take(start + np.arange(m)).mean()
    return out
