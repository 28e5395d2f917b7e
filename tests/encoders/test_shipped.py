"""The encoder that comes with the package."""

import warnings
from pathlib import Path

import numpy as np
import pytest

import neuroenc
from neuroenc.encoders.exported import SHIPPED
from neuroenc.errors import InputError
from neuroenc.simulation import grammar

PREFERRED = {"FFA": "face", "PPA": "place", "EBA": "body", "VWFA": "word"}


@pytest.fixture(scope="module")
def encoder():
    return neuroenc.load("demo")


def test_it_is_small_and_says_what_it_is(encoder):
    assert sum(p.stat().st_size for p in SHIPPED.iterdir()) < 2**20
    assert encoder.facts["licence"] == "BSD-3-Clause" and "BSD-3-Clause" in encoder.card
    assert encoder.neuroids.sizes["neuroid"] == 300


def test_each_region_answers_most_to_new_pictures_of_its_category(encoder):
    rng = np.random.default_rng(7)
    scenes = [s for s in (grammar.sample_scene(rng) for _ in range(120)) if len(s.things) == 1]
    category = np.array([s.things[0].category for s in scenes])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pictures that are far
        response = encoder([grammar.draw(s) for s in scenes])
    for region, preferred in PREFERRED.items():
        voxels = response[f"roi_{region}"].values & (response["ceiling"].values > 0.3)
        mean = response.values[:, voxels].mean(1)
        by = {c: mean[category == c].mean() for c in set(category.tolist())}
        assert max(by, key=by.get) == preferred, region


def test_a_folder_of_that_name_is_asked_for_by_its_path(encoder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    assert neuroenc.load("demo").facts == encoder.facts
    with pytest.raises(InputError, match=r"is no exported encoder"):
        neuroenc.load(Path("demo"))
