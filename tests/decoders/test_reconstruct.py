"""Pictures and captions between their bounds, from voxels whose wishes are known."""

import hashlib
import json

import numpy as np
import pytest
from scipy.stats import zscore

from neuroenc import config, splits
from neuroenc.arrays import load, save
from neuroenc.config import Model, Reconstruction
from neuroenc.decoders import drawing
from neuroenc.decoders import nano as small
from neuroenc.decoders.decode import decode
from neuroenc.decoders.drawing import draw
from neuroenc.decoders.generator import make
from neuroenc.decoders.reconstruct import Restored, caption, nearest_training, reconstruct
from neuroenc.decoders.synthesise import mean_drive, synthesise
from neuroenc.decoders.target import Target
from neuroenc.decoders.voxel_words import region_words
from neuroenc.decoders.voxels import caption_voxels
from neuroenc.errors import ContractError, InputError
from neuroenc.evaluation import decoded as score
from neuroenc.evaluation.subjects import over_subjects
from neuroenc.features import nano
from neuroenc.simulation import grammar
from neuroenc.words import content_words
from tests.decoders.conftest import EYE

RIDGE = config.RidgeDecoding(n_components=40)
DRAW = Reconstruction(decoder="ridge", model="nano", side=64)


@pytest.fixture(scope="module")
def fitted(drawn):
    """Embeddings and small pictures, decoded and decoded after shuffling."""
    return {
        (name, null): decode(drawn.responses, features, drawn.split, RIDGE, shuffle=0 if null else None)
        for name, features in (("eye", drawn.features), ("pixel", drawn.pixels))
        for null in (False, True)
    }


@pytest.fixture(scope="module")
def pictures(drawn, fitted):
    return reconstruct(
        fitted["eye", False], fitted["eye", True], drawn.features, drawn.stimuli, drawn.split, make("nano"), DRAW,
        low_level=(fitted["pixel", False], fitted["pixel", True]),
    )  # fmt: skip


def test_shipped_weights_are_those_of_the_record_and_small():
    total = nano.CHECKPOINT.stat().st_size
    for path in (small.PICTURES, small.CAPTIONS):
        record = small.record(path)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == record["sha256"]
        assert record["network_sha256"] == nano.record()["sha256"]
        total += path.stat().st_size
    assert total < 8_000_000


def test_every_picture_stands_between_its_bounds(drawn, pictures):
    names = pictures["condition"].values.tolist()
    assert names == ["brain", "low_level", "retrieved", "shuffled", "mean", "sample", "true"]
    rows = score.score_pictures(pictures, drawn.stimuli, {"nano": EYE}, n_bootstraps=200)
    value = {(r["metric"], r["condition"]): r["value"] for r in rows}
    assert value["two_way_images", "true"] > value["two_way_images", "brain"] > 0.6
    assert value["two_way_images", "brain"] > value["two_way_images", "shuffled"] + 0.1
    assert abs(value["two_way_images", "shuffled"] - 0.5) < 0.15
    assert value["pixcorr", "low_level"] > value["pixcorr", "brain"] > value["pixcorr", "sample"]
    assert value["correlation_distance", "true"] < value["correlation_distance", "shuffled"]
    for r in rows:
        assert r["low"] is None or r["low"] <= r["value"] <= r["high"]
        assert ("network" not in r) or r["gave_the_embedding"]
    same = pictures.assign(picture=pictures["picture"].copy())
    square = np.stack([small.resize(p, 64) for p in score.seen_pictures(pictures, drawn.stimuli)])
    same["picture"].values[0] = square
    best = {
        (r["metric"], r["condition"]): r["value"]
        for r in score.score_pictures(same, drawn.stimuli, {"nano": EYE})
    }
    assert best["pixcorr", "brain"] == pytest.approx(1)
    assert best["ssim", "brain"] == pytest.approx(1)
    assert best["two_way_images", "brain"] == 1
    assert best["correlation_distance", "brain"] == pytest.approx(0, abs=1e-6)
    both = over_subjects({"1": rows, "2": rows}, n_bootstraps=50)
    assert {r["n"] for r in both} == {2}


def test_the_loop_closes(drawn, fitted, pictures, tmp_path):
    from neuroenc.encoders.encode import encode
    from neuroenc.encoders.store import save_fits

    predictions, fits = encode(drawn.responses, drawn.features, drawn.split, config.Ridge(alphas=(0, 4, 5)))
    path = tmp_path / "weights.safetensors"
    save_fits(fits, drawn.features.attrs, predictions["neuroid_id"].values, path)
    loop = score.Loop(path, EYE, {})
    rows = score.close_loop(pictures, drawn.stimuli, drawn.responses, loop, name="ridge", n_bootstraps=50)
    score.score_pictures(pictures, drawn.stimuli, {"nano": EYE}, loops=[loop], n_bootstraps=2)
    assert set(loop.predicted) == set(pictures["condition"].values)  # which are described once
    again = score.close_loop(pictures, drawn.stimuli, drawn.responses, loop, name="ridge", n_bootstraps=50)
    assert again == rows
    value = {(r["region"], r["condition"]): r["value"] for r in rows}
    assert value["all", "seen"] > value["all", "true"] > value["all", "brain"] > value["all", "shuffled"]
    assert value["all", "brain"] > 0.1 > abs(value["all", "shuffled"])
    holes = drawn.responses.copy(deep=True)
    tested = np.flatnonzero(np.isin(holes["stimulus_id"].values, pictures["stimulus_id"].values))
    for v in range(holes.sizes["neuroid"]):  # each neuroid lacks a stimulus
        holes["response"].values[tested[v % len(tested)], v] = np.nan
    rows = score.close_loop(
        pictures, drawn.stimuli, holes, score.Loop(path, EYE, {}), name="ridge", n_bootstraps=50
    )
    (seen,) = (r["value"] for r in rows if r["region"] == "all" and r["condition"] == "seen")
    assert seen == pytest.approx(value["all", "seen"], abs=0.02)
    few = drawn.responses.isel(presentation=slice(0, 3))
    with pytest.raises(ContractError, match="reconstructed pictures are not among the responses, first"):
        score.close_loop(pictures, drawn.stimuli, few, loop, name="ridge")
    other = drawn.responses.isel(neuroid=slice(0, 10))
    with pytest.raises(ContractError, match="other neuroids"):
        score.close_loop(pictures, drawn.stimuli, other, loop, name="ridge")
    with pytest.raises(ContractError, match="'layer'"):
        wrong = Model(network="nano", layers=["visual.transformer.resblocks.3"])
        loop = score.Loop(path, wrong, {})
        score.close_loop(pictures, drawn.stimuli, drawn.responses, loop, name="ridge")


def test_captions_stand_between_their_bounds(drawn, fitted):
    found = caption(fitted["eye", False], fitted["eye", True], drawn.features, drawn.stimuli, drawn.split)
    rows = score.score_captions(found, drawn.stimuli, clip=EYE, sentences=False, n_bootstraps=100)
    value = {(r["metric"], r["condition"]): r["value"] for r in rows}
    for metric in ("bleu1", "meteor", "rouge_l", "cider", "clip_score"):
        assert value[metric, "true"] > value[metric, "brain"] > value[metric, "shuffled"], metric
    near = nearest_training(fitted["eye", False], drawn.features, drawn.split, 0)
    ids = drawn.stimuli["stimulus_id"].values.tolist()
    first = drawn.stimuli["caption"].values[ids.index(near[0]), 0]
    assert found["caption"].sel(condition="retrieved").values[0] == first
    assert not set(near) & set(found["stimulus_id"].values)
    with pytest.raises(InputError, match="carry no captions"):
        caption(
            fitted["eye", False], fitted["eye", True], drawn.features, drawn.stimuli.drop_vars("caption"),
            drawn.split,
        )  # fmt: skip


def test_what_does_not_belong_together_is_refused(drawn, fitted):
    arrays = (drawn.stimuli, drawn.split, make("nano"), DRAW)
    eye, null = fitted["eye", False], fitted["eye", True]
    other = drawn.features.assign_attrs(weights="random:1")
    with pytest.raises(ContractError, match="'weights'"):
        reconstruct(eye, null, other, *arrays)
    with pytest.raises(ContractError, match="'model'"):
        reconstruct(eye, fitted["pixel", True], drawn.features, *arrays)
    with pytest.raises(ContractError, match="whose 'model' is 'open_clip/nano'"):
        reconstruct(fitted["pixel", False], fitted["pixel", True], drawn.pixels, *arrays)
    with pytest.raises(ContractError, match="expected 'pixel/…'"):
        reconstruct(eye, null, drawn.features, *arrays, low_level=(eye, null))
    with pytest.raises(ContractError, match="of other pictures"):
        reconstruct(eye, null.isel(presentation=slice(1, None)), drawn.features, *arrays)


def test_voxels_are_captioned_in_new_words(drawn):
    table = caption_voxels(
        drawn.responses, drawn.features, drawn.stimuli, drawn.split, generate=True, temperature=0.05
    )
    words = grammar.category_words()
    right = [
        bool(words[grammar.CATEGORIES[v // 3]] & set(content_words(table["generated"][v]))) for v in range(24)
    ]
    assert np.mean(right) >= 0.75
    assert table["spearman_generated"][:24].mean() > 0.15
    found = region_words(table, drawn.responses)
    share = found[found["kind"] == "topic"].set_index(["region", "word"])["share"]
    assert share["face", "person"] > 0.6 > share["vehicle", "person"]
    with pytest.raises(ContractError, match="whose 'model'"):
        caption_voxels(drawn.responses, drawn.pixels, drawn.stimuli, drawn.split, generate=True)


def test_pictures_drawn_for_a_region_raise_its_response(drawn):
    made = synthesise(drawn.responses, drawn.features, drawn.stimuli, drawn.split, "vehicle", n=6)
    mean = {k: v.mean() for k, v in made.activation.items()}
    assert mean["gradient"] > mean["unguided"] + 1
    assert mean["text"] > mean["unguided"]
    assert mean["top"] > mean["random"]
    assert {"car", "automobile", "boat", "ship"} & set(content_words(made.caption))
    with pytest.raises(InputError, match="did you mean 'vehicle'"):
        synthesise(drawn.responses, drawn.features, drawn.stimuli, drawn.split, "vehicl")


def test_commands(drawn, fitted, tmp_path, run):
    for name, array in (
        ("responses", drawn.responses), ("features", drawn.features), ("stimuli", drawn.stimuli),
        ("split", drawn.split), ("e", fitted["eye", False]), ("n", fitted["eye", True]),
    ):  # fmt: skip
        save(array, tmp_path / f"{name}.nc")
    at = lambda *names: [str(tmp_path / n) for n in names]  # noqa: E731
    e, n, f, s, sp = at("e.nc", "n.nc", "features.nc", "stimuli.nc", "split.nc")
    given = ["--embeddings", e, "--null", n, "--features", f, "--stimuli", s, "--split", sp]
    options = json.dumps({"decoder": "ridge", "model": "nano", "side": 64, "n_steps": 4})
    pics, caps, ps, cs, fig = at("p.nc", "c.nc", "p.json", "c.json", "grid.png")
    eye = EYE.model_dump_json(exclude_defaults=True)
    run("decode", "reconstruct", *given, "--options", options, "--out", pics)
    assert load(pics, "pictures").attrs["notice"].startswith("Generated")
    run("decode", "caption", *given, "--out", caps)
    run("evaluate", "pictures", "--pictures", pics, "--stimuli", s, "--judge", f"nano={eye}", "--out", ps)
    run("evaluate", "captions", "--captions", caps, "--stimuli", s, "--no-sentences", "--out", cs)
    run(
        "results", "reconstructions", "--pictures", pics, "--stimuli", s, "--scores", ps, "--captions", caps,
        "--out", fig, "--n", "2",
    )  # fmt: skip
    assert (tmp_path / "grid.png").stat().st_size > 10_000
    assert json.loads((tmp_path / "c.json").read_text())["definitions"]["cider"]


def test_near_and_far_pictures_stand_between_their_bounds(drawn, tmp_path, run):
    apart = splits.make(
        drawn.stimuli,
        config.Split(kind="distant", features="nano", test_fraction=0.1),
        features=drawn.features,
    )
    save(apart, tmp_path / "split.nc")
    eye, low = (
        [decode(drawn.responses, f, apart, RIDGE, shuffle=s) for s in (None, 0)]
        for f in (drawn.features, drawn.pixels)
    )
    made = reconstruct(
        *eye, drawn.features, drawn.stimuli, apart, make("nano"), DRAW.model_copy(update={"n_steps": 3}),
        low_level=tuple(low),
    )  # fmt: skip
    save(made, tmp_path / "p.nc")
    save(drawn.stimuli, tmp_path / "stimuli.nc")
    judge = f"nano={EYE.model_dump_json(exclude_defaults=True)}"
    at = lambda name: str(tmp_path / name)  # noqa: E731
    given = ["--pictures", at("p.nc"), "--stimuli", at("stimuli.nc"), "--judge", judge, "--out", at("s.json")]
    assert run("evaluate", "pictures", *given, "--split", at("split.nc"))[0] == 0
    found = json.loads((tmp_path / "s.json").read_text())["near_and_far"]
    assert found["kind_of_split"] == "distant" and found["definitions"]["gap"]
    rows = {(r["metric"], r["condition"]): r for r in found["rows"]}
    assert {c for _, c in rows} == {*made["condition"].values, "brain - shuffled"}
    for metric in ("pixcorr", "two_way_images"):
        for side in ("near", "far"):
            brain, null = rows[metric, "brain"][side], rows[metric, "shuffled"][side]
            assert rows[metric, "true"][side] > brain > null
    assert rows["pixcorr", "brain"]["far_distance"] > rows["pixcorr", "brain"]["near_distance"]
    whole = json.loads((tmp_path / "s.json").read_text())["rows"]
    mean = next(r for r in whole if r["metric"] == "pixcorr" and r["condition"] == "brain")["value"]
    brain = rows["pixcorr", "brain"]
    weighed = brain["near"] * brain["n_near"] + brain["far"] * brain["n_far"]
    assert weighed / (brain["n_near"] + brain["n_far"]) == pytest.approx(mean, abs=1e-4)
    for name, values in (("e.nc", eye[0]), ("n.nc", eye[1])):
        save(values, tmp_path / name)
    given = [
        "--embeddings",
        at("e.nc"),
        "--null",
        at("n.nc"),
        "--out",
        at("r.json"),
        "--split",
        at("split.nc"),
    ]
    assert run("decode", "evaluate", *given)[0] == 0
    found = json.loads((tmp_path / "r.json").read_text())
    rows = {(r["metric"], r["condition"]): r for r in found["near_and_far"]["rows"]}
    top = rows["brain_to_image_top1", "brain"]
    mean = (top["near"] + top["far"]) / 2
    assert mean == pytest.approx(found["scores"]["brain_to_image_top1"]["value"])  # a fold each, averaged
    assert rows["brain_to_image_top1", "chance"]["gap"] == pytest.approx(0, abs=0.01)
    assert min(top["near"], top["far"]) > rows["brain_to_image_top1", "shuffled"]["far"]


def test_words_of_regions_are_drawn(tmp_path):
    import pandas as pd

    from neuroenc.figures.words import draw_words

    rows = [("FFA", 9, "word", "face", 0.8, 0.6, 1.0), ("FFA", 9, "topic", "person", 0.9, 0.7, 1.0)]
    columns = ["region", "n_voxels", "kind", "word", "share", "low", "high"]
    draw_words(pd.DataFrame(rows, columns=columns), tmp_path / "words.png")
    draw_words(pd.DataFrame(rows[:0], columns=columns), tmp_path / "none.png")
    assert (tmp_path / "words.png").stat().st_size > (tmp_path / "none.png").stat().st_size > 1000


def test_the_drive_of_a_region_is_the_mean_of_what_its_voxels_have():
    y = np.array([[1.0, 10, np.nan], [3, np.nan, np.nan], [5, 30, np.nan], [np.nan, 20, 7], [np.nan] * 3])
    y[:, 2] = [np.nan, np.nan, 1, 7, np.nan]
    a, b = np.sqrt(8 / 3), np.sqrt(200 / 3)
    expected = [(-2 / a - 10 / b) / 2, 0, (2 / a + 10 / b - 1) / 3, (0 + 1) / 2, np.nan]
    np.testing.assert_allclose(mean_drive(y), expected, atol=1e-12)
    rng = np.random.default_rng(0)
    whole = rng.normal(size=(50, 4))
    np.testing.assert_allclose(mean_drive(whole), zscore(whole).mean(1), atol=1e-12)


class Painter:
    """Paints each embedding and seed as one pixel, and counts its calls."""

    calls = 0

    def __call__(self, embedding, *, n, init, strength, guidance, n_steps, seed):
        self.calls += 1
        first = np.zeros(n) if embedding is None else embedding[:, 0]
        drawn = np.stack([first, seed + np.arange(n), [0] * n if init is None else init[:, 0, 0, 0]], 1)
        return drawn.astype(np.uint8)[:, None, None]


def test_pictures_are_drawn_from_blocks_of_embeddings_as_from_all(monkeypatch):
    rng = np.random.default_rng(0)
    embedding, start = (
        rng.integers(0, 99, (10, 4)).astype("f4"),
        rng.integers(0, 99, (10, 2, 2, 3)).astype("u1"),
    )
    how = {"guidance": 1.0, "n_steps": 2, "strength": 1.0, "seed": 3}
    whole, parts = Painter(), Painter()
    one = draw(whole, embedding, 10, start, how)
    monkeypatch.setattr(drawing, "BLOCK_BYTES", 4 * 4 * 3)
    np.testing.assert_array_equal(draw(parts, embedding, 10, start, how), one)
    assert (whole.calls, parts.calls) == (1, 4)
    np.testing.assert_array_equal(one[:, 0, 0, 1], 3 + np.arange(10))
    component = rng.normal(size=(10, 2)).astype("f4")
    target = Target.fit(rng.normal(size=(30, 4)), 2)
    np.testing.assert_allclose(Restored(component, target)[2:5], target.inverse(component)[2:5])


def test_a_batch_of_the_small_decoder_does_not_change_a_picture(monkeypatch):
    embedding = np.random.default_rng(0).normal(size=(5, 64)).astype("f4") / 3
    whole = small.generate(embedding, seed=2, steps=4)
    monkeypatch.setattr(small, "BATCH", 2)
    parts = small.generate(embedding, seed=2, steps=4)
    assert np.abs(parts.astype(int) - whole.astype(int)).max() <= 1  # rounding to whole numbers


def test_what_of_a_prior_is_drawn_and_captioned_is_chosen_on_validation(drawn):
    options = RIDGE.model_copy(update={"prior": config.Prior(max_epochs=2, n_steps=4, n_samples=4)})
    found, null = (
        decode(drawn.responses, drawn.features, drawn.split, options, shuffle=s) for s in (None, 0)
    )
    asked = DRAW.model_copy(update={"n_test": 6, "n_draws": 2, "n_validation": 6, "n_steps": 2})
    eye = drawing.eye_of(EYE, found)
    given = (found, null, drawn.features, drawn.stimuli, drawn.split)
    made = reconstruct(*given, make("nano"), asked, eye=eye)
    assert made["condition"].values.tolist() == [
        "brain", "plain", "prior", "retrieved", "shuffled", "mean", "sample", "true"
    ]  # fmt: skip
    ids = found["stimulus_id"].values.tolist()
    assert made.sizes["presentation"] == 6 and ids.index(made["stimulus_id"].values[0]) < len(ids)
    assert made["draw"].values.max() <= 1 and not made["draw"].sel(condition="sample").values.any()
    name = made.attrs["chosen"].split()[2]
    assert made.attrs["chosen"].startswith("fold 0: ") and name in ("plain", "rescaled", "expected", "prior")
    if name in ("plain", "prior"):
        same = made["picture"].sel(condition=["brain", name]).values
        np.testing.assert_array_equal(*same)
    again = reconstruct(*given, make("nano"), asked.model_copy(update={"n_validation": 0}), eye=eye)
    np.testing.assert_array_equal(*again["picture"].sel(condition=["brain", "prior"]).values)
    said = caption(*given, n_validation=6)
    assert said.attrs["chosen"].split()[2] in ("plain", "rescaled", "expected", "prior")
    with pytest.raises(InputError, match="Give its `--eye`"):
        reconstruct(*given, make("nano"), asked)
    with pytest.raises(InputError, match="'layer': 'visual'"):
        drawing.eye_of(Model(network="nano", layers=["visual.transformer.resblocks.3"]), found)
    with pytest.raises(ContractError, match="'weights'"):
        drawing.eye_of(EYE.model_copy(update={"weights": "random:0"}), found)
