"""Brain Treebank: depth electrodes while films were watched (Wang et al. 2024, arXiv 2411.08343).

Ten patients, 26 sessions, 21 films. A presentation is an event of a film: the onset of a word, of a sentence,
or of a scene where `scene_annotations` has a table of the film with the column `start` in seconds; its text
is the column `label`, or, where there is none, the sentence that began last before it. The sampling rate is
taken from the triggers, not trusted; events outside the triggers are dropped and counted, because they cannot
be placed. Films are not distributed: stimuli carry their words, and where `films` is a folder of one's own
copies the stretch of the film from their onset. A copy must be as long as the annotations ask for and be cut
where they say, as far as `scene_annotations` does. How columns of that folder are called is not verified.
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
from scipy.signal import hilbert

from neuroenc.arrays import make_responses, make_stimuli
from neuroenc.config import Dataset
from neuroenc.datasets.film_copies import Copy, find_copy
from neuroenc.datasets.reading import Table, read_table
from neuroenc.datasets.sources import TREEBANK_SESSIONS
from neuroenc.documents import read_json
from neuroenc.errors import InputError, invalid
from neuroenc.files import existing, sha256
from neuroenc.hdf5 import open_hdf5
from neuroenc.real import varies, zscore

LICENCE = "as braintreebank.dev says; films are not distributed"
CITATION = "Wang et al. (2024), Brain Treebank, arXiv 2411.08343"
LINE = 60.0  # Hz, of the mains
HIGH_GAMMA = (70.0, 150.0)  # Hz


def _root(options: Dataset) -> Path:
    return existing(str(options.root), made_by="Set `dataset.root` to the folder with all_subject_data.")


def sessions(options: Dataset, subject: str) -> list[str]:
    """List the sessions of a patient, e.g. sub_1_trial000."""
    root = _root(options)
    found = sorted(p.stem for p in (root / "all_subject_data").glob(f"sub_{subject}_trial*.h5"))
    if not found:
        known = {p.name.split("_")[1] for p in (root / "all_subject_data").glob("sub_*_trial*.h5")}
        raise invalid("subject", subject, sorted(known))
    return found[: options.sessions]


def film_of(root: Path, session: str) -> str:
    """Return the film of a session."""
    return str(read_json(root / f"subject_metadata/{session}_metadata.json", "filename")["filename"])


def events(options: Dataset, root: Path, film: str) -> pd.DataFrame:
    """List the events of a film: stimulus_id, onset (s of the film), text."""
    if options.events == "scenes":
        scenes = _scenes(root, film)
        if scenes is None:
            raise InputError(
                f"scene_annotations has no table (.csv) of {film!r}. Unpack scene_annotations.zip, or use "
                "events: sentences."
            )
        onset = _onset(scenes)
        if "label" in scenes:
            labels = scenes.text("label")
        else:
            said = events(options.model_copy(update={"events": "sentences"}), root, film)
            before = np.searchsorted(said["onset"], onset) - 1
            labels = np.where(before >= 0, said["text"].to_numpy(str)[before], "")
        return _in_time(f"{film}-c", pd.DataFrame({"onset": onset, "text": labels}))
    table = read_table(root / f"transcripts/{film}/features.csv", "text", "start", "end")
    words = pd.DataFrame({"onset": _onset(table), "text": table.text("text")})
    spoken = words["text"] != ""
    if options.events == "sentences":
        if "is_onset" not in table:
            raise InputError(f"transcripts/{film}/features.csv has no column 'is_onset'. Use events: words.")
        words = words.assign(first=table.numbers("is_onset", missing=True) > 0)
        words = _in_time("", words[spoken])
        sentence = words["first"].cumsum()
        text = words.groupby(sentence)["text"].agg(" ".join)
        words = words[words["first"]].assign(text=text.loc[sentence[words["first"]]].to_numpy())
        return _in_time(f"{film}-s", words)
    return _in_time(f"{film}-w", words[spoken])


def _scenes(root: Path, film: str) -> Table | None:
    """Read the scenes of a film, if there is a table of them."""
    found = sorted((root / "scene_annotations").glob(f"{film}*.csv"))
    found += sorted((root / "scene_annotations" / film).glob("*.csv"))
    return read_table(found[0], "start") if found else None


def copy_of(options: Dataset, root: Path, film: str) -> Copy:
    """Find one's own copy of a film, held against its transcript and its scenes."""
    folder = existing(str(options.films), made_by="Set `dataset.films` to the folder of your films.")
    if not folder.is_dir():
        raise InputError(f"dataset.films is the file {folder}, expected a folder of films.")
    scenes = _scenes(root, film)
    cuts = np.empty(0) if scenes is None else _onset(scenes)
    words = read_table(root / f"transcripts/{film}/features.csv", "start", "end").numbers("end", missing=True)
    cuts = np.sort(cuts[np.isfinite(cuts)])
    known = np.concatenate([cuts, words[np.isfinite(words)]])
    if not len(known):
        raise InputError(f"transcripts/{film}/features.csv places no word. Fetch it again.")
    return find_copy(folder, film, last=float(known.max()), cuts=cuts)


def _onset(table: Table) -> NDArray[np.float64]:
    """Return when events begin, s; NaN for one that cannot be placed."""
    return table.numbers("start", missing=True)


def _in_time(prefix: str, table: pd.DataFrame) -> pd.DataFrame:
    """Sort events that have an onset, and name them by their place."""
    table = table.dropna(subset=["onset"]).sort_values("onset", kind="stable").reset_index(drop=True)
    table["stimulus_id"] = [f"{prefix}{i:05d}" for i in range(len(table))]
    return table


def load_stimuli(options: Dataset, subjects: list[str]) -> xr.Dataset:
    """List the events of the films the patients saw."""
    root = _root(options)
    films = sorted({film_of(root, s) for subject in subjects for s in sessions(options, subject)})
    tables = [events(options, root, film).assign(film=film) for film in films]
    table = pd.concat(tables, ignore_index=True)
    shown: dict[str, NDArray[Any]] = {}
    attrs = {"dataset": "Brain Treebank", "pixels": "not distributed"}
    if options.films is not None:
        copies = {film: copy_of(options, root, film) for film in films}
        left = np.array([copies[f].duration for f in table["film"]]) - table["onset"].to_numpy(float)
        shown = {
            "file": np.array([copies[f].path.name for f in table["film"]]),
            "duration": np.minimum(options.clip, left),
        }
        attrs |= {
            "pixels": str(next(iter(copies.values())).path.parent.absolute()),
            "films": "; ".join(map(str, copies.values())),
        }
    return make_stimuli(
        {
            "stimulus_id": table["stimulus_id"].to_numpy(str), "pixel_index": np.arange(len(table)),
            "split": np.full(len(table), "train"), "group": table["stimulus_id"].to_numpy(str),
            "onset": table["onset"].to_numpy(float), "film": table["film"].to_numpy(str), **shown,
        },
        attrs=attrs,
        captions=table["text"].to_numpy(str)[:, None],
    )  # fmt: skip


def place(options: Dataset, root: Path, session: str) -> tuple[pd.DataFrame, NDArray[np.int64], float]:
    """Place the events of a film in a recording.

    Returns
    -------
    events : DataFrame
        Those between the first and the last trigger.
    sample : int array
    rate : float
        Hz, from the triggers.
    """
    path = root / f"subject_timings/{session}_timings.csv"
    triggers = read_table(path).matrix(("movie_time", "index"), missing=True)
    time, index = triggers[np.isfinite(triggers).all(1)].T
    order = np.argsort(time, kind="stable")
    time, index = time[order], index[order]
    between = np.diff(time) > 0
    if between.sum() < 2:
        raise InputError(f"{path} has fewer than three triggers. Its events cannot be placed.")
    rate = float(np.median(np.diff(index)[between] / np.diff(time)[between]))
    if not 100 < rate < 50_000:
        raise InputError(f"{path} gives a sampling rate of {rate:g} Hz. Are its columns seconds and samples?")
    table = events(options, root, film_of(root, session))
    inside = (table["onset"] >= time[0]) & (table["onset"] <= time[-1])
    table = table[inside].reset_index(drop=True)
    onset = table["onset"].to_numpy()
    right = np.clip(np.searchsorted(time, onset), 1, len(time) - 1)
    nearest = np.where(onset - time[right - 1] < time[right] - onset, right - 1, right)
    sample = np.round(index[nearest] + (onset - time[nearest]) * rate).astype(int)
    table.attrs["n_outside"] = int((~inside).sum())
    return table, sample, rate


def _labels(path: Path, key: str = "") -> list[str]:
    """Read labels of electrodes, cleaned of * and #: a list, or of an object the list under a key."""
    found = read_json(path)
    if key and isinstance(found, dict):
        found = found.get(key, [])
    if not isinstance(found, list):
        raise InputError(f"{path} holds no list of electrodes. Was its layout changed?")
    return [str(v).strip().strip("*#") for v in found]


def electrodes(root: Path, subject: str) -> dict[str, int]:
    """Map the usable electrodes to their number in the recordings; labels cleaned of * and #."""
    labels = _labels(root / f"electrode_labels/sub_{subject}/electrode_labels.json")
    path = root / "corrupted_elec.json"
    corrupted = set(_labels(path, f"sub_{subject}")) if path.exists() else set()
    return {
        name: number for number, name in enumerate(labels)
        if not name.upper().startswith(("DC", "TRIG")) and name not in corrupted
    }  # fmt: skip


def montage(known: dict[str, int], reference: str) -> Iterator[tuple[str, list[tuple[int, float]]]]:
    """List the channels of a reference: name, and the electrodes with their weights.

    Neighbours are the next contacts of the same shank. `laplacian`: a contact less the mean of its two
    neighbours; `bipolar`: less the next; contacts without are left out.
    """
    for name, number in known.items():
        match = re.fullmatch(r"(.*?)(\d+)", name)
        if reference == "none":
            yield name, [(number, 1.0)]
        elif match:
            before, after = (known.get(f"{match[1]}{int(match[2]) + d}") for d in (-1, 1))
            if reference == "bipolar" and after is not None:
                yield f"{name}-{match[1]}{int(match[2]) + 1}", [(number, 1.0), (after, -1.0)]
            elif reference == "laplacian" and before is not None and after is not None:
                yield name, [(number, 1.0), (before, -0.5), (after, -0.5)]


def load_responses(options: Dataset, subject: str) -> xr.Dataset:
    """Read one patient, a channel at a time: referenced, filtered, cut at the events, averaged in bins.

    Each channel is z-scored within its session by the mean and deviation of the whole recording, and the
    attribute `transductive` says so.
    """
    root, trials = _root(options), sessions(options, subject)
    known = electrodes(root, subject)
    channels = list(montage(known, options.reference))
    if not channels:
        raise InputError(
            f"No electrode of subject {subject} has the neighbours reference {options.reference!r} needs."
        )
    starts = np.arange(options.span[0], options.span[1] - options.window + 1e-9, options.step)
    placed = [place(options, root, session) for session in trials]
    # all sessions at once: of 161 bins they are most of what there is
    values = np.empty((sum(len(t) for t, *_ in placed), len(channels), len(starts)), np.float32)
    tables: list[pd.DataFrame] = []
    rates, outside, source = {}, {}, {}
    for session, (table, sample, rate) in zip(trials, placed, strict=True):
        path = root / f"all_subject_data/{session}.h5"
        edges = np.round((starts[:, None] + [0, options.window]) * rate).astype(int)
        begun = sum(map(len, tables))
        inside = _bin(path, sample, channels, edges, rate, options.band, values[begun:])
        rates[session] = rate
        outside[session] = table.attrs["n_outside"] + int((~inside).sum())
        source[path.name] = sha256(path)
        tables.append(table[inside])
    table = pd.concat(tables, ignore_index=True)
    names = np.repeat(trials, [len(t) for t in tables])
    ids = table["stimulus_id"].to_numpy(str)
    where = _localisation(root, subject)
    at = [where.get(n.partition("-")[0], (np.nan,) * 3 + ("",)) for n, _ in channels]
    areas = np.array([a[3] for a in at])
    return make_responses(
        values[: len(table)],
        presentation={
            "stimulus_id": ids, "session": names, "run": np.zeros(len(ids), int),
            "repetition": pd.Series(ids).groupby(ids).cumcount().to_numpy(),
            "split": np.full(len(ids), "train"), "group": ids,
            "film": np.array([film_of(root, s) for s in trials])[[trials.index(n) for n in names]],
            "onset": table["onset"].to_numpy(float),
        },
        neuroid={
            "neuroid_id": np.array([f"{subject}_{n}" for n, _ in channels]),
            "subject": np.full(len(channels), subject),
            "hemisphere": np.array([n[0] if n[0] in "LR" else "" for n, _ in channels]),
            **{axis: np.array([a[i] for a in at], np.float32) for i, axis in enumerate("xyz")},
            "ncsnr": np.full(len(channels), np.nan, np.float32),
            **{f"roi_{area}": areas == area for area in sorted(set(areas) - {""})},
        },
        time_bin={"start": starts, "stop": starts + options.window},
        attrs={
            "dataset": "Brain Treebank", "space": "electrodes", "units": f"z-score, {options.band}",
            "reference": options.reference, "rate_hz": json.dumps(rates),
            "n_events_outside": json.dumps(outside),
            "transductive": "each channel is z-scored over its whole recording", "source": json.dumps(source),
        },
    )  # fmt: skip


def _bin(
    path: Path, sample: NDArray[np.int64], channels: list[tuple[str, list[tuple[int, float]]]],
    edges: NDArray[np.int64], rate: float, band: str, out: NDArray[np.float32],
) -> NDArray[np.bool_]:  # fmt: skip
    """Average each channel in time bins around the events that the recording holds.

    Parameters
    ----------
    path : Path
        HDF5 of a session.
    sample : int array of shape (n_events,)
        Where the events lie in the recording.
    channels : list of (name, [(electrode, weight), …])
    edges : int array of shape (n_time_bins, 2)
        Samples from the event to the first of a bin, and behind its last.
    rate : float
        Hz.
    band : str
    out : array of shape (n_events or more, n_channels, n_time_bins)
        Whose first rows are filled, one for each event that is inside.

    Returns
    -------
    inside : bool array of shape (n_events,)
        Events whose bins all lie in the recording.
    """
    if (edges[:, 0] == edges[:, 1]).any():
        raise InputError(f"dataset.window is shorter than a sample of {path.name}, 1 / {rate:g} s. Widen it.")
    with open_hdf5(path) as file:
        group = file.get("data", {})
        lacking = [n for _, parts in channels for n, _ in parts if f"electrode_{n}" not in group]
        if lacking:
            raise InputError(f"{path} has no data/electrode_{lacking[0]}. Was its layout changed?")
        length = group[f"electrode_{channels[0][1][0][0]}"].shape[0]
        inside = (sample + edges.min() >= 0) & (sample + edges.max() < length)
        first, last = (sample[inside, None] + edges[:, side] for side in (0, 1))
        for k, (_, parts) in enumerate(channels):
            signal = sum(w * group[f"electrode_{n}"][:].astype(float) for n, w in parts)
            total = np.concatenate([[0.0], np.cumsum(filtered(signal, rate, band))])
            out[: len(first), k] = (total[last] - total[first]) / (last - first)
    return inside


def filtered(signal: NDArray[np.float64], rate: float, band: str) -> NDArray[np.float64]:
    """Take out the mains and its harmonics; keep the broadband or the envelope of high gamma; z-score."""
    from mne.filter import filter_data, notch_filter

    harmonics = np.arange(LINE, min(rate / 2, 5 * LINE) - 1, LINE)
    clean = notch_filter(signal, rate, harmonics, verbose="error") if len(harmonics) else signal
    if band == "high_gamma":
        if rate < 2.5 * HIGH_GAMMA[1]:
            raise InputError(
                f"High gamma needs more than {2.5 * HIGH_GAMMA[1]:g} Hz, the recording has {rate:g}."
            )
        clean = np.abs(hilbert(filter_data(clean, rate, *HIGH_GAMMA, verbose="error")))
    # what filters leave of a flat signal is its rounding
    return np.where(varies(signal), zscore(clean), np.nan)


def _localisation(root: Path, subject: str) -> dict[str, tuple[float, float, float, str]]:
    """Map electrodes to their place and area.

    The table counts to the left, down and back; places are to the right, front and up, in the patient's own
    space. Whether it is aligned to MNI's is not stated.
    """
    path = root / f"localization/sub_{subject}/depth-wm.csv"
    if not path.exists():
        return {}
    table = read_table(path)
    area = table.text("DesikanKilliany") if "DesikanKilliany" in table else np.full(len(table), "")
    where = -table.matrix(("L", "P", "I"), missing=True)
    return {
        str(name).strip("*#"): (*xyz, str(a).strip())
        for name, xyz, a in zip(table.names("Electrode"), where.tolist(), area, strict=True)
    }


def check_tree(options: Dataset, subjects: list[str]) -> list[str]:
    """Place the events of every session; say rates, channels and what cannot be placed."""
    root = _root(options)
    done = []
    if options.films is not None:
        films = sorted({film_of(root, s) for subject in subjects for s in sessions(options, subject)})
        done += [str(copy_of(options, root, film)) for film in films]
    for subject in subjects:
        found = sessions(options, subject)
        n_known = len(TREEBANK_SESSIONS.get(subject, found))
        if options.sessions is None and len(found) != n_known:
            raise InputError(f"Subject {subject} has {len(found)} sessions, expected {n_known}.")
        n = len(list(montage(electrodes(root, subject), options.reference)))
        for session in found:
            table, _, rate = place(options, root, session)
            done.append(
                f"{session}: {film_of(root, session)}, {rate:.1f} Hz, {n} channels, {len(table)} events, "
                f"{table.attrs['n_outside']} outside the triggers"
            )
    return done
