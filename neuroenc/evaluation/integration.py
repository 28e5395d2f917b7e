"""Where vision and language meet: sites of integration by the published rule and by ours, and what they say.

A site is an electrode that a network of both predicts better than each network of one, and, by our rule, than
both networks of one joined: what no sum of the two explains. The tests are those of `compare`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from neuroenc.errors import InputError
from neuroenc.evaluation.effects import same_fits
from neuroenc.evaluation.evaluate import align
from neuroenc.evaluation.permutation import p_value
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


def table_of_sites(comparisons: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """List all electrodes of several patients, and which of them are sites.

    An electrode is a site where the multimodal fit beats all its rivals in one time bin (`wins_p` of
    `neuroenc.evaluation.compare`), false discoveries over the electrodes of all patients together below the
    level of the comparisons. What holds beyond these patients is a random effect
    (`neuroenc.evaluation.effects`).

    Parameters
    ----------
    comparisons : mapping of patient to Dataset
        As `compare` gives them, of the same fits; its rivals are each modality and both joined.

    Returns
    -------
    DataFrame
        A row an electrode: `patient`, `neuroid_id`, `x`, `y`, `z` (where the recordings have them), `start`
        of its best time bin (s), `gain` over the best rival there, `p`, `q`, `site`.

    Raises
    ------
    ContractError
        Patients were compared in other fits.
    """
    same_fits(comparisons)
    table = pd.concat([_electrodes(c).assign(patient=p) for p, c in comparisons.items()], ignore_index=True)
    q = fdr(table["p"])
    level = next(iter(comparisons.values())).attrs["fdr_level"]
    order = ["patient", "neuroid_id", *[k for k in ("x", "y", "z", "start") if k in table], "gain", "p"]
    return table[order].assign(q=q, site=q <= level)


def _electrodes(c: xr.Dataset) -> pd.DataFrame:
    """Take the best bin of each electrode: the smallest p against all rivals, then the largest gain."""
    n = c.sizes["neuroid"]
    p = c["p"].values.reshape(len(c["rival_name"]), n, -1).max(0)
    gain = c["difference"].sel(metric=c.attrs["metric"]).values.reshape(*c["p"].shape[:2], -1).min(0)
    p, least = np.where(np.isfinite(p), p, np.inf), np.where(np.isfinite(gain), -gain, np.inf)
    best = np.lexsort((least, p), axis=1)[:, 0]
    found = {"neuroid_id": c["neuroid_id"].values, "gain": gain[np.arange(n), best], "p": c["wins_p"].values}
    found |= {axis: c[axis].values for axis in "xyz" if axis in c.coords}
    if "start" in c.coords:
        found["start"] = c["start"].values[best]
    return pd.DataFrame(found)


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
    number = np.array([int(str(s).rpartition("/")[2]) for s in np.asarray(rows.together)])
    halves = [number % 2 == k for k in (0, 1)]
    found = [per_fold(pearson_r, rows.y[h], rows.prediction[h], rows.fold[h]).mean(0) for h in halves]
    return np.stack(found).reshape(2, *responses["response"].shape[1:])


class Inverse(NamedTuple):
    """How the gain of the multimodal model goes with what one modality explains, over electrodes."""

    rho: float
    """Rank correlation across halves; below 0: the gain is larger where one modality explains less"""
    p: float
    """Two-sided, electrodes exchanged within patients; NaN where no patient has two, as rho is"""
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
    size[size == 0] = np.nan  # one electrode a patient has no order
    rng, drawn = np.random.default_rng(seed), np.empty(n)
    for k in range(n):
        order = np.arange(a.shape[1])
        for g in groups:
            order[g] = rng.permutation(g)
        drawn[k] = ((a[:, order] * b[::-1]).sum(1) / size).mean()
    rho = float(((a * b[::-1]).sum(1) / size).mean())
    with np.errstate(invalid="ignore"):
        same = float(((a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))).mean())
    return Inverse(rho, float(p_value(abs(rho), np.abs(drawn))), same)


def _ranks(values: Floats, groups: list[NDArray[np.int64]]) -> Floats:
    """Rank each row within groups, centred, as shares of the group."""
    from scipy.stats import rankdata

    out = np.zeros(values.shape)
    for g in groups:
        out[:, g] = (rankdata(values[:, g], axis=1) - (len(g) + 1) / 2) / len(g)
    return out
