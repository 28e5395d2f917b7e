import pickle
import warnings

import h5py
import nibabel as nib
import numpy as np
import pytest
from layouts import glmsingle as layout

from neuroenc.arrays import load, save
from neuroenc.config import Dataset
from neuroenc.datasets import glmsingle
from neuroenc.errors import InputError, InputWarning

TEST = (4, 5)  # conditions


def options(root, **more):
    return Dataset(name="glmsingle", root=str(root), **({"mask": "brain"} | more))


def expected(betas, order, session):
    """Betas z-scored by the training trials of each session, voxel by voxel."""
    flat = betas.reshape(-1, betas.shape[-1]).astype(float)
    flat = flat[np.isfinite(flat).all(1)]
    out = np.empty((flat.shape[1], len(flat)))
    for name in np.unique(session):
        rows = session == name
        base = flat[:, rows & ~np.isin(order, TEST)]
        out[rows] = ((flat[:, rows] - base.mean(1, keepdims=True)) / base.std(1, keepdims=True)).T
    return out


@pytest.mark.parametrize("hdf5", [False, True], ids=["npy", "hdf5"])
def test_betas_of_either_kind_of_file(tmp_path, hdf5):
    order, betas = layout.build(tmp_path, hdf5=hdf5)
    found = glmsingle.load_responses(options(tmp_path, regions=["V1"]), "01")
    assert found["stimulus_id"].values.tolist() == [f"p{c}" for c in order]
    assert found["run"].values.tolist() == [1] * 12 + [2] * 12 + [3] * 12
    session = found["session"].values
    assert session.tolist() == ["1"] * 24 + ["2"] * 12
    np.testing.assert_allclose(found["response"].values, expected(betas, order, session), atol=1e-4)
    assert found.attrs["n_without_data"] == 1 and found.sizes["neuroid"] == 23
    assert found["neuroid_id"].values[0] == "01_0-0-1"
    inside = {tuple(int(found[a].values[i]) for a in "xyz") for i in np.flatnonzero(found["roi_V1"].values)}
    assert inside == {(1, 1, 0), (1, 2, 0)}
    at = tuple(int(found[a].values[5]) for a in "xyz")
    kept = glmsingle._fits(tmp_path, options(tmp_path), "01")[0]
    with glmsingle._output(kept) as output:
        for name in ("R2", "HRFindex", "FRACvalue", "noisepool"):
            assert found[name].values[5] == np.asarray(output[name])[at]
    assert found["repetition"].values.max() == 5 and found.attrs["normalised_on"] == "split=train"
    np.testing.assert_array_equal(found.attrs["affine"], layout.AFFINE.ravel())
    save(found, tmp_path / "r.nc")
    assert load(tmp_path / "r.nc", "responses").identical(found)


def test_the_type_is_the_best_there_or_the_one_asked_for(tmp_path):
    layout.build(tmp_path)
    read = {
        kind: glmsingle.load_responses(options(tmp_path, **({"preparation": kind} if kind else {})), "01")
        for kind in ("", "TYPEB", "TYPEC", "TYPED")
    }
    assert read[""].attrs["preparation"] == "TYPED_FITHRF_GLMDENOISE_RR" and read[""].equals(read["TYPED"])
    assert not np.allclose(read["TYPEC"]["response"], read["TYPED"]["response"], atol=0.1)
    assert "FRACvalue" not in read["TYPEC"] and "noisepool" not in read["TYPEB"]
    (tmp_path / "sub-01/TYPED_FITHRF_GLMDENOISE_RR.npy").unlink()
    assert glmsingle.load_responses(options(tmp_path), "01").equals(read["TYPEC"])
    with pytest.raises(InputError, match=r"sub-01 holds no TYPED_FITHRF_GLMDENOISE_RR \(.npy or .hdf5\)"):
        glmsingle.load_responses(options(tmp_path, preparation="TYPED"), "01")
    with pytest.raises(
        InputError, match=r"'dataset.preparation': 'typed'. Allowed: 'TYPED', 'TYPEC', 'TYPEB'"
    ):
        glmsingle.load_responses(options(tmp_path, preparation="typed"), "01")


def test_a_mask_keeps_its_voxels_and_stimuli_know_their_pictures(tmp_path):
    _order, _betas = layout.build(tmp_path, folder="")  # all in root
    found = glmsingle.load_responses(options(tmp_path, mask="brainmask"), "any")
    assert found.sizes["neuroid"] == 16 and found.attrs["n_without_data"] == 0
    assert (found["y"].values > 0).all()
    stimuli = glmsingle.load_stimuli(options(tmp_path), ["any"])
    assert stimuli["file"].values.tolist() == [f"bild-ä{c}.png" for c in range(6)]
    assert stimuli["split"].values.tolist() == ["train"] * 4 + ["test"] * 2
    lines = glmsingle.check_tree(options(tmp_path), ["any"])
    assert lines[-1].endswith("1 voxels of the mask 'brain' without data, dropped")
    assert "36 x 23 (presentations x neuroids)" in lines[1]


def test_events_say_what_was_shown(tmp_path):
    order, _betas = layout.build(tmp_path, events=True, table=False)
    found = glmsingle.load_responses(options(tmp_path), "01")
    assert found["stimulus_id"].values.tolist() == [f"bild-ä{c}.png" for c in order]
    assert "transductive" in found.attrs
    assert glmsingle.load_stimuli(options(tmp_path), ["01"])["file"].values[0] == "bild-ä0.png"
    events = tmp_path / "sub-01/sub-01_task-x_run-2_events.tsv"
    whole = events.read_text(encoding="utf-8")
    for text, message in (
        (
            "\n".join(whole.splitlines()[:-1]),
            "run-2_events.tsv has 11 trials with a stim_file, the design 12",
        ),
        (whole.replace(f"{2 * 6 + 0.3}\t", "11.9\t").replace("4.3\t", "9.9\t"), "expected one distance"),
        (whole.replace("stim_file", "picture"), "has no column 'stim_file'"),
        (whole.replace("bild-ä0", "bild-ä9"), r"Condition 0 of the design .* has the stimuli"),
    ):
        events.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=message):
            glmsingle.load_responses(options(tmp_path), "01")
    header, *rows = whole.splitlines()
    events.write_text("\n".join([header, *rows[::-1]]), encoding="utf-8")  # the design counts by onset
    assert glmsingle.load_responses(options(tmp_path), "01").identical(found)
    (tmp_path / "sub-01/DESIGNINFO.npy").rename(tmp_path / "kept.npy")
    design = np.load(tmp_path / "kept.npy", allow_pickle=True).item()
    with h5py.File(tmp_path / "sub-01/DESIGNINFO.hdf5", "w") as file:  # without the volumes of the trials
        file["stimorder"], file["numtrialrun"] = np.asarray(design["stimorder"]), design["numtrialrun"]
    again = glmsingle.load_responses(options(tmp_path), "01")
    np.testing.assert_array_equal(again["stimulus_id"], found["stimulus_id"])
    events.write_text(whole.replace("\n4.3\t", "\nn/a\t"), encoding="utf-8")
    with pytest.raises(InputError, match="has no onset in line"):
        glmsingle.load_responses(options(tmp_path), "01")
    events.unlink()
    with pytest.raises(InputError, match=r"has 2 events.tsv, its design 3 runs"):
        glmsingle.load_responses(options(tmp_path), "01")


def test_sessions_that_were_fitted_apart(tmp_path):
    one, a = layout.build(tmp_path, folder="sub-01/ses-01", sessions=(1, 1, 1))
    two, b = layout.build(tmp_path, folder="sub-01/ses-02", sessions=(1, 1, 1), seed=1, hdf5=True)
    found = glmsingle.load_responses(options(tmp_path), "01")
    assert found["session"].values.tolist() == ["01"] * 36 + ["02"] * 36
    for betas, order, name in ((a, one, "01"), (b, two, "02")):
        rows = found["session"].values == name
        np.testing.assert_allclose(
            found["response"].values[rows], expected(betas, order, np.ones(36)), atol=1e-4
        )
    assert "R2" not in found.coords  # each fit has its own
    assert glmsingle.load_responses(options(tmp_path, sessions=1), "01").sizes["presentation"] == 36


def test_units_without_a_grid_are_vertices_or_the_voxels_of_a_mask(tmp_path):
    order, betas = layout.build(tmp_path, folder="")
    path = tmp_path / "TYPED_FITHRF_GLMDENOISE_RR.npy"
    np.save(path, {"betasmd": betas[:, 1:].reshape(-1, 1, 1, 36)})
    found = glmsingle.load_responses(options(tmp_path), "1")
    assert found["vertex"].values.tolist() == list(range(16)) and "x" not in found.coords
    found = glmsingle.load_responses(options(tmp_path, mask="brainmask", regions=["V1"]), "1")
    values = expected(betas[:, 1:], order, found["session"].values)
    np.testing.assert_allclose(found["response"].values, values, atol=1e-4)
    assert [found[a].values[0] for a in "xyz"] == [0, 1, 0] and found["roi_V1"].values.sum() == 2


def damage(key, value):
    def apply(root):
        info = np.load(root / "sub-01/DESIGNINFO.npy", allow_pickle=True).item()
        np.save(root / "sub-01/DESIGNINFO.npy", info | {key: value})

    return apply


def resave(name, values):
    return lambda root: nib.save(nib.Nifti1Image(values, layout.AFFINE), root / f"sub-01/{name}.nii.gz")


class Code:
    def __reduce__(self):
        return print, ("run",)


def code(root):
    with (root / "sub-01/TYPED_FITHRF_GLMDENOISE_RR.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"shape": (), "fortran_order": False, "descr": "|O"})
        pickle.dump(Code(), file)


@pytest.mark.parametrize(("harm", "message"), [
    (damage("stimorder", list(range(6))), r"has 6 trials in `stimorder`, 36 in `numtrialrun` and 3 sessions"),
    (damage("numtrialrun", [6] * 3), "has 36 trials in `stimorder`, 18 in `numtrialrun`"),
    (damage("stimorder", [np.nan, "a"]), "not laid out as GLMsingle's design"),
    (lambda root: np.save(root / "sub-01/DESIGNINFO.npy", {"tr": 2.0}), r"design: KeyError\('numtrialrun'\)"),
    (lambda root: (root / "sub-01/DESIGNINFO.npy").unlink(), "DESIGNINFO.npy.*GLMsingle writes it beside"),
    (lambda root: np.save(root / "sub-01/TYPED_FITHRF_GLMDENOISE_RR.npy", {"betasmd": np.zeros((4, 3, 2, 35))}),
     r"has 35 trials, its design 36; they must match"),
    (lambda root: np.save(root / "sub-01/TYPED_FITHRF_GLMDENOISE_RR.npy", {"modelmd": 1}), "no array `betasmd`"),
    (code, r"is refused: it holds builtins.print; only arrays, numbers and text are read"),
    (resave("V1", np.ones((4, 4, 2), "u1")), r"V1.nii.gz has the grid \(4, 4, 2\), the betas \(4, 3, 2\)"),
    (lambda root: (root / "stimuli.csv").write_text("stimulus_id\na\nb\n"), "has 2 rows, the design .* 6 conditions"),
    (lambda root: (root / "stimuli.csv").unlink(), "Nothing says which stimuli the conditions"),
    (lambda root: (root / "sub-01/V1.nii.gz").unlink(), r"'dataset.mask or .regions': 'V1'. Allowed: 'brain', 'brainmask'"),
    (lambda root: [p.rename(p.with_suffix(".mat")) for p in (root / "sub-01").glob("TYPE*")], "only MATLAB's .mat"),
])  # fmt: skip
def test_what_is_wrong_is_one_line(tmp_path, capsys, harm, message):
    layout.build(tmp_path)
    harm(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        glmsingle.load_responses(options(tmp_path, regions=["V1"]), "01")
    assert "\n" not in str(caught.value) and "run" not in capsys.readouterr().out.split()
    if "'subject'" not in message:
        with pytest.raises(InputError, match="'subject': '02'"):
            glmsingle.load_responses(options(tmp_path), "02")


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")
@pytest.mark.parametrize("flat", [False, True], ids=["npy", "hdf5"])
def test_what_glmsingle_itself_writes(tmp_path, monkeypatch, flat):
    """Of data made of GLMsingle's own responses, betas correlate with what they were made of."""
    glm = pytest.importorskip("glmsingle.glmsingle")
    from glmsingle.hrf.gethrf import getcanonicalhrf

    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    design = layout.designs(rng)
    hrf = getcanonicalhrf(1.0, layout.TR)
    truth = rng.normal(2, 1.5, (*layout.GRID, layout.N_CONDITIONS))
    data = []
    for d in design:
        drive = np.stack([np.convolve(c, hrf)[: len(d)] for c in d.T])
        data.append((100 + truth @ drive + rng.normal(0, 0.3, (*layout.GRID, len(d)))).astype("f4"))
        data[-1][layout.SILENT] = 0
    if flat:
        data = [d.reshape(-1, d.shape[-1]) for d in data]
    place = tmp_path / "tree/sub-01"
    fit = glm.GLM_single(
        {"wanthdf5": int(flat), "wantmemoryoutputs": [0] * 4, "sessionindicator": np.array([[1, 1, 2]])}
    )
    fit.fit(design, data, 1.0, layout.TR, outputdir=str(place), figuredir=str(tmp_path / "figures"))
    rows = "\n".join(f"p{c}" for c in range(layout.N_CONDITIONS))
    (tmp_path / "tree/stimuli.csv").write_text(f"stimulus_id\n{rows}\n")
    found = glmsingle.load_responses(options(tmp_path / "tree"), "01")
    order = np.concatenate([np.argmax(d[d.any(1)], 1) for d in design])
    assert found["stimulus_id"].values.tolist() == [f"p{c}" for c in order]
    assert found.attrs["n_without_data"] == 1 and found["session"].values.tolist() == ["1"] * 24 + ["2"] * 12
    known = truth.reshape(-1, layout.N_CONDITIONS)[1:, order]
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(found["response"].values.T, known, strict=True)]
    assert np.median(r) > 0.95


@pytest.mark.parametrize("first", [0, 1])
def test_conditions_in_any_order_go_by_their_numbers(tmp_path, first):
    order, _ = layout.build(tmp_path)
    table = tmp_path / "stimuli.csv"
    head, *rows = table.read_text().splitlines()
    numbered = [f"{row},{k + first}" for k, row in enumerate(rows)]
    table.write_text("\n".join([f"{head},condition", *numbered[::-1]]) + "\n")
    found = glmsingle.load_responses(options(tmp_path), "01")
    assert found["stimulus_id"].values.tolist() == [f"p{c}" for c in order]
    for wrong in ([*numbered[:-1], f"{rows[-1]},{first}"], [f"{row},{k + 2}" for k, row in enumerate(rows)]):
        table.write_text("\n".join([f"{head},condition", *wrong]) + "\n")
        with pytest.raises(
            InputError, match=r"'condition' of .* does not number its 6 rows from 0 or from 1"
        ):
            glmsingle.load_responses(options(tmp_path), "01")


def test_an_order_that_is_not_that_of_the_design_is_refused(tmp_path):
    layout.build(tmp_path)
    path = tmp_path / "sub-01/DESIGNINFO.npy"
    info = np.load(path, allow_pickle=True).item()
    np.save(path, info | {"stimorder": np.roll(info["stimorder"], 1)})
    with pytest.raises(InputError, match="other conditions in `stimorder` than in `design`"):
        glmsingle.load_responses(options(tmp_path), "01")


def test_a_column_that_is_nearly_called_condition_is_told(tmp_path):
    layout.build(tmp_path)
    table = tmp_path / "stimuli.csv"
    head, *lines = table.read_text(encoding="utf-8").splitlines()
    numbered = [f"{line},{k}" for k, line in enumerate(lines)]
    table.write_text("\n".join([f"{head},Condition", *numbered[::-1]]) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"has a column 'Condition' \(did you mean 'condition'\?\)"):
        glmsingle.load_responses(options(tmp_path), "01")


def test_a_design_in_hdf5_and_conditions_of_a_subject(tmp_path):
    order, _ = layout.build(tmp_path)
    place = tmp_path / "sub-01"
    whole = glmsingle.load_responses(options(tmp_path), "01")
    info = np.load(place / "DESIGNINFO.npy", allow_pickle=True).item()
    with h5py.File(
        place / "DESIGNINFO.hdf5", "w"
    ) as file:  # lists as attributes, as save_glmsingle_outputs_h5 has it
        file.attrs.update(stimorder=info["stimorder"], numtrialrun=info["numtrialrun"], tr=2.0)
    (place / "DESIGNINFO.npy").unlink()
    found = glmsingle.load_responses(options(tmp_path), "01")
    for name in ("stimulus_id", "run"):
        np.testing.assert_array_equal(found[name].values, whole[name].values)
    assert set(found["session"].values) == {"1"}  # it holds no `params`
    names = ["p3", "p2", "p1", "p0", "p5", "p4"]
    (place / "conditions.csv").write_text("\n".join(["stimulus_id", *names]) + "\n")
    found = glmsingle.load_responses(options(tmp_path), "01")
    assert found["stimulus_id"].values.tolist() == [names[c] for c in order]
    (place / "conditions.csv").write_text("stimulus_id\n" + "\n".join(names[:5]) + "\nelse\n")
    with pytest.raises(InputError, match=r"1 stimuli that were shown are not in .*stimuli.csv, first 'else'"):
        glmsingle.load_responses(options(tmp_path), "01")


def test_a_region_of_which_most_has_no_betas_is_warned_of(tmp_path):
    _, betas = layout.build(tmp_path)
    betas[1, 1:] = np.nan
    layout.write(tmp_path / "sub-01", layout.outputs(betas, np.random.default_rng(0)), hdf5=False)
    with pytest.warns(InputWarning, match=r"2 of 2 voxels of 'V1' of 01 have no betas. Was it made on"):
        glmsingle.load_responses(options(tmp_path, regions=["V1"]), "01")
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputWarning)
        glmsingle.load_responses(options(tmp_path, mask="brainmask"), "01")
