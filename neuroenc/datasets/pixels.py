"""Where the pixels are: one HDF5, a folder of pictures or films, or zips; read in blocks, never exploded."""

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

from neuroenc.datasets.films import ENDINGS, open_film
from neuroenc.errors import InputError
from neuroenc.files import existing


def read_pixels(stimuli: xr.Dataset, rows: NDArray[np.int64], moment: float = 0.5) -> list[NDArray[np.uint8]]:
    """Read pictures of a StimulusSet, or one frame of each of its films.

    Parameters
    ----------
    stimuli : Dataset
        `attrs["pixels"]` is `file.hdf5#dataset`, indexed by `pixel_index`, or a folder to which
        the coordinate `file` is relative; `pictures.zip/a.jpg` means a member of a zip there. Of a film the
        coordinates `onset` and `duration` (s) say which part a stimulus is; without them it is all of it.
    rows : int array of shape (n,)
        Rows of the table.
    moment : float
        Of a film: where in the stimulus the frame lies, from 0 to 1.

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
        once, where = np.unique(index, return_inverse=True)  # HDF5 reads in order, and nothing twice
        try:
            with h5py.File(path) as file:
                block = file[key][once]
        except (OSError, KeyError) as error:
            raise InputError(f"Cannot read {key!r} of {path}: {error}. Is it whole?") from None
        return [block[i] for i in where]
    return [
        _frame(stimuli, int(row), path / str(name), moment)
        if str(name).lower().endswith(ENDINGS) else _decode(path, str(name))
        for row, name in zip(rows, stimuli["file"].values[rows], strict=True)
    ]  # fmt: skip


def _frame(stimuli: xr.Dataset, row: int, path: Path, moment: float) -> NDArray[np.uint8]:
    film = open_film(path)
    onset = float(stimuli["onset"].values[row]) if "onset" in stimuli.coords else 0.0
    known = "duration" in stimuli.coords
    duration = float(stimuli["duration"].values[row]) if known else film.duration - onset
    return film.frame(onset + moment * duration)


def n_frames(stimuli: xr.Dataset, rate: float) -> int:
    """Return how many frames of each stimulus give at least `rate` of them a second; 1 of pictures."""
    if "file" not in stimuli.coords:
        return 1
    films = [i for i, f in enumerate(stimuli["file"].values) if str(f).lower().endswith(ENDINGS)]
    if not films:
        return 1
    if "duration" in stimuli.coords:
        longest = float(stimuli["duration"].values[films].max())
    else:
        place = Path(str(stimuli.attrs["pixels"]))
        longest = max(open_film(place / str(stimuli["file"].values[i])).duration for i in films)
    return max(1, int(np.ceil(longest * rate - 1e-9)))


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
