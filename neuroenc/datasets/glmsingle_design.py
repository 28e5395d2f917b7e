"""What was shown in a fit of GLMsingle: its design, and the stimuli that the conditions are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuroenc.datasets.custom_rows import STIMULI
from neuroenc.datasets.reading import read_table
from neuroenc.datasets.unpickle import load_arrays
from neuroenc.errors import InputError
from neuroenc.files import existing
from neuroenc.hdf5 import open_hdf5


class Fit(NamedTuple):
    """One call of GLMsingle."""

    folder: Path
    betas: Path
    session: NDArray[np.str_]
    """(n_trials,)"""
    run: NDArray[np.int64]
    condition: NDArray[np.int64]
    """(n_trials,), from 0"""
    n_conditions: int | None
    volumes: list[NDArray[np.int64]] | None
    """In which each trial of each run begins."""
    tr: float | None


def read_fit(folder: Path, betas: Path, name: str) -> Fit:
    """Read the design that stands beside the betas.

    Parameters
    ----------
    folder, betas : path
    name : str
        Of the session, where the folder is one of several.

    Raises
    ------
    InputError
        It is missing, or laid out otherwise; its parts do not agree.
    """
    path, found = _design(folder)
    try:
        per_run = np.asarray(found["numtrialrun"]).astype(np.int64).ravel()
        condition = np.asarray(found["stimorder"]).astype(np.int64).ravel()
        params = found.get("params", {})
        session = np.asarray(params.get("sessionindicator", np.ones(len(per_run)))).astype(np.int64).ravel()
        designs = [np.asarray(d) > 0 for d in found.get("design", [])]
        volumes = [np.flatnonzero(d.any(1)) for d in designs]
        columns = {d.shape[1] for d in designs}
        tr = float(found["tr"]) if "tr" in found else None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise InputError(
            f"{path} is not laid out as GLMsingle's design: {error!r}. Run it again, or fetch it again."
        ) from None
    if len(condition) != per_run.sum() or len(session) != len(per_run) or condition.min(initial=0) < 0:
        raise InputError(
            f"{path} has {len(condition)} trials in `stimorder`, {per_run.sum()} in `numtrialrun` and "
            f"{len(session)} sessions for {len(per_run)} runs; they must agree."
        )
    if volumes and [len(v) for v in volumes] != per_run.tolist():
        raise InputError(f"{path} has other trials in `design` than in `numtrialrun` {per_run.tolist()}.")
    if all((d.sum(1) <= 1).all() for d in designs):
        shown = [np.argmax(d[v], 1) for d, v in zip(designs, volumes, strict=True)]
        if shown and not np.array_equal(np.concatenate(shown), condition):
            raise InputError(
                f"{path} lists other conditions in `stimorder` than in `design`. Fetch it again."
            )
    several = len(set(session)) > 1
    names = [f"{name}-{s}" if several and name else name or str(s) for s in session]
    return Fit(
        folder, betas, np.repeat(np.array(names, dtype=str), per_run),
        np.repeat(np.arange(1, len(per_run) + 1), per_run), condition,
        columns.pop() if len(columns) == 1 else None, volumes or None, tr,
    )  # fmt: skip


def _design(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Read DESIGNINFO as a dictionary."""
    path = folder / "DESIGNINFO.npy"
    if not path.exists() and (folder / "DESIGNINFO.hdf5").exists():
        path = folder / "DESIGNINFO.hdf5"
        with open_hdf5(path) as file:
            keys = ("stimorder", "numtrialrun", "tr")
            return path, {k: file.attrs[k] if k in file.attrs else file[k][()]
                          for k in keys if k in file.attrs or k in file}  # fmt: skip
    found = load_arrays(existing(path, made_by="GLMsingle writes it beside its other outputs; copy it too."))
    if not isinstance(found, dict):
        raise InputError(f"{path} holds {type(found).__name__}, expected GLMsingle's design. Fetch it again.")
    return path, found


def trials_of(root: Path, fit: Fit) -> tuple[NDArray[np.str_], NDArray[np.str_] | None]:
    """Return the stimulus of each trial of a fit, and its file where events name it."""
    events = sorted(fit.folder.glob("*events.tsv"), key=natural)
    if events:
        return _from_events(fit, events)
    tables = (fit.folder / "conditions.csv", fit.folder.parent / "conditions.csv", root / "stimuli.csv")
    table = next((p for p in tables if p.is_relative_to(root) and p.exists()), None)
    if table is None:
        raise InputError(
            f"Nothing says which stimuli the conditions of {fit.folder} are. Put stimuli.csv (stimulus_id, a "
            f"row for each condition, in order) into {root}, or events.tsv of each run beside the betas."
        )
    rows = read_table(table, "stimulus_id")
    rows.expect((*STIMULI[0], "condition"), STIMULI[1])
    names = rows.names("stimulus_id")
    if "condition" in rows:
        number = rows.integers("condition", 0)
        order = np.argsort(number, kind="stable")
        if not np.array_equal(number[order] - number.min(), np.arange(len(number))) or number.min() > 1:
            raise InputError(
                f"The column 'condition' of {table} does not number its {len(number)} rows from 0 or from 1, "
                "each once. Give each condition its column of the design, or leave the column out."
            )
        names = names[order]
    expected = fit.n_conditions or len(names)
    if len(names) != expected or fit.condition.max(initial=0) >= len(names):
        raise InputError(
            f"{table} has {len(names)} rows, the design in {fit.folder} "
            f"{max(expected, int(fit.condition.max()) + 1)} conditions; they must match one to one."
        )
    return names[fit.condition], None


def _from_events(fit: Fit, events: list[Path]) -> tuple[NDArray[np.str_], NDArray[np.str_] | None]:
    """Read the trials from events, one table a run; they must be those of the design."""
    runs = np.unique(fit.run)
    if len(events) != len(runs):
        raise InputError(
            f"{fit.folder} has {len(events)} events.tsv, its design {len(runs)} runs; they must match."
        )
    names: list[str] = []
    by_file = "stimulus_id" not in read_table(events[0])
    for number, path in zip(runs, events, strict=True):
        table = read_table(path, "onset")
        key = "stim_file" if by_file else "stimulus_id"
        cells = np.char.strip(table.text(key))
        rows = np.array([i for i, c in enumerate(cells) if c and c.lower() != "n/a"], int)
        n = int((fit.run == number).sum())
        if len(rows) != n:
            raise InputError(f"{path} has {len(rows)} trials with a {key}, the design {n} in this run.")
        onset = table.numbers("onset", missing=True)
        if np.isnan(onset[rows]).any():
            line = table.lines[rows[np.isnan(onset[rows])][0]]
            raise InputError(f"{path} has no onset in line {line}. Fill it in, or remove the line.")
        rows = rows[np.argsort(onset[rows], kind="stable")]  # as the design counts trials
        if fit.volumes and fit.tr:
            late = onset[rows] - fit.volumes[number - 1] * fit.tr
            if not np.ptp(late) <= fit.tr:
                raise InputError(
                    f"{path}: its trials begin {late.min():g} to {late.max():g} s after those of the design, "
                    f"expected one distance, to a volume of {fit.tr:g} s. Are they events of another run?"
                )
        names += cells[rows].tolist()
    first: dict[int, str] = {}
    for one, name in zip(fit.condition.tolist(), names, strict=True):
        if first.setdefault(one, name) != name:
            raise InputError(
                f"Condition {one} of the design in {fit.folder} has the stimuli {first[one]!r} and {name!r} "
                "in its events; expected one. Are the runs in the order of the design?"
            )
    return np.array(names, dtype=str), np.array(names, dtype=str) if by_file else None


def natural(path: Path) -> list[tuple[int, int | str]]:
    """Order run-10 after run-9."""
    return [(0, int(p)) if p.isdigit() else (1, p) for p in re.split(r"(\d+)", path.name) if p]
