"""The Natural Scenes Dataset (Allen et al. 2022, doi 10.1038/s41593-021-00962-x), or a tree like it.

Traps met here: volumetric betas are int16, 300 to the percent, surface betas are float32 percent;
MATLAB's HDF5 shows the axes reversed; regions hold -1 outside the brain; ncsnr holds NaN; ids count
from one in the design and from zero in the tables.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.io
import xarray as xr
from numpy.typing import NDArray
from tqdm import tqdm

from neuroenc.arrays import make_responses, make_stimuli
from neuroenc.config import Dataset
from neuroenc.datasets.nsd_spaces import Surface, Volume
from neuroenc.datasets.pixels import n_pictures
from neuroenc.datasets.reading import read_table
from neuroenc.documents import read_json
from neuroenc.errors import InputError, invalid, reason
from neuroenc.files import existing, sha256
from neuroenc.real import zscore

EXPERIMENT = "nsddata/experiments/nsd"
STIMULI, BRICK = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5", "imgBrick"
LICENCE = "NSD terms of use (clause 3: no redistribution); naturalscenesdataset.org"
CITATION = "Allen et al. (2022), Nature Neuroscience 25, 116-126"
EXPECTED: dict[str, Any] = {
    "name": "NSD", "n_stimuli": 73000, "trials_per_session": 750,
    "subjects": {
        f"{s + 1:02d}": {"sessions": n, "nsdgeneral_voxels": v, "median_ncsnr": m,
                         "nsdgeneral_vertices": 37984, "median_ncsnr_surface": f}
        for s, (n, v, m, f) in enumerate(zip(
            (40, 40, 32, 30, 40, 32, 40, 30),
            (15724, 14278, 15226, 13153, 13039, 17907, 12682, 14386),
            (0.361, 0.361, 0.324, 0.296, 0.415, 0.343, 0.281, 0.226),
            (0.490, 0.510, 0.431, 0.392, 0.542, 0.439, 0.371, 0.323),
            strict=True,
        ))
    },
}  # fmt: skip


def root_of(options: Dataset) -> Path:
    """Return the folder of the dataset."""
    return existing(str(options.root), made_by="Point `dataset.root` at the folder that holds nsddata.")


def load_stimuli(options: Dataset, subjects: list[str]) -> xr.Dataset:
    """Read the table of pictures that any of the subjects saw.

    Captions and categories come from COCO's annotation files where they stand in
    `nsddata_stimuli/annotations`.
    """
    root = root_of(options)
    table = read_table(root / EXPERIMENT / "nsd_stim_info_merged.csv")
    seen = np.zeros(len(table), bool)
    for subject in subjects:
        column = f"subject{subject.lstrip('0')}"
        if column not in table:
            raise _unknown_subject(root, subject)
        seen |= table.flags(column)
    number = table.integers("nsdId")[seen]
    if (root / STIMULI).exists():  # networks of text need none
        n = n_pictures(root / STIMULI, BRICK)
        if n <= number.max():
            raise InputError(
                f"{root / STIMULI} has {n} pictures, the table names number {number.max()} (from 0). "
                "Fetch it again."
            )
    ids = np.array([f"nsd-{i:05d}" for i in number])
    captions, categories = _annotations(root, table.integers("cocoId")[seen], table.names("cocoSplit")[seen])
    return make_stimuli(
        {
            "stimulus_id": ids,
            "pixel_index": number,
            "group": ids,
            "split": np.where(table.flags("shared1000")[seen], "test", "train"),
        },
        attrs={"dataset": _record(root)["name"], "pixels": f"{root / STIMULI}#{BRICK}"},
        captions=captions,
        categories=categories,
    )


def _annotations(
    root: Path, coco_id: NDArray[np.int64], coco_split: NDArray[np.str_]
) -> tuple[NDArray[np.str_] | None, tuple[list[str], NDArray[np.float32]] | None]:
    """Five captions and the area of each category, per picture."""
    folder = root / "nsddata_stimuli/annotations"
    if not folder.is_dir():
        return None, None
    row = {int(coco): i for i, coco in enumerate(coco_id)}
    captions: list[list[str]] = [[] for _ in row]
    sizes: dict[int, float] = {}
    names: dict[int, str] = {}
    areas: list[tuple[int, int, float]] = []
    for split in sorted(set(coco_split)):
        try:
            for a in read_json(folder / f"captions_{split}.json", "annotations")["annotations"]:
                if a["image_id"] in row:
                    captions[row[a["image_id"]]].append(a["caption"].strip())
            instances = read_json(folder / f"instances_{split}.json", "categories", "images", "annotations")
            names |= {c["id"]: c["name"] for c in instances["categories"]}
            sizes |= {i["id"]: i["height"] * i["width"] for i in instances["images"]}
            areas += [
                (row[a["image_id"]], a["category_id"], a["area"] / sizes[a["image_id"]])
                for a in instances["annotations"]
                if a["image_id"] in row
            ]
        except (KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
            raise InputError(
                f"The annotations of {split} in {folder} are not laid out as COCO's: {reason(error)}. Fetch "
                "them again."
            ) from None
    column = {c: i for i, c in enumerate(sorted(names))}
    strength = np.zeros((len(row), len(names)), np.float32)
    for i, category, area in areas:
        strength[i, column[category]] += area
    five = np.array([(c + [""] * 5)[:5] for c in captions])
    return five, ([names[c] for c in column], strength)


def load_responses(options: Dataset, subject: str) -> xr.Dataset:
    """Read the betas of one subject, z-scored within session.

    The mean and deviation of a session come from its training trials (pictures that are not
    shared), so that nothing of the test pictures enters the scale of the training data.

    Parameters
    ----------
    options : Dataset
        `space` func1pt8mm or fsaverage, `preparation`, `mask`, `regions`, `sessions`.
    subject : str
        Two digits.

    Returns
    -------
    Dataset
        Responses; `surface_L` and `surface_R` give the neuroid under each vertex of the mesh, -1
        where there is none, when the tree holds that mapping.

    Raises
    ------
    InputError
        A file is missing, cut short, of another type, grid or order of axes.
    """
    root = root_of(options)
    reader = open_reader(root, subject, options)
    mask = reader.mask(options.mask)
    sessions = reader.sessions()[: options.sessions]
    nsd_id, test = _trials(root, subject, sessions)
    values, source = _betas(reader, mask, sessions, ~test)
    stimulus_id = np.array([f"nsd-{i:05d}" for i in nsd_id])
    dataset = make_responses(
        values,
        presentation={
            "stimulus_id": stimulus_id,
            "session": np.repeat([f"{n:02d}" for n in sessions], len(test) // len(sessions)),
            # NSD's releases give no run per beta: 62 or 63 trials each, in no published table
            "run": np.zeros(len(values), int),
            "repetition": pd.Series(stimulus_id).groupby(stimulus_id).cumcount().to_numpy(),
            "split": np.where(test, "test", "train"), "group": stimulus_id,
        },
        neuroid=reader.coordinates(mask)
        | {"subject": np.full(int(mask.sum()), subject), "ncsnr": reader.ncsnr(mask)}
        | regions_of(reader, options.regions, mask),
        attrs={
            "dataset": _record(root)["name"], "space": options.space,
            "units": "z-score within session of percent signal change",
            "normalised_on": "split=train", "preparation": options.preparation,
            "source": json.dumps(source), **reader.grid(),
        },
    )  # fmt: skip
    for key, index in reader.surface(mask).items():
        dataset[f"surface_{key}"] = (f"vertex_{key}", index)
    return dataset


def open_reader(root: Path, subject: str, options: Dataset) -> Volume | Surface:
    """Open the space that is asked for, in the preparation that is asked for."""
    if options.space not in ("func1pt8mm", "fsaverage"):
        raise invalid("dataset.space", options.space, ("func1pt8mm", "fsaverage"))
    betas = root / f"nsddata_betas/ppdata/subj{subject}/{options.space}/{options.preparation}"
    if not betas.parent.is_dir():
        raise _unknown_subject(root, subject)
    if not betas.is_dir():
        raise invalid("dataset.preparation", options.preparation,
                      sorted(p.name for p in betas.parent.iterdir()))  # fmt: skip
    return (Volume if options.space == "func1pt8mm" else Surface)(root, subject, betas)


def _trials(root: Path, subject: str, sessions: list[int]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the picture of each trial of the sessions, from 0, and whether all subjects see it."""
    order, picture, shared = _design(root, subject)
    n_trials = _record(root)["trials_per_session"]
    trial = np.concatenate([np.arange((n - 1) * n_trials, n * n_trials) for n in sessions])
    if trial.max() >= len(order):
        raise InputError(
            f"nsd_expdesign.mat has {len(order)} trials, session {max(sessions)} ends at {trial.max() + 1}."
        )
    nsd_id = picture[order[trial]]
    return nsd_id, np.isin(nsd_id, shared)


def _betas(
    reader: Volume | Surface, mask: NDArray[np.bool_], sessions: list[int], training: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], dict[str, str]]:
    """Read the sessions, each scaled by its training trials, (n_trials, n_neuroids); hash the files."""
    source: dict[str, str] = {}
    n_trials = len(training) // len(sessions)
    values = np.empty((len(training), int(mask.sum())), np.float32)  # filled in place: it is there once only
    for i, number in enumerate(tqdm(sessions, f"betas of subj{reader.subject}", disable=None)):
        found, paths = reader.betas(number, mask)
        if len(found) != n_trials:
            raise InputError(f"{paths[0]} holds {len(found)} trials, expected {n_trials}.")
        source |= {path.name: sha256(path) for path in paths}
        rows = slice(i * n_trials, (i + 1) * n_trials)
        values[rows] = zscore(found, found[training[rows]])
    return values, source


def regions_of(
    reader: Volume | Surface, atlases: list[str], mask: NDArray[np.bool_]
) -> dict[str, NDArray[np.bool_]]:
    """Return which neuroids lie in each region of the atlases, of those regions that hold any."""
    regions: dict[str, NDArray[np.bool_]] = {}
    for atlas in atlases:
        labels, names = reader.labels(atlas)
        for number, name in names.items():
            # a region in two halves (V1v, V1d) is one region here
            merged = name[:-1] if atlas == "prf-visualrois" and name[-1] in "vd" else name
            inside = (labels == number)[mask]
            key = f"roi_{merged}"
            regions[key] = regions.get(key, np.zeros_like(inside)) | inside
    return {k: v for k, v in regions.items() if v.any()}


def _design(root: Path, subject: str) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Read, all from 0: the place of each trial in the subject's list, that list, the shared pictures."""
    path = root / EXPERIMENT / "nsd_expdesign.mat"
    order, every, shared = (v - 1 for v in read_matlab(path, "masterordering", "subjectim", "sharedix"))
    if every.ndim != 2 or int(subject) > len(every):
        raise InputError(f"{path} lists pictures of shape {every.shape}, expected a row for each subject.")
    order, picture, shared = order.ravel(), every[int(subject) - 1], shared.ravel()
    if min(order.min(), picture.min(), shared.min()) < 0 or order.max() >= len(picture):
        raise InputError(
            f"{path} counts trials or pictures from below 1, or beyond its list. Fetch it again."
        )
    return order, picture, shared


def read_matlab(path: Path, *names: str) -> list[NDArray[np.int64]]:
    """Read arrays of whole numbers of a MATLAB file (version 5).

    Raises
    ------
    InputError
        It is missing, broken, or lacks one of them.
    """
    try:
        found = scipy.io.loadmat(existing(path), variable_names=names)
        arrays = [np.asarray(found[k]) for k in names]
        if not all(a.size and np.isfinite(a).all() for a in arrays):
            raise ValueError(f"{', '.join(names)}: a number is missing")
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  headers that lie raise errors of every kind
        raise InputError(f"Cannot read the design in {path}: {reason(error)}. Fetch it again.") from None
    return [a.astype(np.int64) for a in arrays]


def _record(root: Path) -> dict[str, Any]:
    path = root / "expected.json"
    record: dict[str, Any] = read_json(path, "name", "subjects") if path.exists() else EXPECTED
    return record


def _unknown_subject(root: Path, subject: str) -> InputError:
    return invalid("subject", subject, list(_record(root)["subjects"]))


def check_tree(options: Dataset, subjects: list[str]) -> list[str]:
    """Compare a tree with its expected record.

    Returns
    -------
    list of str
        One line per thing that was compared.

    Raises
    ------
    InputError
        The first thing that is off: what was found and what is expected.
    """
    root = root_of(options)
    record = _record(root)
    done: list[str] = []

    def same(what: str, found: object, expected: object) -> None:
        if found != expected:
            raise InputError(f"{what}: found {found}, expected {expected} ({record['name']}).")
        done.append(f"{what}: {found}")

    same("pictures in nsd_stimuli.hdf5", n_pictures(root / STIMULI, BRICK), record["n_stimuli"])
    table = read_table(root / EXPERIMENT / "nsd_stim_info_merged.csv")
    same("rows of nsd_stim_info_merged.csv", len(table), record["n_stimuli"])
    for subject in subjects:
        if subject not in record["subjects"]:
            raise _unknown_subject(root, subject)
        expected = record["subjects"][subject]
        folder = existing(root / f"nsddata_betas/ppdata/subj{subject}/{options.space}/{options.preparation}")
        surface = options.space == "fsaverage"
        reader = (Surface if surface else Volume)(root, subject, folder)
        what, end = ("vertices", "_surface") if surface else ("voxels", "")
        same(f"subj{subject} sessions", len(reader.sessions()), expected["sessions"])
        general = reader.mask("nsdgeneral")
        same(f"subj{subject} {what} of nsdgeneral", int(general.sum()), expected[f"nsdgeneral_{what}"])
        found = round(float(np.nanmedian(reader.ncsnr(general))), 4)
        golden = expected[f"median_ncsnr{end}"]  # published to three digits
        if abs(found - golden) > 6e-4:
            raise InputError(
                f"subj{subject} median ncsnr: found {found}, expected {golden} ({record['name']})."
            )
        done.append(f"subj{subject} median ncsnr: {found}")
        values, paths = reader.betas(reader.sessions()[-1], general)
        same(f"subj{subject} trials of {paths[0].name}", len(values), record["trials_per_session"])
    return done
