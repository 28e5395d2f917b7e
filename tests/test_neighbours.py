import json

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from neuroenc import neighbours, splits
from neuroenc.arrays import load, make_features, make_stimuli, save
from neuroenc.config import Config, Split, parse
from neuroenc.errors import InputError
from tests.conftest import toy_responses

CONTRACT = dict.fromkeys(
    ("model", "weights", "layer", "pooling", "shape", "normalisation", "pixel_range", "preprocessing"), "toy"
)


def stimuli_of(ids, group=None, **more):
    n = len(ids)
    return make_stimuli(
        {"stimulus_id": ids, "pixel_index": np.arange(n), "split": np.full(n, "train"),
         "group": ids if group is None else group},
        attrs={"dataset": "toy", "pixels": "none"}, **more,
    )  # fmt: skip


def features_of(ids, X):
    return make_features(X.astype("f4"), stimulus_id=ids, layer=np.full(X.shape[1], "l"), attrs=CONTRACT)


@pytest.fixture
def blobs():
    """Three clouds of 40 stimuli in 8 dimensions, features in another order than stimuli."""
    rng = np.random.default_rng(0)
    cloud = np.repeat(np.arange(3), 40)[rng.permutation(120)]
    X = rng.normal(size=(120, 8)) + 8 * rng.normal(size=(3, 8))[cloud]
    ids = np.array([f"p{i:03d}" for i in range(120)])
    order = rng.permutation(120)
    return stimuli_of(ids), features_of(ids[order], X[order]), cloud, X


def test_clusters_are_the_clouds_each_tested_once(blobs):
    stimuli, features, cloud, X = blobs
    split = splits.make(stimuli, Split(kind="cluster", n_folds=3, features="m", n_inner=3), features)
    side = split["side"].values
    assert ((side == splits.TEST).sum(0) == 1).all()
    for fold in side:
        assert len(set(cloud[fold == splits.TEST])) == 1 and (fold == splits.TEST).sum() == 40
    z = (X - X.mean(0)) / X.std(0) / np.sqrt(8)
    wanted = cdist(z[side[0] == splits.TEST], z[side[0] == splits.TRAIN]).min(1)
    np.testing.assert_allclose(split["distance"].values[0][side[0] == splits.TEST], wanted, rtol=1e-4)
    assert np.isnan(split["distance"].values[0][side[0] == splits.TRAIN]).all()
    again = splits.make(stimuli, Split(kind="cluster", n_folds=3, features="m", n_inner=3), features)
    assert split.identical(again)


def test_far_ones_are_the_farthest_and_near_ones_are_as_many(blobs):
    stimuli, features, _, X = blobs
    split = splits.make(stimuli, Split(kind="distant", test_fraction=0.1, features="m"), features)
    side, distance = split["side"].values, split["distance"].values
    assert split["condition"].values.tolist() == ["far", "near"]
    assert ((side == splits.TEST).sum(1) == 12).all()
    np.testing.assert_array_equal(side[0] == splits.TRAIN, side[1] == splits.TRAIN)
    z = (X - X.mean(0)) / X.std(0)
    own = cdist(z, z) + np.diag(np.full(120, np.inf))
    assert set(np.flatnonzero(side[0] == splits.TEST)) == set(np.argsort(-own.min(1))[:12])
    assert np.nanmin(distance[0]) >= np.sort(own.min(1))[-12] / np.sqrt(8) * 0.999
    assert np.nanmedian(distance[0]) > 1.2 * np.nanmedian(distance[1])
    other = splits.make(stimuli, Split(kind="distant", test_fraction=0.1, features="m", seed=1), features)
    np.testing.assert_array_equal(other["side"].values[0] == 1, side[0] == 1)
    assert (other["side"].values[1] != side[1]).any()


def test_groups_stay_together_in_any_order_of_rows(blobs):
    stimuli, features, _, _ = blobs
    group = np.array([f"g{i % 30:02d}" for i in range(120)])
    grouped = stimuli.assign_coords(group=("stimulus", group))
    for options in (
        Split(kind="cluster", n_folds=3, features="m", n_inner=3), Split(kind="distant", features="m")
    ):  # fmt: skip
        side = splits.make(grouped, options, features)["side"].values
        for g in set(group):
            assert all(len(set(fold[group == g])) == 1 for fold in side)
        order = np.random.default_rng(2).permutation(120)
        moved = splits.make(grouped.isel(stimulus=order), options, features)["side"].values
        np.testing.assert_array_equal(moved, side[:, order])


def test_categories_are_held_out_whole():
    rng = np.random.default_rng(0)
    ids = np.array([f"p{i:03d}" for i in range(90)])
    main = np.arange(90) % 6
    table = np.eye(6)[main] * 0.6
    table[np.arange(90), rng.integers(0, 6, 90)] += 0.2  # something else in the corner
    table[:3] = 0
    stimuli = stimuli_of(ids, categories=([f"c{i}" for i in range(6)], table))
    split = splits.make(stimuli, Split(kind="category", n_folds=3, n_inner=3))
    side = split["side"].values
    tested = (side == splits.TEST).sum(0)
    assert (tested[3:] == 1).all() and (tested[:3] == 0).all()
    for fold in side:
        held = set(main[fold == splits.TEST])
        assert len(held) == 2
        assert (table[fold == splits.TRAIN][:, list(held)] == 0).all()
        assert (fold[:3] == splits.TRAIN).all()


def test_bad_input_is_one_line(blobs, toy):
    stimuli, features, _, X = blobs
    ids = stimuli["stimulus_id"].values

    def refused(message, options, given=None, of=stimuli):
        with pytest.raises(InputError, match=message) as caught:
            splits.make(of, options, given)
        assert "\n" not in str(caught.value)

    refused(
        r"split.features is 'm', and features are not given", Split(kind="cluster", features="m", n_folds=3)
    )
    refused(r"split.features is None, and features are given", Split(kind="stimulus"), features)
    refused(r"cannot make split.n_folds 1 of 120", Split(kind="cluster", features="m"), features)
    refused(r"found split.n_folds 2, expected 1", Split(kind="distant", features="m", n_folds=2), features)
    refused(r"84 far ones, and 18 are near", Split(kind="distant", features="m", test_fraction=0.7), features)
    refused(r"have no categories to hold out", Split(kind="category", n_folds=3))
    broken = X.copy()
    broken[5, 2] = np.nan
    options = Split(kind="distant", features="m")
    refused(r"not finite for 1 stimuli, first 'p005'", options, features_of(ids, broken))
    refused(r"No feature of 'toy' varies", options, features_of(ids, np.ones((120, 3))))
    refused(r"120 of 120 stimuli have no features", options, features_of(np.char.add("x", ids), X))
    with pytest.raises(InputError, match=r"kind 'cluster' needs `features`"):
        parse(Split, {"kind": "cluster"})
    config = {
        "label": "a", "dataset": {"name": "nsd"}, "subjects": ["01"], "split": {"kind": "distant", "features": "g"},
        "models": {"gabor": {"extractor": "gabor", "projection": "pca:5"}},
    }  # fmt: skip
    with pytest.raises(InputError, match=r"split.features: no model 'g'"):
        parse(Config, config)
    config["split"]["features"] = "gabor"
    with pytest.raises(InputError, match=r"'gabor' is projected \('pca:5'\)"):
        parse(Config, config)


@pytest.fixture(scope="module")
def world():
    """300 stimuli on a curved sheet; 30 neuroids that are a bent function of it, with little noise."""
    rng = np.random.default_rng(0)
    n = 300
    X = rng.standard_t(3, size=(n, 3))
    true = np.concatenate([np.sin(2 * X), np.cos(2 * X)], 1)
    Y = true @ rng.normal(size=(6, 30))
    Y = Y / Y.std(0) + 0.3 * rng.normal(size=(n, 30))
    ids = np.array([f"p{i:03d}" for i in range(n)])
    return ids, X, true, Y


def lookup(split, X, Y):
    """Predict by the response to the nearest training stimulus."""
    out = []
    for side in split["side"].values:
        train, test = np.flatnonzero(side == splits.TRAIN), np.flatnonzero(side == splits.TEST)
        out.append(Y[train][cdist(X[test], X[train]).argmin(1)])
    return np.concatenate(out)


def test_true_features_show_no_gap_and_a_lookup_a_large_one(world, run, tmp_path):
    ids, X, true, Y = world
    rng = np.random.default_rng(1)
    stimuli, space = stimuli_of(ids), features_of(ids, X)
    save(stimuli, tmp_path / "stimuli.nc")
    save(space, tmp_path / "space.nc")
    save(features_of(ids, true), tmp_path / "true.nc")
    save(toy_responses(rng, ids, Y), tmp_path / "responses.nc")
    options = json.dumps({"kind": "distant", "features": "m", "test_fraction": 0.15})
    made = ["--stimuli", tmp_path / "stimuli.nc", "--features", tmp_path / "space.nc", "--options", options]
    assert run("split", "make", *made, "--out", tmp_path / "split.nc")[0] == 0
    fit = ["--responses", tmp_path / "responses.nc", "--split", tmp_path / "split.nc"]
    status, _, said = run(
        "encode", "fit", *fit, "--features", tmp_path / "true.nc", "--options", '{"name": "ridge"}', "--out",
        tmp_path / "ridge.nc", "--weights", tmp_path / "w.safetensors",
    )  # fmt: skip
    assert status == 0, said
    assert run("decode", "fit", *fit, "--features", tmp_path / "true.nc", "--options", '{"name": "ridge"}', "--out",
               tmp_path / "e.nc")[0] == 0  # fmt: skip
    split, ridge = load(tmp_path / "split.nc", "splits"), load(tmp_path / "ridge.nc", "predictions").load()
    decoded = load(tmp_path / "e.nc", "embeddings")["stimulus_id"].values
    assert sorted(decoded) == sorted(ridge["stimulus_id"].values)
    found = lookup(split, X, Y)
    order = {(f, s): i for i, (f, s) in enumerate(
        (f, s) for f, side in enumerate(split["side"].values) for s in ids[side == splits.TEST])}  # fmt: skip
    at = [order[f, s] for f, s in zip(ridge["fold"].values, ridge["stimulus_id"].values, strict=True)]
    nearest = ridge.copy(deep=True)
    nearest["prediction"] = ridge["prediction"].dims, found[at].astype("f4")
    save(nearest, tmp_path / "lookup.nc")
    both = [f"--predictions={name}={tmp_path / name}.nc" for name in ("ridge", "lookup")]
    assert run("evaluate", "distance", *fit, *both, "--out", tmp_path / "d.json")[0] == 0
    gaps = {(r["model"], r["region"]): r for r in json.loads((tmp_path / "d.json").read_text())["gaps"]}
    assert gaps["ridge", "all"]["near"] > 0.9
    assert abs(gaps["ridge", "all"]["gap"]) < 0.06
    assert gaps["lookup", "all"]["gap"] > 0.25
    assert gaps["lookup", "all"]["low"] > 0.15
    assert gaps["lookup", "all"]["n_near"] == gaps["lookup", "all"]["n_far"] == 45
    bins = [r for r in json.loads((tmp_path / "d.json").read_text())["bins"] if r["region"] == "all"]
    course = [r["value"] for r in bins if r["model"] == "lookup"]
    assert course[0] > course[-1] + 0.25
    assert run("results", "distance", "--scores", tmp_path / "d.json", "--out", tmp_path / "d.png")[0] == 0
    assert (tmp_path / "d.png").stat().st_size > 5000
    plain = splits.make(stimuli, Split(kind="stimulus"))
    save(plain, tmp_path / "plain.nc")
    words = ["--responses", tmp_path / "responses.nc", *both, "--out", tmp_path / "no.json"]
    status, _, said = run("evaluate", "distance", *words, "--split", tmp_path / "plain.nc")
    assert status == 2 and "The split holds no distances" in said and said.count("\n") == 1


def test_features_beyond_the_limit_are_drawn_alike(monkeypatch):
    monkeypatch.setattr(neighbours, "DIMENSIONS", 200)
    rng = np.random.default_rng(0)
    ids = np.array([f"p{i}" for i in range(30)])
    X = rng.normal(size=(30, 5)) @ rng.normal(size=(5, 2000))
    some = neighbours.space(features_of(ids, X), ids)
    monkeypatch.setattr(neighbours, "DIMENSIONS", 10_000)
    whole = neighbours.space(features_of(ids, X), ids)
    assert some.shape == (30, 200) and whole.shape == (30, 2000)
    assert np.corrcoef(cdist(some, some).ravel(), cdist(whole, whole).ravel())[0, 1] > 0.98
