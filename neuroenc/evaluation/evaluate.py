"""From predictions and Responses to Scores: raw beside normalised, with intervals and p-values."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from neuroenc.arrays import make_scores, regions, same_neuroids, trained
from neuroenc.config import Evaluation
from neuroenc.encoders.missing import by_stimulus
from neuroenc.errors import ContractError, InputError
from neuroenc.evaluation.ceilings import ceiling
from neuroenc.evaluation.identification import own_rank, standardise_by
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
        Attributes count neuroids without score and below the threshold, and test stimuli without any response
        (`n_missing_stimuli`, named in `missing_stimuli`), and give the identification of the test stimuli by
        the correlation of patterns, `brain_to_image_top1`, with its chance level. A neuroid that lacks some
        values is scored on those it has.

    Raises
    ------
    InputError
        No test stimulus has a response; the ceiling is to be given and is not.
    ContractError
        Predictions and responses of other neuroids or stimuli.
    """
    same_neuroids(responses, predictions)
    rows = _align(responses, predictions, options.stretch)
    y, prediction, tested, fold, n_stimuli = *rows[:4], len(rows.mean)
    shape = responses["response"].shape[1:]
    fold_r, fold_r2 = (per_fold(score, y, prediction, fold) for score in (pearson_r, r2_score))
    fold_r2[~np.isfinite(fold_r)] = np.nan
    r = fold_r.mean(0)
    method, limit = _ceiling(responses, tested, options.ceiling)
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
        y, prediction, tested, fold, wide | in_bin, stretch=rows.stretch, n=options.n_bootstraps,
        seed=options.seed,
    )  # fmt: skip
    p = permutation_p(
        y, prediction, tested, fold, film=rows.film, n_stimuli=n_stimuli, n=options.n_permutations,
        seed=options.seed,
    )  # fmt: skip
    validation = predictions["validation_r2"].mean("fold").values.reshape(-1, y.shape[1])

    per_neuroid = {
        "ceiling": limit, "p": p, "q": fdr(p), "r_low": interval[0], "r_high": interval[1],
        "chosen_layer": _most_often(predictions),
    }  # fmt: skip
    bins = {str(k): c.values for k, c in responses.coords.items() if c.dims == ("time_bin",)}
    scores = make_scores(
        np.stack([r, fold_r2.mean(0), normalised]).reshape(len(METRICS), *shape),
        metric=METRICS,
        neuroid=responses,
        attrs={
            "dataset": responses.attrs["dataset"], "model": predictions.attrs["model"],
            "weights": predictions.attrs["weights"], "encoder": predictions.attrs["encoder"],
            "transductive": predictions.attrs["transductive"], "ceiling_method": method,
            "ceiling_threshold": options.threshold, "fdr_level": options.fdr_level,
            "n_below_threshold": n_below,
            "n_without_score": int(np.isnan(r).sum()), "n_test_stimuli": len(np.unique(tested)),
            "n_missing_stimuli": len(rows.missing), "missing_stimuli": ", ".join(rows.missing[:20]),
            **_identification(predictions, rows),
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
                      film=rows.film, n_stimuli=n_stimuli, n=options.n_permutations, seed=options.seed)
            for m in members.values()
        ]))  # fmt: skip
    return scores.assign_coords(
        layer_name=("layer", predictions["layer_name"].values),
        region_name=("region", list(wide)), estimate=["mean", "low", "high"],
    )  # fmt: skip


class Rows(NamedTuple):
    """Test stimuli of all folds, in an order that is not that of the files."""

    y: np.ndarray
    prediction: np.ndarray
    """(n_rows, n_neuroids x n_time_bins)"""
    tested: np.ndarray
    fold: np.ndarray
    film: np.ndarray | None
    stretch: np.ndarray | None
    """Of running stimuli, whose rows stand in order of time."""
    mean: np.ndarray
    """(n_stimuli, n_neuroids x n_time_bins), those that are never tested among them"""
    training: np.ndarray
    """(n_folds, n_stimuli): which of these each fold was fitted to"""
    missing: list[str]
    """Test stimuli that no neuroid has a response to."""


def _align(responses: xr.Dataset, predictions: xr.Dataset, stretch: float) -> Rows:
    """Put responses beside predictions; leave out stimuli that no neuroid has a response to."""
    tested, known = predictions["stimulus_id"].values, responses["stimulus_id"].values
    absent = tested[~np.isin(tested, known)]
    if len(absent):
        raise ContractError(
            f"{len(set(absent))} predicted stimuli have no response, first {str(absent[0])!r}; the responses "
            f"hold {len(set(known))} stimuli, first {str(known[0])!r}. Score the responses that were fitted."
        )
    ids, mean, *_ = by_stimulus(responses)
    there = np.isin(tested, ids)
    if not there.any():
        raise InputError(f"None of {len(tested)} test stimuli has a response that is a number.")
    rows = np.flatnonzero(there)
    fold, film, stretches = predictions["fold"].values, None, None
    if {"film", "onset"} <= set(responses.coords):  # running stimuli stand in order of time
        unique, first = np.unique(known, return_index=True)
        at = first[np.searchsorted(unique, tested[rows])]
        film, onset = responses["film"].values[at], responses["onset"].values[at]
        order = np.lexsort((onset, film, fold[rows]))
        number = (onset // stretch).astype(int).astype(str)
        film, stretches = film[order], np.char.add(np.char.add(film, "/"), number)[order]
    else:
        order = np.lexsort((tested[rows], fold[rows]))
    rows, row = rows[order], {s: i for i, s in enumerate(ids)}
    mean = mean.reshape(len(ids), -1)
    prediction = predictions["prediction"].values
    return Rows(
        mean[[row[s] for s in tested[rows]]], prediction.reshape(len(prediction), -1)[rows], tested[rows],
        fold[rows], film, stretches, mean, trained(predictions, ids),
        sorted({str(s) for s in tested[~there]}),
    )  # fmt: skip


def _ceiling(responses: xr.Dataset, tested: np.ndarray, method: str) -> tuple[str, np.ndarray]:
    """Ceiling of what is scored; one that comes with the data if asked for, or where nothing is repeated."""
    shown = np.flatnonzero(np.isin(responses["stimulus_id"].values, tested))
    keys = [responses[k].values[shown] for k in ("repetition", "run", "session", "stimulus_id")]
    shown = shown[np.lexsort(keys)]  # halves are drawn by the order of repeats
    stimulus = responses["stimulus_id"].values[shown]
    trials = responses["response"].values[shown].reshape(len(shown), -1)
    n_bins = trials.shape[1] // responses.sizes["neuroid"]
    given, ncsnr = (
        np.repeat(responses[k].values, n_bins) if k in responses.coords else np.full(trials.shape[1], np.nan)
        for k in ("noise_ceiling", "ncsnr")
    )
    if method == "given" and "noise_ceiling" not in responses.coords:
        raise InputError(
            "evaluation.ceiling is 'given', but the responses hold no `noise_ceiling` of each neuroid. Give "
            "the column, or estimate it from repeats: 'ncsnr', 'split_half' or 'explainable_variance'."
        )
    if np.isfinite(given).any() and len(np.unique(stimulus)) == len(stimulus):
        method = "given"
    return method, ceiling(trials, stimulus, method, ncsnr, given)


def _most_often(predictions: xr.Dataset) -> np.ndarray:
    """Layer that most folds choose, of equals the first; empty where none is chosen."""
    names = [*predictions["layer_name"].values, ""]
    chosen = predictions["chosen_layer"].values
    chosen = chosen.reshape(len(chosen), -1)
    return np.array(names)[np.array([(chosen == name).sum(0) for name in names]).argmax(0)]


def _mean(values: np.ndarray) -> float:
    """Mean of the values that are known."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else np.nan


def _identification(predictions: xr.Dataset, rows: Rows) -> dict[str, float]:
    """Identify each fold's test stimuli; neuroids weigh by their validation R2."""
    found: dict[int, list[float]] = {1: [], 5: []}
    chance: dict[int, list[float]] = {1: [], 5: []}
    for f in np.unique(rows.fold):
        here = rows.fold == f
        measured, predicted = standardise_by(rows.mean[rows.training[f]], rows.y[here], rows.prediction[here])
        validation = predictions["validation_r2"].values[f]
        rank = own_rank(
            measured, predicted, np.where(np.isnan(validation), -np.inf, validation).max(0).ravel()
        )
        for k in (1, 5):
            chance[k].append(min(1.0, k / here.sum()))
            # where validation trusts no neuroid there is nothing to go by: a guess
            found[k].append(chance[k][-1] if rank is None else float((rank < k).mean()))
    return {
        "brain_to_image_top1": float(np.mean(found[1])), "brain_to_image_top5": float(np.mean(found[5])),
        "brain_to_image_chance": float(np.mean(chance[1])),
        "brain_to_image_top5_chance": float(np.mean(chance[5])),
    }  # fmt: skip
