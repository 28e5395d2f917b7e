"""Files that hold or are named otherwise than they are taken: each is one line, and none a wrong number."""

import warnings

import h5py
import mne
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from neuroenc.config import Dataset
from neuroenc.datasets import custom
from neuroenc.errors import InputError, InputWarning
from neuroenc.hdf5 import filled, numbers, open_hdf5

N = 20
VALUES = np.random.default_rng(0).normal(size=(N, 12)).astype(np.float32)
IDS = [f"p{(7 * i) % N}" for i in range(N)]
AFFINE = np.diag([2.0, 2, 2, 1])


@pytest.fixture
def read(tmp_path):
    """Write tables; read one subject, who saw each stimulus once."""

    def call(responses, *, files=None, shown=None, subjects=None, **section):
        table = pd.DataFrame({"stimulus_id": IDS} | ({} if files is None else {"file": files}))
        table.to_csv(tmp_path / "stimuli.csv", index=False)
        pd.DataFrame({"stimulus_id": IDS} | (shown or {})).to_csv(tmp_path / "trials.csv", index=False)
        own = {"presentations": "trials.csv", "responses": responses} | section
        pictures = {} if files is None else {"pictures": "pictures"}
        about = {"name": "M", "units": "a", "stimuli": {"table": "stimuli.csv"} | pictures,
                 "subjects": {"1": own} | (subjects or {})}  # fmt: skip
        (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(about))
        options = Dataset(name="custom", root=str(tmp_path))
        if files is not None:
            return custom.load_stimuli(options, ["1"])
        return custom.load_responses(options, "1")

    return call


def volume(path, values):
    nib.save(nib.Nifti1Image(values, AFFINE), path)
    return path.name


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("sub-01_hemi-R_betas.npy", "sub-01_hemi-L_betas.npy"),
        ("rh.betas.npy", "lh.betas.npy"),
        ("betas_right_1.npy", "betas_left_1.npy"),
        ("S1.R.betas.npy", "S1.L.betas.npy"),
    ],
)
def test_hemispheres_that_the_names_of_files_swap_are_told(read, tmp_path, left, right):
    np.save(tmp_path / left, VALUES)
    np.save(tmp_path / right, VALUES + 1)
    found = read({"left": right, "right": left})
    np.testing.assert_array_equal(found["response"].values[:, :12], VALUES + 1)
    with pytest.raises(InputError, match=f"{left} is of hemisphere 'R', but stands under 'left'. Swap them"):
        read({"left": left, "right": right})


def test_one_file_under_two_names_is_refused(read, tmp_path):
    np.save(tmp_path / "y.npy", VALUES)
    np.save(tmp_path / "z.npy", VALUES)
    own = {"presentations": "trials.csv", "responses": "y.npy"}
    with pytest.raises(InputError, match=r"gives '1' and '2' one file as responses: y.npy. Give each"):
        read("y.npy", subjects={"2": own})
    with pytest.raises(InputError, match="gives '1 left' and '1 right' one file as responses"):
        read({"left": "y.npy", "right": "y.npy"})
    with pytest.raises(InputError, match=r"y.npy and z.npy hold the same numbers. Was one hemisphere"):
        read({"left": "y.npy", "right": "z.npy"})
    volume(tmp_path / "b.nii", VALUES.T.reshape(3, 2, 2, N))
    with pytest.raises(InputError, match=r"gives 'V1' and 'V2' one file as a region of 1: m.nii"):
        read("b.nii", regions={"V1": "m.nii", "V2": "m.nii"})


def test_a_region_of_several_labels_is_warned_of(read, tmp_path):
    volume(tmp_path / "b.nii", VALUES.T.reshape(3, 2, 2, N))
    labels = np.arange(12, dtype=np.int16).reshape(3, 2, 2) // 4
    volume(tmp_path / "m.nii", labels)
    with pytest.warns(InputWarning, match=r"m.nii holds 2 labels, 1 to 2: all of them are taken as one reg"):
        found = read("b.nii", regions={"V1": "m.nii"})
    assert found["roi_V1"].values.sum() == 8
    volume(tmp_path / "m.nii", (labels == 2).astype(np.int16))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read("b.nii", regions={"V1": "m.nii"})["roi_V1"].values.sum() == 4


@pytest.mark.parametrize("name", ["s-epo.fif", "sub-1_proc-clean_epo.fif", "s-epo.fif.gz", "s_epo.fif.gz"])
def test_epochs_by_all_their_names_with_places_in_mm(read, tmp_path, name):
    info = mne.create_info(12, 100.0, "eeg")
    for k, channel in enumerate(info["chs"]):
        channel["loc"][:3] = [0.01 * k, 0.02, -0.03]  # m
    epochs = mne.EpochsArray(VALUES[:, :, None] * np.ones(5), info, verbose="error")
    epochs.save(tmp_path / name, verbose="error")
    found = read(name)
    np.testing.assert_allclose(found["response"].values[:, :, 0], VALUES, rtol=1e-5)
    np.testing.assert_allclose(found["x"].values, 10.0 * np.arange(12), rtol=1e-5)
    assert set(found["z"].values.tolist()) == {-30}
    with pytest.raises(InputError, match=r"'uV'. MNE's epochs are in V"):
        (tmp_path / "dataset.yaml").write_text(
            (tmp_path / "dataset.yaml").read_text().replace("units: a", "units: uV")
        )
        custom.load_responses(Dataset(name="custom", root=str(tmp_path)), "1")


@pytest.mark.parametrize("column", ["condition", "stim", "rt", "accuracy"])
def test_codes_among_responses_are_refused(read, tmp_path, column):
    table = pd.DataFrame(VALUES, columns=[f"v{i}" for i in range(12)])
    codes = [int(i[1:]) % 4 for i in IDS]
    table.assign(**{column: codes}).to_csv(tmp_path / "y.csv", index=False)
    with pytest.raises(
        InputError, match=f"'{column}' of .* holds whole numbers alone, most others fractions"
    ):
        read("y.csv")
    assert read("y.csv", shown={column: codes}).sizes["neuroid"] == 12  # compared, and left out
    table.assign(nothing=0).to_csv(tmp_path / "y.csv", index=False)
    assert read("y.csv").sizes["neuroid"] == 13
    counts = pd.DataFrame(np.random.default_rng(0).poisson(3, (N, 3)), columns=list("abc"))
    counts.to_csv(tmp_path / "y.csv", index=False)
    assert read("y.csv").sizes["neuroid"] == 3


def test_names_of_sessions_are_written_alike(read, tmp_path):
    np.save(tmp_path / "y.npy", VALUES)
    assert set(read("y.npy", shown={"session": ["1", "2"] * 10})["session"].values) == {"1", "2"}
    for other in ("1.0", "01"):
        with pytest.raises(
            InputError, match=r"has the sessions .*, which differ in case, blanks or the form"
        ):
            read("y.npy", shown={"session": ["1", other] * 10})


def test_a_column_that_was_sorted_by_itself_is_refused(read, tmp_path):
    (tmp_path / "pictures").mkdir()
    for i, name in enumerate(IDS):
        picture = np.full((4, 4, 3), 10 * i, np.uint8)
        Image.fromarray(picture).save(tmp_path / f"pictures/{name}.png")
    np.save(tmp_path / "y.npy", VALUES)
    files = [f"{i}.png" for i in IDS]
    assert read("y.npy", files=files)["file"].values.tolist() == files
    with pytest.raises(InputError, match=r"Line 3 of .*stimulus 'p7' the file 'p1.png', .*sorted by itself"):
        read("y.npy", files=sorted(files))


def test_arrays_of_hdf5_that_were_not_written_to_the_end_are_refused(tmp_path):
    def written(**more):
        with h5py.File(tmp_path / "y.h5", "w") as file:
            made = file.create_dataset("b", (N, 12), "f4", chunks=(5, 12), **more)
            made[:10] = VALUES[:10]
            made.attrs["_FillValue"] = np.float32(-1)
        with open_hdf5(tmp_path / "y.h5") as file:
            return filled(numbers(file, "b"))

    with pytest.raises(InputError, match=r"y.h5#b has 2 of its 4 parts; .* would read as 0. Was it written"):
        written()
    for marked in (np.nan, -1):
        found = written(fillvalue=marked)
        assert np.isnan(found[10:]).all()
        np.testing.assert_array_equal(found[:10], VALUES[:10])


def test_tables_without_a_header_and_arrays_of_objects_say_so(read, tmp_path):
    pd.DataFrame(np.vstack([VALUES, VALUES[:1]])).to_csv(tmp_path / "y.csv", index=False, header=False)
    with pytest.raises(InputError, match=r"y.csv begins with numbers, expected the names of its columns"):
        read("y.csv")  # one row too many, the first of which would be the header
    pd.DataFrame(VALUES).to_csv(tmp_path / "y.csv", index=False)  # columns 0, 1, …
    assert read("y.csv").sizes["neuroid"] == 12
    np.save(tmp_path / "y.npy", VALUES.astype(object), allow_pickle=True)
    with pytest.raises(InputError, match=r"y.npy: .*Python objects.* Save numbers"):
        read("y.npy")


def test_places_of_neuroids_in_m_are_refused(read, tmp_path):
    np.save(tmp_path / "y.npy", VALUES)
    table = pd.DataFrame({"neuroid_id": range(12), "x": np.linspace(-0.07, 0.07, 12), "y": 0.1, "z": ""})
    table.to_csv(tmp_path / "n.csv", index=False)
    with pytest.raises(
        InputError, match=r"n.csv places all neuroids within 0.1 of the origin. Are x, y and z"
    ):
        read("y.npy", neuroids="n.csv")
    table.assign(x=1000 * table.x, y=100).to_csv(tmp_path / "n.csv", index=False)
    assert read("y.npy", neuroids="n.csv")["x"].values[0] == -70
    table.assign(x="", y="").to_csv(tmp_path / "n.csv", index=False)
    assert np.isnan(read("y.npy", neuroids="n.csv")["x"].values).all()


def test_epochs_that_were_dropped_are_said_where_nothing_names_the_others(read, tmp_path):
    number = {name: int(name[1:]) + 1 for name in IDS}

    def write(events):
        info = mne.create_info(12, 100.0, "eeg")
        rows = np.column_stack([100 * np.arange(N + 1), np.zeros(N + 1, int), events])
        values = np.insert(VALUES, 3, 9, 0)[:, :, None] * np.ones(5)
        epochs = mne.EpochsArray(values, info, rows, verbose="error")
        epochs.drop(3, reason="BLINK", verbose="error").save(
            tmp_path / "s-epo.fif", overwrite=True, verbose="error"
        )

    write(np.insert([number[i] for i in IDS], 3, 5))  # of which the numbers are those of the stimuli
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputWarning)
        assert read("s-epo.fif").sizes["presentation"] == N
    write(np.ones(N + 1, int))
    with pytest.warns(InputWarning, match=r"1 epochs were dropped, first number 3 .* left out of trials.csv"):
        read("s-epo.fif")
    pd.DataFrame({"stimulus_id": [*IDS, "p0"]}).to_csv(tmp_path / "trials.csv", index=False)
    with pytest.raises(
        InputError, match=r"20 presentations, trials.csv 21 rows; .* first number 3 \(from 0\)"
    ):
        custom.load_responses(Dataset(name="custom", root=str(tmp_path)), "1")


def test_what_was_turned_or_is_all_bad_says_so(read, tmp_path):
    np.save(tmp_path / "y.npy", VALUES.T)
    with pytest.raises(InputError, match=r"y.npy has 12 presentations, .* Its last axis has as many"):
        read("y.npy")
    info = mne.create_info(12, 100.0, "eeg")
    info["bads"] = info.ch_names
    epochs = mne.EpochsArray(VALUES[:, :, None] * np.ones(5), info, verbose="error")
    epochs.save(tmp_path / "s-epo.fif", verbose="error")
    with pytest.raises(InputError, match=r"s-epo.fif marks all its channels bad. Unmark those"):
        read("s-epo.fif")
