"""THINGS-fMRI: three people seeing 8,740 object pictures (Hebart et al. 2023, eLife 12, e82580).

Single-trial betas of the release as tables (`betas_csv`): 8,640 training trials, and 100 test pictures
shown twelve times. Noise ceilings of single trials are read as they are given, in percent.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from neuroenc.arrays import make_responses, make_stimuli
from neuroenc.config import Dataset
from neuroenc.datasets.pixels import locate
from neuroenc.datasets.reading import Table, read_table
from neuroenc.errors import InputError, invalid
from neuroenc.files import existing, sha256
from neuroenc.hdf5 import open_hdf5

LICENCE = "as figshare+ 20492835 says; the pictures of THINGS are not to be redistributed"
CITATION = "Hebart et al. (2023), eLife 12, e82580"
EXPECTED = {"train": 8640, "test": 1200}
VOXELS = {"01": 211_339}


def _root(options: Dataset) -> Path:
    return existing(str(options.root), made_by="Set `dataset.root` to the folder with betas_csv.")


def _table(root: Path, subject: str, kind: str, *columns: str) -> Table:
    path = root / f"betas_csv/sub-{subject}_{kind}.csv"
    if not path.exists():
        there = existing(root / "betas_csv").glob("sub-*_StimulusMetadata.csv")
        known = sorted(p.name.partition("_")[0].removeprefix("sub-") for p in there)
        if subject not in known:
            raise invalid("subject", subject, known)
    return read_table(path, *columns)


def _trials(root: Path, subject: str) -> pd.DataFrame:
    """List all trials: trial_type, session, run, stimulus (file), concept."""
    table = _table(root, subject, "StimulusMetadata")
    names = ("trial_type", "session", "stimulus", "concept")
    if "trial_id" in table:
        number = table.integers("trial_id")
        if len(set(number.tolist())) == len(number) and (np.diff(number) < 0).any():
            raise InputError(
                f"{table.path} is not in the order of its trial_id, as the betas are. Sort it, or fetch it "
                "again."
            )
    return pd.DataFrame({c: table.names(c) for c in names} | {"run": table.integers("run")})


def _regions(voxels: Table, given: set[str]) -> dict[str, NDArray[np.bool_]]:
    """Return the columns that hold 0 and 1 only."""
    found = {}
    for column in voxels.columns:
        if column and column not in given:
            with suppress(InputError):
                found[column] = voxels.flags(column)
    return found


def load_stimuli(options: Dataset, subjects: list[str]) -> xr.Dataset:
    """List the pictures; the concept is caption and group. Pictures are in `images/<concept>/`."""
    root = _root(options)
    table = pd.concat([_trials(root, s) for s in subjects]).drop_duplicates("stimulus")
    files = [f"{c}/{s}" for c, s in zip(table["concept"], table["stimulus"], strict=True)]
    hint = "THINGS hands out the pictures with a password (OSF jum2f); unpack them there."
    located = locate(root / "images", files, hint=hint)
    concept = table["concept"].to_numpy(str)
    return make_stimuli(
        {
            "stimulus_id": table["stimulus"].map(lambda s: Path(s).stem).to_numpy(str),
            "pixel_index": np.arange(len(table)), "file": located, "group": concept,
            "split": np.where(table["trial_type"] == "test", "test", "train"),
        },
        attrs={"dataset": "THINGS-fMRI", "pixels": str(root / "images")},
        captions=np.char.replace(concept, "_", " ")[:, None],
    )  # fmt: skip


def _betas(
    path: Path, n_trials: int, wanted: NDArray[np.int64], voxel_id: NDArray[np.str_]
) -> NDArray[np.float32]:
    """Read voxels of a table that pandas wrote as HDF5 (its fixed format), (trials, voxels).

    The column of voxel ids is compared with those of the table of voxels; blocks of voxels are read, so that
    the file is never whole in memory.
    """
    with open_hdf5(path) as file:
        group: Any = next(iter(file.values()), {})
        large = [k for k in group if k.startswith("block") and k.endswith("_values")]
        large = [k for k in large if group[k].dtype.kind == "f"]
        if len(large) != 1:
            raise InputError(
                f"{path} has {len(large)} blocks of numbers, expected 1. Was its layout changed?"
            )
        values = group[large[0]]
        if values.shape[1] != n_trials:
            raise InputError(f"{path} has {values.shape[1]} trials, the table of stimuli {n_trials}.")
        if wanted.max(initial=-1) >= len(values):
            raise InputError(
                f"{path} has {len(values)} voxels, the table names number {wanted.max()} (from 0)."
            )
        _same_voxels(path, [group[k] for k in group if k.startswith("block")], voxel_id)
        out = np.empty((n_trials, len(wanted)), np.float32)
        for start in range(0, len(values), 4096):
            here = (wanted >= start) & (wanted < start + 4096)
            if here.any():
                out[:, here] = values[start : start + 4096][wanted[here] - start].T
    return out


def _same_voxels(path: Path, blocks: list[h5py.Dataset], voxel_id: NDArray[np.str_]) -> None:
    """Refuse betas whose column of voxel ids has those of the table in another order."""
    for block in blocks:
        if block.shape == (len(voxel_id), 1) and block.dtype.kind in "iu":
            own = block[:, 0].astype(str)
            off = np.flatnonzero(own != voxel_id)
            if len(off) and set(own.tolist()) == set(voxel_id.tolist()):
                raise InputError(
                    f"{path} has the voxel_id {own[off[0]]} in row {off[0]} (from 0), the table of voxels "
                    f"{voxel_id[off[0]]}. Put both in one order, or fetch them again."
                )


def load_responses(options: Dataset, subject: str) -> xr.Dataset:
    """Read one subject; `mask: rois` keeps the voxels of the regions, `brain` all.

    A region is a column of the table of voxels that holds 0 and 1 only: V1 … hV4, lFFA, glasser-… .
    """
    root = _root(options)
    trials = _trials(root, subject)
    needed = ("voxel_id", "voxel_x", "voxel_y", "voxel_z", "nc_singletrial")
    voxels = _table(root, subject, "VoxelMetadata", *needed)
    given = {*needed, "subject_id"}
    rois = _regions(voxels, given)
    chosen = {r: inside for r, inside in rois.items() if not options.regions or r in options.regions}
    unknown = set(options.regions) - set(rois)
    if unknown:
        raise invalid("dataset.regions", min(unknown), rois)
    if options.mask not in ("rois", "brain"):
        raise invalid("dataset.mask", options.mask, ("rois", "brain"))
    inside = np.zeros(len(voxels), bool)
    for region in chosen.values():
        inside |= region
    kept = inside if options.mask == "rois" else np.ones(len(voxels), bool)
    path = existing(root / f"betas_csv/sub-{subject}_ResponseData.h5")
    values = _betas(path, len(trials), np.flatnonzero(kept), voxels.names("voxel_id"))
    names = voxels.names("voxel_id")[kept]
    ids = trials["stimulus"].map(lambda s: Path(s).stem).to_numpy(str)
    return make_responses(
        values,
        presentation={
            "stimulus_id": ids, "session": trials["session"].to_numpy(str),
            "run": trials["run"].to_numpy(int),
            "repetition": pd.Series(ids).groupby(ids).cumcount().to_numpy(),
            "split": np.where(trials["trial_type"] == "test", "test", "train"),
            "group": trials["concept"].to_numpy(str),
        },
        neuroid={
            "neuroid_id": np.array([f"{subject}_{v}" for v in names]),
            "subject": np.full(len(names), subject), "hemisphere": np.full(len(names), ""),
            **{a: voxels.numbers(f"voxel_{a}")[kept].astype(np.float32) for a in "xyz"},
            "noise_ceiling": voxels.numbers("nc_singletrial", missing=True)[kept].astype(np.float32) / 100,
            **{f"roi_{r}": region[kept] for r, region in chosen.items()},
        },
        attrs={
            "dataset": "THINGS-fMRI", "space": "T1w", "units": "beta",
            "source": json.dumps({path.name: sha256(path)}),
        },
    )  # fmt: skip


def check_tree(options: Dataset, subjects: list[str]) -> list[str]:
    """Compare trials and voxels with the record."""
    root = _root(options)
    done = []
    for subject in subjects:
        found = _trials(root, subject)["trial_type"].value_counts().to_dict()
        for part, expected in EXPECTED.items():
            if found.get(part, 0) != expected:
                raise InputError(
                    f"Subject {subject} {part}: found {found.get(part, 0)} trials, expected {expected}."
                )
        n = len(_table(root, subject, "VoxelMetadata"))
        if VOXELS.get(subject, n) != n:
            raise InputError(f"Subject {subject} voxels: found {n}, expected {VOXELS[subject]}.")
        shown = ", ".join(f"{v} {k} trials" for k, v in EXPECTED.items())
        done.append(f"subject {subject}: {n} voxels, {shown}")
    return done
