"""Tables and arrays as they are published, or the one line that says why not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuroenc.errors import InputError, invalid
from neuroenc.files import existing


def read_table(path: str | Path, *columns: str, **options: Any) -> pd.DataFrame:
    """Read a table of comma-separated values, or of tabs where it is named .tsv.

    Parameters
    ----------
    path : path
    columns : str
        Columns it must have.
    options
        Of `pandas.read_csv`.

    Raises
    ------
    InputError
        It is broken or lacks a column.
    """
    path = existing(path)
    try:
        table = pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", **options)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(
            f"Cannot read the table {path}: {str(error).splitlines()[0]}. Is it whole?"
        ) from None
    for column in columns:
        if column not in table:
            found = ", ".join(map(repr, table.columns[:12]))
            raise InputError(f"{path} has no column {column!r}; found {found}. Was its layout changed?")
    return table


def read_array(path: str | Path) -> NDArray[Any]:
    """Map a .npy file of numbers into memory; pickled objects are refused.

    Raises
    ------
    InputError
        It is broken, or holds objects.
    """
    path = existing(path)
    try:
        found: NDArray[Any] = np.load(path, "r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(f"Cannot read {path}: {error}. Fetch it again.") from None
    return found


def reason(error: BaseException) -> str:
    """Return the first line of what a library says, or the kind of its error where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


@contextmanager
def open_hdf5(path: str | Path) -> Iterator[h5py.File]:
    """Open an HDF5 file.

    Raises
    ------
    InputError
        It is missing or broken, here or in what is read inside the block.
    """
    try:
        with h5py.File(existing(path)) as file:
            yield file
    except InputError:
        raise
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, MemoryError) as error:
        raise InputError(f"Cannot read {path}: {reason(error)}. Fetch it again.") from None


def numbers(file: h5py.File, key: str) -> h5py.Dataset:
    """Return an array of numbers in an open HDF5 file.

    Parameters
    ----------
    file : File
    key : str
        Of the dataset; groups may stand before it, `group/name`.

    Raises
    ------
    InputError
        There is no such dataset, or it holds text, records, references or a single value.
    """
    found = file.get(key) if key else None
    if not isinstance(found, h5py.Dataset):
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        raise invalid(f"dataset in {file.filename}", key, names)
    if not found.shape or found.dtype.kind not in "biuf":
        raise InputError(
            f"{file.filename}#{key} holds {found.dtype} of shape {found.shape}, expected an array of numbers."
        )
    return found
