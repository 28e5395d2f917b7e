"""How well decoded embeddings, or an encoder's predictions, retrieve the test pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.arrays import same_neuroids, trained
from neuroenc.decoders.choice import point_estimate
from neuroenc.decoders.match import likelihood
from neuroenc.decoders.retrieve import hits, retrieval
from neuroenc.encoders.missing import by_stimulus, complete
from neuroenc.evaluation.evaluate import alike, groups_at
from neuroenc.evaluation.identification import cosine, standardise_by
from neuroenc.evaluation.statistics import limits, resample

MADE = {"plain": "embedding", "one_sample": "sampled", "mean_of_samples": "expected", "prior": "point"}
"""What is compared, and the variable it stands in"""


def score(
    embeddings: xr.Dataset, *, n_way: int | None = None, n_bootstraps: int = 1000, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Retrieve the test pictures of each fold among themselves by cosine; average over folds.

    By what was decoded, and with a prior by the mixture of it and the mean of samples that served validation
    pictures best.

    Parameters
    ----------
    embeddings : Dataset
    n_way, n_bootstraps, seed
        As in `retrieval`.

    Returns
    -------
    dict
        Metric -> value, low, high, chance. The interval averages those of the folds, which overlap in
        training data, so that more folds do not narrow it; stimuli of one group are drawn together.
    """
    fold, found = embeddings["fold"].values, point_estimate(embeddings)
    group = _groups(embeddings)
    tables = [
        retrieval(
            cosine(found[fold == f], embeddings["true"].values[fold == f]),
            n_way=n_way, unit=alike(group[fold == f]), n_bootstraps=n_bootstraps, seed=seed,
        )
        for f in np.unique(fold)
    ]  # fmt: skip
    return _mean(tables)


def prior_gain(
    embeddings: xr.Dataset, *, n_bootstraps: int = 1000, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Compare what the prior made with the plain projection it was given.

    Parameters
    ----------
    embeddings : Dataset
        With what a prior made.
    n_bootstraps, seed
        Of the pictures.

    Returns
    -------
    dict
        Measure -> plain; one_sample; mean_of_samples; prior, the mixture that validation chose; and gain of
        this over plain with its interval (low, high) over pictures, those of one group together. `cosine` to
        the truth; `top1`, of the fold's pictures; `length`, root mean square of the components, which is 1
        for pictures.
    """
    samples = resample(
        embeddings["stimulus_id"].values, embeddings["fold"].values, stretch=alike(_groups(embeddings)),
        n=n_bootstraps, seed=seed,
    )  # fmt: skip
    each = {label: _each(embeddings[name].values, embeddings) for label, name in MADE.items()}
    out = {}
    for measure in ("cosine", "top1", "length"):
        root = np.sqrt if measure == "length" else np.asarray
        plain, chosen = each["plain"][measure], each["prior"][measure]
        values = {label: root(found[measure].mean()) for label, found in each.items()}
        gain = float(values["prior"] - values["plain"])

        def gained(k: Any, weight: Any, one: Any = chosen, other: Any = plain, root: Any = root) -> Any:
            size = weight.sum(1)
            return root(weight @ one[k] / size) - root(weight @ other[k] / size)

        low, high = limits(samples, gain, gained)
        values |= {"gain": gain, "low": low, "high": high}
        out[measure] = {k: float(v) for k, v in values.items()}
    return out


def _each(found: NDArray[np.float32], embeddings: xr.Dataset) -> dict[str, NDArray[np.float64]]:
    """Measure embeddings of each picture, among those of its fold."""
    fold, true = embeddings["fold"].values, embeddings["true"].values
    top1, near = np.empty(len(fold)), np.empty(len(fold))
    for f in np.unique(fold):
        similarity = cosine(found[fold == f], true[fold == f])
        near[fold == f], top1[fold == f] = np.diag(similarity), hits(similarity, 1)
    return {"cosine": near, "top1": top1, "length": (found.astype(float) ** 2).mean(1)}


def retrieved_each(embeddings: xr.Dataset, null: xr.Dataset | None = None) -> list[dict[str, Any]]:
    """Retrieve each test picture among those of its fold, between its bounds.

    Parameters
    ----------
    embeddings : Dataset
    null : Dataset, optional
        Decoded after shuffling, of the same pictures.

    Returns
    -------
    list of dict
        metric (top-1 both ways), condition (brain, shuffled, chance), `each` and `unit` of each picture.
    """
    fold, group = embeddings["fold"].values, alike(_groups(embeddings))
    unit = (np.arange(len(fold)) if group is None else np.unique(group, return_inverse=True)[1]).tolist()
    n = np.bincount(fold)[fold]
    directions = {"brain_to_image_top1": False, "image_to_brain_top1": True}
    rows = [
        {"metric": metric, "condition": "chance", "each": (1 / n).tolist(), "unit": unit}
        for metric in directions
    ]
    for condition, found in {"brain": embeddings, "shuffled": null}.items():
        if found is None:
            continue
        for metric, turned in directions.items():
            each = np.empty(len(fold))
            for f in np.unique(fold):
                decoded, true = (v[fold == f] for v in (point_estimate(found), found["true"].values))
                similarity = cosine(decoded, true)
                each[fold == f] = hits(similarity.T if turned else similarity, 1)
            rows.append({"metric": metric, "condition": condition, "each": each.tolist(), "unit": unit})
    return rows


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
    # shrinkage is chosen by folds of the validation stimuli, which no order of rows may change
    predictions = predictions.isel(
        presentation=np.argsort(predictions["stimulus_id"].values, kind="stable"),
        held=np.argsort(predictions["held_stimulus_id"].values, kind="stable"),
    )
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
        unit = groups_at(responses, predictions["stimulus_id"].values[test])
        tables.append(retrieval(similarity, n_way=n_way, unit=unit, n_bootstraps=n_bootstraps, seed=seed))
    return _mean(tables)


def _groups(embeddings: xr.Dataset) -> NDArray[np.str_]:
    """Name the group of each stimulus; of embeddings without groups each is its own."""
    named = "group" if "group" in embeddings.coords else "stimulus_id"
    return np.asarray(embeddings[named].values)


def _mean(tables: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    return {
        name: {key: float(np.mean([t[name][key] for t in tables])) for key in tables[0][name]}
        for name in tables[0]
    }
