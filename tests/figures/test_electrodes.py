"""Electrodes in a brain of glass."""

import socket

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from neuroenc.errors import InputError
from neuroenc.figures.electrodes import draw_electrodes

PLACES = np.array([[-45.0, -20, 5], [45, 10, 20], [30, -60, -10], [np.nan] * 3])


def scores(r, places=PLACES):
    r = np.asarray(r, float)
    return xr.Dataset(
        {"score": (("metric", "neuroid", "time_bin"), r[None]), "q": (("neuroid", "time_bin"), np.where(r > 0.2, 0.01, 0.5))},
        {"metric": ["pearson_r"], **{axis: ("neuroid", places[:, i]) for i, axis in enumerate("xyz")}},
        {"dataset": "Depth", "fdr_level": 0.05},
    )  # fmt: skip


def yellow(path):
    """How many pixels have the colour of the largest r."""
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)[:, : -(Image.open(path).width // 8)]
    return int((np.abs(picture - [254, 232, 56]).max(2) < 40).sum())


def test_electrodes_are_drawn_without_a_network(tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("the figure asked for a network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    found = np.array([[0.1, 0.4], [np.nan, 0.1], [0.0, 0.4], [0.4, 0.4]])
    draw_electrodes({("1", "a"): scores(found), ("2", "a"): scores(found)}, tmp_path / "two.png")
    draw_electrodes({("1", "a"): scores(found), ("1", "b"): scores(found / 10)}, tmp_path / "models.png")
    draw_electrodes({("1", "b"): scores(found / 10 * [[0], [1], [0], [0]])}, tmp_path / "one.png")
    assert yellow(tmp_path / "two.png") > yellow(tmp_path / "one.png") > 0
    assert Image.open(tmp_path / "models.png").height > 1.5 * Image.open(tmp_path / "two.png").height


def test_an_electrode_without_a_score_is_counted_and_not_drawn_as_0(tmp_path, monkeypatch):
    from nilearn import plotting

    drawn = []
    monkeypatch.setattr(plotting, "plot_markers", lambda values, places, **_: drawn.append((values, places)))
    found = np.array([[0.1, 0.4], [np.nan, np.nan], [0.0, 0.4], [0.4, 0.4]])
    titles = []
    monkeypatch.setattr("matplotlib.axes.Axes.set_title", lambda _, text, **__: titles.append(text))
    draw_electrodes({("1", "a"): scores(found)}, tmp_path / "x.png")
    ((values, places),) = drawn
    assert values.tolist() == [0.4, 0.4] and places.tolist() == PLACES[[0, 2]].tolist()
    assert titles == ["a: 3 of 4 electrodes significant, 1 without a place, 1 without a score"]
    with pytest.raises(InputError, match="No electrode of 'a' has a score"):
        draw_electrodes({("1", "a"): scores(found * np.nan)}, tmp_path / "y.png")


@pytest.mark.parametrize(
    ("places", "said"),
    [
        (np.full((4, 3), np.nan), "No electrode of 'a' has a place"),
        (PLACES * 4, r"lies 240 mm from the origin, expected at most 130: places are no millimetres of MNI"),
        (None, r"Scores of 'a' have no places x, y, z"),
    ],
)
def test_places_that_are_none(tmp_path, places, said):
    made = scores(np.ones((4, 2)), PLACES if places is None else places)
    with pytest.raises(InputError, match=said):
        draw_electrodes({("1", "a"): made.drop_vars("x") if places is None else made}, tmp_path / "f.png")
    assert list(tmp_path.iterdir()) == []
