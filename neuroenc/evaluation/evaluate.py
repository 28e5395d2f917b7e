"""From predictions and Responses to Scores: raw beside normalised, with intervals and p-values."""

from __future__ import annotations

import numpy as np
import xarray as xr

from neuroenc.arrays import average_repeats, make_scores, regions, same_neuroids
from neuroenc.config import Evaluation
from neuroenc.errors import ContractError
from neuroenc.evaluation.ceilings import ceiling
from neuroenc.evaluation.identification import pattern_similarity, top_k
from neuroenc.evaluation.scores import normalised_r, pearson_r, r2_score
from neuroenc.evaluation.statistics import bootstrap_r, fdr, per_fold, permutation_p
from neuroenc.evaluation.time_course import cluster_p

METRICS = ["pearson_r", "r2", "normalised_r"]


def evaluate(responses: xr.Dataset, predictions: xr.Dataset, options: Evaluation) -> xr.Dataset:
    """Score held-out predictions.

    A score is the mean over folds; those of single folds are kept in `fold_score`.

    Parameters
    ----------
    responses, predictions : Dataset
        Of one subject.
    options : Evaluation
        Ceiling, threshold, bootstraps, permutations.

    Returns
    -------
    Dataset
        Scores. Beside `score` and `fold_score`: `ceiling`, `r_low`, `r_high`, `p`, `q`,
        `chosen_layer` and `validation_r2` per neuroid, `region_r` with its interval per region; with time
        bins `region_time_r`, and `region_time_p` corrected over time by clusters.
        Attributes count neuroids without score and below the threshold, and give the
        identification of the test stimuli, `brain_to_image_top1`, with its chance level.
    """
    same_neuroids(responses, predictions)
    ids, mean = average_repeats(responses)
    row = {s: i for i, s in enumerate(ids)}
    tested = predictions["stimulus_id"].values
    missing = [s for s in tested if s not in row]
    if missing:
        raise ContractError(
            f"{len(missing)} predicted stimuli have no response, first {str(missing[0])!r}; the responses "
            f"hold {len(ids)} stimuli, first {str(ids[0])!r}. Score the responses that were fitted."
        )
    test = np.array([row[s] for s in tested])
    shape = mean.shape[1:]
    film = stretch = None
    if {"film", "onset"} <= set(responses.coords):  # running stimuli, from here on in order of time
        unique, first = np.unique(responses["stimulus_id"].values, return_index=True)
        at = first[np.searchsorted(unique, tested)]
        film, onset = responses["film"].values[at], responses["onset"].values[at]
        order = np.lexsort((onset, film, predictions["fold"].values))
        predictions = predictions.isel(presentation=order)
        test, tested, film = test[order], tested[order], film[order]
        number = (onset[order] // options.stretch).astype(int).astype(str)
        stretch = np.char.add(np.char.add(film, "/"), number)
    y = mean[test].reshape(len(test), -1)
    prediction = predictions["prediction"].values.reshape(len(test), -1)
    fold = predictions["fold"].values
    fold_r, fold_r2 = (per_fold(score, y, prediction, fold) for score in (pearson_r, r2_score))
    fold_r2[~np.isfinite(fold_r)] = np.nan
    r = fold_r.mean(0)
    shown = np.isin(responses["stimulus_id"].values, ids[test])
    ncsnr = np.full(y.shape[1], np.nan)
    if "ncsnr" in responses.coords:
        ncsnr = np.repeat(responses["ncsnr"].values, y.shape[1] // shape[0])
    trials = responses["response"].values[shown].reshape(shown.sum(), -1)
    limit = ceiling(trials, responses["stimulus_id"].values[shown], options.ceiling, ncsnr)
    normalised, n_below = normalised_r(r, limit, threshold=options.threshold)
    fold_normalised = np.stack([normalised_r(f, limit, threshold=options.threshold)[0] for f in fold_r])
    fold_score = np.stack([fold_r, fold_r2, fold_normalised], axis=1)

    members = {"all": np.ones(shape[0], bool), **regions(responses)}
    n_bins = y.shape[1] // shape[0]
    wide = {name: np.repeat(m, n_bins) for name, m in members.items()}
    in_bin = {
        (name, k): m & (np.arange(y.shape[1]) % n_bins == k)
        for name, m in wide.items() for k in range(n_bins) if n_bins > 1
    }  # fmt: skip
    interval, limits = bootstrap_r(
        y, prediction, tested, fold, wide | in_bin, stretch=stretch, n=options.n_bootstraps,
        seed=options.seed,
    )  # fmt: skip
    p = permutation_p(y, prediction, tested, fold, film=film, n=options.n_permutations, seed=options.seed)
    layer = predictions["chosen_layer"].values
    chosen = np.array([max(set(c), key=list(c).count) for c in layer.reshape(len(layer), -1).T])
    validation = predictions["validation_r2"].mean("fold").values.reshape(-1, y.shape[1])

    per_neuroid = {
        "ceiling": limit, "p": p, "q": fdr(p), "r_low": interval[0], "r_high": interval[1],
        "chosen_layer": chosen,
    }  # fmt: skip
    bins = {str(k): c.values for k, c in responses.coords.items() if c.dims == ("time_bin",)}
    scores = make_scores(
        np.stack([r, fold_r2.mean(0), normalised]).reshape(len(METRICS), *shape),
        metric=METRICS,
        neuroid=responses,
        attrs={
            "dataset": responses.attrs["dataset"], "model": predictions.attrs["model"],
            "weights": predictions.attrs["weights"], "encoder": predictions.attrs["encoder"],
            "transductive": predictions.attrs["transductive"], "ceiling_method": options.ceiling,
            "ceiling_threshold": options.threshold, "fdr_level": options.fdr_level,
            "n_below_threshold": n_below,
            "n_without_score": int(np.isnan(r).sum()), "n_test_stimuli": len(set(ids[test])),
            **_identification(responses, predictions, y, prediction),
        },
        per_neuroid={k: v.reshape(shape) for k, v in per_neuroid.items()},
        fold_score=fold_score.reshape(-1, len(METRICS), *shape),
        time_bin=bins if len(shape) > 1 else None,
    )  # fmt: skip
    scores["validation_r2"] = (
        ("layer", *scores["score"].dims[1:]), validation.reshape(-1, *shape).astype(np.float32)
    )  # fmt: skip
    table = np.array([[_mean(r[m]), *limits[name]] for name, m in wide.items()])
    scores["region_r"] = (("region", "estimate"), table)
    if n_bins > 1:
        course = np.array([
            [[_mean(r[in_bin[name, k]]), *limits[name, k]] for k in range(n_bins)] for name in wide
        ])  # fmt: skip
        scores["region_time_r"] = (("region", "time_bin", "estimate"), course)
        scores["region_time_p"] = (("region", "time_bin"), np.array([
            cluster_p(y.reshape(len(y), *shape), prediction.reshape(len(y), *shape), tested, fold, m,
                      film=film, n=options.n_permutations, seed=options.seed)
            for m in members.values()
        ]))  # fmt: skip
    return scores.assign_coords(
        layer_name=("layer", predictions["layer_name"].values),
        region_name=("region", list(wide)), estimate=["mean", "low", "high"],
    )  # fmt: skip


def _mean(values: np.ndarray) -> float:
    """Mean of the values that are known."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else np.nan


def _identification(
    responses: xr.Dataset,
    predictions: xr.Dataset,
    y: np.ndarray,
    prediction: np.ndarray,
) -> dict[str, float]:
    """Identify each fold's test stimuli; neuroids weigh by their validation R2."""
    ids, mean = average_repeats(responses)
    fold = predictions["fold"].values
    top1, top5, sizes = [], [], []
    for number, f in enumerate(np.unique(fold)):
        rows = fold == f
        train = mean[~np.isin(ids, predictions["stimulus_id"].values[rows])].reshape(-1, y.shape[1])
        centre, scale = train.mean(0), train.std(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            measured, predicted = (
                (v[rows] - centre) / np.where(scale > 0, scale, np.nan) for v in (y, prediction)
            )
        best = predictions["validation_r2"].values[number].max(0).ravel()
        sizes.append(int(rows.sum()))
        if not (best > 0).any():
            top1.append(0.0)
            top5.append(0.0)
            continue
        similarity = pattern_similarity(measured, predicted, best)
        top1.append(top_k(similarity, 1))
        top5.append(top_k(similarity, 5))
    return {
        "brain_to_image_top1": float(np.mean(top1)), "brain_to_image_top5": float(np.mean(top5)),
        "brain_to_image_chance": float(np.mean([1 / n for n in sizes])),
    }  # fmt: skip
