import json

import numpy as np
import pytest
from safetensors.numpy import load_file
from sklearn.linear_model import Ridge

from neuroenc import splits
from neuroenc.arrays import load, save
from neuroenc.config import Encoder, Split
from neuroenc.encoders.encode import encode
from neuroenc.encoders.store import save_weights
from neuroenc.errors import ContractError, LeakError
from tests.conftest import toy_responses

OPTIONS = Encoder(alphas=(-1, 4, 8), dtype="float64")


@pytest.fixture
def split(toy):
    return splits.make(toy[0], Split(kind="stimulus", n_folds=2))


def test_the_layer_that_drives_the_responses_is_chosen(toy, split):
    predictions, _ = encode(toy[2], toy[1], split, OPTIONS)
    assert (predictions["chosen_layer"].values == "second").all()
    assert predictions["prediction"].shape == (48, 6)
    test = split["stimulus_id"].values[split["side"].values[0] == splits.TEST]
    assert set(predictions["stimulus_id"].values[predictions["fold"].values == 0]) == set(test)


def test_predictions_are_those_of_scikit_learn(toy, split):
    _, features, responses = toy
    predictions, _ = encode(responses, features, split, OPTIONS)
    X, Y = features["feature"].values[:, 10:], responses["response"].values
    train, test = (split["side"].values[0] == s for s in (splits.TRAIN, splits.TEST))
    X = (X - X[train].mean(0)) / X[train].std(0)
    ridge = Ridge(alpha=predictions["alpha"].values[0]).fit(X[train], Y[train])
    rows = predictions["fold"].values == 0
    np.testing.assert_allclose(predictions["prediction"].values[rows], ridge.predict(X[test]), atol=1e-4)


def test_the_test_set_has_no_say(toy, split):
    """Responses to test stimuli may be anything: nothing that is fitted or chosen changes."""
    responses = toy[2].copy(deep=True)
    test = np.isin(
        responses["stimulus_id"].values, split["stimulus_id"].values[split["side"].values[0] == splits.TEST]
    )
    one = split.isel(fold=[0])
    before, weights = encode(responses, toy[1], one, OPTIONS)
    responses["response"].values[test] = 1e3 * np.random.default_rng(0).normal(size=(test.sum(), 6))
    after, changed = encode(responses, toy[1], one, OPTIONS)
    assert after.identical(before)
    assert all((weights[k] == changed[k]).all() for k in weights)


def test_unusable_neuroids_are_kept_as_nan(toy, split):
    responses = toy[2].copy(deep=True)
    values = responses["response"].values
    values[3, 1], values[4, 2], values[:, 3] = np.nan, np.inf, 7
    split = split.isel(fold=[0])
    whole, _ = encode(toy[2], toy[1], split, OPTIONS)
    predictions, _ = encode(responses, toy[1], split, OPTIONS)
    bad = np.isnan(predictions["prediction"].values).all(0)
    side = split["side"].values[0]
    # one missing value in training disables a neuroid, one in the test set does not
    assert bad.tolist() == [False, side[3] == 0, side[4] == 0, True, False, False]
    np.testing.assert_allclose(
        predictions["prediction"].values[:, [0, 4, 5]], whole["prediction"].values[:, [0, 4, 5]], rtol=1e-5
    )


def test_time_bins_pass_through(toy, split):
    stimuli, features, responses = toy
    values = responses["response"].values
    stacked = np.stack([values, values[:, ::-1]], axis=2)
    timed = toy_responses(np.random.default_rng(0), stimuli["stimulus_id"].values, stacked)
    predictions, _ = encode(timed, features, split, OPTIONS)
    flat, _ = encode(responses, features, split, OPTIONS)
    assert predictions["prediction"].dims == ("presentation", "neuroid", "time_bin")
    np.testing.assert_allclose(predictions["prediction"].values[..., 0], flat["prediction"].values, atol=1e-5)


def test_leaks_and_strangers_are_refused(toy, split):
    _, features, responses = toy
    leaking = responses.assign_coords(group=("presentation", np.full(120, "one story")))
    with pytest.raises(LeakError, match="groups on both sides"):
        encode(leaking, features, split, OPTIONS)
    fewer = features.isel(stimulus=slice(0, 100))
    with pytest.raises(ContractError, match="20 of 120 stimuli have no features"):
        encode(responses, fewer, split, OPTIONS)


def test_stored_weights_predict_again(toy, split, tmp_path):
    _, features, responses = toy
    predictions, weights = encode(responses, features, split, OPTIONS)
    save_weights(weights, features.attrs, responses["neuroid_id"].values, tmp_path / "w.safetensors")
    stored = load_file(tmp_path / "w.safetensors")
    layer = {k.split("/")[2]: v for k, v in stored.items() if k.startswith("fold0/second/")}
    rows = split["side"].values[0] == splits.TEST
    X = (features["feature"].values[rows][:, 10:] - layer["centre"]) / layer["scale"]
    again = X @ layer["coef"].T + layer["intercept"]
    first = predictions["prediction"].values[predictions["fold"].values == 0]
    np.testing.assert_allclose(again, first[:, layer["neuroid"]], atol=1e-4)
    described = json.loads((tmp_path / "w.json").read_text())
    assert described["contract"]["model"] == "toy" and len(described["neuroid_id"]) == 6


def test_transductive_scaling_is_said(toy, split):
    responses = toy[2].assign_attrs(normalised_on="split=train")
    assert encode(responses, toy[1], split, OPTIONS)[0].attrs["transductive"].startswith("sessions were")
    assert encode(toy[2], toy[1], split, OPTIONS)[0].attrs["transductive"] == "false"


def test_predictions_survive_the_disk(toy, split, tmp_path):
    predictions, _ = encode(toy[2], toy[1], split, OPTIONS)
    save(predictions, tmp_path / "p.nc")
    assert load(tmp_path / "p.nc", "predictions").identical(predictions)
