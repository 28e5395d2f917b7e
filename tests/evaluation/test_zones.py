"""Zones by unique variance: against a loop over drawn stimuli, under the null, with missing values, over people."""

import numpy as np
import pytest
import xarray as xr

from neuroenc.errors import ContractError
from neuroenc.evaluation.effects import FEW
from neuroenc.evaluation.scores import r2_score
from neuroenc.evaluation.statistics import expansion, resample
from neuroenc.evaluation.zones import Held, unique_shares, zone_rows
from neuroenc.figures.zones import draw_zones

IDS = np.array([f"p{i:03d}" for i in range(200)])


def held(parts, n=200, folds=1, seed=0):
    """Responses that are sums of spaces' parts, each of a variance, and noise of variance 1."""
    rng = np.random.default_rng(seed)
    signals = np.sqrt(np.asarray(parts, float))[:, None] * rng.normal(size=(len(parts), n, len(parts[0])))
    truth = signals.sum(0) + rng.normal(size=signals.shape[1:])
    whole = signals.sum(0) + 0.2 * rng.normal(size=truth.shape)  # a fit has an error of its own
    without = np.stack([signals.sum(0) - s + 0.2 * rng.normal(size=truth.shape) for s in signals])
    return Held(IDS[:n], np.sort(np.arange(n) % folds), truth, whole, without)


def shares(found, n=1000, seed=0, **groups):
    samples = resample(found.stimulus, found.fold, n=n, seed=seed)
    masks = {"all": np.ones(found.truth.shape[1], bool)} | groups
    return {k: v for k, (_, v) in unique_shares(found, samples, masks, 0.05).items()}, samples


def test_samples_are_drawn_stimuli():
    found = held([[0.5, 0.1], [0.1, 0.3], [0.2, 0.1]], n=60)
    got, samples = shares(found, n=100)
    rows = [np.repeat(np.arange(60), w.astype(int)) for w in samples.weight]
    for k, without in enumerate(found.without):
        expected = [
            r2_score(found.truth[r], found.whole[r]) - r2_score(found.truth[r], without[r]) for r in rows
        ]
        direct = r2_score(found.truth, found.whole) - r2_score(found.truth, without)
        expected = direct + expansion(60) * (expected - np.mean(expected, 0))
        np.testing.assert_allclose(
            got["unique"][k, :, 1:].T, np.quantile(expected, [0.025, 0.975], axis=0), atol=1e-9
        )
        np.testing.assert_allclose(got["unique"][k, :, 0], direct, atol=1e-12)
        np.testing.assert_allclose(got["region_unique"][k, 0, 0], direct.mean(), atol=1e-12)
        np.testing.assert_allclose(got["region_unique_sample"][k, 0], np.mean(expected, axis=1), atol=1e-9)


def test_the_largest_is_named_and_equal_or_no_shares_are_undecided():
    sure, equal, none = [0.6, 0.05, 0.05], [0.3, 0.3, 0.0], [0.0, 0.0, 0.0]
    parts = np.array([sure] * 40 + [equal] * 40 + [none] * 40).T
    zone = shares(held(parts))[0]["zone"]
    assert (zone[:40] == 0).mean() > 0.9
    assert (zone[40:] != -1).mean() <= 0.05


@pytest.mark.parametrize("folds", [1, 4])
def test_neuroids_of_two_equal_shares_are_named_as_often_as_p_says(folds):
    parts = np.full((3, 400), 0.2)
    parts[2] = 0.02
    rate = np.mean(
        [(shares(held(parts, folds=folds, seed=s), seed=s)[0]["zone_p"] <= 0.05).mean() for s in range(3)]
    )
    assert rate <= 0.05


def test_what_is_missing_or_constant_is_in_no_zone():
    found = held([[0.5] * 4, [0.1] * 4, [0.1] * 4])
    found.truth[:, 1] = np.nan
    found.truth[:, 2] = 1.0
    found.truth[:50, 3] = np.nan
    got, _ = shares(found)
    assert got["largest"].tolist() == [0, -1, -1, 0] and got["zone"][[1, 2]].tolist() == [-1, -1]
    kept = Held(*(v[..., 50:, 3:] if v.ndim > 1 else v[50:] for v in found))
    np.testing.assert_allclose(got["unique"][:, 3, 0], shares(kept)[0]["unique"][:, 0, 0], atol=1e-12)
    np.testing.assert_allclose(got["region_unique"][:, 0, 0], got["unique"][:, [0, 3], 0].mean(1))


def subject(seed, spaces=("a", "b", "c")):
    found = held(np.array([[0.6, 0.05, 0.05]] * 20 + [[0.05, 0.6, 0.05]] * 20).T, seed=seed)
    inside = np.arange(40) < 20
    samples = resample(found.stimulus, found.fold, n=400)
    made = unique_shares(found, samples, {"all": np.ones(40, bool), "A": inside}, 0.05)
    return xr.Dataset(made, {
        "space_name": ("space", list(spaces)), "region_name": ("region", ["all", "A"]),
        "roi_A": ("neuroid", inside),
    })  # fmt: skip


@pytest.mark.parametrize("n", [1, 3, FEW])
def test_the_table_counts_zones_and_gives_people_together(n):
    found = {f"s{i}": subject(i) for i in range(n)}
    rows = zone_rows(found)
    top = "all" if n > 1 else "s0"
    row = {(r["region"], r["space"]): r for r in rows if r["subject"] == top}
    assert row["A", "a"]["in_zone"] > 15 * n and row["A", "b"]["in_zone"] == 0
    assert row["all", "a"]["neuroids"] == 40 * n
    total = sum(row["all", space]["in_zone"] for space in "abc") + row["all", "a"]["undecided"]
    assert total == 40 * n
    assert row["A", "a"]["low"] < row["A", "a"]["unique"] < row["A", "a"]["high"]


def test_scores_of_another_command_are_refused():
    with pytest.raises(
        ContractError, match=r"scores of '02' hold no `space_name`.* `neuroenc encode partition`"
    ):
        zone_rows({"01": subject(0), "02": subject(1).drop_vars("space_name")})


def test_people_of_other_spaces_are_refused():
    with pytest.raises(ContractError, match="a, b, c; a, b, d"):
        zone_rows({"x": subject(0), "y": subject(1, ("a", "b", "d"))})


def test_the_bars_of_zones_are_their_shares(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr("neuroenc.figures.zones.style.save", lambda figure, path: drawn.append(figure))
    rows = zone_rows({"x": subject(0), "y": subject(1)})
    draw_zones(rows, tmp_path / "f.png")
    bars = {c.get_label(): [b.get_height() for b in c] for c in drawn[0].axes[1].containers}
    row = {(r["region"], r["space"]): r for r in rows if r["subject"] == "all"}
    assert bars["undecided"] == pytest.approx(
        [row[r, "a"]["undecided"] / row[r, "a"]["neuroids"] for r in ("all", "A")]
    )
