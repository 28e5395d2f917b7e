import numpy as np
import pytest

from neuroenc import splits
from neuroenc.config import Split
from neuroenc.errors import InputError, LeakError


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
