"""Sites of integration: found where vision and language are multiplied, nowhere else; what is said of them."""

import numpy as np
import pytest
import xarray as xr

from neuroenc.errors import ContractError, InputError
from neuroenc.evaluation.integration import (
    inverse_effectiveness,
    one_sided,
    over_patients,
    published_sites,
    sites,
    table_of_sites,
)


def test_one_sided_p():
    assert one_sided([0.1, -0.1], [0.02, 0.02]).tolist() == [0.01, 0.99]
    assert np.isnan(one_sided([np.nan], [np.nan])).all()


def test_every_comparison_must_hold_and_in_one_window():
    p = np.full((3, 5, 4), 0.9)
    p[:, 0, 2] = 1e-4  # beats all, in one window
    p[:2, 1, :] = 1e-4  # not the joined model: a sum
    p[[0, 1, 2], 2, [0, 1, 2]] = 1e-4  # each in another window
    p[:, 4] = np.nan
    found = sites(p)
    assert found.site.tolist() == [True, False, False, False, False]
    assert found.window[[0, 4]].tolist() == [2, -1] and np.isnan(found.q[4])
    assert found.p[0] == pytest.approx(4e-4) and found.q[0] == pytest.approx(4 * 4e-4)


def test_windows_that_are_not_known_count_for_nothing():
    p = np.full((2, 1, 5), 0.5)
    p[:, 0, 0] = 0.004
    p[0, 0, 1:4] = np.nan
    assert sites(p).p[0] == pytest.approx(0.008)
    assert sites(p[..., 0]).p[0] == pytest.approx(0.004)  # without windows


def test_false_discovery_is_held_where_windows_are_alike():
    """400 electrodes, a tenth of which are sites, windows correlated as sliding averages are."""
    from scipy.stats import norm

    rng, false, found = np.random.default_rng(0), [], []
    for _ in range(20):
        noise = rng.standard_normal((3, 400, 100))
        z = np.stack([noise[..., k : k + 60].sum(2) for k in range(40)], 2) / np.sqrt(60)
        z[:, :40, 10:30] += 5
        z[:2, 40:80] += 5  # sums
        site = sites(norm.sf(z)).site
        found.append(site[:40].mean())
        false.append(site[40:].sum() / max(site.sum(), 1))
    assert np.mean(found) > 0.9 and np.mean(false) < 0.05


def test_the_published_rule():
    rng = np.random.default_rng(0)
    r = rng.normal(0.1, 0.01, (4, 161))
    low = r - 0.05
    nothing = rng.normal(0, 0.01, (4, 161)), np.full((4, 161), -0.05)
    low[1, 9:] = -0.1  # nine windows
    worse = r + 0.05, low + 0.05
    assert published_sites((r, low), [nothing, nothing]).tolist() == [True, False, True, True]
    assert not published_sites((r, low), [nothing, worse]).any()
    same = r + rng.normal(0, 0.02, r.shape), low
    assert published_sites((r, low), [same]).tolist() == [False] * 4
    better = (r + 0.01, low), [(r, low), nothing]
    assert published_sites(*better, fewest=5).tolist() == [True] * 4


def comparison(gain, p, ids=("a", "b"), first="one", second="two"):
    dims = ("neuroid", "time_bin")
    return xr.Dataset({"difference": (dims, np.array(gain)), "p": (dims, np.array(p))},
                      {"neuroid_id": ("neuroid", list(ids))}, {"first": first, "second": second})  # fmt: skip


def test_table_over_patients():
    good = comparison([[0.2, 0.3], [0.1, 0.1]], [[0.5, 0.001], [0.9, 0.9]])
    less = comparison([[0.2, 0.1], [-0.1, 0.1]], [[0.5, 0.002], [0.001, 0.9]], first="other")
    table = table_of_sites({"1": [good, less], "2": [good, less]})
    assert table["site"].tolist() == [True, False] * 2 and table["patient"].tolist() == ["1", "1", "2", "2"]
    assert table["gain"][0] == 0.1 and table["window"][0] == 1 and table["p"][0] == pytest.approx(0.002)
    with pytest.raises(ContractError, match="other pairs"):
        table_of_sites({"1": [good, less], "2": [less, good]})
    with pytest.raises(ContractError, match="other pairs"):
        table_of_sites({"1": [good], "2": []})
    with pytest.raises(ContractError, match="other electrodes"):
        table_of_sites({"1": [good, comparison([[0.0]], [[1.0]], ids="c", first="other")]})


def test_patients_are_random():
    from scipy.stats import ttest_1samp

    rng = np.random.default_rng(0)
    patient = np.repeat(["1", "2", "3"], [100, 10, 50])
    values = rng.normal(0.1, 0.02, 160)
    values[3] = np.nan
    found = over_patients(values, patient)
    each = [np.nanmean(values[patient == p]) for p in "123"]
    reference = ttest_1samp(each, 0)
    assert found.mean == pytest.approx(np.mean(each)) and found.p == pytest.approx(reference.pvalue)
    interval = reference.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert list(found.each) == ["1", "2", "3"]
    with pytest.raises(InputError, match="1 patients say nothing of others"):
        over_patients(values[:50], patient[:50])


def test_many_electrodes_of_one_patient_prove_nothing():
    """A patient effect without a mean: pooled electrodes would find it nearly always."""
    rng, p = np.random.default_rng(1), []
    for _ in range(400):
        effect = rng.normal(0, 0.1, 5)
        values = np.repeat(effect, 40) + rng.normal(0, 0.02, 200)
        p.append(over_patients(values, np.repeat(list("12345"), 40)).p)
    assert 0.03 < np.mean(np.array(p) < 0.05) < 0.075


@pytest.mark.parametrize("slope", [0.0, -0.6])
def test_inverse_effectiveness_without_regression_to_the_mean(slope):
    rng, p, rho, same = np.random.default_rng(2), [], [], []
    patient = np.repeat(["1", "2", "3"], 20)
    for _ in range(100):
        true = rng.uniform(0.05, 0.25, 60)
        noise, more = rng.normal(0, 0.05, (2, 2, 60))
        unimodal = true + noise
        multimodal = true + 0.1 + slope * true + more
        found = inverse_effectiveness(unimodal, multimodal, patient, n=200)
        p.append(found.p)
        rho.append(found.rho)
        same.append(found.rho_same)
    assert np.mean(same) < -0.3  # noise alone
    significant = np.mean(np.array(p) < 0.05)
    if slope:
        assert significant > 0.9 and np.mean(rho) < -0.3
    else:
        assert significant <= 0.1 and abs(np.mean(rho)) < 0.05
