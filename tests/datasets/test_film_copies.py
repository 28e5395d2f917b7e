"""One's own copies of films: which is meant, whether it is as long, and whether it is cut where it should be."""

import numpy as np
import pandas as pd
import pytest
from layouts import treebank as layout
from layouts.films import write_film

from neuroenc.config import Dataset, Model
from neuroenc.datasets import film_copies, treebank
from neuroenc.datasets.film_copies import find_copy, find_cuts, offset_of
from neuroenc.datasets.films import Film
from neuroenc.datasets.pixels import read_pixels
from neuroenc.errors import InputError
from neuroenc.features.extract import extract

pytest.importorskip("av")
SECONDS = 60
CUTS = np.round(np.cumsum(np.random.default_rng(0).uniform(2, 4, 25)), 1)
CUTS = CUTS[CUTS < SECONDS - 3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("films")
    write_film(made / "Ant Man.mp4", CUTS, SECONDS)
    (made / "notes.txt").write_text("no film")
    return made


def test_cuts_are_found_and_motion_is_none(folder):
    np.testing.assert_allclose(find_cuts(Film(folder / "Ant Man.mp4"), 0, SECONDS), CUTS, atol=1e-6)


def test_a_copy_is_found_whatever_its_spelling(folder):
    found = find_copy(folder, "ant-man", last=50, cuts=CUTS)
    assert found.path.name == "Ant Man.mp4" and found.duration == pytest.approx(SECONDS, abs=0.11)
    assert [late for _, late in found.offset] == pytest.approx([0], abs=0.02)
    assert str(found) == "Ant Man.mp4, 60.0 s, cuts off by +0.00 s at 25 s"
    assert "none are annotated" in str(find_copy(folder, "ant-man", last=50, cuts=np.empty(0)))


@pytest.mark.parametrize(
    ("film", "last", "cuts", "said"),
    [
        ("antman 2", 50, CUTS, "0 copies of the film 'antman 2', expected one; it has 1 films: Ant Man.mp4"),
        ("ant-man", 70, CUTS, r"lasts 60\.0 s, expected 70\.0 s"),
        ("ant-man", 50, CUTS - 1.5, r"late by \+1\.50 s at 25 s against the annotated cuts, expected within 0\.25"),
        ("ant-man", 50, np.cumsum(np.random.default_rng(9).uniform(0.7, 6, 12)), "of the .* annotated cuts"),
    ],
)  # fmt: skip
def test_another_film_is_refused(folder, film, last, cuts, said):
    with pytest.raises(InputError, match=said) as error:
        find_copy(folder, film, last=last, cuts=cuts)
    assert "\n" not in str(error.value)


def test_a_copy_at_another_speed_is_refused(tmp_path, monkeypatch):
    """4 % faster, as European television shows films, or by less; as long by its credits."""
    write_film(tmp_path / "pal.mp4", CUTS * 24 / 25, SECONDS)
    with pytest.raises(InputError, match=r"expected 50% or more\. Play it at 0\.960 of its speed"):
        find_copy(tmp_path, "pal", last=55, cuts=CUTS)
    monkeypatch.setattr(film_copies, "STRETCH", 20.0)
    write_film(tmp_path / "fast.mp4", CUTS / 1.008, SECONDS)
    with pytest.raises(
        InputError, match=r"late by [+-]0\.\d\d s at 10 s and .* -0\.[34]\d s at 4\d s against the"
    ):
        find_copy(tmp_path, "fast", last=55, cuts=CUTS)


def test_two_copies_and_no_film_are_refused(tmp_path, folder):
    for name in ("a.mp4", "A.mkv"):
        (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"has 2 copies of the film 'a', expected one"):
        find_copy(tmp_path, "a", last=1, cuts=CUTS)
    (tmp_path / "A.mkv").unlink()
    with pytest.raises(InputError, match="Cannot read the film"):
        find_copy(tmp_path, "a", last=1, cuts=CUTS)


def test_offset_takes_what_most_cuts_say():
    rng = np.random.default_rng(1)
    cuts = np.sort(rng.uniform(0, 300, 80))
    found = np.sort(np.concatenate([cuts[:60] + 3.2 + rng.normal(0, 0.01, 60), rng.uniform(0, 300, 40)]))
    late, share = offset_of(found, cuts)
    assert late == pytest.approx(3.2, abs=0.01) and 0.74 < share < 0.9
    assert offset_of(np.empty(0), cuts) == (0.0, 0.0)


def test_stimuli_of_a_tree_carry_the_film(tmp_path):
    root, films = tmp_path / "tree", tmp_path / "films"
    films.mkdir()
    layout.build(root)
    words = pd.read_csv(root / f"transcripts/{layout.FILM}/features.csv")["start"]
    (root / "scene_annotations").mkdir()
    cuts = np.arange(3.0, words.max(), 7.3).round(1)  # as regular as they are, the nearest fit is meant
    pd.DataFrame({"start": cuts}).to_csv(root / f"scene_annotations/{layout.FILM}.csv", index=False)
    options = Dataset(
        name="treebank", root=str(root), reference="none", films=str(films), clip=1.0, sessions=1
    )
    with pytest.raises(
        InputError, match=r"has 0 copies of the film 'fïlm', expected one; it has 0 films\. Name yours"
    ):
        treebank.load_stimuli(options, ["3"])
    write_film(films / "Film.mp4", CUTS, SECONDS)
    with pytest.raises(InputError, match=r"it has 1 films: Film\.mp4"):
        treebank.load_stimuli(options, ["3"])
    (films / "Film.mp4").unlink()
    length = np.ceil(words.max() + 0.4)
    write_film(films / "FÏLM.mp4", cuts, length)
    stimuli = treebank.load_stimuli(options, ["3"])
    assert set(stimuli["file"].values) == {"FÏLM.mp4"} and stimuli["duration"].values[0] == 1.0
    assert stimuli["onset"].values[-1] + stimuli["duration"].values[-1] <= length + 0.1
    assert "cuts off by +0.00 s" in stimuli.attrs["films"]
    shown = read_pixels(stimuli, np.array([3]))[0]
    there = Film(films / "FÏLM.mp4").frame(words[3] + 0.5)
    np.testing.assert_array_equal(shown, there)
    extract(stimuli.isel(stimulus=[0, -1]), Model(extractor="luminance"), tmp_path / "f.nc")
    assert treebank.check_tree(options, ["3"])[0].startswith("FÏLM.mp4, ")
    with pytest.raises(InputError, match=r"Set `dataset\.films`"):
        treebank.load_stimuli(options.model_copy(update={"films": "/nowhere"}), ["3"])
