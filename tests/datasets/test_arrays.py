"""Recordings that are arrays at hand."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from neuroenc import splits
from neuroenc.arrays import check, regions
from neuroenc.config import Split
from neuroenc.datasets import from_arrays
from neuroenc.errors import InputError
from neuroenc.features.given import from_arrays as given_features

IDS = np.repeat([f"p{i}" for i in range(10)], 2)
Y = np.random.default_rng(0).normal(size=(20, 3))


def test_stimuli_and_responses_of_arrays():
    stimuli, responses = from_arrays(
        Y, IDS, test=["p7", "p8", "p9"], regions={"V1": [1, 0, 0]},
        session=["a"] * 20, noise_ceiling=[0.1, 0.2, 0.3], position=np.ones((3, 3)), captions=[f"c{i}" for i in range(10)],
    )  # fmt: skip
    check(stimuli, "stimuli")
    check(responses, "responses")
    np.testing.assert_array_equal(responses["response"].values, Y.astype("f4"))
    assert responses["repetition"].values.tolist() == [0, 1] * 10
    assert stimuli["stimulus_id"].values.tolist() == [f"p{i}" for i in range(10)]
    assert stimuli["caption"].values[:, 0].tolist() == [f"c{i}" for i in range(10)]
    assert regions(responses)["V1"].tolist() == [True, False, False]
    np.testing.assert_allclose(responses["noise_ceiling"].values, [0.1, 0.2, 0.3], rtol=1e-6)
    side = splits.make(stimuli, Split(kind="dataset", n_inner=2))["side"].values[0]
    assert side.tolist() == [0] * 7 + [1] * 3
    assert from_arrays(Y[..., None], IDS)[1]["response"].dims == ("presentation", "neuroid", "time_bin")


@pytest.mark.parametrize(
    ("values", "ids", "options", "message"),
    [
        (Y, IDS[1:], {}, r"response has shape \(20, 3\), stimulus_id \(19,\)"),
        (Y[0], IDS, {}, r"response has shape \(3,\)"),
        (Y[:, :0], IDS, {}, r"response has shape \(20, 0\)"),
        (Y.astype(str), IDS, {}, "response holds <U"),
        (Y.astype(complex), IDS, {}, "response holds complex"),
        (np.full_like(Y, np.inf), IDS, {}, "response holds inf"),
        (Y, IDS, {"test": ["p7", "q"]}, "1 of 2 test stimuli were not shown, first 'q'"),
        (Y, IDS, {"regions": {"V1": [1, 0]}}, r"regions\['V1'\] has shape \(2,\), expected 3 rows"),
        (Y, IDS, {"regions": {"V1": [2, 0, 1]}}, r"regions\['V1'\] holds 2, expected a mask"),
        (Y, IDS, {"session": ["a"]}, "session has shape"),
        (Y, [None, *IDS[1:]], {}, "stimulus_id has nothing in row 0, expected text"),
        (Y, pd.Series(IDS).where(IDS != "p3"), {}, "stimulus_id has nothing in row 6"),
        (Y, np.arange(20.0), {}, "stimulus_id holds float64, expected text or whole numbers"),
        (Y, ["", *IDS[1:]], {}, "stimulus_id has no name in row 0"),
        (Y, ["p1 ", *IDS[1:]], {}, "stimulus_id has the names 'p1' and 'p1 ', which differ in the blanks"),
        (Y, ["é", "e\u0301", *IDS[2:]], {}, "Unicode form of accents alone"),
        (Y, IDS, {"group": [np.nan, *IDS[1:]]}, "group has nothing in row 0"),
        (Y, IDS, {"group": np.arange(20)}, "The stimulus 'p0' stands in two groups"),
        (Y, IDS, {"captions": ["a"]}, "captions has shape"),
        (Y, np.ma.array(IDS, mask=IDS == "p3"), {}, "stimulus_id has nothing in row 6"),
        (
            pd.DataFrame(Y, index=IDS[::-1]),
            IDS,
            {},
            "response names its rows in another order .* row 0 is 'p9', not 'p0'",
        ),
        (
            xr.DataArray(Y, coords={"stimulus_id": ("trial", IDS[::-1])}, dims=("trial", "unit")),
            IDS,
            {},
            "response names its rows in another order",
        ),
        (
            Y,
            IDS,
            {"neuroid_id": list("abc"), "noise_ceiling": pd.Series([0.1, 0.2, 0.3], index=list("bac"))},
            "noise_ceiling names its rows in another order .* row 0 is 'b', not 'a'",
        ),
        (
            Y,
            IDS,
            {"neuroid_id": list("abc"), "position": pd.DataFrame(np.eye(3), index=list("cba"))},
            "position names",
        ),
        (
            Y,
            IDS,
            {"neuroid_id": list("abc"), "regions": {"V1": pd.Series([1, 0, 0], index=list("cba"))}},
            "V1'. names",
        ),
        (Y, IDS, {"regions": {"V1": np.ma.array([1, 0, 0], mask=[0, 1, 0])}}, "holds nan, expected a mask"),
        (
            Y,
            IDS,
            {"captions": pd.Series(list("abcdefghij"), index=[f"p{i}" for i in range(9, -1, -1)])},
            "captions names its rows in another order",
        ),
        (Y, IDS, {"noise_ceiling": [50, 60, 70]}, "Divide percent by 100"),
        (Y, IDS, {"neuroid_id": ["a", "a", "b"]}, "'a' stands 2 times"),
        (Y, IDS, {"regions": {"a b": [1, 1, 1]}}, "does not survive in a file"),
        (Y, IDS, {"regions": {"": [1, 1, 1]}}, "A region has no name"),
        (Y, IDS, {"position": np.full((3, 3), 1j)}, "position holds complex128"),
        (Y, IDS, {"position": np.zeros((3, 2))}, r"position has shape \(3, 2\), expected \(3, 3\)"),
        (Y, IDS, {"noise_ceiling": ["a", "b", "c"]}, "noise_ceiling holds"),
        ([[1.0, 2.0], [3.0]], IDS[:2], {}, "rows of response are of different lengths"),
        (pd.DataFrame(Y, columns=list("abc")), IDS, {"neuroid_id": list("cba")}, "column 0 is 'a', not 'c'"),
        (
            xr.DataArray(Y, {"n": list("abc")}, ("p", "n")),
            IDS,
            {"neuroid_id": list("acb")},
            "column 1 is 'b', not 'c'",
        ),
    ],
)
def test_wrong_arrays_are_one_line(values, ids, options, message):
    with pytest.raises(InputError, match=message) as caught:
        from_arrays(values, ids, **options)
    assert "\n" not in str(caught.value)


def test_what_is_missing_stays_missing():
    hidden = np.ma.masked_less(Y, 0)
    captions = pd.Series([f"a {i}" for i in range(10)]).where(np.arange(10) != 4)
    stimuli, responses = from_arrays(hidden, pd.Series(IDS), captions=captions)
    np.testing.assert_array_equal(responses["response"].values, np.where(Y < 0, np.nan, Y).astype("f4"))
    assert stimuli["caption"].values[3:6, 0].tolist() == ["a 3", "", "a 5"]
    assert (responses["stimulus_id"].values == IDS).all()
    ceiling = np.ma.array([0.1, 0.9, 0.3], mask=[0, 1, 0])
    found = from_arrays(
        Y, IDS, noise_ceiling=ceiling, captions=np.ma.array(IDS[::2], mask=np.arange(10) == 2)
    )
    np.testing.assert_array_equal(found[1]["noise_ceiling"], np.array([0.1, np.nan, 0.3], "f4"))
    assert found[0]["caption"].values[1:4, 0].tolist() == ["p1", "", "p3"]


def test_labels_in_the_same_order_and_those_of_other_things_are_taken():
    table = pd.DataFrame(Y, index=IDS, columns=list("abc"))
    of_trials = pd.DataFrame(Y, index=pd.Index(np.arange(20)[::-1]))  # numbers of trials are no stimuli
    for response in (table, of_trials, pd.DataFrame(Y), table.set_index(pd.Index([*IDS[1:], "x"]))):
        np.testing.assert_array_equal(from_arrays(response, IDS)[1]["response"].values, Y.astype("f4"))


@pytest.mark.parametrize("how", ["requires_grad_", "bfloat16", "double"])
def test_tensors_are_taken(how):
    whole = np.round(Y * 4)  # which half precision holds
    given = getattr(torch.tensor(whole), how)()
    np.testing.assert_array_equal(from_arrays(given, IDS)[1]["response"].values, whole.astype("f4"))
    one = IDS[:3]
    features = given_features(given[:3], [f"{i}-{k}" for k, i in enumerate(one)])
    np.testing.assert_array_equal(features["feature"].values, whole[:3].astype("f4"))
