"""The simulated BOLD5000: its layout is read, and the right model wins in each region."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.leak import leak
from neuroenc import splits
from neuroenc.arrays import load
from neuroenc.config import Banded, Dataset, Evaluation, Model, Ridge, Split
from neuroenc.datasets import bold5000
from neuroenc.encoders.encode import encode
from neuroenc.encoders.fusion import fuse
from neuroenc.evaluation.evaluate import evaluate
from neuroenc.features.extract import extract
from neuroenc.simulation.bold5000 import simulate

SUBJECT = "CSI2"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("simulated") / "bold5000"
    simulate(root, 0)
    return root


@pytest.fixture(scope="module")
def recorded(tree):
    options = Dataset(name="bold5000", root=str(tree), mask="rois")
    return bold5000.load_stimuli(options, [SUBJECT]), bold5000.load_responses(options, SUBJECT)


@pytest.fixture(scope="module")
def features(recorded, tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    for name in ("gabor", "caption"):
        extract(recorded[0], Model(extractor=name), folder / f"{name}.nc", workers=0)
    return {name: load(folder / f"{name}.nc", "features") for name in ("gabor", "caption")}


def test_the_tree_is_read_as_the_release_is(tree, recorded):
    stimuli, responses = recorded
    assert stimuli.sizes["stimulus"] == 485 and responses.sizes == {"presentation": 555, "neuroid": 120}
    assert stimuli.attrs["dataset"] == responses.attrs["dataset"] == "simulated BOLD5000"
    shown = pd.Series(responses["stimulus_id"].values).value_counts()
    assert (shown == 3).sum() == 35 and (shown == 1).sum() == 450
    said = (stimuli["caption"].values != "").sum(1)
    source = stimuli["category"].values.argmax(1)
    assert set(said[source == 0]) == {5} and set(said[source > 0]) == {1}
    truth = pd.read_csv(tree / "truth.csv").set_index("neuroid_id").loc[responses["neuroid_id"].values]
    for region in bold5000.REGIONS:
        assert ((truth["region"] == region).to_numpy() == responses[f"roi_{region}"].values).all()


def test_two_writings_of_one_seed_are_alike(tree, tmp_path):
    simulate(tmp_path / "again", 0)
    for path in tree.rglob("*.npy"):
        np.testing.assert_array_equal(np.load(path), np.load(tmp_path / "again" / path.relative_to(tree)))


def test_each_region_is_best_predicted_by_what_drives_it(recorded, features, tree):
    """Vision in early cortex, text where words drive, both side by side where both do; by both measures."""
    stimuli, responses = recorded
    split = splits.make(stimuli, Split(kind="kfold", n_folds=3))
    options = Evaluation(n_bootstraps=100, n_permutations=100, pairs=True, ceiling="explainable_variance")
    fits = {**features, "both": fuse(features)}
    r, pairs = {}, {}
    for name, of in fits.items():
        chosen = Banded(alphas=(0, 5, 6), n_candidates=10) if name == "both" else Ridge(alphas=(0, 5, 6))
        scores = evaluate(responses, encode(responses, of, split, chosen)[0], options)
        regions = scores["region_name"].values.tolist()
        r[name] = dict(zip(regions, scores["region_r"].values[:, 0], strict=True))
        pairs[name] = dict(zip(regions, scores["pattern_score"].values[0, :, 0], strict=True))
        assert (scores["pattern_p"].values[0, 0]) < 0.05
    truth = pd.read_csv(tree / "truth.csv").groupby("region")["driver"].first()
    for region, driver in truth.items():
        if driver == "vision+language":  # the fused one gains on either
            assert r["both"][region] > max(r["gabor"][region], r["caption"][region]) + 0.03
            assert pairs["both"][region] > max(pairs["gabor"][region], pairs["caption"][region])
        else:  # the other adds nothing, and banded ridge loses next to nothing by it
            own, other = ("gabor", "caption") if driver == "vision" else ("caption", "gabor")
            assert r[own][region] > r[other][region] + 0.1
            assert pairs[own][region] > pairs[other][region] + 0.05
            assert r["both"][region] > r[own][region] - 0.03


def test_folds_over_presentations_leak(recorded, features):
    found = leak(recorded[1], features["caption"], n_folds=5)
    assert found["repeats, published"] > found["repeats, group-safe"] + 0.05
