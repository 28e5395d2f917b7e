"""One netCDF file for each array, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import xarray as xr
from xarray.backends import BackendArray
from xarray.core.indexing import (
    ExplicitIndexer,
    IndexingSupport,
    LazilyIndexedArray,
    explicit_indexing_adapter,
)

from neuroenc.arrays.contracts import Kind, check
from neuroenc.blocks import CHUNK
from neuroenc.errors import ContractError, InputError
from neuroenc.files import atomic, existing
from neuroenc.hdf5 import datasets

# variables that are read where they are indexed
LARGE = {"feature", "response", "prediction", "validation"}
# of variables whose numbers xarray makes of those that are stored
CODED = {"scale_factor", "add_offset", "_FillValue", "missing_value"}


class OnDisk(BackendArray):
    """An array of an HDF5 file, read where it is indexed.

    xarray's own looks up every dimension at each read, which takes longer than reading a few rows.

    Parameters
    ----------
    path : path
    name : str
        Of the array in the file.
    """

    def __init__(self, path: str | Path, name: str) -> None:
        self.path, self.name = Path(path).resolve(), name
        self.dataset = h5py.File(path)[name]
        self.shape, self.dtype = self.dataset.shape, self.dataset.dtype

    def __reduce__(self) -> tuple[type[OnDisk], tuple[Path, str]]:  # copies and other processes open it anew
        return OnDisk, (self.path, self.name)

    def __getitem__(self, key: ExplicitIndexer) -> Any:
        return explicit_indexing_adapter(
            key, self.shape, IndexingSupport.OUTER_1VECTOR, self.dataset.__getitem__
        )


def save(dataset: xr.Dataset, path: str | Path) -> None:
    """Check and write one netCDF file, chunked along neuroids, under a temporary name first.

    Parameters
    ----------
    dataset : Dataset
        Of the kind that its attribute `kind` names.
    path : path

    Raises
    ------
    ContractError
        As `check`.
    OSError
        It cannot be written; nothing is left under the name.
    """
    check(dataset, dataset.attrs["kind"])
    encoding: dict[str, dict[str, Any]] = {}
    for name, variable in dataset.variables.items():
        if variable.dtype.kind == "f":
            encoding[str(name)] = {"_FillValue": None}
        if "neuroid" in variable.dims and variable.ndim > 1 and variable.size:
            encoding.setdefault(str(name), {})["chunksizes"] = tuple(
                min(size, CHUNK) if dim == "neuroid" else size for dim, size in variable.sizes.items()
            )
    with atomic(path, size=dataset.nbytes + 2**16) as partial:
        try:
            dataset.to_netcdf(partial, engine="h5netcdf", encoding=encoding)
        except ValueError as error:  # half a character, a zero byte
            raise ContractError(
                f"Cannot write {path}: the {dataset.attrs['kind']} hold text that no file keeps ({error}). "
                "Correct names and texts."
            ) from None


def load(path: str | Path, kind: Kind) -> xr.Dataset:
    """Read one file and check it.

    What is large, responses, features and predictions, stays in the file and is read where it is indexed.

    Raises
    ------
    InputError
        The file is missing or cannot be read (truncated, or not netCDF), or reaches into other files.
    ContractError
        It is of another kind or breaks its contract.
    """
    try:
        with h5py.File(existing(path)) as file:
            list(datasets(file))  # refuses what reaches into other files
        dataset = xr.open_dataset(path, engine="h5netcdf", cache=False)
        for name, variable in dataset.variables.items():
            if name not in LARGE:
                variable.load()
        kept = LARGE & set(dataset.variables)
        for name in sorted(kept):
            variable, stored = dataset.variables[name], OnDisk(path, name)
            if stored.dtype == variable.dtype and not CODED & set(variable.encoding):
                dataset[name] = variable.dims, LazilyIndexedArray(stored), variable.attrs
                kept.remove(name)
        if not kept:
            dataset.close()
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"Cannot read {path} as netCDF ({Path(path).stat().st_size} bytes): the file is "
            "truncated or of another format. Delete it and run the command that makes it again."
        ) from error
    if dataset.attrs.get("kind") != kind:
        raise ContractError(
            f"{path} holds {dataset.attrs.get('kind', 'no neuroenc array')!r}, expected {kind!r}."
        )
    return check(dataset, kind)
