"""The networks of readouts are classes like any other: imported, pickled, subclassed, stored by name."""

import pickle

import numpy as np
import pytest
import torch

from neuroenc.encoders.attention import AttentionRouting, Routing
from neuroenc.encoders.semantic_transformer import SemanticTransformer, Warp

ROUTING = {
    "query": (3, 16), "layer_code": (2, 16), "readout": (7, 16), "bias": (7,), "mixture": (4, 3),
    "to_query.weight": (16, 16), "to_query.bias": (16,), "place.weight": (16, 16),
    "to_key.0.weight": (16, 5), "to_key.0.bias": (16,), "to_key.1.weight": (16, 7), "to_key.1.bias": (16,),
    "to_value.0.weight": (16, 5), "to_value.0.bias": (16,), "to_value.1.weight": (16, 7),
    "to_value.1.bias": (16,), "out.weight": (16, 16), "out.bias": (16,), "before.weight": (16,),
    "before.bias": (16,), "after.weight": (16,), "after.bias": (16,), "widen.weight": (24, 16),
    "widen.bias": (24,), "narrow.weight": (16, 24), "narrow.bias": (16,),
}  # fmt: skip
WARP = {
    "mask": (7, 4, 4), "feature": (7, 12), "bias": (7,), "squeeze.weight": (4, 12, 1, 1), "squeeze.bias": (4,),
    "code.weight": (8, 64), "code.bias": (8,), "move_target.weight": (42, 8), "move_target.bias": (42,),
    "move_channel.weight": (72, 8), "move_channel.bias": (72,),
}  # fmt: skip
REGIONS = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]], bool)


def routing(kind=Routing):
    return kind(
        [5, 7], 16, REGIONS, n_dimensions=16, n_heads=2, n_hidden=24, dropout=0.1, overlap="learned", mlp=True
    )


@pytest.mark.parametrize(("module", "names"), [(routing(), ROUTING), (Warp(4, 12, 7, 8), WARP)])
def test_stored_weights_keep_their_names(module, names):
    assert {k: tuple(v.shape) for k, v in module.state_dict().items()} == names


@pytest.mark.parametrize("module", [routing(), Warp(4, 12, 7, 8)])
def test_networks_can_be_pickled(module):
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 16, 12)).astype("f4"))
    again = pickle.loads(pickle.dumps(module.eval()))
    torch.testing.assert_close(again(x), module(x), rtol=0, atol=0)


class Nearest(Routing):
    """Routing whose queries see one token each."""

    def route(self, x, which=slice(None)):
        score = self.to_query(self.query[which]) @ self.keys(x).transpose(1, 2)
        seen = torch.nn.functional.one_hot(score.argmax(-1), score.shape[-1]).to(x.dtype)
        return self.finish(seen @ self.values(x))


def test_networks_can_be_subclassed():
    one, other = routing().eval(), routing(Nearest).eval()
    other.load_state_dict(one.state_dict())
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 16, 12)).astype("f4"))
    assert isinstance(other, Routing) and other(x).shape == (5, 7)
    assert not torch.allclose(one(x), other(x))


@pytest.mark.parametrize(
    "model", [AttentionRouting(n_dimensions=16, n_heads=2, max_epochs=1), SemanticTransformer(max_epochs=1)]
)
def test_fitted_readouts_can_be_pickled(model):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(60, 16, 12)).astype("f4"), rng.normal(size=(60, 7)).astype("f4")
    model.fit(X, Y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
