"""Noise ceilings: how well a perfect model could predict responses that carry noise.

Ceilings are shares of variance (0 to 1), of the responses that are scored: the means over the repeats that
each stimulus has, those seen once among them. The ceiling of a Pearson r between a prediction and the
measured response is their square root: both refer to the squared r of the noiseless response with that mean.
Noise is taken as even over stimuli.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroenc.blocks import columns
from neuroenc.errors import InputError, invalid
from neuroenc.real import sum_groups, unmasked, varies

Floats = NDArray[np.float64]
METHODS = ("ncsnr", "split_half", "explainable_variance", "given")
POLE = 1e-9  # a denominator of Spearman and Brown that is not above this is 0 but for rounding


def estimate_ncsnr(response: ArrayLike, stimulus: ArrayLike) -> NDArray[np.float64]:
    """Estimate the noise-ceiling signal-to-noise ratio from repeats (Allen et al. 2022, Methods).

    Parameters
    ----------
    response : array of shape (n_presentations, n_neuroids)
        z-scored within session. NaN marks a missing value.
    stimulus : array of shape (n_presentations,)
        What was shown; stimuli shown once do not count towards the noise.

    Returns
    -------
    ndarray of shape (n_neuroids,)
        Standard deviation of the signal over that of the noise. The noise variance is that within stimuli,
        the signal variance that of the means less the noise they keep, both without bias (analysis of
        variance, method of moments); not below 0. NaN where no stimulus is repeated, infinite without noise.
    """
    count, mean, noise = _moments(response, stimulus)
    with np.errstate(invalid="ignore", divide="ignore"):
        signal = _variance(mean) - noise * _mean_inverse(count)
        return np.asarray(np.sqrt(np.maximum(signal, 0) / noise))


def same_rows(response: Any, **rows: ArrayLike) -> None:
    """Refuse responses that are not (n_presentations, n_neuroids), or what is said of other rows.

    Parameters
    ----------
    response : array
        Also one that is read from a file.
    **rows : arrays of shape (n_presentations,)
        What is said of each row, by the name it goes by in errors.

    Raises
    ------
    InputError
        Naming what has another shape.
    """
    if len(response.shape) != 2:
        raise InputError(
            f"response has shape {tuple(response.shape)}, expected (n_presentations, n_neuroids). Put "
            "time bins beside one another: response.reshape(len(response), -1)."
        )
    for name, values in rows.items():
        if np.shape(values) != tuple(response.shape[:1]):
            raise InputError(
                f"{name} has shape {np.shape(values)}, expected {tuple(response.shape[:1])}: one for each "
                "row of response."
            )


def _each(values: ArrayLike, name: str, n: int, low: float, high: float) -> Floats:
    """Return one number a neuroid, within limits or NaN."""
    found = np.asarray(values, np.float64)
    odd = found[(found < low) | (found > high)]
    if found.shape != (n,) or odd.size:
        what = f"holds {odd[0]:g}" if odd.size else f"has shape {found.shape}"
        limits = f"{low:g} or above" if np.isinf(high) else f"a share, at most {high:g},"
        raise InputError(f"{name} {what}, expected {limits} for each of {n} neuroids, NaN where unknown.")
    return found


def _moments(response: ArrayLike, stimulus: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Repeats and mean of each stimulus, (n_stimuli, n_neuroids), and the variance within stimuli."""
    values = unmasked(response).astype(np.float64)
    same_rows(values, stimulus=stimulus)
    inverse = np.unique(np.asarray(stimulus), return_inverse=True)[1]
    present = np.isfinite(values)
    values = np.where(present, values, 0)
    count, total = sum_groups(present, inverse), sum_groups(values, inverse)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
        within = sum_groups(np.where(present, values - mean[inverse], 0) ** 2, inverse)
        return count, mean, within.sum(0) / np.maximum(count - 1, 0).sum(0)


def _variance(mean: Floats) -> Floats:
    """Variance over the stimuli that each neuroid has; NaN of fewer than two."""
    here = np.isfinite(mean)
    with np.errstate(invalid="ignore", divide="ignore"):
        centre = np.where(here, mean, 0).sum(0) / here.sum(0)
        return np.asarray((np.where(here, mean - centre, 0) ** 2).sum(0) / (here.sum(0) - 1))


def _mean_inverse(count: Floats) -> Floats:
    """Mean of 1/k over the stimuli that each neuroid has."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(count > 0, 1 / count, 0).sum(0) / (count > 0).sum(0))


def noise_ceiling(ncsnr: ArrayLike, n_repeats: ArrayLike) -> NDArray[np.float64]:
    """Share of the variance of averaged responses that is signal.

    Parameters
    ----------
    ncsnr : array of shape (n_neuroids,)
    n_repeats : int, or array of shape (n_stimuli,) or (n_stimuli, n_neuroids)
        Repeats behind each averaged response; 0: no response. Mixed numbers enter as the mean of 1/k
        (the Algonauts 2023 preparation).

    Returns
    -------
    ndarray of shape (n_neuroids,)
        ncsnr² / (ncsnr² + mean(1/k)), between 0 and 1; NaN stays NaN.
    """
    power = np.asarray(ncsnr, np.float64) ** 2
    noise = _mean_inverse(np.atleast_1d(np.asarray(n_repeats, np.float64)))
    with np.errstate(divide="ignore"):
        return np.asarray(1 / (1 + noise / power))


def spearman_brown(r: ArrayLike, factor: ArrayLike) -> NDArray[np.float64]:
    """Reliability of `factor` times as many repeats as those behind `r`.

    factor r / (1 + (factor - 1) r). NaN where the denominator is not above `POLE`: no shares of signal and
    noise give such an r below 0, and beyond the pole the formula turns it into a reliability above 1.
    """
    r, factor = np.asarray(r, np.float64), np.asarray(factor, np.float64)
    variance = 1 + (factor - 1) * r
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(variance > POLE, factor * r / variance, np.nan))


def _stacked(trials: ArrayLike) -> Floats:
    """Return trials as (n_stimuli, n_repeats, n_neuroids)."""
    values = unmasked(trials).astype(np.float64)
    if values.ndim != 3:
        raise InputError(
            f"trials has shape {values.shape}, expected (n_stimuli, n_repeats, n_neuroids). `stack_trials` "
            "makes them of presentations."
        )
    return values


def split_half(
    trials: ArrayLike, *, n_splits: int = 50, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Reliability of the mean over repeats, from random halves (Spearman 1910, Brown 1910).

    Parameters
    ----------
    trials : array of shape (n_stimuli, n_repeats, n_neuroids)
        NaN marks a missing repeat.
    n_splits : int
        Random halvings to average over; each stimulus is halved by its own permutation.
    seed : int

    Returns
    -------
    half : ndarray of shape (n_neuroids,)
        Mean correlation between halves, over stimuli with a repeat in both.
    full : ndarray of shape (n_neuroids,)
        The ceiling of the explained variance of all stimuli, those seen once among them: corrected by
        Spearman-Brown from the size of the halves to the number of repeats. The noise of a mean goes with
        1/k, so the factor is the mean of 1/k of the halves over that of the stimuli.
    """
    from neuroenc.evaluation.scores import pearson_r

    values = _stacked(trials)
    rng = np.random.default_rng(seed)
    noise = _mean_inverse(np.isfinite(values).sum(1).astype(np.float64))
    shown: NDArray[np.bool_] = np.any(np.isfinite(values), axis=2)
    rows = np.flatnonzero(shown.sum(1) > 1)
    values, shown = values[rows], shown[rows]
    known = np.isfinite(values)
    values = np.where(known, values, 0)
    count = shown.sum(1, keepdims=True)
    halves, of_half = np.zeros((2, values.shape[2]))
    for _ in range(n_splits):
        rank = np.where(shown, rng.random(shown.shape), 2).argsort(1).argsort(1)
        sides = rank < count // 2, (rank >= count // 2) & (rank < 2 * (count // 2))
        number = [np.einsum("sr,srv->sv", side, known, dtype=np.float64) for side in sides]
        both = (number[0] > 0) & (number[1] > 0)
        means = []
        for side, n in zip(sides, number, strict=True):
            total = np.einsum("sr,srv->sv", side, values)
            means.append(total / np.maximum(n, 1))
            of_half += _mean_inverse(np.where(both, n, 0)) / 2
        halves += pearson_r(means[0], means[1], both)
    half = halves / n_splits
    with np.errstate(invalid="ignore", divide="ignore"):
        return half, spearman_brown(half, of_half / n_splits / noise)


def explainable_variance(trials: ArrayLike) -> NDArray[np.float64]:
    """Bias-corrected share of the variance of the mean response that is signal.

    Signal power after Sahani & Linden (2003), equation 1, over the power of the mean.

    Parameters
    ----------
    trials : array of shape (n_stimuli, n_repeats, n_neuroids)
        NaN marks a missing repeat. Noise is measured where there are repeats; the power is that of the means
        of all stimuli, those seen once among them.

    Returns
    -------
    ndarray of shape (n_neuroids,)
        Unbiased, hence below 0 now and then where there is no signal.
    """
    values = _stacked(trials)
    n, k, v = values.shape
    count, mean, noise = _moments(values.reshape(n * k, v), np.repeat(np.arange(n), k))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(1 - noise * _mean_inverse(count) / _variance(mean))


def stack_trials(response: ArrayLike, stimulus: ArrayLike) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
    """Arrange presentations by stimulus and repeat.

    Parameters
    ----------
    response : array of shape (n_presentations, n_neuroids)
    stimulus : array of shape (n_presentations,)

    Returns
    -------
    ids : ndarray of shape (n_stimuli,)
    trials : ndarray of shape (n_stimuli, max_repeats, n_neuroids)
        NaN where a stimulus has fewer repeats.
    """
    values = unmasked(response).astype(np.float64)
    same_rows(values, stimulus=stimulus)
    ids, inverse, count = np.unique(np.asarray(stimulus), return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable")
    start = np.repeat(np.cumsum(count) - count, count)
    trials = np.full((len(ids), count.max(), values.shape[1]), np.nan)
    trials[inverse[order], np.arange(len(order)) - start] = values[order]
    return ids, trials


def ceiling(
    response: Any, stimulus: ArrayLike, method: str, ncsnr: ArrayLike, given: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Share of explainable variance of the mean response to each stimulus.

    Parameters
    ----------
    response : array of shape (n_presentations, n_neuroids)
        Test presentations; also one that is read from a file. NaN marks a missing value.
    stimulus : array of shape (n_presentations,)
    method : {"ncsnr", "split_half", "explainable_variance", "given"}
        "ncsnr" takes the dataset's own map where it has one, else the repeats given.
    ncsnr : array of shape (n_neuroids,)
        NaN where unknown.
    given : array of shape (n_neuroids,), optional
        Ceiling of a single row of responses, c; where k rows are averaged by Spearman-Brown, with the mean
        of 1/k.

    Returns
    -------
    ndarray of shape (n_neuroids,)
        NaN where nothing is repeated and no map is given, of what does not vary, and where a reliability is
        too far below 0 (`spearman_brown`).

    Raises
    ------
    InputError
        Another method; arrays of other shapes; an ncsnr below 0, or a given ceiling that is no share.
    """
    if method not in METHODS:
        raise invalid("method", method, METHODS)
    if isinstance(response, (list, tuple)) or hasattr(response, "iloc"):
        response = np.asarray(response)
    same_rows(response, stimulus=stimulus)
    n = response.shape[1]
    ncsnr = _each(ncsnr, "ncsnr", n, 0, np.inf)
    given = np.full(n, np.nan) if given is None else _each(given, "given", n, -np.inf, 1)
    mapped = np.isfinite(ncsnr).any()
    parts = [
        _ceiling(
            unmasked(response[:, cut]),
            np.asarray(stimulus),
            method,
            ncsnr[cut] if mapped else None,
            given[cut],
        )
        for cut in columns(*response.shape)
    ]
    return np.concatenate([np.zeros(0), *parts])


def _ceiling(
    response: NDArray[Any], stimulus: NDArray[Any], method: str, ncsnr: Floats | None, given: Floats
) -> Floats:
    """Give the ceiling of a block of neuroids."""
    inverse, count = np.unique(stimulus, return_inverse=True, return_counts=True)[1:]
    repeats = sum_groups(np.isfinite(response), inverse)
    if method == "given":
        return spearman_brown(given, 1 / _mean_inverse(repeats))
    if method == "ncsnr" and ncsnr is not None:
        return noise_ceiling(ncsnr, repeats)
    if count.max() < 2:
        return np.full(response.shape[1], np.nan)
    if method == "ncsnr":
        found = noise_ceiling(estimate_ncsnr(response, stimulus), repeats)
    else:
        trials = stack_trials(response, stimulus)[1]
        found = split_half(trials)[1] if method == "split_half" else explainable_variance(trials)
    return np.where(varies(response), found, np.nan)
