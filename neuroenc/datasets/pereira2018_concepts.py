"""The 180 concepts of Pereira et al. (2018) in three paradigms: with pictures, in sentences, among words.

`examples_180concepts_{pictures,sentences,wordclouds}.mat` of a participant (older archives say `data_` in
place of `examples_`) hold a row for each concept, averaged by the authors over its presentations, and
`keyConcept`. `preparation: concepts` makes each paradigm a presentation of the concept; `concepts_pictures`,
`concepts_sentences` and `concepts_wordclouds` read one. A concept's text is its word.

What was shown does not come with the archives, and how the authors' own folder of materials is laid out could
not be verified. Beside the participants may stand `concepts.csv`, a table of your own (concept, sentence; a
row for each sentence), whose sentences then stand in place of the word, and `pictures`, with one CONCEPT.jpg,
.jpeg or .png for each.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.io
import xarray as xr
from numpy.typing import NDArray
from scipy.io.matlab import MatReadError

from neuroenc.arrays import make_responses, make_stimuli
from neuroenc.config import Dataset
from neuroenc.datasets.pereira2018_atlases import cell, masks
from neuroenc.datasets.reading import read_table
from neuroenc.errors import InputError, invalid
from neuroenc.files import existing, sha256
from neuroenc.real import zscore

PARADIGMS = ("pictures", "sentences", "wordclouds")
PREPARATIONS = ("concepts", *(f"concepts_{p}" for p in PARADIGMS))
N_CONCEPTS = 180
PICTURES, SENTENCES = "pictures", "concepts.csv"
KINDS = (".jpg", ".jpeg", ".png")


class Paradigm(NamedTuple):
    """One file: concepts in order, and a voxel for each column."""

    name: str
    path: Path
    examples: NDArray[np.float32]
    concept: list[str]
    coordinate: NDArray[np.int64]
    regions: dict[str, dict[str, NDArray[np.bool_]]]


def _read(path: Path, name: str) -> Paradigm:
    try:
        found = scipy.io.loadmat(path, squeeze_me=True, struct_as_record=False)
        concept = [str(c).strip() for c in cell(found["keyConcept"])]
        # a row of examples says which concept it is of
        order = np.atleast_1d(found.get("labelsConcept", np.arange(1, len(concept) + 1))).astype(int)
        coordinate = np.asarray(found["meta"].colToCoord, np.int64)
        paradigm = Paradigm(
            name, path, np.asarray(found["examples"], np.float32), [concept[i - 1] for i in order],
            coordinate, masks(found["meta"]),
        )  # fmt: skip
    except (KeyError, AttributeError) as error:
        raise InputError(f"{path} has no {str(error).split(' ')[-1]}. Was its layout changed?") from None
    except (MatReadError, OSError, ValueError, IndexError, TypeError, NotImplementedError) as error:
        raise InputError(f"Cannot read {path}: {str(error).splitlines()[0]}. Unpack it again.") from None
    expected = (len(concept), len(coordinate))
    if paradigm.examples.shape != expected or sorted(set(paradigm.concept)) != sorted(concept):
        raise InputError(
            f"{path}: examples of shape {paradigm.examples.shape} with {len(set(paradigm.concept))} labels "
            f"of {len(concept)} concepts, expected {expected} with one of each. Unpack it again."
        )
    return paradigm


def paradigms(options: Dataset, subject: str) -> list[Paradigm]:
    """Read the paradigms that `preparation` names, of the voxels that all of them have.

    Raises
    ------
    InputError
        There is no such participant, or no file of a paradigm; paradigms of other concepts or voxels.
    """
    root = existing(str(options.root), made_by="Set `dataset.root` to the folder that holds P01, M02, ….")
    wanted = PARADIGMS if options.preparation == "concepts" else [options.preparation.partition("_")[2]]
    found = []
    for name in wanted:
        paths = [root / subject / f"{kind}_180concepts_{name}.mat" for kind in ("examples", "data")]
        there = [p for p in paths if p.exists()]
        if not there and not (root / subject).is_dir():
            raise invalid(
                "subject", subject, sorted({p.parent.name for p in root.glob("*/*_180concepts_*.mat")})
            )
        found.append(_read(existing((there or paths)[0], made_by="Unpack the participant's archive."), name))
    first = found[0]
    for other in found[1:]:
        if set(other.concept) != set(first.concept) or not np.array_equal(other.coordinate, first.coordinate):
            raise InputError(
                f"{first.path} and {other.path} hold other concepts or voxels. Unpack them again."
            )
    return found


def load_stimuli(options: Dataset, subjects: list[str]) -> xr.Dataset:
    """List the concepts, with their word or sentences, and pictures where these are there."""
    concepts = sorted({c for s in subjects for c in paradigms(options, s)[0].concept})
    root = Path(str(options.root))
    more, pixels = {}, "not distributed"
    if (root / PICTURES).is_dir():
        more, pixels = {"file": _pictures(root / PICTURES, concepts)}, str(root / PICTURES)
    return make_stimuli(
        {
            "stimulus_id": np.array(concepts), "pixel_index": np.arange(len(concepts)),
            "split": np.full(len(concepts), "train"), "group": np.array(concepts), **more,
        },
        attrs={"dataset": "Pereira 2018", "pixels": pixels},
        captions=_texts(root / SENTENCES, concepts),
    )  # fmt: skip


def _pictures(folder: Path, concepts: list[str]) -> NDArray[np.str_]:
    there = {p.stem: p.name for p in sorted(folder.iterdir()) if p.suffix.lower() in KINDS}
    lacking = [c for c in concepts if c not in there]
    if lacking:
        raise InputError(
            f"{folder} has no picture of {len(lacking)} of {len(concepts)} concepts, first {lacking[0]!r}: "
            f"expected {lacking[0]}.jpg, .jpeg or .png. Add them, or take the folder away."
        )
    return np.array([there[c] for c in concepts])


def _texts(path: Path, concepts: list[str]) -> NDArray[np.str_]:
    """Return sentences of each concept, (n, n_most), or its word."""
    if not path.exists():
        return np.array(concepts)[:, None]
    table = read_table(path, "concept", "sentence")
    found: dict[str, list[str]] = {c: [] for c in concepts}
    for concept, sentence in zip(table.names("concept"), table.text("sentence"), strict=True):
        found.get(str(concept), []).append(str(sentence).strip())
    lacking = [c for c, s in found.items() if not s]
    if lacking:
        raise InputError(
            f"{path} has no sentence of {len(lacking)} of {len(concepts)} concepts, first "
            f"{lacking[0]!r}. Add it, or take the table away: a concept's text is then its word."
        )
    most = max(map(len, found.values()))
    return np.array([s + [""] * (most - len(s)) for s in found.values()])


def load_responses(options: Dataset, subject: str) -> xr.Dataset:
    """Read one participant; each voxel is z-scored within each paradigm.

    `mask` and `regions` are those of the sentences.
    """
    found = paradigms(options, subject)
    first = found[0]
    for what, names in (("mask", [options.mask]), ("regions", options.regions)):
        for name in names:
            if name not in first.regions and (what, name) != ("mask", "brain"):
                raise invalid(f"dataset.{what}", name, ["brain", *first.regions])
    keep = np.ones(len(first.coordinate), bool)
    if options.mask != "brain":
        keep = np.any(list(first.regions[options.mask].values()), 0)
    parts = [zscore(paradigm.examples[:, keep]) for paradigm in found]
    ids = np.array([c for p in found for c in p.concept])
    where = first.coordinate[keep]
    regions = {
        f"roi_{atlas}_{name}": inside[keep]
        for atlas in options.regions for name, inside in first.regions[atlas].items()
    }  # fmt: skip
    n = len(where)
    return make_responses(
        np.concatenate(parts),
        presentation={
            "stimulus_id": ids, "session": np.repeat([p.name for p in found], len(first.concept)),
            "run": np.zeros(len(ids), int), "repetition": pd.Series(ids).groupby(ids).cumcount().to_numpy(),
            "split": np.full(len(ids), "train"), "group": ids,
        },
        neuroid={
            "neuroid_id": np.array([f"{subject}_{i}-{j}-{k}" for i, j, k in where]),
            "subject": np.full(n, subject), "hemisphere": np.full(n, ""),
            **{axis: where[:, i].astype(np.float32) for i, axis in enumerate("xyz")},
            "ncsnr": np.full(n, np.nan, np.float32), **{k: v for k, v in regions.items() if v.any()},
        },
        attrs={
            "dataset": "Pereira 2018", "space": "func", "units": "z-score within paradigm",
            "transductive": "each voxel is z-scored over a whole paradigm",
            "source": json.dumps({p.path.name: sha256(p.path) for p in found}),
        },
    )  # fmt: skip


def check_tree(options: Dataset, subjects: list[str]) -> list[str]:
    """Compare the number of concepts with the record."""
    done = []
    for subject in subjects:
        for p in paradigms(options, subject):
            if len(p.concept) != N_CONCEPTS:
                raise InputError(f"{p.path}: found {len(p.concept)} concepts, expected {N_CONCEPTS}.")
            done.append(f"{subject} 180concepts_{p.name}: {N_CONCEPTS} concepts, {len(p.coordinate)} voxels")
    return done
