import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, GroupShuffleSplit

from neuroenc import splits
from neuroenc.arrays import check, make_stimuli
from neuroenc.config import Split
from neuroenc.errors import ContractError, InputError, LeakError
from tests.conftest import toy_responses


def grouped(stimuli, group):
    return stimuli.assign_coords(group=("stimulus", np.asarray(group)))


@pytest.mark.parametrize("kind", ["stimulus", "group"])
def test_groups_are_never_parted(toy, kind):
    group = [f"g{i % 12}" for i in range(120)]
    found = splits.make(grouped(toy[0], group), Split(kind=kind, n_folds=3, n_inner=3))
    for side, inner in zip(found["side"].values, found["inner"].values, strict=True):
        for g in set(group):
            members = np.array(group) == g
            assert len(set(side[members])) == 1
            assert len(set(inner[members])) == 1
        assert ((inner == -1) == (side == splits.TEST)).all()
    if kind == "group":  # each group is the test set once
        assert (found["side"].values.sum(0) == 1).all()


def test_split_is_seeded(toy):
    a, b = (splits.make(toy[0], Split(kind="stimulus", seed=3)) for _ in range(2))
    assert a.identical(b)
    other = splits.make(toy[0], Split(kind="stimulus", seed=4))
    assert (a["side"].values != other["side"].values).any()
    assert a["side"].values.mean() == pytest.approx(0.2)


def test_dataset_kind_needs_named_test_stimuli(toy):
    with pytest.raises(InputError, match="names no test stimuli"):
        splits.make(toy[0], Split(kind="dataset"))


def test_guard_names_the_stimulus_on_both_sides():
    with pytest.raises(LeakError, match="stimuli on both sides of the split: 1, first 'b'"):
        splits.guard(["a", "b", "b"], [0, 0, 1], ["a", "b", "b"])
    with pytest.raises(LeakError, match=r"groups on both sides.* first 'story'"):
        splits.guard(["a", "b"], [0, 1], ["story", "story"])
    splits.guard(["a", "b", "a"], [0, 1, 0], ["a", "b", "a"])


def test_sides_refuses_strangers_and_leaks(toy):
    split = splits.make(toy[0], Split(kind="stimulus"))
    with pytest.raises(InputError, match=r"first 'x'; the split holds 120, first 'p000'"):
        splits.sides(split, 0, np.array(["p001", "x"]), np.array(["p001", "x"]))
    ids = split["stimulus_id"].values
    one_group = np.full(len(ids), "same")
    with pytest.raises(LeakError):
        splits.sides(split, 0, ids, one_group)


def test_too_few_groups_for_the_inner_folds(toy):
    with pytest.raises(InputError, match=r"Cannot make 5 inner folds of 3 groups"):
        splits.make(grouped(toy[0], [f"g{i % 4}" for i in range(120)]), Split(kind="group"))


def test_a_film_is_cut_into_stretches_with_an_embargo(toy):
    onset = np.tile(np.arange(60) * 2.0, 2)  # two films of two minutes, in any order
    order = np.random.default_rng(0).permutation(120)
    film = np.repeat(["a", "b"], 60)
    stimuli = toy[0].assign_coords(onset=("stimulus", onset[order]), film=("stimulus", film[order]))
    found = splits.make(stimuli, Split(kind="chronological", n_folds=4, n_inner=3, embargo=5))
    side = found["side"].values
    assert ((side == splits.TEST).sum(0) == 1).all()  # each is tested once
    for k in range(4):
        for name in "ab":
            here = film[order] == name
            test = onset[order][here & (side[k] == splits.TEST)]
            train = onset[order][here & (side[k] == splits.TRAIN)]
            assert len(test) == 15 and np.ptp(test) == 28  # one stretch
            assert (np.abs(train[:, None] - test).min(1) > 5).all()
            assert (side[k][here] == splits.UNUSED).sum() in (2, 4)
        inner = found["inner"].values[k]
        assert ((inner >= 0) == (side[k] == splits.TRAIN)).all()
        assert set(inner[inner >= 0]) == {0, 1, 2}
        ids, groups = (found[name].values for name in ("stimulus_id", "group"))
        sides, inside = splits.sides(found, k, ids, groups)
        train = np.flatnonzero(sides == splits.TRAIN)
        at, of = onset[order][train], film[order][train]
        for number, (rows, held) in enumerate(splits.inner_folds(inside[train])):
            assert (inner[train][held] == number).all()
            apart = np.where(of[:, None] == of[held], np.abs(at[:, None] - at[held]), np.inf).min(1)
            np.testing.assert_array_equal(rows, np.flatnonzero(apart > 5))


@pytest.mark.parametrize("embargo", [0, 5, 12])
def test_an_embargo_begins_where_a_stimulus_ends(toy, embargo):
    rng = np.random.default_rng(0)
    onset = np.cumsum(rng.uniform(3, 6, 120))
    end = onset + rng.uniform(0.5, 20, 120)  # clips that overlap, some within others
    stimuli = toy[0].assign_coords(onset=("stimulus", onset), duration=("stimulus", end - onset))
    found = splits.make(stimuli, Split(kind="chronological", n_folds=3, n_inner=3, embargo=embargo))
    gap = np.maximum(onset[:, None] - end, onset - end[:, None])  # below 0 where two overlap
    ids, groups = (found[name].values for name in ("stimulus_id", "group"))
    for k in range(3):
        side, inside = splits.sides(found, k, ids, groups)
        train, test = (np.flatnonzero(side == s) for s in (splits.TRAIN, splits.TEST))
        assert gap[np.ix_(train, test)].min() > embargo
        # nothing more is left out than lies near what is tested, from its first onset to its last end
        near = (onset <= end[test].max() + embargo) & (end >= onset[test].min() - embargo)
        np.testing.assert_array_equal(np.flatnonzero(~near), train)
        for rows, held in splits.inner_folds(inside[train]):
            assert gap[np.ix_(train[rows], train[held])].min() > embargo


def test_an_embargo_longer_than_an_inner_stretch_reaches_past_its_neighbour(toy):
    stimuli = toy[0].assign_coords(onset=("stimulus", np.arange(120.0)))
    found = splits.make(stimuli, Split(kind="chronological", n_folds=2, n_inner=4, embargo=14))
    _, inner = splits.sides(found, 0, stimuli["stimulus_id"].values, stimuli["group"].values)
    train = inner[74:]  # from 74, 86, 98 and 109 s
    assert train[0].tolist() == [0, 0, 1] and train[11].tolist() == [0, 0, 2]
    fitted = [[int(rows.min()) + 74, int(rows.max()) + 74] for rows, _ in splits.inner_folds(train)]
    assert fitted == [[100, 119], [112, 119], [74, 83], [74, 94]]


def test_an_embargo_that_leaves_no_inner_fold_is_refused(toy):
    stimuli = toy[0].assign_coords(onset=("stimulus", np.arange(120.0)))
    with pytest.raises(InputError, match=r"2 of 2 folds cannot make split.n_inner 3 .* split.embargo"):
        splits.make(stimuli, Split(kind="chronological", n_folds=2, n_inner=3, embargo=30))


def test_stretches_need_onsets_and_more_than_one(toy):
    with pytest.raises(InputError, match="have no onsets"):
        splits.make(toy[0], Split(kind="chronological", n_folds=3))
    stimuli = toy[0].assign_coords(onset=("stimulus", np.arange(120.0)))
    with pytest.raises(InputError, match="n_folds of 2 or more"):
        splits.make(stimuli, Split(kind="chronological"))


def test_kfold_tests_each_stimulus_once_in_any_order_of_rows(toy):
    stimuli = grouped(toy[0], [f"g{i % 40:02d}" for i in range(120)])
    options = Split(kind="kfold", n_folds=5, n_inner=3, seed=1)
    found = splits.make(stimuli, options)
    assert found.sizes["fold"] == 5 and (found["side"].values == splits.TEST).sum(0).tolist() == [1] * 120
    order = np.random.default_rng(0).permutation(120)
    other = splits.make(stimuli.isel(stimulus=order), options)
    np.testing.assert_array_equal(other["side"].values, found["side"].values[:, order])
    np.testing.assert_array_equal(other["inner"].values, found["inner"].values[:, order])
    with pytest.raises(InputError, match=r"cannot make split\.n_folds 1 of 40"):
        splits.make(stimuli, Split(kind="kfold"))


def test_folds_too_small_to_correlate_are_refused(toy):
    with pytest.raises(InputError, match=r"120 of 120 folds test fewer than 3 stimuli, first 1 \('p000'"):
        splits.make(toy[0], Split(kind="group"))


def test_a_fold_for_each_of_very_many_groups_is_refused():
    n = 3 * (splits.MOST + 1)
    ids = np.array([f"p{i:05d}" for i in range(n)])
    columns = {"stimulus_id": ids, "pixel_index": np.arange(n), "split": np.full(n, "train"),
               "group": np.array([f"g{i // 3}" for i in range(n)])}  # fmt: skip
    stimuli = make_stimuli(columns, attrs={"dataset": "many", "pixels": "none"})
    with pytest.raises(InputError, match=r"would make 1001 folds.*Use split\.kind 'kfold'"):
        splits.make(stimuli, Split(kind="group"))


def running(onset):
    n = len(onset)
    ids = np.array([f"p{i:03d}" for i in range(n)])
    return make_stimuli(
        {"stimulus_id": ids, "pixel_index": np.arange(n), "split": np.full(n, "train"), "group": ids,
         "onset": onset},
        attrs={"dataset": "toy", "pixels": "none"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("onset", "changes", "message"),
    [
        (np.arange(30.0), {"embargo": 100}, "3 of 3 folds cannot make .* first fold 0 of 0 training stimuli"),
        (np.arange(30.0), {"embargo": 9}, "3 of 3 folds cannot make .* first fold 0 of 11 training stimuli"),
        (
            np.arange(30.0),
            {"embargo": 9, "n_inner": 2},
            "2 of 3 folds .* first fold 0 of 11 training stimuli",
        ),
        (np.r_[np.arange(29.0), np.nan], {}, "1 of 30 stimuli have no onset .*, first 'p029'"),
        (np.arange(4.0), {"kind": "stimulus", "test_fraction": 0.9}, "of 4 groups of stimuli leaves none"),
    ],
)
def test_folds_that_leave_too_little_to_train_on_are_refused(onset, changes, message):
    options = Split(**{"kind": "chronological", "n_folds": 3, **changes})
    with pytest.raises(InputError, match=message) as error:
        splits.make(running(onset), options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.drop_vars("inner"), "splits lack 'inner'"),
        (lambda s: s.assign(inner=s["inner"].astype(float)), "inner has .* of float64, expected .* of int"),
        (
            lambda s: s.assign(near=s["inner"]),
            r"near has dimensions .* expected \('fold', 'stimulus', 'edge'\)",
        ),
        (lambda s: s.assign(side=s["side"] + 1), "side of fold 0 holds 3, expected 0"),
        (
            lambda s: s.assign(side=s["side"] * 0 + 2),
            r"inner of the training stimuli of fold 0 is \[\], expected two",
        ),
        (lambda s: s.assign(inner=s["inner"] * 0 - 1), r"of fold 0 is \[-1\], expected two or more"),
    ],
)
def test_splits_of_ones_own_are_read_only_where_they_can_be(toy, change, message):
    stimuli = toy[0].assign_coords(onset=("stimulus", np.arange(120.0)))
    found = splits.make(stimuli, Split(kind="chronological", n_folds=3, n_inner=3))
    with pytest.raises(ContractError, match=message):
        check(change(found), "splits")


@pytest.mark.parametrize("seed", [0, 7])
def test_random_folds_are_those_of_scikit_learn(toy, seed):
    stimuli = grouped(toy[0], np.random.default_rng(seed).permutation([f"g{i % 37}" for i in range(120)]))
    group = stimuli["group"].values
    found = splits.make(stimuli, Split(kind="kfold", n_folds=4, n_inner=3, seed=seed))
    for fold, (train, test) in enumerate(
        GroupKFold(4, shuffle=True, random_state=seed).split(group, groups=group)
    ):
        np.testing.assert_array_equal(np.flatnonzero(found["side"].values[fold] == splits.TEST), test)
        inside = GroupKFold(3, shuffle=True, random_state=seed).split(train, groups=group[train])
        for number, (_, validation) in enumerate(inside):
            own = np.flatnonzero(found["inner"].values[fold] == number)
            np.testing.assert_array_equal(own, train[validation])
    drawn = splits.make(stimuli, Split(kind="stimulus", n_folds=3, test_fraction=0.3, seed=seed))
    for fold in range(3):
        own = GroupShuffleSplit(1, test_size=0.3, random_state=seed + fold)
        ((_, test),) = own.split(group, groups=group)
        np.testing.assert_array_equal(np.flatnonzero(drawn["side"].values[fold] == splits.TEST), test)


def test_smaller_training_sets_are_nested_and_keep_tests_and_inner_folds(toy):
    split = splits.make(toy[0], Split(kind="kfold", n_folds=3, n_inner=3))
    rng, ids = np.random.default_rng(0), toy[0]["stimulus_id"].values
    values = rng.normal(size=(len(ids), 2)).astype("f4")
    values[:10] = np.nan  # stimuli without a response are not counted
    responses = toy_responses(rng, ids, values)
    small, large = (splits.shorten(split, responses, n) for n in (20, 50))
    for fold in range(3):
        train = [set(ids[s["side"].values[fold] == splits.TRAIN]) for s in (small, large, split)]
        assert train[0] < train[1] < train[2] and [len(t) for t in train] == [20, 50, 80]
        assert not set(ids[:10]) & train[1]
    for found in (small, large):
        kept = found["side"].values == splits.TRAIN
        np.testing.assert_array_equal(found["side"] == splits.TEST, split["side"] == splits.TEST)
        np.testing.assert_array_equal(found["inner"].values, np.where(kept, split["inner"].values, -1))
    order = rng.permutation(len(ids))  # whatever the order of rows is
    turned = splits.shorten(split.isel(stimulus=order), responses, 20)
    np.testing.assert_array_equal(turned["side"].values, small["side"].values[:, order])
    other = splits.shorten(split.assign_attrs(seed=1), responses, 20)
    assert (other["side"].values != small["side"].values).any()
    with pytest.raises(InputError, match=r"sizes: 81 is more than the .* of fold 0"):
        splits.shorten(split, responses, 81)
    with pytest.raises(InputError, match="sizes: 2 training stimuli of fold 0 do not make 3 inner folds"):
        splits.shorten(split, responses, 2)
