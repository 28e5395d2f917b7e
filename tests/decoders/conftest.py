"""A world of drawn pictures and voxels that want what is on them."""

from typing import NamedTuple

import h5py
import numpy as np
import pytest
import xarray as xr

from neuroenc import splits
from neuroenc.arrays import make_stimuli
from neuroenc.config import Model, Split
from neuroenc.features.extract import describe
from neuroenc.simulation import grammar
from neuroenc.simulation.train_network import training_scenes
from tests.conftest import toy_responses

N = 260
EYE = Model(network="nano", layers=["visual"])
PIXEL = Model(extractor="pixel")


class Pictures(NamedTuple):
    responses: xr.Dataset
    features: xr.Dataset
    pixels: xr.Dataset
    stimuli: xr.Dataset
    split: xr.Dataset
    scenes: list[grammar.Scene]


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """Pictures, their embeddings and small pictures, and voxels of each category and of mixtures."""
    folder = tmp_path_factory.mktemp("pictures")
    scenes = training_scenes(N, 4321)
    rng = np.random.default_rng(0)
    pictures = np.stack([grammar.draw(s, 96) for s in scenes])
    with h5py.File(folder / "pictures.hdf5", "w") as file:
        file["imgBrick"] = pictures
    ids = np.array([f"p{i:03d}" for i in range(N)])
    stimuli = make_stimuli(
        {"stimulus_id": ids, "pixel_index": np.arange(N), "split": np.full(N, "train"), "group": ids},
        attrs={"dataset": "drawn", "pixels": f"{folder / 'pictures.hdf5'}#imgBrick"},
        captions=np.array([grammar.sample_captions(s, rng)[0] for s in scenes]),
    )
    named = {
        name: describe(list(pictures), model).assign_coords(stimulus_id=("stimulus", ids))
        for name, model in (("eye", EYE), ("pixel", PIXEL))
    }
    objects = np.array(
        [[sum(t.size for t in s.things if t.category == c) for c in grammar.CATEGORIES] for s in scenes]
    )
    embedding, rgb = (named[k]["feature"].values for k in ("eye", "pixel"))
    mixed = [
        v @ rng.normal(size=(v.shape[1], 40)) for v in ((x - x.mean(0)) / x.std(0) for x in (embedding, rgb))
    ]
    signal = np.concatenate([np.repeat(objects, 3, axis=1), *mixed], 1)
    signal = (signal - signal.mean(0)) / signal.std(0)
    responses = toy_responses(rng, ids, (signal + 0.7 * rng.normal(size=signal.shape)).astype("f4"))
    n = signal.shape[1]
    regions = {
        f"roi_{c}": ("neuroid", np.isin(np.arange(n), [3 * k, 3 * k + 1, 3 * k + 2]))
        for k, c in enumerate(grammar.CATEGORIES)
    }
    responses = responses.drop_vars([c for c in responses.coords if str(c).startswith("roi_")]).assign_coords(
        regions
    )
    split = splits.make(stimuli, Split(kind="stimulus", test_fraction=0.12))
    return Pictures(responses, named["eye"], named["pixel"], stimuli, split, scenes)
