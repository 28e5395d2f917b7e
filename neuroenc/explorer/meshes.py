"""The cortex that maps are drawn on: fsaverage5, which nilearn brings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroenc.explorer.scripts import packed

MESH = "fsaverage5"
SHAPES = ("inflated", "pial", "flat")
SIDES = {"L": "left", "R": "right"}


def meshes() -> dict[str, Any]:
    """Return both hemispheres, inflated, folded and flat.

    Returns
    -------
    dict
        `name`; `sulc`, side to the depth of sulci of each vertex; `shapes`, name to side to `places`
        (n_vertices, 3), mm, and `faces` (n_faces, 3). A flat hemisphere is cut, and lacks some faces.
    """
    from nilearn.datasets import load_fsaverage, load_fsaverage_data

    loaded = load_fsaverage(MESH)
    sulcal = load_fsaverage_data(mesh=MESH, data_type="sulcal").data.parts
    shapes: dict[str, Any] = {}
    for shape in SHAPES:
        parts = loaded[shape].parts
        shapes[shape] = {
            side: {
                "places": packed(parts[part].coordinates.astype(np.float32)),
                "faces": packed(parts[part].faces.astype(np.uint32)),
            }
            for side, part in SIDES.items()
        }
    sulc = {side: packed(_flat(sulcal[part])) for side, part in SIDES.items()}
    return {"name": MESH, "sulc": sulc, "shapes": shapes}


def n_vertices() -> int:
    """Return how many vertices a hemisphere has."""
    from nilearn.datasets import load_fsaverage

    return int(load_fsaverage(MESH)["inflated"].parts["left"].n_vertices)


def _flat(values: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.asarray(values, np.float32).reshape(-1)
