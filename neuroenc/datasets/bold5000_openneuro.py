"""BOLD5000 as OpenNeuro has it (ds001499): preprocessed volumes, before any model of the response.

The response to a picture is what the authors took before release 2.0: each voxel of a run without its linear
trend, z-scored, then the mean of the third and fourth volume after the onset (4 to 8 s). Names of the release
that are off are met here: masks LHLO and RHLO stand for LOC, RHRRSC for RSC, and fmriprep's files are named
as its first versions named them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.signal import detrend
from tqdm import tqdm

from neuroenc.datasets.images import read_image, read_values
from neuroenc.datasets.reading import read_table
from neuroenc.errors import InputError, invalid
from neuroenc.files import existing, sha256
from neuroenc.real import varies, zscore

VOLUMES = (2, 3)  # after the one in which the picture came on, from 0
MISNAMED = {"LHLOC": ("LHLO",), "RHLOC": ("RHLO",), "RHRSC": ("RHRRSC",), "LHRSC": ("LHRRSC",)}


def runs(root: Path, subject: str, n_runs: NDArray[np.int64]) -> pd.DataFrame:
    """List the runs of a subject: session, run, events (path), bold (path).

    Parameters
    ----------
    root : path
        Of ds001499.
    subject : str
        E.g. CSI1.
    n_runs : int array
        Expected runs of each session.

    Raises
    ------
    InputError
        There is no such subject; a run is missing.
    """
    folder = root / f"sub-{subject}"
    if not folder.is_dir():
        raise invalid("subject", subject, sorted(p.name[4:] for p in root.glob("sub-*")))
    found = []
    for session, number in enumerate(n_runs, 1):
        for run in range(1, number + 1):
            stem = f"sub-{subject}_ses-{session:02d}_task-5000scenes_run-{run:02d}"
            place = f"sub-{subject}/ses-{session:02d}/func"
            bold = root / f"derivatives/fmriprep/{place}/{stem}_bold_space-T1w_preproc.nii.gz"
            found.append((session, run, existing(root / place / f"{stem}_events.tsv"), existing(bold)))
    return pd.DataFrame(found, columns=["session", "run", "events", "bold"])


def mask(root: Path, subject: str, name: str) -> Path:
    """Return the mask of a region, whatever it is called.

    Parameters
    ----------
    root : path
    subject : str
    name : str
        E.g. LHLOC.
    """
    folder = root / f"derivatives/spm/sub-{subject}"
    for spelt in (name, *MISNAMED.get(name, ())):
        path = folder / f"sub-{subject}_mask-{spelt}.nii.gz"
        if path.exists():
            return path
    known = sorted(m[1] for p in folder.glob("*.nii.gz") if (m := re.search(r"mask-(\w+)\.nii", p.name)))
    raise invalid("region", name, known)


def load(
    root: Path, subject: str, regions: tuple[str, ...], n_runs: NDArray[np.int64], n_trials: int
) -> tuple[NDArray[np.float32], dict[str, Any], dict[str, str]]:
    """Read one subject, the trials of all runs in order.

    Parameters
    ----------
    root, subject, n_runs
        As in `runs`.
    regions : tuple of str
        Without side.
    n_trials : int
        Of a run.

    Returns
    -------
    response : array of shape (n_trials, n_voxels)
    neuroid : dict
        Coordinates of the voxels; a voxel of two regions is there once.
    source : dict
        File -> sha256.
    """
    table = runs(root, subject, n_runs)
    reference = read_image(table["bold"].iloc[0])
    grid = reference.shape[:3]
    members: dict[str, NDArray[np.bool_]] = {}
    left = np.zeros(grid, bool)
    for side in ("LH", "RH"):
        for name in regions:
            inside = _on_grid(mask(root, subject, f"{side}{name}"), reference)
            members[name] = members.get(name, np.zeros(grid, bool)) | inside
            left |= inside if side == "LH" else False
    every = np.any(list(members.values()), axis=0)
    parts, source = [], {}
    for run in tqdm(list(table.itertuples()), f"runs of {subject}", disable=None):
        image = read_image(Path(str(run.bold)))
        if image.shape[:3] != grid:
            raise InputError(f"{run.bold} has the grid {image.shape[:3]}, the first run {grid}.")
        onset = read_table(Path(str(run.events))).numbers("onset", low=0)
        if len(onset) != n_trials:
            raise InputError(f"{run.events} has {len(onset)} pictures, expected {n_trials}. Fetch it again.")
        values = np.stack(
            [read_values(image, (..., t))[every].astype(np.float32) for t in range(image.shape[3])]
        )
        # of a voxel that never changes the trend leaves its rounding
        values = np.where(varies(values), zscore(detrend(values, axis=0)), np.float32(np.nan))
        first = (onset / float(image.header.get_zooms()[3]) + 1e-6).astype(int)
        if first[-1] + VOLUMES[-1] >= len(values):
            raise InputError(f"{run.bold} has {len(values)} volumes, too few for its last picture.")
        parts.append(values[first[:, None] + VOLUMES].mean(1).astype(np.float32))
        source[Path(str(run.bold)).name] = sha256(Path(str(run.bold)))
    where = np.argwhere(every)
    neuroid = {
        "neuroid_id": np.array([f"{subject}_{i}-{j}-{k}" for i, j, k in where]),
        "hemisphere": np.where(left[every], "L", "R"),
        **{axis: where[:, n].astype(np.float32) for n, axis in enumerate("xyz")},
        **{f"roi_{name}": inside[every] for name, inside in members.items()},
    }
    return np.concatenate(parts), neuroid, source


def _on_grid(path: Path, reference: Any) -> NDArray[np.bool_]:
    """Read a mask on the grid of the volumes."""
    image = read_image(path)
    if image.shape[:3] != reference.shape[:3] or not np.allclose(image.affine, reference.affine, atol=1e-3):
        from nilearn.image import resample_img

        image = resample_img(
            image, target_affine=reference.affine, target_shape=reference.shape[:3], interpolation="nearest"
        )
    return read_values(image).reshape(reference.shape[:3]) > 0
