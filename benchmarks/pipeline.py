"""What each stage takes in time, memory and disk, at the true size of a subject: `python benchmarks/pipeline.py`.

`subject FOLDER` makes one NSD subject of random numbers in FOLDER (10,000 pictures, 30,000 trials, 15,724 voxels;
four pooled layers of 4,096; tokens of 256 x 768 and 961 x 768; all in half precision) and a subject of 200,000
voxels, and runs each stage on them as the command line runs it. `--scale 0.1` makes pictures, trials and voxels
as much fewer, `--only WORD` runs stages whose name holds a word, `--threads` is of the matrix library. What is
there is not made again. `before FOLDER` runs on tokens of 2,500 pictures and 4,000 voxels the readouts that took
more than they needed there when all features were held. `demo FOLDER` reads what Snakemake measured of a finished
demo (logs/demo/benchmarks).

Memory is that of the process and its children, sampled twenty times a second: anonymous (numbers it holds) and
in all (pages of files too, which the system takes back at need). Outside the mathematics is the processor time
of starting Python and importing. Writes benchmarks/results/pipeline.json; the rows of stages that were not run
are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from neuroenc.arrays import CONTRACT, make_responses, make_stimuli, save
from neuroenc.blocks import blocks
from neuroenc.cli.loading import Loading
from neuroenc.figures.times import TOOK
from neuroenc.files import write_json
from neuroenc.forecast import megabytes
from neuroenc.records import row

RESULTS = Path("benchmarks/results/pipeline.json")
N_SHARED, N_UNIQUE, REPEATS, N_VOXELS, N_WIDE = 1000, 9000, 3, 15_724, 200_000
N_WIDE_UNIQUE = 2000  # training pictures of the subject of 200,000 voxels, seen once
LATENT = 64  # what pictures, features and voxels share
POOLED = {f"layer{i}": (4096,) for i in range(4)}
FEATURES = {"pooled": POOLED, "tokens": {"block": (256, 768)}, "tokens961": {"block": (961, 768)}}
ENCODERS = {
    "ridge": ("pooled", {}), "banded": ("pooled", {}), "pls": ("pooled", {}),
    "factorised": ("tokens", {}), "gaussian": ("tokens", {}), "semantic_transformer": ("tokens", {}),
    "attention": ("tokens", {}), "attention961": ("tokens961", {"name": "attention"}),
}  # fmt: skip
# peak of the first version on 2,500 pictures of 256 x 768 tokens in half precision and 4,000 voxels, GB
BEFORE = {"attention": "10.8", "ridge": "12.6", "factorised": "killed at 21"}
BEFORE_SCALE, BEFORE_VOXELS = 0.25, 4000
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # as Snakemake sets them for a job
TRAINED = ("attention", "attention961", "semantic_transformer", "network")


def rng_of(*key: int) -> np.random.Generator:
    return np.random.default_rng([0, *key])


def latents(n: int) -> np.ndarray:
    return rng_of(1).normal(size=(n, LATENT)).astype(np.float32)


def write_features(folder: Path, name: str) -> None:
    """Write random Features as `features extract` writes them, batch by batch."""
    from neuroenc.arrays import load
    from neuroenc.features.writing import Unfinished, unfinished

    stimuli, out = load(folder / "stimuli.nc", "stimuli"), folder / f"{name}.nc"
    about = {k: "random" for k in CONTRACT if k not in ("layer", "shape")}
    Z = latents(stimuli.sizes["stimulus"])
    mixing = {
        layer: rng_of(2, i).normal(size=(LATENT, int(np.prod(shape)))).astype(np.float32)
        for i, (layer, shape) in enumerate(FEATURES[name].items())
    }
    with unfinished(out, name, alone=True) as place:
        made = Unfinished(place, stimuli, about, "float16")
        for block in made.lacking():
            for rows in blocks(block.stop - block.start, 64):
                here = slice(block.start + rows.start, block.start + rows.stop)
                made.write(here.start, {
                    layer: (Z[here] @ mixing[layer]).reshape(-1, *shape) for layer, shape in FEATURES[name].items()
                })  # fmt: skip
        made.publish(out)


def make_subject(folder: Path, scale: float, n_voxels: int) -> None:
    """Write stimuli and responses of the two subjects."""
    n_shared, n_unique = round(N_SHARED * scale), round(N_UNIQUE * scale)
    ids = np.array([f"{i:05d}" for i in range(n_shared + n_unique)])
    side = np.where(np.arange(len(ids)) < n_shared, "test", "train")
    stimuli = make_stimuli(
        {"stimulus_id": ids, "pixel_index": np.arange(len(ids)), "split": side, "group": ids},
        attrs={"dataset": "random", "pixels": "none"},
    )
    save(stimuli, folder / "stimuli.nc")
    n_wide_unique = round(N_WIDE_UNIQUE * scale)
    orders = {
        "subject": (np.repeat(np.arange(len(ids)), REPEATS), n_voxels),
        "wide": (
            np.r_[np.repeat(np.arange(n_shared), REPEATS), np.arange(n_shared, n_shared + n_wide_unique)],
            round(N_WIDE * scale),
        ),
    }
    for number, (name, (shown, n_voxels)) in enumerate(orders.items()):
        rng = rng_of(3, number)
        shown = rng.permutation(shown)
        Z = latents(len(ids))[shown]
        response = np.empty((len(shown), n_voxels), np.float32)
        for part in blocks(n_voxels, 1024):
            width = part.stop - part.start
            response[:, part] = Z @ rng.normal(size=(LATENT, width)).astype(np.float32) / 8
            response[:, part] += rng.standard_normal((len(shown), width), np.float32)
        times = np.zeros(len(ids), int)
        repetition = np.empty(len(shown), int)
        for i, stimulus in enumerate(shown):
            repetition[i] = times[stimulus]
            times[stimulus] += 1
        session = np.arange(len(shown)) * 40 // len(shown)
        save(make_responses(
            response,
            presentation={
                "stimulus_id": ids[shown], "session": session.astype(str), "run": session, "split": side[shown],
                "repetition": repetition, "group": ids[shown],
            },
            neuroid={
                "neuroid_id": [f"v{i}" for i in range(n_voxels)], "subject": ["01"] * n_voxels,
                "hemisphere": ["L"] * n_voxels, "ncsnr": np.full(n_voxels, 1.0, np.float32),
                "roi_early": np.arange(n_voxels) < n_voxels // 4, "roi_late": np.arange(n_voxels) > n_voxels // 2,
                **{axis: np.arange(n_voxels, dtype=np.float32) for axis in "xyz"},
            },
            attrs={"dataset": "random", "space": "none", "units": "none", "source": "random"},
        ), folder / f"{name}_responses.nc")  # fmt: skip


def stages(folder: Path, epochs: int) -> Iterator[tuple[str, list[str], list[Path], list[Path], dict]]:
    """Name each stage, its command, inputs, outputs and options; features are written by this file."""
    f = folder
    data = {
        "subject": [f / "subject_responses.nc", f / "splits.nc"],
        "wide": [f / "wide_responses.nc", f / "splits.nc"],
    }
    yield ("split make", ["split", "make", f"--stimuli={f / 'stimuli.nc'}", '--options={"kind": "dataset"}',
           f"--out={f / 'splits.nc'}"], [f / "stimuli.nc"], [f / "splits.nc"], {})  # fmt: skip
    for name in FEATURES:
        yield (f"features write {name}", [__file__, str(f), name], [f / "stimuli.nc"], [f / f"{name}.nc"], {})
    fits = [(name, "subject", *found) for name, found in ENCODERS.items()] + [("ridge", "wide", "pooled", {})]
    for name, subject, features, options in fits:
        stem = f / f"{subject}_{name}"
        inputs = [data[subject][0], f / f"{features}.nc", data[subject][1]]
        options = {"name": name, **options} | ({"max_epochs": epochs} if name in TRAINED else {})
        yield f"encode fit {name}, {subject}", *fit_of(stem, inputs, options)
    scored = {"subject": f / "subject_attention_predictions.nc", "wide": f / "wide_ridge_predictions.nc"}
    for subject, predictions in scored.items():
        inputs = [data[subject][0], predictions]
        out = f / f"{subject}_scores.nc"
        yield (f"evaluate score, {subject}", ["evaluate", "score", f"--responses={inputs[0]}",
               f"--predictions={inputs[1]}", "--options={}", f"--out={out}"], inputs, [out], {})  # fmt: skip
    inputs, out = [data["subject"][0], scored["subject"]], f / "match.json"
    yield ("decode match", ["decode", "match", f"--responses={inputs[0]}", f"--predictions={inputs[1]}",
           f"--out={out}"], inputs, [out], {})  # fmt: skip
    for name in ("ridge", "network"):
        options = {"name": name, "layers": ["layer0"]} | ({"max_epochs": epochs} if name in TRAINED else {})
        inputs, out = [data["subject"][0], f / "pooled.nc", data["subject"][1]], f / f"dec_{name}.nc"
        yield (f"decode fit {name}", ["decode", "fit", f"--responses={inputs[0]}", f"--features={inputs[1]}",
               f"--split={inputs[2]}", f"--options={json.dumps(options)}", f"--out={out}"], inputs, [out], options)  # fmt: skip
    out = f / "retrieval.json"
    yield ("decode evaluate", ["decode", "evaluate", f"--embeddings={f / 'dec_ridge.nc'}", f"--out={out}"],
           [f / "dec_ridge.nc"], [out], {})  # fmt: skip


def fit_of(stem: Path, inputs: list[Path], options: dict) -> tuple[list[str], list[Path], list[Path], dict]:
    """Return the command of a fit of responses, features and split, its inputs, outputs and options."""
    made = [Path(f"{stem}_predictions.nc"), Path(f"{stem}_weights.safetensors")]
    command = ["encode", "fit", f"--responses={inputs[0]}", f"--features={inputs[1]}", f"--split={inputs[2]}",
               f"--options={json.dumps(options)}", f"--out={made[0]}", f"--weights={made[1]}"]  # fmt: skip
    return command, inputs, made, options


def tree(pid: int) -> Iterator[int]:
    """List a process and those it started."""
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from tree(int(child))


def memory(pid: int) -> tuple[int, int]:
    """Return anonymous and all resident memory of a process and its children, kB."""
    anonymous = resident = 0
    for one in tree(pid):
        try:
            lines = Path(f"/proc/{one}/status").read_text().splitlines()
        except OSError:
            continue
        found = dict(line.split(":") for line in lines if line.startswith(("RssAnon", "VmRSS")))
        anonymous += int(found.get("RssAnon", "0 kB").split()[0])
        resident += int(found.get("VmRSS", "0 kB").split()[0])
    return anonymous, resident


def measure(arguments: list[str], n_threads: int) -> dict[str, float | str]:
    """Run a stage in a process of its own."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    own = [] if arguments[0] == __file__ else ["-m", "neuroenc"]
    with tempfile.TemporaryFile("w+") as said:
        command = [sys.executable, *own, *arguments]
        with subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=said,
            env=os.environ | dict.fromkeys(THREADS, str(n_threads)) | {"NEUROENC_TIMES": "1"},
        ) as process:
            anonymous = resident = 0
            while process.poll() is None:
                anonymous, resident = map(max, (anonymous, resident), memory(process.pid))
                time.sleep(0.05)
        said.seek(0)
        lines = said.read().splitlines()
    after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak = {"seconds": seconds, "anonymous": anonymous / 1e3, "resident": resident / 1e3}
    if process.returncode:
        last = next(
            (line for line in reversed(lines) if not TOOK.search(line)), f"status {process.returncode}"
        )
        print(last, file=sys.stderr)
        return {"failed": last[:200], **peak}
    outside = float(TOOK.search(lines[-1])[2])
    return {"processor": processor, "outside": outside, **peak}


def run_subject(folder: Path, scale: float, only: list[str], epochs: int, n_threads: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "wide_responses.nc").exists():
        make_subject(folder, scale, round(N_VOXELS * scale))
    plan = list(stages(folder, epochs))
    wanted = {name for name, *_ in plan if not only or any(word in name for word in only)}
    read = {path for name, _, inputs, *_ in plan if name in wanted for path in inputs}
    for name, arguments, inputs, outputs, options in plan:
        lacking = [p.name for p in inputs if not p.exists()]
        made = name.startswith(("split", "features")) and not all(p.exists() for p in outputs)
        if not (name in wanted or (made and read.intersection(outputs))):
            continue
        if lacking:
            print(f"{name:38s} left out: there is no {', '.join(lacking)}")
            continue
        about = {"scale": scale, "command": "python benchmarks/pipeline.py subject"}
        run_stage(name, arguments, inputs, outputs, options, n_threads, about)


def run_stage(
    name: str, arguments: list[str], inputs: list[Path], outputs: list[Path], options: dict, n_threads: int,
    about: dict,
) -> None:  # fmt: skip
    """Run a stage; keep and print what it took beside what was forecast."""
    found = measure(arguments, n_threads)
    forecast = megabytes(name, inputs, options, n_threads)
    disk = sum(p.stat().st_size for p in outputs if p.exists()) / 1e6
    figures = {"forecast": forecast, "disk": disk, **found}
    figures = {k: round(v, 1) if isinstance(v, float) else v for k, v in figures.items()}
    if not name.startswith("features write"):  # which stands in for a network
        store([row(name, found["seconds"], unit="s", n=1, seed=0, threads=n_threads, **about, **figures)])
    print(f"{name:38s}{found['seconds']:9.1f} s {found['anonymous']:8.0f} MB anonymous, {found['resident']:8.0f} "
          f"in all, {forecast:8.0f} forecast, {disk:8.0f} on disk, "
          f"{100 * found.get('outside', 0) / found.get('processor', np.inf):3.0f} % outside", flush=True)  # fmt: skip


def run_before(folder: Path, epochs: int, n_threads: int) -> None:
    """Run what the first version took too much memory for, on the same kind of input."""
    folder.mkdir(parents=True, exist_ok=True)
    responses, features, split = inputs = [
        folder / f"{k}.nc" for k in ("subject_responses", "tokens", "splits")
    ]
    if not responses.exists():
        make_subject(folder, BEFORE_SCALE, BEFORE_VOXELS)
        (folder / "wide_responses.nc").unlink()
    for _, arguments, _, outputs, _ in stages(folder, epochs):
        if outputs[0] in (features, split) and not outputs[0].exists():
            measure(arguments, n_threads)
    for name, old in BEFORE.items():
        options = {"name": name} | ({"max_epochs": epochs} if name in TRAINED else {})
        run_stage(f"encode fit {name}, tokens of 2,500 pictures", *fit_of(folder / name, inputs, options),
                  n_threads, {"before": old, "command": "python benchmarks/pipeline.py before"})  # fmt: skip


def run_demo(folder: Path) -> list[dict]:
    """Sum what Snakemake measured of each rule."""
    rules: dict[str, list[dict]] = {}
    for path in sorted(folder.rglob("*.jsonl")):
        for line in path.read_text().splitlines():
            rules.setdefault(path.relative_to(folder).parts[0].removesuffix(".jsonl"), []).append(
                json.loads(line)
            )
    rows = []
    for name, jobs in rules.items():
        total = {k: sum(j[k] or 0 for j in jobs) for k in ("s", "cpu_time")}
        peak = max(j["max_rss"] or 0 for j in jobs)
        asked = max(j.get("resources", {}).get("mem_mb", 0) for j in jobs)
        rows.append(row(f"demo, {name}", total["s"], unit="s", n=len(jobs), command="make demo", seed=0,
                        processor=round(total["cpu_time"], 1), resident=round(peak, 1), forecast=asked))  # fmt: skip
        print(f"{name:24s}{len(jobs):4d} jobs {total['s']:8.1f} s {total['cpu_time']:8.1f} s of processor "
              f"{peak:8.0f} MB, {asked:8.0f} asked for")  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("demo", "subject", "before"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--epochs", type=int, default=1, help="Of what is trained by gradient.")
    parser.add_argument("--threads", type=int, default=1, help="Of the matrix library, as a job has them.")
    parser.add_argument("--fresh", action="store_true", help="Empty the folder first.")
    given = parser.parse_args()
    if given.what == "demo":
        store(run_demo(given.folder))
    else:
        if given.fresh:
            shutil.rmtree(given.folder, ignore_errors=True)
        if given.what == "before":
            run_before(given.folder, given.epochs, given.threads)
        else:
            run_subject(given.folder, given.scale, given.only, given.epochs, given.threads)


def store(rows: list[dict]) -> None:
    """Keep rows beside those of other stages, in place of older ones."""
    known = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    table = {(r["name"], r.get("scale"), r.get("threads")): r for r in known + rows}
    write_json({"label": "pipeline", "rows": list(table.values())}, RESULTS)


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[2] in FEATURES:
        counted = Loading()
        write_features(Path(sys.argv[1]), sys.argv[2])
        print(counted.report(), file=sys.stderr)
    else:
        main()
