"""Whether one encoder predicts better than others: paired tests on the same stimuli."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from neuroenc.arrays import make_comparison, regions, same_neuroids
from neuroenc.blocks import columns
from neuroenc.config import Comparison, Evaluation
from neuroenc.errors import ContractError, InputError, invalid
from neuroenc.evaluation.discoveries import bounds
from neuroenc.evaluation.evaluate import METRICS, Rows, align, ceiling_of, fold_scores, standard_patterns
from neuroenc.evaluation.pairs import METRICS as PATTERN_METRICS
from neuroenc.evaluation.pattern_tests import pattern_samples
from neuroenc.evaluation.permutation import EQUAL, widening
from neuroenc.evaluation.scores import pearson_r, r2_score, standardise
from neuroenc.evaluation.statistics import (
    CONSTANT,
    Resampling,
    Weighted,
    bootstrap,
    fdr,
    per_fold,
    resample,
    weighted_r,
)

Floats = NDArray[np.float64]
FEW = 6  # units that can be exchanged: with fewer no one-sided p gets below 1/64
TAILS = [0.025, 0.975, 0.05, 0.95]  # of the interval, and of two one-sided tests at .05


def compare(
    responses: xr.Dataset,
    fits: Mapping[str, xr.Dataset],
    comparison: Comparison,
    options: Evaluation | None = None,
) -> xr.Dataset:
    """Test whether one encoder beats each of its rivals, for each neuroid and the mean of each region.

    r: if both predict equally well, their standardised predictions of a stimulus can be exchanged; the null
    is r_a - r_b after exchanging those of random stimuli (Good 2005, ch. 3). R2: the differences of the
    squared errors keep or change their signs, which is exact where they are symmetric (of 60 stimuli and
    errors of a t distribution with 5 degrees of freedom against normal ones, 11 % are below .05). Stimuli are
    the same for all neuroids of a draw; those of films and stories are exchanged by stretches, whose
    neighbours in time are alike. Over several folds the difference is the mean over folds, and divided by
    `widening` for the test. Intervals are of paired bootstrap samples (`resample`). That all rivals are
    beaten is an intersection of tests: its p is the largest of them. With time bins all must be beaten in one
    bin, whichever: the least z of the rivals, largest over bins, is held against the largest of each draw
    over bins and rivals, because in each bin another rival may be the one that is not beaten.

    Parameters
    ----------
    responses : Dataset
        What all were fitted to.
    fits : mapping of name to Dataset
        Predictions of the same test stimuli, those that `comparison` names.
    comparison : Comparison
        `better`, `than` its rivals; `metric` that is tested; `delta` of equivalence.
    options : Evaluation, optional
        Ceiling, samples, permutations, stretch, seed, level of false discovery.

    Returns
    -------
    Dataset
        `difference(metric, rival, neuroid[, time_bin])`, the score of the better less that of the rival, and
        of the tested metric `low`, `high` (95 %), `p` and `p_worse`, one-sided, (1 + number of draws at least
        as far) / (1 + draws), `q` over neuroids and bins, and `equivalent`, whether the 90 % interval lies
        within `delta`. By neuroid `neuroid_p(rival, neuroid)`, of time bins the largest against the largest
        of each draw, and `wins(neuroid)`: all rivals are beaten, in the same bin, by `wins_p` after FDR
        (`wins_q`); `loses_p`, that in every bin some rival is better. By region `region_difference(rival,
        region, estimate)`, `region_p`, `region_wins_p`, `region_equivalent`, samples of the mean in
        `region_sample`, and `region_count(region, count)`: neuroids, those that win, and between how many
        truly do with 95 % confidence (`discoveries.bounds`). With `options.pairs` the patterns of each fit,
        the better one first: `pattern_fit_score(fit, pattern_metric, region)` and, in the same samples of
        stimuli, `pattern_sample(…, sample)` (`pattern_tests`).
        NaN where one of both has no score.

    Raises
    ------
    ContractError
        Other neuroids or test stimuli.
    InputError
        Fits that are not there; fewer than six stimuli or stretches.
    """
    options = options or Evaluation()
    for name in (comparison.better, *comparison.than):
        if name not in fits:
            raise invalid("comparison", name, fits)
        same_neuroids(responses, fits[name])
    rows = align(responses, fits[comparison.better], options.stretch)
    rivals = [matched(rows, fits[comparison.better], fits[name]) for name in comparison.than]
    unit = _unit(rows, options)
    if (n_units := len(np.unique(rows.unit))) < FEW:
        what = {"stimulus": "test stimuli", "group": "groups of test stimuli"}.get(
            unit, unit.replace("stretch", "stretches")
        )
        raise InputError(
            f"{n_units} {what} can be exchanged, expected {FEW} or more. Test more stimuli, or shorten "
            "evaluation.stretch."
        )
    shape = responses["response"].shape[1:]
    masks = {"all": np.ones(shape[0], bool), **regions(responses)}
    draws = _draws(rows, options)
    samples = resample(
        rows.tested, rows.fold, stretch=rows.together, n_stimuli=len(rows.mean), n=options.n_bootstraps,
        seed=options.seed,
    )  # fmt: skip
    n_time = shape[0] if np.prod(shape[1:]) > 1 else 0
    most = np.full((len(draws.turned), n_time), -np.inf)
    tests = [_test(rows, rival, comparison, draws, samples, masks, shape, most) for rival in rivals]
    limit = ceiling_of(responses, rows.tested, options.ceiling)[1]
    own, *others = (
        fold_scores(rows._replace(prediction=v), limit, options.threshold)[0]
        for v in (rows.prediction, *rivals)
    )
    found = _joined(tests, np.stack([own - other for other in others], 1), shape, comparison.delta)
    found |= _winners(tests, most, masks, options.fdr_level)
    compared = make_comparison(
        found, metric=METRICS, rival=comparison.than, region=list(masks), like=responses,
        attrs={
            "dataset": responses.attrs["dataset"], "better": comparison.better, "metric": comparison.metric,
            "delta": comparison.delta, "n_permutations": options.n_permutations,
            "n_bootstraps": options.n_bootstraps, "fdr_level": options.fdr_level, "seed": options.seed,
            "n_test_stimuli": len(np.unique(rows.tested)), "n_units": n_units,
            "unit": unit,
            "interval_unit": "fold" if samples.by_fold else unit,
        },
    )  # fmt: skip
    if options.pairs:
        standard = [standard_patterns(rows._replace(prediction=v)) for v in (rows.prediction, *rivals)]
        inside = {name: np.repeat(members, int(np.prod(shape[1:]))) for name, members in masks.items()}
        of_patterns = pattern_samples(standard[0][0], [s[1] for s in standard], samples, inside)
        dims = ("fit", "pattern_metric", "region", "sample")
        for name, values in zip(("pattern_fit_score", "pattern_sample"), of_patterns, strict=True):
            compared[name] = dims[: values.ndim], values.astype(np.float32)
        compared = compared.assign_coords(pattern_metric=list(PATTERN_METRICS))
    return compared


def _unit(rows: Rows, options: Evaluation) -> str:
    """Say what is exchanged."""
    if rows.film is not None:
        return f"stretch of {options.stretch:g} s"
    return "stimulus" if rows.together is None else "group"


def matched(rows: Rows, better: xr.Dataset, rival: xr.Dataset) -> NDArray[np.float32]:
    """Return a rival's predictions of the same rows.

    Raises
    ------
    ContractError
        It predicts other stimuli, or in other folds.
    """
    keys = [np.char.add(v["fold"].values.astype(str), "/" + v["stimulus_id"].values) for v in (better, rival)]
    if not np.array_equal(np.sort(keys[0]), np.sort(keys[1])):
        raise ContractError(
            "Both predictions must be of the same test stimuli and folds. Fit both by one split."
        )
    order = np.argsort(keys[1])
    wanted = np.char.add(rows.fold.astype(str), "/" + rows.tested)
    prediction = rival["prediction"].values
    return prediction.reshape(len(prediction), -1)[order[np.searchsorted(keys[1], wanted, sorter=order)]]


class Draws(NamedTuple):
    """Which rows are exchanged under the null."""

    turned: Floats
    """(n_draws, n_rows), 0 or 1"""
    folds: list[NDArray[np.int64]]
    wide: float
    """`widening`"""


class Test(NamedTuple):
    """One pair: of each neuroid, (n_neuroids x n_time_bins), and of the mean of each region."""

    p: Floats
    p_worse: Floats
    p_time: Floats
    """Against the largest bin of each draw"""
    z: Floats
    """The difference over the deviation of its null; -inf where there is none"""
    tails: Floats
    region: Floats
    """(n_regions,)"""
    region_p: Floats
    region_samples: Floats
    """(n_regions, n_samples)"""


def _draws(rows: Rows, options: Evaluation) -> Draws:
    folds = [np.flatnonzero(rows.fold == f) for f in np.unique(rows.fold)]
    ids, at = np.unique(rows.unit, return_inverse=True)  # a stimulus turns in all folds that test it
    turned = np.random.default_rng(options.seed).integers(0, 2, (options.n_permutations, len(ids)))
    wide = widening(rows.tested, folds, len(rows.mean), together=True)
    return Draws(turned.astype(np.float64)[:, at], folds, wide)


def _test(
    rows: Rows, rival: NDArray[np.float32], comparison: Comparison, draws: Draws, samples: Resampling,
    masks: dict[str, NDArray[np.bool_]], shape: tuple[int, ...], most: Floats,
) -> Test:  # fmt: skip
    """Test one pair, some neuroids at a time, with all their time bins.

    `most`, (n_draws, n_neuroids), the largest z of each draw so far, is raised where this pair's is larger.
    """
    n_draws, n_bins = len(draws.turned), int(np.prod(shape[1:]))
    n_targets = shape[0] * n_bins
    exchanged = exchanged_r if comparison.metric == "pearson_r" else exchanged_r2
    inside = np.repeat(np.stack(list(masks.values())), n_bins, axis=1)
    p, p_worse, p_time, z, difference = np.full((5, n_targets), np.nan)
    drawn = np.zeros((len(masks), n_draws))
    for some in columns(4 * max(draws.turned.shape) * n_bins, shape[0]):
        cut = slice(some.start * n_bins, some.stop * n_bins)
        y, a, b = (np.asarray(v[:, cut], np.float64) for v in (rows.y, rows.prediction, rival))
        difference[cut], null = exchanged(y, a, b, draws)
        observed, known = difference[cut] / draws.wide, np.isfinite(difference[cut])
        p[cut] = np.where(known, (1 + (null >= observed - EQUAL).sum(0)) / (1 + n_draws), np.nan)
        p_worse[cut] = np.where(known, (1 + (null <= observed + EQUAL).sum(0)) / (1 + n_draws), np.nan)
        drawn += (inside[:, cut] & known).astype(np.float64) @ np.where(known, null, 0).T
        if most.size:
            p_time[cut], z[cut], largest = _largest(observed, null, n_bins)
            np.maximum(most[:, some], largest, out=most[:, some])
    known = np.isfinite(difference)
    counts = (inside & known).sum(1)
    with np.errstate(invalid="ignore"):
        region = inside @ np.where(known, difference, 0) / counts
        reached = drawn / counts[:, None] >= (region / draws.wide - EQUAL)[:, None]
    region_p = np.where(counts > 0, (1 + reached.sum(1)) / (1 + n_draws), np.nan)
    statistic = partial(_resampled, rows, rival, comparison.metric)
    groups = dict(zip(masks, inside, strict=True))
    tails, means = bootstrap(statistic, n_targets, samples, groups, TAILS)
    p_time = p_time if most.size else p
    return Test(p, p_worse, p_time, z, tails, region, region_p, np.stack(list(means.values())))


def _largest(observed: Floats, null: Floats, n_bins: int) -> tuple[Floats, Floats, Floats]:
    """Hold each bin against the largest bin of each draw, both over the standard deviation of the null.

    Returns
    -------
    p, z : arrays of shape (n_targets,)
        NaN and -inf where the null does not vary.
    largest : array of shape (n_draws, n_neuroids)
    """
    spread = np.sqrt((null**2).mean(0))
    with np.errstate(invalid="ignore", divide="ignore"):
        z, null = (
            np.where(np.isfinite(v / spread), v / spread, -np.inf).reshape(*v.shape[:-1], -1, n_bins)
            for v in (observed, null)
        )
    largest = null.max(-1)
    return _above(z, largest).ravel(), z.ravel(), largest


def _above(z: Floats, largest: Floats) -> Floats:
    """P of z, (n_neuroids, ...), against draws, (n_draws, n_neuroids); NaN of -inf."""
    ordered = np.sort(largest, axis=0)
    above = np.stack([
        len(ordered) - np.searchsorted(column, own - EQUAL) for column, own in zip(ordered.T, z, strict=True)
    ])  # fmt: skip
    return np.where(np.isfinite(z), (1 + above) / (1 + len(ordered)), np.nan)


def exchanged_r(y: Floats, a: Floats, b: Floats, draws: Draws) -> tuple[Floats, Floats]:
    """Return r_a - r_b of some neuroids, (n_targets,), and after exchanging stimuli, (n_draws, n_targets).

    With a and b of mean 0 and sum of squares 1 and t the stimuli that are exchanged, a* = a + t (b - a) has
    the product r_a + sum t y (b - a) with y, the sum of squares 1 + sum t (b² - a²) and the sum
    u = sum t (b - a); b* = b - t (b - a) those with the other signs. A missing response takes no part;
    where an exchange leaves nothing that varies r is 0.
    """
    difference, null = np.zeros(y.shape[1]), np.zeros((len(draws.turned), y.shape[1]))
    for rows in draws.folds:
        known = np.isfinite(y[rows])
        u, v, w = (standardise(np.where(known, x[rows], np.nan), known) for x in (y, a, b))
        swapped = draws.turned[:, rows]
        product, power, total = swapped @ (u * (w - v)), swapped @ (w**2 - v**2), swapped @ (w - v)
        r_a, r_b = (u * v).sum(0), (u * w).sum(0)
        lost = total**2 / np.maximum(known.sum(0), 1)
        null += _over_root(r_a + product, 1 + power - lost) - _over_root(r_b - product, 1 - power - lost)
        difference += r_a - r_b
    return difference / len(draws.folds), null / len(draws.folds)


def _over_root(product: Floats, size: Floats) -> Floats:
    """Divide products by lengths to r; 0 of a prediction that an exchange has made constant."""
    vary = size > CONSTANT
    return np.asarray(product * vary / np.sqrt(np.where(vary, size, 1)))


def exchanged_r2(y: Floats, a: Floats, b: Floats, draws: Draws) -> tuple[Floats, Floats]:
    """Return R2_a - R2_b of some neuroids, and after the signs of stimuli are turned, (n_draws, n_targets).

    R2_a - R2_b = sum of (y - b)² - (y - a)², over the sum of squares of y about its mean.
    """
    difference, null = np.zeros(y.shape[1]), np.zeros((len(draws.turned), y.shape[1]))
    for rows in draws.folds:
        gain, centred = _gain(y[rows], a[rows], b[rows])
        total = (centred**2).sum(0)
        known = np.isfinite(y[rows])
        scored = np.isfinite(_r2(y[rows], a[rows], known) - _r2(y[rows], b[rows], known))
        defined = np.where(scored, total, np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            gain = gain / defined
        difference += gain.sum(0)
        null += (1 - 2 * draws.turned[:, rows]) @ gain
    return difference / len(draws.folds), null / len(draws.folds)


def _r2(y: ArrayLike, prediction: ArrayLike, known: NDArray[np.bool_]) -> Floats:
    """R2 where there is an r, as Scores have it."""
    return np.where(np.isfinite(pearson_r(y, prediction, known)), r2_score(y, prediction, known), np.nan)


def _gain(y: Floats, a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Return (y - b)² - (y - a)² of each row, and y less its mean, both 0 where y is missing."""
    known = np.isfinite(y)
    centred = np.where(known, y - np.where(known, y, 0).sum(0) / np.maximum(known.sum(0), 1), 0)
    return np.where(known, (y - b) ** 2 - (y - a) ** 2, 0), centred


def _resampled(rows: Rows, rival: NDArray[np.float32], metric: str, cut: slice) -> tuple[Floats, Weighted]:
    """Return the difference in each fold, and what gives it under weights."""
    y, a, b = (np.asarray(v[:, cut], np.float64) for v in (rows.y, rows.prediction, rival))

    def weighted(k: NDArray[np.int64], weight: Floats) -> Floats:
        if metric == "pearson_r":
            return weighted_r(y[k], a[k], weight) - weighted_r(y[k], b[k], weight)
        known = np.isfinite(y[k])
        gain, centred = _gain(y[k], a[k], b[k])
        with np.errstate(invalid="ignore", divide="ignore"):
            size, power = weight @ known, weight @ centred**2
            total = power - (weight @ centred) ** 2 / size
            return np.asarray(np.where(total > CONSTANT * power, weight @ gain / total, np.nan))

    score = pearson_r if metric == "pearson_r" else _r2
    own, other = (per_fold(score, y, v, rows.fold) for v in (a, b))
    return own - other, weighted


def _joined(
    tests: list[Test], difference: Floats, shape: tuple[int, ...], delta: float
) -> dict[str, NDArray[np.generic]]:
    """Lay the pairs side by side, neuroids and bins apart."""
    laid = {k: np.stack([getattr(t, k) for t in tests]) for k in Test._fields}
    tails = laid["tails"].reshape(len(tests), len(TAILS), *shape)
    of_regions = np.quantile(laid["region_samples"], TAILS, axis=-1)
    return {
        "difference": difference.reshape(len(METRICS), len(tests), *shape),
        "low": tails[:, 0], "high": tails[:, 1],
        "equivalent": (tails[:, 2] > -delta) & (tails[:, 3] < delta),
        "p": laid["p"].reshape(-1, *shape), "p_worse": laid["p_worse"].reshape(-1, *shape),
        "q": np.stack([fdr(t.p) for t in tests]).reshape(-1, *shape),
        "region_difference": np.stack([laid["region"], *of_regions[:2]], -1),
        "region_equivalent": (of_regions[2] > -delta) & (of_regions[3] < delta),
        "region_p": laid["region_p"], "region_wins_p": laid["region_p"].max(0),
        "region_sample": laid["region_samples"],
    }  # fmt: skip


def _winners(
    tests: list[Test], most: Floats, masks: dict[str, NDArray[np.bool_]], level: float
) -> dict[str, NDArray[np.generic]]:
    """Say which neuroids beat all rivals, and count them by region."""
    n_neuroids = len(masks["all"])
    p_time, p_worse = (
        np.stack([getattr(t, k).reshape(n_neuroids, -1) for t in tests]) for k in ("p_time", "p_worse")
    )
    wins_p = p_time.max(0)[:, 0]
    if most.size:
        wins_p = _above(np.min([t.z for t in tests], 0).reshape(n_neuroids, -1).max(1), most)
    wins_q = fdr(wins_p)
    # what winning in one bin excludes: in every bin some rival is better, after Bonferroni over rivals
    worse = -_least(-np.minimum(1, len(tests) * p_worse.min(0)))
    wins = wins_q <= level
    counts = [
        (np.isfinite(wins_p[inside]).sum(), wins[inside].sum(), *bounds(wins_p, worse, inside, 0.025))
        for inside in masks.values()
    ]
    return {
        "neuroid_p": np.stack([_least(p) for p in p_time]), "wins_p": wins_p, "wins_q": wins_q, "wins": wins,
        "loses_p": worse, "region_count": np.array(counts, np.int64),
    }  # fmt: skip


def _least(p: Floats) -> Floats:
    """Smallest value over time bins; NaN where none is known."""
    known = np.isfinite(p)
    return np.where(known.any(-1), np.where(known, p, np.inf).min(-1), np.nan)
