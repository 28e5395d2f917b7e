import shutil

import numpy as np
import pandas as pd
import pytest
from layouts import things_meg as layout

from neuroenc import splits
from neuroenc.arrays import load, save
from neuroenc.config import Dataset, Split
from neuroenc.datasets import things_meg
from neuroenc.errors import InputError

pytest.importorskip("mne")


@pytest.fixture
def tree(tmp_path):
    return tmp_path / "meg", layout.build(tmp_path / "meg")


def options(root, **changes):
    return Dataset(name="things_meg", root=str(root), **changes)


def test_trials_are_cut_at_the_triggers_not_at_the_table_of_events(tree, tmp_path):
    root, shown = tree
    found = things_meg.load_responses(options(root), "1")
    assert found.sizes == {"presentation": 4 * 13, "neuroid": 3, "time_bin": 70}
    number = [n for run in shown.values() for n, kind in run if kind != "catch"]
    course = found["response"].values[:, 0]
    peak = found["start"].values[course.argmax(1)]
    strong = np.array(number) > 2
    assert (np.abs(peak[strong] + 0.01 - layout.LATENCY) <= 0.011).all()
    for run in range(4):  # heights within a run grow with the picture's number
        rows = slice(13 * run, 13 * run + 13)
        assert np.corrcoef(course[rows].max(1), number[rows])[0, 1] > 0.98
    assert np.abs(found["response"].values[:, 1:].mean(0)).max() < 3
    before = found["response"].values[:, :, found["stop"].values <= 1e-9]
    np.testing.assert_allclose(before.mean(2), 0, atol=1e-3)
    assert found["neuroid_id"].values.tolist() == ["1_MLO11", "1_MRT22", "1_MZC03"]
    assert found["roi_occipital"].values.tolist() == [True, False, False]
    assert found["hemisphere"].values.tolist() == ["L", "R", ""]
    assert np.isfinite(found["x"].values).all()
    save(found, tmp_path / "r.nc")
    assert load(tmp_path / "r.nc", "responses").identical(found)


def test_test_pictures_come_back_and_catch_trials_do_not(tree):
    root, _ = tree
    found = things_meg.load_responses(options(root), "1")
    test = found["split"].values == "test"
    assert test.sum() == 12 and found["repetition"].values[test].max() == 3
    stimuli = things_meg.load_stimuli(options(root), ["1"])
    assert stimuli.sizes["stimulus"] == 40 + 3 and (stimuli["split"].values == "test").sum() == 3
    assert set(found["stimulus_id"].values) == set(stimuli["stimulus_id"].values)
    assert not any("catch" in s for s in stimuli["stimulus_id"].values)
    assert things_meg.load_responses(options(root, sessions=1), "1").sizes["presentation"] == 26


def test_check_counts_the_triggers_of_every_run(tree, monkeypatch):
    root, _ = tree
    with pytest.raises(InputError, match=r"has 2 sessions of \[2\] runs, expected 12 of 10"):
        things_meg.check_tree(options(root), ["1"])
    monkeypatch.setattr(things_meg, "N_SESSIONS", 2)
    monkeypatch.setattr(things_meg, "N_RUNS", 2)
    assert things_meg.check_tree(options(root), ["1"]) == [
        "subject 1: 2 sessions of 2 runs, 4 catch trials, 40 exp trials, 12 test trials"
    ]


def test_broken_trees_are_explained(tree):
    root, _ = tree
    with pytest.raises(InputError, match="'subject': '5'"):
        things_meg.load_responses(options(root), "5")
    next((root / "images").rglob("*.jpg")).unlink()
    with pytest.raises(InputError, match="1 of 43 pictures"):
        things_meg.load_stimuli(options(root), ["1"])
    table = root / "sourcedata/sample_attributes_P1.csv"
    whole = pd.read_csv(table)
    whole[:-1].to_csv(table, index=False)
    with pytest.raises(InputError, match=r"has 14 triggers on UPPT001, .* 13 trials"):
        things_meg.load_responses(options(root), "1")
    whole.drop(columns="image_path").to_csv(table, index=False)
    with pytest.raises(InputError, match="has no column 'image_path'"):
        things_meg.load_stimuli(options(root), ["1"])
    whole.to_csv(table, index=False)
    folder = next(root.rglob("*run-02_meg.ds"))
    meg4 = folder / f"{folder.stem}.meg4"
    meg4.write_bytes(meg4.read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"Cannot read .*run-02_meg\.ds"):
        things_meg.load_responses(options(root), "1")
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    with pytest.raises(InputError, match=r"not found.*run-02_meg\.ds"):
        things_meg.load_responses(options(root), "1")


def test_test_pictures_of_concepts_that_are_trained_on_are_no_leak(tree):
    """As in the release: twelve training pictures of each concept, and 200 test pictures, each of one of them."""
    root, _ = tree
    path = root / "sourcedata/sample_attributes_P1.csv"
    table = pd.read_csv(path)
    first = {kind: table["image_path"][table["trial_type"] == kind].iloc[0] for kind in ("test", "exp")}
    concept = first["exp"].split("/")[1]
    new = root / f"images/{concept}/{concept}_13s.jpg"
    shutil.copy(root / first["test"].replace("images_meg", "images"), new)
    table.loc[table["image_path"] == first["test"], "image_path"] = f"images_meg/{concept}/{new.name}"
    table.to_csv(path, index=False)
    stimuli = things_meg.load_stimuli(options(root), ["1"])
    split = splits.make(stimuli, Split(n_inner=3))
    assert (split["side"].values == splits.TEST).sum() == (stimuli["split"].values == "test").sum() == 3
