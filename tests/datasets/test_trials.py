import numpy as np
import pandas as pd
import pytest
from nilearn.glm.first_level import make_first_level_design_matrix, run_glm
from nilearn.glm.first_level.design_matrix import create_cosine_drift
from nilearn.signal import clean

from neuroenc.datasets import trials
from neuroenc.errors import InputError

N, TR = 120, 2.0
TIMES = 1.0 + TR * np.arange(N)
ONSET = np.array([4.0, 9.5, 31.0, 36.2, 80.0, 130.0, 180.0])
DURATION = np.array([1.0, 2.0, 1.0, 1.5, 3.0, 1.0, 0.5])


@pytest.fixture
def run():
    rng = np.random.default_rng(0)
    confounds = np.cumsum(rng.standard_normal((N, 4)), 0)
    series = 100 + np.cumsum(rng.standard_normal((N, 5)), 0)
    return series.astype("f4"), confounds, trials.nuisance(confounds, TR, 1 / 100)


def test_each_trial_is_what_nilearn_estimates_with_a_model_of_its_own(run):
    series, confounds, basis = run
    design = trials.regressors(ONSET, DURATION, TIMES)
    found = trials.separate(series, design, basis, "run")
    for i in range(len(ONSET)):
        events = pd.DataFrame({"onset": ONSET, "duration": DURATION, "trial_type": "others"})
        events.loc[i, "trial_type"] = "one"
        model = make_first_level_design_matrix(
            TIMES, events, hrf_model="glover", drift_model="cosine", high_pass=1 / 100, add_regs=confounds,
            add_reg_names=list("abcd"),
        )  # fmt: skip
        labels, results = run_glm(series.astype(float), model.to_numpy(), noise_model="ols")
        beta = np.concatenate([results[k].theta for k in results], 1)[list(model.columns).index("one")]
        assert (labels == labels[0]).all()
        np.testing.assert_allclose(found[i], 100 * beta / series.mean(0, dtype=float), rtol=1e-3, atol=1e-3)


def test_a_cleaned_course_is_that_of_nilearn(run):
    series, confounds, basis = run
    slow = create_cosine_drift(1 / 100, TIMES)[:, :-1]
    expected = clean(
        series.astype(float), confounds=np.column_stack([slow, confounds]), detrend=False,
        standardize="zscore_sample", filter=False, t_r=TR,
    )  # fmt: skip
    np.testing.assert_allclose(trials.cleaned(series, basis), expected, atol=1e-4)


def test_estimates_scatter_as_least_squares_says(run):
    """Var b = s² (a a' + …)⁻¹ of the model of each trial, over 4,000 draws of noise."""
    _, _, basis = run
    rng = np.random.default_rng(1)
    design = trials.regressors(ONSET, DURATION, TIMES)
    noise = (1000 + rng.standard_normal((N, 4000))).astype("f4")
    found = trials.separate(noise, design, basis, "run") * 10  # of 1,000, from percent
    for i in range(len(ONSET)):
        X = np.column_stack([design[:, i], design.sum(1) - design[:, i], basis])
        expected = np.sqrt(np.linalg.inv(X.T @ X)[0, 0])
        assert (
            found[i].std() == pytest.approx(expected, rel=0.05) and abs(found[i].mean()) < 4 * expected / 60
        )


def test_one_trial_alone_and_units_without_signal(run):
    series, _, basis = run
    design = trials.regressors(ONSET[:1], DURATION[:1], TIMES)
    series = np.column_stack([3 * design[:, 0] + 50, np.full(N, 7.0)]).astype("f4")
    found = trials.separate(series, design, basis, "run")
    assert found[0, 0] == pytest.approx(100 * 3 / series[:, 0].mean(), rel=1e-4) and np.isnan(found[0, 1])
    assert np.isnan(trials.cleaned(series, basis)[:, 1]).all()


def test_a_trial_that_leaves_no_trace_is_refused(run):
    series, _, basis = run
    late = trials.regressors(np.array([4.0, 100.0, 239.5]), np.ones(3), TIMES)
    with pytest.raises(InputError, match=r"Trial 3 of run-1 cannot be told .*Take it out of the events"):
        trials.separate(series, late, basis, "run-1")
    twice = trials.regressors(np.array([4.0, 60.0, 60.0]), np.ones(3), TIMES)
    assert np.isfinite(
        trials.separate(series, twice, basis, "run-1")
    ).all()  # each beside the sum of the others
    with pytest.raises(InputError, match="Trial 1 of run-1 cannot be told"):
        trials.separate(series, twice[:, 1:], basis, "run-1")


def test_confounds_that_leave_nothing_are_refused():
    with pytest.raises(InputError, match="A run of 20 volumes has 20 confounds and slow cosines"):
        trials.nuisance(np.random.default_rng(0).standard_normal((20, 30)), TR, 0.01)
