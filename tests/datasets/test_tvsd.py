import h5py
import numpy as np
import pytest
import scipy.io
from layouts import tvsd as layout

from neuroenc import splits
from neuroenc.arrays import load, save
from neuroenc.config import Dataset, Split
from neuroenc.datasets import tvsd
from neuroenc.errors import InputError

N_TRAIN = len(layout.CONCEPTS) * layout.EACH


def opened(root, **changes):
    return Dataset(name="tvsd", root=str(root), **changes)


@pytest.fixture
def tree(tmp_path):
    return tmp_path / "tvsd", layout.build(tmp_path / "tvsd")


def test_averages_stand_in_the_order_of_the_arrays(tree, tmp_path):
    root, (train, test, *_) = tree
    found = tvsd.load_responses(opened(root), "N")
    np.testing.assert_allclose(found["response"].values[:N_TRAIN], train, rtol=1e-6)
    np.testing.assert_allclose(found["response"].values[N_TRAIN:], test.reshape(-1, 1024), rtol=1e-6)
    assert found["stimulus_id"].values[[0, N_TRAIN]].tolist() == ["aardvark_01s", "aardvark_05s"]
    assert found["repetition"].values[-3:].tolist() == [3, 3, 3]
    assert [int(found[f"roi_{r}"].sum()) for r in ("V1", "V4", "IT")] == [512, 256, 256]
    assert found["neuroid_id"].values[[0, 64, 1023]].tolist() == ["N_01-01", "N_02-01", "N_16-64"]
    save(found, tmp_path / "r.nc")
    assert load(tmp_path / "r.nc", "responses").identical(found)


def test_regions_change_places_between_the_monkeys(tmp_path):
    layout.build(tmp_path, monkey="F")
    layout.build(tmp_path, monkey="N")
    places = {}
    for monkey in "FN":
        found = tvsd.load_responses(opened(tmp_path), monkey)
        places[monkey] = [
            (int(np.flatnonzero(found[f"roi_{r}"])[0]), int(found[f"roi_{r}"].sum())) for r in ("V4", "IT")
        ]
    assert places == {"F": [(832, 192), (512, 320)], "N": [(512, 256), (768, 256)]}


def test_time_courses_are_binned_mapped_and_scaled_by_training_trials(tree, monkeypatch):
    root, (*_, activity, picture, day) = tree
    monkeypatch.setattr(tvsd, "PART", 7)
    found = tvsd.load_responses(opened(root, preparation="trials"), "N")
    binned = activity[:60].reshape(3, 20, len(picture), 1024).mean(1).transpose(1, 2, 0)
    expected = np.empty_like(binned)
    for one in (1, 2):
        base = binned[(day == one) & (picture < N_TRAIN)]
        expected[day == one] = (binned[day == one] - base.mean((0, 2))[:, None]) / base.std((0, 2))[:, None]
    np.testing.assert_allclose(found["response"].values, expected, atol=1e-4)
    np.testing.assert_allclose(found["start"].values, [-0.02, 0, 0.02])
    assert found["session"].values.tolist() == day.astype(str).tolist()
    stimuli = tvsd.load_stimuli(opened(root), ["N"])
    np.testing.assert_array_equal(found["stimulus_id"].values, stimuli["stimulus_id"].values[picture])
    np.testing.assert_array_equal(found["split"].values == "test", picture >= N_TRAIN)


def test_concepts_are_captions_and_the_split_is_the_datasets(tree):
    root, _ = tree
    stimuli = tvsd.load_stimuli(opened(root), ["N"])
    assert stimuli.sizes["stimulus"] == N_TRAIN + 3
    assert stimuli["caption"].values[4, 0] == "zebra crossing"
    split = splits.make(stimuli, Split(n_inner=3))
    assert (split["side"].values[0] == splits.TEST).sum() == 3


def test_check_compares_with_the_release(tree, monkeypatch, run):
    root, _ = tree
    with pytest.raises(InputError, match="Monkey N training pictures: found 12, expected 22248"):
        tvsd.check_tree(opened(root), ["N"])
    monkeypatch.setattr(tvsd, "EXPECTED", {"training pictures": 12, "test pictures": 3, "repeats": 4})
    status, out, _ = run("data", "check", "--options", '{"name": "tvsd"}', "--root", root, "--subject", "N")
    assert status == 0 and "monkey N: 12 training pictures, 3 test pictures, 4 repeats" in out


def test_a_repeat_that_there_was_not_is_left_out(tree):
    root, _ = tree
    with h5py.File(root / "monkeyN/THINGS_normMUA.mat", "r+") as file:
        file["test_MUA_reps"][3, 1] = 0
        file["train_MUA"][0, 5] = np.nan
    found = tvsd.load_responses(opened(root), "N")
    assert found.sizes["presentation"] == N_TRAIN + 11
    assert (found["stimulus_id"].values == "zebra_crossing_05s").sum() == 3
    assert np.isnan(found["response"].values).sum() == 1


def changed(path, key, change):
    with h5py.File(path, "r+") as file:
        data = change(file[key][()])
        del file[key]
        file[key] = data


def lead(value):
    def change(data):
        data[1, 3] = data[2, 3] = value
        return data

    return change


LIST, NORM, TRIALS = "_logs/things_imgs.mat", "THINGS_normMUA.mat", "THINGS_MUA_trials.mat"
BROKEN = [
    (NORM, lambda p: p.unlink(), "File not found", ""),
    (NORM, lambda p: p.write_bytes(p.read_bytes()[:5000]), "Cannot read", ""),
    (NORM, lambda p: changed(p, "train_MUA", lambda d: d[:-1]), r"shape \(11, 1024\).*expected \(12, 1024\)", ""),
    (NORM, lambda p: changed(p, "train_MUA", np.transpose), r"shape \(1024, 12\)", ""),
    (NORM, lambda p: changed(p, "test_MUA_reps", lambda d: d[:, :2]), r"expected .*repeats, 3, 1024", ""),
    (LIST, lambda p: changed(p, "train_imgs/things_path", lambda _: np.zeros(12)), "has no list of texts", ""),
    (LIST, lambda p: changed(p, "train_imgs/things_path", lambda d: d[:, [0] * 12]), "names a picture twice", ""),
    (TRIALS, lambda p: changed(p, "ALLMAT", lead(1)), "trial 4 shows training picture 1 and test picture 1", "trials"),
    (TRIALS, lambda p: changed(p, "ALLMAT", lead(0)), "training picture 0 and test picture 0", "trials"),
    (TRIALS, lambda p: changed(p, "ALLMAT", lambda d: d * np.nan), "without gaps", "trials"),
    (TRIALS, lambda p: changed(p, "ALLMUA", lambda d: d[:, :-1]), r"expected \(times, 24, 1024\)", "trials"),
    (TRIALS, lambda p: changed(p, "tb", lambda d: d * 2), "at steps of 1 ms", "trials"),
    ("_logs/1024chns_mapping_20220105.mat", lambda p: scipy.io.savemat(p, {"mapping": np.ones((1, 1024))}),
     "no order of 1 to 1024", "trials"),
    ("_logs/1024chns_mapping_20220105.mat", lambda p: p.unlink(), "File not found", "trials"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "breaks", "message", "preparation"), BROKEN)
def test_bad_input_is_one_line(tree, name, breaks, message, preparation):
    root, _ = tree
    breaks(root / "monkeyN" / name)
    options = opened(root, preparation=preparation or "normMUA")
    with pytest.raises(InputError, match=message) as caught:
        tvsd.load_responses(options, "N")
    assert "\n" not in str(caught.value)


def test_subjects_and_pictures_that_are_not_there(tree):
    root, _ = tree
    with pytest.raises(InputError, match=r"'subject': 'M'. Allowed: 'F', 'N'"):
        tvsd.load_responses(opened(root), "M")
    with pytest.raises(InputError, match=r"File not found.*monkeyF"):
        tvsd.load_responses(opened(root), "F")
    next((root / "images").rglob("*.jpg")).unlink()
    with pytest.raises(InputError, match=r"1 of 15 pictures .*OSF jum2f"):
        tvsd.load_stimuli(opened(root), ["N"])
