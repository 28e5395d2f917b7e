import numpy as np
import pytest
from layouts import algonauts2023 as layout

from neuroenc.arrays import load, save
from neuroenc.config import Dataset
from neuroenc.datasets import algonauts2023
from neuroenc.datasets.pixels import read_pixels
from neuroenc.errors import InputError


@pytest.fixture
def tree(tmp_path):
    left = layout.build(tmp_path / "algonauts")
    return tmp_path / "algonauts", left, Dataset(name="algonauts2023", root=str(tmp_path / "algonauts"))


def test_responses_vertices_and_regions(tree, tmp_path):
    root, left, options = tree
    found = algonauts2023.load_responses(options, "01")
    assert found["response"].shape == (7, 27)
    np.testing.assert_array_equal(found["response"].values[:, :12], left)
    assert found["hemisphere"].values.tolist() == ["L"] * 12 + ["R"] * 15
    mask = np.load(root / "subj01/roi_masks/lh.all-vertices_fsaverage_space.npy")
    np.testing.assert_array_equal(found["vertex"].values[:12], np.flatnonzero(mask))
    numbers = np.load(root / "subj01/roi_masks/rh.floc-faces_challenge_space.npy")
    np.testing.assert_array_equal(found["roi_FFA-1"].values[12:], numbers == 2)
    assert "roi_Unknown" not in found.coords
    assert np.isnan(found["noise_ceiling"].values).all()
    save(found, tmp_path / "r.nc")
    assert load(tmp_path / "r.nc", "responses").identical(found)


def test_pictures_are_known_by_their_number_in_nsd(tree):
    options = tree[2]
    stimuli = algonauts2023.load_stimuli(options, ["01", "02"])
    assert stimuli.sizes["stimulus"] == 13  # one is shared
    assert stimuli["stimulus_id"].values[0] == "nsd-00013"
    assert read_pixels(stimuli, np.array([0, 12]))[0].shape == (16, 16, 3)
    assert algonauts2023.load_responses(options, "02")["stimulus_id"].values[0] == "nsd-00013"


def test_a_given_noise_ceiling_is_a_share_of_variance(tree):
    root, _, options = tree
    folder = root / "subj01/test_split/noise_ceiling"
    folder.mkdir(parents=True)
    for side, n in layout.VERTICES.items():
        np.save(folder / f"{side}_noise_ceiling.npy", np.full(n, 0.4))
    assert np.allclose(algonauts2023.load_responses(options, "01")["noise_ceiling"], 0.4)
    np.save(folder / "lh_noise_ceiling.npy", np.full(12, 40.0))
    with pytest.raises(InputError, match=r"goes to 40, expected shares of variance"):
        algonauts2023.load_responses(options, "01")


def test_check_compares_with_the_challenge(tree, monkeypatch):
    with pytest.raises(InputError, match=r"Subject 01 lh: found \(7, 12\), expected \(7, 19004\)"):
        algonauts2023.check_tree(tree[2], ["01"])
    monkeypatch.setattr(algonauts2023, "VERTICES", layout.VERTICES)
    assert algonauts2023.check_tree(tree[2], ["01", "02"]) == [
        f"subject {s}: 7 pictures" for s in ("01", "02")
    ]


def test_broken_trees_are_explained(tree):
    root, _, options = tree
    with pytest.raises(InputError, match=r"'subject': '9'"):
        algonauts2023.load_responses(options, "9")
    with pytest.raises(InputError, match=r"'subject': '03'. Allowed: '01', '02'"):
        algonauts2023.load_responses(options, "03")
    with pytest.raises(InputError, match=r"'dataset.regions': 'prf'"):
        algonauts2023.load_responses(options.model_copy(update={"regions": ["prf"]}), "01")
    other = np.load(root / "subj02/roi_masks/rh.streams_challenge_space.npy")
    np.save(root / "subj01/roi_masks/rh.streams_challenge_space.npy", other[:-1])
    with pytest.raises(InputError, match=r"14 vertices, the responses 15. Is it of another subject"):
        algonauts2023.load_responses(options, "01")
    path = root / "subj01/training_split/training_fmri/lh_training_fmri.npy"
    np.save(path, np.load(path)[:, 1:])
    with pytest.raises(InputError, match=r"shape \(7, 11\), expected \(7 pictures, 12 vertices"):
        algonauts2023.load_responses(options, "01")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match="Cannot read"):
        algonauts2023.load_responses(options, "01")
    next((root / "subj01/training_split/training_images").glob("train-0003*")).unlink()
    with pytest.raises(InputError, match="not numbered from 1 without gaps"):
        algonauts2023.load_stimuli(options, ["01"])
