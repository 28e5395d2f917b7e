import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from neuroenc.cli import app
from neuroenc.config import Dataset
from neuroenc.datasets import custom
from neuroenc.datasets.init import init
from neuroenc.errors import InputError

RNG = np.random.default_rng(0)
SHAPE, N = (4, 3, 2), 8
IDS = [f"bild-ä{i}" for i in range(4)]


@pytest.fixture
def folder(tmp_path):
    """Tables and pictures; responses are added by each test."""
    root = tmp_path / "Mein Versuch: 1"
    (root / "bilder").mkdir(parents=True)
    for i in IDS:
        Image.fromarray(RNG.integers(0, 255, (8, 8, 3), np.uint8)).save(root / f"bilder/{i}.png")
    pd.DataFrame({"stimulus_id": IDS, "file": [f"{i}.png" for i in IDS]}).to_csv(
        root / "stimuli.csv", index=False
    )
    pd.DataFrame({"stimulus_id": IDS * 2, "session": 1}).to_csv(root / "trials.csv", index=False)
    return root


def nifti(path, data):
    nib.save(nib.Nifti1Image(data, np.diag([2.0, 2, 2, 1])), path)


def volumes(root, subject="01"):
    data = RNG.standard_normal((*SHAPE, N)).astype("f4")
    mask = np.zeros(SHAPE, "u1")
    mask[1:3] = 1
    region = np.zeros(SHAPE, "u1")
    region[1, 1, 1] = 1
    nifti(root / f"sub-{subject}_betas.nii.gz", data)
    nifti(root / f"sub-{subject}_brainmask.nii.gz", mask)
    nifti(root / f"sub-{subject}_V1.nii.gz", region)
    return data, mask > 0


def read(root, subject):
    return custom.load_responses(Dataset(name="custom", root=str(root)), subject)


def test_volumes_with_mask_and_region(folder):
    made = {s: volumes(folder, s) for s in ("01", "02")}
    done = CliRunner().invoke(app, ["data", "init", str(folder)])
    assert done.exit_code == 0, done.output
    text = (folder / "dataset.yaml").read_text(encoding="utf-8")
    assert done.output == text and "# 4 of them" in text and "# 12 voxels" in text
    assert yaml.safe_load(text)["name"] == "Mein Versuch: 1"
    for subject, (data, mask) in made.items():
        found = read(folder, subject)
        np.testing.assert_array_equal(found["response"].values, data[mask].T)
        assert found["roi_V1"].values.sum() == 1
    stimuli = custom.load_stimuli(Dataset(name="custom", root=str(folder)), ["01"])
    assert stimuli["file"].values.tolist() == [f"{i}.png" for i in IDS]


def test_an_array_and_the_mask_its_columns_are(folder):
    data, mask = volumes(folder)
    (folder / "sub-01_betas.nii.gz").unlink()
    np.save(folder / "sub-01_betas.npy", data[mask].T)
    init(folder)
    found = read(folder, "01")
    np.testing.assert_array_equal(found["response"].values, data[mask].T)
    assert found["roi_V1"].values.sum() == 1 and found["x"].values.min() == 1


def test_hdf5_hemispheres_and_neuroids(folder, tmp_path):
    flat = RNG.standard_normal((N, 5)).astype("f4")
    with h5py.File(folder / "all.h5", "w") as file:
        file["deep/betas"] = flat
        file["pictures"] = RNG.integers(0, 255, (4, 8, 8, 3), np.uint8)
        file["other"] = np.zeros(3)
    pd.DataFrame({"neuroid_id": list("abcde"), "x": 0, "y": 0, "z": 0}).to_csv(
        folder / "units.csv", index=False
    )
    text = init(folder)
    assert 'responses: "all.h5#deep/betas" # shape (8, 5)' in text and "as well: all.h5#pictures" in text
    assert read(folder, "01")["neuroid_id"].values.tolist() == [f"01_{c}" for c in "abcde"]
    (folder / "dataset.yaml").unlink()
    (folder / "all.h5").unlink()
    for side, values in (("lh", flat), ("rh", flat + 1)):
        arrays = [nib.gifti.GiftiDataArray(v, datatype="NIFTI_TYPE_FLOAT32") for v in values]
        nib.save(nib.gifti.GiftiImage(darrays=arrays), folder / f"{side}.betas.func.gii")
    assert 'responses: {left: "lh.betas.func.gii", right: "rh.betas.func.gii"}' in init(folder)
    assert read(folder, "01")["hemisphere"].values.tolist() == ["L"] * 5 + ["R"] * 5


def test_time_bins_are_asked_for_not_guessed(folder):
    np.save(folder / "epochs.npy", np.zeros((N, 3, 4)))
    assert "# time: {start: -0.2, width: 0.01}" in init(folder)
    with pytest.raises(InputError, match=r"`time` .start, width. belongs to"):
        read(folder, "01")


def test_what_is_there_is_never_written_over(folder):
    (folder / "dataset.yaml").write_text("mine")
    with pytest.raises(InputError, match="is there already and is left as it is"):
        init(folder)
    assert (folder / "dataset.yaml").read_text() == "mine"


def test_what_is_lacking_is_said_and_nothing_is_written(folder):
    np.save(folder / "betas.npy", np.zeros((N - 1, 3)))
    with pytest.raises(InputError, match=r"trials.csv \(8 rows\); betas.npy \(7, 3\)"):
        init(folder)
    (folder / "stimuli.csv").rename(folder.parent / "stimuli.csv")
    np.save(folder / "betas.npy", np.zeros((N, 3)))
    with pytest.raises(InputError, match=r"No table in .* lists the stimuli"):
        init(folder)
    (folder / "trials.csv").unlink()
    with pytest.raises(InputError, match=r"No table in .* says what was presented"):
        init(folder)
    np.save(folder / "betas.npy", np.array([{"a": 1}]))
    with pytest.raises(InputError, match=r"Cannot read .*betas.npy"):
        init(folder)
    assert not (folder / "dataset.yaml").exists()
