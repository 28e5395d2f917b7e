"""Fits of two subjects on disk, and an exported stack: shared by the tests of exports."""

import numpy as np
import pytest

from neuroenc import datasets, splits
from neuroenc.arrays import load, save
from neuroenc.config import Evaluation, Split
from neuroenc.datasets import read_pixels
from neuroenc.encoders import encode, save_fits, stack_predictions
from neuroenc.encoders.export import export
from neuroenc.evaluation import evaluate
from neuroenc.features import extract
from tests.encoders.exports import MODELS, OPTIONS, read, subject


@pytest.fixture(scope="module")
def world(nsd_options, tmp_path_factory):
    """A folder with all that an export reads, of two subjects; and their stimuli."""
    folder = tmp_path_factory.mktemp("fits")
    module = datasets.module(nsd_options)
    stimuli = module.load_stimuli(nsd_options, ["01", "02"])
    split = splits.make(stimuli, Split(kind="dataset", n_inner=4))
    for name, model in MODELS.items():
        extract(stimuli, model, folder / f"f-{name}.nc")
    for person in ("01", "02"):
        responses = module.load_responses(nsd_options, person)
        save(responses, folder / f"r-{person}.nc")
        made = {}
        for name, options in OPTIONS.items():
            found = load(folder / f"f-{name}.nc", "features")
            made[name], fits = encode(responses, found, split, options)
            save_fits(fits, found.attrs, responses["neuroid_id"].values, folder / f"w-{person}-{name}.safetensors",
                      made[name].attrs["queries"])  # fmt: skip
        made["stack"] = stack_predictions(responses, dict(made))
        for name, predictions in made.items():
            save(predictions, folder / f"p-{person}-{name}.nc")
            save(evaluate(responses, predictions, Evaluation(n_bootstraps=100, n_permutations=100)),
                 folder / f"s-{person}-{name}.nc")  # fmt: skip
    return folder, stimuli


@pytest.fixture(scope="module")
def exported(world):
    """The stack of subject 01, as the library writes it."""
    folder, _ = world
    export(folder / "exported", [subject(folder)], MODELS, read(folder), name="stack", licence="cc-by-4.0")
    return folder / "exported"


@pytest.fixture(scope="module")
def tested(world):
    """Test pictures of subject 01 and what the stack predicts of them."""
    folder, stimuli = world
    predictions = load(folder / "p-01-stack.nc", "predictions")
    row = {s: i for i, s in enumerate(stimuli["stimulus_id"].values)}
    rows = np.array([row[s] for s in predictions["stimulus_id"].values])
    return read_pixels(stimuli, rows), predictions["prediction"].values
