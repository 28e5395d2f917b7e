"""One core of two subjects: what the estimator gives side by side, apart again in files of each."""

import numpy as np
import pytest

from neuroenc import config, splits
from neuroenc.arrays import CONTRACT, load, make_features, make_stimuli, save
from neuroenc.encoders import ResponseCore, predict_fits, save_fits
from neuroenc.encoders.joint import encode_jointly, side_by_side
from neuroenc.errors import InputError
from tests.conftest import toy_responses

N, SIDE = 60, 8
IDS = np.array([f"p{i:03d}" for i in range(N)])
OPTIONS = {"n_filters": 3, "n_blocks": 2, "n_hidden": 4, "max_epochs": 3, "readout": "gaussian"}


@pytest.fixture
def world():
    """Two subjects: 40 pictures each, 20 of them shared; 4 and 3 neuroids."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, SIDE**2, 1)).astype("f4")
    Y = rng.normal(size=(N, 7)).astype("f4")
    features = make_features(X, stimulus_id=IDS, layer=np.array(["x"]), attrs=dict.fromkeys(CONTRACT, "toy"))
    stimuli = make_stimuli(
        {"stimulus_id": IDS, "pixel_index": np.arange(N), "split": np.full(N, "train"), "group": IDS},
        attrs={"dataset": "toy", "pixels": "none"},
    )
    split = splits.make(stimuli, config.Split(kind="stimulus", test_fraction=0.25))
    responses = {"a": toy_responses(rng, IDS[:40], Y[:40, :4]), "b": toy_responses(rng, IDS[20:], Y[20:, 4:])}
    return responses, features, split, X, Y


@pytest.mark.parametrize("readout", ["factorised", "gaussian", "semantic_transformer"])
def test_it_is_the_estimator_on_responses_side_by_side(world, tmp_path, readout):
    responses, features, split, X, Y = world
    options = config.ResponseCore(**(OPTIONS | {"readout": readout}))
    found = encode_jointly(responses, features, split, options)
    whole = Y.copy()
    whole[40:, :4], whole[:20, 4:] = np.nan, np.nan
    order = [IDS.tolist().index(s) for s in split["stimulus_id"].values]
    side, inner = np.empty((2, N), int)
    side[order], inner[order] = split["side"].values[0], split["inner"].values[0]
    train = side == splits.TRAIN
    held = inner[train] == np.unique(inner[train])[0]
    rows = np.arange(train.sum())
    scaled = X - X[train].mean((0, 1))
    scaled /= X[train].std((0, 1))
    model = ResponseCore(**(OPTIONS | {"readout": readout}), cv=[(rows[~held], rows[held])])
    expected = model.fit(scaled[train], whole[train]).predict(scaled)
    for subject, seen, mine in (("a", slice(0, 40), slice(0, 4)), ("b", slice(20, 60), slice(4, 7))):
        predictions, fits = found[subject]
        tested = predictions["stimulus_id"].values
        assert set(tested) == set(IDS[side == splits.TEST]) & set(IDS[seen])
        at = np.searchsorted(IDS, tested)
        np.testing.assert_allclose(predictions["prediction"], expected[at, mine], atol=1e-4)
        assert predictions["neuroid_id"].values.tolist() == responses[subject]["neuroid_id"].values.tolist()
        assert set(predictions["training_stimulus_id"].values) == set(IDS[seen])
        path = tmp_path / f"{subject}.safetensors"
        save_fits(fits, features.attrs, responses[subject]["neuroid_id"].values, path)
        again = predict_fits(path, features, 0)
        np.testing.assert_allclose(again.values[at], predictions["prediction"], atol=1e-5)


def test_side_by_side_nobody_has_what_they_did_not_see(world):
    responses, *_, Y = world
    found = side_by_side(responses)
    assert found["response"].shape == (60, 7)
    np.testing.assert_array_equal(np.isnan(found["response"].values[:, 0]), np.arange(60) >= 40)
    np.testing.assert_allclose(found["response"].values[20:, 4:], Y[20:, 4:])


def test_a_subject_whose_neuroids_cannot_be_fitted_has_none(world):
    responses, features, split, *_ = world
    responses["b"]["response"][:] = 1.0
    found = encode_jointly(responses, features, split, config.ResponseCore(**OPTIONS))
    assert np.isnan(found["b"][0]["prediction"]).all() and not found["b"][1]
    assert np.isfinite(found["a"][0]["prediction"]).all()


def test_time_bins_are_refused(world):
    responses = {"a": toy_responses(np.random.default_rng(0), IDS, np.ones((N, 2, 3), "f4"))}
    with pytest.raises(InputError, match="without time bins, and those of 'a' have 3"):
        side_by_side(responses)


def test_the_command_writes_each_subjects_files(world, tmp_path, run):
    responses, features, split, *_ = world
    for name, one in (("a", responses["a"]), ("b", responses["b"]), ("f", features), ("s", split)):
        save(one, tmp_path / f"{name}.nc")
    base = [
        "encode", "joint", f"--responses=a={tmp_path}/a.nc", f"--responses=b={tmp_path}/b.nc",
        f"--features={tmp_path}/f.nc", f"--split={tmp_path}/s.nc", f"--out=a={tmp_path}/pa.nc",
    ]  # fmt: skip
    rest = [f"--weights={s}={tmp_path}/{s}.safetensors" for s in "ab"]
    core = '{"name": "response_core", "joint": true, "n_filters": 3, "n_blocks": 2, "max_epochs": 2}'
    status, _, err = run(*base, *rest, "--options", core)
    assert status == 2 and "--out is of a, expected SUBJECT=FILE of a, b" in err
    base.append(f"--out=b={tmp_path}/pb.nc")
    status, _, err = run(*base, *rest, "--options", '{"name": "ridge"}')
    assert status == 2 and "'ridge' fits subjects one by one" in err
    assert run(*base, *rest, "--options", core)[0] == 0
    assert load(tmp_path / "pb.nc", "predictions").sizes["neuroid"] == 3
    assert sorted(p.name for p in tmp_path.glob("*.safetensors")) == ["a.safetensors", "b.safetensors"]
    assert not list(tmp_path.glob(".a*"))
    single = [
        f"--responses={tmp_path}/a.nc",
        *base[4:6],
        f"--out={tmp_path}/x.nc",
        f"--weights={tmp_path}/x.safetensors",
    ]
    status, _, err = run("encode", "fit", *single, "--options", core)
    assert status == 2 and "Use `neuroenc encode joint`" in err
