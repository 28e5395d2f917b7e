"""Responses averaged by parcel."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.arrays import make_responses, parcels, regions
from neuroenc.errors import InputError
from neuroenc.evaluation.ceilings import estimate_ncsnr

# of an array anew; a mean of voxels has no place of its own on the grid
WRITTEN = ("kind", "neuroenc_version", "grid_shape")


def average_parcels(responses: xr.Dataset) -> xr.Dataset:
    """Average the neuroids of each parcel of each hemisphere.

    The mean is that of the values as the loader left them, z-scored or not. Where a presentation has a value
    in a parcel, all voxels of its mean have one: a voxel that lacks some is left out, so that the mean never
    jumps from one set of voxels to another.

    Parameters
    ----------
    responses : Dataset
        Responses with the coordinate `parcel`.

    Returns
    -------
    Dataset
        Responses, a neuroid a parcel: `parcel`, `hemisphere`, `n_voxels` (of the mean), `x`, `y`, `z` (mean
        place of these, in voxels; NaN on a mesh), `ncsnr` estimated anew from the repeats (NaN without any,
        and of time bins), `roi_<name>` where more than half of them lie in the region. `surface_L` and
        `surface_R` give the parcel under each vertex. Parcels without such a voxel are left out, and counted
        in `n_parcels_without_data`.

    Raises
    ------
    InputError
        No parcel has data.
    """
    kept: list[NDArray[np.int64]] = []
    keys, means = [], []
    response = responses["response"].values
    found = parcels(responses)
    for key, inside in found.items():
        rows = np.flatnonzero(inside)
        complete = rows[_complete(response[:, rows])]
        if len(complete):
            keys.append(key)
            kept.append(complete)
            means.append(response[:, complete].mean(1, dtype=np.float64))
    if not keys:
        raise InputError(
            f"No voxel of {len(found)} parcels has a value throughout. Is the mask that of the brain?"
        )
    averaged = np.stack(means, 1)
    ids = responses["stimulus_id"].values
    subject = str(responses["subject"].values[0])
    snr = estimate_ncsnr(averaged, ids) if averaged.ndim == 2 else np.full(len(keys), np.nan)
    out = make_responses(
        averaged,
        presentation=_along(responses, "presentation"),
        neuroid={
            "neuroid_id": [f"{subject}_{side}{'-' if side else ''}{name}" for side, name in keys],
            "subject": np.full(len(keys), subject), "hemisphere": [side for side, _ in keys],
            "parcel": [name for _, name in keys], "n_voxels": [len(k) for k in kept],
            "ncsnr": snr.astype(np.float32), **_centres(responses, kept),
            **{f"roi_{name}": np.array([inside[k].mean() > 0.5 for k in kept])
               for name, inside in regions(responses).items()},
        },
        attrs={k: v for k, v in responses.attrs.items() if k not in WRITTEN}
        | {"averaged_by": "parcel", "n_parcels_without_data": len(found) - len(keys)},
        time_bin=_along(responses, "time_bin") if averaged.ndim == 3 else None,
    )  # fmt: skip
    number = np.full(responses.sizes["neuroid"], -1, np.int32)
    for i, key in enumerate(keys):
        number[found[key]] = i
    for side in ("L", "R"):
        if f"surface_{side}" in responses:
            under = responses[f"surface_{side}"].values
            out[f"surface_{side}"] = f"vertex_{side}", np.where(under >= 0, number[under], np.int32(-1))
    return out


def _complete(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which voxels, (n_presentations, n_voxels[, n_time_bins]), have a value wherever any of them has one."""
    known = np.isfinite(values)
    some = known.any(1, keepdims=True)
    axes = tuple(a for a in range(values.ndim) if a != 1)
    return np.asarray((known | ~some).all(axes) & known.any(axes))


def _along(responses: xr.Dataset, dim: str) -> dict[str, NDArray[np.generic]]:
    return {str(k): c.values for k, c in responses.coords.items() if c.dims == (dim,)}


def _centres(responses: xr.Dataset, kept: list[NDArray[np.int64]]) -> dict[str, NDArray[np.float32]]:
    """Mean place of the voxels of each parcel; NaN where it lies on a mesh."""
    centre = np.full((len(kept), 3), np.nan, np.float32)
    if "x" in responses.coords:
        place = np.stack([responses[a].values for a in "xyz"], 1).astype(np.float64)
        for i, rows in enumerate(kept):
            here = place[rows][np.isfinite(place[rows]).all(1)]
            if len(here):
                centre[i] = here.mean(0)
    return dict(zip("xyz", centre.T, strict=True))
