"""Features of a stimulus do not depend on what else is in the batch, nor on the order."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroenc.config import Model
from neuroenc.features.networks import Network
from neuroenc.simulation.grammar import vocabulary

TEXTS = [" ".join(vocabulary()[i : i + k]) for i, k in ((0, 1), (3, 4), (9, 7), (20, 2), (0, 0))]
PIXELS = [
    np.random.default_rng(i).integers(0, 256, (40 + 9 * i, 90 - 8 * i, 3), dtype=np.uint8) for i in range(5)
]
MODELS = {
    "nano": ({"network": "nano", "layers": ["visual.transformer.resblocks.1", "visual"]}, PIXELS),
    "nano-text": ({"network": "nano-text", "layers": ["transformer.resblocks.0", "ln_final"]}, TEXTS),
    "resnet10t": (
        {
            "extractor": "timm", "network": "resnet10t", "weights": "random:0",
            "layers": ["bn1", "layer1.0.bn1", "layer4"],
        },
        PIXELS,
    ),
}  # fmt: skip


@cache
def opened(name):
    section, items = MODELS[name]
    network = Network(Model(**section))
    return network, items, [network([item]) for item in items]


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=6)
@given(order=st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_a_batch_of_one_equals_a_batch_of_many_in_any_order(name, order):
    network, items, alone = opened(name)
    together = network([items[i] for i in order])
    for layer, values in together.items():
        expected = np.concatenate([alone[i][layer] for i in order])
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-5)
