"""What each kind of array holds, and the check that it does."""

from __future__ import annotations

from typing import Literal

import numpy as np
import xarray as xr

from neuroenc.errors import ContractError

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
    "comparison",
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
    "comparison": ("dataset", "better", "metric", "delta", "fdr_level", "unit", "interval_unit", "seed"),
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
    "comparison": (
        "difference", (("metric", "rival", "neuroid"), ("metric", "rival", "neuroid", "time_bin"))
    ),
}  # fmt: skip
# what predictions carry beside themselves; "…" stands for the neuroids, and time bins
PREDICTED = {
    "chosen_layer": (("fold", "…"), "U"), "alpha": (("fold", "…"), "f"),
    "validation_r2": (("fold", "layer", "…"), "f"), "layer_name": (("layer",), "U"),
    "validation": (("held", "…"), "f"), "held_stimulus_id": (("held",), "U"), "held_fold": (("held",), "iu"),
    "training": (("fold", "stimulus"), "b"), "training_stimulus_id": (("stimulus",), "U"),
}  # fmt: skip
# what a comparison carries beside the difference
COMPARED = {
    "low": (("rival", "…"), "f"), "high": (("rival", "…"), "f"), "p": (("rival", "…"), "f"),
    "p_worse": (("rival", "…"), "f"), "q": (("rival", "…"), "f"), "equivalent": (("rival", "…"), "b"),
    "neuroid_p": (("rival", "neuroid"), "f"), "wins_p": (("neuroid",), "f"), "wins_q": (("neuroid",), "f"),
    "wins": (("neuroid",), "b"), "loses_p": (("neuroid",), "f"),
    "region_difference": (("rival", "region", "estimate"), "f"),
    "region_p": (("rival", "region"), "f"), "region_wins_p": (("region",), "f"),
    "region_equivalent": (("rival", "region"), "b"), "region_sample": (("rival", "region", "sample"), "f"),
    "region_count": (("region", "count"), "iu"),
}  # fmt: skip
# what splits are made of; `near` is left out where no stimuli are close in time, `distance` without features
DIVIDED = {
    "side": (("fold", "stimulus"), "iu"), "inner": (("fold", "stimulus"), "i"),
    "near": (("fold", "stimulus", "edge"), "i"), "distance": (("fold", "stimulus"), "f"),
}  # fmt: skip
REGION_PREFIX = "roi_"
RESERVED = {
    "coordinates", "_NCProperties", "_nc3_strict", "_Netcdf4Coordinates", "_Netcdf4Dimid", "CLASS", "NAME",
    "DIMENSION_LIST", "REFERENCE_LIST",
}  # fmt: skip


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
    if REGION_PREFIX in dataset.coords:
        raise ContractError(f"A region has no name: {REGION_PREFIX!r} alone. Name it.")
    if f"{REGION_PREFIX}all" in dataset.coords:
        raise ContractError("A region is called 'all', which is what all neuroids go by. Name it otherwise.")
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
    if kind == "splits":
        _check_splits(dataset)
    if kind == "comparison":
        _check_carried(dataset, "comparison", COMPARED, 2, "evaluate compare")
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
    _check_carried(dataset, "predictions", PREDICTED, 1, "encode fit")
    for name in ("fold", "held_fold"):
        if not np.isin(dataset[name].values, np.arange(dataset.sizes["fold"])).all():
            low, high = dataset[name].values.min(), dataset[name].values.max()
            raise ContractError(
                f"{name} goes from {low} to {high}, expected 0 to {dataset.sizes['fold'] - 1}, the folds."
            )


def _check_carried(
    dataset: xr.Dataset, kind: Kind, carried: dict[str, tuple[tuple[str, ...], str]], first: int, command: str
) -> None:
    """Check variables on the dimensions that the main one has from `first` on."""
    each = tuple(map(str, dataset[DIMS[kind][0]].dims[first:]))
    for name, (dims, dtypes) in carried.items():
        wanted = tuple(d for dim in dims for d in (each if dim == "…" else (dim,)))
        _check_variable(dataset, kind, name, wanted, dtypes, command)


def _check_splits(dataset: xr.Dataset) -> None:
    """Refuse splits whose sides or inner folds cannot be read."""
    for name, (dims, dtypes) in DIVIDED.items():
        if name in dataset or name in ("side", "inner"):
            _check_variable(dataset, "splits", name, dims, dtypes, "split make")
    side, inner = dataset["side"].values, dataset["inner"].values
    for fold, (sides, folds) in enumerate(zip(side, inner, strict=True)):
        if not np.isin(sides, (0, 1, 2)).all():
            strange = next(int(v) for v in sides if v not in (0, 1, 2))
            raise ContractError(
                f"side of fold {fold} holds {strange}, expected 0 (train), 1 (test) or 2 (neither)."
            )
        found = np.unique(folds[sides == 0])
        if len(found) < 2 or found[0] < 0:
            raise ContractError(
                f"inner of the training stimuli of fold {fold} is {found[:5].tolist()}, expected two or more "
                "validation folds, numbered from 0. Write the splits again by `neuroenc split make`."
            )


def _check_variable(
    dataset: xr.Dataset, kind: Kind, name: str, wanted: tuple[str, ...], dtypes: str, command: str
) -> None:
    if name not in dataset:
        raise ContractError(f"{kind} lack {name!r}. Write them again by `neuroenc {command}`.")
    found = dataset[name]
    if found.dims != wanted or found.dtype.kind not in dtypes:
        raise ContractError(
            f"{name} has dimensions {found.dims} of {found.dtype}, expected {wanted} of {_dtypes(dtypes)}. "
            f"Write the {kind} again by `neuroenc {command}`."
        )


def _dtypes(kinds: str) -> str:
    names = {"U": "text", "f": "float", "i": "int", "u": "unsigned", "b": "bool"}
    return " or ".join(names[c] for c in kinds)


def _wanted(dataset: xr.Dataset, kind: Kind) -> list[tuple[str, str, str]]:
    """List (coordinate, dimension, dtypes) the kind requires."""
    regions = [(str(c), "neuroid", "b") for c in dataset.coords if str(c).startswith(REGION_PREFIX)]
    regions += [("parcel", "neuroid", "U")] if "parcel" in dataset.coords else []
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
    if kind == "comparison":
        wanted += [("metric", "metric", "U"), ("rival_name", "rival", "U"), ("region_name", "region", "U")]
    return wanted
