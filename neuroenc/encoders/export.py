"""Fitted encoders as one folder that others can call: safetensors, JSON and a card."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc import __version__
from neuroenc.arrays import positions, regions, same_contract, same_neuroids
from neuroenc.arrays.contracts import CONTRACT
from neuroenc.config import Model
from neuroenc.encoders import distance, intervals
from neuroenc.encoders.card import card
from neuroenc.encoders.design import Design
from neuroenc.encoders.missing import by_stimulus
from neuroenc.encoders.store import copy_fold, design_of, open_fits
from neuroenc.errors import InputError, invalid
from neuroenc.features.project import stored_projection
from neuroenc.features.registry import resolve
from neuroenc.files import atomic, existing, sha256, write_json

FORMAT = 1
FACTS, CARD = "encoder.json", "README.md"
UNSHOWN = ("category", "caption", "file", "mel", "motion_energy", "open_clip_text")
SCORES = ("pearson_r", "normalised_r")
COLUMNS = ("x", "y", "z", "vertex")


class Subject(NamedTuple):
    """What is known of one subject."""

    name: str
    responses: xr.Dataset
    predictions: xr.Dataset
    """Of the encoder, or of the stack"""
    scores: xr.Dataset
    weights: Mapping[str, str | Path]
    """Of each member, as `encode fit` wrote them"""


def export(
    out: str | Path,
    subjects: Sequence[Subject],
    models: Mapping[str, Model],
    features: Mapping[str, xr.Dataset],
    *,
    name: str,
    components: Mapping[str, str | Path] | None = None,
    licence: str = "unstated",
    fold: int = 0,
) -> None:
    """Write an encoder, or a stack of several, as a folder that `neuroenc.load` reads.

    Parameters
    ----------
    out : path
        The folder; an export that stands there is replaced.
    subjects : sequence of Subject
    models : mapping
        The section `models` of the configuration that each member reads.
    features : mapping
        Features of the stimuli each member was fitted to.
    name : str
        Of the encoder.
    components : mapping, optional
        Of members whose features are projected by PCA, the file beside these (`.projection.safetensors`).
    licence : str
        Of what is written; an identifier of SPDX in lower case, or words.
    fold : int
        Whose training stimuli the weights were fitted to.

    Raises
    ------
    InputError
        The folder holds other files; features of a member, or subjects, were not given; a member reads what
        is not made of pictures alone, or looks back in time; weights, predictions and scores of different
        fits.
    """
    out = Path(out)
    if not subjects:
        raise InputError("No subjects were given, expected at least one.")
    if out.is_dir() and not (out / FACTS).exists() and any(out.iterdir()):
        raise InputError(
            f"{out} holds other files and no {FACTS}: an export would replace them all. Name a new folder."
        )
    with atomic(out) as partial:
        partial.mkdir()
        members: dict[str, dict[str, Any]] = {}
        described = [_subject(partial, s, models, features, fold, members) for s in subjects]
        for member, said in members.items():
            _copy_components(member, said, dict(components or {}), partial)
        first = subjects[0]
        facts: dict[str, Any] = {
            "format": FORMAT, "neuroenc_version": __version__, "name": name, "licence": licence, "fold": fold,
            "far": distance.FAR, "levels": intervals.STEPS,
            **{k: str(first.responses.attrs[k]) for k in ("dataset", "space", "units")},
            "transductive": str(first.predictions.attrs["transductive"]),
            "ceiling_method": str(first.scores.attrs.get("ceiling_method", "unstated")),
            "time_bin": _time_bins(first.responses), "members": list(members.values()), "subjects": described,
        }  # fmt: skip
        (partial / CARD).write_text(card(facts))
        facts["files"] = {p.name: sha256(p) for p in sorted(partial.iterdir())}
        write_json(facts | {"sha256": digest(facts)}, partial / FACTS)


def digest(facts: Mapping[str, Any]) -> str:
    """Hash facts, whatever the order and the blanks they are written with."""
    text = json.dumps({k: v for k, v in facts.items() if k != "sha256"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _time_bins(responses: xr.Dataset) -> dict[str, list[Any]] | None:
    found = {str(k): c.values.tolist() for k, c in responses.coords.items() if c.dims == ("time_bin",)}
    return found if "time_bin" in responses["response"].dims else None


def _subject(
    folder: Path, subject: Subject, models: Mapping[str, Model], features: Mapping[str, xr.Dataset],
    fold: int, members: dict[str, dict[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """Write what one subject has; return what is said of it, and add to what is said of the members."""
    predictions = subject.predictions
    same_neuroids(subject.responses, predictions)
    same_neuroids(subject.responses, subject.scores)
    share = _shares(subject, fold)
    used = [name for name in share if name in subject.weights and np.nansum(share[name]) > 0]
    designs: list[Design] = []
    files: dict[str, str] = {}
    trained = predictions["training_stimulus_id"].values[predictions["training"].values[fold]]
    for member in used:
        model = _exportable(member, models)
        path = f"sub-{subject.name}_{member}.safetensors"
        about = copy_fold(subject.weights[member], folder / path, fold)
        if about["neuroid_id"] != subject.responses["neuroid_id"].values.tolist():
            raise InputError(f"The weights of {member!r} are of other neuroids than the responses.")
        if any(m["delays"] for m in about["models"]):
            raise InputError(
                f"The encoder {member!r} looks back in time (`delays`), which single pictures have "
                "not. Export one without."
            )
        if member not in features:
            raise invalid("features of a member", member, features)
        same_contract(features[member].attrs, about["contract"])
        fits, _ = open_fits(folder / path, fold)
        rows = positions(features[member], trained)
        designs += [design_of(fit, features[member]).flattened().take(rows) for fit in fits]
        files[member] = path
        said = {"name": member, "encoder": about["models"][0]["class"], "model": model,
                "contract": {k: about["contract"][k] for k in CONTRACT},
                "n_stimuli": features[member].sizes["stimulus"]}  # fmt: skip
        if members.setdefault(member, said) != said:
            raise InputError(f"The member {member!r} reads other features in other subjects. Fit all alike.")
    points, apart = _points(designs)
    residual, repeats = _residuals(subject, fold)
    arrays = points | _neuroids(subject, trained) | {
        "half_width": intervals.half_widths(residual).reshape(-1, *predictions["prediction"].shape[1:]),
        **{f"share/{name}": share[name].astype(np.float32) for name in used},
    }  # fmt: skip
    _save_arrays(arrays, folder / f"sub-{subject.name}.safetensors")
    ids = subject.responses
    return {
        "subject": subject.name, "weights": files, "arrays": f"sub-{subject.name}.safetensors",
        "n_training": len(trained), "n_validation": len(residual), "repeats": repeats, **apart,
        **_summary(subject, residual, repeats, fold), "regions": list(regions(ids)),
        "hemisphere": ids["hemisphere"].values.tolist(), "neuroid_id": ids["neuroid_id"].values.tolist(),
    }  # fmt: skip


def _save_arrays(arrays: dict[str, NDArray[Any]], path: Path) -> None:
    from safetensors.numpy import save

    path.write_bytes(save({k: np.ascontiguousarray(v) for k, v in arrays.items()}))


def _shares(subject: Subject, fold: int) -> dict[str, NDArray[Any]]:
    """Return what each member gives to each neuroid: the weights of a stack, or all."""
    predictions = subject.predictions
    if fold >= predictions.sizes["fold"]:
        raise invalid("fold", fold, range(predictions.sizes["fold"]))
    if "weight" not in predictions:
        if len(subject.weights) != 1:
            raise InputError(
                f"{len(subject.weights)} encoders were given and predictions of one. Give those of the stack."
            )
        known = np.isfinite(predictions["validation"].values).any(0)
        return {next(iter(subject.weights)): np.where(known, 1.0, np.nan)}
    names = predictions["layer_name"].values.tolist()
    weight = predictions["weight"].values[fold]
    lacking = [n for n, w in zip(names, weight, strict=True) if np.nansum(w) > 0 and n not in subject.weights]
    if lacking:
        raise InputError(
            f"The stack mixes {lacking[0]!r}, whose weights were not given. Give all its members."
        )
    return dict(zip(names, weight, strict=True))


def _exportable(member: str, models: Mapping[str, Model]) -> dict[str, Any]:
    """Return the section of a member, without paths of this machine.

    Raises
    ------
    InputError
        Its features are not made of pictures alone.
    """
    if member not in models:
        raise invalid("model of a member", member, models)
    model, _ = resolve(models[member])
    why = ""
    if model.extractor in UNSHOWN:
        why = f"reads no pictures ({model.extractor})"
    elif model.texts:
        why = f"reads `texts` of a table ({model.texts!r})"
    elif model.extractor == "open_clip" and str(model.network).endswith(".json"):
        why = f"is described by a file of this machine ({model.network!r})"
    if why:
        raise InputError(
            f"The model of {member!r} {why}, so that it cannot be called with pictures elsewhere. Export an "
            "encoder without it."
        )
    section = models[member].model_dump(mode="json", exclude_defaults=True, exclude={"device", "dtype"})
    for key in ("weights", "network"):
        if "/" in section.get(key, ""):
            section[key] = Path(section[key]).name
    return section


def _copy_components(
    member: str, said: Mapping[str, Any], components: Mapping[str, str | Path], folder: Path
) -> None:
    """Take along the components of a projection by PCA, once they can be read."""
    if not said["model"].get("projection", "").startswith("pca"):
        return
    if member not in components:
        raise InputError(
            f"The features of {member!r} are projected by PCA, and its components were not given. Give the "
            "file FEATURES.projection.safetensors that `features extract` wrote beside them."
        )
    stored_projection(said["model"]["projection"], said["n_stimuli"], Path(components[member]))
    shutil.copyfile(existing(components[member]), folder / components_of(member))


def components_of(member: str) -> str:
    """Name the file of the components of a member."""
    return f"{member}_projection.safetensors"


def _points(designs: list[Design]) -> tuple[dict[str, NDArray[Any]], dict[str, float]]:
    """Sketch the training pictures, and say how far they lie from one another."""
    hashed = distance.hashing(sum(X.shape[1] for X in designs))
    points = distance.sketch(designs, hashed)
    apart = distance.nearest(points)
    typical = float(np.median(apart))
    if not typical > 0:
        raise InputError("Most training pictures have the same features as another. Check the features.")
    farthest = float(np.quantile(apart, distance.FAR)) / typical
    return {"points": points, **hashed}, {"typical": typical, "farthest": farthest}


def _residuals(subject: Subject, fold: int) -> tuple[NDArray[Any], float]:
    """Return response less prediction of the validation stimuli, and how often they were shown."""
    predictions = subject.predictions
    ids, mean, *_ = by_stimulus(subject.responses)
    row = {s: i for i, s in enumerate(ids)}
    held = predictions["held_fold"].values == fold
    names = predictions["held_stimulus_id"].values[held]
    truth = mean[[row[s] for s in names]].reshape(len(names), -1)
    residual = truth - predictions["validation"].values[held].reshape(len(names), -1)
    shown = np.isin(subject.responses["stimulus_id"].values, names).sum()
    return residual, float(shown / len(names))


def _neuroids(subject: Subject, training: NDArray[np.str_]) -> dict[str, NDArray[Any]]:
    """Return what is known of each neuroid, as numbers."""
    responses, scores = subject.responses, subject.scores
    known: dict[str, NDArray[Any]] = {k: responses[k].values for k in COLUMNS if k in responses.coords}
    known |= {f"roi_{name}": mask for name, mask in regions(responses).items()}
    metric = scores["metric"].values.tolist()
    known |= {m: scores["score"].values[metric.index(m)] for m in SCORES if m in metric}
    known["ceiling"] = scores["ceiling"].values.astype(np.float32)
    ids, mean, *_ = by_stimulus(responses)
    shown = mean[np.isin(ids, training)]
    known |= {"training_low": np.nanmin(shown, 0), "training_high": np.nanmax(shown, 0)}
    return known


def _summary(subject: Subject, residual: NDArray[Any], repeats: float, fold: int) -> dict[str, float | None]:
    """Sum up the scores, and say how many test responses lie within the intervals of 90 %.

    Where validation pictures were shown once these are single presentations, else means.
    """
    scores, predictions = subject.scores, subject.predictions
    ids, values, *_ = by_stimulus(subject.responses)
    if repeats < 1.5:
        ids = subject.responses["stimulus_id"].values
        values = subject.responses["response"].values
    tested = np.flatnonzero(predictions["fold"].values == fold)
    row = {s: i for i, s in zip(tested, predictions["stimulus_id"].values[tested], strict=True)}
    shown = np.flatnonzero(np.isin(ids, list(row)))
    truth = values[shown]
    found = predictions["prediction"].values[[row[s] for s in ids[shown]]]
    width = intervals.half_widths(residual)[intervals.row_of(0.9)].reshape(found.shape[1:])
    known = np.isfinite(truth) & np.isfinite(found)
    inside = np.abs(truth - found)[known] <= np.broadcast_to(width, found.shape)[known]
    r = scores["score"].values[scores["metric"].values.tolist().index("pearson_r")]
    limit = np.sqrt(np.clip(scores["ceiling"].values, 0, None))
    return {"r": _mean(r), "ceiling_r": _mean(limit), "coverage_90": _mean(inside.astype(float))}


def _mean(values: NDArray[Any]) -> float | None:
    return float(np.nanmean(values)) if np.isfinite(values).any() else None
