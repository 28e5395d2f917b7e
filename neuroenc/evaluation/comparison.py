"""Whether one encoder predicts better than another: a paired test on the same stimuli."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.arrays import regions, same_neuroids
from neuroenc.blocks import columns
from neuroenc.errors import ContractError, InputError
from neuroenc.evaluation.evaluate import Rows, align
from neuroenc.evaluation.scores import standardise
from neuroenc.evaluation.statistics import EQUAL, fdr, widening

Floats = NDArray[np.float64]


def compare(
    responses: xr.Dataset, first: xr.Dataset, second: xr.Dataset, *, n_permutations: int = 1000, seed: int = 0
) -> xr.Dataset:
    """Test the difference of two encoders' r, for each neuroid and the mean of each region.

    If both predict equally well, their standardised predictions of a stimulus can be exchanged: the null is
    r_b - r_a after exchanging those of random stimuli, the same for all neuroids of a draw (Good 2005,
    ch. 3). Over several folds the difference is the mean over folds, and divided by `widening` for the test.

    Parameters
    ----------
    responses : Dataset
        What both were fitted to.
    first, second : Dataset
        Predictions of the same test stimuli.
    n_permutations : int
    seed : int

    Returns
    -------
    Dataset
        `difference(neuroid[, time_bin])`, r of `second` less r of `first`; `p`, two-sided, (1 + number of
        draws at least as far from 0) / (1 + draws); `q` over neuroids; `region_difference(region)` and
        `region_p(region)`. NaN where one of both has no r.

    Raises
    ------
    ContractError
        Other neuroids or test stimuli.
    InputError
        Stimuli that run, whose neighbours are alike and cannot be exchanged one by one.
    """
    if "film" in responses.coords:
        raise InputError(
            "Stimuli of films and stories cannot be exchanged one by one. Compare their intervals of r by "
            "stretches (`evaluate`), or subjects."
        )
    same_neuroids(responses, first)
    same_neuroids(responses, second)
    one, other = (align(responses, predictions, 0) for predictions in (first, second))
    if not (np.array_equal(one.tested, other.tested) and np.array_equal(one.fold, other.fold)):
        raise ContractError(
            "Both predictions must be of the same test stimuli and folds. Fit both by one split."
        )
    folds = [np.flatnonzero(one.fold == f) for f in np.unique(one.fold)]
    wide = widening(one.tested, folds, len(one.mean))
    ids, at = np.unique(one.tested, return_inverse=True)  # a stimulus turns in all folds that test it
    turned = np.random.default_rng(seed).integers(0, 2, (n_permutations, len(ids))).astype(np.float64)[:, at]
    shape = responses["response"].shape[1:]
    n_targets = one.y.shape[1]
    masks = {"all": np.ones(shape[0], bool), **regions(responses)}
    inside = np.repeat(np.stack(list(masks.values())), n_targets // shape[0], axis=1)
    difference, p = np.full((2, n_targets), np.nan)
    observed, drawn = np.zeros(len(masks)), np.zeros((n_permutations, len(masks)))
    for cut in columns(4 * max(turned.shape), n_targets):
        difference[cut], null = _block(one, other, folds, turned, cut)
        known = np.isfinite(difference[cut])
        p[cut] = _two_sided(difference[cut] / wide, null)
        mine = (inside[:, cut] & known).astype(np.float64)
        observed += mine @ np.where(known, difference[cut], 0)
        drawn += np.where(known, null, 0) @ mine.T
    counts = (inside & np.isfinite(difference)).sum(1)
    mean = np.divide(observed, counts, out=np.full(len(masks), np.nan), where=counts > 0)
    region_p = _two_sided(mean / wide, drawn / np.maximum(counts, 1))
    dims = responses["response"].dims[1:]
    return xr.Dataset(
        {
            "difference": (dims, difference.reshape(shape)), "p": (dims, p.reshape(shape)),
            "q": (dims, fdr(p).reshape(shape)), "region_difference": ("region", mean),
            "region_p": ("region", region_p),
        },
        {"neuroid_id": ("neuroid", responses["neuroid_id"].values), "region_name": ("region", list(masks))},
        {"first": first.attrs["model"], "second": second.attrs["model"], "n_permutations": n_permutations,
         "n_test_stimuli": len(ids)},
    )  # fmt: skip


def _block(
    one: Rows, other: Rows, folds: list[NDArray[np.int64]], turned: Floats, cut: slice
) -> tuple[Floats, Floats]:
    """Return r_b - r_a of some neuroids, (n_targets,), and after exchanging stimuli, (n_draws, n_targets).

    With a and b of mean 0 and sum of squares 1 and t the stimuli that are exchanged, a* = a + t (b - a) has
    the product r_a + sum t y (b - a) with y, the sum of squares 1 + sum t (b² - a²) and the sum
    u = sum t (b - a); b* = b - t (b - a) those with the other signs. A missing response takes no part.
    """
    n_targets = one.y[:, cut].shape[1]
    difference, null = np.zeros(n_targets), np.zeros((len(turned), n_targets))
    for rows in folds:
        y, a, b = (np.asarray(v[rows][:, cut], np.float64) for v in (one.y, one.prediction, other.prediction))
        known = np.isfinite(y)
        y, a, b = (standardise(np.where(known, v, np.nan), known) for v in (y, a, b))
        swapped = turned[:, rows]
        product, power, total = swapped @ (y * (b - a)), swapped @ (b**2 - a**2), swapped @ (b - a)
        r_a, r_b = (y * a).sum(0), (y * b).sum(0)
        lost = total**2 / known.sum(0)
        with np.errstate(invalid="ignore", divide="ignore"):  # draws after which nothing varies have no r
            null += (r_b - product) / np.sqrt(1 - power - lost) - (r_a + product) / np.sqrt(1 + power - lost)
        difference += r_b - r_a
    return difference / len(folds), null / len(folds)


def _two_sided(observed: Floats, null: Floats) -> Floats:
    """P of differences at least as far from 0; NaN where there is none."""
    far = np.abs(null) >= np.abs(observed) - EQUAL
    return np.where(np.isfinite(observed), (1 + far.sum(0)) / (1 + len(null)), np.nan)
