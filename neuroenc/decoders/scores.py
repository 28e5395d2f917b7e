"""How well decoded embeddings, or an encoder's predictions, retrieve the test pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.arrays import same_neuroids, trained
from neuroenc.decoders.match import likelihood
from neuroenc.decoders.retrieve import hits, retrieval
from neuroenc.encoders.missing import by_stimulus, complete
from neuroenc.evaluation.identification import cosine, standardise_by


def score(
    embeddings: xr.Dataset, *, n_way: int | None = None, n_bootstraps: int = 1000, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Retrieve the test pictures of each fold among themselves by cosine; average over folds.

    Parameters
    ----------
    embeddings : Dataset
    n_way, n_bootstraps, seed
        As in `retrieval`.

    Returns
    -------
    dict
        Metric -> value, low, high, chance. The interval averages those of the folds, which overlap in
        training data, so that more folds do not narrow it.
    """
    fold = embeddings["fold"].values
    tables = [
        retrieval(
            cosine(embeddings["embedding"].values[fold == f], embeddings["true"].values[fold == f]),
            n_way=n_way, n_bootstraps=n_bootstraps, seed=seed,
        )
        for f in np.unique(fold)
    ]  # fmt: skip
    return _mean(tables)


def prior_gain(
    embeddings: xr.Dataset, *, n_bootstraps: int = 1000, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Compare what the prior sampled with the plain projection it was given.

    Parameters
    ----------
    embeddings : Dataset
        With `sampled`.
    n_bootstraps, seed
        Of the pictures.

    Returns
    -------
    dict
        Measure -> plain, prior, and gain with its interval (low, high) over pictures. `cosine` to the truth;
        `top1`, of the fold's pictures; `length`, root mean square of the components, which is 1 for pictures.
    """
    fold = embeddings["fold"].values
    drawn = np.random.default_rng(seed).integers(0, len(fold), (n_bootstraps, len(fold)))
    out = {}
    each: dict[str, dict[str, NDArray[np.float64]]] = {}
    for name in ("embedding", "sampled"):
        found, true = embeddings[name].values, embeddings["true"].values
        top1, near = np.empty(len(fold)), np.empty(len(fold))
        for f in np.unique(fold):
            similarity = cosine(found[fold == f], true[fold == f])
            near[fold == f], top1[fold == f] = np.diag(similarity), hits(similarity, 1)
        each[name] = {"cosine": near, "top1": top1, "length": (found.astype(float) ** 2).mean(1)}
    for measure in ("cosine", "top1", "length"):
        plain, sampled = each["embedding"][measure], each["sampled"][measure]
        root = np.sqrt if measure == "length" else np.asarray
        change = root(sampled[drawn].mean(1)) - root(plain[drawn].mean(1))
        low, high = np.quantile(change, [0.025, 0.975])
        values = {"plain": root(plain.mean()), "prior": root(sampled.mean())}
        values |= {"gain": values["prior"] - values["plain"], "low": low, "high": high}
        out[measure] = {k: float(v) for k, v in values.items()}
    return out


def match(
    responses: xr.Dataset, predictions: xr.Dataset, *, n_way: int | None = None, n_bootstraps: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Retrieve the test pictures by an encoder: the likelihood of each response under its predictions.

    Parameters
    ----------
    responses, predictions : Dataset
        Of one subject; the covariance of the noise is that of the predictions' validation stimuli.
    n_way, n_bootstraps, seed
        As in `retrieval`.

    Returns
    -------
    dict
        As `score`.
    """
    same_neuroids(responses, predictions)
    ids, mean, *_ = by_stimulus(responses)
    kept, whole, _ = complete(mean.reshape(len(ids), -1))
    ids, measured = ids[kept], np.where(whole, mean[kept].reshape(kept.sum(), -1), np.nan)
    predictions = predictions.isel(
        presentation=np.isin(predictions["stimulus_id"].values, ids),
        held=np.isin(predictions["held_stimulus_id"].values, ids),
    )
    row = {s: i for i, s in enumerate(ids)}
    fold, held_fold = predictions["fold"].values, predictions["held_fold"].values
    tested = np.array([row[s] for s in predictions["stimulus_id"].values])
    held = np.array([row[s] for s in predictions["held_stimulus_id"].values])
    fitted = trained(predictions, ids)
    tables = []
    for f in np.unique(fold):
        test, inner = fold == f, held_fold == f
        y, predicted, seen, foreseen = standardise_by(
            measured[fitted[f]], measured[tested[test]],
            predictions["prediction"][test].values.reshape(test.sum(), -1), measured[held[inner]],
            predictions["validation"][inner].values.reshape(inner.sum(), -1),
        )  # fmt: skip
        similarity = likelihood(y, predicted, seen - foreseen)
        tables.append(retrieval(similarity, n_way=n_way, n_bootstraps=n_bootstraps, seed=seed))
    return _mean(tables)


def _mean(tables: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    return {
        name: {key: float(np.mean([t[name][key] for t in tables])) for key in tables[0][name]}
        for name in tables[0]
    }
