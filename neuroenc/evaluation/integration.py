"""Where vision and language meet: sites of integration by the published rule and by ours, and what they say.

A site is an electrode that a network of both predicts better than each network of one, and, by our rule, than
both networks of one joined: what no sum of the two explains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from neuroenc.errors import ContractError, InputError
from neuroenc.evaluation.evaluate import align
from neuroenc.evaluation.scores import pearson_r
from neuroenc.evaluation.statistics import fdr, per_fold

Floats = NDArray[np.float64]
WINDOWS = 10  # that an electrode needs to count, by the published rule


def published_sites(
    multimodal: tuple[ArrayLike, ArrayLike], unimodal: Sequence[tuple[ArrayLike, ArrayLike]], *,
    fewest: int = WINDOWS, level: float = 0.05, n: int = 1000, seed: int = 0,
) -> NDArray[np.bool_]:  # fmt: skip
    """Find sites as Subramaniam et al. (2024) do.

    A window counts for a model where the interval of its r lies above 0, an electrode where `fewest` windows
    do. Where both models have such windows their mean difference over all that count for either is
    bootstrapped over windows; a model that alone counts wins. False discovery is held at `level` for each
    comparison. Neighbouring windows are no independent draws, so that this rule finds too many; no model of
    both joined is asked, so that it finds sums of the two as well. Which windows enter the second bootstrap
    the paper does not say.

    Parameters
    ----------
    multimodal : (r, low), each of shape (n_electrodes, n_windows)
        r, and the lower end of its 95 % interval (`r_low` of Scores).
    unimodal : sequence of the same
        Each must be beaten.
    fewest : int
    level : float
    n : int
        Draws of windows.
    seed : int

    Returns
    -------
    bool array of shape (n_electrodes,)

    References
    ----------
    Subramaniam et al. (2024), Revealing vision-language integration in the brain with multimodal networks,
    ICML, arXiv 2406.14481.
    """
    rng = np.random.default_rng(seed)
    r, low = (np.asarray(v, np.float64) for v in multimodal)
    counts = low > 0
    known = counts.sum(1) >= fewest
    site = known.copy()
    for other in unimodal:
        r_other, low_other = (np.asarray(v, np.float64) for v in other)
        its = low_other > 0
        p = np.full(len(r), np.nan)
        for k in np.flatnonzero(known & (its.sum(1) >= fewest)):
            gain = (r[k] - r_other[k])[counts[k] | its[k]]
            drawn = gain[rng.integers(len(gain), size=(n, len(gain)))].mean(1)
            p[k] = (1 + (drawn <= 0).sum()) / (1 + n)
        site &= np.where(np.isfinite(p), fdr(p) < level, True)  # who alone counts wins
    return site


def one_sided(difference: ArrayLike, p: ArrayLike) -> Floats:
    """Turn a two-sided p into the p that the difference is above 0; NaN stays NaN."""
    difference, p = np.asarray(difference, np.float64), np.asarray(p, np.float64)
    return np.where(difference > 0, p / 2, 1 - p / 2)


class Sites(NamedTuple):
    """Of each electrode."""

    p: Floats
    """That it is no site; NaN where nothing is known"""
    q: Floats
    """Over electrodes"""
    window: NDArray[np.int64]
    """With the smallest p; -1 where nothing is known"""
    site: NDArray[np.bool_]


def sites(p: ArrayLike, *, level: float = 0.05) -> Sites:
    """Find sites: the multimodal model beats every other in the same window.

    Within a window p is the largest of the comparisons (an intersection-union test, Berger 1982: each must
    hold, so nothing is corrected). Over windows p is Simes' min_k m p_(k) / k of the m windows, which holds
    for the positive dependence of neighbours; over electrodes false discovery is controlled (Benjamini &
    Hochberg 1995).

    Parameters
    ----------
    p : array of shape (n_comparisons, n_electrodes) or (n_comparisons, n_electrodes, n_windows)
        One-sided: that the multimodal model is not better (`one_sided`). With NaN in one comparison nothing
        is known of that window.
    level : float

    Returns
    -------
    Sites
    """
    values = np.asarray(p, np.float64)
    values = values.reshape(*values.shape[:2], -1).max(0)  # NaN stays
    known = np.isfinite(values)
    m = known.sum(1)
    rank = np.arange(1, values.shape[1] + 1)
    with np.errstate(invalid="ignore"):
        simes = (np.sort(np.where(known, values, np.inf), 1) * m[:, None] / rank).min(1)
    simes = np.where(m > 0, np.minimum(simes, 1), np.nan)
    q = fdr(simes)
    best = np.where(m > 0, np.where(known, values, np.inf).argmin(1), -1)
    return Sites(simes, q, best, np.nan_to_num(q, nan=1.0) < level)


def table_of_sites(comparisons: Mapping[str, Sequence[xr.Dataset]], *, level: float = 0.05) -> pd.DataFrame:
    """Find sites among all electrodes of several patients.

    Parameters
    ----------
    comparisons : mapping of patient to Datasets
        As `compare` gives them, of the same pairs in the same order, the multimodal model `second`.
    level : float

    Returns
    -------
    DataFrame
        `patient`, `neuroid_id`, `gain` (the smallest over comparisons, at the best window), `p`, `q`,
        `window`, `site`.

    Raises
    ------
    ContractError
        Comparisons of other electrodes, or of other pairs in another patient.
    """
    rows, values = [], []
    pairs = {tuple((c.attrs["first"], c.attrs["second"]) for c in found) for found in comparisons.values()}
    if len(pairs) != 1 or not all(pairs):
        raise ContractError(f"Patients were compared in other pairs: {sorted(pairs)}. Give the same to each.")
    for patient, found in comparisons.items():
        ids = found[0]["neuroid_id"].values
        if any(not np.array_equal(c["neuroid_id"].values, ids) for c in found):
            raise ContractError(
                f"Comparisons of {patient!r} hold other electrodes. Fit all to one recording."
            )
        gain = np.stack([c["difference"].values.reshape(len(ids), -1) for c in found])
        p = np.stack([c["p"].values.reshape(len(ids), -1) for c in found])
        values.append(one_sided(gain, p))
        rows.append(pd.DataFrame({"patient": patient, "neuroid_id": ids}).assign(gain=list(gain.min(0))))
    found_sites = sites(np.concatenate(values, 1), level=level)
    table = pd.concat(rows, ignore_index=True).assign(**found_sites._asdict())
    at = zip(table["gain"], table["window"], strict=True)
    return table.assign(gain=[g[w] if w >= 0 else np.nan for g, w in at])


class Group(NamedTuple):
    """An effect over patients."""

    mean: float
    low: float
    high: float
    """95 % interval"""
    p: float
    """Two-sided"""
    each: dict[str, float]
    """Mean of each patient"""


def over_patients(values: ArrayLike, patient: ArrayLike) -> Group:
    """Ask whether a mean is above 0 in the population of patients: they are random, electrodes within them.

    Each patient is one mean over electrodes, t-tested with n_patients - 1 degrees of freedom (Holmes &
    Friston 1998): what varies between patients is in the error, however many electrodes one of them has.

    Parameters
    ----------
    values : array of shape (n_electrodes,)
        E.g. the gain of the multimodal model; NaN is left out.
    patient : array of text, (n_electrodes,)

    Raises
    ------
    InputError
        Fewer than two patients: nothing can be said beyond them.
    """
    from scipy.stats import t

    values, patient = np.asarray(values, np.float64), np.asarray(patient)
    each = {str(name): values[(patient == name) & np.isfinite(values)] for name in np.unique(patient)}
    means = {name: float(v.mean()) for name, v in each.items() if len(v)}
    if len(means) < 2:
        raise InputError(f"{len(means)} patients say nothing of others, expected 2 or more. Add patients.")
    found = np.array(list(means.values()))
    mean, error = float(found.mean()), float(found.std(ddof=1) / np.sqrt(len(found)))
    half = error * float(t.ppf(0.975, len(found) - 1))
    p = float(2 * t.sf(abs(mean) / error, len(found) - 1)) if error > 0 else float(mean == 0)
    return Group(mean, mean - half, mean + half, p, means)


def half_r(responses: xr.Dataset, predictions: xr.Dataset, stretch: float = 20.0) -> Floats:
    """Return r on the even and on the odd stretches of the films, (2, n_neuroids[, n_time_bins]).

    Parameters
    ----------
    responses, predictions : Dataset
        Of one patient.
    stretch : float
        s. Both halves hold each fold.
    """
    if not {"film", "onset"} <= set(responses.coords):
        raise InputError("Halves of films need stimuli with `film` and `onset`. Use responses to films.")
    rows = align(responses, predictions, stretch)
    number = np.array([int(str(s).rpartition("/")[2]) for s in np.asarray(rows.stretch)])
    halves = [number % 2 == k for k in (0, 1)]
    found = [per_fold(pearson_r, rows.y[h], rows.prediction[h], rows.fold[h]).mean(0) for h in halves]
    return np.stack(found).reshape(2, *responses["response"].shape[1:])


class Inverse(NamedTuple):
    """How the gain of the multimodal model goes with what one modality explains, over electrodes."""

    rho: float
    """Rank correlation across halves; below 0: the gain is larger where one modality explains less"""
    p: float
    """Two-sided, electrodes exchanged within patients"""
    rho_same: float
    """Within the same half: drawn below 0 by noise that stands in both, not to be trusted"""


def inverse_effectiveness(
    unimodal: ArrayLike, multimodal: ArrayLike, patient: ArrayLike, *, n: int = 2000, seed: int = 0
) -> Inverse:
    """Ask whether the gain is larger where the best single modality explains less.

    Gain and unimodal r of the same stimuli share the noise of the latter with opposite signs: they correlate
    below 0 where nothing is (regression to the mean). So r of one half of the stimuli is held against the
    gain in the other, both ways round; ranks are taken within patients.

    Parameters
    ----------
    unimodal, multimodal : arrays of shape (2, n_electrodes)
        r on two halves of the stimuli (`half_r`); of several unimodal models the same one in both halves.
    patient : array of text, (n_electrodes,)
    n : int
        Exchanges.
    seed : int

    Returns
    -------
    Inverse
    """
    uni, multi = np.asarray(unimodal, np.float64), np.asarray(multimodal, np.float64)
    patient = np.asarray(patient)
    here = np.isfinite(uni).all(0) & np.isfinite(multi).all(0)
    uni, gain, patient = uni[:, here], (multi - uni)[:, here], patient[here]
    groups = [np.flatnonzero(patient == name) for name in np.unique(patient)]
    a, b = _ranks(uni, groups), _ranks(gain, groups)
    size = np.sqrt((a**2).sum(1) * (b[::-1] ** 2).sum(1))
    rng, drawn = np.random.default_rng(seed), np.empty(n)
    for k in range(n):
        order = np.arange(a.shape[1])
        for g in groups:
            order[g] = rng.permutation(g)
        drawn[k] = ((a[:, order] * b[::-1]).sum(1) / size).mean()
    rho = float(((a * b[::-1]).sum(1) / size).mean())
    same = float(((a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))).mean())
    return Inverse(rho, float((1 + (np.abs(drawn) >= abs(rho) - 1e-9).sum()) / (1 + n)), same)


def _ranks(values: Floats, groups: list[NDArray[np.int64]]) -> Floats:
    """Rank each row within groups, centred, as shares of the group."""
    out = np.zeros(values.shape)
    for g in groups:
        order = values[:, g].argsort(1, kind="stable").argsort(1)
        out[:, g] = (order - (len(g) - 1) / 2) / len(g)
    return out
