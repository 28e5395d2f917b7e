"""Rows that are copies of one another, or one number throughout, as no two trials of a brain are."""

from __future__ import annotations

import hashlib
import warnings

import numpy as np
from numpy.typing import NDArray

from neuroenc.blocks import blocks
from neuroenc.errors import InputError, InputWarning
from neuroenc.real import varies

LEAST = 8  # neuroids (and time bins) that vary; fewer may agree by chance
USUAL = 0.05  # share of the other presentations that may have the same: silent or counted units do
COMPARED = 200  # other presentations
BLOCK = 1024  # presentations
Others = tuple[NDArray[np.int64], NDArray[np.floating]]
"""Numbers of some rows, and their values"""


def refuse_copied_rows(name: str, values: NDArray[np.float32], stimulus_id: NDArray[np.str_]) -> None:
    """Refuse responses in which presentations of two stimuli are copies, or one number throughout.

    Of one stimulus copies are warned of: repeats may have been averaged.

    Parameters
    ----------
    name : str
        Of the responses.
    values : array of shape (n_presentations, n_neuroids[, n_time_bins])
    stimulus_id : array of text, (n_presentations,)

    Raises
    ------
    InputError
        Naming the first such rows.
    """
    rows = values.reshape(len(values), -1)
    known = np.flatnonzero(varies(rows))
    if len(known) < LEAST:
        return
    flat, alike = _groups(rows, known)
    others = _others(rows, known)
    if len(flat) and _unusual(rows[flat[0], known], flat, others):
        said = _unfilled(name, rows[flat[0], known[0]], flat)
        raise InputError(f"{said} Write NaN where nothing was recorded, or leave these rows out.")
    copied = [group for group in alike if _unusual(rows[group[0], known], group, others)]
    for group in copied:
        other = group[stimulus_id[group] != stimulus_id[group[0]]]
        if len(other):
            raise InputError(
                f"{name} has the same values in rows {group[0]} and {other[0]} (from 0), of the stimuli "
                f"{str(stimulus_id[group[0]])!r} and {str(stimulus_id[other[0]])!r}. Was a row, or a file, "
                "taken twice? Leave the copies out."
            )
    if copied:
        warnings.warn(
            f"{name}: {sum(map(len, copied)) - len(copied)} presentations are copies of others of their "
            f"stimulus, first row {copied[0][1]} (from 0) of row {copied[0][0]}. Were repeats averaged? Keep "
            "one each: copies count as repeats without noise.", InputWarning, stacklevel=2,
        )  # fmt: skip


def warn_of_flat_rows(name: str, rows: NDArray[np.floating]) -> None:
    """Warn of rows of features that are one number throughout, where the others hardly hold it.

    Parameters
    ----------
    name : str
        Of the features.
    rows : array of shape (n_stimuli, n_features)
    """
    known = np.flatnonzero(varies(rows))
    if len(known) < LEAST:
        return
    flat = np.flatnonzero(rows[:, known].min(1) == rows[:, known].max(1))
    if len(flat) and _unusual(rows[flat[0], known], flat, _others(rows, known)):
        warnings.warn(_unfilled(name, rows[flat[0], known[0]], flat), InputWarning, stacklevel=2)


def _unfilled(name: str, value: float, flat: NDArray[np.int64]) -> str:
    return (
        f"{name} holds {value:g} and nothing else in {len(flat)} rows, first row {flat[0]} (from 0). Was it "
        "filled to the end?"
    )


def _groups(
    rows: NDArray[np.float32], known: NDArray[np.int64]
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Return the rows that are one number throughout, and groups of others that are equal."""
    flat: list[int] = []
    alike: dict[bytes, list[int]] = {}
    for block in blocks(len(rows), BLOCK):
        part = rows[block][:, known]
        one, missing = part.min(1) == part.max(1), np.isnan(part).all(1)
        for row in np.flatnonzero(~missing).tolist():
            if one[row]:
                flat.append(block.start + row)
            else:
                digest = hashlib.blake2b(part[row].tobytes(), digest_size=16).digest()
                alike.setdefault(digest, []).append(block.start + row)
    return np.array(flat, np.int64), [np.array(g) for g in alike.values() if len(g) > 1]


def _others(rows: NDArray[np.floating], known: NDArray[np.int64]) -> Others:
    """Return some rows, with which a group is compared."""
    some = np.arange(0, len(rows), max(1, len(rows) // COMPARED))
    return some, rows[np.ix_(some, known)]


def _unusual(row: NDArray[np.floating], group: NDArray[np.int64], others: Others) -> bool:
    """Say whether rows that are not of the group hardly have the values that it shares."""
    some, values = others
    there, rest = ~np.isnan(row), ~np.isin(some, group)
    same = values[rest] == row
    n_same, n = int(same.sum()), int(rest.sum() * there.sum())  # a missing value equals nothing
    return bool(there.sum() >= LEAST and n and n_same / n < USUAL)
