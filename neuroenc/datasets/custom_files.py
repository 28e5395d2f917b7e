"""Files of responses in a folder of one's own, in any usual format."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuroenc.datasets.custom_description import Subject, inside
from neuroenc.datasets.custom_neuroids import join_neuroids, placed
from neuroenc.datasets.custom_rows import read_columns, refuse_marks, same_rows
from neuroenc.datasets.epochs import read_epochs
from neuroenc.datasets.images import named_side, read_responses, read_voxels
from neuroenc.datasets.reading import Table, read_array
from neuroenc.errors import InputError, invalid
from neuroenc.hdf5 import filled, numbers, of_matlab, open_hdf5, other_names, row_names
from neuroenc.real import real32

EPOCHS = ("-epo.fif", "_epo.fif", "-epo.fif.gz", "_epo.fif.gz")  # as MNE calls them
IMAGES = (".nii", ".nii.gz", ".gii")
ARRAYS = (".npy", ".h5", ".hdf5")
INSTEAD = {
    (".mat",): "Save it by MATLAB's -v7.3 as .h5 (presentations first), or as .npy",
    (".fif", ".fif.gz", ".vhdr", ".eeg", ".set", ".edf", ".bdf", ".gdf", ".cnt", ".ds"):
    "Cut it into epochs by MNE, one for each presentation, and save these as …-epo.fif",
    (".parquet", ".feather", ".xlsx", ".xls", ".ods"): "Save it as CSV, a column for each neuroid",
    (".mgh", ".mgz"): "Save it as .nii.gz or .func.gii",
}  # fmt: skip
FORMATS = (*IMAGES, *ARRAYS, ".csv", ".tsv", *EPOCHS[:1])
LONGEST_COURSE = 120.0  # s before or after the onset of a stimulus


class Part(NamedTuple):
    """What a file of responses holds."""

    values: NDArray[Any]
    """(n_presentations, n_neuroids[, n_time_bins])"""
    neuroids: pd.DataFrame
    attrs: dict[str, Any]
    time: dict[str, NDArray[Any]] | None
    """Start and stop of the bins, where the file says."""
    others: dict[str, NDArray[np.str_]]
    """What the file calls its rows, but for `stimulus_id`."""
    dropped: list[int]
    """Presentations that the file says it leaves out, from 0, where it does not name its rows."""


def read_side(root: Path, side: str, name: str, subject: str, section: Subject, shown: Table) -> Part:
    """Read a file of responses, of one hemisphere where `side` is left or right."""
    hemisphere = {"left": "L", "right": "R", "": ""}.get(side)
    if hemisphere is None:
        raise invalid(f"key of subjects.{subject}.responses", side, ("left", "right"))
    part = _read(root, name, section, shown, hemisphere)
    neuroids = part.neuroids
    if len(part.values) != len(shown):
        hint = ""
        if part.values.shape[-1] == len(shown):
            hint = " Its last axis has as many: was it written by MATLAB, or columns first? Turn it."
        elif part.dropped:
            hint = f" {len(part.dropped)} epochs were dropped, first number {part.dropped[0]} (from 0)."
        raise InputError(
            f"{name} has {len(part.values)} presentations, {section.presentations} {len(shown)} rows; they "
            f"must match one to one.{hint}"
        )
    if hemisphere:
        own = set(neuroids.get("hemisphere", pd.Series(dtype=str)).dropna()) - {""}
        own = (own or {named_side(Path(name.partition("#")[0]).name)}) - {"", hemisphere}
        if own:
            raise InputError(f"{name} is of hemisphere {min(own)!r}, but stands under {side!r}. Swap them?")
        neuroids["neuroid_id"] = [f"{hemisphere}{i}" for i in neuroids["neuroid_id"]]
        neuroids["hemisphere"] = hemisphere
        if "n_vertices" in part.attrs:
            part.attrs[f"n_vertices_{hemisphere}"] = part.attrs.pop("n_vertices")
    return part


def time_bins(
    subject: str, section: Subject, response: NDArray[Any], time: dict[str, NDArray[Any]] | None
) -> dict[str, NDArray[Any]] | None:
    """Return start and stop of the time bins, as the description has them, else as the file does."""
    if (response.ndim == 3) != (section.time is not None or time is not None):
        raise InputError(
            f"The responses of {subject} have {response.ndim} dimensions. `time` (start, width) belongs to "
            "three: presentations, neuroids, time bins."
        )
    if section.time is None:
        return time
    start = section.time.start + section.time.width * np.arange(response.shape[2])
    if max(-start[0], start[-1]) > LONGEST_COURSE:
        raise InputError(
            f"The time bins of {subject} begin from {start[0]:g} to {start[-1]:g} s after the onset of a "
            f"stimulus, expected within {LONGEST_COURSE:g} s. Is `time` in ms? Write start and width in s."
        )
    return {"start": start, "stop": start + section.time.width}


def _read(root: Path, name: str, section: Subject, shown: Table, hemisphere: str) -> Part:
    """Read a file of responses."""
    file, _, key = name.partition("#")
    path, file = inside(root, file), file.lower()
    attrs: dict[str, Any] = {}
    neuroids, labels, time, ids = None, None, None, None
    dropped: list[int] = []
    others: dict[str, NDArray[np.str_]] = {}
    image = file.endswith(IMAGES)
    if file.endswith(EPOCHS):
        values, neuroids, time, ids, others, dropped = read_epochs(path)
        labels = neuroids["neuroid_id"].tolist()
    elif image:
        mask = inside(root, section.mask) if section.mask else None
        values, neuroids, attrs, maps = read_responses(
            path, mask, {k: inside(root, v) for k, v in section.regions.items()}
        )
        others = {"its maps": np.array(maps, dtype=str)}
    elif file.endswith(".npy"):
        values = read_array(path)
    elif file.endswith((".h5", ".hdf5")):
        with open_hdf5(path) as source:
            values = _stored(source, key)
            if section.mask and of_matlab(source[key]):
                raise InputError(
                    f"{name} was written by MATLAB, which counts the voxels of a mask in another order "
                    "than that of C, in which they are taken here. Save it as .npy, or leave `mask` out."
                )
            ids, others = row_names(source, key), other_names(source, key)
    elif file.endswith((".csv", ".tsv")):
        values, labels = read_columns(path, shown)
    else:
        instead = next((how for ends, how in INSTEAD.items() if file.endswith(ends)), "")
        if instead:
            raise InputError(f"{name} is of a format that is not read as responses. {instead}.")
        raise invalid("format of responses", name, FORMATS)
    if ids is not None:
        same_rows(name, ids, shown)
    if values.ndim not in (2, 3):
        raise InputError(f"{name} has shape {values.shape}, expected (presentations, neuroids[, time bins]).")
    if 0 in values.shape:
        raise InputError(f"{name} has shape {values.shape}: it is empty.")
    if (section.mask or section.regions) and not image:
        if not file.endswith(ARRAYS) or not section.mask or section.neuroids:
            raise InputError(
                f"{name} has no voxels for `mask` and `regions`. Name its regions in `neuroids`, or give an "
                "array the mask whose voxels its columns are, and no `neuroids`."
            )
        regions = {k: inside(root, v) for k, v in section.regions.items()}
        neuroids, attrs = read_voxels(inside(root, section.mask), regions, values.shape[1], name)
    if neuroids is None:
        neuroids = pd.DataFrame({"neuroid_id": labels or np.arange(values.shape[1])})
    if section.neuroids is not None:
        own, n = neuroids, values.shape[1]
        called = own["neuroid_id"].astype(str).tolist()
        counted = len(own.columns) > 1 if image else called == [str(i) for i in range(n)]
        neuroids = join_neuroids(
            inside(root, section.neuroids), section.neuroids, called, n, name, hemisphere, named=not counted
        )
        neuroids = placed(neuroids, own, section.neuroids, name) if image else neuroids
    values = real32(values, name)
    refuse_marks(name, values)
    return Part(values, neuroids, attrs, time, *((others, dropped) if ids is None else ({}, [])))


def _stored(file: h5py.File, key: str) -> NDArray[Any]:
    """Read an array of HDF5 as its writer sees it: MATLAB's axes are in reverse there; a fill is missing."""
    found = numbers(file, key)
    values = filled(found)
    return values.T if of_matlab(found) else values
