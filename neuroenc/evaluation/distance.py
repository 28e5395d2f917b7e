"""Scores against the distance of a stimulus to what a model was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.arrays import regions
from neuroenc.blocks import blocks
from neuroenc.errors import InputError
from neuroenc.evaluation.evaluate import align
from neuroenc.evaluation.identification import standardise_by
from neuroenc.evaluation.scores import pearson_r
from neuroenc.evaluation.statistics import expansion

N_BINS = 4
FEWEST = 3  # neuroids: of two, every pattern correlates by 1 or -1
DEFINITIONS = {
    "value": "correlation over the neuroids of a region between the pattern that a stimulus evoked and the "
    "one that "
    "was predicted, each neuroid standardised by training; mean over the stimuli of a bin",
    "distance": "to the nearest training stimulus, in the space of split.features: root mean square of "
    "standardised "
    "features; quarters of the test stimuli of all folds",
    "gap": "mean of near less mean of far stimuli: the folds of split.kind 'distant', else the nearest and "
    "the "
    "farthest quarter",
    "low, high": "95 % interval: stimuli drawn with replacement, those of one group or stretch of film "
    "together; none of a single one",
}


def score_by_distance(
    responses: xr.Dataset, predictions: Mapping[str, xr.Dataset], split: xr.Dataset, *, n_bootstraps: int =
    1000, seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Score near and far test stimuli of one subject.

    Parameters
    ----------
    responses : Dataset
    predictions : mapping of model to Dataset
    split : Dataset
        Splits with `distance`.
    n_bootstraps, seed : int

    Returns
    -------
    dict
        `bins`: a row for each model, region and quarter; `gaps`: one for each model and region.

    Raises
    ------
    InputError
        The split was made without features; there are too few test stimuli, or responses with time bins.
    """
    if "distance" not in split:
        raise InputError(
            "The split holds no distances: it was made without features. Set split.features and make it "
            "again."
        )
    if responses["response"].ndim == 3:
        raise InputError(
            f"The responses have {responses.sizes['time_bin']} time bins, expected one value for each "
            "presentation. Average or choose a bin before."
        )
    place = {s: i for i, s in enumerate(split["stimulus_id"].values)}
    members = {"all": np.ones(responses.sizes["neuroid"], bool), **regions(responses)}
    members = {k: m for k, m in members.items() if m.sum() >= FEWEST}
    bins, gaps = [], []
    for model, predicted in predictions.items():
        rows = align(responses, predicted, 20.0)
        at = [place.get(s, -1) for s in rows.tested]
        distance = split["distance"].values[rows.fold, at]
        if min(at) < 0 or not np.isfinite(distance).all():
            raise InputError(
                f"The predictions of {model!r} are of stimuli that the split does not test, expected its "
                f"own. Make "
                "them by `neuroenc encode fit` with this split."
            )
        quarter = quarters(distance)
        far, near = quarter == N_BINS - 1, quarter == 0
        if "condition" in split.coords:
            condition = split["condition"].values[rows.fold]
            far, near = condition == "far", condition == "near"
        each, unit = _patterns(rows, members), np.unique(rows.unit, return_inverse=True)[1]
        for region, values in each.items():
            rng = np.random.default_rng(seed)
            about = {"model": model, "region": region, "n_neuroids": int(members[region].sum())}
            for k in range(N_BINS):
                here = quarter == k
                mean, low, high = bootstrap([(values[here], unit[here])], n_bootstraps, rng)
                bins.append({
                    **about, "bin": k, "distance": float(distance[here].mean()), "n_stimuli": int(here.sum()),
                    "value": mean, "low": low, "high": high,
                })  # fmt: skip
            gap, low, high = bootstrap([(values[k], unit[k]) for k in (near, far)], n_bootstraps, rng)
            gaps.append({
                **about, "near": _mean(values[near]), "far": _mean(values[far]), "gap": gap, "low": low,
                "high": high, "n_near": int(near.sum()), "n_far": int(far.sum()),
                "near_distance": float(distance[near].mean()), "far_distance": float(distance[far].mean()),
            })  # fmt: skip
    return {
        "dataset": responses.attrs["dataset"], "subject": str(responses["subject"].values[0]),
        "kind_of_split": split.attrs["kind_of_split"], "space": split.attrs.get("features", ""), "seed": seed,
        "definitions": DEFINITIONS, "bins": bins, "gaps": gaps,
    }  # fmt: skip


def quarters(distance: NDArray[Any]) -> NDArray[np.int64]:
    """Deal stimuli into quarters of distance, (n,), 0 the nearest.

    Raises
    ------
    InputError
        Fewer than eight.
    """
    if len(distance) < 2 * N_BINS:
        raise InputError(
            f"{len(distance)} test stimuli are too few to tell near from far, expected {2 * N_BINS} or "
            f"more. Raise "
            "split.test_fraction."
        )
    rank = np.argsort(np.argsort(distance, kind="stable"), kind="stable")
    return np.asarray(rank * N_BINS // len(distance))


def _patterns(rows: Any, members: dict[str, NDArray[np.bool_]]) -> dict[str, NDArray[np.float64]]:
    """Correlate the pattern of each test stimulus with its prediction, region -> (n_rows,)."""
    out = {k: np.full(len(rows.y), np.nan) for k in members}
    for fold in np.unique(rows.fold):
        here = rows.fold == fold
        measured, predicted = standardise_by(
            rows.mean[rows.training[fold]], rows.y[here], rows.prediction[here]
        )
        good = np.isfinite(measured).all(0) & np.isfinite(predicted).all(0)
        for region, mask in members.items():
            if (mask & good).sum() >= FEWEST:
                out[region][here] = pearson_r(measured[:, mask & good].T, predicted[:, mask & good].T)
    return out


def bootstrap(
    samples: list[tuple[NDArray[np.float64], NDArray[np.int64]]], n: int, rng: np.random.Generator
) -> tuple[float | None, float | None, float | None]:
    """Give the mean of the first sample less that of the second, where there is one, and its interval.

    Values, (n,), that belong to one unit, (n,), are drawn together. Of few units the samples of a mean lie
    further from it by `expansion`, never beyond the values.
    """
    known = [(s[np.isfinite(s)], unit[np.isfinite(s)]) for s, unit in samples]
    if min(len(s) for s, _ in known) < 2:
        return None, None, None
    value = known[0][0].mean() - (known[1][0].mean() if len(known) > 1 else 0)
    if min(len(np.unique(unit)) for _, unit in known) < 2:
        return float(value), None, None
    drawn = np.zeros(n)
    for sign, (s, unit) in zip((1, -1), known, strict=False):
        which = np.unique(unit, return_inverse=True)[1]
        count, total = np.bincount(which), np.bincount(which, s)
        for cut in blocks(n, max(1, 2**22 // len(count))):
            some = rng.integers(len(count), size=(len(drawn[cut]), len(count)))
            found = s.mean() + expansion(len(count)) * (total[some].sum(1) / count[some].sum(1) - s.mean())
            drawn[cut] += sign * found.clip(s.min(), s.max())
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(value), float(low), float(high)


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(np.nanmean(values)) if np.isfinite(values).any() else None
