"""The study of Brain-Score's statistic on sites whose makers are known."""

import numpy as np
import pandas as pd
import pytest

from neuroenc import datasets, splits
from neuroenc.config import PLS, Dataset, Evaluation, Model, Ridge, Split
from neuroenc.datasets import read_pixels
from neuroenc.encoders import encode
from neuroenc.evaluation import evaluate
from neuroenc.evaluation.brainscore import PARTS, reliability
from neuroenc.features import describe
from neuroenc.simulation.majajhong2015 import SITES, simulate

MODELS = {
    "gabor": Model(extractor="gabor", pooling="grid:8"),
    "nano": Model(extractor="open_clip", network="nano", layers=["visual"]),
    "pixel": Model(extractor="pixel"),
}
OPTIONS = Evaluation(ceiling="split_half", n_bootstraps=100, n_permutations=100, brainscore=True)
SPLIT = Split(kind="stimulus", test_fraction=0.1, n_folds=10, stratify=True)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("tree") / "brainio"
    simulate(root, 3)
    options = Dataset(name="majajhong2015", root=str(root))
    module = datasets.module(options)
    return root, module.load_stimuli(options, ["all"]), module.load_responses(options, "all")


def test_tree_is_read_and_keeps_its_truth(world):
    root, stimuli, responses = world
    truth = pd.read_csv(root / "truth.csv")
    np.testing.assert_array_equal(responses["neuroid_id"].values, truth["neuroid_id"])
    assert {r: int(responses[f"roi_{r}"].sum()) for r in SITES} == SITES
    assert stimuli.sizes["category_index"] == 14 and set(responses["subject"].values) == {"Chabo", "Tito"}
    ids, repeats = responses["stimulus_id"].values, responses["repetition"].values
    found = reliability(responses["response"], ids, repeats).mean(0)
    np.testing.assert_allclose(found, truth["reliability"], atol=0.1)
    assert abs((found - truth["reliability"]).mean()) < 0.015


@pytest.mark.parametrize("encoder", [PLS(standardise=False), Ridge(alphas=(0, 6, 7))])
def test_the_model_that_made_the_sites_wins(world, encoder):
    _, stimuli, responses = world
    split = splits.make(stimuli, SPLIT)
    pixels = read_pixels(stimuli, np.arange(stimuli.sizes["stimulus"]))
    found, ours = {}, {}
    for name, model in MODELS.items():
        features = describe(pixels, model, stimulus_id=stimuli["stimulus_id"].values)
        scores = evaluate(responses, encode(responses, features, split, encoder)[0], OPTIONS)
        by = dict(zip(scores["region_name"].values, scores["brainscore"].values, strict=True))
        found[name] = {r: dict(zip(PARTS, by[r], strict=True)) for r in SITES}
        normalised = scores["score"].sel(metric="normalised_r").values
        ours[name] = {r: np.median(normalised[responses[f"roi_{r}"].values]) for r in SITES}
    for region, maker in (("V4", "gabor"), ("IT", "nano")):
        for kind, of in (("score", found), ("squared", found)):
            ranked = sorted(MODELS, key=lambda m: -of[m][region][kind])
            assert ranked[0] == maker, (region, kind, ranked)
            assert of[maker][region][kind] > of[ranked[1]][region][kind] + 0.1
        assert max(MODELS, key=lambda m: ours[m][region]) == maker
    assert found["nano"]["IT"]["score"] > 0.85  # 64 numbers made these, and 25 components hold most of them
    assert all(f[r]["squared"] > f[r]["score"] for f in found.values() for r in SITES)
