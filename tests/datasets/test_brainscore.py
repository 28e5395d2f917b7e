import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from layouts import brainscore as layout

from neuroenc.arrays import load, save
from neuroenc.config import Dataset
from neuroenc.datasets import brainscore, freemanziemba2013, majajhong2015
from neuroenc.datasets.pixels import read_pixels
from neuroenc.errors import InputError

ASSEMBLY = "brain-score/assy_dicarlo_MajajHong2015_public.nc"
TABLE = "stimuli/image_dicarlo_hvm-public.csv"


def opened(root, name="majajhong2015"):
    return Dataset(name=name, root=str(root))


@pytest.mark.parametrize(("archive", "key"), [(False, "image_id"), (True, "stimulus_id")])
def test_every_repeat_of_every_site(tmp_path, monkeypatch, archive, key):
    values = layout.majaj(tmp_path, archive=archive, key=key)
    monkeypatch.setattr(brainscore, "PART", 500)  # over several parts
    found = majajhong2015.load_responses(opened(tmp_path), "all")
    np.testing.assert_allclose(found["response"].values, values[:, :, 0].T, rtol=1e-6)
    assert found["roi_V4"].values.tolist() == [True, True, False, False, True, True, False, False, False]
    assert (found["roi_IT"].values == ~found["roi_V4"].values).all()
    assert found["repetition"].values.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    one = majajhong2015.load_responses(opened(tmp_path), "Tito")
    np.testing.assert_allclose(one["response"].values, values[4:, :, 0].T, rtol=1e-6)
    assert set(one["subject"].values) == {"Tito"}
    stimuli = majajhong2015.load_stimuli(opened(tmp_path), ["all"])
    assert set(found["stimulus_id"].values) == set(stimuli["stimulus_id"].values)
    assert stimuli["caption"].values[:2, 0].tolist() == ["car astra", "face0"]
    assert stimuli["category"].values.tolist() == [[1, 0], [0, 1]] * 3
    first, last = read_pixels(stimuli, np.array([0, 5]))
    assert first.shape == (16, 16, 3) and (first != last).any()
    save(found, tmp_path / "r.nc")
    assert load(tmp_path / "r.nc", "responses").identical(found)


def test_bins_of_a_window_are_averaged(tmp_path):
    values = layout.freeman(tmp_path)
    found = freemanziemba2013.load_responses(opened(tmp_path, "freemanziemba2013"), "all")
    np.testing.assert_allclose(found["response"].values, values[:, 50:200].mean(1).T, rtol=1e-5)
    assert found["roi_V1"].values.tolist() == [True, True, False, False, False]
    stimuli = freemanziemba2013.load_stimuli(opened(tmp_path, "freemanziemba2013"), ["all"])
    assert stimuli["caption"].values[:, 0].tolist() == ["noise", "texture"] * 2
    assert len(read_pixels(stimuli, np.arange(4))) == 4


def test_check_compares_with_the_release(tmp_path, monkeypatch, run):
    layout.majaj(tmp_path)
    with pytest.raises(InputError, match="presentations: found 18, expected 148480"):
        majajhong2015.check_tree(opened(tmp_path), ["all"])
    small = majajhong2015.RELEASE._replace(expected={"presentations": 18, "pictures": 6, "V4": 4, "IT": 5})
    monkeypatch.setattr(majajhong2015, "RELEASE", small)
    arguments = ("--options", '{"name": "majajhong2015"}', "--root", tmp_path, "--subject", "Chabo")
    status, out, _ = run("data", "check", *arguments)
    assert status == 0 and "6 pictures, 4 V4, 5 IT" in out and "subject Chabo: 4 neuroids" in out


def rewritten(path, change):
    with xr.open_dataset(path, engine="h5netcdf") as file:
        whole = change(file.load())
    path.unlink()
    whole.to_netcdf(path, engine="h5netcdf")


def without(path, column):
    pd.read_csv(path).drop(columns=column).to_csv(path, index=False)


BROKEN = [
    (ASSEMBLY, lambda p: p.unlink(), r"File not found: assy_dicarlo_MajajHong2015_public\.nc"),
    (ASSEMBLY, lambda p: p.write_bytes(p.read_bytes()[:3000]), "Cannot read"),
    (ASSEMBLY, lambda p: rewritten(p, lambda d: d.isel(time_bin=0)), "expected one array of"),
    (ASSEMBLY, lambda p: rewritten(p, lambda d: d.drop_vars("region")), "has no 'region' on 'neuroid'"),
    (ASSEMBLY, lambda p: rewritten(p, lambda d: d.drop_vars("image_id")), "neither 'stimulus_id' nor 'image_id'"),
    (ASSEMBLY, lambda p: rewritten(p, lambda d: d.assign(time_bin_start=d["time_bin_start"] - 70)),
     "1 time bins from 0 to 170, expected bins that fill 70 to 170"),
    (ASSEMBLY, lambda p: rewritten(p, lambda d: d.assign(region=d["region"].str.replace("IT", "TE"))),
     "neuroids of region 'TE', expected V4 or IT"),
    (ASSEMBLY, lambda p: rewritten(p, lambda d: d.assign(data=d["data"] * 1e300)), "infinite"),
    (TABLE, lambda p: without(p, "image_id"), "neither 'stimulus_id' nor 'image_id'"),
    (TABLE, lambda p: without(p, "object_name"), "has no column 'object_name'"),
    (TABLE, lambda p: p.write_text("\n".join(p.read_text().splitlines()[:-1])), "shows 1 pictures that"),
    (TABLE, lambda p: p.write_text(p.read_text() + p.read_text().splitlines()[-1]), "names 1 pictures twice"),
    (TABLE, lambda p: p.unlink(), r"File not found: image_dicarlo_hvm-public\.csv"),
    ("stimuli/image_dicarlo_hvm-public", lambda p: next(p.iterdir()).unlink(), "1 of 6 pictures are not in"),
    ("stimuli/image_dicarlo_hvm-public", shutil.rmtree, "6 of 6 pictures are not in"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "breaks", "message"), BROKEN)
def test_bad_input_is_one_line(tmp_path, name, breaks, message):
    layout.majaj(tmp_path)
    breaks(tmp_path / name)
    with pytest.raises(InputError, match=message) as caught:
        majajhong2015.check_tree(opened(tmp_path), ["all"])
    assert "\n" not in str(caught.value)


def test_missing_values_stay_missing_and_animals_are_named(tmp_path):
    layout.majaj(tmp_path)
    rewritten(tmp_path / ASSEMBLY, lambda d: d.assign(data=d["data"].where(d["data"] < 1)))
    found = majajhong2015.load_responses(opened(tmp_path), "all")
    with h5py.File(tmp_path / ASSEMBLY) as file:
        missing = np.isnan(file["data"][:, :, 0]).T
    np.testing.assert_array_equal(np.isnan(found["response"].values), missing)
    with pytest.raises(InputError, match=r"'subject': 'Tita'. Allowed: 'all', 'Chabo', 'Tito'"):
        majajhong2015.load_responses(opened(tmp_path), "Tita")
