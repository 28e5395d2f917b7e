"""NSD-synthetic and NSD-imagery: test sets in NSD's tree."""

import shutil

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import scipy.io
import xarray as xr
from layouts import nsd_sessions as layout

from neuroenc import datasets, splits
from neuroenc.arrays import average_repeats, load, save
from neuroenc.config import Config, Dataset, Model, Ridge, Split, parse
from neuroenc.datasets.pixels import read_pixels
from neuroenc.errors import InputError

REGIONS = ["prf-visualrois", "floc-faces"]
BETAS = "nsddata_betas/ppdata/subj01/func1pt8mm"
DESIGN, STIMULI = "nsddata/experiments/nsdsynthetic", "nsddata_stimuli/stimuli/nsdsynthetic"


def opened(root, name, **changes):
    return Dataset(**{"name": name, "root": str(root), "regions": REGIONS} | changes)


@pytest.fixture(scope="module")
def nsd(tree, tmp_path_factory):
    """NSD's tree without the betas of its surface, which are read in one test alone."""
    root = tmp_path_factory.mktemp("sessions") / "tree"
    shutil.copytree(tree, root)
    return root


@pytest.fixture(scope="module")
def told(nsd):
    """NSD-synthetic whose first 140 pictures are those of NSD; their responses are the true signals."""
    truth = xr.load_dataset(nsd / "truth/sub-01.nc")
    number = np.array([int(s[4:]) for s in truth["stimulus_id"].values])
    with h5py.File(nsd / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5") as file:
        seen = file["imgBrick"][:][number]
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, (220, *seen.shape[1:]), np.uint8)
    pictures[: len(seen)] = seen
    order = rng.permutation(np.concatenate([np.arange(284), np.arange(284), np.arange(176)]))
    ijk = np.array([n.partition("_")[2].split("-") for n in truth["neuroid_id"].values], int)
    shape = nib.load(nsd / f"{BETAS}/{layout.PREPARATION}/ncsnr.nii.gz").shape
    percent = np.zeros((744, *shape), np.float32)
    known = order < len(seen)
    i, j, k = ijk.T
    signal = np.zeros((744, len(ijk)), np.float32)
    signal[known] = truth["signal"].values[order[known]]
    percent[:, i, j, k] = signal + rng.normal(0, 0.3, signal.shape)
    layout.synthetic(nsd, pictures, rng.integers(0, 255, (64, *seen.shape[1:]), np.uint8), percent, order)
    return pictures, percent, order


@pytest.fixture
def broken(nsd, told, tmp_path):
    shutil.copytree(nsd, tmp_path / "tree", ignore=shutil.ignore_patterns("betas_session*"))
    source, target = (r / BETAS / layout.PREPARATION for r in (nsd, tmp_path / "tree"))
    shutil.copy(source / "betas_session01.hdf5", target)
    return tmp_path / "tree"


def test_synthetic_has_the_voxels_of_nsd(nsd, told, tmp_path):
    _, percent, order = told
    core = datasets.module(opened(nsd, "nsd")).load_responses(opened(nsd, "nsd"), "01")
    options = opened(nsd, "nsd_synthetic")
    found = datasets.module(options).load_responses(options, "01")
    for key in ("neuroid_id", "hemisphere", "x", "roi_V1", "roi_FFA", "surface_L"):
        np.testing.assert_array_equal(found[key].values, core[key].values)
    i, j, k = (found[a].values.astype(int) for a in "xyz")
    written = np.round(percent[:, i, j, k] * 300) / 300
    np.testing.assert_allclose(
        found["response"].values, (written - written.mean(0)) / written.std(0), atol=1e-4
    )
    assert found["stimulus_id"].values[0] == f"nsdsynthetic-{order[0]:03d}" + (
        "-subj01" if order[0] >= 220 else ""
    )
    assert found["run"].values[[0, 92, 93, -1]].tolist() == [1, 1, 2, 8]
    assert np.isnan(found["ncsnr"].values).all() and found["repetition"].values.max() == 2
    save(found, tmp_path / "r.nc")
    assert load(tmp_path / "r.nc", "responses").identical(found)


def test_both_spaces_give_the_same(nsd, told):
    options = opened(nsd, "nsd_synthetic")
    volume = datasets.module(options).load_responses(options, "01")
    options = opened(nsd, "nsd_synthetic", space="fsaverage")
    surface = datasets.module(options).load_responses(options, "01")
    for side in "LR":
        here = surface["hemisphere"].values == side
        voxel = volume[f"surface_{side}"].values[surface["vertex"].values[here]]
        np.testing.assert_allclose(
            surface["response"].values[:, here], volume["response"].values[:, voxel], atol=2e-4
        )


def test_pictures_are_squares_as_the_screen_showed_them(nsd, told):
    pictures, _, _ = told
    options = opened(nsd, "nsd_synthetic")
    stimuli = datasets.module(options).load_stimuli(options, ["01"])
    assert stimuli.sizes["stimulus"] == 284 and (stimuli["split"].values == "test").all()
    assert dict(zip(stimuli["category_name"].values, stimuli["category"].values.sum(0), strict=True)) == {
        "Chromatic noise": 64, "Noise": 220,
    }  # fmt: skip
    read = np.stack(read_pixels(stimuli, np.array([3, 250, 0, 3])))
    assert read.shape == (4, *pictures.shape[1:])
    bright = pictures[3] > 60  # the dark ones lose steps in linear light
    assert np.abs(read[0].astype(int) - pictures[3])[bright].max() <= 2
    np.testing.assert_array_equal(read[0], read[3])
    assert (read[1] != read[0]).any()


def test_an_encoder_fitted_on_nsd_predicts_it(nsd, told, tmp_path):
    from neuroenc.encoders import encode
    from neuroenc.encoders.store import predict_fits, save_fits
    from neuroenc.features.extract import extract

    core, options = opened(nsd, "nsd"), opened(nsd, "nsd_synthetic")
    features = {}
    for o in (core, options):
        stimuli = datasets.module(o).load_stimuli(o, ["01"])
        extract(stimuli, Model(extractor="gabor"), tmp_path / f"{o.name}.nc")
        features[o.name] = load(tmp_path / f"{o.name}.nc", "features")
    shown = datasets.module(core).load_stimuli(core, ["01"])
    responses = datasets.module(core).load_responses(core, "01")
    predictions, fits = encode(responses, features["nsd"], splits.make(shown, Split(n_inner=3)), Ridge())
    path = tmp_path / "w.safetensors"
    save_fits(fits, features["nsd"].attrs, responses["neuroid_id"].values, path, predictions.attrs["queries"])
    predicted = predict_fits(path, features["nsd_synthetic"], 0)
    found = datasets.module(options).load_responses(options, "01")
    np.testing.assert_array_equal(predicted["neuroid_id"].values, found["neuroid_id"].values)
    ids, mean = average_repeats(found)
    known = [i for i, name in enumerate(ids) if int(name[13:16]) < 140]
    place = {s: i for i, s in enumerate(predicted["stimulus_id"].values)}
    made = predicted.values[[place[ids[i]] for i in known]]
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(made.T, mean[known].T, strict=True)]
    early = found["roi_V1"].values
    assert np.nanmean(np.array(r)[early]) > 0.5
    wrong = [np.corrcoef(a, b)[0, 1] for a, b in zip(np.roll(made, 1, 0).T, mean[known].T, strict=True)]
    assert np.nanmean(np.array(wrong)[early]) < 0.2


def test_check_of_synthetic(broken, run):
    arguments = (
        "data",
        "check",
        "--options",
        '{"name": "nsd_synthetic"}',
        "--root",
        broken,
        "--subject",
        "01",
    )
    status, out, _ = run(*arguments)
    assert (
        status == 0 and "400 neuroids, 220 pictures of everyone, 64 pictures of a subject, 744 trials" in out
    )
    (broken / STIMULI / "nsdsynthetic_colorstimuli_subj01.hdf5").unlink()
    status, _, err = run(*arguments)
    assert status == 2 and "File not found" in err and len(err.strip().splitlines()) == 1


def cut(path, n, key="betas"):
    with h5py.File(path) as file:
        data = file[key][:n]
    with h5py.File(path, "w") as file:
        file[key] = data


def reordered(path, order):
    scipy.io.savemat(path, {"masterordering": np.asarray(order)[None]})


BROKEN = [
    (f"{BETAS}/nsdsynthetic{layout.PREPARATION}/betas_nsdsynthetic.hdf5", lambda p: cut(p, 743),
     "holds 743 trials, the design 744"),
    (f"{BETAS}/nsdsynthetic{layout.PREPARATION}/betas_nsdsynthetic.hdf5", lambda p: p.unlink(),
     r"File not found.*betas_nsdsynthetic\.nii\.gz"),
    (f"{DESIGN}/nsdsynthetic_expdesign.mat", lambda p: reordered(p, np.ones(93)), "has 93 trials of pictures 1 to 1"),
    (f"{DESIGN}/nsdsynthetic_expdesign.mat", lambda p: reordered(p, np.full(744, 285)), "expected 744 of pictures 1"),
    (f"{DESIGN}/nsdsynthetic_expdesign.mat", lambda p: p.write_bytes(b"no"), "Cannot read the design in"),
    (f"{DESIGN}/nsdsynthetic_expdesign.mat", lambda p: reordered(p, np.full(744, np.nan)), "masterordering: a number is missing"),
    (f"{STIMULI}/nsdsynthetic_stimuli.hdf5", lambda p: cut(p, 200, "imgBrick"), "has 200 pictures, expected 220"),
    (f"{DESIGN}/nsdsyntheticimageinformation.csv", lambda p: p.write_text("Image class\nNoise\n"), "has 1 rows, expected 284"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "breaks", "message"), BROKEN)
def test_bad_synthetic_is_one_line(broken, name, breaks, message):
    breaks(broken / name)
    options = opened(broken, "nsd_synthetic")
    with pytest.raises(InputError, match=message) as caught:
        datasets.module(options).check_tree(options, ["01"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("order", [layout.ORDER, tuple(
    {"vis": f"img{r[3]}_1", "img": f"vis{r[3]}"}.get(r[:3], r) if not r.endswith("_2") else r for r in layout.ORDER
)])  # fmt: skip
def test_imagery_finds_its_runs_in_the_design(broken, tmp_path, order):
    shape = nib.load(broken / f"{BETAS}/{layout.PREPARATION}/ncsnr.nii.gz").shape
    number = np.arange(720, dtype=np.float32)
    percent = np.broadcast_to(number[:, None, None, None] / 50, (720, *shape))
    cues = layout.imagery(broken, percent, order=order, surface=False)
    scaled = (number - number.mean()) / number.std()
    for task, n, per_run in (
        ("vision", 12, 1),
        ("imagery", 12, 2),
        ("vision_concepts", 6, 1),
        ("imagery_concepts", 6, 2),
    ):
        options = opened(broken, "nsd_imagery", task=task)
        found = datasets.module(options).load_responses(options, "01")
        stimuli = datasets.module(options).load_stimuli(options, ["01"])
        assert set(found["stimulus_id"].values) == set(stimuli["stimulus_id"].values)
        assert stimuli.sizes["stimulus"] == n and found["repetition"].values.max() == 8 * per_run - 1
        beta = np.round(np.interp(found["response"].values[:, 0], scaled, number)).astype(int)
        assert [s[-1] for s in found["stimulus_id"].values] == cues[beta].tolist()
        runs = [order[r - 1] for r in found["run"].values]
        assert {r[:3] for r in runs} == {{"vis": "vis", "ima": "img"}[task[:3]]}
    assert stimuli["caption"].values.ravel().tolist() == list(layout.CUES["C"].values())
    save(found, tmp_path / "r.nc")


@pytest.fixture
def imagined(broken):
    shape = nib.load(broken / f"{BETAS}/{layout.PREPARATION}/ncsnr.nii.gz").shape
    layout.imagery(broken, np.random.default_rng(0).normal(size=(720, *shape)), surface=False)
    return broken


def shuffled(path):
    table = pd.read_csv(path, sep="\t")
    table["CONDITION"] = table["CONDITION"].to_numpy()[::-1]
    table.to_csv(path, sep="\t", index=False)


def named(path):
    table = pd.read_csv(path, sep="\t")
    table.loc[5, "CONDITION"] = "Q"
    table.to_csv(path, sep="\t", index=False)


EXPERIMENT, BEHAVIOUR = "nsddata/experiments/nsdimagery", "nsddata/bdata/nsdimagery"
IMAGINED = [
    (f"{BEHAVIOUR}/nsdimagery_subj01_visB.tsv", shuffled, "The trials of visB fit 0 runs"),
    (f"{BEHAVIOUR}/nsdimagery_subj01_visB.tsv", named, "visB of subj01 have the condition 'Q'"),
    (f"{BEHAVIOUR}/nsdimagery_subj01_visB.tsv",
     lambda p: p.write_text("\n".join(p.read_text().splitlines()[:40])), "has 39 trials, expected 48"),
    (f"{BEHAVIOUR}/nsdimagery_subj01_visA.tsv", lambda p: p.unlink(), "File not found"),
    (f"{EXPERIMENT}/A_pair_list.mat", lambda p: p.write_bytes(b""), "Cannot read the targets"),
    (f"{EXPERIMENT}/designmatrixGLMsingle.mat", lambda p: scipy.io.savemat(p, {"stimulus": np.eye(3)}),
     "expected 12 of 720"),
    (f"{EXPERIMENT}/rawtargetimages/setB/shared0000_nsd00000.png", lambda p: p.unlink(), "1 of 12 pictures"),
    (f"{BETAS}/nsdimagery{layout.PREPARATION}/betas_nsdimagery.hdf5", lambda p: cut(p, 700), "holds 700 trials"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "breaks", "message"), IMAGINED)
def test_bad_imagery_is_one_line(imagined, name, breaks, message):
    options = opened(imagined, "nsd_imagery")
    assert "96 trials of 12 targets (vision)" in datasets.module(options).check_tree(options, ["01"])[0]
    breaks(imagined / name)
    with pytest.raises(InputError, match=message) as caught:
        datasets.module(options).check_tree(options, ["01"])
    assert "\n" not in str(caught.value)


def test_a_test_set_alone_is_not_split(nsd, told):
    from neuroenc.checks import check

    options = opened(nsd, "nsd_synthetic")
    stimuli = datasets.module(options).load_stimuli(options, ["01"])
    with pytest.raises(InputError, match="names no training stimuli"):
        splits.make(stimuli, Split())
    config = {"label": "x", "dataset": {"name": "nsd_synthetic", "root": str(nsd)}, "subjects": ["01"],
              "models": {"gabor": {"extractor": "gabor"}}}  # fmt: skip
    with pytest.raises(InputError, match="is a test set of encoders fitted to nsd"):
        check(parse(Config, config, source="x"))
