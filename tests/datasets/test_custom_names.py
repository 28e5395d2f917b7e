"""What files of responses say of their own rows and columns is joined by name, or compared."""

import sys

import h5py
import nibabel as nib
import numpy as np
import pytest
import yaml

from neuroenc.config import Dataset
from neuroenc.datasets import custom
from neuroenc.datasets.init import init
from neuroenc.datasets.pixels import read_pixels
from neuroenc.errors import InputError

IDS = ["a", "b", "c", "d"]
VALUES = np.float32([[1, 2, 3], [2, 4, 6], [0, 1, 7], [5, 5, 5.5]])


@pytest.fixture
def read(tmp_path):
    """Write the tables; return stimuli and responses."""

    def call(responses, neuroids=None, pictures=None, **more):
        table = "stimulus_id\n" + "\n".join(IDS) + "\n"
        for name, text in {"stimuli.csv": table, "trials.csv": table, "neuroids.csv": neuroids}.items():
            if text is not None:
                (tmp_path / name).write_text(text)
        section = {"presentations": "trials.csv", "responses": responses, **more}
        section |= {"neuroids": "neuroids.csv"} if neuroids else {}
        stimuli = {"table": "stimuli.csv"} | ({"pictures": pictures} if pictures else {})
        about = {"name": "M", "units": "a", "stimuli": stimuli, "subjects": {"1": section}}
        (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(about))
        options = Dataset(name="custom", root=str(tmp_path))
        return custom.load_stimuli(options, ["1"]), custom.load_responses(options, "1")

    return call


def parcels(path):
    at = [{"CIFTI_STRUCTURE_CORTEX_LEFT": np.array([i])} for i in range(3)]
    axis = nib.cifti2.ParcelsAxis(
        ["V1", "V2", "V3"], [np.zeros((0, 3), int)] * 3, at, np.eye(4), (2, 2, 2),
        {"CIFTI_STRUCTURE_CORTEX_LEFT": 9},
    )  # fmt: skip
    nib.save(nib.Cifti2Image(VALUES, (nib.cifti2.ScalarAxis(IDS), axis)), path)


def test_parcels_are_joined_to_their_table_by_name(read, tmp_path):
    parcels(tmp_path / "y.pscalar.nii")
    _, found = read("y.pscalar.nii", "neuroid_id,noise_ceiling\nV3,.3\nV1,.1\nV2,.2\n")
    assert found["neuroid_id"].values.tolist() == ["1_V1", "1_V2", "1_V3"]
    np.testing.assert_allclose(found["noise_ceiling"], [0.1, 0.2, 0.3], rtol=1e-6)
    with pytest.raises(InputError, match=r"names the neuroid 'V2', which is not in neuroids.csv"):
        read("y.pscalar.nii", "neuroid_id\nV3\nV1\nV4\n")


def test_columns_that_are_numbers_are_joined_by_these_or_else_in_order(read, tmp_path):
    (tmp_path / "y.csv").write_text("0,1,2\n" + "".join(f"{a},{b},{c}\n" for a, b, c in VALUES))
    _, found = read("y.csv", "neuroid_id,x\n2,20\n0,0\n1,10\n")
    assert found["x"].values.tolist() == [0, 10, 20]
    _, found = read("y.csv", "neuroid_id,x\nu,20\nv,0\nw,10\n")
    assert found["x"].values.tolist() == [20, 0, 10]


def volume(folder):
    inside = np.zeros((3, 2, 2), np.uint8)
    inside[0, 0, 1] = inside[1, 1, 0] = inside[2, 1, 1] = 1
    data = np.zeros((3, 2, 2, 4), np.float32)
    data[inside > 0] = VALUES.T
    region = inside.copy()
    region[0] = 0
    for name, array in {"y": data, "mask": inside, "V1": region}.items():
        nib.save(nib.Nifti1Image(array, np.eye(4)), folder / f"{name}.nii.gz")
    return {"mask": "mask.nii.gz", "regions": {"V1": "V1.nii.gz"}}


def test_a_table_adds_to_what_an_image_says_and_does_not_replace_it(read, tmp_path):
    more = volume(tmp_path)
    _, found = read("y.nii.gz", "neuroid_id,noise_ceiling,roi_A\np,.1,1\nq,.2,0\nr,.3,0\n", **more)
    assert found["neuroid_id"].values.tolist() == ["1_p", "1_q", "1_r"]
    assert found["x"].values.tolist() == [0, 1, 2] and found["z"].values.tolist() == [1, 0, 1]
    assert found["roi_V1"].values.tolist() == [False, True, True]
    assert found["roi_A"].values.tolist() == [True, False, False]
    _, found = read("y.nii.gz", "neuroid_id,noise_ceiling\n2-1-1,.3\n0-0-1,.1\n1-1-0,.2\n", **more)
    np.testing.assert_allclose(found["noise_ceiling"], [0.1, 0.2, 0.3], rtol=1e-6)


@pytest.mark.parametrize(
    ("column", "cells", "message"),
    [
        ("x", (-42, 1, 2), "x -42.0 for 'p', y.nii.gz 0.0.* voxels, counted from 0"),
        ("roi_V1", (0, 1, 0), "roi_V1 False for 'r', y.nii.gz True"),
    ],
)
def test_a_table_that_contradicts_the_image_is_refused(read, tmp_path, column, cells, message):
    more = volume(tmp_path)
    table = f"neuroid_id,{column}\n" + "".join(f"{i},{c}\n" for i, c in zip("pqr", cells, strict=True))
    with pytest.raises(InputError, match=message):
        read("y.nii.gz", table, **more)


@pytest.mark.parametrize("group", ["", "g/"])
def test_ids_beside_an_array_are_compared_with_the_presentations(read, tmp_path, group):
    def write(ids):
        with h5py.File(tmp_path / "y.h5", "w") as file:
            file[f"{group}betas"] = VALUES
            file[f"{group}stimulus_id"] = ids

    write(IDS)
    np.testing.assert_array_equal(read(f"y.h5#{group}betas")[1]["response"], VALUES)
    write(["a", "b", "d", "c"])
    with pytest.raises(InputError, match=r"has the stimulus_id 'd' in row 2 .from 0., 'c' stands in line 4"):
        read(f"y.h5#{group}betas")
    write(IDS[:3])
    with pytest.raises(InputError, match=r"names 3 stimuli, .*trials.csv 4"):
        read(f"y.h5#{group}betas")


def matlab(file, name, values, kind):
    """Write as MATLAB does: axes in reverse."""
    made = file.create_dataset(name, data=np.asarray(values).T)
    made.attrs["MATLAB_class"] = np.bytes_(kind)
    return made


def cells(path, ids):
    with h5py.File(path, "w") as file:
        matlab(file, "betas", VALUES, "single")
        refs = [matlab(file, f"#refs#/{k}", [[ord(c) for c in i]], "char").ref for k, i in enumerate(ids)]
        matlab(file, "stimulus_id", np.array([refs], dtype=h5py.ref_dtype), "cell")
        matlab(file, "names", [[97], [98], [99], [100]], "char")


def test_matlab_names_rows_by_cells_of_text(read, tmp_path):
    cells(tmp_path / "y.h5", IDS)
    np.testing.assert_array_equal(read("y.h5#betas")[1]["response"], VALUES)
    with pytest.raises(InputError, match="names holds text of MATLAB"):
        read("y.h5#names")
    cells(tmp_path / "y.h5", ["b", "a", "c", "d"])
    with pytest.raises(InputError, match="has the stimulus_id 'b' in row 0"):
        read("y.h5#betas")


def test_matlab_names_rows_by_numbers(read, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "IDS", list("1234"))
    for ids, right in (([1.0, 2, 3, 4], True), ([1.0, 2, 4, 3], False), ([1.5, 2, 3, 4], False)):
        with h5py.File(tmp_path / "y.h5", "w") as file:
            matlab(file, "betas", VALUES, "single")
            matlab(file, "stimulus_id", [ids], "double")
        if right:
            np.testing.assert_array_equal(read("y.h5#betas")[1]["response"], VALUES)
        else:
            with pytest.raises(InputError, match=r"stimulus_id '4' in row 2|no list of whole numbers"):
                read("y.h5#betas")


@pytest.mark.parametrize("shape", [(4, 8, 5, 3), (4, 8, 5), (4, 8, 5, 1)])
def test_pictures_of_matlab_stand_upright(read, tmp_path, shape):
    pixels = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    with h5py.File(tmp_path / "p.h5", "w") as file:
        matlab(file, "images", pixels, "uint8")
    np.save(tmp_path / "y.npy", VALUES)
    stimuli, _ = read("y.npy", pictures="p.h5#images")
    found = np.stack(read_pixels(stimuli, np.array([2, 0, 2])))
    expected = pixels.reshape(4, 8, 5, -1)[[2, 0, 2]]
    np.testing.assert_array_equal(found, np.broadcast_to(expected, (3, 8, 5, 3)))


def test_grey_pictures_of_matlab_that_count_last_are_refused(read, tmp_path):
    with h5py.File(tmp_path / "p.h5", "w") as file:
        matlab(file, "images", np.zeros((8, 5, 4), np.uint8), "uint8")
    np.save(tmp_path / "y.npy", VALUES)
    with pytest.raises(InputError, match=r"images (has 8 pictures|holds uint8 of shape \(8, 5, 4\))"):
        read("y.npy", pictures="p.h5#images")


def test_init_takes_arrays_of_matlab_as_their_writer_sees_them(tmp_path):
    cells(tmp_path / "y.h5", IDS)
    (tmp_path / "stimuli.csv").write_text("stimulus_id\n" + "\n".join(IDS) + "\n")
    (tmp_path / "trials.csv").write_text("stimulus_id,run\n" + ",1\n".join(IDS) + ",1\n")
    assert 'responses: "y.h5#betas" # shape (4, 3)\n' in init(tmp_path)


def test_a_mask_does_not_order_the_voxels_of_matlab(read, tmp_path):
    more = volume(tmp_path)
    cells(tmp_path / "y.h5", IDS)
    with pytest.raises(InputError, match="written by MATLAB, which counts the voxels of a mask"):
        read("y.h5#betas", **more)
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["betas"] = VALUES
    assert read("y.h5#betas", **more)[1]["x"].values.tolist() == [0, 1, 2]
