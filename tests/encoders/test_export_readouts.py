"""Every readout that reads pictures leaves as a folder and predicts there what it predicted here."""

import numpy as np
import pytest

import neuroenc
from neuroenc import datasets, splits
from neuroenc.arrays import load
from neuroenc.config import (
    PLS,
    Attention,
    Banded,
    Evaluation,
    Factorised,
    Gaussian,
    Model,
    Probing,
    RandomAttention,
    Ridge,
    Split,
)
from neuroenc.datasets import read_pixels
from neuroenc.encoders import encode, save_fits
from neuroenc.encoders.export import Subject, export
from neuroenc.evaluation import evaluate
from neuroenc.features import extract

LAYERS = ["visual.transformer.resblocks.1", "visual"]
POOLED = Model(network="nano", layers=LAYERS, pooling="mean")
CELLS = Model(extractor="gabor", pooling="grid:4")
READOUTS = {
    "layers": (Ridge(alphas=(0, 6, 4), layers="stack"), POOLED),
    "banded": (Banded(alphas=(0, 6, 4), n_candidates=4), POOLED),
    "pls": (PLS(n_components=4), POOLED),
    "factorised": (Factorised(), CELLS),
    "attention": (Attention(n_dimensions=16, n_heads=2, max_epochs=2, device="cpu"), CELLS),
    "probing": (Probing(max_epochs=2, device="cpu"), CELLS),
    "random": (RandomAttention(n_queries=6), CELLS),
    "gaussian": (Gaussian(n_positions=3, sizes=(0.2, 0.5)), CELLS),
}


@pytest.fixture(scope="module")
def seen(nsd_options, tmp_path_factory):
    """One subject, its split and features of both kinds."""
    folder, module = tmp_path_factory.mktemp("readouts"), datasets.module(nsd_options)
    stimuli = module.load_stimuli(nsd_options, ["01"])
    responses = module.load_responses(nsd_options, "01").isel(neuroid=slice(0, 60))
    features = {}
    for name, model in (("pooled", POOLED), ("cells", CELLS)):
        extract(stimuli, model, folder / f"{name}.nc")
        features[name] = load(folder / f"{name}.nc", "features")
    return stimuli, responses, splits.make(stimuli, Split(kind="dataset", n_inner=3)), features


@pytest.mark.parametrize("name", READOUTS)
def test_a_call_gives_what_the_readout_predicted(name, seen, tmp_path):
    stimuli, responses, split, features = seen
    options, model = READOUTS[name]
    found = features["pooled" if model is POOLED else "cells"]
    predictions, fits = encode(responses, found, split, options)
    weights = tmp_path / "w.safetensors"
    save_fits(
        fits, found.attrs, responses["neuroid_id"].values, weights, predictions.attrs.get("queries", "")
    )
    scores = evaluate(responses, predictions, Evaluation(n_bootstraps=100, n_permutations=100))
    subject = Subject("01", responses, predictions, scores, {name: weights})
    export(tmp_path / "out", [subject], {name: model}, {name: found}, name=name)
    ids = stimuli["stimulus_id"].values.tolist()
    shown = read_pixels(stimuli, np.array([ids.index(s) for s in predictions["stimulus_id"].values]))
    encoder = neuroenc.load(tmp_path / "out")
    np.testing.assert_allclose(encoder(shown).values, predictions["prediction"].values, atol=5e-5)
    low, high = encoder.interval(shown[:4], 0.9)
    assert (low.values < high.values).all()
