import numpy as np
import pandas as pd
import pytest
from layouts import things_fmri as layout

from neuroenc.arrays import load, save
from neuroenc.config import Dataset
from neuroenc.datasets import things_fmri
from neuroenc.errors import InputError


@pytest.fixture
def tree(tmp_path):
    return tmp_path / "things", layout.build(tmp_path / "things")


def options(root, **changes):
    return Dataset(name="things_fmri", root=str(root), **{"mask": "rois"} | changes)


def test_voxels_of_regions_and_all(tree, tmp_path):
    root, betas = tree
    found = things_fmri.load_responses(options(root), "01")
    rows = [4, 7, 1007, 2007, 2504, 3007, 4007]  # over several blocks
    np.testing.assert_array_equal(found["response"].values, betas[rows].T)
    assert found["roi_lFFA"].values.sum() == 2 and "roi_prf-size" not in found.coords
    np.testing.assert_allclose(found["noise_ceiling"].values, 0.12)
    assert found["z"].values.tolist() == rows
    assert things_fmri.load_responses(options(root, regions=["V1"]), "01").sizes["neuroid"] == 5
    whole = things_fmri.load_responses(options(root, mask="brain"), "01")
    np.testing.assert_array_equal(whole["response"].values, betas.T)
    save(found, tmp_path / "r.nc")
    assert load(tmp_path / "r.nc", "responses").identical(found)


def test_test_pictures_repeat_and_concepts_are_groups(tree):
    root, _ = tree
    found = things_fmri.load_responses(options(root), "01")
    assert (found["split"].values == "test").sum() == 12
    assert found["repetition"].values[-1] == 3
    stimuli = things_fmri.load_stimuli(options(root), ["01"])
    assert stimuli.sizes["stimulus"] == 11
    assert stimuli["caption"].values[0, 0] == "dog 0"
    assert set(found["stimulus_id"].values) == set(stimuli["stimulus_id"].values)


def test_check_compares_with_the_release(tree, monkeypatch):
    root, _ = tree
    with pytest.raises(InputError, match="Subject 01 train: found 8 trials, expected 8640"):
        things_fmri.check_tree(options(root), ["01"])
    monkeypatch.setattr(things_fmri, "EXPECTED", {"train": 8, "test": 12})
    with pytest.raises(InputError, match="voxels: found 5000, expected 211339"):
        things_fmri.check_tree(options(root), ["01"])
    monkeypatch.setattr(things_fmri, "VOXELS", {})
    assert things_fmri.check_tree(options(root), ["01"]) == [
        "subject 01: 5000 voxels, 8 train trials, 12 test trials"
    ]


def test_tables_in_another_order_than_the_betas_are_refused(tree):
    root, _ = tree
    for kind, column, message in (
        ("VoxelMetadata", "voxel_z", r"has the voxel_id 0 in row 0 \(from 0\), the table of voxels 4999"),
        ("StimulusMetadata", "trial_id", "is not in the order of its trial_id, as the betas are"),
    ):
        path = root / f"betas_csv/sub-01_{kind}.csv"
        before = path.read_text()
        pd.read_csv(path, index_col=0).sort_values(column, ascending=False).to_csv(path)
        with pytest.raises(InputError, match=message):
            things_fmri.load_responses(options(root), "01")
        path.write_text(before)


def test_broken_trees_are_explained(tree):
    root, _ = tree
    with pytest.raises(InputError, match="'subject': '4'"):
        things_fmri.load_responses(options(root), "4")
    with pytest.raises(InputError, match=r"'dataset.regions': 'V2'"):
        things_fmri.load_responses(options(root, regions=["V2"]), "01")
    next((root / "images").rglob("*.jpg")).unlink()
    with pytest.raises(InputError, match=r"1 of 11 pictures .*OSF jum2f"):
        things_fmri.load_stimuli(options(root), ["01"])
    path = root / "betas_csv/sub-01_StimulusMetadata.csv"
    table = pd.read_csv(path)
    table[:-1].to_csv(path)
    with pytest.raises(InputError, match="has 20 trials, the table of stimuli 19"):
        things_fmri.load_responses(options(root), "01")
    table.drop(columns="concept").to_csv(path)
    with pytest.raises(InputError, match="has no column 'concept'"):
        things_fmri.load_responses(options(root), "01")
    table.to_csv(path)
    voxels = root / "betas_csv/sub-01_VoxelMetadata.csv"
    known = pd.read_csv(voxels)
    pd.concat([known, known[:1]]).to_csv(voxels)
    with pytest.raises(InputError, match=r"has 5000 voxels, the table names number 5000"):
        things_fmri.load_responses(options(root, mask="brain"), "01")
    known.to_csv(voxels)
    betas = root / "betas_csv/sub-01_ResponseData.h5"
    betas.write_bytes(betas.read_bytes()[:2000])
    with pytest.raises(InputError, match="Cannot read"):
        things_fmri.load_responses(options(root), "01")
