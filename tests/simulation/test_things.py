"""The simulated THINGS: its loaders read it, and one space of its recordings finds the truth behind them."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from neuroenc import datasets, splits, unions
from neuroenc.arrays import load, save
from neuroenc.cli import app
from neuroenc.config import Dataset, JointDecoding, JointStudy, Model, Split, parse
from neuroenc.datasets.copies import contents
from neuroenc.decoders.fused import row_cosine
from neuroenc.decoders.joint_scores import score_joint, spoken
from neuroenc.decoders.recordings import decode_recordings
from neuroenc.errors import InputError
from neuroenc.features.extract import extract
from neuroenc.simulation import things
from tests.conftest import ROOT

pytest.importorskip("mne")
NAMES = {"eeg": "things_eeg2", "meg": "things_meg", "fmri": "things_fmri"}
OPTIONS = JointDecoding(
    n_components=12, max_epochs=5, repeats=[1], batch_size=64, n_hidden=64, n_blocks=1, device="cpu"
)  # fmt: skip


def options(root, modality):
    return Dataset(name=NAMES[modality], root=str(root / NAMES[modality]), mask="rois")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    made = tmp_path_factory.mktemp("simulated") / "things"
    things.simulate(made, 0)
    return made


@pytest.fixture(scope="module")
def stimuli(root):
    return {
        m: datasets.module(options(root, m)).load_stimuli(options(root, m), list(things.SUBJECTS[m]))
        for m in NAMES
    }


@pytest.fixture(scope="module")
def responses(root):
    return {
        f"{m}:{s}": datasets.module(options(root, m)).load_responses(options(root, m), s)
        for m in NAMES for s in things.SUBJECTS[m]
    }  # fmt: skip


@pytest.fixture(scope="module")
def features(stimuli, tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    model = Model(extractor="open_clip", network="nano", layers=["visual"])
    for m, of in stimuli.items():
        extract(of, model, folder / f"{m}.nc")
    return {m: load(folder / f"{m}.nc", "features") for m in stimuli}


@pytest.fixture(scope="module")
def split(stimuli):
    return unions.union(
        stimuli, Split(kind="dataset", n_inner=5), content={m: contents(s) for m, s in stimuli.items()}
    )


@pytest.fixture(scope="module")
def decoded(responses, features, split):
    return tuple(decode_recordings(responses, features, split, OPTIONS, shuffle=s) for s in (None, 0))


@pytest.fixture(scope="module")
def rows(decoded):
    return score_joint(*decoded)


def of(rows, kind, name, metric="brain_to_image_top1", **more):
    wanted = {"kind": kind, "of": name, "metric": metric} | more
    return [r for r in rows if all(r.get(k) == v for k, v in wanted.items())]


def interval(gain):
    drawn = np.random.default_rng(0).integers(0, len(gain), (2000, len(gain)))
    return np.quantile(gain[drawn].mean(1), [0.025, 0.975])


def test_deterministic_in_its_seed(tmp_path, monkeypatch):
    for name, value in (("N_CONCEPTS", 8), ("EACH", 1), ("VOXELS", 6), ("TESTS", dict.fromkeys(NAMES, range(4))),
                        ("TRAINED", dict.fromkeys(NAMES, range(2, 8)))):  # fmt: skip
        monkeypatch.setattr(things, name, value)
    hashes = []
    for seed, name in ((0, "a"), (0, "b"), (1, "c")):
        things.simulate(tmp_path / name, seed)
        found = [p for p in sorted((tmp_path / name).rglob("*")) if p.suffix in (".meg4", ".npy", ".jpg")]
        hashes.append([hashlib.sha256(p.read_bytes()).hexdigest() for p in found])
    assert hashes[0] == hashes[1] and not set(hashes[0]) & set(hashes[2])


def test_the_trees_are_read_as_what_they_are_of(root, stimuli, responses):
    assert {n: r.attrs["dataset"] for n, r in responses.items()} == {
        f"{m}:{s}": f"THINGS-{'EEG2' if m == 'eeg' else 'MEG' if m == 'meg' else 'fMRI'}"
        for m in NAMES for s in things.SUBJECTS[m]
    }  # fmt: skip
    assert responses["eeg:01"]["response"].shape[1:] == (17, 100)
    assert responses["meg:1"]["response"].shape[1:] == (16, 70)
    assert responses["fmri:02"]["response"].shape[1:] == (200,)
    for name, r in responses.items():
        assert np.isfinite(r["response"].values).all()
        of_set = stimuli[name.partition(":")[0]]
        assert set(r["stimulus_id"].values) == set(of_set["stimulus_id"].values)
    truth = pd.read_csv(root / "truth.csv")
    assert truth.groupby("modality")["seen"].sum().eq(8).all()
    # what a modality does not see leaves no trace, what it sees does
    latent = pd.read_csv(root / "latent.csv", index_col="stimulus_id")
    for name in ("eeg:01", "meg:1", "fmri:01"):
        r = responses[name]
        values = r["response"].values.reshape(r.sizes["presentation"], -1)
        z = latent.loc[r["stimulus_id"].values].iloc[:, 1:].to_numpy()
        r2 = np.square(np.corrcoef(z.T, values.T)[:12, 12:]).max(1)
        seen = truth.loc[truth["modality"] == name.partition(":")[0], "seen"].to_numpy()
        assert r2[seen].min() > r2[~seen].max(), name


def test_sets_train_on_what_others_test_and_the_union_does_not(stimuli, split):
    label = {m: unions.labels(s, "caption", m) for m, s in stimuli.items()}
    tested = {m: set(label[m][s["split"].values == "test"]) for m, s in stimuli.items()}
    trained = {m: set(label[m][s["split"].values == "train"]) for m, s in stimuli.items()}
    assert len(tested["eeg"] & trained["meg"]) == 5 and len(tested["meg"] & trained["meg"]) == 10
    side, group = split["side"].values[0], split["group"].values
    assert not set(group[side == splits.TRAIN]) & set.union(*tested.values())
    counts = {m: np.bincount(unions.part(split, m)["side"].values[0]).tolist() for m in NAMES}
    assert counts == {"eeg": [300, 35, 25], "meg": [300, 35, 50], "fmri": [300, 25, 50]}


def test_together_they_beat_each_alone(rows):
    for m in NAMES:
        (gain,) = of(
            rows, "gain", "eeg+meg+fmri", "cosine", over=m, gallery=25, repeats="eeg 20; meg 6; fmri 6"
        )
        assert gain["low"] > 0, m
    (top1,) = of(rows, "joint", "eeg+meg+fmri", repeats="eeg 20; meg 6; fmri 6")
    assert top1["low"] > 0.6 and top1["chance"] == 1 / 25


def test_responses_of_one_modality_find_those_of_another(rows):
    for pair in (("eeg", "meg"), ("eeg", "fmri"), ("meg", "fmri")):
        for a, b in (pair, pair[::-1]):
            found = of(rows, "across", ", ".join(pair), f"{a}_to_{b}_top5")
            assert len(found) == 2 and found[1]["low"] > found[1]["chance"], (a, b)


def test_labels_dealt_anew_are_chance(rows):
    shuffled = np.array(
        [(r["shuffled"], r["chance"]) for r in rows if r["kind"] != "gain" and "top1" in r["metric"]]
    )
    assert abs(np.mean(shuffled[:, 0] - shuffled[:, 1])) < 0.02
    assert shuffled[:, 0].max() < 0.2


def test_more_repetitions_say_more(rows):
    for name in ("eeg:01", "meg:1", "fmri:01"):
        few, every = of(rows, "within", name)
        assert (few["repeats"], every["repeats"]) == ("1", "20" if name == "eeg:01" else "6")
        assert every["value"] > few["value"]


def test_other_modalities_beside_it_do_no_harm(responses, features, split, decoded):
    """EEG decoded by what was trained on EEG alone is not better than beside MEG and fMRI."""
    eeg = {n: r for n, r in responses.items() if n.startswith("eeg")}
    alone = decode_recordings(eeg, features, split, OPTIONS)
    loss = [
        row_cosine(alone[n]["embedding"].values, alone[n]["true"].values)
        - row_cosine(decoded[0][n]["embedding"].values, decoded[0][n]["true"].values)
        for n in eeg
    ]
    assert interval(np.mean(loss, 0))[1] < 0.03


def test_an_unseen_subject_is_read_through_others(responses, features, split, decoded):
    some = {n: r for n, r in responses.items() if n.startswith("eeg")}
    for adapter, spoken_of in (
        ("mean", "mean of eeg:01, eeg:02"),
        ("chosen", "best on training stimuli of eeg:03"),
    ):
        chosen = OPTIONS.model_copy(update={"adapter": adapter})
        found = decode_recordings(some, features, split, chosen, leave_out=["eeg:03"])
        (row,) = [
            r
            for r in score_joint(found)
            if r["of"] == "eeg:03" and r["metric"] == "brain_to_image_top1" and r["repeats"] == "20"
        ]
        assert spoken_of in row["adapter"] and row["subjects"] == "across"
        assert row["low"] > row["chance"]
        # nothing of the subject is in what the others decode
        assert found["fused"].attrs["recordings"] == "eeg:01, eeg:02"


def test_commands_from_files_to_scores(stimuli, responses, features, tmp_path):
    for m in ("eeg", "fmri"):
        save(stimuli[m], tmp_path / f"{m}.nc")
        save(features[m], tmp_path / f"{m}-features.nc")
        save(responses[f"{m}:01"], tmp_path / f"{m}-01.nc")
    each = {
        k: [f"{m}{name}={tmp_path}/{m}{file}.nc" for m in ("eeg", "fmri")]
        for k, name, file in (("stimuli", "", ""), ("features", "", "-features"), ("responses", ":01", "-01"))
    }

    def run(*words):
        return CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)

    given = {k: [w for value in v for w in (f"--{k}", value)] for k, v in each.items()}
    made = run("split", "union", *given["stimuli"], "--options", "{}", "--out", tmp_path / "split.nc")
    assert "eeg: 325 train, 35 test, 0 neither\nfmri: 325 train, 25 test, 25 neither" in made.output
    how = json.dumps(OPTIONS.model_dump() | {"max_epochs": 1, "window": {"eeg": [0, 0.7]}, "repeats": []})
    done = run("decode", "joint", *given["responses"], *given["features"], "--split", tmp_path / "split.nc",
               "--options", how, "--out", tmp_path / "joint")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "window 0 to 0.7 s, channels 17, within subjects, adapter its own" in done.output
    scores = json.loads((tmp_path / "joint/scores.json").read_text())
    assert scores["recordings"] == "eeg:01, fmri:01" and all(
        "shuffled" in r for r in scores["rows"] if r["kind"] != "gain"
    )
    told = [r for r in scores["rows"] if "top5" not in r["metric"] and "image_to_brain" not in r["metric"]]
    assert [spoken(r) for r in told] == done.output.strip().split("\n")
    for name in ("eeg-01", "fmri-01", "fused"):
        load(tmp_path / f"joint/{name}_embeddings.nc", "embeddings")


def test_the_study_runs(root, tmp_path):
    """From trees to scores and figure, as docs/studies/one_space.md has it, with fewer sets, people and epochs."""
    pytest.importorskip("snakemake")
    asked = yaml.safe_load((ROOT / "config/studies/one_space.yaml").read_text())
    sets = {name: of | {"subjects": of["subjects"][:n]}
            for (name, of), n in zip(asked["sets"].items(), (2, 0, 1), strict=True) if n}  # fmt: skip
    for of in sets.values():
        of["dataset"]["root"] = str(root / Path(of["dataset"]["root"]).name)
    small = {"n_components": 12, "n_hidden": 16, "n_blocks": 0, "max_epochs": 1, "device": "cpu"}
    drawing = asked["reconstruction"] | {"n_test": 3}
    (tmp_path / "study.yaml").write_text(
        yaml.safe_dump(
            asked | {"sets": sets, "joint": small, "leave_out": ["eeg:02"], "reconstruction": drawing}
        )
    )
    bin_ = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{bin_}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    targets = ("joint.png", "joint.csv", "joint/fmri-01_reconstructions.html")
    command = [bin_ / "snakemake", "-s", ROOT / "Snakefile", "--directory", tmp_path, "--cores", "2",
               "--workflow-profile", "none", "--configfile", tmp_path / "study.yaml", "--",
               *(f"results/one-space/{name}" for name in targets)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    run = tmp_path / "results/one-space"
    assert Image.open(run / "joint.png").width > 1000
    table = pd.read_csv(run / "joint.csv")
    (unseen,) = table[(table["subjects"] == "across") & (table["metric"] == "brain_to_image_top1")].to_dict(
        "records"
    )
    assert unseen["of"] == "eeg:02" and unseen["adapter"] == "mean of eeg:01"
    assert set(table["kind"]) == {"within", "across", "joint", "gain"}
    (together,) = table[(table["of"] == "eeg+fmri") & (table["metric"] == "brain_to_image_top1")
                        & (table["kind"] == "joint")].to_dict("records")  # fmt: skip
    drawn = load(run / "joint/fmri-01_pictures.nc", "pictures")
    assert drawn.sizes["presentation"] == 3 and {"brain", "shuffled", "true"} <= set(
        drawn["condition"].values
    )
    said = load(run / "joint/fmri-01_captions.nc", "captions")
    page = (run / "joint/fmri-01_reconstructions.html").read_text()
    shown = drawn["stimulus_id"].values[0]
    assert (
        str(said["caption"].sel(condition="brain").values[list(said["stimulus_id"].values).index(shown)])
        in page
    )
    methods, bib = (run / "methods.md").read_text(), (run / "methods.bib").read_text()
    assert "## Recordings: eeg" in methods and "subjects `01` and `02`" in methods and "@li2025" in methods
    heard = load(tmp_path / "results/one-space-eeg/sub-01/sub-01_responses.nc", "responses")
    assert f"{heard.sizes['neuroid']} neuroids" in methods and "{li2025," in bib
    scores = json.loads((run / "joint/scores.json").read_text())["rows"]
    assert together["value"] == pytest.approx(next(r for r in scores if r["of"] == "eeg+fmri")["value"])


def test_sets_that_cannot_be_joined_are_one_line():
    asked = yaml.safe_load((ROOT / "config/studies/one_space.yaml").read_text())
    for change, message in (
        ({"leave_out": ["eeg:09"]}, "leave_out: no recording 'eeg:09'"),
        (
            {
                "leave_out": ["one:01"],
                "sets": asked["sets"] | {"one": asked["sets"]["eeg"] | {"subjects": ["01"]}},
            },
            "'one:01' is read through the adapters of others of 'one', and there is none",
        ),
        ({"joint": {"front": {"eegs": "atm"}}}, "joint.front: no set 'eegs'.*'eeg'"),
        ({"sets": {"eeg": asked["sets"]["eeg"]}}, "'sets'.*at least 2"),
        ({"sets": {"a": asked["sets"]["eeg"], "A": asked["sets"]["meg"]}}, "would share a folder"),
        ({"split": {"kind": "cluster", "features": "target"}}, "kind 'cluster' is of one set"),
        ({"model": asked["model"] | {"projection": "pca:8"}}, "model.projection: 'pca:8' is fitted"),
        ({"modelx": {}}, "Unknown key 'modelx'.*'model'"),
        ({"reconstruction": {"low_level": "small"}}, "low_level: it is of one set"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            parse(JointStudy, asked | change)
        assert "\n" not in str(caught.value)
    members = parse(JointStudy, asked).members
    assert [(m.label, m.subjects) for m in members.values()][1] == ("one-space-meg", ["1", "2"])
