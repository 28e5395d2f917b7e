import numpy as np
import pytest

from neuroenc.real import deviation, sum_groups


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


def test_sum_groups_is_numpys_add_at():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 3, 2)).astype(np.float32)
    group = rng.permutation(np.repeat(np.arange(9), [1, 12, 3, 4, 2, 5, 6, 3, 4]))
    wanted = np.zeros((9, 3, 2))
    np.add.at(wanted, group, values)
    np.testing.assert_allclose(sum_groups(values, group), wanted, rtol=1e-13)
    np.testing.assert_array_equal(sum_groups(np.ones(40, bool), group), np.bincount(group))
    assert sum_groups(values[:0], group[:0]).shape == (0, 3, 2)
