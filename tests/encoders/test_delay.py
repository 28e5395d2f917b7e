"""Delays look back by time where the stimuli of a film are evenly spaced, else by number."""

import numpy as np
import pytest
import xarray as xr

from neuroenc.encoders.delay import sources
from neuroenc.errors import InputError


def features(film, onset, **more):
    coords = {"film": film, "onset": onset, **more}
    return xr.Dataset(coords={k: ("stimulus", np.array(v)) for k, v in coords.items()})


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


def test_events_at_whole_seconds_and_a_film_with_many_gaps_are_told_apart_by_duration():
    onset = np.cumsum([0.0, 1, 1, 3, 1, 2, 1, 5, 1, 2, 1, 4, 1])  # every fourth step or more is longer
    with pytest.raises(
        InputError, match=r"5 of 12 steps .* of 'a' are longer than the usual 1 s.*`duration`"
    ):
        sources(features(["a"] * 13, onset), [1])
    events = sources(features(["a"] * 13, onset, duration=[0.5] * 13), [1])[:, 0]
    assert events.tolist() == list(range(-1, 12))  # the event before, whenever it was
    film = sources(features(["a"] * 13, onset, duration=[1.0] * 12 + [0.4]), [1, 3])
    before = {float(t): i for i, t in enumerate(onset)}
    assert film.tolist() == [[before.get(t - d, -1) for d in (1, 3)] for t in onset]


def test_a_few_gaps_need_no_duration():
    onset = np.delete(np.arange(0, 40, 2.0), [3, 4, 9, 15])
    found = sources(features(["a"] * len(onset), onset), [1])[:, 0]
    assert [onset[k] if k >= 0 else None for k in found] == [t - 2 if t - 2 in onset else None for t in onset]
