import hashlib

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import scipy.io
import xarray as xr

from neuroenc.simulation import cortex
from neuroenc.simulation.simulate import simulate
from tests.conftest import SMALL

BETAS = "nsddata_betas/ppdata/subj01/{}/betas_fithrf_GLMdenoise_RR"


def hashes(root):
    files = sorted(p for p in root.rglob("*") if p.is_file() and p.suffix not in (".mat", ".nc"))
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_deterministic_in_its_seed(tree, tmp_path):
    simulate(tmp_path / "same", SMALL)
    simulate(tmp_path / "other", SMALL.model_copy(update={"seed": 6}))
    assert hashes(tmp_path / "same") == hashes(tree)
    a, b = (xr.load_dataset(r / "truth/sub-01.nc") for r in (tree, tmp_path / "same"))
    assert a.identical(b)
    other = hashes(tmp_path / "other")
    assert all(h != other[k] for k, h in hashes(tree).items() if "betas_session" in k and k in other)


def test_layout_is_nsds(tree):
    design = scipy.io.loadmat(tree / "nsddata/experiments/nsd/nsd_expdesign.mat")
    assert design["masterordering"].shape == (1, 180)
    assert design["subjectim"].shape == (2, 140)
    assert design["subjectim"].min() == 1  # ids count from one here
    table = pd.read_csv(tree / "nsddata/experiments/nsd/nsd_stim_info_merged.csv", index_col=0)
    assert table["nsdId"].min() == 0  # and from zero here
    assert set(np.flatnonzero(table["shared1000"]) + 1) == set(design["sharedix"].ravel())
    # the trial a row names shows that row's picture
    trial = table["subject1_rep0"].to_numpy()
    picture = design["subjectim"][0][design["masterordering"][0] - 1] - 1
    seen = trial > 0
    np.testing.assert_array_equal(picture[trial[seen] - 1], table["nsdId"].to_numpy()[seen])
    image = nib.load(tree / BETAS.format("func1pt8mm") / "betas_session01.nii.gz")
    assert image.get_data_dtype() == np.int16
    roi = nib.load(tree / "nsddata/ppdata/subj01/func1pt8mm/roi/floc-faces.nii.gz").get_fdata()
    assert set(np.unique(roi)) == {-1, 0, 1, 2}
    assert np.isnan(nib.load(tree / BETAS.format("func1pt8mm") / "ncsnr.nii.gz").get_fdata()).any()
    surface = nib.load(tree / BETAS.format("fsaverage") / "lh.betas_session01.mgh")
    assert surface.shape == (10242, 1, 1, 60) and surface.get_data_dtype().kind == "f"


def test_subjects_differ_in_voxels_and_sessions(tree):
    one, two = (xr.load_dataset(tree / f"truth/sub-{s}.nc") for s in ("01", "02"))
    assert one.sizes["neuroid"] > two.sizes["neuroid"]
    assert len(list((tree / BETAS.format("func1pt8mm")).glob("*.hdf5"))) == 3
    assert len(list((tree / BETAS.format("func1pt8mm").replace("subj01", "subj02")).glob("*.hdf5"))) == 2


def test_truth_has_signal_where_it_should(tree):
    truth = xr.load_dataset(tree / "truth/sub-01.nc")
    silent = truth["silent"].values
    assert (truth["signal"].values[:, silent] == 0).all()
    np.testing.assert_allclose(truth["signal"].values[:, ~silent].std(0), 1, rtol=1e-4)
    assert (truth["ncsnr"].values[silent] == 0).all()
    driven = truth["ncsnr"].values[~silent]
    assert np.median(driven) == pytest.approx(SMALL.ncsnr, rel=0.15)
    preferred, area = truth["preferred"].values, truth["area"].values
    assert set(preferred[(area == "PPA") & ~silent]) == {"place"}
    assert set(preferred[(area == "LO") & ~silent]) <= {"food", "animal", "vehicle", "tool"}
    assert {"V1v", "V1d", "hV4", "FFA", "PPA", "EBA", "VWFA", "TPJ"} <= set(truth["area"].values)


def test_receptive_field_is_where_it_says():
    """Energy of a picture that has contrast in one place only is seen by the field there."""
    picture = np.full((1, 128, 128, 3), 128, np.uint8)
    rng = np.random.default_rng(0)
    # right of fixation by a quarter of the width, above it by a quarter of the height
    picture[0, 24:40, 88:104] = rng.integers(0, 255, (16, 16, 1))
    energy = cortex.oriented_energy(picture)
    degrees = cortex.DEGREES / 4
    fields = np.array([[x, y, 0.5] for x in (-degrees, degrees) for y in (-degrees, degrees)])
    pooled = cortex.pooled_energy(energy, fields)[:, 0].sum(1)
    assert pooled.argmax() == 3  # right and up
    assert pooled[3] > 5 * np.delete(pooled, 3).max()


def test_orientation_of_a_grating_is_found():
    x = np.arange(128)
    for k, (fx, fy) in enumerate([(1, 0), (1, 1), (0, 1), (-1, 1)]):
        phase = 2 * np.pi * (fx * x[None, :] + fy * x[:, None]) / np.hypot(fx, fy) / 8
        grating = np.repeat((127 + 100 * np.sin(phase))[None, :, :, None], 3, 3).astype(np.uint8)
        energy = cortex.oriented_energy(grating)[0].mean((1, 2)).reshape(3, 4)
        assert np.unravel_index(energy.argmax(), energy.shape) == (1, k)


def test_category_areas_pool_over_place(tree):
    """Their response follows the size of the object, not where it stands."""
    truth = xr.load_dataset(tree / "truth/sub-01.nc")
    weights = truth["weight"].values[(truth["area"] == "FFA").values]
    assert (np.nanargmax(weights, axis=1) == 0).all()  # faces
    assert np.isnan(truth["field"].values[(truth["area"] == "FFA").values]).all()
    fields = truth["field"].values[(truth["area"] == "V1d").values]
    assert (fields[:, 1] < 0.05).all()  # dorsal V1 sees the lower field
