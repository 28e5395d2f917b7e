"""A small BOLD5000 whose every voxel is known: what drives a region is seen, said of the picture, or both.

Release 2.0 with its pictures and labels, in its own names: four people, betas of ten regions, pictures that
stand for COCO's (five captions), ImageNet's (the name of a class) and scenes (a name in the file), some of
them shown again. Early visual cortex answers to oriented energy under a receptive field, PPA and RSC to the
concepts that the texts name, LOC and OPA to both in equal parts. `truth.csv` says so of each voxel.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from neuroenc import __version__
from neuroenc.datasets import bold5000
from neuroenc.datasets.bold5000_texts import CAPTIONS, CLASSES, LABELS
from neuroenc.files import atomic
from neuroenc.simulation import cortex, grammar

DRIVERS = {
    "EarlyVis": ("vision",), "LOC": ("vision", "language"), "OPA": ("vision", "language"),
    "PPA": ("language",), "RSC": ("language",),
}  # fmt: skip
RUNS = (5, 5, 5)  # of each session
N_PICTURES, N_REPEATED, N_SHOWN = 485, 35, 3  # 35 pictures are shown three times
SIDE = 96
N_VOXELS = 12  # of a region and hemisphere
NCSNR = 0.8  # standard deviation of the signal over that of the noise of one presentation
KINDS = tuple(grammar.SYNONYMS)


class Shown(NamedTuple):
    """A picture, its file, and what is said of it."""

    source: str
    name: str
    pixels: NDArray[np.uint8]
    captions: list[str]
    meaning: NDArray[np.float32]
    """How often each of `grammar.CONCEPTS` is said"""


def simulate(out: Path, seed: int) -> None:
    """Write the tree and its truth.

    Parameters
    ----------
    out : path
        The folder that becomes the dataset's root; made whole or not at all.
    seed : int
    """
    rng = np.random.default_rng([seed, 0x5000])
    shown = [_picture(i, rng) for i in range(N_PICTURES)]
    energy = cortex.oriented_energy(np.stack([s.pixels for s in shown]))
    meaning = np.stack([s.meaning for s in shown])
    with atomic(out) as root:
        root.mkdir()
        _write_pictures(root, shown)
        truth = [
            _write_subject(root, subject, shown, energy, meaning, np.random.default_rng([seed, 0x5000, i]))
            for i, subject in enumerate(bold5000.LONG)
        ]
        pd.concat(truth).to_csv(root / "truth.csv", index=False)
        record = {
            "name": "simulated BOLD5000", "made_by": f"neuroenc {__version__}", "seed": seed, "runs": RUNS,
            "trials_per_run": bold5000.PER_RUN,
        }  # fmt: skip
        (root / bold5000.RECORD).write_text(json.dumps(record, indent=2) + "\n")


def _picture(number: int, rng: np.random.Generator) -> Shown:
    """Draw a picture of one of the three sources, and write its texts."""
    source = bold5000.FOLDERS[number % 3]
    scene = grammar.sample_scene(rng)
    meaning = np.zeros(len(grammar.CONCEPTS), np.float32)
    if source == "COCO":
        captions, meaning = grammar.sample_captions(scene, rng)
        name = f"COCO_train2014_{number + 1:012d}.jpg"
    elif source == "ImageNet":
        scene = grammar.Scene(scene.setting, scene.things[:1], scene.texture)
        kind = scene.things[0].kind
        captions, name = [kind], f"{_synset(kind)}_{number}.JPEG"
        meaning[grammar.CONCEPTS.index(kind)] = 1
    else:
        captions, name = [scene.setting], f"{scene.setting}{number}.jpg"
        meaning[grammar.CONCEPTS.index(scene.setting)] = 1
    return Shown(source, name, grammar.draw(scene, SIDE), captions, meaning)


def _synset(kind: str) -> str:
    return f"n{KINDS.index(kind) + 1:08d}"


def _write_pictures(root: Path, shown: list[Shown]) -> None:
    """Write pictures and labels as the release has them."""
    for folder in bold5000.FOLDERS:
        (root / bold5000.PICTURES / folder).mkdir(parents=True)
    for s in shown:
        Image.fromarray(s.pixels).save(root / bold5000.PICTURES / s.source / s.name, "JPEG", quality=95)
    (root / LABELS).mkdir(parents=True)
    lines = [f"{_synset(kind)} {kind}" for kind in KINDS]
    (root / LABELS / CLASSES).write_text("\n".join(lines) + "\n")
    annotations = [
        {"image_id": number + 1, "id": 10 * number + k, "caption": text}
        for number, s in enumerate(shown) if s.source == "COCO"
        for k, text in enumerate(s.captions)
    ]  # fmt: skip
    (root / LABELS / CAPTIONS).write_text(json.dumps({"annotations": annotations}))


def _write_subject(
    root: Path, subject: str, shown: list[Shown], energy: NDArray[np.float32], meaning: NDArray[np.float32],
    rng: np.random.Generator,
) -> pd.DataFrame:  # fmt: skip
    """Write trials and betas of one person; return the truth of the voxels."""
    again = np.repeat(rng.choice(len(shown), N_REPEATED, replace=False), N_SHOWN - 1)
    picture = rng.permutation(np.concatenate([np.arange(len(shown)), again]))
    first = ~pd.Series(picture).duplicated().to_numpy()
    names = [("" if f else "rep_") + shown[p].name for p, f in zip(picture, first, strict=True)]
    (root / f"{subject}_imgnames.txt").write_text("\n".join(names) + "\n")
    session = np.repeat(np.arange(len(RUNS)), np.array(RUNS) * bold5000.PER_RUN)
    place = root / "BOLD5000_GLMsingle_ROI_betas/py"
    place.mkdir(parents=True, exist_ok=True)
    truth = []
    for side in ("LH", "RH"):
        for region, drivers in DRIVERS.items():
            signal = _signal(drivers, energy, meaning, rng)[picture]
            beta = signal + rng.normal(0, 1 / NCSNR, signal.shape)
            # percent signal change: sessions differ in gain and offset
            gain, offset = rng.uniform(0.5, 2, (2, len(RUNS), N_VOXELS))
            beta = beta * gain[session] + offset[session]
            path = place / f"{subject}_{bold5000.BETAS}_allses_{side}{region}.npy"
            np.save(path, beta.astype(np.float32))
            ids = [f"{subject}_{side}{region}{i}" for i in range(N_VOXELS)]
            truth.append(pd.DataFrame({
                "subject": subject, "neuroid_id": ids, "region": region, "driver": "+".join(drivers),
                "ncsnr": NCSNR,
            }))  # fmt: skip
    return pd.concat(truth)


def _signal(
    drivers: tuple[str, ...], energy: NDArray[np.float32], meaning: NDArray[np.float32],
    rng: np.random.Generator,
) -> NDArray[np.float64]:  # fmt: skip
    """Response of the voxels of a region to each picture, without noise: mean 0, standard deviation 1."""
    parts = []
    if "vision" in drivers:
        field = np.stack([*rng.uniform(-3, 3, (2, N_VOXELS)), rng.uniform(0.8, 1.6, N_VOXELS)], 1)
        pooled = cortex.pooled_energy(energy, field)
        weight = rng.exponential(size=(N_VOXELS, pooled.shape[2]))
        parts.append(np.einsum("vnf,vf->nv", pooled, weight))
    if "language" in drivers:
        parts.append(meaning @ rng.normal(size=(meaning.shape[1], N_VOXELS)))
    scaled = sum((part - part.mean(0)) / part.std(0) for part in parts)
    return np.asarray(scaled / np.std(scaled, axis=0))
