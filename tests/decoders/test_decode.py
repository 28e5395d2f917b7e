import copy
import json
import tracemalloc

import h5py
import numpy as np
import pytest
import torch
import xarray as xr
from sklearn.decomposition import PCA

from neuroenc import blocks as blocks_module
from neuroenc import config, splits
from neuroenc.arrays import CONTRACT, average_repeats, load, make_features, save
from neuroenc.config import Split
from neuroenc.decoders import BrainNetwork, RidgeDecoder, losses
from neuroenc.decoders import target as target_module
from neuroenc.decoders.decode import decode
from neuroenc.decoders.scores import match, score
from neuroenc.decoders.target import Target, restore
from neuroenc.encoders.encode import encode
from neuroenc.errors import InputError
from tests.conftest import toy_responses

N, EMBEDDING, NEUROIDS = 240, 24, 30
FAST = {"n_components": 8, "n_hidden": 32, "n_blocks": 1, "max_epochs": 6, "batch_size": 32, "dropout": 0.1}


def world(seed=0, n_neuroids=NEUROIDS, noise=1.0):
    """Embeddings of few directions and neuroids that mix them."""
    rng = np.random.default_rng(seed)
    embedding = rng.normal(size=(N, 8)) @ rng.normal(size=(8, EMBEDDING)) + 0.05 * rng.normal(
        size=(N, EMBEDDING)
    )
    response = embedding @ rng.normal(size=(EMBEDDING, n_neuroids)) / 5
    return embedding.astype("f4"), (response + noise * rng.normal(size=response.shape)).astype("f4")


@pytest.fixture
def arrays():
    embedding, response = world()
    ids = np.array([f"p{i:03d}" for i in range(N)])
    responses = toy_responses(np.random.default_rng(0), ids, response)
    features = make_features(
        embedding, stimulus_id=ids, layer=np.repeat(["a", "b"], EMBEDDING // 2),
        attrs={**dict.fromkeys(CONTRACT, "x"), "model": "toy", "layer": "a,b"},
    )  # fmt: skip
    stimuli = toy_stimuli(ids)
    return responses, features, splits.make(stimuli, Split(kind="stimulus", n_folds=2, test_fraction=0.25))


def toy_stimuli(ids):
    from neuroenc.arrays import make_stimuli

    return make_stimuli(
        {
            "stimulus_id": ids,
            "pixel_index": np.arange(len(ids)),
            "split": np.full(len(ids), "train"),
            "group": ids,
        },
        attrs={"dataset": "toy", "pixels": "not distributed"},
    )


def test_components_are_whitened_and_lead_back():
    embedding, _ = world()
    target = Target.fit(embedding, 8)
    component = target.transform(embedding)
    np.testing.assert_allclose(np.cov(component.T, bias=True), np.eye(8), atol=1e-3)
    peer = PCA(8).fit(embedding)
    np.testing.assert_allclose(
        target.inverse(component), peer.inverse_transform(peer.transform(embedding)), atol=1e-3
    )
    assert len(Target.fit(embedding[:, :5]).basis) == 5
    with pytest.raises(InputError, match="are all the same"):
        Target.fit(np.ones((9, 4)))


@pytest.mark.parametrize("width", [EMBEDDING, 400])
def test_components_are_the_same_when_embeddings_are_read_in_blocks(width, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    embedding = (world()[0] @ rng.normal(size=(EMBEDDING, width)) + rng.normal(size=(N, width))).astype("f4")
    with h5py.File(tmp_path / "embedding.h5", "w") as file:
        file["x"] = embedding.reshape(N, 4, -1)
    whole = Target.fit(embedding, 6)
    monkeypatch.setattr(target_module, "WHOLE_BYTES", 0)
    for module in (target_module, blocks_module):
        monkeypatch.setattr(module, "BLOCK_BYTES", 5000)
    with h5py.File(tmp_path / "embedding.h5") as file:
        parts = Target.fit(file["x"], 6)
        component = parts.transform(file["x"])
    sign = np.sign((parts.basis * whole.basis).sum(1))
    np.testing.assert_allclose(sign[:, None] * parts.basis, whole.basis, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(sign * component, whole.transform(embedding), atol=1e-4)
    assert len(Target.fit(embedding).basis) == min(N - 1, width)
    embedding[7, 3] = np.nan
    np.save(tmp_path / "bad.npy", embedding)
    with pytest.raises(InputError, match="first row 7"):
        Target.fit(np.load(tmp_path / "bad.npy", "r"))


@pytest.mark.parametrize("name", ["ridge", "network"])
def test_tokens_are_decoded_without_a_copy_of_the_file(arrays, name, tmp_path, monkeypatch):
    responses, features, split = arrays
    tokens = np.repeat(features["feature"].values[:, None], 700, 1).astype("f2")
    tokens += np.random.default_rng(0).normal(size=tokens.shape).astype("f2")
    ids = features["stimulus_id"].values
    made = make_features(tokens, stimulus_id=ids, layer=np.repeat(["a"], EMBEDDING), attrs=features.attrs)
    save(made.assign_attrs(layer="a"), tmp_path / "f.nc")
    options = config.RidgeDecoding(n_components=8) if name == "ridge" else config.NetworkDecoding(**FAST)
    whole = decode(responses, load(tmp_path / "f.nc", "features"), split, options)
    monkeypatch.setattr(target_module, "WHOLE_BYTES", 0)
    for module in (target_module, blocks_module):
        monkeypatch.setattr(module, "BLOCK_BYTES", 2**20)
    with xr.open_dataset(tmp_path / "f.nc", engine="h5netcdf", cache=False) as lazy:
        tracemalloc.start()
        parts = decode(responses, lazy, split, options)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < tokens.nbytes  # 8 MB; one float32 copy takes twice, the components and axes a tenth
    if name == "ridge":
        for fold in (0, 1):
            np.testing.assert_allclose(restore(parts, fold), restore(whole, fold), atol=1e-3)
    assert score(parts)["brain_to_image_top1"]["value"] > 0.4


@pytest.mark.parametrize("options", [config.RidgeDecoding(n_components=8), config.NetworkDecoding(**FAST)])
def test_pictures_are_found_and_shuffled_ones_are_not(arrays, options, tmp_path):
    responses, features, split = arrays
    found = decode(responses, features, split, options)
    result = score(found)["brain_to_image_top1"]
    assert result["value"] > 0.5 > 0.1 > score(decode(responses, features, split, options, shuffle=0))[
        "brain_to_image_top1"]["value"]  # fmt: skip
    assert result["chance"] == pytest.approx(1 / 60)
    save(found, tmp_path / "e.nc")
    assert load(tmp_path / "e.nc", "embeddings").identical(found)
    assert found.attrs["model"] == "toy" and found.attrs["layer"] == "a,b"
    truth = features["feature"].values[[int(s[1:]) for s in found["stimulus_id"].values[found["fold"] == 1]]]
    assert np.corrcoef(restore(found, 1).ravel(), truth.ravel())[0, 1] > 0.7


def test_the_test_set_has_no_say(arrays):
    responses, features, split = arrays
    one = split.isel(fold=[0])
    before = decode(responses, features, one, config.RidgeDecoding(n_components=8))
    test = np.isin(responses["stimulus_id"].values, before["stimulus_id"].values)
    changed = features.copy(deep=True)
    changed["feature"].values[test] = 99 * np.random.default_rng(1).normal(size=(test.sum(), EMBEDDING))
    after = decode(responses, changed, one, config.RidgeDecoding(n_components=8))
    np.testing.assert_array_equal(before["embedding"].values, after["embedding"].values)
    np.testing.assert_array_equal(before["basis"].values, after["basis"].values)


def test_one_layer_and_neuroids_without_signal(arrays):
    responses, features, split = arrays
    responses = responses.copy(deep=True)
    responses["response"].values[:, 3], responses["response"].values[:, 4] = 7, np.nan
    found = decode(responses, features, split, config.RidgeDecoding(n_components=4, layers=["b"]))
    assert found["basis"].shape == (2, 4, EMBEDDING // 2) and np.isfinite(found["embedding"].values).all()
    with pytest.raises(InputError, match=r"'layer': 'c'.*'a', 'b'"):
        decode(responses, features, split, config.RidgeDecoding(layers=["c"]))
    responses["response"].values[:] = 1
    with pytest.raises(InputError, match="None of 30 neuroids is finite and varies"):
        decode(responses, features, split, config.RidgeDecoding())


def test_an_encoder_finds_pictures_by_likelihood(arrays):
    responses, features, split = arrays
    predictions, _ = encode(responses, features, split, config.Ridge())
    found = match(responses, predictions, n_way=40)
    assert found["brain_to_image_top1"]["value"] > 0.6 and found["brain_to_image_top1"]["chance"] == 1 / 40
    with pytest.raises(InputError, match="60 pictures are too few for 300-way"):
        match(responses, predictions, n_way=300)


def test_a_mixture_of_two_is_contrasted_with_both():
    torch.manual_seed(0)
    true = torch.nn.functional.normalize(torch.randn(6, 5), dim=1)
    who = torch.tensor([0, 1, 0, 1, 0, 2])
    mixed, partner, share = losses.mix(torch.randn(6, 4), who)
    assert torch.equal(who[partner], who)  # neuroids of two people do not mix
    assert (
        mixed.shape == (6, 4)
        and ((share >= 0) & (share <= 1)).all()
        and sorted(partner.tolist()) == list(range(6))
    )
    none = torch.ones(6)
    plain = losses.mixco(true, true, partner, none, 0.1)
    logits, labels = true @ true.T / 0.1, torch.arange(6)
    expected = (
        torch.nn.functional.cross_entropy(logits, labels)
        + torch.nn.functional.cross_entropy(logits.T, labels)
    ) / 2
    assert torch.allclose(plain, expected, atol=1e-6)
    half = torch.full((6,), 0.5)
    wanted = torch.nn.functional.cross_entropy(logits, (torch.eye(6) + torch.eye(6)[partner]) / 2)
    other = -(((torch.eye(6) + torch.eye(6)[partner]) / 2).T * logits.T.log_softmax(1)).sum(1).mean()
    assert torch.allclose(losses.mixco(true, true, partner, half, 0.1), (wanted + other) / 2, atol=1e-6)


def test_soft_targets_and_their_schedule():
    torch.manual_seed(0)
    true = torch.nn.functional.normalize(torch.randn(6, 5), dim=1)
    wrong = true.roll(1, 0)
    assert losses.softclip(true, true, 0.05) < losses.softclip(wrong, true, 0.05)
    entropy = torch.distributions.Categorical(logits=true @ true.T / 0.05).entropy().mean()
    assert losses.softclip(true, true, 0.05) >= entropy - 1e-5  # the least a cross-entropy can be
    assert losses.soft_temperature(1 / 3) == pytest.approx(0.004) and losses.soft_temperature(
        1
    ) == pytest.approx(0.0075)


def test_a_killed_run_ends_in_the_same_weights(tmp_path):
    embedding, response = world()
    whole = BrainNetwork(**FAST, cv=4).fit(response, embedding)
    path = tmp_path / "run.safetensors"
    BrainNetwork(**FAST | {"max_epochs": 6}, cv=4, checkpoint=path, patience=1).fit(response, embedding)
    again = BrainNetwork(**FAST, cv=4, checkpoint=path).fit(response, embedding)
    assert len(again.history_) == len(whole.history_)
    np.testing.assert_allclose(again.predict(response), whole.predict(response), atol=1e-5)


def test_several_subjects_and_a_new_one(tmp_path):
    embedding, one = world(0)
    rng = np.random.default_rng(5)
    two = (embedding @ rng.normal(size=(EMBEDDING, 12)) / 5 + 0.5 * rng.normal(size=(N, 12))).astype("f4")
    train, test = slice(0, 180), slice(180, N)
    model = BrainNetwork(**FAST, cv=4)
    model.fit({"a": one[train], "b": two[train]}, {"a": embedding[train], "b": embedding[train]})
    for subject, response in (("a", one), ("b", two)):
        r = np.corrcoef(model.predict(response[test], subject).ravel(), embedding[test].ravel())[0, 1]
        assert r > 0.7, subject
    shared = {k: v.clone() for k, v in model.module_.state_dict().items() if not k.startswith("first")}
    three = (embedding @ rng.normal(size=(EMBEDDING, 17)) / 5 + 0.5 * rng.normal(size=(N, 17))).astype("f4")
    model.fine_tune(three[train], embedding[train], "c", freeze=True)
    assert all(torch.equal(v, shared[k]) for k, v in model.module_.state_dict().items() if k in shared)
    assert np.corrcoef(model.predict(three[test]).ravel(), embedding[test].ravel())[0, 1] > 0.6
    assert np.corrcoef(model.predict(one[test], "a").ravel(), embedding[test].ravel())[0, 1] > 0.7
    again = copy.deepcopy(model)
    four = (three[:, :9] + 0.1).astype("f4")
    path = tmp_path / "new.safetensors"
    model.fine_tune(four[train], embedding[train], "d", checkpoint=path)
    again.fine_tune(four[train], embedding[train], "d", checkpoint=path)  # taken up when all is done
    np.testing.assert_array_equal(again.predict(four[test]), model.predict(four[test]))
    with pytest.raises(InputError, match="'c' was trained on already"):
        model.fine_tune(three[train], embedding[train], "c")


def test_the_network_starts_no_worse_than_ridge():
    embedding, response = world(noise=3.0)
    train, test = slice(0, 180), slice(180, N)
    ridge = RidgeDecoder(n_components=8, cv=4).fit(response[train], embedding[train])
    network = BrainNetwork(**FAST | {"max_epochs": 1, "learning_rate": 1e-6}, cv=4).fit(
        response[train], embedding[train]
    )
    a, b = ridge.predict_components(response[test]), network.predict_components(response[test])
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.95  # fitted without the validation rows


def test_mistakes_are_one_helpful_line(tmp_path):
    embedding, response = world()
    model = BrainNetwork(**FAST | {"max_epochs": 2}, cv=4).fit(response, embedding)
    with pytest.raises(InputError, match="Responses of 29 neuroids, subject '1' was fitted with 30"):
        model.predict(response[:, 1:])
    with pytest.raises(InputError, match="'subject': '2'"):
        model.predict(response, "2")
    response[4, 7] = np.nan
    with pytest.raises(InputError, match=r"NaN or infinite values in neuroids \[7\]"):
        model.predict(response)
    _, response = world()
    broken = BrainNetwork(**FAST | {"learning_rate": 1e30}, cv=4, checkpoint=tmp_path / "c.safetensors")
    with pytest.raises(
        InputError, match=r"The loss is (nan|inf) in epoch \d, batch \d .*Lower learning_rate"
    ):
        broken.fit(response, embedding)


def test_commands(arrays, tmp_path, run):
    responses, features, split = arrays
    for name, dataset in (("r", responses), ("f", features), ("s", split)):
        save(dataset, tmp_path / f"{name}.nc")
    given = ("--responses", tmp_path / "r.nc", "--features", tmp_path / "f.nc", "--split", tmp_path / "s.nc",
             "--options", '{"n_components": 8}')  # fmt: skip
    for out, more in (("e", ()), ("null", ("--shuffle", 0))):
        status, _, err = run("decode", "fit", *given, "--out", tmp_path / f"{out}.nc", *more)
        assert status == 0, err
    status, out, err = run("decode", "evaluate", "--embeddings", tmp_path / "e.nc", "--null", tmp_path / "null.nc",
                           "--n-way", 30, "--out", tmp_path / "e.json")  # fmt: skip
    assert status == 0 and "brain_to_image_top1" in out and "shuffled" in out, err
    written = json.loads((tmp_path / "e.json").read_text())
    assert written["n_way"] == 30 and written["scores"]["brain_to_image_top1"]["chance"] == pytest.approx(
        1 / 30
    )
    status, _, err = run("decode", "evaluate", "--embeddings", tmp_path / "e.nc", "--n-way", 300, "--out",
                         tmp_path / "x.json")  # fmt: skip
    assert status == 2 and "too few for 300-way" in err and not (tmp_path / "x.json").exists()
    status, _, err = run(
        "decode", "evaluate", "--embeddings", tmp_path / "f.nc", "--out", tmp_path / "x.json"
    )
    assert status == 2 and "expected 'embeddings'" in err
    assert len(average_repeats(responses)[0]) == N
