"""Brain-Score's packaged assemblies: an array (neuroid, presentation, time_bin), a table and pictures.

What `majajhong2015` and `freemanziemba2013` share. Files are found by their name anywhere below `root`, which
may be BrainIO's own folder (`~/.brainio`): `assy_<identifier>.nc`, `image_<stimuli>.csv`, and the pictures
beside the table, in a folder or zip of its name. The layout is that of brain-score/brainio (`write_netcdf`,
`StimulusSetLoader`) and brain-score/vision (data_helpers/s3.py); the files were not at hand.

Traps met here: dimensions stand in any order; indices of several levels are written as plain coordinates; a
stimulus is `image_id` in older files and `stimulus_id` in newer ones, and so in tables; what describes a
picture stands in the table alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from neuroenc.arrays import make_responses, make_stimuli
from neuroenc.blocks import blocks
from neuroenc.config import Dataset
from neuroenc.datasets.pixels import locate
from neuroenc.datasets.reading import Table, read_table
from neuroenc.errors import InputError, invalid, reason
from neuroenc.files import existing, sha256
from neuroenc.hdf5 import open_hdf5
from neuroenc.real import real32

IDS = ("stimulus_id", "image_id")
FILES = ("filename", "image_file_name")
EVERYONE = "all"
PART = 2**27  # bytes of the array that are read at a time


class Release(NamedTuple):
    """One assembly and its stimulus set."""

    name: str
    assembly: str
    """Name of the file without its ending"""
    stimuli: str
    window: tuple[float, float]
    """ms after the onset; the response is the mean of the time bins within"""
    label: str
    """Column of the table that says what a picture shows"""
    units: str
    expected: dict[str, int]
    """Presentations, pictures, and neuroids of each region"""


def _find(options: Dataset, name: str) -> Path:
    root = existing(
        str(options.root), made_by="Set `dataset.root` to the folder with the files of Brain-Score."
    )
    found = sorted(root.rglob(name))
    if not found:
        raise InputError(
            f"File not found: {name}, anywhere below {root}. brainscore_vision fetches it to ~/.brainio; or "
            "see docs/datasets.md."
        )
    return found[0]


def _one_of(names: tuple[str, ...], there: Any, path: Path) -> str:
    found = [n for n in names if n in there]
    if not found:
        raise InputError(f"{path} has neither {names[0]!r} nor {names[1]!r}. Was its layout changed?")
    return found[0]


def _table(options: Dataset, release: Release) -> tuple[Path, Table, NDArray[np.str_]]:
    """Read the table of pictures, and their ids."""
    path = _find(options, f"image_{release.stimuli}.csv")
    table = read_table(path)
    ids = table.names(_one_of(IDS, table, path))
    if len(set(ids)) < len(ids):
        raise InputError(f"{path} names {len(ids) - len(set(ids))} pictures twice. Fetch it again.")
    return path, table, ids


def stimuli(options: Dataset, release: Release) -> xr.Dataset:
    """List the pictures of an assembly; what each shows is its caption and category.

    Raises
    ------
    InputError
        The table or a picture is missing, or a column of the table.
    """
    path, table, ids = _table(options, release)
    names = table.names(_one_of(FILES, table, path))
    label = table.names(release.label)
    kinds = np.array(sorted(set(label)))
    archive = path.with_suffix(".zip")
    folders = [(path.parent, ""), (path.parent, f"{path.stem}/"), (archive.parent, f"{archive.name}/")]
    if not archive.exists():
        folders.pop()
    place, prefix = next(((f, p) for f, p in folders if (f / p / names[0]).is_file()), folders[-1])
    hint = f"Unpack {archive.name} beside the table, or leave it there as it is."
    return make_stimuli(
        {
            "stimulus_id": ids, "group": ids, "split": np.full(len(ids), "train"),
            "pixel_index": np.arange(len(ids)),
            "file": locate(place, [f"{prefix}{n}" for n in names], hint=hint),
        },
        attrs={"dataset": release.name, "pixels": str(place)},
        captions=np.char.replace(label, "_", " ")[:, None],
        categories=(kinds.tolist(), label[:, None] == kinds),
    )  # fmt: skip


@contextmanager
def _opened(path: Path) -> Iterator[tuple[xr.Dataset, xr.DataArray]]:
    """Open an assembly; give its coordinates, and the array, which stays in the file."""
    with open_hdf5(path):  # refuses what reaches into other files
        pass
    try:
        with xr.open_dataset(path, engine="h5netcdf", decode_times=False, cache=False) as file:
            dims = {"presentation", "neuroid", "time_bin"}
            arrays = [a for a in file.data_vars.values() if set(a.dims) == dims]
            if len(arrays) != 1:
                shapes = {str(k): v.dims for k, v in file.data_vars.items()}
                raise InputError(
                    f"{path} holds {shapes}, expected one array of {sorted(dims)}. Fetch it again."
                )
            yield file, arrays[0]
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  netCDF that lies raises errors of every kind
        raise InputError(f"Cannot read {path}: {reason(error)}. Fetch it again.") from None


def _labels(file: xr.Dataset, name: str, dim: str, path: Path) -> NDArray[Any]:
    if name not in file or file[name].dims != (dim,):
        raise InputError(f"{path} has no {name!r} on {dim!r}. Fetch it again.")
    return np.asarray(file[name].values)


def responses(options: Dataset, subject: str, release: Release) -> xr.Dataset:
    """Read the neuroids of an animal, or of all; every repeat is a presentation.

    Parameters
    ----------
    options : Dataset
    subject : str
        A name of the coordinate `animal`, or `all`.
    release : Release

    Returns
    -------
    Dataset
        Responses; NaN where the assembly has no value.

    Raises
    ------
    InputError
        A file is missing or broken, or is not laid out as the release; no such animal; a presentation shows
        a picture that the table lacks.
    """
    path = _find(options, f"assy_{release.assembly}.nc")
    _, _, known = _table(options, release)
    with _opened(path) as (file, array):
        ids = _labels(file, _one_of(IDS, file, path), "presentation", path).astype(str)
        unknown = sorted(set(ids) - set(known))
        if unknown:
            raise InputError(
                f"{path} shows {len(unknown)} pictures that image_{release.stimuli}.csv lacks, first "
                f"{str(unknown[0])!r}. Fetch both again."
            )
        region = _labels(file, "region", "neuroid", path).astype(str)
        regions = [r for r in release.expected if r not in ("presentations", "pictures")]
        odd = sorted(set(region) - set(regions))
        if odd:
            raise InputError(
                f"{path} has neuroids of region {str(odd[0])!r}, expected {' or '.join(regions)}."
            )
        name = _labels(file, "neuroid_id", "neuroid", path).astype(str)
        animal = file["animal"].values.astype(str) if "animal" in file else np.full(len(region), EVERYONE)
        if subject not in (EVERYONE, *animal):
            raise invalid("subject", subject, (EVERYONE, *sorted(set(animal) - {EVERYONE})))
        kept = np.flatnonzero((animal == subject) | (subject == EVERYONE))
        values = _mean(array, kept, _bins(file, path, release.window))
    n, nowhere = len(kept), np.full(len(kept), np.nan, np.float32)
    return make_responses(
        values,
        presentation={
            "stimulus_id": ids, "group": ids, "split": np.full(len(ids), "train"),
            "session": np.full(len(ids), "1"), "run": np.zeros(len(ids), int),
            "repetition": pd.Series(ids).groupby(ids).cumcount().to_numpy(),
        },
        neuroid={
            "neuroid_id": np.array([f"{r}_{i}" for r, i in zip(region[kept], name[kept], strict=True)]),
            "subject": animal[kept], "hemisphere": np.full(n, ""), "x": nowhere, "y": nowhere, "z": nowhere,
            "ncsnr": nowhere, **{f"roi_{r}": region[kept] == r for r in regions},
        },
        attrs={
            "dataset": release.name, "space": "sites", "units": release.units,
            "source": json.dumps({path.name: sha256(path)}),
        },
    )  # fmt: skip


def _bins(file: xr.Dataset, path: Path, window: tuple[float, float]) -> slice:
    """Return the time bins within a window, in ms, which they must fill."""
    start, stop = (_labels(file, f"time_bin_{k}", "time_bin", path).astype(float) for k in ("start", "end"))
    inside = np.flatnonzero((start >= window[0]) & (stop <= window[1]))
    covered = float((stop - start)[inside].sum())
    if not len(inside) or np.ptp(inside) >= len(inside) or covered != window[1] - window[0]:
        raise InputError(
            f"{path} has {len(start)} time bins from {start.min():g} to {stop.max():g}, expected bins that "
            f"fill {window[0]:g} to {window[1]:g} ms. Is it the assembly of that name?"
        )
    return slice(int(inside[0]), int(inside[-1]) + 1)


def _mean(array: xr.DataArray, neuroid: NDArray[np.int64], bins: slice) -> NDArray[np.float32]:
    """Average over time bins, a part of the presentations at a time, (n_presentations, n_neuroids)."""
    n = array.sizes["presentation"]
    out = np.empty((n, len(neuroid)), np.float32)
    each = 8 * array.sizes["neuroid"] * (bins.stop - bins.start)
    for part in blocks(n, max(1, PART // each)):
        found = array.isel(presentation=part, time_bin=bins).transpose("presentation", "neuroid", "time_bin")
        out[part] = real32(found.values[:, neuroid].mean(2), str(array.name))
    return out


def check(options: Dataset, subjects: list[str], release: Release) -> list[str]:
    """Compare an assembly and its pictures with the record."""
    shown = stimuli(options, release).sizes["stimulus"]
    found = responses(options, EVERYONE, release)
    counts = {"presentations": found.sizes["presentation"], "pictures": shown}
    counts |= {k: int(found[f"roi_{k}"].sum()) for k in release.expected if k not in counts}
    for what, expected in release.expected.items():
        if counts[what] != expected:
            raise InputError(f"{release.name} {what}: found {counts[what]}, expected {expected}.")
    each = [f"subject {s}: {responses(options, s, release).sizes['neuroid']} neuroids" for s in subjects]
    return [", ".join(f"{n} {what}" for what, n in counts.items()), *each]
