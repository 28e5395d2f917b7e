import zipfile

import numpy as np
import pytest

from neuroenc import datasets, splits
from neuroenc.config import Dataset, Split
from neuroenc.datasets import v4
from neuroenc.errors import InputError

pytestmark = pytest.mark.real


@pytest.fixture
def options(real):
    return Dataset(name="v4", root=str(real / "v4"))


def test_record_of_all_sessions(options):
    done = datasets.module(options).check_tree(options, list(datasets.module(options).EXPECTED))
    assert [d.partition(":")[0] for d in done if d.startswith("session")] == [
        f"session {s}" for s in ("190923", "190925", "201025", "210322", "210325")
    ]
    assert (
        "subject 210325: each stimulus" in done[-1]
        and "noise ceiling from repeats of 640 stimuli" in done[-1]
    )


def test_any_session_that_is_there_is_read(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "responses").mkdir()
    with zipfile.ZipFile(tmp_path / "images/images_230101.zip", "w") as archive:
        for i in range(3):
            archive.writestr(f"{i}.jpg", f"picture {i}")
    values = np.arange(6.0).reshape(2, 3)
    np.save(tmp_path / "responses/responses_230101.npy", values)
    options = Dataset(name="v4", root=str(tmp_path))
    found = v4.load_responses(options, "230101")
    np.testing.assert_array_equal(found["response"].values, values.T)
    assert v4.check_tree(options, ["230101"])[0] == "session 230101: 2 sites, 3 rows, 3 pictures"
    with pytest.raises(InputError, match=r"'subject': '1'. Allowed: '230101'"):
        v4.load_stimuli(options, ["1"])


def test_identity_is_content_so_duplicates_never_cross_a_split(options):
    module = datasets.module(options)
    stimuli, responses = module.load_stimuli(options, ["190925"]), module.load_responses(options, "190925")
    assert stimuli.sizes["stimulus"] == 900
    assert responses.sizes["presentation"] == 1200
    assert responses["repetition"].values.max() == 1
    split = splits.make(stimuli, Split(kind="stimulus"))
    side, _ = splits.sides(split, 0, responses["stimulus_id"].values, responses["group"].values)
    ids = responses["stimulus_id"].values
    assert not set(ids[side == splits.TRAIN]) & set(ids[side == splits.TEST])


def test_sessions_share_pictures_by_content(options):
    module = datasets.module(options)
    assert module.load_stimuli(options, ["210322", "210325"]).sizes["stimulus"] == 1200 + 640 - 600


def test_single_trials_average_to_the_released_means(options, real):
    from neuroenc.arrays import average_repeats

    responses = datasets.module(options).load_responses(options, "210325")
    released = np.load(real / "v4/responses/responses_210325.npy").T
    ids, mean = average_repeats(responses)
    order, _ = datasets.module(options).pictures(real / "v4", "210325")
    np.testing.assert_array_equal(ids, order)
    np.testing.assert_allclose(mean, released, rtol=1e-4, atol=1e-4)


def test_pixels_are_those_of_the_file(options):
    from neuroenc.datasets.pixels import read_pixels

    stimuli = datasets.module(options).load_stimuli(options, ["201025"])
    first, second = read_pixels(stimuli, np.array([0, 5]))
    assert first.shape == second.shape == (112, 112, 3)
    assert (first != second).any()


def test_unknown_session(options):
    with pytest.raises(InputError, match="did you mean '201025'"):
        datasets.module(options).load_responses(options, "201024")
