import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from neuroenc.config import Model
from neuroenc.errors import InputError
from neuroenc.features import describe, finetune
from neuroenc.features.finetune import EPSILON, Pictures, Range, Recipe, attack
from neuroenc.simulation import grammar, objects

SMALL = {"extractor": "timm", "network": "test_resnet", "input_size": 32, "normalisation": "half",
         "options": {"crop_pct": 1.0}}  # fmt: skip


@pytest.fixture(scope="module")
def noise():
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 255, (48, 32, 32, 3), np.uint8)
    return Pictures(lambda rows: list(drawn[rows]), np.arange(48) % 3, ["a", "b", "c"])


def test_a_killed_run_ends_in_the_same_weights(noise, tmp_path, monkeypatch):
    model = Model(**SMALL, weights="random:3")
    recipe = Recipe(rotation=True, adversarial=True, epochs=3, batch_size=16)
    whole = finetune.finetune(model, noise, tmp_path / "whole.safetensors", recipe, device="cpu")
    run_epoch = finetune._epoch

    def killed(*arguments):
        if arguments[7] == 2:
            raise KeyboardInterrupt
        return run_epoch(*arguments)

    out = tmp_path / "parts.safetensors"
    monkeypatch.setattr(finetune, "_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        finetune.finetune(model, noise, out, recipe, device="cpu")
    assert not out.exists()
    with pytest.raises(InputError, match="of a run with another network, pictures or options"):
        finetune.finetune(model, noise, out, recipe._replace(rotation=False), device="cpu")
    done = []
    monkeypatch.setattr(finetune, "_epoch", lambda *a: done.append(a[7]) or run_epoch(*a))
    torch.manual_seed(99)  # what happened before does not count
    parts = finetune.finetune(model, noise, out, recipe, device="cpu")
    assert done == [2] and parts == whole
    assert out.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    assert {p.name for p in tmp_path.iterdir()} == {"whole.safetensors", "parts.safetensors"}


@pytest.mark.parametrize("n_steps", [1, 10])
def test_attack_on_a_linear_network_is_the_worst_there_is(n_steps):
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(27, 2))
    x, y = torch.rand(40, 3, 3, 3), torch.randint(2, (40,))
    seen = Range(*(torch.full((3, 1, 1), v) for v in (1.0, 0.0, 1.0)))
    found = attack(linear, x, y, seen, step=EPSILON / 4 if n_steps > 1 else 1.25 * EPSILON, n_steps=n_steps)
    assert (found - x).abs().max() <= EPSILON + 1e-6 and found.min() >= 0 and found.max() <= 1
    weight = linear[1].weight.detach()
    worst = (weight[1 - y] - weight[y]).sign().reshape(x.shape)
    inside = (x > 0.02) & (x < 0.98)
    if n_steps > 1:
        torch.testing.assert_close((found - x)[inside], (EPSILON * worst)[inside])
    assert ((found - x)[inside].sign() == worst[inside]).all()
    assert (linear(found).argmax(1) == y).sum() <= (linear(x).argmax(1) == y).sum()


def test_weights_are_read_again_and_folders_are_classes(run, tmp_path):
    rng = np.random.default_rng(1)
    for kind, low in (("bright", 150), ("dark", 0)):
        (tmp_path / "p" / kind).mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(low, low + 100, (40, 36, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "p" / kind / f"{i}.png")
    out = tmp_path / "w.safetensors"
    options = json.dumps({**SMALL, "weights": "random:0"})
    words = ["features", "finetune", "--options", options, "--pictures", tmp_path / "p", "--out", out, "--rotation",
             "--epochs", 4, "--batch-size", 8, "--learning-rate", 0.01, "--held-out", 0.25,
             "--device", "cpu"]  # fmt: skip
    status, printed, err = run(*words)
    assert status == 0, err
    record = json.loads((tmp_path / "w_training.json").read_text())
    assert record["classes"] == ["bright", "dark"] and record["n_held_out"] == 6 and "clean" in printed
    assert record["clean"] == record["rotated"] == 1.0 and record["chance"] == 0.5
    assert record["recipe"]["rotation"] and not record["recipe"]["adversarial"]
    trained = Model(
        **{**SMALL, "options": {"crop_pct": 1.0, "num_classes": 2}}, weights=str(out), layers=["fc"]
    )
    shown = [rng.integers(150, 250, (32, 32, 3), np.uint8), rng.integers(0, 100, (32, 32, 3), np.uint8)]
    assert describe(shown, trained)["feature"].values.argmax(1).tolist() == [0, 1]


def test_each_variant_gains_what_it_was_trained_for(tmp_path):
    drawn, label = objects.labelled(400, objects.SIDE, 0)
    pictures = Pictures(lambda rows: list(drawn[rows]), label, list(grammar.CATEGORIES))
    recipe = Recipe(epochs=5, batch_size=32, learning_rate=1e-3, held_out=0.25)
    base, rotation, adversarial = (
        finetune.finetune(Model(network="nano"), pictures, tmp_path / "w.safetensors", r, device="cpu")
        for r in (recipe, recipe._replace(rotation=True), recipe._replace(adversarial=True))
    )
    assert base["clean"] > 4 * base["chance"]
    assert rotation["rotated"] > base["rotated"] + 0.02
    assert adversarial["adversarial"] > base["adversarial"] + 0.05
    network = Model(network="nano", weights=str(tmp_path / "w.safetensors"), layers=["visual"])
    assert describe(list(drawn[:2]), network)["feature"].shape == (2, 64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--simulated", "20"], "one of the two"),
        (["--out", "w.pt"], "ending in .safetensors"),
        (["--held-out", "1"], "a share between 0 and 1"),
        (["--pictures", "empty"], "holds 0 sub-folders"),
        (["--options", '{"network": "bert-base"}'], "not of transformers"),
    ],
)
def test_mistakes_are_one_line(run, tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    for kind in ("a", "b"):
        (tmp_path / "p" / kind).mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", (8, 8)).save(tmp_path / "p" / kind / f"{i}.png")
    (tmp_path / "empty").mkdir()
    words = {
        "--options": json.dumps({**SMALL, "weights": "random:0"}),
        "--pictures": "p",
        "--out": "w.safetensors",
    }
    words |= dict([change])
    status, _, err = run("features", "finetune", *(w for pair in words.items() for w in pair))
    assert status == 2 and message in err and len(err.splitlines()) == 1, err
    assert {p.name for p in tmp_path.iterdir()} == {"p", "empty"}
