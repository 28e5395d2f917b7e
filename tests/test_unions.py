"""What one set tests no other trains on, whatever it is called there."""

import numpy as np
import pytest

from neuroenc import splits, unions
from neuroenc.arrays import load, make_stimuli, save
from neuroenc.config import Split
from neuroenc.errors import InputError, LeakError


def stimuli(name, concepts, tested, ids=None):
    n = len(concepts)
    ids = [f"{name}{i}" for i in range(n)] if ids is None else ids
    return make_stimuli(
        {
            "stimulus_id": np.array(ids), "pixel_index": np.arange(n), "group": np.array(ids),
            "split": np.where(np.isin(concepts, tested), "test", "train"), "concept": np.array(concepts),
        },
        attrs={"dataset": name, "pixels": "none"}, captions=np.array(concepts)[:, None],
    )  # fmt: skip


@pytest.fixture
def sets():
    """Ten concepts three times in each; A tests three of them, B three others and one of A's, spelled otherwise."""
    concepts = [f"thing {i}" for i in range(10)]
    spelled = [f"Thing_{i}" for i in range(10)]
    return {
        "a": stimuli("a", concepts * 3, concepts[:3]), "b": stimuli("b", spelled * 3, spelled[2:5]),
    }  # fmt: skip


def by_hand(found):
    """No concept and no content that any set tests is trained on in any."""
    for side in found["side"].values:
        for key in ("group", "content"):
            values = found[key].values
            assert not set(values[side == splits.TEST]) & set(values[side == splits.TRAIN])


def test_each_set_keeps_its_tests_and_others_leave_them_out(sets, tmp_path):
    found = unions.union(sets, Split(kind="dataset", n_inner=2))
    by_hand(found)
    a, b = (unions.part(found, n) for n in "ab")
    for one, own, other in ((a, range(3), (3, 4)), (b, range(2, 5), (0, 1))):
        concept = np.array([int(g[-1]) for g in one["group"].values])
        assert set(concept[one["side"].values[0] == splits.TEST]) == set(own)
        assert set(concept[one["side"].values[0] == splits.UNUSED]) == set(other)
        assert set(concept[one["side"].values[0] == splits.TRAIN]) == set(range(5, 10))
    # a concept is validated on in all sets at once
    trained = found["side"].values[0] == splits.TRAIN
    folds = {}
    for g, k in zip(found["group"].values[trained], found["inner"].values[0][trained], strict=True):
        assert folds.setdefault(g, k) == k
    save(found, tmp_path / "split.nc")
    again = load(tmp_path / "split.nc", "splits")
    assert unions.apart(again)["set"].values.tolist() == ["a"] * 30 + ["b"] * 30
    side, _ = splits.sides(b, 0, sets["b"]["stimulus_id"].values, sets["b"]["group"].values)
    assert (side == b["side"].values[0]).all()


def test_concepts_are_drawn_by_seed_and_tested_in_all_sets(sets):
    for options in (
        Split(kind="kfold", n_folds=5, n_inner=2),
        Split(kind="stimulus", test_fraction=0.3, n_inner=2),
    ):
        found = unions.union(sets, options)
        by_hand(found)
        a, b = (unions.part(found, n) for n in "ab")
        for x, y in zip(a["side"].values, b["side"].values, strict=True):
            assert (x == y).all() and not (x == splits.UNUSED).any()
        assert found.identical(unions.union(sets, options))
        other = unions.union(sets, options.model_copy(update={"seed": 1}))
        assert (other["side"].values != found["side"].values).any()
    assert (unions.union(sets, Split(kind="kfold", n_folds=5, n_inner=2))["side"].values == splits.TEST).sum(
        0
    ).max() == 1


def test_the_same_picture_under_two_labels_is_one_group(sets):
    content = {n: np.array([f"{n}-{i}" for i in range(30)]) for n in sets}
    content["b"][9] = "a-0"  # thing 9 of B is the first picture of thing 0 of A, which A tests
    found = unions.union(sets, Split(kind="dataset", n_inner=2), content=content)
    by_hand(found)
    b = unions.part(found, "b")
    nines = np.array([i % 10 == 9 for i in range(30)])
    assert (b["side"].values[0][nines] == splits.UNUSED).all()
    assert len(set(found["group"].values)) == 9
    # with groups of their own, nothing but this picture joins the sets
    sets = {
        n: s.assign_coords(group=("stimulus", [f"run {i // 3}" for i in range(30)])) for n, s in sets.items()
    }
    own = unions.union(sets, Split(kind="kfold", n_folds=3, n_inner=2), by="group", content=content)
    by_hand(own)
    assert len(set(own["group"].values)) == 19


def test_splits_that_are_given_are_kept(sets):
    given = {
        "a": splits.make(
            sets["a"].assign_coords(group=sets["a"]["concept"]), Split(kind="stimulus", n_inner=2, seed=5)
        )
    }
    found = unions.part(unions.union(sets, Split(kind="dataset", n_inner=2), given=given), "a")
    assert ((found["side"].values[0] == splits.TEST) == (given["a"]["side"].values[0] == splits.TEST)).all()
    leaking = given["a"].assign(side=given["a"]["side"].copy(data=1 - given["a"]["side"].values))
    leaking["side"].values[0, :3] = [0, 1, 1]
    leaking = leaking.assign_coords(group=("stimulus", ["one"] * 30))
    with pytest.raises(LeakError):
        unions.union(sets, Split(kind="dataset"), given={"a": leaking})


def test_a_split_that_leaks_is_refused(sets):
    found = unions.union(sets, Split(kind="dataset", n_inner=2))
    side = found["side"].values.copy()
    first = np.flatnonzero(side[0] == splits.UNUSED)[0]
    side[0, first] = splits.TRAIN
    with pytest.raises(LeakError, match="groups on both sides"):
        unions.apart(found.assign(side=found["side"].copy(data=side)))
    with pytest.raises(InputError, match="split of one set"):
        unions.apart(splits.make(sets["a"], Split(kind="dataset")))


def test_refusals_are_one_line(sets):
    everything = {"a": sets["a"], "b": stimuli("b", ["thing 0", "thing 1", "thing 2"], [])}
    empty = sets | {"b": stimuli("b", ["x", " _"], [])}
    strange = sets | {"b": stimuli("b", [f"other {i}" for i in range(10)], [])}
    for given, options, by, words in (
        (sets, Split(kind="group"), "caption", "split.kind of several sets"),
        (sets, Split(kind="dataset"), "colour", "'a' have no single label 'colour'"),
        (
            everything,
            Split(kind="dataset"),
            "caption",
            "The set 'b' tests 0 stimuli and trains on those of 0",
        ),
        (empty, Split(kind="dataset"), "caption", "1 stimuli of the set 'b' have no caption, first 'b1'"),
        (strange, Split(kind="kfold", n_folds=3), "caption", "0 concepts are shown by all of 2 sets"),
    ):
        with pytest.raises(InputError, match=words) as error:
            unions.union(given, options, by=by)
        assert "\n" not in str(error.value)


def test_numbers_match_numbers_whether_whole_or_not_and_missing_ones_match_nothing(sets):
    for name, kind in (("a", int), ("b", float)):
        sets[name] = sets[name].assign_coords(number=("stimulus", np.tile(np.arange(10), 3).astype(kind)))
    rule = Split(kind="dataset", n_inner=2)
    found, by_name = unions.union(sets, rule, by="number"), unions.union(sets, rule)
    np.testing.assert_array_equal(found["side"].values, by_name["side"].values)
    by_hand(found)
    sets["b"]["number"].values[[4, 7]] = np.nan
    with pytest.raises(InputError, match="2 stimuli of the set 'b' have no number, first 'b4'"):
        unions.union(sets, rule, by="number")
