"""Faces and houses in one space of EEG and fMRI: the axis of one modality sorts what is decoded of the other.

    python benchmarks/joint.py [shuffles of the null]

N170 (four channels, single trials, bins of 40 ms) and Haxby 2001 (one slice, blocks) share no picture, only
two of their categories. Both are decoded into the embedding of the category's name by all-MiniLM-L6-v2; six
folds, each tests one of six runs of EEG and two of twelve of fMRI. The axis from houses to faces and its middle
are those of one modality's decoded test embeddings in a fold; they sort what is decoded of the other modality
in that fold, which no model in it was fitted to. "Other categories" fits fMRI without its faces and houses.
Intervals are Student's t over runs. Writes benchmarks/results/joint.json and prints the table.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from neuroenc import datasets, splits, unions
from neuroenc.arrays import load
from neuroenc.config import Dataset, JointDecoding, Model, Split
from neuroenc.decoders.recordings import decode_recordings
from neuroenc.decoders.target import restore
from neuroenc.features.extract import extract
from neuroenc.files import write_json
from neuroenc.records import machine

COMMAND = "python benchmarks/joint.py"
SETS = {"eeg": Dataset(name="n170", root="${NEUROENC_REAL_DATA}/eeg_n170"),
        "fmri": Dataset(name="haxby", root="${NEUROENC_REAL_DATA}/haxby", mask="mask")}  # fmt: skip
MODEL = Model(network="minilm", layers=["encoder.layer.5"], pooling="mean")
OPTIONS = JointDecoding(
    n_components=7,
    n_hidden=32,
    n_blocks=1,
    max_epochs=5,
    batch_size=64,
    window={"eeg": (0.0, 0.6)},
    device="cpu",
)
BIN = 10  # samples, 40 ms
CATEGORIES = ("house", "face")


def coarse(responses: xr.Dataset) -> xr.Dataset:
    """Average time bins."""
    n = responses.sizes["time_bin"] // BIN
    kept = responses.isel(time_bin=slice(0, n * BIN))
    values = kept["response"].values.reshape(*kept["response"].shape[:2], n, BIN).mean(-1)
    start, stop = (kept[k].values.reshape(n, BIN) for k in ("start", "stop"))
    out = kept.isel(time_bin=slice(0, n * BIN, BIN)).assign(response=(kept["response"].dims, values))
    return out.assign_coords(start=("time_bin", start[:, 0]), stop=("time_bin", stop[:, -1]))


def sorted_by(
    found: dict[str, xr.Dataset], label: dict[str, str], run: dict[str, str], axis_of: str, tested: str
) -> dict[str, float]:
    """Sort what is decoded of one recording by the axis of another; of itself, by that of the names."""
    scores, truth, runs = [], [], []
    for fold in np.unique(found[tested]["fold"].values):
        values = {n: restore(found[n], int(fold)) for n in (axis_of, tested)}
        ids = {n: found[n]["stimulus_id"].values[found[n]["fold"].values == fold] for n in values}
        of = {n: np.array([label[s] for s in ids[n]]) for n in values}
        source = values[axis_of] if axis_of != tested else restore(found[tested], int(fold), "true")
        house, face = (source[of[axis_of] == c].mean(0) for c in CATEGORIES)
        kept = np.isin(of[tested], CATEGORIES)
        scores.append((values[tested][kept] - (house + face) / 2) @ (face - house))
        truth.append(of[tested][kept] == "face")
        runs.append(np.array([run[s] for s in ids[tested][kept]]))
    score, face_seen, of_run = map(np.concatenate, (scores, truth, runs))
    each = [_balanced(score[of_run == r], face_seen[of_run == r]) for r in np.unique(of_run)]
    half = student.ppf(0.975, len(each) - 1) * np.std(each, ddof=1) / np.sqrt(len(each))
    return {
        "accuracy": float(np.mean(each)), "low": float(np.mean(each) - half), "high": float(np.mean(each) + half),
        "auc": float(roc_auc_score(face_seen, score)), "n": len(score), "n_runs": len(each),
    }  # fmt: skip


def _balanced(score: Any, face: Any) -> float:
    return float(((score[face] > 0).mean() + (score[~face] <= 0).mean()) / 2)


def main(n_null: int) -> None:
    """Fit, sort, print."""
    sets = {m: o.model_copy(update={"root": os.path.expandvars(str(o.root))}) for m, o in SETS.items()}
    stimuli = {m: datasets.module(o).load_stimuli(o, ["1"]) for m, o in sets.items()}
    responses = {f"{m}:1": datasets.module(o).load_responses(o, "1") for m, o in sets.items()}
    responses["eeg:1"] = coarse(responses["eeg:1"])
    label, run = {}, {}
    for s in stimuli.values():
        label |= dict(zip(s["stimulus_id"].values, s["caption"].values[:, 0], strict=True))
        run |= dict(zip(s["stimulus_id"].values, s["group"].values, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        features = {}
        for m, s in stimuli.items():
            extract(s, MODEL, Path(folder) / f"{m}.nc")
            features[m] = load(Path(folder) / f"{m}.nc", "features").load()
    split = unions.union(stimuli, Split(kind="kfold", n_folds=6, n_inner=4), by="group")
    bare = split.copy(deep=True)
    named = np.array([label[s] for s in split["stimulus_id"].values])
    dropped = (split["set"].values == "fmri") & np.isin(named, CATEGORIES)
    bare["side"].values[:, dropped] = np.where(
        bare["side"].values[:, dropped] == splits.TRAIN, splits.UNUSED, bare["side"].values[:, dropped]
    )
    rows = []
    for how, divided in (("all categories", split), ("other categories", bare)):
        pairs = [("eeg:1", "fmri:1"), ("fmri:1", "eeg:1")] + [(n, n) for n in responses]
        true = decode_recordings(responses, features, divided, OPTIONS)
        null = [decode_recordings(responses, features, divided, OPTIONS, shuffle=s) for s in range(n_null)]
        for axis_of, tested in pairs:
            found = sorted_by(true, label, run, axis_of, tested)
            dealt = [sorted_by(n, label, run, axis_of, tested)["accuracy"] for n in null]
            p = (1 + sum(d >= found["accuracy"] for d in dealt)) / (1 + len(dealt))
            axis = "its name" if axis_of == tested else axis_of
            rows.append({"fmri_fitted_to": how, "axis_of": axis, "tested": tested} | found
                        | {"shuffled": float(np.mean(dealt)), "shuffled_deviation": float(np.std(dealt)), "p": p})  # fmt: skip
            r = rows[-1]
            print(
                f"{how:16s} axis {axis:9s} tested {tested:7s} balanced accuracy {r['accuracy']:.3f} [{r['low']:.3f}, "
                f"{r['high']:.3f}] over {r['n_runs']} runs, {r['n']} stimuli, AUC {r['auc']:.3f}; shuffled "
                f"{r['shuffled']:.3f} ± {r['shuffled_deviation']:.3f} ({n_null}), p {p:.3f}", flush=True,
            )  # fmt: skip
    about = {"command": COMMAND, "machine": machine(), "n_null": n_null, "options": OPTIONS.model_dump()}
    write_json(about | {"rows": rows}, Path(__file__).parent / "results/joint.json")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 99)
