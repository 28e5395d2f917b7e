import numpy as np
import pytest
from layouts import bold5000 as layout

from neuroenc.arrays import load, save
from neuroenc.config import Dataset
from neuroenc.datasets import bold5000
from neuroenc.errors import InputError


def test_the_record_gives_the_published_numbers_of_trials():
    trials = [int(bold5000.runs_of(s).sum()) * 37 for s in bold5000.LONG]
    assert trials == [5254, 5254, 5254, 3108]


@pytest.fixture
def tree(tmp_path, monkeypatch):
    first = layout.build(tmp_path / "bold", monkeypatch)
    return tmp_path / "bold", first


def options(root, mask="rois"):
    return Dataset(name="bold5000", root=str(root), mask=mask)


def test_regions_sessions_and_repeats(tree, tmp_path):
    root, first = tree
    found = bold5000.load_responses(options(root), "CSI4")
    assert found["response"].shape == (38, 30)
    assert np.bincount(found["session"].values.astype(int))[1:].tolist() == [20, 18]
    one = found["session"].values == "1"
    expected = (first[one] - first[one].mean(0)) / first[one].std(0)
    np.testing.assert_allclose(found["response"].values[one, :3], expected, rtol=1e-4, atol=1e-5)
    assert found["roi_PPA"].values.sum() == 6
    assert found["stimulus_id"].values[-4] == found["stimulus_id"].values[0]  # named rep_ there
    assert found["repetition"].values[-4:].tolist() == [1, 1, 2, 1]
    save(found, tmp_path / "r.nc")
    assert load(tmp_path / "r.nc", "responses").identical(found)


def test_the_whole_brain(tree):
    found = bold5000.load_responses(options(tree[0], "brain"), "CSI4")
    assert found["response"].shape == (38, 4)
    assert [found[a].values[0] for a in "xyz"] == [1, 1, 1]
    with pytest.raises(InputError, match=r"'dataset.mask': 'nsdgeneral'"):
        bold5000.load_responses(options(tree[0], "nsdgeneral"), "CSI4")


def test_pictures_of_three_sources(tree):
    stimuli = bold5000.load_stimuli(options(tree[0]), ["CSI4"])
    assert stimuli.sizes["stimulus"] == 34
    kinds = dict(zip(stimuli["stimulus_id"].values, stimuli["category"].values.argmax(1), strict=True))
    assert kinds["airpört0.jpg"] == 2 and kinds["COCO_train001.jpg"] == 0
    assert bold5000.check_tree(options(tree[0]), ["CSI4"])[1] == "subject CSI4: 38 trials in 2 sessions"


def test_texts_of_three_sources(tree):
    """Five captions of COCO, the names of a class, the name of a scene without its number."""
    root, _ = tree
    picture = root / bold5000.PICTURES / "Scene/airpört0.jpg"
    picture.rename(picture.parents[1] / "ImageNet/n01440764_12.JPEG")
    lines = (
        (root / "CSI4_imgnames.txt").read_text(encoding="utf-8").replace("airpört0.jpg", "n01440764_12.JPEG")
    )
    (root / "CSI4_imgnames.txt").write_text(
        lines.replace("airpört3.jpg", "train_station3.jpg"), encoding="utf-8"
    )
    other = picture.with_name("airpört3.jpg")
    other.rename(other.with_name("train_station3.jpg"))
    stimuli = bold5000.load_stimuli(options(root), ["CSI4"])
    found = dict(zip(stimuli["stimulus_id"].values, stimuli["caption"].values.tolist(), strict=True))
    assert found["COCO_train001.jpg"] == [f"Picture 1, said {k}." for k in range(5)]
    assert found["n01440764_12.JPEG"] == ["tench, Tinca tinca", "", "", "", ""]
    assert found["train_station3.jpg"][0] == "train station" and found["airpört6.jpg"][0] == "airpört"
    labels = root / "BOLD5000_Stimuli/Image_Labels"
    (labels / "imagenet_final_labels.txt").write_text("n02085936 Maltese dog\n")
    with pytest.raises(InputError, match=r"'ImageNet/n01440764_12.JPEG' has no text"):
        bold5000.load_stimuli(options(root), ["CSI4"])
    (labels / "imagenet_final_labels.txt").write_text("tench\n")
    with pytest.raises(InputError, match=r"begins with 'tench', expected a synset"):
        bold5000.load_stimuli(options(root), ["CSI4"])
    (labels / "imagenet_final_labels.txt").write_text("n01440764 tench\n")
    (labels / "captions_train2014.json").write_text('{"annotations": [{"image_id": 1}]}')
    with pytest.raises(InputError, match="not laid out as COCO's"):
        bold5000.load_stimuli(options(root), ["CSI4"])
    (labels / "captions_train2014.json").unlink()
    assert "caption" not in bold5000.load_stimuli(options(root), ["CSI4"])


def test_broken_trees_are_explained(tree):
    root, _ = tree
    with pytest.raises(InputError, match="'subject': 'CSI5'"):
        bold5000.load_responses(options(root), "CSI5")
    with pytest.raises(InputError, match=r"File not found: .*CSI1_imgnames.txt"):
        bold5000.load_responses(options(root), "CSI1")
    next((root / bold5000.PICTURES / "Scene").iterdir()).unlink()
    with pytest.raises(InputError, match="is in none of COCO, ImageNet, Scene"):
        bold5000.load_stimuli(options(root), ["CSI4"])
    path = root / f"BOLD5000_GLMsingle_ROI_betas/py/CSI4_{bold5000.BETAS}_allses_LHLOC.npy"
    np.save(path, np.zeros((10, 3)))
    with pytest.raises(InputError, match=r"shape \(10, 3\), expected \(38 trials, voxels\)"):
        bold5000.load_responses(options(root), "CSI4")
    session = root / f"CSI4_{bold5000.BETAS}_ses-02.nii.gz"
    session.write_bytes(session.read_bytes()[:200])
    with pytest.raises(InputError, match="Cannot read"):
        bold5000.load_responses(options(root, "brain"), "CSI4")
    names = root / "CSI4_imgnames.txt"
    names.write_text("\n".join(names.read_text().splitlines()[:-1]))
    with pytest.raises(InputError, match="names 37 trials, expected 38"):
        bold5000.load_responses(options(root), "CSI4")


def test_volumes_of_openneuro_with_its_misnamed_masks(tmp_path, monkeypatch):
    root = tmp_path / "ds"
    names, amplitude = layout.build_openneuro(root, monkeypatch)
    raw = Dataset(name="bold5000", root=str(root), mask="rois", preparation="openneuro")
    found = bold5000.load_responses(raw, "CSI2")
    assert found["stimulus_id"].values.tolist() == names
    assert found.sizes == {"presentation": 40, "neuroid": 30}
    assert {k: int(found[f"roi_{k}"].values.sum()) for k in bold5000.REGIONS} == dict.fromkeys(
        bold5000.REGIONS, 6
    )
    assert (found["hemisphere"].values == "L").sum() == 15
    early = found["response"].values[:, found["roi_EarlyVis"].values].mean(1)
    assert np.corrcoef(early, amplitude)[0, 1] > 0.9  # drift and baseline are gone
    other = found["response"].values[:, found["roi_PPA"].values].mean(1)
    assert abs(np.corrcoef(other, amplitude)[0, 1]) < 0.5
    stimuli = bold5000.load_stimuli(raw, ["CSI2"])
    assert set(stimuli["stimulus_id"].values) == set(names)
    assert bold5000.check_tree(raw, ["CSI2"])[1] == "subject CSI2: 40 trials in 1 sessions"
    with pytest.raises(InputError, match=r"'subject': 'CSI3'.*CSI2"):
        bold5000.load_responses(raw, "CSI3")
    mask = root / "derivatives/spm/sub-CSI2/sub-CSI2_mask-RHLO.nii.gz"
    mask.rename(mask.with_name("sub-CSI2_mask-RHL.nii.gz"))
    with pytest.raises(InputError, match=r"'region': 'RHLOC'.*LHPPA"):
        bold5000.load_responses(raw, "CSI2")
    events = next(root.rglob("*run-03_events.tsv"))
    events.unlink()
    with pytest.raises(InputError, match="run-03_events"):
        bold5000.load_stimuli(raw, ["CSI2"])
