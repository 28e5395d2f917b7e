"""Files of features of any usual format: the arrays they hold, whose rows they are, and some of the rows."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from neuroenc.arrays import load
from neuroenc.config import Model
from neuroenc.datasets.reading import (
    FEW,
    NAMING,
    Table,
    codes,
    open_parquet,
    read_array,
    read_table,
    refuse_index,
)
from neuroenc.documents import read_object, read_text
from neuroenc.errors import InputError, InputWarning, invalid, reason
from neuroenc.files import existing
from neuroenc.hdf5 import IDS, datasets, filled, numbers, of_matlab, open_hdf5, row_names

if TYPE_CHECKING:
    import xarray as xr

SIDECAR = ".json"
FORMATS = (".npy", ".h5", ".hdf5", ".nc", ".parquet", ".csv", ".tsv")
STATED = ("model", "weights", "pooling", "normalisation", "pixel_range", "preprocessing")
LISTING = "file_names.txt"  # as thingsvision lists its pictures beside their features
BESIDE = (IDS, "layer", "shape")  # what the JSON beside a file may say but for the contract


def sidecar(path: Path) -> tuple[Path, dict[str, Any]]:
    """Read the JSON beside a file of features, empty where there is none."""
    beside = path.with_suffix(SIDECAR)
    if not beside.exists():
        return beside, {}
    return beside, read_object(beside)


class Layer:
    """One layer in a file.

    Parameters
    ----------
    path : path
    name : str
        Of the layer.
    key : str
        Of the array in the file, where it holds several.

    Attributes
    ----------
    shape, dtype
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    by_file = False
    """Whether its ids are files, with folders and endings that ids of stimuli may lack."""

    def __init__(self, path: Path, name: str, key: str = "") -> None:
        self.path, self.name, self.key = path, name, key
        self.place = f"{path}#{key}" if key else str(path)

    def read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Read some rows, each once, in rising order."""
        raise NotImplementedError

    def ids(self) -> NDArray[np.str_] | None:
        """Return the ids of all rows; those of a file without any stand in the JSON beside it."""
        beside, about = sidecar(self.path)
        if IDS not in about:
            return None
        ids = about[IDS]
        if not isinstance(ids, list) or not all(isinstance(i, str) for i in ids):
            raise InputError(f"{IDS!r} in {beside} is no list of texts. Put each id in quotes.")
        return np.array(ids, dtype=str)

    def stated(self) -> tuple[Path, dict[str, Any]]:
        """Return what is stated of the contract, and where."""
        beside, about = sidecar(self.path)
        return beside, {k: v for k, v in about.items() if k not in BESIDE}


class OfNumpy(Layer):
    """The array of a .npy file, mapped."""

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(path, name)
        self.values = read_array(path)
        self.shape, self.dtype = self.values.shape, self.values.dtype
        self.listing = path.with_name(LISTING)
        self.by_file = IDS not in sidecar(path)[1] and self.listing.exists()

    def ids(self) -> NDArray[np.str_] | None:
        """Return the ids of all rows, or the files of which a list beside it says that they are these."""
        if not self.by_file:
            return super().ids()
        return np.array([line for line in read_text(self.listing).splitlines() if line.strip()], dtype=str)

    def read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Read some rows."""
        return np.array(self.values[rows])


class OfHDF5(Layer):
    """An array of an HDF5 or netCDF-4 file; `stimulus_id` stands beside it in its group, or at the root."""

    def __init__(self, path: Path, name: str, key: str) -> None:
        super().__init__(path, name, key)
        with open_hdf5(path) as file:
            found = numbers(file, key)
            if of_matlab(found):
                raise InputError(
                    f"{self.place} was written by MATLAB, whose axes are in reverse here. Save it as .npy, "
                    "stimuli first."
                )
            self.shape, self.dtype = found.shape, found.dtype
            self.names = row_names(file, key)

    def read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Read some rows; what the file marks as missing is not a number."""
        with open_hdf5(self.path) as file:
            found = file[self.key]
            whole = rows[-1] - rows[0] + 1 == len(rows)
            return filled(found, slice(rows[0], rows[-1] + 1) if whole else rows)

    def ids(self) -> NDArray[np.str_] | None:
        """Return the ids of all rows."""
        beside = super().ids() if self.names is None else self.names
        if beside is None:
            group = self.key.rpartition("/")[0]
            with open_hdf5(self.path) as file:
                _refuse_names(self.place, _named_by(file[group] if group else file, self.shape[0]))
        return beside


class OfFeatures(Layer):
    """A layer of Features as neuroenc writes them, with their contract."""

    def __init__(self, path: Path, name: str, features: xr.Dataset) -> None:
        super().__init__(path, name, name)
        self.features = features
        columns = np.flatnonzero(features["layer"].values == name)
        self.columns: Any = columns
        if len(columns) == columns[-1] - columns[0] + 1:
            self.columns = slice(columns[0], columns[-1] + 1)
        self.shape = (*features["feature"].shape[:-1], len(columns))
        self.dtype = features["feature"].dtype

    def read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Read some rows."""
        return np.asarray(self.features["feature"][rows, ..., self.columns].values)

    def ids(self) -> NDArray[np.str_] | None:
        """Return the ids of all rows."""
        return np.asarray(self.features[IDS].values)

    def stated(self) -> tuple[Path, dict[str, Any]]:
        """Return the contract."""
        return self.path, {k: str(self.features.attrs[k]) for k in STATED}


class OfTable(Layer):
    """Columns of a .csv or .tsv, in memory."""

    def __init__(self, path: Path, name: str, table: Table, columns: list[str]) -> None:
        super().__init__(path, name)
        self.table = table
        if IDS not in table:
            places = [i + 1 for i in table.unnamed() if not table.counts(i)]
            _refuse_names(path, [f"column {i}, which has no name" for i in places])
        values = table.matrix(columns)
        for column, own in zip(columns, values.T, strict=True):
            refuse_index(path, column, own)
        _warn_of_codes(path, [columns[k] for k in codes(values)])
        self.values = values.astype(np.float32)
        self.shape, self.dtype = self.values.shape, self.values.dtype

    def read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Read some rows."""
        return self.values[rows]

    def ids(self) -> NDArray[np.str_] | None:
        """Return the ids of all rows."""
        return self.table.names(IDS) if IDS in self.table else super().ids()


class OfParquet(Layer):
    """Columns of a .parquet, read by its row groups."""

    def __init__(self, path: Path, name: str, columns: list[str]) -> None:
        super().__init__(path, name)
        self.columns = columns
        file = open_parquet(path)
        kinds = {file.schema_arrow.field(c).type for c in columns}
        for column in columns:
            kind = file.schema_arrow.field(column).type
            if not re.fullmatch(r"(u?int\d+|halffloat|float|double|bool)", str(kind)):
                raise InputError(
                    f"Column {column!r} of {path} holds {kind}, expected numbers. Remove it, or name the "
                    f"ids {IDS!r}."
                )
            if "int" in str(kind):
                refuse_index(path, column, file.read(columns=[column])[column].to_numpy())
        counted = [c for c in columns if "int" in str(file.schema_arrow.field(c).type)]
        if len(counted) <= FEW * (len(columns) - len(counted)):
            _warn_of_codes(path, counted)
        self.dtype = np.dtype(np.float16 if {str(k) for k in kinds} == {"halffloat"} else np.float32)
        self.shape = (file.metadata.num_rows, len(columns))
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._group = lru_cache(maxsize=1)(self._read_group)

    def _read_group(self, number: int) -> NDArray[Any]:
        file = open_parquet(self.path)
        try:
            table = file.read_row_group(number, columns=self.columns)
        except Exception as error:  # noqa: BLE001  the reader has errors of every kind
            raise _broken(self.path, error) from None
        out = np.empty((table.num_rows, len(self.columns)), self.dtype)
        for k, column in enumerate(self.columns):
            out[:, k] = table[column].to_numpy()
        return out

    def read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Read some rows."""
        out = np.empty((len(rows), len(self.columns)), self.dtype)
        of = np.searchsorted(self.starts, rows, side="right") - 1
        for number in np.unique(of):
            at = of == number
            out[at] = self._group(int(number))[rows[at] - self.starts[number]]
        return out

    def ids(self) -> NDArray[np.str_] | None:
        """Return the ids of all rows."""
        file = open_parquet(self.path)
        if IDS not in file.schema_arrow.names:
            return super().ids()
        try:
            found = file.read(columns=[IDS])[IDS].to_pylist()
        except Exception as error:  # noqa: BLE001  the reader has errors of every kind
            raise _broken(self.path, error) from None
        wrong = [v for v in found if isinstance(v, bool) or not isinstance(v, (str, int))]
        if wrong:
            raise InputError(f"{self.path} has the {IDS} {wrong[0]!r}, expected text or a whole number.")
        return np.array([str(v) for v in found], dtype=str)


def _warn_of_codes(path: Path, columns: list[str]) -> None:
    """Warn of columns that may be labels or numbers of the stimuli, in a table of features."""
    if columns:
        warnings.warn(
            f"Column {columns[0]!r} of {path} holds whole numbers alone, most others fractions: is it a "
            "feature? Remove it if it says which stimulus a row is, or of which class.",
            InputWarning, stacklevel=2,
        )  # fmt: skip


def _without_index(path: Path, schema: Any) -> list[str]:
    """List the columns of a Parquet but for those that pandas calls the index of its rows."""
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    if IDS not in schema.names:
        stored = [i if isinstance(i, str) else str(i["name"]) for i in index
                  if isinstance(i, str) or (i["start"], i["step"]) != (0, 1)]  # fmt: skip
        _refuse_names(path, [f"the index {name!r}" for name in stored])
    return [n for n in schema.names if n == IDS or n not in index]


def _named_by(group: h5py.Group, n: int) -> list[str]:
    """List the texts beside an array that differ in all its rows, as ids do, and numbers called ids."""
    out = []
    for name, beside in group.items():
        if isinstance(beside, h5py.Dataset) and beside.shape == (n,):
            known, text = beside[:].tolist(), h5py.check_string_dtype(beside.dtype)
            called = NAMING.search(name.removesuffix("s")) and beside.dtype.kind in "iu"
            counts = known in [list(range(k, n + k)) for k in (0, 1)]
            if len(set(known)) == n and (text or (called and not counts)):
                out.append(f"the {'texts' if text else 'numbers'} {name!r}")
    return out


def _refuse_names(path: str | Path, by: list[str]) -> None:
    """Refuse rows that have names which are not called ids: their order is not to be trusted."""
    if by:
        raise InputError(
            f"{path} has no {IDS!r}, and its rows are named by {by[0]}. Call it {IDS!r} if it holds the ids, "
            "else write the file without it (of a table: index=False)."
        )


def _broken(path: Path, error: Exception) -> InputError:
    return InputError(f"Cannot read {path}: {reason(error)}. Write it again.")


def open_layers(model: Model) -> list[Layer]:
    """Open what `model.path` names: a file with one layer or several, or a file for each layer.

    Raises
    ------
    InputError
        A file is missing, broken or of another format; it holds no array, or several where one is meant.
    """
    if isinstance(model.path, str):
        return list(_open(model.path, model.layers))
    layers: list[Layer] = []
    for name, place in (model.path or {}).items():
        found = list(_open(place, []))
        if len(found) > 1:
            raise InputError(
                f"{place} holds {len(found)} arrays, expected that of layer {name!r}. Name one: "
                f"{found[0].path}#{found[0].key}."
            )
        found[0].name = name
        layers += found
    return layers


def divide(place: str) -> tuple[str, str]:
    """Part the path of a file from the array in it: FILE.h5#array; a folder may have # in its name."""
    name, _, key = place.rpartition("#")
    whole = not name or os.path.exists(os.path.expanduser(os.path.expandvars(place)))  # noqa: PTH110, PTH111
    return (place, "") if whole else (name, key)


def _open(place: str, asked: list[str]) -> Iterator[Layer]:
    """Open the layers of a file; `#` names an array of it, or a group of arrays."""
    name, key = divide(place)
    path = existing(name, made_by="It holds the features of `extractor: file`.")
    kind = path.suffix.lower()
    if kind not in FORMATS or not path.is_file():
        raise InputError(f"{path} is no file of features. Expected one of {', '.join(FORMATS)}.")
    if key and kind not in (".h5", ".hdf5", ".nc"):
        raise InputError(f"{path} holds one table or array; `#{key}` is for HDF5 and netCDF. Leave it out.")
    alone = str(sidecar(path)[1].get("layer", path.stem))
    if kind == ".npy":
        yield OfNumpy(path, alone)
    elif kind in (".csv", ".tsv"):
        table = read_table(path)
        for layer, columns in _columns(path, [c for c in table.columns if c], alone, asked).items():
            yield OfTable(path, layer, table, columns)
    elif kind == ".parquet":
        names = _without_index(path, open_parquet(path).schema_arrow)
        for layer, columns in _columns(path, names, alone, asked).items():
            yield OfParquet(path, layer, columns)
    else:
        yield from _of_hdf5(path, key)


def _columns(path: Path, names: list[str], alone: str, asked: list[str]) -> dict[str, list[str]]:
    """List the columns of each layer: LAYER_0, LAYER_1, … of those that are asked for; else all are one."""
    columns = [n for n in names if n != IDS]
    if not columns:
        raise InputError(f"{path} has no column of features, only {names}.")
    if not asked or asked == [alone]:
        return {alone: columns}
    found = {a: [c for c in columns if re.fullmatch(rf"{re.escape(a)}_[0-9]+", c)] for a in asked}
    for layer, own in found.items():
        if not own:
            begun = sorted({m[1] for c in columns if (m := re.fullmatch("(.+)_[0-9]+", c))})
            raise invalid("layer", layer, [alone, *begun])
    return found


def _of_hdf5(path: Path, key: str) -> Iterator[Layer]:
    """Open an array of an HDF5, those of a group, or all; a file of Features gives its layers."""
    with open_hdf5(path) as file:
        own = str(file.attrs.get("kind", "")) == "features"
        found = [name for name, dataset in datasets(file) if dataset.ndim > 1 and _last(name) != IDS]
        single = isinstance(file.get(key) if key else None, h5py.Dataset)
        known = isinstance(file.get(key) if key else file, h5py.Group)
    if own:
        features = load(path, "features")
        for name in dict.fromkeys(features["layer"].values.tolist()):
            if key in ("", name):
                yield OfFeatures(path, name, features)
        return
    if single:
        yield OfHDF5(path, _last(key), key)
        return
    prefix = f"{key.strip('/')}/" if key else ""
    inside = [name for name in sorted(found) if name.startswith(prefix)]
    if not known or not inside:
        raise invalid(f"array in {path}", key, found) if found else InputError(
            f"{path} holds no array of two or three dimensions."
        )  # fmt: skip
    for name in inside:
        yield OfHDF5(path, name.removeprefix(prefix), name)


def _last(key: str) -> str:
    return key.strip("/").rpartition("/")[2]
