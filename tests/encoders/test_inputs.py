"""What encoders and decoders are given, in every shape it may come."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
import xarray as xr
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold, KFold, LeaveOneOut, StratifiedKFold

from neuroenc.decoders.network import BrainNetwork
from neuroenc.decoders.prior import DiffusionPrior
from neuroenc.decoders.ridge import RidgeDecoder
from neuroenc.encoders import (
    PLS,
    AttentionRouting,
    BandedRidgeCV,
    EfficientProbing,
    FactorisedCV,
    GaussianFieldCV,
    RidgeCV,
    SemanticTransformer,
    load_model,
    save_model,
)
from neuroenc.encoders.inputs import folds_of
from neuroenc.errors import InputError

N = 40
FLAT = [RidgeCV(), BandedRidgeCV(n_candidates=2), PLS(2), RidgeDecoder(n_components=2)]
TOKENS = [
    FactorisedCV((1.0, 10.0), n_alternations=1), GaussianFieldCV(n_positions=1, sizes=(0.5,)),
    SemanticTransformer(max_epochs=1), AttentionRouting(n_dimensions=8, n_heads=2, max_epochs=1),
]  # fmt: skip


def named(value):
    return type(value).__name__


def data(seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, 12))
    return X, X @ rng.normal(size=(12, 3)) + rng.normal(size=(N, 3))


def shaped(model, X):
    return X.reshape(N, 4, 3) if any(isinstance(model, type(t)) for t in TOKENS) else X


def labelled(values, ids, rows="stimulus", columns=("a", "b")):
    return xr.DataArray(values, dims=(rows, *columns[: values.ndim - 1]), coords={"stimulus_id": (rows, ids)})


@pytest.mark.parametrize("model", [*FLAT, *TOKENS], ids=named)
def test_rows_are_joined_by_labels(model):
    X, Y = data()
    ids = np.array([f"s{i:02d}" for i in range(N)])
    order = np.random.default_rng(1).permutation(N)
    columns = ("token", "channel") if model in TOKENS else ("feature",)
    x = labelled(shaped(model, X), ids, columns=columns)
    straight = model.fit(x, labelled(Y, ids, "presentation", ("neuroid",))).predict(x)
    mixed = model.fit(x, labelled(Y[order], ids[order], "presentation", ("neuroid",))).predict(x)
    np.testing.assert_array_equal(straight, mixed)
    other = ids.copy()
    other[5] = "stranger"
    with pytest.raises(InputError, match=r"1 of 40 labels of X are not among those of y, first 's05'"):
        model.fit(x, labelled(Y, other, "presentation", ("neuroid",)))


def test_labels_are_an_index_too_and_decide_what_is_a_row():
    X, Y = data()
    index = pd.Index([f"s{i:02d}" for i in range(N)])
    expected = RidgeCV().fit(X, Y).coef_
    x = xr.DataArray(X, {"picture": index}, ("picture", "feature"))
    y = xr.DataArray(Y[::-1], {"picture": index[::-1]}, ("picture", "neuroid"))
    for target in (y, y.T):  # the dimension both have is that of the rows
        np.testing.assert_allclose(RidgeCV().fit(x, target).coef_, expected, atol=1e-12)
    np.testing.assert_allclose(RidgeCV().fit(x.T, y).coef_, expected, atol=1e-12)
    # without labels on one side the order is trusted
    np.testing.assert_array_equal(RidgeCV().fit(x, Y).coef_, RidgeCV().fit(X, Y).coef_)
    twice = index.to_numpy().copy()
    twice[1] = twice[0]
    same = xr.DataArray(X, {"picture": twice}, ("picture", "feature"))
    again = xr.DataArray(Y, {"picture": twice}, ("picture", "neuroid"))
    np.testing.assert_allclose(RidgeCV().fit(same, again).coef_, expected, atol=1e-12)  # one order
    with pytest.raises(InputError, match="'s00' stands 2 times in X"):
        RidgeCV().fit(same, again[::-1])


@pytest.mark.parametrize("model", [m for m in (*FLAT, *TOKENS) if not isinstance(m, RidgeDecoder)], ids=named)
def test_groups_are_joined_by_labels(model):
    """Runs of a table in another order than the features were taken by their place: folds parted them."""
    X, Y = data()
    ids = np.array([f"s{i:02d}" for i in range(N)])
    run, order = np.repeat(np.arange(8), 5), np.random.default_rng(1).permutation(N)
    columns = ("token", "channel") if model in TOKENS else ("feature",)
    x = labelled(shaped(model, X), ids, columns=columns)
    seen = []

    class Folds(GroupKFold):
        def split(self, X, y=None, groups=None):
            seen.append(np.asarray(groups))
            return super().split(X, y, groups)

    clone(model).set_params(cv=Folds(2)).fit(x, Y, groups=pd.Series(run[order], ids[order]))
    np.testing.assert_array_equal(seen[0], run)
    with pytest.raises(InputError, match="labels of X are not among those of groups"):
        clone(model).set_params(cv=Folds(2)).fit(x, Y, groups=pd.Series(run[1:], ids[1:]))


def test_tables_are_joined_by_their_index():
    X, Y = data()
    ids = np.array([f"s{i:02d}" for i in range(N)])
    order = np.random.default_rng(1).permutation(N)
    expected = RidgeCV().fit(X, Y).predict(X)

    def fits(x, y):
        return RidgeCV().fit(x, y).predict(X)

    frame, shuffled = pd.DataFrame(X, ids), pd.DataFrame(Y[order], ids[order])
    np.testing.assert_allclose(fits(frame, shuffled), expected, atol=1e-12)
    np.testing.assert_allclose(fits(frame, shuffled[0]), expected[:, 0], atol=1e-12)  # a Series
    np.testing.assert_allclose(fits(labelled(X, ids), shuffled), expected, atol=1e-12)
    np.testing.assert_allclose(
        fits(frame, labelled(Y[order], ids[order], "presentation", ("neuroid",))), expected, atol=1e-12
    )
    # rows that were shuffled, by themselves or together and then numbered anew: who can tell?
    with pytest.raises(InputError, match="whether they were shuffled together cannot be told"):
        fits(pd.DataFrame(X), pd.DataFrame(Y).iloc[order])
    found = fits(pd.DataFrame(X).iloc[order[::-1]], pd.DataFrame(Y).iloc[order])
    np.testing.assert_allclose(found, fits(X[order[::-1]], Y[order[::-1]]), atol=1e-12)
    two = [pd.MultiIndex.from_arrays([ids[k], ids[k]]) for k in (np.arange(N), order)]
    np.testing.assert_allclose(fits(frame.set_axis(two[0]), shuffled.set_axis(two[1])), expected, atol=1e-12)
    # an array, or rows that pandas numbered, have no labels: the order is trusted
    for x, y in ((frame, Y), (X, pd.DataFrame(Y, ids)), (pd.DataFrame(X), pd.DataFrame(Y, ids))):
        np.testing.assert_allclose(fits(x, y), expected, atol=1e-12)
    with pytest.raises(InputError, match="40 of 40 labels of X are not among those of y, first 's00'"):
        fits(frame, pd.DataFrame(Y, [f"t{i}" for i in range(N)]))


def test_numbers_of_rows_and_ids_are_not_taken_for_each_other():
    X, Y = data()
    ids = np.array([f"s{i:02d}" for i in range(N)])
    order = np.random.default_rng(1).permutation(N)
    expected = RidgeCV().fit(X, Y).coef_
    x = labelled(X, ids)
    y = xr.DataArray(Y[order], {"presentation": order}, ("presentation", "neuroid"))
    with pytest.raises(InputError, match="40 of 40 labels of X are not among those of y, first 's00'"):
        RidgeCV().fit(x, y)
    # an index that both have joins, as do ids that are the index of one
    numbered = x.assign_coords(stimulus=np.arange(N))
    np.testing.assert_allclose(RidgeCV().fit(numbered, y).coef_, expected, atol=1e-12)
    named = xr.DataArray(Y[order], {"presentation": ids[order]}, ("presentation", "neuroid"))
    np.testing.assert_allclose(RidgeCV().fit(numbered, named).coef_, expected, atol=1e-12)


def test_arrays_that_are_turned():
    X, Y = data()
    X = np.concatenate([X, X[:, :1] ** 2 @ np.ones((1, N - 12)) * np.random.default_rng(2).random(N - 12)], 1)
    ids = np.array([f"s{i:02d}" for i in range(N)])  # as many features as rows
    expected = RidgeCV().fit(X, Y).predict(X)
    x = labelled(X, ids, columns=("feature",))
    for turned in (x, x.T):  # the dimension of stimulus_id is that of the rows
        np.testing.assert_allclose(RidgeCV().fit(turned, Y).predict(X), expected, atol=1e-9)
        np.testing.assert_allclose(RidgeCV().fit(X, Y).predict(turned), expected, atol=1e-9)
    plain = xr.DataArray(X, dims=("stimulus", "channel"))
    both = xr.DataArray(X, dims=("stimulus", "channel"))
    np.testing.assert_allclose(
        RidgeCV().fit(plain, both).predict(X), RidgeCV().fit(X, X).predict(X), atol=1e-9
    )
    with pytest.raises(
        InputError, match="share the dimensions stimulus, channel and begin with different ones"
    ):
        RidgeCV().fit(plain, both.T)
    for bad in (xr.DataArray(1.0), xr.DataArray(1.0, {"stimulus_id": "a"})):
        for pair in ((bad, Y), (X, bad), (bad, bad), (x, bad)):
            with pytest.raises(InputError) as error:
                RidgeCV().fit(*pair)
            assert "\n" not in str(error.value)


def test_columns_are_found_by_their_labels(tmp_path):
    X, Y = data()
    names = [f"f{i}" for i in range(12)]
    x = xr.DataArray(X, {"feature": names}, ("stimulus", "feature"))
    model = RidgeCV().fit(x, Y)
    save_model(model, tmp_path / "m.safetensors")
    for known in (model, load_model(tmp_path / "m.safetensors")):
        expected = known.predict(x).values
        np.testing.assert_allclose(known.predict(x[:, ::-1]).values, expected, atol=1e-12)
        np.testing.assert_allclose(known.predict(x.T).values, expected, atol=1e-12)
        with pytest.raises(InputError, match="not those the model was fitted to, first 'f0'"):
            known.predict(x.assign_coords(feature=["g0", *names[1:]]))


@pytest.mark.parametrize("model", [*FLAT, *TOKENS, BrainNetwork(max_epochs=1, n_hidden=8)], ids=named)
def test_what_cannot_be_fitted_is_one_line(model):
    X, Y = data()
    X = shaped(model, X)
    flat = X.reshape(N, -1)
    wrong = {
        "one dimension": (X.ravel()[:N], Y), "no rows": (X[:0], Y[:0]),
        "one row more": (X, np.concatenate([Y, Y[:1]])), "no columns": (X[..., :0], Y),
        "a column that is not finite": (np.where(np.arange(X.shape[-1]) == 1, np.inf, X), Y),
        "complex": (X + 1j, Y), "text": (X.astype(str), Y), "complex y": (X, Y + 1j),
        "sparse": (scipy.sparse.csr_array(flat), Y), "ragged": ([[1.0], [2.0, 3.0]] * 20, Y),
        "infinite y": (X, np.where(np.arange(3) == 1, np.inf, Y)), "no values": (X, np.full_like(Y, np.nan)),
        "no y": (X, None if model in FLAT + TOKENS else Y[:, :0]), "four dimensions": (X[None, None], Y),
        "words": (np.array([["a"] * 12] * N, object), Y), "dates": (X.astype("M8[s]"), Y),
    }  # fmt: skip
    for what, (x, y) in wrong.items():
        with pytest.raises(InputError) as error:
            model.fit(x, y)
        assert "\n" not in str(error.value) and len(str(error.value)) < 300, what
    with pytest.raises(InputError):
        model.fit(X, Y).predict(X[:, :2])


@pytest.mark.parametrize("model", [*FLAT, *TOKENS, BrainNetwork(max_epochs=1, n_hidden=8)], ids=named)
def test_kinds_of_arrays_are_all_alike(model):
    X, Y = (v.astype("f4") for v in data())
    X = shaped(model, X)
    expected = np.asarray(model.fit(X, Y).predict(X))
    for kind in (torch.tensor, np.asfortranarray, lambda v: v.astype("f8"), lambda v: v.astype(">f4")):
        found = model.fit(kind(X), kind(Y)).predict(kind(X))
        np.testing.assert_allclose(np.asarray(found), expected, atol=1e-4)
    if X.ndim == 2:
        found = model.fit(pd.DataFrame(X), pd.DataFrame(Y)).predict(pd.DataFrame(X))
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_embeddings_of_another_shape_are_one_line():
    X, Y = data()
    for model in (RidgeDecoder(), BrainNetwork(max_epochs=1, n_hidden=8)):
        with pytest.raises(InputError, match=r"shape \(40, 2, 3\).*flatten tokens"):
            model.fit(X, np.ones((N, 2, 3)))
        with pytest.raises(InputError, match="Embeddings of 40 of 40 pictures are not finite, first row 0"):
            model.fit(X, np.where(np.arange(3) == 1, np.nan, Y))
    with pytest.raises(InputError, match="Complex data"):
        DiffusionPrior().fit(X + 1j, Y)


def masks(folds):
    return [tuple(np.isin(np.arange(N), rows) for rows in fold) for fold in folds]


SHUFFLED = list(KFold(4, shuffle=True, random_state=0).split(np.zeros(N)))


@pytest.mark.parametrize("model", [*FLAT, *TOKENS, BrainNetwork(max_epochs=1, n_hidden=8)], ids=named)
def test_masks_are_folds(model):
    X, Y = data()
    X = shaped(model, X)
    by_number = model.set_params(cv=SHUFFLED).fit(X, Y)
    score, shown = getattr(by_number, "best_score_", 0), np.asarray(by_number.predict(X))
    by_mask = model.set_params(cv=masks(SHUFFLED)).fit(X, Y)
    np.testing.assert_array_equal(score, getattr(by_mask, "best_score_", 0))
    np.testing.assert_array_equal(shown, np.asarray(by_mask.predict(X)))


def test_folds_with_repeated_rows_are_scored_as_scikit_learn_scores_them():
    X, Y = data()
    rng = np.random.default_rng(0)
    cv = [(rng.integers(0, N, N), rng.permutation(N)[:15]) for _ in range(3)]
    found = RidgeCV([3.0], cv=cv).fit(X, Y).best_score_
    expected = np.mean(
        [r2_score(Y[v], Ridge(3.0).fit(X[t], Y[t]).predict(X[v]), multioutput="raw_values") for t, v in cv], 0
    )
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize(
    ("cv", "message"),
    [
        (LeaveOneOut(), "All 40 folds hold out one row, and one row has no R2"),
        (41, "40 rows cannot be cut into 41 folds"),
        ([], "no folds"),
        ([(np.arange(20), [])], "There are no validation rows of fold 0"),
        ([(np.zeros(N, bool), np.arange(5))], "There are no training rows of fold 0"),
        ([(np.arange(20), np.arange(38, 42))], "The validation rows of fold 0 name row 40. There are rows 0 to 39"),
        ([(np.ones(3, bool), np.arange(5))], r"The mask of the training rows of fold 0 has shape \(3,\)"),
        ([(np.linspace(0, 1, 5), np.arange(5))], "are float64"),
        ("five", "cv"),
    ],
)  # fmt: skip
def test_folds_that_cannot_be_are_one_line(cv, message):
    X, Y = data()
    for model in (RidgeCV(cv=cv), BandedRidgeCV(cv=cv), PLS(2, cv=cv)):
        with pytest.raises(InputError, match=message) as error:
            model.fit(X, Y)
        assert "\n" not in str(error.value)


def test_folds_of_one_row_do_not_count():
    X, Y = data()
    one = (np.arange(39), np.array([39]))
    np.testing.assert_array_equal(
        RidgeCV(cv=[*SHUFFLED, one]).fit(X, Y).best_score_, RidgeCV(cv=SHUFFLED).fit(X, Y).best_score_
    )
    assert len(folds_of([one, *SHUFFLED], N)) == 4


def test_classes_that_are_sorted_need_folds_that_shuffle():
    X, _ = data()
    y = np.repeat([0.0, 1.0], N // 2)
    with pytest.raises(InputError, match="where they vary between folds only, shuffle"):
        RidgeCV(cv=2).fit(X, y)
    cv = StratifiedKFold(2)  # is told the classes
    held = [v for _, v in folds_of(cv, N, None, y)]
    assert [y[v].mean() for v in held] == [0.5, 0.5]
    assert np.isfinite(RidgeCV(cv=cv).fit(X, y).best_score_)


@pytest.mark.parametrize("model", [RidgeCV, BandedRidgeCV, PLS], ids=lambda m: m.__name__)
def test_a_constant_target_scores_zero(model):
    X, Y = data()
    Y[:, 1] = 0.1
    for dtype in ("f4", "f8"):
        assert model().fit(X.astype(dtype), Y.astype(dtype)).best_score_[1] == 0


@pytest.mark.parametrize("alphas", [[np.nan, 1], [1, np.inf], ["a"], [0]])
def test_alphas_are_finite_and_above_zero(alphas):
    X, Y = data()
    for model in (RidgeCV(alphas), BandedRidgeCV(alphas)):
        with pytest.raises(InputError, match="All must be above 0, and finite"):
            model.fit(X, Y)


@pytest.mark.parametrize("offset", [0, 1e3, 1e5])
@pytest.mark.parametrize("model", [RidgeCV, BandedRidgeCV], ids=lambda m: m.__name__)
@pytest.mark.parametrize("intercept", [True, False])
def test_single_precision_far_from_zero(model, intercept, offset):
    """The answer is that of double precision for the same, rounded, numbers."""
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(120, 30)) + offset).astype("f4")
    Y = ((X - offset) @ rng.normal(size=(30, 4)) / 5 + rng.normal(size=(120, 4))).astype("f4")
    single = model(np.logspace(-1, 4, 6), fit_intercept=intercept, dtype="float32").fit(X, Y)
    double = model(np.logspace(-1, 4, 6), fit_intercept=intercept).fit(X.astype("f8"), Y.astype("f8"))
    assert single.coef_.dtype == np.float32
    np.testing.assert_array_equal(single.alpha_, double.alpha_)
    np.testing.assert_allclose(single.best_score_, double.best_score_, atol=2e-4)
    np.testing.assert_allclose(single.coef_, double.coef_, atol=1e-5)
    if intercept:
        np.testing.assert_allclose(single.predict(X), double.predict(X.astype("f8")), atol=1e-4)


@pytest.mark.parametrize("scale", [1e-25, 1e-13, 1e25])
def test_targets_of_any_unit(scale):
    X, Y = (v.astype("f4") for v in data())
    found, plain = RidgeCV().fit(X, Y * np.float32(scale)), RidgeCV().fit(X, Y)
    np.testing.assert_allclose(found.best_score_, plain.best_score_, atol=1e-5)
    np.testing.assert_allclose(found.predict(X) / scale, plain.predict(X), atol=1e-4)


def test_bands_of_one_target_have_its_shape():
    X, Y = data()
    bands = np.arange(12) % 2
    model = BandedRidgeCV(bands=bands, n_candidates=3).fit(X, Y[:, 0])
    parts = model.predict_bands(X)
    assert parts.shape == (2, N)
    np.testing.assert_allclose(parts.sum(0) + Y[:, 0].mean(), model.predict(X), atol=1e-9)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (RidgeCV(dtype="int32"), "'dtype': 'int32'.*'float32', 'float64', 'None'"),
        (RidgeCV(dtype="float16"), "'dtype': 'float16'"),
        (BandedRidgeCV(dtype="flaot32"), "did you mean 'float32'"),
        (BandedRidgeCV(n_candidates=0), "'n_candidates': 0. Expected a whole number of at least 1"),
        (BandedRidgeCV(n_gradient_steps=-1), "'n_gradient_steps': -1"),
        (PLS(0), "'n_components': 0"),
        (PLS(2.5), "'n_components': 2.5"),
        (RidgeDecoder(n_components=-3), "'n_components': -3"),
    ],
)
def test_options_that_would_be_taken_for_others_are_refused(model, message):
    """Of int32 features and responses were rounded to whole numbers."""
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match=message):
        model.fit(rng.normal(size=(20, 4)), rng.normal(size=(20, 3)))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (AttentionRouting(overlap="sums"), "'overlap': 'sums'.*did you mean 'sum'"),
        (AttentionRouting(readout="gradients"), "did you mean 'gradient'"),
        (EfficientProbing(values="hole"), "did you mean 'whole'"),
        (EfficientProbing(n_queries=0), "'n_queries': 0"),
        (GaussianFieldCV(dtype="int32"), "'dtype': 'int32'"),
        (FactorisedCV(n_alternations=0), "'n_alternations': 0"),
    ],
)
def test_options_of_readouts_that_would_be_taken_for_others_are_refused(model, message):
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match=message):
        model.fit(rng.normal(size=(20, 4, 3)), rng.normal(size=(20, 3)))
