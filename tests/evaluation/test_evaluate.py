import json
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image

from neuroenc import splits
from neuroenc.arrays import check, load, make_features, make_stimuli, save
from neuroenc.config import Evaluation, Ridge, Split
from neuroenc.decoders.match import likelihood
from neuroenc.decoders.retrieve import hits
from neuroenc.decoders.scores import match
from neuroenc.encoders.encode import encode
from neuroenc.errors import ContractError, InputError
from neuroenc.evaluation.evaluate import align, evaluate
from neuroenc.evaluation.identification import cosine, own_rank, pattern_similarity
from neuroenc.evaluation.scores import pearson_r
from neuroenc.figures import plots, summary
from neuroenc.ranking import ahead
from tests.conftest import toy_responses

OPTIONS = Evaluation(n_bootstraps=200, n_permutations=200)


@pytest.fixture
def scored(toy):
    stimuli, features, responses = toy
    responses["response"].values[:, 4] = 3.0
    split = splits.make(stimuli, Split(kind="stimulus", n_folds=2))
    predictions, _ = encode(responses, features, split, Ridge(alphas=(-1, 4, 8)))
    return responses, predictions, evaluate(responses, predictions, OPTIONS)


def test_scores_keep_their_contract(scored, tmp_path):
    _, _, scores = scored
    save(scores, tmp_path / "s.nc")
    assert load(tmp_path / "s.nc", "scores").identical(scores)


def test_fold_scores_are_plain_correlations(scored):
    responses, predictions, scores = scored
    row = {s: i for i, s in enumerate(responses["stimulus_id"].values)}
    for fold in (0, 1):
        rows = predictions["fold"].values == fold
        y = responses["response"].values[[row[s] for s in predictions["stimulus_id"].values[rows]]]
        expected = pearson_r(y, predictions["prediction"].values[rows])
        np.testing.assert_allclose(
            scores["fold_score"].sel(metric="pearson_r").values[fold], expected, rtol=1e-5
        )


def test_constant_neuroid_is_kept_as_nan_and_counted(scored):
    scores = scored[2]
    assert scores.sizes["neuroid"] == 6
    assert np.isnan(scores["score"].values[:, 4]).all()
    assert np.isnan(scores["q"].values[4])
    assert scores.attrs["n_without_score"] == 1
    assert np.isfinite(scores["region_r"].values).all()


def test_raw_beside_normalised(scored):
    scores = scored[2]
    raw, normalised = (scores["score"].sel(metric=m).values for m in ("pearson_r", "normalised_r"))
    # ncsnr is 1 and nothing is repeated: the ceiling is a half
    np.testing.assert_allclose(normalised, raw / np.sqrt(0.5), rtol=1e-5, atol=1e-6)
    low, high = scores["r_low"].values, scores["r_high"].values
    good = np.isfinite(raw)
    assert (low[good] < raw[good]).all() and (raw[good] < high[good]).all()
    assert scores["p"].values[good] == pytest.approx(1 / 201)


def test_identification_is_above_chance(scored):
    attrs = scored[2].attrs
    assert attrs["brain_to_image_chance"] == pytest.approx(1 / 24)
    assert attrs["brain_to_image_top1"] > 0.3


def test_time_bins(toy, tmp_path):
    stimuli, features, responses = toy
    values = responses["response"].values
    timed = toy_responses(np.random.default_rng(0), stimuli["stimulus_id"].values,
                          np.stack([values, values[::-1]], 2))  # fmt: skip
    split = splits.make(stimuli, Split(kind="stimulus"))
    predictions, _ = encode(timed, features, split, Ridge(alphas=(-1, 4, 8)))
    scores = evaluate(timed, predictions, OPTIONS)
    assert scores["score"].dims == ("metric", "neuroid", "time_bin")
    r = scores["score"].sel(metric="pearson_r").values
    assert r[:, 0].min() > 0.7 and np.abs(r[:, 1]).mean() < 0.3
    np.testing.assert_array_equal(scores["start"].values, timed["start"].values)
    for k, name in enumerate(scores["region_name"].values):
        members = np.ones(6, bool) if name == "all" else timed["roi_A"].values
        mean, low, high = scores["region_time_r"].values[k].T
        np.testing.assert_allclose(mean, r[members].mean(0), atol=1e-6)
        assert (low < mean).all() and (mean < high).all()
        assert (scores["region_time_p"].values[k] < 0.05).tolist() == [True, False]
    summary.summarise(
        {("s", "m"): scores}, label="t", command="c", seed=0, out=tmp_path / "s.json",
        table=tmp_path / "t.parquet", page=tmp_path / "p.html",
    )  # fmt: skip
    rows = json.loads((tmp_path / "s.json").read_text())["rows"]
    peak = next(x for x in rows if x["name"] == "highest mean test r of a time bin")
    assert peak["time"] == pytest.approx(0.05) and peak["significant_to"] == pytest.approx(0.05)
    assert len(pd.read_parquet(tmp_path / "t.parquet")) == 12
    plots.draw_time_course({"m": scores}, tmp_path / "f.png")
    assert np.asarray(Image.open(tmp_path / "f.png")).std() > 0


def test_files_that_do_not_belong_together_are_refused(scored):
    responses, predictions, _ = scored
    other = predictions.assign_coords(neuroid_id=("neuroid", [f"m{i}" for i in range(6)]))
    with pytest.raises(ContractError, match="differ in 6 neuroids, first 'n0' and 'm0'"):
        evaluate(responses, other, OPTIONS)
    with pytest.raises(ContractError, match="have 5 neuroids, the predictions 6"):
        evaluate(responses.isel(neuroid=slice(5)), predictions, OPTIONS)
    with pytest.raises(ContractError, match="predicted stimuli have no response, first 'p0"):
        evaluate(responses.isel(presentation=slice(60)), predictions, OPTIONS)


def test_a_given_ceiling_is_used_where_nothing_is_repeated(scored):
    responses, predictions, plain = scored
    given = responses.drop_vars("ncsnr").assign_coords(noise_ceiling=("neuroid", np.full(6, 0.8, "f4")))
    for method in ("ncsnr", "given"):
        scores = evaluate(given, predictions, OPTIONS.model_copy(update={"ceiling": method}))
        assert scores.attrs["ceiling_method"] == "given"
        np.testing.assert_allclose(scores["score"][2], plain["score"][0] / np.sqrt(0.8), rtol=1e-5)
    with pytest.raises(InputError, match="hold no `noise_ceiling`"):
        evaluate(responses, predictions, OPTIONS.model_copy(update={"ceiling": "given"}))
    with pytest.raises(ContractError, match="goes to 80, expected shares of variance"):
        check(given.assign_coords(noise_ceiling=("neuroid", np.full(6, 80, "f4"))), "responses")


def test_missing_responses_cost_only_themselves(scored, capsys):
    responses, predictions, plain = scored
    tested = predictions["stimulus_id"].values
    holes = responses.copy(deep=True)
    lost, hurt = (int(np.flatnonzero(responses["stimulus_id"].values == tested[k])[0]) for k in (0, 1))
    holes["response"].values[lost] = np.nan
    holes["response"].values[hurt, 2] = np.nan
    scores = evaluate(holes, predictions, OPTIONS)
    assert scores.attrs["missing_stimuli"] == tested[0] and scores.attrs["n_missing_stimuli"] == 1
    assert f"left out: {tested[0]}" in capsys.readouterr().out
    known = np.isfinite(plain["score"].values)
    assert (np.isfinite(scores["score"].values) == known).all()
    np.testing.assert_allclose(scores["score"].values[0], plain["score"].values[0], atol=0.05)


def test_the_layer_most_folds_choose_does_not_depend_on_a_set(scored):
    responses, predictions, _ = scored
    tied = predictions.copy(deep=True)
    tied["chosen_layer"].values[:] = [["second"] * 6, ["first"] * 6]
    assert evaluate(responses, tied, OPTIONS)["chosen_layer"].values.tolist() == ["first"] * 6


def test_identification_is_standardised_by_the_stimuli_that_were_fitted(toy):
    """Stimuli that a fold neither tests nor fits, as those near a tested stretch, have no say."""
    stimuli, features, responses = toy
    responses["response"].values[:] += 20 * np.arange(6) - 5
    split = splits.make(stimuli, Split(kind="stimulus", test_fraction=0.3))
    side, inner = split["side"].values, split["inner"].values
    unused = np.flatnonzero(side[0] == splits.TRAIN)[:40]
    side[0, unused], inner[0, unused] = splits.UNUSED, -1
    predictions, _ = encode(responses, features, split, Ridge(alphas=(-1, 4, 8)))
    wild = responses.copy(deep=True)
    wild["response"].values[unused] = 500 * np.arange(6)
    scores = evaluate(wild, predictions, OPTIONS).attrs
    train, test = (np.flatnonzero(side[0] == k) for k in (splits.TRAIN, splits.TEST))
    y, p = responses["response"].values.astype(float), predictions["prediction"].values
    assert predictions["stimulus_id"].values.tolist() == stimuli["stimulus_id"].values[test].tolist()
    a, b = ((v - y[train].mean(0)) / y[train].std(0) for v in (y[test], p))
    weight = predictions["validation_r2"].values[0].max(0)
    covariance = np.cov(np.concatenate([a, b]), aweights=weight)
    similarity = (covariance / np.sqrt(np.outer(*2 * [np.diag(covariance)])))[: len(test), len(test) :]
    own = np.diag(similarity)[:, None]
    for k in (1, 5):
        assert scores[f"brain_to_image_top{k}"] == pytest.approx(((similarity > own).sum(1) < k).mean())
    assert 0.2 < scores["brain_to_image_top1"] < 1
    found = match(wild, predictions, n_bootstraps=10)
    assert found == match(responses, predictions, n_bootstraps=10)


@pytest.mark.parametrize("n_neuroids", [1, 2, 7, 300])
def test_a_prediction_that_says_the_same_of_all_identifies_nothing(n_neuroids):
    """Products of equal numbers round to others, by where they stand in a matrix."""
    rng = np.random.default_rng(n_neuroids)
    measured, residual = rng.normal(size=(2, 203, n_neuroids))
    same = np.repeat(rng.normal(size=(1, n_neuroids)), 203, 0)
    if n_neuroids > 2:
        assert (own_rank(measured, same) == 202).all()
        assert hits(cosine(measured, same), 202).sum() == 0
    assert (ahead(pattern_similarity(measured, same)) == 202).all()
    assert (ahead(likelihood(measured, same, residual)) == 202).all()


def test_scores_of_many_stimuli_take_no_matrix_of_their_pairs(toy):
    rng = np.random.default_rng(0)
    n, v = 4000, 40
    ids = np.array([f"p{i:04d}" for i in range(n)])
    signal = rng.normal(size=(n, v)).astype("f4")
    responses = toy_responses(rng, ids, signal + 3 * rng.normal(size=(n, v)))
    features = make_features(signal[:, :8], stimulus_id=ids, layer=np.full(8, "a"), attrs=toy[1].attrs)
    stimuli = make_stimuli(
        {"stimulus_id": ids, "pixel_index": np.arange(n), "split": np.full(n, "train"), "group": ids},
        attrs={"dataset": "toy", "pixels": "none"},
    )  # fmt: skip
    split = splits.make(stimuli, Split(kind="kfold", n_folds=4))
    predictions, _ = encode(responses, features, split, Ridge(alphas=(1, 1, 1)))
    tracemalloc.start()
    try:
        scores = evaluate(responses, predictions, Evaluation(n_bootstraps=100, n_permutations=100))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < n**2 * 8 / 2  # 64 MB
    assert 1 / 1000 < scores.attrs["brain_to_image_top1"] < 0.5


def test_blocks_change_no_score(scored, monkeypatch):
    responses, predictions, whole = scored
    monkeypatch.setattr("neuroenc.blocks.BLOCK_BYTES", 2000)
    parts = evaluate(responses, predictions, OPTIONS)
    xr.testing.assert_allclose(parts, whole, rtol=1e-12)
    assert parts.attrs == whole.attrs
    for name in ("p", "q", "score", "fold_score", "ceiling", "chosen_layer"):
        np.testing.assert_array_equal(parts[name], whole[name])


def test_responses_in_a_file_are_scored_in_blocks_as_those_in_memory(toy, tmp_path, monkeypatch):
    stimuli, features, responses = toy
    values = responses["response"].values
    timed = toy_responses(
        np.random.default_rng(0), stimuli["stimulus_id"].values, np.stack([values, values[::-1], values], 2)
    )
    timed = xr.concat(
        [timed, timed.assign_coords(repetition=timed["repetition"] + 1)], "presentation", data_vars="minimal"
    )
    split = splits.make(stimuli, Split(kind="stimulus"))
    predictions, _ = encode(timed, features, split, Ridge(alphas=(-1, 4, 8)))
    options = OPTIONS.model_copy(update={"ceiling": "split_half"})
    whole = evaluate(timed, predictions, options)
    save(timed, tmp_path / "r.nc")
    save(predictions, tmp_path / "p.nc")
    monkeypatch.setattr("neuroenc.arrays.labels.CHUNK", 4)
    monkeypatch.setattr(
        "neuroenc.blocks.BLOCK_BYTES", 8 * 240 * 5
    )  # five of eighteen columns: bins are parted
    parts = evaluate(load(tmp_path / "r.nc", "responses"), load(tmp_path / "p.nc", "predictions"), options)
    assert np.isfinite(whole["ceiling"]).all()
    xr.testing.assert_allclose(parts, whole, rtol=1e-12)
    assert parts.attrs == whole.attrs


def test_stimuli_of_a_group_are_drawn_and_exchanged_together(scored):
    """Sentences of a passage evoke alike: each is no evidence of its own."""
    responses, predictions, _ = scored
    noise = np.random.default_rng(0).normal(size=responses["response"].shape).astype("f4")
    responses = responses.assign(response=responses["response"] * 0 + noise)
    alone = evaluate(responses, predictions, OPTIONS)
    ids = responses["stimulus_id"].values
    number = {s: i for i, s in enumerate(np.unique(ids))}
    group = np.array([f"g{number[s] // 6:02d}" for s in ids])
    grouped = responses.assign_coords(group=("presentation", group))
    rows = align(grouped, predictions, 20)
    assert rows.film is None
    np.testing.assert_array_equal(rows.group, [f"g{number[s] // 6:02d}" for s in rows.tested])
    assert align(responses, predictions, 20).group is None
    alike = responses.assign_coords(group=("presentation", np.full(len(ids), "one")))
    assert align(alike, predictions, 20).group is None
    together = evaluate(grouped, predictions, OPTIONS)
    np.testing.assert_array_equal(alone["score"], together["score"])
    assert not np.array_equal(alone["p"], together["p"], equal_nan=True)
