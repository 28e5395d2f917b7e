"""Algonauts 2023: the Natural Scenes Dataset on the surface, as the challenge hands it out.

Training responses only: repeats are averaged, sessions z-scored, the last three sessions are withheld, so
splits are made of the training pictures. Vertices are those of fsaverage that the challenge scores.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.arrays import make_responses, make_stimuli
from neuroenc.config import Dataset
from neuroenc.datasets.reading import read_array
from neuroenc.datasets.unpickle import load_arrays
from neuroenc.errors import InputError, invalid
from neuroenc.files import existing, sha256

LICENCE = "terms of the Natural Scenes Dataset: no redistribution"
CITATION = "Gifford et al. (2023), arXiv 2301.03198; Allen et al. (2022), Nature Neuroscience 25, 116-126"
ATLASES = ("prf-visualrois", "floc-bodies", "floc-faces", "floc-places", "floc-words", "streams")
VERTICES = {"lh": 19004, "rh": 20544}
FEWER = {("06", "lh"): 18978, ("08", "lh"): 18981}  # lost signal
N_FSAVERAGE = 163_842
PICTURE = re.compile(r"train-(\d+)_nsd-(\d+)\.png")


def _root(options: Dataset) -> Path:
    return existing(str(options.root), made_by="Set `dataset.root` to algonauts_2023_challenge_data.")


def _folder(options: Dataset, subject: str) -> Path:
    root = _root(options)
    known = sorted(p.name.removeprefix("subj") for p in root.glob("subj*") if p.is_dir())
    if subject not in known:
        raise invalid("subject", subject, known)
    return root / f"subj{subject}"


def _pictures(folder: Path) -> tuple[NDArray[np.str_], list[str]]:
    """Return NSD's number, as an id, and the file of each training picture, in the order of the responses."""
    place = existing(folder / "training_split/training_images")
    found = sorted(
        (int(m[1]), int(m[2]), m[0]) for m in (PICTURE.fullmatch(p.name) for p in place.iterdir()) if m
    )
    if [number for number, _, _ in found] != list(range(1, len(found) + 1)):
        raise InputError(f"The pictures in {place} are not numbered from 1 without gaps. Fetch them again.")
    return np.array([f"nsd-{nsd:05d}" for _, nsd, _ in found]), [name for _, _, name in found]


def load_stimuli(options: Dataset, subjects: list[str]) -> xr.Dataset:
    """List the distinct training pictures of the subjects, by their number in NSD."""
    root = _root(options)
    shown: dict[str, str] = {}
    for subject in subjects:
        for i, name in zip(*_pictures(_folder(options, subject)), strict=True):
            shown.setdefault(str(i), f"subj{subject}/training_split/training_images/{name}")
    ids = np.array(sorted(shown))
    return make_stimuli(
        {
            "stimulus_id": ids, "pixel_index": np.arange(len(ids)), "file": np.array([shown[i] for i in ids]),
            "split": np.full(len(ids), "train"), "group": ids,
        },
        attrs={"dataset": "Algonauts 2023", "pixels": str(root)},
    )  # fmt: skip


def load_responses(options: Dataset, subject: str) -> xr.Dataset:
    """Read one subject, both hemispheres; regions are those of `dataset.regions`, or all."""
    folder = _folder(options, subject)
    ids, _ = _pictures(folder)
    unknown = set(options.regions) - set(ATLASES)
    if unknown:
        raise invalid("dataset.regions", min(unknown), ATLASES)
    atlases = options.regions or ATLASES
    values, vertex, hemisphere, ceiling, source = [], [], [], [], {}
    rois: dict[str, list[NDArray[np.bool_]]] = {}
    for side in VERTICES:
        path = folder / f"training_split/training_fmri/{side}_training_fmri.npy"
        part = read_array(path)
        where = np.flatnonzero(read_array(folder / f"roi_masks/{side}.all-vertices_fsaverage_space.npy"))
        if part.shape != (len(ids), len(where)):
            raise InputError(
                f"{path} has shape {part.shape}, expected ({len(ids)} pictures, {len(where)} vertices of "
                f"{side}.all-vertices_fsaverage_space.npy). Do they belong to one subject?"
            )
        values.append(np.asarray(part, np.float32))
        vertex.append(where)
        hemisphere += ["L" if side == "lh" else "R"] * len(where)
        source[path.name] = sha256(path)
        noise = folder / f"test_split/noise_ceiling/{side}_noise_ceiling.npy"
        ceiling.append(np.asarray(read_array(noise)) if noise.exists() else np.full(len(where), np.nan))
        for name, inside in _regions(folder / "roi_masks", side, atlases, len(where)):
            rois.setdefault(name, []).append(inside)
    vertices = np.concatenate(vertex)
    n = len(ids)
    return make_responses(
        np.concatenate(values, 1),
        presentation={
            "stimulus_id": ids, "session": np.full(n, "1"), "run": np.zeros(n, int),
            "repetition": np.zeros(n, int), "split": np.full(n, "train"), "group": ids,
        },
        neuroid={
            "neuroid_id": np.array([f"{subject}_{h}{v}" for h, v in zip(hemisphere, vertices, strict=True)]),
            "subject": np.full(len(vertices), subject), "hemisphere": np.array(hemisphere),
            "vertex": vertices, "noise_ceiling": np.concatenate(ceiling).astype(np.float32),
            **{f"roi_{name}": np.concatenate(parts) for name, parts in rois.items()},
        },
        attrs={
            "dataset": "Algonauts 2023", "space": "fsaverage", "units": "z-score within session, "
            "repeats averaged",
            "transductive": "the challenge z-scored sessions as a whole", "source": json.dumps(source),
        },
    )  # fmt: skip


def _regions(
    masks: Path, side: str, atlases: Iterable[str], n_vertices: int
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield the regions of the atlases in one hemisphere: name, and which vertices lie in it."""
    for atlas in atlases:
        numbers = read_array(masks / f"{side}.{atlas}_challenge_space.npy")
        if len(numbers) != n_vertices:
            raise InputError(
                f"{side}.{atlas}_challenge_space.npy has {len(numbers)} vertices, the responses "
                f"{n_vertices}. Is it of another subject?"
            )
        for number, name in load_arrays(masks / f"mapping_{atlas}.npy").items():
            if int(number) > 0:
                yield str(name), numbers == int(number)


def check_tree(options: Dataset, subjects: list[str]) -> list[str]:
    """Compare vertices with the record of the challenge."""
    done = []
    for subject in subjects:
        folder = _folder(options, subject)
        ids, _ = _pictures(folder)
        for side, usual in VERTICES.items():
            found = read_array(folder / f"training_split/training_fmri/{side}_training_fmri.npy").shape
            expected = (len(ids), FEWER.get((subject, side), usual))
            if found != expected:
                raise InputError(f"Subject {subject} {side}: found {found}, expected {expected}.")
        done.append(f"subject {subject}: {len(ids)} pictures")
    return done
