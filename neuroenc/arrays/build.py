"""Arrays from plain values, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from neuroenc import __version__
from neuroenc.arrays.contracts import COMPARED, DIMS, Kind, check
from neuroenc.errors import ContractError
from neuroenc.real import real32


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
        `ncsnr` or `noise_ceiling`; one boolean `roi_<name>` per region; `parcel` (text, empty for none) of an
        atlas.
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

    Raises
    ------
    ContractError
        Another precision than these two, or as `check`.
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
    time_bin : mapping, optional
        Coordinates of time bins, each of shape (n_time_bins,): `start`, `stop` in s.
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


def make_comparison(
    found: Mapping[str, NDArray[Any]], *, metric: list[str], rival: list[str], region: list[str],
    like: xr.Dataset, attrs: Mapping[str, Any],
) -> xr.Dataset:  # fmt: skip
    """Build and check a comparison of encoders.

    Parameters
    ----------
    found : mapping
        `difference`, and what `COMPARED` names.
    metric, rival, region : list of str
    like : Dataset
        Whose coordinates on `neuroid` and `time_bin` are taken over (Responses).
    attrs : mapping
    """
    dims = ("metric", "rival", "neuroid", "time_bin")[: found["difference"].ndim]
    coords: dict[str, Any] = {
        str(k): v.variable for k, v in like.coords.items() if v.dims in (("neuroid",), ("time_bin",))
    }
    coords |= {
        "metric": ("metric", np.asarray(metric)), "rival_name": ("rival", np.asarray(rival)),
        "region_name": ("region", np.asarray(region)), "estimate": ["mean", "low", "high"],
        "count": ["neuroids", "wins", "low", "high"],
    }  # fmt: skip
    difference = np.asarray(found["difference"], np.float32)
    dataset = _make("comparison", dims, difference, coords, attrs, check_it=False)
    for name, (carried, _) in COMPARED.items():
        wanted = tuple(d for dim in carried for d in (dims[2:] if dim == "…" else (dim,)))
        values = found[name]
        dataset[name] = wanted, values.astype(np.float32) if values.dtype.kind == "f" else values
    return check(dataset, "comparison")


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
