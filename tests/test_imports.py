"""A stage imports what it uses: what its function asks for, and what is loaded when it runs."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neuroenc import cli, splits
from neuroenc.arrays import save
from neuroenc.config import Split

NETWORKS = {"torch", "torchvision", "timm", "open_clip", "transformers", "diffusers", "accelerate"}
HEAVY = NETWORKS | {"sklearn", "matplotlib", "nilearn", "scipy.stats"}
# commands whose modules hold estimators, or draw
HEAVIER = {
    "plan",
    "encode_partition", "evaluate_similarity", "evaluate_pictures", "evaluate_captions", "decode_classify", "caption_voxels",
    "results_attention", "results_reconstructions",
}  # fmt: skip
# those that train, and those whose modules hold the small networks that come along
DRAWING = {
    "features_finetune",
    "decode_reconstruct",
    "decode_caption",
    "decode_synthesise",
    "evaluate_grade",
    "nano_train",
    "captioner_train",
}
# each in a child of a process that has numpy and xarray
RUNNER = """
import json, os, sys
import numpy, xarray
import neuroenc.cli
before = set(sys.modules)
for name, code in json.loads(sys.stdin.read()).items():
    read, write = os.pipe()
    if not os.fork():
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            exec(code, {})
        except SystemExit as end:
            if end.code:
                os._exit(1)
        os.write(write, json.dumps(sorted(set(sys.modules) - before)).encode())
        os._exit(0)
    os.close(write)
    print(json.dumps([name, json.loads(b"".join(iter(lambda: os.read(read, 65536), b"")) or "null")]))
    os.wait()
"""


def loaded(codes):
    """Run each piece of code by itself; return the modules it loads."""
    done = subprocess.run(
        [sys.executable, "-c", RUNNER], input=json.dumps(codes), capture_output=True, text=True
    )
    found = dict(map(json.loads, done.stdout.splitlines()))
    assert found.keys() == codes.keys() and None not in found.values(), done.stderr
    return {
        name: HEAVY & (set(modules) | {m.partition(".")[0] for m in modules})
        for name, modules in found.items()
    }


def test_a_command_imports_nothing_heavy_that_it_does_not_use():
    imports = {}
    for path in Path(cli.__file__).parent.glob("*.py"):
        for function in ast.parse(path.read_text()).body:
            if isinstance(function, ast.FunctionDef) and function.decorator_list:
                found = [n for n in ast.walk(function) if isinstance(n, (ast.Import, ast.ImportFrom))]
                imports[function.name] = "\n".join(map(ast.unparse, found))
    assert imports.keys() >= HEAVIER and len(imports) > 40
    light = imports.keys() - HEAVIER - DRAWING
    groups = {"light": light, "heavier": HEAVIER, "drawing": DRAWING}
    found = loaded({name: "\n".join(imports[n] for n in sorted(group)) for name, group in groups.items()})
    assert found["light"] == set()
    assert found["heavier"] & NETWORKS == set()
    assert found["drawing"] & NETWORKS == {"torch"}


@pytest.fixture
def files(toy, tmp_path):
    stimuli, features, responses = toy
    names = {name: str(tmp_path / f"{name}.nc") for name in ("stimuli", "features", "responses", "split")}
    for name, dataset in (("stimuli", stimuli), ("features", features), ("responses", responses)):
        save(dataset, names[name])
    save(splits.make(stimuli, Split(kind="stimulus", n_inner=2)), names["split"])
    return names


def test_a_stage_that_runs_loads_nothing_heavy_that_it_does_not_use(files, tmp_path):
    out = {
        n: str(tmp_path / n)
        for n in ("s.nc", "p.nc", "w.safetensors", "scores.nc", "e.nc", "r.json", "m.json")
    }
    f, few = files, '{"n_bootstraps": 100, "n_permutations": 100}'
    commands = {
        "split make": ["--stimuli", f["stimuli"], "--options", '{"kind": "stimulus"}', "--out", out["s.nc"]],
        "encode fit": ["--responses", f["responses"], "--features", f["features"], "--split", f["split"], "--options",
                       '{"name": "ridge"}', "--out", out["p.nc"], "--weights", out["w.safetensors"]],
        "evaluate score": ["--responses", f["responses"], "--predictions", out["p.nc"], "--options", few, "--out",
                           out["scores.nc"]],
        "decode match": ["--responses", f["responses"], "--predictions", out["p.nc"], "--out", out["m.json"]],
        "decode fit": ["--responses", f["responses"], "--features", f["features"], "--split", f["split"], "--options",
                       '{"name": "ridge"}', "--out", out["e.nc"]],
        "decode evaluate": ["--embeddings", out["e.nc"], "--out", out["r.json"]],
        "results summary": ["--scores", f"01:m={out['scores.nc']}", "--label", "l", "--command", "c", "--seed", "0",
                            "--out", str(tmp_path / "s.json"), "--table", str(tmp_path / "t.parquet"), "--page",
                            str(tmp_path / "p.html")],
    }  # fmt: skip
    codes = {
        name: f"import sys\nfrom neuroenc.cli import main\nsys.argv = {['neuroenc', *name.split(), *words]!r}\nmain()"
        for name, words in commands.items()
    }
    found = loaded(codes)
    assert {name for name, heavy in found.items() if heavy & NETWORKS} == set()
    assert {name for name, heavy in found.items() if "sklearn" in heavy} <= {"encode fit", "decode fit"}
    assert np.all([Path(out[n]).exists() for n in ("scores.nc", "m.json", "r.json")])
