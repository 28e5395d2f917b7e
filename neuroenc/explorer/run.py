"""What a folder of results holds of each subject."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import xarray as xr

from neuroenc.arrays import holds, load, same_neuroids
from neuroenc.decoders.voxel_words import read_captions, same_voxels
from neuroenc.documents import read_json
from neuroenc.errors import InputError
from neuroenc.evaluation.zones import PARTITION
from neuroenc.files import existing

LABEL = "[A-Za-z0-9]+"


class Found(NamedTuple):
    """What one subject's folder holds."""

    subject: str
    fits: dict[str, xr.Dataset]
    """Name of the fit, as the configuration calls it, to Scores"""
    files: dict[str, str]
    """Name of the fit to that of its file"""
    responses: xr.Dataset | None
    comparisons: dict[str, xr.Dataset]
    partition: xr.Dataset | None
    captions: pd.DataFrame | None
    gaps: list[dict[str, Any]]
    """Of `evaluate distance`: a row for each model and region"""
    synthesis: dict[str, tuple[Path, dict[str, Any]]]
    """Region to the figure of its pictures, and what is known of them"""
    attention: dict[str, Path]
    """Name of the fit to where its regions look in the test stimuli"""

    @property
    def first(self) -> xr.Dataset:
        """Scores of the first fit, whose neuroids are those of all."""
        return next(iter(self.fits.values()))


def read_run(folder: Path) -> list[Found]:
    """Read the results of a run, subject by subject.

    Parameters
    ----------
    folder : Path
        Such as results/demo.

    Returns
    -------
    list of Found
        In the order of their names.

    Raises
    ------
    InputError
        The folder holds no scores of encoders.
    ContractError
        Files of one subject are of different neuroids.
    """
    folder = existing(folder)
    pattern = f"sub-({LABEL})_enc-({LABEL})_feat-([A-Za-z0-9+]+)_desc-scores\\.nc"
    of_subject: dict[str, list[tuple[str, str, Path]]] = {}
    for path in sorted(folder.glob("sub-*/sub-*_desc-scores.nc")):
        found = re.fullmatch(pattern, path.name)
        if found and path.parent.name == f"sub-{found[1]}":
            of_subject.setdefault(found[1], []).append((found[2], found[3], path))
    if not of_subject:
        raise InputError(
            f"{folder} holds no scores of encoders (sub-*/sub-*_enc-*_feat-*_desc-scores.nc). Name the "
            "folder of a run, such as results/demo."
        )
    named = _names_of_fits(folder, {(e, f) for found in of_subject.values() for e, f, _ in found})
    return [
        _read_subject(folder / f"sub-{subject}", subject, {named[e, f]: path for e, f, path in found})
        for subject, found in of_subject.items()
    ]


def _names_of_fits(folder: Path, fits: set[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Call fits as the summary does: by model, and of other encoders than the run's first MODEL-ENCODER."""
    summary = folder / "summary.json"
    known = {r.get("model") for r in read_json(summary, "rows")["rows"]} if summary.is_file() else set()
    several = len({encoder for encoder, _ in fits} - {"stack"}) > 1
    named = {}
    for encoder, model in fits:
        long = f"{model}-{encoder}"
        if encoder == "stack":
            named[encoder, model] = "stack"
        else:
            named[encoder, model] = long if long in known or (not known and several) else model
    return named


def _read_subject(folder: Path, subject: str, paths: dict[str, Path]) -> Found:
    """Read all that the explorer shows of one subject, and see that it is of the same neuroids."""
    stem = f"{folder}/sub-{subject}"
    fits = {name: load(path, "scores") for name, path in paths.items()}
    first = next(iter(fits.values()))
    comparisons = {
        path.stem.partition("_comparison-")[2]: load(path, "comparison")
        for path in sorted(folder.glob(f"sub-{subject}_comparison-*.nc"))
    }
    responses = load(p, "responses") if (p := Path(f"{stem}_responses.nc")).is_file() else None
    partition = load(p, "scores") if (p := Path(f"{stem}_desc-partition_scores.nc")).is_file() else None
    if partition is not None:
        holds(partition, "scores", PARTITION, "encode partition")
    for other in (*fits.values(), *comparisons.values(), responses, partition):
        if other is not None:
            same_neuroids(first, other)
    captions = read_captions(p) if (p := Path(f"{stem}_desc-captions.csv")).is_file() else None
    if captions is not None:
        same_voxels(captions, first)
    distance = Path(f"{stem}_desc-distance_scores.json")
    synthesis = {}
    for path in sorted(folder.glob(f"sub-{subject}_synthesis-*.json")):
        if path.with_suffix(".png").is_file():
            about = read_json(path, "region", "caption")
            synthesis[str(about["region"])] = (path.with_suffix(".png"), about)
    return Found(
        subject, fits, {name: path.name for name, path in paths.items()}, responses, comparisons, partition,
        captions, read_json(distance, "gaps")["gaps"] if distance.is_file() else [], synthesis,
        {name: maps for name, path in paths.items() if (maps := _beside(path, "attention.nc")).is_file()},
    )  # fmt: skip


def _beside(scores: Path, ending: str) -> Path:
    """Name another file of a fit."""
    return scores.with_name(scores.name.removesuffix("desc-scores.nc") + ending)
