import copy
import gc
import pickle
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, example, given, settings
from hypothesis.strategies import text

from neuroenc import arrays
from neuroenc.errors import ContractError, InputError
from tests.conftest import toy_responses


def test_round_trip_is_bit_exact_for_every_kind(toy, tmp_path):
    stimuli, features, responses = toy
    responses["response"].values[0, 0] = np.nan
    with_time = toy_responses(np.random.default_rng(1), np.array(["a", "b"]), np.zeros((2, 3, 4)))
    for kind, dataset in (
        ("stimuli", stimuli), ("features", features), ("responses", responses), ("responses", with_time),
    ):  # fmt: skip
        arrays.save(dataset, tmp_path / "x.nc")
        back = arrays.load(tmp_path / "x.nc", kind)
        assert back.identical(dataset)
        name = arrays.DIMS[kind][0]
        assert back[name].values.tobytes() == dataset[name].values.tobytes()


def test_plain_xarray_opens_the_file(toy, tmp_path):
    arrays.save(toy[2], tmp_path / "x.nc")
    with xr.open_dataset(tmp_path / "x.nc") as plain:
        assert plain["response"].dims == ("presentation", "neuroid")
        assert plain["roi_A"].dtype == bool


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.drop_vars("run"), "lack the coordinate 'run' on presentation"),
        (lambda d: d.assign_coords(run=("presentation", np.full(120, "1"))), "'run' has dtype .* expected int"),
        (lambda d: d.assign_coords(roi_A=("neuroid", np.ones(6))), "'roi_A' has dtype float64, expected bool"),
        (lambda d: d.assign_coords(neuroid_id=("neuroid", np.array(["a"] * 6))), "'neuroid_id' must be unique"),
        (lambda d: d.assign_coords(ncsnr=("presentation", np.ones(120))), "'ncsnr' lies on"),
        (lambda d: d.assign_coords(roi_all=d["roi_A"]), "A region is called 'all'"),
        (lambda d: d.rename(response="beta"), "need the variable 'response'"),
        (lambda d: d.rename(neuroid="voxel"), "has dimensions"),
    ],
)  # fmt: skip
def test_check_names_the_coordinate_and_what_is_wrong(toy, change, message):
    with pytest.raises(ContractError, match=message):
        arrays.check(change(toy[2]), "responses")


def test_wrong_length_is_named():
    with pytest.raises(ContractError, match=r"'stimulus_id' has shape \(3,\), expected \(2,\)"):
        toy_responses(np.random.default_rng(0), np.array(["a", "b", "c"]), np.zeros((2, 2)))


def test_load_refuses_other_kinds_and_broken_files(toy, tmp_path):
    arrays.save(toy[1], tmp_path / "f.nc")
    with pytest.raises(ContractError, match="holds 'features', expected 'responses'"):
        arrays.load(tmp_path / "f.nc", "responses")
    data = (tmp_path / "f.nc").read_bytes()
    (tmp_path / "cut.nc").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"Cannot read .*cut\.nc as netCDF .* truncated"):
        arrays.load(tmp_path / "cut.nc", "features")
    with pytest.raises(InputError, match="File not found"):
        arrays.load(tmp_path / "none.nc", "features")


def test_features_stay_in_the_file_and_their_rows_and_layers_are_read(tmp_path):
    values = np.random.default_rng(0).normal(size=(500, 2000)).astype("f2")
    made = arrays.make_features(
        values, stimulus_id=[f"s{i}" for i in range(500)], layer=np.repeat(["a", "b", "c", "d"], 500),
        attrs=dict.fromkeys(arrays.CONTRACT, "x"),
    )  # fmt: skip
    arrays.save(made, tmp_path / "f.nc")
    arrays.load(tmp_path / "f.nc", "features")  # imports
    tracemalloc.start()
    opened = len(list(Path("/proc/self/fd").iterdir()))
    lazy = arrays.load(tmp_path / "f.nc", "features")
    one, apart = arrays.select_layers(lazy, ["b"]), arrays.select_layers(lazy, ["a", "d"])
    rows = arrays.join(one, np.array(["s7", "s3", "s7"]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < values.nbytes / 4
    np.testing.assert_array_equal(rows, values[[7, 3, 7], 500:1000].astype("f4"))
    columns = np.r_[:500, 1500:2000]
    np.testing.assert_array_equal(apart["feature"][10:12].values, values[10:12][:, columns])
    assert lazy["feature"].dtype == np.float16 and lazy["layer"].values[0] == "a"
    second = arrays.load(tmp_path / "f.nc", "features")  # a reader beside the first
    np.testing.assert_array_equal(second["feature"][0].values, values[0])
    del lazy, one, apart, second
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) <= opened


def test_what_stays_in_the_file_is_indexed_copied_and_pickled_like_an_array(toy, tmp_path):
    arrays.save(toy[2], tmp_path / "r.nc")
    lazy, whole = arrays.load(tmp_path / "r.nc", "responses")["response"], toy[2]["response"]
    numbers = np.array([7, 2, 2, 100])
    for index in (3, slice(5, 50, 7), slice(50, 5, -3), numbers, (numbers, slice(1, 4)), (4, 2), (..., -1),
                  (slice(None), np.array([5, 0])), np.arange(120) % 3 == 0):  # fmt: skip
        assert not lazy.variable._in_memory
        np.testing.assert_array_equal(lazy[index].values, whole[index].values)
    np.testing.assert_array_equal(
        lazy.isel(presentation=numbers, neuroid=[5, 0]).values, whole.values[numbers][:, [5, 0]]
    )
    for made in (lazy.copy(deep=True), copy.deepcopy(lazy), pickle.loads(pickle.dumps(lazy))):
        np.testing.assert_array_equal(made.values, whole.values)


def test_numbers_of_another_file_are_refused(toy, tmp_path):
    arrays.save(toy[2], tmp_path / "r.nc")
    with h5py.File(tmp_path / "secret.h5", "w") as other, h5py.File(tmp_path / "r.nc", "a") as file:
        other["response"] = file["response"][:]
        del file["response"]
        file["response"] = h5py.ExternalLink("secret.h5", "/response")
    with pytest.raises(InputError, match=r"r\.nc#response takes its values from another file"):
        arrays.load(tmp_path / "r.nc", "responses")


def test_numbers_that_are_stored_as_codes_are_decoded(toy, tmp_path):
    values = toy[2]["response"].values.copy()
    toy[2].to_netcdf(tmp_path / "r.nc", engine="h5netcdf", encoding={
        "response": {"dtype": "int16", "scale_factor": 1e-3, "_FillValue": -32768}
    })  # fmt: skip
    found = arrays.load(tmp_path / "r.nc", "responses")["response"]
    np.testing.assert_allclose(found[5:9, ::2].values, values[5:9, ::2], atol=6e-4)


def test_average_repeats_keeps_order_and_leaves_out_missing():
    ids = np.array(["b", "a", "b", "c"])
    values = np.array([[1.0, np.nan], [2, 5], [3, 7], [np.nan, 1]])
    found, mean = arrays.average_repeats(toy_responses(np.random.default_rng(0), ids, values))
    assert found.tolist() == ["b", "a", "c"]
    np.testing.assert_array_equal(mean, [[2, 7], [2, 5], [np.nan, 1]])


def test_join_names_the_stimulus_without_features(toy):
    with pytest.raises(ContractError, match="1 of 2 stimuli have no features of 'toy', first 'zzz'"):
        arrays.join(toy[1], np.array(["p001", "zzz"]))
    np.testing.assert_array_equal(arrays.join(toy[1], np.array(["p003"])), toy[1]["feature"].values[[3]])


def test_contracts_that_differ_are_both_named(toy):
    other = toy[1].assign_attrs(weights="random:1")
    with pytest.raises(ContractError, match="'weights': found 'random:1', fitted to 'toy'"):
        arrays.same_contract(other.attrs, toy[1].attrs)
    arrays.same_contract(toy[1].attrs, toy[1].copy().attrs)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(region=text(max_size=8), attribute=text(max_size=6))
@example(region="left V1", attribute="n")
@example(region="V1/V2", attribute="n")
@example(region="Größe", attribute="é\u0301")
@example(region="V1", attribute="coordinates")
@example(region="V1", attribute="_NCProperties")
@example(region="a\ud800", attribute="n")
def test_names_survive_a_file_or_are_refused(tmp_path, region, attribute):
    whole = toy_responses(np.random.default_rng(1), np.array(["a", "b"]), np.zeros((2, 3, 4)))
    coordinate = ("neuroid", np.arange(whole.sizes["neuroid"]) % 2 == 0)
    named = whole.assign_coords({f"roi_{region}": coordinate}).assign_attrs({attribute: "value"})
    plain = region.isascii() and region.isalnum() and attribute.isascii() and attribute.isalpha()
    try:
        arrays.save(named, tmp_path / "f.nc")
    except ContractError as error:
        assert "\n" not in str(error)
        assert not plain or attribute in ("CLASS", "NAME", "coordinates")
    else:
        assert arrays.load(tmp_path / "f.nc", "responses").identical(named)
