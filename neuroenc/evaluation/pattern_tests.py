"""Whose patterns are the best of a region: paired tests of 2V2 and of the correlation of patterns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.errors import InputError
from neuroenc.evaluation.effects import Effect, pooled, same_fits
from neuroenc.evaluation.pairs import FEWEST, METRICS, resampled, scored
from neuroenc.evaluation.permutation import EQUAL
from neuroenc.evaluation.statistics import Resampling, fdr

Floats = NDArray[np.float64]
Values = NDArray[np.floating]
COLUMNS = (
    "comparison", "metric", "subject", "region", "model", "score", "low", "high", "rival", "difference",
    "difference_low", "difference_high", "p", "q", "best", "method",
)  # fmt: skip


def pattern_samples(
    y: Values, predictions: Sequence[Values], samples: Resampling, groups: Mapping[str, NDArray[np.bool_]]
) -> tuple[Floats, Floats]:
    """Score the patterns of several fits, and in the same bootstrap samples of stimuli.

    Parameters
    ----------
    y : array of shape (n_rows, n_neuroids)
        Standardised by the training responses; as are the predictions. Neuroids that are not finite in all
        rows of a fold and of all fits do not count there.
    predictions : sequence of arrays of shape (n_rows, n_neuroids)
    samples : Resampling
    groups : mapping of name to bool array of shape (n_neuroids,)

    Returns
    -------
    score : ndarray of shape (n_fits, n_metrics, n_groups)
        Mean over folds by each of `METRICS`. NaN where a fold has fewer than two stimuli or three neuroids.
    sample : ndarray of shape (n_fits, n_metrics, n_groups, n_samples)
    """
    n_fits, n_samples = len(predictions), len(samples.weight)
    score = np.full((n_fits, len(METRICS), len(groups)), np.nan)
    sample = np.full((*score.shape, n_samples), np.nan)
    known = [np.isfinite(y[k]).all(0) & np.all([np.isfinite(p[k]).all(0) for p in predictions], axis=0)
             for k in samples.rows]  # fmt: skip
    for g, members in enumerate(groups.values()):
        inside = [members & one for one in known]
        if any(one.sum() < FEWEST or len(k) < 2 for one, k in zip(inside, samples.rows, strict=True)):
            continue
        for f, prediction in enumerate(predictions):
            pairs = {
                int(k[0]): (y[np.ix_(k, one)], prediction[np.ix_(k, one)])
                for k, one in zip(samples.rows, inside, strict=True)
            }
            of_folds = np.array([scored(*pair) for pair in pairs.values()])
            score[f, :, g] = of_folds.mean(0)
            sample[f, :, g] = samples.of(of_folds, partial(_under, pairs)).T
    return score, sample


def _under(pairs: dict[int, tuple[Values, Values]], rows: NDArray[np.int64], weight: Floats) -> Floats:
    """Score the patterns of a fold under weights of its stimuli, (n_samples, n_metrics)."""
    return resampled(*pairs[int(rows[0])], weight.T).T


def pattern_rows(found: Mapping[str, xr.Dataset], label: str) -> list[dict[str, Any]]:
    """List the patterns' scores by subject, region and fit, and whether a fit is the best of its region.

    A fit is held against each other one. Within a subject p is the share of paired bootstrap samples of
    stimuli in which it is no better, (1 + number) / (1 + samples); over subjects it is that of `pooled`. That
    it beats all others is an intersection of tests: its p is the largest of theirs. False discoveries are
    over regions and fits of a metric; all neuroids together are a family of their own.

    Parameters
    ----------
    found : mapping
        Subject to what `compare` gives with `pairs`.
    label : str

    Returns
    -------
    list of dict
        `COLUMNS`: `score` with its 95 % interval; `rival`, the best of the others, and the `difference` from
        it; `p` and `q` that it beats them all; `best`, whether q is within the level of false discovery.

    Raises
    ------
    InputError
        The comparisons hold no patterns.
    ContractError
        Subjects were compared in other fits.
    """
    same_fits(found)
    for subject, s in found.items():
        if "pattern_sample" not in s:
            raise InputError(
                f"The comparison {label!r} of {subject!r} holds no patterns. Compare again with "
                "evaluation: {pairs: true}."
            )
    groups = [({subject: s}, subject) for subject, s in found.items()]
    groups += [(dict(found), "all")] * (len(found) > 1)
    first = next(iter(found.values()))
    rows = []
    for some, subject in groups:
        for metric in METRICS:
            own = [row for region in _regions(some) for row in _of_region(some, metric, region)]
            for whole in (False, True):
                family = [row for row in own if (row["region"] == "all") == whole]
                for row, q in zip(family, fdr([row["p"] for row in family]), strict=True):
                    row |= {"q": float(q), "best": bool(q <= first.attrs["fdr_level"])}
            rows += [{"comparison": label, "metric": metric, "subject": subject} | row for row in own]
    return [{k: row[k] for k in COLUMNS} for row in rows]


def _regions(found: Mapping[str, xr.Dataset]) -> list[str]:
    return list(dict.fromkeys(str(r) for s in found.values() for r in s["region_name"].values))


def _of_region(found: Mapping[str, xr.Dataset], metric: str, region: str) -> list[dict[str, Any]]:
    """Score and test each fit in one region, where some subject has it."""
    first = next(iter(found.values()))
    names = [first.attrs["better"], *first["rival_name"].values.astype(str)]
    here = [_values(s, metric, region) for s in found.values() if region in s["region_name"].values]
    here = [(score, sample) for score, sample in here if np.isfinite(sample).all()]
    if not here or (len(found) > 1 and len(here) < 2):
        return []
    score, sample = np.stack([h[0] for h in here]), np.stack([h[1] for h in here])
    seed = int(first.attrs["seed"])
    own = [_effect(score[:, f], sample[:, f], seed) for f in range(len(names))]
    rows = []
    for f, name in enumerate(names):
        less = {
            g: _effect(score[:, f] - score[:, g], sample[:, f] - sample[:, g], seed)
            for g in range(len(names)) if g != f
        }  # fmt: skip
        rival = max(less, key=lambda g: own[g].mean)
        nearest = less[rival]
        rows.append({
            "region": region, "model": name, "score": own[f].mean, "low": own[f].interval[0],
            "high": own[f].interval[1], "rival": names[rival], "difference": nearest.mean,
            "difference_low": nearest.interval[0], "difference_high": nearest.interval[1],
            "p": max(e.p for e in less.values()), "method": nearest.method,
        })  # fmt: skip
    return rows


def _values(s: xr.Dataset, metric: str, region: str) -> tuple[Floats, Floats]:
    """Return scores of each fit, (n_fits,), and samples, (n_fits, n_samples).

    In a sample that gives no score, of one stimulus again and again, the fits stand with that of all.
    """
    at = int(np.flatnonzero(s["region_name"].values == region)[0])
    of = METRICS.index(metric)
    score, sample = (s[k].values[:, of, at] for k in ("pattern_fit_score", "pattern_sample"))
    none = ~np.isfinite(sample).all(0)
    if not none.all():
        sample = np.where(none, score[:, None], sample)
    return score.astype(np.float64), sample.astype(np.float64)


def _effect(values: Floats, samples: Floats, seed: int) -> Effect:
    """Mean over subjects, (n_subjects,) and (n_subjects, n_samples); of one subject over its stimuli."""
    if len(values) > 1:
        return pooled(values, samples, seed)
    low, high, less, more = np.quantile(samples[0], [0.025, 0.975, 0.05, 0.95]).tolist()
    p = float((1 + (samples[0] <= EQUAL).sum()) / (1 + samples.shape[1]))
    return Effect(float(values[0]), (low, high), (less, more), p, "paired bootstrap of one subject's stimuli")
