"""Sites of integration: found where vision and language are multiplied, nowhere else; what is said of them."""

import numpy as np
import pytest
import xarray as xr

from neuroenc.errors import ContractError
from neuroenc.evaluation.integration import inverse_effectiveness, published_sites, table_of_sites


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


def comparison(gain, p, wins, rivals=("vision", "joined")):
    """As `compare` gives it, of two electrodes and three bins."""
    gain = np.stack([gain, np.zeros_like(gain)])
    return xr.Dataset(
        {"difference": (("metric", "rival", "neuroid", "time_bin"), gain),
         "p": (("rival", "neuroid", "time_bin"), p), "wins_p": ("neuroid", wins)},
        {"metric": ["pearson_r", "r2"], "rival_name": ("rival", list(rivals)), "neuroid_id": ("neuroid", ["a", "b"]),
         "x": ("neuroid", [1.0, 2.0]), "start": ("time_bin", [0.0, 0.1, 0.2])},
        {"better": "multimodal", "metric": "pearson_r", "delta": 0.01, "fdr_level": 0.05},
    )  # fmt: skip


def test_table_over_patients():
    gain = np.array([[[0.1, 0.3, 0.2], [0.1, 0.1, 0.1]], [[0.2, 0.2, 0.1], [0.0, np.nan, 0.1]]])
    p = np.array([[[0.5, 0.001, 0.001], [0.9, 0.9, 0.9]], [[0.001, 0.001, 0.001], [0.9, np.nan, 0.8]]])
    one, other = comparison(gain, p, [0.001, 0.9]), comparison(gain, p, [0.03, np.nan])
    table = table_of_sites({"1": one, "2": other})
    assert table["patient"].tolist() == ["1", "1", "2", "2"] and table["x"].tolist() == [1, 2, 1, 2]
    assert table["start"][:2].tolist() == [
        0.1,
        0.2,
    ]  # the largest gain over the best rival, of the smallest p
    assert table["gain"][0] == pytest.approx(0.2)
    # false discoveries over the electrodes of all patients together, those without a p left out
    assert table["q"].tolist()[:3] == pytest.approx([0.003, 0.9, 0.045]) and np.isnan(table["q"][3])
    assert table["site"].tolist() == [True, False, True, False]
    assert "start" not in table_of_sites({"1": one.isel(time_bin=0).drop_vars("start")})
    with pytest.raises(ContractError, match=r"compared in other fits: .*'language'"):
        table_of_sites({"1": one, "2": comparison(gain, p, [1, 1], rivals=("vision", "language"))})


def test_equal_electrodes_have_equal_ranks():
    """Doubled electrodes: whatever their order is, no rank goes with another by it."""
    rng = np.random.default_rng(0)
    r, order = np.round(rng.normal(size=(2, 2, 40)), 0), rng.permutation(40)
    patient = np.repeat(["1", "2"], 20)
    found = inverse_effectiveness(r[0], r[0] + r[1], patient)
    mixed = inverse_effectiveness(r[0][:, order], (r[0] + r[1])[:, order], patient[order])
    assert found.rho == pytest.approx(mixed.rho) and found.rho_same == pytest.approx(mixed.rho_same)


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


def test_one_electrode_a_patient_has_no_order_and_no_p():
    one, other = np.random.default_rng(0).random((2, 2, 4))
    found = inverse_effectiveness(one, other, list("abcd"))
    assert np.isnan(found.rho) and np.isnan(found.p) and np.isnan(found.rho_same)
    assert np.isnan(inverse_effectiveness(np.full((2, 4), np.nan), other, list("aabb")).p)
