import numpy as np
import pytest

from neuroenc.evaluation import ceilings
from neuroenc.evaluation.scores import pearson_r


def simulated(ncsnr, n_stimuli=400, repeats=3, seed=0):
    """Trials of known ncsnr: presentations, stimulus of each, noiseless signal."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(n_stimuli, len(ncsnr)))
    stimulus = np.repeat(np.arange(n_stimuli), repeats)
    response = signal[stimulus] * ncsnr + rng.normal(size=(len(stimulus), len(ncsnr)))
    return response, stimulus, signal


KNOWN = np.repeat([0.0, 0.3, 0.6, 1.0], 200)


@pytest.mark.parametrize("method", ["ncsnr", "split_half", "explainable_variance"])
@pytest.mark.parametrize("repeats", [2, 3, 4])
def test_known_ceiling_is_recovered(method, repeats):
    response, stimulus, _ = simulated(KNOWN, repeats=repeats)
    unknown = np.full(len(KNOWN), np.nan)
    found = ceilings.ceiling(response, stimulus, method, unknown)
    truth = KNOWN**2 / (KNOWN**2 + 1 / repeats)
    for level in np.unique(KNOWN)[1:]:
        here = level == KNOWN
        assert found[here].mean() == pytest.approx(truth[here][0], abs=0.025)
    # without signal the estimator that cannot go below 0 is a little off, the others are not
    assert abs(found[KNOWN == 0].mean()) < (0.08 if method == "ncsnr" else 0.025)


def test_ceiling_is_what_the_noiseless_response_scores():
    response, _, signal = simulated(KNOWN, n_stimuli=3000)
    mean = response.reshape(3000, 3, -1).mean(1)
    r = pearson_r(mean, signal)
    limit = np.sqrt(ceilings.noise_ceiling(KNOWN, 3))
    for level in np.unique(KNOWN)[1:]:
        assert r[level == KNOWN].mean() == pytest.approx(limit[level == KNOWN][0], abs=0.01)


def test_formula_with_mixed_repeats():
    # Algonauts 2023: 1/k becomes (n3/3 + n2/2 + n1) / N
    found = ceilings.noise_ceiling(0.5, [3, 3, 2, 1])
    expected = 0.25 / (0.25 + (1 / 3 + 1 / 3 + 1 / 2 + 1) / 4)
    assert found == pytest.approx(expected)
    # NSD's published value: ncsnr 0.5 and three repeats give 42.86 %
    assert 100 * ceilings.noise_ceiling(0.5, 3) == pytest.approx(42.857, abs=1e-3)
    assert np.isnan(ceilings.noise_ceiling(np.nan, 3))


def test_missing_repeats_are_left_out():
    response, stimulus, _ = simulated(KNOWN)
    whole = ceilings.estimate_ncsnr(response, stimulus)
    rng = np.random.default_rng(1)
    holes = np.where(rng.random(response.shape) < 0.1, np.nan, response)
    assert np.abs(ceilings.estimate_ncsnr(holes, stimulus) - whole)[KNOWN > 0].max() < 0.18
    trials = ceilings.stack_trials(holes, stimulus)[1]
    assert np.abs(ceilings.explainable_variance(trials) - 0.75)[KNOWN == 1].mean() < 0.05


def test_nothing_repeated_is_unknown_not_perfect():
    response, stimulus, _ = simulated(KNOWN, repeats=1)
    for method in ("ncsnr", "split_half", "explainable_variance"):
        assert np.isnan(ceilings.ceiling(response, stimulus, method, np.full(len(KNOWN), np.nan))).all()


def test_spearman_brown():
    assert ceilings.spearman_brown(0.5, 2) == pytest.approx(2 / 3)
    assert ceilings.spearman_brown(0.5, 1) == pytest.approx(0.5)


def test_stack_trials_puts_repeats_side_by_side():
    ids, trials = ceilings.stack_trials(np.arange(5.0)[:, None], ["b", "a", "b", "b", "a"])
    assert ids.tolist() == ["a", "b"]
    np.testing.assert_array_equal(trials[..., 0], [[1, 4, np.nan], [0, 2, 3]])
