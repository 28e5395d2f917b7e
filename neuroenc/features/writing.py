"""Features written in place: the file is whole from the first batch on, its rows are filled block by block.

Beside `out` stands a folder with the file, whose metadata are complete, and an empty file `0000256` for each
block of stimuli whose values have reached the disk. A killed run leaves it, and the next goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any

import h5netcdf
import h5py
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.blocks import blocks
from neuroenc.errors import InputError
from neuroenc.features.layers import (
    Layers,
    features_of,
    same_shape,
    same_tokens,
    shapes_of,
    side_by_side,
    with_time,
)
from neuroenc.files import atomic, lock, remove, unwritten

BLOCK = 256  # stimuli


class Rows:
    """Rows of `feature` in a file that `create` made, written in any order."""

    def __init__(self, path: Path) -> None:
        with h5py.File(path) as found:
            feature = found["feature"]
            self.shape, self.dtype = feature.shape, feature.dtype
            self.start = feature.id.get_offset()
            self.shapes = {name: tuple(v) for name, v in json.loads(found.attrs["shape"]).items()}
        self.file = path.open("r+b")

    def write(self, row: int, values: NDArray[np.floating[Any]]) -> None:
        """Write the values of some stimuli from a row on.

        HDF5 has no part in it: a process that is killed here leaves a file that can be read.
        """
        self.file.seek(self.start + row * (self.dtype.itemsize * int(np.prod(self.shape[1:]))))
        self.file.write(np.ascontiguousarray(values, self.dtype).data)

    def flush(self) -> None:
        """Return when what was written is on the disk."""
        self.file.flush()
        os.fsync(self.file.fileno())


def create(path: Path, features: xr.Dataset) -> None:
    """Write Features of which `feature` has a place in the file, one piece, and no values yet.

    Raises
    ------
    OSError
        The disk has no room for all of it.
    """
    values = features["feature"]
    features.drop_vars("feature").to_netcdf(path, engine="h5netcdf")
    with h5netcdf.File(path, "a") as file:
        names = file.attrs.pop("coordinates", "")  # of `feature`, as xarray has it of a whole Dataset
        for dim, size in values.sizes.items():
            if dim not in file.dimensions:
                file.dimensions[str(dim)] = size
        variable = file.create_variable("feature", values.dims, values.dtype)
        variable.attrs["coordinates"] = names
        variable[-1] = 0  # from here on it has its place
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as written:
            os.posix_fallocate(written.fileno(), 0, path.stat().st_size)


class Unfinished:
    """Features of stimuli that are being extracted, perhaps by several processes.

    Parameters
    ----------
    folder : path
        Of the file and of the marks of its blocks.
    stimuli : Dataset
        A StimulusSet.
    contract : mapping
        The embedding contract, but for the layers and their shapes.
    dtype : str
        Of the values in the file.
    raw : bool
        To be projected: layers of different grids keep their shapes in the contract.
    """

    def __init__(
        self, folder: Path, stimuli: xr.Dataset, contract: Mapping[str, str], dtype: str, *, raw: bool = False
    ) -> None:
        self.folder, self.path = folder, folder / "features.nc"
        self.stimuli, self.ids = stimuli, stimuli["stimulus_id"].values
        self.contract, self.dtype, self.raw = contract, dtype, raw
        self.rows: Rows | None = None

    @property
    def blocks(self) -> list[slice]:
        """The rows of each block."""
        return blocks(len(self.ids), BLOCK)

    def lacking(self) -> list[slice]:
        """List the blocks that are not done."""
        return [block for block in self.blocks if not self._mark(block.start).exists()]

    def _mark(self, row: int) -> Path:
        """Name the file that says that the block of a row is done."""
        return self.folder / f"{row // BLOCK * BLOCK:07d}"

    def write(self, row: int, values: Layers) -> None:
        """Write the layers of some stimuli from a row on; the first make the file.

        Raises
        ------
        InputError
            Values that are not finite; layers with other tokens than others, or than elsewhere; the disk is
            full, or may not be written.
        """
        given = values
        values = same_tokens(values, self.contract["pooling"])
        recorded = given if self.raw else values
        stop = row + len(next(iter(values.values())))
        feature = side_by_side(
            values, self.dtype, self.ids[row:stop], words=self.contract["pooling"].startswith("tokens")
        )
        try:
            if self.rows is None:
                self.rows = self._open(feature, values, shapes_of(recorded))
            for name, v in recorded.items():
                same_shape(name, self.rows.shapes[name], v.shape[1:])
            self.rows.write(row, feature)
            if stop % BLOCK == 0 or stop == len(self.ids):
                self.rows.flush()
                self._mark(row).touch()
        except OSError as error:
            raise unwritten(self.path, error) from error

    def _open(self, feature: NDArray[np.floating[Any]], values: Layers, shapes: str) -> Rows:
        """Open the file; make it if no shard has."""
        with lock(self.folder / "making", wait=True):
            if not self.path.exists():
                with atomic(self.path) as partial:
                    create(partial, self._empty(feature, values).assign_attrs(shape=shapes))
        return Rows(self.path)

    def _empty(self, feature: NDArray[np.floating[Any]], values: Layers) -> xr.Dataset:
        """Build Features of all stimuli whose values take no memory, after those of some."""
        shape = (len(self.ids), *feature.shape[1:])
        nothing = np.broadcast_to(np.zeros((), feature.dtype), shape)
        return with_time(features_of(nothing, self.ids, values, self.contract), self.stimuli)

    def publish(self, out: Path) -> None:
        """Give the finished file its name."""
        try:
            self.forget()
            self.path.replace(out)
        except OSError as error:
            raise unwritten(out, error) from error

    def forget(self) -> None:
        """Take the marks away, before the file goes: they would be believed of the next."""
        for mark in self.folder.glob("[0-9]*"):
            mark.unlink()


@contextmanager
def unfinished(out: Path, key: str, *, alone: bool) -> Iterator[Path]:
    """Hold the folder in which some features are made: alone, or with the other shards.

    Raises
    ------
    InputError
        Another process holds it.
    """
    name = f".blocks-{out.name}-"
    folder = out.with_name(name + hashlib.sha256(key.encode()).hexdigest()[:16])
    for old in sorted(out.parent.glob(f"{escape(name)}*")):
        if old != folder:
            _drop(old)  # of other stimuli or options
    try:
        with lock(folder / "lock", shared=not alone) as free:
            if not free:
                raise InputError(
                    f"Another process makes {out} of the same stimuli and options. Wait for it, or end it; "
                    "several share the work of `features extract` by --shard."
                )
            yield folder
    finally:
        if not any(folder.glob("[0-9]*")):  # nothing to go on from
            _drop(folder)


def _drop(folder: Path) -> None:
    """Remove a folder, unless a process works in it."""
    with lock(folder / "lock") as free:
        if free:
            remove(folder)
