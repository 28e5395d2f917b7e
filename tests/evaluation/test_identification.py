import numpy as np
import pytest

from neuroenc.evaluation.identification import own_rank, pattern_similarity, top_k
from neuroenc.ranking import ahead


def test_similarity_is_pearsons_without_weights():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 8, 30))
    np.testing.assert_allclose(pattern_similarity(a, b), np.corrcoef(a, b)[:8, 8:], atol=1e-12)


def test_neuroids_of_weight_zero_or_without_value_have_no_say():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 8, 30))
    weight = np.r_[np.ones(20), np.zeros(5), -np.ones(5)]
    expected = pattern_similarity(a[:, :20], b[:, :20])
    np.testing.assert_allclose(pattern_similarity(a, b, weight), expected, atol=1e-10)
    b[2, 25] = np.nan
    np.testing.assert_allclose(pattern_similarity(a, b, weight), expected, atol=1e-10)


def test_chance_and_perfection():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(200, 50))
    assert (own_rank(a, a) == 0).all() and top_k(pattern_similarity(a, a), 1) == 1
    other = rng.normal(size=(200, 50))
    shuffled = own_rank(a, other)
    assert top_k(pattern_similarity(a, other), 50) == (shuffled < 50).mean()
    assert (shuffled < 1).mean() == pytest.approx(1 / 200, abs=0.02)
    assert (shuffled < 50).mean() == pytest.approx(0.25, abs=0.1)


def test_constant_similarity_earns_nothing():
    assert (ahead(np.ones((10, 10))) == 9).all()
    assert top_k(np.ones((10, 10)), 9) == top_k(np.full((10, 10), np.nan), 9) == 0
