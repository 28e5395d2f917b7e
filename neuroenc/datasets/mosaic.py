"""MOSAIC: eight fMRI datasets, 93 people, in one pipeline and one space (Lahner et al. 2025).

One file a person and dataset, `sub-XX_DATASET.hdf5`; the subject of `sub-01_NSD.hdf5` is called `NSD01`.
Single trials of GLMsingle on the 91,282 grayordinates of fsLR32k: 29,696 vertices of the left and 29,716 of
the right cortex, then what lies below.

The layout is that of the code that writes the files (create_hdf5_pkl.py of blahner/mosaic-preprocessing on
GitHub) and of the package that reads them (murtylab/mosaic-dataset); the files were not at hand. Traps: a
name may end in a checksum (`_crc32-…`); values that were missing may be filled from their neighbours, so that
`nan_indices` are taken out; trials are not in order of time, and sessions and runs are not told; phase `test`
holds NSD-synthetic of NSD and the artificial pictures of deeprecon as well. The published noise ceilings are
not read, as their unit is not told; nor are regions, which the files do not have.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from neuroenc.arrays import make_responses, make_stimuli
from neuroenc.config import Dataset
from neuroenc.datasets.pixels import locate
from neuroenc.errors import InputError, invalid
from neuroenc.files import existing, sha256
from neuroenc.hdf5 import numbers, open_hdf5

LICENCE = "as of each dataset; pictures belong to others"
CITATION = "Lahner et al. (2025), MOSAIC; and the paper of each dataset"
LEFT, CORTEX, BRAIN = 29_696, 59_412, 91_282  # grayordinates of fsLR32k
NAME = re.compile(r"(sub-\d\d)_([A-Za-z0-9]+?)(?:_crc32-[0-9a-fA-F]+)?\.hdf5")


def _root(options: Dataset) -> Path:
    return existing(str(options.root), made_by="Set `dataset.root` to the folder with sub-01_NSD.hdf5, ….")


def _file(options: Dataset, subject: str) -> Path:
    found: dict[str, list[Path]] = {}
    for path in sorted(_root(options).glob("sub-*_*.hdf5")):
        if parts := NAME.fullmatch(path.name):
            found.setdefault(f"{parts[2]}{parts[1][4:]}", []).append(path)
    if subject not in found:
        raise invalid("subject", subject, found)
    if len(found[subject]) > 1:
        names = ", ".join(path.name for path in found[subject])
        raise InputError(f"{subject} has {len(found[subject])} files: {names}. Leave one of them there.")
    return found[subject][0]


def _trials(file: h5py.File) -> pd.DataFrame:
    """List the betas of an open file: name, file of the picture, split, repetition."""
    group = file.get("betas")
    if not isinstance(group, h5py.Group) or not len(group):
        raise InputError(
            f"{file.filename} has no group `betas` with a dataset for each trial. Fetch it again."
        )
    rows = []
    for name, item in group.items():
        about = dict(item.attrs)
        phase, shown = str(about.get("phase")), about.get("presented_stimulus_filename")
        if phase not in ("train", "test") or not isinstance(shown, str):
            raise InputError(
                f"{file.filename}#betas/{name} has the phase {phase!r} and the picture {shown!r}, expected "
                "train or test and the name of a file. Fetch it again."
            )
        rows.append((name, shown, phase))
    frame = pd.DataFrame(rows, columns=["name", "file", "split"])
    twice = frame.groupby("file")["split"].nunique()
    if (twice > 1).any():
        raise InputError(f"{file.filename} has {twice.idxmax()!r} in training and test. Fetch it again.")
    return frame


def _ids(files: pd.Series) -> NDArray[np.str_]:
    return files.map(lambda name: Path(name).stem).to_numpy(str)


def load_stimuli(options: Dataset, subjects: list[str]) -> xr.Dataset:
    """List what the subjects saw, from `stimuli/` where that folder is there; films are read as films.

    Raises
    ------
    InputError
        A picture is missing; one is trained on in a dataset and tested in another.
    """
    parts = []
    for subject in subjects:
        with open_hdf5(_file(options, subject)) as file:
            parts.append(_trials(file)[["file", "split"]].drop_duplicates())
    table = pd.concat(parts).drop_duplicates().sort_values("file", ignore_index=True)
    twice = table.loc[table["file"].duplicated(), "file"]
    if len(twice):
        raise InputError(
            f"{len(twice)} pictures are trained on by some of {', '.join(subjects)} and tested by others, "
            f"first {twice.iloc[0]!r}. Choose subjects of one dataset."
        )
    ids = _ids(table["file"])
    coordinates = {
        "stimulus_id": ids, "pixel_index": np.arange(len(ids)), "group": ids,
        "split": table["split"].to_numpy(str),
    }  # fmt: skip
    folder = _root(options) / "stimuli"
    if not folder.is_dir():
        return make_stimuli(coordinates, attrs={"dataset": "MOSAIC", "pixels": "not distributed"})
    hint = "They come from the publishers of the datasets."
    coordinates["file"] = locate(folder, table["file"].to_numpy(str), hint=hint)
    return make_stimuli(coordinates, attrs={"dataset": "MOSAIC", "pixels": str(folder)})


def load_responses(options: Dataset, subject: str) -> xr.Dataset:
    """Read the betas of one person of one dataset, trial by trial, scaled as they are published.

    Parameters
    ----------
    options : Dataset
        `mask` `cortex` keeps the vertices of both hemispheres, `brain` all grayordinates.
    subject : str
        Dataset and number: NSD01, BOLD500004, THINGS03.

    Returns
    -------
    Dataset
        Responses; a value that was missing is NaN.

    Raises
    ------
    InputError
        The file is missing or broken; a trial has another number of grayordinates.
    """
    if options.mask not in ("cortex", "brain"):
        raise invalid("dataset.mask", options.mask, ("cortex", "brain"))
    path, n = _file(options, subject), CORTEX if options.mask == "cortex" else BRAIN
    with open_hdf5(path) as file:
        trials = _trials(file)
        values = np.empty((len(trials), n), np.float32)
        for i, name in enumerate(trials["name"]):
            stored = numbers(file, f"betas/{name}")
            if stored.size != BRAIN:
                raise InputError(f"{path}#betas/{name} has shape {stored.shape}, expected {BRAIN} values.")
            missing = np.ravel(stored.attrs.get("nan_indices", [])).astype(np.int64)
            if len(missing) and not 0 <= missing.min() <= missing.max() < BRAIN:
                raise InputError(f"{path}#betas/{name} has nan_indices outside 0 to {BRAIN - 1}.")
            beta = stored[:].ravel().astype(np.float32)
            beta[missing] = np.nan
            values[i] = np.where(np.isfinite(beta), beta, np.nan)[:n]
    ids, index = _ids(trials["file"]), np.arange(n)
    return make_responses(
        values,
        presentation={
            "stimulus_id": ids, "session": np.full(len(ids), "1"), "run": np.zeros(len(ids), int),
            "repetition": pd.Series(ids).groupby(ids).cumcount().to_numpy(),
            "split": trials["split"].to_numpy(str), "group": ids,
        },
        neuroid={
            "neuroid_id": np.array([f"{subject}_{i}" for i in index]), "subject": np.full(n, subject),
            "hemisphere": np.select([index < LEFT, index < CORTEX], ["L", "R"], ""),
            **{key: np.full(n, np.nan, np.float32) for key in ("x", "y", "z", "ncsnr")},
        },
        attrs={
            "dataset": "MOSAIC", "space": "fsLR32k", "units": "z-score of beta",
            "source": json.dumps({path.name: sha256(path)}),
        },
    )  # fmt: skip


def check_tree(options: Dataset, subjects: list[str]) -> list[str]:
    """Read trials of each subject; see that training and test are both there."""
    done = []
    for subject in subjects:
        with open_hdf5(_file(options, subject)) as file:
            trials = _trials(file)
        count = trials["split"].value_counts()
        if len(count) < 2:
            raise InputError(f"{subject} has {count.index[0]} trials alone, expected train and test.")
        n = trials["file"].nunique()
        done.append(f"{subject}: {count['train']} training and {count['test']} test trials of {n} pictures")
    return done
