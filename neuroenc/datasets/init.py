"""A first `dataset.yaml` for a folder of one's own: what lies there, joined by numbers and names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

from neuroenc.config import parse
from neuroenc.datasets.custom_description import Description
from neuroenc.datasets.custom_files import IMAGES
from neuroenc.datasets.films import ENDINGS as FILMS
from neuroenc.datasets.images import named_side, read_image, read_mask
from neuroenc.datasets.reading import Table, read_array, read_table
from neuroenc.errors import InputError
from neuroenc.files import atomic, existing
from neuroenc.hdf5 import datasets, of_matlab, open_hdf5

SUBJECT = re.compile(r"(?:^|[_/-])sub(?:j|ject)?-?([A-Za-z0-9]+?)(?=[_./-]|$)")
PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", *FILMS)
DESIGN = {"session", "run", "onset", "trial"}  # columns of presentations rather than of stimuli


class Array(NamedTuple):
    """What may be responses: FILE or FILE.h5#dataset."""

    name: str
    n: int
    """Presentations."""
    shape: tuple[int, ...]
    kind: str
    """array, volume or surface"""


class Contents(NamedTuple):
    """What lies in a folder."""

    stimuli: list[tuple[str, Table]]
    presentations: list[tuple[str, Table]]
    neuroids: list[tuple[str, int]]
    arrays: list[Array]
    masks: list[tuple[str, tuple[int, ...], int]]
    """Name, grid, voxels inside"""
    pictures: list[tuple[str, int]]
    """Folder, zip or FILE.h5#dataset, and how many are in it"""


def init(folder: Path) -> str:
    """Write `dataset.yaml` into a folder and return what it says.

    Raises
    ------
    InputError
        There is one; no table names stimuli or presentations; no responses have as many rows as these.
    """
    folder = existing(folder)
    path = folder / "dataset.yaml"
    if path.exists():
        raise InputError(f"{path} is there already and is left as it is. Remove it to have it written anew.")
    text = _describe(folder, _look(folder))
    parse(Description, yaml.safe_load(text), source=str(path))
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return text


def _look(folder: Path) -> Contents:
    """List what lies in a folder and one level below; files that are no table or array are passed over."""
    found = Contents([], [], [], [], [], [])
    files = sorted(p for pattern in ("*", "*/*") for p in folder.glob(pattern) if p.is_file())
    counts: dict[str, int] = {}
    for path in files:
        name = path.relative_to(folder).as_posix()
        lower = name.lower()
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        if lower.endswith(PICTURES):
            parent = path.parent.relative_to(folder).as_posix()
            counts[parent] = counts.get(parent, 0) + 1
        elif lower.endswith((".csv", ".tsv")):
            _table(found, path, name)
        elif lower.endswith(".npy"):
            shape = read_array(path).shape
            if len(shape) in (2, 3):
                found.arrays.append(Array(name, shape[0], shape, "array"))
        elif lower.endswith((".h5", ".hdf5")):
            _hdf5(found, path, name)
        elif lower.endswith(IMAGES):
            _image(found, path, name)
        elif lower.endswith(".zip"):
            found.pictures.append((name, 0))
    found.pictures[:0] = sorted(((k, v) for k, v in counts.items() if k != "."), key=lambda kv: -kv[1])
    if counts.get("."):
        found.pictures.append((".", counts["."]))
    return found


def _table(found: Contents, path: Path, name: str) -> None:
    table = read_table(path)
    if "neuroid_id" in table:
        found.neuroids.append((name, len(table)))
    elif "stimulus_id" in table:
        ids = table.names("stimulus_id")
        again = len(set(ids.tolist())) < len(ids) or DESIGN & (set(table.columns) - {"onset"})
        (found.presentations if again else found.stimuli).append((name, table))
    elif len(table.columns) > 1:
        found.arrays.append(Array(name, len(table), (len(table), len(table.columns)), "table"))


def _hdf5(found: Contents, path: Path, name: str) -> None:
    with open_hdf5(path) as file:
        for key, data in datasets(file):
            matlab = of_matlab(data)
            shape = data.shape[::-1] if matlab else data.shape  # as its writer has it
            if data.dtype == np.uint8 and data.ndim == 4 and shape[3] in (1, 3):
                found.pictures.append((f"{name}#{key}", shape[0]))
            elif data.dtype.kind in "biuf" and data.ndim in (2, 3) and matlab != "char":
                found.arrays.append(Array(f"{name}#{key}", shape[0], shape, "array"))


def _image(found: Contents, path: Path, name: str) -> None:
    image = read_image(path)
    if name.lower().endswith(".gii"):
        arrays = image.darrays
        if name.lower().endswith(".func.gii") and arrays:
            flat = len(arrays) == 1 and arrays[0].data.ndim == 2
            n = int(arrays[0].data.shape[1]) if flat else len(arrays)
            found.arrays.append(Array(name, n, (n, int(arrays[0].data.shape[0])), "surface"))
    elif len(image.shape) == 4 and image.shape[3] > 1:
        found.arrays.append(Array(name, image.shape[3], image.shape, "volume"))
    elif len(image.shape) == 2:
        found.arrays.append(Array(name, image.shape[0], image.shape, "cifti"))
    elif len(image.shape) == 3:
        try:
            inside = int(read_mask(path).sum())
        except InputError:  # a map of something else
            return
        found.masks.append((name, image.shape, inside))


def _label(name: str) -> str:
    match = SUBJECT.search(name)
    return match[1] if match else ""


def _describe(folder: Path, found: Contents) -> str:
    """Write the description, saying in comments what was chosen out of what."""
    presented = found.presentations or [s for s in found.stimuli[1:] if _label(s[0])]
    if not presented:
        raise InputError(
            f"No table in {folder} says what was presented: a column stimulus_id, a row for each "
            "presentation, in the order of the responses (and session, run). docs/custom.md shows one."
        )
    labels = sorted({_label(a.name) for a in found.arrays} - {""})
    labels = labels or sorted({_label(n) for n, _ in presented} - {""})
    sections = [_subject(folder, found, presented, label) for label in labels or [""]]
    if not found.stimuli:
        raise InputError(
            f"No table in {folder} lists the stimuli: a column stimulus_id, a row for each (and file, split, "
            "…). docs/custom.md shows one."
        )
    table, stimuli = found.stimuli[0]
    lines = [
        "# Written by neuroenc data init: look it over, then neuroenc data check; docs/custom.md says more.",
        f"name: {_quoted(folder.resolve().name)}", "licence: unstated",
        "units: unstated # of the responses, e.g. percent signal change, µV, spikes/s",
        "space: native # e.g. func, fsaverage, sensors", "stimuli:",
        f"  table: {_quoted(table)} # {len(stimuli)} stimuli{_others([n for n, _ in found.stimuli[1:]])}",
    ]  # fmt: skip
    lines += _pictures(found, stimuli)
    if "split" not in stimuli:
        lines.append(
            "  # a column split (train or test) would name test stimuli; else use split: {kind: stimulus}"
        )
    return "\n".join([*lines, "subjects:", *(line for s in sections for line in s)]) + "\n"


def _pictures(found: Contents, stimuli: Table) -> list[str]:
    fitting = [
        (n, k)
        for n, k in found.pictures
        if ("#" in n and k == len(stimuli)) or ("#" not in n and "file" in stimuli)
    ]
    if fitting:
        name, n = fitting[0]
        how = f"{n} of them" if n else "a zip"
        return [f"  pictures: {_quoted(name)} # {how}{_others([k for k, _ in fitting[1:]])}"]
    if found.pictures:
        names = ", ".join(n for n, _ in found.pictures)
        return [f"  # pictures: found {names}, but the table has no column 'file', or another number of rows"]
    return ["  # pictures: none found; a folder, a zip or FILE.h5#dataset"]


def _subject(folder: Path, found: Contents, presented: list[tuple[str, Table]], label: str) -> list[str]:
    """Write the section of a subject: presentations and responses of one length."""
    tables = [(n, t) for n, t in presented if _label(n) in ("", label)]
    arrays = [a for a in found.arrays if _label(a.name) in ("", label)]
    pairs = [(n, a) for n, t in tables for a in arrays if a.n == len(t)]
    if not pairs:
        rows = ", ".join(f"{n} ({len(t)} rows)" for n, t in tables) or "no table"
        there = ", ".join(f"{a.name} {a.shape}" for a in arrays) or "no array or image"
        raise InputError(
            f"No responses {f'of {label} ' if label else ''}in {folder} have as many presentations as a "
            f"table: {rows}; {there}. One of them must have a row for each row of the other."
        )
    table, array = pairs[0]
    others = [a.name for n, a in pairs[1:] if n == table]
    lines = [f"  {_quoted(label or '01')}:", f"    presentations: {_quoted(table)} # {array.n} rows"]
    sides = [[a.name for n, a in pairs if n == table and a.kind == "surface" and named_side(a.name) == side]
             for side in "LR"]  # fmt: skip
    if array.kind == "surface" and all(sides):
        others = [o for o in others if o not in (sides[0][0], sides[1][0])]
        names = f"{{left: {_quoted(sides[0][0])}, right: {_quoted(sides[1][0])}}}"
        return [
            *lines,
            f"    responses: {names}{_others(others, ' #')}",
        ]
    lines.append(f"    responses: {_quoted(array.name)} # shape {array.shape}{_others(others)}")
    return lines + _masks(found, array, label) + _neuroids(found, array, label)


def _masks(found: Contents, array: Array, label: str) -> list[str]:
    """Name the mask and the regions of a volume, or of an array whose columns are the voxels of a mask."""
    masks = [m for m in found.masks if _label(m[0]) in ("", label)]
    if array.kind == "volume":
        masks = [m for m in masks if m[1] == array.shape[:3]]
    elif array.kind == "array":
        masks = [m for m in masks if any(m[1] == k[1] and k[2] == array.shape[1] for k in masks)]
    else:
        return []
    brains = [
        m for m in masks if (m[2] == array.shape[1] if array.kind == "array" else "mask" in m[0].lower())
    ]
    lines = [f"    mask: {_quoted(brains[0][0])} # {brains[0][2]} voxels"] if brains else []
    regions = {_region(m[0], label): m[0] for m in masks if m not in brains}
    if regions and (brains or array.kind == "volume"):
        named = ", ".join(f"{_quoted(k)}: {_quoted(v)}" for k, v in regions.items())
        lines.append(f"    regions: {{{named}}}")
    return lines


def _region(name: str, label: str) -> str:
    stem = Path(name).name.partition(".")[0]
    return re.sub(rf"^sub(j|ject)?-?{re.escape(label)}_", "", stem) if label else stem


def _neuroids(found: Contents, array: Array, label: str) -> list[str]:
    lines = []
    tables = [n for n, k in found.neuroids if k == array.shape[1] and _label(n) in ("", label)]
    if tables and array.kind in ("array", "table"):
        lines.append(f"    neuroids: {_quoted(tables[0])}{_others(tables[1:], ' #')}")
    if len(array.shape) == 3 and array.kind == "array":
        lines.append("    # time: {start: -0.2, width: 0.01} # of the time bins, s: needed, take yours")
    return lines


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _others(names: list[str], mark: str = ";") -> str:
    return f"{mark} as well: {', '.join(names)}" if names else ""
