"""THINGS-MEG: four people seeing 22,448 object pictures (Hebart et al. 2023, eLife 12, e82580; ds004212).

Raw CTF recordings: twelve sessions of ten runs at 1,200 Hz. What was shown comes from
`sourcedata/sample_attributes_P<n>.csv`, when from the triggers on UPPT001 (64 for a picture, 32 for the last
of a run): the onsets of events.tsv lie about 150 ms off them. Test pictures (200) were shown in each session;
they show concepts of which twelve other pictures are trained on, so that a group is a picture, not a concept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from tqdm import tqdm

from neuroenc.arrays import make_responses, make_stimuli
from neuroenc.config import Dataset
from neuroenc.datasets.epochs import places
from neuroenc.datasets.pixels import locate
from neuroenc.datasets.reading import read_table
from neuroenc.errors import InputError, invalid
from neuroenc.files import existing, sha256
from neuroenc.real import varies

LICENCE = "CC0 (recordings, OpenNeuro ds004212); the pictures of THINGS are not to be redistributed"
CITATION = "Hebart et al. (2023), eLife 12, e82580"
N_SESSIONS, N_RUNS = 12, 10
CHANNEL, TRIGGERS = "UPPT001", (64, 32)
BAND = (0.1, 40.0)  # Hz
WINDOW, BIN = (-0.1, 1.3), 0.02  # s around the onset, and of a bin
LOBES = {"C": "central", "F": "frontal", "O": "occipital", "P": "parietal", "T": "temporal"}


def _root(options: Dataset) -> Path:
    return existing(
        str(options.root), made_by="Set `dataset.root` to the folder with sub-BIGMEG1 and sourcedata."
    )


def _trials(options: Dataset, subject: str) -> pd.DataFrame:
    """List all trials: session, run, kind (exp, test, catch), stimulus, concept."""
    folder = existing(_root(options) / "sourcedata")
    path = folder / f"sample_attributes_P{subject}.csv"
    if not path.exists():
        there = folder.glob("sample_attributes_P*.csv")
        raise invalid("subject", subject, sorted(p.stem.removeprefix("sample_attributes_P") for p in there))
    table = read_table(path)
    sessions, files = table.integers("session_nr"), table.names("image_path")
    stem = [Path(f).stem for f in files]
    found = pd.DataFrame({
        "session": sessions, "run": table.integers("run_nr"), "kind": table.names("trial_type"),
        "stimulus": stem, "concept": [re.sub(r"_\d+\w?$", "", s) for s in stem], "file": files,
    })  # fmt: skip
    return found if options.sessions is None else found[sessions <= options.sessions]


def _shown(table: pd.DataFrame) -> NDArray[np.bool_]:
    return table["kind"].isin(["exp", "test"]).to_numpy()


def load_stimuli(options: Dataset, subjects: list[str]) -> xr.Dataset:
    """List the pictures; the concept is the caption. Pictures are in `images/<concept>/`."""
    root = _root(options)
    every = pd.concat([_trials(options, s) for s in subjects])
    table = every[_shown(every)].drop_duplicates("stimulus")
    names = [f"{c}/{Path(f).name}" for c, f in zip(table["concept"], table["file"], strict=True)]
    hint = "THINGS hands out the pictures with a password (OSF jum2f); unpack them there."
    located = locate(root / "images", names, hint=hint)
    concept, ids = table["concept"].to_numpy(str), table["stimulus"].to_numpy(str)
    return make_stimuli(
        {
            "stimulus_id": ids, "pixel_index": np.arange(len(table)), "file": located, "group": ids,
            "split": np.where(table["kind"] == "test", "test", "train"),
        },
        attrs={"dataset": "THINGS-MEG", "pixels": str(root / "images")},
        captions=np.char.replace(concept, "_", " ")[:, None],
    )  # fmt: skip


def _runs(root: Path, subject: str, table: pd.DataFrame) -> Iterator[tuple[Path, pd.DataFrame]]:
    """List the recordings and the trials of each."""
    for _, trials in table.groupby(["session", "run"]):
        session, run = trials["session"].iloc[0], trials["run"].iloc[0]
        name = f"sub-BIGMEG{subject}_ses-{session:02d}_task-main_run-{run:02d}_meg.ds"
        yield root / f"sub-BIGMEG{subject}/ses-{session:02d}/meg" / name, trials


def _open(path: Path) -> Any:
    import mne

    try:
        return mne.io.read_raw_ctf(existing(path), preload=False, system_clock="ignore", verbose="error")
    except Exception as error:
        if isinstance(error, InputError):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"Cannot read {path}: {reason}. Fetch it again.") from None


def onsets(raw: Any, path: Path) -> NDArray[np.int64]:
    """Find the samples of the triggers of pictures, from 0."""
    if CHANNEL not in raw.ch_names:
        raise InputError(f"{path} has no channel {CHANNEL!r}, on which the triggers are. Fetch it again.")
    level = np.round(raw.get_data(picks=[CHANNEL], verbose="error")[0]).astype(int)
    rise = np.flatnonzero((level[1:] != level[:-1]) & np.isin(level[1:], TRIGGERS)) + 1
    return np.asarray(rise, np.int64)


def load_responses(options: Dataset, subject: str) -> xr.Dataset:
    """Read one subject, a run at a time: 0.1 to 40 Hz, cut at the triggers, averaged in bins of 20 ms.

    Each trial is z-scored by its channel's mean and deviation before the onset, over the trials of its run.
    Catch trials are left out.
    """
    root, table = _root(options), _trials(options, subject)
    parts, kept, source = [], [], {}
    names: list[str] = []
    for path, trials in tqdm(list(_runs(root, subject, table)), f"runs of BIGMEG{subject}", disable=None):
        values, shown, here, positions = _binned(path, trials, subject)
        if names and here != names:
            raise InputError(f"{path} has other channels than the runs before: {len(here)}, {len(names)}.")
        names = here
        parts.append(values)
        kept.append(shown)
        source[path.name] = sha256(path / f"{path.stem}.meg4")
    done = pd.concat(kept)
    ids, n = done["stimulus"].to_numpy(str), len(names)
    start = np.arange(WINDOW[0], WINDOW[1] - BIN / 2, BIN)
    lobe = np.array([LOBES.get(m[2], "") if (m := re.match(r"M([LRZ])([A-Z])", c)) else "" for c in names])
    return make_responses(
        np.concatenate(parts),
        presentation={
            "stimulus_id": ids, "session": np.char.zfill(done["session"].to_numpy().astype(str), 2),
            "run": done["run"].to_numpy(int), "repetition": done.groupby("stimulus").cumcount().to_numpy(),
            "split": np.where(done["kind"] == "test", "test", "train"),
            "group": ids,
        },
        neuroid={
            "neuroid_id": np.array([f"{subject}_{c}" for c in names]), "subject": np.full(n, subject),
            "hemisphere": np.array([c[1] if c[1:2] in ("L", "R") else "" for c in names]),
            **{axis: positions[:, i].astype(np.float32) for i, axis in enumerate("xyz")},
            "ncsnr": np.full(n, np.nan, np.float32),
            **{f"roi_{name}": lobe == name for name in sorted(set(lobe) - {""})},
        },
        time_bin={"start": start, "stop": start + BIN},
        attrs={
            "dataset": "THINGS-MEG", "space": "sensors", "units": "z-score before the onset",
            "source": json.dumps(source),
        },
    )  # fmt: skip


def _binned(
    path: Path, trials: pd.DataFrame, subject: str
) -> tuple[NDArray[np.float32], pd.DataFrame, list[str], NDArray[np.float32]]:
    """Read a run: filtered, cut at the triggers, averaged in bins, scaled by what is before the onsets.

    Returns
    -------
    values : ndarray of shape (n_shown, n_channels, n_time_bins)
    shown : DataFrame
        The trials that are not catch trials.
    names : list of str
        Of the channels.
    positions : ndarray of shape (n_channels, 3)
        mm.
    """
    import mne

    raw = _open(path)
    onset = onsets(raw, path)
    if len(onset) != len(trials):
        raise InputError(
            f"{path} has {len(onset)} triggers on {CHANNEL}, sample_attributes_P{subject}.csv "
            f"{len(trials)} trials. They must match one to one."
        )
    rate = float(raw.info["sfreq"])
    kinds = zip(raw.ch_names, raw.get_channel_types(), strict=True)
    raw.pick([n for n, kind in kinds if kind == "mag"], verbose="error")
    recorded = raw.get_data(verbose="error")
    signal = mne.filter.filter_data(recorded, rate, *BAND, verbose="error")
    edges = np.round(np.arange(WINDOW[0], WINDOW[1] + BIN / 2, BIN) * rate).astype(int)
    shown = _shown(trials)
    at = onset[shown]
    if at.size and (at[0] + edges[0] < 0 or at[-1] + edges[-1] > signal.shape[1]):
        raise InputError(f"{path} ends within a trial. Fetch it again.")
    total = np.concatenate([np.zeros((len(signal), 1)), np.cumsum(signal, 1)], 1)
    sums = total[:, at[:, None] + edges]  # (channels, trials, edges)
    binned = (np.diff(sums, axis=2) / np.diff(edges)).transpose(1, 0, 2)
    before = binned[:, :, : round(-WINDOW[0] / BIN)]
    # what the filter leaves of a flat sensor is its rounding
    spread = np.where(varies(recorded, 1)[:, None], before.std((0, 2), keepdims=True), np.nan)
    scaled = (binned - before.mean(2, keepdims=True)) / spread
    names = [n.partition("-")[0] for n in raw.ch_names]
    return scaled.astype(np.float32), trials[shown], names, places(raw.info)


def check_tree(options: Dataset, subjects: list[str]) -> list[str]:
    """Count the triggers of every run; compare sessions and runs with the record."""
    root, done = _root(options), []
    for subject in subjects:
        table = _trials(options, subject)
        n = options.sessions or N_SESSIONS
        found = (table["session"].nunique(), table.groupby("session")["run"].nunique().unique().tolist())
        if found != (n, [N_RUNS]):
            raise InputError(
                f"sample_attributes_P{subject}.csv has {found[0]} sessions of {found[1]} runs, expected {n} "
                f"of {N_RUNS}."
            )
        for path, trials in _runs(root, subject, table):
            triggers = len(onsets(_open(path), path))
            if triggers != len(trials):
                raise InputError(f"{path}: {triggers} triggers, expected {len(trials)}.")
        kinds = table["kind"].value_counts().to_dict()
        done.append(
            f"subject {subject}: {n} sessions of {N_RUNS} runs, "
            + ", ".join(f"{v} {k} trials" for k, v in sorted(kinds.items()))
        )
    return done
