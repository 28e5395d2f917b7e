"""Intervals and distances of exported encoders, in small worlds of their own."""

import warnings

import numpy as np
import pytest

import neuroenc
from neuroenc import datasets, splits
from neuroenc.arrays import load
from neuroenc.config import Dataset, Evaluation, Model, Ridge, Simulation, Split
from neuroenc.datasets import read_pixels
from neuroenc.encoders import distance, encode, intervals, save_fits
from neuroenc.encoders.export import Subject, export
from neuroenc.errors import InputError
from neuroenc.evaluation import evaluate
from neuroenc.features import describe, extract
from neuroenc.simulation.simulate import simulate
from tests.conftest import REGIONS


def test_half_widths_are_order_statistics():
    residual = np.random.default_rng(0).normal(size=(57, 5))
    residual[40:, 4] = np.nan
    found = intervals.half_widths(residual)
    assert found.shape == (199, 5)
    for level in (0.5, 0.9, 0.95):
        for k in range(5):
            known = np.sort(np.abs(residual[:40, k] if k == 4 else residual[:, k]))
            rank = int(np.ceil((len(known) + 1) * level))
            expected = known[rank - 1] if rank <= len(known) else np.inf
            assert found[intervals.row_of(level), k] == pytest.approx(expected, rel=1e-6)
    assert np.isinf(found[intervals.row_of(0.99)]).all()
    assert np.isinf(intervals.half_widths(residual[:0])).all()
    assert intervals.row_of(0.9) == 179 and intervals.row_of(0.901) == 180
    for level in (0, 1, -0.1, 0.999, 90):
        with pytest.raises(InputError, match=f"'level': {level}. Expected above 0 and at most 0.995"):
            intervals.row_of(level)


def test_intervals_of_90_percent_cover_the_stated_share_in_the_simulation(tmp_path):
    """Single presentations of test pictures, as the pictures of validation were shown."""
    simulate(tmp_path / "tree", Simulation(n_subjects=1, n_voxels=200, sessions=4, n_shared=60, repeats=3,
                                           n_unique=820, picture_size=96, seed=1))  # fmt: skip
    options = Dataset(name="nsd", root=str(tmp_path / "tree"), regions=REGIONS)
    module = datasets.module(options)
    stimuli, responses = module.load_stimuli(options, ["01"]), module.load_responses(options, "01")
    model = {"gabor": Model(extractor="gabor", pooling="grid:2")}
    extract(stimuli, model["gabor"], tmp_path / "f.nc")
    found = load(tmp_path / "f.nc", "features")
    predictions, fits = encode(responses, found, splits.make(stimuli, Split(kind="dataset")), Ridge())
    save_fits(fits, found.attrs, responses["neuroid_id"].values, tmp_path / "w.safetensors")
    scores = evaluate(responses, predictions, Evaluation(n_bootstraps=100, n_permutations=100))
    made = Subject("01", responses, predictions, scores, {"gabor": tmp_path / "w.safetensors"})
    export(tmp_path / "e", [made], model, {"gabor": found}, name="gabor")
    encoder = neuroenc.load(tmp_path / "e")
    shown = np.flatnonzero(responses["split"].values == "test")
    names = responses["stimulus_id"].values[shown]
    ids = np.unique(names)
    row = {s: i for i, s in enumerate(stimuli["stimulus_id"].values)}
    pictures = read_pixels(stimuli, np.array([row[s] for s in ids]))
    measured = responses["response"].values[shown]
    covered = {}
    for level in (0.8, 0.9):
        low, high = encoder.interval(pictures, level).values[:, np.searchsorted(ids, names)]
        covered[level] = np.mean((measured >= low) & (measured <= high))
    assert 0.88 <= covered[0.9] <= 0.92 and 0.77 <= covered[0.8] <= 0.83, covered
    assert encoder.facts["subjects"][0]["coverage_90"] == pytest.approx(covered[0.9], abs=1e-3)
    assert encoder.facts["subjects"][0]["n_validation"] == 164


def test_few_features_are_kept_as_they_are():
    points = np.random.default_rng(0).normal(size=(20, 7)).astype("f4")
    hashed = distance.hashing(7)
    assert hashed["place"].tolist() == list(range(7)) and set(hashed["sign"]) == {1}
    apart = np.sqrt(((points[:, None] - points) ** 2).sum(2) + np.diag(np.full(20, np.inf))).min(1)
    np.testing.assert_allclose(distance.nearest(points), apart, rtol=1e-5)
    np.testing.assert_allclose(distance.nearest(points[:3], points), 0, atol=1e-3)


def test_time_bins_go_along(tmp_path):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (60, 16, 16, 3), np.uint8)
    names = np.array([f"p{i:02d}" for i in range(60)])
    model = Model(extractor="luminance")
    found = describe(pictures, model, stimulus_id=names)
    X = found["feature"].values
    values = (X @ rng.normal(size=(X.shape[1], 12))).reshape(60, 4, 3)
    stimuli, responses = datasets.from_arrays(
        values + rng.normal(size=values.shape), names, regions={"V1": [1, 0, 1, 0]}
    )
    predictions, fits = encode(
        responses, found, splits.make(stimuli, Split(kind="stimulus", n_inner=3)), Ridge()
    )
    bins = {"bin": responses["bin"].values}
    save_fits(fits, found.attrs, responses["neuroid_id"].values, tmp_path / "w.safetensors", time_bin=bins)
    scores = evaluate(responses, predictions, Evaluation(n_bootstraps=100, n_permutations=100))
    made = Subject("1", responses, predictions, scores, {"m": tmp_path / "w.safetensors"})
    (tmp_path / "e").mkdir()
    (tmp_path / "e/mine.txt").write_text("of the user")
    with pytest.raises(InputError, match=r"e holds other files and no encoder\.json"):
        export(tmp_path / "e", [made], {"m": model}, {"m": found}, name="m")
    (tmp_path / "e/mine.txt").unlink()
    for _ in range(2):  # an empty folder, and an export that stands there, are replaced
        export(tmp_path / "e", [made], {"m": model}, {"m": found}, name="m")
    encoder = neuroenc.load(tmp_path / "e")
    shown = pictures[[int(s[1:]) for s in predictions["stimulus_id"].values]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # random pictures lie far from one another
        got, low_high = encoder(shown), encoder.interval(shown, 0.8)
        some = encoder.select(region="V1")(shown)
    assert got.dims == ("picture", "neuroid", "time_bin") and got["bin"].values.tolist() == [0, 1, 2]
    np.testing.assert_allclose(got.values, predictions["prediction"].values, atol=1e-4)
    assert low_high.shape == (2, *got.shape) and got["ceiling"].dims == ("neuroid", "time_bin")
    np.testing.assert_array_equal(some.values, got.values[:, [0, 2]])
