import numpy as np
import pytest

from neuroenc.evaluation.permutation import permutation_p
from neuroenc.evaluation.time_course import cluster_p

N, UNITS, BINS = 60, 20, 30


def draw(seed, signal=()):
    rng = np.random.default_rng(seed)
    prediction = rng.standard_normal((N, UNITS, BINS))
    noise = rng.standard_normal((N, UNITS, BINS + 4))
    y = sum(noise[..., k : k + BINS] for k in range(5)) / 5**0.5  # neighbouring bins are correlated
    for k in signal:
        y[..., k] += 0.5 * prediction[..., k]
    return y, prediction


def p_of(seed, signal=(), fold=None, members=None):
    y, prediction = draw(seed, signal)
    fold = np.zeros(N, int) if fold is None else fold
    members = np.ones(UNITS, bool) if members is None else members
    return cluster_p(y, prediction, np.arange(N).astype(str), fold, members, n=200, seed=seed)


def test_a_signal_is_found_where_it_is():
    p = p_of(0, signal=range(10, 16))
    assert (p[10:16] < 0.01).all() and (p[:8] > 0.05).all() and (p[18:] > 0.05).all()


def test_noise_is_significant_in_one_run_of_twenty():
    hits = [(p_of(seed) < 0.05).any() for seed in range(200)]
    assert 0.01 <= np.mean(hits) <= 0.10


def test_only_the_members_count():
    y, prediction = draw(0)
    y[:, 0] += 2 * prediction[:, 0]
    first = np.arange(UNITS) == 0
    stimulus, fold = np.arange(N).astype(str), np.zeros(N, int)
    assert (cluster_p(y, prediction, stimulus, fold, first, n=200) < 0.05).all()
    assert (cluster_p(y, prediction, stimulus, fold, ~first, n=200) > 0.05).any()


def test_several_folds_and_silent_bins():
    fold = np.arange(N) % 3
    p = p_of(0, signal=range(10, 16), fold=fold)
    assert (p[10:16] < 0.05).all()
    y, prediction = draw(0, signal=range(10, 16))
    y[..., 3] = 0
    silent = cluster_p(y, prediction, np.arange(N).astype(str), fold, np.ones(UNITS, bool), n=200)
    assert silent[3] == 1 and (silent[10:16] < 0.05).all()


def test_where_nothing_can_be_exchanged_nothing_is_significant():
    """Films of one sample each: the null is what was found, and folds widen it."""
    y, prediction = draw(0)
    y -= 0.5 * prediction
    stimulus, fold = np.arange(N).astype(str), np.arange(N) % 3
    every = np.ones(UNITS, bool)
    assert (cluster_p(y, prediction, stimulus, fold, every, film=stimulus, n=50) == 1).all()
    p = permutation_p(y[..., 0], prediction[..., 0], stimulus, fold, film=stimulus, n=50)
    assert (p == 1).all()


def test_blocks_of_pairs_change_nothing(monkeypatch):
    y, prediction = draw(1, signal=range(5, 9))
    y[:7, 3, 2] = np.nan
    stimulus, fold = np.arange(N).astype(str), np.arange(N) % 2
    every = np.ones(UNITS, bool)
    whole = cluster_p(y, prediction, stimulus, fold, every, n=100)
    monkeypatch.setattr("neuroenc.blocks.BLOCK_BYTES", 8 * BINS * 100 * 7)
    np.testing.assert_array_equal(cluster_p(y, prediction, stimulus, fold, every, n=100), whole)
    assert (whole[5:9] < 0.05).all()


@pytest.mark.parametrize("seed", [2, 3, 8, 9])
def test_p_of_a_film_is_no_less_than_that_of_its_shifts(seed):
    """Of 24 shifts one is none, whose cluster is as large as the one that was measured."""
    rng = np.random.default_rng(seed)
    y = rng.standard_normal((24, 7, 5))
    prediction = y + rng.standard_normal(y.shape) / 2
    p = cluster_p(
        y, prediction, np.arange(24).astype(str), np.zeros(24, int), np.ones(7, bool),
        film=np.full(24, "a"), seed=seed,
    )  # fmt: skip
    assert p.min() >= 0.02  # 1 / 24, drawn 1000 times
