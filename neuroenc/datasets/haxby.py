"""Faces and objects in ventral temporal cortex (Haxby et al. 2001, doi 10.1126/science.1063736).

Two layouts are read: that of `nilearn.datasets.fetch_haxby` (`subjN/bold.nii.gz`, `labels.txt`,
`mask*.nii.gz`) and PyMVPA's single subject (`bold.nii.gz`, `attributes_literal.txt`,
`mask.nii.gz`). One presentation is one block: 24 s of pictures of one category. Which pictures
were shown is not recorded, so a block is a stimulus of its own and its run is its group.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from neuroenc.arrays import make_responses, make_stimuli
from neuroenc.config import Dataset
from neuroenc.datasets.images import read_image, read_mask, read_values
from neuroenc.datasets.reading import read_table
from neuroenc.errors import InputError, invalid
from neuroenc.files import existing, sha256

LICENCE = "CC-BY-SA-3.0 (PyMVPA's copy)"
CITATION = "Haxby et al. (2001), Science 293, 2425-2430"
TR = 2.5  # s
LAG = 2  # volumes between a picture and the peak of its response, 5 s
CATEGORIES = ("bottle", "cat", "chair", "face", "house", "scissors", "scrambledpix", "shoe")
EXPECTED = {"volumes": 121, "blocks": 8}  # of a run
RUNS = {"5": 11}  # of a subject; the others have 12


def folder_of(options: Dataset, subject: str) -> Path:
    """Return the folder with the subject's bold.nii.gz."""
    root = existing(str(options.root), made_by="Set NEUROENC_REAL_DATA or `dataset.root` to the recordings.")
    if (root / "bold.nii.gz").exists():
        if subject != "1":
            raise invalid("subject", subject, ["1"])
        return root
    known = sorted(p.name.removeprefix("subj") for p in root.glob("subj*") if p.is_dir())
    if subject not in known:
        raise invalid("subject", subject, known)
    return root / f"subj{subject}"


def labels(folder: Path) -> pd.DataFrame:
    """Category (`label`) and `run` of each volume."""
    path = folder / "labels.txt"
    if path.exists():  # nilearn: a header names the columns
        label, run, table = "labels", "chunks", read_table(path, separator=" ")
    else:
        label, run = "label", "run"
        table = read_table(folder / "attributes_literal.txt", separator=" ", header=(label, run))
    return pd.DataFrame({"label": table.choices(label, (*CATEGORIES, "rest")), "run": table.integers(run)})


def blocks(table: pd.DataFrame) -> list[tuple[str, int, NDArray[np.int64]]]:
    """List (category, run, volumes) of each block; volumes are shifted by the response's lag."""
    start = (table["label"] != table["label"].shift()) | (table["run"] != table["run"].shift())
    found = []
    for _, rows in table.groupby(start.cumsum()):
        category, run = str(rows["label"].iloc[0]), int(rows["run"].iloc[0])
        last = table.index[table["run"] == run][-1]
        volumes = rows.index.to_numpy() + LAG
        if category != "rest":
            found.append((category, run, volumes[volumes <= last]))
    return found


def load_stimuli(options: Dataset, subjects: list[str]) -> xr.Dataset:
    """List the blocks; the strength of a category is one in its own blocks."""
    shown = {}
    for subject in subjects:
        for category, run, _ in blocks(labels(folder_of(options, subject))):
            shown[stimulus_id(category, run)] = category
    strength = np.array([[c == name for name in CATEGORIES] for c in shown.values()], np.float32)
    return make_stimuli(
        {
            "stimulus_id": np.array(list(shown)), "pixel_index": np.arange(len(shown)),
            "split": np.full(len(shown), "train"),
            "group": np.array([s.split("-")[1] for s in shown]),
        },
        attrs={"dataset": "Haxby 2001", "pixels": "not distributed"},
        captions=np.array([[c] for c in shown.values()]),
        categories=(list(CATEGORIES), strength),
    )  # fmt: skip


def stimulus_id(category: str, run: int) -> str:
    """Name a block."""
    return f"haxby-run{run:02d}-{category}"


def load_responses(options: Dataset, subject: str) -> xr.Dataset:
    """Read one subject: each voxel detrended and z-scored within each run, averaged per block.

    A run is scaled by itself, test runs too, and the attribute `transductive` says so.
    """
    folder = folder_of(options, subject)
    table = labels(folder)
    bold = read_image(folder / "bold.nii.gz")
    masks = {
        p.name.removesuffix(".nii.gz"): p for f in (folder, folder.parent) for p in f.glob("mask*.nii.gz")
    }
    if options.mask not in masks:
        raise invalid("dataset.mask", options.mask, sorted(masks))
    if len(table) != bold.shape[3]:
        raise InputError(f"{folder}: {len(table)} labels for {bold.shape[3]} volumes; must match.")
    inside = read_mask(masks[options.mask], bold)
    series = read_values(bold)[inside].T.astype(np.float32)
    for run in table["run"].unique():
        rows = np.flatnonzero(table["run"] == run)
        series[rows] = _detrended(series[rows])
    found = blocks(table)
    run_of = np.array([run for _, run, _ in found])
    ids = np.array([stimulus_id(category, run) for category, run, _ in found])
    ijk = np.argwhere(inside)
    rois = {
        name: read_mask(path, bold)[inside]
        for name, path in masks.items()
        if name != "mask" and path.parent == folder
    }
    return make_responses(
        np.stack([series[volumes].mean(0) for _, _, volumes in found]),
        presentation={
            "stimulus_id": ids, "session": np.full(len(ids), "1"), "run": run_of,
            "repetition": np.zeros(len(ids), int), "split": np.full(len(ids), "train"),
            "group": np.array([f"run{r:02d}" for r in run_of]),
        },
        neuroid={
            "neuroid_id": np.array([f"{subject}_{i}-{j}-{k}" for i, j, k in ijk]),
            "subject": np.full(len(ijk), subject), "hemisphere": np.full(len(ijk), ""),
            **{axis: ijk[:, n].astype(np.float32) for n, axis in enumerate("xyz")},
            "ncsnr": np.full(len(ijk), np.nan, np.float32),
            **{f"roi_{name.removeprefix('mask')}": mask for name, mask in rois.items()},
        },
        attrs={
            "dataset": "Haxby 2001", "space": "subject", "grid_shape": np.array(bold.shape[:3]),
            "affine": np.asarray(bold.affine).ravel(),
            "units": "z-score within run, mean of a block", "transductive": "each run is z-scored by itself",
            "source": json.dumps({"bold.nii.gz": sha256(folder / "bold.nii.gz")}),
        },
    )  # fmt: skip


def _detrended(series: NDArray[np.float32]) -> NDArray[np.float32]:
    """Take out mean and slope, scale to unit deviation; a constant voxel becomes NaN."""
    ramp = np.stack([np.ones(len(series)), np.linspace(-1, 1, len(series))], 1)
    constant = np.ptp(series, axis=0) == 0
    residual = series - ramp @ np.linalg.lstsq(ramp, series, rcond=None)[0]
    return np.asarray(residual / np.where(constant, np.nan, residual.std(0)), np.float32)


def check_tree(options: Dataset, subjects: list[str]) -> list[str]:
    """Compare volumes, runs and blocks with what the experiment had."""
    done = []
    for subject in subjects:
        table = labels(folder_of(options, subject))
        shown = pd.Series([run for _, run, _ in blocks(table)])
        n, expected = table["run"].nunique(), RUNS.get(subject, 12)
        if n != expected:
            raise InputError(f"Subject {subject} runs: found {n}, expected {expected}.")
        for what, of_run in (("volumes", table["run"].value_counts()), ("blocks", shown.value_counts())):
            odd = of_run[of_run != EXPECTED[what]]
            if len(odd):
                raise InputError(
                    f"Subject {subject} {what} of run {odd.index[0]}: found {odd.iloc[0]}, expected "
                    f"{EXPECTED[what]}."
                )
        done.append(f"subject {subject}: {len(table)} volumes, {n} runs")
    return done
