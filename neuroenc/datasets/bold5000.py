"""BOLD5000: four people seeing 4,916 pictures of COCO, ImageNet and scenes (Chang et al. 2019).

Release 2.0, betas of GLMsingle (type D), or with `preparation: openneuro` the volumes of ds001499.
`mask: rois` reads the ten regions that come with either, both hemispheres; `mask: brain` the whole brain mask
of release 2.0. Sessions are z-scored by themselves, as the authors prescribe. A picture shown again is a
repeat; 113 were shown more than once. Texts of the pictures: `bold5000_texts`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from neuroenc.arrays import make_responses, make_stimuli
from neuroenc.config import Dataset
from neuroenc.datasets import bold5000_openneuro
from neuroenc.datasets.bold5000_texts import texts
from neuroenc.datasets.images import read_image, read_mask, read_values
from neuroenc.datasets.reading import read_array, read_table
from neuroenc.documents import read_json, read_text
from neuroenc.errors import InputError, invalid
from neuroenc.files import existing, sha256
from neuroenc.real import zscore

LICENCE = "CC0 (OpenNeuro ds001499); release 2.0 as figshare 14456124 says; pictures belong to others"
CITATION = "Chang et al. (2019), Scientific Data 6, 49"
# sessions with ten runs instead of nine
LONG = {"CSI1": (1, 2, 3, 5, 7, 10, 15), "CSI2": (1, 3, 4, 5, 11, 12, 14), "CSI3": (1, 3, 5, 6, 7, 11, 15),
        "CSI4": (1, 4, 9)}  # fmt: skip
N_SESSIONS = {"CSI1": 15, "CSI2": 15, "CSI3": 15, "CSI4": 9}
PER_RUN = 37
REGIONS = ("EarlyVis", "LOC", "OPA", "PPA", "RSC")
BETAS = "GLMbetas-TYPED-FITHRF-GLMDENOISE-RR"
RAW = "openneuro"  # the preparation of those who have ds001499
RECORD = "expected.json"  # of a simulated tree: its runs and trials
PICTURES = "BOLD5000_Stimuli/Scene_Stimuli/Presented_Stimuli"
FOLDERS = ("COCO", "ImageNet", "Scene")


def _root(options: Dataset) -> Path:
    return existing(str(options.root), made_by="Set `dataset.root` to the folder with CSI1_imgnames.txt.")


def runs_of(subject: str, root: Path | None = None) -> NDArray[np.int64]:
    """Return the number of runs of each session; of a simulated tree those its record says."""
    if root is not None and (root / RECORD).exists():
        return np.array(read_json(root / RECORD, "runs")["runs"], np.int64)
    return np.array([10 if s in LONG[subject] else 9 for s in range(1, N_SESSIONS[subject] + 1)])


def _name(root: Path) -> str:
    return str(read_json(root / RECORD, "name")["name"]) if (root / RECORD).exists() else "BOLD5000"


def _trials(options: Dataset, subject: str) -> tuple[NDArray[np.str_], NDArray[np.int64], NDArray[np.int64]]:
    """Return picture, session and run of each trial."""
    if subject not in LONG:
        raise invalid("subject", subject, LONG)
    root = _root(options)
    if options.preparation == RAW:
        table = bold5000_openneuro.runs(root, subject, runs_of(subject))
        shown = [read_table(Path(str(p))).names("ImgName") for p in table["events"]]
        per_run = [len(s) for s in shown]
        names = np.array([n.removeprefix("rep_") for n in np.concatenate(shown)])
        session, run = (np.repeat(table[k].to_numpy(int), per_run) for k in ("session", "run"))
        return names, session, run
    path = root / f"{subject}_imgnames.txt"
    names = np.array([line.strip() for line in read_text(path).splitlines() if line.strip()])
    names = np.array([n.removeprefix("rep_") for n in names])
    runs = runs_of(subject, root)
    expected = int(runs.sum()) * PER_RUN
    if len(names) != expected:
        raise InputError(f"{path} names {len(names)} trials, expected {expected}. Fetch it again.")
    session = np.repeat(np.arange(1, len(runs) + 1), runs * PER_RUN)
    run = np.concatenate([np.repeat(np.arange(1, n + 1), PER_RUN) for n in runs])
    return names, session, run


def load_stimuli(options: Dataset, subjects: list[str]) -> xr.Dataset:
    """List the pictures of the subjects, with texts where those are there (`bold5000_texts`)."""
    root = _root(options)
    names = np.unique(np.concatenate([_trials(options, s)[0] for s in subjects]))
    files = []
    for name in names:
        found = [f"{f}/{name}" for f in FOLDERS if (root / PICTURES / f / name).exists()]
        if not found:
            raise InputError(
                f"The picture {str(name)!r} is in none of {', '.join(FOLDERS)} of {root / PICTURES}."
            )
        files.append(found[0])
    kind = np.array([f.partition("/")[0] for f in files])
    return make_stimuli(
        {
            "stimulus_id": names, "pixel_index": np.arange(len(names)), "file": np.array(files),
            "split": np.full(len(names), "train"), "group": names,
        },
        attrs={"dataset": _name(root), "pixels": str(root / PICTURES)}, captions=texts(root, files),
        categories=(list(FOLDERS), np.array([[k == f for f in FOLDERS] for k in kind], np.float32)),
    )  # fmt: skip


def load_responses(options: Dataset, subject: str) -> xr.Dataset:
    """Read one subject, each trial a presentation."""
    root = _root(options)
    names, session, run = _trials(options, subject)
    if options.mask not in (("rois",) if options.preparation == RAW else ("rois", "brain")):
        raise invalid("dataset.mask", options.mask, ("rois", "brain"))
    if options.preparation == RAW:
        values, neuroid, source = bold5000_openneuro.load(root, subject, REGIONS, runs_of(subject), PER_RUN)
        grid: dict[str, Any] = {}
    else:
        values, neuroid, source, grid = (_regions if options.mask == "rois" else _brain)(
            root, subject, session
        )
    for number in np.unique(session):
        rows = session == number
        values[rows] = zscore(values[rows])
    n = len(neuroid["neuroid_id"])
    return make_responses(
        values,
        presentation={
            "stimulus_id": names, "session": session.astype(str), "run": run,
            "repetition": pd.Series(names).groupby(names).cumcount().to_numpy(),
            "split": np.full(len(names), "train"), "group": names,
        },
        neuroid=neuroid | {"subject": np.full(n, subject), "ncsnr": np.full(n, np.nan, np.float32)},
        attrs={
            "dataset": _name(root), "space": "T1w", "units": "z-score within session", **grid,
            "transductive": "each session is z-scored by itself", "source": json.dumps(source),
        },
    )  # fmt: skip


def _regions(
    root: Path, subject: str, session: NDArray[np.int64]
) -> tuple[NDArray[np.float32], dict[str, Any], dict[str, str], dict[str, Any]]:
    parts, ids, sides, region, source = [], [], [], [], {}
    for side in ("LH", "RH"):
        for name in REGIONS:
            path = root / f"BOLD5000_GLMsingle_ROI_betas/py/{subject}_{BETAS}_allses_{side}{name}.npy"
            part = read_array(path)
            if part.ndim != 2 or len(part) != len(session):
                raise InputError(f"{path} has shape {part.shape}, expected ({len(session)} trials, voxels).")
            parts.append(part.astype(np.float32))
            ids += [f"{subject}_{side}{name}{i}" for i in range(part.shape[1])]
            sides += [side[0]] * part.shape[1]
            region += [name] * part.shape[1]
            source[path.name] = sha256(path)
    nowhere = np.full(len(ids), np.nan, np.float32)
    neuroid = {
        "neuroid_id": np.array(ids), "hemisphere": np.array(sides), "x": nowhere, "y": nowhere, "z": nowhere,
        **{f"roi_{name}": np.array(region) == name for name in REGIONS},
    }  # fmt: skip
    return np.concatenate(parts, 1), neuroid, source, {}


def _brain(
    root: Path, subject: str, session: NDArray[np.int64]
) -> tuple[NDArray[np.float32], dict[str, Any], dict[str, str], dict[str, Any]]:
    mask = root / f"{subject}_brainmask.nii.gz"
    inside = read_mask(mask)
    values = np.empty((len(session), inside.sum()), np.float32)
    source = {}
    for number in np.unique(session):
        path = root / f"{subject}_{BETAS}_ses-{number:02d}.nii.gz"
        image = read_image(existing(path))
        rows = np.flatnonzero(session == number)
        if image.shape != (*inside.shape, len(rows)):
            raise InputError(f"{path} has shape {image.shape}, expected {(*inside.shape, len(rows))}.")
        for row, volume in zip(rows, range(len(rows)), strict=True):  # never a whole session as floats
            values[row] = read_values(image, (..., volume))[inside]
        source[path.name] = sha256(path)
    where = np.argwhere(inside)
    neuroid = {
        "neuroid_id": np.array([f"{subject}_{i}-{j}-{k}" for i, j, k in where]),
        "hemisphere": np.full(len(where), ""),
        **{axis: where[:, n].astype(np.float32) for n, axis in enumerate("xyz")},
    }
    return values, neuroid, source, {
        "grid_shape": np.array(inside.shape), "affine": np.asarray(read_image(mask).affine).ravel(),
    }  # fmt: skip


def check_tree(options: Dataset, subjects: list[str]) -> list[str]:
    """Compare the trials of the subjects with the record, and see that their pictures are there."""
    done = [f"{load_stimuli(options, subjects).sizes['stimulus']} pictures"]
    for subject in subjects:
        names, session, _ = _trials(options, subject)
        done.append(f"subject {subject}: {len(names)} trials in {session.max()} sessions")
    return done
