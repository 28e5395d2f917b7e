import numpy as np
import pytest

from neuroenc.real import deviation, real32, sum_groups, unmasked, zscore


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_deviation_is_numpys_and_zero_of_constants(dtype):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 4, 6)).astype(dtype)
    X[..., 1] = 0.1  # the mean of equal numbers rounds
    X[..., 2] = 1e6 + rng.integers(0, 2, (50, 4)) * np.finfo(dtype).eps * 1e6
    X[..., 3] *= 1e-12
    for axis in (0, (0, 1)):
        found, plain = deviation(X, axis), X.std(axis)
        assert (found[..., [1, 2]] == 0).all()
        np.testing.assert_array_equal(found[..., [0, 3, 4, 5]], plain[..., [0, 3, 4, 5]])
    X[0, 0, 0], X[:, :, 4] = np.nan, np.nan
    assert np.isnan(deviation(X, (0, 1))[[0, 4]]).all()
    np.testing.assert_allclose(deviation(X, (0, 1), missing=True)[0], np.nanstd(X[..., 0]), rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_zscore_is_numpys_and_nan_of_what_is_constant_but_for_rounding(dtype):
    X = np.random.default_rng(0).normal(3, 2, (100, 5)).astype(dtype)
    X[:, 1] = 100.3  # numpy's deviation of these, in single precision, is not 0
    X[:, 2] *= 1e-12
    X[60:, 3] = 0.3  # constant in the rows that scale
    found = zscore(X)
    assert found.dtype == dtype
    assert np.isnan(found[:, 1]).all()
    known = [0, 2, 3, 4]
    plain = X[:, known].astype(float)
    wanted = (plain - plain.mean(0)) / plain.std(0)
    np.testing.assert_allclose(found[:, known], wanted, rtol=1e-5, atol=1e-6)
    by_some = zscore(X, X[60:])
    assert np.isnan(by_some[:, [1, 3]]).all()
    np.testing.assert_allclose(by_some[:, 0], (X[:, 0] - X[60:, 0].mean()) / X[60:, 0].std(), rtol=1e-4)


def test_what_a_mask_hides_is_missing():
    hidden = np.ma.masked_array([[1, 2], [3, 99]], mask=[[0, 0], [0, 1]])
    for values in (hidden, hidden.astype("f4"), hidden.astype(float)):
        np.testing.assert_array_equal(unmasked(values), [[1, 2], [3, np.nan]])
        np.testing.assert_array_equal(real32(values, "y"), [[1, 2], [3, np.nan]])
    assert unmasked(np.arange(3)).dtype.kind == "i"


def test_sum_groups_is_numpys_add_at():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 3, 2)).astype(np.float32)
    group = rng.permutation(np.repeat(np.arange(9), [1, 12, 3, 4, 2, 5, 6, 3, 4]))
    wanted = np.zeros((9, 3, 2))
    np.add.at(wanted, group, values)
    np.testing.assert_allclose(sum_groups(values, group), wanted, rtol=1e-13)
    np.testing.assert_array_equal(sum_groups(np.ones(40, bool), group), np.bincount(group))
    assert sum_groups(values[:0], group[:0]).shape == (0, 3, 2)
