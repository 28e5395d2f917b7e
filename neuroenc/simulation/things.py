"""Small THINGS-EEG2, THINGS-MEG and THINGS-fMRI with one truth behind them.

A hundred concepts are an object in a colour and a setting; their pictures differ in place and size. The truth
of a picture is twelve whitened principal components z of the embedding by the small network that comes with
neuroenc. Each modality sees eight of them (`VIEWS`), four are seen by all; to that it adds noise. In EEG and
MEG a component drives the channels by a topography, which subjects of a modality share in part, at a latency
of its own; in fMRI it drives voxels. Sets train on what others test: EEG2 tests concepts 0 to 34, MEG 5 to
39, fMRI 5 to 29 (the same pictures as MEG; EEG2 tests another picture of a concept).

`things_eeg2/`, `things_meg/` and `things_fmri/` are what the loaders of these names read. Smaller than the
layout allows: MEG is written at 200 Hz and 16 channels, not 1,200 and 272, in two sessions of two runs.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from neuroenc.config import Model
from neuroenc.decoders.target import Target
from neuroenc.features import describe
from neuroenc.files import atomic
from neuroenc.simulation import ctf, grammar

N_CONCEPTS, EACH, SIDE = 100, 5, 96  # training pictures of a concept; px
TESTS = {"eeg": range(35), "meg": range(5, 40), "fmri": range(5, 30)}
TRAINED = {"eeg": range(35, 100), "meg": range(30, 100), "fmri": range(30, 100)}
DIMS = 12
VIEWS = {"eeg": [*range(8)], "meg": [*range(2, 10)], "fmri": [*range(4, 12)]}
SUBJECTS = {"eeg": ("01", "02", "03"), "meg": ("1", "2"), "fmri": ("01", "02")}
OWN = 0.3  # deviation of a subject's topography from the one it shares
# repetitions of training and test pictures; gain of the truth against trial noise of deviation 1
REPEATS = {"eeg": (2, 20), "meg": (1, 6), "fmri": (1, 6)}
GAIN = {"eeg": 0.08, "meg": 0.12, "fmri": 0.12}
CHANNELS = ("Pz", "P3", "P7", "O1", "Oz", "O2", "P4", "P8", "P1", "P5", "PO7", "PO3", "POz", "PO4", "PO8",
            "P6", "P2")  # fmt: skip
TIMES = np.arange(-20, 80) / 100  # s
SENSORS = tuple(f"M{'LRZ'[i % 3]}{'OPTC'[i % 4]}{11 + i}-1609" for i in range(16))
RATE, TESLA, COUNTS, SPACING = 200.0, 1e-13, 1e16, 1.5  # Hz; noise of a sample; counts to the tesla; s
SESSIONS = RUNS = 2
VOXELS, REGIONS = 200, ("V1", "lLOC", "rFFA")

Floats = NDArray[np.float64]


def simulate(out: Path, seed: int) -> None:
    """Write the three trees.

    Parameters
    ----------
    out : Path
        Folder to make, about 60 MB; made whole or not at all. `truth.csv` says which component each modality
        sees, `latent.csv` what the components of each picture are.
    seed : int
    """
    rng = np.random.default_rng([seed, 0x7468])
    with atomic(out) as root:
        pictures = _pictures(rng)
        drawn = [grammar.draw(scene, SIDE) for scene in pictures["scene"]]
        model = Model(extractor="open_clip", network="nano", layers=["visual"])
        embedding = describe(drawn, model)["feature"].values.astype(np.float32)
        z = Target.fit(embedding, DIMS).transform(embedding).astype(np.float64)
        _write_eeg(root / "things_eeg2", pictures, drawn, z, rng)
        _write_meg(root / "things_meg", pictures, drawn, z, rng)
        _write_fmri(root / "things_fmri", pictures, drawn, z, rng)
        latent = pd.DataFrame(z, columns=[f"z{k}" for k in range(DIMS)])
        names = pictures[["name", "concept"]].rename(columns={"name": "stimulus_id"})
        pd.concat([names, latent], axis=1).to_csv(root / "latent.csv", index=False)
        seen = [(m, k, k in view, GAIN[m] * (k in view)) for m, view in VIEWS.items() for k in range(DIMS)]
        truth = pd.DataFrame(seen, columns=["modality", "component", "seen", "gain"])
        truth.to_csv(root / "truth.csv", index=False)


def _pictures(rng: np.random.Generator) -> pd.DataFrame:
    """List pictures: of each concept those for training, one that EEG2 tests, one that MEG and fMRI test."""
    kinds = [(category, kind) for category, of in grammar.KINDS.items() for kind in of]
    every = [(c, s, *k) for c in grammar.COLOUR_NAMES for s in grammar.SETTINGS for k in kinds]
    rows = []
    for number, at in enumerate(rng.permutation(len(every))[:N_CONCEPTS]):
        colour, setting, category, kind = every[at]
        concept = f"{colour}_{kind}_{setting}"
        for i in range(EACH + 2):
            side = float(rng.uniform(0.45, 0.65))
            x, y = rng.uniform(0.01, 0.99 - side, 2).tolist()
            style, texture = rng.integers(1 << 30, size=2).tolist()
            thing = grammar.Thing(category, kind, colour, (x, y, x + side, y + side), style)
            scene = grammar.Scene(setting, (thing,), texture)
            rows.append((number, concept, i, f"{concept}_{i + 1:02d}s", scene))
    made = pd.DataFrame(rows, columns=["number", "concept", "which", "name", "scene"])
    return made.assign(place=made["concept"] + "/" + made["name"] + ".jpg")


def _shown(pictures: pd.DataFrame, modality: str) -> dict[str, NDArray[np.int64]]:
    """Return the rows of the training and of the test pictures of a modality."""
    number, which = pictures["number"].to_numpy(), pictures["which"].to_numpy()
    tested = EACH if modality == "eeg" else EACH + 1
    return {
        "train": np.flatnonzero(np.isin(number, TRAINED[modality]) & (which < EACH)),
        "test": np.flatnonzero(np.isin(number, TESTS[modality]) & (which == tested)),
    }


def _save(place: Path, picture: NDArray[np.uint8]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(place, quality=95)


def _maps(modality: str, n: int, rng: np.random.Generator) -> list[Floats]:
    """Draw what each subject makes of the components that its modality sees, (n_components, n)."""
    shared = rng.standard_normal((len(VIEWS[modality]), n))
    return [
        GAIN[modality] * (shared + OWN * rng.standard_normal(shared.shape)) / np.sqrt(1 + OWN**2)
        for _ in SUBJECTS[modality]
    ]


def _waves(time: Floats, modality: str) -> Floats:
    """Return the course of each component that a modality sees, (n_components, n_times): a bump."""
    late = 0.1 + 0.05 * np.arange(len(VIEWS[modality]))
    return np.exp(-0.5 * ((time - late[:, None]) / 0.04) ** 2)


def _write_eeg(
    root: Path, pictures: pd.DataFrame, drawn: list[NDArray[np.uint8]], z: Floats, rng: np.random.Generator
) -> None:
    shown = _shown(pictures, "eeg")
    table: dict[str, list[str]] = {}
    for part, rows in shown.items():
        folder = "training_images" if part == "train" else "test_images"
        concepts = [f"{n + 1:05d}_{c}" for n, c in pictures.loc[rows, ["number", "concept"]].to_numpy()]
        files = [f"{name}.jpg" for name in pictures.loc[rows, "name"]]
        for concept, file, row in zip(concepts, files, rows, strict=True):
            _save(root / "image_set" / folder / concept / file, drawn[row])
        table |= {f"{part}_img_concepts": concepts, f"{part}_img_files": files}
    np.save(root / "image_set/image_metadata.npy", np.array(table, dtype=object), allow_pickle=True)
    wave = _waves(TIMES, "eeg")
    for subject, map_ in zip(SUBJECTS["eeg"], _maps("eeg", len(CHANNELS), rng), strict=True):
        place = root / f"preprocessed_data/sub-{subject}"
        place.mkdir(parents=True)
        for part, rows, n in zip(("training", "test"), shown.values(), REPEATS["eeg"], strict=True):
            signal = np.einsum("nk,kc,kt->nct", z[np.ix_(rows, VIEWS["eeg"])], map_, wave)
            noise = rng.standard_normal((len(rows), n, *signal.shape[1:]))
            data = {
                "preprocessed_eeg_data": (signal[:, None] + noise).astype(np.float32),
                "ch_names": list(CHANNELS), "times": TIMES,
            }  # fmt: skip
            np.save(place / f"preprocessed_eeg_{part}.npy", np.array(data, dtype=object), allow_pickle=True)


def _trials(
    pictures: pd.DataFrame, modality: str, rng: np.random.Generator
) -> tuple[NDArray[np.int64], list[str]]:
    """Shuffle what is shown to a subject: rows of the pictures, and the kind of each trial."""
    shown, (n_train, n_test) = _shown(pictures, modality), REPEATS[modality]
    rows = np.concatenate([np.tile(shown["train"], n_train), np.tile(shown["test"], n_test)])
    kinds = np.repeat(["train", "test"], [n_train * len(shown["train"]), n_test * len(shown["test"])])
    order = rng.permutation(len(rows))
    return rows[order], kinds[order].tolist()


def _write_meg(
    root: Path, pictures: pd.DataFrame, drawn: list[NDArray[np.uint8]], z: Floats, rng: np.random.Generator
) -> None:
    (root / "sourcedata").mkdir(parents=True)
    place = pictures["place"].to_numpy()
    for row in np.concatenate(list(_shown(pictures, "meg").values())):
        _save(root / "images" / place[row], drawn[row])
    for subject, map_ in zip(SUBJECTS["meg"], _maps("meg", len(SENSORS), rng), strict=True):
        rows, kinds = _trials(pictures, "meg", rng)
        lines = []
        for part, trials in enumerate(np.array_split(np.arange(len(rows)), SESSIONS * RUNS)):
            session, run = 1 + part // RUNS, 1 + part % RUNS
            name = f"sub-BIGMEG{subject}_ses-{session:02d}_task-main_run-{run:02d}"
            path = root / f"sub-BIGMEG{subject}/ses-{session:02d}/meg/{name}_meg.ds"
            _record(path, z[np.ix_(rows[trials], VIEWS["meg"])], map_, rng)
            lines += [
                (session, run, "exp" if kinds[t] == "train" else "test", f"images_meg/{place[rows[t]]}")
                for t in trials
            ]
        table = pd.DataFrame(lines, columns=["session_nr", "run_nr", "trial_type", "image_path"])
        table.to_csv(root / f"sourcedata/sample_attributes_P{subject}.csv", index=False)


def _record(path: Path, seen: Floats, map_: Floats, rng: np.random.Generator) -> None:
    """Write a run: what is seen of each trial, (n_trials, n_components), at triggers that jitter."""
    at_second = 1.0 + SPACING * np.arange(len(seen)) + rng.uniform(0, 0.2, len(seen))
    onset = np.round(at_second * RATE).astype(int)
    wave = _waves(np.arange(int(0.9 * RATE)) / RATE, "meg")
    data = rng.standard_normal((len(SENSORS), onset[-1] + int(2.5 * RATE)))
    for at, trial in zip(onset, seen, strict=True):
        data[:, at : at + wave.shape[1]] += (trial[:, None] * map_).T @ wave
    trigger = np.zeros(data.shape[1])
    for i, at in enumerate(onset):
        trigger[at : at + 10] = 32 if i == len(onset) - 1 else 64
    reference = rng.standard_normal(data.shape[1]) * TESLA
    names = [*SENSORS, "BG1-1609", "UPPT001"]
    ctf.write(path, np.vstack([data * TESLA, reference, trigger]), names, RATE, gain=COUNTS)


def _write_fmri(
    root: Path, pictures: pd.DataFrame, drawn: list[NDArray[np.uint8]], z: Floats, rng: np.random.Generator
) -> None:
    (root / "betas_csv").mkdir(parents=True)
    place = pictures["place"].to_numpy()
    for row in np.concatenate(list(_shown(pictures, "fmri").values())):
        _save(root / "images" / place[row], drawn[row])
    for number, subject in enumerate(SUBJECTS["fmri"]):
        rows, kinds = _trials(pictures, "fmri", rng)
        n = len(rows)
        pd.DataFrame({
            "trial_type": kinds, "session": 1 + np.arange(n) // 120, "run": 1 + np.arange(n) % 120 // 60,
            "subject_id": number + 1, "trial_id": np.arange(n),
            "stimulus": [Path(place[r]).name for r in rows],
            "concept": pictures.loc[rows, "concept"].to_numpy(),
        }).to_csv(root / f"betas_csv/sub-{subject}_StimulusMetadata.csv")  # fmt: skip
        voxel = np.arange(VOXELS)
        table = {"subject_id": number + 1, "voxel_id": voxel}
        table |= {f"voxel_{a}": rng.integers(0, 60, VOXELS) for a in "xyz"}
        table |= {"nc_singletrial": np.full(VOXELS, 30.0), "nc_testset": np.full(VOXELS, 70.0)}
        table |= {r: (voxel % len(REGIONS) == k).astype(int) for k, r in enumerate(REGIONS)}
        pd.DataFrame(table).to_csv(root / f"betas_csv/sub-{subject}_VoxelMetadata.csv")
        map_ = GAIN["fmri"] * rng.standard_normal((len(VIEWS["fmri"]), VOXELS))  # no voxel is another's
        betas = z[np.ix_(rows, VIEWS["fmri"])] @ map_ + rng.standard_normal((n, VOXELS))
        # the fixed format of pandas: a block for each type of column
        with h5py.File(root / f"betas_csv/sub-{subject}_ResponseData.h5", "w") as file:
            group = file.create_group("ResponseData")
            group["block0_values"] = betas.T.astype(np.float32)
            group["block1_values"] = voxel[:, None]
