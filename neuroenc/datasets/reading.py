"""Tables and arrays as they are published, or the one line that says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuroenc.errors import InputError
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
