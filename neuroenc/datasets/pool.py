"""A folder of pictures that nobody was shown: a pool to retrieve from."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import xarray as xr

from neuroenc.arrays import make_stimuli
from neuroenc.errors import InputError

ENDINGS = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp")


def pool_folder(folder: str | Path, key: str = "pools") -> Path:
    """Return the folder, with ~ and environment variables expanded.

    Parameters
    ----------
    folder : path
    key : str
        Of the configuration, for messages.

    Raises
    ------
    InputError
        It is none.
    """
    folder = Path(os.path.expandvars(folder)).expanduser()
    if not folder.is_dir():
        raise InputError(f"Folder not found: {folder}. Point `{key}` at a folder of pictures.")
    return folder


def load_pool(folder: str | Path) -> xr.Dataset:
    """List the pictures of a folder and of those in it.

    Parameters
    ----------
    folder : path
        Files and folders that begin with a dot are left out, links to folders are not followed.

    Returns
    -------
    Dataset
        StimulusSet; a picture's id is its path in the folder.

    Raises
    ------
    InputError
        It is no folder, or holds no picture; a folder in it cannot be read, or a picture is no file.
    """
    folder = pool_folder(folder)
    names = sorted(
        path.as_posix()
        for place, _, files in os.walk(folder, onerror=_refuse)
        for path in (Path(place, name).relative_to(folder) for name in files)
        if path.name.lower().endswith(ENDINGS) and not any(part.startswith(".") for part in path.parts)
    )
    if not names:
        raise InputError(f"{folder} holds no picture ({', '.join(ENDINGS)}).")
    if odd := [name for name in names if not (folder / name).is_file()]:
        raise InputError(
            f"{len(odd)} of {len(names)} pictures of {folder} are no files, or links to none, first "
            f"{odd[0]!r}. Take them out."
        )
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


def _refuse(error: OSError) -> None:
    """Refuse a folder that cannot be read: its pictures would be missing from the pool."""
    raise InputError(f"Cannot read {error.filename}: {error.strerror}. Expected a folder you may read.")
