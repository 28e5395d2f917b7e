"""From fMRIPrep's outputs and events to a folder of the `custom` layout: trials, or the courses of films.

A run is worked on by itself and stored under `.runs` in the folder that is made, by a name that holds what
went into it; a second call takes up what is there. `dataset.yaml` is written last.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from tqdm import tqdm

from neuroenc.datasets import trials
from neuroenc.datasets.bids import Run, Shown, find_runs, in_volumes, read_events, whole
from neuroenc.datasets.images import read_image, read_mask, read_values
from neuroenc.datasets.late_events import explained, warn_of_late_events
from neuroenc.errors import InputError, InputWarning
from neuroenc.files import atomic, existing, lock, remove

HIGH_PASS = 1 / 128  # Hz
JITTER = 0.1  # of a repetition time, by which the volumes of two runs of a film may be apart


class Choices(NamedTuple):
    """How runs are worked on."""

    film: bool = False
    betas: str = "lss"
    confounds: tuple[str, ...] = trials.NUISANCE
    high_pass: float = HIGH_PASS


def convert(
    root: Path, out: Path, *, task: str, space: str, subjects: list[str], derivatives: Path | None = None,
    choices: Choices | None = None,
) -> list[str]:  # fmt: skip
    """Write a folder that the dataset `custom` reads.

    Parameters
    ----------
    root : path
        Of the raw dataset.
    out : path
        Must not hold a finished one.
    task, space, subjects
        As of `find_runs`.
    derivatives : path, optional
        `root/derivatives/fmriprep`.
    choices : Choices, optional

    Returns
    -------
    list of str
        What was written, a line each.

    Raises
    ------
    InputError
        Files are missing or do not belong together; events without stimuli or outside their run; the folder
        is finished already, or another process writes it.
    """
    choices = choices or Choices()
    root = existing(root)
    outputs = existing(derivatives or root / "derivatives/fmriprep", made_by="Set --derivatives.")
    if (out / "dataset.yaml").exists():
        raise InputError(f"{out} holds a dataset.yaml already. Remove it, or choose another --out.")
    runs = find_runs(root, outputs, task, space, subjects)
    shown = {run.stem: read_events(run, film=choices.film) for run in runs}
    if all(in_volumes(run, shown[run.stem]) for run in runs):
        warnings.warn(
            f"The events of all {len(runs)} runs begin at whole numbers and end early: {runs[0].events} at "
            f"{shown[runs[0].stem].onset.max():g} s of {runs[0].n_volumes * runs[0].tr:g}. Are onsets in "
            "volumes? Write seconds.", InputWarning, stacklevel=2,
        )  # fmt: skip
    files = sorted({f for s in shown.values() for f in s.file.tolist()})
    pictures = _pictures(root, files)
    with lock(out / ".lock", passing=True) as free:
        if not free:
            raise InputError(f"Another process writes {out}. Wait for it, or choose another --out.")
        done = _write(runs, shown, files, pictures, root, out, task, space, choices)
        remove(out / ".runs")
    return done


def _pictures(root: Path, files: list[str]) -> bool:
    """Whether the stimuli are there: all of them, or none, where they may not be distributed."""
    absent = [f for f in files if not (root / "stimuli" / f).is_file()]
    if absent and len(absent) < len(files):
        raise InputError(
            f"{len(absent)} of {len(files)} stimuli are not in {root / 'stimuli'}, first {absent[0]!r}. Add "
            "them, or correct stim_file."
        )
    endings = {Path(f).suffix.lower() for f in files}
    other = next((p for p in (root / "stimuli").rglob("*") if p.suffix.lower() in endings), None)
    if absent and other is not None:
        raise InputError(
            f"None of {len(files)} stimuli is in {root / 'stimuli'}, first {absent[0]!r}, though there is "
            f"{other.relative_to(root / 'stimuli').as_posix()!r}. Write stim_file as paths below that folder."
        )
    place = root.resolve()
    astray = [f for f in files if not (root / "stimuli" / f).resolve().is_relative_to(place)]
    if astray:
        raise InputError(
            f"{root / 'stimuli' / astray[0]} is a link that leads outside {root}. Put the file itself there."
        )
    return not absent


def _write(
    runs: list[Run], shown: dict[str, Shown], files: list[str], pictures: bool, root: Path, out: Path,
    task: str, space: str, choices: Choices,
) -> list[str]:  # fmt: skip
    """Work on all runs, subject by subject, then write tables and the description."""
    subjects: dict[str, Any] = {}
    films: dict[str, dict[int, tuple[float, float]]] = {}
    done = []
    for subject in dict.fromkeys(r.subject for r in runs):
        own = [r for r in runs if r.subject == subject]
        section, rows, n = _subject(own, shown, out, choices, films)
        subjects[subject] = section
        done.append(f"subject {subject}: {len(own)} runs, {rows} presentations x {n} neuroids")
    table = _film_table(films) if choices.film else pd.DataFrame({"stimulus_id": files, "file": files})
    with atomic(out / "stimuli.csv") as partial:
        (table if pictures else table.drop(columns="file")).to_csv(partial, index=False)
    if pictures:
        for name in files:
            _copy((root / "stimuli" / name).resolve(), out / "pictures" / name)
    how = (
        "z-score within run of what confounds and slow cosines leave" if choices.film
        else "percent signal change"
    )  # fmt: skip
    found: dict[str, Any] = {
        "name": f"{root.resolve().name} {task}", "units": how, "space": space,
        "stimuli": {"table": "stimuli.csv"} | ({"pictures": "pictures"} if pictures else {}),
        "subjects": subjects,
    }  # fmt: skip
    said = f"# by neuroenc data from-bids: {json.dumps(choices._asdict(), ensure_ascii=False)}\n"
    with atomic(out / "dataset.yaml") as partial:
        partial.write_text(
            said + yaml.safe_dump(found, sort_keys=False, allow_unicode=True), encoding="utf-8"
        )
    return [*done, f"{len(table)} stimuli{'' if pictures else ', whose pictures are not in stimuli/'}"]


def _copy(source: Path, path: Path) -> None:
    """Put a stimulus into the folder: one file under two names where the disk allows, else a copy."""
    if path.exists():
        return
    with atomic(path) as partial:
        try:
            os.link(source, partial)
        except OSError:
            shutil.copyfile(source, partial)


def _subject(
    runs: list[Run], shown: dict[str, Shown], out: Path, choices: Choices,
    films: dict[str, dict[int, tuple[float, float]]],
) -> tuple[dict[str, Any], int, int]:  # fmt: skip
    """Work on the runs of a subject and write responses and presentations; return its section."""
    subject, inside = runs[0].subject, _inside(runs)
    tables = [_presentations(run, shown[run.stem], choices, films) for run in runs]
    if choices.betas == "glmsingle" and not choices.film:
        from neuroenc.datasets.glmsingle_fit import estimate

        parts = [estimate([_series(run, inside) for run in runs], [shown[r.stem] for r in runs], runs)]
    else:
        paths = [
            _run(run, shown[run.stem], volumes, inside, out, choices)
            for run, (_, volumes) in zip(
                tqdm(runs, f"runs of sub-{subject}", disable=None), tables, strict=True
            )
        ]  # fmt: skip
        parts = [np.load(p, "r", allow_pickle=False) for p in paths]
        if not choices.film:
            warn_of_late_events(f"sub-{subject}", [np.load(_lags(p)) for p in paths])
    table = pd.concat([t for t, _ in tables], ignore_index=True)
    with atomic(out / f"sub-{subject}_presentations.csv") as partial:
        table.to_csv(partial, index=False)
    section: dict[str, Any] = {"presentations": f"sub-{subject}_presentations.csv"}
    if inside is not None:
        more, n = _volumes(runs[0], parts, inside, out)
    else:
        write = _surfaces if runs[0].kind == "surface" else _grayordinates
        more, n = write(runs[0], parts, out, table["stimulus_id"].tolist())
    return section | more, len(table), n


def _presentations(
    run: Run, shown: Shown, choices: Choices, films: dict[str, dict[int, tuple[float, float]]]
) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """List the rows of the responses: trials, or the volumes taken while a film ran and their numbers."""
    if not choices.film:
        return pd.DataFrame({"stimulus_id": shown.file, "session": run.session, "run": run.number}), np.array(
            []
        )
    _, unsteady = trials.read_confounds(run.confounds, run.n_volumes, choices.confounds)
    times = run.start + run.tr * np.arange(run.n_volumes)
    names, volumes = [], []
    for file, onset, duration in zip(shown.file.tolist(), shown.onset, shown.duration, strict=True):
        during = np.flatnonzero((times >= onset) & (times < onset + duration))
        for place, volume in enumerate(during):
            since = float(times[volume] - onset)
            known = films.setdefault(file, {}).setdefault(
                place, (since, float(min(run.tr, onset + duration - times[volume])))
            )
            if abs(known[0] - since) > JITTER * run.tr:
                raise InputError(
                    f"Volume {place + 1} of {file} was taken {since:g} s into it in {run.events.name}, "
                    f"{known[0]:g} s in another run; they may be {JITTER * run.tr:g} s apart. Convert "
                    "such runs by themselves, into folders of their own."
                )
            if not unsteady[volume]:
                names.append(_moment(file, place))
                volumes.append(int(volume))
    if not names:
        raise InputError(f"No volume of {run.series[0]} was taken while a film of {run.events} ran.")
    table = pd.DataFrame({"stimulus_id": names, "session": run.session, "run": run.number})
    return table, np.array(volumes, np.int64)


def _moment(file: str, place: int) -> str:
    return f"{file}:{place:05d}"


def _film_table(films: dict[str, dict[int, tuple[float, float]]]) -> pd.DataFrame:
    rows = [
        (_moment(file, place), file, file, round(onset, 4), round(lasts, 4))
        for file, places in films.items() for place, (onset, lasts) in sorted(places.items())
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["stimulus_id", "file", "film", "onset", "duration"])


def _run(
    run: Run, shown: Shown, volumes: NDArray[np.int64], inside: NDArray[np.bool_] | None, out: Path,
    choices: Choices,
) -> Path:  # fmt: skip
    """Work on a run unless that was done; return the file of its responses (n_presentations, n_units)."""
    path = out / ".runs" / f"{run.stem}_{_key(run, inside, choices)}.npy"
    if path.exists() and (choices.film or _lags(path).exists()):
        return path
    confounds, _ = trials.read_confounds(run.confounds, run.n_volumes, choices.confounds)
    basis, series = trials.nuisance(confounds, run.tr, choices.high_pass), _series(run, inside)
    if not choices.film:
        times = run.start + run.tr * np.arange(run.n_volumes)
        design = trials.regressors(shown.onset, shown.duration, times)
        values = trials.separate(series, design, basis, run.events.name)
        with atomic(_lags(path)) as partial, partial.open("wb") as file:
            np.save(file, explained(series, shown.onset, shown.duration, times, basis), allow_pickle=False)
    else:
        values = trials.cleaned(series, basis)[volumes]
    with atomic(path) as partial, partial.open("wb") as file:
        np.save(file, values, allow_pickle=False)
    return path


def _lags(path: Path) -> Path:
    """Name the file that stands beside the responses of a run until all are written."""
    return path.with_suffix(".lags.npy")


def _key(run: Run, inside: NDArray[np.bool_] | None, choices: Choices) -> str:
    """Name what goes into the responses of a run: files by size and time, mask and choices."""
    files = [
        (p.name, (s := p.stat()).st_size, s.st_mtime_ns) for p in (*run.series, run.confounds, run.events)
    ]
    mask = "" if inside is None else hashlib.sha256(np.packbits(inside).tobytes()).hexdigest()
    said = json.dumps([files, mask, choices._asdict(), run.tr, run.start])
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _inside(runs: list[Run]) -> NDArray[np.bool_] | None:
    """Return the voxels inside the masks of all runs, which lie on one grid; None of surfaces."""
    masks = [
        read_mask(r.mask, read_image(r.series[0])) for r in runs if r.mask is not None and r.kind == "volume"
    ]
    if not masks:
        for run in runs[1:]:
            if _units(run) != _units(runs[0]):
                raise InputError(
                    f"{run.series[0]} has other vertices or voxels than {runs[0].series[0]}. Run "
                    "fMRIPrep on both alike."
                )
        return None
    first = read_image(runs[0].series[0])
    for run in runs[1:]:
        image = read_image(run.series[0])
        if image.shape[:3] != first.shape[:3] or not np.allclose(image.affine, first.affine, atol=1e-3):
            raise InputError(
                f"{run.series[0]} lies on another grid than {runs[0].series[0]}. Resample it first."
            )
    inside = np.logical_and.reduce(masks)
    if not inside.any():
        raise InputError(f"The masks of sub-{runs[0].subject} have no voxel in common.")
    return np.asarray(inside)


def _series(run: Run, inside: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    """Read a run, (n_volumes, n_units)."""
    if inside is not None:
        image = read_image(run.series[0])
        values = np.empty((run.n_volumes, int(inside.sum())), np.float32)
        for volume in range(run.n_volumes):
            values[volume] = read_values(image, (..., volume))[inside]
    elif run.kind == "surface":
        with whole(run.series[0]):
            sides = [[a.data for a in read_image(p).darrays] for p in run.series]
            values = np.concatenate([s[0].T if s[0].ndim == 2 else np.stack(s) for s in sides], 1).astype(
                "f4"
            )
    else:
        values = read_values(read_image(run.series[0])).astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError(f"{run.series[0]} holds values that are not finite. Run fMRIPrep again.")
    return values


def _finite(parts: list[NDArray[np.float32]]) -> NDArray[np.bool_]:
    return np.asarray(np.logical_and.reduce([np.isfinite(p).all(0) for p in parts]))


def _volumes(
    run: Run, parts: list[NDArray[np.float32]], inside: NDArray[np.bool_], out: Path
) -> tuple[dict[str, Any], int]:
    """Write an array whose columns are the voxels of a mask; voxels without value in a run are left out."""
    keep = _finite(parts)
    if not keep.any():
        raise InputError(f"No voxel of sub-{run.subject} varies in all runs. Is the mask of this space?")
    mask = inside.copy()
    mask[inside] = keep
    responses, brain = f"sub-{run.subject}_responses.npy", f"sub-{run.subject}_mask.nii.gz"
    shape = (sum(map(len, parts)), int(keep.sum()))
    with atomic(out / responses, size=4 * shape[0] * shape[1]) as partial:
        into = np.lib.format.open_memmap(partial, "w+", np.float32, shape)
        start = 0
        for part in parts:
            into[start : start + len(part)] = part[:, keep]
            start += len(part)
        into.flush()
    with atomic(out / brain) as partial:
        nib.save(nib.Nifti1Image(mask.astype("u1"), read_image(run.series[0]).affine), partial)
    return {"responses": responses, "mask": brain}, shape[1]


def _surfaces(
    run: Run, parts: list[NDArray[np.float32]], out: Path, ids: list[str]
) -> tuple[dict[str, Any], int]:
    """Write a GIFTI of each hemisphere, an array for each presentation, named by it; NaN: no value."""
    sizes = _units(run)
    found, start = {}, 0
    for side, letter, n in zip(("left", "right"), "LR", sizes, strict=True):
        name = f"sub-{run.subject}_hemi-{letter}_responses.func.gii"
        rows = [row for part in parts for row in np.asarray(part[:, start : start + n])]
        arrays = [
            nib.gifti.GiftiDataArray(r, "NIFTI_INTENT_NONE", "NIFTI_TYPE_FLOAT32", meta={"Name": i})
            for r, i in zip(rows, ids, strict=True)
        ]
        meta = nib.gifti.GiftiMetaData({"AnatomicalStructurePrimary": f"Cortex{side.capitalize()}"})
        with atomic(out / name) as partial:
            nib.save(nib.gifti.GiftiImage(darrays=arrays, meta=meta), partial)
        found[side], start = name, start + n
    return {"responses": found}, start


def _units(run: Run) -> Any:
    """Return how many vertices each hemisphere has, or the axis of a CIFTI."""
    with whole(run.series[0]):
        if run.kind == "cifti":
            return read_image(run.series[0]).header.get_axis(1)
        return [int(read_image(p).darrays[0].data.shape[0]) for p in run.series]


def _grayordinates(
    run: Run, parts: list[NDArray[np.float32]], out: Path, ids: list[str]
) -> tuple[dict[str, Any], int]:
    """Write a CIFTI of scalars, a row for each presentation, which is named, on the axis of the series."""
    values = np.concatenate([np.asarray(p) for p in parts])
    axis = _units(run)
    rows = nib.cifti2.ScalarAxis(ids)
    name = f"sub-{run.subject}_responses.dscalar.nii"
    with atomic(out / name) as partial:
        nib.save(nib.Cifti2Image(values, (rows, axis)), partial)
    return {"responses": name}, values.shape[1]
