"""Pickled NumPy files of other people, read without running what they might hold."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from neuroenc.errors import InputError, reason
from neuroenc.files import existing

ARRAYS = {
    ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode"),
    ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"), ("numpy._core.numeric", "_frombuffer"),
}  # fmt: skip


class _Arrays(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ARRAYS:
            raise pickle.UnpicklingError(f"it holds {module}.{name}")
        return super().find_class(module, name)


def load_arrays(path: str | Path) -> Any:
    """Read a .npy file that was saved with pickled objects: dictionaries and lists of arrays, text, numbers.

    Raises
    ------
    InputError
        It holds anything else, which is not run; or it is broken.
    """
    path = existing(path)
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read(file)
            if not dtype.hasobject:
                return np.load(path, allow_pickle=False)
            found = np.asarray(_Arrays(file, encoding="latin1").load())
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} is refused: {reason(error)}; only arrays, numbers and text are read. Do not trust it."
        ) from None
    except Exception as error:  # noqa: BLE001  headers and pickles that are broken raise errors of every kind
        raise InputError(f"Cannot read {path}: {reason(error)}. Fetch it again.") from None
    return found.item() if shape == () else found
