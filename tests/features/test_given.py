"""Features that were made elsewhere: the right values under the right ids, and one line for each mistake."""

import json
import re

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from neuroenc.arrays import CONTRACT, load, make_features, make_stimuli, save
from neuroenc.config import Model, parse
from neuroenc.datasets.reading import open_parquet
from neuroenc.errors import InputError, InputWarning
from neuroenc.features import given, writing
from neuroenc.features.extract import describe, extract
from neuroenc.features.given import from_arrays
from neuroenc.files import sha256

N = 40
IDS = np.array([f"p{i:02d}" for i in range(N)])
X = np.random.default_rng(0).normal(size=(N, 6)).astype("f4")
TOKENS = np.random.default_rng(1).normal(size=(N, 4, 3)).astype("f4")
OTHER = np.random.default_rng(2).permutation(N)  # the order of the rows in files that name them


@pytest.fixture
def stimuli():
    columns = {"stimulus_id": IDS, "pixel_index": np.arange(N), "split": np.full(N, "train"), "group": IDS}
    return make_stimuli(columns, attrs={"dataset": "toy", "pixels": "not distributed"})


@pytest.fixture
def made(stimuli, tmp_path):
    """Extract by the options of `extractor: file`; paths are relative to the folder."""

    def make(path, **options):
        if isinstance(path, str):
            path = str(tmp_path / path)
        else:
            path = {k: str(tmp_path / v) for k, v in path.items()}
        model = parse(Model, {"extractor": "file", "path": path, **options})
        extract(stimuli, model, tmp_path / "out.nc")
        return load(tmp_path / "out.nc", "features")

    return make


def hdf5(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name.replace("__", "/")] = values


def frame(values=X, ids=IDS, names=None):
    columns = names or [f"f{i}" for i in range(values.shape[1])]
    return pd.DataFrame({"stimulus_id": ids, **dict(zip(columns, values.T, strict=True))})


def beside(path, **about):
    path.with_suffix(".json").write_text(json.dumps(about))


def write_npy(path):
    np.save(path, X[OTHER])
    beside(path, stimulus_id=IDS[OTHER].tolist())


def write_h5(path):
    hdf5(path, x=X[OTHER], stimulus_id=IDS[OTHER].astype("S"))


def write_nc(path):
    xr.Dataset({"x": (("stimulus", "unit"), X[OTHER]), "stimulus_id": ("stimulus", IDS[OTHER])}).to_netcdf(
        path, engine="h5netcdf"
    )


def write_parquet(path):
    frame(X[OTHER], IDS[OTHER]).set_index("stimulus_id").to_parquet(path, row_group_size=7)


def write_csv(path):
    frame(X[OTHER], IDS[OTHER]).to_csv(path, index=False)


WRITERS = {
    "x.npy": write_npy,
    "x.h5": write_h5,
    "x.nc": write_nc,
    "x.parquet": write_parquet,
    "x.csv": write_csv,
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.filterwarnings("error::neuroenc.errors.InputWarning")
def test_rows_are_joined_by_their_ids(made, tmp_path, name):
    WRITERS[name](tmp_path / name)
    found = made(name)
    np.testing.assert_allclose(found["feature"].values, X, rtol=0 if name != "x.csv" else 1e-6)
    np.testing.assert_array_equal(found["stimulus_id"].values, IDS)
    assert found["feature"].dtype == np.float32 and set(CONTRACT) <= set(found.attrs)
    assert found.attrs["weights"] == f"{name}:{sha256(tmp_path / name)}"
    assert found.attrs["joined"] == "by stimulus_id"
    assert (found.attrs["model"], found.attrs["layer"]) == (f"file/{name}", "x")
    assert json.loads(found.attrs["shape"]) == {"x": [6]}


@pytest.mark.parametrize("name", ["x.parquet", "x.csv"])
def test_the_index_that_pandas_writes_is_no_feature(made, tmp_path, name):
    table = frame().iloc[OTHER]  # its index is that of the order before
    table.to_parquet(tmp_path / name) if name == "x.parquet" else table.to_csv(tmp_path / name)
    np.testing.assert_allclose(made(name)["feature"].values, X, rtol=1e-6)


def test_an_order_is_trusted_only_without_ids_and_said_aloud(made, tmp_path):
    np.save(tmp_path / "x.npy", X)
    with pytest.warns(
        InputWarning, match="names no stimuli: its 40 rows are taken to be the stimuli in their"
    ):
        found = made("x.npy")
    np.testing.assert_array_equal(found["feature"].values, X)
    assert found.attrs["joined"] == "by order: x.npy names no stimuli"


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_codes_among_features_are_warned_of(made, tmp_path, ending):
    table = frame().assign(label=np.arange(N) % 3)
    table.to_csv(tmp_path / "x.csv", index=False)
    table.to_parquet(tmp_path / "x.parquet", index=False)
    with pytest.warns(InputWarning, match=r"Column 'label' of .* whole numbers alone, .* is it a feature\?"):
        assert made(f"x.{ending}").sizes["feature_index"] == 7


def test_rows_that_were_not_filled_are_warned_of(made, tmp_path):
    values = np.tile(X, 2)
    values[30:] = 0
    np.save(tmp_path / "x.npy", values)
    with pytest.warns(InputWarning, match=r"x.npy holds 0 and nothing else in 10 rows, first row 30"):
        made("x.npy")


@pytest.mark.parametrize("form", ["{}", "{}.jpg", "images/cat/{}.jpg", "C:\\images\\{}.png"])
def test_rows_of_thingsvision_are_joined_by_its_list_of_files(made, tmp_path, form):
    np.save(tmp_path / "features.npy", X[OTHER])
    listing = tmp_path / "file_names.txt"
    listing.write_text("\n".join(form.format(i) for i in IDS[OTHER]) + "\n", encoding="utf-8")
    found = made("features.npy")
    np.testing.assert_array_equal(found["feature"].values, X)
    assert found.attrs["joined"] == "by stimulus_id"
    listing.write_text("\n".join(f"x{i}.jpg" for i in range(N)), encoding="utf-8")
    with pytest.raises(InputError, match=r"features.npy lacks 40 of 40 stimuli, .* first 'x0.jpg'"):
        made("features.npy")
    (tmp_path / "features.json").write_text(json.dumps({"stimulus_id": IDS[OTHER].tolist()}))
    np.testing.assert_array_equal(made("features.npy")["feature"].values, X)


def test_texts_that_are_no_names_of_rows_are_passed_over(made, tmp_path):
    """Labels that rows share, or of something else, are no ids."""
    labels, words = np.array([b"cat", b"dog"] * (N // 2)), np.array([b"a", b"b", b"c"])
    hdf5(tmp_path / "x.h5", g__x=X, g__label=labels, g__words=words)
    with pytest.warns(InputWarning, match="names no stimuli"):
        np.testing.assert_array_equal(made("x.h5")["feature"], X)


def test_rows_of_other_stimuli_are_left_out_and_said(made, tmp_path):
    frame(np.concatenate([X, X]), [*IDS, *(f"q{i}" for i in range(N))]).to_parquet(tmp_path / "x.parquet")
    with pytest.warns(
        InputWarning, match="40 of its 80 rows are of other stimuli, first 'q0'; they are left out"
    ):
        np.testing.assert_array_equal(made("x.parquet")["feature"].values, X)


@pytest.mark.parametrize("name", ["t.npy", "t.h5"])
def test_tokens_and_float16_stay(made, tmp_path, name):
    half = TOKENS.astype("f2")
    if name == "t.npy":
        np.save(tmp_path / name, half)
    else:
        hdf5(tmp_path / name, t=half)
    found = made(name)["feature"]
    assert found.dims == ("stimulus", "token", "channel") and found.dtype == np.float16
    np.testing.assert_array_equal(found.values, half)
    assert made(name, dtype="float32")["feature"].dtype == np.float32


def test_layers_of_one_file_of_a_group_and_of_several_files(made, tmp_path):
    hdf5(tmp_path / "x.h5", net__early=X, net__late=2 * X, other=3 * X, stimulus_id=IDS.astype("S"))
    whole = made("x.h5")
    assert whole.attrs["layer"] == "net/early,net/late,other"
    found = made("x.h5#net")
    assert found.attrs["layer"] == "early,late"
    np.testing.assert_array_equal(found["feature"].values, np.hstack([X, 2 * X]))
    np.testing.assert_array_equal(made("x.h5", layers=["other"])["feature"].values, 3 * X)
    np.testing.assert_array_equal(made("x.h5#net/late")["feature"].values, 2 * X)
    write_npy(tmp_path / "y.npy")
    found = made({"b": "y.npy", "a": "x.h5#net/late"}, layers=["a", "b"])
    np.testing.assert_array_equal(found["feature"].values, np.hstack([2 * X, X]))
    assert set(json.loads(found.attrs["source"])) == {"y.npy", "x.h5"}


@pytest.mark.parametrize("name", ["x.csv", "x.parquet"])
def test_layers_of_a_table_are_named_by_their_prefix(made, tmp_path, name):
    table = frame(
        np.hstack([X, TOKENS[:, 0]]), names=[*(f"early_{i}" for i in range(6)), "late_0", "late_1", "note"]
    )
    table.to_csv(tmp_path / name, index=False) if name == "x.csv" else table.to_parquet(tmp_path / name)
    assert made(name)["feature"].shape == (N, 9)
    found = made(name, layers=["late", "early"])
    np.testing.assert_allclose(found["feature"].values, np.hstack([TOKENS[:, 0, :2], X]), rtol=1e-6)
    with pytest.raises(
        InputError, match=r"'layer': 'lat'. Allowed: 'x', 'early', 'late' \(did you mean 'late'"
    ):
        made(name, layers=["lat"])


def test_features_of_ours_keep_their_contract(made, tmp_path):
    contract = {k: f"its {k}" for k in CONTRACT} | {"shape": '{"a": [6]}', "layer": "a"}
    ours = make_features(X[OTHER].astype("f2"), stimulus_id=IDS[OTHER], layer=["a"] * 6, attrs=contract)
    save(ours, tmp_path / "x.nc")
    found = made("x.nc")
    np.testing.assert_array_equal(found["feature"].values, X.astype("f2"))
    assert {k: found.attrs[k] for k in CONTRACT} == {**contract, "shape": json.dumps({"a": [6]})}


def test_the_contract_is_stated_beside_the_file_or_in_the_configuration(made, tmp_path):
    np.save(tmp_path / "x.npy", X)
    beside(
        tmp_path / "x.npy", model="mine", layer="deep", shape=[6], normalisation="z", stimulus_id=IDS.tolist()
    )
    found = made("x.npy", contract={"weights": "v2", "pooling": "mean"})
    stated = {
        k: found.attrs[k] for k in ("model", "weights", "layer", "pooling", "normalisation", "pixel_range")
    }
    assert stated == {"model": "mine", "weights": "v2", "layer": "deep", "pooling": "mean", "normalisation": "z",
                      "pixel_range": "unstated"}  # fmt: skip
    with pytest.raises(InputError, match=r"x.json says that 'model' is 'mine', .* 'yours'. Correct one"):
        made("x.npy", contract={"model": "yours"})


@pytest.mark.parametrize("spec", ["sparse:0.9", "pca:2"])
def test_files_are_projected_as_networks_are(stimuli, tmp_path, spec):
    from sklearn.decomposition import PCA

    from neuroenc import splits
    from neuroenc.config import Split

    wide = np.random.default_rng(3).normal(size=(N, 500)).astype("f2")
    np.save(tmp_path / "x.npy", wide)
    split = splits.make(stimuli, Split(kind="stimulus", n_inner=2, test_fraction=0.25))
    model = Model(extractor="file", path=str(tmp_path / "x.npy"), projection=spec)
    extract(stimuli, model, tmp_path / "f.nc", split=split)
    found = load(tmp_path / "f.nc", "features")["feature"].values
    if spec == "pca:2":
        train = split["side"].values[0] == 0
        pca = PCA(2).fit(wide[train].astype("f8"))
        np.testing.assert_allclose(np.abs(found), np.abs(pca.transform(wide.astype("f8"))), atol=0.02)
    else:
        assert found.shape[0] == N and found.shape[1] < 500 and found.dtype == np.float16


def test_files_are_read_in_blocks_and_a_killed_run_is_taken_up(stimuli, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "BLOCK", 8)
    monkeypatch.setattr(given, "BLOCK_BYTES", 4 * 4 * 12)
    np.save(tmp_path / "x.npy", TOKENS)
    model = Model(extractor="file", path=str(tmp_path / "x.npy"))
    real, sizes = given.Given.__getitem__, []

    def read(self, rows, limit=None):
        sizes.append(len(rows))
        if limit is not None and sum(sizes) > limit:
            raise KeyboardInterrupt
        return real(self, rows)

    monkeypatch.setattr(given.Given, "__getitem__", lambda s, r: read(s, r, limit=20))
    with pytest.raises(KeyboardInterrupt):
        extract(stimuli, model, tmp_path / "f.nc")
    assert max(sizes) == 4 and not (tmp_path / "f.nc").exists()
    sizes.clear()
    monkeypatch.setattr(given.Given, "__getitem__", read)
    extract(stimuli, model, tmp_path / "f.nc")
    assert 0 < sum(sizes) < N
    np.testing.assert_array_equal(load(tmp_path / "f.nc", "features")["feature"].values, TOKENS)


def test_arrays_at_hand():
    found = from_arrays({"a": X, "b": X.astype("f8") * 2}, IDS, contract={"model": "mine"})
    np.testing.assert_array_equal(found["feature"].values, np.hstack([X, 2 * X]))
    assert found.attrs["model"] == "mine" and found.attrs["weights"].startswith("arrays:")
    assert from_arrays(X, IDS).attrs["weights"] != from_arrays(2 * X, IDS).attrs["weights"]
    assert from_arrays(TOKENS.astype("f2"), IDS)["feature"].dtype == np.float16
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(from_arrays(torch.from_numpy(X), IDS)["feature"].values, X)


def test_a_table_at_hand_in_another_order_than_its_ids_is_refused():
    table = pd.DataFrame(X, index=IDS)
    np.testing.assert_array_equal(from_arrays(table, IDS)["feature"], X.astype("f4"))
    with pytest.raises(
        InputError, match=r"Layer 'features' names its rows in another order .* is 'p39', not"
    ):
        from_arrays(table.iloc[::-1], IDS)


def test_pictures_at_hand_may_have_ids():
    pictures = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), np.uint8)
    found = describe(pictures, Model(extractor="luminance"), stimulus_id=["a", "b", "c"])
    assert found["stimulus_id"].values.tolist() == ["a", "b", "c"]
    with pytest.raises(InputError, match=r"3 items were given and stimulus ids of shape \(2,\)"):
        describe(pictures, Model(extractor="luminance"), stimulus_id=["a", "b"])
    with pytest.raises(InputError, match="'a' stands 2 times"):
        describe(pictures, Model(extractor="luminance"), stimulus_id=["a", "a", "b"])


NAN = np.where(np.arange(N)[:, None] == 3, np.nan, X)
ARRAYS = {
    "not finite": (NAN, IDS, "1 stimuli have features that are not finite, first 'p03'"),
    "beyond single precision": (X.astype("f8") * 1e300, IDS, "not finite, first 'p00'"),
    "another length": (X[1:], IDS, "has 39 rows and 40 stimulus ids"),
    "an id twice": (X, np.where(IDS == "p01", "p00", IDS), "names the stimulus 'p00' 2 times"),
    "no id": (X, np.where(IDS == "p01", "", IDS), "stimulus_id has no name in row 1"),
    "no id but None": (X, [None, *IDS[1:]], "stimulus_id has nothing in row 0"),
    "hidden by a mask": (np.ma.masked_array(X, mask=X[3, 0] == X), IDS, "not finite, first 'p03'"),
    "objects": (X.astype(object), IDS, "holds object, expected real numbers"),
    "complex": (X.astype(complex), IDS, "holds complex128, expected real numbers"),
    "text": (X.astype(str), IDS, "holds <U.*, expected real numbers"),
    "no features": (X[:, :0], IDS, r"has shape \(40, 0\): it is empty"),
    "no stimuli": (X[:0], IDS[:0], r"has shape \(0, 6\): it is empty"),
    "one axis": (X[:, 0], IDS, r"has shape \(40,\), expected \(stimuli, features\) or"),
    "four axes": (X[:, None, None], IDS, r"has shape \(40, 1, 1, 6\), expected"),
    "layers of different length": ({"a": X, "b": X[1:]}, IDS, "Layer 'b' has 39 rows and 40"),
    "layers of different tokens": ({"a": TOKENS, "b": TOKENS[:, :2]}, IDS, "different numbers of tokens"),
    "no layers": ({}, IDS, "No layers were given"),
    "a layer with a comma": ({"a,b": X}, IDS, "A layer cannot be called 'a,b'"),
    "ids that are numbers with a point": (X, np.arange(N) / 2, "stimulus_id holds float64"),
}  # fmt: skip


@pytest.mark.parametrize("name", ARRAYS)
def test_wrong_arrays_are_one_line(name):
    values, ids, message = ARRAYS[name]
    with pytest.raises(InputError, match=message) as caught:
        from_arrays(values, ids)
    assert "\n" not in str(caught.value)


def test_a_wrong_contract_is_one_line():
    with pytest.raises(InputError, match=r"'key of contract': 'modelx'. .*did you mean 'model'"):
        from_arrays(X, IDS, contract={"modelx": "a"})
    with pytest.raises(InputError, match=r"'model' in contract: 3. Expected text"):
        from_arrays(X, IDS, contract={"model": 3})


def pickled(path):
    np.save(path, X.astype(object), allow_pickle=True)


def unnamed():
    """Ids in the index of pandas, in another order than that of the stimuli."""
    return frame().set_index("stimulus_id").rename_axis(None).iloc[OTHER]


def across(path):
    """An array of xarray whose stimuli are the columns, as many as features."""
    square = np.eye(N, dtype="f4")
    xr.Dataset({"x": (("f", "stimulus_id"), square)}, {"stimulus_id": IDS}).to_netcdf(path, engine="h5netcdf")


def filled(path):
    xr.Dataset({"x": (("s", "f"), NAN), "stimulus_id": ("s", IDS)}).to_netcdf(
        path, engine="h5netcdf", encoding={"x": {"_FillValue": -999.0}}
    )


FILES = {
    "missing ids": ("x.csv", lambda p: frame(ids=np.char.replace(IDS, "p0", "q0")).to_csv(p, index=False),
                    {}, "lacks 10 of 40 stimuli, first 'p00'; 10 of its 40 rows are of other stimuli, first 'q00'"),
    "texts of another name": ("x.h5", lambda p: hdf5(p, x=X, picture=np.char.encode(IDS)), {},
                            "x.h5#x has no 'stimulus_id', and its rows are named by the texts 'picture'"),
    "numbers that are called ids": ("x.h5", lambda p: hdf5(p, x=X, image_id=np.arange(N)[::-1]), {},
                                    "x.h5#x has no 'stimulus_id', and its rows are named by the numbers 'image_id'"),
    "stimuli across": ("x.nc", across, {}, "x.nc#x has shape .40, 40. and 'stimulus_id' along axis 1"),
    "fewer stimuli": ("x.csv", lambda p: frame(X[1:], IDS[1:]).to_csv(p, index=False), {},
                      "lacks 1 of 40 stimuli, first 'p00'. Give"),
    "another length without ids": ("x.npy", lambda p: np.save(p, X[1:]), {}, "has 39 rows and names no stimuli"),
    "ids of another number": ("x.npy", lambda p: (np.save(p, X[1:]), beside(p, stimulus_id=IDS.tolist())), {},
                              "has 39 rows and 40 stimulus ids"),
    "an id twice": ("x.parquet", lambda p: frame(ids=np.where(IDS == "p01", "p00", IDS)).to_parquet(p), {},
                    "names the stimulus 'p00' 2 times"),
    "not a number": ("x.npy", lambda p: np.save(p, NAN), {}, "not finite, first 'p03'"),
    "a value that is missing": ("x.nc", filled, {}, "not finite, first 'p03'"),
    "a null of parquet": ("x.parquet", lambda p: frame(NAN).to_parquet(p), {}, "not finite, first 'p03'"),
    "an empty cell": ("x.csv", lambda p: frame(NAN).to_csv(p, index=False), {}, "'f0' in line 5 of .*: ''"),
    "a pickle": ("x.npy", pickled, {}, "Cannot read .*x.npy"),
    "complex": ("x.npy", lambda p: np.save(p, X.astype(complex)), {}, "holds complex128"),
    "complex in HDF5": ("x.h5", lambda p: hdf5(p, x=X.astype(complex)), {}, "holds complex128 of shape"),
    "text": ("x.npy", lambda p: np.save(p, X.astype(str)), {}, "holds <U.*, expected real numbers"),
    "text in parquet": ("x.parquet", lambda p: frame(X.astype(str)).to_parquet(p), {}, "Column 'f0' of .* holds .*string"),
    "lists in parquet": ("x.parquet", lambda p: pd.DataFrame({"stimulus_id": IDS, "f": list(X)}).to_parquet(p), {},
                         "Column 'f' of .* holds list<"),
    "empty": ("x.npy", lambda p: np.save(p, X[:, :0]), {}, "it is empty"),
    "rows counted": ("x.csv", lambda p: frame().reset_index().to_csv(p, index=False), {},
                     "Column 'index' of .* numbers its rows; it holds no values"),
    "rows counted in parquet": ("x.parquet", lambda p: frame().assign(row=np.arange(1, N + 1)).to_parquet(p), {},
                                "Column 'row' of .* numbers its rows"),
    "an index that was shuffled": ("x.csv", lambda p: frame().sample(frac=1, random_state=0).reset_index().to_csv(p, index=False),
                                   {}, "Column 'index' of .* numbers its rows"),
    "ids without a name": ("x.csv", lambda p: unnamed().to_csv(p), {},
                           "has no 'stimulus_id', and its rows are named by column 1, which has no name"),
    "ids of another name": ("x.parquet", lambda p: unnamed().rename_axis("picture").to_parquet(p), {},
                            "its rows are named by the index 'picture'"),
    "only ids": ("x.csv", lambda p: frame(X[:, :0]).to_csv(p, index=False), {}, "has no column of features"),
    "layers of different length": ("x.h5", lambda p: hdf5(p, a=X, b=X[1:]), {},
                                   "Layer 'a' has 40 rows, layer 'b' 39"),
    "a layer that is not there": ("x.h5", lambda p: hdf5(p, conv1=X, conv2=X), {"layers": ["conv3"]},
                                  "'layer': 'conv3'. Allowed: 'conv1', 'conv2' .*did you mean"),
    "an array that is not there": ("x.h5#y", lambda p: hdf5(p, x=X), {}, r"array in .*x.h5': 'y'. Allowed: 'x'"),
    "no array": ("x.h5", lambda p: hdf5(p, x=X[:, 0]), {}, "holds no array of two or three dimensions"),
    "an array in a .npy": ("x.npy#a", lambda p: np.save(p, X), {}, "`#a` is for HDF5 and netCDF"),
    "of MATLAB": ("x.h5", lambda p: (hdf5(p, x=X), h5py.File(p, "a")["x"].attrs.create("MATLAB_class", b"single")), {},
                  "was written by MATLAB"),
    "another format": ("x.txt", lambda p: p.write_text("1 2\n"), {}, "is no file of features. Expected one of .npy"),
    "a folder": ("x.npy", lambda p: p.mkdir(), {}, "is no file of features"),
    "nothing there": ("x.npy", lambda p: None, {}, "File not found: .*x.npy. It holds the features of"),
    "broken parquet": ("x.parquet", lambda p: p.write_bytes(b"PAR1" + bytes(100) + b"PAR1"), {}, "Cannot read .*x.parquet"),
    "netCDF of old": ("x.nc", lambda p: p.write_bytes(b"CDF\x01" + bytes(100)), {}, "Cannot read .*x.nc"),
    "a sidecar that is no JSON": ("x.npy", lambda p: (np.save(p, X), p.with_suffix(".json").write_text("{")), {}, "is not JSON"),
    "a sidecar that is a list": ("x.npy", lambda p: (np.save(p, X), p.with_suffix(".json").write_text("[]")), {},
                                 "holds a list, expected keys"),
    "a sidecar with a wrong key": ("x.npy", lambda p: (np.save(p, X), beside(p, weightz="a")), {},
                                   "key of .*x.json': 'weightz'. .*did you mean 'weights'"),
    "a sidecar with numbers for ids": ("x.npy", lambda p: (np.save(p, X), beside(p, stimulus_id=[1, 2])), {}, "is no list of texts"),
    "a sidecar of another shape": ("x.npy", lambda p: (np.save(p, X), beside(p, shape=[7])), {},
                                   r"says that a stimulus has shape \[7\], .* has \[6\]"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_wrong_files_are_one_line(run, stimuli, tmp_path, name):
    file, make, options, message = FILES[name]
    make(tmp_path / file.partition("#")[0])
    save(stimuli, tmp_path / "stimuli.nc")
    options = json.dumps({"extractor": "file", "path": str(tmp_path / file), **options})
    before = sorted(p.name for p in tmp_path.iterdir())
    status, out, err = run("features", "extract", "--stimuli", tmp_path / "stimuli.nc", "--options", options,
                           "--out", tmp_path / "f.nc")  # fmt: skip
    lines = [line for line in err.splitlines() if re.match("neuroenc: (?!warning: )", line)]
    assert (status, out, len(lines)) == (2, "", 1) and "Traceback" not in err
    assert re.search(message, lines[0]), err
    assert sorted(p.name for p in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"extractor": "file"}, "`extractor: file` and `path` belong together"),
        ({"extractor": "gabor", "path": "x.npy"}, "`extractor: file` and `path` belong together"),
        ({"extractor": "file", "path": "x.npy", "network": "resnet50"}, "`network` is not for `extractor: file`"),
        ({"extractor": "file", "path": "x.npy", "pooling": "tokens"}, "`pooling` is not for `extractor: file`"),
        ({"extractor": "file", "path": {}}, "`path` names no file"),
        ({"extractor": "file", "path": ""}, "'path"),
        ({"extractor": "file", "path": {"a,b": "x.npy"}}, "'path"),
        ({"extractor": "gabor", "contract": {"model": "a"}}, "`contract` is for `extractor: file`"),
        ({"extractor": "file", "path": "x.npy", "contract": {"layer": "a"}}, "contract"),
    ],
)  # fmt: skip
def test_wrong_options_are_one_line(options, message):
    with pytest.raises(InputError, match=message) as caught:
        parse(Model, options)
    assert "\n" not in str(caught.value)


def test_features_of_files_cannot_be_made_of_new_pictures(tmp_path):
    np.save(tmp_path / "x.npy", X)
    with pytest.raises(InputError, match="cannot be made of new stimuli"):
        describe([np.zeros((8, 8, 3), np.uint8)], Model(extractor="file", path=str(tmp_path / "x.npy")))


def test_parquet_is_read_by_its_row_groups(tmp_path):
    write_parquet(tmp_path / "x.parquet")
    assert open_parquet(tmp_path / "x.parquet").metadata.num_row_groups == 6


@pytest.mark.parametrize("name", ["id", "image_id", "nsdId", "Image ID"])
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_whole_numbers_that_are_called_an_id_are_no_feature(tmp_path, name, ending):
    table = pd.DataFrame({name: [3, 1, 0, 2], "a": [0.5, 1.5, 2.5, 4.0], "grid": [1, 2, 2, 4]})
    path = tmp_path / f"x{ending}"
    ids = np.array(list("0123"))

    def write(found):
        found.to_csv(path, index=False) if ending == ".csv" else found.to_parquet(path, index=False)
        return given.Given(Model(extractor="file", path=str(path)), ids)[np.arange(4)]["x"]

    with pytest.raises(InputError, match=f"Column '{name}' of .* names its rows"):
        write(table)
    found = write(table.rename(columns={name: "stimulus_id"}))
    np.testing.assert_array_equal(found, [[2.5, 2], [1.5, 2], [4.0, 4], [0.5, 1]])
