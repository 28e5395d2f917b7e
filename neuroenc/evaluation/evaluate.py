"""From predictions and Responses to Scores: raw beside normalised, with intervals and p-values."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.arrays import make_scores, parcels, regions, same_neuroids, trained
from neuroenc.config import Evaluation
from neuroenc.encoders.missing import by_stimulus
from neuroenc.errors import ContractError, InputError
from neuroenc.evaluation.brainscore import PARTS, by_region
from neuroenc.evaluation.ceilings import ceiling
from neuroenc.evaluation.identification import Patterns, standardise_by
from neuroenc.evaluation.pairs import METRICS as PATTERN_METRICS
from neuroenc.evaluation.pairs import score_patterns
from neuroenc.evaluation.permutation import permutation_p
from neuroenc.evaluation.scores import normalised_r, pearson_r, r2_score
from neuroenc.evaluation.statistics import bootstrap_r, fdr, per_fold
from neuroenc.evaluation.time_course import cluster_p

Floats = NDArray[np.float64]
Masks = dict[str, NDArray[np.bool_]]
Group = str | tuple[str, int] | tuple[str, str]
"""A region, a region in a time bin, or a parcel of a hemisphere"""
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
        bins `region_time_r`, and `region_time_p` corrected over time by clusters. Of an atlas `parcel_r`, the
        same per parcel of each hemisphere. With `options.pairs` `pattern_score`, `pattern_null` and
        `pattern_p` per region (`pairs.score_patterns`).
        Where asked for `brainscore`, Brain-Score's statistic per region.
        Attributes count neuroids without score and below the threshold, and test stimuli without any response
        (`n_missing_stimuli`, named in `missing_stimuli`), and give the identification of the test stimuli by
        the correlation of patterns, `brain_to_image_top1`, with its chance level. A neuroid that lacks some
        values is scored on those it has.

    Raises
    ------
    InputError
        No test stimulus has a response; the ceiling is to be given and is not; Brain-Score's statistic of
        other than ten splits, or of time bins.
    ContractError
        Predictions and responses of other neuroids or stimuli.
    """
    same_neuroids(responses, predictions)
    rows = align(responses, predictions, options.stretch)
    shape = responses["response"].shape[1:]
    method, limit = ceiling_of(responses, rows.tested, options.ceiling)
    score, fold_score, n_below = fold_scores(rows, limit, options.threshold)
    members = {"all": np.ones(shape[0], bool), **regions(responses)}
    n_bins = rows.y.shape[1] // shape[0]
    of_atlas = {key: np.repeat(inside, n_bins) for key, inside in parcels(responses).items()}
    groups = _groups(members, n_bins) | of_atlas
    interval, limits = bootstrap_r(
        rows.y, rows.prediction, rows.tested, rows.fold, groups, stretch=rows.together,
        n_stimuli=len(rows.mean), n=options.n_bootstraps, seed=options.seed,
    )  # fmt: skip
    p = permutation_p(
        rows.y, rows.prediction, rows.tested, rows.fold, film=rows.film, group=rows.group,
        n_stimuli=len(rows.mean), n=options.n_permutations, seed=options.seed,
    )  # fmt: skip
    per_neuroid = {
        "ceiling": limit, "p": p, "q": fdr(p), "r_low": interval[0], "r_high": interval[1],
        "chosen_layer": _most_often(predictions),
    }  # fmt: skip
    bins = {str(k): c.values for k, c in responses.coords.items() if c.dims == ("time_bin",)}
    scores = make_scores(
        score.reshape(-1, *shape),
        metric=METRICS,
        neuroid=responses,
        attrs={
            "dataset": responses.attrs["dataset"],
            **{k: predictions.attrs[k] for k in ("model", "weights", "encoder", "transductive")},
            "ceiling_method": method, "ceiling_threshold": options.threshold,
            "fdr_level": options.fdr_level, "n_below_threshold": n_below,
            "n_without_score": int(np.isnan(score[0]).sum()), "n_test_stimuli": len(np.unique(rows.tested)),
            "n_training_stimuli": int(rows.training.sum(1).min()),
            "n_missing_stimuli": len(rows.missing), "missing_stimuli": ", ".join(rows.missing[:20]),
            **_identification(predictions, rows),
        },
        per_neuroid={k: v.reshape(shape) for k, v in per_neuroid.items()},
        fold_score=fold_score.reshape(-1, len(METRICS), *shape),
        time_bin=bins if len(shape) > 1 else None,
    )  # fmt: skip
    validation = predictions["validation_r2"].mean("fold").values.reshape(-1, *shape)
    scores["validation_r2"] = ("layer", *scores["score"].dims[1:]), validation.astype(np.float32)
    estimates = {name: [_mean(score[0, inside]), *limits[name]] for name, inside in groups.items()}
    if of_atlas:
        scores["parcel_r"] = ("parcel_index", "estimate"), np.array([estimates[key] for key in of_atlas])
        scores = scores.assign_coords(
            parcel_hemisphere=("parcel_index", [side for side, _ in of_atlas]),
            parcel_name=("parcel_index", [name for _, name in of_atlas]),
        )
    if options.pairs:
        patterns = _patterns(rows, groups, list(members), options)
        scores["pattern_score"] = ("pattern_metric", "region", "estimate"), patterns[..., :3]
        scores["pattern_null"] = ("pattern_metric", "region"), patterns[..., 3]
        scores["pattern_p"] = ("pattern_metric", "region"), patterns[..., 4]
        scores = scores.assign_coords(pattern_metric=list(PATTERN_METRICS))
    if options.brainscore:
        scores["brainscore"] = ("region", "part"), by_region(responses, fold_score[:, 0], members)
        scores = scores.assign_coords(part=list(PARTS))
    return _with_regions(scores, rows, members, estimates, options).assign_coords(
        layer_name=("layer", predictions["layer_name"].values)
    )


def standard_patterns(rows: Rows) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Standardise neuroids by the training responses of each fold, so that each has its say.

    Returns
    -------
    y, prediction : ndarrays of shape (n_rows, n_neuroids x n_time_bins)
    """
    y: NDArray[np.float32] = np.full_like(rows.y, np.nan, np.float32)
    prediction = y.copy()
    for f in np.unique(rows.fold):
        here = rows.fold == f
        standard = _standardised(rows, f, slice(0, y.shape[1]))
        y[here], prediction[here] = standard[0], standard[1]
    return y, prediction


def _patterns(rows: Rows, groups: dict[Group, Any], regions_: list[str], options: Evaluation) -> Floats:
    """Score the patterns of each region, (n_metrics, n_regions, 5): an `Estimate` along the last axis."""
    y, prediction = standard_patterns(rows)
    found = [
        score_patterns(
            y[:, groups[name]], prediction[:, groups[name]], rows.tested, rows.fold, stretch=rows.together,
            film=rows.film, group=rows.group, n_stimuli=len(rows.mean), n_bootstraps=options.n_bootstraps,
            n_permutations=options.n_permutations, seed=options.seed,
        )
        for name in regions_
    ]  # fmt: skip
    return np.array([[of[metric] for of in found] for metric in PATTERN_METRICS])


class Rows(NamedTuple):
    """Test stimuli of all folds, in an order that is not that of the files."""

    y: np.ndarray
    prediction: np.ndarray
    """(n_rows, n_neuroids x n_time_bins)"""
    tested: np.ndarray
    fold: np.ndarray
    film: np.ndarray | None
    """Of running stimuli, whose rows stand in order of time."""
    together: np.ndarray | None
    """What is drawn and exchanged together: a stretch of a film, a group of stimuli; None: each by itself."""
    mean: np.ndarray
    """(n_stimuli, n_neuroids x n_time_bins), those that are never tested among them"""
    training: np.ndarray
    """(n_folds, n_stimuli): which of these each fold was fitted to"""
    missing: list[str]
    """Test stimuli that no neuroid has a response to."""

    @property
    def unit(self) -> np.ndarray:
        """What is drawn or exchanged together, each stimulus by itself if nothing else."""
        return self.tested if self.together is None else self.together

    @property
    def group(self) -> np.ndarray | None:
        """Of stimuli that do not run."""
        return self.together if self.film is None else None


class Running(NamedTuple):
    """When stimuli of films and stories were on."""

    film: np.ndarray
    onset: np.ndarray
    """s"""

    def stretches(self, seconds: float) -> np.ndarray:
        """Name what is drawn together."""
        number = (self.onset // seconds).astype(int).astype(str)
        return np.char.add(np.char.add(self.film, "/"), number)


def running_at(responses: xr.Dataset, stimulus: np.ndarray) -> Running | None:
    """Say when each of some stimuli was on; None where they are not of films or stories."""
    if not {"film", "onset"} <= set(responses.coords):
        return None
    unique, first = np.unique(responses["stimulus_id"].values, return_index=True)
    at = first[np.searchsorted(unique, stimulus)]
    return Running(responses["film"].values[at], responses["onset"].values[at])


def groups_at(responses: xr.Dataset, stimulus: np.ndarray) -> np.ndarray | None:
    """Name the group of each of some stimuli, which is alike within.

    None where no two share one, and where all do: what is said then is of this group, one by one.
    """
    unique, first = np.unique(responses["stimulus_id"].values, return_index=True)
    group = responses["group"].values[first[np.searchsorted(unique, stimulus)]]
    return group if alike(group[np.unique(stimulus, return_index=True)[1]]) is not None else None


def alike(group: np.ndarray) -> np.ndarray | None:
    """Return the groups of stimuli, one each; None where no two share one, and where all do."""
    return group if 1 < len(np.unique(group)) < len(group) else None


def together_at(dataset: xr.Dataset, stimulus: np.ndarray, stretch: float) -> np.ndarray | None:
    """Name what is drawn together with each of some stimuli: a stretch of its film, or its group.

    Parameters
    ----------
    dataset : Dataset
        Responses or StimulusSet that hold the stimuli.
    stimulus : array of text
    stretch : float
        s.

    Returns
    -------
    array of text, or None
        None: each stimulus by itself.
    """
    running = running_at(dataset, stimulus)
    return groups_at(dataset, stimulus) if running is None else running.stretches(stretch)


def align(responses: xr.Dataset, predictions: xr.Dataset, stretch: float) -> Rows:
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
    fold, film, together = predictions["fold"].values, None, None
    if (running := running_at(responses, tested[rows])) is not None:  # they stand in order of time
        order = np.lexsort((running.onset, running.film, fold[rows]))
        film, together = running.film[order], running.stretches(stretch)[order]
    else:
        order = np.lexsort((tested[rows], fold[rows]))
        together = groups_at(responses, tested[rows][order])
    rows, row = rows[order], {s: i for i, s in enumerate(ids)}
    mean = mean.reshape(len(ids), -1)
    prediction = predictions["prediction"].values
    return Rows(
        mean[[row[s] for s in tested[rows]]], prediction.reshape(len(prediction), -1)[rows], tested[rows],
        fold[rows], film, together, mean, trained(predictions, ids),
        sorted({str(s) for s in tested[~there]}),
    )  # fmt: skip


def fold_scores(rows: Rows, limit: Floats, threshold: float) -> tuple[Floats, Floats, int]:
    """Score by each of `METRICS`.

    Returns
    -------
    score : ndarray of shape (n_metrics, n_neuroids x n_time_bins)
        Mean over folds.
    fold_score : ndarray of shape (n_folds, n_metrics, n_neuroids x n_time_bins)
    n_below : int
        Neuroids, or bins of them, whose ceiling is below the threshold.
    """
    r, r2 = (per_fold(score, rows.y, rows.prediction, rows.fold) for score in (pearson_r, r2_score))
    r2[~np.isfinite(r)] = np.nan
    normalised, n_below = normalised_r(r.mean(0), limit, threshold=threshold)
    fold_normalised = np.stack([normalised_r(f, limit, threshold=threshold)[0] for f in r])
    return np.stack([r.mean(0), r2.mean(0), normalised]), np.stack([r, r2, fold_normalised], 1), n_below


def _groups(members: Masks, n_bins: int) -> dict[Group, NDArray[np.bool_]]:
    """List the columns of each region, and where there are time bins those of each region in each bin."""
    groups: dict[Group, NDArray[np.bool_]] = {}
    for name, inside in members.items():
        groups[name] = np.repeat(inside, n_bins)
    if n_bins > 1:
        for name in members:
            bins = np.arange(len(groups[name])) % n_bins
            groups |= {(name, k): groups[name] & (bins == k) for k in range(n_bins)}
    return groups


def _with_regions(
    scores: xr.Dataset, rows: Rows, members: Masks, estimates: dict[Group, list[float]], options: Evaluation
) -> xr.Dataset:
    """Add the mean r of each region with its interval, and where there are time bins its course."""
    scores["region_r"] = ("region", "estimate"), np.array([estimates[name] for name in members])
    shape = scores["score"].shape[1:]
    if rows.y.shape[1] > shape[0]:
        y, prediction = (v.reshape(len(v), *shape) for v in (rows.y, rows.prediction))
        course = [[estimates[name, k] for k in range(shape[1])] for name in members]
        scores["region_time_r"] = ("region", "time_bin", "estimate"), np.array(course)
        scores["region_time_p"] = ("region", "time_bin"), np.array([
            cluster_p(y, prediction, rows.tested, rows.fold, inside, film=rows.film, group=rows.group,
                      n_stimuli=len(rows.mean), n=options.n_permutations, seed=options.seed)
            for inside in members.values()
        ])  # fmt: skip
    return scores.assign_coords(region_name=("region", list(members)), estimate=["mean", "low", "high"])


class Trials:
    """Some presentations, (n_presentations, n_neuroids x n_time_bins): columns are read from the file."""

    def __init__(self, response: xr.DataArray, rows: NDArray[np.int64]) -> None:
        self.response, self.rows = response, rows
        self.n_bins = int(np.prod(response.shape[2:]))
        self.shape = len(rows), response.shape[1] * self.n_bins

    def __getitem__(self, at: tuple[slice, slice]) -> NDArray[np.float32]:
        """Read columns, `[:, cut]`, of all rows: what lies together is read at once."""
        cut = at[1]
        first, last = cut.start // self.n_bins, -(-cut.stop // self.n_bins)
        found = self.response[:, first:last].values[self.rows].reshape(len(self.rows), -1)
        return found[:, cut.start - first * self.n_bins : cut.stop - first * self.n_bins]


def ceiling_of(responses: xr.Dataset, tested: np.ndarray, method: str) -> tuple[str, np.ndarray]:
    """Ceiling of what is scored; one that comes with the data if asked for, or where nothing is repeated."""
    shown = np.flatnonzero(np.isin(responses["stimulus_id"].values, tested))
    keys = [responses[k].values[shown] for k in ("repetition", "run", "session", "stimulus_id")]
    shown = shown[np.lexsort(keys)]  # halves are drawn by the order of repeats
    stimulus = responses["stimulus_id"].values[shown]
    trials = Trials(responses["response"], shown)
    n_bins = trials.n_bins
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


def _standardised(rows: Rows, fold: int, cut: slice) -> list[Floats]:
    """Standardise what a fold's test stimuli evoked, and what was predicted, for some neuroids."""
    here = rows.fold == fold
    return standardise_by(
        rows.mean[:, cut][rows.training[fold]], rows.y[:, cut][here], rows.prediction[:, cut][here]
    )


def _identification(predictions: xr.Dataset, rows: Rows) -> dict[str, float]:
    """Identify each fold's test stimuli; neuroids weigh by their validation R2."""
    found: dict[int, list[float]] = {1: [], 5: []}
    chance: dict[int, list[float]] = {1: [], 5: []}
    for f in np.unique(rows.fold):
        here = rows.fold == f
        validation = predictions["validation_r2"].values[f]
        weight = np.where(np.isnan(validation), -np.inf, validation).max(0).ravel()
        patterns = Patterns(partial(_standardised, rows, f), (int(here.sum()), len(weight)), weight)
        rank = patterns.own_rank()
        for k in (1, 5):
            chance[k].append(min(1.0, k / here.sum()))
            # where validation trusts no neuroid there is nothing to go by: a guess
            found[k].append(chance[k][-1] if rank is None else float((rank < k).mean()))
    return {
        "brain_to_image_top1": float(np.mean(found[1])), "brain_to_image_top5": float(np.mean(found[5])),
        "brain_to_image_chance": float(np.mean(chance[1])),
        "brain_to_image_top5_chance": float(np.mean(chance[5])),
    }  # fmt: skip
