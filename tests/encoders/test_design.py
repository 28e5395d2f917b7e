"""Features in parts: what is read from a file is what stands in memory."""

import gc
import sys
import weakref

import h5py
import numpy as np
import pytest
import xarray as xr

from neuroenc import config, splits
from neuroenc.arrays import load, make_features, save
from neuroenc.config import Split
from neuroenc.encoders import BandedRidgeCV, RidgeCV
from neuroenc.encoders import design as designs
from neuroenc.encoders.delay import delay
from neuroenc.encoders.design import Design, design, moments
from neuroenc.encoders.encode import encode
from neuroenc.encoders.in_blocks import encode_in_blocks, join_blocks
from neuroenc.encoders.inputs import check_features, check_fit
from neuroenc.encoders.store import load_fits, predict_fits, save_fits
from neuroenc.errors import ContractError, InputError
from tests.conftest import toy_responses

RIDGE = config.Ridge(alphas=(-1, 4, 6))
BANDED = config.Banded(alphas=(-1, 4, 5), n_candidates=4)


def wide(toy, tokens, dtype="f2"):
    """Features of two layers, more of them than stimuli, in memory."""
    _, features, _ = toy
    rng = np.random.default_rng(4)
    shape = (120, 4, 40) if tokens else (120, 160)
    values = (rng.normal(size=shape) * 2 + 3).astype(dtype)
    values[..., :20] += features["feature"].values[:, 10:].reshape(120, *[1] * tokens, 20)
    layer = np.repeat(["a", "b"], [shape[-1] // 4, shape[-1] - shape[-1] // 4])
    return make_features(
        values, stimulus_id=features["stimulus_id"].values, layer=layer, attrs=features.attrs
    )


def lazily(features, path):
    save(features, path)
    return load(path, "features")


@pytest.fixture(params=["memory", "map", "hdf5", "netcdf"])
def kept(request, tmp_path):
    """Keep an array in memory or on disk."""
    files = []

    def keep(values):
        path = tmp_path / f"{len(files)}"
        match request.param:
            case "memory":
                return values
            case "map":
                np.save(path.with_suffix(".npy"), values)
                return np.load(path.with_suffix(".npy"), mmap_mode="r")
            case "hdf5":
                files.append(h5py.File(path, "w"))
                return files[-1].create_dataset("x", data=values)
        dims = [f"d{i}" for i in range(values.ndim)]
        xr.Dataset({"x": (dims, values)}).to_netcdf(path, engine="h5netcdf")
        files.append(xr.open_dataset(path, engine="h5netcdf", cache=False))
        return files[-1]["x"]

    yield keep
    for file in files:
        file.close()


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_any_rows_and_columns_are_those_of_the_whole(kept, flat, dtype, monkeypatch):
    monkeypatch.setattr(designs, "BRIDGED_BYTES", 40)
    monkeypatch.setattr(designs, "BLOCK_BYTES", 300)
    rng = np.random.default_rng(0)
    values = rng.normal(size=(30, 4, 6)).astype(dtype)
    rows, columns = rng.integers(0, 30, 25), np.array([1, 2, 5])
    centre, scale = rng.normal(size=(4, 3)).astype("f4"), rng.uniform(1, 2, (1, 3)).astype("f4")
    whole = (values.astype("f8" if dtype == "f8" else "f4")[rows][:, :, columns] - centre) / scale
    X = Design(kept(values), rows=rows, columns=columns, centre=centre, scale=scale, flat=flat)
    if flat:
        whole = whole.reshape(25, -1)
    assert X.shape == whole.shape and X.dtype == whole.dtype and len(X) == 25 and X.ndim == whole.ndim
    some = rng.integers(0, 25, 9)
    for index in (slice(None), slice(3, 9), some, np.arange(25) > 8, np.array([24]), slice(2, 2)):
        np.testing.assert_array_equal(X[index], whole[index], err_msg=str(index))
        np.testing.assert_array_equal(X.take(index)[:], whole[index], err_msg=str(index))
    np.testing.assert_array_equal(X.take(some)[1:5], whole[some][1:5])
    for columns in (slice(1, 2), slice(2, 11), np.array([2, 0, 1])):
        np.testing.assert_array_equal(X[some, columns], whole[some][:, columns])
    if not flat:
        np.testing.assert_array_equal(X[some, 1:3, np.array([2, 0])], whole[some][:, 1:3][:, :, [2, 0]])
        np.testing.assert_array_equal(X.flattened()[4:8, 5:7], whole[4:8].reshape(4, -1)[:, 5:7])


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("level", [0.0, 10_000.0])
@pytest.mark.parametrize("block", [1000, 2**25])
def test_mean_and_deviation_are_those_of_all_rows_in_double_precision(monkeypatch, tokens, level, block):
    values = np.random.default_rng(0).normal(size=(500, 3, 4)).astype("f4") + np.float32(level)
    values[..., 2] = 0.1  # does not vary, though its mean may round to another number
    monkeypatch.setattr(designs, "BLOCK_BYTES", block)
    centre, scale = moments(Design(values), tokens=tokens)
    over = (0, 1) if tokens else 0
    assert (scale[..., 2] == 0).all() and centre.dtype == scale.dtype == np.float32
    for found, exact in ((centre, values.mean(over, dtype=float)), (scale, values.std(over, dtype=float))):
        varying = np.delete(found, 2, -1)
        np.testing.assert_allclose(
            varying, np.delete(exact.reshape(found.shape), 2, -1), rtol=3e-7, atol=1e-7
        )


def test_delays_look_back_within_a_film(toy):
    _, features, _ = toy
    film = np.repeat(["x", "y", "z"], 40)
    order = np.random.default_rng(0).permutation(120)
    running = features.assign_coords(
        film=("stimulus", film), onset=("stimulus", np.tile(np.arange(40.0), 3))
    ).isel(stimulus=order)
    ids = features["stimulus_id"].values[5:60]
    X = design(running, ids, ["second"], [1, 3])
    expected = delay(features["feature"].values[:, 10:], [1, 3], film)[5:60]
    np.testing.assert_array_equal(X[:], expected)
    np.testing.assert_array_equal(X[[7, 0], 18:23], expected[[7, 0], 18:23])
    with pytest.raises(ContractError, match="have no films and onsets"):
        design(features, ids, ["second"], [1])
    with pytest.raises(ContractError, match="1 of 1 stimuli have no features"):
        design(features, np.array(["stranger"]))


def test_what_is_read_in_parts_is_checked_in_parts(kept, monkeypatch):
    monkeypatch.setattr("neuroenc.encoders.inputs.BLOCK_BYTES", 500)
    values = np.random.default_rng(0).normal(size=(40, 12)).astype("f4")
    Y = values[:, :2].copy()
    rows, _ = check_fit(RidgeCV(), kept(values), Y)
    np.testing.assert_array_equal(rows[:], values)
    values[33, [2, 7]] = np.nan, np.inf
    with pytest.raises(InputError, match="NaN or infinite values in 2 of 12 columns: 2, 7"):
        check_features(RidgeCV(), kept(values), reset=True)


@pytest.mark.parametrize("model", [RidgeCV(cv=3), BandedRidgeCV(cv=3, bands=np.arange(70) % 3, n_candidates=4)],
                         ids=["ridge", "banded"])  # fmt: skip
@pytest.mark.parametrize("n", [60, 200])
def test_fits_from_disk_are_those_from_memory(kept, model, n):
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(n, 70)) + 2).astype("f4")
    Y = (X[:, :5] + rng.normal(size=(n, 5))).astype("f4")
    Y[3:6, 1] = np.nan
    expected = model.fit(X, Y)
    predicted, again = expected.predict(X[:9]), expected.refit(X[5:], Y[5:]).predict(X[:5])
    x = kept(X)
    found = model.fit(x, Y)
    np.testing.assert_allclose(found.predict(X[:9]), predicted, atol=2e-5)
    np.testing.assert_allclose(found.predict(x)[:9], predicted, atol=2e-5)
    part = Design(x)
    np.testing.assert_allclose(
        found.refit(part.take(np.arange(5, n)), Y[5:]).predict(part.take(np.arange(5))), again, atol=2e-5
    )


@pytest.mark.parametrize("options", [RIDGE, BANDED], ids=lambda o: o.name)
@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("lacking", [False, True])
def test_encoding_from_a_file_is_encoding_from_memory(toy, tmp_path, options, tokens, lacking):
    stimuli, _, responses = toy
    if lacking:
        responses = responses.copy(deep=True)
        responses["response"].values[3:8, 1] = np.nan
    split = splits.make(stimuli, Split(kind="stimulus", n_folds=2))
    features = wide(toy, tokens)
    save(responses, tmp_path / "r.nc")
    on_disk = load(tmp_path / "r.nc", "responses")
    expected, fits = encode(responses, features, split, options)
    lazy = lazily(features, tmp_path / "f.nc")
    found, lazy_fits = encode(on_disk, lazy, split, options)
    assert not lazy["feature"].variable._in_memory
    assert found.drop_vars(["prediction"]).equals(expected.drop_vars(["prediction"]))
    np.testing.assert_array_equal(found["prediction"].values, expected["prediction"].values)
    for source, kept in ((features, fits), (lazy, lazy_fits)):
        save_fits(kept, features.attrs, responses["neuroid_id"].values, tmp_path / "w.safetensors")
        again = predict_fits(tmp_path / "w.safetensors", source, 0)
        rows = found["fold"].values == 0
        place = {s: i for i, s in enumerate(again["stimulus_id"].values)}
        shown = [place[s] for s in found["stimulus_id"].values[rows]]
        np.testing.assert_allclose(again.values[shown], found["prediction"].values[rows], atol=1e-4)


@pytest.mark.parametrize("options", [RIDGE, BANDED], ids=lambda o: o.name)
def test_blocks_of_neuroids_are_all_neuroids(toy, tmp_path, monkeypatch, options):
    stimuli, _, responses = toy
    changed = responses.copy(deep=True)
    changed["response"].values[:, 2:4] = 1  # the second block has nothing to fit
    changed["response"].values[4] = np.nan
    changed["response"].values[9, :4] = np.nan  # left out by none: the last block has values
    split = splits.make(stimuli, Split(kind="stimulus", n_folds=2))
    features = wide(toy, False)
    expected, fits = encode(changed, features, split, options)
    save_fits(fits, features.attrs, changed["neuroid_id"].values, tmp_path / "a.safetensors")
    module = sys.modules[encode_in_blocks.__module__]
    monkeypatch.setattr(module, "bytes_of_target", lambda *_: 1)
    monkeypatch.setattr(module, "BLOCK_OF_NEUROIDS", 2)
    parts = list(encode_in_blocks(changed, features, split, options))
    assert len(parts) == 3
    found = join_blocks([p for p, _ in parts])
    assert found.attrs == expected.attrs
    for name in ("stimulus_id", "training", "held_stimulus_id", "neuroid_id", "roi_A", "layer_name"):
        np.testing.assert_array_equal(found[name].values, expected[name].values)
    for name in ("prediction", "validation", "alpha", "validation_r2"):
        assert found[name].dims == expected[name].dims
        np.testing.assert_allclose(found[name].values, expected[name].values, atol=1e-5)
    np.testing.assert_array_equal(found["chosen_layer"].values, expected["chosen_layer"].values)
    together = (fit for _, made in parts for fit in made)
    save_fits(together, features.attrs, changed["neuroid_id"].values, tmp_path / "b.safetensors")
    one, other = (predict_fits(tmp_path / f"{k}.safetensors", features, 1) for k in "ab")
    np.testing.assert_allclose(one, other, atol=1e-5)
    changed["response"].values[:] = 1
    with pytest.raises(InputError, match="No neuroid varies and has values"):
        join_blocks([p for p, _ in encode_in_blocks(changed, features, split, options)])


def test_the_weights_of_a_block_are_gone_when_the_next_is_fitted(toy, tmp_path, monkeypatch, run):
    stimuli, features, responses = toy
    split = splits.make(stimuli, Split(kind="stimulus", n_folds=2))
    for name, data in (("r", responses), ("f", features), ("s", split)):
        save(data, tmp_path / f"{name}.nc")
    module, alive, held = sys.modules[encode_in_blocks.__module__], [], []

    def watched(*args, **kwargs):
        gc.collect()
        held.append(sum(model() is not None for model in alive))
        predictions, fits = encode(*args, **kwargs)
        alive.extend(weakref.ref(fit.model) for fit in fits)
        return predictions, fits

    monkeypatch.setattr(module, "encode", watched)
    monkeypatch.setattr(module, "bytes_of_target", lambda *_: 1)
    monkeypatch.setattr(module, "BLOCK_OF_NEUROIDS", 2)
    files = [f"--{k}={tmp_path / k[0]}.nc" for k in ("responses", "features", "split")]
    out = [f"--out={tmp_path / 'p.nc'}", f"--weights={tmp_path / 'w.safetensors'}"]
    assert run("encode", "fit", *files, *out, '--options={"name": "ridge", "alphas": [-1, 4, 6]}')[0] == 0
    assert held == [0, 0, 0]
    assert load(tmp_path / "p.nc", "predictions").sizes["neuroid"] == 6


def test_large_weights_stay_in_their_file(toy, tmp_path, monkeypatch):
    stimuli, _, responses = toy
    split = splits.make(stimuli, Split(kind="stimulus", n_folds=1))
    features = wide(toy, True)
    _, fits = encode(responses, features, split, RIDGE)
    path = tmp_path / "w.safetensors"
    save_fits(fits, features.attrs, responses["neuroid_id"].values, path)
    expected = predict_fits(path, features, 0)
    monkeypatch.setattr("neuroenc.encoders.store.BLOCK_BYTES", 100)
    monkeypatch.setattr("neuroenc.blocks.BLOCK_BYTES", 2**12)
    models, _ = load_fits(path, features, 0)
    whole = fits[0].model.coef_[fits[0].weight > 0]
    stored = next(m.model for m in models if m.layers == fits[0].layers)
    assert not isinstance(stored._coef, np.ndarray) and stored._coef.shape == whole.shape
    np.testing.assert_allclose(stored._coef[:, 3:9], whole[:, 3:9], atol=1e-6)
    np.testing.assert_allclose(predict_fits(path, features, 0), expected, atol=1e-5)


def test_responses_of_time_bins_are_averaged_in_parts(toy, tmp_path):
    stimuli, _, responses = toy
    values = np.stack([responses["response"].values, responses["response"].values[:, ::-1]], 2)
    timed = toy_responses(np.random.default_rng(0), stimuli["stimulus_id"].values, values)
    save(timed, tmp_path / "r.nc")
    split = splits.make(stimuli, Split(kind="stimulus", n_folds=1))
    features = wide(toy, False)
    expected, _ = encode(timed, features, split, RIDGE)
    found, _ = encode(load(tmp_path / "r.nc", "responses"), features, split, RIDGE)
    assert found.equals(expected)


class Recorded:
    """An array that says what was read of it."""

    def __init__(self, values):
        self.values, self.shape, self.dtype, self.read = values, values.shape, values.dtype, []

    def __getitem__(self, index):
        self.read.append(index)
        return self.values[index]


def test_what_stands_before_the_wanted_columns_is_not_read():
    values = np.random.default_rng(0).normal(size=(6, 5, 8)).astype("f4")
    source = Recorded(values)
    np.testing.assert_array_equal(Design(source, flat=True)[:, 33:38], values.reshape(6, -1)[:, 33:38])
    ((_, tokens, channels),) = source.read
    assert (tokens, channels) == (slice(4, 5), slice(1, 6))
