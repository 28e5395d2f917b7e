"""MATLAB's cells, and the masks of regions, as all experiments of Pereira et al. (2018) hold them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def cell(value: Any) -> list[Any]:
    """Members of a MATLAB cell, which scipy makes a number, text or array when it is small."""
    return list(np.atleast_1d(value)) if isinstance(value, np.ndarray) else [value]


def masks(meta: Any) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Return of each atlas the mask of each region, (n_voxels,)."""
    regions = {}
    for atlas, rois, mask in zip(cell(meta.atlases), meta.rois, meta.roiMultimask, strict=True):
        number = np.ravel(mask).astype(int)  # 0 outside, else the place in the list of regions
        regions[str(atlas)] = {str(r): number == i for i, r in enumerate(cell(rois), 1)}
    return regions
