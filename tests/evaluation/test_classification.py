import numpy as np
import pytest
from scipy.stats import t as student
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, roc_auc_score

from neuroenc.errors import InputError
from neuroenc.evaluation.classification import auc, chance, choice, confusion, measures, over_folds
from neuroenc.evaluation.permutation import p_value


@pytest.fixture
def many():
    rng = np.random.default_rng(3)
    label = rng.integers(0, 4, 90)
    return rng.normal(size=(90, 4)) + np.eye(4)[label], label


def test_measures_are_scikit_learns(many):
    scores, label = many
    found = {k: v[0] for k, v in measures(scores, label).items()}
    chosen = scores.argmax(1)
    assert found["accuracy"] == pytest.approx((chosen == label).mean())
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(label, chosen))
    each = [roc_auc_score(label == k, scores[:, k]) for k in range(4)]
    assert found["auc"] == pytest.approx(np.mean(each))
    np.testing.assert_array_equal(confusion(scores, label), confusion_matrix(label, chosen))
    two = measures(scores[label < 2][:, :2], label[label < 2])["auc"][0]
    difference = scores[label < 2, 1] - scores[label < 2, 0]
    assert two == pytest.approx(roc_auc_score(label[label < 2], difference))


def test_weights_count_rows_as_often(many):
    scores, label = many
    often = np.random.default_rng(0).integers(0, 3, len(label))
    rows = np.repeat(np.arange(len(label)), often)
    weighted, repeated = measures(scores, label, often[None]), measures(scores[rows], label[rows])
    for name in weighted:
        assert weighted[name][0] == pytest.approx(repeated[name][0])


def test_ties_count_half_and_nan_never_wins():
    scores = np.array([[1, 1], [2, np.nan], [np.nan, np.nan], [0, 1]])
    np.testing.assert_array_equal(choice(scores), [[0.5, 0.5], [1, 0], [0, 0], [0, 1]])
    found = measures(scores, np.array([0, 1, 1, 1]))
    assert found["accuracy"][0] == 1.5 / 4
    assert found["balanced_accuracy"][0] == pytest.approx((0.5 + 1 / 3) / 2)
    assert auc([1.0, 1.0], [True, False])[0] == 0.5
    assert auc([np.nan, 0.0], [True, False])[0] == auc([0.0, np.nan], [True, False])[0] == 0


def test_a_class_a_fold_does_not_test_is_left_out_of_its_means(many):
    scores, label = many
    kept = label != 2
    found = measures(scores[kept], label[kept])
    each = [roc_auc_score(label[kept] == k, scores[kept, k]) for k in (0, 1, 3)]
    assert found["auc"][0] == pytest.approx(np.mean(each))
    assert np.isnan(measures(scores[label == 2], label[label == 2])["auc"][0])


def test_folds_are_not_pooled():
    """Each fold is told apart perfectly, on scales of its own; pooled AUC would be 0.75."""
    scores = np.array([[0, 0.0], [0, 1], [0, 2], [0, 3]])
    found = over_folds(scores, [0, 1, 0, 1], [0, 0, 1, 1])
    assert found["auc"]["value"] == 1
    assert roc_auc_score([0, 1, 0, 1], scores[:, 1]) == 0.75


def test_interval_over_runs_is_that_of_a_mean(many):
    """Student's t of the runs, wider by the root of two: each run's stimuli train the others."""
    scores, label = many
    run = np.arange(90) // 6
    found = over_folds(scores, label, run, run, n_bootstraps=20_000)["accuracy"]
    each = np.array(found["per_fold"])
    half = student.ppf(0.975, 14) * each.std(ddof=1) * np.sqrt(2 / len(each))
    assert found["value"] == pytest.approx(each.mean())
    assert found["low"] == pytest.approx(each.mean() - half, abs=0.02)
    assert found["high"] == pytest.approx(each.mean() + half, abs=0.02)


@pytest.mark.parametrize("n_folds", [3, 5])
def test_intervals_over_folds_hold_the_true_accuracy(n_folds):
    """A classifier refitted in each fold, to other trials each time."""
    values, limits = [], []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        label = np.arange(90) % 2
        X = rng.normal(size=(90, 10)) + 0.25 * label[:, None]
        fold = rng.permutation(90) % n_folds
        scores = np.zeros((90, 2))
        for f in range(n_folds):
            train = fold != f
            centre = np.stack([X[train & (label == k)].mean(0) for k in (0, 1)])
            scores[~train] = -((X[~train, None] - centre) ** 2).sum(-1)
        found = over_folds(scores, label, fold, np.arange(90), n_bootstraps=300)["accuracy"]
        values.append(found["value"])
        limits.append((found["low"], found["high"]))
    low, high = np.transpose(limits)
    assert 0.9 < ((low <= np.mean(values)) & (np.mean(values) <= high)).mean() <= 1
    assert low.min() >= 0 and high.max() <= 1


@pytest.mark.parametrize("positive", [[-1, 1, 1], [0.2, 0.8, 0.0], ["0", "1", "1"], [0, 1]])
def test_labels_that_are_not_true_or_false_are_refused(positive):
    with pytest.raises(InputError, match="true or false"):
        auc(np.array([0.1, 0.2, 0.3]), positive)


@pytest.mark.parametrize("n_folds", [1, 4])
def test_a_classifier_that_is_always_right_is_not_certain(n_folds):
    label, fold = np.arange(16) % 2, np.arange(16) // (16 // n_folds)
    found = over_folds(np.eye(2)[label], label, fold, np.arange(16) // 2, n_bootstraps=50)
    for measure in found.values():
        assert (measure["low"], measure["high"]) == pytest.approx((0.025 ** (1 / 8), 1))


def test_chance_and_p():
    assert chance([0, 0, 0, 1], [0, 0, 1, 1], 2) == {"uniform": 0.5, "majority": 0.75}
    assert p_value(0.5, np.array([0.4, 0.5, 0.6])) == 0.75
    assert p_value(2.0, np.zeros(99)) == 0.01


@pytest.mark.parametrize(
    ("label", "wrong"),
    [([0, -1, 2], "holds -1, expected 0 to 2"), ([0, 3, 2], "holds 3"), ([0.0, 1, 2], "holds float64"),
     ([0, 1], r"of shape \(2,\)"), ([True, False, True], "holds bool")],
)  # fmt: skip
def test_a_label_that_is_no_class_is_refused(label, wrong):
    """-1, which marks what is unlabelled, was the last class."""
    for of in (measures, confusion):
        with pytest.raises(InputError, match=wrong):
            of(np.eye(3), np.array(label))
