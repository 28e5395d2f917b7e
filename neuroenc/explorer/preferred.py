"""The held-out stimuli that each neuroid answered to most, what people said of them, how they look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from neuroenc.arrays import average_repeats
from neuroenc.explorer.run import Found
from neuroenc.explorer.scripts import packed

MOST = 4  # stimuli of each neuroid
SIDE = 128  # px of a picture


def preferred(found: Found, stimuli: xr.Dataset | None, split: xr.Dataset | None) -> dict[str, Any] | None:
    """Find the tested stimuli of the largest measured response of each neuroid.

    Parameters
    ----------
    found : Found
    stimuli, split : Dataset or None
        StimulusSet and Splits of the run.

    Returns
    -------
    dict or None
        `stimuli`, their ids; `captions`, of each the first; `order`, packed, which of them, of shape
        (n_neuroids, n), the largest first, -1 where there is no response; `response`, likewise. None where
        the run keeps no responses or splits, or these have time bins.
    """
    responses = found.responses
    if responses is None or stimuli is None or split is None or responses["response"].ndim == 3:
        return None
    tested = split["stimulus_id"].values[(split["side"].values == 1).any(0)]
    rows = np.flatnonzero(np.isin(responses["stimulus_id"].values, tested))
    ids, mean = average_repeats(responses.isel(presentation=rows))
    if not len(ids):
        return None
    known = np.where(np.isfinite(mean), mean, -np.inf)
    order = np.argsort(-known, axis=0, kind="stable")[:MOST].T
    response = np.take_along_axis(mean.T, order, 1)
    used = np.unique(order)
    place = np.searchsorted(used, order)
    names = ids[used]
    return {
        "stimuli": names.tolist(), "captions": _captions(stimuli, names), "pictures": None,
        "units": str(responses.attrs["units"]), "n": len(ids),
        "order": packed(np.where(np.isfinite(response), place, -1).astype(np.int32)),
        "response": packed(response.astype(np.float32)),
    }  # fmt: skip


def _rows(stimuli: xr.Dataset, names: Any) -> Any:
    number = {s: i for i, s in enumerate(stimuli["stimulus_id"].values)}
    return np.array([number[s] for s in names], np.int64)


def _captions(stimuli: xr.Dataset, names: Any) -> list[str]:
    if "caption" not in stimuli:
        return [""] * len(names)
    texts = stimuli["caption"].values[_rows(stimuli, names)]
    return [str(t) for t in texts.reshape(len(texts), -1)[:, 0]]


def write_pictures(stimuli: xr.Dataset, names: list[str], folder: Path) -> list[str]:
    """Write stimuli as small JPEGs.

    Parameters
    ----------
    stimuli : Dataset
        StimulusSet, which says where the pixels are.
    names : list of str
        Ids of stimuli.
    folder : Path
        Is made.

    Returns
    -------
    list of str
        Names of files, numbered: ids may hold what no file's name does.

    Raises
    ------
    InputError
        The pixels cannot be read.
    """
    from PIL import Image

    from neuroenc.datasets.pixels import read_pixels

    folder.mkdir(exist_ok=True)
    files = []
    for number, row in enumerate(_rows(stimuli, names)):
        image = Image.fromarray(read_pixels(stimuli, np.array([row]))[0])
        image.thumbnail((SIDE, SIDE))
        image.save(folder / f"{number}.jpg", quality=85)
        files.append(f"{number}.jpg")
    return files
