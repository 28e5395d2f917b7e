"""Rows of responses that a file names by anything but `stimulus_id` stand in the order of the presentations."""

import warnings

import h5py
import mne
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

from neuroenc.config import Dataset
from neuroenc.datasets import custom
from neuroenc.errors import InputError, InputWarning
from neuroenc.hdf5 import open_hdf5, other_names

IDS = ["pic_07.png", "pic_02.png", "pic_11.png", "pic_02.png"]
VALUES = np.float32([[1, 2, 3], [2, 4, 6], [0, 1, 7], [5, 5, 5.5]])
OTHER = [1, 0, 3, 2]


@pytest.fixture
def read(tmp_path):
    """Write tables; return the responses, (4, 3)."""

    def call(responses, shown=None, files=None, ids=None):
        ids = ids or IDS
        table = pd.DataFrame({"stimulus_id": list(dict.fromkeys(ids))})
        table.assign(**({} if files is None else {"file": files})).to_csv(
            tmp_path / "stimuli.csv", index=False
        )
        pd.DataFrame({"stimulus_id": ids, **(shown or {})}).to_csv(tmp_path / "trials.csv", index=False)
        section = {"presentations": "trials.csv", "responses": responses}
        about = {"name": "M", "units": "a", "stimuli": {"table": "stimuli.csv"}, "subjects": {"1": section}}
        (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(about))
        return custom.load_responses(Dataset(name="custom", root=str(tmp_path)), "1")["response"].values

    return call


def cifti(path, names, order=slice(None)):
    axis = nib.cifti2.BrainModelAxis.from_surface(np.arange(3), 9, "CortexLeft")
    nib.save(nib.Cifti2Image(VALUES[order], (nib.cifti2.ScalarAxis(names), axis)), path)
    return path.name


def gifti(path, names, values=VALUES):
    arrays = [nib.gifti.GiftiDataArray(v, datatype="NIFTI_TYPE_FLOAT32", meta={"Name": n})
              for v, n in zip(values, names, strict=True)]  # fmt: skip
    nib.save(nib.GiftiImage(darrays=arrays), path)
    return path.name


def epochs(path, names, metadata=None):
    number = {n: i + 1 for i, n in enumerate(dict.fromkeys(names))}
    info = mne.create_info(3, 100.0, "eeg")
    events = np.column_stack([np.arange(4), np.zeros(4, int), [number[n] for n in names]])
    made = mne.EpochsArray(np.repeat(VALUES[:, :, None], 5, 2), info, events, event_id=number,
                           metadata=metadata, verbose="error")  # fmt: skip
    made.save(path, verbose="error")
    return path.name


def hdf5(path, lists):
    with h5py.File(path, "w") as file:
        file["betas"] = VALUES
        for name, values in lists.items():
            file[name] = values
    return f"{path.name}#betas"


@pytest.mark.parametrize(
    "names", [IDS, ["PIC_07", "x/pic_02.PNG", "pic_11.jpg", "pic_02"], list("abcd"), [""] * 4]
)
def test_maps_that_name_the_presentations_in_order_or_something_else_are_taken(read, tmp_path, names):
    np.testing.assert_array_equal(read(cifti(tmp_path / "y.dscalar.nii", names)), VALUES)
    np.testing.assert_array_equal(read(gifti(tmp_path / "y.func.gii", names)), VALUES)


def test_maps_that_name_the_presentations_in_another_order_are_refused(read, tmp_path):
    turned = [IDS[i].removesuffix(".png").upper() for i in OTHER]
    for name in (cifti(tmp_path / "y.dscalar.nii", turned), gifti(tmp_path / "y.func.gii", turned)):
        with pytest.raises(InputError, match=r"its maps say 'PIC_02' of row 0 .*'pic_07.png' \(line 2 of"):
            read(name)


def test_numbers_of_rows_are_no_names(read, tmp_path):
    ids = ["3", "1", "2", "0"]
    assert read(cifti(tmp_path / "y.dscalar.nii", list("0123")), ids=ids).shape == (4, 3)
    with pytest.raises(InputError, match="say '1' of row 0"):
        read(cifti(tmp_path / "z.dscalar.nii", list("1302")), ids=ids)


def test_maps_of_the_hemispheres_are_in_one_order(read, tmp_path):
    names = ["beta_a", "beta_b", "beta_c", "beta_d"]
    sides = {
        "left": gifti(tmp_path / "l.func.gii", names),
        "right": gifti(tmp_path / "r.func.gii", names, VALUES + 1),
    }
    assert read(sides).shape == (4, 6)
    gifti(tmp_path / "r.func.gii", [names[i] for i in OTHER], VALUES + 1)
    with pytest.raises(
        InputError, match=r"r.func.gii: its maps say 'beta_b' of row 0 .*in l.func.gii 'beta_a'"
    ):
        read(sides)


@pytest.mark.parametrize(
    ("lists", "wrong"),
    [
        ({"image_id": [7, 2, 11, 2]}, None),
        ({"image_id": [6.0, 1, 10, 1]}, None),  # counted from 0
        ({"image_id": [2, 7, 2, 11]}, "image_id say '2' of row 0"),
        ({"img": ["pic_02", "pic_07", "pic_02", "pic_11"]}, "img say 'pic_02' of row 0"),
        ({"trial_ids": [900, 901, 902, 901]}, None),  # as the stimuli are repeated
        ({"trial_ids": [900, 900, 902, 901]}, "trial_ids number the rows, first '900'"),
        ({"trial_ids": [0, 1, 2, 3], "session_id": [1, 1, 2, 2], "run": [2, 7, 2, 11]}, None),
        ({"label": [0, 1, 1, 0], "onset": [0.5, 1.5, 2.5, 3.5], "voxel_id": [4, 5, 6]}, None),
    ],
)  # fmt: skip
def test_lists_beside_an_array(read, tmp_path, lists, wrong):
    name = hdf5(tmp_path / "y.h5", lists)
    if wrong is None:
        np.testing.assert_array_equal(read(name), VALUES)
    else:
        with pytest.raises(InputError, match=wrong):
            read(name)


def test_files_and_columns_of_the_presentations_name_rows_too(read, tmp_path):
    name = hdf5(
        tmp_path / "y.h5",
        {"image_id": [900, 300, 500, 300], "path": ["/d/a.jpg", "/d/b.jpg", "/d/c.jpg", "/d/b.jpg"]},
    )
    assert read(name, {"image_id": [900, 300, 500, 300]}, list("abc")).shape == (4, 3)
    with pytest.raises(InputError, match=r"image_id say '900' of row 0 .* image_id '300'"):
        read(name, {"image_id": [300, 900, 300, 500]}, list("abc"))
    with pytest.raises(InputError, match=r"path say '/d/a.jpg' of row 0 \(from 0\), file 'b.png'"):
        read(name, {"image_id": [900, 300, 500, 300]}, ["b.png", "a.png", "c.png"])


def test_events_and_metadata_of_epochs(read, tmp_path):
    found = read(epochs(tmp_path / "a-epo.fif", [f"picture/{i}" for i in IDS]))
    np.testing.assert_allclose(found[:, :, 0], VALUES, rtol=1e-6)
    turned = [IDS[i] for i in OTHER]
    with pytest.raises(InputError, match=r"its events say 'picture/pic_02.png' of row 0"):
        read(epochs(tmp_path / "b-epo.fif", [f"picture/{i}" for i in turned]))
    with pytest.raises(InputError, match=r"its metadata#image say 'pic_02.png' of row 0"):
        read(epochs(tmp_path / "c-epo.fif", list("xxyy"), pd.DataFrame({"image": turned})))


def test_lists_of_matlab(tmp_path):
    with h5py.File(tmp_path / "m.mat", "w") as file:
        for name, values in (("betas", VALUES.T), ("image_id", np.array([[7.0], [2], [11], [2]]))):
            file[name] = values
            file[name].attrs["MATLAB_class"] = np.bytes_("double")
    with open_hdf5(tmp_path / "m.mat") as file:
        assert other_names(file, "betas")["#image_id"].tolist() == ["7", "2", "11", "2"]


def test_pictures_that_their_file_names_are_in_the_order_of_the_table(tmp_path, read):
    pixels = (
        np.arange(3)[:, None, None, None] * np.ones((1, 8, 8, 3), "u1") + np.arange(8, dtype="u1")[:, None]
    )
    read(hdf5(tmp_path / "y.h5", {}))
    about = yaml.safe_load((tmp_path / "dataset.yaml").read_text())
    about["stimuli"]["pictures"] = "p.h5#pixels"
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(about))

    def load(name, ids):
        with h5py.File(tmp_path / "p.h5", "w") as file:
            file["pixels"], file[name] = pixels.astype("u1"), ids
        return custom.load_stimuli(Dataset(name="custom", root=str(tmp_path)), ["1"])

    for name, ids in (
        ("stimulus_id", IDS[:3]),
        ("names", ["PIC_07", "pic_02", "pic_11"]),
        ("image_id", [7, 2, 11]),
    ):
        assert load(name, ids).sizes["stimulus"] == 3
        with pytest.raises(
            InputError, match=r"p.h5#pixels.* (has the stimulus_id|say) '\w*0?2\S*' (in|of) row 0"
        ):
            load(name, [ids[1], ids[0], ids[2]])


@pytest.mark.parametrize("mark", [-999.0, 9999, 1e20, -32768])
def test_a_mark_of_missing_values_is_no_response(read, tmp_path, mark):
    values = VALUES.copy()
    values[1, 2] = mark
    np.save(tmp_path / "y.npy", values)
    with pytest.raises(InputError, match=r"y.npy holds \S+ 1 times and nothing else beyond 7: .*Write NaN"):
        read("y.npy")
    spread = VALUES * 300  # of which -999 is no outlier
    spread[1, 2] = -999
    np.save(tmp_path / "y.npy", spread)
    np.testing.assert_array_equal(read("y.npy"), spread)


def test_times_in_ms_are_refused(read, tmp_path):
    np.save(tmp_path / "y.npy", np.repeat(VALUES[:, :, None], 50, 2))
    (tmp_path / "trials.csv").unlink(missing_ok=True)
    with pytest.raises(InputError, match="3 dimensions"):
        read("y.npy")
    about = yaml.safe_load((tmp_path / "dataset.yaml").read_text())
    options = Dataset(name="custom", root=str(tmp_path))
    for start, width, wrong in ((-0.2, 0.01, None), (-200, 10, "from -200 to 290 s .* Is `time` in ms")):
        about["subjects"]["1"]["time"] = {"start": start, "width": width}
        (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(about))
        if wrong is None:
            assert custom.load_responses(options, "1")["start"].values[-1] == pytest.approx(0.29)
        else:
            with pytest.raises(InputError, match=wrong):
                custom.load_responses(options, "1")
    ids = pd.DataFrame({"stimulus_id": list(dict.fromkeys(IDS)), "film": "a", "onset": [0, 20_000, 40_000]})
    ids.to_csv(tmp_path / "stimuli.csv", index=False)
    with pytest.raises(InputError, match=r"stimuli.csv has the onset 40000 s.*Are they in ms"):
        custom.load_stimuli(options, ["1"])


def test_ids_that_count_are_ids_where_stimuli_have_these_numbers(read, tmp_path):
    ids = ["img2", "img0", "img1"]
    read(hdf5(tmp_path / "y.h5", {"trial_id": [0, 1, 2, 3]}))
    with h5py.File(tmp_path / "z.h5", "w") as file:
        file["b"], file["image_id"] = VALUES[:3], [0, 1, 2]
    with pytest.raises(InputError, match="image_id say '0' of row 0"):
        read("z.h5#b", ids=ids)
    with h5py.File(tmp_path / "z.h5", "a") as file:
        file.move("image_id", "trial_ids")
    assert read("z.h5#b", ids=ids).shape == (3, 3)


def test_presentations_that_say_that_they_were_sorted_are_warned_of(read, tmp_path):
    np.save(tmp_path / "y.npy", VALUES)
    with pytest.warns(InputWarning, match="trials.csv is not in the order of its column 'trial'"):
        read("y.npy", {"trial": [3, 1, 4, 2]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read("y.npy", {"trial": [1, 2, 3, 1]})  # of two runs
        read("y.npy", {"row": ["b", "a", "c", "d"]})


def test_runs_that_were_sorted_as_names_are_warned_of(read, tmp_path):
    np.save(tmp_path / "y.npy", VALUES)
    with pytest.warns(InputWarning, match=r"has the run '2' after '10', as names are sorted: are the resp"):
        read("y.npy", {"run": [1, 10, 10, 2]})
    with pytest.warns(InputWarning, match=r"the session 'ses-2' after 'ses-10'"):
        read("y.npy", {"session": ["ses-1", "ses-10", "ses-2", "ses-2"]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read("y.npy", {"session": ["b2", "a1", "a1", "a1"], "run": [1, 2, 10, 1]})
        read("y.npy", {"session": ["01", "02", "10", "10"]})


def test_neuroids_counted_from_1_in_another_order_are_refused(read, tmp_path):
    np.save(tmp_path / "y.npy", VALUES)
    read("y.npy")
    about = yaml.safe_load((tmp_path / "dataset.yaml").read_text())
    about["subjects"]["1"]["neuroids"] = "n.csv"
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(about))
    options = Dataset(name="custom", root=str(tmp_path))
    for rows, first in (("0\n1\n2", "1_0"), ("1\n2\n3", "1_1"), ("2\n0\n1", "1_0")):
        (tmp_path / "n.csv").write_text(f"neuroid_id\n{rows}\n")
        assert custom.load_responses(options, "1")["neuroid_id"].values[0] == first
    (tmp_path / "n.csv").write_text("neuroid_id\n2\n1\n3\n")
    with pytest.raises(InputError, match=r"n.csv numbers the neuroids from 1, in another order"):
        custom.load_responses(options, "1")


@pytest.mark.parametrize("name", ["a.mat", "a.vhdr", "a_raw.fif", "a.set", "a.parquet", "a.xlsx", "a.mgz"])
def test_a_format_that_is_not_read_says_what_to_do(read, tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(
        InputError, match=rf"^{name} is of a format that is not read as responses. (Save|Cut) it"
    ):
        read(name)


@pytest.mark.parametrize("names", [["Dog", "dog", "cat"], ["a b", "cat", "ab"], ["\u00e9", "e\u0301", "x"]])
def test_groups_and_films_of_nearly_one_name_are_refused(read, tmp_path, names):
    np.save(tmp_path / "y.npy", VALUES)
    read("y.npy")
    options = Dataset(name="custom", root=str(tmp_path))
    for column in ("group", "film"):
        table = pd.DataFrame({"stimulus_id": list(dict.fromkeys(IDS)), column: names, "onset": [0, 1, 2]})
        table.to_csv(tmp_path / "stimuli.csv", index=False)
        with pytest.raises(
            InputError, match=f"has the {column}s .* and .*, which differ in case, blanks or the"
        ):
            custom.load_stimuli(options, ["1"])
