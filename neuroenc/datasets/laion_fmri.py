"""LAION-fMRI: five people seeing 6,204 pictures each in thirty sessions (laion-fmri.hebartlab.com).

Single-trial betas of GLMsingle in the person's own T1w space. 1,492 pictures are seen by all, 371 of them out
of the distribution (OOD: illusions, gratings, shapes, …), and 4,712 by one person. `partition` is one of the
dataset's own splits: `ood` trains on all that is not OOD; any other is read from the JSON files that its
package brings, copied to `splits/<pool>/<name>.json`, and what it does not name is left out.

The layout is that of the owners' documentation and of their package's tests (ViCCo-Group/LAION-fMRI on
GitHub) and of Brain-Score's packaging of the same files; the files were not at hand. Traps: regions carry
hyphens on the bucket (FFA-1) and none in a download by the package (FFA1); noise ceilings are percent for
twelve repeats; beta volumes are numbered from 0 in each session; the pictures are encoded files inside an
HDF5, in the order of the table.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from tqdm import tqdm

from neuroenc.arrays import make_responses, make_stimuli
from neuroenc.config import Dataset
from neuroenc.datasets.images import read_image, read_mask, read_values
from neuroenc.datasets.pixels import n_pictures
from neuroenc.datasets.reading import read_table
from neuroenc.documents import read_json
from neuroenc.errors import InputError, invalid
from neuroenc.files import existing, sha256
from neuroenc.real import zscore

LICENCE = "CC0; pictures by a data use agreement"
CITATION = "LAION-fMRI, laion-fmri.hebartlab.com"
BETAS, ROIS = "derivatives/glmsingle-tedana", "derivatives/rois"
METADATA, PICTURES = "stimuli/task-images_metadata.csv", "stimuli/task-images_stimuli.h5"
CAPTIONS = "stimuli/task-images_desc-captions.csv"
N_CAPTIONS = 5
GREY = 128  # of the screen, behind transparent pictures
EXPECTED = {"pictures": 25_052, "OOD": 371, "sessions": 30, "pictures of a subject": 6204}


def _root(options: Dataset) -> Path:
    hint = "Set `dataset.root` to the folder with derivatives and stimuli."
    return existing(str(options.root), made_by=hint)


def _folder(root: Path, subject: str) -> Path:
    folder = root / BETAS / f"sub-{subject}"
    if not folder.is_dir():
        known = sorted(p.name.removeprefix("sub-") for p in existing(root / BETAS).glob("sub-*"))
        raise invalid("subject", subject, known)
    return folder


def _sessions(options: Dataset, subject: str) -> list[str]:
    folder = _folder(_root(options), subject)
    found = sorted(p.name.removeprefix("ses-") for p in folder.glob("ses-*"))
    if not found:
        raise InputError(f"No session (ses-01, …) is in {folder}. Fetch them.")
    return found[: options.sessions]


def _file(root: Path, subject: str, session: str, end: str) -> Path:
    folder = root / BETAS / f"sub-{subject}/ses-{session}/func"
    return existing(folder / f"sub-{subject}_ses-{session}_task-images_{end}")


def _trials(root: Path, subject: str, sessions: list[str]) -> pd.DataFrame:
    """List the beta volumes of the sessions, in order: stimulus_id, session, run."""
    parts = []
    for session in sessions:
        table = read_table(_file(root, subject, session, "desc-SingletrialBetas_trials.tsv"),
                           "run", "beta_index", "label")  # fmt: skip
        if not np.array_equal(table.integers("beta_index"), np.arange(len(table))):
            raise InputError(f"{table.path}: beta_index does not count from 0, one a line. Fetch it again.")
        runs = [re.fullmatch(r"(?:run-)?(\d{1,4})", run, re.ASCII) for run in table.names("run").tolist()]
        if not all(runs):
            wrong = table.names("run")[[run is None for run in runs]][0]
            raise InputError(f"{table.path} has the run {str(wrong)!r}, expected a number. Fetch it again.")
        number = [int(run[1]) for run in runs if run]
        parts.append(pd.DataFrame({"stimulus_id": table.names("label"), "session": session, "run": number}))
    return pd.concat(parts, ignore_index=True)


def _sides(options: Dataset) -> pd.DataFrame:
    """Read the table of pictures: row in the HDF5 by name, and side (train, test, or neither)."""
    root = _root(options)
    table = read_table(root / METADATA, "image_name", "dataset")
    names = table.names("image_name")
    if len(set(names)) < len(names):
        raise InputError(f"{table.path} names a picture twice. Fetch it again.")
    frame = pd.DataFrame({"row": np.arange(len(names)), "side": ""}, index=names)
    if options.partition == "ood":
        frame["side"] = np.where(table.names("dataset") == "OOD", "test", "train")
        return frame
    path = root / f"splits/{options.partition}.json"
    if not path.exists():
        known = sorted(str(p.relative_to(root / "splits"))[:-5] for p in root.glob("splits/*/*.json"))
        raise InputError(
            f"{path} is missing; there is {', '.join(known) or 'no split'}. Copy laion_fmri/splits/data of "
            "the package laion-fmri to `splits`, or choose 'ood'."
        )
    variants = read_json(path, "variants")["variants"]
    for side in ("train", "test"):
        try:
            (variant,) = variants
            ids = [str(name) for name in variant[f"{side}_ids"]]
        except (TypeError, ValueError, KeyError):
            raise InputError(
                f"{path} has not one variant of train_ids and test_ids. Copy it again."
            ) from None
        missing = sorted(set(ids) - set(names))
        if missing or not ids:
            what = f"{missing[0]!r}, which is not in {METADATA}" if missing else f"no picture to {side}"
            raise InputError(f"{path} names {what}. Are both of one release?")
        if (frame.loc[ids, "side"] != "").any():
            raise InputError(f"{path} has a picture in training and test. Copy it again.")
        frame.loc[ids, "side"] = side
    return frame


def _chosen(options: Dataset, subject: str) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """Return all trials of a subject with their `split`, and which of them the partition names."""
    trials = _trials(_root(options), subject, _sessions(options, subject))
    sides = _sides(options)
    unknown = trials.loc[~trials["stimulus_id"].isin(sides.index)]
    if len(unknown):
        name, session = unknown.iloc[0][["stimulus_id", "session"]]
        raise InputError(
            f"{len(unknown)} trials of sub-{subject} show pictures that are not in {METADATA}, first "
            f"{name!r} in session {session}. Are both of one release? `sessions` leaves later ones out."
        )
    trials["split"] = sides["side"].reindex(trials["stimulus_id"]).to_numpy(str)
    kept = (trials["split"] != "").to_numpy(bool)
    if not kept.any():
        raise InputError(f"sub-{subject} saw no picture of {options.partition!r}. Choose a pool that it saw.")
    return trials, kept


def load_stimuli(options: Dataset, subjects: list[str]) -> xr.Dataset:
    """List the pictures of the partition that any of the subjects saw, with captions where they are there.

    Raises
    ------
    InputError
        A table is missing or names other pictures; the HDF5 holds another number of them.
    """
    root, sides = _root(options), _sides(options)
    seen: set[str] = set()
    for subject in subjects:
        trials, kept = _chosen(options, subject)
        seen |= set(trials.loc[kept, "stimulus_id"])
    table = sides[sides.index.isin(seen)]
    ids = table.index.to_numpy(str)
    pixels = "not distributed"
    if (root / PICTURES).exists():
        n = n_pictures(root / PICTURES, "images")
        if n != len(sides):
            raise InputError(
                f"{root / PICTURES} has {n} pictures, {METADATA} {len(sides)}. Fetch both again."
            )
        pixels = f"{root / PICTURES}#images"
    return make_stimuli(
        {"stimulus_id": ids, "pixel_index": table["row"].to_numpy(), "group": ids,
         "split": table["side"].to_numpy(str)},
        attrs={"dataset": "LAION-fMRI", "pixels": pixels, "background": GREY},
        captions=_captions(root, ids),
    )  # fmt: skip


def _captions(root: Path, ids: NDArray[np.str_]) -> NDArray[np.str_] | None:
    """Read what people wrote of each picture, best first; empty where there are fewer than five."""
    if not (root / CAPTIONS).exists():
        return None
    table = read_table(root / CAPTIONS, "image_name", "caption_idx", "source", "caption")
    found = np.full((len(ids), N_CAPTIONS), "", dtype=object)
    row = {name: i for i, name in enumerate(ids.tolist())}
    columns = (table.names("image_name"), table.integers("caption_idx", 0), table.text("source"))
    for name, rank, source, text in zip(*columns, table.text("caption"), strict=True):
        if source == "human" and name in row and 1 <= rank <= N_CAPTIONS:
            found[row[name], rank - 1] = text.strip()
    return found.astype(str)


def _regions(root: Path, subject: str, like: Any, names: list[str]) -> dict[str, NDArray[np.bool_]]:
    """Read the masks that are named, by region or by category; without names all."""
    head = f"sub-{subject}_space-T1w_res-1pt8_label-"
    paths = {}
    for path in sorted((root / ROIS / f"sub-{subject}").glob(f"*/{head}*_mask.nii.gz")):
        paths[path.name.removeprefix(head).removesuffix("_mask.nii.gz").replace("-", "")] = path
    categories = {path.parent.name for path in paths.values()}
    for name in names:
        if name.replace("-", "") not in paths and name not in categories:
            raise invalid("dataset.regions", name, [*sorted(categories), *paths])
    wanted = {name.replace("-", "") for name in names}
    found: dict[str, NDArray[np.bool_]] = {}
    for label, path in paths.items():
        category = path.parent.name
        if not names or label in wanted or category in names:
            # a region in two halves (V1v, V1d) is one region here
            merged = label[:-1] if category == "retinotopy" and label[-1] in "vd" else label
            inside = read_mask(path, like)
            found[merged] = found.get(merged, np.zeros_like(inside)) | inside
    return found


def _ncsnr(path: Path, like: Any, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Turn the noise ceiling of twelve repeats, NC = 100 s² / (s² + 1/12), into s = ncsnr."""
    image = read_image(path)
    if image.shape != like.shape:
        raise InputError(f"{path} has the grid {image.shape}, the responses {like.shape}. Fetch it again.")
    ceiling = read_values(image)[mask].astype(np.float64)
    known = np.isfinite(ceiling)
    if ((ceiling[known] < 0) | (ceiling[known] >= 100)).any():
        raise InputError(f"{path} has values outside 0 to 100, expected percent. Fetch it again.")
    return np.sqrt(ceiling / (100 - ceiling) / 12).astype(np.float32)


def _volumes(path: Path, like: Any, n: int, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Read the betas of a session volume by volume, (n_trials, n_voxels)."""
    image = read_image(path)
    if image.shape != (*like.shape, n):
        raise InputError(
            f"{path} has shape {image.shape}, expected {(*like.shape, n)}: a volume for each line of its "
            "trials. Fetch both again."
        )
    values = np.empty((n, int(mask.sum())), np.float32)
    for i in range(n):
        values[i] = read_values(image, (..., i))[mask]
    return values


def load_responses(options: Dataset, subject: str) -> xr.Dataset:
    """Read the betas of one subject, z-scored within session by its training trials.

    Parameters
    ----------
    options : Dataset
        `mask` `rois` keeps the voxels of `regions` (all if none is named), `brain` all that GLMsingle fitted;
        `regions` are names (V1v, FFA1, …) or categories (retinotopy, face, …); `sessions`; `partition`.
    subject : str
        Two digits: 01, 03, 05, 06, 07.

    Returns
    -------
    Dataset
        Responses to the pictures of the partition. `ncsnr` is NaN where the release has no ceiling.

    Raises
    ------
    InputError
        A file is missing, of another grid or number of trials; a session has fewer than two training trials.
    """
    root, folder = _root(options), _folder(_root(options), subject)
    trials, kept = _chosen(options, subject)
    base = f"sub-{subject}_task-images_space-T1w_"
    fit = read_image(folder / f"{base}stat-rsquare_desc-R2mean_statmap.nii.gz")
    if len(fit.shape) != 3:
        raise InputError(f"{fit.get_filename()} has shape {fit.shape}, expected a volume. Fetch it again.")
    if options.mask not in ("rois", "brain"):
        raise invalid("dataset.mask", options.mask, ("rois", "brain"))
    regions = _regions(root, subject, fit, options.regions)
    mask = np.asarray(read_values(fit) > 0)
    if options.mask == "rois":
        mask &= np.any([np.zeros_like(mask), *regions.values()], axis=0)
    if not mask.any():
        raise InputError(
            f"No voxel of sub-{subject} is inside the mask {options.mask!r}. Are its masks in {ROIS}?"
        )
    values, source = _betas(root, subject, trials, kept, (fit, mask))
    shown, ijk = trials[kept], np.argwhere(mask)
    ids = shown["stimulus_id"].to_numpy(str)
    return make_responses(
        values,
        presentation={
            "stimulus_id": ids, "session": shown["session"].to_numpy(str), "run": shown["run"].to_numpy(int),
            "repetition": pd.Series(ids).groupby(ids).cumcount().to_numpy(),
            "split": shown["split"].to_numpy(str), "group": ids,
        },
        neuroid={
            "neuroid_id": np.array([f"{subject}_{i}-{j}-{k}" for i, j, k in ijk]),
            "subject": np.full(len(ijk), subject), "hemisphere": np.full(len(ijk), ""),
            **{axis: ijk[:, n].astype(np.float32) for n, axis in enumerate("xyz")},
            "ncsnr": _ncsnr(folder / f"{base}desc-Noiseceiling12rep_statmap.nii.gz", fit, mask),
            **{f"roi_{name}": inside[mask] for name, inside in regions.items() if inside[mask].any()},
        },
        attrs={
            "dataset": "LAION-fMRI", "space": "T1w", "units": "z-score within session of beta",
            "normalised_on": "split=train", "partition": options.partition, "source": json.dumps(source),
            "grid_shape": np.array(fit.shape), "affine": fit.affine.ravel(),
        },
    )  # fmt: skip


def _betas(
    root: Path,
    subject: str,
    trials: pd.DataFrame,
    kept: NDArray[np.bool_],
    place: tuple[Any, NDArray[np.bool_]],
) -> tuple[NDArray[np.float32], dict[str, str]]:
    """Read the sessions, each scaled by its training trials, and keep the trials of the partition."""
    fit, mask = place
    values = np.empty((int(kept.sum()), int(mask.sum())), np.float32)
    source: dict[str, str] = {}
    start = 0
    for session, rows in tqdm(trials.groupby("session"), f"betas of sub-{subject}", disable=None):
        training, here = (rows["split"] == "train").to_numpy(bool), kept[rows.index]
        if training.sum() < 2:
            raise InputError(
                f"Session {session} of sub-{subject} has {training.sum()} training trials, expected 2 or "
                "more. Choose another partition."
            )
        end = "space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz"
        path = _file(root, subject, str(session), end)
        found = _volumes(path, fit, len(rows), mask)
        values[start : start + int(here.sum())] = zscore(found, found[training])[here]
        start += int(here.sum())
        source[path.name] = sha256(path)
    return values, source


def check_tree(options: Dataset, subjects: list[str]) -> list[str]:
    """Compare pictures and sessions with the record."""
    root, done = _root(options), []

    def same(what: str, found: int, expected: int) -> None:
        if found != expected:
            raise InputError(f"{what}: found {found}, expected {expected} (LAION-fMRI).")
        done.append(f"{what}: {found}")

    table = read_table(root / METADATA, "image_name", "dataset")
    same("pictures", len(table), EXPECTED["pictures"])
    same("OOD pictures", int((table.names("dataset") == "OOD").sum()), EXPECTED["OOD"])
    for subject in subjects:
        sessions = _sessions(options, subject)
        trials = _trials(root, subject, sessions)
        if options.sessions is None:
            same(f"sessions of sub-{subject}", len(sessions), EXPECTED["sessions"])
            n = trials["stimulus_id"].nunique()
            same(f"pictures of sub-{subject}", n, EXPECTED["pictures of a subject"])
        done.append(f"trials of sub-{subject}: {len(trials)} in {len(sessions)} sessions")
    return done
