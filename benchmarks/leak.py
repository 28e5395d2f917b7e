"""How much folds over presentations give, where repeats of a picture stand on both sides.

The published analysis of BOLD5000 (Oota et al. 2022) cuts the presentations into unshuffled folds, so that
another presentation of a test picture may be trained on; group-safe folds keep a picture on one side. Both here
by one ridge, on single presentations, scored by the correlation of each neuroid over presentations, within folds.

    python -m benchmarks.leak RESPONSES.nc FEATURES.nc
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.arrays import join, load
from neuroenc.encoders.ridge import RidgeCV
from neuroenc.evaluation.scores import pearson_r

ALPHAS = np.logspace(0, 6, 10)


def leak(responses: xr.Dataset, features: xr.Dataset, n_folds: int = 10) -> dict[str, float]:
    """Fit and score by published and by group-safe folds.

    Parameters
    ----------
    responses, features : Dataset
        Of one subject; presentations in the order they were shown.
    n_folds : int

    Returns
    -------
    dict
        Mean r over neuroids of all presentations, and of those whose picture was shown again (pooled over
        folds, responses and predictions less the mean of their fold), by each kind of folds; what the
        published ones give more.
    """
    ids = responses["stimulus_id"].values
    X, Y = join(features, ids), responses["response"].values
    spread = X.std(0)
    X = ((X - X.mean(0)) / np.where(spread > 0, spread, 1)).astype(np.float32)
    unique, picture = np.unique(ids, return_inverse=True)
    order = np.random.default_rng(0).permutation(len(unique))
    folds = {
        "published": np.arange(len(ids)) * n_folds // len(ids),
        "group-safe": (order * n_folds // len(unique))[picture],
    }
    again = np.bincount(picture)[picture] > 1
    out: dict[str, float] = {}
    for name, fold in folds.items():
        predicted, measured = _predicted(X, Y, fold, picture)
        out[f"all, {name}"] = float(np.nanmean(pearson_r(measured, predicted)))
        out[f"repeats, {name}"] = float(np.nanmean(pearson_r(measured[again], predicted[again])))
    for what in ("all", "repeats"):
        out[f"{what}, leak"] = out[f"{what}, published"] - out[f"{what}, group-safe"]
    return out


def _predicted(
    X: NDArray[Any], Y: NDArray[Any], fold: NDArray[np.int64], picture: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Predict each fold by the others; return predictions and responses less the mean of their fold."""
    predicted, measured = np.zeros_like(Y), np.zeros_like(Y)
    for f in np.unique(fold):
        train, test = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        inner = picture[train] % 5  # alpha is chosen by folds of pictures in both
        cv = [(np.flatnonzero(inner != k), np.flatnonzero(inner == k)) for k in range(5)]
        found = RidgeCV(alphas=ALPHAS, cv=cv).fit(X[train], Y[train]).predict(X[test])
        predicted[test], measured[test] = found - found.mean(0), Y[test] - Y[test].mean(0)
    return predicted, measured


if __name__ == "__main__":
    print(json.dumps(leak(load(sys.argv[1], "responses"), load(sys.argv[2], "features")), indent=2))
