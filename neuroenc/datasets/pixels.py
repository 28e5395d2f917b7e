"""Where the pixels are: one HDF5, a folder, or zips of pictures; read in blocks, never exploded."""

from __future__ import annotations

import io
import os
import zipfile
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from PIL import Image

from neuroenc.errors import InputError
from neuroenc.files import existing


def read_pixels(stimuli: xr.Dataset, rows: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
    """Read pictures of a StimulusSet.

    Parameters
    ----------
    stimuli : Dataset
        `attrs["pixels"]` is `file.hdf5#dataset`, indexed by `pixel_index`, or a folder to which
        the coordinate `file` is relative; `pictures.zip/a.jpg` means a member of a zip there.
    rows : int array of shape (n,)
        Rows of the table.

    Returns
    -------
    list of uint8 arrays, each (height, width, 3)

    Raises
    ------
    InputError
        A file is missing or broken.
    """
    place, _, key = str(stimuli.attrs["pixels"]).partition("#")
    if place == "not distributed":
        raise InputError(
            f"The stimuli of {stimuli.attrs['dataset']!r} come without pictures. Use models of their "
            "captions or categories, or add the pictures."
        )
    path = existing(place, made_by="The stimulus set names where the pictures are; were they moved?")
    if key:
        index = stimuli["pixel_index"].values[rows]
        order = np.argsort(index)
        try:
            with h5py.File(path) as file:
                block = file[key][index[order]]
        except (OSError, KeyError) as error:
            raise InputError(f"Cannot read {key!r} of {path}: {error}. Is it whole?") from None
        return [block[i] for i in np.argsort(order)]
    return [_decode(path, str(name)) for name in stimuli["file"].values[rows]]


def _decode(folder: Path, name: str) -> NDArray[np.uint8]:
    archive, inside, member = name.partition(".zip/")
    data = (
        _open_zip(folder / f"{archive}.zip", os.getpid()).read(member)
        if inside
        else existing(folder / name).read_bytes()
    )
    try:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except OSError as error:
        raise InputError(f"Cannot decode the picture {name} in {folder}: {error}.") from None


@lru_cache(maxsize=4)
def _open_zip(path: Path, process: int) -> zipfile.ZipFile:  # noqa: ARG001  a fork must not share the position
    return zipfile.ZipFile(existing(path))
