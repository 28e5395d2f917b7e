"""Runs of fMRIPrep by the names of their files: preprocessed series, masks, confounds and events.

Names as BIDS derivatives have them, and as fMRIPrep's page on its outputs lists them (versions 20.2 and
later; confounds also by their older name):

    …_space-S_desc-preproc_bold.nii.gz   with …_space-S_desc-brain_mask.nii.gz
    …_hemi-L_space-S_bold.func.gii
    …_space-fsLR_den-91k_bold.dtseries.nii
    …_desc-confounds_timeseries.tsv

Events stand in the raw dataset, beside the run they belong to; inherited ones (`task-T_events.tsv` above it)
are not looked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuroenc.datasets.images import read_image
from neuroenc.datasets.reading import read_table
from neuroenc.documents import read_object
from neuroenc.errors import InputError, invalid, reason
from neuroenc.files import existing, relative

SERIES = {".nii.gz": "volume", ".nii": "volume", ".func.gii": "surface", ".dtseries.nii": "cifti"}
OF_OUTPUTS = ("space", "res", "den", "hemi", "desc", "suffix", "ending")  # the others say which run it is
CONFOUNDS = ("timeseries", "regressors")  # since 20.2, before
NATIVE = "func"  # fMRIPrep's name for the space whose files name none
EMPTY = ("", "n/a")  # cells of stim_file
LONGEST = 60.0  # s between volumes; longer ones are in ms
OVERLAP = 0.5  # share of events that may last past the one after the next
FILLED = 0.5  # share of a run that events fill, at least
SLOW = 1.25  # s between volumes from which on seconds and volumes cannot be taken for each other
SAME = 1e-3  # s by which two statements of the repetition time may differ


class Run(NamedTuple):
    """One run of one subject."""

    subject: str
    session: str
    number: int
    stem: str
    kind: str
    """volume, surface or cifti"""
    series: tuple[Path, ...]
    """One file; of surfaces left and right."""
    mask: Path | None
    confounds: Path
    events: Path
    n_volumes: int
    tr: float
    """s"""
    start: float
    """Time to which slices were corrected, s after the volume began (StartTime)."""


class Shown(NamedTuple):
    """Events of a run that have a stimulus."""

    file: NDArray[np.str_]
    onset: NDArray[np.float64]
    """s after the first volume began"""
    duration: NDArray[np.float64]


def entities(path: Path) -> dict[str, str]:
    """Take a name apart: `sub-01_task-x_bold.nii.gz` is {sub: 01, task: x, suffix: bold, ending: .nii.gz}."""
    stem, dot, ending = path.name.partition(".")
    *pairs, suffix = stem.split("_")
    found = dict(p.split("-", 1) for p in pairs if "-" in p)
    return found | {"suffix": suffix, "ending": dot + ending}


def find_runs(root: Path, derivatives: Path, task: str, space: str, subjects: list[str]) -> list[Run]:
    """Find the runs of a task, each with all that belongs to it.

    Parameters
    ----------
    root : path
        Of the raw dataset, where events are.
    derivatives : path
        Of fMRIPrep's outputs.
    task : str
    space : str
        As for fMRIPrep's `--output-spaces`: `T1w`, `fsaverage5`, `MNI152NLin2009cAsym:res-2`, `fsLR:den-91k`;
        `func` for series whose names state none.
    subjects : list of str
        Empty: all.

    Returns
    -------
    list of Run
        By subject, session and run.

    Raises
    ------
    InputError
        Nothing of that task, space or subject; a run without events, mask, confounds or series; several
        files that fit; two statements of the repetition time.
    """
    known = sorted(p.name[4:] for p in derivatives.glob("sub-*") if p.is_dir())
    if not known:
        raise InputError(f"{derivatives} has no sub-…, expected fMRIPrep's outputs. Set --derivatives.")
    for subject in subjects:
        if subject not in known:
            raise invalid("--subject", subject, known)
    name, *more = space.split(":")
    wanted = dict(m.partition("-")[::2] for m in more) | ({} if name == NATIVE else {"space": name})
    files = {s: sorted(derivatives.glob(f"sub-{s}/**/func/*")) for s in subjects or known}
    runs = []
    tasks, spaces = set(), set()
    for subject, there in files.items():
        series = [(p, e) for p in there if _is_series(e := entities(p))]
        tasks |= {e.get("task", "") for _, e in series}
        spaces |= {_space(e) for _, e in series if e.get("task") == task}
        fitting = [
            (p, e) for p, e in series
            if e.get("task") == task and wanted.items() <= e.items()
            and (name == NATIVE) == ("space" not in e)
        ]  # fmt: skip
        runs += _of_subject(root, subject, task, fitting, there)
    if not runs:
        if task not in tasks:
            raise invalid("--task", task, sorted(tasks))
        raise invalid("--space", space, sorted(spaces))
    return runs


def _is_series(found: dict[str, str]) -> bool:
    if found["suffix"] != "bold" or found["ending"] not in SERIES:
        return False
    return SERIES[found["ending"]] != "volume" or found.get("desc") == "preproc"


def _space(found: dict[str, str]) -> str:
    more = [f":{k}-{found[k]}" for k in ("res", "den") if k in found]
    return found.get("space", NATIVE) + "".join(more)


def _which(found: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the entities that say which run it is; run-1 is run-01."""
    return tuple(sorted((k, v.lstrip("0") if k == "run" else v)
                        for k, v in found.items() if k not in OF_OUTPUTS))  # fmt: skip


def _of_subject(
    root: Path, subject: str, task: str, fitting: list[tuple[Path, dict[str, str]]], there: list[Path]
) -> list[Run]:
    """Join the files of a subject by run, in the order of sessions and runs."""
    if not fitting:
        return []
    events = {_which(e): p for p in sorted(root.glob(f"sub-{subject}/**/func/*_events.tsv"))
              if (e := entities(p)).get("task") == task}  # fmt: skip
    series: dict[tuple[tuple[str, str], ...], list[tuple[Path, dict[str, str]]]] = {}
    for path, found in fitting:
        series.setdefault(_which(found), []).append((path, found))
    for key, path in events.items():
        if key not in series:
            raise InputError(
                f"{path} belongs to a run of which fMRIPrep left no series in space "
                f"{_space(fitting[0][1])!r}. Run fMRIPrep on it, or set the events aside."
            )
    for key, files in series.items():
        if key not in events:
            raise InputError(
                f"{files[0][0]} has no events: no file of {root}/sub-{subject} has its name and ends in "
                "_events.tsv. Point ROOT at the raw dataset, or set the run aside."
            )
    runs = [_run(files, events[key], there) for key, files in series.items()]
    return sorted(runs, key=lambda r: (_number(r.session), r.number, r.stem))


def _number(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdigit() else (10**9, name)


def _run(files: list[tuple[Path, dict[str, str]]], events: Path, there: list[Path]) -> Run:
    first = files[0][1]
    kind = SERIES[first["ending"]]
    sides = [e.get("hemi", "") for _, e in files]
    if sorted(sides) != (["L", "R"] if kind == "surface" else [""]):
        wrong = (
            f"hemispheres {', '.join(sorted(sides))}, expected one L and one R" if kind == "surface"
            else f"{len(files)} series, in {', '.join(_space(e) for _, e in files)}; name one: --space "
            + _space(files[-1][1])
        )  # fmt: skip
        raise InputError(f"{files[0][0].parent / files[0][0].name.partition('_space')[0]} has {wrong}.")
    paths = tuple(p for _, (p, _) in sorted(zip(sides, files, strict=True)))
    named = [(p, e) for p in there if _which(e := entities(p)) == _which(first)]
    masks = [p for p, e in named if e["suffix"] == "mask" and e.get("desc") == "brain" and
             e["ending"] in (".nii.gz", ".nii") and _space(e) == _space(first)]  # fmt: skip
    if kind == "volume" and not masks:
        raise InputError(f"{paths[0]} has no mask: its name with desc-brain_mask. Copy fMRIPrep's there.")
    confounds = [p for c in CONFOUNDS for p, e in named
                 if e["suffix"] == c and e.get("desc") == "confounds" and e["ending"] == ".tsv"]  # fmt: skip
    if not confounds:
        raise InputError(f"{paths[0]} has no confounds: its name with desc-confounds_timeseries.tsv.")
    n, stated = _length(paths)
    sidecar = _sidecar(paths[0])
    tr = float(sidecar.get("RepetitionTime", stated or 0))
    if stated and abs(tr - stated) > SAME:
        raise InputError(
            f"{paths[0]} states a repetition time of {stated:g} s in its header, {tr:g} s in its .json. "
            "Correct the one that is wrong."
        )
    if not tr > 0:
        raise InputError(f"{paths[0]} states no repetition time; expected RepetitionTime in its .json.")
    start = float(sidecar.get("StartTime", 0))
    if tr > LONGEST or not 0 <= start <= tr:
        raise InputError(
            f"{paths[0]} states a repetition time of {tr:g} and a start of {start:g} s, expected at most "
            f"{LONGEST:g} s and a start within it. Are they in ms? Correct header or .json."
        )
    number = first.get("run", "1")
    return Run(
        first["sub"], first.get("ses", "1"), int(number) if number.isdigit() else 1,
        events.name.removesuffix("_events.tsv"), kind, paths, masks[0] if masks else None, confounds[0],
        events, n, tr, start,
    )  # fmt: skip


def _sidecar(path: Path) -> dict[str, Any]:
    stem = path.name.partition(".")[0]
    for name in (f"{stem}.json", f"{stem}.dtseries.json", f"{stem}.func.json"):
        if (path.parent / name).exists():
            found = read_object(path.parent / name)
            wrong = [
                k for k in ("RepetitionTime", "StartTime") if not isinstance(found.get(k, 0), (int, float))
            ]
            if wrong:
                raise InputError(
                    f"{path.parent / name} has {wrong[0]} {found[wrong[0]]!r}, expected seconds."
                )
            return found
    return {}


def _length(paths: tuple[Path, ...]) -> tuple[int, float | None]:
    """Return the number of volumes and the repetition time that the header states, if it does."""
    lengths, tr = [], None
    for path in paths:
        with whole(path):
            n, tr = _volumes(path)
        lengths.append(n)
    if len(set(lengths)) > 1:
        raise InputError(f"{paths[0]} has {lengths[0]} volumes, {paths[1]} {lengths[1]}; they must match.")
    return lengths[0], tr


def _volumes(path: Path) -> tuple[int, float | None]:
    image = read_image(existing(path))
    if path.name.endswith(".gii"):
        arrays = image.darrays
        flat = len(arrays) == 1 and arrays[0].data.ndim == 2
        return int(arrays[0].data.shape[1]) if flat else len(arrays), None
    if path.name.endswith(".dtseries.nii"):
        axis = image.header.get_axis(0)
        return len(axis), float(axis.step) if getattr(axis, "unit", "") == "SECOND" else None
    if len(image.shape) != 4:
        raise InputError(f"{path} has shape {image.shape}, expected (x, y, z, volumes).")
    scale = {"msec": 1e-3, "usec": 1e-6}.get(image.header.get_xyzt_units()[1], 1.0)
    return int(image.shape[3]), float(image.header["pixdim"][4]) * scale or None


def read_events(run: Run, *, film: bool) -> Shown:
    """Read the events of a run that have a `stim_file`; others (keys, fixation) are left out.

    Raises
    ------
    InputError
        There is no such column, or it is empty; one begins outside the run, or two at one time; of a film,
        none lasts.
    """
    table = read_table(run.events, "onset", "duration")
    if "stim_file" not in table:
        raise InputError(
            f"{run.events} has no column 'stim_file', which says what was shown; found "
            f"{', '.join(table.columns)}. Add it: paths in {run.events.parents[2].name}/…/stimuli."
        )
    file = np.char.strip(table.text("stim_file"))
    rows = np.array([i for i, f in enumerate(file) if f.lower() not in EMPTY], int)
    if not len(rows):
        raise InputError(f"{run.events} names no stimulus in its column 'stim_file'. Fill it in.")
    onset, duration = (table.numbers(c, missing=True)[rows] for c in ("onset", "duration"))
    length = run.n_volumes * run.tr
    for row, begin, lasts in zip(rows, onset, duration, strict=True):
        where = f"line {table.lines[row]} of {run.events}"
        if not 0 <= begin < length:
            raise InputError(
                f"The event in {where} begins at {begin:g} s, the run lasts from 0 to {length:g} s. "
                "Onsets are s after the first volume that is stored. Correct it, or leave the event out."
            )
        if not lasts >= 0 or (film and lasts == 0):
            raise InputError(f"The event in {where} lasts {lasts:g} s, expected a duration.")
    order = np.argsort(onset, kind="stable")
    again = np.flatnonzero(np.diff(onset[order]) < SAME)
    if len(again):
        both = order[again[0] : again[0] + 2]
        raise InputError(
            f"Two events of {run.events}, in lines {' and '.join(str(table.lines[k]) for k in rows[both])}, "
            f"begin at {onset[both[0]]:g} s: their responses cannot be told apart. Name what was shown once."
        )
    after = onset[order][2:]  # the event after the next
    past = (onset + duration)[order][: len(after)] > after + SAME
    if duration.max() > length or (len(past) and past.mean() > OVERLAP):
        raise InputError(
            f"{run.events} has events that last up to {duration.max():g} s, past others and the run of "
            f"{length:g} s. Are their durations in ms? Write seconds."
        )
    for name in set(file[rows].tolist()):
        relative(name)
    return Shown(file[rows], onset, duration)


def in_volumes(run: Run, shown: Shown) -> bool:
    """Say whether onsets look like numbers of volumes: whole ones that would fill the run as these."""
    end = float((shown.onset + shown.duration).max())
    counted = bool((shown.onset == np.round(shown.onset)).all())
    return counted and FILLED * run.n_volumes < end <= run.n_volumes and run.tr >= SLOW


@contextmanager
def whole(path: Path) -> Iterator[None]:
    """Turn what a reader says of a broken file into one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  headers, XML and axes each have errors of their own
        raise InputError(f"Cannot read {path}: {reason(error)}. Run fMRIPrep again.") from None
