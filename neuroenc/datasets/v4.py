"""Macaque V4 watching photographs: five sessions and more (Cowley, Stan, Pillow, Smith, 2026).

A "subject" here is a session. A picture is known by the hash of its JPEG bytes, not by its row:
session 190925 shows 900 pictures in 1200 rows, and 210322 and 210325 share 600. Any session whose files
are there is read; five have a record.
"""

from __future__ import annotations

import hashlib
import json
import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from neuroenc.arrays import make_responses, make_stimuli
from neuroenc.config import Dataset
from neuroenc.datasets.copies import merge_same
from neuroenc.datasets.pixels import open_zip, read_bytes
from neuroenc.datasets.reading import read_array
from neuroenc.datasets.report import report_responses
from neuroenc.errors import InputError, invalid
from neuroenc.files import existing, sha256

LICENCE = "GPL-3.0 repository (cowleygroup/V4_compact_models); photographs: rights unstated"
CITATION = "Cowley, Stan, Pillow, Smith (2026), Nature, doi 10.1038/s41586-026-10150-1"
ANIMALS = {"190923": "WE", "190925": "WE", "201025": "PE", "210322": "PE", "210325": "PE"}
EXPECTED = {  # session: (sites, rows, distinct pictures)
    "190923": (33, 1200, 1200), "190925": (36, 1200, 900), "201025": (89, 1200, 1200),
    "210322": (59, 1200, 1200), "210325": (50, 640, 640),
}  # fmt: skip


def root_of(options: Dataset) -> Path:
    """Return the folder that holds `images` and `responses`."""
    return existing(str(options.root), made_by="Set NEUROENC_REAL_DATA or `dataset.root` to the recordings.")


@lru_cache(maxsize=8)
def pictures(root: Path, session: str) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    """Identity and file of each row of a session's responses, sorted by name."""
    archive = root / "images" / f"images_{session}.zip"
    if not archive.exists():
        there = existing(archive.parent).glob("images_*.zip")
        raise invalid("subject", session, sorted(p.stem.removeprefix("images_") for p in there))
    members = open_zip(archive, os.getpid()).namelist()
    names = sorted(n for n in members if n.endswith(".jpg") and "__MACOSX" not in n)
    digests = [hashlib.sha256(read_bytes(archive / n)).hexdigest()[:16] for n in names]
    files = [f"{archive.name}/{n}" for n in names]
    return np.array([f"v4-{d}" for d in digests]), np.array(files)


def load_stimuli(options: Dataset, subjects: list[str]) -> xr.Dataset:
    """List the distinct pictures of the sessions."""
    root = root_of(options)
    ids, files = map(np.concatenate, zip(*(pictures(root, s) for s in subjects), strict=True))
    _, first = np.unique(ids, return_index=True)
    first.sort()
    return merge_same(make_stimuli(
        {
            "stimulus_id": ids[first], "pixel_index": np.arange(len(first)), "file": files[first],
            "split": np.full(len(first), "train"), "group": ids[first],
        },
        attrs={"dataset": "V4", "pixels": str(root / "images")},
    ))  # fmt: skip


def load_responses(options: Dataset, subject: str) -> xr.Dataset:
    """Read one session: spike counts in 100 ms, single trials where the release has them.

    Session 210325 has ten repeats, some missing (NaN); the others are means over repeats.
    """
    root = root_of(options)
    ids, _ = pictures(root, subject)
    trials = root / "responses" / f"single_trials_{subject}.npy"
    path = trials if trials.exists() else root / "responses" / f"responses_{subject}.npy"
    values = read_array(path)
    values = values[..., None] if values.ndim == 2 else values
    n_sites, n_rows, n_repeats = values.shape
    if n_rows != len(ids):
        raise InputError(
            f"{path.name} has {n_rows} rows, images_{subject}.zip {len(ids)} pictures; they must "
            "match one to one."
        )
    response = values.transpose(1, 2, 0).reshape(n_rows * n_repeats, n_sites)
    stimulus_id = np.repeat(ids, n_repeats)
    # a row shown again is one more repetition of the same picture
    repetition = pd.Series(stimulus_id).groupby(stimulus_id).cumcount().to_numpy()
    shown = np.isfinite(response).any(1)
    nowhere = np.full(n_sites, np.nan, np.float32)
    return make_responses(
        response[shown],
        presentation={
            "stimulus_id": stimulus_id[shown], "session": np.full(shown.sum(), subject),
            "run": np.zeros(shown.sum(), int), "repetition": repetition[shown],
            "split": np.full(shown.sum(), "train"), "group": stimulus_id[shown],
        },
        neuroid={
            "neuroid_id": np.array([f"{subject}_{i:03d}" for i in range(n_sites)]),
            "subject": np.full(n_sites, ANIMALS.get(subject, subject)), "hemisphere": np.full(n_sites, ""),
            "x": nowhere, "y": nowhere, "z": nowhere, "ncsnr": nowhere,
            "roi_V4": np.ones(n_sites, bool),
        },
        attrs={
            "dataset": "V4", "space": "sites", "units": "spikes in 100 ms",
            "source": json.dumps({path.name: sha256(path)}),
        },
    )  # fmt: skip


def check_tree(options: Dataset, subjects: list[str]) -> list[str]:
    """Compare the sessions with their record of sites, rows and distinct pictures."""
    root = root_of(options)
    done = []
    for session in subjects:
        ids, _ = pictures(root, session)
        shape = read_array(root / "responses" / f"responses_{session}.npy").shape
        found = (*shape, len(np.unique(ids)))
        if found != EXPECTED.get(session, found):
            raise InputError(
                f"Session {session} (sites, rows, distinct pictures): found {found}, expected "
                f"{EXPECTED[session]}."
            )
        done.append(f"session {session}: {found[0]} sites, {found[1]} rows, {found[2]} pictures")
        done += report_responses(load_responses(options, session), session)
    return done
