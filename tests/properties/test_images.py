"""Whatever stands in a file of brain images: the right values, or one line."""

import gzip
import io

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neuroenc.datasets.images import read_image, read_mask, read_responses
from neuroenc.errors import InputError

AFFINE = np.diag([2.0, 2, 2, 1])
DTYPES = st.sampled_from(["u1", "i1", "i2", "u2", "i4", "f4", "f8", "c8"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("images")


def responses_or_line(path, mask=None):
    try:
        return read_responses(path, mask, {})
    except InputError as error:
        assert "\n" not in str(error) and path.name in str(error)
        return None


def arrays(**shape):
    return hnp.arrays(DTYPES, hnp.array_shapes(max_side=4, **shape))


@given(arrays(min_dims=3, max_dims=5), st.sampled_from(["a.nii", "a.nii.gz", "a.NII"]))
def test_any_volume(folder, values, name):
    nib.save(nib.Nifti1Image(values, AFFINE), folder / name.lower())
    found = responses_or_line(folder / name.lower())
    with np.errstate(invalid="ignore"):
        right = values.ndim == 4 and values.dtype.kind != "c"
        varies = right and (np.fmax.reduce(values, 3) > np.fmin.reduce(values, 3))
    if not np.any(varies):
        assert found is None
        return
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found[0], values[varies].T.astype("f4"))
    np.testing.assert_array_equal(found[1][["x", "y", "z"]], np.argwhere(varies))


@given(arrays(min_dims=3, max_dims=5))
def test_any_mask(folder, values):
    nib.save(nib.Nifti1Image(values, AFFINE), folder / "m.nii")
    try:
        found = read_mask(folder / "m.nii")
    except InputError as error:
        assert "\n" not in str(error)
        shares = values.dtype.kind == "f" and not np.all(
            np.isnan(values)
            | (np.isfinite(values) & np.isclose(values, np.round(values), rtol=0, atol=0.0101))
        )
        assert values.dtype.kind == "c" or shares or values.size > np.prod(values.shape[:3])
        return
    outside = ~(np.where(np.isnan(values), 0, values) > 0.5)
    np.testing.assert_array_equal(found, ~outside.reshape(found.shape))


@given(st.sampled_from(["a.nii", "a.nii.gz", "a.mgh", "a.gii", "a.dtseries.nii"]), st.data())
def test_a_damaged_file_is_read_or_refused(folder, name, data):
    path = folder / f"damaged-{name}"
    whole = bytearray(example(name))
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=6)):
        whole[place] = data.draw(st.integers(0, 255))
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    responses_or_line(path)


@given(st.sampled_from(["a.nii", "a.nii.gz", "a.mgh", "a.gii", "a.dtseries.nii"]),
       st.floats(0, 1, exclude_max=True))  # fmt: skip
def test_a_file_cut_short_is_refused(folder, name, share):
    path = folder / f"cut-{name}"
    whole = example(name)
    values = 284 + 4 * 72 if name.endswith("mgh") else len(whole)  # a footer may follow them
    path.write_bytes(whole[: int(share * values)])
    with pytest.raises(InputError, match="Cannot read"):
        read_image(path)


def example(name):
    """Bytes of a small file of each kind; the same each time."""
    data = np.random.default_rng(0).standard_normal((3, 3, 2, 4)).astype("f4")
    flat = data.reshape(-1, 4).T.copy()
    if name.endswith("gii"):
        made = [nib.gifti.GiftiDataArray(f, datatype="NIFTI_TYPE_FLOAT32") for f in flat]
        return nib.gifti.GiftiImage(darrays=made).to_bytes()
    if name.endswith("mgh"):
        return nib.MGHImage(data, AFFINE).to_bytes()
    if "dtseries" in name:
        axis = nib.cifti2.BrainModelAxis.from_surface(np.arange(18), 20, "CortexLeft")
        image = nib.cifti2.Cifti2Image(flat, (nib.cifti2.SeriesAxis(0, 1, 4), axis))
        image.update_headers()
        buffer = io.BytesIO()
        image.to_file_map({"header": nib.FileHolder(fileobj=buffer), "image": nib.FileHolder(fileobj=buffer)})
        return buffer.getvalue()
    volume = nib.Nifti1Image(data, AFFINE).to_bytes()
    return gzip.compress(volume, mtime=0) if name.endswith("gz") else volume


@given(hnp.arrays(st.sampled_from(["f4", "i4", "u1"]), hnp.array_shapes(min_dims=1, max_dims=2, max_side=4)),
       st.integers(1, 3), st.sampled_from([0, 1002, 1008, 1009, 2001, 2002, 2003, 2005]))  # fmt: skip
def test_any_gifti(folder, values, n, intent):
    made = [nib.gifti.GiftiDataArray(values, intent=intent) for _ in range(n)]
    nib.save(nib.gifti.GiftiImage(darrays=made), folder / "x.gii")
    found = responses_or_line(folder / "x.gii")
    if intent in (0, 2001, 2005) and (values.ndim == 1 or n == 1):
        expected = np.stack([values] * n) if values.ndim == 1 else values.T
        np.testing.assert_array_equal(found[0], expected.astype("f4"))
    else:
        assert found is None
