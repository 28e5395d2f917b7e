"""Names of stimuli, neuroids and the like that are at hand, as arrays or columns of a table."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroenc.errors import InputError


def names(values: ArrayLike, what: str) -> NDArray[np.str_]:
    """Return names as text.

    Parameters
    ----------
    values : array of text or whole numbers
        Also of objects, as a column of pandas is.
    what : str
        They are, for errors.

    Raises
    ------
    InputError
        One is missing (None, NaN), empty or something else; two differ in the blanks around them or the
        Unicode form of accents alone.
    """
    found = _texts(values, what, missing=None)
    loosely: dict[str, str] = {}
    for name in np.unique(found).tolist():
        other = loosely.setdefault(unicodedata.normalize("NFC", name).strip(), name)
        if other != name:
            raise InputError(
                f"{what} has the names {other!r} and {name!r}, which differ in the blanks around them or the "
                "Unicode form of accents alone. Write both alike, or give them names of their own."
            )
    if "" in loosely:
        row = int(np.flatnonzero(np.char.strip(found.ravel()) == "")[0])
        raise InputError(f"{what} has no name in row {row}. Fill it in, or leave the row out.")
    return found


def texts(values: ArrayLike, what: str) -> NDArray[np.str_]:
    """Return texts, empty where one is missing (None, NaN).

    Raises
    ------
    InputError
        One is neither text nor a whole number.
    """
    return _texts(values, what, missing="")


def same_order(values: Any, expected: NDArray[Any], what: str) -> None:
    """Refuse a table or labelled array whose rows have names of their own, these in another order.

    Parameters
    ----------
    values : array, DataFrame, Series or DataArray
        Rows that pandas merely numbers have no names, nor has an array.
    expected : array of text, (n_rows,)
    what : str
        They are, for errors.

    Raises
    ------
    InputError
        Naming the first row that differs.
    """
    own = row_names(values)
    if len(own) != len(expected) or own == expected.tolist() or not set(own) <= set(expected.tolist()):
        return
    row = next(i for i, (a, b) in enumerate(zip(own, expected.tolist(), strict=True)) if a != b)
    raise InputError(
        f"{what} names its rows in another order than the ids that are given: row {row} is {own[row]!r}, "
        f"not {str(expected[row])!r}. Put both in one order, or give {what} without its labels."
    )


def same_columns(responses: Any, neuroid_id: NDArray[Any]) -> None:
    """Refuse responses whose columns are called as the neuroids are, in another order.

    Parameters
    ----------
    responses : array, DataFrame or DataArray
        Columns that are merely numbered have no names.
    neuroid_id : array of text, (n_neuroids,)

    Raises
    ------
    InputError
        Naming the first column that differs.
    """
    if hasattr(responses, "coords") and len(responses.dims) > 1:
        own = [str(v) for v in responses.indexes.get(responses.dims[1], ())]
    else:
        columns = getattr(responses, "columns", ())
        own = [] if type(columns).__name__ == "RangeIndex" else [str(v) for v in columns]
    wanted = neuroid_id.tolist()
    if own != wanted and sorted(own) == sorted(wanted):
        at = next(k for k, (a, b) in enumerate(zip(own, wanted, strict=True)) if a != b)
        raise InputError(
            f"response names its columns in another order than neuroid_id: column {at} is {own[at]!r}, not "
            f"{wanted[at]!r}. Put both in one order, or give response without its labels."
        )


def row_names(values: Any) -> list[str]:
    """List how a table or labelled array calls its rows; nothing where they have no names."""
    index = getattr(values, "index", None)
    if hasattr(values, "coords"):  # of xarray
        first = values.dims[:1]
        named = values.coords.get("stimulus_id", values.coords.get(*first) if first else None)
        index = None if named is None or named.dims != first else named.to_index()
    plain = index is None or callable(index) or type(index).__name__ in ("RangeIndex", "MultiIndex")
    return [] if plain or index is None else [str(i) for i in index]


def _texts(values: ArrayLike, what: str, missing: str | None) -> NDArray[np.str_]:
    # of a list NumPy makes the text "nan" where a number that is none stands among texts
    if isinstance(values, np.ma.MaskedArray):  # what it hides is missing
        hidden, values = np.ma.getmaskarray(values), np.array(values.data, dtype=object)
        values[hidden] = None
    given = np.asarray(values) if hasattr(values, "dtype") else np.array(values, dtype=object)
    if given.dtype.kind in "Uiu" or not given.size:
        return given.astype(str)
    if given.dtype.kind not in "OST":
        raise InputError(f"{what} holds {given.dtype}, expected text or whole numbers.")
    out = [_text(value, row, what, missing) for row, value in enumerate(given.ravel().tolist())]
    return np.array(out, dtype=str).reshape(given.shape)


def _text(value: Any, row: int, what: str, missing: str | None) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise InputError(f"{what} has the bytes {value!r} in row {row}, which are no UTF-8.") from None
    if isinstance(value, str) or (isinstance(value, (int, np.integer)) and not isinstance(value, bool)):
        return str(value)
    absent = value is None or type(value).__name__ in ("NAType", "NaTType") or value != value
    if absent and missing is not None:
        return missing
    found = "nothing" if absent else repr(value)
    raise InputError(f"{what} has {found} in row {row}, expected text or a whole number. Correct it.")
