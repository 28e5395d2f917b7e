"""What is known of the columns of responses in a folder of one's own: by a table, and by the file itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuroenc.datasets.custom_rows import unique_names
from neuroenc.datasets.reading import read_table
from neuroenc.errors import InputError

METRES = 0.25  # up to which coordinates of a head are in m
FARTHEST = 1e6  # of a coordinate
# columns that are read, and the beginnings of such
NEUROIDS = (("neuroid_id", "hemisphere", "x", "y", "z", "vertex", "noise_ceiling", "ncsnr"), ("roi_",))


def join_neuroids(
    path: Path, name: str, labels: list[str], n: int, responses: str, hemisphere: str, *, named: bool
) -> pd.DataFrame:
    """Read what is known of the columns of the responses, in their order where they have these labels.

    Of responses of one hemisphere, L or R, these are the rows of that hemisphere. Labels that are `named`
    are names that somebody gave: the table must have them. Others are numbers, of columns, vertices or
    voxels, which the table may call otherwise.
    """
    table = read_table(path, "neuroid_id")
    table.expect(*NEUROIDS)
    ids = unique_names(table, "neuroid_id")
    found: dict[str, Any] = {"neuroid_id": ids}
    if "hemisphere" in table or hemisphere:
        found["hemisphere"] = table.choices("hemisphere", ("L", "R", *([] if hemisphere else [""])))
    own = found["hemisphere"] == hemisphere if hemisphere else np.ones(len(ids), bool)
    if own.sum() != n:
        of = f" of hemisphere {hemisphere}" if hemisphere else ""
        raise InputError(
            f"{name} has {own.sum()} rows{of}, {responses} {n} neuroids; they must match one to one."
        )
    if "vertex" in table:
        found["vertex"] = table.integers("vertex", low=0)
    found |= {c: table.numbers(c, missing=True, low=-FARTHEST, high=FARTHEST) for c in "xyz" if c in table}
    if found.keys() & set("xyz"):
        farthest = max(np.nanmax(np.abs(found[c]), initial=0) for c in found.keys() & set("xyz"))
        if 0 < farthest < METRES:
            raise InputError(
                f"{name} places all neuroids within {farthest:g} of the origin. Are x, y and z in m? Write "
                "mm (of a volume the voxels, counted from 0)."
            )
    for column, low, high in (("noise_ceiling", -np.inf, 1), ("ncsnr", 0, np.inf)):
        if column in table:
            found[column] = table.numbers(column, missing=True, low=low, high=high)
    found |= {c: table.flags(c) for c in table.columns if c.startswith("roi_") and c != "roi_"}
    known = pd.DataFrame(found)[own].reset_index(drop=True)
    if not named and set(labels) != set(known["neuroid_id"]):
        labels = [f"{hemisphere}{i}" for i in labels]
    if set(labels) != set(known["neuroid_id"]):
        if not named:
            counted = [str(i + 1) for i in range(n)]
            if known["neuroid_id"].tolist() != counted and set(known["neuroid_id"]) == set(counted):
                raise InputError(
                    f"{name} numbers the neuroids from 1, in another order than {responses}, whose columns "
                    "are numbered from 0. Number them from 0, or sort the table."
                )
            return known
        first = next(i for i in labels if i not in set(known["neuroid_id"]))
        raise InputError(
            f"{responses} names the neuroid {first!r}, which is not in {name}. Give both the same names."
        )
    return known.set_index("neuroid_id").loc[labels].reset_index()


def placed(known: pd.DataFrame, own: pd.DataFrame, name: str, responses: str) -> pd.DataFrame:
    """Join a table of neuroids and what an image says of them, which must be the same."""
    for column in own.columns.drop("neuroid_id"):
        said = own[column].notna() & (own[column] != "")
        if column in known:
            wrong = said & known[column].notna() & (known[column] != "") & (known[column] != own[column])
            if wrong.any():
                row = int(np.flatnonzero(wrong)[0])
                raise InputError(
                    f"{name} gives {column} {known[column][row]} for {known['neuroid_id'][row]!r}, "
                    f"{responses} {own[column][row]}. Correct one; x, y, z of an image are its voxels, "
                    "counted from 0."
                )
        known[column] = own[column].where(said, known[column]) if column in known else own[column]
    return known


def coordinates(subject: str, table: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """Turn what is known of the neuroids into coordinates; what is not known is NaN or empty."""
    nowhere = pd.Series(np.full(len(table), np.nan, "f4"))
    neuroid: dict[str, NDArray[Any]] = {
        "neuroid_id": np.array([f"{subject}_{i}" for i in table["neuroid_id"]]),
        "subject": np.full(len(table), subject),
        "hemisphere": table.get("hemisphere", pd.Series([""] * len(table))).to_numpy(str),
    }
    if "vertex" in table:
        neuroid["vertex"] = table["vertex"].to_numpy(int)
    if "x" in table or "vertex" not in table:
        neuroid |= {axis: table.get(axis, nowhere).to_numpy("f4") for axis in "xyz"}
    if "structure" in table:
        neuroid["structure"] = table["structure"].to_numpy(str)
    ceiling = "noise_ceiling" if "noise_ceiling" in table else "ncsnr"
    neuroid[ceiling] = table.get(ceiling, nowhere).to_numpy("f4")
    for column in table:
        if str(column).startswith("roi_"):
            neuroid[str(column)] = table[column].to_numpy(bool)
    return neuroid
