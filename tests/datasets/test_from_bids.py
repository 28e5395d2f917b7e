import json
import os
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from layouts import bids as layout
from typer.testing import CliRunner

from neuroenc.config import Dataset
from neuroenc.datasets import custom, from_bids, trials
from neuroenc.datasets.from_bids import Choices, convert
from neuroenc.errors import InputError, InputWarning

SPACES = {"volume": "T1w", "surface": "fsaverage5", "cifti": "fsLR:den-91k"}


def read(out, subject="01"):
    options = Dataset(name="custom", root=str(out))
    return custom.load_stimuli(options, [subject]), custom.load_responses(options, subject)


def make(root, out, space="T1w", **more):
    return convert(root, out, task="x", space=space, subjects=[], choices=Choices(**more))


@pytest.mark.parametrize("kind", SPACES)
def test_known_responses_come_back(tmp_path, kind):
    """Trials alike in height, so that the model of each is true: exact but for single precision."""
    names, _, expected = layout.build(tmp_path / "ds", same=True, kinds=(kind,))["01"]
    lines = make(tmp_path / "ds", tmp_path / "out", SPACES[kind])
    assert lines == ["subject 01: 2 runs, 24 presentations x 14 neuroids", "6 stimuli"]
    stimuli, found = read(tmp_path / "out")
    assert found["stimulus_id"].values.tolist() == names
    assert found["run"].values.tolist() == [1] * 12 + [2] * 12 and set(found["session"].values) == {"1"}
    np.testing.assert_allclose(found["response"].values, expected, rtol=2e-3, atol=2e-3)
    assert stimuli["file"].values.tolist() == sorted(set(names))
    if kind == "volume":
        where = np.argwhere(layout.mask() > 0)
        np.testing.assert_array_equal(np.stack([found[a].values for a in "xyz"], 1), where)
        np.testing.assert_array_equal(found.attrs["affine"], layout.AFFINE.ravel())
    elif kind == "surface":
        assert found["hemisphere"].values.tolist() == ["L"] * 8 + ["R"] * 6
        assert found["vertex"].values.tolist() == [*range(8), *range(6)]
    else:
        assert found["structure"].values.tolist()[-4:] == ["THALAMUS_LEFT"] * 4
    assert not (tmp_path / "out/.runs").exists() and not list((tmp_path / "out").glob(".partial*"))


def test_trials_that_differ_are_told_apart_in_noise(tmp_path):
    _, _, expected = layout.build(tmp_path / "ds", noise=0.05, sessions=("1", "2"))["01"]
    make(tmp_path / "ds", tmp_path / "out")
    _, found = read(tmp_path / "out")
    assert found["session"].values.tolist() == ["1"] * 24 + ["2"] * 24
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(found["response"].values.T, expected.T, strict=True)]
    assert np.median(r) > 0.9
    space = np.array([make(tmp_path / "ds", tmp_path / s, SPACES[s]) and read(tmp_path / s)[1]["response"].values
                      for s in ("surface", "cifti")])  # fmt: skip
    np.testing.assert_allclose(space[0], found["response"].values, atol=1e-4)
    np.testing.assert_allclose(space[1], found["response"].values, atol=1e-4)


def film(root, *, late=0.0, unsteady=1):
    """Two runs of one film, of which the first volume of each is not steady."""
    rng = np.random.default_rng(0)
    course = rng.standard_normal((60, layout.N_UNITS))
    (root / "stimuli").mkdir(parents=True)
    (root / "stimuli/film.mp4").write_bytes(b"moving")
    for run in (1, 2):
        place, stem = "sub-01/func", f"sub-01_task-x_run-{run}"
        n = 70
        values = 500 + 0.01 * rng.standard_normal((n, layout.N_UNITS))
        values[5:65] += course
        values[0] += 300
        table = layout.confounds(rng, n, unsteady)
        layout.write_series(root / "derivatives/fmriprep" / place, stem, values, kinds=("volume",))
        layout.write_table(
            root / "derivatives/fmriprep" / place / f"{stem}_desc-confounds_timeseries.tsv", table
        )
        layout.write_table(root / place / f"{stem}_events.tsv", {
            "onset": [10.0 + late * (run - 1)], "duration": [120.0], "stim_file": ["film.mp4"],
        })  # fmt: skip
    return course


def test_films_are_cleaned_courses_of_the_volumes_taken_meanwhile(tmp_path):
    course = film(tmp_path / "ds")
    make(tmp_path / "ds", tmp_path / "out", film=True, confounds=("csf", "non_steady_state_outlier*"))
    stimuli, found = read(tmp_path / "out")
    assert stimuli.sizes["stimulus"] == 60 and found.sizes == {"presentation": 120, "neuroid": layout.N_UNITS}
    np.testing.assert_allclose(stimuli["onset"].values, 1 + 2.0 * np.arange(60))  # slices at half a volume
    assert stimuli["duration"].values[[0, -1]].tolist() == [2, 1] and set(stimuli["film"].values) == {
        "film.mp4"
    }
    r = [np.corrcoef(found["response"].values[:60, i], course[:, i])[0, 1] for i in range(layout.N_UNITS)]
    assert min(r) > 0.93
    assert found["repetition"].values.tolist() == [0] * 60 + [1] * 60


def test_a_film_that_began_between_volumes_is_refused(tmp_path):
    film(tmp_path / "ds", late=0.5)
    with pytest.raises(
        InputError, match=r"Volume 1 of film.mp4 was taken 0.5 s into it in .*, 1 s in another"
    ):
        make(tmp_path / "ds", tmp_path / "out", film=True)


def test_a_call_that_broke_off_is_taken_up(tmp_path, monkeypatch):
    layout.build(tmp_path / "ds", kinds=("volume",))
    done, real = [], trials.separate

    def second_fails(series, design, basis, what):
        if done[1:] == [] and done:
            done.append("broken")
            raise KeyboardInterrupt
        done.append(what)
        return real(series, design, basis, what)

    monkeypatch.setattr(trials, "separate", second_fails)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "ds", tmp_path / "out")
    assert not (tmp_path / "out/dataset.yaml").exists() and len(list((tmp_path / "out/.runs").iterdir())) == 2
    make(tmp_path / "ds", tmp_path / "out")
    assert done == ["sub-01_ses-1_task-x_run-1_events.tsv", "broken", "sub-01_ses-1_task-x_run-2_events.tsv"]
    make(tmp_path / "ds", tmp_path / "whole")
    assert read(tmp_path / "out")[1].equals(read(tmp_path / "whole")[1])
    with pytest.raises(InputError, match=r"holds a dataset\.yaml already"):
        make(tmp_path / "ds", tmp_path / "out")


def test_a_run_is_worked_on_again_where_what_it_is_made_of_changed(tmp_path):
    layout.build(tmp_path / "ds", kinds=("volume",), runs=1)
    run = from_bids.find_runs(tmp_path / "ds", tmp_path / "ds/derivatives/fmriprep", "x", "T1w", [])[0]
    inside = layout.mask() > 0
    keys = [from_bids._key(run, inside, Choices()), from_bids._key(run, inside, Choices(high_pass=0.01))]
    keys.append(from_bids._key(run, ~inside, Choices()))
    os.utime(run.events, ns=(0, 0))
    keys.append(from_bids._key(run, inside, Choices()))
    assert len(set(keys)) == 4


F = "derivatives/fmriprep/sub-01/ses-1/func/sub-01_ses-1_task-x_run-2"
EVENTS = "sub-01/ses-1/func/sub-01_ses-1_task-x_run-2_events.tsv"
BOLD, CONFOUNDS = f"{F}_space-T1w_desc-preproc_bold", f"{F}_desc-confounds_timeseries.tsv"


def edit(path, change):
    def apply(root):
        table = pd.read_csv(root / path, sep="\t", keep_default_na=False, dtype=str)
        change(table).to_csv(root / path, sep="\t", index=False)

    return apply


def cell(column, row, value):
    def change(table):
        table.loc[row, column] = value
        return table

    return change


def linked(root):
    """A picture that is a link to a file outside."""
    (root.parent / "secret.png").write_bytes(b"x")
    path = next((root / "stimuli").rglob("*.png"))
    path.unlink()
    path.symlink_to(root.parent / "secret.png")


def image(path, change):
    def apply(root):
        found = nib.load(root / path)
        nib.save(change(found), root / "new.nii.gz")
        (root / "new.nii.gz").replace(root / path)

    return apply


def in_ms(found):
    """The repetition time in ms, and no unit that says so."""
    header = found.header.copy()
    header["pixdim"][4] *= 1000
    header.set_xyzt_units("mm", "unknown")
    Path(found.get_filename().removesuffix(".nii.gz") + ".json").write_text("{}", encoding="utf-8")
    return nib.Nifti1Image(np.asarray(found.dataobj), found.affine, header)


def moved(found):
    return nib.Nifti1Image(np.asarray(found.dataobj), found.affine + np.diag([0.5, 0, 0, 0]), found.header)


@pytest.mark.parametrize(("harm", "message"), [
    (lambda r: (r / f"{BOLD}.nii.gz").unlink(), r"run-2_events.tsv belongs to a run of which fMRIPrep left no series in space 'T1w'"),
    (lambda r: (r / EVENTS).unlink(), r"run-2_space-T1w_desc-preproc_bold.nii.gz has no events"),
    (lambda r: (r / f"{F}_space-T1w_desc-brain_mask.nii.gz").unlink(), "has no mask: its name with desc-brain_mask"),
    (lambda r: (r / CONFOUNDS).unlink(), "has no confounds: its name with desc-confounds_timeseries.tsv"),
    (edit(CONFOUNDS, lambda t: t[:-3]), r"has 157 rows, its series 160 volumes; they must match"),
    (edit(CONFOUNDS, cell("trans_x_derivative1", 7, "n/a")), r"has no trans_x_derivative1 in line 9; only the first row"),
    (edit(CONFOUNDS, cell("csf", 0, "n/a")), r"has no csf in line 2; only the first row of a difference"),
    (edit(CONFOUNDS, lambda t: t.drop(columns="csf")), r"has no column 'csf'; found 'white_matter'|has no column 'csf'"),
    (edit(EVENTS, cell("onset", 3, "320.0")), r"line 5 of .*run-2_events.tsv begins at 320 s, the run lasts from 0 to 320 s"),
    (edit(EVENTS, cell("onset", 3, "-1")), r"begins at -1 s"),
    (edit(EVENTS, cell("duration", 3, "n/a")), r"lasts nan s, expected a duration"),
    (edit(EVENTS, lambda t: t.assign(duration=1000.0)), r"last up to \d+ s, past others and the run of 320 s. Are their durations in ms"),
    (edit(EVENTS, lambda t: t.assign(duration=60.0)), r"last up to 60 s, past others"),
    (edit(EVENTS, lambda t: t.drop(columns="stim_file")), r"has no column 'stim_file', which says what was shown"),
    (edit(EVENTS, lambda t: t.assign(stim_file="n/a")), r"names no stimulus in its column 'stim_file'"),
    (edit(EVENTS, cell("stim_file", 0, "else.png")), r"1 of 7 stimuli are not in .*stimuli, first 'else.png'"),
    (linked, r"is a link that leads outside .*ds\. Put the file itself there"),
    (edit(EVENTS, cell("stim_file", 0, "../../x.png")), r"'../../x.png' leads outside its folder"),
    (edit(EVENTS, cell("onset", 11, "319.9")), r"Trial 12 of .*run-2_events.tsv cannot be told"),
    (lambda r: (r / f"{BOLD}.json").write_text(json.dumps({"RepetitionTime": 1.5})), r"repetition time of 2 s in its header, 1.5 s in its .json"),
    (lambda r: (r / f"{BOLD}.json").write_text(json.dumps({"RepetitionTime": 2, "StartTime": 1000})), r"a start of 1000 s, .*Are they in ms"),
    (lambda r: (r / f"{BOLD}.json").write_text(json.dumps({"RepetitionTime": "2"})), r"has RepetitionTime '2', expected seconds"),
    (image(f"{BOLD}.nii.gz", in_ms), r"repetition time of 2000 .*Are they in ms"),
    (image(f"{BOLD}.nii.gz", moved), "has another affine than"),
    (image(f"{BOLD}.nii.gz", lambda i: nib.Nifti1Image(np.full(i.shape, np.nan, "f4"), i.affine, i.header)), "not finite"),
    (lambda r: (r / f"{BOLD}.nii.gz").write_bytes((r / f"{BOLD}.nii.gz").read_bytes()[:400]), "Cannot read"),
])  # fmt: skip
def test_what_is_wrong_is_one_line(tmp_path, harm, message):
    layout.build(tmp_path / "ds", kinds=("volume",))
    harm(tmp_path / "ds")
    with pytest.raises(InputError, match=message) as caught:
        make(tmp_path / "ds", tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out/dataset.yaml").exists()


def test_tasks_spaces_and_subjects_that_are_not_there(tmp_path):
    layout.build(tmp_path / "ds")
    root = tmp_path / "ds"
    for more, message in (
        ({"task": "y"}, r"'--task': 'y'. Allowed: 'x'"),
        (
            {"space": "MNI152NLin2009cAsym"},
            r"'--space': 'MNI152NLin2009cAsym'. Allowed: 'T1w', 'fsLR:den-91k', 'fsaverage5'",
        ),
        ({"space": "fsLR:den-170k"}, r"'--space': 'fsLR:den-170k'.*did you mean 'fsLR:den-91k'"),
        ({"subjects": ["02"]}, r"'--subject': '02'. Allowed: '01'"),
        ({"derivatives": tmp_path}, "has no sub-…, expected fMRIPrep's outputs"),
    ):
        with pytest.raises(InputError, match=message):
            convert(root, tmp_path / "out", **({"task": "x", "space": "T1w", "subjects": []} | more))
    for path in list(root.rglob("*space-T1w*")):
        other = path.name.replace("space-T1w", "space-T1w_res-2")
        (path.parent / other).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match=r"has 2 series, in .*; name one: --space T1w:res-2"):
        convert(root, tmp_path / "out", task="x", space="T1w", subjects=[])
    convert(root, tmp_path / "out", task="x", space="T1w:res-2", subjects=["01"])
    (next(root.rglob("*run-1*hemi-R*.gii"))).unlink()
    with pytest.raises(InputError, match="has hemispheres L, expected one L and one R"):
        convert(root, tmp_path / "other", task="x", space="fsaverage5", subjects=[])


def test_runs_of_other_meshes_are_refused(tmp_path):
    layout.build(tmp_path / "ds", kinds=("surface", "cifti"))
    for path in (tmp_path / "ds/derivatives").rglob("*run-2*hemi-R*.func.gii"):
        arrays = [nib.gifti.GiftiDataArray(a.data[:-1]) for a in nib.load(path).darrays]
        nib.save(nib.gifti.GiftiImage(darrays=arrays), path)
    for path in (tmp_path / "ds/derivatives").rglob("*run-2*.dtseries.nii"):
        found = nib.load(path)
        time, units = (found.header.get_axis(i) for i in (0, 1))
        values = found.get_fdata(dtype="f4")[:, ::-1].copy()
        nib.save(nib.Cifti2Image(values, (time, units[np.arange(len(units))[::-1]])), path)
    for space in ("fsaverage5", "fsLR:den-91k"):
        with pytest.raises(InputError, match=r"run-2.* has other vertices or voxels than .*run-1"):
            make(tmp_path / "ds", tmp_path / "out", space)


def test_glmsingle_where_it_is_installed(tmp_path, monkeypatch):
    layout.build(tmp_path / "ds", noise=0.3, kinds=("volume",))
    monkeypatch.setitem(__import__("sys").modules, "glmsingle.glmsingle", None)
    with pytest.raises(InputError, match="glmsingle is not installed"):
        make(tmp_path / "ds", tmp_path / "out", betas="glmsingle")


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")
def test_betas_of_glmsingle(tmp_path):
    pytest.importorskip("glmsingle.glmsingle")
    names, _, expected = layout.build(
        tmp_path / "ds", noise=0.05, runs=3, moving=0.0, quiet=6, kinds=("volume",)
    )["01"]
    make(tmp_path / "ds", tmp_path / "out", betas="glmsingle")
    _, found = read(tmp_path / "out")
    assert found["stimulus_id"].values.tolist() == names
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(found["response"].values.T[6:], expected.T[6:], strict=True)]
    assert np.median(r) > 0.8


def test_the_command(tmp_path):
    from neuroenc.cli import app

    layout.build(tmp_path / "ds", kinds=("volume",), subjects=("01", "02"))
    done = CliRunner().invoke(app, [
        "data", "from-bids", str(tmp_path / "ds"), "--task", "x", "--space", "T1w", "--out", str(tmp_path / "out"),
        "--subject", "02", "--confound", "trans_?", "--high-pass", "0.01",
    ])  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "subject 02: 2 runs, 24 presentations x 14 neuroids" in done.output
    for wrong, message in (
        (["--film"], "--film has no trials"),
        ([], "'--betas': 'ols'. Allowed: 'lss', 'glmsingle'"),
    ):
        done = CliRunner().invoke(app, [
            "data", "from-bids", str(tmp_path / "ds"), "--task", "x", "--space", "T1w", "--out", str(tmp_path / "no"),
            "--betas", "glmsingle" if wrong else "ols", *wrong,
        ])  # fmt: skip
        assert isinstance(done.exception, InputError) and message in str(done.exception)
    text = (tmp_path / "out/dataset.yaml").read_text(encoding="utf-8")
    assert list(yaml.safe_load(text)["subjects"]) == ["02"]
    assert '"confounds": ["trans_?"], "high_pass": 0.01' in text.splitlines()[0]


def edit(root, change):
    for path in root.glob("sub-*/**/*_events.tsv"):
        change(pd.read_csv(path, sep="\t", keep_default_na=False)).to_csv(path, sep="\t", index=False)


@pytest.mark.parametrize("name", ["stimuli/{}", "bids::stimuli/{}", "a\\{}"])
def test_stimuli_that_are_called_otherwise_are_not_taken_for_undistributed_ones(tmp_path, name):
    layout.build(tmp_path / "ds", kinds=("volume",))
    edit(
        tmp_path / "ds",
        lambda t: t.assign(stim_file=[name.format(f) if f != "n/a" else f for f in t.stim_file]),
    )
    with pytest.raises(
        InputError, match=r"None of 6 stimuli is in .*, though there is 'bild_ä\d.png'. Write"
    ):
        make(tmp_path / "ds", tmp_path / "out")


def test_events_at_one_time_are_refused(tmp_path):
    layout.build(tmp_path / "ds", kinds=("volume",))
    edit(tmp_path / "ds", lambda t: pd.concat([t, t.iloc[2:3]]))
    with pytest.raises(InputError, match=r"run-1_events.tsv, in lines 4 and 15, begin at .* told apart"):
        make(tmp_path / "ds", tmp_path / "out")


def test_onsets_that_count_volumes_are_warned_of(tmp_path):
    layout.build(tmp_path / "ds", kinds=("volume",))
    edit(tmp_path / "ds", lambda t: t.assign(onset=[*range(6, 150, 12), 5]))  # of 160 volumes of 2 s
    with pytest.warns(InputWarning, match="all 2 runs begin at whole numbers .* at 138 s of 320. Are onsets"):
        make(tmp_path / "ds", tmp_path / "out")
    edit(tmp_path / "ds", lambda t: t.assign(onset=2 * t.onset))
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputWarning)
        make(tmp_path / "ds", tmp_path / "other")


@pytest.mark.parametrize(("seconds", "said"), [(6, "6 s earlier"), (-5, "5 s later"), (0, None)])
def test_events_that_the_runs_answer_to_at_another_time_are_warned_of(tmp_path, seconds, said):
    layout.build(tmp_path / "ds", kinds=("volume",), noise=0.2)
    edit(tmp_path / "ds", lambda t: t.assign(onset=t.onset + seconds))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", InputWarning)
        make(tmp_path / "ds", tmp_path / "out")
    told = [str(w.message) for w in caught if issubclass(w.category, InputWarning)]
    assert len(told) == (said is not None)
    assert said is None or f"sub-01 answers to its events in all 2 runs as if they began {said}" in told[0]
