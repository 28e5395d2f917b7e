import h5py
import numpy as np
import pytest
from layouts import mosaic as layout

from neuroenc import splits
from neuroenc.arrays import load, save
from neuroenc.config import Dataset, Split
from neuroenc.datasets import mosaic
from neuroenc.errors import InputError


def opened(root, **changes):
    return Dataset(**({"name": "mosaic", "root": str(root), "mask": "cortex"} | changes))


@pytest.fixture
def tree(tmp_path):
    return tmp_path / "mosaic", layout.build(tmp_path / "mosaic")


def test_trials_are_read_and_what_was_filled_is_missing_again(tree, tmp_path):
    root, written = tree
    found = mosaic.load_responses(opened(root), "NSD01")
    expected = np.stack(list(written.values()))
    expected[1:9:3, layout.MISSING] = np.nan
    np.testing.assert_allclose(found["response"].values, expected[:, :59_412], rtol=1e-6)
    assert found["stimulus_id"].values[[0, 3, 9]].tolist() == ["coco_0", "coco_1", "cat-0"]
    assert found["repetition"].values[:4].tolist() == [0, 1, 2, 0]
    assert found["split"].values.tolist() == ["test"] * 9 + ["train"] * 5
    sides, counts = np.unique(found["hemisphere"].values, return_counts=True)
    assert dict(zip(sides, counts, strict=True)) == {"L": 29_696, "R": 29_716}
    save(found, tmp_path / "r.nc")
    assert load(tmp_path / "r.nc", "responses").identical(found)
    whole = mosaic.load_responses(opened(root, mask="brain"), "NSD01")
    np.testing.assert_allclose(whole["response"].values, expected, rtol=1e-6)
    assert (whole["hemisphere"].values[59_412:] == "").all()


def test_names_with_a_checksum_and_pictures_of_several_people(tree):
    root, _ = tree
    layout.build(root, name="sub-02_NSD_crc32-0a1b2c3d", train=["dog-1.jpg", "cat-0.jpg"], seed=1)
    stimuli = mosaic.load_stimuli(opened(root), ["NSD01", "NSD02"])
    assert stimuli["stimulus_id"].values.tolist() == sorted(
        n.rpartition(".")[0] for n in {*layout.TRAIN, *layout.TEST, "dog-1.jpg"}
    )
    found = splits.make(stimuli, Split(kind="dataset"))
    assert int((found["side"].values == splits.TEST).sum()) == len(layout.TEST)
    assert mosaic.check_tree(opened(root), ["NSD02"]) == ["NSD02: 2 training and 9 test trials of 5 pictures"]
    for path in (root / "stimuli").iterdir():
        path.unlink()
    (root / "stimuli").rmdir()
    assert mosaic.load_stimuli(opened(root), ["NSD01"]).attrs["pixels"] == "not distributed"


def change(root, key, **attrs):
    with h5py.File(root / "sub-01_NSD.hdf5", "a") as file:
        file[f"betas/{key}"].attrs.update(attrs)


def resize(root, key):
    with h5py.File(root / "sub-01_NSD.hdf5", "a") as file:
        about = dict(file[f"betas/{key}"].attrs)
        del file[f"betas/{key}"]
        file[f"betas/{key}"] = np.ones(100)
        file[f"betas/{key}"].attrs.update(about)


FIRST, LAST = "sub-01_NSD_stimulus-coco_0_phase-test_rep-0", "sub-01_NSD_stimulus-cat-4_phase-train_rep-0"


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda root: (root / "sub-01_NSD.hdf5").unlink(), "'subject'"),
        (lambda root: (root / "stimuli/cat-3.jpg").unlink(), "1 of 8 pictures are not in"),
        (lambda root: change(root, FIRST, phase="artificial"), "has the phase 'artificial'"),
        (lambda root: change(root, FIRST, phase="train"), "'coco_0.png' in training and test"),
        (lambda root: change(root, LAST, presented_stimulus_filename=7), "the picture"),
        (lambda root: change(root, LAST, nan_indices=[91_282]), "outside 0 to 91281"),
        (lambda root: resize(root, LAST), r"has shape \(100,\), expected 91282"),
        (lambda root: layout.build(root, name="sub-01_NSD_crc32-00"), "has 2 files"),
        (lambda root: h5py.File(root / "sub-01_NSD.hdf5", "w").close(), "no group `betas`"),
    ],
)
def test_what_does_not_fit_is_one_line(tree, break_it, message):
    root, _ = tree
    break_it(root)
    with pytest.raises(InputError, match=message) as found:
        mosaic.load_stimuli(opened(root), ["NSD01"])
        mosaic.load_responses(opened(root), "NSD01")
    assert "\n" not in str(found.value)


def test_choices_that_are_not_there(tree):
    root, _ = tree
    with pytest.raises(InputError, match=r"dataset\.mask"):
        mosaic.load_responses(opened(root, mask="nsdgeneral"), "NSD01")
    layout.build(root, name="sub-01_THINGS", train=["coco_0.png"], test=["cat-0.jpg", "x.jpg", "y.jpg"])
    with pytest.raises(InputError, match="2 pictures are trained on by some of NSD01, THINGS01"):
        mosaic.load_stimuli(opened(root), ["NSD01", "THINGS01"])
    layout.build(root, name="sub-03_HAD", train=[])
    with pytest.raises(InputError, match="HAD03 has test trials alone"):
        mosaic.check_tree(opened(root), ["HAD03"])
