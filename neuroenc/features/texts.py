"""Texts of the stimuli from a table, in place of the captions that come with the dataset."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import xarray as xr

from neuroenc.datasets.reading import open_parquet, read_table
from neuroenc.errors import InputError, InputWarning, reason
from neuroenc.files import existing, sha256

COLUMNS = ("stimulus_id", "text")
FORMATS = (".csv", ".tsv", ".parquet")


def with_texts(stimuli: xr.Dataset, place: str) -> xr.Dataset:
    """Put the texts of a table in the place of the captions of a StimulusSet.

    Parameters
    ----------
    stimuli : Dataset
    place : str
        .csv, .tsv or .parquet with the columns `stimulus_id` and `text`, a row or several for each stimulus,
        in any order. Rows of other stimuli are left out, and that is said.

    Returns
    -------
    Dataset
        `caption` (stimulus, caption_index) is the table's, the texts of each stimulus in their order there.

    Raises
    ------
    InputError
        A file that is missing, broken or of another format; a row without an id; a stimulus without a row,
        or, unless it is a moment of a film, without any words.
    """
    path, ids, texts = _read(place)
    wanted = stimuli["stimulus_id"].values.tolist()
    found: dict[str, list[str]] = {i: [] for i in wanted}
    others = []
    for stimulus, text in zip(ids, texts, strict=True):
        if stimulus in found:
            found[stimulus].append(text.strip())
        else:
            others.append(stimulus)
    told = f"{len(others)} of its {len(ids)} rows are of other stimuli, first {others[0]!r}" if others else ""
    lacking = [i for i in wanted if not found[i]]
    if lacking:
        raise InputError(
            f"{path} has no text of {len(lacking)} of {len(wanted)} stimuli, first {lacking[0]!r}"
            f"{'; ' + told if told else ''}. Give texts of the same stimuli under the same ids."
        )
    empty = [i for i in wanted if not any(found[i])]
    if empty and "film" not in stimuli.coords:
        raise InputError(
            f"{path} has empty texts alone of {len(empty)} of {len(wanted)} stimuli, first {empty[0]!r}. "
            "Write one, or leave them out of the stimuli."
        )
    if told:
        warnings.warn(f"{path}: {told}; they are left out.", InputWarning, stacklevel=2)
    most = max(map(len, found.values()))
    captions = np.array([[*found[i], *[""] * (most - len(found[i]))] for i in wanted], dtype=str)
    kept = stimuli.drop_dims("caption_index", errors="ignore")
    return kept.assign(caption=(("stimulus", "caption_index"), captions))


def in_contract(place: str) -> str:
    """Say in the contract which texts were read: the file and its SHA-256."""
    path = existing(place)
    return f"; texts of {path.name}:{sha256(path)}"


def check_table(place: str) -> None:
    """Refuse a table that holds no texts, if it is here.

    Raises
    ------
    InputError
        As `with_texts`, but for what belongs to stimuli.
    """
    if Path(os.path.expandvars(place)).expanduser().exists():
        _read(place)


def _read(place: str) -> tuple[Path, list[str], list[str]]:
    """Read ids and texts, row by row."""
    path = existing(place, made_by="It holds the `texts` of a model.")
    kind = path.suffix.lower()
    if kind not in FORMATS or not path.is_file():
        raise InputError(f"{path} is no table of texts. Expected one of {', '.join(FORMATS)}.")
    if kind == ".parquet":
        return path, *_of_parquet(path)
    table = read_table(path, *COLUMNS)
    return path, table.names(COLUMNS[0]).tolist(), table.text(COLUMNS[1]).tolist()


def _of_parquet(path: Path) -> tuple[list[str], list[str]]:
    file = open_parquet(path)
    names = file.schema_arrow.names
    for column in COLUMNS:
        if column not in names:
            raise InputError(f"{path} has no column {column!r}; found {', '.join(map(repr, names))}.")
    try:
        table = file.read(columns=list(COLUMNS))
    except Exception as error:  # noqa: BLE001  the reader has errors of every kind
        raise InputError(f"Cannot read {path}: {reason(error)}. Write it again.") from None
    ids, texts = (table[column].to_pylist() for column in COLUMNS)
    for row, (stimulus, text) in enumerate(zip(ids, texts, strict=True)):
        if isinstance(stimulus, bool) or not isinstance(stimulus, (str, int)) or not str(stimulus).strip():
            raise InputError(
                f"{path} has the stimulus_id {stimulus!r} in row {row}, expected text or a whole number. "
                "Fill it in or remove the row."
            )
        if not isinstance(text, (str, type(None))):
            raise InputError(f"{path} has the text {text!r} in row {row}, expected words. Is it of texts?")
    return [str(i).strip() for i in ids], [t or "" for t in texts]
