"""Delays look back by time where the stimuli of a film are evenly spaced, else by number."""

import numpy as np
import pytest
import xarray as xr

from neuroenc.encoders.delay import sources


def features(film, onset):
    return xr.Dataset(coords={"film": ("stimulus", np.array(film)), "onset": ("stimulus", np.array(onset))})


@pytest.mark.parametrize(
    ("onset", "expected"),
    [
        ([0.0, 2, 4, 10, 12], [[-1, -1], [0, -1], [1, 0], [-1, -1], [3, -1]]),  # two are missing
        ([0.0, 2, 6], [[-1, -1], [0, -1], [-1, 1]]),
        ([0.0, 1.5, 3.0001, 4.48], [[-1, -1], [0, -1], [1, 0], [2, 1]]),  # rounded, or jittered
        ([0.0, 0.3, 0.9, 1.3, 2.5], [[-1, -1], [0, -1], [1, 0], [2, 1], [3, 2]]),  # words
        ([0.0, 0, 1, 2], [[-1, -1], [0, -1], [1, 0], [2, 1]]),
    ],
)
def test_a_gap_is_not_crossed(onset, expected):
    assert sources(features(["a"] * len(onset), onset), [1, 2]).tolist() == expected


def test_films_have_steps_of_their_own_whatever_the_order_of_rows():
    film, onset = ["b", "a", "b", "a", "a", "b"], [6.0, 0, 0, 3, 1, 2]
    # a at 0, 1, 3 (2 is missing); b at 0, 2, 6 (4 is missing)
    assert sources(features(film, onset), [1, 2]).tolist() == [
        [-1, 5], [-1, -1], [-1, -1], [-1, 4], [1, -1], [2, -1],
    ]  # fmt: skip


def test_zero_and_what_is_ahead():
    assert sources(features(["a"] * 3, [0.0, 1, 3]), [0, -1, -2]).tolist() == [
        [0, 1, -1],
        [1, -1, 2],
        [2, -1, -1],
    ]
