"""Repeats tell whether responses stand beside their presentations, and neuroids in one order."""

import warnings

import numpy as np
import pytest

from neuroenc.datasets import from_arrays
from neuroenc.datasets.repeats import warn_of_repeats
from neuroenc.errors import InputWarning

ONE = np.full(120, "1")
TWO = np.repeat(["1", "2"], 60)


def data(order, snr=1.0, seed=0):
    rng = np.random.default_rng(seed)
    shown = {
        "random": lambda: rng.permutation(np.tile(np.arange(40), 3)),
        "the same": lambda: np.tile(np.arange(40), 3),
        "once": lambda: np.arange(120),
    }[order]()
    signal = rng.normal(size=(120, 60))
    drift = np.cumsum(0.1 * rng.normal(size=(len(shown), 1)), 0)
    values = snr * signal[shown] + rng.normal(size=(len(shown), 60)) + drift
    values[:, 3], values[5] = 0, np.nan
    return values.astype(np.float32), np.array([f"p{i}" for i in shown])


@pytest.mark.parametrize(("rows", "said"), [(1, "1 row later"), (-1, "1 row earlier"), (2, "2 rows later")])
def test_a_lost_trial_is_told_by_repeats(rows, said):
    values, ids = data("random")
    moved = np.roll(values, rows, 0)
    with pytest.warns(InputWarning, match=f"y: repeats .* is given the response {said}. Was a trial"):
        warn_of_repeats("y", moved, ids, ONE)
    with pytest.warns(InputWarning, match=said):
        warn_of_repeats("y", np.stack([moved, moved], 2), ids, ONE)
    with pytest.warns(InputWarning, match=f"response: repeats .* {said}"):
        from_arrays(moved, ids)


@pytest.mark.parametrize("order", ["random", "the same", "once"])
@pytest.mark.parametrize("snr", [0, 0.2, 1])
@pytest.mark.parametrize("session", [ONE, TWO], ids=["one", "two"])
def test_nothing_is_said_of_responses_in_place_or_where_nothing_can_be_told(order, snr, session):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(10):
            values, ids = data(order, snr, seed)
            warn_of_repeats("y", values, ids, session)
            if order != "random":
                warn_of_repeats("y", np.roll(values, 1, 0), ids, session)


@pytest.mark.parametrize("change", ["order", "units"])
def test_neuroids_that_are_others_in_another_session_are_told(change):
    values, ids = data("random")
    rng = np.random.default_rng(1)
    if change == "order":
        values[60:] = values[60:, rng.permutation(60)]
    else:
        shown = [int(i[1:]) for i in ids[60:]]
        values[60:] = rng.normal(size=(40, 60))[shown] + rng.normal(size=(60, 60))
    values[60:] += 3  # the level of a session is none of a stimulus
    with pytest.warns(InputWarning, match=r"y: repeats .* alike within sessions .* and not across them"):
        warn_of_repeats("y", values, ids, TWO)
