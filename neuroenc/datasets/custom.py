"""Your own recordings: a folder with tables, responses in any usual format, and `dataset.yaml`.

The file names the stimuli and, for each subject, the presentations (one row each, in the order of the
responses) and the responses themselves; docs/custom.md walks through one. Nothing is copied.
"""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from neuroenc.arrays import make_responses, make_stimuli
from neuroenc.config import Dataset, Section, parse
from neuroenc.datasets.copied_rows import refuse_copied_rows
from neuroenc.datasets.copies import merge_same
from neuroenc.datasets.custom_neuroids import NEUROIDS, coordinates, join_neuroids, placed
from neuroenc.datasets.custom_rows import (
    PRESENTATIONS,
    STIMULI,
    check_pictures,
    names_rows,
    part_names,
    read_columns,
    refuse_marks,
    refuse_other_files,
    refuse_other_names,
    same_rows,
    unique_names,
    warn_of_order,
)
from neuroenc.datasets.epochs import read_epochs
from neuroenc.datasets.images import named_side, read_responses, read_voxels
from neuroenc.datasets.pixels import locate
from neuroenc.datasets.reading import Table, read_array, read_table
from neuroenc.datasets.repeats import warn_of_repeats
from neuroenc.datasets.report import report_responses, report_stimuli
from neuroenc.documents import read_yaml
from neuroenc.errors import InputError, InputWarning, invalid
from neuroenc.files import existing, relative, sha256
from neuroenc.hdf5 import filled, numbers, of_matlab, open_hdf5, other_names, row_names
from neuroenc.real import real32

LICENCE = "yours"
CITATION = "yours"
EPOCHS = ("-epo.fif", "_epo.fif", "-epo.fif.gz", "_epo.fif.gz")  # as MNE calls them
IMAGES = (".nii", ".nii.gz", ".gii")
ARRAYS = (".npy", ".h5", ".hdf5")
INSTEAD = {
    (".mat",): "Save it by MATLAB's -v7.3 as .h5 (presentations first), or as .npy",
    (".fif", ".fif.gz", ".vhdr", ".eeg", ".set", ".edf", ".bdf", ".gdf", ".cnt", ".ds"):
    "Cut it into epochs by MNE, one for each presentation, and save these as …-epo.fif",
    (".parquet", ".feather", ".xlsx", ".xls", ".ods"): "Save it as CSV, a column for each neuroid",
    (".mgh", ".mgz"): "Save it as .nii.gz or .func.gii",
}  # fmt: skip
LONGEST_FILM = 36_000.0  # s
LONGEST_COURSE = 120.0  # s before or after the onset of a stimulus
# units of MNE's epochs with a prefix, which their values never have
SCALED = re.compile(
    r"(?:micro|milli|nano|femto|pico|[u\u00b5\u03bcmnfp]) ?(?:v(?:olts?)?|t(?:eslas?)?)(?: ?/.*)?",
    re.IGNORECASE,
)
FORMATS = (*IMAGES, *ARRAYS, ".csv", ".tsv", *EPOCHS[:1])


File = Annotated[str, AfterValidator(relative)]
"""Below the folder of `dataset.yaml`"""


class Time(Section):
    """Time bins of a response with three dimensions."""

    start: float = Field(description="Of the first bin, s after the onset of the stimulus.")
    width: float = Field(gt=0, description="Of each bin, s.")


class Subject(Section):
    """Recordings of one subject; paths are relative to the folder."""

    presentations: File = Field(description="Table: stimulus_id; session, run if there were several.")
    responses: File | dict[str, File] = Field(
        description="File with a row (or volume) for each presentation; for surfaces {left: …, right: …}; of "
        "an HDF5 FILE.h5#dataset."
    )  # fmt: skip
    mask: File | None = Field(default=None, description="NIfTI: voxels that are kept, else all "
        "that vary; of an array, the voxels that its columns are, in the order of C.")  # fmt: skip
    regions: dict[str, File] = Field(default_factory=dict, description="NIfTI: mask of each region.")
    neuroids: File | None = Field(
        default=None, description="Table, a row for each column of the responses: neuroid_id; hemisphere, x, "
        "y, z, roi_<name> (0 or 1), noise_ceiling if known."
    )  # fmt: skip
    time: Time | None = None


class Stimuli(Section):
    """What was shown."""

    table: File = Field(
        description="Table: stimulus_id; file (in `pictures`), caption, split (train or test), group, "
        "category_<name>, label, label_<name> as far as there are any; of films and stories film, onset "
        "and duration (s)."
    )  # fmt: skip
    pictures: File | None = Field(
        default=None, description="Folder or zip, or FILE.h5#dataset: a picture for each row."
    )


class Description(Section):
    """What `dataset.yaml` holds."""

    name: str
    licence: str = "unstated"
    citation: str = ""
    units: str = Field(description="Of the responses, e.g. percent signal change.")
    space: str = Field(default="native", description="E.g. func, fsaverage, sensors.")
    stimuli: Stimuli
    subjects: dict[str, Subject] = Field(min_length=1)


def _inside(root: Path, name: str, made_by: str = "") -> Path:
    """Return a file or folder that the description names, which lies in the folder, links followed."""
    path = existing(root / name, made_by=made_by)
    if not path.resolve().is_relative_to(root.resolve()):
        raise InputError(
            f"{path} is a link that leads outside {root}, to {path.resolve()}. Put the file itself into the "
            "folder."
        )
    return path


def describe(options: Dataset) -> tuple[Path, Description]:
    """Read `dataset.yaml`.

    Raises
    ------
    InputError
        It is missing or wrong; the key and what is allowed are named.
    """
    root = existing(str(options.root), made_by="Set `dataset.root` to the folder with dataset.yaml.")
    path = _inside(root, "dataset.yaml", "docs/custom.md says what it holds.")
    about = parse(Description, read_yaml(path), source=str(path))
    _refuse_twice(path, about)
    return root, about


def _refuse_twice(path: Path, about: Description) -> None:
    """Refuse a file of responses, or of a region, under two names: a line was copied and left so."""
    given: list[tuple[str, object, str, str]] = []
    for subject, section in about.subjects.items():
        sides = section.responses if isinstance(section.responses, dict) else {"": section.responses}
        rows = (section.presentations, section.mask, section.neuroids)
        given += [("responses", (f, *rows), f, f"{subject} {k}".strip()) for k, f in sides.items()]
        given += [(f"a region of {subject}", f, f, region) for region, f in section.regions.items()]
    first: dict[tuple[str, object], str] = {}
    for what, key, file, name in given:
        other = first.setdefault((what, key), name)
        if other != name:
            raise InputError(
                f"{path} gives {other!r} and {name!r} one file as {what}: {file}. Give each its own."
            )


def stimuli_table(path: Path) -> Table:
    """Read a table of stimuli, whose columns are `STIMULI` and whose ids are each there once."""
    table = read_table(path, "stimulus_id")
    table.expect(*STIMULI)
    unique_names(table, "stimulus_id")
    return table


def load_stimuli(options: Dataset, subjects: list[str]) -> xr.Dataset:
    """Read the table of stimuli that the subjects were shown."""
    root, about = describe(options)
    table = stimuli_table(_inside(root, about.stimuli.table))
    every = table.names("stimulus_id")
    shown = [_presentations(root, about, s, every).names("stimulus_id") for s in subjects]
    rows = np.flatnonzero(np.isin(every, np.concatenate(shown)))
    return stimulus_set(root, table, rows, about.name, about.stimuli.pictures)


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
        folder = _inside(root, place)
        pixels = f"{folder}{hash_}{key}"
        if hash_ or place.lower().endswith((".h5", ".hdf5")):
            check_pictures(folder, key, table)
        else:
            refuse_other_files(table, table.names("stimulus_id"), table.names("file"))
            columns["file"] = locate(folder, table.names("file")[rows])
            for file in dict.fromkeys(columns["file"].tolist()):
                if ".zip/" not in file:
                    _inside(root, f"{place}/{file}")
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


def _presentations(root: Path, about: Description, subject: str, stimuli: NDArray[np.str_]) -> Table:
    if subject not in about.subjects:
        raise invalid("subject", subject, about.subjects)
    table = read_table(_inside(root, about.subjects[subject].presentations), "stimulus_id")
    table.expect(PRESENTATIONS)
    unknown = sorted(set(table.names("stimulus_id")) - set(stimuli))
    if unknown:
        raise InputError(
            f"{table.path} names {len(unknown)} stimuli that are not in {about.stimuli.table}, first "
            f"{str(unknown[0])!r}."
        )
    return table


def load_responses(options: Dataset, subject: str) -> xr.Dataset:
    """Read one subject."""
    root, about = describe(options)
    stimuli = stimuli_table(_inside(root, about.stimuli.table))
    every = stimuli.names("stimulus_id")
    shown = _presentations(root, about, subject, every)
    warn_of_order(shown)
    section = about.subjects[subject]
    ids, n = shown.names("stimulus_id"), len(shown)
    place = {name: row for row, name in enumerate(every)}
    shown_as = {k: v[[place[i] for i in ids]] for k, v in design(stimuli).items()}
    files = section.responses if isinstance(section.responses, dict) else {"": section.responses}
    if SCALED.fullmatch(about.units.strip()) and any(f.lower().endswith(EPOCHS) for f in files.values()):
        raise InputError(
            f"Invalid value for 'units' in {root / 'dataset.yaml'}: {about.units!r}. MNE's epochs are in V, "
            "T and T/m, whatever was recorded. Write that, or save the values you mean as .npy."
        )
    parts = [_side(root, side, name, subject, section, shown) for side, name in files.items()]
    if len(parts) > 1 and np.array_equal(parts[0].values, parts[1].values, equal_nan=True):
        raise InputError(
            f"{' and '.join(files.values())} hold the same numbers. Was one hemisphere saved twice?"
        )
    known = {"file": stimuli.text("file")[[place[i] for i in ids]]} if "file" in stimuli else {}
    for name, part in zip(files.values(), parts, strict=True):
        refuse_other_names(name, part.others, shown, known)
        if part.dropped and not names_rows(part.others, {"stimulus_id": ids} | known):
            warnings.warn(
                f"{name}: {len(part.dropped)} epochs were dropped, first number {part.dropped[0]} (from 0); "
                f"nothing says which were kept. Are just these left out of {section.presentations}?",
                InputWarning, stacklevel=2,
            )  # fmt: skip
        known |= {f"{called} in {name}": v for called, v in part.others.items() if len(v) == n}
    response = np.concatenate([part.values for part in parts], 1)
    named = " and ".join(files.values())
    session = part_names(shown, "session") if "session" in shown else np.full(n, "1")
    refuse_copied_rows(named, response, ids)
    warn_of_repeats(named, response, ids, session)
    return make_responses(
        response,
        presentation={
            "stimulus_id": ids, "split": shown_as["split"], "group": shown_as["group"],
            "session": session,
            "run": shown.integers("run") if "run" in shown else np.zeros(n, int),
            "repetition": pd.Series(ids).groupby(ids).cumcount().to_numpy(int),
            **{k: shown_as[k] for k in ("film", "onset") if "film" in shown_as},
        },
        neuroid=coordinates(subject, pd.concat([part.neuroids for part in parts], ignore_index=True)),
        time_bin=_time_bins(subject, section, response, parts[-1].time),
        attrs={
            "dataset": about.name, "space": about.space, "units": about.units,
            **{k: v for part in parts for k, v in part.attrs.items()},
            "source": json.dumps({f: sha256(root / f.partition("#")[0]) for f in files.values()}),
        },
    )  # fmt: skip


class Part(NamedTuple):
    """What a file of responses holds."""

    values: NDArray[Any]
    """(n_presentations, n_neuroids[, n_time_bins])"""
    neuroids: pd.DataFrame
    attrs: dict[str, Any]
    time: dict[str, NDArray[Any]] | None
    """Start and stop of the bins, where the file says."""
    others: dict[str, NDArray[np.str_]]
    """What the file calls its rows, but for `stimulus_id`."""
    dropped: list[int]
    """Presentations that the file says it leaves out, from 0, where it does not name its rows."""


def _side(root: Path, side: str, name: str, subject: str, section: Subject, shown: Table) -> Part:
    """Read a file of responses, of one hemisphere where `side` is left or right."""
    hemisphere = {"left": "L", "right": "R", "": ""}.get(side)
    if hemisphere is None:
        raise invalid(f"key of subjects.{subject}.responses", side, ("left", "right"))
    part = _read(root, name, section, shown, hemisphere)
    neuroids = part.neuroids
    if len(part.values) != len(shown):
        hint = ""
        if part.values.shape[-1] == len(shown):
            hint = " Its last axis has as many: was it written by MATLAB, or columns first? Turn it."
        elif part.dropped:
            hint = f" {len(part.dropped)} epochs were dropped, first number {part.dropped[0]} (from 0)."
        raise InputError(
            f"{name} has {len(part.values)} presentations, {section.presentations} {len(shown)} rows; they "
            f"must match one to one.{hint}"
        )
    if hemisphere:
        own = set(neuroids.get("hemisphere", pd.Series(dtype=str)).dropna()) - {""}
        own = (own or {named_side(Path(name.partition("#")[0]).name)}) - {"", hemisphere}
        if own:
            raise InputError(f"{name} is of hemisphere {min(own)!r}, but stands under {side!r}. Swap them?")
        neuroids["neuroid_id"] = [f"{hemisphere}{i}" for i in neuroids["neuroid_id"]]
        neuroids["hemisphere"] = hemisphere
        if "n_vertices" in part.attrs:
            part.attrs[f"n_vertices_{hemisphere}"] = part.attrs.pop("n_vertices")
    return part


def _time_bins(
    subject: str, section: Subject, response: NDArray[Any], time: dict[str, NDArray[Any]] | None
) -> dict[str, NDArray[Any]] | None:
    """Return start and stop of the time bins, as the description has them, else as the file does."""
    if (response.ndim == 3) != (section.time is not None or time is not None):
        raise InputError(
            f"The responses of {subject} have {response.ndim} dimensions. `time` (start, width) belongs to "
            "three: presentations, neuroids, time bins."
        )
    if section.time is None:
        return time
    start = section.time.start + section.time.width * np.arange(response.shape[2])
    if max(-start[0], start[-1]) > LONGEST_COURSE:
        raise InputError(
            f"The time bins of {subject} begin from {start[0]:g} to {start[-1]:g} s after the onset of a "
            f"stimulus, expected within {LONGEST_COURSE:g} s. Is `time` in ms? Write start and width in s."
        )
    return {"start": start, "stop": start + section.time.width}


def _read(root: Path, name: str, section: Subject, shown: Table, hemisphere: str) -> Part:
    """Read a file of responses."""
    file, _, key = name.partition("#")
    path, file = _inside(root, file), file.lower()
    attrs: dict[str, Any] = {}
    neuroids, labels, time, ids = None, None, None, None
    dropped: list[int] = []
    others: dict[str, NDArray[np.str_]] = {}
    image = file.endswith(IMAGES)
    if file.endswith(EPOCHS):
        values, neuroids, time, ids, others, dropped = read_epochs(path)
        labels = neuroids["neuroid_id"].tolist()
    elif image:
        mask = _inside(root, section.mask) if section.mask else None
        values, neuroids, attrs, maps = read_responses(
            path, mask, {k: _inside(root, v) for k, v in section.regions.items()}
        )
        others = {"its maps": np.array(maps, dtype=str)}
    elif file.endswith(".npy"):
        values = read_array(path)
    elif file.endswith((".h5", ".hdf5")):
        with open_hdf5(path) as source:
            values = _stored(source, key)
            if section.mask and of_matlab(source[key]):
                raise InputError(
                    f"{name} was written by MATLAB, which counts the voxels of a mask in another order "
                    "than that of C, in which they are taken here. Save it as .npy, or leave `mask` out."
                )
            ids, others = row_names(source, key), other_names(source, key)
    elif file.endswith((".csv", ".tsv")):
        values, labels = read_columns(path, shown)
    else:
        instead = next((how for ends, how in INSTEAD.items() if file.endswith(ends)), "")
        if instead:
            raise InputError(f"{name} is of a format that is not read as responses. {instead}.")
        raise invalid("format of responses", name, FORMATS)
    if ids is not None:
        same_rows(name, ids, shown)
    if values.ndim not in (2, 3):
        raise InputError(f"{name} has shape {values.shape}, expected (presentations, neuroids[, time bins]).")
    if 0 in values.shape:
        raise InputError(f"{name} has shape {values.shape}: it is empty.")
    if (section.mask or section.regions) and not image:
        if not file.endswith(ARRAYS) or not section.mask or section.neuroids:
            raise InputError(
                f"{name} has no voxels for `mask` and `regions`. Name its regions in `neuroids`, or give an "
                "array the mask whose voxels its columns are, and no `neuroids`."
            )
        regions = {k: _inside(root, v) for k, v in section.regions.items()}
        neuroids, attrs = read_voxels(_inside(root, section.mask), regions, values.shape[1], name)
    if neuroids is None:
        neuroids = pd.DataFrame({"neuroid_id": labels or np.arange(values.shape[1])})
    if section.neuroids is not None:
        own, n = neuroids, values.shape[1]
        called = own["neuroid_id"].astype(str).tolist()
        counted = len(own.columns) > 1 if image else called == [str(i) for i in range(n)]
        neuroids = join_neuroids(
            _inside(root, section.neuroids), section.neuroids, called, n, name, hemisphere, named=not counted
        )
        neuroids = placed(neuroids, own, section.neuroids, name) if image else neuroids
    values = real32(values, name)
    refuse_marks(name, values)
    return Part(values, neuroids, attrs, time, *((others, dropped) if ids is None else ({}, [])))


def _stored(file: h5py.File, key: str) -> NDArray[Any]:
    """Read an array of HDF5 as its writer sees it: MATLAB's axes are in reverse there; a fill is missing."""
    found = numbers(file, key)
    values = filled(found)
    return values.T if of_matlab(found) else values


def check_tree(options: Dataset, subjects: list[str]) -> list[str]:
    """Read everything once; say what was found, and which columns are not read."""
    root, about = describe(options)
    done = report_stimuli(load_stimuli(options, subjects))
    for subject in subjects:
        done += report_responses(load_responses(options, subject), subject)
    sections = [about.subjects[s] for s in subjects]
    tables: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {about.stimuli.table: STIMULI}
    tables |= {s.presentations: (PRESENTATIONS, ()) for s in sections}
    tables |= {s.neuroids: NEUROIDS for s in sections if s.neuroids is not None}
    for name, known in tables.items():
        unknown = read_table(root / name).expect(*known)
        if unknown:
            done.append(f"{name}: not read are the columns {', '.join(map(repr, unknown))}")
    return done
