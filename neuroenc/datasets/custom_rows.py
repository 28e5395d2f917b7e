"""Rows of responses in a folder of one's own: those of the table of presentations, where files name them."""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuroenc.datasets.pixels import n_pictures
from neuroenc.datasets.reading import NAMING, WHOLE, Table, codes, read_table, refuse_index
from neuroenc.errors import InputError, InputWarning
from neuroenc.hdf5 import open_hdf5, other_names, row_names

STEADY = 10  # rows; so many equal steps no response has
# columns that are read, and the beginnings of such
STIMULI = (("stimulus_id", "file", "split", "group", "film", "onset", "duration", "caption", "label"),
           ("caption_", "category_", "label_"))  # fmt: skip
PRESENTATIONS = ("stimulus_id", "session", "run")
ALIKE = 0.5  # of the names in either of two lists: so many stand in both where they name the same
MARKS = np.array([999, 9999, 99999, 32767, 32768, 1e20, 2**31, 9.96921e36, 3.4028235e38], np.float32)
"""Numbers that stand for missing ones, with either sign"""
FAR = 0.2  # of such a mark, up to which all else must lie
ORDERED = re.compile(
    r"(trial|event|row|presentation)(_?(ids?|idx|index|number|nr|no))?|index|onset|time|timestamp",
    re.IGNORECASE,
)
"""Columns that say in which order presentations were"""
DIGITS = 18  # of the number in a name
BACK = 0.25  # share of steps that may go against that order
COARSER = {"session", "ses", "run", "block", "subject", "sub", "participant", "day"}
OF_TRIALS = {*PRESENTATIONS, *STIMULI[0], "subject", "trial", "trial_type", "repetition", "block", "time"}


def unique_names(table: Table, column: str) -> NDArray[np.str_]:
    """Return the names in a column, each of which stands there once."""
    names = table.names(column)
    known, counts = np.unique([unicodedata.normalize("NFC", n) for n in names], return_counts=True)
    if (counts > 1).any():
        first = str(known[counts > 1][0])
        raise InputError(
            f"{table.path} names {column} {first!r} more than once (blanks around it and the Unicode form of "
            "accents do not count). Each needs a name of its own."
        )
    return names


def part_names(table: Table, column: str) -> NDArray[np.str_]:
    """Return the names of what stimuli or presentations are parts of: a group, film or session.

    Raises
    ------
    InputError
        Two differ in case, blanks, the Unicode form of accents or that of numbers (1, 01, 1.0) alone: a
        split would part what is one.
    """
    found = table.names(column)
    loosely: dict[str, str] = {}
    for name in np.unique(found).tolist():
        plain = "".join(unicodedata.normalize("NFC", name).casefold().split())
        plain = plain.partition(".")[0].lstrip("0") if WHOLE.fullmatch(plain) else plain
        other = loosely.setdefault(plain, name)
        if other != name:
            raise InputError(
                f"{table.path} has the {column}s {other!r} and {name!r}, which differ in case, blanks or the "
                "form of accents or numbers alone. Write both alike, or give them names of their own."
            )
    return found


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
    _refuse_codes(path, labels, values)
    if named := [c for c in labels if c.lower() in OF_TRIALS]:
        raise InputError(
            f"{path} has a column {named[0]!r} that names trials or stimuli and is no neuroid. Remove it, or "
            "call it otherwise if it is one."
        )
    return values, labels


def _refuse_codes(path: Path, labels: list[str], values: NDArray[np.float64]) -> None:
    """Refuse a column of whole numbers among columns of fractions: conditions, images, times in ms."""
    found = codes(values)
    if len(found):
        raise InputError(
            f"Column {labels[found[0]]!r} of {path} holds whole numbers alone, most others fractions: it "
            "codes something and is no response. Remove it, or give it to the table of presentations too."
        )


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
            f"in line {shown.lines[row]} of {shown.path}. Their rows must be the same, in the same order."
        )


def warn_of_order(shown: Table) -> None:
    """Say where presentations are not in the order in which they were, by a column that tells."""
    for column in [c for c in ("session", "run") if c in shown]:
        names = list(dict.fromkeys(np.char.strip(shown.text(column)).tolist()))
        numbers = [
            int(found[-1][-DIGITS:])
            for name in names
            if (found := re.findall(r"\d+", name.removesuffix(".0")))
        ]
        if len(numbers) == len(names) and names == sorted(names) and numbers != sorted(numbers):
            k = int(np.flatnonzero(np.diff(numbers) < 0)[0])
            warnings.warn(
                f"{shown.path} has the {column} {names[k + 1]!r} after {names[k]!r}, as names are sorted: "
                "are the responses in this order too? Sort both by number.", InputWarning, stacklevel=2,
            )  # fmt: skip
    for column in shown.columns:
        if not ORDERED.fullmatch(column):
            continue
        try:
            when = shown.numbers(column)
        except InputError:  # no numbers
            continue
        back = (np.diff(when) < 0) & (when[1:] > when.min())  # not to where a run begins anew
        if len(back) and back.mean() > BACK:
            warnings.warn(
                f"{shown.path} is not in the order of its column {column!r}: are the responses in that of "
                "its rows? Sort it as they are.", InputWarning, stacklevel=2,
            )  # fmt: skip
            return


def check_pictures(path: Path, key: str, table: Table) -> None:
    """Compare the pictures of an HDF5, and what it calls them, with the table of stimuli, a row for each.

    Raises
    ------
    InputError
        There are more or fewer; they are others, or in another order.
    """
    n = n_pictures(path, key)
    if n != len(table):
        raise InputError(
            f"{path}#{key} has {n} pictures, {table.path} {len(table)} rows; they must match one to one. Was "
            "one of them filtered?"
        )
    with open_hdf5(path) as file:
        ids, others = row_names(file, key), other_names(file, key)
    if ids is not None:
        same_rows(f"{path}#{key}", ids, table)
        return
    known = {c: np.char.strip(table.text(c)) for c in ("file", "label") if c in table}
    refuse_other_names(f"{path}#{key}", others, table, known)


def refuse_other_files(table: Table, ids: NDArray[np.str_], files: NDArray[np.str_]) -> None:
    """Refuse stimuli that have the names of the files, but each that of another one's.

    Parameters
    ----------
    table : Table
    ids, files : array of text
        Of all its rows.

    Raises
    ------
    InputError
        Naming the first row.
    """
    here, there = _keys(ids), _keys(files)
    if (here != there).any() and sorted(here) == sorted(there) and not _counts(ids):
        k = int(np.flatnonzero(here != there)[0])
        raise InputError(
            f"Line {table.lines[k]} of {table.path} gives the stimulus {str(ids[k])!r} the file "
            f"{str(files[k])!r}, which is called as another stimulus is. Was one column sorted by itself?"
        )


def refuse_marks(name: str, values: NDArray[np.float32]) -> None:
    """Refuse responses in which a number that is known as a mark of missing values stands far out alone.

    Parameters
    ----------
    name : str
        Of the responses.
    values : array of any shape
        Finite, or NaN.

    Raises
    ------
    InputError
        The least or the largest of them is one of `MARKS`, and the next is less than a fifth of it.
    """
    for extreme in (np.fmin.reduce(values, axis=None), np.fmax.reduce(values, axis=None)):
        if np.abs(extreme) not in MARKS:
            continue
        rest = np.where(values == extreme, np.nan, values)
        others = np.fmax.reduce(np.abs(rest), axis=None)
        if others < FAR * np.abs(extreme):
            raise InputError(
                f"{name} holds {extreme:g} {int((values == extreme).sum())} times and nothing else beyond "
                f"{others:g}: it marks what is missing. Write NaN in its place (of a table an empty cell)."
            )


def refuse_other_names(
    name: str, others: Mapping[str, NDArray[np.str_]], shown: Table, known: Mapping[str, NDArray[np.str_]]
) -> None:
    """Refuse responses or pictures that a file names otherwise than `stimulus_id`, in another order.

    Parameters
    ----------
    name : str
        Of the responses.
    others : mapping
        What may name the rows -> a text for each: maps of an image, events, lists beside an array.
    shown : Table
        Presentations, or stimuli.
    known : mapping
        What names these but for their ids, as the files of the stimuli or the maps of the other
        hemisphere -> a text for each.

    Raises
    ------
    InputError
        They name the stimuli, or their files, in another order; or they are numbers that are called an id,
        and nothing says of what.
    """
    known = {"stimulus_id": shown.names("stimulus_id")} | dict(known)
    for called, given in others.items():
        column = _last(called)
        if column.lower() in OF_TRIALS - {"stimulus_id", "file"} or len(given) != len(shown):
            continue
        there = dict(known) | ({column: np.char.strip(shown.text(column))} if column in shown else {})
        rows = [_differ(given, own) for own in there.values()]
        called_ids = _stands_for_ids(column, given)
        counts = _counts(given) and not (called_ids and not ORDERED.fullmatch(column))
        if 0 in [len(r) for r in rows if r is not None] or counts:
            continue
        for (key, own), differ in zip(there.items(), rows, strict=True):
            if differ is not None:
                k = int(differ[0])
                raise InputError(
                    f"{name}: {called} say {str(given[k])!r} of row {k} (from 0), {key} {str(own[k])!r} "
                    f"(line {shown.lines[k]} of {shown.path}). Put both in one order, or leave these names "
                    "out if they mean something else."
                )
        if called_ids and not _counts(given) and not _one_to_one(given, known["stimulus_id"]):
            raise InputError(
                f"{name}: {called} number the rows, first {str(given[0])!r}, and nothing in {shown.path} is "
                f"called so, first {str(known['stimulus_id'][0])!r}. Give that table a column {column!r} "
                "with these numbers, or leave them out if the rows are in its order."
            )


def names_rows(others: Mapping[str, NDArray[np.str_]], known: Mapping[str, NDArray[np.str_]]) -> bool:
    """Say whether lists of a file name the same as some of what is known of its rows."""
    return any(
        len(given) == len(own) and _differ(given, own) is not None
        for given in others.values() for own in known.values()
    )  # fmt: skip


def _last(called: str) -> str:
    """Return the name of a list without the groups and signs before it."""
    return re.split(r"[#/]", called)[-1]


def _differ(given: NDArray[np.str_], own: NDArray[np.str_]) -> NDArray[np.int64] | None:
    """Return the rows in which two lists of names differ; None where they name different things.

    Folders, endings and case do not count; and whole numbers are those in names of the other list, counted
    from 0 or 1.
    """
    here, there = _keys(given), _keys(own)
    if _alike(here, there):
        return np.flatnonzero(here != there)
    if not all(re.fullmatch(r"\d+", g) for g in here.tolist()):
        return None
    found = [re.findall(r"\d+", g)[-1:] for g in there.tolist()]
    if not all(found) or len(set(there.tolist())) != len({int(f[0]) for f in found}):
        return None
    one, other = here.astype(np.int64), np.array([int(f[0]) for f in found])
    differ = [np.flatnonzero(one + k != other) for k in (0, 1, -1)]
    best = min(differ, key=len)
    return best if not len(best) or _alike(one, other) else None


def _keys(names: NDArray[np.str_]) -> NDArray[np.str_]:
    plain = [unicodedata.normalize("NFC", n).strip().casefold() for n in names.tolist()]
    return np.array([re.sub(r"\.[a-z]\w{1,4}$", "", re.split(r"[/\\]", p)[-1]) for p in plain], dtype=str)


def _alike(a: NDArray[np.generic], b: NDArray[np.generic]) -> bool:
    """Say whether two lists hold mostly the same names, of which there are several."""
    one, other = set(a.tolist()), set(b.tolist())
    return len(one) > 1 and len(one & other) >= ALIKE * len(one | other)


def _counts(names: NDArray[np.str_]) -> bool:
    """Say whether names are the numbers of the rows, from 0 or 1."""
    return any(names.tolist() == [str(i + first) for i in range(len(names))] for first in (0, 1))


def _stands_for_ids(column: str, given: NDArray[np.str_]) -> bool:
    """Say whether whole numbers are called ids, and not those of a session or the like."""
    of = re.split(r"[\W_]", column.lower())[0]
    whole = all(re.fullmatch(r"\d+", g) for g in given.tolist())
    return whole and NAMING.search(column.removesuffix("s")) is not None and of not in COARSER


def _one_to_one(given: NDArray[np.str_], ids: NDArray[np.str_]) -> bool:
    """Say whether repeats show that each number stands for one stimulus: rows share both or neither."""
    pairs = len(set(zip(given.tolist(), ids.tolist(), strict=True)))
    n = len(set(ids.tolist()))
    return pairs == n == len(set(given.tolist())) and n < len(ids)
