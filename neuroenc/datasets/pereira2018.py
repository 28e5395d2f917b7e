"""Sentences read during fMRI (Pereira et al. 2018, Nature Communications 9, 963).

One archive per participant, unpacked as it comes: `P01/examples_384sentences.mat` (96 passages) and
`P01/examples_243sentences.mat` (72 passages); most participants have one of them or none. A stimulus is a
sentence; its group is its passage, because folds that part passages let neighbours in time predict each
other. `preparation: concepts` reads the first experiment instead, 180 concepts (`pereira2018_concepts`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.io
import xarray as xr
from numpy.typing import NDArray
from scipy.io.matlab import MatReadError

from neuroenc.arrays import make_responses, make_stimuli
from neuroenc.config import Dataset
from neuroenc.datasets import pereira2018_concepts as concepts
from neuroenc.datasets.pereira2018_atlases import cell, masks
from neuroenc.errors import InputError, invalid
from neuroenc.files import existing, sha256
from neuroenc.real import zscore

LICENCE = "as evlab.mit.edu says"
CITATION = "Pereira et al. (2018), Nature Communications 9, 963"
EXPERIMENTS = {"384sentences": (384, 96), "243sentences": (243, 72)}  # sentences, passages
SUBJECTS = {
    "384sentences": ("P01", "M02", "M04", "M07", "M08", "M09", "M14", "M15"),
    "243sentences": ("P01", "M02", "M03", "M04", "M07", "M15"),
}


class Experiment(NamedTuple):
    """One file: sentences in order, and a voxel for each column."""

    name: str
    path: Path
    examples: NDArray[np.float32]
    sentence: list[str]
    passage: NDArray[np.int64]
    topic: list[str]
    """Category of the passage of each sentence"""
    coordinate: NDArray[np.int64]
    """(n_voxels, 3), in the grid"""
    regions: dict[str, dict[str, NDArray[np.bool_]]]
    """Atlas, region, voxels"""


def _of_concepts(options: Dataset) -> bool:
    """Say whether concepts are asked for, by a name that is known."""
    if "concept" in options.preparation and options.preparation not in concepts.PREPARATIONS:
        raise invalid("dataset.preparation", options.preparation, concepts.PREPARATIONS)
    return options.preparation in concepts.PREPARATIONS


def _read(path: Path) -> Experiment:
    try:
        found = scipy.io.loadmat(path, squeeze_me=True, struct_as_record=False)
        meta = found["meta"]
        sentence = [str(s).strip() for s in cell(found["keySentences"])]
        passage = np.atleast_1d(found["labelsPassageForEachSentence"]).astype(np.int64)
        category = np.atleast_1d(found["labelsPassageCategory"]).astype(np.int64)
        names = [str(c).strip() for c in cell(found["keyPassageCategory"])]
        experiment = Experiment(
            path.stem.removeprefix("examples_"), path, np.asarray(found["examples"], np.float32), sentence,
            passage, [names[category[p - 1] - 1] for p in passage], np.asarray(meta.colToCoord, np.int64),
            masks(meta),
        )  # fmt: skip
    except (KeyError, AttributeError) as error:
        raise InputError(f"{path} has no {str(error).split(' ')[-1]}. Was its layout changed?") from None
    except (MatReadError, OSError, ValueError, IndexError, TypeError, NotImplementedError) as error:
        raise InputError(f"Cannot read {path}: {str(error).splitlines()[0]}. Unpack it again.") from None
    shape = (len(sentence), len(experiment.coordinate))
    if experiment.examples.shape != shape or len(passage) != len(sentence):
        raise InputError(
            f"{path}: examples of shape {experiment.examples.shape}, {len(passage)} passage labels; expected "
            f"{shape} for its sentences and voxels."
        )
    return experiment


def experiments(options: Dataset, subject: str) -> list[Experiment]:
    """Read the experiments with sentences that a participant took part in."""
    root = existing(str(options.root), made_by="Set `dataset.root` to the folder that holds P01, M02, ….")
    paths = [root / subject / f"examples_{name}.mat" for name in EXPERIMENTS]
    there = [p for p in paths if p.exists()]
    if not there:
        known = {p.parent.name for name in EXPERIMENTS for p in root.glob(f"*/examples_{name}.mat")}
        raise invalid("subject", subject, sorted(known))
    return [_read(p) for p in there]


def _id(experiment: Experiment) -> list[str]:
    return [f"{experiment.name}-{i:03d}" for i in range(1, len(experiment.sentence) + 1)]


def _group(experiment: Experiment) -> list[str]:
    return [f"{experiment.name}-passage{p:02d}" for p in experiment.passage]


def load_stimuli(options: Dataset, subjects: list[str]) -> xr.Dataset:
    """List the sentences that any of the participants read, or the concepts."""
    if _of_concepts(options):
        return concepts.load_stimuli(options, subjects)
    known = {e.name: e for subject in subjects for e in experiments(options, subject)}
    topic = [t for e in known.values() for t in e.topic]
    names = sorted(set(topic))
    return make_stimuli(
        {
            "stimulus_id": np.array([i for e in known.values() for i in _id(e)]),
            "pixel_index": np.arange(len(topic)), "split": np.full(len(topic), "train"),
            "group": np.array([g for e in known.values() for g in _group(e)]),
        },
        attrs={"dataset": "Pereira 2018", "pixels": "not distributed"},
        captions=np.array([s for e in known.values() for s in e.sentence])[:, None],
        categories=(names, np.array([[t == n for n in names] for t in topic], np.float32)),
    )  # fmt: skip


def load_responses(options: Dataset, subject: str) -> xr.Dataset:
    """Read one participant; each voxel is z-scored within each experiment.

    Voxels are those that all experiments of the participant have, `mask: brain` all of them, else those in
    any region of the atlas it names. `regions` names atlases; each region of theirs becomes
    roi_<atlas>_<region>.
    """
    if _of_concepts(options):
        return concepts.load_responses(options, subject)
    found = experiments(options, subject)
    common = sorted(set.intersection(*({tuple(c) for c in e.coordinate} for e in found)))
    columns = []
    for e in found:
        where = {tuple(c): i for i, c in enumerate(e.coordinate)}
        columns.append(np.array([where[c] for c in common], int))
    first, order = found[0], columns[0]
    for what, names in (("mask", [options.mask]), ("regions", options.regions)):
        for name in names:
            if name not in first.regions and (what, name) != ("mask", "brain"):
                raise invalid(f"dataset.{what}", name, ["brain", *first.regions])
    keep = np.ones(len(common), bool)
    if options.mask != "brain":
        keep = np.any([m[order] for m in first.regions[options.mask].values()], 0)
    if not keep.any():
        raise InputError(f"No voxel of {subject} lies in {options.mask!r} in all of its experiments.")
    responses = []
    for e, at in zip(found, columns, strict=True):
        responses.append(zscore(e.examples[:, at[keep]]))
    ids = np.array([i for e in found for i in _id(e)])
    where_ = np.array(common)[keep]
    regions = {
        f"roi_{atlas}_{name}": inside[order][keep]
        for atlas in options.regions for name, inside in first.regions[atlas].items()
    }  # fmt: skip
    n = len(where_)
    return make_responses(
        np.concatenate(responses),
        presentation={
            "stimulus_id": ids,
            "session": np.repeat([e.name for e in found], [len(e.sentence) for e in found]),
            "run": np.zeros(len(ids), int), "repetition": np.zeros(len(ids), int),
            "split": np.full(len(ids), "train"), "group": np.array([g for e in found for g in _group(e)]),
        },
        neuroid={
            "neuroid_id": np.array([f"{subject}_{i}-{j}-{k}" for i, j, k in where_]),
            "subject": np.full(n, subject), "hemisphere": np.full(n, ""),
            **{axis: where_[:, i].astype(np.float32) for i, axis in enumerate("xyz")},
            "ncsnr": np.full(n, np.nan, np.float32), **{k: v for k, v in regions.items() if v.any()},
        },
        attrs={
            "dataset": "Pereira 2018", "space": "func", "units": "z-score within experiment",
            "transductive": "each voxel is z-scored over a whole experiment",
            "source": json.dumps({e.path.name: sha256(e.path) for e in found}),
            "n_voxels_left_out": len(first.coordinate) - len(common),
        },
    )  # fmt: skip


def check_tree(options: Dataset, subjects: list[str]) -> list[str]:
    """Compare experiments, sentences and passages with the record, or concepts."""
    if _of_concepts(options):
        return concepts.check_tree(options, subjects)
    done = []
    for subject in subjects:
        found = experiments(options, subject)
        expected = [name for name, who in SUBJECTS.items() if subject in who]
        if expected and [e.name for e in found] != expected:
            raise InputError(
                f"Subject {subject} has {', '.join(e.name for e in found)}, expected {', '.join(expected)}."
            )
        for e in found:
            counted = (len(e.sentence), len(set(e.passage)))
            if counted != EXPERIMENTS[e.name]:
                raise InputError(
                    f"{e.path}: found {counted[0]} sentences of {counted[1]} passages, expected "
                    f"{EXPERIMENTS[e.name][0]} of {EXPERIMENTS[e.name][1]}."
                )
            done.append(
                f"{subject} {e.name}: {counted[0]} sentences, {counted[1]} passages, "
                f"{len(e.coordinate)} voxels, atlases {', '.join(e.regions)}"
            )
    return done
