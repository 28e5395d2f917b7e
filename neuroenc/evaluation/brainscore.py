"""Brain-Score's statistic of neural benchmarks, beside ours.

As brain-score/vision computes it (commit c642dbe: `metrics/regression_correlation`,
`metrics/internal_consistency`, `metric_helpers/transformations`, `benchmark_helpers/neural_common`): a
regression is fitted to 90 % of the stimuli, ten times; r of each neuroid on the other 10 %; the median over
neuroids, the mean over splits. The ceiling is the reliability of the responses, by the same two steps.
docs/conventions.md says how that differs from our own score.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from neuroenc.blocks import columns
from neuroenc.errors import InputError
from neuroenc.evaluation.ceilings import same_rows, spearman_brown
from neuroenc.evaluation.scores import pearson_r
from neuroenc.real import sum_groups

Floats = NDArray[np.float64]
N_SPLITS, TEST_FRACTION, RANDOM_STATE = 10, 0.1, 1
PARTS = ("score", "r", "ceiling", "error", "squared")


def reliability(
    response: Any, stimulus: ArrayLike, repetition: ArrayLike, *, n_splits: int = N_SPLITS
) -> Floats:
    """Reliability of the responses between halves of the repetitions, by Spearman and Brown.

    2 r / (1 + r), where r correlates the means of each stimulus over two halves. A half is a set of
    repetition numbers, the same for all stimuli, drawn as scikit-learn's `ShuffleSplit` with the seed 1.

    Parameters
    ----------
    response : array of shape (n_presentations, n_neuroids)
        Also one that is read from a file. NaN marks a missing value.
    stimulus, repetition : arrays of shape (n_presentations,)
    n_splits : int

    Returns
    -------
    ndarray of shape (n_splits, n_neuroids)
        Over the stimuli with a value in both halves; NaN where nothing is repeated.
    """
    same_rows(response, stimulus=stimulus, repetition=repetition)
    numbers, at = np.unique(np.asarray(repetition), return_inverse=True)
    found = np.full((n_splits, response.shape[1]), np.nan)
    if len(numbers) < 2:
        return found
    inverse = np.unique(np.asarray(stimulus), return_inverse=True)[1]
    rng = np.random.RandomState(RANDOM_STATE)
    second = [np.isin(at, rng.permutation(len(numbers))[: -(len(numbers) // 2)]) for _ in range(n_splits)]
    for cut in columns(*response.shape):
        values = np.asarray(response[:, cut], np.float64)
        present = np.isfinite(values)
        values = np.where(present, values, 0)
        for r, half in zip(found, second, strict=True):
            means = []
            for rows in (half, ~half):
                count = sum_groups(present & rows[:, None], inverse)
                total = sum_groups(values * rows[:, None], inverse)
                means.append(np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0))
            known = np.isfinite(means[0]) & np.isfinite(means[1])
            r[cut] = spearman_brown(pearson_r(means[0], means[1], known), 2)
    return found


def brain_score(r: ArrayLike, ceiling: ArrayLike) -> dict[str, float]:
    """Brain-Score's ceiled explained variance of a region.

    Parameters
    ----------
    r : array of shape (n_splits, n_neuroids)
        Pearson r of held-out predictions. NaN does not count.
    ceiling : array of shape (n_halvings, n_neuroids)
        As `reliability` gives it.

    Returns
    -------
    dict
        `r` and `ceiling`, medians over neuroids and means over splits; `error`, the standard error of `r`
        over splits; `score`, r² / ceiling, as since January 2026 (brain-score/vision#2169); `squared`,
        (r / ceiling)², as before, in which the numbers of papers up to 2025 are. NaN where there is nothing
        to go by.
    """
    centre = _medians(r)
    value, limit = centre.mean(), _medians(ceiling).mean()
    return {
        "score": float(value**2 / limit), "r": float(value), "ceiling": float(limit),
        "error": float(centre.std() / np.sqrt(len(centre))), "squared": float((value / limit) ** 2),
    }  # fmt: skip


def _medians(values: ArrayLike) -> Floats:
    """Median of each row over the neuroids that have a value, NaN where none has."""
    values = np.asarray(values, np.float64)
    return np.array([np.median(row[~np.isnan(row)]) if (~np.isnan(row)).any() else np.nan for row in values])


def by_region(responses: xr.Dataset, r: Floats, members: dict[str, NDArray[np.bool_]]) -> Floats:
    """Give the statistic of each region, (n_regions, n_parts) in the order of `PARTS`.

    Parameters
    ----------
    responses : Dataset
        All presentations: the ceiling is over all stimuli, not the tested ones alone.
    r : array of shape (n_splits, n_neuroids)
    members : dict
        Name of each region to its neuroids, (n_neuroids,).

    Raises
    ------
    InputError
        The responses have time bins; there are not ten splits.
    """
    if responses["response"].ndim > 2:
        raise InputError(
            "evaluation.brainscore is of responses without time bins, and these have "
            f"{responses.sizes['time_bin']}. Average them, or leave it out."
        )
    if len(r) != N_SPLITS:
        raise InputError(
            f"evaluation.brainscore is the mean of {N_SPLITS} splits, and the predictions are of {len(r)}. "
            f"Set split to {{kind: stimulus, test_fraction: {TEST_FRACTION}, n_folds: {N_SPLITS}}}."
        )
    ids, repeats = (responses[k].values for k in ("stimulus_id", "repetition"))
    limit = reliability(responses["response"], ids, repeats)
    found = [brain_score(r[:, inside], limit[:, inside]) for inside in members.values()]
    return np.array([[of[part] for part in PARTS] for of in found])
