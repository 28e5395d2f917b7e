"""Faces and houses in the EEG of a four-channel headband, one subject, six runs (muse-lsl, N170 experiment).

Which picture was shown is not recorded, so a presentation is a stimulus of its own and its run is its group.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import xarray as xr
from scipy.signal import butter, sosfiltfilt

from neuroenc.arrays import make_responses, make_stimuli
from neuroenc.config import Dataset
from neuroenc.datasets.reading import Table, read_table
from neuroenc.datasets.report import report_responses
from neuroenc.errors import InputError, invalid
from neuroenc.files import existing, sha256

LICENCE = "BSD-3-Clause (muse-lsl)"
CITATION = "the repository muse-lsl"
RATE = 250.0  # Hz
BAND = (1.0, 30.0)  # Hz, zero-phase Butterworth of order 4, each run by itself
WINDOW = (-0.1, 0.8)  # s around the onset
LIMIT = 75.0  # µV; epochs that exceed it anywhere are left out
CHANNELS = ("TP9", "AF7", "AF8", "TP10")
CATEGORIES = {1: "house", 2: "face"}
EXPECTED = {"runs": 6, "presentations": 1174}


def _runs(options: Dataset) -> list[Path]:
    root = existing(str(options.root), made_by="Set NEUROENC_REAL_DATA or `dataset.root` to the recordings.")
    found = sorted(root.glob("data_*.csv"))
    if not found:
        raise InputError(f"There are no runs (data_*.csv) in {root}. Check `dataset.root`.")
    return found


def _events(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Find the onsets whose window lies in the run, and their categories."""
    marker = table.integers("Marker0")
    onset = np.flatnonzero(np.isin(marker, list(CATEGORIES)))
    low, high = (round(t * RATE) for t in WINDOW)
    onset = onset[(onset + low >= 0) & (onset + high < len(table))]
    return onset, marker[onset]


def _ids(options: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ids, categories, runs = [], [], []
    for run, path in enumerate(_runs(options), 1):
        _, category = _events(read_table(path, *CHANNELS))
        ids += [f"n170-run{run}-{i:03d}" for i in range(len(category))]
        categories += [CATEGORIES[int(c)] for c in category]
        runs += [run] * len(category)
    return np.array(ids), np.array(categories), np.array(runs)


def load_stimuli(options: Dataset, subjects: list[str]) -> xr.Dataset:  # noqa: ARG001  there is one
    """List the presentations and their categories."""
    ids, category, run = _ids(options)
    names = sorted(CATEGORIES.values())
    return make_stimuli(
        {
            "stimulus_id": ids, "pixel_index": np.arange(len(ids)), "split": np.full(len(ids), "train"),
            "group": np.array([f"run{r}" for r in run]),
        },
        attrs={"dataset": "N170", "pixels": "not distributed"}, captions=category[:, None],
        categories=(names, np.array([[c == n for n in names] for c in category], np.float32)),
    )  # fmt: skip


def load_responses(options: Dataset, subject: str) -> xr.Dataset:
    """Read all runs: filtered, cut, the mean before the onset taken off, artefacts left out."""
    if subject != "1":
        raise invalid("subject", subject, ["1"])
    ids, _, runs = _ids(options)
    low, high = (round(t * RATE) for t in WINDOW)
    sections = butter(4, BAND, "bandpass", fs=RATE, output="sos")
    epochs = []
    paths = _runs(options)
    for path in paths:
        table = read_table(path)
        signal = sosfiltfilt(sections, table.matrix(CHANNELS), axis=0)
        onset, _ = _events(table)
        cut = signal[onset[:, None] + np.arange(low, high + 1)].transpose(0, 2, 1)
        epochs.append(cut - cut[..., :-low].mean(-1, keepdims=True))
    response = np.concatenate(epochs)
    clean = np.abs(response).max((1, 2)) <= LIMIT
    start = np.arange(low, high + 1) / RATE
    n = int(clean.sum())
    nowhere = np.full(len(CHANNELS), np.nan, np.float32)
    return make_responses(
        response[clean],
        presentation={
            "stimulus_id": ids[clean], "session": np.full(n, "1"), "run": runs[clean],
            "repetition": np.zeros(n, int), "split": np.full(n, "train"),
            "group": np.array([f"run{r}" for r in runs[clean]]),
        },
        neuroid={
            "neuroid_id": np.array(CHANNELS), "subject": np.full(len(CHANNELS), subject),
            "hemisphere": np.array(["L", "L", "R", "R"]), "x": nowhere, "y": nowhere, "z": nowhere,
            "ncsnr": nowhere, "roi_temporal": np.array([True, False, False, True]),
        },
        time_bin={"start": start, "stop": start + 1 / RATE},
        attrs={
            "dataset": "N170", "space": "sensors", "units": "microvolt", "n_artefacts": int((~clean).sum()),
            "source": json.dumps({p.name: sha256(p) for p in paths}),
        },
    )  # fmt: skip


def check_tree(options: Dataset, subjects: list[str]) -> list[str]:  # noqa: ARG001  there is one
    """Compare runs and presentations with the record."""
    found = {"runs": len(_runs(options)), "presentations": len(_ids(options)[0])}
    for what, expected in EXPECTED.items():
        if found[what] != expected:
            raise InputError(f"{what}: found {found[what]}, expected {expected}.")
    counts = ", ".join(f"{v} {k}" for k, v in found.items())
    return [counts, *report_responses(load_responses(options, "1"), "1")]
