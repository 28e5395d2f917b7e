"""Noise ceilings: how well a perfect model could predict responses that carry noise.

Ceilings are shares of variance (0 to 1). The ceiling of a Pearson r between a prediction and the
measured response is their square root.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


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
        Standard deviation of the signal over that of the noise; the noise variance is the mean
        over stimuli of the variance over repeats, the signal variance what remains of the total
        of the repeated stimuli, not below 0. NaN where no stimulus is repeated.
    """
    values = np.asarray(response, np.float64)
    ids, inverse = np.unique(np.asarray(stimulus), return_inverse=True)
    present = np.isfinite(values)
    count, total, squares = (np.zeros((len(ids), values.shape[1])) for _ in range(3))
    values = np.where(present, values, 0)
    for out, add in ((count, present), (total, values), (squares, values**2)):
        np.add.at(out, inverse, add)
    repeated = count > 1
    with np.errstate(invalid="ignore", divide="ignore"):
        within = np.where(repeated, squares - total**2 / count, 0).sum(0)
        noise = within / np.where(repeated, count - 1, 0).sum(0)
        n = np.where(repeated, count, 0).sum(0)
        mean = np.where(repeated, total, 0).sum(0) / n
        # expectation of this sum: (n - 1) times the total variance, near enough
        variance = (np.where(repeated, squares, 0).sum(0) - n * mean**2) / (n - 1)
        ratio = np.sqrt(np.maximum(variance - noise, 0) / noise)
    return np.asarray(np.where(repeated.any(0) & (noise > 0), ratio, np.nan))


def noise_ceiling(ncsnr: ArrayLike, n_repeats: ArrayLike) -> NDArray[np.float64]:
    """Share of the variance of averaged responses that is signal.

    Parameters
    ----------
    ncsnr : array of shape (n_neuroids,)
    n_repeats : int or array of shape (n_stimuli,)
        Repeats behind each averaged response. Mixed numbers enter as the mean of 1/k
        (the Algonauts 2023 preparation).

    Returns
    -------
    ndarray of shape (n_neuroids,)
        ncsnr² / (ncsnr² + mean(1/k)), between 0 and 1; NaN stays NaN.
    """
    power = np.asarray(ncsnr, np.float64) ** 2
    return np.asarray(power / (power + np.mean(1 / np.asarray(n_repeats, np.float64))))


def spearman_brown(r: ArrayLike, factor: float) -> NDArray[np.float64]:
    """Reliability of `factor` times as many repeats as those behind `r`."""
    r = np.asarray(r, np.float64)
    return np.asarray(factor * r / (1 + (factor - 1) * r))


def split_half(
    trials: ArrayLike, *, n_splits: int = 50, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Reliability of the mean over repeats, from random halves.

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
        Mean correlation between halves.
    full : ndarray of shape (n_neuroids,)
        Corrected from the size of a half to all repeats by Spearman-Brown (an odd repeat is left
        out of the halves, so the factor is above 2): the ceiling of the explained variance.
    """
    from neuroenc.evaluation.scores import pearson_r

    values = np.asarray(trials, np.float64)
    rng = np.random.default_rng(seed)
    present = np.asarray(np.isfinite(values).any(2))
    rows = np.flatnonzero(present.sum(1) > 1)
    values, present = values[rows], present[rows]
    count = present.sum(1, keepdims=True)
    halves = np.zeros(values.shape[2])
    for _ in range(n_splits):
        rank = np.where(present, rng.random(present.shape), 2).argsort(1).argsort(1)
        first = (rank < count // 2)[..., None]
        second = ((rank >= count // 2) & (rank < 2 * (count // 2)))[..., None]
        means = [np.nanmean(np.where(side, values, np.nan), axis=1) for side in (first, second)]
        halves += pearson_r(*means)
    half = halves / n_splits
    return half, spearman_brown(half, count.mean() / (count // 2).mean())


def explainable_variance(trials: ArrayLike) -> NDArray[np.float64]:
    """Bias-corrected share of the variance of the mean response that is signal.

    Signal power after Sahani & Linden (2003), equation 1, over the power of the mean.

    Parameters
    ----------
    trials : array of shape (n_stimuli, n_repeats, n_neuroids)
        NaN marks a missing repeat; stimuli seen once are left out.

    Returns
    -------
    ndarray of shape (n_neuroids,)
        Unbiased, hence below 0 now and then where there is no signal.
    """
    values = np.asarray(trials, np.float64)
    count = np.isfinite(values).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        rows = count > 1
        filled = np.where(np.isfinite(values), values, 0)
        mean = np.where(rows, filled.sum(1) / count, np.nan)
        deviation = np.where(np.isfinite(values), values - mean[:, None], 0)
        noise = np.where(rows, (deviation**2).sum(1) / (count - 1) / count, np.nan)
        power = np.nanvar(mean, axis=0, ddof=1)
        return np.asarray(1 - np.nanmean(noise, axis=0) / power)


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
    values = np.asarray(response, np.float64)
    ids, inverse, count = np.unique(np.asarray(stimulus), return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable")
    start = np.repeat(np.cumsum(count) - count, count)
    trials = np.full((len(ids), count.max(), values.shape[1]), np.nan)
    trials[inverse[order], np.arange(len(order)) - start] = values[order]
    return ids, trials


def ceiling(response: ArrayLike, stimulus: ArrayLike, method: str, ncsnr: ArrayLike) -> NDArray[np.float64]:
    """Share of explainable variance of the mean response to each stimulus.

    Parameters
    ----------
    response : array of shape (n_presentations, n_neuroids)
        Test presentations.
    stimulus : array of shape (n_presentations,)
    method : {"ncsnr", "split_half", "explainable_variance"}
        "ncsnr" takes the dataset's own map where it has one, else the repeats given.
    ncsnr : array of shape (n_neuroids,)
        NaN where unknown.

    Returns
    -------
    ndarray of shape (n_neuroids,)
        NaN where nothing is repeated and no map is given.
    """
    ncsnr = np.asarray(ncsnr, np.float64)
    count = np.unique(np.asarray(stimulus), return_counts=True)[1]
    if method == "ncsnr":
        known = ncsnr if np.isfinite(ncsnr).any() else estimate_ncsnr(response, stimulus)
        return noise_ceiling(known, count)
    if count.max() < 2:
        return np.full(np.asarray(response).shape[1], np.nan)
    trials = stack_trials(response, stimulus)[1]
    return split_half(trials)[1] if method == "split_half" else explainable_variance(trials)
