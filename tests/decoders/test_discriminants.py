"""Discriminants against scikit-learn's, which hold a covariance of all features."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from neuroenc.decoders.discriminants import discriminants
from neuroenc.encoders.design import Design


@pytest.mark.parametrize(
    ("n", "p", "n_classes"), [(60, 200, 4), (60, 59, 3), (300, 20, 2), (12, 500, 2), (40, 1, 3)]
)
@pytest.mark.parametrize("kind", [np.asarray, Design])
def test_scores_are_those_of_scikit_learn(n, p, n_classes, kind, monkeypatch):
    monkeypatch.setattr("neuroenc.blocks.BLOCK_BYTES", 8 * n * 7)  # blocks of seven columns
    rng = np.random.default_rng(0)
    label = rng.permutation(np.arange(n) % n_classes)
    X, new = (rng.normal(size=(m, p)) * rng.uniform(0.1, 3, p) + 5 for m in (n, 9))
    X += rng.normal(size=(n_classes, p))[label]
    if p > 1:
        X[label == 1, 0] = 2.0  # does not vary within a class
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(X, label)
    found = discriminants(kind(X), label, kind(new))
    expected = model.decision_function(new)
    if n_classes == 2:
        found = found[:, 1] - found[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
