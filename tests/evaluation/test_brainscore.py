import json

import numpy as np
import pytest
import scipy.stats
from sklearn.cross_decomposition import PLSRegression
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

from neuroenc import splits
from neuroenc.arrays import make_features, make_responses, make_stimuli, save
from neuroenc.checks import check
from neuroenc.config import PLS, Config, Evaluation, Split
from neuroenc.encoders.encode import encode
from neuroenc.errors import InputError
from neuroenc.evaluation.brainscore import PARTS, brain_score, reliability
from neuroenc.evaluation.evaluate import evaluate
from neuroenc.figures.summary import scored

OPTIONS = Evaluation(ceiling="split_half", n_bootstraps=100, n_permutations=100, brainscore=True)
TEN = Split(kind="stimulus", test_fraction=0.1, n_folds=10)
N, REPEATS = 120, 5


@pytest.fixture(scope="module")
def recorded():
    """Features of very unequal variance, and two regions that follow them through noise."""
    rng = np.random.default_rng(0)
    ids = np.array([f"s{i:03d}" for i in range(N)])
    x = rng.standard_normal((N, 40)) * np.logspace(0, 1.5, 40)
    signal = x @ rng.standard_normal((40, 14)) / 30
    trials = signal[:, None] + rng.standard_normal((N, REPEATS, 14)) * np.linspace(0.5, 3, 14)
    kind = np.eye(4)[np.arange(N) % 4]
    stimuli = make_stimuli(
        {"stimulus_id": ids, "split": np.full(N, "train"), "group": ids, "pixel_index": np.arange(N)},
        attrs={"dataset": "d", "pixels": ""}, categories=(["a", "b", "c", "d"], kind),
    )  # fmt: skip
    features = make_features(
        x.astype(np.float32), stimulus_id=ids, layer=np.full(40, "l"),
        attrs=dict.fromkeys(("model", "weights", "layer", "pooling", "shape", "normalisation", "pixel_range",
                             "preprocessing"), "x"),
    )  # fmt: skip
    shown, v4 = np.repeat(ids, REPEATS), np.arange(14) < 8
    responses = make_responses(
        trials.reshape(-1, 14),
        presentation={
            "stimulus_id": shown, "group": shown, "split": np.full(len(shown), "train"),
            "session": np.full(len(shown), "1"), "run": np.zeros(len(shown), int),
            "repetition": np.tile(np.arange(REPEATS), N),
        },
        neuroid={
            "neuroid_id": np.array([f"n{i}" for i in range(14)]), "subject": np.full(14, "m"),
            "hemisphere": np.full(14, ""), "ncsnr": np.full(14, np.nan), "roi_V4": v4, "roi_IT": ~v4,
            **{k: np.full(14, np.nan) for k in "xyz"},
        },
        attrs={"dataset": "d", "space": "sites", "units": "u", "source": "{}"},
    )  # fmt: skip
    return stimuli, features, responses, x.astype(np.float32), trials.astype(np.float32)


def by_definition(x, trials, split, neuroids):
    """Brain-Score's equations, one neuroid and split at a time, by scikit-learn and SciPy."""
    mean = trials.mean(1)
    r = np.empty((10, len(neuroids)))
    for fold, side in enumerate(split["side"].values):
        train, test = np.flatnonzero(side == 0), np.flatnonzero(side == 1)
        # Brain-Score leaves the tolerance at 1e-6, which costs the fifth digit of r
        model = PLSRegression(n_components=25, scale=False, tol=1e-14, max_iter=5000).fit(
            x[train], mean[train]
        )
        predicted = model.predict(x[test])
        r[fold] = [scipy.stats.pearsonr(mean[test, v], predicted[:, v])[0] for v in neuroids]
    consistency = np.empty((10, len(neuroids)))
    halves = ShuffleSplit(10, train_size=0.5, random_state=1).split(np.zeros(REPEATS))
    for k, (one, other) in enumerate(halves):
        for j, v in enumerate(neuroids):
            half = scipy.stats.pearsonr(trials[:, one, v].mean(1), trials[:, other, v].mean(1))[0]
            consistency[k, j] = 2 * half / (1 + half)
    raw, limit = np.mean(np.median(r, 1)), np.mean(np.median(consistency, 1))
    error = np.std(np.median(r, 1)) / np.sqrt(10)
    return {
        "score": raw**2 / limit,
        "r": raw,
        "ceiling": limit,
        "error": error,
        "squared": (raw / limit) ** 2,
    }


@pytest.mark.parametrize("stratify", [False, True])
def test_statistic_is_that_of_the_equations(recorded, stratify):
    stimuli, features, responses, x, trials = recorded
    split = splits.make(stimuli, TEN.model_copy(update={"stratify": stratify}))
    predictions, _ = encode(responses, features, split, PLS(standardise=False))
    scores = evaluate(responses, predictions, OPTIONS)
    assert list(scores["part"].values) == list(PARTS)
    regions = {"all": range(14), "V4": range(8), "IT": range(8, 14)}
    for name, found in zip(scores["region_name"].values, scores["brainscore"].values, strict=True):
        expected = by_definition(x, trials, split, list(regions[name]))
        np.testing.assert_allclose(found, [expected[p] for p in PARTS], rtol=2e-5)
    rows = scored(scores, {"subject": "m", "model": "x", "command": "", "seed": 0})
    own = {(r["name"], r["region"]): r for r in rows if r["name"].startswith("Brain-Score")}
    expected = by_definition(x, trials, split, list(range(8)))
    row = own["Brain-Score, explained variance", "V4"]
    assert row["value"] == pytest.approx(expected["score"], rel=2e-5) and row["n"] == 8
    assert row["squared"] == pytest.approx(expected["squared"], rel=2e-5)


def test_standardised_features_give_another_fit(recorded):
    stimuli, features, responses, x, trials = recorded
    split = splits.make(stimuli, TEN)
    plain, scaled = (
        encode(responses, features, split, PLS(standardise=s, n_components=2))[0]["prediction"].values
        for s in (False, True)
    )
    assert np.abs(plain - scaled).max() > 0.1
    test, train = (split["side"].values[0] == side for side in (1, 0))
    model = PLSRegression(2, scale=False, tol=1e-14, max_iter=5000).fit(x[train], trials.mean(1)[train])
    np.testing.assert_allclose(plain[: test.sum()], model.predict(x[test]), atol=1e-3)


def test_missing_repeats_and_silent_sites_do_not_spread(recorded):
    _, _, responses, _, trials = recorded
    ids, repeats = responses["stimulus_id"].values, responses["repetition"].values
    lacking = trials.copy()
    lacking[:7, :4, 0] = np.nan  # seven stimuli with one repeat: no two halves
    lacking[..., 1] = 3.0
    found = reliability(lacking.reshape(-1, 14), ids, repeats)
    full = reliability(trials.reshape(-1, 14), ids, repeats)
    np.testing.assert_array_equal(found[:, 2:], full[:, 2:])
    assert np.isnan(found[:, 1]).all()
    np.testing.assert_allclose(
        found[:, 0], reliability(trials[7:].reshape(-1, 14), ids[7 * REPEATS :], repeats[7 * REPEATS :])[:, 0]
    )
    r = np.full((10, 14), 0.5)
    r[:, 1] = np.nan
    assert brain_score(r, found)["r"] == 0.5
    once = reliability(trials[:, 0], ids[::REPEATS], np.zeros(N, int))
    assert np.isnan(brain_score(r, once)["score"]) and brain_score(r, once)["r"] == 0.5


def test_stratified_splits_hold_even_shares(recorded):
    stimuli = recorded[0]
    kind = stimuli["category"].values.argmax(1)
    split = splits.make(stimuli, TEN.model_copy(update={"stratify": True}))
    for side in split["side"].values:
        np.testing.assert_array_equal(np.bincount(kind[side == 1]), 3)
    ours = {tuple(np.flatnonzero(s == 1)) for s in split["side"].values}
    theirs = StratifiedShuffleSplit(10, train_size=0.9, random_state=1).split(kind, kind)
    assert len(ours) == 10 and {len(s) for s in ours} == {len(test) for _, test in theirs}


def test_refusals(recorded, run, tmp_path):
    stimuli, features, responses, *_ = recorded
    with pytest.raises(InputError, match="carry no categories"):
        splits.make(stimuli.drop_vars("category"), TEN.model_copy(update={"stratify": True}))
    with pytest.raises(ValueError, match="`stratify` is for kind 'stimulus'"):
        Split(kind="kfold", stratify=True)
    split = splits.make(stimuli, Split(kind="stimulus", n_folds=2))
    predictions, _ = encode(responses, features, split, PLS(n_components=2))
    save(responses, tmp_path / "r.nc")
    save(predictions, tmp_path / "p.nc")
    options = json.dumps({"n_bootstraps": 100, "n_permutations": 100, "brainscore": True})
    status, _, err = run("evaluate", "score", "--responses", tmp_path / "r.nc", "--predictions",
                         tmp_path / "p.nc", "--options", options, "--out", tmp_path / "s.nc")  # fmt: skip
    assert (
        status == 2
        and len(err.splitlines()) == 1
        and "mean of 10 splits, and the predictions are of 2" in err
    )
    assert not (tmp_path / "s.nc").exists()
    config = Config.model_validate({
        "label": "x", "dataset": {"name": "v4", "root": "x"}, "subjects": ["1"], "evaluation": {"brainscore": True},
        "split": {"kind": "stimulus"}, "models": {"g": {"extractor": "gabor"}},
    })  # fmt: skip
    with pytest.raises(InputError, match="ten random splits of 90 to 10"):
        check(config)
