import h5py
import numpy as np
import pytest

from neuroenc.arrays import load, make_stimuli, save
from neuroenc.config import Model
from neuroenc.errors import InputError
from neuroenc.features import registry
from neuroenc.features.extract import extract
from neuroenc.features.objects import Detector
from tests.features.test_language import CONFIGS, make_folder

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def detector():
    return Detector("random:3", "cpu", 64)


def test_boxes_and_features_of_a_picture(detector):
    features, boxes = detector(RNG.integers(0, 255, (80, 120, 3), np.uint8))
    assert features.shape == (36, 2048) and boxes.shape == (36, 4)
    assert (boxes >= 0).all() and (boxes <= 1).all() and (boxes[:, 2:] >= boxes[:, :2]).all()
    assert np.isfinite(features).all() and features.std(0).max() > 0


def test_features_of_the_whole_picture_are_the_mean_of_the_last_stage(detector, monkeypatch):
    """Where nothing is found the rest is the whole picture, whose features an average pooling gives too."""
    monkeypatch.setattr(detector.module.roi_heads, "score_thresh", 1.0)
    pixels = np.full((64, 64, 3), 120, np.uint8)
    pixels[:32] = 30
    features, boxes = detector(pixels)
    np.testing.assert_array_equal(boxes, np.tile([0, 0, 1, 1], (36, 1)).astype("f4"))
    assert (features == features[0]).all()
    last = detector._last[0].mean((1, 2)).numpy()
    assert np.corrcoef(features[0], last)[0, 1] > 0.9


def test_the_seed_makes_the_twin(detector):
    pixels = RNG.integers(0, 255, (64, 64, 3), np.uint8)
    again, other = Detector("random:3", "cpu", 64)(pixels), Detector("random:4", "cpu", 64)(pixels)
    np.testing.assert_array_equal(again[0], detector(pixels)[0])
    assert not np.array_equal(other[0], again[0])


def test_a_checkpoint_is_the_network_it_was_saved_from(detector, tmp_path):
    torch.save(detector.module.state_dict(), tmp_path / "w.pth")
    pixels = RNG.integers(0, 255, (64, 64, 3), np.uint8)
    found = Detector(str(tmp_path / "w.pth"), "cpu", 64)
    np.testing.assert_array_equal(found(pixels)[0], detector(pixels)[0])
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="does not fit"):
        Detector(str(tmp_path / "other.pth"), "cpu", 64)


def test_visualbert_and_lxmert_read_what_is_written(tmp_path, monkeypatch, run):
    monkeypatch.setenv("NEUROENC_WEIGHTS", str(tmp_path / "none"))
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file["picture"] = RNG.integers(0, 255, (2, 64, 64, 3), np.uint8)
    ids = np.array(["x", "ÿ"])
    stimuli = make_stimuli(
        {"stimulus_id": ids, "pixel_index": np.arange(2), "split": np.full(2, "train"), "group": ids},
        attrs={"dataset": "toy", "pixels": f"{tmp_path}/p.h5#picture"},
        captions=np.array([["a house"], ["a cat"]]),
    )
    save(stimuli, tmp_path / "s.nc")
    common = ("features", "objects", "--stimuli", tmp_path / "s.nc", "--out", tmp_path / "o.h5")
    status, _, error = run(*common)
    assert status == 2 and "neuroenc weights fetch faster-rcnn" in error and not (tmp_path / "o.h5").exists()
    assert run(*common, "--weights", "random:0", "--side", 64, "--device", "cpu")[0] == 0
    with h5py.File(tmp_path / "o.h5") as file:
        assert file["features"].shape == (2, 36, 2048) and file["stimulus_id"][1].decode() == "ÿ"
    options, *rest = CONFIGS["lxmert"]
    monkeypatch.setitem(CONFIGS, "lxmert", (options | {"visual_feat_dim": 2048}, *rest))
    make_folder(tmp_path / "lxmert", "lxmert")
    model = Model(
        extractor="transformers", network=str(tmp_path / "lxmert"), layers=["encoder.x_layers.0"],
        regions=str(tmp_path / "o.h5"),
    )  # fmt: skip
    extract(stimuli, model, tmp_path / "f.nc", workers=0)
    assert load(tmp_path / "f.nc", "features")["feature"].shape == (2, 16)
    assert registry.name_of(registry.DETECTOR) == "faster-rcnn"
