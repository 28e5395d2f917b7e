"""Stimuli of a folder of one's own: a table of them, and their pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.arrays import make_stimuli
from neuroenc.datasets.copies import merge_same
from neuroenc.datasets.custom_description import inside
from neuroenc.datasets.custom_rows import (
    STIMULI,
    check_pictures,
    part_names,
    refuse_other_files,
    unique_names,
)
from neuroenc.datasets.pixels import locate
from neuroenc.datasets.reading import Table, read_table
from neuroenc.errors import InputError

LONGEST_FILM = 36_000.0  # s


def stimuli_table(path: Path) -> Table:
    """Read a table of stimuli, whose columns are `STIMULI` and whose ids are each there once."""
    table = read_table(path, "stimulus_id")
    table.expect(*STIMULI)
    unique_names(table, "stimulus_id")
    return table


def stimulus_set(
    root: Path, table: Table, rows: NDArray[np.int64], name: str, pictures: str | None
) -> xr.Dataset:
    """Make a StimulusSet of rows of a table of stimuli.

    Parameters
    ----------
    root : path
    table : Table
        As `stimuli_table` reads it.
    rows : int array
    name : str
        Of the dataset.
    pictures : str or None
        Below root: a folder or zip that the column `file` refers to, or FILE.h5#dataset, a picture a row.

    Raises
    ------
    InputError
        A picture is not there, or leads out of root; a cell is not what its column needs.
    """
    columns: dict[str, Any] = {
        "stimulus_id": table.names("stimulus_id")[rows], "pixel_index": rows,
        **{k: v[rows] for k, v in design(table).items()},
    }  # fmt: skip
    pixels = "not distributed"
    if pictures is not None:
        place, hash_, key = pictures.partition("#")
        folder = inside(root, place)
        pixels = f"{folder}{hash_}{key}"
        if hash_ or place.lower().endswith((".h5", ".hdf5")):
            check_pictures(folder, key, table)
        else:
            refuse_other_files(table, table.names("stimulus_id"), table.names("file"))
            columns["file"] = locate(folder, table.names("file")[rows])
            for file in dict.fromkeys(columns["file"].tolist()):
                if ".zip/" not in file:
                    inside(root, f"{place}/{file}")
    columns |= {c: np.char.strip(table.text(c)[rows])
                for c in table.columns if c == "label" or c.startswith("label_")}  # fmt: skip
    captions = [table.text(c)[rows] for c in table.columns if c == "caption" or c.startswith("caption_")]
    strength = {c.removeprefix("category_"): _strength(table, c)[rows]
                for c in table.columns if c.startswith("category_")}  # fmt: skip
    stimuli = make_stimuli(
        columns, attrs={"dataset": name, "pixels": pixels},
        captions=np.stack(captions, 1) if captions else None,
        categories=(list(strength), np.stack(list(strength.values()), 1)) if strength else None,
    )  # fmt: skip
    return stimuli if pictures is None else merge_same(stimuli)


def _strength(table: Table, column: str) -> NDArray[np.float64]:
    """Presence (true, false) or strength of a category: a share or a count."""
    words = {c.strip().lower() for c in table.text(column)} <= {"true", "false"}
    return table.flags(column).astype(float) if words else table.numbers(column, low=0)


def design(table: Table) -> dict[str, NDArray[Any]]:
    """Split and group of all stimuli, and where they stand in their films."""
    columns: dict[str, NDArray[Any]] = {
        "split": table.choices("split", ("train", "test")) if "split" in table
        else np.full(len(table), "train"),
        "group": part_names(table, "group") if "group" in table else table.names("stimulus_id"),
    }  # fmt: skip
    columns |= {c: table.numbers(c, low=0) for c in ("onset", "duration") if c in table}
    for c in ("onset", "duration"):
        if columns.get(c, np.zeros(1)).max() > LONGEST_FILM:
            raise InputError(
                f"{table.path} has the {c} {columns[c].max():g} s, expected at most {LONGEST_FILM:g} s, ten "
                "hours of a film. Are they in ms? Write seconds."
            )
    if "film" in table:
        if "onset" not in table:
            raise InputError(
                f"{table.path} has films but no column 'onset': where in them the stimuli begin, in s."
            )
        columns["film"] = part_names(table, "film")
    return columns
