"""Differences over subjects: by the equations, by scipy, and their coverage."""

import numpy as np
import pytest
from scipy.stats import t, ttest_1samp

from neuroenc.config import Comparison, Evaluation
from neuroenc.errors import ContractError
from neuroenc.evaluation import compare
from neuroenc.evaluation.effects import ALL, comparison_rows, hierarchical, random_effects, spread
from neuroenc.evaluation.statistics import fold_weights
from tests.conftest import toy_responses
from tests.evaluation.test_comparison import names, predictions


def test_subjects_measured_without_error_are_a_t_test():
    values = np.array([0.1, 0.05, 0.2, 0.12])
    found = random_effects(values, np.zeros(4))
    expected = ttest_1samp(values, 0, alternative="greater")
    assert found.mean == pytest.approx(values.mean(), abs=1e-9)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-6)
    both = ttest_1samp(values, 0).confidence_interval(0.95)
    np.testing.assert_allclose(found.interval, both, rtol=1e-6)


def test_fits_that_predict_the_same_differ_by_nothing():
    found = random_effects(np.zeros(3), np.zeros(3))
    assert (found.mean, found.p) == (0, 0.5) and found.interval == pytest.approx((0, 0), abs=1e-12)
    found = random_effects(np.full(2, 0.1), np.zeros(2))
    assert found.mean == pytest.approx(0.1) and found.p < 1e-6


def test_the_equations_by_hand():
    y, v = np.array([0.3, 0.1, 0.5]), np.array([0.01, 0.04, 0.02])
    w = 1 / v
    q = (w * (y - (w * y).sum() / w.sum()) ** 2).sum()
    tau2 = max(0, (q - 2) / (w.sum() - (w**2).sum() / w.sum()))
    w = 1 / (v + tau2)
    mean = (w * y).sum() / w.sum()
    spread = np.sqrt(max(1, (w * (y - mean) ** 2).sum() / 2) / w.sum())
    found = random_effects(y, v)
    assert found.mean == pytest.approx(mean) and found.p == pytest.approx(t.sf(mean / spread, 2))
    assert found.interval[1] == pytest.approx(mean + t.ppf(0.975, 2) * spread)


@pytest.mark.parametrize("n_subjects", [3, 6, 14])
def test_intervals_and_p_of_subjects_that_differ(n_subjects):
    """Means over subjects about .05 or 0: intervals hold them, and p of nothing is below .05 in at most that."""
    rng = np.random.default_rng(0)
    covered, positive = [], []
    for truth in (0.05, 0.0):
        for _ in range(400):
            error = rng.uniform(0.01, 0.05, n_subjects)
            values = truth + 0.04 * rng.normal(size=n_subjects) + error * rng.normal(size=n_subjects)
            if n_subjects < 10:
                found = random_effects(values, error**2)
            else:
                samples = values[:, None] + error[:, None] * rng.normal(size=(n_subjects, 300))
                found = hierarchical(values, samples, 0)
            covered.append(found.interval[0] <= truth <= found.interval[1])
            positive += [found.p <= 0.05] if truth == 0 else []
    assert np.mean(covered) > 0.92 and np.mean(positive) <= 0.085


def test_few_folds_do_not_undo_the_weights_of_subjects():
    """Samples of two folds have the tails of t with one degree of freedom, whose variance is anything."""
    normal = 0.02 * np.random.default_rng(0).normal(size=(1, 4000))
    np.testing.assert_allclose(spread(normal), 0.02, rtol=0.05)
    two = 0.02 * (fold_weights(np.random.default_rng(0), 4000, 2) / 2 @ np.array([1.0, -1.0]))
    np.testing.assert_allclose(spread(np.stack([two, 2 * two])), [0.0368, 0.0736], rtol=0.1)


def subject(seed, gain, shared):
    """Two models of a subject of 40 neuroids; the better is so by `gain` in half of them."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(120, 40))
    noise = np.where(np.arange(40) % 2 == 0, 1 - gain, 1.0)
    fits = {"a": predictions(y + rng.normal(size=y.shape), names(120)),
            "b": predictions(y + noise * rng.normal(size=y.shape), names(120))}  # fmt: skip
    options = Evaluation(n_permutations=500, n_bootstraps=200)
    return compare(
        toy_responses(rng, names(120), y.astype("f4")), fits, Comparison(better="b", than=["a"]), options
    )


def test_subjects_compared_in_other_fits_are_refused():
    one = subject(0, 0.3, shared=True)
    other = one.assign_coords(rival_name=("rival", ["c"]))
    for changed in (other, one.assign_attrs(metric="r2"), one.assign_attrs(better="a")):
        with pytest.raises(ContractError, match=r"Subjects were compared in other fits: .*'b' than 'a'"):
            comparison_rows({"01": one, "02": changed}, "label")


def test_rows_of_subjects_and_over_them():
    found = {s: subject(i, 0.6, shared=True) for i, s in enumerate(("01", "02", "03"))}
    rows = comparison_rows(found, "label")
    assert {r["subject"] for r in rows} == {"01", "02", "03", "all"}
    by = {(r["subject"], r["region"], r["rival"]): r for r in rows}
    own, over = by["01", "all", "a"], by["all", "all", "a"]
    assert own["difference"] == pytest.approx(found["01"]["region_difference"].values[0, 0, 0])
    assert own["method"] == "one subject, p by stimulus, intervals by stimulus"
    assert (
        "random effects of 3 subjects" in over["method"] and over["low"] < over["difference"] < over["high"]
    )
    assert over["p"] < 0.05 and not over["equivalent"] and not own["equivalent"]
    counts = by["all", "all", ALL]
    assert counts["neuroids"] == 120 and 40 <= counts["wins"] <= 66
    assert counts["wins_low"] <= 60 <= counts["wins_high"]
    assert counts["wins"] == pytest.approx(sum(by[s, "all", ALL]["wins"] for s in found), abs=6)
    assert len(comparison_rows({"01": found["01"]}, "one")) == 2 * found["01"].sizes["region"]
    many = {f"{i:02d}": subject(i, 0.0, shared=True) for i in range(10)}
    last = next(
        r
        for r in comparison_rows(many, "x")
        if (r["subject"], r["region"], r["rival"]) == ("all", "all", "a")
    )
    assert (
        "bootstrap of 10 subjects" in last["method"] and last["low"] < 0 < last["high"] and last["equivalent"]
    )
