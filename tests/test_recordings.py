"""The commands of docs/recordings.md, run as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from layouts import bids, glmsingle, treebank
from layouts.films import write_film

from neuroenc.arrays import load
from neuroenc.datasets.from_bids import convert
from tests.conftest import ROOT

BIN = Path(sys.executable).parent
PAGE = (ROOT / "docs/recordings.md").read_text(encoding="utf-8")


def blocks(heading):
    """The files of YAML and the commands under a heading."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    files = dict(re.findall(r"`(\S+\.yaml)`:\n\n```yaml\n(.*?)```", section, re.DOTALL))
    return files, "\n".join(re.findall(r"```bash\n(.*?)```", section, re.DOTALL))


def run(folder, heading):
    """Run them in a folder as in the root of the repository; a small snakemake on this machine."""
    files, commands = blocks(heading)
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / "bin").mkdir()
    shim = folder / "bin/snakemake"
    shim.write_text(
        f'#!/bin/sh\nexec "{BIN}/snakemake" -s "{ROOT}/Snakefile" --directory . --cores 2 '
        '--workflow-profile none "$@"\n'
    )
    shim.chmod(0o755)
    environment = os.environ | {"PATH": f"{folder}/bin:{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-ec", commands], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def scores(folder, label):
    path = next((folder / f"results/{label}").rglob("*desc-scores.nc"))
    found = load(path, "scores")
    assert (folder / f"results/{label}/report.html").stat().st_size > 10_000
    return found["score"].sel(metric="pearson_r").values.ravel()


def test_glmsingle_from_a_folder_to_a_report(tmp_path):
    pytest.importorskip("snakemake")
    glmsingle.build(tmp_path / "glmsingle", n_conditions=18)
    assert "23 (presentations x neuroids)" in run(tmp_path, "GLMsingle")
    assert np.nanmedian(scores(tmp_path, "glmsingle")) > 0.8  # voxels follow the grey of the pictures


def test_fmriprep_from_events_to_a_report(tmp_path):
    pytest.importorskip("snakemake")
    bids.build(tmp_path / "my-study", n_stimuli=18, n_trials=18, runs=3, noise=0.02, kinds=("volume",))
    assert "3 runs, 54 presentations x 14 neuroids" in run(tmp_path, "fMRIPrep")
    assert np.nanmedian(scores(tmp_path, "pictures")) > 0.8


def test_parcels_from_labels_to_a_table(tmp_path):
    pytest.importorskip("snakemake")
    bids.build(tmp_path / "my-study", n_stimuli=18, n_trials=18, runs=3, noise=0.02, kinds=("volume",))
    convert(tmp_path / "my-study", tmp_path / "my-pictures", task="x", space="T1w", subjects=[])
    labels = np.arange(np.prod(bids.GRID)).reshape(bids.GRID) % 4
    nib.save(nib.Nifti1Image(labels.astype("u1"), bids.AFFINE), tmp_path / "labels.nii.gz")
    (tmp_path / "labels.tsv").write_text("index\tname\n1\tV1\n2\tV2\n3\tV3\n")
    inside = labels[bids.mask() > 0]
    out = run(tmp_path, "Parcels")
    assert f"3 parcels of 3 to 4 neuroids (median 4), {(inside == 0).sum()} neuroids in none" in out
    table = pd.read_csv(tmp_path / "results/parcels/parcels.csv")
    assert sorted(table["parcel"]) == ["V1", "V2", "V3"] and set(table["n"]) == {1}
    found = load(tmp_path / "results/parcels/sub-01/sub-01_responses.nc", "responses")
    assert dict(zip(found["parcel"].values, found["n_voxels"].values, strict=True)) == {
        f"V{i}": (inside == i).sum() for i in (1, 2, 3)
    }
    again = [tmp_path / "bin/snakemake", "--configfile", "parcels.yaml", "--dry-run"]

    def planned():
        done = subprocess.run(again, cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout + done.stderr

    assert "rule responses:" not in planned()
    (tmp_path / "labels.tsv").write_text("index\tname\n1\tV1\n2\tV2\n3\tV4\n")
    assert "rule responses:" in planned()


def test_anything_else(tmp_path):
    folder = tmp_path / "my-folder"
    folder.mkdir()
    pd.DataFrame({"stimulus_id": list("abcd"), "caption": "a word"}).to_csv(
        folder / "stimuli.csv", index=False
    )
    pd.DataFrame({"stimulus_id": list("abcdabcd")}).to_csv(folder / "trials.csv", index=False)
    np.save(folder / "responses.npy", np.random.default_rng(0).standard_normal((8, 3)))
    assert "8 x 3 (presentations x neuroids)" in run(tmp_path, "Anything else")


def test_films_of_your_own_are_checked(tmp_path):
    pytest.importorskip("av")
    treebank.build(tmp_path / "braintreebank", sessions=3)
    words = pd.read_csv(tmp_path / f"braintreebank/transcripts/{treebank.FILM}/features.csv")
    cuts = np.cumsum(np.random.default_rng(0).uniform(2, 9, 60)).round(1)
    (tmp_path / "braintreebank/scene_annotations").mkdir()
    pd.DataFrame({"start": cuts}).to_csv(
        tmp_path / f"braintreebank/scene_annotations/{treebank.FILM}.csv", index=False
    )
    (tmp_path / "my-films").mkdir()
    write_film(tmp_path / f"my-films/{treebank.FILM.upper()}.mp4", cuts, np.ceil(words["end"].max()) + 1)
    said = run(tmp_path, "Films of your own")
    assert "cuts off by +0.00 s at 60 s" in said and said.count("10 outside the triggers") == 3
