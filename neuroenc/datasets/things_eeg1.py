"""THINGS-EEG1: EEG of fifty people seeing 22,248 object pictures in rapid streams (Grootswagers et al. 2022).

Twelve pictures of each of 1,854 concepts, once each, at ten a second and for 50 ms; 200 validation pictures
twelve times at the end. The authors' continuous recordings are read (`derivatives/eeglab/*.set`, 250 Hz),
cut at their markers `E 1`; what was shown comes from `sub-XX_task-rsvp_events`, a row for each marker.

The layout is that of OpenNeuro ds003825 as the authors' own script of the experiment writes the table (OSF
hd6zk) and as several repositories read both, one of them after looking at the files; they were not at hand.
Traps met here: onsets of the table are samples or seconds, so that the markers are used; paths have
backslashes; the table is .csv as well as .tsv; subjects 49 and 50 had another cap; some subjects lack the
validation pictures, and where markers and rows differ in number nothing is read. Pictures follow each other
faster than responses fade: a baseline would hold the response to the picture before, so none is taken off.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from tqdm import tqdm

from neuroenc.arrays import make_responses, make_stimuli
from neuroenc.blocks import blocks
from neuroenc.config import Dataset
from neuroenc.datasets.epochs import places
from neuroenc.datasets.pixels import locate
from neuroenc.datasets.reading import read_table
from neuroenc.errors import InputError, invalid, reason
from neuroenc.files import existing, sha256
from neuroenc.real import deviation

LICENCE = "CC0 (recordings, OpenNeuro ds003825); the pictures of THINGS are not to be redistributed"
CITATION = "Grootswagers, Zhou, Robinson, Hebart, Carlson (2022), Scientific Data 9, 3"
EXPECTED = {"training": 22_248, "validation": 2400}
MARKER = "E1"  # an onset; blanks are taken out
WINDOW, BIN = (-0.1, 0.8), 0.02  # s around the onset, and of a bin
PART = 512  # trials that are cut at a time


def _root(options: Dataset) -> Path:
    return existing(
        str(options.root), made_by="Set `dataset.root` to the folder with sub-01 and derivatives."
    )


def _trials(options: Dataset, subject: str) -> pd.DataFrame:
    """List all trials: concept, file, test, run, target, in the order in which they were shown."""
    root = _root(options)
    place = root / f"sub-{subject}/eeg/sub-{subject}_task-rsvp_events"
    if not place.parent.is_dir():
        known = sorted(p.name.removeprefix("sub-") for p in root.glob("sub-*") if p.is_dir())
        raise invalid("subject", subject, known)
    path = next((p for e in (".tsv", ".csv") if (p := place.with_name(place.name + e)).exists()), None)
    table = read_table(path or place.with_name(f"{place.name}.tsv"))
    names = [n.replace("\\", "/").split("/") for n in table.names("stim").tolist()]
    odd = [n for n in names if len(n) < 2 or not n[-1].lower().endswith(".jpg")]
    if odd:
        raise InputError(f"{table.path} shows {'/'.join(odd[0])!r}, expected stimuli/concept/name.jpg.")
    return pd.DataFrame({
        "concept": [n[-2] for n in names], "file": ["/".join(n[-2:]) for n in names],
        "test": table.flags("isteststim"), "target": table.flags("istarget"),
        "run": table.integers("sequencenumber", 0) + 1,
    })  # fmt: skip


def _tested(trials: pd.DataFrame) -> NDArray[np.bool_]:
    """Say which trials show a picture of the validation set, wherever they stand."""
    return trials["file"].isin(set(trials["file"][trials["test"]])).to_numpy()


def load_stimuli(options: Dataset, subjects: list[str]) -> xr.Dataset:
    """List the pictures; the concept is the caption. Pictures are in `images/<concept>/`.

    Raises
    ------
    InputError
        A table or a picture is missing.
    """
    every = pd.concat([_trials(options, s) for s in subjects])
    every["test"] = _tested(every)
    table = every.drop_duplicates("file")
    hint = "THINGS hands out the pictures with a password (OSF jum2f); unpack them there."
    folder = _root(options) / "images"
    ids = table["file"].map(lambda f: Path(f).stem).to_numpy(str)
    return make_stimuli(
        {
            "stimulus_id": ids, "group": ids, "split": np.where(table["test"], "test", "train"),
            "pixel_index": np.arange(len(table)), "file": locate(folder, table["file"].tolist(), hint=hint),
        },
        attrs={"dataset": "THINGS-EEG1", "pixels": str(folder)},
        captions=np.char.replace(table["concept"].to_numpy(str), "_", " ")[:, None],
    )  # fmt: skip


def _open(path: Path) -> Any:
    import mne

    existing(path)
    try:
        raw = mne.io.read_raw_eeglab(path, preload=False, verbose="error")
        where = {Path(f).resolve().parent for f in raw.filenames}
    except Exception as error:  # noqa: BLE001  the reader has errors of every kind
        raise InputError(f"Cannot read {path}: {reason(error)}. Fetch it and its .fdt again.") from None
    if where != {path.resolve().parent}:
        raise InputError(f"{path} takes its values from another folder. Fetch it and its .fdt again.")
    return raw


def onsets(raw: Any, path: Path) -> NDArray[np.int64]:
    """Find the samples of the markers of pictures, from 0, in order of time."""
    import mne

    events, kinds = mne.events_from_annotations(raw, verbose="error")
    wanted = [number for name, number in kinds.items() if "".join(str(name).split()) == MARKER]
    if len(wanted) != 1:
        raise InputError(f"{path} has the markers {', '.join(map(repr, kinds))}, expected one 'E  1'.")
    return np.sort(events[events[:, 2] == wanted[0], 0] - raw.first_samp)


def load_responses(options: Dataset, subject: str) -> xr.Dataset:
    """Read one subject: bins of 20 ms, z-scored for each channel over all training trials and times.

    Trials in which the fixation point changed colour, to be answered by a key, are left out.

    Parameters
    ----------
    options : Dataset
    subject : str
        Two digits.

    Returns
    -------
    Dataset
        Responses; a run is a stream of pictures.

    Raises
    ------
    InputError
        A file is missing or broken; there are not as many markers as rows of the table.
    """
    trials = _trials(options, subject)
    path = _root(options) / f"derivatives/eeglab/sub-{subject}_task-rsvp_continuous.set"
    raw = _open(path)
    at = onsets(raw, path)
    if len(at) != len(trials):
        raise InputError(
            f"{path} has {len(at)} markers of pictures, the table of events {len(trials)} rows: which is "
            "which is not known. Leave the subject out."
        )
    tested, kept = _tested(trials), np.flatnonzero(~trials["target"].to_numpy())
    values = _binned(raw, path, at[kept])
    shown = trials.iloc[kept]
    training = ~tested[kept]
    for channel in range(values.shape[1]):
        known = values[training, channel].astype(np.float64)
        spread = float(deviation(known, (0, 1)))
        values[:, channel] = (values[:, channel] - known.mean()) / (spread or np.nan)
    ids = shown["file"].map(lambda f: Path(f).stem).to_numpy(str)
    names, n = raw.ch_names, len(raw.ch_names)
    position = places(raw.info)
    start = np.arange(values.shape[2]) * BIN + WINDOW[0]
    return make_responses(
        values,
        presentation={
            "stimulus_id": ids, "group": ids, "split": np.where(tested[kept], "test", "train"),
            "session": np.full(len(ids), "1"), "run": shown["run"].to_numpy(int),
            "repetition": pd.Series(ids).groupby(ids).cumcount().to_numpy(),
        },
        neuroid={
            "neuroid_id": np.array([f"{subject}_{c}" for c in names]), "subject": np.full(n, subject),
            "hemisphere": np.full(n, ""), **dict(zip("xyz", position.T, strict=True)),
            "ncsnr": np.full(n, np.nan, np.float32),
            "roi_occipital": np.array([c.startswith(("O", "PO", "I")) for c in names]),
        },
        time_bin={"start": start, "stop": start + BIN},
        attrs={
            "dataset": "THINGS-EEG1", "space": "sensors", "units": "z-score over training trials",
            "normalised_on": "split=train", "source": json.dumps({path.name: sha256(path)}),
        },
    )  # fmt: skip


def _binned(raw: Any, path: Path, at: NDArray[np.int64]) -> NDArray[np.float32]:
    """Cut a recording at the onsets and average in bins, (n_trials, n_channels, n_bins), in µV."""
    rate = float(raw.info["sfreq"])
    each, before, n_bins = rate * BIN, rate * WINDOW[0], round((WINDOW[1] - WINDOW[0]) / BIN)
    if each != round(each) or before != round(before):
        raise InputError(
            f"{path} has {rate:g} samples a second, which bins of {BIN * 1000:g} ms do not divide."
        )
    first, length = round(before), n_bins * round(each)
    if at.size and (at[0] + first < 0 or at[-1] + first + length > raw.n_times):
        raise InputError(f"{path} ends within a trial. Fetch it and its .fdt again.")
    values = np.empty((len(at), len(raw.ch_names), n_bins), np.float32)
    for part in tqdm(blocks(len(at), PART), f"trials of {path.name}", disable=None):
        low, high = int(at[part][0]) + first, int(at[part][-1]) + first + length
        try:
            signal = raw.get_data(start=low, stop=high, verbose="error") * 1e6
        except Exception as error:  # noqa: BLE001  as above
            raise InputError(f"Cannot read {path}: {reason(error)}. Fetch it and its .fdt again.") from None
        index = (at[part] + first - low)[:, None] + np.arange(length)
        cut = signal[:, index].reshape(len(signal), len(index), n_bins, round(each))
        values[part] = cut.mean(3).transpose(1, 0, 2)
    if not np.isfinite(values).all():
        raise InputError(
            f"{path} holds values that are no numbers, or infinite. Fetch it and its .fdt again."
        )
    return values


def check_tree(options: Dataset, subjects: list[str]) -> list[str]:
    """Compare trials and markers with the record."""
    done = []
    for subject in subjects:
        trials = _trials(options, subject)
        found = {"training": int((~trials["test"]).sum()), "validation": int(trials["test"].sum())}
        for what, expected in EXPECTED.items():
            if found[what] != expected:
                raise InputError(
                    f"Subject {subject} {what} trials: found {found[what]}, expected {expected}."
                )
        path = _root(options) / f"derivatives/eeglab/sub-{subject}_task-rsvp_continuous.set"
        markers = len(onsets(_open(path), path))
        if markers != len(trials):
            raise InputError(f"{path}: {markers} markers of pictures, expected {len(trials)}.")
        done.append(f"subject {subject}: " + ", ".join(f"{n} {what} trials" for what, n in found.items()))
    return done
