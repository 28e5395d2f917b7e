"""Readouts of tokens read features in parts: from a file they end in what they end in from memory."""

import h5py
import numpy as np
import pytest
import xarray as xr

from neuroenc.encoders.attention import AttentionRouting
from neuroenc.encoders.design import Design
from neuroenc.encoders.factorised import FactorisedCV
from neuroenc.encoders.gaussian import GaussianFieldCV
from neuroenc.encoders.probing import EfficientProbing
from neuroenc.encoders.random_attention import RandomAttentionCV
from neuroenc.encoders.semantic_transformer import SemanticTransformer

N, TOKENS, CHANNELS, TARGETS = 90, 16, 12, 7
SMALL = {"n_dimensions": 16, "n_heads": 2, "n_hidden": 16, "max_epochs": 3}
MODELS = [
    AttentionRouting(np.eye(3, dtype=bool)[np.arange(TARGETS) % 3], **SMALL),
    EfficientProbing(np.eye(3, dtype=bool)[np.arange(TARGETS) % 3], n_queries=3, max_epochs=3),
    RandomAttentionCV(n_queries=5, cv=3),
    AttentionRouting("each", readout="ridge", **SMALL),
    SemanticTransformer(max_epochs=3),
    FactorisedCV(n_alternations=2, cv=3),
    GaussianFieldCV(n_positions=3, cv=3),
]


def data():
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(N, TOKENS, CHANNELS)) + 0.3).astype("f2")
    Y = X[:, 3, :5].astype("f4") @ rng.normal(size=(5, TARGETS)) + rng.normal(size=(N, TARGETS))
    Y[rng.random(Y.shape) < 0.05] = np.nan
    return X, Y.astype("f4")


def on_disk(X, kind, folder):
    if kind == "memmap":
        made = np.memmap(folder / "x.dat", X.dtype, "w+", shape=X.shape)
        made[:] = X
        made.flush()
        return made
    with h5py.File(folder / "x.h5", "w") as file:
        file["feature"] = X
    if kind == "lazy":
        return xr.open_dataset(folder / "x.h5", engine="h5netcdf", phony_dims="access")["feature"]
    return Design(h5py.File(folder / "x.h5")["feature"]).take(np.arange(N))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", ["memmap", "lazy", "design"])
def test_batches_from_disk_are_batches_from_memory(model, kind, tmp_path):
    X, Y = data()
    stored = on_disk(X, kind, tmp_path)
    whole = model.fit(X.astype("f4"), Y).predict(X.astype("f4"))
    np.testing.assert_array_equal(model.predict(stored), whole)
    np.testing.assert_array_equal(model.fit(stored, Y).predict(stored), whole)
    if hasattr(model, "refit"):
        again = model.refit(X[:60].astype("f4"), Y[:60]).predict(X.astype("f4"))
        part = Design(stored).take(np.arange(60))
        np.testing.assert_array_equal(model.refit(part, Y[:60]).predict(stored), again)
