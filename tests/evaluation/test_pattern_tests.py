"""Whose patterns are best: false positives of equal fits, a known gain, ties, people, order of rows."""

import numpy as np
import pandas as pd
import pytest

from neuroenc.arrays import save
from neuroenc.config import Comparison, Evaluation
from neuroenc.errors import InputError
from neuroenc.evaluation import compare, picture_r, two_versus_two
from neuroenc.evaluation.pairs import METRICS
from neuroenc.evaluation.pattern_tests import pattern_rows, pattern_samples
from neuroenc.evaluation.statistics import resample
from tests.conftest import toy_responses
from tests.evaluation.test_comparison import names, predictions

OPTIONS = Evaluation(pairs=True, n_bootstraps=400, n_permutations=100)


def world(gains, n=80, k=16, folds=1, seed=0):
    """Comparison of fits, c of them, whose signal is `gains`, in responses of unit variance."""
    rng = np.random.default_rng(seed)
    ids, y = names(n), rng.normal(size=(n, k))
    fold = np.sort(np.arange(n) % folds)
    fits = {f"f{i}": predictions(g * y + rng.normal(size=y.shape), ids, fold) for i, g in enumerate(gains)}
    trained = np.ones((folds, n), bool)
    fits = {
        name: fit.drop_vars(["training", "training_stimulus_id"]).assign(
            training=(("fold", "stimulus"), trained), training_stimulus_id=("stimulus", ids)
        )
        for name, fit in fits.items()
    }
    asked = Comparison(better="f0", than=list(fits)[1:])
    return toy_responses(rng, ids, y.astype("f4")), fits, asked


def of(rows, **wanted):
    return [r for r in rows if all(r[k] == v for k, v in wanted.items())]


def test_scores_are_those_of_the_patterns_and_samples_are_paired():
    responses, fits, asked = world([0.4, 0.4])
    fits["f1"] = fits["f0"].copy(deep=True)
    found = compare(responses, fits, asked, OPTIONS)
    y, prediction = responses["response"].values, fits["f0"]["prediction"].values
    prediction = (prediction - y.mean(0)) / y.std(0)
    y = (y - y.mean(0)) / y.std(0)
    expected = two_versus_two(y, prediction), picture_r(y, prediction).mean()
    assert found["pattern_fit_score"].shape == (2, 2, found.sizes["region"])
    np.testing.assert_allclose(found["pattern_fit_score"][0, :, 0], expected, atol=1e-5)
    np.testing.assert_array_equal(found["pattern_sample"][0], found["pattern_sample"][1])
    rows = pattern_rows({"s": found}, "equal")
    assert all(r["p"] == 1 and not r["best"] and r["difference"] == 0 for r in rows)


@pytest.mark.parametrize("folds", [1, 4])
def test_equal_fits_are_called_the_best_as_often_as_they_may_be(folds):
    """p below .05 in 5 % of 200 draws of two equal fits: 2 to 9 %; folds of one another's training are wider."""
    p = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        y = rng.normal(size=(60, 12))
        a, b = (0.3 * y + rng.normal(size=y.shape) for _ in range(2))
        samples = resample(names(60), np.arange(60) % folds, n=200, seed=seed)
        sample = pattern_samples(y, [a, b], samples, {"all": np.ones(12, bool)})[1]
        p.append(((sample[0] <= sample[1]).sum(-1) + 1)[:, 0] / 201)
    rate = (np.array(p) <= 0.05).mean(0)
    assert (rate <= 0.09).all()
    if folds == 1:
        assert (rate >= 0.02).all()


def test_a_known_gain_is_found_and_its_fit_named():
    rows = pattern_rows({"s": compare(*world([0.3, 0.8, 0.3]), OPTIONS)}, "gain")
    for metric in METRICS:
        best = of(rows, metric=metric, best=True)
        assert {r["model"] for r in best} == {"f1"} and {r["region"] for r in best} == {"all", "A"}
        worse = of(rows, metric=metric, model="f0", region="all")[0]
        assert worse["rival"] == "f1" and worse["difference"] < 0 and worse["p"] > 0.5


def test_over_people_as_random_effects():
    people = {f"s{i}": compare(*world([0.6, 0.3, 0.3], folds=3, seed=i), OPTIONS) for i in range(5)}
    rows = pattern_rows(people, "gain")
    over = of(rows, subject="all", metric="picture_r", region="all")
    assert [r["model"] for r in over if r["best"]] == ["f0"]
    assert over[0]["method"] == "random effects of 5 subjects, t of 4"
    single = [
        r["score"] for r in of(rows, metric="picture_r", region="all", model="f0") if r["subject"] != "all"
    ]
    assert over[0]["low"] < np.mean(single) < over[0]["high"] and len(single) == 5
    assert over[0]["q"] == pytest.approx(min(1, 3 * over[0]["p"]))  # the smallest of three


def test_another_order_of_rows_is_the_same_and_missing_neuroids_do_not_count():
    responses, fits, asked = world([0.5, 0.3])
    found = compare(responses, fits, asked, OPTIONS)
    turned = {k: v.isel(presentation=slice(None, None, -1)) for k, v in fits.items()}
    again = compare(responses.isel(presentation=slice(None, None, -1)), turned, asked, OPTIONS)
    np.testing.assert_allclose(again["pattern_sample"], found["pattern_sample"], atol=1e-6)
    responses["response"][:, 2:] = np.nan
    few = compare(responses, fits, asked, OPTIONS)
    assert np.isnan(few["pattern_sample"]).all() and pattern_rows({"s": few}, "few") == []


def test_comparisons_without_patterns_are_refused():
    found = compare(*world([0.5, 0.3]), OPTIONS.model_copy(update={"pairs": False}))
    with pytest.raises(
        InputError, match=r"holds no patterns\. Compare again with evaluation: \{pairs: true\}"
    ):
        pattern_rows({"s": found}, "label")


def test_the_command_writes_a_table_and_a_figure(tmp_path, run):
    for subject in "ab":
        save(compare(*world([0.6, 0.3]), OPTIONS), tmp_path / f"{subject}.nc")
    table, figure = tmp_path / "patterns.csv", tmp_path / "patterns.png"
    run(
        "results", "comparisons", f"--comparison=a:x={tmp_path}/a.nc", f"--comparison=b:x={tmp_path}/b.nc",
        f"--table={tmp_path}/t.csv", f"--patterns={table}", f"--pattern-figure=x={figure}",
    )  # fmt: skip
    found = pd.read_csv(table)
    assert set(found["subject"]) == {"a", "b", "all"} and set(found["metric"]) == set(METRICS)
    assert figure.stat().st_size > 10_000
