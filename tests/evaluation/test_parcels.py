"""Scores by parcel, and responses averaged by parcel, against the same by hand."""

import json

import numpy as np
import pandas as pd
import pytest

from neuroenc import splits
from neuroenc.arrays import load, make_features, make_responses, make_stimuli, parcels, save
from neuroenc.config import Evaluation, Ridge, RidgeDecoding, Split
from neuroenc.decoders.decode import decode
from neuroenc.encoders.encode import encode
from neuroenc.errors import ContractError, InputError
from neuroenc.evaluation.ceilings import estimate_ncsnr
from neuroenc.evaluation.evaluate import evaluate
from neuroenc.evaluation.parcels import average_parcels
from neuroenc.figures import parcels as tables
from neuroenc.figures import plots, summary

N_STIMULI, N_NEUROIDS, REPEATS = 60, 12, 3
PARCEL = np.array(["V1", "V1", "", "V2", "V1", "V2", "V2", "", "V1", "V3", "V3", "V1"])
SIDE = np.array(["L", "R"] * 6)


def made(seed=0, n_bins=None):
    """Responses of twelve voxels that follow four features, three times each."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((N_STIMULI, 4)).astype("f4")
    ids = np.array([f"s{i:02d}" for i in range(N_STIMULI)])
    order = np.tile(np.arange(N_STIMULI), REPEATS)
    shape = (len(order), N_NEUROIDS, *([n_bins] if n_bins else []))
    signal = (features @ rng.standard_normal((4, N_NEUROIDS)))[order]
    values = (signal[..., None] if n_bins else signal) + rng.standard_normal(shape)
    n = len(order)
    responses = make_responses(
        values,
        presentation={
            "stimulus_id": ids[order], "session": np.full(n, "1"), "run": np.zeros(n, int),
            "repetition": np.repeat(np.arange(REPEATS), N_STIMULI), "group": ids[order],
            "split": np.where(order < 40, "train", "test"),
        },
        neuroid={
            "neuroid_id": [f"a_{i}" for i in range(N_NEUROIDS)], "subject": np.full(N_NEUROIDS, "a"),
            "hemisphere": SIDE, "parcel": PARCEL, **{a: rng.random(N_NEUROIDS).astype("f4") for a in "xyz"},
            "ncsnr": np.full(N_NEUROIDS, 0.7, "f4"), "roi_early": PARCEL == "V1",
            "roi_half": np.arange(N_NEUROIDS) < 4,
        },
        attrs={"dataset": "made", "space": "func", "units": "z", "source": "{}", "grid_shape": np.array([9, 9, 9]),
               "affine": np.eye(4).ravel()},
        time_bin={"start": np.arange(n_bins) / 10, "stop": np.arange(1, n_bins + 1) / 10} if n_bins else None,
    )  # fmt: skip
    stimuli = make_stimuli(
        {"stimulus_id": ids, "group": ids, "split": np.where(np.arange(N_STIMULI) < 40, "train", "test"),
         "pixel_index": np.arange(N_STIMULI)}, attrs={"dataset": "made", "pixels": "none"},
    )  # fmt: skip
    contract = dict.fromkeys(
        ("model", "weights", "pooling", "shape", "normalisation", "pixel_range", "preprocessing"), "x"
    )
    given = make_features(features, stimulus_id=ids, layer=np.full(4, "l"), attrs={**contract, "layer": "l"})
    return responses, stimuli, given


def fitted(responses, stimuli, features):
    split = splits.make(stimuli, Split(kind="dataset", n_inner=3))
    predictions, _ = encode(responses, features, split, Ridge(alphas=(0, 3, 4)))
    options = Evaluation(n_bootstraps=200, n_permutations=100)
    return predictions, evaluate(responses, predictions, options)


@pytest.fixture(scope="module")
def scored():
    responses, stimuli, features = made()
    return (responses, *fitted(responses, stimuli, features))


def by_hand(responses, predictions):
    """Correlation of each voxel's mean over repeats with its prediction, over the test stimuli."""
    ids = predictions["stimulus_id"].values
    mean = np.stack([responses["response"].values[responses["stimulus_id"].values == i].mean(0) for i in ids])
    return np.array(
        [np.corrcoef(a, b)[0, 1] for a, b in zip(mean.T, predictions["prediction"].values.T, strict=True)]
    )


def test_scores_by_parcel_are_means_over_its_voxels(scored, tmp_path):
    responses, predictions, scores = scored
    r = by_hand(responses, predictions)
    keys = list(zip(scores["parcel_hemisphere"].values, scores["parcel_name"].values, strict=True))
    assert keys == list(parcels(responses)) and len(set(keys)) == 6 and "" not in scores["parcel_name"].values
    for (side, name), (mean, low, high) in zip(keys, scores["parcel_r"].values, strict=True):
        own = r[(side == SIDE) & (name == PARCEL)]
        assert mean == pytest.approx(own.mean(), rel=1e-4) and low < mean < high
    save(scores, tmp_path / "s.nc")
    assert load(tmp_path / "s.nc", "scores").identical(scores)


def test_intervals_of_a_parcel_are_those_of_its_voxel_where_it_has_one(scored):
    scores = scored[2]
    alone = [k for k, (_, m) in enumerate(parcels(scores).items()) if m.sum() == 1]
    assert alone
    for k in alone:
        voxel = int(np.flatnonzero(list(parcels(scores).values())[k])[0])
        expected = [scores[n].values[voxel] for n in ("r_low", "r_high")]
        np.testing.assert_allclose(scores["parcel_r"].values[k, 1:], expected, rtol=1e-6)


def test_the_summary_and_the_table_give_them(scored, tmp_path):
    responses, predictions, scores = scored
    paths = {k: tmp_path / f"x.{k}" for k in ("json", "parquet", "html", "csv")}
    summary.summarise(
        {("a", "made"): scores}, label="x", command="x", seed=0, out=paths["json"], table=paths["parquet"],
        page=paths["html"], parcels=paths["csv"],
    )  # fmt: skip
    r, found = by_hand(responses, predictions), pd.read_csv(paths["csv"])
    assert len(found) == 6
    for line in found.itertuples():
        own = (line.hemisphere == SIDE) & (line.parcel == PARCEL)
        assert line.n == own.sum() and line.r == pytest.approx(r[own].mean(), rel=1e-4)
        ceiling = np.sqrt(scores["ceiling"].values[own])
        assert line.ceiling_r == pytest.approx(ceiling.mean(), rel=1e-5)
        assert line.normalised_r == pytest.approx((r[own] / ceiling).mean(), rel=1e-4)
    rows = {
        r["region"]: r for r in json.loads(paths["json"].read_text())["rows"] if r["name"] == "mean test r"
    }
    assert list(rows) == ["all", "early", "half", "V1 L", "V1 R", "V2 R", "V2 L", "V3 R", "V3 L"]
    assert rows["V1 L"]["value"] == pytest.approx(r[(SIDE == "L") & (PARCEL == "V1")].mean(), rel=1e-4)
    tidy = pd.read_parquet(paths["parquet"])
    assert tidy["parcel"].tolist() == PARCEL.tolist()


def test_many_parcels_are_left_to_the_table(scored, monkeypatch, tmp_path):
    scores = scored[2]
    plots.draw_regions({"made": scores}, tmp_path / "few.png")
    assert (tmp_path / "few.png").stat().st_size > 0 and "V1 L" in tables.groups(scores)
    monkeypatch.setattr(tables, "FEW", 5)
    assert list(tables.groups(scores)) == ["all", "early", "half"]
    assert len(tables.parcel_table(scores, "a", "made")) == 6


def test_averages_are_numpys():
    responses, _, _ = made()
    found = average_parcels(responses)
    keys = list(zip(found["hemisphere"].values, found["parcel"].values, strict=True))
    assert keys == [(k[-1], k[:2]) for k in ("V1 L", "V1 R", "V2 R", "V2 L", "V3 R", "V3 L")]
    values = responses["response"].values.astype(np.float64)
    for k, (side, name) in enumerate(keys):
        own = (side == SIDE) & (name == PARCEL)
        np.testing.assert_allclose(
            found["response"].values[:, k], values[:, own].mean(1), rtol=1e-5, atol=1e-6
        )
        assert found["n_voxels"].values[k] == own.sum()
        for axis in "xyz":
            assert found[axis].values[k] == pytest.approx(responses[axis].values[own].mean(), rel=1e-5)
        expected = estimate_ncsnr(values[:, own].mean(1, keepdims=True), responses["stimulus_id"].values)
        assert found["ncsnr"].values[k] == pytest.approx(expected[0], rel=1e-4)
        assert found["roi_early"].values[k] == (name == "V1")
        assert found["roi_half"].values[k] == ((np.arange(N_NEUROIDS) < 4)[own].mean() > 0.5)
    for coord in ("stimulus_id", "session", "run", "repetition", "split", "group"):
        assert found[coord].values.tolist() == responses[coord].values.tolist()
    assert "grid_shape" not in found.attrs and found.attrs["units"] == "z"


def test_encoders_and_decoders_run_on_averages():
    responses, stimuli, features = made()
    averaged = average_parcels(responses)
    predictions, scores = fitted(averaged, stimuli, features)
    assert scores.sizes["neuroid"] == 6
    np.testing.assert_allclose(
        scores["score"].sel(metric="pearson_r").values, by_hand(averaged, predictions), rtol=1e-4
    )
    # a neuroid is its parcel
    np.testing.assert_allclose(scores["parcel_r"].values[:, 0], scores["score"].values[0], rtol=1e-5)
    noise = scores["ceiling"].values
    assert (noise > 0).all() and (noise < 1).all()
    split = splits.make(stimuli, Split(kind="dataset", n_inner=3))
    embeddings = decode(averaged, features, split, RidgeDecoding(n_components=3))
    assert embeddings.sizes["presentation"] == 20


def test_averages_over_time_bins():
    responses, _, _ = made(n_bins=3)
    found = average_parcels(responses)
    own = (SIDE == "R") & (PARCEL == "V1")
    k = next(i for i, key in enumerate(parcels(responses)) if key == ("R", "V1"))
    np.testing.assert_allclose(
        found["response"].values[:, k], responses["response"].values[:, own].mean(1), rtol=1e-5, atol=1e-6
    )
    assert np.isnan(found["ncsnr"].values).all() and found["stop"].values.tolist() == [0.1, 0.2, 0.3]


def test_a_voxel_that_lacks_values_takes_no_part_and_a_lost_trial_stays_lost():
    responses, _, _ = made()
    values = responses["response"].values
    own = np.flatnonzero((SIDE == "L") & (PARCEL == "V1"))
    values[5:9, own[0]] = np.nan  # no data in some trials
    values[20] = np.nan  # a trial that was lost
    lone = np.flatnonzero((SIDE == "L") & (PARCEL == "V3"))
    values[:, lone] = np.nan
    found = average_parcels(responses)
    keys = list(zip(found["hemisphere"].values, found["parcel"].values, strict=True))
    k = keys.index(("L", "V1"))
    np.testing.assert_allclose(
        found["response"].values[:, k], values[:, own[1:]].mean(1), rtol=1e-5, atol=1e-6
    )
    assert found["n_voxels"].values[k] == len(own) - 1
    assert np.isnan(found["response"].values[20]).all() and np.isfinite(found["response"].values[:20]).all()
    assert ("L", "V3") not in keys and found.attrs["n_parcels_without_data"] == 1
    values[:] = np.nan
    with pytest.raises(InputError, match="No voxel of 6 parcels has a value throughout"):
        average_parcels(responses)


def test_surfaces_show_the_parcel_under_each_vertex():
    responses, _, _ = made()
    under = np.array([3, -1, 2, 0, 11, 7])
    responses["surface_L"] = "vertex_L", under.astype("i4")
    found = average_parcels(responses)
    shown = [found["parcel"].values[i] if i >= 0 else "" for i in found["surface_L"].values]
    assert shown == [PARCEL[i] if i >= 0 else "" for i in under]


def test_a_label_that_is_no_text_breaks_the_contract(tmp_path):
    responses, _, _ = made()
    with pytest.raises(ContractError, match="'parcel' has dtype int64, expected text"):
        save(responses.assign_coords(parcel=("neuroid", np.arange(N_NEUROIDS))), tmp_path / "x.nc")


def test_scores_without_an_atlas_have_no_parcels():
    responses, stimuli, features = made()
    _, scores = fitted(responses.drop_vars("parcel"), stimuli, features)
    assert "parcel_r" not in scores and parcels(scores) == {}
    assert list(tables.groups(scores)) == ["all", "early", "half"]
