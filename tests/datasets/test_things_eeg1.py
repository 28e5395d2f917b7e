import numpy as np
import pandas as pd
import pytest
from layouts import things_eeg1 as layout

from neuroenc import splits
from neuroenc.arrays import load, save
from neuroenc.config import Dataset, Split
from neuroenc.datasets import things_eeg1
from neuroenc.errors import InputError

pytest.importorskip("mne")
SET = "derivatives/eeglab/sub-01_task-rsvp_continuous.set"
EVENTS = "sub-01/eeg/sub-01_task-rsvp_events.tsv"


@pytest.fixture
def tree(tmp_path):
    table = layout.build(tmp_path / "eeg1")
    return tmp_path / "eeg1", table, Dataset(name="things_eeg1", root=str(tmp_path / "eeg1"))


@pytest.mark.parametrize("part", [4, 512])
def test_trials_are_cut_at_the_markers(tree, tmp_path, monkeypatch, part):
    _, table, options = tree
    monkeypatch.setattr(things_eeg1, "PART", part)
    found = things_eeg1.load_responses(options, "01")
    kept = table[table["istarget"] == 0]
    assert found["response"].shape == (len(kept), 3, 45)
    bump = np.argmin(np.abs(found["start"].values + things_eeg1.BIN / 2 - layout.LATENCY))
    height = found["response"].values[:, 1, bump]
    assert np.corrcoef(height, kept["number"] + 1)[0, 1] > 0.98
    training = found["split"].values == "train"
    scaled = found["response"].values[training]
    np.testing.assert_allclose(scaled.mean((0, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std((0, 2)), 1, atol=1e-5)
    assert found["run"].values.tolist() == (kept["sequencenumber"] + 1).tolist()
    assert (found["split"].values == "test").sum() == 5
    assert found["roi_occipital"].values.tolist() == [False, True, True]
    save(found, tmp_path / "r.nc")
    assert load(tmp_path / "r.nc", "responses").identical(found)


def test_pictures_are_the_splits_groups(tree):
    root, table, options = tree
    stimuli = things_eeg1.load_stimuli(options, ["01"])
    assert stimuli.sizes["stimulus"] == 14
    assert {c for (c,) in stimuli["caption"].values} == {"carousel", "zebra crossing", "çup"}
    found = things_eeg1.load_responses(options, "01")
    assert set(found["stimulus_id"].values) <= set(stimuli["stimulus_id"].values)
    split = splits.make(stimuli, Split(kind="stimulus", n_inner=3))
    assert split.sizes["stimulus"] == 14
    # a validation picture that also stands among the others is a test picture wherever it stands
    table.loc[0, "stim"] = table["stim"].iloc[-1]
    table.to_csv(root / EVENTS, sep="\t", index=False)
    stimuli = things_eeg1.load_stimuli(options, ["01"])
    assert stimuli.sizes["stimulus"] == 13 and (stimuli["split"].values == "test").sum() == 2
    assert things_eeg1.load_responses(options, "01")["split"].values[0] == "test"


def test_tables_of_the_first_release_are_read(tmp_path):
    layout.build(tmp_path, suffix="csv")
    options = Dataset(name="things_eeg1", root=str(tmp_path))
    assert things_eeg1.load_responses(options, "01").sizes["presentation"] == 16


def test_check_compares_with_the_release(tree, monkeypatch, run):
    root, _, options = tree
    with pytest.raises(InputError, match="Subject 01 training trials: found 12, expected 22248"):
        things_eeg1.check_tree(options, ["01"])
    monkeypatch.setattr(things_eeg1, "EXPECTED", {"training": 12, "validation": 6})
    arguments = ("--options", '{"name": "things_eeg1"}', "--root", root, "--subject", "01")
    status, out, _ = run("data", "check", *arguments)
    assert status == 0 and "subject 01: 12 training trials, 6 validation trials" in out


def fewer(path):
    table = pd.read_csv(path, sep="\t")
    table[:-1].to_csv(path, sep="\t", index=False)


def edited(column, value):
    def change(path):
        table = pd.read_csv(path, sep="\t").astype({column: object})
        table.loc[2, column] = value
        table.to_csv(path, sep="\t", index=False)

    return change


def rewritten(**changes):
    def change(path):
        at = changes.pop("at", np.arange(18) * 25 + 300)
        layout.write_set(
            path, np.random.default_rng(0).normal(size=(3, 1500)) * changes.pop("by", 1), at, **changes
        )

    return change


BROKEN = [
    (EVENTS, fewer, "has 18 markers of pictures, the table of events 17 rows"),
    (EVENTS, edited("stim", "carousel"), r"shows 'carousel', expected stimuli/concept/name\.jpg"),
    (EVENTS, edited("isteststim", "maybe"), "Invalid value for 'isteststim' in line 4"),
    (EVENTS, lambda p: pd.read_csv(p, sep="\t").drop(columns="istarget").to_csv(p, sep="\t"), "has no column 'istarget'"),
    (EVENTS, lambda p: p.unlink(), "File not found"),
    (SET, lambda p: p.unlink(), "File not found"),
    (SET, lambda p: p.write_bytes(p.read_bytes()[:500]), "Cannot read"),
    (SET, lambda p: p.with_suffix(".fdt").unlink(), "Cannot read"),
    (SET, lambda p: p.with_suffix(".fdt").write_bytes(b"0" * 5000), "Cannot read|ends within"),
    (SET, rewritten(marker="S  1"), "expected one 'E  1'"),
    (SET, rewritten(at=np.arange(18) * 25 + 5), "ends within a trial"),
    (SET, rewritten(by=np.nan), "no numbers"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "breaks", "message"), BROKEN)
def test_bad_input_is_one_line(tree, name, breaks, message):
    root, _, options = tree
    breaks(root / name)
    with pytest.raises(InputError, match=message) as caught:
        things_eeg1.load_responses(options, "01")
    assert "\n" not in str(caught.value)


def test_subjects_and_pictures_that_are_not_there(tree):
    root, _, options = tree
    with pytest.raises(InputError, match=r"'subject': '51'"):
        things_eeg1.load_responses(options, "51")
    next((root / "images").rglob("*.jpg")).unlink()
    with pytest.raises(InputError, match=r"1 of 14 pictures .*OSF jum2f"):
        things_eeg1.load_stimuli(options, ["01"])
