"""Late fusion: a fit to several files of features is the fit to their columns put together by hand."""

import numpy as np
import pytest

from neuroenc import config, splits
from neuroenc.arrays import CONTRACT, load, make_features, make_stimuli, save
from neuroenc.config import Split
from neuroenc.encoders.encode import encode
from neuroenc.encoders.fusion import fuse
from neuroenc.encoders.store import predict_fits, save_fits
from neuroenc.errors import InputError
from neuroenc.forecast import look, megabytes
from tests.conftest import toy_responses

N, TARGETS = 90, 5
IDS = np.array([f"p{i:02d}" for i in range(N)])
ENCODERS = {
    "ridge": config.Ridge(alphas=(-1, 4, 6)),
    "banded": config.Banded(alphas=(-1, 4, 6), n_candidates=8),
    "pls": config.PLS(n_components=4),
}


def made(values, layer, ids=IDS, film=None):
    contract = dict.fromkeys(CONTRACT, "toy") | {"layer": ",".join(dict.fromkeys(layer))}
    found = make_features(values, stimulus_id=ids, layer=np.array(layer), attrs=contract)
    return found if film is None else found.assign_coords(
        film=("stimulus", film), onset=("stimulus", np.arange(len(ids)) % 30 * 2.0)
    )  # fmt: skip


@pytest.fixture
def toy_split():
    stimuli = make_stimuli(
        {"stimulus_id": IDS, "pixel_index": np.arange(N), "split": np.full(N, "train"), "group": IDS},
        attrs={"dataset": "toy", "pixels": "none"},
    )
    return splits.make(stimuli, Split(kind="stimulus", n_folds=1))


@pytest.fixture(params=["float32", "float16", "tokens", "delays"])
def world(request, tmp_path):
    """Features of two models in files, those put together by hand, responses to both, and delays."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(N, 12)), rng.normal(3, 2, size=(N, 2, 8))
    kind = "f2" if request.param == "float16" else "f4"
    b = b if request.param == "tokens" else b[:, 0]
    a, b = a.astype(kind), b.astype(kind)
    film = np.repeat(["x", "y", "z"], 30) if request.param == "delays" else None
    later = rng.permutation(N) if film is None else np.arange(N)  # the second file in another order
    half = ["one"] * 4 + ["two"] * 4
    save(made(a, ["one"] * 5 + ["two"] * 7, film=film), tmp_path / "a.nc")
    save(made(b[later], half, IDS[later], film), tmp_path / "b.nc")
    files = {k: load(tmp_path / f"{k}.nc", "features") for k in "ab"}
    flat = np.concatenate([a, b.reshape(N, -1)], 1)
    names = ["a:one"] * 5 + ["a:two"] * 7 + [f"b:{x}" for x in half] * (b.ndim - 1)
    y = flat.astype(float) @ rng.normal(size=(flat.shape[1], TARGETS)) + rng.normal(size=(N, TARGETS))
    responses = toy_responses(rng, IDS, y)
    return files, made(flat, names, film=film), responses, [0, 1] if film is not None else []


def by_hand(features, responses, split, options):
    """Fit what stands in one file, all layers together."""
    return encode(responses, features.assign_attrs(fused="by hand"), split, options)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_fit_to_files_is_the_fit_to_columns_put_together_by_hand(name, world, tmp_path, toy_split):
    files, together, responses, delays = world
    options = ENCODERS[name].model_copy(update={"delays": delays})
    fused = fuse(files)
    np.testing.assert_array_equal(fused["feature"].values, together["feature"].values)
    assert fused["layer"].values.tolist() == together["layer"].values.tolist()
    found, fits = encode(responses, fused, toy_split, options)
    expected, _ = by_hand(together, responses, toy_split, options)
    for key in ("prediction", "validation", "validation_r2"):
        np.testing.assert_array_equal(found[key].values, expected[key].values)
    assert found["validation_r2"].sizes["layer"] == 1 and set(found["layer_name"].values) == {"all"}
    if name == "banded":  # a strength for each layer of each model
        assert fits[0].model.bands_.tolist() == ["a:one", "a:two", "b:one", "b:two"]
    save_fits(fits, fused.attrs, responses["neuroid_id"].values, tmp_path / "w.safetensors")
    again = predict_fits(tmp_path / "w.safetensors", fuse(files), 0)
    rows = [IDS.tolist().index(s) for s in found["stimulus_id"].values]
    np.testing.assert_allclose(again.values[rows], found["prediction"].values, rtol=1e-4, atol=1e-4)


def test_both_models_are_needed_where_both_drive(toy_split):
    """The two side by side predict what neither does alone."""
    rng = np.random.default_rng(1)
    a, b = (rng.normal(size=(N, 6)).astype("f4") for _ in range(2))
    responses = toy_responses(rng, IDS, (a + b) @ rng.normal(size=(6, TARGETS)))
    one, other = made(a, ["x"] * 6), made(b, ["x"] * 6)

    def r2(features):
        return encode(responses, features, toy_split, ENCODERS["ridge"])[0]["validation_r2"].values.mean()

    assert r2(fuse({"a": one, "b": other})) > 0.95 > 0.7 > max(r2(one), r2(other))


def test_what_cannot_be_fused_is_refused(toy_split):
    rng = np.random.default_rng(0)
    one = made(rng.normal(size=(N, 4)).astype("f4"), ["x"] * 4)
    with pytest.raises(InputError, match=r"'a' are of 90 stimuli, those of 'b' of 89; 1 stand in one alone"):
        fuse({"a": one, "b": one.isel(stimulus=slice(1, None))})
    times = {"film": ("stimulus", np.full(N, "f")), "onset": ("stimulus", np.arange(N) * 1.0)}
    order = rng.permutation(N)
    both = fuse({"a": one, "b": one.assign_coords(times).isel(stimulus=order)})
    np.testing.assert_array_equal(both["onset"].values, np.arange(N))
    later = one.assign_coords(times | {"onset": ("stimulus", np.arange(N) + 1.0)})
    with pytest.raises(InputError, match="'a' and 'b' are of the same stimuli with other values of 'onset'"):
        fuse({"a": one.assign_coords(times), "b": later})
    with pytest.raises(InputError, match="1 model to fuse, expected two or more"):
        fuse({"a": one})
    responses = toy_responses(rng, IDS, rng.normal(size=(N, 2)))
    with pytest.raises(InputError, match=r"'gaussian' reads one model, found a, b.*ridge, pls, banded"):
        encode(responses, fuse({"a": one, "b": one}), toy_split, config.Gaussian())


def test_the_command_takes_features_by_name(world, toy_split, tmp_path, run):
    files, _, responses, _ = world
    save(responses, tmp_path / "r.nc")
    save(toy_split, tmp_path / "s.nc")
    common = ("encode", "fit", "--responses", tmp_path / "r.nc", "--split", tmp_path / "s.nc",
              "--options", '{"name": "ridge", "alphas": [-1, 4, 6]}', "--out", tmp_path / "p.nc",
              "--weights", tmp_path / "w.safetensors")  # fmt: skip
    a, b = (f"--features={name}={tmp_path / name}.nc" for name in "ab")
    status, _, error = run(*common, a, b)
    assert status == 0, error
    expected = encode(responses, fuse(files), toy_split, ENCODERS["ridge"])[0]
    found = load(tmp_path / "p.nc", "predictions")
    np.testing.assert_array_equal(found["prediction"].values, expected["prediction"].values)
    assert found.attrs["model"] == "toy + toy"
    new = ("encode", "predict", "--weights", tmp_path / "w.safetensors", "--out", tmp_path / "new.nc")
    assert run(*new, a, b)[0] == 0
    status, _, error = run(*new, f"--features={tmp_path / 'a'}.nc")
    assert status == 2 and "Features disagree with the weights in 'model'" in error
    status, _, error = run(*common, f"--features={tmp_path}/a.nc", b)
    assert status == 2 and "Expected NAME=FILE.nc" in error
    status, _, error = run(*common, a, a)
    assert status == 2 and "--features gives 'a' twice" in error
    both = [tmp_path / name for name in ("r.nc", "s.nc", "a.nc", "b.nc")]
    one = both[:3]
    assert megabytes("encode fit", both, {"name": "ridge"}) > 0
    assert look(both).shapes["feature"][1] == fuse(files)["feature"].shape[1] > look(one).shapes["feature"][1]
