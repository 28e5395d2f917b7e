"""Representational similarity: dissimilarity matrices of layers held against those of regions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from neuroenc.arrays import join, regions, select_layers
from neuroenc.blocks import blocks
from neuroenc.config import Similarity
from neuroenc.encoders.missing import by_stimulus, complete
from neuroenc.errors import InputError
from neuroenc.evaluation.brains import predict_brains
from neuroenc.evaluation.ceilings import spearman_brown, stack_trials
from neuroenc.evaluation.dissimilarity import (
    DOUBLE,
    FEWEST,
    Distance,
    agreement,
    dissimilarity,
    limit,
    over_subjects,
    prepare,
    usable,
    whiten,
)
from neuroenc.evaluation.statistics import fold_weights

Rows = NDArray[np.int64]
HELD = 4 * 2**30  # bytes of triangles of regions held at a time: 21 of 10,000 stimuli
DRAWN = 200  # stimuli of a half sample at most: beyond, the interval is scaled
RELIABLE = 1000  # stimuli by which the reliability of a subject is estimated at most
DEFINITIONS = {
    "value": "agreement of the two dissimilarity matrices, the mean over subjects",
    "low, high": "95 % interval: half samples of stimuli, and Student's t over subjects",
    "ceiling_low, ceiling_high": "over subjects: agreement of each with the mean of the others, and of all "
    "(Nili et al. 2014). Of one subject: agreement of the halves of its repeats, and by Spearman-Brown the "
    "root of the "
    "reliability of all (spearman and pearson)",
    "n_left_out": "stimuli without a pattern in some layer or region: missing, or constant",
    "brain_to_brain": "mean r of a region predicted from all neuroids of the other subjects, by ridge in 5 "
    "folds",
}


class Space(NamedTuple):
    """Patterns of one region of a subject, or of one layer of a model."""

    name: str
    """Subject, or model"""
    part: str
    """Region, or layer"""
    distance: Distance
    patterns: Callable[[], NDArray[Any]]
    """(n_stimuli, p), or (n_stimuli, n_repeats, p) for crossnobis"""


class Subject(NamedTuple):
    """Responses of one subject to the stimuli that all subjects and models have."""

    mean: NDArray[np.float32]
    """(n_stimuli, n_neuroids)"""
    trials: NDArray[np.float64] | None
    """(n_stimuli, n_repeats, n_neuroids), where there are repeats; NaN beyond those a stimulus has"""
    regions: dict[str, NDArray[np.bool_]]


def similarity(
    responses: Mapping[str, xr.Dataset], features: Mapping[str, xr.Dataset], options: Similarity
) -> dict[str, Any]:
    """Compare every layer of every model with every region.

    Parameters
    ----------
    responses : mapping of subject to Dataset
    features : mapping of model to Dataset
    options : Similarity

    Returns
    -------
    dict
        `rows`: one for each layer and region, with `value`, `low`, `high`, `ceiling_low`, `ceiling_high`;
        None where a comparison is not defined, with the reason in `note`. `brain_to_brain`, `n_stimuli`,
        `left_out`.

    Raises
    ------
    InputError
        Too few stimuli are shared, responses have time bins, or repeats are needed and are not there.
    """
    ids, subjects = _shared(responses, features, options.distance)
    brains = [
        Space(name, region, options.distance, _region(subject, mask, options.distance))
        for name, subject in subjects.items()
        for region, mask in subject.regions.items()
    ]
    plain: Distance = "correlation" if options.distance == "correlation" else "euclidean"
    models = [
        Space(name, str(layer), plain, partial(_layer, found, str(layer), ids))
        for name, found in features.items()
        for layer in dict.fromkeys(found["layer"].values)
    ]
    rows, notes = _rows([*brains, *models], ids, options)
    seen = [s for s in brains if s not in notes]
    made = [s for s in models if s not in notes]
    whole = _values(seen, made, [rows], options)[0]
    low, high = _interval(whole, seen, made, rows, options)
    limits = {r: _ceiling(r, subjects, seen, rows, options) for r in dict.fromkeys(s.part for s in brains)}
    table = []
    for model, (region, ceiling) in product(models, limits.items()):
        mine = [i for i, b in enumerate(seen) if b.part == region]
        row: dict[str, Any] = {"model": model.name, "layer": model.part, "region": region}
        row |= {"value": None, "low": None, "high": None, **ceiling, "n_subjects": len(mine), "note": ""}
        if mine and model in made:
            k = made.index(model)
            found = whole[k, mine].mean(), low[region][k], high[region][k]
            row |= dict(zip(("value", "low", "high"), map(_number, found), strict=True))
            row["by_subject"] = {seen[i].name: _number(whole[k, i]) for i in mine}
        else:
            row["note"] = notes.get(model) or next(notes[b] for b in brains if b.part == region)
        table.append(row)
    gone = np.setdiff1d(np.arange(len(ids)), rows)
    return {
        "distance": options.distance, "measure": options.measure, "seed": options.seed,
        "subjects": [*subjects],
        "n_stimuli": len(rows), "n_left_out": len(gone), "left_out": ids[gone][:20].tolist(),
        "definitions": DEFINITIONS, "rows": table,
        "brain_to_brain": _others(ids, rows, subjects, options) if options.brain_to_brain else [],
    }  # fmt: skip


def _others(
    ids: NDArray[np.str_], rows: Rows, subjects: dict[str, Subject], options: Similarity
) -> list[dict[str, Any]]:
    means = {k: s.mean[rows] for k, s in subjects.items()}
    return predict_brains(ids[rows], means, {k: s.regions for k, s in subjects.items()}, seed=options.seed)


def _layer(features: xr.Dataset, layer: str, ids: NDArray[np.str_]) -> NDArray[Any]:
    return join(select_layers(features, [layer]), ids)


def _shared(
    responses: Mapping[str, xr.Dataset], features: Mapping[str, xr.Dataset], distance: Distance
) -> tuple[NDArray[np.str_], dict[str, Subject]]:
    """Find the stimuli that all have, and the responses to them."""
    found = {}
    for name, given in responses.items():
        dataset = given
        if dataset["response"].ndim == 3:
            raise InputError(
                f"The responses of {name!r} have {dataset.sizes['time_bin']} time bins, expected one value "
                "for each presentation. Average or choose a bin before."
            )
        if distance == "crossnobis":  # reads each presentation, the others the means of a stimulus
            presentations, neuroids, _ = complete(dataset["response"].values)
            dataset = dataset.isel(presentation=presentations)
            shown = by_stimulus(dataset)
            named, count = np.unique(dataset["stimulus_id"].values, return_counts=True)
            ids = shown.ids[np.isin(shown.ids, named[count > 1])]
        else:
            shown = by_stimulus(dataset)
            stimuli, neuroids, _ = complete(shown.mean)
            ids = shown.ids[stimuli]
        found[name] = dataset, ids, neuroids, shown
    common = next(iter(found.values()))[1]
    for ids in [f[1] for f in found.values()] + [f["stimulus_id"].values for f in features.values()]:
        common = np.sort(common[np.isin(common, ids)])  # drawn alike whatever the order of presentations
    if len(common) < FEWEST:
        repeated = " shown twice or more" if distance == "crossnobis" else ""
        raise InputError(
            f"{len(common)} stimuli{repeated} are shared by {len(found)} subjects and {len(features)} "
            f"models, expected {FEWEST} or more. Leave out the subject or model that lacks them."
        )
    subjects = {}
    for name, (dataset, _, neuroids, shown) in found.items():
        row = {s: i for i, s in enumerate(shown.ids)}
        here = np.isin(dataset["stimulus_id"].values, common)
        trials = None
        if here.sum() > len(common):
            names, stacked = stack_trials(
                dataset["response"].values[here][:, neuroids], dataset["stimulus_id"].values[here]
            )
            place = {s: i for i, s in enumerate(names)}
            trials = stacked[[place[s] for s in common]]
        masks = {"all": np.ones(int(neuroids.sum()), bool)}
        masks |= {k: m[neuroids] for k, m in regions(dataset).items()}
        mean = shown.mean[[row[s] for s in common]][:, neuroids]
        subjects[name] = Subject(mean, trials, {k: m for k, m in masks.items() if m.any()})
    return common, subjects


def _region(subject: Subject, mask: NDArray[np.bool_], distance: Distance) -> Callable[[], NDArray[Any]]:
    if distance != "crossnobis":
        return lambda: subject.mean[:, mask]
    trials = subject.trials
    assert trials is not None  # `_shared` kept repeated stimuli alone
    fewest = int(np.isfinite(trials).all(2).sum(1).min())
    return lambda: whiten(trials[:, :fewest, mask])


def _rows(spaces: list[Space], ids: NDArray[np.str_], options: Similarity) -> tuple[Rows, dict[Space, str]]:
    """Choose the stimuli that have a pattern everywhere; leave out spaces that lack half of them."""
    good = np.ones(len(ids), bool)
    notes = {}
    for space in spaces:
        own = usable(space.patterns(), space.distance)
        if own.mean() < 0.5:
            notes[space] = (
                f"{(~own).sum()} of {len(own)} patterns are constant or missing, first {str(ids[~own][0])!r}"
            )
        else:
            good &= own
    rows = np.flatnonzero(good)
    limit(len(rows), options.measure)
    return rows, notes


def _values(
    brains: list[Space], models: list[Space], draws: list[Rows], options: Similarity
) -> NDArray[np.float64]:
    """Compare on each set of stimuli, (n_draws, n_models, n_brains).

    Triangles of regions are held, as many as `HELD` takes; those of layers are made one after the other.
    """
    out = np.full((len(draws), len(models), len(brains)), np.nan)
    n = max(map(len, draws))
    fit_in = max(1, HELD // (n * n * (8 if n <= DOUBLE else 4) // 2))
    for cut in blocks(len(brains), min(len(brains), fit_in) or 1):
        for some in blocks(len(draws), max(1, fit_in // len(brains[cut]))):
            stacks = np.zeros((0, 0, 0))
            for b, brain in enumerate(brains[cut]):
                for d, vector in enumerate(_vectors(brain, draws[some], options)):
                    if not stacks.size:
                        stacks = np.empty((len(draws[some]), len(brains[cut]), len(vector)), vector.dtype)
                    stacks[d, b] = vector
            for k, model in enumerate(models):
                made = _vectors(model, draws[some], options)
                for d, (stack, vector) in enumerate(zip(stacks, made, strict=True), some.start):
                    out[d, k, cut] = agreement(stack, vector, options.measure)
    return out


def _vectors(space: Space, draws: list[Rows], options: Similarity) -> Iterator[NDArray[Any]]:
    patterns = space.patterns()
    for rows in draws:
        yield prepare(dissimilarity(patterns[rows], space.distance), options.measure)


def _interval(
    whole: NDArray[np.float64], brains: list[Space], models: list[Space], rows: Rows, options: Similarity
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    """Give the 95 % interval of each model for each region, by half samples (Shao & Wu 1989).

    The spread of a statistic over samples of n/2 of n stimuli, drawn without replacement, is that of the
    statistic itself; of m it is sqrt(m / (n - m)) of it. A bootstrap would draw stimuli twice, whose
    distance is 0. The mean over subjects has Student's t about it (`fold_weights`).
    """
    n, rng = len(rows), np.random.default_rng(options.seed)
    m = max(min(n // 2, DRAWN), FEWEST if n > FEWEST else n - 1)
    low, high = {}, {}
    if m < FEWEST:
        none = np.full(len(models), np.nan)
        return {s.part: none for s in brains}, {s.part: none for s in brains}
    draws = [np.sort(rng.choice(rows, m, replace=False)) for _ in range(options.n_bootstraps)]
    with threadpool_limits(1):  # threads cost more than products so small
        drawn = _values(brains, models, draws, options)
    for region in dict.fromkeys(s.part for s in brains):
        mine = np.array([i for i, s in enumerate(brains) if s.part == region])
        centre = drawn[:, :, mine].mean(0)
        spread = np.sqrt(m / (n - m)) * (drawn[:, :, mine] - centre) + whole[:, mine]
        weight = fold_weights(rng, len(draws), len(mine)) if len(mine) > 1 else np.ones((1, 1))
        samples = (spread * weight[:, None]).mean(2)
        low[region], high[region] = np.quantile(samples, [0.025, 0.975], axis=0)
    return low, high


def _ceiling(
    region: str, subjects: dict[str, Subject], brains: list[Space], rows: Rows, options: Similarity
) -> dict[str, Any]:
    """Give the noise ceiling of a region: over subjects, or between the repeats of one."""
    mine = [s for s in brains if s.part == region]
    if len(mine) > 1:
        triangles = [dissimilarity(s.patterns()[rows], s.distance) for s in mine]
        found, kind = over_subjects(triangles, options.measure), "subjects"
    elif mine and subjects[mine[0].name].trials is not None:
        found, kind = _reliability(mine[0], subjects[mine[0].name], rows, options), "repeats"
    else:
        found, kind = (np.nan, np.nan), "none"
    return {"ceiling_low": _number(found[0]), "ceiling_high": _number(found[1]), "ceiling_kind": kind}


def _reliability(space: Space, subject: Subject, rows: Rows, options: Similarity) -> tuple[float, float]:
    """Compare matrices of the halves of the repeats; crossnobis has used all of them for each distance."""
    trials, mask = subject.trials, subject.regions[space.part]
    rng = np.random.default_rng(options.seed)
    if trials is None or space.distance == "crossnobis":
        return np.nan, np.nan
    shown: NDArray[np.bool_] = np.all(np.isfinite(trials[:, :, mask]), axis=2)
    rows = rows[shown[rows].sum(1) > 1]
    if len(rows) > RELIABLE:
        rows = np.sort(rng.choice(rows, RELIABLE, replace=False))
    if len(rows) < FEWEST:
        return np.nan, np.nan
    values, known = trials[rows][:, :, mask], shown[rows]
    count = known.sum(1, keepdims=True) // 2
    found = []
    for _ in range(options.n_halves):
        rank = np.where(known, rng.random(known.shape), 2).argsort(1).argsort(1)
        halves = []
        for side in (rank < count, (rank >= count) & (rank < 2 * count)):
            mean = np.where(side[:, :, None], values, 0).sum(1) / count
            halves.append(mean)
        good = usable(halves[0], space.distance) & usable(halves[1], space.distance)
        if good.sum() < FEWEST:
            return np.nan, np.nan
        a, b = (prepare(dissimilarity(h[good], space.distance), options.measure) for h in halves)
        found.append(agreement(a[None], b, options.measure)[0])
    half = float(np.mean(found))
    linear = options.measure in ("spearman", "pearson") and half > 0
    factor = float((known.sum(1) / count[:, 0]).mean())
    return half, float(np.sqrt(spearman_brown(half, factor))) if linear else np.nan


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
