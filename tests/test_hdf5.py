"""What files of HDF5 say of their own numbers."""

import h5py
import numpy as np
import pytest

from neuroenc.errors import InputError
from neuroenc.hdf5 import filled, numbers, open_hdf5


@pytest.mark.parametrize("dtype", ["f4", ">f4", "f8", "i2", "i8"])
@pytest.mark.parametrize("name", ["_FillValue", "missing_value"])
@pytest.mark.parametrize("mark", [-999.9, 1e20, -999.0, np.float32(-999.9), [-999, 7], np.nan])
def test_what_is_marked_is_missing_in_any_precision(tmp_path, dtype, name, mark):
    """-999.9 of double precision is no number of single precision: the nearest one is meant."""
    values = np.array([[1, 2, 7], [3, 4, 5]], float)
    values[0, 1] = np.ravel(mark)[0]
    whole = np.dtype(dtype).kind == "i"
    if whole and values[0, 1] not in (-999, 7):
        values[0, 1] = 2  # cannot stand there
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = values.astype(dtype)
        file["x"].attrs[name] = mark
    with open_hdf5(tmp_path / "a.h5") as file:
        found, part = filled(numbers(file, "x")), filled(numbers(file, "x"), slice(0, 1))
    absent = np.zeros((2, 3), bool)
    absent[0, 1] = values[0, 1] != 2
    absent[0, 2] = np.size(mark) > 1
    np.testing.assert_array_equal(found, np.where(absent, np.nan, values.astype(dtype)))
    np.testing.assert_array_equal(part, found[:1])


def test_a_mark_that_is_no_number_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["g/x"] = np.ones((2, 3))
        file["g/x"].attrs["missing_value"] = "-999"
    with (
        pytest.raises(InputError, match="g/x marks what is missing by '-999'"),
        open_hdf5(tmp_path / "a.h5") as file,
    ):
        filled(numbers(file, "g/x"))
