"""Your own recordings: a folder with tables, responses in any usual format, and `dataset.yaml`.

The file names the stimuli and, for each subject, the presentations (one row each, in the order of the
responses) and the responses themselves; docs/custom.md walks through one. Nothing is copied.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
import yaml
from numpy.typing import NDArray
from pydantic import Field

from neuroenc.arrays import make_responses, make_stimuli
from neuroenc.config import Dataset, Section, parse
from neuroenc.datasets.images import read_responses
from neuroenc.datasets.pixels import locate, merge_same, n_pictures
from neuroenc.datasets.reading import numbers, open_hdf5, read_array, read_table
from neuroenc.errors import InputError, invalid
from neuroenc.files import existing, sha256

LICENCE = "yours"
CITATION = "yours"
IMAGES = (".nii", ".nii.gz", ".gii")
FORMATS = (*IMAGES, ".npy", ".h5", ".hdf5", ".csv", ".tsv", "-epo.fif")


class Time(Section):
    """Time bins of a response with three dimensions."""

    start: float = Field(description="Of the first bin, s after the onset of the stimulus.")
    width: float = Field(gt=0, description="Of each bin, s.")


class Subject(Section):
    """Recordings of one subject; paths are relative to the folder."""

    presentations: str = Field(description="Table: stimulus_id; session, run if there were several.")
    responses: str | dict[str, str] = Field(
        description="File with a row (or volume) for each presentation; for surfaces {left: …, right: …}; of "
        "an HDF5 FILE.h5#dataset."
    )  # fmt: skip
    mask: str | None = Field(default=None, description="NIfTI: voxels that are kept; else all that vary.")
    regions: dict[str, str] = Field(default_factory=dict, description="NIfTI: mask of each region.")
    neuroids: str | None = Field(
        default=None, description="Table, a row for each column of the responses: neuroid_id; hemisphere, x, "
        "y, z, roi_<name> (0 or 1), noise_ceiling if known."
    )  # fmt: skip
    time: Time | None = None


class Stimuli(Section):
    """What was shown."""

    table: str = Field(
        description="Table: stimulus_id; file (in `pictures`), caption, split (train or test), group, "
        "category_<name> as far as there are any; of films and stories film, onset and duration (s)."
    )  # fmt: skip
    pictures: str | None = Field(
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


def describe(options: Dataset) -> tuple[Path, Description]:
    """Read `dataset.yaml`.

    Raises
    ------
    InputError
        It is missing or wrong; the key and what is allowed are named.
    """
    root = existing(str(options.root), made_by="Set `dataset.root` to the folder with dataset.yaml.")
    path = root / "dataset.yaml"
    try:
        found = yaml.safe_load(existing(path, made_by="docs/custom.md says what it holds.").read_text())
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {str(error).splitlines()[0]}.") from None
    return root, parse(Description, found, source=str(path))


def _table(path: Path, *required: str) -> pd.DataFrame:
    table = read_table(path, *required, dtype={"stimulus_id": str, "neuroid_id": str})
    for column in required:
        if table[column].isna().any():
            row = int(np.flatnonzero(table[column].isna())[0]) + 2
            raise InputError(f"{path} has no {column} in line {row}. Fill it in or remove the line.")
    return table


def _unique(values: pd.Series, path: Path) -> None:
    twice = values[values.str.normalize("NFC").str.strip().duplicated()]
    if len(twice):
        raise InputError(
            f"{path} names {values.name} {twice.iloc[0]!r} more than once (blanks around it and the Unicode "
            "form of accents do not count). Each needs a name of its own."
        )


def load_stimuli(options: Dataset, subjects: list[str]) -> xr.Dataset:
    """Read the table of stimuli that the subjects were shown."""
    root, about = describe(options)
    path = root / about.stimuli.table
    table = _table(path, "stimulus_id")
    _unique(table["stimulus_id"], path)
    shown = pd.concat([_presentations(root, about, s, table) for s in subjects])["stimulus_id"]
    n_rows = len(table)
    table["row"] = np.arange(n_rows)
    table = table[table["stimulus_id"].isin(shown)].reset_index(drop=True)
    ids = table["stimulus_id"].to_numpy(str)
    split = table["split"].to_numpy(str) if "split" in table else np.full(len(ids), "train")
    if set(split) - {"train", "test"}:
        raise invalid(f"split in {path}", min(set(split) - {"train", "test"}), ("train", "test"))
    columns: dict[str, Any] = {
        "stimulus_id": ids, "pixel_index": table["row"].to_numpy(), "split": split,
        "group": table["group"].to_numpy(str) if "group" in table else ids,
    }  # fmt: skip
    pixels = "not distributed"
    if about.stimuli.pictures is not None:
        place, hash_, key = about.stimuli.pictures.partition("#")
        pixels = f"{existing(root / place)}{hash_}{key}"
        if hash_ or place.lower().endswith((".h5", ".hdf5")):
            n = n_pictures(root / place, key)
            if n != n_rows:
                raise InputError(
                    f"{pixels} has {n} pictures, {path} {n_rows} rows; they must match one to one. "
                    "Was one of them filtered?"
                )
        else:
            files = _table(path, "file")["file"].iloc[table["row"]].to_numpy(str)
            columns["file"] = locate(root / place, files)
    columns |= _running(table, path)
    captions = table[[c for c in table if str(c).startswith("caption")]].fillna("").to_numpy(str)
    strength = table[[c for c in table if str(c).startswith("category_")]]
    stimuli = make_stimuli(
        columns, attrs={"dataset": about.name, "pixels": pixels},
        captions=captions if captions.shape[1] else None,
        categories=([str(c).removeprefix("category_") for c in strength], strength.to_numpy("f4"))
        if strength.shape[1] else None,
    )  # fmt: skip
    return stimuli if about.stimuli.pictures is None else merge_same(stimuli)


def _running(table: pd.DataFrame, path: Path) -> dict[str, Any]:
    """Where stimuli stand in their films."""
    columns: dict[str, Any] = {}
    for column in ("onset", "duration"):
        if column in table:
            values = pd.to_numeric(table[column], errors="coerce").to_numpy(float)
            if not np.isfinite(values).all() or (values < 0).any():
                first = table["stimulus_id"].iloc[int(np.flatnonzero(~(values >= 0))[0])]
                raise InputError(f"{path} gives no {column} in seconds for {str(first)!r}.")
            columns[column] = values
    if "film" in table:
        if "onset" not in columns:
            raise InputError(
                f"{path} has films but no column 'onset': where in them the stimuli begin, in s."
            )
        columns["film"] = table["film"].to_numpy(str)
    return columns


def _presentations(root: Path, about: Description, subject: str, stimuli: pd.DataFrame) -> pd.DataFrame:
    if subject not in about.subjects:
        raise invalid("subject", subject, about.subjects)
    path = root / about.subjects[subject].presentations
    table = _table(path, "stimulus_id")
    unknown = sorted(set(table["stimulus_id"]) - set(stimuli["stimulus_id"]))
    if unknown:
        raise InputError(
            f"{path} names {len(unknown)} stimuli that are not in {about.stimuli.table}, first "
            f"{unknown[0]!r}."
        )
    return table


def load_responses(options: Dataset, subject: str) -> xr.Dataset:
    """Read one subject."""
    root, about = describe(options)
    stimuli = _table(root / about.stimuli.table, "stimulus_id").set_index("stimulus_id")
    shown = _presentations(root, about, subject, stimuli.reset_index())
    section = about.subjects[subject]
    ids = shown["stimulus_id"].to_numpy(str)
    files = section.responses if isinstance(section.responses, dict) else {"": section.responses}
    values, parts = [], []
    more: dict[str, Any] = {}
    for side, name in files.items():
        part, neuroids, attrs, time = _read(root, name, section)
        if len(part) != len(ids):
            raise InputError(
                f"{name} has {len(part)} presentations, {section.presentations} {len(ids)} rows; they must "
                "match one to one."
            )
        hemisphere = {"left": "L", "right": "R", "": ""}.get(side)
        if hemisphere is None:
            raise invalid(f"key of subjects.{subject}.responses", side, ("left", "right"))
        if hemisphere:
            own = set(neuroids.get("hemisphere", pd.Series(dtype=str)).dropna()) - {"", hemisphere}
            if own:
                raise InputError(
                    f"{name} is of hemisphere {min(own)!r}, but stands under {side!r}. Swap them?"
                )
            neuroids["neuroid_id"] = [f"{hemisphere}{i}" for i in neuroids["neuroid_id"]]
            neuroids["hemisphere"] = hemisphere
        values.append(part)
        parts.append(neuroids)
        more |= attrs
    response, table = np.concatenate(values, 1), pd.concat(parts, ignore_index=True)
    if (response.ndim == 3) != (section.time is not None or time is not None):
        raise InputError(
            f"The responses of {subject} have {response.ndim} dimensions. `time` (start, width) belongs to "
            "three: presentations, neuroids, time bins."
        )
    if section.time is not None:
        start = section.time.start + section.time.width * np.arange(response.shape[2])
        time = {"start": start, "stop": start + section.time.width}
    n = len(ids)
    nowhere = pd.Series(np.full(len(table), np.nan, "f4"))
    neuroid: dict[str, Any] = {
        "neuroid_id": [f"{subject}_{i}" for i in table["neuroid_id"]],
        "subject": np.full(len(table), subject),
        "hemisphere": table.get("hemisphere", nowhere).astype(object).fillna("").to_numpy(str),
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
            neuroid[str(column)] = table[column].fillna(0).to_numpy() > 0
    split = stimuli["split"].reindex(ids).to_numpy(str) if "split" in stimuli else np.full(n, "train")
    group = stimuli["group"].reindex(ids).to_numpy(str) if "group" in stimuli else ids
    return make_responses(
        response,
        presentation={
            "stimulus_id": ids, "split": split, "group": group,
            "session": shown["session"].to_numpy(str) if "session" in shown else np.full(n, "1"),
            "run": shown["run"].to_numpy(int) if "run" in shown else np.zeros(n, int),
            "repetition": shown.groupby("stimulus_id").cumcount().to_numpy(int),
            **{
                k: stimuli[k].reindex(ids).to_numpy(float if k == "onset" else str)
                for k in ("film", "onset") if "film" in stimuli
            },
        },
        neuroid=neuroid, time_bin=time,
        attrs={
            "dataset": about.name, "space": about.space, "units": about.units, **more,
            "source": json.dumps({n: sha256(root / n.partition("#")[0]) for n in files.values()}),
        },
    )  # fmt: skip


def _read(
    root: Path, name: str, section: Subject
) -> tuple[NDArray[Any], pd.DataFrame, dict[str, Any], dict[str, NDArray[Any]] | None]:
    """Read a file of responses.

    Returns
    -------
    values : array of shape (n_presentations, n_neuroids[, n_time_bins])
    neuroids : DataFrame
    attrs : dict
    time_bin : dict or None
        Start and stop of the bins, where the file says.
    """
    file, _, key = name.partition("#")
    path, file = existing(root / file), file.lower()
    attrs: dict[str, Any] = {}
    neuroids, time = None, None
    if file.endswith("-epo.fif"):
        values, neuroids, time = _epochs(path)
    elif file.endswith(IMAGES):
        mask = root / section.mask if section.mask else None
        values, neuroids, attrs = read_responses(
            path, mask, {k: root / v for k, v in section.regions.items()}
        )
    elif file.endswith(".npy"):
        values = read_array(path)
    elif file.endswith((".h5", ".hdf5")):
        with open_hdf5(path) as source:
            values = numbers(source, key)[:]
    elif file.endswith((".csv", ".tsv")):
        table = _table(path)
        try:
            values = table.to_numpy("f4")
        except ValueError as error:
            raise InputError(f"{path} must hold numbers only, a column for each neuroid: {error}.") from None
        neuroids = pd.DataFrame({"neuroid_id": table.columns})
    else:
        raise invalid("format of responses", name, FORMATS)
    if (section.mask or section.regions) and not file.endswith(IMAGES):
        raise InputError(f"{name} has no voxels for `mask` and `regions`. Name its regions in `neuroids`.")
    if values.dtype.kind not in "biuf":
        raise InputError(f"{name} holds {values.dtype}, expected real numbers. Save them as float32.")
    if values.ndim not in (2, 3):
        raise InputError(f"{name} has shape {values.shape}, expected (presentations, neuroids[, time bins]).")
    if section.neuroids is not None:
        named = _table(root / section.neuroids, "neuroid_id")
        _unique(named["neuroid_id"], root / section.neuroids)
        if len(named) != values.shape[1]:
            raise InputError(
                f"{section.neuroids} has {len(named)} rows, {name} {values.shape[1]} neuroids; they must "
                "match one to one."
            )
        neuroids = named
    if neuroids is None:
        neuroids = pd.DataFrame({"neuroid_id": np.arange(values.shape[1])})
    return np.asarray(values, np.float32), neuroids, attrs, time


def _epochs(path: Path) -> tuple[NDArray[Any], pd.DataFrame, dict[str, NDArray[Any]]]:
    """Read epochs of MNE: channels with data that are not marked bad, one bin for each sample."""
    try:
        import mne
    except ImportError:
        raise InputError("Epochs (.fif) need the extra 'electrophysiology'. Install it.") from None
    try:
        epochs = mne.read_epochs(path, verbose="error").pick("data", exclude="bads")
        values = epochs.get_data(copy=False)
    except Exception as error:  # noqa: BLE001  the reader has errors of every kind
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"Cannot read {path}: {reason}. Does it hold epochs of MNE?") from None
    where = np.array([c["loc"][:3] for c in epochs.info["chs"]], np.float32)
    table = pd.DataFrame({"neuroid_id": epochs.ch_names, **dict(zip("xyz", where.T, strict=True))})
    return values, table, {"start": epochs.times, "stop": epochs.times + 1 / epochs.info["sfreq"]}


def _without_data(responses: xr.DataArray) -> list[tuple[str, int]]:
    """Count, in each session of two or more presentations, the neuroids silent there but not elsewhere."""
    values, session = responses.values, responses["session"].values
    silent = {}
    for name in np.unique(session):
        here = values[session == name]
        low, high = (f.reduce(f.reduce(here.reshape(*here.shape[:2], -1), 2), 0) for f in (np.fmin, np.fmax))
        if len(here) > 1:
            silent[str(name)] = ~(high > low)
    always = np.all(list(silent.values()), axis=0) if silent else False
    return [(k, int(n)) for k, v in silent.items() if (n := (v & ~always).sum())]


def check_tree(options: Dataset, subjects: list[str]) -> list[str]:
    """Read everything once; say what was found."""
    stimuli = load_stimuli(options, subjects)
    n_test = int((stimuli["split"] == "test").sum())
    done = [f"{stimuli.sizes['stimulus']} stimuli, {n_test} of them for testing"]
    if same := stimuli.attrs.get("n_same_pictures", 0):
        done.append(f"{same} pictures stand under more than one id; no split parts them")
    for subject in subjects:
        found = load_responses(options, subject)["response"]
        lost = ~np.isfinite(found.values).reshape(len(found), -1).all(1)
        silent = int((np.nanstd(found.values.reshape(len(found), -1), axis=0) == 0).sum())
        shape = " x ".join(map(str, found.shape))
        done.append(
            f"subject {subject}: {shape} (presentations x neuroids{' x bins' if found.ndim == 3 else ''}), "
            f"{lost.sum()} presentations with missing values, {silent} constant neuroids"
        )
        done += [
            f"subject {subject}: {n} neuroids have no data, or one value throughout, in session {session}"
            for session, n in _without_data(found)
        ]
    return done
