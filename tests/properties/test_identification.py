"""Which picture was seen: responses of pure noise are at chance, however few neuroids validation trusts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from neuroenc.decoders.match import likelihood
from neuroenc.decoders.retrieve import hits
from neuroenc.evaluation.identification import cosine, own_rank, pattern_similarity
from neuroenc.evaluation.images import two_way
from neuroenc.ranking import ahead, best

N = 60
WEIGHT = st.sampled_from([0.0, -1.0, 0.01, 1.0, 1e-300, 1e300, np.nan, np.inf])


def no_more_than_chance(found, chance):
    """By the binomial, at one in a million."""
    assert round(found * N) <= binom.ppf(1 - 1e-6, N, chance)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([1, 2, 6, 100]), st.integers(0, 2**32 - 1), st.data())
def test_noise_is_at_chance_for_any_weights(n_neuroids, seed, data):
    rng = np.random.default_rng(seed)
    measured, predicted = rng.standard_normal((2, N, n_neuroids))
    weight = data.draw(st.lists(WEIGHT, min_size=n_neuroids, max_size=n_neuroids))
    similarity = pattern_similarity(measured, predicted, weight)
    rank = own_rank(measured, predicted, weight)  # what evaluate counts; None: no neuroid has weight
    assert np.array_equal(ahead(similarity) if np.isfinite(similarity).any() else None, rank)
    for s in (similarity, similarity.T):
        no_more_than_chance((ahead(s) < 1).mean(), 1 / N)
        no_more_than_chance((ahead(s) < 5).mean(), 5 / N)
        no_more_than_chance(hits(s, 1, 20).mean(), 1 / 20)


@pytest.mark.parametrize("n_neuroids", [1, 2, 6, 100])
def test_noise_is_neither_above_nor_below_chance(n_neuroids):
    rng = np.random.default_rng(n_neuroids)
    top5, pairs = [], []
    for _ in range(200):
        measured, predicted, residual = rng.standard_normal((3, N, n_neuroids))
        for s in (
            pattern_similarity(measured, predicted), likelihood(measured, predicted, residual),
        ):  # fmt: skip
            top5 += [hits(s, 5).mean(), hits(s.T, 5).mean()]
        if n_neuroids > 2:  # of two features every correlation is 1 or -1
            pairs.append(two_way(measured, predicted).mean())
    assert np.mean(top5) == pytest.approx(5 / N, abs=0.012)
    assert not pairs or np.mean(pairs) == pytest.approx(0.5, abs=0.02)


def test_one_neuroid_is_a_rank_by_its_value():
    rng = np.random.default_rng(0)
    y = rng.standard_normal((N, 1))
    assert (own_rank(y, y) < 1).mean() == 1
    noisy = y + 0.2 * rng.standard_normal((N, 1))
    nearest = np.abs(y - noisy.T).argmin(1) == np.arange(N)
    assert (own_rank(y, noisy) < 1).mean() == pytest.approx(nearest.mean())
    one = np.concatenate([y, rng.standard_normal((N, 20))], 1)
    trusted = [1e-3, *[-1.0] * 10, *[np.nan] * 10]
    assert (own_rank(one, one, trusted) < 1).mean() == 1


def test_what_is_not_a_number_comes_last():
    s = np.array([[np.nan, 0, 0], [np.nan, 0.5, 0.1], [0.3, np.nan, 0.2]])
    assert ahead(s).tolist() == [2, 0, 1]
    assert (ahead(np.full((5, 5), np.nan)) == 4).all()
    assert hits(cosine(np.full((5, 3), np.nan), np.eye(5, 3)), 4).sum() == 0
    assert best([[np.nan, 1, np.nan], [0.5, 1, np.nan]]).tolist() == [1, 0, 0]
