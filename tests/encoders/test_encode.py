import json
import warnings

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from neuroenc import config, splits
from neuroenc.arrays import CONTRACT, check, load, make_features, save, trained
from neuroenc.config import Split, Stack
from neuroenc.encoders.encode import encode, queries
from neuroenc.encoders.stack import stack_predictions
from neuroenc.encoders.store import predict_fits, save_fits
from neuroenc.errors import ContractError, InputError, InputWarning, LeakError
from neuroenc.evaluation.evaluate import evaluate
from tests.conftest import toy_responses

OPTIONS = config.Ridge(alphas=(-1, 4, 8), dtype="float64")


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
    for a, b in zip(weights, changed, strict=True):
        np.testing.assert_array_equal(a.model.coef_, b.model.coef_)


def test_neuroids_are_fitted_to_the_stimuli_they_have_values_of(toy, split, capsys):
    """A stimulus without any value is named; a neuroid that lacks one, or an infinite one, keeps its others."""
    responses = toy[2].copy(deep=True)
    split = split.isel(fold=[0])
    train = np.flatnonzero(split["side"].values[0] == splits.TRAIN)
    values = responses["response"].values
    values[train[3], 1], values[train[4], 2], values[:, 3], values[train[5]] = np.nan, np.inf, 7, np.nan
    predictions, _ = encode(responses, toy[1], split, OPTIONS)
    fewer = responses.isel(presentation=np.arange(120) != train[5])
    expected, _ = encode(fewer, toy[1], split, OPTIONS)
    np.testing.assert_array_equal(predictions["prediction"].values, expected["prediction"].values)
    assert np.isnan(predictions["prediction"].values).all(0).tolist() == [k == 3 for k in range(6)]
    said = capsys.readouterr().out
    name = responses["stimulus_id"].values[train[5]]
    assert f"1 of 120 stimuli have no response (all NaN) and are left out: {name}" in said
    assert "2 of 6 neuroids lack values of 2 training stimuli of fold 0 and are fitted to the others" in said
    assert name in predictions.attrs["left_out"] and expected.attrs["left_out"] == ""

    X, rows = toy[1]["feature"].values[:, 10:], np.setdiff1d(train, train[5])
    X = (X - X[rows].mean(0)) / X[rows].std(0)
    for k in (1, 2):
        there = rows[np.isfinite(values[rows, k])]
        assert len(there) == len(rows) - 1
        ridge = Ridge(alpha=predictions["alpha"].values[0, k]).fit(X[there], values[there, k])
        test = split["side"].values[0] == splits.TEST
        np.testing.assert_allclose(predictions["prediction"].values[:, k], ridge.predict(X[test]), atol=1e-4)


@pytest.mark.parametrize("name", ["banded", "pls", "factorised", "gaussian", "semantic_transformer"])
def test_every_encoder_meets_missing_values(toy, split, name, capsys):
    responses = toy[2].copy(deep=True)
    train = split["side"].values[0] == splits.TRAIN
    responses["response"].values[np.flatnonzero(train)[3:9], 1] = np.nan
    options = next(o for o in ENCODERS if o.name == name)
    found, _ = encode(responses, gridded(toy[1]), split.isel(fold=[0]), options)
    whole, _ = encode(toy[2], gridded(toy[1]), split.isel(fold=[0]), options)
    one, other = found["prediction"].values[:, 1], whole["prediction"].values[:, 1]
    if name == "pls":
        assert np.isnan(one).all() and np.isfinite(found["prediction"].values[:, 0]).all()
        assert "1 of 6 neuroids lack values of 6 training stimuli of fold 0" in capsys.readouterr().out
    else:
        assert np.corrcoef(one, other)[0, 1] > 0.8 and not np.array_equal(one, other)


def test_time_bins_pass_through(toy, split, tmp_path):
    stimuli, features, responses = toy
    values = responses["response"].values
    stacked = np.stack([values, values[:, ::-1]], axis=2)
    timed = toy_responses(np.random.default_rng(0), stimuli["stimulus_id"].values, stacked)
    predictions, fits = encode(timed, features, split, OPTIONS)
    flat, _ = encode(responses, features, split, OPTIONS)
    assert predictions["prediction"].dims == ("presentation", "neuroid", "time_bin")
    times = {k: timed[k].values for k in ("start", "stop")}
    save_fits(fits, features.attrs, timed["neuroid_id"].values, tmp_path / "w.safetensors", time_bin=times)
    again = predict_fits(tmp_path / "w.safetensors", features, 0)
    assert again.dims == predictions["prediction"].dims
    np.testing.assert_array_equal(again["start"].values, times["start"])
    mine = predictions["prediction"].isel(presentation=predictions["fold"].values == 0)
    place = {s: i for i, s in enumerate(again["stimulus_id"].values)}
    again = again.values[[place[s] for s in mine["stimulus_id"].values]]
    np.testing.assert_allclose(again, mine.values, atol=1e-5)
    save_fits(fits, features.attrs, timed["neuroid_id"].values, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="was fitted to time bins and does not say which"):
        predict_fits(tmp_path / "w.safetensors", features, 0)
    np.testing.assert_allclose(predictions["prediction"].values[..., 0], flat["prediction"].values, atol=1e-5)


def test_leaks_and_strangers_are_refused(toy, split):
    _, features, responses = toy
    leaking = responses.assign_coords(group=("presentation", np.full(120, "one story")))
    with pytest.raises(LeakError, match="groups on both sides"):
        encode(leaking, features, split, OPTIONS)
    fewer = features.isel(stimulus=slice(0, 100))
    with pytest.raises(ContractError, match="20 of 120 stimuli have no features"):
        encode(responses, fewer, split, OPTIONS)


ENCODERS = [
    OPTIONS,
    config.Ridge(alphas=(-1, 4, 8), layers="stack"),
    config.Banded(alphas=(-1, 4, 8), n_candidates=4),
    config.PLS(n_components=5),
    config.Factorised(alphas=(0, 3, 3)),
    config.Gaussian(n_positions=2, sizes=(0.2,)),
    config.SemanticTransformer(max_epochs=3, device="cpu"),
    config.ResponseCore(n_filters=4, n_blocks=1, max_epochs=3, device="cpu"),
    config.Attention(max_epochs=3, n_dimensions=16, n_heads=2, n_hidden=16, device="cpu"),
]


def gridded(features):
    """The same numbers as 4 tokens of 5 channels, in two layers of 2 and 3."""
    values = features["feature"].values[:, 10:]
    attrs = features.attrs | {"shape": "grid"}
    return make_features(
        values.reshape(len(values), 4, 5), stimulus_id=features["stimulus_id"].values,
        layer=np.repeat(["a", "b"], [2, 3]), attrs={k: attrs[k] for k in attrs if k in CONTRACT},
    )  # fmt: skip


@pytest.mark.parametrize("options", ENCODERS, ids=lambda o: f"{o.name}-{getattr(o, 'layers', '')}")
def test_every_encoder_predicts_and_stored_weights_predict_again(toy, split, tmp_path, options):
    _, features, responses = toy
    grid = gridded(features)
    predictions, fits = encode(responses, grid, split, options)
    assert np.isfinite(predictions["prediction"].values).all()
    # the validation stimuli are training stimuli of their fold
    for fold in range(2):
        held = predictions["held_stimulus_id"].values[predictions["held_fold"].values == fold]
        side = dict(zip(split["stimulus_id"].values, split["side"].values[fold], strict=True))
        assert len(held) and all(side[s] == splits.TRAIN for s in held)
    save_fits(fits, grid.attrs, responses["neuroid_id"].values, tmp_path / "w.safetensors")
    described = json.loads((tmp_path / "w.json").read_text())
    assert described["contract"]["model"] == "toy" and len(described["neuroid_id"]) == 6
    for fold in range(2):
        again = predict_fits(tmp_path / "w.safetensors", grid, fold)
        assert (again["neuroid_id"].values == responses["neuroid_id"].values).all()
        again = again.values
        rows = predictions["fold"].values == fold
        place = {s: i for i, s in enumerate(grid["stimulus_id"].values)}
        shown = [place[s] for s in predictions["stimulus_id"].values[rows]]
        np.testing.assert_allclose(again[shown], predictions["prediction"].values[rows], atol=1e-3)
    with pytest.raises(InputError, match="No models of fold 7"):
        predict_fits(tmp_path / "w.safetensors", grid, 7)
    with pytest.raises(ContractError, match="disagree with the weights in 'model'"):
        predict_fits(tmp_path / "w.safetensors", grid.assign_attrs(model="other"), 0)


@pytest.mark.parametrize("options", ENCODERS[:4], ids=lambda o: o.name)
def test_validation_stimuli_have_no_say_in_their_own_prediction(toy, split, options):
    """With alphas and layers given, responses to the first inner fold may be anything."""
    _, features, responses = toy
    one = split.isel(fold=[0])
    before, _ = encode(responses, features, one, options)
    held = np.isin(responses["stimulus_id"].values, before["held_stimulus_id"].values)
    changed = responses.copy(deep=True)
    changed["response"].values[held] += 1e-3 * np.random.default_rng(0).normal(size=(held.sum(), 6))
    after, _ = encode(changed, features, one, options)
    same = before["alpha"].values == after["alpha"].values
    same |= np.isnan(before["alpha"].values)
    same &= before["chosen_layer"].values == after["chosen_layer"].values
    assert same.any()
    moved = np.abs(after["validation"].values - before["validation"].values).max(0)
    tested = np.abs(after["prediction"].values - before["prediction"].values).max(0)
    if getattr(options, "layers", "select") == "select":
        np.testing.assert_array_equal(moved[same[0]], 0)
    assert (tested > 0).all()


def test_a_stack_of_encoders_is_scored_like_any_other(toy, split):
    _, features, responses = toy
    grid = gridded(features)
    members = {o.name: encode(responses, grid, split, o)[0] for o in (ENCODERS[0], ENCODERS[3])}
    stacked = stack_predictions(responses, members)
    assert stacked.attrs["encoder"] == "stack"
    np.testing.assert_allclose(stacked["weight"].sum("layer"), 1, atol=1e-6)
    assert set(np.unique(stacked["chosen_layer"].values)) <= set(members)
    scores = evaluate(responses, stacked, config.Evaluation(n_bootstraps=100, n_permutations=100))
    assert np.isfinite(scores["score"].sel(metric="pearson_r")).all()
    other, _ = encode(
        responses, grid, splits.make(toy[0], Split(kind="stimulus", n_folds=2, seed=9)), OPTIONS
    )
    with pytest.raises(InputError, match="differ in 'stimulus_id'"):
        stack_predictions(responses, {"a": members["ridge"], "b": other})


def test_queries_follow_the_regions(toy):
    responses = toy[2].assign_coords(
        roi_B=("neuroid", np.arange(6) < 2), hemisphere=("neuroid", np.array(list("LLLRRR")))
    )
    member, names = queries(responses, config.Attention())
    assert names == ["A", "B", "none"] and member.sum(0).tolist() == [3, 2, 2]
    _, names = queries(responses, config.Attention(queries="hemisphere"))
    assert names == ["L A", "L B", "R A", "none"]
    member, names = queries(responses, config.Attention(networks={"both": ["A", "B"]}))
    assert names == ["both", "none"] and member[:, 0].sum() == 4
    member, names = queries(responses, config.Attention(queries="voxel"))
    assert member is None and names == responses["neuroid_id"].values.tolist()
    with pytest.raises(InputError, match="no region 'C'"):
        queries(responses, config.Attention(networks={"x": ["C"]}))


def test_features_and_responses_that_cannot_be_fitted_are_named(toy, split):
    _, features, responses = toy
    for options in ENCODERS[4:]:
        with pytest.raises(InputError, match="needs features on a grid of tokens"):
            encode(responses, features, split, options)
    constant = responses.copy(deep=True)
    constant["response"].values[:] = 1
    with pytest.raises(InputError, match="None of 6 neuroids varies and has values"):
        encode(constant, features, split, OPTIONS)
    still = features.copy(deep=True)
    still["feature"].values[:, :10] = 3
    with pytest.raises(InputError, match="All 10 feature columns of first are constant"):
        encode(responses, still, split, OPTIONS)


def test_single_constant_columns_are_named_and_do_no_harm(toy, split, capsys):
    _, features, responses = toy
    still = features.copy(deep=True)
    still["feature"].values[:, 12] = 3
    predictions, _ = encode(responses, still, split, OPTIONS)
    assert np.isfinite(predictions["prediction"].values).all()
    assert "1 of 20 feature columns of second are constant" in capsys.readouterr().out


def test_transductive_scaling_is_said(toy, split):
    responses = toy[2].assign_attrs(normalised_on="split=train")
    assert encode(responses, toy[1], split, OPTIONS)[0].attrs["transductive"].startswith("sessions were")
    assert encode(toy[2], toy[1], split, OPTIONS)[0].attrs["transductive"] == "false"


def test_predictions_survive_the_disk(toy, split, tmp_path):
    predictions, _ = encode(toy[2], toy[1], split, OPTIONS)
    save(predictions, tmp_path / "p.nc")
    assert load(tmp_path / "p.nc", "predictions").identical(predictions)


@pytest.mark.parametrize(
    "name",
    ["chosen_layer", "alpha", "validation_r2", "layer_name", "validation", "held_stimulus_id", "held_fold",
     "training", "training_stimulus_id"],
)  # fmt: skip
def test_predictions_that_lack_what_later_stages_read_are_refused_at_once(toy, split, tmp_path, name):
    predictions, _ = encode(toy[2], toy[1], split, OPTIONS)
    predictions.drop_vars(name).to_netcdf(tmp_path / "p.nc", engine="h5netcdf")
    with pytest.raises(ContractError, match=f"predictions lack '{name}'. Write them again by"):
        load(tmp_path / "p.nc", "predictions")
    other = predictions.drop_vars(name).assign({name: ("elsewhere", np.zeros(3, "c8"))})
    with pytest.raises(ContractError, match=f"^{name} has dimensions .* expected .* of [a-z ]*. Write the"):
        check(other, "predictions")


def test_predictions_name_the_stimuli_each_fold_was_fitted_to(toy):
    stimuli, features, responses = toy
    split = splits.make(stimuli, Split(kind="kfold", n_folds=3))
    split["side"].values[1, :3], split["inner"].values[1, :3] = splits.UNUSED, -1
    lost = responses.copy(deep=True)
    lost["response"].values[7] = np.nan
    predictions, _ = encode(lost, features, split, OPTIONS)
    ids = stimuli["stimulus_id"].values
    found = trained(predictions, np.append(ids, "stranger"))
    fitted = split["side"].sel(stimulus=[split["stimulus_id"].values.tolist().index(s) for s in ids]) == 0
    np.testing.assert_array_equal(found[:, :-1], fitted.values & (np.arange(120) != 7))
    assert not found[:, -1].any()
    bad = predictions.assign_coords(fold=("presentation", predictions["fold"].values + 1))
    with pytest.raises(ContractError, match="fold goes from 1 to 3, expected 0 to 2"):
        check(bad, "predictions")


def test_long_names_of_layers_are_not_cut(toy, split):
    _, features, responses = toy
    long = np.char.add("layer." * 20, features["layer"].values)
    named = features.assign_coords(layer=("feature_index", long))
    predictions, _ = encode(responses, named, split, OPTIONS)
    assert set(np.unique(predictions["chosen_layer"].values)) <= set(long)
    scores = evaluate(responses, predictions, config.Evaluation(n_bootstraps=100, n_permutations=100))
    assert set(scores["chosen_layer"].values) <= set(long)
    stacked = stack_predictions(responses, {"m" * 90: predictions, "n": predictions}, Stack(select=True))
    assert set(np.unique(stacked["chosen_layer"].values)) <= {"m" * 90, "n"}


@pytest.mark.parametrize("asks", ["region", "voxel"])
def test_queries_that_no_usable_neuroid_reads_are_left_out(toy, split, asks):
    _, features, responses = toy
    changed = responses.copy(deep=True).assign_coords(roi_B=("neuroid", np.arange(6) == 3))
    changed["response"].values[:, 3] = 7
    options = config.Attention(queries=asks, max_epochs=2, n_dimensions=16, n_heads=2, device="cpu")
    predictions, fits = encode(changed, gridded(features), split, options)
    names = predictions.attrs["queries"].split(", ")
    assert ("B" not in names and "A" in names) if asks == "region" else len(names) == 5
    assert (
        fits[0].model.regions == "each" if asks == "voxel" else fits[0].model.regions.shape == (5, len(names))
    )
    assert np.isnan(predictions["prediction"].values).all(0).tolist() == [k == 3 for k in range(6)]
    grid = gridded(features)["feature"].values[:4]
    assert np.isfinite(fits[0].model.attention_maps(grid)).all()


def test_a_grid_of_alphas_that_ends_too_early_is_a_warning(toy, split):
    """Of a grid up to 0.1 each neuroid took 0.1; a wider grid, and noise, which wants the largest, say nothing."""
    _, features, responses = toy
    with pytest.warns(InputWarning, match=r"The largest alpha, 0.1, was chosen for 100% of the 12 neuroids"):
        encode(responses, features, split, config.Ridge(alphas=(-3, -1, 3)))
    noise = responses.copy(deep=True)
    noise["response"].values[:] = np.random.default_rng(0).normal(size=noise["response"].shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputWarning)
        encode(responses, features, split, config.Ridge(alphas=(-1, 4, 8)))
        encode(noise, features, split, config.Ridge(alphas=(-1, 4, 8)))
