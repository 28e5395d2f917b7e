import json
import shutil

import h5py
import nibabel as nib
import numpy as np
import pytest
import xarray as xr

from neuroenc import datasets
from neuroenc.config import Dataset
from neuroenc.datasets import nsd
from neuroenc.errors import InputError
from tests.conftest import REGIONS

BETAS = "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"
ROI = "nsddata/ppdata/subj01/func1pt8mm/roi"


def load(root, subject="01", **changes):
    options = Dataset(**{"name": "nsd", "root": str(root), "regions": REGIONS} | changes)
    return datasets.module(options).load_responses(options, subject)


@pytest.fixture
def broken(tree, tmp_path):
    """A copy of the tree to break."""
    shutil.copytree(tree, tmp_path / "tree")
    return tmp_path / "tree"


@pytest.fixture(scope="module")
def responses(tree):
    return load(tree)


def test_hdf5_and_nifti_give_the_same(broken, responses):
    for path in (broken / BETAS).glob("*.hdf5"):
        path.unlink()
    np.testing.assert_array_equal(load(broken)["response"].values, responses["response"].values)


def test_an_atlas_that_was_reoriented_is_refused(broken):
    """Of the same grid, it would name the voxels of the other hemisphere."""
    path = broken / ROI / "nsdgeneral.nii.gz"
    image = nib.load(path)
    turned = image.as_reoriented([[0, -1], [1, 1], [2, 1]])
    assert turned.shape == image.shape
    turned.to_filename(path)
    with pytest.raises(InputError, match=r"The axes of .*nsdgeneral.nii.gz run to L.*Was it reoriented"):
        load(broken)


def test_surface_and_volume_give_the_same(tree, responses):
    surface = load(tree, space="fsaverage")
    for side in "LR":
        here = surface["hemisphere"].values == side
        voxel = responses[f"surface_{side}"].values[surface["vertex"].values[here]]
        np.testing.assert_allclose(
            surface["response"].values[:, here], responses["response"].values[:, voxel], atol=2e-5
        )
        np.testing.assert_array_equal(surface["roi_FFA"].values[here], responses["roi_FFA"].values[voxel])


def test_loaded_responses_are_the_simulated_ones(tree, responses):
    """Scaling, axes, masks, order of trials: all must be right for this to hold."""
    truth = xr.load_dataset(tree / "truth/sub-01.nc")
    place = {n: i for i, n in enumerate(truth["neuroid_id"].values)}
    order = [place[n] for n in responses["neuroid_id"].values]
    picture = {s: i for i, s in enumerate(truth["stimulus_id"].values)}
    rows = [picture[s] for s in responses["stimulus_id"].values]
    signal, ncsnr = truth["signal"].values[rows][:, order], truth["ncsnr"].values[order]
    strong = ncsnr > 0.9
    measured = responses["response"].values[:, strong]
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(measured.T, signal[:, strong].T, strict=True)]
    # a single trial correlates with the signal by sqrt(ncsnr² / (ncsnr² + 1))
    expected = np.sqrt(ncsnr[strong] ** 2 / (ncsnr[strong] ** 2 + 1))
    assert np.mean(np.array(r) / expected) == pytest.approx(1, abs=0.05)
    area = truth["area"].values[order]
    np.testing.assert_array_equal(responses["roi_V1"].values, np.isin(area, ["V1v", "V1d"]))
    np.testing.assert_array_equal(responses["roi_PPA"].values, area == "PPA")


def test_scaled_within_session_by_training_trials_only(responses):
    training = responses["split"].values == "train"
    for session in np.unique(responses["session"].values):
        rows = (responses["session"].values == session) & training
        values = responses["response"].values[rows]
        np.testing.assert_allclose(values.mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(values.std(0), 1, atol=1e-4)


def test_betas_are_percent_times_300(tree):
    from neuroenc.datasets.nsd_spaces import Volume

    reader = Volume(tree, "01", tree / BETAS)
    mask = reader.mask("nsdgeneral")
    values, _ = reader.betas(1, mask)
    raw = np.asarray(nib.load(tree / BETAS / "betas_session01.nii.gz").dataobj)
    np.testing.assert_array_equal(values, (raw[mask].T / np.float32(300)).astype(np.float32))


def test_masks_and_regions(tree, responses):
    roi = nib.load(tree / ROI / "nsdgeneral.nii.gz").get_fdata()
    assert responses.sizes["neuroid"] == (roi > 0).sum() == 400
    assert load(tree, mask="brain").sizes["neuroid"] == (roi >= 0).sum() > 400
    faces = load(tree, mask="floc-faces")
    assert (faces["roi_OFA"] | faces["roi_FFA"]).all()


def test_ncsnr_keeps_its_holes_and_missing_sessions_are_missing(tree, responses):
    assert np.isnan(responses["ncsnr"].values).any()
    two = load(tree, "02")
    assert set(two["session"].values) == {"01", "02"}
    assert load(tree, sessions=1).sizes["presentation"] == 60
    shared = responses["split"].values == "test"
    assert responses["repetition"].values[shared].max() == 2
    assert responses["repetition"].values[~shared].max() == 0


def test_a_session_missing_in_the_middle_keeps_the_trials_right(broken, responses):
    for path in (broken / BETAS).glob("betas_session02.*"):
        path.unlink()
    found = load(broken)
    kept = responses["session"].values != "02"
    np.testing.assert_array_equal(found["stimulus_id"].values, responses["stimulus_id"].values[kept])
    np.testing.assert_array_equal(found["response"].values, responses["response"].values[kept])


def test_stimuli_carry_captions_and_categories(nsd_options, tree):
    stimuli = datasets.module(nsd_options).load_stimuli(nsd_options, ["01", "02"])
    assert stimuli.sizes["stimulus"] == 260
    assert stimuli["caption"].shape == (260, 5)
    assert stimuli["category"].values.max() < 0.6
    assert (stimuli["category"].values.sum(1) > 0).all()
    one = datasets.module(nsd_options).load_stimuli(nsd_options, ["01"])
    assert one.sizes["stimulus"] == 140


def test_constant_voxel_is_kept_as_nan(broken):
    path = broken / BETAS / "betas_session01.hdf5"
    with h5py.File(path, "r+") as file:
        mask = nib.load(broken / ROI / "nsdgeneral.nii.gz").get_fdata() > 0
        i, j, k = np.argwhere(mask)[7]
        file["betas"][:, k, j, i] = 12
    found = load(broken)
    assert found.sizes["neuroid"] == 400
    assert np.isnan(found["response"].values[:60, 7]).all()
    assert np.isfinite(found["response"].values[60:, 7]).all()


def test_pictures_that_do_not_cover_the_table_are_one_line(broken, nsd_options):
    options = nsd_options.model_copy(update={"root": str(broken)})
    path = broken / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
    with h5py.File(path) as file:
        pictures = file["imgBrick"][:]
    for shown, message in ((pictures[:100], "has 100 pictures, the table names number"),
                           (pictures / 255, "holds float64 of shape")):  # fmt: skip
        with h5py.File(path, "w") as file:
            file["imgBrick"] = shown
        with pytest.raises(InputError, match=message):
            datasets.module(options).load_stimuli(options, ["01"])
    path.unlink()  # networks of text need none
    assert datasets.module(options).load_stimuli(options, ["01"]).sizes["stimulus"] == 140


def rewrite(path, change):
    image = nib.load(path)
    nib.save(change(np.asarray(image.dataobj), image.affine), path)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def swap_axes(path):
    with h5py.File(path) as file:
        data = file["betas"][:].transpose(0, 3, 2, 1)
    with h5py.File(path, "w") as file:
        file["betas"] = data


def as_float(path):
    with h5py.File(path) as file:
        data = file["betas"][:] / 300
    with h5py.File(path, "w") as file:
        file["betas"] = data


BROKEN = [
    (f"{BETAS}/betas_session02.hdf5", truncate, r"Cannot read .*session02\.hdf5: .*Fetch it again"),
    (f"{BETAS}/ncsnr.nii.gz", truncate, r"Cannot read .*ncsnr\.nii\.gz"),
    (f"{BETAS}/betas_session02.hdf5", swap_axes, r"has the axes \(60, .*expected \(trials, .* z, y, x"),
    (f"{BETAS}/betas_session02.hdf5", as_float, r"holds float64, expected int16"),
    (f"{ROI}/floc-faces.nii.gz",
     lambda p: rewrite(p, lambda d, a: nib.Nifti1Image(d[1:], a)), r"floc-faces.* grid .* betas"),
    ("nsddata/experiments/nsd/nsd_expdesign.mat", lambda p: p.unlink(), "File not found.*expdesign"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "breaks", "message"), BROKEN)
def test_bad_input_is_one_line_with_status_2(broken, run, tmp_path, name, breaks, message):
    import re

    breaks(broken / name)
    out = tmp_path / "out.nc"
    status, _, err = run(
        "data", "responses", "--options", '{"name": "nsd", "regions": ["floc-faces"]}', "--root", broken,
        "--subject", "01", "--out", out,
    )  # fmt: skip
    assert status == 2
    assert len(err.strip().splitlines()) == 1
    assert re.search(message, err)
    assert not out.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask": "nsdgenerall"}, "did you mean 'nsdgeneral'"),
        ({"regions": ["floc-face"]}, "did you mean 'floc-faces'"),
        ({"space": "func1mm"}, "'func1pt8mm', 'fsaverage'"),
        ({"preparation": "betas_fithrf"}, "did you mean 'betas_fithrf_GLMdenoise_RR'"),
        ({"root": "/nowhere"}, "File not found: /nowhere"),
    ],
)
def test_unknown_names_bring_the_nearest(tree, changes, message):
    with pytest.raises(InputError, match=message):
        load(changes.pop("root", tree), **changes)


def test_unknown_subject(tree):
    with pytest.raises(InputError, match=r"'subject': '1'. Allowed: '01', '02'"):
        load(tree, "1")


def test_check_names_the_first_thing_that_is_off(broken, nsd_options, run):
    options = '{"name": "nsd"}'
    status, out, _ = run("data", "check", "--options", options, "--root", broken, "--subject", "01")
    assert status == 0 and "subj01 voxels of nsdgeneral: 400" in out
    for path in (broken / BETAS).glob("betas_session03.*"):
        path.unlink()
    status, _, err = run("data", "check", "--options", options, "--root", broken, "--subject", "01")
    assert status == 2
    assert "subj01 sessions: found 2, expected 3" in err


@pytest.mark.parametrize(("space", "what"), [("func1pt8mm", "voxels"), ("fsaverage", "vertices")])
def test_check_compares_both_spaces_with_the_record(broken, space, what):
    options = Dataset(name="nsd", root=str(broken), space=space)
    lines = nsd.check_tree(options, ["01"])
    assert any(f"subj01 {what} of nsdgeneral" in line for line in lines) and len(lines) == 6
    record = json.loads((broken / "expected.json").read_text())
    kept = json.dumps(record)
    for key in (f"nsdgeneral_{what}", "median_ncsnr" + ("_surface" if what == "vertices" else "")):
        record = json.loads(kept)
        record["subjects"]["01"][key] += 0.002 if "ncsnr" in key else 1
        (broken / "expected.json").write_text(json.dumps(record))
        with pytest.raises(InputError, match=r"found .*, expected .* \(simulated NSD\)"):
            nsd.check_tree(options, ["01"])
