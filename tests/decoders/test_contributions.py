import json
import re

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from neuroenc import config, splits
from neuroenc.arrays import CONTRACT, make_features, save
from neuroenc.config import Split
from neuroenc.decoders import contributions as of
from neuroenc.decoders.decode import decode
from neuroenc.encoders.design import Design
from neuroenc.errors import InputError
from neuroenc.evaluation.identification import cosine
from neuroenc.figures.contributions import draw_contributions
from tests.conftest import toy_responses
from tests.decoders.test_decode import toy_stimuli

N, DIRECTIONS, SIZE = 300, 6, 15
OPTIONS = config.RidgeDecoding(n_components=6, alphas=(0, 3, 4))
RULE = Split(kind="stimulus", n_folds=1, test_fraction=0.4)


def world(seed=0, regions=("first", "second", "silent"), n_folds=1, noise=1.0):
    """`first` answers to the first three directions of the embedding, `second` to the others."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(N, DIRECTIONS))
    mixing = rng.normal(size=(DIRECTIONS, 12))
    ids = np.array([f"p{i:03d}" for i in range(N)])
    driven = {"first": Z[:, :3], "second": Z[:, 3:], "silent": np.zeros((N, 1))}
    values = [driven[r] @ rng.normal(size=(driven[r].shape[1], SIZE)) for r in regions]
    response = np.concatenate(values, 1) + noise * rng.normal(size=(N, SIZE * len(regions)))
    responses = toy_responses(rng, ids, response.astype("f4"))
    responses = responses.drop_vars([c for c in responses.coords if str(c).startswith("roi_")])
    for n, region in enumerate(regions):
        mask = np.arange(response.shape[1]) // SIZE == n
        responses = responses.assign_coords({f"roi_{region}": ("neuroid", mask)})
    features = make_features(
        (Z @ mixing).astype("f4"), stimulus_id=ids, layer=np.repeat("a", 12),
        attrs={**dict.fromkeys(CONTRACT, "x"), "model": "toy", "layer": "a"},
    )  # fmt: skip
    rule = Split(kind="stimulus", n_folds=n_folds, test_fraction=0.4)
    return responses, features, splits.make(toy_stimuli(ids), rule)


def by(rows, **wanted):
    return [r for r in rows if all(r[k] == v for k, v in wanted.items())]


@pytest.fixture(scope="module")
def rows():
    return of.contributions(*world(), OPTIONS, n_bootstraps=200)


def test_what_a_region_carries_falls_and_what_it_does_not_stays(rows):
    for refit in (True, False):
        for region in ("first", "second"):
            (lost,) = by(rows, region=region, how="left_out", refit=refit, score="cosine")
            assert lost["high"] < -0.1 and lost["n"] == SIZE
        (none,) = by(rows, region="silent", how="left_out", refit=refit, score="cosine")
        assert abs(none["change"]) < 0.02 and none["low"] <= 0.02
        (alone,) = by(rows, region="silent", how="alone", refit=True, score="two_way")
        assert abs(alone["value"] - 0.5) < 0.06, "chance, of a region that says nothing"
        (alone,) = by(rows, region="first", how="alone", refit=refit, score="two_way")
        assert alone["value"] > 0.75
    (random,) = by(rows, region="first", how="random_left_out", refit=False, score="cosine")
    (away,) = by(rows, region="first", how="left_out", refit=False, score="cosine")
    assert away["change"] < random["change"] < 0, "as many of all regions cost less than a whole one"
    (noisy,) = by(rows, region="first", how="noise", refit=False, score="cosine")
    assert away["change"] < noisy["change"] < 0


def test_values_equal_those_of_scikit_learn_and_of_decode(rows):
    responses, features, split = world()
    whole = decode(responses, features, split, OPTIONS)
    found = np.diag(cosine(whole["embedding"].values, whole["true"].values)).mean()
    np.testing.assert_allclose(rows[0]["whole"], found, rtol=1e-5)
    kept = responses.isel(neuroid=~responses["roi_first"].values)
    away = decode(kept, features, split, OPTIONS)
    found = np.diag(cosine(away["embedding"].values, away["true"].values)).mean()
    (row,) = by(rows, region="first", how="left_out", refit=True, score="cosine")
    np.testing.assert_allclose(row["value"], found, rtol=1e-5)
    # without a new fit the region's columns count as 0: the same as weights of 0
    p = next(of.prepare(responses, features, split, OPTIONS))
    model = of._fit(OPTIONS, p, np.ones(p.X_train.shape[1], bool))
    Y = model.target_.transform(p.Y_train)
    inside = p.inside["first"]
    decoded = np.empty((len(p.X_test), Y.shape[1]))
    for c, alpha in enumerate(model.alpha_):
        ridge = Ridge(alpha).fit(p.X_train.astype(float), Y[:, c])
        decoded[:, c] = ridge.intercept_ + p.X_test[:, ~inside] @ ridge.coef_[~inside]
    scores = of.picture_scores(decoded, model.target_.transform(p.Y_test)).mean(0)
    for score, value in zip(of.SCORES, scores, strict=True):
        (row,) = by(rows, region="first", how="left_out", refit=False, score=score)
        np.testing.assert_allclose(row["value"], value, rtol=1e-4)


def test_folds_are_averaged_and_rows_may_stand_in_any_order():
    responses, features, split = world(n_folds=2)
    rows = of.contributions(responses, features, split, OPTIONS, among=["first"], n_bootstraps=100)
    assert {r["region"] for r in rows} == {"first"}
    order = np.random.default_rng(1).permutation(N)
    again = of.contributions(responses.isel(presentation=order), features, split, OPTIONS,
                             among=["first"], n_bootstraps=100)  # fmt: skip
    for a, b in zip(rows, again, strict=True):
        if a["how"] in ("left_out", "alone"):
            np.testing.assert_allclose([a["value"], a["whole"]], [b["value"], b["whole"]], rtol=1e-4)


def test_a_lone_group_of_test_pictures_is_drawn_one_by_one_and_several_as_wholes():
    responses, features, split = world(regions=("first", "second"))
    ids = responses["stimulus_id"].values
    tested = np.isin(ids, split["stimulus_id"].values[split["side"].values[0] == splits.TEST])

    def interval(group):
        kept = responses.assign_coords(group=("presentation", np.where(tested, group, ids)))
        found = of.contributions(kept, features, split, OPTIONS, n_bootstraps=200)
        row = by(found, region="first", how="left_out", refit=True, score="cosine")[0]
        return row["low"], row["high"]

    alone = interval(ids)
    assert interval(np.full(len(ids), "one")) == alone and np.isfinite(alone).all()
    few = interval(np.array([s[-1] for s in ids]))
    assert np.isfinite(few).all() and few != alone


def test_lesions_are_found_and_named_and_whole_recordings_are_not_suspected():
    named = lesioned = alarms = whole = 0
    for seed in range(6):
        responses, features, split = world(seed, regions=("first", "second"))
        tried = of.try_lesions(responses, features, split, OPTIONS, n_recordings=4, seed=seed)
        found = of.count_lesions(tried)
        named, lesioned = named + found["named"], lesioned + found["lesioned"]
        alarms, whole = alarms + found["false_alarms"], whole + found["whole"]
    assert lesioned == 96 and named / lesioned >= 0.95
    assert whole == 24 and alarms <= 4


def test_a_silent_region_has_no_lesion_to_find():
    """Its decoding is at chance with and without: what is named there is luck."""
    tried = of.try_lesions(*world(), OPTIONS, n_recordings=4)
    hurt = [r for r in tried if r["region"] == "silent"]
    assert np.mean([r["p"] < of.LEVEL for r in hurt]) <= 0.25


def test_a_suspect_of_other_scale_and_order_of_pictures_is_found():
    responses, features, split = world()
    ids = split["stimulus_id"].values[split["side"].values[0] == splits.TEST]
    test = responses.isel(presentation=np.isin(responses["stimulus_id"].values, ids))
    values = test["response"].values.copy()
    inside = test["roi_second"].values
    values[:, inside] = values[np.random.default_rng(0).permutation(len(values))][:, inside]
    hurt = test.assign(response=(test["response"].dims, values)).isel(presentation=slice(None, None, -1))
    found = of.suspect(hurt, responses, features, split, OPTIONS)
    assert found.region == "second" and found.p < 1e-4 and set(found.z) == {"first", "second", "silent"}
    sound = of.suspect(test, responses, features, split, OPTIONS)
    assert sound.p > 0.01
    with pytest.raises(InputError, match="4 pictures of the recording are tested in the first fold"):
        of.suspect(hurt.isel(presentation=slice(4)), responses, features, split, OPTIONS)
    values[0, 0] = np.nan
    broken = test.assign(response=(test["response"].dims, values))
    with pytest.raises(InputError, match="with 1 values missing"):
        of.suspect(broken, responses, features, split, OPTIONS)


def test_what_cannot_be_asked_is_one_line():
    responses, features, split = world()
    with pytest.raises(InputError, match=r"No region 'third'.*'first', 'second', 'silent'"):
        of.contributions(responses, features, split, OPTIONS, among=["third"])
    bare = responses.drop_vars(["roi_first", "roi_second", "roi_silent"])
    with pytest.raises(InputError, match="have no regions"):
        of.contributions(bare, features, split, OPTIONS)
    with pytest.raises(InputError, match="120 test pictures of fold 0 are too few for 13 recordings of ten"):
        of.try_lesions(responses, features, split, OPTIONS, n_recordings=13)
    network = config.NetworkDecoding(front="atm")
    with pytest.raises(InputError, match="Use `front: linear`"):
        of.contributions(responses, features, split, network)


def test_manipulations_touch_their_region_alone():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 10)).astype("f4")
    inside = np.arange(10) < 4
    for how in (*of.HOW, *of.LESIONS):
        out = of.manipulate(X, inside, how, 1.0, rng)
        changed = (out != X).any(0)
        if how == "random_left_out":
            assert changed.sum() == 4
        else:
            np.testing.assert_array_equal(changed, ~inside if how == "alone" else inside)
        if how == "scrambled":
            np.testing.assert_array_equal(np.sort(out, 0), np.sort(X, 0))
            assert Design(out).shape == X.shape


def test_command_and_figure(tmp_path, run):
    for name, made in zip(("responses", "features", "split"), world(), strict=True):
        save(made, tmp_path / f"{name}.nc")
    files = [f"--{n}={tmp_path}/{n}.nc" for n in ("responses", "features", "split")]
    options = '--options={"name": "ridge", "n_components": 6, "alphas": [0, 3, 4]}'
    out = tmp_path / "found.json"
    status, said, error = run("decode", "contributions", *files, options, f"--out={out}", "--recordings=4",
                              "--n-bootstraps=100", f"--suspect={tmp_path}/responses.nc")  # fmt: skip
    assert status == 0, error
    assert "without first" in said and "lesions: " in said and "lowest in " in said
    found = json.loads(out.read_text())
    assert len(found["rows"]) == 3 * 6 * 3 and len(found["tried"]) == 4 * 7 and found["lesions"]["whole"] == 4
    status, _, error = run("results", "contributions", f"--scores=toy={out}", f"--out={tmp_path}/x.png")
    assert status == 0 and (tmp_path / "x.png").stat().st_size > 10_000, error
    for name, rows, expected in (
        ("a", [{"region": "first"}], "Row 0 of .* has no key 'how'"), ("b", 3, "lists no rows"),
        ("c", ["first"], "Row 0 of .* has no key 'region'"), ("d", [], "list no rows"),
    ):  # fmt: skip
        (tmp_path / "other.json").write_text(json.dumps({"noise": 1, "rows": rows}))
        asked = f"--scores={name}={tmp_path}/other.json", f"--out={tmp_path}/z.png"
        status, _, error = run("results", "contributions", *asked)
        assert status == 2 and re.search(expected, error) and error.count("\n") == 1, error
    status, _, error = run(
        "results", "contributions", *2 * [f"--scores=toy={out}"], f"--out={tmp_path}/z.png"
    )
    assert status == 2 and "gives 'toy' twice" in error and not (tmp_path / "z.png").exists()
    with pytest.raises(InputError, match=r"'score': 'r'.*'cosine', 'two_way', 'top1'"):
        draw_contributions({"toy": found}, "r", tmp_path / "y.png")
    status, _, error = run(
        "decode", "contributions", *files, '--options={"name": "classifier"}', f"--out={out}"
    )
    assert status == 2 and "A classifier decodes no embeddings" in error


def test_regions_that_leave_nothing_are_refused_before_the_first_fit(monkeypatch):
    responses, features, split = world(n_folds=2)
    monkeypatch.setattr(of, "_fit", lambda *_: pytest.fail("fitted"))

    def refused(expected, r=responses, f=features, s=split, among=(), options=OPTIONS):
        with pytest.raises(InputError, match=expected):
            of.contributions(r, f, s, options, among=among)

    every = responses.assign_coords(roi_every=("neuroid", np.ones(3 * SIZE, bool)))
    refused("All neuroids that are decoded lie in the region 'every'", every)
    side = dict(zip(split["stimulus_id"].values, split["side"].values.T, strict=True))
    fixed = responses.copy(deep=True)  # `first` varies over the pictures alone that fold 1 does not train on
    trained = [side[s][1] == splits.TRAIN for s in responses["stimulus_id"].values]
    fixed["response"].values[trained, :SIZE] = 1
    refused("No neuroid of the region 'first' .* fold 1. Name the other regions", fixed)
    seen = [(side[s] == splits.TRAIN).all() for s in responses["stimulus_id"].values]
    refused("None of .* stimuli of the responses is tested", responses.isel(presentation=seen))
    refused("Stimuli share their categories", f=features.assign_attrs(model="category/table"))
    refused("'zz'", options=OPTIONS.model_copy(update={"layers": ["zz"]}))
    with pytest.raises(InputError, match="0 pictures of the recording are tested"):
        of.suspect(responses.isel(presentation=seen), responses, features, split, OPTIONS)


def test_a_region_of_an_epoch_counts_its_neuroids_and_not_their_bins():
    responses, features, split = world()
    bins = responses["response"].values[:, :, None] + 0.1 * np.random.default_rng(1).normal(size=(N, 45, 3))
    kept = {k: v for k, v in responses.coords.items() if k not in ("response",)}
    epochs = responses.drop_vars("response").assign(
        response=(("presentation", "neuroid", "time_bin"), bins.astype("f4"))
    ).assign_coords(kept)  # fmt: skip
    rows = of.contributions(epochs, features, split, OPTIONS, among=["first"], n_bootstraps=100)
    assert {r["n"] for r in rows} == {SIZE}


def test_a_suspect_that_is_refused_is_so_before_hours_of_work(tmp_path, run, monkeypatch):
    for name, made in zip(("responses", "features", "split"), world(), strict=True):
        save(made, tmp_path / f"{name}.nc")
    monkeypatch.setattr(of, "_fit", lambda *_: pytest.fail("fitted"))
    files = [f"--{n}={tmp_path}/{n}.nc" for n in ("responses", "features", "split")]
    status, _, error = run("decode", "contributions", *files, '--options={"name": "ridge"}',
                           f"--out={tmp_path}/x.json", f"--suspect={tmp_path}/none.nc")  # fmt: skip
    assert status == 2 and "none.nc" in error and not (tmp_path / "x.json").exists()
