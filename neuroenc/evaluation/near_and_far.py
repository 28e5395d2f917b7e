"""Scores of decoded pictures, captions and retrieval, near to and far from what a decoder was trained on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.errors import InputError, InputWarning
from neuroenc.evaluation.distance import N_BINS, bootstrap, quarters

ABOUT = ("metric", "condition", "network", "judge", "layer", "gave_the_embedding", "encoder")
SCORE = ("metric", "network", "judge", "layer", "encoder")
ADDED = "brain - shuffled"
DEFINITIONS = {
    "near, far": "means over near and over far test stimuli: the folds of split.kind 'distant', else the "
    "nearest and the farthest quarter of those of all folds",
    "near_distance, far_distance": "mean distance to the nearest training stimulus, in the space of "
    "split.features: root mean square of standardised features",
    "gap": "near less far. Unusual pictures may be told apart more easily by any guess, so that far ones can "
    "be ahead in all conditions: `brain - shuffled` is what the response adds, picture by picture",
    "…low, …high": "95 % interval: stimuli drawn with replacement, those of one group or stretch of film "
    "together; none of a single one",
    "distractors": "of two-way identification and retrieval are near and far stimuli alike",
}


def distances(ids: NDArray[np.str_], fold: NDArray[np.int64], split: xr.Dataset) -> NDArray[np.float64]:
    """Return how far decoded stimuli, (n,), are from what was trained on in their folds, (n,).

    Raises
    ------
    InputError
        The split was made without features, or does not test a stimulus.
    """
    if "distance" not in split:
        raise InputError(
            "The split holds no distances: it was made without features. Set split.features and make it "
            "again."
        )
    place = {s: i for i, s in enumerate(split["stimulus_id"].values)}
    at = np.array([place.get(s, -1) for s in ids])
    distance = split["distance"].values[fold, at]
    if (at < 0).any() or not np.isfinite(distance).all():
        lost = ids[(at < 0) | ~np.isfinite(distance)]
        raise InputError(
            f"{len(lost)} of {len(ids)} decoded stimuli are not tested by the split, first {str(lost[0])!r}. "
            "Use the split they were decoded by."
        )
    return np.asarray(distance, float)


def near_and_far(
    rows: Sequence[dict[str, Any]], ids: NDArray[np.str_], fold: NDArray[np.int64], split: xr.Dataset, *,
    n_bootstraps: int = 1000, seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Part the scores of stimuli into near and far ones.

    Parameters
    ----------
    rows : sequence of dict
        Scores with a value of each stimulus, `each` (n,), and the number of what it is drawn together with,
        `unit` (n,), in every condition, so that each figure stands between its bounds. Rows without `each`
        are left out.
    ids, fold : arrays of shape (n,)
        Of the stimuli.
    split : Dataset
        Splits with `distance`.
    n_bootstraps, seed : int

    Returns
    -------
    dict
        `rows`: what a score is of, near, far, gap, each with low and high, distances and numbers; none where
        fewer than eight stimuli are to be parted, which is a warning.

    Raises
    ------
    InputError
        As `distances`.
    """
    distance = distances(ids, fold, split)
    about = {
        "definitions": DEFINITIONS, "kind_of_split": split.attrs["kind_of_split"],
        "space": split.attrs.get("features", ""), "seed": seed,
    }  # fmt: skip
    if "condition" in split.coords:
        condition = split["condition"].values[fold]
        near, far = condition == "near", condition == "far"
    elif len(ids) < 2 * N_BINS:
        warnings.warn(
            f"{len(ids)} stimuli are too few to tell near from far, expected {2 * N_BINS} or more.",
            InputWarning, stacklevel=2,
        )  # fmt: skip
        return {**about, "rows": []}
    else:
        quarter = quarters(distance)
        near, far = quarter == 0, quarter == N_BINS - 1
    of = {"near_distance": float(distance[near].mean()), "far_distance": float(distance[far].mean()),
          "n_near": int(near.sum()), "n_far": int(far.sum())}  # fmt: skip
    known = [r for r in rows if r.get("each")]
    return {**about, "rows": [_row(r, near, far, n_bootstraps, seed) | of for r in [*known, *_added(known)]]}


def _added(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give what was decoded less what a shuffled brain gives, of each stimulus."""
    of = {(*(r.get(k) for k in SCORE), r["condition"]): r for r in rows}
    out = []
    for key, brain in of.items():
        shuffled = of.get((*key[:-1], "shuffled"))
        if key[-1] == "brain" and shuffled is not None:
            each = (np.array(brain["each"], float) - np.array(shuffled["each"], float)).tolist()
            out.append({**brain, "condition": ADDED, "each": each})
    return out


def _row(
    r: dict[str, Any], near: NDArray[np.bool_], far: NDArray[np.bool_], n_bootstraps: int, seed: int
) -> dict[str, Any]:
    values, unit = np.array(r["each"], float), np.array(r["unit"])
    parts = {"near": (values[near], unit[near]), "far": (values[far], unit[far])}
    out = {k: r[k] for k in ABOUT if k in r}
    for name, sample in (*((k, [v]) for k, v in parts.items()), ("gap", list(parts.values()))):
        value, low, high = bootstrap(sample, n_bootstraps, np.random.default_rng(seed))
        out |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return out
