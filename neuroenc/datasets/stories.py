"""Natural stories heard during fMRI (LeBel et al. 2023, Scientific Data 10, 555; OpenNeuro ds003020).

Read from the derivatives of the release: responses of all voxels (`preprocessed_data/<subject>/<story>.hf5`),
in which each story has lost its first ten and last five volumes, and the words with their times
(`TextGrids`). Or from one archive of principal components with the words of each volume (csinva/fmri), where
`root` holds that. A stimulus is a volume of a story: its text is the words that began while it was taken.
"""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.arrays import make_responses, make_stimuli
from neuroenc.config import Dataset
from neuroenc.documents import read_text
from neuroenc.errors import InputError, invalid
from neuroenc.files import existing, sha256
from neuroenc.hdf5 import numbers, open_hdf5
from neuroenc.real import zscore

LICENCE = "CC0 (OpenNeuro ds003020)"
CITATION = "LeBel et al. (2023), Scientific Data 10, 555"
TR = 2.0  # s
FIRST, LAST = 10, 5  # volumes the release cut off each story, to be cut off the words as well
TEST = ("wheretheressmoke", "fromboyhoodtofatherhood", "onapproachtopluto")  # heard to be tested on
SILENT = ("sp", "br", "lg", "ls", "ns", "sil")  # pauses and noise, written in braces or not
ARCHIVE = re.compile(r"huth_(uts\d\d)_\d+stories\.npz")


class Story(NamedTuple):
    """One story of one subject."""

    text: NDArray[np.str_]
    """Words of each volume"""
    path: Path
    key: str


def _root(options: Dataset) -> Path:
    return existing(
        str(options.root), made_by="Set `dataset.root` to the folder with preprocessed_data and TextGrids."
    )


def _archive(root: Path) -> Path | None:
    found = [p for p in sorted(root.glob("*.npz")) if ARCHIVE.fullmatch(p.name)]
    return found[0] if found else None


def words(path: Path) -> tuple[NDArray[np.float64], list[str]]:
    """Read the words of a Praat TextGrid, long form, without silence and noise.

    Returns
    -------
    onset : array of shape (n_words,)
        In s of the story.
    text : list of str

    Raises
    ------
    InputError
        It has no tier of words.
    """
    text = read_text(path, utf16=True)
    tiers = re.split(r"item\s*\[\d+\]:", text)[1:]
    tier = [t for t in tiers if re.search(r'name\s*=\s*"words?"', t, re.IGNORECASE)]
    if not tier:
        raise InputError(f"{path} has no tier named 'word' in Praat's long form. Fetch it again.")
    found = re.findall(
        r'xmin\s*=\s*([0-9]+\.?[0-9]*)\s*xmax\s*=\s*[\d.]+\s*text\s*=\s*"((?:[^"]|"")*)"', tier[0]
    )
    kept = [(float(t), w.strip()) for t, w in found]
    kept = [(t, w) for t, w in kept if w and w.strip("{}").lower() not in SILENT]
    return np.array([t for t, _ in kept]), [w.replace('""', '"') for _, w in kept]


def _stories(root: Path, subject: str) -> dict[str, Story]:
    """List the stories of a subject with the words of each volume."""
    archive = _archive(root)
    if archive is not None:
        match = ARCHIVE.fullmatch(archive.name)
        known = match[1].upper() if match else ""
        if subject != known:
            raise invalid("subject", subject, [known])
        try:
            with np.load(archive, allow_pickle=False) as file:
                return {
                    k.split("__")[1]: Story(file[k].astype(str), archive, k.replace("__text", "__pc"))
                    for k in file.files if k.endswith("__text")
                }  # fmt: skip
        except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise InputError(f"Cannot read {archive}: {error}. Fetch it again.") from None
    folder = root / "preprocessed_data" / subject
    if not folder.is_dir():
        raise invalid("subject", subject, sorted(p.name for p in existing(folder.parent).iterdir()))
    out = {}
    for path in sorted(folder.glob("*.hf5")):
        with open_hdf5(path) as file:
            n = numbers(file, "data").shape[0]
        onset, heard = words(root / f"TextGrids/{path.stem}.TextGrid")
        volume = (onset // TR).astype(int) - FIRST
        if volume.max(initial=0) >= n + FIRST + LAST:
            raise InputError(
                f"The words of {path.stem!r} end at {onset.max():.0f} s, its {n} volumes and the "
                f"{FIRST + LAST} cut off at {(n + FIRST + LAST) * TR:.0f} s. Is the story another one?"
            )
        text = [" ".join(w for w, v in zip(heard, volume, strict=True) if v == i) for i in range(n)]
        out[path.stem] = Story(np.array(text), path, "data")
    if not out:
        raise InputError(f"There are no stories (*.hf5) in {folder}.")
    return out


def _split(story: str) -> str:
    return "test" if story in TEST else "train"


def _ids(story: str, n: int) -> list[str]:
    return [f"{story}-{i:04d}" for i in range(n)]


def load_stimuli(options: Dataset, subjects: list[str]) -> xr.Dataset:
    """List the volumes of the stories that any of the subjects heard."""
    root = _root(options)
    stories = {name: story for subject in subjects for name, story in _stories(root, subject).items()}
    lengths = {name: len(s.text) for name, s in stories.items()}
    film = np.repeat(list(lengths), list(lengths.values()))
    return make_stimuli(
        {
            "stimulus_id": np.concatenate([_ids(k, n) for k, n in lengths.items()]),
            "pixel_index": np.arange(len(film)), "split": np.array([_split(f) for f in film]), "group": film,
            "film": film, "onset": TR * np.concatenate([np.arange(n) for n in lengths.values()]) + FIRST * TR,
        },
        attrs={"dataset": "stories", "pixels": "not distributed"},
        captions=np.concatenate([s.text for s in stories.values()])[:, None],
    )  # fmt: skip


def load_responses(options: Dataset, subject: str) -> xr.Dataset:
    """Read one subject; each voxel is z-scored within each hearing of a story.

    A file that holds the hearings of a story one by one (`individual_repeats`) is read so: they are what a
    noise ceiling is estimated from.
    """
    root = _root(options)
    heard: list[tuple[str, int, NDArray[np.float32]]] = []  # story, repetition, (volumes, voxels)
    source = {}
    archive: Any = np.load(path, allow_pickle=False) if (path := _archive(root)) else None
    for name, story in _stories(root, subject).items():
        if archive is not None:
            hearings = archive[story.key][None]
        else:
            with open_hdf5(story.path) as file:
                single = "individual_repeats" in file
                hearings = numbers(file, "individual_repeats" if single else "data")[:]
                hearings = hearings if single else hearings[None]
        for number, values in enumerate(hearings.astype(np.float32)):
            expected = (len(story.text), heard[0][2].shape[1] if heard else values.shape[1])
            if values.shape != expected:
                raise InputError(
                    f"{name!r} has responses of shape {values.shape}, expected {expected}: volumes, voxels. "
                    "Fetch it again."
                )
            heard.append((name, number, zscore(values)))
        source[story.path.name] = sha256(story.path)
    length = [len(v) for _, _, v in heard]
    film = np.repeat([name for name, _, _ in heard], length)
    ids = np.concatenate([_ids(name, len(v)) for name, _, v in heard])
    voxels = heard[0][2].shape[1]
    nowhere = np.full(voxels, np.nan, np.float32)
    return make_responses(
        np.concatenate([v for _, _, v in heard]),
        presentation={
            "stimulus_id": ids, "session": np.full(len(ids), "1"),
            "run": np.repeat(np.arange(len(heard)), length),
            "repetition": np.repeat([number for _, number, _ in heard], length),
            "split": np.array([_split(f) for f in film]), "group": film, "film": film,
            "onset": TR * np.concatenate([np.arange(n) for n in length]) + FIRST * TR,
        },
        neuroid={
            "neuroid_id": np.array([f"{subject}_{i}" for i in range(voxels)]),
            "subject": np.full(voxels, subject), "hemisphere": np.full(voxels, ""),
            "x": nowhere, "y": nowhere, "z": nowhere, "ncsnr": nowhere,
        },
        attrs={
            "dataset": "stories", "space": "func" if archive is None else "principal components",
            "units": "z-score within story", "source": json.dumps(source),
            "transductive": "each story is z-scored by itself, test stories too",
        },
    )  # fmt: skip


def check_tree(options: Dataset, subjects: list[str]) -> list[str]:
    """Read the words and the shapes of every story; count volumes."""
    done = []
    for subject in subjects:
        stories = _stories(_root(options), subject)
        tested = [name for name in stories if name in TEST]
        if not tested:
            raise InputError(f"Subject {subject} has none of the test stories {', '.join(TEST)}.")
        volumes = sum(len(s.text) for s in stories.values())
        heard = sum(len(t.split()) for s in stories.values() for t in s.text)
        done.append(
            f"{subject}: {len(stories)} stories, {len(tested)} of them for testing, {volumes} volumes, "
            f"{heard} words"
        )
    return done
