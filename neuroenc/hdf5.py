"""HDF5 files of strangers: opened, listed and read without reaching into other files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from neuroenc.errors import InputError, invalid, reason
from neuroenc.files import existing

IDS = "stimulus_id"
MISSING = ("_FillValue", "missing_value")  # attributes that mark missing values
GROWTH = 200  # times what is stored that an array of more than 1 GiB may hold
OBJECTS = 100_000  # groups and datasets of an HDF5, at most


@contextmanager
def open_hdf5(path: str | Path) -> Iterator[h5py.File]:
    """Open an HDF5 file.

    Raises
    ------
    InputError
        It is missing or broken, here or in what is read inside the block, or reaches into other files.
    """
    try:
        with h5py.File(existing(path)) as file:
            for _ in datasets(file):
                pass
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
        There is no such dataset; it holds text, records, references or a single value; it announces much more
        than is stored, or parts of it were never written; its values are packed (`scale_factor`,
        `add_offset`, `_Unsigned`).
    """
    found = file.get(key) if key else None
    if not isinstance(found, h5py.Dataset):
        raise invalid(f"dataset in {file.filename}", key, [name for name, _ in datasets(file)])
    if not found.shape or found.dtype.kind not in "biuf":
        raise InputError(
            f"{file.filename}#{key} holds {found.dtype} of shape {found.shape}, expected an array of numbers."
        )
    stored = found.id.get_storage_size()
    if found.size and not found.is_virtual and (not stored or found.nbytes > max(2**30, GROWTH * stored)):
        raise InputError(
            f"{file.filename}#{key} announces {found.nbytes} bytes of shape {found.shape} and holds "
            f"{stored}. Was it written to the end?"
        )
    _refuse_unwritten(found, f"{file.filename}#{key}")
    if of_matlab(found) == "char":
        raise InputError(f"{file.filename}#{key} holds text of MATLAB, expected an array of numbers.")
    packed = [
        k for k, none in (("scale_factor", 1), ("add_offset", 0)) if np.any(found.attrs.get(k, none) != none)
    ]
    if found.dtype.kind == "i" and str(found.attrs.get("_Unsigned", "false")).lower() == "true":
        packed.append("_Unsigned")
    if packed:
        raise InputError(
            f"{file.filename}#{key} is packed: its attribute {packed[0]!r} is {found.attrs[packed[0]]}. "
            "Store the numbers themselves."
        )
    return found


def _refuse_unwritten(found: h5py.Dataset, name: str) -> None:
    """Refuse an array of which parts were never written, unless these read as missing."""
    if found.chunks is None or found.is_virtual or np.isnan(found.fillvalue):
        return
    expected = math.prod(-(-n // of) for n, of in zip(found.shape, found.chunks, strict=True))
    written = found.id.get_num_chunks()
    if written < expected and not any(found.fillvalue in _mark(found, k) for k in MISSING):
        raise InputError(
            f"{name} has {written} of its {expected} parts; the others were never written and would read as "
            f"{found.fillvalue:g}. Was it written to the end? Write it again."
        )


def of_matlab(found: h5py.Dataset) -> str:
    """Return MATLAB's name of the kind of an array that it wrote, with axes in reverse; else nothing."""
    kind = found.attrs.get("MATLAB_class", "")
    return kind.decode("ascii", "replace") if isinstance(kind, bytes) else str(kind)


def row_names(file: h5py.File, key: str) -> NDArray[np.str_] | None:
    """Return the `stimulus_id` of the rows of an array, which stands beside it in its group, or at the root.

    Parameters
    ----------
    file : File
    key : str
        Of the array.

    Returns
    -------
    array of text, or None where there is none

    Raises
    ------
    InputError
        It is no list of texts or whole numbers, or of MATLAB; it names another axis than the first.
    """
    found = file[key]
    axis = next((k for k, dim in enumerate(found.dims) if IDS in (dim.label, *dim.keys())), 0)
    if axis:
        raise InputError(
            f"{file.filename}#{key} has shape {found.shape} and {IDS!r} along axis {axis}, expected along "
            "the first. Transpose it."
        )
    group = key.strip("/").rpartition("/")[0]
    place = next((k for k in (f"{group}/{IDS}".lstrip("/"), IDS) if k in file), None)
    if place is None:
        return None
    ids = file[place]
    if isinstance(ids, h5py.Dataset) and (kind := of_matlab(ids)):
        return _of_cells(file, ids) if kind == "cell" else _whole(file, ids)
    if not isinstance(ids, h5py.Dataset) or ids.ndim != 1:
        raise InputError(f"{file.filename}#{place} is no list of stimulus ids. Store them as text, 1-D.")
    if h5py.check_string_dtype(ids.dtype):
        return np.array(ids.asstr()[:].tolist(), dtype=str)
    if ids.dtype.kind in "iu":
        return np.asarray(ids[:].astype(str))
    raise InputError(f"{file.filename}#{place} holds {ids.dtype}, expected text or whole numbers.")


def other_names(file: h5py.File, key: str) -> dict[str, NDArray[np.str_]]:
    """Return lists of texts or whole numbers that may name the rows of an array, but for `stimulus_id`.

    Parameters
    ----------
    file : File
    key : str
        Of the array; lists of as many stand beside it in its group, or at the root.

    Returns
    -------
    dict
        Place in the file -> a text for each row.
    """
    found = file[key]
    n = found.shape[-1 if of_matlab(found) else 0]
    out = {}
    for place in dict.fromkeys((found.parent.name.strip("/"), "")):
        for name, beside in (file[place] if place else file).items():
            listed = isinstance(beside, h5py.Dataset) and beside.size == n == max(beside.shape, default=0)
            texts = _texts(file, beside) if listed and name != IDS else None
            if texts is not None:
                out[f"#{place}/{name}" if place else f"#{name}"] = texts
    return out


def _texts(file: h5py.File, found: h5py.Dataset) -> NDArray[np.str_] | None:
    """Return texts or whole numbers as texts; None of what is neither."""
    if h5py.check_string_dtype(found.dtype):
        return np.array(np.ravel(found.asstr(errors="replace")[()]).tolist(), dtype=str)
    if of_matlab(found) == "cell":
        try:
            return _of_cells(file, found)
        except InputError:  # cells of something else
            return None
    values = np.ravel(found[()])
    if values.dtype.kind not in "iuf" or not (values == np.round(values)).all():
        return None
    return values.astype(np.int64).astype(str)


def _of_cells(file: h5py.File, ids: h5py.Dataset) -> NDArray[np.str_]:
    """Read a cell array of texts, each the codes of its characters somewhere else in the file."""
    texts = [file[cell] for cell in np.ravel(ids[()])]
    if any(not isinstance(t, h5py.Dataset) or of_matlab(t) != "char" for t in texts):
        raise InputError(f"{file.filename}#{ids.name.strip('/')} holds other cells than text. Give texts.")
    return np.array(["".join(map(chr, np.ravel(t[()]))).strip() for t in texts], dtype=str)


def _whole(file: h5py.File, ids: h5py.Dataset) -> NDArray[np.str_]:
    """Read numbers that MATLAB stores as doubles and that name rows."""
    values = np.ravel(numbers(file, ids.name)[()])
    if ids.ndim > 2 or ids.size != max(ids.shape) or not (values == np.round(values)).all():
        raise InputError(
            f"{file.filename}#{ids.name.strip('/')} is no list of whole numbers or texts, expected the "
            "stimulus id of each row. Store it as a cell array of texts."
        )
    return values.astype(np.int64).astype(str)


def filled(found: h5py.Dataset, index: Any = ...) -> NDArray[Any]:
    """Read an array; what the file marks as missing is NaN.

    It does so by `_FillValue` and `missing_value`, or by `valid_min`, `valid_max` and `valid_range`, beyond
    which nothing is (netCDF's conventions). A mark in double precision, as -999.9 is written by default,
    means the number that it is in the array's.

    Parameters
    ----------
    found : Dataset
        As `numbers` returns it.
    index : slices, optional

    Raises
    ------
    InputError
        The mark is no number, or the range no two.
    """
    values: NDArray[Any] = found[index]
    absent = np.zeros(values.shape, bool)
    for name in MISSING:
        absent |= np.isin(values, _mark(found, name))
    for name, beyond in (("valid_min", np.less), ("valid_max", np.greater)):
        for limit in _mark(found, name, 1):
            absent |= beyond(values, limit)
    for low, high in _mark(found, "valid_range", 2).reshape(-1, 2):
        absent |= (values < low) | (values > high)
    return np.where(absent, np.nan, values) if absent.any() else values


def _mark(found: h5py.Dataset, name: str, n: int | None = None) -> NDArray[Any]:
    """Return the numbers of an attribute in the precision of the array; none where it is not there."""
    mark = np.ravel(found.attrs.get(name, ()))
    if mark.size and (mark.dtype.kind not in "biuf" or n not in (None, mark.size)):
        said = str(mark[0]) if mark.size == 1 else mark.tolist()
        raise InputError(
            f"{found.file.filename}#{found.name.strip('/')} marks what is missing by {said!r} ({name!r}), "
            f"expected {'two numbers' if n == 2 else 'a number'}. Correct the attribute."
        )
    with np.errstate(over="ignore"):
        return mark.astype(found.dtype) if found.dtype.kind == "f" else mark


def datasets(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """List the datasets of a file, each once.

    Raises
    ------
    InputError
        It reaches into other files: what is read is what was given. Or it holds objects without end.
    """
    pending: list[tuple[str, Any]] = [("", file)]
    seen = {h5py.h5o.get_info(file.id).addr}
    n = 0
    while pending:
        place, group = pending.pop()
        for name in group:
            path, n = f"{place}{name}", n + 1
            if n > OBJECTS or len(path) > 2**14:
                raise InputError(f"{file.filename} holds too many or too deep groups. Is it what it seems?")
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise _elsewhere(file, path)
            if not isinstance(link, h5py.HardLink):
                continue
            item = group[name]
            if (address := h5py.h5o.get_info(item.id).addr) in seen:
                continue
            seen.add(address)
            if isinstance(item, h5py.Group):
                pending.append((f"{path}/", item))
            elif isinstance(item, h5py.Dataset):
                if item.external or (
                    item.is_virtual and any(s.file_name != "." for s in item.virtual_sources())
                ):
                    raise _elsewhere(file, path)
                yield path, item


def _elsewhere(file: h5py.File, place: str) -> InputError:
    return InputError(
        f"{file.filename}#{place} takes its values from another file, which is not read for it. Copy them "
        "into this one."
    )
