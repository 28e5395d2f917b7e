"""Which feature space explains what: the product measure, and unique and shared variance."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from tqdm import tqdm

from neuroenc import config, splits
from neuroenc.arrays import make_scores, regions
from neuroenc.encoders.banded import BandedRidgeCV
from neuroenc.encoders.delay import delay_stimuli, gather
from neuroenc.encoders.inputs import folds_of
from neuroenc.encoders.missing import by_stimulus, fittable
from neuroenc.errors import InputError
from neuroenc.evaluation.evaluate import together_at
from neuroenc.evaluation.scores import paired, pearson_r, r2_score
from neuroenc.evaluation.statistics import resample
from neuroenc.evaluation.zones import Held, unique_shares
from neuroenc.real import deviation, varies

Floats = NDArray[Any]


def product_measure(truth: Floats, parts: Floats, metric: str = "r2") -> Floats:
    """Split the score of a sum of predictions into what each part adds.

    Parameters
    ----------
    truth : array of shape (n_samples, n_targets)
        NaN where a value is missing, whose row does not count for that target.
    parts : array of shape (n_parts, n_samples, n_targets)
        Predictions of each feature space; their sum is the prediction.
    metric : {"r2", "r"}

    Returns
    -------
    array of shape (n_parts, n_targets)
        Sums to R2, or to Pearson's r, of the sum. A part may be negative. NaN where the truth, or for
        "r" the prediction, is constant.

    References
    ----------
    Pratt (1987); la Tour et al. (2022), NeuroImage 264, 119728, equations 13 and 14.
    """
    if metric not in ("r2", "r"):
        raise InputError(f"Invalid value for 'metric': {metric!r}. Allowed: 'r2', 'r'.")
    if np.ndim(parts) != np.ndim(truth) + 1:
        raise InputError(f"parts has shape {np.shape(parts)}, expected (n_parts, *{np.shape(truth)}).")
    paired(truth, parts[0])
    vary, known = varies(truth), np.isfinite(truth)
    n = np.maximum(known.sum(0), 1)
    truth = np.where(known, truth, 0)
    level = truth.sum(0) / n
    truth = np.where(known, truth - level, 0)
    parts = np.where(known, parts, 0)
    mean = parts.sum(1, keepdims=True) / n
    centred = np.where(known, parts - mean, 0)
    whole = np.where(vary, (truth**2).sum(0), np.nan)
    if metric == "r":
        predicted = parts.sum(0)
        size = np.where(varies(predicted, known=known), np.sqrt((centred.sum(0) ** 2).sum(0)), np.nan)
        return np.asarray((truth * centred).sum(1) / (np.sqrt(whole) * size))
    # the mean of the prediction is no part's own: all share its error evenly
    split = (centred * (2 * truth - centred.sum(0))).sum(1)
    return np.asarray((split - n * (mean.sum(0)[0] - level) ** 2 / len(parts)) / whole)


def subsets(names: list[str]) -> list[tuple[str, ...]]:
    """List all subsets of feature spaces but the empty one, small ones first."""
    return [c for size in range(1, len(names) + 1) for c in combinations(names, size)]


def commonality(r2: dict[tuple[str, ...], Floats]) -> dict[str, Floats]:
    """Split cross-validated R2 into what spaces explain alone and what they share.

    Parameters
    ----------
    r2 : mapping
        R2 of every subset of the spaces, (n_targets,) each.

    Returns
    -------
    dict
        'A' is unique to A, 'A&B' shared by A and B alone, and so on; they sum to the R2 of all.
        With cross-validated scores a share may be negative.

    References
    ----------
    Nimon and Oswald (2013); Lescroart, Stansbury, Gallant (2015), Front. Comput. Neurosci. 9, 135.
    """
    names = max(r2, key=len)
    missing = set(subsets(list(names))) - set(r2)
    if missing:
        raise InputError(f"R2 of {min(missing)} is missing. Score every subset of {names}.")
    r2 = {spaces: np.asarray(score) for spaces, score in r2.items()}
    zero = np.zeros_like(next(iter(r2.values())))
    shares: dict[str, Floats] = {}
    for shared in subsets(list(names)):
        others = tuple(n for n in names if n not in shared)
        total = zero.copy()
        # inclusion and exclusion over the members that share it
        for size in range(len(shared) + 1):
            for added in combinations(shared, size):
                members = tuple(n for n in names if n in others or n in added)
                total += (-1) ** (size + 1) * (r2[members] if members else zero)
        shares["&".join(shared)] = total
    return shares


def partition(
    responses: xr.Dataset, features: dict[str, xr.Dataset], split: xr.Dataset, options: config.Banded,
    evaluation: config.Evaluation | None = None,
) -> xr.Dataset:  # fmt: skip
    """Split what several feature spaces explain of held-out stimuli.

    Every subset of the spaces is fitted by banded ridge on the training stimuli of each fold, strengths
    chosen on its inner folds, and scored on the test stimuli.

    Parameters
    ----------
    responses : Dataset
        Responses without time bins.
    features : mapping
        Name -> Features: two to five spaces.
    split : Dataset
        Splits.
    options : Banded
    evaluation : Evaluation, optional
        Samples, stretch, seed, level of false discovery.

    Returns
    -------
    Dataset
        Scores, mean over folds: `r2 A+B` of each subset, `unique A`, `shared A&B`, and the product measure
        of the full model, `split r2 A` and `split r A`. Neuroids that are constant in
        training or have too few values there are NaN. Beside them unique variance with intervals and the
        zone of each neuroid (`zones.unique_shares`), a number of `space_name`.

    Raises
    ------
    InputError
        Fewer than two spaces or more than five; responses with time bins.
    """
    if not 2 <= len(features) <= 5:
        raise InputError(f"{len(features)} feature spaces. Expected 2 to 5: all their subsets are fitted.")
    if responses["response"].ndim > 2:
        raise InputError("Partition reads responses without time bins. Average them first.")
    ids, mean, group, _ = by_stimulus(responses)
    evaluation = evaluation or config.Evaluation()
    by_fold, held = [], []
    for fold in range(split.sizes["fold"]):
        side, inner = splits.sides(split, fold, ids, group)
        train, test = side == splits.TRAIN, side == splits.TEST
        spaces = {name: _space(f, ids, train, options.delays) for name, f in features.items()}
        cv = folds_of(splits.inner_folds(inner[train]), int(train.sum()))
        scores, *predicted = _partition_fold(spaces, mean, train, test, cv, options)
        by_fold.append(scores)
        held.append(Held(ids[test], np.full(test.sum(), fold), *predicted))
    metrics = list(by_fold[0])
    table = np.array([[found[m] for m in metrics] for found in by_fold])
    found = make_scores(
        table.mean(0), metric=metrics, neuroid=responses, per_neuroid={}, fold_score=table,
        attrs={
            "dataset": responses.attrs["dataset"], "model": " + ".join(features), "encoder": "banded",
            "weights": "; ".join(str(f.attrs["weights"]) for f in features.values()),
            "fdr_level": evaluation.fdr_level, "n_bootstraps": evaluation.n_bootstraps,
        },
    )  # fmt: skip
    rows = Held(*(np.concatenate(v, -2 if v[0].ndim > 1 else 0) for v in zip(*held, strict=True)))
    together = together_at(responses, rows.stimulus, evaluation.stretch)
    samples = resample(
        rows.stimulus, rows.fold, stretch=together, n_stimuli=len(ids), n=evaluation.n_bootstraps,
        seed=evaluation.seed,
    )  # fmt: skip
    masks = {"all": np.ones(responses.sizes["neuroid"], bool), **regions(responses)}
    for name, (dims, values) in unique_shares(rows, samples, masks, evaluation.fdr_level).items():
        found[name] = dims, values.astype(np.float32) if values.dtype.kind == "f" else values
    return found.assign_coords(
        space_name=("space", np.array(list(features))), region_name=("region", np.array(list(masks))),
        estimate=["mean", "low", "high"],
    )  # fmt: skip


def _space(
    features: xr.Dataset, ids: NDArray[np.str_], train: NDArray[np.bool_], delays: list[int]
) -> Floats:
    """Standardise a feature space by the training stimuli, (n_stimuli, n_features); delayed if asked for."""
    X, rows = gather(features, ids, delays)
    shown = X[rows[train]]
    scale = deviation(shown)
    # spaces of many columns start no stronger than those of few
    width = np.sqrt(max(1, (scale > 0).sum()))
    X = (X - shown.mean(0)) / np.where(scale > 0, scale, 1) / width
    if delays:
        X = delay_stimuli(X, features, delays)
    return np.asarray(X[rows])


def _partition_fold(
    spaces: dict[str, Floats], mean: Floats, train: NDArray[np.bool_], test: NDArray[np.bool_], cv: Any,
    options: config.Banded,
) -> tuple[dict[str, Floats], Floats, Floats, Floats]:  # fmt: skip
    """Fit every subset of the spaces to the training stimuli.

    Returns
    -------
    scores : dict of metric to array of shape (n_neuroids,)
    truth, whole : arrays of shape (n_test, n_neuroids)
    without : array of shape (n_spaces, n_test, n_neuroids)
        As in `Held`.
    """
    Y = mean[train]
    usable = fittable(Y, cv)
    truth = mean[test][:, usable]
    known = np.isfinite(truth)
    low, high, number = options.alphas
    scores: dict[str, Floats] = {}
    r2: dict[tuple[str, ...], Floats] = {}
    predictions: dict[tuple[str, ...], Floats] = {}
    for subset in tqdm(subsets(list(spaces)), "partition", disable=None):  # the last is that of all
        X = np.concatenate([spaces[name] for name in subset], 1) * 30
        model = BandedRidgeCV(
            np.logspace(low, high, number), bands=np.repeat(subset, [spaces[n].shape[1] for n in subset]),
            cv=cv, n_candidates=options.n_candidates, n_gradient_steps=options.n_gradient_steps,
            seed=options.seed, dtype=options.dtype,
        ).fit(X[train], Y[:, usable])  # fmt: skip
        predictions[subset] = predicted = model.predict(X[test])
        r2[subset] = r2_score(truth, predicted, known)
        scores[f"r2 {'+'.join(subset)}"] = r2[subset]
    parts = model.predict_bands(X[test])[[list(model.bands_).index(name) for name in spaces]]
    offset = np.nanmean(Y[:, usable], 0) / len(spaces)
    for metric, whole in (("r2", parts + offset), ("r", parts)):
        shares = product_measure(truth, whole, metric)
        scores |= {f"split {metric} {name}": share for name, share in zip(spaces, shares, strict=True)}
    for name, share in commonality(r2).items():
        scores[f"{'shared' if '&' in name else 'unique'} {name}"] = share
    scores["pearson_r"] = pearson_r(truth, predicted, known)
    without = [predictions[tuple(n for n in spaces if n != name)] for name in spaces]
    truth, whole, others = (_spread(values, usable) for values in (truth, predicted, np.stack(without)))
    return {name: _spread(values, usable) for name, values in scores.items()}, truth, whole, others


def _spread(values: Floats, usable: NDArray[np.bool_]) -> Floats:
    """Put values of some neuroids, (…, n_usable), in their places; NaN elsewhere."""
    full = np.full((*values.shape[:-1], len(usable)), np.nan, values.dtype)
    full[..., usable] = values
    return full
