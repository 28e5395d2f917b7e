import json

import h5py
import nibabel as nib
import numpy as np
import pytest
from layouts import laion_fmri as layout

from neuroenc import splits
from neuroenc.arrays import load, save
from neuroenc.config import Dataset, Split
from neuroenc.datasets import laion_fmri
from neuroenc.datasets.pixels import read_pixels
from neuroenc.errors import InputError

GLM, ROIS = "derivatives/glmsingle-tedana/sub-01", "derivatives/rois/sub-01"
NC = f"{GLM}/sub-01_task-images_space-T1w_desc-Noiseceiling12rep_statmap.nii.gz"
TRIALS = f"{GLM}/ses-02/func/sub-01_ses-02_task-images_desc-SingletrialBetas_trials.tsv"
BETAS = (
    f"{GLM}/ses-02/func/sub-01_ses-02_task-images_space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz"
)
METADATA = "stimuli/task-images_metadata.csv"


def opened(root, **changes):
    return Dataset(**({"name": "laion_fmri", "root": str(root), "mask": "rois"} | changes))


@pytest.fixture
def tree(tmp_path):
    return tmp_path / "laion", layout.build(tmp_path / "laion", subjects=("01", "06"))


def test_betas_are_scaled_by_the_training_trials_of_their_session(tree, tmp_path):
    root, written = tree
    found = laion_fmri.load_responses(opened(root), "01")
    inside = np.zeros(layout.GRID, bool)
    for where in layout.REGIONS.values():
        inside[where] = True
    inside[layout.OUTSIDE] = False
    parts = []
    for betas, shown in written["01"].values():
        values, train = betas[inside].T.astype(float), ~np.isin(shown, layout.OOD)
        parts.append((values - values[train].mean(0)) / values[train].std(0))
    np.testing.assert_allclose(found["response"].values, np.concatenate(parts), atol=1e-5)
    np.testing.assert_array_equal(
        found["stimulus_id"], np.concatenate([s for _, s in written["01"].values()])
    )
    assert found["session"].values[[0, -1]].tolist() == ["01", "02"]
    assert found["run"].values[[0, 10, -1]].tolist() == [1, 2, 3]
    np.testing.assert_array_equal(found["split"].values == "test", np.isin(found["stimulus_id"], layout.OOD))
    np.testing.assert_array_equal(np.argwhere(inside), np.stack([found[a].values for a in "xyz"], 1))
    assert {r: int(found[f"roi_{r}"].sum()) for r in ("V1", "FFA1")} == {"V1": 17, "FFA1": 12}
    ncsnr = found["ncsnr"].values.astype(float) ** 2
    np.testing.assert_allclose(100 * ncsnr / (ncsnr + 1 / 12), layout.CEILING, rtol=1e-5)
    save(found, tmp_path / "r.nc")
    assert load(tmp_path / "r.nc", "responses").identical(found)


def test_regions_are_named_as_the_bucket_or_the_package_does_or_by_category(tree):
    root, _ = tree
    for name in ("FFA1", "face"):
        found = laion_fmri.load_responses(opened(root, regions=[name]), "01")
        assert found.sizes["neuroid"] == 12 and bool(found["roi_FFA1"].all())
        assert "roi_V1" not in found.coords
    bucket = next((root / ROIS / "face").iterdir())
    bucket.rename(bucket.with_name(bucket.name.replace("FFA-1", "FFA1")))
    found = laion_fmri.load_responses(opened(root, regions=["FFA-1"]), "01")
    assert found.sizes["neuroid"] == 12
    found = laion_fmri.load_responses(opened(root, regions=["V1d"]), "01")
    assert int(found["roi_V1"].sum()) == found.sizes["neuroid"] == 6
    found = laion_fmri.load_responses(opened(root, mask="brain"), "01")
    assert found.sizes["neuroid"] == np.prod(layout.GRID) - 1


def test_pictures_are_decoded_before_the_grey_of_the_screen(tree):
    root, _ = tree
    stimuli = laion_fmri.load_stimuli(opened(root), ["01"])
    assert stimuli["stimulus_id"].values.tolist() == [n for n in layout.NAMES if "p02" not in n]
    rows = np.array([16, 0, 7])
    grey, black, seven = read_pixels(stimuli, rows)
    assert grey.shape == (8, 8, 3) and (grey == 128).all() and (black == 0).all()
    assert abs(int(seven[0, 0, 0]) - 70) <= 1
    assert stimuli["caption"].values[0].tolist() == [f"{k} of {layout.NAMES[0]}" for k in (1, 2)] + [""] * 3
    both = laion_fmri.load_stimuli(opened(root), ["01", "06"])
    assert both["stimulus_id"].values.tolist() == layout.NAMES
    (root / laion_fmri.PICTURES).unlink()  # they come by a form
    alone = laion_fmri.load_stimuli(opened(root), ["01"])
    with pytest.raises(InputError, match="come without pictures"):
        read_pixels(alone, rows)


def test_its_own_splits(tree):
    root, written = tree
    found = splits.make(laion_fmri.load_stimuli(opened(root), ["01"]), Split(kind="dataset"))
    assert int((found["side"].values == splits.TEST).sum()) == len(layout.OOD)
    layout.add_split(root, "shared", "tau", layout.SHARED[:4], layout.SHARED[4:])
    options = opened(root, partition="shared/tau")
    stimuli = laion_fmri.load_stimuli(options, ["01", "06"])
    assert stimuli["split"].values.tolist() == ["train"] * 4 + ["test"] * 2
    responses = laion_fmri.load_responses(options, "01")
    shown = np.concatenate([s for _, s in written["01"].values()])
    assert responses["stimulus_id"].values.tolist() == [s for s in shown if s in layout.SHARED]
    betas, first = written["01"][1]
    train = betas[3, 1, 0][np.isin(first, layout.SHARED[:4])].astype(float)
    expected = (betas[3, 1, 0][np.isin(first, layout.SHARED)] - train.mean()) / train.std()
    column = responses["neuroid_id"].values.tolist().index("01_3-1-0")
    np.testing.assert_allclose(responses["response"].values[: len(expected), column], expected, atol=1e-5)


def test_the_first_sessions(tree):
    root, written = tree
    found = laion_fmri.load_responses(opened(root, sessions=1), "01")
    assert found.sizes["presentation"] == len(written["01"][1][1])


def test_a_voxel_with_a_missing_beta_is_missing_in_its_session_alone(tree):
    root, written = tree

    def lose(values):
        values[3, 1, 0, 5] = np.nan
        return values

    rewrite(root / BETAS, lose)
    found = laion_fmri.load_responses(opened(root), "01")
    missing = np.isnan(found["response"].values)
    assert found["neuroid_id"].values[missing.any(0)].tolist() == ["01_3-1-0"]
    assert missing.any(1).tolist() == [False] * 19 + [True] * 21
    assert len(written["01"][2][1]) == 21


def replace(path, old, new):
    path.write_text(path.read_text().replace(old, new, 1))


def rewrite(path, change):
    image = nib.load(path)
    values = change(np.array(image.dataobj))
    nib.save(nib.Nifti1Image(values, image.affine), path)


def cut_pictures(root):
    with h5py.File(root / laion_fmri.PICTURES, "a") as file:
        stored = file["images"][:3]
        del file["images"]
        file.create_dataset("images", data=stored, dtype=h5py.vlen_dtype(np.uint8))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda root: (root / METADATA).unlink(), "task-images_metadata.csv"),
        (lambda root: (root / BETAS).unlink(), "SingletrialBetas_statmap.nii.gz"),
        (lambda root: (root / TRIALS).unlink(), "SingletrialBetas_trials.tsv"),
        (lambda root: rewrite(root / BETAS, lambda v: v[..., :-1]), "a volume for each line of its trials"),
        (lambda root: rewrite(root / BETAS, lambda v: v[1:]), "a volume for each line of its trials"),
        (lambda root: replace(root / TRIALS, "\t3\t", "\t4\t"), "does not count from 0"),
        (lambda root: replace(root / TRIALS, "run-01", "run-one"), "'run-one', expected a number"),
        (lambda root: replace(root / TRIALS, "OOD_gabor", "OOD_other"), "1 trials of sub-01 show pictures"),
        (lambda root: replace(root / METADATA, layout.NAMES[1], layout.NAMES[0]), "a picture twice"),
        (lambda root: rewrite(root / NC, lambda v: v * 3), "outside 0 to 100"),
        (lambda root: rewrite(root / NC, lambda v: v[1:]), "has the grid"),
        (cut_pictures, "has 3 pictures"),
    ],
)
def test_what_does_not_fit_is_one_line(tree, break_it, message):
    root, _ = tree
    break_it(root)
    with pytest.raises(InputError, match=message) as found:
        laion_fmri.load_stimuli(opened(root), ["01"])
        laion_fmri.load_responses(opened(root), "01")
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask": "nsdgeneral"}, "'dataset.mask'"),
        ({"regions": ["V9"]}, "'dataset.regions'"),
        ({"partition": "shared/tau"}, "Copy laion_fmri/splits/data"),
        ({"partition": "shared/twice"}, "a picture in training and test"),
        ({"partition": "shared/unknown"}, "is not in stimuli"),
        ({"partition": "shared/none"}, "no picture to test"),
        ({"partition": "shared/broken"}, "not one variant"),
        ({"partition": "sub-06/random_0"}, "Choose a pool that it saw"),
        ({"partition": "shared/tiny"}, "training trials, expected 2"),
    ],
)
def test_choices_that_are_not_there_are_one_line(tree, changes, message):
    root, _ = tree
    layout.add_split(root, "shared", "twice", layout.SHARED[:4], layout.SHARED[3:])
    layout.add_split(root, "shared", "unknown", layout.SHARED[:4], ["cat.jpg"])
    layout.add_split(root, "shared", "none", layout.SHARED[:4], [])
    layout.add_split(root, "shared", "tiny", layout.SHARED[5:], layout.SHARED[:1])
    layout.add_split(root, "sub-06", "random_0", layout.UNIQUE["06"][:4], layout.UNIQUE["06"][4:])
    path = layout.add_split(root, "shared", "broken", layout.SHARED[:4], layout.SHARED[4:])
    path.write_text(json.dumps(json.loads(path.read_text()) | {"variants": []}))
    with pytest.raises(InputError, match=message) as found:
        laion_fmri.load_responses(opened(root, **changes), "01")
    assert "\n" not in str(found.value)


def test_an_unknown_subject_names_those_there(tree):
    with pytest.raises(InputError, match=r"'02'.*01.*06"):
        laion_fmri.load_responses(opened(tree[0]), "02")


def test_the_tree_is_checked(tree, monkeypatch):
    root, _ = tree
    with pytest.raises(InputError, match="pictures: found 25, expected 25052"):
        laion_fmri.check_tree(opened(root), ["01"])
    record = {"pictures": 25, "OOD": 3, "sessions": 2, "pictures of a subject": 17}
    monkeypatch.setattr(laion_fmri, "EXPECTED", record)
    assert laion_fmri.check_tree(opened(root), ["01"])[-1] == "trials of sub-01: 40 in 2 sessions"
