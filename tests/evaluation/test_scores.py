import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import pearsonr
from sklearn.metrics import r2_score as sklearn_r2
from torchmetrics.functional import pearson_corrcoef

from neuroenc.errors import InputError
from neuroenc.evaluation.pairs import picture_r, two_versus_two
from neuroenc.evaluation.scores import normalised_r, pearson_r, r2_score


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(50, 7)) * np.geomspace(1e-4, 1e4, 7) + 100
    return y, y + rng.normal(size=(50, 7)) * np.geomspace(1e-4, 1e4, 7)


def test_pearson_is_scipys_and_torchmetrics(pair):
    found = pearson_r(*pair)
    np.testing.assert_allclose(found, [pearsonr(a, b)[0] for a, b in zip(*(v.T for v in pair), strict=True)])
    np.testing.assert_allclose(found, pearson_corrcoef(*map(torch.tensor, pair)), atol=1e-8)


def test_r2_is_scikit_learns(pair):
    np.testing.assert_allclose(r2_score(*pair), sklearn_r2(*pair, multioutput="raw_values"), atol=1e-8)


@pytest.mark.parametrize("score", [pearson_r, r2_score])
def test_what_a_mask_hides_is_not_scored(pair, score):
    y, prediction = pair
    hidden = np.ma.masked_array(y, mask=np.arange(50)[:, None] + np.zeros(7) == 3)
    assert np.isnan(score(hidden, prediction)).all()
    rows = np.arange(50) != 3
    found = score(hidden, prediction, ~hidden.mask)
    np.testing.assert_allclose(found, score(y[rows], prediction[rows]), rtol=1e-9)


@pytest.mark.parametrize("score", [pearson_r, r2_score])
def test_what_has_no_score_is_nan_and_the_rest_untouched(pair, score):
    y, prediction = (v.copy() for v in pair)
    whole = score(y, prediction)
    y[:, 1], y[3, 2], prediction[4, 5] = 0.1, np.nan, np.inf
    found = score(y, prediction)
    assert np.isnan(found[[1, 2, 5]]).all()
    np.testing.assert_array_equal(found[[0, 3, 4, 6]], whole[[0, 3, 4, 6]])


def test_normalised_never_turns_a_low_ceiling_into_a_perfect_score():
    ceiling = np.array([0.64, 0.04, 0.0, np.nan, 0.25])
    found, below = normalised_r([0.4, 0.4, 0.4, 0.4, 0.6], ceiling, threshold=0.05)
    assert below == 3
    np.testing.assert_allclose(found, [0.5, np.nan, np.nan, np.nan, 1.2])  # above 1 is not clipped


@pytest.mark.parametrize(
    ("ceiling", "said"), [([[0.4], [0.5]], "expected the same"), ([40, 50], "Divide percent")]
)
def test_what_is_no_ceiling_of_r_is_refused(ceiling, said):
    with pytest.raises(InputError, match=said):
        normalised_r([0.4, 0.5], ceiling, threshold=0.1)


def test_normalised_by_no_ceiling_at_all_is_nan_whatever_the_threshold():
    found, below = normalised_r([0.4, 0.4], [0.0, 0.16], threshold=0)
    assert below == 1
    np.testing.assert_allclose(found, [np.nan, 1.0])


@pytest.mark.parametrize("score", [pearson_r, r2_score, picture_r, two_versus_two])
@pytest.mark.parametrize("shape", [(50, 1), (1, 7), (49, 7)])
def test_what_would_be_broadcast_is_refused(pair, score, shape):
    y, prediction = pair
    with pytest.raises(InputError, match=r"y has shape \(50, 7\), prediction"):
        score(y, prediction[: shape[0], : shape[1]])


@pytest.mark.parametrize("score", [pearson_r, r2_score])
def test_tables_in_another_order_of_rows_are_refused(pair, score):
    y, prediction = (pd.DataFrame(v, index=[f"s{i}" for i in range(50)]) for v in pair)
    np.testing.assert_allclose(score(y, prediction), score(*pair), rtol=1e-12)
    with pytest.raises(InputError, match="row 0 is 's49', not 's0'"):
        score(y, prediction[::-1])


@pytest.mark.parametrize("score", [pearson_r, r2_score])
def test_of_no_rows_there_is_no_score(score):
    assert np.isnan(score(np.zeros((0, 2)), np.zeros((0, 2)))).all()
