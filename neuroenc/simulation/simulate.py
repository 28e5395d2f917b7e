"""The simulated NSD: pictures of a grammar, a known cortex, files in NSD's own layout.

Every file a loader of the Natural Scenes Dataset (Allen et al. 2022) reads is written with that
dataset's names, axes and number types, so that the demo takes the road real data would take. The
truth is saved beside them in `truth/`.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import scipy.io
import xarray as xr
from numpy.typing import NDArray
from tqdm import tqdm

from neuroenc import __version__
from neuroenc.config import Simulation
from neuroenc.files import atomic, reserve
from neuroenc.simulation import cortex, grammar

PREPARATION = "betas_fithrf_GLMdenoise_RR"
BETA_SCALE = 300  # int16 counts per percent signal change
FIRST_COCO_ID, COCO_SPLIT = 100_000, "train2017"
ROI_FILES: dict[str, tuple[str, ...]] = {
    "prf-visualrois": ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"),
    "floc-faces": ("OFA", "FFA"),
    "floc-bodies": ("EBA",),
    "floc-places": ("OPA", "PPA"),
    "floc-words": ("VWFA",),
    "streams": ("early", "midventral", "midlateral", "midparietal", "ventral", "lateral"),
    "semantic": ("LO", "TPJ"),
}
STREAMS = {
    "early": ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d"), "midventral": ("hV4",),
    "ventral": ("FFA", "PPA", "VWFA"), "lateral": ("EBA", "LO", "OFA", "TPJ"),
}  # fmt: skip


@dataclass(frozen=True)
class Pictures:
    """What is shown: scenes and all that is known of them."""

    scenes: list[grammar.Scene]
    pixels: NDArray[np.uint8]
    captions: list[list[str]]
    meaning: NDArray[np.float32]

    @cached_property
    def objects(self) -> NDArray[np.float32]:
        """Summed side of the objects of each category, (n_pictures, n_categories)."""
        table = np.zeros((len(self.scenes), len(grammar.CATEGORIES)), np.float32)
        for row, scene in enumerate(self.scenes):
            for thing in scene.things:
                table[row, grammar.CATEGORIES.index(thing.category)] += thing.size
        return table


def subject_scenes(n: int, seed: int) -> list[grammar.Scene]:
    """Scenes shown to the subjects: a random stream the demo's network never draws from."""
    rng = np.random.default_rng([seed, 0x73756271])
    return [grammar.sample_scene(rng) for _ in range(n)]


def make_pictures(n: int, seed: int, size: int) -> Pictures:
    """Draw `n` pictures of `size` pixels and write five captions of each."""
    scenes = subject_scenes(n, seed)
    pixels = np.stack([grammar.draw(s, size) for s in tqdm(scenes, "pictures", disable=None)])
    return caption(scenes, pixels, seed)


def caption(scenes: list[grammar.Scene], pixels: NDArray[np.uint8], seed: int) -> Pictures:
    """Write five captions of each picture."""
    rng = np.random.default_rng([seed, 1])
    written = [grammar.sample_captions(s, rng) for s in scenes]
    return Pictures(scenes, pixels, [c for c, _ in written], np.stack([m for _, m in written]))


def noiseless_response(
    voxels: cortex.Voxels, weights: list[NDArray[np.float64]],
    energy: NDArray[np.float32], pictures: Pictures,
) -> NDArray[np.float32]:  # fmt: skip
    """Response of each voxel to each picture, (n_pictures, n_voxels), zero mean, unit variance.

    A silent voxel is zero throughout.
    """
    signal = np.zeros((len(pictures.scenes), len(voxels.area)), np.float32)
    early = np.flatnonzero(np.isin(voxels.area, list(cortex.WEDGES)))
    for block in np.array_split(early, max(1, len(early) // 200)):
        pooled = cortex.pooled_energy(energy, voxels.field[block])
        signal[:, block] = np.einsum("vnf,vf->nv", pooled, np.stack([weights[v] for v in block]))
    for v in np.flatnonzero(np.isin(voxels.area, list(cortex.PATCHES))):
        features = pictures.meaning if voxels.area[v] == cortex.LANGUAGE else pictures.objects
        signal[:, v] = features @ weights[v]
    signal -= signal.mean(0)
    signal[:, voxels.silent] = 0
    spread = signal.std(0)
    np.divide(signal, spread, out=signal, where=spread > 0)
    return signal


def simulate(out: str | Path, options: Simulation) -> None:
    """Write a simulated NSD.

    Parameters
    ----------
    out : path
        The folder that becomes the dataset's root; made whole or not at all.
    options : Simulation
        Seed and sizes.
    """
    n_pictures = options.n_shared + len(options.subjects) * options.n_unique
    pictures = make_pictures(n_pictures, options.seed, options.picture_size)
    energy = cortex.oriented_energy(pictures.pixels)
    design = _design(options)
    with atomic(out) as root:
        _write_stimuli(root, pictures, design, options)
        record: dict[str, Any] = {
            "name": "simulated NSD", "made_by": f"neuroenc {__version__}",
            "options": options.model_dump(), "n_stimuli": n_pictures,
            "trials_per_session": options.trials_per_session, "subjects": {},
        }  # fmt: skip
        for index, subject in enumerate(tqdm(options.subjects, "subjects", disable=None)):
            record["subjects"][subject] = _subject(root, subject, index, pictures, energy, design, options)
        (root / "expected.json").write_text(json.dumps(record, indent=2) + "\n")


def _design(options: Simulation) -> dict[str, NDArray[np.int64]]:
    """Order of the trials, with NSD's names and its counting from one."""
    rng = np.random.default_rng([options.seed, 2])
    n_images = options.n_shared + options.n_unique
    once = np.arange(options.n_shared, n_images)
    order = np.concatenate([np.repeat(np.arange(options.n_shared), options.repeats), once])
    subjectim = np.stack([
        np.concatenate([np.arange(options.n_shared), once + s * options.n_unique])
        for s in range(len(options.subjects))
    ])  # fmt: skip
    # pictures are stored in an order of their own, as the 73,000 are
    shuffled = rng.permutation(options.n_shared + len(options.subjects) * options.n_unique)
    return {
        "masterordering": rng.permutation(order)[None] + 1,
        "subjectim": shuffled[subjectim] + 1,
        "sharedix": np.sort(shuffled[: options.n_shared])[None] + 1,
        "basiccnt": np.array([[0, options.n_unique, options.n_shared]]),
    }


def _write_stimuli(
    root: Path, pictures: Pictures, design: dict[str, NDArray[np.int64]], options: Simulation
) -> None:
    experiment = root / "nsddata/experiments/nsd"
    experiment.mkdir(parents=True)
    written = io.BytesIO()
    scipy.io.savemat(written, design)
    # the first 116 bytes are free text, where scipy puts the time of day
    (experiment / "nsd_expdesign.mat").write_bytes(
        b"MATLAB 5.0 MAT-file".ljust(116) + written.getvalue()[116:]
    )
    n = len(pictures.scenes)
    table = pd.DataFrame({
        "cocoId": np.arange(n) + FIRST_COCO_ID, "cocoSplit": COCO_SPLIT,
        "cropBox": "(0.0, 0.0, 0.0, 0.0)", "loss": 0.0, "nsdId": np.arange(n), "flagged": False,
        "BOLD5000": False, "shared1000": np.isin(np.arange(n) + 1, design["sharedix"]),
    })  # fmt: skip
    order = design["masterordering"][0] - 1
    for s in range(len(options.subjects)):
        seen = design["subjectim"][s] - 1
        table[f"subject{s + 1}"] = np.isin(np.arange(n), seen).astype(int)
        for repeat in range(options.repeats):
            column = np.zeros(n, int)
            for image in range(len(seen)):
                trials = np.flatnonzero(order == image)
                if repeat < len(trials):
                    column[seen[image]] = trials[repeat] + 1
            table[f"subject{s + 1}_rep{repeat}"] = column
    table.to_csv(experiment / "nsd_stim_info_merged.csv")

    stimuli = root / "nsddata_stimuli/stimuli/nsd"
    stimuli.mkdir(parents=True)
    reserve(stimuli / "nsd_stimuli.hdf5", pictures.pixels.nbytes + 2**24)
    with h5py.File(stimuli / "nsd_stimuli.hdf5", "w") as file:
        file.create_dataset("imgBrick", data=pictures.pixels, chunks=(1, *pictures.pixels.shape[1:]))
    _write_annotations(root / "nsddata_stimuli/annotations", pictures, options.picture_size)


def _write_annotations(folder: Path, pictures: Pictures, size: int) -> None:
    """Write captions and objects as COCO's annotation files have them."""
    folder.mkdir(parents=True)
    images = [{"id": FIRST_COCO_ID + i, "height": size, "width": size} for i in range(len(pictures.scenes))]
    captions, objects = [], []
    for i, scene in enumerate(pictures.scenes):
        captions += [{"image_id": FIRST_COCO_ID + i, "caption": c} for c in pictures.captions[i]]
        for t in scene.things:
            x0, y0, x1, y1 = (round(size * v, 2) for v in t.box)
            objects.append({
                "image_id": FIRST_COCO_ID + i,
                "category_id": grammar.CATEGORIES.index(t.category) + 1,
                "bbox": [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)],
                "area": round((size * t.size) ** 2, 2), "kind": t.kind, "colour": t.colour,
            })  # fmt: skip
    categories = [{"id": c + 1, "name": name} for c, name in enumerate(grammar.CATEGORIES)]
    for name, extra in (
        ("captions", {"annotations": captions}),
        ("instances", {"annotations": objects, "categories": categories}),
    ):
        text = json.dumps({"images": images, **extra})
        (folder / f"{name}_{COCO_SPLIT}.json").write_text(text)


def _subject(
    root: Path, subject: str, index: int, pictures: Pictures, energy: NDArray[np.float32],
    design: dict[str, NDArray[np.int64]], options: Simulation,
) -> dict[str, Any]:  # fmt: skip
    """Simulate one subject and write its files; return its expected record."""
    rng = np.random.default_rng([options.seed, 3, index])
    voxels = cortex.place_voxels(options.voxels_of(index), rng, silent=options.silent)
    weights = cortex.tuning(voxels, rng, len(grammar.CONCEPTS))
    n_sessions = options.sessions_of(index)
    seen = design["subjectim"][index] - 1
    signal = noiseless_response(voxels, weights, energy, pictures)
    # unit variance over the pictures this subject sees is what ncsnr refers to
    spread = signal[seen].std(0)
    signal = (signal - signal[seen].mean(0)) / np.where(spread > 0, spread, 1)

    order = design["masterordering"][0][: n_sessions * options.trials_per_session] - 1
    session = np.arange(len(order)) // options.trials_per_session
    recording = _record(signal[seen[order]], voxels.silent, session, rng, options)
    percent = recording.betas.astype(np.float32) / np.float32(BETA_SCALE)
    estimated = _published_ncsnr(_zscore(percent, session), seen[order])
    estimated[rng.random(len(estimated)) < 0.01] = np.nan  # NSD's maps have such holes
    _write_volumes(root, subject, voxels, recording.betas, estimated, options)
    _write_surfaces(root, subject, voxels, recording.betas, estimated, options)
    repeats = np.bincount(order)[: options.n_shared]
    _write_truth(root, subject, voxels, weights, recording, repeats, signal[seen], seen)

    vertex = np.concatenate([v[v >= 0] for v in voxels.vertex_voxel.values()])
    vertex = vertex[voxels.general[vertex]]
    return {
        "sessions": n_sessions, "shape": list(voxels.shape),
        "nsdgeneral_voxels": int(voxels.general.sum()), "nsdgeneral_vertices": len(vertex),
        "median_ncsnr": round(float(np.nanmedian(estimated[voxels.general])), 4),
        "median_ncsnr_surface": round(float(np.nanmedian(estimated[vertex])), 4),
    }  # fmt: skip


class Recording(NamedTuple):
    """What is measured of a subject, and how noisily."""

    betas: NDArray[np.int16]
    """(n_trials, n_voxels)"""
    ncsnr: NDArray[np.float64]
    """(n_voxels,), signal over noise, of standard deviations"""
    noise_sd: NDArray[np.float64]
    """(n_voxels,), percent"""
    gain: NDArray[np.float64]
    """(n_sessions,)"""


def _record(
    signal: NDArray[np.float32], silent: NDArray[np.bool_], session: NDArray[np.int64],
    rng: np.random.Generator, options: Simulation,
) -> Recording:  # fmt: skip
    """Add noise, and gain and offset of each session, to the noiseless response of each trial."""
    n_voxels, n_sessions = len(silent), int(session[-1]) + 1
    noise_sd = rng.uniform(1.2, 2.5, n_voxels)
    ncsnr = np.exp(rng.normal(np.log(options.ncsnr), options.ncsnr_spread, n_voxels)).clip(0.1, 1.5)
    ncsnr[silent] = 0
    gain = np.exp(rng.normal(0, options.drift, (n_sessions, 1)))
    offset = rng.normal(0.6, 2 * options.drift, (n_sessions, n_voxels)) * noise_sd
    betas = signal * (ncsnr * noise_sd)
    betas += rng.standard_normal(betas.shape, np.float32) * noise_sd
    betas = (betas * gain[session] + offset[session]).astype(np.float32)
    counts = np.clip(np.round(betas * BETA_SCALE), -32768, 32767).astype(np.int16)
    return Recording(counts, ncsnr, noise_sd, gain.ravel())


def _write_truth(
    root: Path, subject: str, voxels: cortex.Voxels, weights: list[NDArray[np.float64]],
    recording: Recording, repeats: NDArray[np.int64], signal: NDArray[np.float32], seen: NDArray[np.int64],
) -> None:  # fmt: skip
    """Write what is known of each voxel; the ceiling is that of the mean over repeats of shared pictures."""
    ncsnr = recording.ncsnr
    truth = xr.Dataset(
        {
            "signal": (("stimulus", "neuroid"), signal.astype(np.float32)),
            "ncsnr": ("neuroid", ncsnr), "noise_sd": ("neuroid", recording.noise_sd),
            "ceiling": ("neuroid", ncsnr**2 / (ncsnr**2 + np.mean(1 / repeats[repeats > 0]))),
            "area": ("neuroid", voxels.area), "silent": ("neuroid", voxels.silent),
            "field": (("neuroid", "field_parameter"), voxels.field),
            "weight": (("neuroid", "true_feature"), _padded(weights)),
            "preferred": ("neuroid", _preferred(voxels, weights)),
        },
        {
            "stimulus_id": ("stimulus", [f"nsd-{i:05d}" for i in seen]),
            "neuroid_id": ("neuroid", [voxel_id(subject, ijk) for ijk in voxels.grid]),
            "field_parameter": ["x_deg", "y_deg", "sigma_deg"],
        },
        {"gain": recording.gain, "subject": subject},
    )  # fmt: skip
    (root / "truth").mkdir(exist_ok=True)
    reserve(root / "truth" / f"sub-{subject}.nc", truth.nbytes + 2**16)
    truth.to_netcdf(root / "truth" / f"sub-{subject}.nc", engine="h5netcdf")


def voxel_id(subject: str, ijk: NDArray[np.int64]) -> str:
    """Name a voxel by its subject and its place in the volume."""
    return f"{subject}_{ijk[0]}-{ijk[1]}-{ijk[2]}"


def _zscore(values: NDArray[np.float32], session: NDArray[np.int64]) -> NDArray[np.float32]:
    out = np.empty_like(values)
    for s in np.unique(session):
        rows = session == s
        out[rows] = (values[rows] - values[rows].mean(0)) / values[rows].std(0)
    return out


def _published_ncsnr(values: NDArray[np.float32], picture: NDArray[np.int64]) -> NDArray[np.float64]:
    """Map of ncsnr as NSD's own release has it: total variance one, noise from the repeats."""
    within, freedom = np.zeros(values.shape[1]), 0
    for p in np.unique(picture):
        repeats = values[picture == p]
        within += ((repeats - repeats.mean(0)) ** 2).sum(0)
        freedom += len(repeats) - 1
    noise = within / freedom
    return np.asarray(np.sqrt(np.maximum(1 - noise, 0) / noise))


def _preferred(voxels: cortex.Voxels, weights: list[NDArray[np.float64]]) -> NDArray[np.str_]:
    """Name the category a voxel of a category area answers to most; '' elsewhere."""
    category = np.isin(voxels.area, list(cortex.PATCHES)) & (voxels.area != cortex.LANGUAGE)
    return np.array([
        grammar.CATEGORIES[w.argmax()] if c and not s else ""
        for w, c, s in zip(weights, category, voxels.silent, strict=True)
    ])  # fmt: skip


def _padded(weights: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    table = np.full((len(weights), max(map(len, weights))), np.nan)
    for row, values in zip(table, weights, strict=True):
        row[: len(values)] = values
    return table


def _labels(voxels: cortex.Voxels, name: str) -> NDArray[np.int16]:
    """Give the number of the region of an atlas each voxel belongs to, 0 for none."""
    labels = np.zeros(len(voxels.area), np.int16)
    for number, region in enumerate(ROI_FILES[name], 1):
        members = STREAMS.get(region, ()) if name == "streams" else (region,)
        labels[np.isin(voxels.area, members)] = number
    return labels


def _write_volumes(
    root: Path, subject: str, voxels: cortex.Voxels, betas: NDArray[np.int16],
    ncsnr: NDArray[np.float64], options: Simulation,
) -> None:  # fmt: skip
    """Write func1pt8mm: betas twice (hdf5 and NIfTI), regions with -1 outside, ncsnr with NaN."""
    i, j, k = voxels.grid.T

    def volume(values: NDArray[Any], outside: float, path: Path) -> None:
        data = np.full(voxels.shape, outside, values.dtype)
        data[i, j, k] = values
        nib.save(nib.Nifti1Image(data, voxels.affine), path)

    roi = root / f"nsddata/ppdata/subj{subject}/func1pt8mm/roi"
    folder = root / f"nsddata_betas/ppdata/subj{subject}/func1pt8mm/{PREPARATION}"
    roi.mkdir(parents=True)
    folder.mkdir(parents=True)
    general = {"nsdgeneral": voxels.general.astype(np.int16)}
    for name, labels in (general | {n: _labels(voxels, n) for n in ROI_FILES}).items():
        volume(labels, -1, roi / f"{name}.nii.gz")
        for key, prefix in (("L", "lh"), ("R", "rh")):
            side = np.where(voxels.hemisphere == key, labels, -1).astype(np.int16)
            volume(side, -1, roi / f"{prefix}.{name}.nii.gz")
    volume(ncsnr.astype(np.float32), np.nan, folder / "ncsnr.nii.gz")
    for s in range(len(betas) // options.trials_per_session):
        trials = betas[s * options.trials_per_session : (s + 1) * options.trials_per_session]
        data = np.zeros((*voxels.shape, len(trials)), np.int16)
        data[i, j, k] = trials.T
        image = nib.Nifti1Image(data, voxels.affine)
        nib.save(image, folder / f"betas_session{s + 1:02d}.nii.gz")
        reserve(folder / f"betas_session{s + 1:02d}.hdf5", data.nbytes + 2**20)
        with h5py.File(folder / f"betas_session{s + 1:02d}.hdf5", "w") as file:
            # MATLAB writes column-major: h5py sees the axes reversed
            file.create_dataset(
                "betas", data=data.T, chunks=(1, *data.shape[2::-1]), compression="gzip",
                compression_opts=1,
            )  # fmt: skip


def _write_surfaces(
    root: Path, subject: str, voxels: cortex.Voxels, betas: NDArray[np.int16],
    ncsnr: NDArray[np.float64], options: Simulation,
) -> None:  # fmt: skip
    """Write fsaverage5: betas in percent as float32 (not to be divided), labels, the mapping."""
    betas_dir = root / f"nsddata_betas/ppdata/subj{subject}/fsaverage/{PREPARATION}"
    label_dir = root / f"nsddata/freesurfer/subj{subject}/label"
    transforms = root / f"nsddata/ppdata/subj{subject}/transforms"
    for folder in (betas_dir, label_dir, transforms):
        folder.mkdir(parents=True)
    for name, regions in ROI_FILES.items():
        lines = [f"{n} {region}" for n, region in enumerate(("Unknown", *regions))]
        (label_dir / f"{name}.mgz.ctab").write_text("\n".join(lines) + "\n")
    for key, prefix in (("L", "lh"), ("R", "rh")):
        voxel = voxels.vertex_voxel[key]
        inside = voxel >= 0

        def surface(
            values: NDArray[Any], outside: float, path: Path,
            voxel: NDArray[np.int64] = voxel, inside: NDArray[np.bool_] = inside,
        ) -> None:  # fmt: skip
            data = np.full((len(voxel), *values.shape[1:]), outside, np.float32)
            data[inside] = values[voxel[inside]]
            data = data.reshape(len(voxel), 1, 1, *values.shape[1:])
            nib.save(nib.freesurfer.MGHImage(data, np.eye(4)), path)

        surface(ncsnr, np.nan, betas_dir / f"{prefix}.ncsnr.mgh")
        surface(voxels.general.astype(np.float32), -1, label_dir / f"{prefix}.nsdgeneral.mgz")
        for name in ROI_FILES:
            surface(_labels(voxels, name), -1, label_dir / f"{prefix}.{name}.mgz")
        # where the surface lies in the volume, counted from one; NaN where nothing was recorded
        surface(voxels.grid + 1.0, np.nan, transforms / f"{prefix}.func1pt8mm-to-fsaverage.mgz")
        for s in range(len(betas) // options.trials_per_session):
            trials = betas[s * options.trials_per_session : (s + 1) * options.trials_per_session]
            percent = (trials.T / np.float32(BETA_SCALE)).astype(np.float32)
            surface(percent, 0, betas_dir / f"{prefix}.betas_session{s + 1:02d}.mgh")
