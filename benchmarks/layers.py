"""Whether every layer of one network of each family is read as its module lays it out.

The truth is the module's own: convolutions, batch norms and norms of maps have their channels first, linear
layers and layer norms last, as wide as they say. Layers that say nothing (blocks, activations) are counted apart.

Usage: python benchmarks/layers.py FAMILIES.json [SECONDS], a list of [extractor, network] pairs.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from neuroenc.config import Model
from neuroenc.errors import InputError
from neuroenc.features import layouts
from neuroenc.features.networks import Network, first_tensor, layers_of, skeleton

warnings.filterwarnings("ignore")


def truth(module, shape):
    """Return the axis of the channels by the module's kind, or None."""
    kinds = {c.__name__ for c in type(module).__mro__}
    if kinds & {
        "Conv2d",
        "Conv1d",
        "ConvTranspose2d",
        "LayerNorm2d",
        "LayerNormAct2d",
        "GroupNorm",
        "_BatchNorm",
    }:
        return 1
    return len(shape) - 1 if kinds & {"Linear", "LayerNorm"} else None


def check(extractor, name, count, reasons):
    base = Model(extractor=extractor, network=name, weights="random:0", pooling="mean")
    source = skeleton(base, None)
    names = layers_of(source)
    runs = layouts.picture_runs(base, source, names)
    told = []
    for layer in [n for n in names if n in runs[0].shapes]:
        try:
            layouts.tell(layer, source.module.get_submodule(layer), runs)
            told.append(layer)
        except InputError as error:
            count["refused"] += 1
            reasons["windows or parts" if "first axis" in str(error) else "layout asked for"] += 1
    if not told:
        return
    network = Network(base.model_copy(update={"layers": told}))
    own = {}

    def keep(layer):
        def hook(module, _inputs, output):
            values = first_tensor(output)
            axis = truth(module, values.shape)
            tokens = values
            if axis is not None and values.ndim > 2:
                tokens = values.movedim(axis, -1).flatten(1, -2)
            prefix = network.layouts[layer].prefix or 0
            if axis is not None and values.ndim > 2:
                tokens = tokens[:, prefix:].mean(1) if tokens.shape[1] > prefix else tokens.mean(1)
            own[layer] = (axis, values.numel(), tokens.clone() if axis is not None else None)

        return hook

    for layer in told:
        network.module.get_submodule(layer).register_forward_hook(keep(layer))
    pixels = [np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)]
    for layer in list(told):  # those whose leading tokens can't be told
        if network.layouts[layer].prefix is None:
            told.remove(layer)
            count["refused"] += 1
            reasons["leading tokens asked for"] += 1
    network.model = network.model.model_copy(update={"layers": told})
    made = network(pixels)
    for layer in told:
        axis, _, right = own[layer]
        if axis is None:
            count["no truth of its own"] += 1
        elif made[layer].shape == right.shape and np.allclose(made[layer], right, atol=1e-4, equal_nan=True):
            count["right"] += 1
        else:
            count["wrong"] += 1
            print("WRONG", name, layer, made[layer].shape, tuple(right.shape), flush=True)


def main(listed, seconds):
    count, reasons, start = Counter(), Counter(), time.monotonic()
    torch.set_grad_enabled(False)
    for extractor, name in json.loads(Path(listed).read_text()):
        if time.monotonic() - start > seconds:
            count["networks not reached"] += 1
            continue
        try:
            before = Counter(count)
            check(extractor, name, count, reasons)
            count["networks"] += 1
            print(f"{round(time.monotonic() - start):5d} s", name, dict(count - before), flush=True)
        except Exception as error:  # noqa: BLE001  one network must not end the others
            count["networks that fail"] += 1
            print("FAILS", name, type(error).__name__, str(error)[:150], flush=True)
    print(json.dumps({"count": count, "refused": reasons}))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 1e9)
