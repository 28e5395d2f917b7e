import numpy as np
import pytest
from layouts import things_eeg2 as layout

from neuroenc.arrays import load, save
from neuroenc.config import Dataset
from neuroenc.datasets import things_eeg2
from neuroenc.datasets.unpickle import load_arrays
from neuroenc.errors import InputError


@pytest.fixture
def tree(tmp_path):
    epochs = layout.build(tmp_path / "eeg2")
    return tmp_path / "eeg2", epochs, Dataset(name="things_eeg2", root=str(tmp_path / "eeg2"))


def test_every_repeat_is_a_presentation(tree, tmp_path):
    _, epochs, options = tree
    found = things_eeg2.load_responses(options, "01")
    assert found["response"].shape == (6 * 2 + 3 * 4, 3, 10)
    np.testing.assert_allclose(found["response"].values[3], epochs[1, 1], rtol=1e-6)
    assert found["stimulus_id"].values[:3].tolist() == ["train_00b", "train_00b", "train_01b"]
    assert (found["split"].values == "test").sum() == 12
    assert found["repetition"].values[-4:].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(found["start"].values, layout.TIMES)
    assert found["roi_occipital"].values.tolist() == [False, True, True]
    save(found, tmp_path / "r.nc")
    assert load(tmp_path / "r.nc", "responses").identical(found)


def test_concepts_are_groups_and_captions(tree):
    stimuli = things_eeg2.load_stimuli(tree[2], ["01"])
    assert stimuli.sizes["stimulus"] == 9
    assert stimuli["caption"].values[-1, 0] == "zébra1"
    train = set(stimuli["group"].values[stimuli["split"].values == "train"])
    assert not train & set(stimuli["group"].values[stimuli["split"].values == "test"])


def test_check_compares_with_the_release(tree, monkeypatch, run):
    root, _, options = tree
    with pytest.raises(InputError, match=r"Subject 01 training: found \(6, 2, 3, 10\), expected \(16540"):
        things_eeg2.check_tree(options, ["01"])
    monkeypatch.setattr(things_eeg2, "EXPECTED", {"training": (6, 2, 3, 10), "test": (3, 4, 3, 10)})
    status, out, _ = run("data", "check", "--options", '{"name": "things_eeg2"}', "--root", root,
                         "--subject", "01")  # fmt: skip
    assert status == 0 and "9 pictures" in out


class Evil:
    def __reduce__(self):
        return (print, ("ran",))


def test_a_pickle_that_would_run_code_is_refused(tree, capsys):
    root, _, options = tree
    path = root / "preprocessed_data/sub-01/preprocessed_eeg_training.npy"
    np.save(path, {"preprocessed_eeg_data": Evil()}, allow_pickle=True)
    with pytest.raises(InputError, match=r"is refused: it holds .*print.*Do not trust it"):
        things_eeg2.load_responses(options, "01")
    assert "ran" not in capsys.readouterr().out


def test_arrays_text_and_numbers_are_read(tmp_path):
    value = {
        "a": np.arange(3.0),
        "b": ["x", "ü"],
        "c": np.float64(2.5),
        "d": np.array(["u"]),
        "e": {"f": None},
    }
    np.save(tmp_path / "v.npy", value, allow_pickle=True)
    found = load_arrays(tmp_path / "v.npy")
    np.testing.assert_array_equal(found["a"], value["a"])
    assert found["b"] == value["b"] and found["c"] == 2.5 and found["d"][0] == "u"
    np.save(tmp_path / "plain.npy", np.arange(4))
    assert load_arrays(tmp_path / "plain.npy").sum() == 6


def test_broken_trees_are_explained(tree):
    root, _, options = tree
    with pytest.raises(InputError, match="'subject': '11'"):
        things_eeg2.load_responses(options, "11")
    with pytest.raises(InputError, match=r"'subject': '02'. Allowed: '01'"):
        things_eeg2.load_responses(options, "02")
    path = root / "preprocessed_data/sub-01/preprocessed_eeg_test.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"Cannot read|is refused"):
        things_eeg2.load_responses(options, "01")
    np.save(path, {"eeg": 1}, allow_pickle=True)
    with pytest.raises(InputError, match=r"has no 'ch_names'. Was its layout changed"):
        things_eeg2.load_responses(options, "01")
    np.save(path, {"preprocessed_eeg_data": np.zeros((2, 4, 3, 10)), "ch_names": layout.CHANNELS,
                   "times": layout.TIMES}, allow_pickle=True)  # fmt: skip
    with pytest.raises(InputError, match=r"expected \(3 pictures, repeats"):
        things_eeg2.load_responses(options, "01")
    next((root / "image_set/test_images").rglob("*.jpg")).unlink()
    with pytest.raises(InputError, match=r"1 of 9 pictures .*OSF jum2f"):
        things_eeg2.load_stimuli(options, ["01"])
