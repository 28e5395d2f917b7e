"""Four variants of the small network: accuracy on clean, rotated and adversarial pictures, and simulated sites.

`python benchmarks/finetune.py` writes benchmarks/results/finetune.json: the image tower of `nano`, fine-tuned to
name the eight categories of the simulated world as it is, with hard rotations, with fast adversarial steps and
with both, and Brain-Score's statistic of each variant's layers for simulated sites of V4 (Gabor energies) and IT
(the embedding of `nano` before it was fine-tuned), by PLS of 25 components.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from neuroenc import datasets, splits
from neuroenc.config import PLS, Dataset, Evaluation, Model, Split
from neuroenc.datasets import read_pixels
from neuroenc.encoders import encode
from neuroenc.evaluation import evaluate
from neuroenc.features import describe
from neuroenc.features.finetune import Pictures, Recipe, finetune
from neuroenc.files import write_json
from neuroenc.records import machine
from neuroenc.simulation import grammar, majajhong2015, objects

RESULTS = Path(__file__).parent / "results/finetune.json"
VARIANTS = {
    "base": (False, False),
    "rotation": (True, False),
    "adversarial": (False, True),
    "both": (True, True),
}
LAYERS = {"V4": "visual.transformer.resblocks.0", "IT": "visual"}


def accuracies(n: int, epochs: int, folder: Path) -> dict[str, dict]:
    drawn, label = objects.labelled(n, objects.SIDE, 0)
    pictures = Pictures(lambda rows: list(drawn[rows]), label, list(grammar.CATEGORIES))
    found = {}
    for name, (rotation, adversarial) in VARIANTS.items():
        started = time.perf_counter()
        recipe = Recipe(rotation, adversarial, epochs, 32, 1e-3, held_out=0.2)
        out = folder / f"{name}.safetensors"
        record = finetune(Model(network="nano"), pictures, out, recipe, device="cpu")
        found[name] = {k: record[k] for k in ("clean", "rotated", "adversarial", "n_held_out", "n_trained")}
        found[name]["seconds"] = round(time.perf_counter() - started)
        print(name, found[name], flush=True)
    return found


def sites(found: dict[str, dict], folder: Path) -> None:
    """Add Brain-Score's explained variance of the sites of each region by one layer."""
    majajhong2015.simulate(folder / "brainio", 0)
    options = Dataset(name="majajhong2015", root=str(folder / "brainio"))
    module = datasets.module(options)
    stimuli, responses = module.load_stimuli(options, ["all"]), module.load_responses(options, "all")
    split = splits.make(
        stimuli, Split(kind="stimulus", test_fraction=0.1, n_folds=10, n_inner=2, stratify=True)
    )
    pixels = read_pixels(stimuli, np.arange(stimuli.sizes["stimulus"]))
    scoring = Evaluation(ceiling="split_half", n_bootstraps=100, n_permutations=100, brainscore=True)
    for name, of_it in found.items():
        for region, layer in LAYERS.items():
            model = Model(network="nano", weights=str(folder / f"{name}.safetensors"), layers=[layer],
                          pooling="mean" if layer == "visual" else "grid:4")  # fmt: skip
            features = describe(pixels, model, stimulus_id=stimuli["stimulus_id"].values)
            scores = evaluate(
                responses, encode(responses, features, split, PLS(standardise=False))[0], scoring
            )
            of_it[region] = round(
                float(scores["brainscore"].values[list(scores["region_name"]).index(region), 0]), 3
            )
        print(name, of_it, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        variants = accuracies(arguments.pictures, arguments.epochs, Path(temporary))
        sites(variants, Path(temporary))
    write_json({"machine": machine(), "epochs": arguments.epochs, "variants": variants}, RESULTS)
