"""Probing and random attention: against direct computations, and where the answer is known."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.linear_model import Ridge

from neuroenc import splits
from neuroenc.arrays import make_features, make_responses, make_stimuli
from neuroenc.config import Attention, Gaussian, Probing, RandomAttention, Split
from neuroenc.config import Ridge as RidgeSection
from neuroenc.encoders.attention import AttentionRouting
from neuroenc.encoders.design import Design, moments
from neuroenc.encoders.encode import encode
from neuroenc.encoders.missing import correlation
from neuroenc.encoders.probing import EfficientProbing
from neuroenc.encoders.random_attention import RandomAttentionCV, draw, route
from neuroenc.encoders.ridge import RidgeCV
from neuroenc.encoders.routing import positions
from neuroenc.encoders.store import load_model, save_model
from neuroenc.errors import InputError

SIDE, CHANNELS = 4, 12


def marked(n=600, n_tokens=SIDE**2, seed=0):
    """A marked token, wherever it stands, carries what the targets answer to."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, n_tokens, CHANNELS)).astype("f4")
    X[:, :, 0] = 0
    cell = rng.integers(0, n_tokens, n)
    X[np.arange(n), cell, 0] = 4
    value = X[np.arange(n), cell, 1]
    Y = value[:, None] * np.array([1.0, -1.0, 0.5, 2.0]) + 0.2 * rng.normal(size=(n, 4))
    return X, Y.astype("f4"), cell


def placed(n=500, cell=6, seed=0):
    """All targets answer to what stands in one cell."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, SIDE**2, CHANNELS)).astype("f4")
    Y = X[:, cell] @ rng.normal(size=(CHANNELS, 5)) + 0.5 * rng.normal(size=(n, 5))
    return X, Y.astype("f4")


@pytest.mark.parametrize("values", ["whole", "split", "linear"])
@pytest.mark.parametrize("regions", [None, "each"])
def test_probing_is_its_equation(values, regions):
    rng = np.random.default_rng(1)
    model = EfficientProbing(regions, n_queries=5, values=values, n_dimensions=16)
    torch.manual_seed(0)
    module = model._module(SIDE**2, CHANNELS, 3).eval()
    torch.nn.init.normal_(module.bias)
    x = rng.normal(size=(6, SIDE**2, CHANNELS)).astype("f4")
    v = {k: p.detach().numpy().astype("f8") for k, p in module.named_parameters()}
    place = positions(SIDE**2, module.place.shape[-1])
    score = np.einsum("qkc,nlc->nqkl", v["query"], x) / CHANNELS**0.5
    share = softmax(score + np.einsum("qkp,lp->qkl", v["place"], place), -1)
    value = x if values != "linear" else x @ v["value.weight"].T + v["value.bias"]
    parts = [value] * 5 if values == "whole" else np.array_split(value, 5, -1)
    token = np.concatenate(
        [np.einsum("nql,nlc->nqc", share[:, :, k], part) for k, part in enumerate(parts)], -1
    )
    expected = np.einsum("nqc,tc->nqt", token, v["readout"])
    expected = np.einsum("ntt->nt", expected) if regions else expected[:, 0]
    with torch.no_grad():
        np.testing.assert_allclose(module(torch.from_numpy(x)), expected + v["bias"], atol=1e-4)
        np.testing.assert_allclose(module.attention(torch.from_numpy(x))[:, :, 0], share.mean(2), atol=1e-5)


def test_probing_finds_the_object_and_beats_ridge():
    X, Y, cell = marked()
    model = EfficientProbing(n_queries=2, values="whole", learning_rate=1e-2).fit(X[:500], Y[:500])
    flat = RidgeCV(np.logspace(0, 4, 6)).fit(X[:500].reshape(500, -1), Y[:500])
    r = [
        correlation(Y[500:], p).mean()
        for p in (model.predict(X[500:]), flat.predict(X[500:].reshape(100, -1)))
    ]
    assert r[0] > 0.9 > r[1] + 0.3
    weight = model.attention_maps(X[500:], kind="weight")
    assert weight.shape == (100, 1, SIDE, SIDE)
    np.testing.assert_allclose(weight.sum((2, 3)), 1, atol=1e-5)
    shown = np.abs(model.attention_maps(X[500:])).reshape(100, -1).argmax(1)
    assert (shown == cell[500:]).mean() > 0.8  # where the value is near 0 nothing moves


def test_probing_finds_the_place_of_each_region():
    (X, here), there = placed(cell=6), placed(cell=9)[0]
    rng = np.random.default_rng(3)
    other = X[:, 9] @ rng.normal(size=(CHANNELS, 5)) + 0.5 * rng.normal(size=(len(X), 5))
    assert np.array_equal(X, there)
    regions = np.eye(2, dtype=bool)[np.repeat([0, 1], 5)]
    model = EfficientProbing(regions, n_queries=4, learning_rate=1e-2)
    model.fit(X[:400], np.concatenate([here, other], 1)[:400].astype("f4"))
    shown = model.attention_maps(X[400:], kind="weight").mean(0).reshape(2, -1)
    assert shown.argmax(1).tolist() == [6, 9]


@pytest.mark.parametrize(
    "model", [EfficientProbing(max_epochs=8), RandomAttentionCV(n_queries=8, alphas=np.logspace(0, 5, 6))]
)
def test_nothing_there_predicts_nothing(model):
    X, _ = placed()
    Y = np.random.default_rng(5).normal(size=(500, 60)).astype("f4")
    r = correlation(Y[400:], model.fit(X[:400], Y[:400]).predict(X[400:]))
    assert abs(r.mean()) < 3 * (1 / 100 / 60) ** 0.5


def test_random_attention_is_ridge_on_tokens_that_frozen_queries_pool():
    X, Y = placed(200)
    model = RandomAttentionCV(n_queries=7, alphas=[30.0], seed=3).fit(X[:150], Y[:150])
    content, place = (v.astype("f8") for v in draw(7, SIDE**2, CHANNELS, 3))
    share = softmax(np.einsum("kc,nlc->nkl", content, X) + place, -1)
    routed = np.einsum("nkl,nlc->nkc", share, X).reshape(200, -1)
    np.testing.assert_allclose(route(X, content, place), routed, atol=1e-4)
    expected = Ridge(30.0).fit(routed[:150], Y[:150]).predict(routed[150:])
    np.testing.assert_allclose(model.predict(X[150:]), expected, atol=1e-3)
    again = RandomAttentionCV(n_queries=7, alphas=[30.0], seed=3).fit(X[:150], Y[:150])
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    other = RandomAttentionCV(n_queries=7, alphas=[30.0], seed=4).fit(X[:150], Y[:150])
    assert np.abs(other.predict(X) - model.predict(X)).max() > 0.01


def test_frozen_queries_score_places_and_contents_as_they_say():
    content, place = draw(400, 100, 64, 0)
    X = np.random.default_rng(0).normal(size=(500, 64))
    spread = (X @ content.T).std(0)
    assert 0.15 < spread.min() < 0.4 and 2.5 < spread.max() < 6
    at = place.argmax(1)
    assert len(set((at // 10).tolist())) == len(set((at % 10).tolist())) == 10
    words = draw(400, 11, 64, 0)[1]  # in a row
    assert len(set(words.argmax(1).tolist())) == 11
    assert (np.diff(np.sign(np.diff(words, axis=1)), axis=1) <= 0).all()  # one peak


def test_a_sharp_target_is_read_better_with_more_frozen_queries():
    X, Y = placed(500)
    scores = []
    for n in (2, 64):
        model = RandomAttentionCV(n_queries=n, alphas=np.logspace(-1, 5, 7)).fit(X[:400], Y[:400])
        scores.append(correlation(Y[400:], model.predict(X[400:])).mean())
    assert scores[1] > 0.8 and scores[1] > scores[0] + 0.2


def test_random_attention_lacks_values_as_ridge_does():
    """A target with missing values is fitted to the rows it has, exactly."""
    X, Y = placed(200)
    Y[::3, 1] = np.nan
    model = RandomAttentionCV(n_queries=4, alphas=[10.0], cv=3).fit(X, Y)
    there = np.isfinite(Y[:, 1])
    alone = RandomAttentionCV(n_queries=4, alphas=[10.0], cv=3).fit(X[there], Y[there, 1:2])
    np.testing.assert_allclose(model.predict(X)[:, 1], alone.predict(X)[:, 0], atol=1e-3)
    np.testing.assert_allclose(model.refit(X, Y).predict(X), model.predict(X), atol=1e-3)


# words: tokens in no grid, those that fill up a text are NaN

SETS = [
    AttentionRouting(n_dimensions=16, n_heads=2, n_hidden=16, max_epochs=4),
    EfficientProbing(n_queries=3, max_epochs=4),
    RandomAttentionCV(n_queries=6, cv=3),
]


def worded(n=300, seed=0):
    """Texts of 3 to 11 words; one of them carries what the target answers to."""
    rng = np.random.default_rng(seed)
    X, Y, cell = marked(n, 11, seed)
    length = np.maximum(rng.integers(3, 12, n), cell + 1)
    X[np.arange(11) >= length[:, None]] = np.nan
    return X, Y, cell


@pytest.mark.parametrize("model", SETS)
def test_what_fills_up_a_text_changes_nothing(model):
    X, Y, _ = worded()
    wider = np.concatenate([X, np.full((300, 2, CHANNELS), np.nan, "f4")], 1)
    model.fit(X, Y)
    shown = model.predict(X)
    short = np.flatnonzero(np.isnan(X[:, 7, 0]))
    cut = X[short].copy()
    if isinstance(model, RandomAttentionCV):
        found = route(cut[:, :7], model.content_, model.place_[:, :7])
        np.testing.assert_allclose(found, route(cut, model.content_, model.place_), atol=1e-5)
    else:
        module = model.module_
        few = torch.from_numpy(cut)
        kept, module.position = module.position, module.position[:7]
        with torch.no_grad():
            found = module.route(few[:, :7])
            module.position = kept
            torch.testing.assert_close(found, module.route(few), rtol=1e-4, atol=1e-5)
        maps = model.attention_maps(X, kind="weight")
        assert maps.shape == (300, 1, 1, 11)
        assert maps[:, 0, 0][np.isnan(X[..., 0])].max() == 0
    assert np.isfinite(shown).all()
    with pytest.raises(InputError, match="Features have 13 tokens, the model was fitted to 11"):
        model.predict(wider)
    X[4] = np.nan
    with pytest.raises(InputError, match="1 of 300 samples have no token"):
        model.fit(X, Y)
    X[4], X[4, 2, 3] = 1, np.nan
    with pytest.raises(InputError, match="in 1 of 12 columns: 3"):
        model.fit(X, Y)


def test_the_word_that_matters_is_found():
    X, Y, cell = worded(700)
    for model in (
        AttentionRouting(n_dimensions=32, n_heads=2, n_hidden=32, learning_rate=3e-3),
        EfficientProbing(n_queries=2, values="whole", learning_rate=1e-2),
    ):
        model.fit(X[:600], Y[:600])
        assert correlation(Y[600:], model.predict(X[600:])).mean() > 0.9
        assert (model.attention_maps(X[600:], kind="weight")[:, 0, 0].argmax(1) == cell[600:]).mean() > 0.9


def test_moments_are_those_of_the_words_that_are_there():
    X, _, _ = worded(40)
    centre, scale = moments(Design(X), tokens=True)
    there = X[np.isfinite(X[..., 0])].astype("f8")
    np.testing.assert_allclose(centre[0], there.mean(0), atol=1e-5)
    np.testing.assert_allclose(scale[0], there.std(0), atol=1e-5)


@pytest.mark.parametrize("model", [*SETS, EfficientProbing("each", n_queries=2, max_epochs=2)])
def test_they_survive_the_disk(model, tmp_path):
    X, Y, _ = worded(120)
    model.fit(X, Y)
    save_model(model, tmp_path / "m.safetensors")
    np.testing.assert_allclose(load_model(tmp_path / "m.safetensors").predict(X), model.predict(X), atol=1e-5)


def dataset(X, Y):
    """Stimuli, responses and features of words."""
    ids = np.array([f"s{i:03d}" for i in range(len(X))])
    n = Y.shape[1]
    responses = make_responses(
        Y,
        presentation={
            "stimulus_id": ids, "session": np.full(len(X), "1"), "run": np.zeros(len(X), int),
            "repetition": np.zeros(len(X), int), "split": np.full(len(X), "train"), "group": ids,
        },
        neuroid={
            "neuroid_id": np.array([f"n{i}" for i in range(n)]), "subject": np.full(n, "1"),
            "hemisphere": np.full(n, "L"), **dict.fromkeys("xyz", np.full(n, np.nan, "f4")),
            "ncsnr": np.full(n, np.nan, "f4"), "roi_a": np.arange(n) % 2 == 0,
            "roi_b": np.arange(n) % 3 == 0,
        },
        attrs={"dataset": "made", "space": "sites", "units": "1", "source": "{}"},
    )  # fmt: skip
    contract = {"model": "m", "weights": "w", "layer": "h", "pooling": "tokens", "normalisation": "none",
                "pixel_range": "none", "preprocessing": "none", "shape": "{}"}  # fmt: skip
    features = make_features(X, stimulus_id=ids, layer=np.full(CHANNELS, "h"), attrs=contract)
    stimuli = make_stimuli(
        {
            "stimulus_id": ids,
            "pixel_index": np.arange(len(X)),
            "split": np.full(len(X), "train"),
            "group": ids,
        },
        attrs={"dataset": "made", "pixels": ""},
    )
    return responses, features, splits.make(stimuli, Split(kind="stimulus", n_inner=4))


SECTIONS = [
    Attention(n_dimensions=32, n_heads=2, n_hidden=32, learning_rate=3e-3, device="cpu"),
    Probing(n_queries=2, values="whole", learning_rate=1e-2, device="cpu"),
    Probing(n_queries=2, values="whole", learning_rate=1e-2, queries="voxel", device="cpu"),
    RandomAttention(n_queries=64, alphas=(-1, 4, 6)),
]


@pytest.mark.parametrize("options", SECTIONS)
def test_words_are_read_through_encode(options):
    X, Y, _ = worded(500)
    Y[::7, 2] = np.nan
    responses, features, split = dataset(X, Y)
    p, fits = encode(responses, features, split, options)
    truth = dict(zip(responses["stimulus_id"].values, Y, strict=True))
    y = np.stack([truth[s] for s in p["stimulus_id"].values])
    r = correlation(y, p["prediction"].values)
    floor = 0.4 if options.name == "random_attention" else 0.85
    assert r.min() > floor
    assert np.isfinite(p["validation"].values).all() and len(fits) == 1


def test_other_readouts_say_that_words_are_no_grid():
    X, Y, _ = worded(60)
    with pytest.raises(InputError, match="11 tokens are no square grid"):
        encode(*dataset(X, Y), Gaussian())
    with pytest.raises(InputError, match="different lengths, which 'ridge' does not read"):
        encode(*dataset(X, Y), RidgeSection())
    with pytest.raises(InputError, match="n_queries 13 share 12 values"):
        EfficientProbing(n_queries=13).fit(X, Y)
