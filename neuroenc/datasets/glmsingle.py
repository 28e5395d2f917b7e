"""A folder as GLMsingle left it (Prince et al. 2022, eLife 11, e77599): single-trial betas of one experiment.

```
root/                   or, of a single subject, what stands in sub-01/ straight in root
  stimuli.csv           stimulus_id and what else docs/custom.md lists: a row for each condition, in the order
                        of the design's columns, or in any with their numbers in a column `condition`
  pictures/             or pictures.zip, or stimuli/: what the column `file` names
  sub-01/               or sub-01/ses-01/, sub-01/ses-02/, …: a fit each
    DESIGNINFO.npy
    TYPED_FITHRF_GLMDENOISE_RR.npy     or .hdf5; or TYPEC_…, TYPEB_…
    conditions.csv      only where the conditions are not the rows of stimuli.csv: the same columns
    …_run-1_events.tsv  or these, one a run: stimulus_id, else stim_file, of each trial
    V1.nii.gz           masks and regions on the grid of the betas
```

Seen in the files of version 1.2 for Python: `betasmd` is (x, y, z, trial), of flat data (unit, 1, 1, trial),
in percent signal change; voxels without signal are NaN and are dropped here; conditions count from
0; `params.sessionindicator` says the session of each run; DESIGNINFO is .npy beside outputs of either kind. A
DESIGNINFO.hdf5 is read by the same names, though no version that writes one was at hand. MATLAB's .mat are
refused.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.dtypes import StringDType
from numpy.typing import NDArray

from neuroenc.arrays import make_responses
from neuroenc.blocks import blocks
from neuroenc.config import Dataset
from neuroenc.datasets.copied_rows import refuse_copied_rows
from neuroenc.datasets.custom_stimuli import design as columns_of
from neuroenc.datasets.custom_stimuli import stimuli_table, stimulus_set
from neuroenc.datasets.glmsingle_design import Fit, natural, read_fit, trials_of
from neuroenc.datasets.images import AFFINE_TOLERANCE, read_image, read_mask, read_region
from neuroenc.datasets.reading import Table
from neuroenc.datasets.repeats import warn_of_repeats
from neuroenc.datasets.report import report_responses, report_stimuli
from neuroenc.datasets.unpickle import load_arrays
from neuroenc.errors import InputError, InputWarning, invalid
from neuroenc.files import existing, sha256
from neuroenc.hdf5 import numbers, open_hdf5
from neuroenc.real import zscore

LICENCE = "yours"
CITATION = "Prince et al. (2022), eLife 11, e77599, for the betas"
TYPES = {
    "TYPED": "TYPED_FITHRF_GLMDENOISE_RR", "TYPEC": "TYPEC_FITHRF_GLMDENOISE", "TYPEB": "TYPEB_FITHRF",
}  # fmt: skip
BEST = str(Dataset.model_fields["preparation"].default)
ENDINGS = (".npy", ".hdf5")
MAPS = ("R2", "HRFindex", "FRACvalue", "noisepool")
PICTURES = ("pictures", "pictures.zip", "stimuli")
LOST = 0.5  # share of a mask or region that may be without data
SLAB = 2**28  # values of betas that are read at once


def _root(options: Dataset) -> Path:
    return existing(str(options.root), made_by="Set `dataset.root` to the folder with GLMsingle's outputs.")


def _folder(root: Path, subject: str) -> Path:
    """Return the folder of a subject: sub-<subject>, or root itself where it holds no others."""
    known = sorted(p.name.removeprefix("sub-") for p in root.glob("sub-*") if p.is_dir())
    if known and subject not in known:
        raise invalid("subject", subject, known)
    return root / f"sub-{subject}" if known else root


def _fits(root: Path, options: Dataset, subject: str) -> list[Fit]:
    """Find the fits of a subject, and what was shown in each trial of them.

    Raises
    ------
    InputError
        There is none, or not in the preparation that is asked for; a design does not add up.
    """
    folder = _folder(root, subject)
    sessions = sorted((p for p in folder.glob("ses-*") if p.is_dir()), key=natural)
    places = sessions[: options.sessions] or [folder]
    wanted = [options.preparation] if options.preparation in TYPES else list(TYPES)
    if options.preparation not in (*TYPES, BEST):
        raise invalid("dataset.preparation", options.preparation, TYPES)
    there = [[f for t in wanted for e in ENDINGS if (f := p / f"{TYPES[t]}{e}").exists()] for p in places]
    for place, found in zip(places, there, strict=True):
        if not found:
            matlab = any(place.glob("TYPE*.mat"))
            raise InputError(
                f"{place} holds no {' or '.join(TYPES[t] for t in wanted)} (.npy or .hdf5)"
                + (", only MATLAB's .mat. Save `modelmd` as `betasmd` there." if matlab else
                   ". Point `dataset.root` at GLMsingle's `outputdir`, or choose another `preparation`.")
            )  # fmt: skip
    kinds = {f[0].stem for f in there}
    if len(kinds) > 1:
        raise InputError(
            f"The sessions of {folder} have different best outputs: {', '.join(sorted(kinds))}. Set "
            "`dataset.preparation` to one that all have."
        )
    return [read_fit(p, f[0], p.name.removeprefix("ses-") if sessions else "")
            for p, f in zip(places, there, strict=True)]  # fmt: skip


def _stimuli(root: Path, options: Dataset, subjects: list[str]) -> tuple[Table, NDArray[np.int64]]:
    """Return the table of stimuli and the rows that the subjects were shown."""
    shown: set[str] = set()
    files: dict[str, str] = {}
    for subject in subjects:
        for fit in _fits(root, options, subject):
            names, file = trials_of(root, fit)
            shown |= set(names.tolist())
            files |= dict(zip(names.tolist(), file.tolist(), strict=True)) if file is not None else {}
    path = root / "stimuli.csv"
    if path.exists():
        table = stimuli_table(path)
    else:  # events name the pictures, and that is all there is
        ids = sorted(shown)
        cells = [[i, files.get(i, "")] for i in ids]
        table = Table(path, ["stimulus_id", "file"], np.array(cells, dtype=StringDType()),
                      list(range(len(ids))))  # fmt: skip
    every = table.names("stimulus_id")
    absent = sorted(shown - set(every.tolist()))
    if absent:
        raise InputError(f"{len(absent)} stimuli that were shown are not in {path}, first {absent[0]!r}.")
    return table, np.flatnonzero(np.isin(every, sorted(shown)))


def load_stimuli(options: Dataset, subjects: list[str]) -> xr.Dataset:
    """Read the stimuli that the subjects were shown."""
    root = _root(options)
    table, rows = _stimuli(root, options, subjects)
    pictures = next((p for p in PICTURES if (root / p).exists()), None)
    return stimulus_set(root, table, rows, root.resolve().name, pictures)


def load_responses(options: Dataset, subject: str) -> xr.Dataset:
    """Read the betas of one subject, z-scored within session.

    Mean and deviation of a session come from its training trials, where stimuli.csv names test stimuli
    (`split`); else from all of them, and `transductive` says so.

    Parameters
    ----------
    options : Dataset
        `preparation` TYPEB, TYPEC or TYPED, else the best that is there; `mask` 'brain' (all voxels with
        data) or the name of a NIfTI in the subject's folder; `regions`, names of others; `sessions`.
    subject : str

    Returns
    -------
    Dataset
        Responses. `R2`, `HRFindex`, `FRACvalue` and `noisepool` lie on the neuroids where there is one fit;
        `n_without_data` voxels of the mask were NaN.

    Raises
    ------
    InputError
        A file is missing, broken or holds code; trials do not match the design; a mask lies on another grid.
    """
    root = _root(options)
    fits = _fits(root, options, subject)
    ids = np.concatenate([trials_of(root, fit)[0] for fit in fits])
    table, _ = _stimuli(root, options, [subject])
    row = {name: i for i, name in enumerate(table.names("stimulus_id").tolist())}
    side = {k: v[[row[i] for i in ids.tolist()]] for k, v in columns_of(table).items()}
    session = np.concatenate([fit.session for fit in fits])
    space = _space(_folder(root, subject), fits, options)
    values = np.concatenate([_betas(fit, space.inside) for fit in fits])
    keep = np.isfinite(values).all(0)
    if not keep.any():
        raise InputError(
            f"No voxel inside the mask {options.mask!r} of {subject} has finite betas throughout."
        )
    _warn_of_lost(subject, space, options, keep)
    values = values[:, keep]
    refuse_copied_rows(f"The betas of {subject}", values, ids)
    warn_of_repeats(f"The betas of {subject}", values, ids, session)
    training = side["split"] == "train"
    for name in np.unique(session):
        _standardise(values, session == name, training, f"Session {name} of {subject}")
    transductive = bool(training.all())
    maps = _maps(fits[0], space.inside) if len(fits) == 1 else {}
    return make_responses(
        values,
        presentation={
            "stimulus_id": ids, "session": session, "run": np.concatenate([fit.run for fit in fits]),
            "repetition": pd.Series(ids).groupby(ids).cumcount().to_numpy(int),
            "split": side["split"], "group": side["group"],
        },
        neuroid={
            "neuroid_id": np.array([f"{subject}_{n}" for n in space.names[keep]]),
            "subject": np.full(int(keep.sum()), subject), "hemisphere": np.full(int(keep.sum()), ""),
            "ncsnr": np.full(int(keep.sum()), np.nan, np.float32),
            **{k: v[keep] for k, v in (space.coordinates | maps).items()},
        },
        attrs={
            "dataset": root.resolve().name, "space": "native",
            "units": "z-score within session of percent signal change", "preparation": fits[0].betas.stem,
            **({"transductive": "each session is z-scored by itself"} if transductive
               else {"normalised_on": "split=train"}),
            "n_without_data": int((~keep).sum()), **space.attrs,
            "source": json.dumps({str(f.betas.relative_to(root)): sha256(f.betas) for f in fits}),
        },
    )  # fmt: skip


def _warn_of_lost(subject: str, space: Space, options: Dataset, keep: NDArray[np.bool_]) -> None:
    """Warn of a mask, or a region, most of which has no data: betas have no affine to compare it with."""
    whole = {options.mask: np.ones(len(keep), bool)} if options.mask != "brain" else {}
    whole |= {name: space.coordinates[f"roi_{name}"] for name in options.regions}
    for name, inside in whole.items():
        lost = int((inside & ~keep).sum())
        if lost > LOST * inside.sum():
            warnings.warn(
                f"{lost} of {int(inside.sum())} voxels of {name!r} of {subject} have no betas. Was it made "
                "on another grid, or reoriented?", InputWarning, stacklevel=3,
            )  # fmt: skip


def _standardise(
    values: NDArray[np.float32], rows: NDArray[np.bool_], training: NDArray[np.bool_], what: str
) -> None:
    """Scale a session in place by its training trials; a voxel that never changes becomes NaN."""
    base = values[rows & training]
    if len(base) < 2:
        raise InputError(f"{what} has {len(base)} training trials, expected 2 or more to be z-scored by.")
    values[rows] = zscore(values[rows], base)


class Space(NamedTuple):
    """Where the units lie."""

    inside: NDArray[np.bool_]
    """On the grid of the betas."""
    names: NDArray[np.str_]
    coordinates: dict[str, NDArray[Any]]
    attrs: dict[str, Any]


@contextmanager
def _output(fit: Fit) -> Iterator[Any]:
    """Open an output: a mapping of names to arrays, of which betas of an HDF5 stay on the disk."""
    if fit.betas.suffix == ".hdf5":
        with open_hdf5(fit.betas) as file:
            numbers(file, "betasmd")
            yield file
        return
    found = load_arrays(fit.betas)
    betas = found.get("betasmd") if isinstance(found, dict) else None
    if not isinstance(betas, np.ndarray) or betas.dtype.kind not in "iuf":
        raise InputError(f"{fit.betas} has no array `betasmd`. Is it an output of GLMsingle? Fetch it again.")
    yield found


def _grid(fit: Fit) -> tuple[int, ...]:
    """Return the grid of the betas, whose trials must be those of the design."""
    with _output(fit) as output:
        shape = output["betasmd"].shape
    if len(shape) != 4 or 0 in shape:
        raise InputError(f"`betasmd` of {fit.betas} has shape {shape}, expected (x, y, z, trials).")
    if shape[3] != len(fit.condition):
        raise InputError(
            f"`betasmd` of {fit.betas} has {shape[3]} trials, its design {len(fit.condition)}; they must "
            "match. Are both of one fit?"
        )
    return tuple(shape[:3])


def _betas(fit: Fit, inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Read the betas inside a mask, (n_trials, n_units), in slabs."""
    values = np.empty((len(fit.condition), int(inside.sum())), np.float32)
    n, start = len(fit.condition), 0
    with _output(fit) as output:
        for rows in blocks(len(inside), max(1, SLAB // (inside[0].size * n))):
            slab = np.asarray(output["betasmd"][rows])[inside[rows]]
            values[:, start : start + len(slab)] = slab.T
            start += len(slab)
    return values


def _maps(fit: Fit, inside: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """Read what GLMsingle says of each unit, as far as this type of output has it."""
    with _output(fit) as output:
        found = {k: np.asarray(output[k][...]) for k in MAPS if k in output and hasattr(output[k], "shape")}
    return {k: v.reshape(inside.shape)[inside] for k, v in found.items() if v.size == inside.size}


def _space(folder: Path, fits: list[Fit], options: Dataset) -> Space:
    """Read masks and regions on the grid of the betas, which all fits must share.

    Of betas without a grid (unit, 1, 1) a mask of as many voxels says where they lie; else they are vertices.
    """
    grids = {_grid(fit): fit for fit in fits}
    if len(grids) > 1:
        raise InputError(
            f"The sessions of {folder} have the grids {', '.join(map(str, grids))}: expected one."
        )
    grid = next(iter(grids))
    masks = {name: _mask(folder, name) for name in (options.mask, *options.regions) if name != "brain"}
    images = [(path, read_image(path)) for path in masks.values()]
    for path, image in images[1:]:
        if not np.allclose(image.affine, images[0][1].affine, atol=AFFINE_TOLERANCE):
            raise InputError(f"{path} has another affine than {images[0][0]}. Resample it to the betas.")
    found = {n: (read_region if n in options.regions else read_mask)(path) for n, path in masks.items()}
    attrs: dict[str, Any] = {}
    if images:
        shape = next(iter(found.values())).shape
        attrs = {"grid_shape": np.array(shape), "affine": np.asarray(images[0][1].affine).ravel()}
    brain = found.get(options.mask)
    listed = grid[1:] == (1, 1) and brain is not None and brain.shape != grid and brain.sum() == grid[0]
    at = brain if listed and brain is not None else np.ones(grid, bool)
    for name, mask in found.items():
        if mask.shape != at.shape:
            raise InputError(f"{masks[name]} has the grid {mask.shape}, the betas {grid}. Resample it first.")
    inside = np.ones(grid, bool) if listed or brain is None else brain
    if not inside.any():
        raise InputError(f"The mask {options.mask!r} of {folder} is empty.")
    regions = {f"roi_{name}": found[name][at if listed else inside] for name in options.regions}
    where = np.argwhere(at if listed else inside)
    if grid[1:] == (1, 1) and not listed:
        return Space(inside, where[:, 0].astype(str), {"vertex": where[:, 0], **regions}, {})
    axes = {axis: where[:, n].astype(np.float32) for n, axis in enumerate("xyz")}
    return Space(inside, np.array([f"{i}-{j}-{k}" for i, j, k in where]), axes | regions, attrs)


def _mask(folder: Path, name: str) -> Path:
    for ending in (".nii.gz", ".nii"):
        if (folder / f"{name}{ending}").exists():
            return folder / f"{name}{ending}"
    known = sorted({p.name.partition(".nii")[0] for p in folder.glob("*.nii*")})
    raise invalid("dataset.mask or .regions", name, ["brain", *known])


def check_tree(options: Dataset, subjects: list[str]) -> list[str]:
    """Read everything once and say what was found, and how many voxels were without data."""
    done = report_stimuli(load_stimuli(options, subjects))
    for subject in subjects:
        found = load_responses(options, subject)
        done += report_responses(found, subject)
        done.append(
            f"subject {subject}: {found.attrs['preparation']}, {found.attrs['n_without_data']} voxels of the "
            f"mask {options.mask!r} without data, dropped"
        )
    return done
