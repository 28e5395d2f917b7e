"""Memory that is forecast is what a stage takes: never less, and at most a fifth more."""

import json
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from neuroenc.arrays import save
from neuroenc.forecast import START, megabytes
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
    forecast = megabytes("evaluate score", files, {}) - START
    assert measured <= forecast <= 1.2 * measured + 20
