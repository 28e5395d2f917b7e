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


@pytest.mark.parametrize("dtype", ["f4", ">f8", "i2", "u1"])
@pytest.mark.parametrize(
    ("marks", "missing"),
    [
        ({"valid_range": [2.0, 5.0]}, [1, 7]),
        ({"valid_range": np.array([2, 5], "i2")}, [1, 7]),
        ({"valid_min": 2}, [1]),
        ({"valid_max": [5]}, [7]),
        ({"valid_max": 5, "_FillValue": 3}, [3, 7]),
    ],
)
def test_what_lies_beyond_the_valid_range_is_missing(tmp_path, dtype, marks, missing):
    """As netCDF's conventions have it (NUG, appendix A): the limits themselves are valid."""
    values = np.array([[1, 2, 7], [3, 4, 5]], dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = values
        file["x"].attrs.update(marks)
    with open_hdf5(tmp_path / "a.h5") as file:
        found = filled(numbers(file, "x"))
    np.testing.assert_array_equal(found, np.where(np.isin(values, missing), np.nan, values))


def test_limits_in_double_precision_hold_single_ones(tmp_path):
    """0.1 of single precision is above that of double: it is the limit, not beyond it."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.float32([[0.1, 0.2]])
        file["x"].attrs["valid_range"] = [0.0, 0.1]
    with open_hdf5(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(np.isnan(filled(numbers(file, "x"))), [[False, True]])


@pytest.mark.parametrize(("name", "odd"), [("valid_range", [1.0]), ("valid_min", "1"), ("valid_max", [1, 2])])
def test_a_range_that_is_none_is_refused(tmp_path, name, odd):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.ones((2, 3))
        file["x"].attrs[name] = odd
    with (
        open_hdf5(tmp_path / "a.h5") as file,
        pytest.raises(InputError, match=f"{name}.*Correct the attribute"),
    ):
        filled(numbers(file, "x"))


def test_signed_numbers_that_stand_for_unsigned_ones_are_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.array([[-1, 2]], "i1")
        file["x"].attrs["_Unsigned"] = "true"
    with open_hdf5(tmp_path / "a.h5") as file, pytest.raises(InputError, match=r"packed.*_Unsigned"):
        numbers(file, "x")
