"""Where the regions of attention routing look in the pictures that neuroids answered to most."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from neuroenc.errors import InputError
from neuroenc.explorer.run import Found
from neuroenc.explorer.scripts import packed
from neuroenc.files import existing
from neuroenc.hdf5 import datasets

FULL = 0.7  # quantile of the largest cells of pictures at which colours are full, as in figures.attention
STEPS = 255  # a byte a cell


def attended(found: Found, names: list[str]) -> list[dict[str, Any]]:
    """Gather the maps of some stimuli, for each fit that has any.

    Parameters
    ----------
    found : Found
    names : list of str
        Ids of stimuli.

    Returns
    -------
    list of dict
        `fit`; `queries`, the regions; `top`, of each the relevance of a full colour; `row`, packed,
        (n_names,), which of the maps is a stimulus's, -1 none; `shares`, packed bytes of shape (n_maps,
        n_queries, rows, columns): relevance over `top`, from 0 to 1 in 255 steps. Relevance is attention
        times the slope of the region's mean response. Maps of words, which lie in a row, are left out.

    Raises
    ------
    InputError
        A file of maps cannot be read.
    """
    out = []
    for fit, path in found.attention.items():
        maps = _read(path)
        number = {s: i for i, s in enumerate(maps["stimulus_id"].values)}
        rows = [number[s] for s in names if s in number]
        if maps.sizes["row"] == 1 or not rows:
            continue
        relevance = maps["relevance"].values[rows].clip(0)
        top = np.maximum(np.quantile(relevance.max((2, 3)), FULL, axis=0), 1e-12)
        shares = np.rint((relevance / top[:, None, None]).clip(0, 1) * STEPS).astype(np.uint8)
        place = {s: k for k, s in enumerate(s for s in names if s in number)}
        out.append({
            "fit": fit, "queries": maps["query_name"].values.astype(str).tolist(), "top": top.tolist(),
            "row": packed(np.array([place.get(s, -1) for s in names], np.int32)), "shares": packed(shares),
        })  # fmt: skip
    return out


def _read(path: Path) -> xr.Dataset:
    """Read maps as `figures.attention.attention_arrays` made them."""
    try:
        with h5py.File(existing(path)) as file:
            list(datasets(file))  # refuses what reaches into other files
        maps = xr.load_dataset(path, engine="h5netcdf")
        if maps["relevance"].dims == ("stimulus", "query", "row", "column") and "query_name" in maps:
            return maps
        reason = "other dimensions than stimulus, query, row and column"
    except InputError:
        raise
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
    raise InputError(f"Cannot read the maps of attention in {path}: {reason}. Make them again.")
