"""Bounds of the number of true discoveries: by closed testing of all subsets, and their coverage."""

from itertools import combinations

import numpy as np
import pytest

from neuroenc.evaluation.discoveries import bounds, true_discoveries


def simes(p, level):
    return bool((np.sort(p) <= level * np.arange(1, len(p) + 1) / len(p)).any())


def closed_testing(p, inside, level):
    """Least number of false nulls in `inside`: its size less the largest subset that no rejection covers."""
    n = len(p)
    kept = 0
    for size in range(1, n + 1):
        for some in combinations(range(n), size):
            if not simes(p[list(some)], level):
                kept = max(kept, int(inside[list(some)].sum()))
    return int(inside.sum()) - kept


@pytest.mark.parametrize("seed", range(12))
def test_it_is_closed_testing_of_all_subsets(seed):
    rng = np.random.default_rng(seed)
    p = np.where(rng.random(9) < 0.6, rng.random(9) ** 6, rng.random(9)).clip(1e-6)
    inside = rng.random(9) < (1 if seed % 2 else 0.6)
    for level in (0.05, 0.3):
        assert true_discoveries(p, inside, level) == closed_testing(p, inside, level)


def test_bounds_hold_the_true_number_in_all_but_the_stated_share():
    from scipy.stats import norm

    rng = np.random.default_rng(0)
    failed, found = 0, []
    for _ in range(400):
        effect = np.where(np.arange(200) < 80, 3.5, np.where(np.arange(200) < 120, -3.5, 0))
        z = effect + rng.normal(size=200)
        low, high = bounds(norm.sf(z), norm.cdf(z), np.ones(200, bool), 0.05)
        failed += not low <= 80 <= high
        found.append((low, high))
    assert failed / 400 <= 0.1
    low, high = np.mean(found, 0)
    assert low > 20 and high < 190


def test_nothing_tested_is_nothing_found():
    nothing = np.full(4, np.nan)
    assert bounds(nothing, nothing, np.ones(4, bool), 0.05) == (0, 0)
