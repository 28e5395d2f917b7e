"""Weights and the JSON beside them belong together."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from neuroenc import splits
from neuroenc.arrays import make_features
from neuroenc.config import PLS, Ridge, Split
from neuroenc.encoders import RidgeCV, load_model, save_model
from neuroenc.encoders.encode import encode
from neuroenc.encoders.store import predict_fits, save_fits
from neuroenc.errors import InputError
from tests.conftest import toy_responses


def fitted(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(40, 5))
    return RidgeCV().fit(X, X @ rng.normal(size=(5, 3)))


def older(path):
    """Leave the hash out, as files of earlier versions do."""
    save_file(load_file(path), path)
    beside = path.with_suffix(".json")
    described = json.loads(beside.read_text())
    del described["arrays_sha256"]
    beside.write_text(json.dumps(described))


def test_a_mixed_pair_is_refused(tmp_path):
    one, other = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
    for seed, path in enumerate((one, other)):
        save_model(fitted(seed), path)
    X = np.random.default_rng(2).normal(size=(4, 5))
    np.testing.assert_array_equal(load_model(one).predict(X), fitted(0).predict(X))
    mixed = tmp_path / "mixed.safetensors"
    for weights, beside in ((one, other), (other, one)):
        shutil.copy(weights, mixed)
        shutil.copy(beside.with_suffix(".json"), mixed.with_suffix(".json"))
        with pytest.raises(
            InputError, match=r"mixed\.safetensors and .*mixed\.json are of two fits"
        ) as error:
            load_model(mixed)
        assert "\n" not in str(error.value)
    older(other)
    np.testing.assert_array_equal(load_model(other).predict(X), fitted(1).predict(X))
    for a, b in ((one, other), (other, one)):
        shutil.copy(a, mixed)
        shutil.copy(b.with_suffix(".json"), mixed.with_suffix(".json"))
        with pytest.raises(InputError, match="are of two fits"):
            load_model(mixed)
    one.write_bytes(one.read_bytes()[:50])
    with pytest.raises(InputError, match="Cannot read"):
        load_model(one)


def test_a_mixed_pair_of_all_folds_is_refused(toy, tmp_path):
    stimuli, features, responses = toy
    paths = []
    for seed in (0, 1):
        split = splits.make(stimuli, Split(kind="kfold", n_folds=2, seed=seed))
        predictions, fits = encode(responses, features, split, Ridge(alphas=(-1, 4, 4)))
        paths.append(tmp_path / f"{seed}.safetensors")
        save_fits(fits, features.attrs, predictions["neuroid_id"].values, paths[-1])
    expected = predict_fits(paths[0], features, 0)
    shutil.copy(paths[1].with_suffix(".json"), paths[0].with_suffix(".json"))
    with pytest.raises(InputError, match="are of two fits"):
        predict_fits(paths[0], features, 0)
    save_fits(fits, features.attrs, predictions["neuroid_id"].values, paths[0])
    older(paths[0])
    found = predict_fits(paths[0], features, 0)
    assert found.shape == expected.shape and not np.allclose(found, expected)


@pytest.mark.parametrize("options", [Ridge(alphas=(-1, 4, 4)), PLS(n_components=3)], ids=lambda o: o.name)
@pytest.mark.parametrize("chosen", [(0, 0, 0, 1, 1, 1), (0, 0, 0, 0, 0, 1)])
def test_as_many_features_as_neuroids_are_not_taken_for_each_other(toy, options, chosen, tmp_path):
    rng = np.random.default_rng(0)
    ids = toy[0]["stimulus_id"].values
    X = (rng.normal(size=(120, 12)) + 5).astype("f4")
    W = rng.normal(size=(2, 6, 6)) * (np.arange(2)[:, None] == chosen)[:, None]
    responses = toy_responses(rng, ids, X @ W.reshape(12, 6) + 0.1 * rng.normal(size=(120, 6)))
    features = make_features(X, stimulus_id=ids, layer=np.repeat(["a", "b"], 6), attrs=toy[1].attrs)
    split = splits.make(toy[0], Split(kind="stimulus"))
    predictions, fits = encode(responses, features, split, options)
    assert predictions["chosen_layer"].values.tolist() == [["ab"[k] for k in chosen]]
    save_fits(fits, features.attrs, predictions["neuroid_id"].values, tmp_path / "w.safetensors")
    again = predict_fits(tmp_path / "w.safetensors", features, 0)
    rows = [ids.tolist().index(s) for s in predictions["stimulus_id"].values]
    np.testing.assert_allclose(again.values[rows], predictions["prediction"].values, atol=1e-5)
