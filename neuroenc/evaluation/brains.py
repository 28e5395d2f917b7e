"""One brain predicted from others: a ceiling that knows nothing of models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroenc.encoders.ridge import RidgeCV
from neuroenc.errors import InputError
from neuroenc.evaluation.scores import pearson_r
from neuroenc.evaluation.statistics import bootstrap_r, per_fold
from neuroenc.real import deviation


def predict_brains(
    ids: NDArray[np.str_], means: Mapping[str, NDArray[Any]],
    masks: Mapping[str, dict[str, NDArray[np.bool_]]], *, seed: int = 0,
) -> list[dict[str, Any]]:  # fmt: skip
    """Predict the regions of each subject from all neuroids of the others, by ridge in five folds.

    Parameters
    ----------
    ids : array of text, (n_stimuli,)
    means : mapping of subject to array of shape (n_stimuli, n_neuroids)
        Responses to the same stimuli in the same order.
    masks : mapping of subject to {region: mask}
    seed : int
        Of the folds and the bootstrap over stimuli.

    Returns
    -------
    list of dict
        `subject`, `region`, mean test `r` over neuroids, `low`, `high`, `n_neuroids`.
    """
    if len(means) < 2 or len(ids) < 15:
        raise InputError(
            f"{len(means)} subjects who share {len(ids)} stimuli cannot predict one another, expected 2 and "
            "15 or more. Set similarity.brain_to_brain to false."
        )
    fold = np.random.default_rng(seed).permutation(len(ids)) % 5
    rows = []
    for name, Y in means.items():
        X = np.concatenate([v for k, v in means.items() if k != name], 1)
        prediction = np.empty(Y.shape)
        for k in range(5):
            train = fold != k
            centre, scale = X[train].mean(0), deviation(X[train])
            Z = (X - centre) / np.where(scale > 0, scale, 1)
            model = RidgeCV(np.logspace(0, 6, 13)).fit(Z[train].astype(float), Y[train].astype(float))
            prediction[~train] = model.predict(Z[~train].astype(float))
        each = per_fold(pearson_r, Y, prediction, fold).mean(0)
        by_region = bootstrap_r(Y, prediction, ids, fold, masks[name], seed=seed)[1]
        for region, (low, high) in by_region.items():
            some = each[masks[name][region]]
            values = {"r": np.nanmean(some) if np.isfinite(some).any() else np.nan, "low": low, "high": high}
            rows.append({
                "subject": name, "region": region, "n_neuroids": int(masks[name][region].sum()),
                **{k: float(v) if np.isfinite(v) else None for k, v in values.items()},
            })  # fmt: skip
    return rows
