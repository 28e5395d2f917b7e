"""Data as scripts: a page that is opened from disk may load these, and nothing else."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from neuroenc.files import without_nan

# what typed arrays of JavaScript hold
TYPES = ("float32", "float64", "int16", "int32", "uint8", "uint16", "uint32")


def packed(values: ArrayLike) -> dict[str, Any]:
    """Pack an array bit by bit, so that the page has the very numbers of the file.

    Parameters
    ----------
    values : array of any shape
        Of a type in `TYPES`, or of bool, which becomes uint8.

    Returns
    -------
    dict
        `dtype`, `shape`, and `data`, base64 of the values in little-endian order, the last axis fastest.
    """
    array = np.asarray(values)
    array = np.ascontiguousarray(array.astype(np.uint8) if array.dtype == bool else array)
    if array.dtype.name not in TYPES:
        raise TypeError(f"{array.dtype} is no type of JavaScript's arrays: {', '.join(TYPES)}.")
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return {
        "dtype": array.dtype.name, "shape": list(array.shape),
        "data": base64.b64encode(little.tobytes()).decode(),
    }  # fmt: skip


def assignment(target: str, value: Any) -> str:
    """Write a line of JavaScript that sets `target` to a value, whatever text the value holds.

    `<` is written as an escape, so that no text ends the script or opens a comment of HTML, and all that is
    not ASCII likewise, the line ends U+2028 and U+2029 among it. NaN is null.
    """
    text = json.dumps(without_nan(value), allow_nan=False, separators=(",", ":"))
    return f"{target} = {text.replace('<', chr(92) + 'u003c')};\n"
