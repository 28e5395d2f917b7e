"""The contracts: what crosses from one stage to the next, and how it is checked and stored.

Ten kinds of `xarray.Dataset`, each one netCDF file:

===========  ====================================================  ===============================
kind         main variable                                         key
===========  ====================================================  ===============================
responses    response(presentation, neuroid[, time_bin])           stimulus_id, neuroid_id
stimuli      pixel_index(stimulus), caption, category              stimulus_id
features     feature(stimulus, feature_index) or (…, token,        stimulus_id + embedding contract
             channel)
splits       side(fold, stimulus), inner(fold, stimulus)           stimulus_id
predictions  prediction(presentation, neuroid[, time_bin])         stimulus_id, fold, neuroid_id
scores       score(metric, neuroid[, time_bin])                    neuroid_id
embeddings   embedding(presentation, component)                    stimulus_id, fold + contract
pictures     picture(condition, presentation, row, column,         stimulus_id, fold + contract
             channel)
captions     caption(condition, presentation)                      stimulus_id, fold + contract
classes      class_score(presentation, time_bin, class)            stimulus_id, fold
===========  ====================================================  ===============================

Names of dimensions follow Brain-Score's data model (Schrimpf et al. 2018). Coordinates are plain
and one-dimensional, so any `xarray.open_dataset` reads the files.

Stimuli that run (films, stories) say where they stand: `film` (text) and `onset` (s of the film), coordinates
on the stimuli of StimulusSet and Features and on the presentations of Responses. Delays, context, splits in
time and statistics that respect autocorrelation go by them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from neuroenc import __version__
from neuroenc.blocks import columns
from neuroenc.errors import ContractError, InputError, invalid
from neuroenc.files import atomic, existing
from neuroenc.real import real32

Kind = Literal[
    "responses",
    "stimuli",
    "features",
    "predictions",
    "scores",
    "splits",
    "embeddings",
    "pictures",
    "captions",
    "classes",
]

# coordinate -> kinds of dtype it may have (numpy's one-letter codes)
PRESENTATION = {
    "stimulus_id": "U", "session": "U", "run": "iu", "repetition": "iu", "split": "U", "group": "U",
}  # fmt: skip
NEUROID = {"neuroid_id": "U", "subject": "U", "hemisphere": "U"}
POSITION = ({"x": "f", "y": "f", "z": "f"}, {"vertex": "iu"})
CEILING = ({"ncsnr": "f"}, {"noise_ceiling": "f"})
CONTRACT = ("model", "weights", "layer", "pooling", "shape", "normalisation", "pixel_range",
            "preprocessing")  # fmt: skip
ATTRS: dict[Kind, tuple[str, ...]] = {
    "responses": ("dataset", "space", "units", "source"),
    "stimuli": ("dataset", "pixels"),
    "features": CONTRACT,
    "splits": ("dataset", "kind_of_split", "seed"),
    "predictions": ("dataset", "model", "weights", "encoder", "transductive"),
    "scores": ("dataset", "model"),
    "embeddings": ("dataset", "decoder", *CONTRACT),
    "pictures": ("dataset", "decoder", "generator", "seed", *CONTRACT),
    "captions": ("dataset", "decoder", "generator", *CONTRACT),
    "classes": ("dataset", "target", "estimator", "seed"),
}
DIMS: dict[Kind, tuple[str, tuple[tuple[str, ...], ...]]] = {
    "responses": (
        "response", (("presentation", "neuroid"), ("presentation", "neuroid", "time_bin"))
    ),
    "stimuli": ("pixel_index", (("stimulus",),)),
    "features": ("feature", (("stimulus", "feature_index"), ("stimulus", "token", "channel"))),
    "splits": ("side", (("fold", "stimulus"),)),
    "predictions": (
        "prediction", (("presentation", "neuroid"), ("presentation", "neuroid", "time_bin"))
    ),
    "embeddings": ("embedding", (("presentation", "component"),)),
    "pictures": ("picture", (("condition", "presentation", "row", "column", "channel"),)),
    "captions": ("caption", (("condition", "presentation"),)),
    "classes": ("class_score", (("presentation", "time_bin", "class"),)),
    "scores": ("score", (("metric", "neuroid"), ("metric", "neuroid", "time_bin"))),
}  # fmt: skip
# what predictions carry beside themselves; "…" stands for the neuroids, and time bins
PREDICTED = {
    "chosen_layer": (("fold", "…"), "U"), "alpha": (("fold", "…"), "f"),
    "validation_r2": (("fold", "layer", "…"), "f"), "layer_name": (("layer",), "U"),
    "validation": (("held", "…"), "f"), "held_stimulus_id": (("held",), "U"), "held_fold": (("held",), "iu"),
    "training": (("fold", "stimulus"), "b"), "training_stimulus_id": (("stimulus",), "U"),
}  # fmt: skip
REGION_PREFIX = "roi_"
RESERVED = {
    "coordinates", "_NCProperties", "_nc3_strict", "_Netcdf4Coordinates", "_Netcdf4Dimid", "CLASS", "NAME",
    "DIMENSION_LIST", "REFERENCE_LIST",
}  # fmt: skip


def make_responses(
    response: ArrayLike,
    *,
    presentation: Mapping[str, ArrayLike],
    neuroid: Mapping[str, ArrayLike],
    attrs: Mapping[str, Any],
    time_bin: Mapping[str, ArrayLike] | None = None,
) -> xr.Dataset:
    """Build and check Responses.

    Parameters
    ----------
    response : array of shape (n_presentations, n_neuroids) or (…, n_time_bins)
        In the units named by `attrs["units"]`; stored as float32. NaN marks a missing value.
    presentation : mapping
        `stimulus_id`, `session`, `split`, `group` (text), `run`, `repetition` (whole numbers).
    neuroid : mapping
        `neuroid_id` (unique), `subject`, `hemisphere` (text); `x`, `y`, `z` or `vertex`;
        `ncsnr` or `noise_ceiling`; one boolean `roi_<name>` per region.
    attrs : mapping
        `dataset`, `space`, `units`, `source`.
    time_bin : mapping, optional
        Coordinates of the time bins, e.g. `start`, `stop` in seconds.

    Raises
    ------
    ContractError
        Naming the coordinate that is wrong, and how.
    """
    dims = ("presentation", "neuroid", "time_bin")[: 2 + (time_bin is not None)]
    coords = {k: ("presentation", np.asarray(v)) for k, v in presentation.items()}
    coords |= {k: ("neuroid", np.asarray(v)) for k, v in neuroid.items()}
    coords |= {k: ("time_bin", np.asarray(v)) for k, v in (time_bin or {}).items()}
    return _make("responses", dims, real32(response, "response"), coords, attrs)


def make_stimuli(
    stimulus: Mapping[str, ArrayLike],
    *,
    attrs: Mapping[str, Any],
    captions: ArrayLike | None = None,
    categories: tuple[list[str], ArrayLike] | None = None,
) -> xr.Dataset:
    """Build and check a StimulusSet: the table of what was shown and where its pixels are.

    Parameters
    ----------
    stimulus : mapping
        `stimulus_id` (unique text), `split` ("train", or "test" where the dataset names its test
        stimuli), `group` (what must not be parted: a run, a story; else the id), `pixel_index`
        (row in `attrs["pixels"]`), and any further coordinate.
    attrs : mapping
        `dataset` and `pixels`, where the pictures are: `file.h5#dataset`, `file.zip` or a folder.
    captions : array of text, (n_stimuli, n_captions), optional
    categories : (names, array of shape (n_stimuli, n_categories)), optional
        Strength of each category, e.g. its area as a fraction of the picture.
    """
    coords = {k: ("stimulus", np.asarray(v)) for k, v in stimulus.items() if k != "pixel_index"}
    index = np.asarray(stimulus["pixel_index"])
    dataset = _make("stimuli", ("stimulus",), index, coords, attrs)
    if captions is not None:
        dataset["caption"] = (("stimulus", "caption_index"), np.asarray(captions, dtype=str))
    if categories is not None:
        dataset["category"] = (("stimulus", "category_index"), np.asarray(categories[1], "f4"))
        dataset = dataset.assign_coords(category_name=("category_index", categories[0]))
    return dataset


def make_features(
    feature: ArrayLike,
    *,
    stimulus_id: ArrayLike,
    layer: ArrayLike,
    attrs: Mapping[str, Any],
) -> xr.Dataset:
    """Build and check Features.

    Parameters
    ----------
    feature : array of shape (n_stimuli, n_features) or (n_stimuli, n_tokens, n_channels)
        float16 or float32.
    stimulus_id : array of text, (n_stimuli,)
    layer : array of text, (n_features,) or (n_channels,)
        The layer each feature comes from: several layers of one network share a file.
    attrs : mapping
        The embedding contract (`CONTRACT`).
    """
    values = np.asarray(feature)
    if values.dtype not in (np.float16, np.float32):
        raise ContractError(f"feature has dtype {values.dtype}, expected float16 or float32.")
    dims = ("stimulus", "feature_index") if values.ndim == 2 else ("stimulus", "token", "channel")
    coords = {
        "stimulus_id": ("stimulus", np.asarray(stimulus_id)),
        "layer": (dims[-1], np.asarray(layer)),
    }
    return _make("features", dims, values, coords, attrs)


def make_scores(
    score: ArrayLike,
    *,
    metric: list[str],
    neuroid: xr.Dataset,
    attrs: Mapping[str, Any],
    per_neuroid: Mapping[str, ArrayLike],
    fold_score: ArrayLike | None = None,
    time_bin: Mapping[str, ArrayLike] | None = None,
) -> xr.Dataset:
    """Build and check Scores.

    Parameters
    ----------
    score : array of shape (n_metrics, n_neuroids[, n_time_bins])
    metric : list of str
    neuroid : Dataset
        Whose coordinates on `neuroid` are taken over (Responses).
    attrs : mapping
        `dataset`, `model`.
    per_neuroid : mapping
        `ceiling`, `p`, `q` and whatever else there is one of per neuroid (and time bin).
    fold_score : array of shape (n_folds, n_metrics, n_neuroids[, n_time_bins]), optional
    """
    dims = ("metric", "neuroid", "time_bin")[: 2 + (time_bin is not None)]
    coords: dict[str, Any] = {str(k): v.variable for k, v in neuroid.coords.items() if v.dims == ("neuroid",)}
    coords |= {k: ("time_bin", np.asarray(v)) for k, v in (time_bin or {}).items()}
    coords["metric"] = ("metric", np.asarray(metric))
    dataset = _make("scores", dims, np.asarray(score, np.float32), coords, attrs, check_it=False)
    for name, values in per_neuroid.items():
        values = np.asarray(values)
        dataset[name] = (dims[1 : 1 + values.ndim], values)
    if fold_score is not None:
        dataset["fold_score"] = (("fold", *dims), np.asarray(fold_score, np.float32))
    return check(dataset, "scores")


def _make(
    kind: Kind,
    dims: tuple[str, ...],
    values: NDArray[Any],
    coords: Mapping[str, Any],
    attrs: Mapping[str, Any],
    *,
    check_it: bool = True,
) -> xr.Dataset:
    name = DIMS[kind][0]
    if values.ndim != len(dims):
        raise ContractError(
            f"{name} has {values.ndim} dimensions {values.shape}, expected {len(dims)}: {dims}."
        )
    sizes = dict(zip(dims, values.shape, strict=True))
    for coord, (dim, data) in ((k, v) for k, v in coords.items() if isinstance(v, tuple)):
        if data.shape != (sizes.get(dim, len(data)),):
            raise ContractError(
                f"Coordinate {coord!r} has shape {data.shape}, expected ({sizes[dim]},): one value per {dim}."
            )
    dataset = xr.Dataset({name: (dims, values)}, dict(coords))
    dataset.attrs = {"kind": kind, "neuroenc_version": __version__, **attrs}
    return check(dataset, kind) if check_it else dataset


def check(dataset: xr.Dataset, kind: Kind) -> xr.Dataset:
    """Return `dataset` if it keeps the contract of its kind.

    Raises
    ------
    ContractError
        Naming the first thing that is wrong, what was found and what is expected.
    """
    name, allowed_dims = DIMS[kind]
    if name not in dataset:
        raise ContractError(
            f"{kind} need the variable {name!r}; found {sorted(map(str, dataset.data_vars))}."
        )
    if dataset[name].dims not in allowed_dims:
        raise ContractError(
            f"{name} has dimensions {dataset[name].dims}, expected {' or '.join(map(str, allowed_dims))}."
        )
    for attr in ATTRS[kind]:
        if attr not in dataset.attrs:
            raise ContractError(f"{kind} lack the attribute {attr!r}.")
    for key in [*dataset.variables, *dataset.attrs]:
        _check_name(str(key))
    unstorable = [k for k, v in dataset.attrs.items() if isinstance(v, (dict, bool)) or v is None]
    if unstorable:
        raise ContractError(f"Attribute {unstorable[0]!r} must be text or numbers to be stored.")
    wanted = _wanted(dataset, kind)
    lacking = [f"{coord!r} on {dim}" for coord, dim, _ in wanted if coord not in dataset.coords]
    if lacking:
        more = "s" if len(lacking) > 1 else ""
        raise ContractError(f"{kind} lack the coordinate{more} {', '.join(lacking)}.")
    for coord, dim, dtypes in wanted:
        found = dataset[coord]
        if found.dims != (dim,):
            raise ContractError(f"Coordinate {coord!r} lies on {found.dims}, expected ({dim!r},).")
        if found.dtype.kind not in dtypes:
            raise ContractError(f"Coordinate {coord!r} has dtype {found.dtype}, expected {_dtypes(dtypes)}.")
    if kind == "predictions":
        _check_predictions(dataset)
    if "noise_ceiling" in dataset.coords:
        highest = np.nanmax(dataset["noise_ceiling"].values, initial=0)
        if highest > 1:
            raise ContractError(
                f"noise_ceiling goes to {highest:g}, expected shares of variance, 0 to 1. "
                "Divide percent by 100."
            )
    for coord in ("neuroid_id", *(["stimulus_id"] if kind in ("stimuli", "features") else [])):
        if coord in dataset.coords:
            values, counts = np.unique(dataset[coord].values, return_counts=True)
            if (counts > 1).any():
                twice = values[counts.argmax()]
                raise ContractError(
                    f"Coordinate {coord!r} must be unique; {str(twice)!r} stands {counts.max()} times."
                )
    return dataset


def _check_name(name: str) -> None:
    """Refuse names that a file does not give back.

    netCDF lists coordinates in one text with blanks between them, HDF5 takes / for a folder, and both end a
    text at a zero.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        found: str | None = "half a character"
    else:
        found = next((repr(c) for c in name if c in "/\0" or c.isspace()), None)
    if name in RESERVED:
        raise ContractError(f"The name {name!r} is one that netCDF keeps for itself. Choose another.")
    if not name or found:
        raise ContractError(
            f"The name {name!r} holds {found or 'nothing'}, which does not survive in a file. Name regions "
            "and coordinates by letters, digits and _ - . alone."
        )


def _check_predictions(dataset: xr.Dataset) -> None:
    """Refuse predictions that lack, or have of another kind, what is scored, matched and stacked by."""
    each = tuple(map(str, dataset["prediction"].dims[1:]))
    for name, (dims, dtypes) in PREDICTED.items():
        if name not in dataset:
            raise ContractError(f"predictions lack {name!r}. Write them again by `neuroenc encode fit`.")
        wanted = tuple(d for dim in dims for d in (each if dim == "…" else (dim,)))
        found = dataset[name]
        if found.dims != wanted or found.dtype.kind not in dtypes:
            raise ContractError(
                f"{name} has dimensions {found.dims} of {found.dtype}, expected {wanted} of "
                f"{_dtypes(dtypes)}. Write the predictions again by `neuroenc encode fit`."
            )
    for name in ("fold", "held_fold"):
        if not np.isin(dataset[name].values, np.arange(dataset.sizes["fold"])).all():
            low, high = dataset[name].values.min(), dataset[name].values.max()
            raise ContractError(
                f"{name} goes from {low} to {high}, expected 0 to {dataset.sizes['fold'] - 1}, the folds."
            )


def _dtypes(kinds: str) -> str:
    names = {"U": "text", "f": "float", "i": "int", "u": "unsigned", "b": "bool"}
    return " or ".join(names[c] for c in kinds)


def _wanted(dataset: xr.Dataset, kind: Kind) -> list[tuple[str, str, str]]:
    """List (coordinate, dimension, dtypes) the kind requires."""
    regions = [(str(c), "neuroid", "b") for c in dataset.coords if str(c).startswith(REGION_PREFIX)]
    if kind in ("stimuli", "splits"):
        return [(c, "stimulus", "U") for c in ("stimulus_id", "group")] + (
            [("split", "stimulus", "U")] if kind == "stimuli" else []
        )
    if kind == "features":
        return [
            ("stimulus_id", "stimulus", "U"),
            ("layer", str(dataset["feature"].dims[-1]), "U"),
        ]
    if kind in ("embeddings", "pictures", "captions"):
        of_all = [("stimulus_id", "presentation", "U"), ("fold", "presentation", "iu")]
        return of_all + ([] if kind == "embeddings" else [("condition", "condition", "U")])
    if kind == "classes":
        return [(c, "presentation", "U") for c in ("stimulus_id", "group")] + [
            ("fold", "presentation", "iu"), ("label", "presentation", "iu"), ("class", "class", "U")
        ]  # fmt: skip
    position = POSITION["vertex" in dataset.coords]
    wanted = [(k, "neuroid", v) for k, v in (NEUROID | position).items()] + regions
    if kind == "responses":
        ceiling = CEILING["noise_ceiling" in dataset.coords]
        wanted += [(k, "neuroid", v) for k, v in ceiling.items()]
        wanted += [(k, "presentation", v) for k, v in PRESENTATION.items()]
    if kind == "predictions":
        wanted += [("stimulus_id", "presentation", "U"), ("fold", "presentation", "iu")]
    return wanted


def save(dataset: xr.Dataset, path: str | Path) -> None:
    """Check and write one netCDF file, chunked along neuroids, under a temporary name first."""
    check(dataset, dataset.attrs["kind"])
    encoding: dict[str, dict[str, Any]] = {}
    for name, variable in dataset.variables.items():
        if variable.dtype.kind == "f":
            encoding[str(name)] = {"_FillValue": None}
        if "neuroid" in variable.dims and variable.ndim > 1 and variable.size:
            encoding.setdefault(str(name), {})["chunksizes"] = tuple(
                min(size, 1024) if dim == "neuroid" else size for dim, size in variable.sizes.items()
            )
    with atomic(path, size=dataset.nbytes + 2**16) as partial:
        try:
            dataset.to_netcdf(partial, engine="h5netcdf", encoding=encoding)
        except ValueError as error:  # half a character, a zero byte
            raise ContractError(
                f"Cannot write {path}: the {dataset.attrs['kind']} hold text that no file keeps ({error}). "
                "Correct names and texts."
            ) from None


def load(path: str | Path, kind: Kind, *, in_parts: str = "") -> xr.Dataset:
    """Read one file into memory and check it.

    Parameters
    ----------
    path : path
    kind : str
    in_parts : str
        A variable that stays in the file and is read where it is indexed.

    Raises
    ------
    InputError
        The file is missing or cannot be read (truncated, or not netCDF).
    ContractError
        It is of another kind or breaks its contract.
    """
    try:
        dataset = xr.open_dataset(existing(path), engine="h5netcdf", cache=False)
        for name, variable in dataset.variables.items():
            if name != in_parts:
                variable.load()
        if not in_parts:
            dataset.close()
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"Cannot read {path} as netCDF ({Path(path).stat().st_size} bytes): the file is "
            "truncated or of another format. Delete it and run the command that makes it again."
        ) from error
    if dataset.attrs.get("kind") != kind:
        raise ContractError(
            f"{path} holds {dataset.attrs.get('kind', 'no neuroenc array')!r}, expected {kind!r}."
        )
    return check(dataset, kind)


def regions(dataset: xr.Dataset) -> dict[str, NDArray[np.bool_]]:
    """Return the mask of each region, name -> (n_neuroids,)."""
    return {
        str(c).removeprefix(REGION_PREFIX): dataset[c].values
        for c in dataset.coords
        if str(c).startswith(REGION_PREFIX)
    }


def average_repeats(responses: xr.Dataset) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
    """Average the presentations of each stimulus.

    Returns
    -------
    stimulus_id : ndarray of shape (n_stimuli,)
        In order of first presentation.
    mean : ndarray of shape (n_stimuli, n_neuroids[, n_time_bins])
        A presentation that is NaN for a neuroid is left out of its mean; NaN if all are.
    """
    ids, first, inverse = np.unique(responses["stimulus_id"].values, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))[inverse]
    values = responses["response"].variable
    mean = np.empty((len(ids), *values.shape[1:]), np.float32)
    for cut in columns(values.shape[0] * int(np.prod(values.shape[2:])), values.shape[1]):
        part = values[:, cut].values
        present = np.isfinite(part)
        total, count = np.zeros((2, len(ids), *part.shape[1:]))
        np.add.at(total, rank, np.where(present, part, 0))
        np.add.at(count, rank, present)
        with np.errstate(invalid="ignore"):
            mean[:, cut] = total / count
    return ids[np.argsort(first)], mean


def positions(features: xr.Dataset, stimulus_id: NDArray[np.str_]) -> NDArray[np.int64]:
    """Find the rows of the features of some stimuli.

    Raises
    ------
    ContractError
        A stimulus has no features; the first is named.
    """
    position = {s: i for i, s in enumerate(features["stimulus_id"].values)}
    missing = [s for s in dict.fromkeys(stimulus_id) if s not in position]
    if missing:
        raise ContractError(
            f"{len(missing)} of {len(set(stimulus_id))} stimuli have no features of "
            f"{features.attrs['model']!r}, first {str(missing[0])!r}; the features hold "
            f"{len(position)} stimuli, first {str(next(iter(position), None))!r}. Extract the features "
            "from the stimuli of the same dataset."
        )
    return np.array([position[s] for s in stimulus_id], int)


def join(features: xr.Dataset, stimulus_id: NDArray[np.str_]) -> NDArray[np.float32]:
    """Return the features of the stimuli in the given order, flattened to (n, n_features).

    Raises
    ------
    ContractError
        A stimulus has no features; the first is named.
    """
    values = features["feature"][positions(features, stimulus_id)].values
    return np.asarray(values.reshape(len(values), -1), dtype=np.float32)


def select_layers(features: xr.Dataset, layers: Sequence[str]) -> xr.Dataset:
    """Return the features of some layers; the embedding contract then names these alone.

    Parameters
    ----------
    features : Dataset
        Features.
    layers : sequence of str
        Empty: all.

    Raises
    ------
    InputError
        No such layer.
    """
    known = features["layer"].values
    for layer in layers:
        if layer not in known:
            raise invalid("layer", layer, list(dict.fromkeys(known)))
    if not layers:
        return features
    kept = np.isin(known, layers)
    chosen = features.isel({str(features["feature"].dims[-1]): kept})
    return chosen.assign_attrs(layer=",".join(dict.fromkeys(known[kept])))


def trained(predictions: xr.Dataset, stimulus_id: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Say which stimuli the models of each fold were fitted to, (n_folds, n_stimuli)."""
    row = {s: i for i, s in enumerate(predictions["training_stimulus_id"].values)}
    at = np.array([row.get(s, -1) for s in stimulus_id])
    return np.asarray(predictions["training"].values[:, at] & (at >= 0))


def same_neuroids(a: xr.Dataset, b: xr.Dataset) -> None:
    """Refuse two arrays of different neuroids.

    Raises
    ------
    ContractError
        Naming the first that differs.
    """
    one, other = a["neuroid_id"].values, b["neuroid_id"].values
    if len(one) != len(other):
        raise ContractError(
            f"The {a.attrs['kind']} have {len(one)} neuroids, the {b.attrs['kind']} {len(other)}. Use "
            "files of one subject and one mask."
        )
    differ = np.flatnonzero(one != other)
    if len(differ):
        first = differ[0]
        raise ContractError(
            f"The {a.attrs['kind']} and the {b.attrs['kind']} differ in {len(differ)} neuroids, first "
            f"{str(one[first])!r} and {str(other[first])!r}. Use files of one subject and one mask."
        )


def same_contract(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuse features of another embedding contract.

    Parameters
    ----------
    found, expected : mapping
        Attributes of the features that are given, and of those a model was fitted to.

    Raises
    ------
    ContractError
        Naming both values of the first attribute that differs.
    """
    for key in CONTRACT:
        if found.get(key) != expected.get(key):
            raise ContractError(
                f"Features disagree with the weights in {key!r}: found {found.get(key)!r}, fitted to "
                f"{expected.get(key)!r}. Extract them with the same model section."
            )
