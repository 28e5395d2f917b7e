"""Scores as files other viewers open: NIfTI on the subject's grid, GIFTI on the surface."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.arrays import same_neuroids
from neuroenc.errors import ContractError
from neuroenc.files import atomic


def layers_of_map(responses: xr.Dataset, scores: dict[str, xr.Dataset]) -> dict[str, NDArray[np.float32]]:
    """Name the values of a map: ceiling once, r, normalised r and q per model."""
    for s in scores.values():
        same_neuroids(responses, s)
    first = next(iter(scores.values()))
    found = {"ceiling_r": np.sqrt(np.clip(first["ceiling"].values, 0, None))}
    for model, s in scores.items():
        found[f"{model}_r"] = s["score"].sel(metric="pearson_r").values
        found[f"{model}_normalised_r"] = s["score"].sel(metric="normalised_r").values
        found[f"{model}_q"] = s["q"].values
    return {k: v.astype(np.float32) for k, v in found.items()}


def volume(responses: xr.Dataset, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Put one value per neuroid into the subject's grid; NaN elsewhere."""
    if "grid_shape" not in responses.attrs:
        raise ContractError(
            f"The responses lie in {responses.attrs['space']!r}, which has no grid; use GIFTI maps."
        )
    grid = np.full(responses.attrs["grid_shape"], np.nan, np.float32)
    i, j, k = (responses[axis].values.astype(int) for axis in "xyz")
    grid[i, j, k] = values
    return grid


def on_surface(responses: xr.Dataset, values: NDArray[np.float32], hemisphere: str) -> NDArray[np.float32]:
    """Put one value per neuroid on the vertices of a hemisphere, 'L' or 'R'; NaN elsewhere."""
    name = f"surface_{hemisphere}"
    if name not in responses:
        raise ContractError(
            f"The responses have no {name!r}: no mapping from the volume to the surface was found "
            "beside the betas. Set figures.surface to null."
        )
    index = responses[name].values
    return np.where(index >= 0, values[index], np.nan).astype(np.float32)


def write_nifti(responses: xr.Dataset, scores: dict[str, xr.Dataset], path: str | Path) -> None:
    """Write a 4-D NIfTI, one volume per value; the JSON beside it names them."""
    values = layers_of_map(responses, scores)
    data = np.stack([volume(responses, v) for v in values.values()], axis=-1)
    image = nib.Nifti1Image(data, np.reshape(responses.attrs["affine"], (4, 4)))
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"neuroenc scores, see the JSON beside"
    with atomic(path) as partial:
        nib.save(image, partial)
    with atomic(str(path).removesuffix(".nii.gz") + ".json") as partial:
        partial.write_text(json.dumps({"volumes": list(values)}, indent=2) + "\n")


def write_gifti(
    responses: xr.Dataset, scores: dict[str, xr.Dataset], hemisphere: str, path: str | Path
) -> None:
    """Write a functional GIFTI, one named array per value."""
    structure = {"L": "CortexLeft", "R": "CortexRight"}[hemisphere]
    image = nib.gifti.GiftiImage(meta=nib.gifti.GiftiMetaData(AnatomicalStructurePrimary=structure))
    for name, values in layers_of_map(responses, scores).items():
        image.add_gifti_data_array(
            nib.gifti.GiftiDataArray(
                on_surface(responses, values, hemisphere), intent="NIFTI_INTENT_NONE",
                datatype="NIFTI_TYPE_FLOAT32", meta=nib.gifti.GiftiMetaData(Name=name),
            )
        )  # fmt: skip
    with atomic(path) as partial:
        nib.save(image, partial)
