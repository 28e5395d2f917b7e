"""Memory that is forecast is what a stage takes: never less, and at most a fifth more."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from neuroenc import forecast, splits
from neuroenc.arrays import CONTRACT, make_features, make_stimuli, save
from neuroenc.config import Split
from neuroenc.encoders.solvers import LIBRARY_BYTES
from neuroenc.errors import InputError
from neuroenc.forecast import START, START_TORCH, megabytes
from tests.conftest import toy_responses

MEASURE = """
import json, sys, tracemalloc
from neuroenc.arrays import load
from neuroenc.config import Evaluation
from neuroenc.evaluation.evaluate import evaluate
import scipy.stats
tracemalloc.start()
evaluate(load(sys.argv[1], "responses"), load(sys.argv[2], "predictions"), Evaluation(n_permutations=100))
print(json.dumps(tracemalloc.get_traced_memory()[1] / 1e6))
"""


@pytest.mark.parametrize(("n_stimuli", "n_neuroids"), [(300, 6000), (60, 40_000)])
def test_scoring(tmp_path, n_stimuli, n_neuroids):
    rng = np.random.default_rng(0)
    ids = np.array([f"p{i:04d}" for i in range(n_stimuli)])
    test, train = ids[: n_stimuli // 2], ids[n_stimuli // 2 :]
    values = rng.standard_normal((n_stimuli, n_neuroids), np.float32)
    save(toy_responses(rng, ids, values), tmp_path / "r.nc")
    responses = toy_responses(rng, ids, values)
    one = {k: v for k, v in responses.coords.items() if v.dims == ("neuroid",)}
    each = ("neuroid",)
    predictions = xr.Dataset(
        {
            "prediction": (("presentation", *each), values[: len(test)]),
            "chosen_layer": (("fold", *each), np.full((1, n_neuroids), "a")),
            "alpha": (("fold", *each), np.ones((1, n_neuroids), np.float32)),
            "validation_r2": (("fold", "layer", *each), np.ones((1, 1, n_neuroids), np.float32)),
            "layer_name": ("layer", np.array(["a"])), "held_stimulus_id": ("held", train),
            "validation": (("held", *each), values[len(test) :]), "held_fold": ("held", np.zeros(len(train), int)),
            "training": (("fold", "stimulus"), np.ones((1, len(train)), bool)),
            "training_stimulus_id": ("stimulus", train),
        },
        one | {"stimulus_id": ("presentation", test), "fold": ("presentation", np.zeros(len(test), int))},
        dict.fromkeys(("dataset", "model", "weights", "encoder", "transductive"), "x") | {"kind": "predictions"},
    )  # fmt: skip
    save(predictions, tmp_path / "p.nc")
    files = [str(tmp_path / "r.nc"), str(tmp_path / "p.nc")]
    measured = json.loads(subprocess.check_output([sys.executable, "-c", MEASURE, *files]))
    expected = megabytes("evaluate score", files, {}) - START
    assert measured <= expected <= 1.2 * measured + 20


STAGE = """
import json, sys
from pathlib import Path
from neuroenc.blocks import give_back
from neuroenc.cli import app
noun, options, *folders = sys.argv[1:]
def run(folder):
    given = [f"--{k}={folder}/{k}.nc" for k in ("responses", "features", "split")]
    weights = [f"--weights={folder}/w.safetensors"] if noun == "encode" else []
    app([noun, "fit", *given, f"--options={options}", f"--out={folder}/out.nc", *weights], standalone_mode=False)
def high():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(v for v in lines if v.startswith("VmHWM")).split()[1]) * 1024
give_back()
run(folders[0])  # what imports take
Path("/proc/self/clear_refs").write_text("5")
before = high()
run(folders[1])
print(json.dumps((high() - before) / 1e6))
"""


def write(folder, n_stimuli, n_neuroids, shape):
    """Write responses, features of two layers and a split."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    ids = np.array([f"p{i:04d}" for i in range(n_stimuli)])
    feature = rng.standard_normal((n_stimuli, *shape), np.float32)
    seen = feature.reshape(n_stimuli, -1)[:, :n_neuroids]
    values = rng.standard_normal((n_stimuli, n_neuroids), np.float32)
    values[:, : seen.shape[1]] += seen
    save(toy_responses(rng, ids, values), folder / "responses.nc")
    layer = np.repeat(["a", "b"], [shape[-1] // 2, shape[-1] - shape[-1] // 2])
    attrs = dict.fromkeys(CONTRACT, "x") | {"layer": "a,b"}
    save(
        make_features(feature.astype("f2"), stimulus_id=ids, layer=layer, attrs=attrs), folder / "features.nc"
    )
    stimuli = make_stimuli(
        {"stimulus_id": ids, "pixel_index": np.arange(n_stimuli), "split": np.full(n_stimuli, "train"),
         "group": ids}, attrs={"dataset": "toy", "pixels": "none"},
    )  # fmt: skip
    save(splits.make(stimuli, Split(kind="stimulus", n_folds=1, test_fraction=0.1)), folder / "split.nc")


@pytest.mark.parametrize(
    ("noun", "options", "shape", "n_threads"),
    [
        ("encode", {"name": "ridge"}, (1200, 6000, 1600), 2),
        ("encode", {"name": "banded", "n_candidates": 2}, (1000, 4000, 3000), 2),
        ("encode", {"name": "gaussian", "n_positions": 2, "sizes": [0.1]}, (1500, 6000, 64, 512), 2),
        ("decode", {"name": "ridge"}, (1500, 6000, 400), 1),
        ("decode", {"name": "network", "max_epochs": 1, "n_hidden": 1024}, (1000, 8000, 400), 1),
    ],
)
def test_fits(tmp_path, noun, options, shape, n_threads):
    write(tmp_path / "small", 80, 30, (40,) if len(shape) == 3 else (16, 8))
    write(tmp_path / "large", *shape[:2], shape[2:])
    folders = [str(tmp_path / name) for name in ("small", "large")]
    arguments = [noun, json.dumps(options), *folders]
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(n_threads))
    command = [sys.executable, "-c", STAGE, *arguments]
    said = subprocess.check_output(command, env=environment, stderr=subprocess.DEVNULL)
    measured = json.loads(said.splitlines()[-1])
    inputs = [tmp_path / "large" / f"{name}.nc" for name in ("responses", "features", "split")]
    start = START_TORCH if options["name"] == "network" else START
    expected = megabytes(f"{noun} fit", inputs, options, n_threads) - start
    assert measured <= expected <= 1.2 * measured + LIBRARY_BYTES / 1e6


def test_files_are_read_once_until_they_change(tmp_path, monkeypatch):
    """A dry run of 640 fits read the same files 640 times, which took 110 s of 114 (benchmarks/planning.py)."""
    import h5py

    write(tmp_path / "small", 80, 30, (40,))
    write(tmp_path / "large", 160, 60, (40,))
    inputs = [tmp_path / "small" / f"{name}.nc" for name in ("responses", "features", "split")]
    opened, opens = [], h5py.File
    monkeypatch.setattr(h5py, "File", lambda raw: opened.append(raw.name) or opens(raw))
    forecast._head.cache_clear()
    first = [megabytes("encode fit", inputs, {"name": name}) for name in ("ridge", "banded", "ridge")]
    assert len(opened) == 4  # the split too for how it parts these stimuli
    assert first[0] == first[2]
    for path in inputs:
        path.write_bytes((tmp_path / "large" / path.name).read_bytes())
    changed = megabytes("encode fit", inputs, {"name": "ridge"})
    beside = [tmp_path / "large" / path.name for path in inputs]
    assert changed == megabytes("encode fit", beside, {"name": "ridge"}) > first[0]
    inputs[0].write_bytes(b"torn")
    with pytest.raises(InputError, match=r"Cannot read .*responses\.nc"):
        megabytes("encode fit", inputs, {"name": "ridge"})
    inputs[0].unlink()
    with pytest.raises(FileNotFoundError):
        megabytes("encode fit", inputs, {"name": "ridge"})
