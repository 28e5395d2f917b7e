"""From Responses and Features to decoded embeddings of held-out pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from tqdm import tqdm

from neuroenc import __version__, config, splits
from neuroenc.arrays import CONTRACT, average_repeats, check, join, same_neuroids, select_layers
from neuroenc.decoders.match import likelihood
from neuroenc.decoders.retrieve import cosine, retrieval
from neuroenc.encoders.encode import transductive
from neuroenc.errors import InputError


def make(options: config.Decoder, folds: list[Any], *, checkpoint: Any = None) -> Any:
    """Build the estimator a decoder's options describe.

    Parameters
    ----------
    options : Decoder
    folds : list of (train, validation)
    checkpoint : path, optional
        From which a run trained by gradient is resumed.
    """
    values = options.model_dump(exclude={"name", "models", "layers"})
    if isinstance(options, config.RidgeDecoding):
        from neuroenc.decoders.ridge import RidgeDecoder

        low, high, number = values.pop("alphas")
        return RidgeDecoder(np.logspace(low, high, number).tolist(), cv=folds, **values)
    import torch

    from neuroenc.decoders.network import BrainNetwork

    if values["device"] == "auto":
        values["device"] = "cuda" if torch.cuda.is_available() else "cpu"
    return BrainNetwork(cv=folds, checkpoint=checkpoint, **values)


def decode(
    responses: xr.Dataset, features: xr.Dataset, split: xr.Dataset, options: config.Decoder, *,
    shuffle: int | None = None, checkpoint: Callable[[int], Any] | None = None,
) -> xr.Dataset:  # fmt: skip
    """Fit a decoder on the training stimuli of each fold and decode its test stimuli.

    Repeats are averaged; neuroids are standardised by the training stimuli, those that are not finite or do
    not vary there are left out. Embeddings are decoded as whitened components, learned from those of the
    training stimuli.

    Parameters
    ----------
    responses, features, split : Dataset
        Responses, Features, Splits.
    options : Decoder
    shuffle : int, optional
        Seed: deal the training embeddings anew to the training responses, for the null.
    checkpoint : callable, optional
        From fold to the file a training run is resumed from.

    Returns
    -------
    Dataset
        Embeddings: `embedding` and `true` (presentation, component) of the test stimuli of all folds; `mean`
        and `basis` lead from embeddings to components: (embedding - mean) @ basis'.

    Raises
    ------
    InputError
        No such layer; no neuroid varies.
    """
    ids, mean = average_repeats(responses)
    first = {s: i for i, s in reversed(list(enumerate(responses["stimulus_id"].values)))}
    group = responses["group"].values[[first[s] for s in ids]]
    response = mean.reshape(len(ids), -1)
    features = select_layers(features, options.layers)
    embedding = join(features, ids)
    out: dict[str, list[Any]] = {k: [] for k in ("embedding", "true", "id", "fold", "mean", "basis")}
    for fold in tqdm(range(split.sizes["fold"]), options.name, disable=None):
        side, inner = splits.sides(split, fold, ids, group)
        train, test = side == splits.TRAIN, side == splits.TEST
        centre, scale = response[train].mean(0), response[train].std(0)
        usable = np.isfinite(scale) & (scale > 0)
        if not usable.any():
            raise InputError(
                f"None of {response.shape[1]} neuroids is finite and varies over the training stimuli of "
                f"fold {fold}. Check the responses."
            )
        X = np.nan_to_num((response[:, usable] - centre[usable]) / scale[usable])
        Y = embedding[train]
        if shuffle is not None:
            Y = Y[np.random.default_rng((shuffle, fold)).permutation(len(Y))]
        numbers = np.unique(inner[train])
        folds = [(np.flatnonzero(inner[train] != k), np.flatnonzero(inner[train] == k)) for k in numbers]
        model = make(options, folds, checkpoint=checkpoint and checkpoint(fold)).fit(X[train], Y)
        found = model.predict_components(X[test])
        for key, values in (
            ("embedding", found), ("true", model.target_.transform(embedding[test])), ("id", ids[test]),
            ("fold", np.full(len(found), fold)), ("mean", model.target_.mean), ("basis", model.target_.basis),
        ):  # fmt: skip
            out[key].append(values)
    width = min(len(b) for b in out["basis"])  # folds of other sizes may have a component less
    decoded, true = (np.concatenate([v[:, :width] for v in out[k]]) for k in ("embedding", "true"))
    basis = np.stack([b[:width] for b in out["basis"]])
    dataset = xr.Dataset(
        {
            "embedding": (("presentation", "component"), decoded),
            "true": (("presentation", "component"), true),
            "mean": (("fold_index", "feature_index"), np.stack(out["mean"])),
            "basis": (("fold_index", "component", "feature_index"), basis),
        },
        {
            "stimulus_id": ("presentation", np.concatenate(out["id"])),
            "fold": ("presentation", np.concatenate(out["fold"])),
        },
        {k: features.attrs[k] for k in CONTRACT}
        | {
            "kind": "embeddings", "neuroenc_version": __version__, "dataset": responses.attrs["dataset"],
            "decoder": options.name, "transductive": transductive(responses, split),
            "shuffled": "no" if shuffle is None else f"training pairs, seed {shuffle}",
        },
    )  # fmt: skip
    return check(dataset, "embeddings")


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


def restore(embeddings: xr.Dataset, fold: int) -> NDArray[np.float32]:
    """Return the decoded embeddings of a fold in the network's own space, (n_pictures, n_features)."""
    from neuroenc.decoders.target import Target

    target = Target(embeddings["mean"].values[fold], embeddings["basis"].values[fold])
    return target.inverse(embeddings["embedding"].values[embeddings["fold"].values == fold])


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
    ids, mean = average_repeats(responses)
    row = {s: i for i, s in enumerate(ids)}
    measured = mean.reshape(len(ids), -1)
    fold, held_fold = predictions["fold"].values, predictions["held_fold"].values
    tested = np.array([row[s] for s in predictions["stimulus_id"].values])
    held = np.array([row[s] for s in predictions["held_stimulus_id"].values])
    tables = []
    for f in np.unique(fold):
        test, inner = fold == f, held_fold == f
        train = np.setdiff1d(np.arange(len(ids)), tested[test])
        scale = measured[train].std(0)
        scale = np.where(scale > 0, scale, np.nan)
        y, predicted = (
            (v - measured[train].mean(0)) / scale
            for v in (measured[tested[test]], predictions["prediction"].values[test].reshape(test.sum(), -1))
        )
        shown = predictions["validation"].values[inner].reshape(inner.sum(), -1)
        similarity = likelihood(y, predicted, (measured[held[inner]] - shown) / scale)
        tables.append(retrieval(similarity, n_way=n_way, n_bootstraps=n_bootstraps, seed=seed))
    return _mean(tables)


def _mean(tables: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    return {
        name: {key: float(np.mean([t[name][key] for t in tables])) for key in tables[0][name]}
        for name in tables[0]
    }
