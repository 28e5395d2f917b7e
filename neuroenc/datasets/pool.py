"""A folder of pictures that nobody was shown: a pool to retrieve from."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import xarray as xr

from neuroenc.arrays import make_stimuli
from neuroenc.errors import InputError

ENDINGS = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp")


def pool_folder(folder: str | Path) -> Path:
    """Return the folder, with ~ and environment variables expanded.

    Raises
    ------
    InputError
        It is none.
    """
    folder = Path(os.path.expandvars(folder)).expanduser()
    if not folder.is_dir():
        raise InputError(f"Folder not found: {folder}. Point `pools` at a folder of pictures.")
    return folder


def load_pool(folder: str | Path) -> xr.Dataset:
    """List the pictures of a folder and of those in it.

    Parameters
    ----------
    folder : path
        Files that begin with a dot are left out, links to folders are not followed.

    Returns
    -------
    Dataset
        StimulusSet; a picture's id is its path in the folder.

    Raises
    ------
    InputError
        It is no folder, or holds no picture.
    """
    folder = pool_folder(folder)
    names = sorted(
        Path(place, name).relative_to(folder).as_posix()
        for place, _, files in os.walk(folder)
        for name in files
        if name.lower().endswith(ENDINGS) and not name.startswith(".")
    )
    if not names:
        raise InputError(f"{folder} holds no picture ({', '.join(ENDINGS)}).")
    ids = np.array(names)
    return make_stimuli(
        {
            "stimulus_id": ids,
            "file": ids,
            "pixel_index": np.arange(len(ids)),
            "split": np.full(len(ids), "train"),
            "group": ids,
        },
        attrs={"dataset": folder.resolve().name, "pixels": str(folder)},
    )
