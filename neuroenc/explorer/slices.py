"""The grid that a volume's neuroids lie in, as slices show it."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuroenc.explorer.run import Found
from neuroenc.explorer.scripts import packed


def grid_of(found: Found) -> dict[str, Any] | None:
    """Describe the grid of the recordings, whose slices are drawn along its own axes.

    Parameters
    ----------
    found : Found

    Returns
    -------
    dict or None
        `voxels`, packed, (n_neuroids, 3), counted from 0, -1 outside the grid; `shape` and `zooms` (mm) of
        the grid; `axes`, which axis of the grid runs from left to right, from back to front and from below
        to above, and `flips`, whether it does so downwards; `degrees`, how far the farthest of them is from
        that. None where the neuroids lie in no grid, or nothing says where it lies.
    """
    from nibabel.affines import voxel_sizes
    from nibabel.orientations import io_orientation

    r = found.responses
    if r is None or not {"x", "y", "z"} <= set(r.coords):
        return None
    of = "voxel_" if "voxel_affine" in r.attrs else ""
    if not {f"{of}affine", f"{of}grid_shape"} <= set(r.attrs):
        return None
    affine = np.reshape(r.attrs[f"{of}affine"], (4, 4))
    shape = np.ravel(r.attrs[f"{of}grid_shape"]).astype(int)
    places = np.stack([r[axis].values for axis in "xyz"], 1)
    there = np.isfinite(places).all(1) & (places >= 0).all(1) & (places < shape).all(1)
    voxels = np.where(there[:, None], np.where(there[:, None], places, 0).round(), -1).astype(np.int16)
    orientation = io_orientation(affine)  # of each axis of the grid: which of the body's it is, and its sign
    if not there.any() or not np.isfinite(orientation).all():
        return None
    axes = np.argsort(orientation[:, 0])
    zooms = voxel_sizes(affine)
    turned = np.abs(affine[:3, axes] / zooms[axes]).diagonal()
    return {
        "voxels": packed(voxels), "shape": shape.tolist(), "zooms": zooms.tolist(), "axes": axes.tolist(),
        "flips": (orientation[axes, 1] < 0).tolist(),
        "degrees": float(np.degrees(np.arccos(np.clip(turned, -1, 1))).max()),
    }  # fmt: skip
