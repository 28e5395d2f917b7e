import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import softmax

from neuroenc.encoders.stack import _forms, _mixture, fixed_weights, stack, stack_weights
from neuroenc.errors import InputError


def members(seed=0, k=4, n=200, t=40):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n, t))
    noise = rng.uniform(0.3, 2, (k, 1, t))
    return truth * 0.5 + rng.normal(size=(k, n, t)) * noise, truth


def test_mixtures_are_those_of_a_general_solver():
    validation, truth = members()
    there = np.ones((4, 40), bool)
    forms = _forms(validation - truth, there)
    found = _mixture(forms, there)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-9)
    assert (found >= 0).all()
    for t in range(40):
        expected = minimize(
            lambda w, f=forms[t]: w @ f @ w, np.full(4, 0.25), jac=lambda w, f=forms[t]: 2 * f @ w,
            bounds=[(0, 1)] * 4, constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            options={"ftol": 1e-14},
        )  # fmt: skip
        np.testing.assert_allclose(found[t], expected.x, atol=1e-4)


def test_selection_takes_the_least_error():
    validation, truth = members()
    weights = stack_weights(validation, truth, select=True)
    best = ((validation - truth) ** 2).mean(1).argmin(0)
    np.testing.assert_array_equal(weights.argmax(0), best)
    np.testing.assert_array_equal(weights.max(0), 1)


def test_a_stack_is_no_worse_than_its_best_member_on_new_data():
    """Over many targets, with as few validation samples as a small study has."""
    rng = np.random.default_rng(1)
    quality = rng.uniform(0.2, 1.5, (3, 1, 500))
    truth, later = rng.normal(size=(2, 80, 500))
    validation, test = (y + rng.normal(size=(3, *y.shape)) * quality for y in (truth, later))
    for groups in (None, np.zeros(500, int)):
        mixed = stack(test, stack_weights(validation, truth, groups=groups))
        best = stack(test, stack_weights(validation, truth, select=True))
        assert ((mixed - later) ** 2).mean() < ((best - later) ** 2).mean()


def test_group_helps_where_validation_is_short():
    rng = np.random.default_rng(2)
    truth, later = rng.normal(size=(2, 20, 400))
    quality = np.array([0.5, 0.7, 2.0])[:, None, None]
    validation, test = (y + rng.normal(size=(3, *y.shape)) * quality for y in (truth, later))
    shared = stack_weights(validation, truth, groups=np.zeros(400, int))
    alone = stack_weights(validation, truth, groups=np.arange(400))
    errors = [((stack(test, w) - later) ** 2).mean() for w in (shared, alone)]
    assert errors[0] < errors[1]


def test_members_that_do_not_predict_a_target_take_no_part():
    validation, truth = members()
    validation[1, :, 3] = np.nan
    validation[:, :, 5] = np.nan
    weights = stack_weights(validation, truth)
    assert weights[1, 3] == 0 and weights[:, 3].sum() == pytest.approx(1)
    assert np.isnan(weights[:, 5]).all()
    mixed = stack(validation, weights)
    assert np.isfinite(mixed[:, 3]).all() and np.isnan(mixed[:, 5]).all()


def test_shapes_must_match():
    validation, truth = members()
    with pytest.raises(InputError, match="Make both of the same stimuli"):
        stack_weights(validation, truth[:-1])
    with pytest.raises(InputError, match=r"Validation predictions of shape \(199, 40\)"):
        stack_weights([validation[0], validation[1][:-1]], truth)
    with pytest.raises(InputError, match=r"expected both \(n_stimuli, n_targets\)"):
        stack_weights(validation[:, :, 0], truth[:, 0])


def test_equal_weights_are_the_mean_of_those_that_predict():
    validation, truth = members()
    truth[:50, 0] = np.nan
    np.testing.assert_allclose(stack(validation, fixed_weights(validation, truth)), validation.mean(0))
    validation[1, :, 3], validation[:, :, 5] = np.nan, np.nan
    weights = fixed_weights(validation, truth)
    np.testing.assert_allclose(weights[:, 3], [1 / 3, 0, 1 / 3, 1 / 3])
    assert np.isnan(weights[:, 5]).all() and np.isnan(stack(validation, weights)[:, 5]).all()


def test_softmax_weights_are_those_of_validation_r():
    validation, truth = members()
    truth[:50, 0] = np.nan
    validation[2, :, 1] = 3.0  # constant: no r, as if it were 0
    weights = fixed_weights(validation, truth, 40)
    for t in range(40):
        seen = np.isfinite(truth[:, t])
        r = [np.corrcoef(v[seen, t], truth[seen, t])[0, 1] if np.ptp(v[:, t]) else 0 for v in validation]
        np.testing.assert_allclose(weights[:, t], softmax(40 * np.array(r)), rtol=1e-9)


def test_weights_are_those_of_any_order_of_stimuli():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(20, 6))
    validation = [truth + rng.normal(size=truth.shape) for _ in range(3)]
    names = np.array([f"s{i:02d}" for i in range(20)])
    expected = stack_weights(validation, truth)
    order = rng.permutation(20)
    shuffled = [v[order] for v in validation]
    found = stack_weights(shuffled, truth[order], stimulus=names[order])
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert np.abs(stack_weights(shuffled, truth[order]) - expected).max() > 0.01  # other halves
