"""What planning a large run takes: `python benchmarks/planning.py`; `--decoders` beside encoders, `--profile` says where.

Eight subjects of NSD's size, 20 networks of five layers, four encoders: 640 fits, by `snakemake --dry-run --quiet rules`,
before anything is made and with recordings and features there, when each fit's memory is forecast from them. The
files hold what a forecast reads (shapes, names of stimuli, regions, sides of the split); their values were never
written, so they take little disk. Processor time and peak memory are of the dry run, from its start to its end.
Writes benchmarks/results/planning.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np

from neuroenc.files import write_json
from neuroenc.records import row
from neuroenc.splits import TEST, TRAIN

ROOT = Path(__file__).parents[1]
SUBJECTS = [f"{i:02d}" for i in range(1, 9)]
MODELS = [f"net{i:02d}" for i in range(20)]
LAYERS = [f"blocks.{i}" for i in (2, 4, 6, 8, 10)]
ENCODERS = {"ridge": {}, "banded": {}, "pls": {}, "coarse": {"name": "ridge", "alphas": [0, 5, 4]}}
N_SHARED, N_OWN, REPEATS, N_VOXELS, WIDTH, N_REGIONS = 1000, 9000, 3, 15_724, 768, 40
STATES = ("nothing made", "recordings and features made")


def configuration(decoders: bool) -> dict[str, object]:
    """Write a configuration down."""
    models = {
        name: {"network": "dinov2-vitb14", "weights": f"random:{i}", "layers": LAYERS}
        for i, name in enumerate(MODELS)
    }
    found: dict[str, object] = {
        "label": "large", "dataset": {"name": "nsd", "root": "recordings"}, "subjects": SUBJECTS,
        "models": models, "encoders": ENCODERS,
    }  # fmt: skip
    return found | ({"decoders": {"ridge": {}}} if decoders else {})


def write_heads(folder: Path) -> None:
    """Write stimuli, split, responses and features, whose large arrays have a shape and no values."""
    n = N_SHARED + N_OWN * len(SUBJECTS)
    ids, text = np.array([f"{i:05d}" for i in range(n)], object), h5py.string_dtype()
    with h5py.File(folder / "stimuli.nc", "w") as file:
        file.create_dataset("stimulus_id", data=ids, dtype=text)
    for name in MODELS:
        with h5py.File(folder / f"feat-{name}_features.nc", "w") as file:
            file.create_dataset("feature", (n, WIDTH * len(LAYERS)), "f2", chunks=True)
            file.attrs["layer"] = ",".join(LAYERS)
    for i, subject in enumerate(SUBJECTS):
        own = N_SHARED + N_OWN * i
        shown = np.repeat(np.r_[:N_SHARED, own : own + N_OWN], REPEATS)
        (folder / f"sub-{subject}").mkdir()
        with h5py.File(folder / f"sub-{subject}/sub-{subject}_responses.nc", "w") as file:
            file.create_dataset("response", (len(shown), N_VOXELS), "f4", chunks=True)
            file.create_dataset("stimulus_id", data=ids[shown], dtype=text)
            for k in range(N_REGIONS):
                file.create_dataset(f"roi_{k}", data=np.arange(N_VOXELS) % N_REGIONS == k)
    shared = np.arange(n) < N_SHARED
    with h5py.File(folder / "splits.nc", "w") as file:
        file.create_dataset("stimulus_id", data=ids, dtype=text)
        file.create_dataset("side", data=np.where(shared, TEST, TRAIN)[None].astype("i1"))
        file.create_dataset("inner", data=np.where(shared, -1, np.arange(n) % 5)[None].astype("i2"))


def plan(folder: Path, profile: bool) -> tuple[int, float, float]:
    """Count the jobs of a dry run, its seconds of processor time and its MB at the peak."""
    begin = [sys.executable, *(["-m", "cProfile", "-s", "cumtime"] if profile else []), "-m", "snakemake"]
    words = [*begin, "--snakefile", ROOT / "Snakefile", "--directory", folder, "--configfile",
             folder / "config.json", "--cores", "2", "--dry-run", "--quiet", "rules"]  # fmt: skip
    with (folder / "said").open("w+") as said:
        process = subprocess.Popen(words, stdout=said, stderr=subprocess.STDOUT, cwd=folder)
        _, status, used = os.wait4(process.pid, 0)
        said.seek(0)
        text = said.read()
    if profile:
        print(text[text.index("function calls") :][:8000])
    assert status == 0 and "\ntotal" in text, text[-2000:]
    n_jobs = int(text.split("\ntotal")[1].split()[0])
    return n_jobs, used.ru_utime + used.ru_stime, used.ru_maxrss / 1000


def main() -> None:
    decoders, profile = "--decoders" in sys.argv, "--profile" in sys.argv
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "recordings").mkdir()
        (folder / "config.json").write_text(json.dumps(configuration(decoders)))
        for state in STATES:
            if state != STATES[0]:
                (folder / "results/large").mkdir(parents=True)
                write_heads(folder / "results/large")
            n_jobs, seconds, megabytes = plan(folder, profile)
            print(f"{state:32s}{n_jobs:5d} jobs {seconds:6.1f} s {megabytes:5.0f} MB", flush=True)
            told = {"n": n_jobs, "command": "python benchmarks/planning.py", "seed": None, "state": state}
            rows.append(row("planning, processor time", seconds, unit="s", **told))
            rows.append(row("planning, peak of memory", megabytes, unit="MB", **told))
    if not (decoders or profile):
        write_json({"label": "planning", "rows": rows}, "benchmarks/results/planning.json")


if __name__ == "__main__":
    main()
