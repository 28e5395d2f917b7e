"""Parcels of an atlas for the neuroids of any recording: by the voxel of a grid, or the vertex of a mesh."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from neuroenc.arrays import parcels
from neuroenc.config import Dataset
from neuroenc.datasets.atlas_sources import HEMISPHERES, SPACES, Space, folder
from neuroenc.datasets.images import AFFINE_TOLERANCE
from neuroenc.datasets.label_files import Part, read_surface, read_volume
from neuroenc.errors import InputError
from neuroenc.files import existing, sha256

VERTICES = {"fsaverage": 163842, "fsaverage6": 40962, "fsaverage5": 10242, "fsLR:den-91k": 32492}
"""Of a hemisphere, in spaces that say so by their name"""


class Where(NamedTuple):
    """Neuroids of one hemisphere's mesh (side L or R), or of the grid of the voxels (side "")."""

    side: str
    rows: NDArray[np.int64]
    at: tuple[NDArray[np.int64], ...]
    size: tuple[int, ...]
    affine: NDArray[np.float64] | None


def add_parcels(responses: xr.Dataset, options: Dataset, subject: str) -> xr.Dataset:
    """Name the parcel of each neuroid.

    Parameters
    ----------
    responses : Dataset
        Responses with `x`, `y`, `z` on a grid, or `vertex` and `hemisphere`.
    options : Dataset
        `atlas`, and `atlas_labels` of volumes.
    subject : str
        Stands for {subject} in the name of the file.

    Returns
    -------
    Dataset
        With the coordinate `parcel` (text, empty where there is no label) and the attribute `atlas`.

    Raises
    ------
    InputError
        A file is missing, broken, or lies on another grid or mesh; its table lacks a label; no neuroid has
        one; the recordings have neither grid nor mesh.
    """
    where = _places(responses)
    parts, name = _parts(options, subject, where, responses.attrs["space"])
    parcel = np.full(responses.sizes["neuroid"], "", dtype=object)
    for place in where:
        if place.side in parts:
            _check_same(parts[place.side], place)
            parcel[place.rows] = parts[place.side].at(place.at)
    if not (parcel != "").any():
        raise InputError(
            f"{name} has a label at none of {len(parcel)} neuroids of {subject!r}. Do `mask` and atlas cover "
            "the same part of the brain, and is one of them a volume, the other a surface?"
        )
    found = responses.assign_coords(parcel=("neuroid", parcel.astype(str)))
    files = dict.fromkeys(part.path for part in parts.values())
    return found.assign_attrs(atlas=json.dumps({path.name: sha256(path) for path in files}))


def _places(responses: xr.Dataset) -> list[Where]:
    """Say where the neuroids lie: on meshes first, then on the grid."""
    where = []
    n = responses.sizes["neuroid"]
    on_mesh = np.zeros(n, bool)
    if "vertex" in responses.coords:
        vertex, side = responses["vertex"].values, responses["hemisphere"].values
        on_mesh = vertex >= 0
        nowhere = np.flatnonzero(on_mesh & ~np.isin(side, list(HEMISPHERES)))
        if len(nowhere):
            raise InputError(
                f"Neuroid {str(responses['neuroid_id'].values[nowhere[0]])!r} has a vertex, no hemisphere. "
                "An atlas needs one. Say which: `hemisphere` (L or R), or responses by left and right."
            )
        for name in HEMISPHERES:
            rows = np.flatnonzero(on_mesh & (side == name))
            if len(rows):
                where.append(Where(name, rows, (vertex[rows],), (_n_vertices(responses, name),), None))
    if "x" in responses.coords:
        place = np.stack([responses[a].values for a in "xyz"], 1)
        rows = np.flatnonzero(np.isfinite(place).all(1) & ~on_mesh)
        of = "voxel_" if "voxel_grid_shape" in responses.attrs else ""
        if len(rows) and f"{of}grid_shape" in responses.attrs:
            size = tuple(int(v) for v in np.ravel(responses.attrs[f"{of}grid_shape"]))
            affine = np.reshape(responses.attrs[f"{of}affine"], (4, 4)).astype(np.float64)
            where.append(Where("", rows, tuple(place[rows].round().astype(int).T), size, affine))
    if not where:
        raise InputError(
            f"The recordings in {responses.attrs['space']!r} have neither the grid of an image nor a mesh. "
            "An atlas needs one. Give the NIfTI of their `mask`, or leave `dataset.atlas` out."
        )
    return where


def _n_vertices(responses: xr.Dataset, side: str) -> int:
    """Return how many vertices the mesh of a hemisphere has, as its file or the name of its space says."""
    found = responses.attrs.get(f"n_vertices_{side}", VERTICES.get(responses.attrs["space"]))
    if found is None:
        raise InputError(
            f"Nothing says how many vertices the {HEMISPHERES[side][-1]} mesh of the recordings has; their "
            f"space is {responses.attrs['space']!r}, expected {', '.join(map(repr, VERTICES))}. Set `space`, "
            "or give the responses as GIFTI or CIFTI."
        )
    return int(found)


def _parts(
    options: Dataset, subject: str, where: list[Where], template: str
) -> tuple[Mapping[str, Part], str]:
    """Read the labels that the neuroids need, of an atlas known by name or of files."""
    atlas, table = str(options.atlas), options.atlas_labels or ""
    if atlas in SPACES:
        space = _space(atlas, where[0], template)
        at = folder() / atlas / space.name
        parts = _read(at / space.labels, at / space.table if space.table else None, where, atlas)
        return ({"": _onto(parts[""], where[0])} if space.template else parts), atlas
    name, table = (v.replace("{subject}", subject) for v in (atlas, table))
    return _read(Path(name), existing(table) if table else None, where), name


def _space(atlas: str, place: Where, template: str) -> Space:
    """Choose the files of a known atlas by the mesh or grid of the recordings, or by their template."""
    for space in SPACES[atlas]:
        if space.template:
            if not place.side and template.startswith(space.template):
                return space
        elif space.size == place.size:
            return space
    known = ", ".join(
        f"{s.name} ({f'any grid, where `space` says {s.template}' if s.template else _size(s.size)})"
        for s in SPACES[atlas]
    )
    raise InputError(
        f"The recordings in {template!r} have {_size(place.size)}; {atlas!r} comes for {known}. Resample the "
        "recordings to one of these, or give a file of labels that fits."
    )


def _onto(part: Part, place: Where) -> Part:
    """Take the labels at the centres of the voxels of another grid of the same template."""
    assert part.affine is not None and place.affine is not None
    matrix = np.linalg.solve(part.affine, place.affine)
    number = affine_transform(
        part.number, matrix, output_shape=place.size, order=0, cval=0, mode="grid-constant"
    )
    return part._replace(number=number, affine=place.affine)


def _size(size: tuple[int, ...]) -> str:
    return f"{size[0]} vertices a hemisphere" if len(size) == 1 else f"the grid {size}"


def _read(path: Path, table: Path | None, where: list[Where], known: str = "") -> dict[str, Part]:
    made_by = f"Run `neuroenc data atlas {known}` where there is a network." if known else ""
    if "{hemi}" not in path.name:
        path = existing(path, made_by=made_by)
        return read_volume(path, table and existing(table, made_by=made_by))
    sides = [place.side for place in where if place.side]
    if not sides:
        raise InputError(
            f"{path} has labels of a surface, the recordings lie on the grid {where[0].size}. Give the atlas "
            "as a volume."
        )
    return {side: read_surface(_hemisphere(path, side, made_by), side) for side in sides}


def _hemisphere(path: Path, side: str, made_by: str) -> Path:
    """Find the file of a hemisphere, whatever its name calls it."""
    names = [str(path).replace("{hemi}", h) for h in HEMISPHERES[side]]
    for name in names:
        try:
            return existing(name)
        except InputError:
            continue
    others = " and ".join(HEMISPHERES[side][1:])
    raise InputError(
        f"File not found: {names[0]} (nor with {others} in it). {made_by or 'Check `dataset.atlas`.'}"
    )


def _check_same(part: Part, place: Where) -> None:
    """Refuse labels of another grid or mesh: nothing is resampled here."""
    if part.number.shape != place.size:
        raise InputError(
            f"{part.path} has {_size(part.number.shape)}, the recordings {_size(place.size)}. Use the atlas "
            "of the same space, or resample it (labels by the nearest neighbour) first."
        )
    own, other = part.affine, place.affine
    if own is not None and other is not None and not np.allclose(own, other, atol=AFFINE_TOLERANCE):
        raise InputError(
            f"{part.path} has the affine {own[:3].round(4).tolist()}, the recordings "
            f"{other[:3].round(4).tolist()}: its voxels lie elsewhere. Use the atlas of the same space, or "
            "resample it (labels by the nearest neighbour) first."
        )
    if len(place.size) == 1 and place.at[0].max(initial=0) >= place.size[0]:
        raise InputError(
            f"The recordings have a vertex {place.at[0].max()}, their mesh {place.size[0]}, from 0. Are "
            "their numbers those of this mesh?"
        )


def report_parcels(responses: xr.Dataset, subject: str) -> str:
    """Say how many parcels the neuroids lie in, and how many lie in none."""
    sizes = [int(m.sum()) for m in parcels(responses).values()]
    none = int((responses["parcel"] == "").sum())
    return (
        f"subject {subject}: {len(sizes)} parcels of {min(sizes)} to {max(sizes)} neuroids (median "
        f"{np.median(sizes):g}), {none} neuroids in none"
    )
