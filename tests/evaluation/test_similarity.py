import json

import numpy as np
import pandas as pd
import pytest
import rsatoolbox
from scipy.spatial.distance import pdist, squareform
from scipy.stats import kendalltau, spearmanr

from neuroenc.arrays import make_features, save
from neuroenc.config import Similarity, parse
from neuroenc.datasets import from_arrays
from neuroenc.errors import InputError
from neuroenc.evaluation import dissimilarity as d
from neuroenc.evaluation import similarity as s
from neuroenc.evaluation.brains import predict_brains
from tests.conftest import toy_responses

THEIRS = {
    "spearman": "spearman", "kendall": "tau-a", "pearson": "corr", "cosine": "cosine",
    "whitened_cosine": "cosine_cov",
}  # fmt: skip
CONTRACT = dict.fromkeys(
    ("model", "weights", "layer", "pooling", "shape", "normalisation", "pixel_range", "preprocessing"), "toy"
)


def matrices(*triangles):
    return rsatoolbox.rdm.RDMs(np.array(triangles))


@pytest.fixture
def patterns():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(14, 30))
    return X, X[:, :20] + rng.normal(size=(14, 20))


def test_distances_are_those_of_scipy_and_rsatoolbox(patterns):
    X = patterns[0] + 100
    np.testing.assert_allclose(d.dissimilarity(X), pdist(X, "correlation"), atol=1e-12)
    np.testing.assert_allclose(d.dissimilarity(X, "euclidean"), pdist(X, "sqeuclidean") / 30, rtol=1e-10)
    trials = np.random.default_rng(1).normal(size=(9, 3, 8)) + 5
    theirs = rsatoolbox.data.Dataset(
        trials.reshape(27, 8),
        obs_descriptors={"stimulus": np.repeat(range(9), 3), "repeat": np.tile(range(3), 9)},
    )
    found = rsatoolbox.rdm.calc_rdm(
        theirs, method="crossnobis", descriptor="stimulus", cv_descriptor="repeat"
    )
    np.testing.assert_allclose(d.dissimilarity(trials, "crossnobis"), found.get_vectors()[0], atol=1e-12)


def test_many_stimuli_in_single_precision_and_blocks_are_those_in_double(patterns, monkeypatch):
    X = np.random.default_rng(2).normal(size=(60, 40))
    whole = {m: d.prepare(d.dissimilarity(X, "euclidean"), m) for m in THEIRS}
    monkeypatch.setattr(d, "DOUBLE", 10)
    monkeypatch.setattr(d, "BLOCK_BYTES", 8 * 60 * 7)
    for measure, vector in whole.items():
        single = d.prepare(d.dissimilarity(X, "euclidean"), measure)
        assert single.dtype == np.float32
        assert single.astype(float) @ vector == pytest.approx(1, abs=1e-5)


def test_crossnobis_does_without_presentations_that_lack_values():
    rng = np.random.default_rng(0)
    ids, signal = np.array([f"p{i:02d}" for i in range(20)]), rng.normal(size=(20, 12))
    response = np.concatenate([signal + 0.5 * rng.normal(size=signal.shape) for _ in range(3)])
    shown, kept = np.tile(ids, 3), np.arange(60) != 3
    made = make_features(signal.astype("f4"), stimulus_id=ids, layer=np.full(12, "x"), attrs=CONTRACT)

    def value(response, shown):
        options = Similarity(distance="crossnobis", n_bootstraps=100)
        (row,) = s.similarity({"1": from_arrays(response, shown)[1]}, {"m": made}, options)["rows"]
        return row["value"]

    response[3, 4] = np.nan  # of a first repeat, behind which there are two
    assert value(response, shown) == pytest.approx(value(response[kept], shown[kept]), abs=1e-12)
    response[:20, 2] = np.nan  # the neuroids that lack some are now the smaller share
    assert value(response, shown) == pytest.approx(value(np.delete(response, [2, 4], 1), shown), abs=1e-12)


def test_crossnobis_is_the_distance_without_noise_and_mahalanobis():
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(6, 6))
    truth = rng.normal(size=(40, 1, 6))
    trials = truth + rng.normal(size=(40, 400, 6)) @ mix
    found = d.dissimilarity(d.whiten(trials), "crossnobis")
    wanted = pdist(truth[:, 0], "mahalanobis", VI=np.linalg.inv(mix.T @ mix)) ** 2 / 6
    assert np.corrcoef(found, wanted)[0, 1] > 0.99
    assert found.mean() == pytest.approx(wanted.mean(), rel=0.03)
    noise = d.dissimilarity(rng.normal(size=(40, 2, 50)), "crossnobis")
    assert abs(noise.mean()) < 4 * noise.std() / np.sqrt(40)
    assert (noise < 0).mean() > 0.3


@pytest.mark.parametrize("value", [0, 0.1, "signal"])
def test_of_many_neuroids_one_without_noise_is_left_out(value):
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(12, 1, 2005))
    trials = signal + rng.normal(size=(12, 3, 2005))
    others = d.dissimilarity(d.whiten(trials[:, :, 1:]), "crossnobis")
    trials[:, :, 0] = signal[:, :, 0] if value == "signal" else value
    np.testing.assert_allclose(d.dissimilarity(d.whiten(trials), "crossnobis"), others, rtol=1e-9)


@pytest.mark.parametrize("distance", ["correlation", "euclidean"])
@pytest.mark.parametrize("measure", THEIRS)
def test_measures_are_those_of_rsatoolbox(patterns, distance, measure):
    a, b = (d.dissimilarity(X, distance) for X in patterns)
    for one, other in ((a, b), (np.round(a, 1), np.round(b, 1))):  # ties
        theirs = rsatoolbox.rdm.compare(matrices(one), matrices(other), THEIRS[measure])[0, 0]
        assert d.compare(one, other, measure) == pytest.approx(theirs, abs=1e-12)
        assert d.compare(squareform(one), squareform(other), measure) == pytest.approx(theirs, abs=1e-12)
    assert d.compare(a, a, measure) == pytest.approx(1)


@pytest.mark.parametrize("distance", ["correlation", "euclidean"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distances_that_are_equal_but_for_rounding_are_ties(distance, dtype, monkeypatch):
    """Of a model of five categories there are two distances, and two only."""
    rng = np.random.default_rng(0)
    category = rng.integers(0, 5, 60)
    if dtype == np.float32:
        monkeypatch.setattr(d, "DOUBLE", 0)
    brain = rng.normal(size=(60, 50)) + rng.normal(size=(5, 50))[category]
    model = d.dissimilarity(np.eye(5, dtype="f4")[category], distance)
    assert model.dtype == dtype
    whole = pdist(category[:, None], "hamming")
    measured = d.dissimilarity(brain.astype(dtype))
    theirs = spearmanr(whole, measured).statistic
    found = d.agreement(d.prepare(model, "spearman")[None], d.prepare(measured, "spearman"), "spearman")
    assert found[0] == pytest.approx(theirs, abs=1e-5)
    tau = kendalltau(whole, measured, variant="b").statistic * np.sqrt(1 - tied(whole))
    assert d.compare(model, measured, "kendall") == pytest.approx(tau, abs=1e-5)
    others = [[model, model], [whole, whole]]
    assert d.over_subjects(others[0], "kendall") == pytest.approx(d.over_subjects(others[1], "kendall"))


def tied(values):
    count = np.unique(values, return_counts=True)[1]
    return (count * (count - 1)).sum() / len(values) / (len(values) - 1)


def test_what_is_equal_but_for_rounding_agrees_with_nothing(patterns):
    level = 1 + 4e-16 * np.arange(91)  # each picture a category of its own
    for measure in ("spearman", "kendall", "pearson", "cka", "whitened_cosine"):
        assert np.isnan(d.compare(level, d.dissimilarity(patterns[0]), measure))


def test_cka_is_debiased_and_that_of_its_definition(patterns):
    def hsic(K, L):  # Song et al. 2012, equation 5
        n = len(K)
        K, L = (M - np.diag(np.diag(M)) for M in (K, L))
        trace = np.trace(K @ L) + K.sum() * L.sum() / (n - 1) / (n - 2) - 2 / (n - 2) * (K @ L).sum()
        return trace / n / (n - 3)

    X, Y = patterns
    K, L = X @ X.T, Y @ Y.T
    found = d.compare(d.dissimilarity(X, "euclidean"), d.dissimilarity(Y, "euclidean"), "cka")
    assert found == pytest.approx(hsic(K, L) / np.sqrt(hsic(K, K) * hsic(L, L)), abs=1e-12)
    X, Y = X - X.mean(0), Y - Y.mean(0)
    biased = ((X.T @ Y) ** 2).sum() / np.sqrt(((X.T @ X) ** 2).sum() * ((Y.T @ Y) ** 2).sum())
    whitened = d.compare(d.dissimilarity(X, "euclidean"), d.dissimilarity(Y, "euclidean"), "whitened_cosine")
    assert whitened == pytest.approx(biased, abs=1e-12)
    rng = np.random.default_rng(1)
    alone = [
        d.compare(*(d.dissimilarity(rng.normal(size=(10, 500)), "euclidean") for _ in range(2)), measure)
        for measure in ["cka"] * 200
    ]
    assert abs(np.mean(alone)) < 4 * np.std(alone) / np.sqrt(200)


@pytest.mark.parametrize("measure", ["spearman", "kendall", "pearson", "cosine"])
def test_ceilings_over_subjects_are_those_of_rsatoolbox(patterns, measure):
    rng = np.random.default_rng(0)
    own = np.array([d.dissimilarity(patterns[0] + rng.normal(size=(14, 30))) for _ in range(4)])
    theirs = rsatoolbox.inference.boot_noise_ceiling(matrices(*own), THEIRS[measure])
    np.testing.assert_allclose(d.over_subjects(own, measure), theirs, atol=1e-12)
    assert np.isnan(d.over_subjects(own[:1], measure)).all()


def test_what_cannot_be_compared_is_one_line(patterns):
    X = patterns[0].copy()
    X[3] = 7
    with pytest.raises(InputError, match="1 of 14 patterns are not finite, or constant, first that of row 3"):
        d.dissimilarity(X)
    X[2, 0] = np.nan
    with pytest.raises(InputError, match="first that of row 2"):
        d.dissimilarity(X, "euclidean")
    a = d.dissimilarity(patterns[0])
    with pytest.raises(InputError, match="of 14 and 5 stimuli"):
        d.compare(a, a[:10])
    with pytest.raises(InputError, match="1 of 91 dissimilarities are not finite"):
        d.compare(a, np.where(np.arange(91) == 4, np.nan, a))
    with pytest.raises(InputError, match="no triangle of a matrix"):
        d.compare(a[:12], a)
    with pytest.raises(InputError, match="not symmetric"):
        d.compare(np.arange(9.0).reshape(3, 3), a)
    with pytest.raises(InputError, match="3 stimuli are too few"):
        d.compare(a[:3], a[:3])
    with pytest.raises(InputError, match=r"expected at most 2500 stimuli\. Use 'spearman'"):
        d.limit(10_000, "kendall")
    with pytest.raises(InputError, match="needs 2 repeats of each stimulus or more, found 1"):
        d.dissimilarity(np.random.default_rng(0).normal(size=(5, 1, 4)), "crossnobis")
    with pytest.raises(InputError, match="'cka' is of distance 'euclidean', found 'correlation'"):
        parse(Similarity, {"measure": "cka"})
    for measure in THEIRS:
        flat = d.compare(np.zeros(91), a, measure)
        assert np.isnan(flat)  # equal distances agree with nothing


def responses(ids, values, rng, *, repeats=1, noise=0.0):
    n, k = values.shape
    trials = np.repeat(values, repeats, 0) + noise * rng.normal(size=(n * repeats, k))
    made = toy_responses(rng, np.repeat(ids, repeats), trials.astype("f4"))
    return made.assign_coords(
        roi_A=("neuroid", np.arange(k) < k // 2), roi_one=("neuroid", np.arange(k) == 0)
    )


@pytest.fixture
def world():
    """Two subjects whose first neuroids see layer `a`, the others layer `b`."""
    rng = np.random.default_rng(0)
    ids = np.array([f"p{i:02d}" for i in range(40)])
    X = rng.normal(size=(40, 30)).astype("f4")
    features = make_features(X, stimulus_id=ids, layer=np.array(["a"] * 10 + ["b"] * 20), attrs=CONTRACT)
    low, high = X[:, :10] @ rng.normal(size=(10, 40)), X[:, 10:] @ rng.normal(size=(20, 40))
    truth = np.concatenate([low, high], 1)
    return ids, features, truth, rng


def test_layers_are_found_in_their_regions(world):
    ids, features, truth, rng = world
    order = rng.permutation(40)
    brains = {
        "1": responses(ids, truth, rng, repeats=2, noise=3),
        "2": responses(ids[order], truth[order], rng, repeats=2, noise=3),
    }
    found = s.similarity(brains, {"m": features}, Similarity(n_bootstraps=100))
    rows = {(r["layer"], r["region"]): r for r in found["rows"]}
    assert rows["a", "A"]["value"] > 0.4 > rows["b", "A"]["value"]
    mean = [b["response"].values.reshape(40, 2, 80).mean(1)[:, :40] for b in brains.values()]
    mean[1] = mean[1][np.argsort(order)]
    layer = pdist(features["feature"].values[:, :10], "correlation")
    each = [spearmanr(pdist(m, "correlation"), layer).statistic for m in mean]
    assert rows["a", "A"]["value"] == pytest.approx(np.mean(each), abs=1e-6)
    assert list(rows["a", "A"]["by_subject"].values()) == pytest.approx(each, abs=1e-6)
    assert rows["a", "A"]["low"] < rows["a", "A"]["value"] < rows["a", "A"]["high"]
    assert rows["b", "A"]["low"] < 0 < rows["b", "A"]["high"]
    theirs = rsatoolbox.inference.boot_noise_ceiling(
        matrices(*(pdist(m, "correlation") for m in mean)), "spearman"
    )
    assert [rows["a", "A"][k] for k in ("ceiling_low", "ceiling_high")] == pytest.approx(theirs, abs=1e-4)
    assert rows["a", "A"]["ceiling_kind"] == "subjects"
    assert rows["a", "one"]["value"] is None
    assert "40 of 40 patterns are constant or missing, first 'p00'" in rows["a", "one"]["note"]


@pytest.mark.parametrize("n_subjects", [1, 2])
def test_the_order_of_presentations_changes_nothing(world, n_subjects):
    """Half samples and halves of repeats are drawn alike."""
    ids, features, truth, rng = world
    brains = {str(k): responses(ids, truth, rng, repeats=2, noise=3) for k in range(n_subjects)}
    turned = {
        k: b.isel(presentation=np.argsort(np.tile([1, 0], 40), kind="stable")[::-1])
        for k, b in brains.items()
    }
    one, other = (
        s.similarity(found, {"m": features}, Similarity(n_bootstraps=100))["rows"]
        for found in (brains, turned)
    )
    for a, b in zip(one, other, strict=True):
        for key in ("value", "low", "high", "ceiling_low", "ceiling_high"):
            assert a[key] == (None if b[key] is None else pytest.approx(b[key], abs=1e-5)), key


def test_the_reliability_of_one_subject_bounds_what_the_truth_reaches(world):
    ids, features, truth, rng = world
    brain = responses(ids, truth, rng, repeats=6, noise=8)
    for measure in ("spearman", "pearson"):
        found = s.similarity({"1": brain}, {"m": features}, Similarity(measure=measure, n_bootstraps=100))
        row = next(r for r in found["rows"] if r["region"] == "A")
        own = pdist(brain["response"].values.reshape(40, 6, 80).mean(1)[:, :40], "correlation")
        reached = d.compare(own, pdist(truth[:, :40], "correlation"), measure)
        assert row["ceiling_kind"] == "repeats"
        assert row["ceiling_high"] == pytest.approx(reached, abs=0.06)
        assert row["ceiling_low"] < row["ceiling_high"]


def test_the_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(3)
    mix, n = rng.normal(size=(5, 30)), 40

    def draw(n):
        X = rng.normal(size=(n, 5))
        return X, X @ mix + 3 * rng.normal(size=(n, 30))

    options = Similarity(distance="euclidean", measure="pearson", n_bootstraps=100)
    truth = d.compare(*(d.dissimilarity(v, "euclidean") for v in draw(2000)), "pearson")
    inside = 0
    for _ in range(100):
        spaces = [s.Space("x", "r", "euclidean", lambda v=v: v) for v in draw(n)]
        rows = np.arange(n)
        whole = s._values(spaces[:1], spaces[1:], [rows], options)[0]
        low, high = s._interval(whole, spaces[:1], spaces[1:], rows, options)
        inside += low["r"][0] <= truth <= high["r"][0]
    assert 85 <= inside <= 100


def test_subjects_predict_one_another_where_they_share_a_signal(world):
    ids, _, truth, rng = world
    shared = {k: truth + rng.normal(size=truth.shape) for k in "12"}
    shared["1"][:, 40:] = rng.normal(size=(40, 40))
    masks = {k: {"signal": np.arange(80) < 40, "noise": np.arange(80) >= 40} for k in "12"}
    rows = {(r["subject"], r["region"]): r for r in predict_brains(ids, shared, masks)}
    assert rows["1", "signal"]["r"] > 0.7
    assert abs(rows["1", "noise"]["r"]) < 0.15
    with pytest.raises(InputError, match="1 subjects who share 40 stimuli cannot predict one another"):
        predict_brains(ids, {"1": truth}, masks)


@pytest.mark.parametrize("options", [{"distance": "crossnobis", "measure": "whitened_cosine"},
                                     {"distance": "euclidean", "measure": "cka"}, {"measure": "kendall"}])  # fmt: skip
def test_from_files_to_a_figure(world, run, tmp_path, options):
    ids, features, truth, rng = world
    save(responses(ids, truth, rng, repeats=2, noise=1), tmp_path / "r.nc")
    save(features, tmp_path / "f.nc")
    out, png = tmp_path / "s.json", tmp_path / "s.png"
    words = ["--responses", f"1={tmp_path / 'r.nc'}", "--features", f"m={tmp_path / 'f.nc'}", "--out", out]
    assert (
        run("evaluate", "similarity", *words, "--options", json.dumps({"n_bootstraps": 100} | options))[0]
        == 0
    )
    rows = {(r["layer"], r["region"]): r for r in json.loads(out.read_text())["rows"]}
    assert rows["a", "A"]["value"] > rows["b", "A"]["value"]
    assert run("results", "similarity", "--scores", out, "--out", png)[0] == 0
    assert png.stat().st_size > 5000


def test_bad_input_of_the_command_is_one_line(world, run, tmp_path):
    ids, features, truth, rng = world
    save(responses(ids, truth, rng), tmp_path / "r.nc")
    save(responses(np.char.add("x", ids), truth, rng), tmp_path / "x.nc")
    save(features, tmp_path / "f.nc")
    save(toy_responses(rng, ids, truth.reshape(40, 40, 2).astype("f4")), tmp_path / "t.nc")
    one, other, timed = (f"{i}={tmp_path / name}" for i, name in enumerate(("r.nc", "x.nc", "t.nc")))
    model, out = f"m={tmp_path / 'f.nc'}", tmp_path / "s.json"
    for words, message in (
        (["--responses", one, "--responses", other], "0 stimuli are shared by 2 subjects and 1 models"),
        (["--responses", timed], "have 2 time bins, expected one value for each presentation"),
        (["--responses", one, "--options", '{"distance": "crossnobis"}'], "0 stimuli shown twice or more are shared"),
        (["--responses", one, "--options", '{"models": ["n"]}'], "Invalid value for 'models': 'n'. Allowed: 'm'"),
    ):  # fmt: skip
        status, _, said = run("evaluate", "similarity", "--features", model, "--out", out, *words)
        assert status == 2 and message in said and said.count("\n") == 1
    assert not out.exists()


def test_human_and_monkey_it_agree_as_published(real):
    from scipy.io import loadmat

    found = loadmat(real / "rdm92/Kriegeskorte_Neuron2008_supplementalData.mat")["RDMs_mIT_hIT_fig1"][0]
    monkey, human = (np.asarray(m["RDM"], float)[0] for m in found)
    # r = 0.49 (Kriegeskorte et al. 2008, figure 2)
    assert d.compare(monkey, human, "pearson") == pytest.approx(0.49, abs=0.01)


def test_what_is_no_distance_or_measure_is_refused():
    X = np.random.default_rng(0).normal(size=(8, 5))
    a = d.dissimilarity(X)
    with pytest.raises(InputError, match="did you mean 'spearman'"):
        d.compare(a, a, "spearmen")
    with pytest.raises(InputError, match="'distance': 'cosine'"):
        d.dissimilarity(X, "cosine")
    with pytest.raises(InputError, match="Are these similarities"):  # whose ranks run the other way
        d.compare(np.corrcoef(X), squareform(a))
    rounded = squareform(a) + np.diag(np.full(8, 1e-12))
    assert d.compare(rounded, np.where(np.eye(8) > 0, np.nan, squareform(a))) == pytest.approx(1)


def test_tables_that_name_stimuli_in_another_order_are_refused():
    names = list("abcdef")
    table = pd.DataFrame(1 - np.corrcoef(np.random.default_rng(0).normal(size=(6, 9))), names, names)
    assert d.compare(table, table) == pytest.approx(1)
    with pytest.raises(InputError, match="another order"):
        d.compare(table, table.iloc[::-1, ::-1])


@pytest.mark.parametrize(
    ("shape", "distance"), [((8,), "correlation"), ((8, 2, 3), "euclidean"), ((8, 3), "crossnobis")]
)
def test_patterns_of_other_dimensions_are_refused(shape, distance):
    with pytest.raises(InputError, match=r"patterns has shape .* expected \(n_stimuli"):
        d.dissimilarity(np.ones(shape), distance)
