"""TVSD: two macaques seeing the pictures of THINGS, 1,024 electrodes in V1, V4 and IT (Papale et al. 2025).

Multi-unit activity of monkeys F and N: 22,248 training pictures shown once (12 of each of 1,854 concepts) and
100 test pictures shown 30 times. `THINGS_normMUA.mat` is read, one value for each picture and electrode; with
`preparation: trials` the time courses of `THINGS_MUA_trials.mat` (about 58 GB a monkey), in bins of 20 ms.

The layout is that of the authors' README and `_code/norm_MUA.m` (gin.g-node.org/paolo_papale/TVSD); the files
were not at hand. Traps met here: MATLAB's HDF5 shows the axes reversed; channels of the trials stand in the
order of the recording system, those of normMUA in that of the arrays; V4 and IT change places between the
monkeys; a path is written with a backslash; test pictures are of concepts that were trained on, so that
a group is a picture, not a concept; the authors scale training responses by each day's *test* trials, which
`preparation: trials` does not. Repeats beyond those a picture has are filled with zeros by their code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from tqdm import tqdm

from neuroenc.arrays import make_responses, make_stimuli
from neuroenc.blocks import blocks
from neuroenc.config import Dataset
from neuroenc.datasets.nsd import read_matlab
from neuroenc.datasets.pixels import locate
from neuroenc.errors import InputError, invalid
from neuroenc.files import existing, sha256
from neuroenc.hdf5 import numbers, open_hdf5
from neuroenc.real import deviation, real32

LICENCE = "CC-BY-4.0 (recordings); the pictures of THINGS are not to be redistributed"
CITATION = "Papale, Wang, Self, Roelfsema (2025), Neuron 113, 539-553"
N_ELECTRODES, ON_ARRAY = 1024, 64
REGIONS = {  # number of electrodes, in the order of the arrays
    "F": (("V1", 512), ("IT", 320), ("V4", 192)),
    "N": (("V1", 512), ("V4", 256), ("IT", 256)),
}
EXPECTED = {"training pictures": 22_248, "test pictures": 100, "repeats": 30}
BIN = 20  # ms
PART = 100  # trials of time courses that are read at a time


class Pictures(NamedTuple):
    """What a monkey saw, in the order of its numbers."""

    train: list[str]
    test: list[str]
    """Files, concept/name.jpg"""


def _folder(options: Dataset, subject: str) -> Path:
    root = existing(str(options.root), made_by="Set `dataset.root` to the folder with monkeyF and monkeyN.")
    if subject not in REGIONS:
        raise invalid("subject", subject, REGIONS)
    return existing(root / f"monkey{subject}")


def _pictures(folder: Path) -> Pictures:
    """Read which pictures the numbers stand for."""
    path = existing(folder / "_logs/things_imgs.mat")
    with open_hdf5(path) as file:
        found = [_texts(file, f"{part}_imgs/things_path", path) for part in ("train", "test")]
    for names in found:
        odd = [n for n in names if n.count("/") != 1 or not n.lower().endswith(".jpg")]
        if odd or len(set(names)) < len(names):
            what = repr(odd[0]) if odd else "a picture twice"
            raise InputError(f"{path} names {what}, expected concept\\name.jpg, each once. Fetch it again.")
    return Pictures(*found)


def _texts(file: h5py.File, key: str, path: Path) -> list[str]:
    """Read a field of a MATLAB structure array whose values are text, with / between folders."""
    cells = file.get(key)
    if not isinstance(cells, h5py.Dataset) or h5py.check_ref_dtype(cells.dtype) is not h5py.Reference:
        raise InputError(f"{path} has no list of texts {key!r}. Was its layout changed?")
    found = []
    for reference in np.ravel(cells[()]):
        text = file[reference] if reference else None
        if not isinstance(text, h5py.Dataset) or text.dtype != np.uint16 or not text.size:
            raise InputError(f"{path}#{key} holds something else than text. Was its layout changed?")
        found.append("".join(map(chr, np.ravel(text[()]))).replace("\\", "/"))
    return found


def load_stimuli(options: Dataset, subjects: list[str]) -> xr.Dataset:
    """List the pictures that any of the monkeys saw; the concept is the caption. They are in `images/`.

    Raises
    ------
    InputError
        The list is broken, or a picture is missing; one is trained on by one monkey and tested by the other.
    """
    split: dict[str, str] = {}
    for subject in subjects:
        shown = _pictures(_folder(options, subject))
        for file, side in [*((f, "train") for f in shown.train), *((f, "test") for f in shown.test)]:
            if split.setdefault(file, side) != side:
                raise InputError(f"{file} is a training and a test picture. Choose one monkey.")
    root, files = existing(str(options.root)), list(split)
    hint = "THINGS hands out the pictures with a password (OSF jum2f); unpack them there."
    ids = np.array([Path(f).stem for f in files])
    return make_stimuli(
        {
            "stimulus_id": ids, "group": ids, "split": np.array(list(split.values())),
            "pixel_index": np.arange(len(files)), "file": locate(root / "images", files, hint=hint),
        },
        attrs={"dataset": "TVSD", "pixels": str(root / "images")},
        captions=np.array([[f.partition("/")[0].replace("_", " ")] for f in files]),
    )  # fmt: skip


def load_responses(options: Dataset, subject: str) -> xr.Dataset:
    """Read one monkey, `F` or `N`; every repeat of a test picture is a presentation.

    Parameters
    ----------
    options : Dataset
        `preparation`: `trials` reads time courses, anything else the published averages.
    subject : str

    Returns
    -------
    Dataset
        Responses, electrodes in the order of the arrays. Averages are scaled as published; time courses are
        z-scored for each day and electrode by the mean and deviation of that day's training trials, over all
        times.

    Raises
    ------
    InputError
        A file is missing or broken, or its numbers of pictures, trials or electrodes do not fit.
    """
    folder = _folder(options, subject)
    shown = _pictures(folder)
    read = _trials if options.preparation == "trials" else _averages
    values, rows, bins, about = read(folder, shown)
    files, side = shown.train + shown.test, rows["side"].to_numpy(str)
    ids = np.array([Path(files[i]).stem for i in rows["picture"]])
    electrode = np.arange(N_ELECTRODES)
    region = np.repeat([r for r, _ in REGIONS[subject]], [n for _, n in REGIONS[subject]])
    nowhere = np.full(N_ELECTRODES, np.nan, np.float32)
    return make_responses(
        values,
        presentation={
            "stimulus_id": ids, "group": ids, "split": side, "session": rows["day"].to_numpy(str),
            "run": np.zeros(len(ids), int), "repetition": pd.Series(ids).groupby(ids).cumcount().to_numpy(),
        },
        neuroid={
            "neuroid_id": np.array([
                f"{subject}_{i // ON_ARRAY + 1:02d}-{i % ON_ARRAY + 1:02d}" for i in electrode
            ]),
            "subject": np.full(N_ELECTRODES, subject), "hemisphere": np.full(N_ELECTRODES, ""),
            "x": nowhere, "y": nowhere, "z": nowhere, "ncsnr": nowhere,
            **{f"roi_{r}": region == r for r in ("V1", "V4", "IT")},
        },
        time_bin=bins,
        attrs={"dataset": "TVSD", "space": "electrodes", **about},
    )  # fmt: skip


Read = tuple[NDArray[np.float32], pd.DataFrame, dict[str, Any] | None, dict[str, str]]


def _averages(folder: Path, shown: Pictures) -> Read:
    """Read the published averages: training pictures, and each repeat of the test pictures."""
    path = existing(folder / "THINGS_normMUA.mat")
    n_train, n_test = len(shown.train), len(shown.test)
    with open_hdf5(path) as file:
        train, test = numbers(file, "train_MUA"), numbers(file, "test_MUA_reps")
        if train.shape != (n_train, N_ELECTRODES) or test.shape[1:] != (n_test, N_ELECTRODES):
            raise InputError(
                f"{path} has training responses of shape {train.shape} and tests of {test.shape}, expected "
                f"({n_train}, {N_ELECTRODES}) and (repeats, {n_test}, {N_ELECTRODES}), axes reversed."
            )
        n_repeats = len(test)
        values = np.empty((n_train + n_repeats * n_test, N_ELECTRODES), np.float32)
        for part in blocks(n_train, 2048):
            values[part] = real32(train[part], "train_MUA")
        for repeat in range(n_repeats):
            start = n_train + repeat * n_test
            values[start : start + n_test] = real32(test[repeat], "test_MUA_reps")
    there = np.append(np.ones(n_train, bool), (values[n_train:] != 0).any(1))  # else no such repeat
    rows = pd.DataFrame({
        "picture": [*range(n_train), *(np.tile(np.arange(n_test), n_repeats) + n_train)],
        "side": ["train"] * n_train + ["test"] * (n_test * n_repeats), "day": "1",
    })  # fmt: skip
    about = {
        "units": "mean of V1 25 to 125, V4 50 to 150, IT 75 to 175 ms, z-scored by each day's test trials",
        "source": json.dumps({path.name: sha256(path)}),
    }
    return values[there], rows.loc[there], None, about


def _trials(folder: Path, shown: Pictures) -> Read:
    """Read time courses in bins, a part of the trials at a time, electrodes in the order of the arrays."""
    path = existing(folder / "THINGS_MUA_trials.mat")
    (order,) = read_matlab(folder / "_logs/1024chns_mapping_20220105.mat", "mapping")
    if sorted(order.ravel()) != list(range(1, N_ELECTRODES + 1)):
        raise InputError(f"{folder / '_logs'}: the mapping of channels is no order of 1 to {N_ELECTRODES}.")
    with open_hdf5(path) as file:
        mua, table = numbers(file, "ALLMUA"), numbers(file, "ALLMAT")[()]
        rows = _shown(table, shown, path)
        time = np.ravel(numbers(file, "tb")[()]).astype(np.float64)
        if mua.shape != (len(time), len(rows), N_ELECTRODES) or (np.diff(time) != 1).any():
            raise InputError(
                f"{path} has activity of shape {mua.shape} at {len(time)} times, expected (times, "
                f"{len(rows)}, {N_ELECTRODES}) at steps of 1 ms, axes reversed."
            )
        edges = np.arange(0, len(time) - BIN + 1, BIN)
        values = np.empty((len(rows), N_ELECTRODES, len(edges)), np.float32)
        for part in tqdm(blocks(len(rows), PART), f"trials of {folder.name}", disable=None):
            found = mua[: len(edges) * BIN, part][:, :, order.ravel() - 1]
            binned = found.reshape(len(edges), BIN, *found.shape[1:]).mean(1)
            values[part] = real32(binned.transpose(1, 2, 0), "ALLMUA")
    _scale(values, rows)
    start = time[edges] / 1000
    about = {
        "units": "z-score within day of multi-unit activity", "normalised_on": "split=train",
        "source": json.dumps({path.name: sha256(path)}),
    }  # fmt: skip
    return values, rows, {"start": start, "stop": start + BIN / 1000}, about


def _shown(table: NDArray[Any], shown: Pictures, path: Path) -> pd.DataFrame:
    """Read picture, side and day of each trial from ALLMAT; the day is its last column."""
    if table.ndim != 2 or table.shape[0] not in (6, 7) or not np.isfinite(table).all():
        raise InputError(
            f"{path}#ALLMAT has shape {table.shape}, expected (6 or 7, trials) without gaps, axes reversed."
        )
    train, test = table[1].astype(int), table[2].astype(int)
    n_train, n_test = len(shown.train), len(shown.test)
    wrong = ((train > 0) == (test > 0)) | (train > n_train) | (test > n_test)
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"{path}#ALLMAT: trial {first + 1} shows training picture {train[first]} and test picture "
            f"{test[first]}, expected one of {n_train} or of {n_test}, and 0. Fetch it again."
        )
    return pd.DataFrame({
        "picture": np.where(train > 0, train - 1, n_train + test - 1),
        "side": np.where(train > 0, "train", "test"), "day": table[-1].astype(int).astype(str),
    })  # fmt: skip


def _scale(values: NDArray[np.float32], rows: pd.DataFrame) -> None:
    """z-score each day and electrode by that day's training trials, in place."""
    day, training = rows["day"].to_numpy(), (rows["side"] == "train").to_numpy()
    for name in np.unique(day):
        here = np.flatnonzero(day == name)
        base = np.flatnonzero((day == name) & training)
        if len(base) < 2:
            raise InputError(f"Day {name} has {len(base)} training trials, expected two or more to scale by.")
        for part in blocks(values.shape[1], ON_ARRAY):
            known = values[base, part].astype(np.float64)
            with np.errstate(invalid="ignore"):  # an electrode without any value
                mean = np.nansum(known, (0, 2)) / np.isfinite(known).sum((0, 2))
            spread = deviation(known, (0, 2), missing=True)
            spread = np.where(spread > 0, spread, np.nan)
            values[here, part] = (values[here, part] - mean[:, None]) / spread[:, None]


def check_tree(options: Dataset, subjects: list[str]) -> list[str]:
    """Compare pictures and repeats with the record."""
    done = []
    for subject in subjects:
        shown, found = _pictures(_folder(options, subject)), load_responses(options, subject)
        counts = {
            "training pictures": len(shown.train), "test pictures": len(shown.test),
            "repeats": int(found["repetition"].max()) + 1,
        }  # fmt: skip
        for what, expected in EXPECTED.items():
            if counts[what] != expected:
                raise InputError(f"Monkey {subject} {what}: found {counts[what]}, expected {expected}.")
        done.append(f"monkey {subject}: " + ", ".join(f"{n} {what}" for what, n in counts.items()))
    return done
