"""Single units of the human medial temporal lobe while pictures were learned and recognised.

Faraut et al. (2018, doi 10.1038/sdata.2018.10), Chandravadia et al. (2020); DANDI:000004. All sessions saw
the same pictures in the same order, so the units of all patients stand side by side as one "subject", `all`.
Fifty pictures appear in both phases. Areas are numbered as in the source, not named.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from neuroenc.arrays import make_responses, make_stimuli
from neuroenc.config import Dataset
from neuroenc.datasets.copies import merge_same
from neuroenc.datasets.pixels import locate
from neuroenc.datasets.report import report_responses
from neuroenc.errors import InputError, invalid
from neuroenc.files import existing, sha256

LICENCE = "CC-BY-4.0 (recordings); rights of the pictures unstated: do not publish them"
CITATION = "Faraut et al. (2018), Scientific Data 5, 180010"
FILE = "mtl_variant1_timecourses.npz"
EXPECTED = {"units": 596, "trials": 200, "bins": 50, "pictures": 150, "sessions": 25}


def _read(options: Dataset) -> tuple[Path, dict[str, Any]]:
    root = existing(str(options.root), made_by="Set NEUROENC_REAL_DATA or `dataset.root` to the recordings.")
    try:
        with np.load(existing(root / FILE), allow_pickle=False) as file:
            found = {k: file[k] for k in file.files}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"Cannot read {root / FILE}: {error}. Fetch it again.") from None
    lacking = {"counts", "bin_edges_s", "image", "category", "phase", "patient", "session", "area"} - set(
        found
    )
    if lacking:
        raise InputError(f"{root / FILE} has no array {min(lacking)!r}. Was its layout changed?")
    found["image"] = np.array([str(i).removeprefix("newolddelay/") for i in found["image"]])
    return root, found


def load_stimuli(options: Dataset, subjects: list[str]) -> xr.Dataset:  # noqa: ARG001  all saw the same
    """List the pictures."""
    root, found = _read(options)
    images, first = np.unique(found["image"], return_index=True)
    category = found["category"][first].astype(str)
    names = sorted(set(category))
    return merge_same(make_stimuli(
        {
            "stimulus_id": images, "pixel_index": np.arange(len(images)),
            "file": locate(root / "images", images), "split": np.full(len(images), "train"), "group": images,
        },
        attrs={"dataset": "MTL units", "pixels": str(root / "images")},
        captions=category[:, None],
        categories=(names, np.array([[c == n for n in names] for c in category], np.float32)),
    ))  # fmt: skip


def load_responses(options: Dataset, subject: str) -> xr.Dataset:
    """Read all units: spikes in 50 ms from half a second before a picture to two after."""
    if subject != "all":
        raise invalid("subject", subject, ["all"])
    root, found = _read(options)
    counts, edges, image = found["counts"], found["bin_edges_s"], found["image"]
    n_units, n_trials, n_bins = counts.shape
    if n_trials != len(image) or n_bins != len(edges) - 1:
        raise InputError(
            f"{FILE}: counts have shape {counts.shape}, expected (units, {len(image)} trials, "
            f"{len(edges) - 1} bins)."
        )
    nowhere = np.full(n_units, np.nan, np.float32)
    phase = (found["phase"] == "recog").astype(int)
    return make_responses(
        counts.transpose(1, 0, 2),
        presentation={
            "stimulus_id": image, "session": np.full(n_trials, "1"), "run": phase,
            "repetition": pd.Series(image).groupby(image).cumcount().to_numpy(),
            "split": np.full(n_trials, "train"), "group": image,
        },
        neuroid={
            "neuroid_id": np.array([f"p{p}s{s}u{u}" for u, (p, s) in
                                    enumerate(zip(found["patient"], found["session"], strict=True))]),
            "subject": found["patient"].astype(str), "hemisphere": np.full(n_units, ""),
            "x": nowhere, "y": nowhere, "z": nowhere, "ncsnr": nowhere,
            **{f"roi_area{a}": found["area"] == a for a in np.unique(found["area"])},
        },
        time_bin={"start": edges[:-1], "stop": edges[1:]},
        attrs={
            "dataset": "MTL units", "space": "units", "units": "spikes in 50 ms",
            "source": json.dumps({FILE: sha256(root / FILE)}),
        },
    )  # fmt: skip


def check_tree(options: Dataset, subjects: list[str]) -> list[str]:  # noqa: ARG001  there is one file
    """Compare units, trials, bins and pictures with the record."""
    _, found = _read(options)
    units, trials, bins = found["counts"].shape
    counted = {
        "units": units, "trials": trials, "bins": bins, "pictures": len(np.unique(found["image"])),
        "sessions": len(set(zip(found["patient"], found["session"], strict=True))),
    }  # fmt: skip
    for what, expected in EXPECTED.items():
        if counted[what] != expected:
            raise InputError(f"{what}: found {counted[what]}, expected {expected}.")
    counts = ", ".join(f"{v} {k}" for k, v in counted.items())
    return [counts, *report_responses(load_responses(options, "all"), "all")]
