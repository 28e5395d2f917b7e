import gzip

import nibabel as nib
import numpy as np
import pytest

from neuroenc.datasets.images import read_image, read_mask, read_responses, read_values, varying
from neuroenc.errors import InputError

RNG = np.random.default_rng(0)
SHAPE, N = (4, 3, 2), 6
AFFINE = np.diag([2.0, 2, 2, 1])
VOLUME = RNG.standard_normal((*SHAPE, N)).astype("f4")
INSIDE = np.zeros(SHAPE, bool)
INSIDE[1:3, 1] = True
AXES = nib.cifti2


def put(path, data, affine=AFFINE, kind=nib.Nifti1Image):
    nib.save(kind(data, affine), path)
    return path


@pytest.fixture
def files(tmp_path):
    return put(tmp_path / "b.nii.gz", VOLUME), put(tmp_path / "m.nii.gz", INSIDE.astype("u1"))


def test_slope_and_intercept_are_honoured(tmp_path, files):
    image = nib.Nifti1Image((VOLUME * 100).astype("i2"), AFFINE)
    image.header.set_slope_inter(0.01, 3)
    nib.save(image, tmp_path / "s.nii")
    values, table, attrs, _ = read_responses(tmp_path / "s.nii", files[1], {"A": files[1]})
    np.testing.assert_allclose(values, (VOLUME * 100).astype("i2")[INSIDE].T * 0.01 + 3, atol=1e-4)
    np.testing.assert_array_equal(table[["x", "y", "z"]], np.argwhere(INSIDE))
    assert table["roi_A"].all()
    np.testing.assert_array_equal(attrs["affine"], AFFINE.ravel())


@pytest.mark.parametrize("name", ["b.nii", "b.nii.gz", "b.mgh", "b.mgz"])
def test_a_file_cut_short_or_damaged_is_one_line(tmp_path, name):
    data = RNG.integers(-30000, 30000, (8, 8, 8, 20)).astype("i4" if "mg" in name else "i2")
    path = put(tmp_path / name, data, kind=nib.MGHImage if "mg" in name else nib.Nifti1Image)
    np.testing.assert_array_equal(read_values(read_image(path)), data)
    whole = path.read_bytes()
    header = 400 if name.endswith(("nii", "mgh")) else 60
    for size in (0, 100, header, len(whole) // 2, int(len(whole) * 0.9)):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match="Cannot read") as caught:
            read_image(path)
        assert "\n" not in str(caught.value)
    if name.endswith("z"):
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 4
        path.write_bytes(flipped)
        with pytest.raises(InputError, match="Cannot read"):
            read_image(path)


def test_volumes_of_a_compressed_file_are_decompressed_once(files, monkeypatch):
    image = read_image(files[0])
    opened = []
    original = gzip.GzipFile.__init__
    monkeypatch.setattr(gzip.GzipFile, "__init__", lambda *a, **k: (opened.append(1), original(*a, **k))[1])
    for volume in range(N):
        np.testing.assert_array_equal(read_values(image, (..., volume)), VOLUME[..., volume])
    assert len(opened) == 1


@pytest.mark.parametrize(
    "data",
    [VOLUME.astype("c8"), np.zeros((*SHAPE, N), [("R", "u1"), ("G", "u1"), ("B", "u1")])],
    ids=["complex", "colours"],
)
def test_what_is_no_real_number_is_refused(tmp_path, files, data):
    with pytest.raises(InputError, match=r"holds .*expected real numbers"):
        read_responses(put(tmp_path / "x.nii", data), files[1], {})
    with pytest.raises(InputError, match=r"holds .*expected real numbers"):
        read_mask(put(tmp_path / "x.nii", data[..., 0]), read_image(files[0]))


@pytest.mark.parametrize("shape", [SHAPE, (*SHAPE, 1, N)])
def test_other_dimensions_are_refused(tmp_path, shape):
    path = put(tmp_path / "x.nii", np.zeros(shape, "f4"))
    with pytest.raises(InputError, match=r"expected \(x, y, z, presentations\)"):
        read_responses(path, None, {})


@pytest.mark.parametrize(
    "data",
    [
        INSIDE.astype("u1"), INSIDE.astype("u1") * 3, np.where(INSIDE, 1, -1).astype("i2"),
        np.where(INSIDE, 1, np.nan).astype("f4"), INSIDE[..., None].astype("u1"),
        np.where(INSIDE, 0.999, 1e-6).astype("f4"),
    ],
    ids=["0 and 1", "a label", "-1 outside", "NaN outside", "one volume", "resampled"],
)  # fmt: skip
def test_masks(tmp_path, files, data):
    path = put(tmp_path / "x.nii", data)
    np.testing.assert_array_equal(read_mask(path, read_image(files[0])), INSIDE)


@pytest.mark.parametrize(
    ("data", "affine", "message"),
    [
        (np.stack([INSIDE, ~INSIDE], -1).astype("u1"), AFFINE, r"shape \(4, 3, 2, 2\), expected one volume"),
        (np.zeros((*SHAPE, 1, 3), "f4"), AFFINE, r"shape \(4, 3, 2, 1, 3\), expected one volume"),
        (INSIDE[1:].astype("u1"), AFFINE, r"grid \(3, 3, 2\), .*Resample it"),
        (INSIDE[::-1].astype("u1"), np.diag([-2.0, 2, 2, 1]), "another affine"),
        (INSIDE.astype("u1"), AFFINE + 0.1, "another affine"),
        (np.where(INSIDE, 0.7, 0.2).astype("f4"), AFFINE, "map of shares"),
        (np.where(INSIDE, np.inf, 0).astype("f4"), AFFINE, "map of shares"),
    ],
)  # fmt: skip
def test_masks_that_do_not_fit(tmp_path, files, data, affine, message):
    path = put(tmp_path / "x.nii", data, affine)
    with pytest.raises(InputError, match=message):
        read_mask(path, read_image(files[0]))


def test_without_a_mask_all_presentations_are_looked_at(tmp_path):
    data = np.zeros((*SHAPE, 30), "f4")
    data[0, 0, 0, 29] = 1  # varies in the last only
    data[1, 0, 0, :] = np.nan
    data[1, 0, 0, 3:5] = 1, 2  # is missing but for two
    data[2, 0, 0, :] = np.nan
    data[3, 0, 0, :] = 7
    path = put(tmp_path / "b.nii.gz", data)
    assert np.argwhere(varying(read_image(path))).tolist() == [[0, 0, 0], [1, 0, 0]]
    values, table, _, _ = read_responses(path, None, {})
    np.testing.assert_array_equal(values, data[:2, 0, 0].T)
    assert table["neuroid_id"].tolist() == ["0-0-0", "1-0-0"]
    with pytest.raises(InputError, match="No voxel of"):
        read_responses(put(tmp_path / "c.nii", np.ones((*SHAPE, 4), "f4")), None, {})


# ---------------------------------------------------------------------------------------- GIFTI


def gifti(path, arrays, **meta):
    made = [nib.gifti.GiftiDataArray(data, intent=f"NIFTI_INTENT_{intent}") for intent, data in arrays]
    nib.save(nib.gifti.GiftiImage(darrays=made, meta=nib.gifti.GiftiMetaData(meta)), path)
    return path


FLAT = RNG.standard_normal((N, 5)).astype("f4")


def test_gifti(tmp_path):
    path = gifti(tmp_path / "l.gii", [("NONE", f) for f in FLAT], AnatomicalStructurePrimary="CortexRight")
    values, table, _, _ = read_responses(path, None, {})
    np.testing.assert_array_equal(values, FLAT)
    assert table["vertex"].tolist() == [0, 1, 2, 3, 4] and set(table["hemisphere"]) == {"R"}
    path = gifti(tmp_path / "l.gii", [("TIME_SERIES", FLAT.T.copy())])
    np.testing.assert_array_equal(read_responses(path, None, {})[0], FLAT)
    nodes = np.array([3, 5, 8, 13, 21], "i4")
    path = gifti(tmp_path / "l.gii", [("NODE_INDEX", nodes), *(("NONE", f) for f in FLAT)])
    values, table, _, _ = read_responses(path, None, {})
    np.testing.assert_array_equal(values, FLAT)
    assert table["vertex"].tolist() == nodes.tolist()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([("POINTSET", FLAT[:, :3].copy()), ("TRIANGLE", np.zeros((4, 3), "i4"))], "holds pointset"),
        ([("LABEL", np.zeros(5, "i4"))], "holds label"),
        ([("NONE", FLAT[0]), ("NONE", FLAT[1, :4])], r"shapes \[\(4,\), \(5,\)\]"),
        ([("NONE", FLAT), ("NONE", FLAT)], "expected one length"),
        ([], "holds no arrays"),
    ],
)
def test_gifti_of_other_things_is_refused(tmp_path, arrays, message):
    path = gifti(tmp_path / "l.gii", arrays)
    with pytest.raises(InputError, match=message):
        read_responses(path, None, {})


def test_masks_are_for_volumes(tmp_path, files):
    path = gifti(tmp_path / "l.gii", [("NONE", f) for f in FLAT])
    with pytest.raises(InputError, match="no voxels for `mask`"):
        read_responses(path, files[1], {})


# ---------------------------------------------------------------------------------------- CIFTI

LEFT = AXES.BrainModelAxis.from_surface(np.array([2, 3, 7]), 10, "CortexLeft")
RIGHT = AXES.BrainModelAxis.from_surface(np.array([0, 5]), 10, "CortexRight")
DEEP = AXES.BrainModelAxis.from_mask(INSIDE, affine=AFFINE, name="ThalamusLeft")
ROWS = {"dscalar": AXES.ScalarAxis([f"t{i}" for i in range(N)]), "dtseries": AXES.SeriesAxis(0, 1, N)}


def cifti(path, rows, columns):
    data = RNG.standard_normal((len(rows), len(columns))).astype("f4")
    nib.save(AXES.Cifti2Image(data, (rows, columns)), path)
    return path, data


@pytest.mark.parametrize("kind", ROWS)
def test_cifti_carries_its_own_labels(tmp_path, kind):
    path, data = cifti(tmp_path / f"b.{kind}.nii", ROWS[kind], LEFT + RIGHT + DEEP)
    values, table, attrs, _ = read_responses(path, None, {})
    np.testing.assert_array_equal(values, data)
    assert table["vertex"].tolist() == [2, 3, 7, 0, 5, -1, -1, -1, -1]
    assert table["hemisphere"].tolist() == ["L"] * 3 + ["R"] * 2 + [""] * 4
    assert table["structure"].tolist() == ["CORTEX_LEFT"] * 3 + ["CORTEX_RIGHT"] * 2 + ["THALAMUS_LEFT"] * 4
    np.testing.assert_array_equal(table[["x", "y", "z"]][5:], np.argwhere(INSIDE))
    assert table[["x", "y", "z"]][:5].isna().all(None)
    assert table["neuroid_id"].is_unique and table["neuroid_id"][0] == "L2"
    # no `grid_shape`: a map on the grid would lack the surfaces
    assert attrs.keys() == {"n_vertices_L", "n_vertices_R", "voxel_grid_shape", "voxel_affine"}
    assert attrs["n_vertices_L"] == attrs["n_vertices_R"] == 10 and tuple(attrs["voxel_grid_shape"]) == SHAPE
    path, _ = cifti(tmp_path / f"d.{kind}.nii", ROWS[kind], DEEP)
    _, table, attrs, _ = read_responses(path, None, {})
    assert "vertex" not in table and tuple(attrs["grid_shape"]) == SHAPE


def test_parcels_have_names(tmp_path):
    parcels = AXES.ParcelsAxis.from_brain_models([("V1", LEFT), ("MT", RIGHT)])
    path, data = cifti(tmp_path / "b.ptseries.nii", ROWS["dtseries"], parcels)
    values, table, _, _ = read_responses(path, None, {})
    np.testing.assert_array_equal(values, data)
    assert table["neuroid_id"].tolist() == ["V1", "MT"]


def test_other_axes_of_cifti_are_refused(tmp_path):
    path, _ = cifti(tmp_path / "b.dconn.nii", LEFT, LEFT)
    with pytest.raises(InputError, match="expected scalars or a series"):
        read_responses(path, None, {})
    labels = AXES.LabelAxis(["a"], {0: ("?", (0, 0, 0, 0)), 1: ("V1", (1, 0, 0, 1))})
    path, _ = cifti(tmp_path / "b.dlabel.nii", labels, LEFT)
    with pytest.raises(InputError, match="LabelAxis"):
        read_responses(path, None, {})
