import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from neuroenc import datasets
from neuroenc.config import Dataset
from neuroenc.datasets.haxby import CATEGORIES
from neuroenc.errors import InputError


@pytest.fixture
def nilearn_tree(tmp_path):
    """nilearn's layout with a response in one voxel: faces, from 5 s after their onset."""
    folder = tmp_path / "haxby2001/subj2"
    folder.mkdir(parents=True)
    rows, rng = [], np.random.default_rng(0)
    for run in range(12):
        for category in rng.permutation(CATEGORIES):
            rows += [("rest", run)] * 6 + [(category, run)] * 9
        rows += [("rest", run)] * 1
    table = pd.DataFrame(rows, columns=["labels", "chunks"])
    table.to_csv(folder / "labels.txt", sep=" ", index=False)
    data = rng.normal(100, 1, (4, 5, 3, len(table))).astype("f4")
    data[1, 2, 1] += 8 * np.roll(table["labels"].to_numpy() == "face", 2)
    data[0, 0, 0] = 7  # constant
    nib.save(nib.Nifti1Image(data, np.eye(4)), folder / "bold.nii.gz")
    vt = np.zeros((4, 5, 3), np.int16)
    vt[1, 2, 1] = 1
    nib.save(nib.Nifti1Image(vt, np.eye(4)), folder / "mask4_vt.nii.gz")
    nib.save(nib.Nifti1Image(np.ones((4, 5, 3), np.int16), np.eye(4)), folder.parent / "mask.nii.gz")
    return folder.parent


def options_of(root, mask="mask"):
    return Dataset(name="haxby", root=str(root), mask=mask)


def test_nilearns_layout(nilearn_tree):
    options = options_of(nilearn_tree)
    module = datasets.module(options)
    responses = module.load_responses(options, "2")
    assert responses["response"].shape == (96, 60)
    faces = np.array(["face" in s for s in responses["stimulus_id"].values])
    voxel = responses["roi_4_vt"].values
    assert voxel.sum() == 1
    values = responses["response"].values[:, voxel][:, 0]
    assert values[faces].min() > values[~faces].max() + 1  # lag and blocks are right
    constant = np.all([responses[axis].values == 0 for axis in "xyz"], axis=0)
    assert np.isnan(responses["response"].values[:, constant]).all()
    assert len(set(responses["group"].values)) == 12
    assert responses.attrs["transductive"].startswith("each run")
    assert module.load_responses(options_of(nilearn_tree, "mask4_vt"), "2").sizes["neuroid"] == 1


def test_blocks_do_not_reach_into_the_next_run(nilearn_tree):
    from neuroenc.datasets import haxby

    table = haxby.labels(nilearn_tree / "subj2")
    for _, run, volumes in haxby.blocks(table):
        assert (table["run"].to_numpy()[volumes] == run).all()


@pytest.mark.parametrize(
    ("subject", "mask", "message"),
    [("3", "mask", "'subject': '3'"), ("2", "mask4_v", "did you mean 'mask4_vt'")],
)
def test_unknown_names(nilearn_tree, subject, mask, message):
    options = options_of(nilearn_tree, mask)
    with pytest.raises(InputError, match=message):
        datasets.module(options).load_responses(options, subject)


def test_labels_must_match_the_volumes(nilearn_tree):
    path = nilearn_tree / "subj2/labels.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:-3]) + "\n")
    options = options_of(nilearn_tree)
    with pytest.raises(InputError, match="1449 labels for 1452 volumes"):
        datasets.module(options).load_responses(options, "2")


@pytest.mark.real
def test_the_real_subject(real):
    options = options_of(real / "haxby")
    module = datasets.module(options)
    assert module.check_tree(options, ["1"]) == ["subject 1: 1452 volumes, 12 runs"]
    responses = module.load_responses(options, "1")
    assert responses["response"].shape == (96, 530)
    assert module.load_stimuli(options, ["1"])["category"].values.sum() == 96
