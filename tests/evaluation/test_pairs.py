import numpy as np
import pytest
from scipy.spatial.distance import cdist

from neuroenc import splits
from neuroenc.arrays import load, save
from neuroenc.config import Evaluation, Ridge, Split
from neuroenc.encoders.encode import encode
from neuroenc.errors import InputError
from neuroenc.evaluation.evaluate import evaluate
from neuroenc.evaluation.pairs import METRICS, picture_r, score_patterns, two_versus_two
from neuroenc.figures.summary import scored


def noisy(n=100, n_neuroids=30, signal=0.5, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(n, n_neuroids))
    return y, signal * y + rng.normal(size=y.shape)


@pytest.mark.parametrize(("measure", "name"), [("cosine", "cosine"), ("pearson", "correlation")])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_2v2_is_that_of_a_nested_loop(measure, name, dtype, monkeypatch):
    """By distances, as it is published; also where blocks of rows do not divide the stimuli."""
    monkeypatch.setattr("neuroenc.evaluation.pairs.ROWS", 7)
    y, prediction = (v.astype(dtype) for v in noisy())
    distance = cdist(y, prediction, name)
    won = [
        distance[i, i] + distance[j, j] < distance[i, j] + distance[j, i]
        for i in range(100)
        for j in range(i + 1, 100)
    ]
    assert two_versus_two(y, prediction, measure) == pytest.approx(np.mean(won), abs=1e-9)
    assert 0.8 < np.mean(won) < 1


def test_picture_r_is_pearsons_over_neuroids():
    y, prediction = noisy()
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(y, prediction, strict=True)]
    np.testing.assert_allclose(picture_r(y, prediction), expected, atol=1e-12)


def test_shuffled_is_chance_and_what_is_equal_is_half():
    y, prediction = noisy(n=400)
    shuffled = np.random.default_rng(1).permutation(400)
    assert two_versus_two(y, prediction[shuffled]) == pytest.approx(0.5, abs=0.06)
    assert two_versus_two(y, np.tile(prediction[:1], (400, 1))) == 0.5
    assert two_versus_two(y, np.zeros_like(y)) == 0.5
    assert two_versus_two(y, y) == 1 and picture_r(y, y).mean() == pytest.approx(1)


def ids(n):
    return np.array([f"p{i:03d}" for i in range(n)])


def test_weights_of_a_sample_are_repeated_stimuli():
    """The bootstrap counts what a nested loop over the drawn stimuli counts."""
    from neuroenc.evaluation.pairs import resampled

    y, prediction = noisy(n=12, signal=0.2)
    drawn = np.array([0, 0, 1, 2, 2, 2, 5, 6, 9, 9, 10, 11])
    similarity = 1 - cdist(y, prediction, "cosine")
    won = [
        similarity[i, i] + similarity[j, j] > similarity[i, j] + similarity[j, i]
        for at, i in enumerate(drawn)
        for j in drawn[at + 1 :]
        if i != j
    ]
    weight = np.bincount(drawn, minlength=12)[:, None]
    found = resampled(y, prediction, weight)
    np.testing.assert_allclose(found[0, 0], np.mean(won), rtol=1e-6)
    np.testing.assert_allclose(found[1, 0], picture_r(y, prediction)[drawn].mean(), rtol=1e-6)


@pytest.mark.parametrize("n_folds", [1, 3])
def test_noise_is_significant_as_often_as_it_may_be_and_signal_always(n_folds):
    fold = np.arange(60) % n_folds
    kwargs = {"n_bootstraps": 100, "n_permutations": 199}
    p = []
    for seed in range(60):
        y, prediction = noisy(n=60, n_neuroids=12, signal=0, seed=seed)
        p.append([e.p for e in score_patterns(y, prediction, ids(60), fold, seed=seed, **kwargs).values()])
    assert ((np.array(p) < 0.1).mean(0) <= 0.2).all() and (np.array(p).mean(0) > 0.4).all()
    found = score_patterns(*noisy(n=60), ids(60), fold, **kwargs)
    assert all(e.low < e.value < e.high and e.p < 0.01 for e in found.values())
    assert abs(found["two_versus_two"].null - 0.5) < 0.02
    flat = score_patterns(noisy(n=60)[0], np.zeros((60, 30)), ids(60), fold, **kwargs)["two_versus_two"]
    assert (flat.value, flat.p) == (0.5, 1.0)


def test_neuroids_without_value_have_no_say_and_too_few_have_no_score():
    y, prediction = noisy(n=40)
    fold = np.zeros(40)
    before = score_patterns(y[:, :20], prediction[:, :20], ids(40), fold, n_bootstraps=100)
    y[3, 20:] = np.nan
    assert score_patterns(y, prediction, ids(40), fold, n_bootstraps=100) == before
    assert np.isnan(score_patterns(y[:, :2], prediction[:, :2], ids(40), fold)["picture_r"]).all()


def test_scores_and_summary_hold_them_by_region(toy, tmp_path):
    stimuli, features, responses = toy
    split = splits.make(stimuli, Split(kind="stimulus", n_folds=2))
    predictions, _ = encode(responses, features, split, Ridge(alphas=(-1, 4, 8)))
    options = Evaluation(n_bootstraps=100, n_permutations=100, pairs=True)
    scores = evaluate(responses, predictions, options)
    save(scores, tmp_path / "s.nc")
    scores = load(tmp_path / "s.nc", "scores")
    made = {"subject": "s", "model": "m", "command": "c", "seed": 0}
    rows = [r for r in scored(scores, made) if r["name"] in ("two_versus_two", "picture_r")]
    assert [(r["name"], r["region"]) for r in rows] == [
        ("two_versus_two", "all"), ("two_versus_two", "A"), ("picture_r", "all"), ("picture_r", "A"),
    ]  # fmt: skip
    assert all(r["value"] > 0.8 and r["p"] < 0.05 and r["interval"][0] <= r["value"] for r in rows)
    # fold by fold, in units of the training responses
    row = {s: i for i, s in enumerate(responses["stimulus_id"].values)}
    by_fold = []
    for f in (0, 1):
        train = responses["response"].values[np.isin(
            responses["stimulus_id"].values,
            predictions["training_stimulus_id"].values[predictions["training"].values[f]],
        )]  # fmt: skip
        here = predictions["fold"].values == f
        y = responses["response"].values[[row[s] for s in predictions["stimulus_id"].values[here]]]
        y, p = ((v - train.mean(0)) / train.std(0) for v in (y, predictions["prediction"].values[here]))
        by_fold.append(two_versus_two(y, p))
    assert rows[0]["value"] == pytest.approx(np.mean(by_fold), abs=1e-3)
    assert "pattern_score" not in evaluate(
        responses, predictions, options.model_copy(update={"pairs": False})
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(4))
def test_what_no_exchange_changes_has_p_of_1(seed, dtype):
    """One pattern is predicted for all pictures: r is the same in every order, but for rounding."""
    rng = np.random.default_rng(seed)
    y = rng.standard_normal((30, 20)).astype(dtype)
    prediction = np.tile(rng.standard_normal(20).astype(dtype), (30, 1))
    found = score_patterns(y, prediction, range(30), np.zeros(30), n_bootstraps=20, n_permutations=100)
    assert [found[m].p for m in METRICS] == [1, 1]


def test_p_of_a_film_is_no_less_than_that_of_its_shifts():
    """Of 24 shifts one is none, which is as good as what was measured."""
    rng = np.random.default_rng(2)
    y = rng.standard_normal((24, 20)).astype("f4")
    prediction = y + rng.standard_normal(y.shape).astype("f4") / 2
    found = score_patterns(
        y, prediction, range(24), np.zeros(24), film=["a"] * 24, n_bootstraps=20, n_permutations=1000
    )
    assert [found[m].p for m in METRICS] == pytest.approx([1 / 24, 1 / 24], abs=0.02)


def test_a_missing_value_is_refused_or_nan():
    """A stimulus with a NaN lost all its pairs, and a neuroid of NaN made 2V2 0."""
    y = np.random.default_rng(0).normal(size=(6, 4))
    lacks = y.copy()
    lacks[2, 1] = np.nan
    for pair in ((lacks, y), (y, lacks)):
        with pytest.raises(
            InputError, match=r"1 of 6 stimuli lack values of 1 of 4 neuroids .* first stimulus 2"
        ):
            two_versus_two(*pair)
        assert np.flatnonzero(np.isnan(picture_r(*pair))).tolist() == [2]
    for score in (two_versus_two, picture_r):
        with pytest.raises(InputError, match=r"expected \(n_stimuli, n_neuroids\)"):
            score(y[:, 0], y[:, 0])


def test_a_misspelt_measure_is_refused():
    with pytest.raises(InputError, match="did you mean 'cosine'"):
        two_versus_two(np.eye(4), np.eye(4), "cosin")
