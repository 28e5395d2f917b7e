"""What readouts take of memory, features on disk, against its forecast."""

import json
import subprocess
import sys

import h5py
import numpy as np
import pytest

from neuroenc.encoders.solvers import LIBRARY_BYTES

FIT = """
import json, sys, h5py, numpy as np
from pathlib import Path
from neuroenc.encoders import memory
from neuroenc.encoders import AttentionRouting, FactorisedCV, GaussianFieldCV, PLS, ResponseCore, SemanticTransformer
from neuroenc.encoders import EfficientProbing, RandomAttentionCV
from neuroenc.encoders.design import Design
from neuroenc.encoders.pls_components import forecast as pls
kind, n, tokens, channels, targets = sys.argv[2], *map(int, sys.argv[3:])
rng = np.random.default_rng(0)
feature = h5py.File(sys.argv[1])["feature"]
y = rng.standard_normal((n, targets), np.float32) + feature[:, 0, :1]
shape = n, tokens, channels, targets
regions = np.eye(20, dtype=bool)[np.arange(targets) % 20]
model, forecast = {
    "attention": lambda: (AttentionRouting(regions, max_epochs=1), memory.attention(*shape, 20, n_patterns=20)),
    "probing": lambda: (EfficientProbing(regions, max_epochs=1), memory.probing(*shape, 20, n_patterns=20)),
    "random": lambda: (
        RandomAttentionCV(n_queries=8, cv=2), memory.random_attention(n, channels, targets, n_queries=8, n_alphas=8, n_folds=2)
    ),
    "semantic": lambda: (SemanticTransformer(max_epochs=1), memory.semantic_transformer(*shape)),
    "core": lambda: (ResponseCore(max_epochs=1), memory.response_core(*shape)),
    "factorised": lambda: (
        FactorisedCV((100.0,), n_alternations=1, cv=2), memory.factorised(*shape, n_folds=2)
    ),
    "gaussian": lambda: (
        GaussianFieldCV(n_positions=2, sizes=(0.1,), cv=2), memory.gaussian(*shape, n_fields=5, n_folds=2)
    ),
    "pls": lambda: (PLS(3, cv=2), pls(n, tokens * channels, targets, n_components=3, n_folds=2)),
}[kind]()
small = type(model)(**{k: v for k, v in model.get_params().items() if k != "regions"})
x = rng.standard_normal((60, 16, 8), np.float32)
small.fit(x[:, 0] if kind == "pls" else x, x[:, 0, :5])  # what imports take
def high():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(v for v in lines if v.startswith("VmHWM")).split()[1]) * 1024
Path("/proc/self/clear_refs").write_text("5")
before = high()
model.fit(Design(feature).flattened() if kind == "pls" else feature, y)
print(json.dumps([high() - before, forecast]))
"""


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("attention", (1000, 256, 192, 2000)),
        ("probing", (1000, 256, 192, 2000)),
        ("random", (1500, 64, 256, 1000)),
        ("semantic", (150, 196, 192, 1500)),
        ("core", (400, 1024, 3, 2000)),
        ("factorised", (300, 256, 192, 400)),
        ("gaussian", (2000, 100, 384, 4000)),
        ("gaussian", (3000, 64, 256, 3000)),
        ("pls", (4000, 1, 2000, 4000)),
        ("pls", (1000, 1, 8000, 4000)),
    ],
)
def test_memory_is_forecast_within_a_fifth_and_never_below(kind, shape, tmp_path):
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["feature"] = rng.standard_normal(shape[:3], np.float32).astype("f2")
    command = [sys.executable, "-c", FIT, tmp_path / "x.h5", kind, *map(str, shape)]
    measured, forecast = json.loads(subprocess.check_output(command, stderr=subprocess.DEVNULL))
    assert measured <= forecast <= 1.2 * measured + LIBRARY_BYTES
