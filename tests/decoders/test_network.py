"""What the brain network takes beside one flat response: epochs, repetitions, parts of batches, processes."""

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

from neuroenc import config, splits
from neuroenc.decoders import BrainNetwork
from neuroenc.decoders.decode import decode
from neuroenc.decoders.retrieve import hits
from neuroenc.decoders.samples import repetitions
from neuroenc.decoders.scores import score
from neuroenc.encoders import training
from neuroenc.errors import InputError
from neuroenc.evaluation.identification import cosine
from tests.decoders.test_decode import FAST, arrays, world  # noqa: F401


def epochs(n=800, channels=6, times=50, seed=0):
    """What was seen is in the size of slow waves whose sign is random: no linear readout finds it."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(n, 3)).astype("f4")
    size = np.exp(0.7 * y) * rng.choice([-1, 1], (n, 3))
    wave = np.exp(-(((np.arange(times) - np.array([[12], [25], [38]])) / 5) ** 2))
    topography = np.random.default_rng(1).normal(size=(3, channels))
    x = np.einsum("nk,kt,kc->nct", size, wave, topography)
    return (x + 0.3 * rng.normal(size=x.shape)).astype("f4"), y


def test_atm_reads_what_no_linear_layer_can():
    X, y = epochs()
    how = {"n_components": 3, "n_hidden": 32, "n_blocks": 1, "dropout": 0.1, "max_epochs": 30, "batch_size": 32,
           "learning_rate": 3e-3, "patience": 30, "cv": 5}  # fmt: skip
    flat = X.reshape(len(X), -1)
    found = {}
    for n_times in (None, 50):
        model = BrainNetwork(**how, n_times=n_times).fit(flat[:640], y[:640])
        found[n_times] = hits(cosine(model.predict(flat[640:]), y[640:]), 5).mean()
    assert found[50] > found[None] + 0.1
    with pytest.raises(InputError, match="no epochs of 49 samples"):
        BrainNetwork(**how, n_times=49).fit(flat, y)


def test_epochs_through_the_workflow_keep_their_shape(arrays):  # noqa: F811
    responses, features, split = arrays
    values = responses["response"].values
    stacked = responses.drop_vars("response").assign(
        response=(("presentation", "neuroid", "time_bin"), np.stack([values, 0 * values, 2 * values], -1))
    )
    options = config.NetworkDecoding(**FAST, front="atm")
    found = decode(stacked, features, split, options)
    assert score(found)["brain_to_image_top1"]["value"] > 0.3
    with pytest.raises(InputError, match="no time bins"):
        decode(responses, features, split, options)


def test_what_does_not_vary_in_one_fold_is_read_in_another(arrays):  # noqa: F811
    responses, features, split = arrays
    values = responses["response"].values
    train = split["side"].values[0] == splits.TRAIN
    values[train, 0] = 1
    stacked = responses.drop_vars("response").assign(
        response=(("presentation", "neuroid", "time_bin"), np.stack([values, 2 * values], -1))
    )
    options = config.NetworkDecoding(**FAST | {"max_epochs": 1}, front="atm")
    both = decode(stacked, features, split, options)
    alone = decode(stacked, features, split.isel(fold=[1]), options)
    second = both["embedding"].values[both["fold"].values == 1]
    np.testing.assert_allclose(second, alone["embedding"].values, atol=1e-6)


@pytest.mark.parametrize("names", [["a.b"], [1, 2], []])
def test_names_that_are_none_are_one_line(names):
    X, y = epochs(40)
    X = X.reshape(40, -1)
    with pytest.raises(InputError, match="Invalid names of subjects") as error:
        BrainNetwork().fit(dict.fromkeys(names, X), dict.fromkeys(names, y))
    assert "\n" not in str(error.value)


def test_a_repetition_at_random_and_their_mean(arrays):  # noqa: F811
    responses, features, split = arrays
    ids = np.array(["a", "b"])
    toy = responses.isel(presentation=slice(0, 3)).assign_coords(
        stimulus_id=("presentation", np.array(["b", "a", "b"]))
    )
    every = repetitions(toy, ids)
    np.testing.assert_array_equal(every[1], toy["response"].values[[0, 2]])
    np.testing.assert_array_equal(every[0], toy["response"].values[[1, 1]])
    found = decode(responses, features, split, config.NetworkDecoding(**FAST, repeats="random"))
    assert score(found)["brain_to_image_top1"]["value"] > 0.5
    # two repetitions whose mean is the response: prediction takes the mean
    embedding, response = world()
    noise = np.random.default_rng(0).normal(size=response.shape).astype("f4")
    pair = np.stack([response + noise, response - noise], 1)
    model = BrainNetwork(**FAST).fit(pair, embedding)
    np.testing.assert_allclose(model.predict(pair), model.predict(response), atol=1e-4)


def test_parts_of_a_batch_add_up_to_the_batch():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(64, 5)).astype("f4"), rng.normal(size=(64, 2)).astype("f4")
    found = []
    for parts in (1, 3):
        torch.manual_seed(0)
        module = torch.nn.Linear(5, 2)
        how = {"learning_rate": 0.1, "weight_decay": 0.0, "batch_size": 10, "max_epochs": 3, "patience": 9,
               "clip": 1.0, "seed": 0, "device": "cpu", "checkpoint": None, "fingerprint": "", "description": ""}  # fmt: skip
        rows = np.arange(64)
        training.train(module, X, Y, rows[:48], rows[48:], **how, accumulate=parts)
        found.append(module.weight.detach().numpy())
    np.testing.assert_allclose(*found, atol=1e-5)


SCRIPT = """
    import numpy as np, torch, sys
    from neuroenc.encoders import training
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(64, 5)).astype("f4"), rng.normal(size=(64, 2)).astype("f4")
    torch.manual_seed(0)
    module = torch.nn.Linear(5, 2)
    rows = np.arange(64)
    training.train(
        module, X, Y, rows[:47], rows[47:], learning_rate=0.1, weight_decay=0.0, batch_size=9, max_epochs=3,
        patience=9, clip=1.0, seed=0, device="cpu", checkpoint=sys.argv[1], fingerprint="", description="",
    )
    np.save(sys.argv[2] + training.Processes.here("cpu").rank.__str__() + ".npy", module.weight.detach().numpy())
"""


def test_two_processes_end_where_one_does(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    alone = [sys.executable, script, tmp_path / "a.safetensors", tmp_path / "alone"]
    subprocess.run(alone, check=True, env=environment)
    launch = [
        sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone",
        script, tmp_path / "b.safetensors", tmp_path / "two",
    ]  # fmt: skip
    subprocess.run(list(map(str, launch)), check=True, env=environment, capture_output=True)
    one = np.load(tmp_path / "alone0.npy")
    for rank in (0, 1):
        np.testing.assert_allclose(np.load(tmp_path / f"two{rank}.npy"), one, atol=1e-5)


MEMORY = """
import json, sys, numpy as np
from pathlib import Path
from neuroenc.decoders import BrainNetwork
hidden, blocks, neuroids, n, k = map(int, sys.argv[1:])
rng = np.random.default_rng(0)
X, Y = rng.standard_normal((n, neuroids), np.float32), rng.standard_normal((n, 300), np.float32)
model = BrainNetwork(k, n_hidden=hidden, n_blocks=blocks, max_epochs=1)
BrainNetwork(5, n_hidden=32, n_blocks=1, max_epochs=1).fit(X[:40, :20], Y[:40])  # what imports take
def high():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(v for v in lines if v.startswith("VmHWM")).split()[1]) * 1024
Path("/proc/self/clear_refs").write_text("5")
before = high()
model.fit(X, Y)
print(json.dumps([high() - before, model.forecast({"1": neuroids}, n)]))
"""


@pytest.mark.parametrize("shape", [(1024, 4, 8000, 600, 200), (2048, 2, 1000, 500, 50)])
def test_memory_of_training_is_forecast(shape):
    out = subprocess.check_output([sys.executable, "-c", MEMORY, *map(str, shape)], stderr=subprocess.DEVNULL)
    measured, forecast = json.loads(out)
    assert forecast == pytest.approx(measured, rel=0.25)
