"""Scores of reconstructed pictures and captions, each between its bounds, with intervals over pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.arrays import average_repeats, regions
from neuroenc.config import Evaluation, Model
from neuroenc.datasets.pixels import read_pixels
from neuroenc.encoders.store import predict_fits
from neuroenc.errors import ContractError
from neuroenc.evaluation import captions as words
from neuroenc.evaluation import images
from neuroenc.evaluation.evaluate import together_at
from neuroenc.evaluation.scores import pearson_r
from neuroenc.evaluation.statistics import Resampling, bootstrap_r, limits, mean_limits, per_fold, resample
from neuroenc.features.extract import describer
from neuroenc.features.registry import resolve

Floats = NDArray[np.float64]
CHANCE = {"two_way_images": 0.5, "two_way_reconstructions": 0.5}
STRETCH = Evaluation().stretch  # s; of films and stories, whose pictures are drawn by stretches
SENTENCES = Model(network="minilm", layers=["encoder.layer.5"])


class Loop(NamedTuple):
    """An encoder that reads reconstructions, and what it makes of them."""

    weights: str | Path
    model: Model
    """The features it reads"""
    predicted: dict[str, xr.DataArray]
    """Of each condition: filled where a judge describes the pictures by the same model"""


def score_pictures(
    pictures: xr.Dataset, stimuli: xr.Dataset, judges: Mapping[str, Model], *, loops: Sequence[Loop] = (),
    n_bootstraps: int = 1000, seed: int = 0,
) -> list[dict[str, Any]]:  # fmt: skip
    """Score reconstructed pictures in every condition, by pixels and by each layer of each network.

    Parameters
    ----------
    pictures : Dataset
        Pictures.
    stimuli : Dataset
        StimulusSet with the pixels of what was seen.
    judges : mapping
        Name to the network or filters by which pictures are identified. A judge that also gave the
        embedding favours what it sees; it is marked.
    loops : sequence of Loop
        They read what a judge of the same model has described.
    n_bootstraps, seed
        Of the pictures.

    Returns
    -------
    list of dict
        metric, network (its name here), judge (extractor/network), layer, condition, value, low, high,
        chance, n, and `each`, one value a picture (none for FID, which is of the whole set), with `unit`, the
        number of what each is drawn together with.
    """
    seen = seen_pictures(pictures, stimuli)
    samples = _samples(pictures, stimuli, n_bootstraps, seed)
    rows = []
    conditions = pictures["condition"].values.tolist()
    made = {c: pictures["picture"].values[k] for k, c in enumerate(conditions)}
    square = np.stack([_fit(p, made[conditions[0]].shape[1]) for p in seen])
    of_pixels = {f.__name__: f(square, pictures["picture"].values) for f in (images.pixcorr, images.ssim)}
    for k, c in enumerate(conditions):
        rows += [_row(metric, c, each[k], samples) for metric, each in of_pixels.items()]
    for name, model in judges.items():
        described = describer(model)
        truth = _layers(described(list(square)))
        known, _ = resolve(model)
        judge = f"{known.extractor}/{known.network}" if known.network else known.extractor
        gave = judge == pictures.attrs["model"]
        for c, values in made.items():
            features = described(list(values))
            for loop in (one for one in loops if one.model == model):
                loop.predicted[c] = _predict(loop, features, pictures["fold"].values)
            for layer, found in _layers(features).items():
                about = {"network": name, "judge": judge, "layer": layer, "gave_the_embedding": gave}
                measures: dict[str, Callable[..., Any]] = {
                    "two_way_images": images.two_way,
                    "two_way_reconstructions": lambda a, b: images.two_way(
                        a, b, distractor="reconstructions"
                    ),
                    "correlation_distance": images.correlation_distance,
                }
                for metric, of in measures.items():
                    rows.append(_row(metric, c, of(truth[layer], found), samples, **about))
                if found.shape[1] < len(found):  # else the covariance has not full rank
                    value = images.frechet_distance(truth[layer], found)
                    rows.append(_row("fid", c, None, samples, value=value, **about))
    return rows


def score_captions(
    captions: xr.Dataset, stimuli: xr.Dataset, *, clip: Model | None = None, sentences: bool = True,
    n_bootstraps: int = 1000, seed: int = 0,
) -> list[dict[str, Any]]:  # fmt: skip
    """Score captions in every condition against those people wrote.

    Parameters
    ----------
    captions : Dataset
        Captions.
    stimuli : Dataset
        StimulusSet with captions, and pixels if `clip` is given.
    clip : Model, optional
        Image-text network for CLIPScore.
    sentences : bool
        Cosine of all-MiniLM-L6-v2 (extra `text`).
    n_bootstraps, seed
        Of the pictures.

    Returns
    -------
    list of dict
        As `score_pictures`.
    """
    at = _places(stimuli["stimulus_id"].values, captions["stimulus_id"].values, "captioned", "stimuli")
    samples = _samples(captions, stimuli, n_bootstraps, seed)
    references = [[str(t) for t in texts if t] for texts in stimuli["caption"].values[at]]
    rows = []
    every = [[str(t) for t in texts] for texts in captions["caption"].values]
    together = [t for texts in every for t in texts]  # so that a network is opened once
    if sentences:
        alike = words.sentence_cosine(together, references * len(every), SENTENCES).reshape(len(every), -1)
    if clip is not None:
        fitting = words.clip_score(read_pixels(stimuli, at), together, clip).reshape(len(every), -1)
    for k, c in enumerate(captions["condition"].values.tolist()):
        said = every[k]
        counts = words.bleu_counts(said, references)
        rows += [_row(f"bleu{order}", c, None, samples, counts=counts, order=order) for order in (1, 4)]
        each = {"meteor": words.meteor, "rouge_l": words.rouge_l, "cider": words.cider}
        for metric, of in each.items():
            rows.append(_row(metric, c, of(said, references), samples))
        if sentences:
            rows.append(_row("sentence_cosine", c, alike[k], samples, network="minilm"))
        if clip is not None:
            rows.append(_row("clip_score", c, fitting[k], samples, network=clip.network))
    return rows


def close_loop(
    pictures: xr.Dataset, stimuli: xr.Dataset, responses: xr.Dataset, loop: Loop, *, name: str,
    n_bootstraps: int = 1000, seed: int = 0,
) -> list[dict[str, Any]]:  # fmt: skip
    """Predict the responses to reconstructed pictures and correlate them with the measured ones, by region.

    Parameters
    ----------
    pictures, stimuli, responses : Dataset
        Pictures, StimulusSet, Responses.
    loop : Loop
        With the weights of an encoder fitted to the same folds (`encode fit`).
    name : str
        Of the encoder.
    n_bootstraps, seed
        Of the pictures.

    Returns
    -------
    list of dict
        metric `closed_loop_r`, region, condition ("seen": the pictures that were shown, the ceiling of the
        loop), value, low, high. The same encoder read the training responses, not those tested here.

    Raises
    ------
    ContractError
        The weights are of other neuroids, or of other features.
    """
    ids, mean = average_repeats(responses)
    tested = pictures["stimulus_id"].values
    measured = mean.reshape(len(ids), -1)[_places(ids, tested, "reconstructed", "responses")]
    fold, together = pictures["fold"].values, together_at(responses, tested, STRETCH)
    made = dict(zip(pictures["condition"].values.tolist(), pictures["picture"].values, strict=True))
    shown: dict[str, Any] = {"seen": seen_pictures(pictures, stimuli)} | made
    # every time bin of a neuroid counts as one more
    n_times = responses.sizes.get("time_bin", 1)
    every = {"all": np.ones(responses.sizes["neuroid"], bool), **regions(responses)}
    inside = {name: np.repeat(members, n_times) for name, members in every.items()}
    rows = []
    described = describer(loop.model)
    for c, values in shown.items():
        found = loop.predicted[c] if c in loop.predicted else _predict(loop, described(list(values)), fold)
        if not np.array_equal(found["neuroid_id"].values, responses["neuroid_id"].values):
            raise ContractError("The encoder is of other neuroids than the responses. Use one subject.")
        predicted = found.values.reshape(len(found), -1)
        r = per_fold(pearson_r, measured, predicted, fold).mean(0)
        _, intervals = bootstrap_r(
            measured, predicted, tested, fold, inside, stretch=together, n_stimuli=len(ids), n=n_bootstraps,
            seed=seed,
        )  # fmt: skip
        for region, members in inside.items():
            if np.isfinite(r[members]).any():
                low, high = intervals[region]
                rows.append({
                    "metric": "closed_loop_r", "encoder": name, "region": region, "condition": c,
                    "value": float(np.nanmean(r[members])), "low": float(low), "high": float(high),
                    "chance": 0.0, "n": len(tested), "each": None, "unit": None,
                })  # fmt: skip
    return rows


def _predict(loop: Loop, features: xr.Dataset, fold: NDArray[np.int64]) -> xr.DataArray:
    """Predict the responses to each picture by the models of its fold."""
    first, *others = np.unique(fold).tolist()
    out = predict_fits(loop.weights, features, first)
    for f in others:
        out.values[fold == f] = predict_fits(loop.weights, features, f).values[fold == f]
    return out


def judge_synthesis(
    pictures: Mapping[str, NDArray[np.uint8]], responses: xr.Dataset, region: str, weights: str | Path,
    model: Model, *, fold: int = 0,
) -> dict[str, Floats]:  # fmt: skip
    """Predict a region's mean response to pictures drawn for it, by an encoder that took no part.

    Parameters
    ----------
    pictures : mapping
        Kind to pictures, (n, side, side, 3).
    responses : Dataset
        For the region.
    region : str
    weights : path
        Of the encoder (`encode fit`).
    model : Model
        The features it reads.
    fold : int

    Returns
    -------
    dict
        Kind to (n,), in units of the responses, mean over neuroids and time bins.
    """
    inside = regions(responses)[region]
    described = describer(model)
    found = {kind: predict_fits(weights, described(list(p)), fold) for kind, p in pictures.items()}
    return {kind: np.nanmean(v.values[:, inside].reshape(len(v), -1), axis=1) for kind, v in found.items()}


def seen_pictures(pictures: xr.Dataset, stimuli: xr.Dataset) -> list[NDArray[np.uint8]]:
    """Read what was seen, in the order of the reconstructions.

    Raises
    ------
    ContractError
        The stimuli lack one of them.
    """
    ids = pictures["stimulus_id"].values
    return read_pixels(stimuli, _places(stimuli["stimulus_id"].values, ids, "reconstructed", "stimuli"))


def _places(known: NDArray[np.str_], ids: NDArray[np.str_], done: str, among: str) -> NDArray[np.int64]:
    """Find pictures by their ids."""
    row = {s: i for i, s in enumerate(known)}
    missing = [s for s in ids if s not in row]
    if missing:
        raise ContractError(
            f"{len(missing)} of {len(ids)} {done} pictures are not among the {among}, first "
            f"{str(missing[0])!r}. Use the {among} of the same run."
        )
    return np.array([row[s] for s in ids])


def _samples(made: xr.Dataset, stimuli: xr.Dataset, n: int, seed: int) -> Resampling:
    """Draw what was seen, with all that is alike: groups, or stretches of films."""
    ids = made["stimulus_id"].values
    return resample(
        ids, made["fold"].values, stretch=together_at(stimuli, ids, STRETCH),
        n_stimuli=stimuli.sizes["stimulus"], n=n, seed=seed,
    )  # fmt: skip


def _row(
    metric: str, condition: str, each: Floats | None, samples: Resampling, *, value: float | None = None,
    counts: Floats | None = None, order: int = 4, **about: Any,
) -> dict[str, Any]:  # fmt: skip
    found = (np.nan, np.nan)
    if each is not None:
        value, found = float(each.mean()), mean_limits(each, samples)
    elif counts is not None:
        value = words.bleu(counts, order)
        least, most = limits(
            samples, value, lambda k, weight: [words.bleu(c[None], order) for c in weight @ counts[k]]
        )
        found = max(least, 0.0), min(most, 1.0)
    low, high = (None if np.isnan(v) else float(v) for v in found)
    return {
        "metric": metric, **about, "condition": condition, "value": value, "low": low, "high": high,
        "chance": CHANCE.get(metric), "n": len(samples.unit),
        "each": None if each is None else [round(float(v), 5) for v in each],
        # drawn together: pictures of one number
        "unit": None if each is None else samples.unit.tolist(),
    }  # fmt: skip


def _layers(found: xr.Dataset) -> dict[str, Floats]:
    """Features of each layer, (n, n_features)."""
    layer, values = found["layer"].values, found["feature"].values
    return {
        str(name): np.asarray(values[..., layer == name].reshape(len(values), -1), np.float64)
        for name in dict.fromkeys(layer)
    }


def _fit(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    from PIL import Image

    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))
