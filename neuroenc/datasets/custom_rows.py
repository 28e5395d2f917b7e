"""Rows of responses in a folder of one's own: those of the table of presentations, where files name them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuroenc.datasets.reading import Table, read_table, refuse_index
from neuroenc.errors import InputError

STEADY = 10  # rows; so many equal steps no response has
# columns that are read, and the beginnings of such
STIMULI = (("stimulus_id", "file", "split", "group", "film", "onset", "duration", "caption", "label"),
           ("caption_", "category_", "label_"))  # fmt: skip
PRESENTATIONS = ("stimulus_id", "session", "run")
OF_TRIALS = {*PRESENTATIONS, *STIMULI[0], "subject", "trial", "trial_type", "repetition", "block", "time"}


def read_columns(path: Path, shown: Table) -> tuple[NDArray[np.float64], list[str]]:
    """Read a table of responses; columns that name its rows are compared with the presentations.

    Raises
    ------
    InputError
        Its rows are not the presentations; a column counts, or names trials.
    """
    table = read_table(path)
    table.expect(PRESENTATIONS)
    if len(table) != len(shown):
        raise InputError(
            f"{path.name} has {len(table)} presentations, {shown.path} {len(shown)} rows; they must match "
            "one to one."
        )
    for i in table.unnamed():
        cells = [c.strip() for c in table.cells[:, i]]
        if i > 0 or not (table.counts(i) or cells == shown.names("stimulus_id").tolist()):
            raise InputError(f"Column {i + 1} of {path} has no name. Name it, or remove it.")
    for column in filter(None, table.columns):
        if column in shown:
            here, there = (np.char.strip(t.text(column)) for t in (table, shown))
            if (here != there).any():
                row = int(np.flatnonzero(here != there)[0])
                raise InputError(
                    f"Line {table.lines[row]} of {path} has the {column} {str(here[row])!r}, line "
                    f"{shown.lines[row]} of {shown.path} {str(there[row])!r}. Their rows must be the same "
                    "presentations in the same order."
                )
    labels = [c for c in table.columns if c and c not in shown]
    if not labels:
        raise InputError(f"{path} has no column of responses, only what names its rows.")
    values = table.matrix(labels, missing=True)
    for label, column in zip(labels, values.T, strict=True):
        refuse_index(path, label, column)
        bend = np.abs(np.diff(column, 2)).max(initial=0)
        if len(column) >= STEADY and 0 < np.ptp(column) >= 1e6 * bend:
            raise InputError(
                f"Column {label!r} of {path} goes up or down evenly from row to row: a count or a time, no "
                "response. Remove it."
            )
    if named := [c for c in labels if c.lower() in OF_TRIALS]:
        raise InputError(
            f"{path} has a column {named[0]!r} that names trials or stimuli and is no neuroid. Remove it, or "
            "call it otherwise if it is one."
        )
    return values, labels


def same_rows(name: str, ids: NDArray[np.str_], shown: Table) -> None:
    """Compare the stimuli that a file of responses names with those of the presentations.

    Raises
    ------
    InputError
        They are others, or in another order.
    """
    there = shown.names("stimulus_id")
    if len(ids) != len(there):
        raise InputError(
            f"{name} names {len(ids)} stimuli, {shown.path} {len(there)}; they must match one to one."
        )
    if (ids != there).any():
        row = int(np.flatnonzero(ids != there)[0])
        raise InputError(
            f"{name} has the stimulus_id {str(ids[row])!r} in row {row} (from 0), {str(there[row])!r} stands "
            f"in line {shown.lines[row]} of {shown.path}. Their rows must be the same presentations in the "
            "same order."
        )
