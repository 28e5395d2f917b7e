"""Near and far scores of decoded stimuli: the gap that was put in, in any order of rows, and refusals."""

import numpy as np
import pytest
import xarray as xr

from neuroenc.errors import InputError, InputWarning
from neuroenc.evaluation.near_and_far import near_and_far
from neuroenc.figures.near_and_far import apart_rows, apart_table

N = 80


def split_of(distance, condition=None):
    """Distances (n_folds, n) of a split; NaN: not tested."""
    ids = np.array([f"p{i:03d}" for i in range(distance.shape[1])])
    coords = {"stimulus_id": ("stimulus", ids)}
    if condition:
        coords["condition"] = ("fold", condition)
    attrs = {"kind_of_split": "distant" if condition else "cluster", "features": "nano"}
    return xr.Dataset({"distance": (("fold", "stimulus"), distance.astype("f4"))}, coords, attrs)


def scored(each, unit=None, **about):
    unit = np.arange(len(each)) if unit is None else unit
    return {"metric": "pixcorr", "condition": "brain", "each": each.tolist(), "unit": unit.tolist(), **about}


@pytest.fixture
def world():
    rng = np.random.default_rng(0)
    distance = rng.uniform(1, 2, N)
    lost = 0.5 - 0.3 * distance + 0.02 * rng.normal(size=N)
    ids, fold = np.array([f"p{i:03d}" for i in range(N)]), np.zeros(N, int)
    return rng, distance, lost, ids, fold


def test_quarters_find_the_gap_that_distance_makes_and_none_where_it_makes_none(world):
    rng, distance, lost, ids, fold = world
    rows = [scored(lost), scored(rng.normal(size=N), condition="shuffled"), {"metric": "fid", "each": None}]
    rows[1]["condition"] = "shuffled"
    found = near_and_far(rows, ids, fold, split_of(distance[None]))
    assert found["space"] == "nano" and len(found["rows"]) == 3
    brain, shuffled, added = found["rows"]
    assert added["condition"] == "brain - shuffled"
    assert added["gap"] == pytest.approx(brain["gap"] - shuffled["gap"])
    assert brain["n_near"] == brain["n_far"] == N // 4
    order = np.argsort(distance)
    near, far = order[: N // 4], order[-N // 4 :]
    assert brain["near"] == pytest.approx(lost[near].mean()) and brain["far"] == pytest.approx(
        lost[far].mean()
    )
    assert brain["gap"] == pytest.approx(0.3 * (brain["far_distance"] - brain["near_distance"]), abs=0.02)
    assert brain["gap_low"] > 0.15 and brain["near_distance"] == pytest.approx(
        distance[near].mean(), rel=1e-5
    )
    assert shuffled["gap_low"] < 0 < shuffled["gap_high"]
    turn = rng.permutation(N)
    again = near_and_far([scored(lost[turn])], ids[turn], fold, split_of(distance[None]))["rows"][0]
    for key in ("near", "far", "gap"):
        assert again[key] == pytest.approx(brain[key])


def test_folds_of_a_distant_split_are_far_and_near(world):
    _, distance, lost, ids, _ = world
    fold = (np.arange(N) >= N // 2).astype(int)
    where = np.full((2, N), np.nan)
    where[fold, np.arange(N)] = distance
    (row,) = near_and_far([scored(lost)], ids, fold, split_of(where, ["far", "near"]))["rows"]
    assert row["near"] == pytest.approx(lost[fold == 1].mean())
    assert row["far"] == pytest.approx(lost[fold == 0].mean())
    assert row["far_distance"] == pytest.approx(distance[fold == 0].mean(), rel=1e-5)


def test_what_belongs_together_is_drawn_together(world):
    _, distance, lost, ids, fold = world
    order = np.argsort(np.argsort(distance))
    alone = near_and_far([scored(lost)], ids, fold, split_of(distance[None]))["rows"][0]
    pairs = near_and_far([scored(lost, order // 10)], ids, fold, split_of(distance[None]))["rows"][0]
    assert pairs["gap"] == pytest.approx(alone["gap"])
    one = near_and_far([scored(lost, order // 20)], ids, fold, split_of(distance[None]))["rows"][0]
    assert one["gap_low"] is None  # of a single group there is no interval
    assert (pairs["gap_high"] - pairs["gap_low"]) != (alone["gap_high"] - alone["gap_low"])


def test_what_cannot_be_parted_is_said(world):
    _, distance, lost, ids, fold = world
    split = split_of(distance[None])
    with pytest.raises(InputError, match="made without features"):
        near_and_far([scored(lost)], ids, fold, split.drop_vars("distance"))
    untested = distance.copy()
    untested[:3] = np.nan
    with pytest.raises(InputError, match="3 of 80 decoded stimuli are not tested by the split, first 'p000'"):
        near_and_far([scored(lost)], ids, fold, split_of(untested[None]))
    other = np.where(ids == "p005", "q", ids)
    with pytest.raises(InputError, match=r"1 of 80 .* first 'q'"):
        near_and_far([scored(lost)], other, fold, split)
    with pytest.warns(InputWarning, match="7 stimuli are too few to tell near from far, expected 8"):
        found = near_and_far([scored(lost[:7])], ids[:7], fold[:7], split)
    assert found["rows"] == [] and apart_table(apart_rows(found["rows"], {})) == []


def test_the_summary_shows_near_and_far_in_every_condition(world):
    _, distance, lost, ids, fold = world
    rows = [scored(lost), scored(lost * 0) | {"condition": "shuffled"}]
    found = near_and_far(rows, ids, fold, split_of(distance[None]))["rows"]
    made = apart_rows(found, {"subject": "01", "command": "x", "seed": 0})
    assert [r["name"] for r in made[:3]] == ["near, pixcorr", "far, pixcorr", "near less far, pixcorr"]
    assert made[0]["distance"] < made[1]["distance"] and made[2]["null"] == 0
    told, head, line = apart_table(made)[1:]
    assert told.startswith("near/far: 20 and 20 pictures") and head.split()[2:4] == ["shuffled", "brain"]
    brain = found[0]
    assert f"{brain['near']:.3f}/{brain['far']:.3f}" in line and "0.000/0.000" in line
    # a null of 0 everywhere takes nothing off
    assert line.rstrip().endswith(f"{brain['gap']:+.3f} [{brain['gap_low']:+.3f}, {brain['gap_high']:+.3f}]")
