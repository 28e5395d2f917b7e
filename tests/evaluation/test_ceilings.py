import numpy as np
import pandas as pd
import pytest

from neuroenc.errors import InputError
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


@pytest.mark.parametrize("ncsnr", [0.8, 1.0])
@pytest.mark.parametrize("share", [0.1, 0.3])
def test_missing_repeats_leave_no_bias(ncsnr, share):
    """The mean of many estimates is what theory says, to four standard errors.

    Variances between and within stimuli are independent, and without bias whatever is missing: with m the mean
    of 1/k, and df what is left within, E ncsnr² = (ncsnr² + m) df / (df - 2) - m.
    """
    n, v = 80, 10_000
    response, stimulus, _ = simulated(np.full(v, ncsnr), n_stimuli=n, seed=1)
    holes = np.where(np.random.default_rng(1).random(response.shape) < share, np.nan, response)
    count = np.isfinite(holes).reshape(n, 3, v).sum(1)
    m = np.divide(1, count, where=count > 0, out=np.zeros((n, v))).sum(0) / (count > 0).sum(0)
    df = np.maximum(count - 1, 0).sum(0)
    found = ceilings.estimate_ncsnr(holes, stimulus) ** 2
    error = found - ((ncsnr**2 + m) * df / (df - 2) - m)
    assert abs(error.mean()) < 4 * error.std() / np.sqrt(v) < 0.02
    trials = ceilings.stack_trials(holes, stimulus)[1]
    ratio = 1 / (1 - ceilings.explainable_variance(trials))  # power of the mean over that of its noise
    error = ratio - (ncsnr**2 / m + 1) * df / (df - 2)
    assert abs(error.mean()) < 4 * error.std() / np.sqrt(v) < 0.05


def test_what_does_not_vary_has_no_ceiling_and_what_has_no_noise_the_highest():
    stimulus = np.repeat(np.arange(20), 3)
    signal = np.random.default_rng(0).normal(size=20)[stimulus]
    response = np.stack([np.full(60, 0.1), signal], 1)
    for dtype in ("f4", "f8"):
        for method in ("ncsnr", "split_half", "explainable_variance"):
            found = ceilings.ceiling(response.astype(dtype), stimulus, method, np.full(2, np.nan))
            np.testing.assert_allclose(found, [np.nan, 1], atol=1e-6)


def test_nothing_repeated_is_unknown_not_perfect():
    response, stimulus, _ = simulated(KNOWN, repeats=1)
    for method in ("ncsnr", "split_half", "explainable_variance"):
        assert np.isnan(ceilings.ceiling(response, stimulus, method, np.full(len(KNOWN), np.nan))).all()


def test_spearman_brown():
    assert ceilings.spearman_brown(0.5, 2) == pytest.approx(2 / 3)
    assert ceilings.spearman_brown(0.5, 1) == pytest.approx(0.5)


@pytest.mark.parametrize("r", [-0.5, -0.51, -0.6, -1.0])
def test_a_reliability_below_the_pole_makes_no_ceiling_above_0(r):
    # by the formula alone -0.51 of one row is 76 of three, and r would be divided by 9
    assert np.isnan(ceilings.spearman_brown(r, 3))
    assert ceilings.spearman_brown(-0.49, 3) < 0
    response = np.random.default_rng(0).normal(size=(30, 2))
    found = ceilings.ceiling(response, np.repeat(np.arange(10), 3), "given", [np.nan] * 2, [r, 0.5])
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(0.75)


def test_noise_of_few_stimuli_has_no_ceiling_above_1():
    trials = np.random.default_rng(0).normal(size=(3, 3, 2000))
    half, full = ceilings.split_half(trials)
    assert (half < -0.5).any()
    assert np.nanmax(full) <= 1
    assert not (full[half < 0] > 0).any()


def test_stack_trials_puts_repeats_side_by_side():
    ids, trials = ceilings.stack_trials(np.arange(5.0)[:, None], ["b", "a", "b", "b", "a"])
    assert ids.tolist() == ["a", "b"]
    np.testing.assert_array_equal(trials[..., 0], [[1, 4, np.nan], [0, 2, 3]])


@pytest.mark.parametrize("method", ["ncsnr", "split_half", "explainable_variance"])
def test_ceiling_of_unequal_repeats_is_what_the_noiseless_response_scores(method):
    """Stimuli seen once are scored too; a neuroid has its own missing repeats."""
    rng = np.random.default_rng(0)
    count = rng.integers(1, 4, 3000)
    stimulus = np.repeat(np.arange(3000), count)
    signal = rng.standard_normal((3000, 40))
    response = 0.7 * signal[stimulus] + rng.standard_normal((len(stimulus), 40))
    response[:, 20:][rng.random((len(stimulus), 20)) < 0.4] = np.nan
    present = np.isfinite(response)
    total, number = np.zeros((2, 3000, 40))
    np.add.at(total, stimulus, np.where(present, response, 0))
    np.add.at(number, stimulus, present)
    found = ceilings.ceiling(response, stimulus, method, np.full(40, np.nan))
    truth = []
    for v in range(40):
        some = number[:, v] > 0
        truth.append(np.corrcoef(total[some, v] / number[some, v], signal[some, v])[0, 1] ** 2)
    for half in (slice(20), slice(20, 40)):
        assert found[half].mean() == pytest.approx(np.mean(truth[half]), abs=0.012)


def test_few_stimuli_leave_the_signal_variance_unbiased():
    rng = np.random.default_rng(1)
    y = 0.5 * rng.standard_normal((4, 1, 20000)) + rng.standard_normal((4, 12, 20000))
    within, between = y.var(1, ddof=1).mean(0), y.mean(1).var(0, ddof=1)
    found = ceilings.estimate_ncsnr(y.reshape(48, -1), np.repeat(np.arange(4), 12))
    np.testing.assert_allclose(found**2, np.maximum(between - within / 12, 0) / within, atol=1e-9)


def test_a_given_ceiling_is_of_one_row():
    given = np.array([0.2, 1.0, np.nan])
    once = ceilings.ceiling(np.ones((3, 3)), ["a", "b", "c"], "given", np.full(3, np.nan), given)
    np.testing.assert_allclose(once, given)
    twice = ceilings.ceiling(np.ones((4, 3)), ["a", "b", "a", "b"], "given", np.full(3, np.nan), given)
    np.testing.assert_allclose(twice, [0.25 / (0.25 + 0.5), 1, np.nan])  # ncsnr² 0.25


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"stimulus": np.repeat(np.arange(10), 2)}, r"stimulus has shape \(20,\), expected \(30,\)"),
        ({"stimulus": np.repeat(np.arange(20), 3)}, r"stimulus has shape \(60,\), expected \(30,\)"),
        ({"response": np.zeros((30, 2, 3))}, "Put time bins beside one another"),
        ({"ncsnr": np.full(7, 0.5)}, r"ncsnr has shape \(7,\), expected 0 or above for each of 2 neuroids"),
        ({"ncsnr": np.array([0.5, -0.5])}, "ncsnr holds -0.5, expected 0 or above"),
        ({"given": np.array([80.0, 50.0])}, "given holds 80, expected a share, at most 1"),
    ],
)
@pytest.mark.parametrize("method", ["ncsnr", "split_half", "given"])
def test_what_does_not_belong_to_the_responses_is_refused(method, change, said):
    """Presentations beyond a shorter list of stimuli were left out, and a ceiling in percent was 1.5."""
    known = {
        "response": np.random.default_rng(0).normal(size=(30, 2)),
        "stimulus": np.repeat(np.arange(10), 3),
    }
    with pytest.raises(InputError, match=said):
        ceilings.ceiling(**(known | {"method": method, "ncsnr": np.full(2, np.nan)} | change))


def test_a_table_has_the_ceilings_of_its_array():
    response, stimulus, _ = simulated(np.array([0.5, 1.0]), n_stimuli=20)
    args = stimulus, "split_half", np.full(2, np.nan)
    expected = ceilings.ceiling(response, *args)
    for given in (pd.DataFrame(response), response.tolist()):
        np.testing.assert_array_equal(ceilings.ceiling(given, *args), expected)


def test_what_is_no_ceiling_is_refused_or_nan():
    y = np.random.default_rng(0).normal(size=(10, 3))
    assert np.isnan(ceilings.split_half(y[:, None])).all()  # nothing is repeated
    for estimate in (ceilings.split_half, ceilings.explainable_variance):
        with pytest.raises(InputError, match=r"trials has shape \(10, 3\)"):
            estimate(y)
    with pytest.raises(InputError, match="did you mean 'ncsnr'"):
        ceilings.ceiling(y, np.arange(10) // 2, "ncnsr", np.full(3, np.nan))
