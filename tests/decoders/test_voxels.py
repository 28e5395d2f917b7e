import numpy as np
import pandas as pd
import pytest

from neuroenc import splits
from neuroenc.arrays import CONTRACT, make_features, make_stimuli, save
from neuroenc.config import Split
from neuroenc.decoders import voxel_words, voxels
from neuroenc.errors import InputError
from tests.conftest import toy_responses

N, WIDTH = 300, 16
KINDS = ("cat", "müller", "house")


@pytest.fixture
def arrays():
    """Pictures of a kind; voxels that want a kind, the first of each; and voxels of noise."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, N)
    centres = rng.normal(size=(3, WIDTH))
    embedding = (centres[kind] + 0.5 * rng.normal(size=(N, WIDTH)) + 2).astype("f4")
    ids = np.array([f"p{i:03d}" for i in range(N)])
    colour = rng.choice(["red", "blue"], N)
    captions = np.array(
        [[f"A {c} {KINDS[k]}.", f"The {KINDS[k]}, {c}."] for k, c in zip(kind, colour, strict=True)]
    )
    stimuli = make_stimuli(
        {"stimulus_id": ids, "pixel_index": np.arange(N), "split": np.full(N, "train"), "group": ids},
        attrs={"dataset": "toy", "pixels": "not distributed"},
        captions=captions,
    )
    response = rng.normal(size=(N, 9)).astype("f4")
    response[:, :6] += 2 * (kind[:, None] == np.array([0, 1, 2, 0, 1, 2]))
    responses = toy_responses(rng, ids, response)
    features = make_features(
        embedding, stimulus_id=ids, layer=np.full(WIDTH, "out"), attrs=dict.fromkeys(CONTRACT, "x")
    )
    return responses, features, stimuli, splits.make(stimuli, Split(kind="stimulus", test_fraction=0.25))


def test_voxels_say_what_they_want_and_noise_says_nothing(arrays):
    table = voxels.caption_voxels(*arrays)
    for v in range(6):
        assert KINDS[v % 3] in table["caption"][v].lower() and table["words"][v].split()[0] == KINDS[v % 3]
    assert table["confident"][:6].all() and table["confident"][6:].sum() <= 1
    assert (table["spearman"][:6] > 0.3).all() and (table["spearman"] - table["spearman_null"])[
        :6
    ].mean() > 0.2
    assert abs(table["test_r"][6:]).max() < 0.35


def test_test_pictures_are_not_in_the_bank(arrays):
    responses, features, stimuli, split = arrays
    tested = split["stimulus_id"].values[split["side"].values[0] == splits.TEST]
    marked = stimuli.copy(deep=True)
    rows = np.isin(stimuli["stimulus_id"].values, tested)
    marked["caption"] = marked["caption"].astype("<U30")
    marked["caption"].values[rows] = "Secretword."
    table = voxels.caption_voxels(responses, features, marked, split)
    assert not table["words"].str.contains("secretword").any()


def test_projection_in_chunks_is_a_softmax(monkeypatch):
    rng = np.random.default_rng(1)
    w, bank, values = rng.normal(size=(4, 6)), rng.normal(size=(50, 6)), rng.normal(size=(50, 3))
    cosine = (w / np.linalg.norm(w, axis=1, keepdims=True)) @ (
        bank / np.linalg.norm(bank, axis=1, keepdims=True)
    ).T
    share = np.exp(cosine / 0.05)
    expected = share / share.sum(1, keepdims=True) @ values
    np.testing.assert_allclose(voxels.project(w, bank, values), expected, rtol=1e-9, atol=1e-10)
    monkeypatch.setattr(voxels, "CHUNK", 7)
    np.testing.assert_allclose(voxels.project(w, bank, values), expected, rtol=1e-9, atol=1e-10)


def test_words_and_captions():
    found = voxels.count_words([["a red cat", "a cat"], ["a dog", ""]])
    assert found.names == ["cat", "dog", "red"]
    np.testing.assert_allclose(found.present, [[1, 0, 0.5], [0, 1, 0]])
    said = voxels.caption(
        np.array([[1.0, 0, 0.2], [0, 1, -1]]), found.names, ["A red cat.", "A cat.", "A dog.", "of it"]
    )
    assert said == ["A cat.", "A dog."]


def test_regions_and_the_command(arrays, tmp_path, run):
    for name, dataset in zip("rfts", arrays, strict=True):
        save(dataset, tmp_path / f"{name}.nc")
    ask = ("caption", "voxels", "--responses", tmp_path / "r.nc", "--features", tmp_path / "f.nc", "--stimuli",
           tmp_path / "t.nc", "--split", tmp_path / "s.nc", "--out", tmp_path / "o.csv", "--regions", tmp_path / "g.csv")  # fmt: skip
    status, out, err = run(*ask, "--layer", "out")
    assert status == 0 and "of 9 voxels have a confident caption" in out, err
    table = pd.read_csv(tmp_path / "g.csv")
    top = table[(table["region"] == "all") & (table["word"] == "cat")].iloc[0]
    assert 6 <= top["n_voxels"] <= 7 and 0 <= top["low"] <= top["share"] <= top["high"] <= 1
    assert set(table["region"]) == {"all", "A"}
    status, _, err = run(*ask, "--layer", "in")
    assert status == 2 and "'layer': 'in'" in err


def test_pictures_without_captions(arrays):
    responses, features, stimuli, split = arrays
    with pytest.raises(InputError, match="The stimuli carry no captions"):
        voxels.caption_voxels(responses, features, stimuli.drop_vars("caption"), split)


def test_a_split_that_tests_every_picture_leaves_no_bank(arrays):
    responses, features, stimuli, _ = arrays
    every = splits.make(stimuli, Split(kind="kfold", n_folds=3))
    with pytest.raises(InputError, match="None of 300 pictures with features has captions"):
        voxels.caption_voxels(responses, features, stimuli, every)


def test_a_missing_response_costs_a_voxel_that_picture_alone(arrays):
    responses, features, stimuli, split = arrays
    ids = stimuli["stimulus_id"].values
    train, test = (np.flatnonzero(split["side"].values[0] == k) for k in (splits.TRAIN, splits.TEST))
    lost = responses.copy(deep=True)
    lost["response"].values[train[:9], 1] = lost["response"].values[test[:5], 1] = np.nan
    lost["response"].values[:, 7] = np.nan
    lost["response"].values[:, 8] = 0.1
    whole, table = (voxels.caption_voxels(r, features, stimuli, split) for r in (responses, lost))
    assert table["caption"].isna().tolist() == [False] * 7 + [True] * 2
    others = [0, *range(2, 7)]
    pd.testing.assert_frame_equal(table.drop(columns="q").iloc[others], whole.drop(columns="q").iloc[others])
    kept = np.setdiff1d(np.arange(N), [*train[:9], *test[:5]])
    alone = voxels.caption_voxels(
        responses.isel(presentation=kept, neuroid=[1]), features, stimuli.isel(stimulus=kept),
        split.isel(stimulus=np.isin(split["stimulus_id"].values, ids[kept])),
    ).iloc[0]  # fmt: skip
    # the mean of the embeddings is that of the voxel's own pictures there: nearly the same
    assert table["test_r"][1] == pytest.approx(alone["test_r"], abs=0.01)
    assert table["spearman"][1] == pytest.approx(alone["spearman"], abs=0.03)
    assert table["confident"][1]


def test_blocks_of_voxels_are_captioned_as_all_are(arrays, monkeypatch):
    responses, features, stimuli, split = arrays
    lost = responses.copy(deep=True)
    lost["response"].values[:, 3:6] = 0.1  # a block without any voxel that varies
    whole = voxels.caption_voxels(lost, features, stimuli, split)
    monkeypatch.setattr(voxels, "NEUROIDS_AT_ONCE", 3)
    monkeypatch.setattr(voxels, "BLOCK_BYTES", 1)
    parts = voxels.caption_voxels(lost, features, stimuli, split)
    pd.testing.assert_frame_equal(parts, whole, atol=1e-4)
    assert whole["caption"].isna().tolist() == [False] * 3 + [True] * 3 + [False] * 3
    lost["response"].values[:] = 0.1
    with pytest.raises(InputError, match="None of 9 voxels varies"):
        voxels.caption_voxels(lost, features, stimuli, split)


def test_words_that_are_as_frequent_stand_in_their_alphabetical_order(arrays):
    responses = arrays[0]
    table = pd.DataFrame({"confident": True, "words": ["zebra ant dog", "ant bee zebra", "cow"] * 3})
    found = voxel_words.region_words(table, responses)
    found = found[(found["region"] == "all") & (found["kind"] == "word")]
    assert found["word"].tolist() == ["ant", "zebra", "bee", "cow", "dog"]
