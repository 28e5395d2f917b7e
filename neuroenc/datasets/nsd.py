"""The Natural Scenes Dataset (Allen et al. 2022, doi 10.1038/s41593-021-00962-x), or a tree like it.

Traps met here: volumetric betas are int16, 300 to the percent, surface betas are float32 percent;
MATLAB's HDF5 shows the axes reversed; regions hold -1 outside the brain; ncsnr holds NaN; ids count
from one in the design and from zero in the tables.
"""

from __future__ import annotations

import json
import re
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
from neuroenc.datasets.images import read_image, read_values
from neuroenc.datasets.pixels import n_pictures
from neuroenc.datasets.reading import numbers, open_hdf5, read_table, reason
from neuroenc.documents import read_json, read_text
from neuroenc.errors import InputError, invalid
from neuroenc.files import existing, sha256

BETA_SCALE = 300  # int16 counts per percent signal change
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
    if options.space not in ("func1pt8mm", "fsaverage"):
        raise invalid("dataset.space", options.space, ("func1pt8mm", "fsaverage"))
    volume = options.space == "func1pt8mm"
    betas = root / f"nsddata_betas/ppdata/subj{subject}/{options.space}/{options.preparation}"
    if not betas.is_dir():
        if not betas.parent.is_dir():
            raise _unknown_subject(root, subject)
        raise invalid("dataset.preparation", options.preparation,
                      sorted(p.name for p in betas.parent.iterdir()))  # fmt: skip
    reader = _Volume(root, subject, betas) if volume else _Surface(root, subject, betas)
    mask = reader.mask(options.mask)
    order, picture, shared = _design(root, subject)
    sessions = reader.sessions()[: options.sessions]
    n_trials = _record(root)["trials_per_session"]
    source: dict[str, str] = {}
    trial = np.concatenate([np.arange((n - 1) * n_trials, n * n_trials) for n in sessions])
    if trial.max() >= len(order):
        raise InputError(
            f"nsd_expdesign.mat has {len(order)} trials, session {max(sessions)} ends at {trial.max() + 1}."
        )
    nsd_id = picture[order[trial]]
    test = np.isin(nsd_id, shared)
    sessions_of = np.repeat([f"{n:02d}" for n in sessions], n_trials)
    values = np.empty((len(trial), int(mask.sum())), np.float32)  # filled in place: it is there once only
    for i, number in enumerate(tqdm(sessions, f"betas of subj{subject}", disable=None)):
        found, paths = reader.betas(number, mask)
        if len(found) != n_trials:
            raise InputError(f"{paths[0]} holds {len(found)} trials, expected {n_trials}.")
        source |= {path.name: sha256(path) for path in paths}
        rows = slice(i * n_trials, (i + 1) * n_trials)
        values[rows] = _zscore(found, ~test[rows])

    stimulus_id = np.array([f"nsd-{i:05d}" for i in nsd_id])
    repetition = pd.Series(stimulus_id).groupby(stimulus_id).cumcount().to_numpy()
    neuroid = reader.coordinates(mask) | {"subject": np.full(int(mask.sum()), subject)}
    neuroid["ncsnr"] = reader.ncsnr(mask)
    for atlas in options.regions:
        labels, names = reader.labels(atlas)
        for number, name in names.items():
            # a region in two halves (V1v, V1d) is one region here
            merged = name[:-1] if atlas == "prf-visualrois" and name[-1] in "vd" else name
            inside = (labels == number)[mask]
            key = f"roi_{merged}"
            neuroid[key] = neuroid.get(key, np.zeros_like(inside)) | inside
    neuroid = {k: v for k, v in neuroid.items() if not k.startswith("roi_") or v.any()}
    dataset = make_responses(
        values,
        presentation={
            "stimulus_id": stimulus_id, "session": sessions_of,
            # NSD's releases give no run per beta: 62 or 63 trials each, in no published table
            "run": np.zeros(len(values), int), "repetition": repetition,
            "split": np.where(test, "test", "train"), "group": stimulus_id,
        },
        neuroid=neuroid,
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


def _design(root: Path, subject: str) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Read, all from 0: the place of each trial in the subject's list, that list, the shared pictures."""
    path = existing(root / EXPERIMENT / "nsd_expdesign.mat")
    try:
        found = scipy.io.loadmat(path)
        order, every, shared = (
            np.asarray(found[k], np.int64) - 1 for k in ("masterordering", "subjectim", "sharedix")
        )
        order, picture, shared = order.ravel(), every[int(subject) - 1].ravel(), shared.ravel()
    except Exception as error:  # noqa: BLE001  headers that lie raise errors of every kind
        raise InputError(f"Cannot read the design in {path}: {reason(error)}. Fetch it again.") from None
    if min(order.min(), picture.min(), shared.min()) < 0 or order.max() >= len(picture):
        raise InputError(
            f"{path} counts trials or pictures from below 1, or beyond its list. Fetch it again."
        )
    return order, picture, shared


def _zscore(values: NDArray[np.float32], training: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Scale a session by its training trials; a voxel that never changes becomes NaN."""
    base = values[training].astype(np.float64)
    spread = base.std(0)
    scaled: NDArray[np.float64] = (values - base.mean(0)) / np.where(spread > 0, spread, np.nan)
    return scaled


class _Volume:
    """func1pt8mm: int16 betas in HDF5 (axes reversed) or NIfTI."""

    def __init__(self, root: Path, subject: str, betas: Path) -> None:
        self.root, self.subject, self.folder = root, subject, betas
        self.roi = root / f"nsddata/ppdata/subj{subject}/func1pt8mm/roi"
        reference = read_image(existing(betas / "ncsnr.nii.gz"))
        self.shape, self.affine = reference.shape, reference.affine
        self.reference = read_values(reference).astype(np.float32)

    def _atlas(self, name: str) -> NDArray[np.int64]:
        path = self.roi / f"{name}.nii.gz"
        if not path.exists():
            known = (p.name.removesuffix(".nii.gz") for p in self.roi.glob("*.nii.gz"))
            raise invalid("atlas", name, sorted(k for k in known if k[:3] not in ("lh.", "rh.")))
        image = read_image(path)
        if image.shape != self.shape:
            raise InputError(
                f"The atlas {path.name} has the grid {image.shape}, the betas {self.shape}. "
                "Use the regions of the same subject and space."
            )
        return read_values(image).astype(np.int64)

    def mask(self, name: str) -> NDArray[np.bool_]:
        # -1 lies outside: never astype(bool)
        if name == "brain":
            return np.asarray(self._atlas("nsdgeneral") >= 0)
        return np.asarray(self._atlas(name) > 0)

    def labels(self, atlas: str) -> tuple[NDArray[np.int64], dict[int, str]]:
        return self._atlas(atlas), read_names(self.root, self.subject, atlas)

    def sessions(self) -> list[int]:
        files = [
            *self.folder.glob("betas_session*.hdf5"),
            *self.folder.glob("betas_session*.nii.gz"),
        ]
        if not files:
            raise InputError(f"No betas_session*.hdf5 or .nii.gz in {self.folder}.")
        return sorted({int(p.name.removeprefix("betas_session")[:2]) for p in files})

    def betas(self, session: int, mask: NDArray[np.bool_]) -> tuple[NDArray[np.float32], list[Path]]:
        path = self.folder / f"betas_session{session:02d}.hdf5"
        if not path.exists():
            path = self.folder / f"betas_session{session:02d}.nii.gz"
            image = read_image(path)
            check_int16(image.get_data_dtype(), path)
            if image.shape[:3] != self.shape:
                raise InputError(f"{path} has the grid {image.shape[:3]}, expected {self.shape}.")
            values = read_values(image)[mask].T
            return values.astype(np.float32) / np.float32(BETA_SCALE), [path]
        with open_hdf5(path) as file:
            stored = numbers(file, "betas")
            check_int16(stored.dtype, path)
            if stored.shape[1:] != self.shape[::-1]:
                raise InputError(
                    f"{path} has the axes {stored.shape}, expected (trials, *{self.shape[::-1]}): "
                    "MATLAB's HDF5 is read as trials, z, y, x."
                )
            # MATLAB's order of the voxels, in the order of the mask
            voxel = np.ravel_multi_index(np.nonzero(mask)[::-1], self.shape[::-1])
            values = np.empty((len(stored), len(voxel)), np.float32)
            for i in range(0, len(stored), 25):
                block = stored[i : i + 25]
                values[i : i + 25] = block.reshape(len(block), -1)[:, voxel]
        values /= np.float32(BETA_SCALE)
        return values, [path]

    def ncsnr(self, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        return self.reference[mask]

    def coordinates(self, mask: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        ijk = np.argwhere(mask)
        left = self._atlas("lh.nsdgeneral")[mask] >= 0
        right = self._atlas("rh.nsdgeneral")[mask] >= 0
        return {
            "neuroid_id": np.array([f"{self.subject}_{i}-{j}-{k}" for i, j, k in ijk]),
            "hemisphere": np.select([left & ~right, right & ~left], ["L", "R"], ""),
            **{axis: ijk[:, n].astype(np.float32) for n, axis in enumerate("xyz")},
        }

    def grid(self) -> dict[str, Any]:
        return {"grid_shape": np.array(self.shape), "affine": self.affine.ravel()}

    def surface(self, mask: NDArray[np.bool_]) -> dict[str, NDArray[np.int32]]:
        number = np.full(self.shape, -1, np.int32)
        number[mask] = np.arange(mask.sum())
        out = {}
        for key, prefix in (("L", "lh"), ("R", "rh")):
            name = f"nsddata/ppdata/subj{self.subject}/transforms/{prefix}.func1pt8mm-to-fsaverage.mgz"
            if (self.root / name).exists():
                voxel = read_values(read_image(self.root / name)).reshape(-1, 3)
                inside = np.isfinite(voxel).all(1)
                i, j, k = np.where(inside[:, None], voxel - 1, 0).round().astype(int).T
                out[key] = np.where(inside, number[i, j, k], -1).astype(np.int32)
        return out


class _Surface:
    """fsaverage: float32 betas in percent, one file per hemisphere."""

    def __init__(self, root: Path, subject: str, betas: Path) -> None:
        self.root, self.subject, self.folder = root, subject, betas
        self.reference = {k: self._vector(betas / f"{k}.ncsnr.mgh") for k in ("lh", "rh")}

    def _vector(self, path: Path) -> NDArray[np.float32]:
        return read_values(read_image(path)).astype(np.float32).reshape(-1)

    def _atlas(self, name: str) -> NDArray[np.int64]:
        parts = []
        for side in ("lh", "rh"):
            folders = [
                self.root / f"nsddata/freesurfer/{who}/label" for who in (f"subj{self.subject}", "fsaverage")
            ]
            files = [f / f"{side}.{name}.mgz" for f in folders]
            found = [p for p in files if p.exists()]
            if not found:
                known = {p.name[3:].removesuffix(".mgz") for f in folders for p in f.glob("lh.*.mgz")}
                raise invalid("atlas", name, sorted(known))
            labels = [self._vector(p) for p in found]
            fitting = [v for v in labels if len(v) == len(self.reference[side])]
            if not fitting:
                raise InputError(
                    f"The atlas {found[0]} has {len(labels[0])} vertices, the betas "
                    f"{len(self.reference[side])}. Use labels on the mesh of the betas."
                )
            parts.append(fitting[0])
        return np.concatenate(parts).astype(np.int64)

    def mask(self, name: str) -> NDArray[np.bool_]:
        if name == "brain":
            return np.asarray(np.isfinite(np.concatenate(list(self.reference.values()))))
        return np.asarray(self._atlas(name) > 0)

    def labels(self, atlas: str) -> tuple[NDArray[np.int64], dict[int, str]]:
        return self._atlas(atlas), read_names(self.root, self.subject, atlas)

    def sessions(self) -> list[int]:
        files = sorted(self.folder.glob("lh.betas_session*.mgh"))
        if not files:
            raise InputError(f"No lh.betas_session*.mgh in {self.folder}.")
        return [int(p.name.removeprefix("lh.betas_session")[:2]) for p in files]

    def betas(self, session: int, mask: NDArray[np.bool_]) -> tuple[NDArray[np.float32], list[Path]]:
        parts, paths = [], []
        for side in ("lh", "rh"):
            path = existing(self.folder / f"{side}.betas_session{session:02d}.mgh")
            image = read_image(path)
            if image.get_data_dtype().kind != "f":
                raise InputError(
                    f"{path} holds {image.get_data_dtype()}, expected float32: surface betas are in "
                    "percent already."
                )
            values = read_values(image).astype(np.float32)
            parts.append(values.reshape(values.shape[0], -1))
            paths.append(path)
        return np.ascontiguousarray(np.concatenate(parts)[mask].T), paths

    def ncsnr(self, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        return np.concatenate(list(self.reference.values()))[mask]

    def coordinates(self, mask: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        n = [len(v) for v in self.reference.values()]
        side = np.repeat(["L", "R"], n)[mask]
        vertex = np.concatenate([np.arange(m) for m in n])[mask]
        return {
            "neuroid_id": np.array([f"{self.subject}_{h}-{v}" for h, v in zip(side, vertex, strict=True)]),
            "hemisphere": side,
            "vertex": vertex.astype(np.int32),
        }

    def grid(self) -> dict[str, Any]:
        return {}

    def surface(self, mask: NDArray[np.bool_]) -> dict[str, NDArray[np.int32]]:
        number = np.where(mask, np.cumsum(mask) - 1, -1).astype(np.int32)
        left = len(self.reference["lh"])
        return {"L": number[:left], "R": number[left:]}


def check_int16(dtype: np.dtype[Any], path: Path) -> None:
    """Refuse volumetric betas that are not NSD's int16."""
    if dtype != np.int16:
        raise InputError(
            f"{path} holds {dtype}, expected int16 (300 to the percent). Were the betas converted?"
        )


def read_names(root: Path, subject: str, atlas: str) -> dict[int, str]:
    """Names of an atlas's regions, from its colour table; number -> name, without 0."""
    for who in (f"subj{subject}", "fsaverage"):
        path = root / f"nsddata/freesurfer/{who}/label/{atlas}.mgz.ctab"
        if path.exists():
            rows = [line.split() for line in read_text(path).splitlines() if line.strip()]
            odd = [r for r in rows if len(r) < 2 or not re.fullmatch("[0-9]{1,9}", r[0])]
            if odd:
                raise InputError(
                    f"{path} has the line {' '.join(odd[0])[:80]!r}, expected a number and a name."
                )
            return {int(r[0]): r[1] for r in rows if int(r[0]) > 0}
    return {1: atlas}


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
        reader = (_Surface if surface else _Volume)(root, subject, folder)
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
