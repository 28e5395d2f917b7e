"""No two trials of a brain are alike to the last bit: copies, and rows that were never filled, are told."""

import warnings

import numpy as np
import pytest

from neuroenc.datasets import from_arrays
from neuroenc.datasets.copied_rows import refuse_copied_rows
from neuroenc.errors import InputError, InputWarning

IDS = np.repeat([f"p{i}" for i in range(20)], 2)


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=(40, 12)).astype(np.float32)


def check(values, ids=IDS):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refuse_copied_rows("y", values, ids)


def test_what_was_recorded_is_taken(values):
    check(values)
    values[3] = values[4] = np.nan  # censored
    values[:, 5] = 0  # outside the brain
    check(values)
    check(values[:, :3].round())  # few may agree by chance
    rng = np.random.default_rng(0)
    check(rng.poisson(0.3, (40, 12)).astype(np.float32))  # units that are mostly silent
    silent = rng.random((40, 400)).astype(np.float32) * (rng.random((40, 400)) < 0.3)
    silent[7] = 0
    check(silent)


def test_rows_that_were_never_filled_are_refused(values):
    values[25:] = 0
    values[:, 5] = 2
    message = "y holds 0 and nothing else in 15 rows, first row 25"
    with pytest.raises(InputError, match=message):
        check(values)
    with pytest.raises(InputError, match=message):
        check(np.stack([values, values], 2))
    with pytest.raises(InputError, match="response holds 0 and nothing else in 15"):
        from_arrays(values, IDS)


def test_copies_under_two_stimuli_are_refused(values):
    values[9] = values[2]
    with pytest.raises(InputError, match=r"the same values in rows 2 and 9 \(from 0\), of .*'p1' and 'p4'"):
        check(values)


def test_copies_under_one_stimulus_are_warned_of(values):
    values[1::2] = values[::2]
    with pytest.warns(InputWarning, match="y: 20 presentations are copies .* first row 1 .* of row 0. Were"):
        refuse_copied_rows("y", values, IDS)
