"""Intervals of what was decoded: stimuli that are alike are drawn together, and one unit has none."""

import numpy as np
import pytest
import xarray as xr

from neuroenc.arrays import make_stimuli
from neuroenc.evaluation.decoded import score_captions
from neuroenc.evaluation.distance import bootstrap
from neuroenc.evaluation.statistics import mean_limits, resample
from neuroenc.evaluation.subjects import over_subjects

WORDS = np.array(["a dog", "a cat", "a red car", "two birds", "an old boat", "the sea", "a house", "a man"])


def world(group, fold=None):
    """Captions of stimuli of groups, half of them right; what is of one group is the same."""
    n = len(group)
    ids = np.array([f"s{i:02d}" for i in range(n)])
    kind = np.unique(group, return_inverse=True)[1]
    truth = WORDS[kind % len(WORDS)]
    said = np.where(kind % 2 == 0, truth, "something else")
    stimuli = make_stimuli(
        {"stimulus_id": ids, "split": np.full(n, "test"), "group": group, "pixel_index": np.arange(n)},
        attrs={"dataset": "x", "pixels": "not distributed"}, captions=truth[:, None],
    )  # fmt: skip
    made = xr.Dataset(
        {"caption": (("condition", "presentation"), said[None])},
        {"stimulus_id": ("presentation", ids), "condition": ["brain"],
         "fold": ("presentation", np.zeros(n, int) if fold is None else fold)},
    )  # fmt: skip
    return made, stimuli


def intervals(*args, **how):
    rows = score_captions(*world(*args, **how), sentences=False, n_bootstraps=2000)
    return {r["metric"]: (r["low"], r["value"], r["high"]) for r in rows}


def test_copies_of_a_picture_say_no_more_than_it_does():
    names = np.array([f"g{i}" for i in range(8)])
    one, copies = intervals(names), intervals(np.repeat(names, 5))
    for metric in ("rouge_l", "bleu1", "meteor"):
        low, value, high = one[metric]
        assert copies[metric][1] == pytest.approx(value)
        np.testing.assert_allclose([copies[metric][0], copies[metric][2]], [low, high], atol=0.04)


def test_one_group_a_fold_is_drawn_by_folds_and_a_single_picture_has_no_interval():
    folds = intervals(np.repeat([f"g{i}" for i in range(4)], 5), fold=np.repeat(np.arange(4), 5))
    assert folds["rouge_l"][0] == 0 < folds["rouge_l"][1] == 0.5 < folds["rouge_l"][2] == 1
    for low, value, high in intervals(np.array(["g0"])).values():
        assert low is None is high
        assert value is not None


def test_intervals_of_groups_hold_the_true_mean_where_those_of_pictures_do_not():
    rng, held = np.random.default_rng(0), np.zeros(2)
    unit = np.repeat(np.arange(8), 10)
    for seed in range(300):
        values = rng.normal(size=8)[unit] + 0.3 * rng.normal(size=80)
        for k, stretch in enumerate((unit, None)):
            low, high = mean_limits(
                values, resample(np.arange(80), np.zeros(80), stretch=stretch, n=400, seed=seed)
            )
            held[k] += (low < 0 < high) / 300
    assert 0.91 < held[0] < 0.98
    assert held[1] < 0.6


def test_over_subjects_copies_of_a_picture_say_no_more_than_it_does():
    names = np.array([f"g{i}" for i in range(8)])
    width = []
    for group in (names, np.repeat(names, 5)):
        rows = score_captions(*world(group), sentences=False, n_bootstraps=100)
        (row,) = (r for r in over_subjects({"1": rows, "2": rows}) if r["metric"] == "rouge_l")
        width.append(row["high"] - row["low"])
    assert width[1] == pytest.approx(width[0], abs=0.06)


@pytest.mark.parametrize("n_subjects", [2, 5])
def test_intervals_over_subjects_hold_the_true_mean(n_subjects):
    rng, held = np.random.default_rng(0), []
    about = {"metric": "pixcorr", "condition": "brain", "unit": list(range(50))}
    for _ in range(200):
        each = 0.5 + 0.05 * rng.normal(size=(n_subjects, 1)) + 0.2 * rng.normal(size=(n_subjects, 50))
        tables = {str(s): [{**about, "each": e.tolist()}] for s, e in enumerate(each)}
        (row,) = over_subjects(tables, n_bootstraps=100)
        held.append(row["low"] <= 0.5 <= row["high"])
    assert np.mean(held) > 0.93  # a bootstrap of two subjects: .8


def test_few_near_stimuli_have_a_wide_interval():
    rng, held = np.random.default_rng(0), []
    for seed in range(200):
        near, far = rng.normal(size=(2, 4))
        _, low, high = bootstrap(
            [(near, np.arange(4)), (far, np.arange(4))], 300, np.random.default_rng(seed)
        )
        held.append(low <= 0 <= high)
    assert np.mean(held) > 0.93  # plain percentiles: .83


def test_near_and_far_stimuli_of_one_group_are_drawn_together():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 8))
    units, copies = np.arange(8), np.repeat(np.arange(8), 5)
    few = bootstrap([(one, units), (other, units)], 2000, np.random.default_rng(0))
    many = bootstrap([(one[copies], copies), (other[copies], copies)], 2000, np.random.default_rng(0))
    assert many == pytest.approx(few)
    alone = bootstrap([(one[copies], np.arange(40)), (other[copies], np.arange(40))], 2000, rng)
    assert alone[2] - alone[1] < 0.6 * (few[2] - few[1])
    assert bootstrap([(one, np.zeros(8, int))], 100, rng) == (pytest.approx(one.mean()), None, None)
