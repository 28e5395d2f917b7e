"""What the files of a run say: numbers of stimuli, neuroids and features, weights, versions."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from neuroenc.arrays import Kind, load
from neuroenc.config import Config
from neuroenc.documents import read_json


@dataclass(frozen=True)
class Recorded:
    """Responses of a subject."""

    neuroids: int
    presentations: int
    stimuli: int
    repetitions: tuple[int, int]
    """Fewest and most presentations of a stimulus"""
    units: str


@dataclass(frozen=True)
class Scored:
    """What fits of a subject were made of."""

    n_training: int
    n_test: int


@dataclass(frozen=True)
class Found:
    """Files that are there; what is not there is left unsaid."""

    dataset: str = ""
    recorded: dict[str, Recorded] = field(default_factory=dict)
    scored: dict[str, Scored] = field(default_factory=dict)
    features: dict[str, dict[str, str]] = field(default_factory=dict)
    """Model to its embedding contract"""
    version: str = ""
    command: str = ""


def look(config: Config, folder: Path | None) -> Found:
    """Look into the results of a run; arrays are not read but for the names of the stimuli.

    Parameters
    ----------
    config : Config
    folder : Path, optional
        Of its results, e.g. results/demo.

    Returns
    -------
    Found
    """
    if folder is None:
        return Found()
    recorded, scored, features = {}, {}, {}
    dataset = version = ""
    for subject in config.subjects:
        stem = folder / f"sub-{subject}" / f"sub-{subject}"
        for d in _opened(Path(f"{stem}_responses.nc"), "responses"):
            dataset, version = str(d.attrs["dataset"]), str(d.attrs["neuroenc_version"])
            recorded[subject] = _recorded(d)
        for label, model in config.fits().values():
            for d in _opened(Path(f"{stem}_enc-{label}_feat-{model}_desc-scores.nc"), "scores"):
                scored[subject] = Scored(int(d.attrs["n_training_stimuli"]), int(d.attrs["n_test_stimuli"]))
    for name in config.models:
        for d in _opened(folder / f"feat-{name}_features.nc", "features"):
            features[name] = {k: str(v) for k, v in d.attrs.items()}
    summary = folder / "summary.json"
    rows = read_json(summary, "rows")["rows"] if summary.is_file() else []
    command = str(rows[0]["command"]) if rows else ""
    return Found(dataset, recorded, scored, features, version, command)


def _opened(path: Path, kind: Kind) -> Iterator[Any]:
    """Open a file if it is there."""
    if path.is_file():
        yield load(path, kind)


def _recorded(d: Any) -> Recorded:
    _, counts = np.unique(d["stimulus_id"].values, return_counts=True)
    return Recorded(
        d.sizes["neuroid"], d.sizes["presentation"], len(counts), (int(counts.min()), int(counts.max())),
        str(d.attrs["units"]),
    )  # fmt: skip


def sizes(contract: dict[str, str]) -> dict[str, int]:
    """Count the features of each layer, by the contract."""
    shapes = json.loads(contract["shape"])
    return {layer: math.prod(shape) for layer, shape in shapes.items()}
