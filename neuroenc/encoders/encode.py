"""From Responses and Features to predictions of held-out stimuli: the layer is chosen per neuroid."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from tqdm import tqdm

from neuroenc import __version__, splits
from neuroenc.arrays import average_repeats, check, join
from neuroenc.config import Encoder
from neuroenc.encoders.ridge import RidgeCV


def encode(
    responses: xr.Dataset, features: xr.Dataset, split: xr.Dataset, options: Encoder
) -> tuple[xr.Dataset, dict[str, NDArray[Any]]]:
    """Fit ridge on the training stimuli of each fold and predict its test stimuli.

    Repeats are averaged. Each layer is standardised by the training stimuli. Alpha and layer of
    each neuroid are those with the best R2 on the inner validation folds.

    Parameters
    ----------
    responses, features, split : Dataset
        Responses, Features, Splits.
    options : Encoder

    Returns
    -------
    predictions : Dataset
        `prediction(presentation, neuroid[, time_bin])` for the test stimuli of all folds;
        `layer`, `alpha`, `validation_r2` per fold. A neuroid that is not finite or constant in
        training is NaN throughout.
    weights : dict of ndarray
        Per fold and layer the coefficients of the neuroids that chose it, with mean and scale of
        the features and the intercepts.
    """
    ids, mean = average_repeats(responses)
    first = {s: i for i, s in reversed(list(enumerate(responses["stimulus_id"].values)))}
    group = responses["group"].values[[first[s] for s in ids]]
    dims = responses["response"].dims[1:]
    layer_of = features["layer"].values
    layers = list(dict.fromkeys(layer_of))
    tokens = features["feature"].ndim == 3
    X_all = join(features, ids)
    column_layer = np.tile(layer_of, features.sizes["token"]) if tokens else layer_of
    low, high, number = options.alphas
    alphas = np.logspace(low, high, number)

    predictions, fold_of, shown, weights = [], [], [], {}
    n_folds = split.sizes["fold"]
    chosen_layer = np.zeros((n_folds, *mean.shape[1:]), "<U80")
    chosen_alpha = np.full((n_folds, *mean.shape[1:]), np.nan, np.float32)
    validation = np.full((n_folds, len(layers), *mean.shape[1:]), np.nan, np.float32)
    steps = tqdm(total=n_folds * len(layers), desc="ridge", disable=None)
    for fold in range(n_folds):
        side, inner = splits.sides(split, fold, ids, group)
        train, test = side == splits.TRAIN, side == splits.TEST
        Y = mean[train].reshape(train.sum(), -1)
        usable = np.isfinite(Y).all(0)
        usable[usable] = np.ptp(Y[:, usable], axis=0) > 0
        folds = [(inner[train] != k, inner[train] == k) for k in np.unique(inner[train])]
        folds = [(np.flatnonzero(a), np.flatnonzero(b)) for a, b in folds]
        best = np.full(Y.shape[1], -np.inf)
        predicted = np.full((test.sum(), Y.shape[1]), np.nan, np.float32)
        name, alpha = np.full(Y.shape[1], "", "<U80"), np.full(Y.shape[1], np.nan)
        kept: dict[str, dict[str, NDArray[Any]]] = {}
        for number, layer in enumerate(layers):
            X = X_all[:, column_layer == layer]
            centre, scale = X[train].mean(0), X[train].std(0)
            X = (X - centre) / np.where(scale > 0, scale, 1)
            ridge = RidgeCV(alphas, cv=folds, dtype=options.dtype).fit(X[train], Y[:, usable])
            score = np.full(Y.shape[1], -np.inf)
            score[usable] = ridge.best_score_
            validation[fold, number].reshape(-1)[usable] = ridge.best_score_
            better = score > best
            best[better] = score[better]
            among = better[usable]
            predicted[:, better] = ridge.predict(X[test])[:, among]
            name[better], alpha[better] = layer, ridge.alpha_[among]
            kept[layer] = {
                "neuroid": np.flatnonzero(better), "coef": ridge.coef_[among].astype(np.float32),
                "intercept": ridge.intercept_[among].astype(np.float32),
                "centre": centre, "scale": np.where(scale > 0, scale, 1),
            }  # fmt: skip
            steps.update()
        for layer, parts in kept.items():
            still = name[parts["neuroid"]] == layer
            for key, values in parts.items():
                per_target = key not in ("centre", "scale")
                weights[f"fold{fold}/{layer}/{key}"] = values[still] if per_target else values
        predictions.append(predicted.reshape(-1, *mean.shape[1:]))
        chosen_layer[fold] = name.reshape(mean.shape[1:])
        chosen_alpha[fold] = alpha.reshape(mean.shape[1:])
        fold_of.append(np.full(test.sum(), fold))
        shown.append(ids[test])
    steps.close()
    coords = {k: c.variable for k, c in responses.coords.items() if set(c.dims) <= set(dims)}
    dataset = xr.Dataset(
        {
            "prediction": (("presentation", *dims), np.concatenate(predictions)),
            "chosen_layer": (("fold", *dims), chosen_layer),
            "alpha": (("fold", *dims), chosen_alpha),
            "validation_r2": (("fold", "layer", *dims), validation),
        },
        coords
        | {
            "stimulus_id": ("presentation", np.concatenate(shown)),
            "fold": ("presentation", np.concatenate(fold_of)),
            "layer_name": ("layer", np.array(layers)),
        },
        {
            "kind": "predictions", "neuroenc_version": __version__,
            "dataset": responses.attrs["dataset"], "model": features.attrs["model"],
            "weights": features.attrs["weights"], "encoder": options.name,
            "transductive": _transductive(responses, split),
        },
    )  # fmt: skip
    return check(dataset, "predictions"), weights


def _transductive(responses: xr.Dataset, split: xr.Dataset) -> str:
    """Say whether the scale of the responses has seen the test stimuli of this split."""
    if responses.attrs.get("normalised_on") == "split=train":
        named = set(responses["stimulus_id"].values[responses["split"].values == "test"])
        tested = (split["side"].values == splits.TEST).any(0)
        if not set(split["stimulus_id"].values[tested]) <= named:
            return "sessions were scaled by trials that this split tests"
        return "false"
    return str(responses.attrs.get("transductive", "false"))
