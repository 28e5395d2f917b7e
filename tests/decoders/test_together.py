"""One network of several subjects, few sessions of a new one, and what must not leak between people."""

import json

import numpy as np
import pytest

from neuroenc import config, splits
from neuroenc.arrays import CONTRACT, load, make_features, make_stimuli, save
from neuroenc.config import Split
from neuroenc.decoders import BrainNetwork, RidgeDecoder
from neuroenc.decoders.decode import decode
from neuroenc.decoders.samples import first_sessions, lay_out, samples_of
from neuroenc.decoders.scores import score
from neuroenc.decoders.target import restore
from neuroenc.decoders.together import decode_together, guard
from neuroenc.decoders.transfer import compare, transfer
from neuroenc.errors import InputError, LeakError
from tests.conftest import toy_responses

OWN, SHARED, LATENT, EMBEDDING = 120, 40, 8, 20
FAST = {"n_components": 8, "n_hidden": 32, "n_blocks": 1, "max_epochs": 5, "batch_size": 32, "dropout": 0.1}


@pytest.fixture
def people():
    """Three people with pictures of their own and shared ones, which are the test; six sessions in order."""
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(3 * OWN + SHARED, LATENT))
    embedding = latent @ rng.normal(size=(LATENT, EMBEDDING)) + 0.05 * rng.normal(
        size=(len(latent), EMBEDDING)
    )
    ids = np.array([f"p{i:03d}" for i in range(len(latent))])
    features = make_features(
        embedding.astype("f4"), stimulus_id=ids, layer=np.repeat(["a"], EMBEDDING),
        attrs={**dict.fromkeys(CONTRACT, "x"), "model": "toy", "layer": "a"},
    )  # fmt: skip
    responses = {}
    for number, (name, n_neuroids) in enumerate((("01", 30), ("02", 24), ("03", 27))):
        seen = rng.permutation(np.r_[number * OWN : (number + 1) * OWN, 3 * OWN : len(ids)])
        mixed = latent[seen] @ rng.normal(size=(LATENT, n_neuroids))
        values = (mixed + 2 * rng.normal(size=mixed.shape)).astype("f4")
        session = np.array([str(s) for s in 6 + 1 + np.arange(len(seen)) * 6 // len(seen)])  # 7 to 12
        responses[name] = toy_responses(rng, ids[seen], values).assign_coords(
            session=("presentation", session), subject=("neuroid", np.full(n_neuroids, name))
        )
    side = np.where(np.arange(len(ids)) < 3 * OWN, "train", "test")
    stimuli = make_stimuli(
        {"stimulus_id": ids, "pixel_index": np.arange(len(ids)), "split": side, "group": ids},
        attrs={"dataset": "toy", "pixels": "not distributed"},
    )
    return responses, features, splits.make(stimuli, Split(kind="dataset", n_inner=4))


def top1(embeddings):
    return score(embeddings)["brain_to_image_top1"]["value"]


def test_one_network_of_all_is_that_of_the_api(people):
    responses, features, split = people
    options = config.NetworkDecoding(**FAST, subjects="all")
    found = decode_together(responses, features, split, options)
    X, Y, test, folds = {}, {}, {}, {}
    of = dict(zip(features["stimulus_id"].values, features["feature"].values, strict=True))
    for name, r in responses.items():
        ids, values = r["stimulus_id"].values, r["response"].values
        side, inner = splits.sides(split, 0, ids, ids)
        train = side == splits.TRAIN
        values = (values - values[train].mean(0)) / values[train].std(0)
        X[name], Y[name] = values[train], np.stack([of[s] for s in ids[train]])
        test[name], folds[name] = (ids[side == splits.TEST], values[side == splits.TEST]), splits.inner_folds(
            inner[train]
        )  # fmt: skip
    model = BrainNetwork(**FAST, cv=folds).fit(X, Y)
    for name, (ids, values) in test.items():
        np.testing.assert_array_equal(found[name]["stimulus_id"].values, ids)
        np.testing.assert_allclose(restore(found[name], 0), model.predict(values, name), atol=1e-3)
        assert top1(found[name]) > 0.3


def test_files_are_those_of_single_decoders(people, tmp_path):
    responses, features, split = people
    found = decode_together(responses, features, split, config.NetworkDecoding(**FAST, subjects="all"))
    alone = decode(responses["02"], features, split, config.NetworkDecoding(**FAST))
    for name, embeddings in found.items():
        save(embeddings, tmp_path / f"{name}.nc")
        assert load(tmp_path / f"{name}.nc", "embeddings").identical(embeddings)
    assert dict(found["02"].sizes) == dict(alone.sizes) and set(found["02"].variables) == set(alone.variables)
    np.testing.assert_array_equal(found["02"]["stimulus_id"].values, alone["stimulus_id"].values)


def test_shuffled_pairs_find_nothing(people):
    responses, features, split = people
    options = config.NetworkDecoding(**FAST, subjects="all")
    found = decode_together(responses, features, split, options, shuffle=0)
    assert max(top1(v) for v in found.values()) < 0.15  # of 40
    rows = transfer(
        responses, "01", features, split, config.NetworkDecoding(**FAST),
        config.RidgeDecoding(n_components=8), [3], shuffle=1,
    )  # fmt: skip
    assert max(abs(r["value"]) for r in rows) < 0.15


def test_what_one_is_tested_on_another_is_not_trained_on(people):
    responses, features, split = people
    options = config.NetworkDecoding(**FAST, subjects="all")
    sides = {
        n: lay_out(samples_of(r, split, options)(0), features, split, 0, options)
        for n, r in responses.items()
    }
    trained = set().union(*(of.ids[of.train] for of in sides.values()))
    assert not trained & set().union(*(of.ids[of.test] for of in sides.values()))
    guard(sides)
    # the responses of one say that a picture it trains on belongs with one that another is tested on
    r = responses["02"]
    first = int(np.flatnonzero(split["side"].sel().values[0][
        np.searchsorted(split["stimulus_id"].values, r["stimulus_id"].values)] == splits.TRAIN)[0])  # fmt: skip
    group = r["group"].values.astype("U9")
    group[first] = "p399"
    assert split["side"].values[0][399] == splits.TEST
    shared = r.isel(presentation=r["stimulus_id"].values != "p399").assign_coords(
        group=("presentation", group[r["stimulus_id"].values != "p399"])
    )
    for run in (
        lambda: decode_together(responses | {"02": shared}, features, split, options),
        lambda: transfer(
            responses | {"02": shared}, "01", features, split, config.NetworkDecoding(**FAST),
            config.RidgeDecoding(), [1],
        ),
    ):  # fmt: skip
        with pytest.raises(LeakError, match="p399"):
            run()


def test_rows_in_another_order_give_the_same(people):
    responses, features, split = people
    options = config.RidgeDecoding(n_components=8, sessions=2)
    r = responses["01"]
    other = r.isel(presentation=np.random.default_rng(1).permutation(r.sizes["presentation"]))
    one, two = (decode(v, features, split, options) for v in (r, other))
    one, two = (restore(v, 0)[np.argsort(v["stimulus_id"].values)] for v in (one, two))
    np.testing.assert_allclose(one, two, atol=1e-4)


def test_first_sessions_alone_are_trained_on_and_standardised_by(people):
    responses, features, split = people
    r = responses["01"]
    kept = first_sessions(r, split, 0, 2)
    tested = np.isin(kept["stimulus_id"].values, [f"p{i}" for i in range(360, 400)])
    assert tested.sum() == SHARED  # of all sessions
    assert set(kept["session"].values[~tested]) == {"7", "8"}  # not '10', which comes before '7' as text
    changed = r.copy(deep=True)
    later = ~np.isin(r["session"].values, ["7", "8"]) & ~np.isin(
        r["stimulus_id"].values, kept["stimulus_id"].values
    )
    changed["response"].values[later] *= 100
    for options in (
        config.RidgeDecoding(n_components=8, sessions=2),
        config.NetworkDecoding(**FAST, sessions=2),
    ):
        one, two = (decode(v, features, split, options) for v in (r, changed))
        np.testing.assert_array_equal(one["embedding"].values, two["embedding"].values)
        assert one.attrs["sessions"] == 2
    whole, few = (top1(decode(r, features, split, config.RidgeDecoding(sessions=n))) for n in (6, 1))
    assert whole > few
    assert top1(decode(r, features, split, config.RidgeDecoding())) == whole
    with pytest.raises(InputError, match=r"Invalid value for 'sessions': 7. Subject 01 has 6 \(7 to 12\)"):
        decode(r, features, split, config.RidgeDecoding(sessions=7))
    with pytest.raises(InputError, match="name no sessions"):
        decode(r.drop_vars("session"), features, split, config.RidgeDecoding(sessions=1))


def test_people_who_saw_no_tested_picture_are_one_line(people):
    responses, features, split = people
    side = dict(zip(split["stimulus_id"].values, split["side"].values[0], strict=True))
    train = [side[s] == splits.TRAIN for s in responses["02"]["stimulus_id"].values]
    without = responses | {"02": responses["02"].isel(presentation=np.array(train))}
    network, ridge = config.NetworkDecoding(**FAST | {"max_epochs": 1}), config.RidgeDecoding(n_components=8)
    for fit in (
        lambda: decode(without["02"], features, split, ridge),
        lambda: decode_together(without, features, split, network.model_copy(update={"subjects": "all"})),
        lambda: transfer(without, "02", features, split, network, ridge, [1]),
    ):
        with pytest.raises(InputError, match=r"None of \d+ stimuli of the responses is tested"):
            fit()
    assert transfer(without, "01", features, split, network, ridge, [1])  # the others need none


def test_transfer_fits_ridge_and_scratch_as_they_are_alone(people):
    responses, features, split = people
    network, ridge = config.NetworkDecoding(**FAST), config.RidgeDecoding(n_components=8)
    rows = transfer(responses, "02", features, split, network, ridge, [1, 6], n_bootstraps=200)
    value = {(r["sessions"], r["method"], r["metric"]): r for r in rows}
    assert {r["subject"] for r in rows} == {"02"}
    for n in (1, 6):
        for way in ("brain_to_image_top1", "image_to_brain_top1"):
            a, b = (value[n, m, way]["value"] for m in ("pretrained", "ridge"))
            assert value[n, "pretrained - ridge", way]["value"] == pytest.approx(a - b)
            assert value[n, "ridge", way]["low"] <= b <= value[n, "ridge", way]["high"]
    assert value[6, "ridge", "brain_to_image_top1"]["value"] > 0.3 > 1 / 40
    assert (
        value[1, "ridge", "brain_to_image_top1"]["n_train"]
        < value[6, "ridge", "brain_to_image_top1"]["n_train"]
    )
    # by hand: one space of components, standardised by the training stimuli of these sessions
    sides = lay_out(samples_of(responses["02"], split, ridge)(0), features, split, 0, ridge)
    every = np.concatenate([
        features["feature"].values[np.isin(features["stimulus_id"].values, r["stimulus_id"].values)
                                   & (split["side"].values[0] == splits.TRAIN)] for r in responses.values()
    ])  # fmt: skip
    from neuroenc.decoders.target import Target

    target = Target.fit(every, 8)
    X, Y = sides.pairs()
    model = RidgeDecoder(np.logspace(0, 6, 13).tolist(), cv=splits.inner_folds(sides.inner)).fit(X, Y, target)
    true = target.transform(sides.embedding.take(sides.test))
    alone = compare(
        {"ridge": model.predict_components(sides.response.take(sides.test))}, true, n_bootstraps=200
    )
    for row in alone:
        assert row["value"] == value[6, "ridge", row["metric"]]["value"]


def test_a_pretrained_trunk_stays_where_it_is_frozen():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(60, 12)).astype("f4"), rng.normal(size=(60, 5)).astype("f4")
    from neuroenc.decoders.transfer import tuned
    from neuroenc.encoders.design import Design

    before = BrainNetwork(**FAST).fit({"a": X, "b": X + 1}, {"a": Y, "b": Y})
    kept = {k: v.clone() for k, v in before.module_.state_dict().items()}
    folds = [(np.arange(40), np.arange(40, 60))]
    for freeze in (True, False):
        after = tuned(before, Design(X), Design(Y), folds, "c", freeze=freeze)
        same = [np.array_equal(v, after.module_.state_dict()[k]) for k, v in kept.items() if "first" not in k]
        assert all(same) == freeze
        assert all(np.array_equal(v, after.module_.state_dict()[k]) for k, v in kept.items() if "first" in k)
    assert all(np.array_equal(v, kept[k]) for k, v in before.module_.state_dict().items())  # a copy was tuned


def test_the_commands_and_what_they_refuse(people, tmp_path, run):
    responses, features, split = people
    for name, values in ({"f": features, "s": split} | responses).items():
        save(values, tmp_path / f"{name}.nc")
    recorded = [f"--responses={n}={tmp_path / n}.nc" for n in responses]
    common = ["--features", tmp_path / "f.nc", "--split", tmp_path / "s.nc"]
    options = json.dumps({"name": "network", "subjects": "all"} | FAST)
    out = [f"--out={n}={tmp_path / n}_e.nc" for n in responses]
    assert run("decode", "together", *recorded, *common, "--options", options, *out)[0] == 0
    found = decode_together(responses, features, split, config.NetworkDecoding(**FAST, subjects="all"))
    np.testing.assert_array_equal(
        load(tmp_path / "03_e.nc", "embeddings")["embedding"].values, found["03"]["embedding"].values
    )
    assert not list(tmp_path.glob(".*"))
    status, _, error = run("decode", "together", *recorded, *common, "--options", options, *out[:2])
    assert status == 2 and "Expected the same subjects" in error and error.count("\n") == 1
    same = [f"--out={n}={tmp_path}/same.nc" for n in responses]
    status, _, error = run("decode", "together", *recorded, *common, "--options", options, *same)
    assert status == 2 and "the same file" in error and not (tmp_path / "same.nc").exists()
    status, _, error = run(
        "decode",
        "fit",
        "--responses",
        tmp_path / "01.nc",
        *common,
        "--options",
        options,
        "--out",
        tmp_path / "x.nc",
    )
    assert status == 2 and "neuroenc decode together" in error and not (tmp_path / "x.nc").exists()
    asked = ["--network", json.dumps({"name": "network"} | FAST), "--ridge", '{"name": "ridge"}',
             "--sessions=1", "--sessions=6", "--out", tmp_path / "t.json"]  # fmt: skip
    assert run("decode", "transfer", *recorded, "--new=01", *common, *asked)[0] == 0
    drawn = ["--figure", tmp_path / "t.png", "--table", tmp_path / "t.csv"]
    assert run("results", "transfer", "--scores", tmp_path / "t.json", *drawn)[0] == 0
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 1 + 2 * 2 * 8
    scores = ["--scores", tmp_path / "t.json"]
    status, _, error = run("results", "transfer", *scores, *scores, *drawn)
    assert status == 2 and "new subject '01' twice" in error and error.count("\n") == 1
    (tmp_path / "u.json").write_text(json.dumps({"new": "02", "methods": {}, "rows": [{"subject": "02"}]}))
    status, _, error = run("results", "transfer", *scores, "--scores", tmp_path / "u.json", *drawn)
    assert status == 2 and "has no key 'sessions'" in error and error.count("\n") == 1
    status, _, error = run("decode", "transfer", *recorded, "--new=09", *common, *asked)
    assert status == 2 and "'09'" in error and error.count("\n") == 1
    status, _, error = run("decode", "transfer", recorded[0], "--new=01", *common, *asked)
    assert status == 2 and "train on first" in error


@pytest.mark.parametrize(
    ("key", "value"), [("prior", config.Prior()), ("augment", config.Augmentation(fit="toy", share=0.5))]
)
def test_one_network_of_all_refuses_what_it_would_not_read(people, key, value):
    options = config.NetworkDecoding(**FAST, **{key: value})
    with pytest.raises(InputError, match=f"several subjects has no `{key}`"):
        decode_together(*people, options)


def test_repetitions_that_ridge_does_not_read_are_refused_before_training(people, monkeypatch):
    responses, features, split = people
    monkeypatch.setattr("neuroenc.decoders.transfer.fit_together", lambda *_, **__: pytest.fail("fitted"))
    network = config.NetworkDecoding(**FAST, repeats="random")
    with pytest.raises(InputError, match="'repeats' of the network: 'random'"):
        transfer(responses, "01", features, split, network, config.RidgeDecoding(), [1])


def test_recordings_whose_files_would_be_one_are_refused(people, tmp_path, run):
    responses, features, split = people
    for name, values in {"r": responses["01"], "f": features, "s": split}.items():
        save(values, tmp_path / f"{name}.nc")
    names = [f"--responses={name}={tmp_path}/r.nc" for name in ("eeg-a:1", "eeg:a-1")]
    status, _, error = run("decode", "joint", *names, f"--features=eeg={tmp_path}/f.nc", "--options={}",
                           f"--split={tmp_path}/s.nc", f"--out={tmp_path}/out")  # fmt: skip
    assert status == 2 and "written to one file" in error and not (tmp_path / "out").exists()
