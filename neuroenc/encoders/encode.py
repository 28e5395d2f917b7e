"""From Responses and Features to predictions of held-out stimuli, by any encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from tqdm import tqdm

from neuroenc import __version__, config, ranking, splits
from neuroenc.arrays import check, regions
from neuroenc.encoders.delay import delay_stimuli, gather
from neuroenc.encoders.inputs import folds_of
from neuroenc.encoders.missing import by_stimulus, fittable, r2
from neuroenc.encoders.stack import stack, stack_weights
from neuroenc.errors import InputError
from neuroenc.real import deviation

Floats = NDArray[Any]
TOKENS = ("factorised", "gaussian", "semantic_transformer", "attention")


class Fit(NamedTuple):
    """A fitted model, as it is stored."""

    fold: int
    layers: list[str]
    model: Any
    neuroid: NDArray[np.int64]
    """Which neuroids the targets of the model are."""
    weight: Floats
    """Share of each target's prediction that this model gives."""
    centre: Floats
    scale: Floats
    """Of the features: (feature - centre) / scale."""
    delays: list[int]
    """In stimuli, of the features after that; empty: none."""


def make(
    options: config.Encoder, folds: list[Any], *, bands: Any = None, membership: Any = None,
    layer_channels: tuple[int, ...] | None = None, checkpoint: Any = None,
) -> Any:  # fmt: skip
    """Build the estimator an encoder's options describe.

    Parameters
    ----------
    options : Encoder
    folds : list of (train, validation)
    bands : array of text, (n_features,), optional
        For banded ridge.
    membership : array of shape (n_targets, n_queries) or "each", optional
        For attention routing.
    layer_channels : tuple of int, optional
        Channels of the layers that stand side by side; for attention routing.
    checkpoint : path, optional
        From which a run trained by gradient is resumed.
    """
    values = options.model_dump(exclude={"name", "models", "layers", "delays"})
    if "alphas" in values:
        low, high, number = values["alphas"]
        values["alphas"] = np.logspace(low, high, number)
    values["cv"] = folds
    if values.get("device") == "cpu" and not isinstance(options, config.Trained):
        values["device"] = None  # NumPy, without torch
    elif "device" in values:
        from neuroenc.devices import pick_device

        values["device"] = pick_device(values["device"])
    if isinstance(options, config.Trained):
        values["checkpoint"] = checkpoint
    match options.name:
        case "ridge":
            from neuroenc.encoders.ridge import RidgeCV

            return RidgeCV(**values)
        case "banded":
            from neuroenc.encoders.banded import BandedRidgeCV

            return BandedRidgeCV(bands=bands, **values)
        case "pls":
            from neuroenc.encoders.pls import PLS

            return PLS(**values)
        case "factorised":
            from neuroenc.encoders.factorised import FactorisedCV

            return FactorisedCV(**values)
        case "gaussian":
            from neuroenc.encoders.gaussian import GaussianFieldCV

            return GaussianFieldCV(**values)
        case "semantic_transformer":
            from neuroenc.encoders.semantic_transformer import SemanticTransformer

            return SemanticTransformer(**values)
        case "attention":
            from neuroenc.encoders.attention import AttentionRouting

            for key in ("queries", "networks"):
                values.pop(key)
            return AttentionRouting(membership, layer_channels=layer_channels, **values)


def queries(responses: xr.Dataset, options: config.Attention) -> tuple[NDArray[np.bool_] | None, list[str]]:
    """Say which neuroids read which query.

    Returns
    -------
    membership : array of shape (n_neuroids, n_queries)
        None where each neuroid asks.
    names : list of str
    """
    n = responses.sizes["neuroid"]
    if options.queries == "voxel":
        return None, [str(v) for v in responses["neuroid_id"].values]
    masks = regions(responses) if options.queries != "all" else {}
    unknown = {r for members in options.networks.values() for r in members} - set(masks)
    if unknown:
        raise InputError(
            f"Invalid value for 'networks': no region {min(unknown)!r}. Regions: {', '.join(masks)}."
        )
    joined = {k: np.any([masks[r] for r in members], 0) for k, members in options.networks.items()}
    alone = set(masks) - {r for members in options.networks.values() for r in members}
    masks = joined | {k: v for k, v in masks.items() if k in alone}
    if options.queries == "hemisphere":
        sides = responses["hemisphere"].values
        masks = {f"{side} {k}": v & (sides == side) for side in np.unique(sides) for k, v in masks.items()}
    masks = {k: v for k, v in masks.items() if v.any()}
    outside = ~np.any([*masks.values(), np.zeros(n, bool)], axis=0)
    if outside.any():
        masks["none"] = outside
    return np.stack(list(masks.values()), 1), list(masks)


def encode(
    responses: xr.Dataset, features: xr.Dataset, split: xr.Dataset, options: config.Encoder,
    *, checkpoint: Callable[[int, str], Any] | None = None,
) -> tuple[xr.Dataset, list[Fit]]:  # fmt: skip
    """Fit an encoder on the training stimuli of each fold and predict its test stimuli.

    Repeats are averaged. Features are standardised by the training stimuli. What an encoder chooses it
    chooses on the inner validation folds, the layer of each neuroid included. The stimuli of the first
    inner fold are also predicted by a model that was not fitted to them: stacks learn from these.

    NaN in the responses is a missing value. A stimulus without any is left out; a neuroid is fitted to the
    stimuli it has values of (partial least squares leaves out neuroids that lack some).

    Parameters
    ----------
    responses, features, split : Dataset
        Responses, Features, Splits.
    options : Encoder
    checkpoint : callable, optional
        From fold and layer to the file a training run is resumed from.

    Returns
    -------
    predictions : Dataset
        `prediction(presentation, neuroid[, time_bin])` for the test stimuli of all folds;
        `validation(held, …)` for those of the first inner folds; `chosen_layer`, `alpha`,
        `validation_r2` per fold; `training(fold, stimulus)`, the stimuli each fold was fitted to. A neuroid
        that is constant in training, or has fewer than two values in the training part of an inner fold, is
        NaN throughout. The attribute `left_out` names stimuli without responses.
    fits : list of Fit

    Raises
    ------
    InputError
        No neuroid varies; a layer does not vary; features are no grid of tokens where one is needed.
    """
    ids, mean, group, left_out = by_stimulus(responses)
    dims = responses["response"].dims[1:]
    shape = mean.shape[1:]
    layer_of = features["layer"].values
    layers = list(dict.fromkeys(layer_of))
    n_tokens = features.sizes.get("token", 1)
    if options.name in TOKENS and n_tokens < 4:
        raise InputError(
            f"Encoder {options.name!r} needs features on a grid of tokens, {features.attrs['model']} has "
            f"{features['feature'].shape[1:]}. Pool it to 'grid:<k>' or leave it out of `models`."
        )
    delays = getattr(options, "delays", [])
    X_all, rows_of = gather(features, ids, delays)
    X_all = X_all.reshape(len(X_all), n_tokens, -1)
    membership, names = None, ["all"]
    if isinstance(options, config.Attention):
        if len(shape) > 1:
            raise InputError("Encoder 'attention' reads responses without time bins. Average them first.")
        membership, all_names = queries(responses, options)

    together = options.name in ("attention", "banded")
    members = [layers] if together else [[name] for name in layers]
    n_folds = split.sizes["fold"]
    chosen_layer = np.zeros((n_folds, *shape), np.array(["all", *layers]).dtype)
    chosen_alpha = np.full((n_folds, *shape), np.nan, np.float32)
    score = np.full((n_folds, len(members), *shape), np.nan, np.float32)
    out: dict[str, list[Any]] = {
        k: [] for k in ("prediction", "fold", "id", "validation", "held_fold", "held_id")
    }
    fits: list[Fit] = []
    training = np.zeros((n_folds, len(ids)), bool)
    steps = tqdm(total=n_folds * len(members), desc=options.name, disable=None)
    for fold in range(n_folds):
        side, inner = splits.sides(split, fold, ids, group)
        train, test = side == splits.TRAIN, side == splits.TEST
        training[fold] = train
        Y = mean[train].reshape(train.sum(), -1)
        folds = folds_of(splits.inner_folds(inner[train]), len(Y))
        usable = _usable(Y, folds, fold, options.name)
        target = np.flatnonzero(usable)
        asked: Any = None  # queries that a usable neuroid reads
        if isinstance(options, config.Attention):
            used = usable if membership is None else np.asarray(membership[target].any(0))
            asked = "each" if membership is None else membership[target][:, used]
            names = [n for n, u in zip(all_names, used, strict=True) if u] if fold == 0 else names
        held = folds[0][1]
        found: list[Any] = []
        for number, group_of_layers in enumerate(members):
            columns = np.isin(layer_of, group_of_layers)
            X = X_all[:, :, columns]
            shown = rows_of[train]
            centre, scale = _standardise(X[shown], group_of_layers, tokens=options.name in TOKENS)
            X = np.asarray((X - centre) / scale, np.float32)
            if delays:
                X = delay_stimuli(X.reshape(len(X), -1), features, delays)
            X = X[rows_of]
            channels = tuple(int((layer_of[columns] == name).sum()) for name in group_of_layers)
            model = make(
                options, folds, bands=np.tile(layer_of[columns], n_tokens * max(1, len(delays))),
                layer_channels=channels, membership=asked,
                checkpoint=checkpoint and checkpoint(fold, group_of_layers[0]),
            )  # fmt: skip
            seen: Floats = X if options.name in TOKENS else X.reshape(len(X), -1)
            model.fit(seen[train], Y[:, target])
            if hasattr(model, "validation_"):
                order = np.argsort(model.validation_rows_)
                foreseen = model.validation_[order]
            else:
                rows = folds[0][0]
                foreseen = model.refit(seen[train][rows], Y[rows][:, target]).predict(seen[train][held])
            score[fold, number].reshape(-1)[target] = model.best_score_
            found.append((model, model.predict(seen[test]), foreseen, model.best_score_, centre, scale))
            steps.update()
        validation = np.stack([f[2] for f in found])
        if getattr(options, "layers", "select") == "stack":
            weight = stack_weights(validation, Y[held][:, target])
        else:
            weight = np.asarray(np.eye(len(found))[ranking.best([f[3] for f in found])].T)
        predicted: Floats = np.full((test.sum(), Y.shape[1]), np.nan, np.float32)
        predicted[:, target] = stack(np.stack([f[1] for f in found]), weight)
        mixed = np.full((len(held), Y.shape[1]), np.nan, np.float32)
        mixed[:, target] = stack(validation, weight)
        best = weight.argmax(0)
        names_of = np.array(["all" if together else m[0] for m in members])
        chosen_layer[fold].reshape(-1)[target] = names_of[best]
        for number, (model, _, _, _, centre, scale) in enumerate(found):
            if hasattr(model, "alpha_"):
                among = best == number
                chosen_alpha[fold].reshape(-1)[target[among]] = model.alpha_[among]
            fits.append(Fit(fold, members[number], model, target, weight[number], centre, scale, delays))
        for key, values in (
            ("prediction", predicted.reshape(-1, *shape)), ("fold", np.full(test.sum(), fold)),
            ("id", ids[test]), ("validation", mixed.reshape(-1, *shape)),
            ("held_fold", np.full(len(held), fold)), ("held_id", ids[train][held]),
        ):  # fmt: skip
            out[key].append(values)
    steps.close()
    joined = {k: np.concatenate(v) for k, v in out.items()}
    coords = {k: c.variable for k, c in responses.coords.items() if set(c.dims) <= set(dims)}
    dataset = xr.Dataset(
        {
            "prediction": (("presentation", *dims), joined["prediction"]),
            "validation": (("held", *dims), joined["validation"]),
            "chosen_layer": (("fold", *dims), chosen_layer),
            "alpha": (("fold", *dims), chosen_alpha),
            "validation_r2": (("fold", "layer", *dims), score),
            "training": (("fold", "stimulus"), training),
        },
        coords
        | {
            "stimulus_id": ("presentation", joined["id"]),
            "fold": ("presentation", joined["fold"]),
            "held_stimulus_id": ("held", joined["held_id"]),
            "held_fold": ("held", joined["held_fold"]),
            "training_stimulus_id": ("stimulus", ids),
            "layer_name": ("layer", np.array(["all"] if together else layers)),
        },
        {
            "kind": "predictions", "neuroenc_version": __version__,
            "dataset": responses.attrs["dataset"], "model": features.attrs["model"],
            "weights": features.attrs["weights"], "encoder": options.name, "queries": ", ".join(names),
            "transductive": transductive(responses, split), "left_out": left_out,
        },
    )  # fmt: skip
    return check(dataset, "predictions"), fits


def _usable(Y: Floats, folds: list[Any], fold: int, name: str) -> NDArray[np.bool_]:
    """Say which neuroids can be fitted; tell how many lack values.

    Raises
    ------
    InputError
        None can be.
    """
    usable = fittable(Y, folds)
    lacks = usable & np.isnan(Y).any(0)
    n_stimuli = np.isnan(Y[:, lacks]).any(1).sum()
    fate = "are fitted to the others"
    if name == "pls":  # decomposes all neuroids together
        usable &= ~lacks
        fate = "are left out: encoder 'pls' fits all together. Use ridge, or drop these stimuli"
    lacking = (
        f"{lacks.sum()} of {Y.shape[1]} neuroids lack values of {n_stimuli} training stimuli of fold {fold}"
    )
    if not usable.any():
        why = f"{lacking} and {fate}." if lacks.any() else "Check the responses."
        raise InputError(
            f"None of {Y.shape[1]} neuroids varies and has values over the training stimuli of fold {fold}. "
            f"{why}"
        )
    if lacks.any():
        tqdm.write(f"{lacking} and {fate}.")
    return usable


def _standardise(X: Floats, layers: list[str], *, tokens: bool) -> tuple[Floats, Floats]:
    """Mean and scale of the features over the training stimuli.

    A readout that takes tokens sees one scale per channel, so that the grid stays even.

    Raises
    ------
    InputError
        No column of these layers varies.
    """
    over = (0, 1) if tokens else 0
    centre = X.mean(over, keepdims=True)[0]
    scale = deviation(X, over).reshape(centre.shape)
    still = ~(scale > 0)
    if still.all():
        raise InputError(
            f"All {still.size} feature columns of {', '.join(layers)} are constant over the training "
            "stimuli. Choose other layers."
        )
    if still.any():
        named = ", ".join(map(str, np.flatnonzero(still.ravel())[:5])) + (", …" if still.sum() > 5 else "")
        tqdm.write(
            f"{still.sum()} of {still.size} feature columns of {', '.join(layers)} are constant over the "
            f"training stimuli and get no weight: {named}"
        )
    return centre, np.where(scale > 0, scale, 1)


def stack_predictions(
    responses: xr.Dataset, members: dict[str, xr.Dataset], *, select: bool = False
) -> xr.Dataset:
    """Mix the predictions of several encoders, by weights learned on their validation stimuli.

    Parameters
    ----------
    responses : Dataset
        Responses the members were fitted to.
    members : mapping
        Name -> predictions of the same splits.
    select : bool
        Take the best member of each neuroid instead of a mixture.

    Returns
    -------
    Dataset
        Predictions; the members stand where layers do, `weight(fold, layer, …)` are the mixtures.

    Raises
    ------
    InputError
        Members of other stimuli, neuroids or folds.
    """
    names, datasets = list(members), list(members.values())
    base = datasets[0]
    for name, other in members.items():
        for coord in (
            "stimulus_id", "fold", "held_stimulus_id", "held_fold", "neuroid_id", "training_stimulus_id",
            "training",
        ):  # fmt: skip
            if not np.array_equal(base[coord].values, other[coord].values):
                raise InputError(
                    f"Predictions {names[0]!r} and {name!r} differ in {coord!r}. Fit both with the same "
                    "split and responses."
                )
    ids, mean, *_ = by_stimulus(responses)
    row = {s: i for i, s in enumerate(ids)}
    shape = base["prediction"].shape[1:]
    truth = mean[[row[s] for s in base["held_stimulus_id"].values]].reshape(base.sizes["held"], -1)
    validation = np.stack([d["validation"].values.reshape(len(truth), -1) for d in datasets])
    tested = np.stack([d["prediction"].values.reshape(base.sizes["presentation"], -1) for d in datasets])
    out = base.copy(deep=True)
    n_folds = base["chosen_layer"].shape[0]
    weights, score = np.empty((2, n_folds, len(names), truth.shape[1]), np.float32)
    prediction, held = np.empty_like(tested[0]), np.empty_like(validation[0])
    alike = np.zeros(truth.shape[1], int)
    for mask in regions(responses).values():  # neuroids of the same regions
        alike = np.unique(2 * alike + np.repeat(mask, len(alike) // len(mask)), return_inverse=True)[1]
    for fold in range(n_folds):
        rows, test = base["held_fold"].values == fold, base["fold"].values == fold
        weight = stack_weights(validation[:, rows], truth[rows], groups=alike, select=select)
        weights[fold] = weight
        known = np.isfinite(validation[:, rows]).all(1) & fittable(truth[rows], [(slice(None), None)])
        score[fold] = [
            np.where(k, r2(truth[rows], v), np.nan) for k, v in zip(known, validation[:, rows], strict=True)
        ]
        prediction[test], held[rows] = stack(tested[:, test], weight), stack(validation[:, rows], weight)
    out["prediction"] = (base["prediction"].dims, prediction.reshape(-1, *shape))
    out["validation"] = (base["validation"].dims, held.reshape(-1, *shape))
    dims = base["prediction"].dims[1:]
    out = out.drop_vars(["validation_r2", "layer_name"]).assign_coords(layer_name=("layer", np.array(names)))
    for name, values in (("weight", weights), ("validation_r2", score)):
        out[name] = (("fold", "layer", *dims), values.reshape(n_folds, len(names), *shape))
    out["alpha"] = out["alpha"] * np.nan
    best = np.array(names)[np.nan_to_num(weights).argmax(1)].reshape(n_folds, *shape)
    out["chosen_layer"] = (base["chosen_layer"].dims, best)
    out.attrs |= {
        "encoder": "select" if select else "stack",
        "model": " + ".join(names),
        "weights": "of the members",
    }
    return check(out, "predictions")


def transductive(responses: xr.Dataset, split: xr.Dataset) -> str:
    """Say whether the scale of the responses has seen the test stimuli of this split."""
    if responses.attrs.get("normalised_on") == "split=train":
        named = set(responses["stimulus_id"].values[responses["split"].values == "test"])
        tested = (split["side"].values == splits.TEST).any(0)
        if not set(split["stimulus_id"].values[tested]) <= named:
            return "sessions were scaled by trials that this split tests"
        return "false"
    return str(responses.attrs.get("transductive", "false"))
