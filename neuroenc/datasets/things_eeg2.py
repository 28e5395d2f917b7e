"""THINGS-EEG2: EEG of ten people seeing 16,740 object pictures (Gifford et al. 2022, NeuroImage 264, 119754).

The preprocessed release is read: 17 occipital and parietal channels at 100 Hz, -0.2 to 0.8 s. 16,540
training pictures were shown 4 times, 200 test pictures 80 times; test concepts are not among the
training concepts. Pictures are in `image_set/`, in the order of `image_metadata.npy`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.arrays import make_responses, make_stimuli
from neuroenc.config import Dataset
from neuroenc.datasets.pixels import locate
from neuroenc.datasets.unpickle import load_arrays
from neuroenc.errors import InputError, invalid
from neuroenc.files import existing, sha256

LICENCE = "as OSF 3jk45 says; the pictures of THINGS are not to be redistributed"
CITATION = "Gifford, Dwivedi, Roig, Cichy (2022), NeuroImage 264, 119754"
PARTS = {"training": ("train", "training_images"), "test": ("test", "test_images")}
EXPECTED = {"training": (16540, 4, 17, 100), "test": (200, 80, 17, 100)}


def _root(options: Dataset) -> Path:
    hint = "Set `dataset.root` to the folder with preprocessed_data and image_set."
    return existing(str(options.root), made_by=hint)


def _pictures(root: Path) -> dict[str, list[tuple[str, str]]]:
    """List (concept, file) of the pictures of each part, in the order they are numbered."""
    path = root / "image_set/image_metadata.npy"
    table = load_arrays(path)
    made = {}
    for part, (short, _) in PARTS.items():
        keys = (f"{short}_img_concepts", f"{short}_img_files")
        for key in keys:
            if not isinstance(table, dict) or key not in table:
                raise InputError(f"{path} has no list {key!r}. Was its layout changed?")
        made[part] = list(zip(map(str, table[keys[0]]), map(str, table[keys[1]]), strict=True))
    return made


def load_stimuli(options: Dataset, subjects: list[str]) -> xr.Dataset:  # noqa: ARG001  all saw the same
    """List the pictures; the concept is caption and group, so that a split can part concepts."""
    root = _root(options)
    rows = [
        (part, concept, f"{PARTS[part][1]}/{concept}/{file}")
        for part, pictures in _pictures(root).items() for concept, file in pictures
    ]  # fmt: skip
    hint = "THINGS hands out the pictures with a password (OSF jum2f); unpack them there."
    located = locate(root / "image_set", [f for _, _, f in rows], hint=hint)
    return make_stimuli(
        {
            "stimulus_id": np.array([Path(f).stem for _, _, f in rows]), "pixel_index": np.arange(len(rows)),
            "file": located, "group": np.array([c for _, c, _ in rows]),
            "split": np.array(["test" if p == "test" else "train" for p, _, _ in rows]),
        },
        attrs={"dataset": "THINGS-EEG2", "pixels": str(root / "image_set")},
        captions=np.array([[c.partition("_")[2].replace("_", " ")] for _, c, _ in rows]),
    )  # fmt: skip


def load_responses(options: Dataset, subject: str) -> xr.Dataset:
    """Read one subject, every repeat a presentation."""
    root = _root(options)
    known = sorted(p.name.removeprefix("sub-") for p in (root / "preprocessed_data").glob("sub-*"))
    if subject not in known:
        raise invalid("subject", subject, known)
    pictures = _pictures(root)
    responses, ids, repeats, splits, groups, source = [], [], [], [], [], {}
    channels: list[str] = []
    times = np.empty(0)
    for part in PARTS:
        path = root / f"preprocessed_data/sub-{subject}/preprocessed_eeg_{part}.npy"
        values, here, at = _epochs(path, len(pictures[part]))
        if channels and (here != channels or not np.array_equal(at, times)):
            raise InputError(f"{path} has other channels or times than the training file of the subject.")
        channels, times = here, at
        n_pictures, n_repeats = values.shape[:2]
        responses.append(values.reshape(n_pictures * n_repeats, *values.shape[2:]).astype(np.float32))
        ids += [Path(f).stem for _, f in pictures[part] for _ in range(n_repeats)]
        groups += [c for c, _ in pictures[part] for _ in range(n_repeats)]
        repeats += list(range(n_repeats)) * n_pictures
        splits += ["test" if part == "test" else "train"] * (n_pictures * n_repeats)
        source[path.name] = sha256(path)
    n, nowhere = len(ids), np.full(len(channels), np.nan, np.float32)
    return make_responses(
        np.concatenate(responses),
        presentation={
            "stimulus_id": np.array(ids), "session": np.full(n, "1"), "run": np.zeros(n, int),
            "repetition": np.array(repeats), "split": np.array(splits), "group": np.array(groups),
        },
        neuroid={
            "neuroid_id": np.array([f"{subject}_{c}" for c in channels]),
            "subject": np.full(len(channels), subject), "hemisphere": np.full(len(channels), ""),
            "x": nowhere, "y": nowhere, "z": nowhere, "ncsnr": nowhere,
            "roi_occipital": np.array([c.startswith(("O", "PO", "I")) for c in channels]),
        },
        time_bin={"start": times, "stop": times + np.diff(times).mean()},
        attrs={
            "dataset": "THINGS-EEG2", "space": "sensors", "units": "z-score (noise-normalised)",
            "source": json.dumps(source),
        },
    )  # fmt: skip


def _epochs(path: Path, n_pictures: int) -> tuple[NDArray[Any], list[str], NDArray[np.float64]]:
    """Read epochs, (n_pictures, n_repeats, n_channels, n_times), names of the channels and times (s)."""
    found = load_arrays(path)
    lacking = {"preprocessed_eeg_data", "ch_names", "times"} - set(found if isinstance(found, dict) else {})
    if lacking:
        raise InputError(f"{path} has no {min(lacking)!r}. Was its layout changed?")
    values = np.asarray(found["preprocessed_eeg_data"])
    if values.ndim != 4 or len(values) != n_pictures:
        raise InputError(
            f"{path} has shape {values.shape}, expected ({n_pictures} pictures, repeats, channels, times)."
        )
    return values, [str(c) for c in found["ch_names"]], np.asarray(found["times"], float)


def check_tree(options: Dataset, subjects: list[str]) -> list[str]:
    """Compare the arrays of the subjects with the record."""
    root = _root(options)
    done = [f"{sum(map(len, _pictures(root).values()))} pictures"]
    for subject in subjects:
        for part, expected in EXPECTED.items():
            path = root / f"preprocessed_data/sub-{subject}/preprocessed_eeg_{part}.npy"
            found = np.asarray(load_arrays(path)["preprocessed_eeg_data"]).shape
            if found != expected:
                raise InputError(f"Subject {subject} {part}: found {found}, expected {expected}.")
        done.append(f"subject {subject}: " + ", ".join(f"{p} {s}" for p, s in EXPECTED.items()))
    return done
