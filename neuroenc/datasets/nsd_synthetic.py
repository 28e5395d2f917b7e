"""NSD-synthetic: the eight people of NSD seeing 284 synthetic pictures (doi 10.1038/s41467-026-69345-9).

A test set of encoders that were fitted to NSD: it stands in NSD's tree and has the neuroids of `nsd` with the
same options, in the same order. Layout and numbers are those of NSD's manual (cvnlab.slite.page, "Functional
data (nsdsynthetic)") and of the authors' code (github.com/gifale95/NSD-synthetic); the files
were not at hand.

Traps met here: 220 pictures are everyone's, 64 are coloured for each subject in a file of their own; pixels
are in proportion to light, those of NSD are not; they are 714 x 1360 px, of which the 714 in the middle are
the field of NSD's pictures; ten of the 93 trials of a run repeat the picture before.
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
from neuroenc.datasets.nsd import LICENCE as LICENCE
from neuroenc.datasets.nsd import open_reader, read_matlab, regions_of, root_of
from neuroenc.datasets.nsd_spaces import Surface, Volume
from neuroenc.datasets.pixels import n_pictures
from neuroenc.datasets.reading import read_table
from neuroenc.errors import InputError
from neuroenc.files import sha256
from neuroenc.real import zscore

CITATION = "Gifford, Cichy, Naselaris, Kay (2026), Nature Communications, doi 10.1038/s41467-026-69345-9"
DESIGN = "nsddata/experiments/nsdsynthetic/nsdsynthetic_expdesign.mat"
CLASSES = "nsddata/experiments/nsdsynthetic/nsdsyntheticimageinformation.csv"
STIMULI, BRICK = "nsddata_stimuli/stimuli/nsdsynthetic", "imgBrick"
SHARED, OWN, TRIALS, RUNS = 220, 64, 744, 8
EXPECTED = {"pictures of everyone": SHARED, "pictures of a subject": OWN, "trials": TRIALS}


def load_stimuli(options: Dataset, subjects: list[str]) -> xr.Dataset:
    """List the pictures, those of single subjects by their number; the class is the category.

    Raises
    ------
    InputError
        A file is missing, or its pictures are not as many as the table describes.
    """
    root = root_of(options)
    classes = read_table(root / CLASSES).names("Image class")
    if len(classes) != SHARED + OWN:
        raise InputError(
            f"{root / CLASSES} has {len(classes)} rows, expected {SHARED + OWN}. Fetch it again."
        )
    _check_pictures(root, subjects)
    rows = [(i, subjects[0]) for i in range(SHARED)]
    rows += [(i, subject) for subject in subjects for i in range(SHARED, SHARED + OWN)]
    ids, names = np.array([_name(*row) for row in rows]), sorted(set(classes))
    return make_stimuli(
        {
            "stimulus_id": ids, "group": ids, "split": np.full(len(ids), "test"),
            "pixel_index": np.array([i if i < SHARED else i - SHARED for i, _ in rows]),
            "file": np.array([f"{_file('' if i < SHARED else s)}#{BRICK}" for i, s in rows]),
        },
        attrs={
            "dataset": "NSD-synthetic", "pixels": str(root / STIMULI), "linear_light": 1, "central_square": 1
        },
        categories=(names, classes[[i for i, _ in rows]][:, None] == np.array(names)),
    )  # fmt: skip


def _name(number: int, subject: str) -> str:
    """Name a picture by its number, from 0; those beyond the shared ones are a subject's own."""
    return f"nsdsynthetic-{number:03d}" + (f"-subj{subject}" if number >= SHARED else "")


def _file(subject: str) -> str:
    """Name the file of a subject's own pictures, or of everyone's."""
    return f"nsdsynthetic_colorstimuli_subj{subject}.hdf5" if subject else "nsdsynthetic_stimuli.hdf5"


def _check_pictures(root: Path, subjects: list[str]) -> None:
    for subject, expected in [("", SHARED), *((s, OWN) for s in subjects)]:
        path = root / STIMULI / _file(subject)
        if (found := n_pictures(path, BRICK)) != expected:
            raise InputError(f"{path} has {found} pictures, expected {expected}. Fetch it again.")


def session_betas(
    options: Dataset, subject: str, experiment: str, n_trials: int
) -> tuple[Volume | Surface, NDArray[np.bool_], NDArray[np.float64], dict[str, str]]:
    """Read the one session of an experiment beside NSD's own, z-scored over its trials.

    Parameters
    ----------
    options : Dataset
        As for `nsd`: the mask and grid are those of its betas.
    subject : str
    experiment : str
        `nsdsynthetic` or `nsdimagery`.
    n_trials : int
        Of the design.

    Returns
    -------
    reader : Volume or Surface
    mask : bool array
    values : array of shape (n_trials, n_neuroids)
    source : dict
        Hash of each file.

    Raises
    ------
    InputError
        A file is missing, or has another grid or number of trials.
    """
    root = root_of(options)
    reader = open_reader(root, subject, options)
    mask = reader.mask(options.mask)
    folder = reader.folder.with_name(f"{experiment}{options.preparation}")
    values, paths = reader.read(folder, f"betas_{experiment}", mask)
    if len(values) != n_trials:
        raise InputError(f"{paths[0]} holds {len(values)} trials, the design {n_trials}. Fetch both again.")
    # all are test trials: of each neuroid the scale of the session is one gain and one offset
    return reader, mask, zscore(values), {p.name: sha256(p) for p in paths}


def as_responses(
    options: Dataset, subject: str, presentation: dict[str, NDArray[Any]], values: NDArray[Any],
    read: tuple[Volume | Surface, NDArray[np.bool_], dict[str, str]], name: str,
) -> xr.Dataset:  # fmt: skip
    """Return Responses of test stimuli whose neuroids are those of `nsd`; the ceiling is left to repeats."""
    reader, mask, source = read
    ids = presentation["stimulus_id"]
    dataset = make_responses(
        values,
        presentation=presentation | {
            "repetition": pd.Series(ids).groupby(ids).cumcount().to_numpy(),
            "split": np.full(len(ids), "test"), "group": ids,
        },
        neuroid=reader.coordinates(mask)
        | {"subject": np.full(int(mask.sum()), subject), "ncsnr": np.full(int(mask.sum()), np.nan, "f4")}
        | regions_of(reader, options.regions, mask),
        attrs={
            "dataset": name, "space": options.space, "preparation": options.preparation,
            "units": "z-score within session of percent signal change", "normalised_on": "session",
            "source": json.dumps(source), **reader.grid(),
        },
    )  # fmt: skip
    for key, index in reader.surface(mask).items():
        dataset[f"surface_{key}"] = (f"vertex_{key}", index)
    return dataset


def load_responses(options: Dataset, subject: str) -> xr.Dataset:
    """Read the betas of one subject, of all 744 trials; odd runs are of the fixation task, even of one-back.

    Parameters
    ----------
    options : Dataset
        `space`, `preparation`, `mask` and `regions` as for `nsd`.
    subject : str
        Two digits.

    Returns
    -------
    Dataset
        Responses, of the neuroids of `nsd`.

    Raises
    ------
    InputError
        A file is missing, or of another type, grid or number of trials; the design names a picture that is
        not there.
    """
    path = root_of(options) / DESIGN
    order = read_matlab(path, "masterordering")[0].ravel()
    if len(order) != TRIALS or order.min() < 1 or order.max() > SHARED + OWN:
        raise InputError(
            f"{path} has {len(order)} trials of pictures {order.min()} to {order.max()}, expected {TRIALS} "
            f"of pictures 1 to {SHARED + OWN}. Fetch it again."
        )
    reader, mask, values, source = session_betas(options, subject, "nsdsynthetic", TRIALS)
    presentation = {
        "stimulus_id": np.array([_name(i - 1, subject) for i in order.tolist()]),
        "session": np.full(TRIALS, "nsdsynthetic"),
        "run": np.repeat(np.arange(1, RUNS + 1), TRIALS // RUNS),
    }
    return as_responses(options, subject, presentation, values, (reader, mask, source), "NSD-synthetic")


def check_tree(options: Dataset, subjects: list[str]) -> list[str]:
    """Compare pictures, trials and grid with the record; everything is read."""
    load_stimuli(options, subjects)
    shown = ", ".join(f"{n} {what}" for what, n in EXPECTED.items())
    return [f"subject {s}: {load_responses(options, s).sizes['neuroid']} neuroids, {shown}" for s in subjects]
