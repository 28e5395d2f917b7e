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
from neuroenc.config.encoders import FUSING, ROUTED, SETS, TOGETHER, TOKENS
from neuroenc.encoders.build import make, warn_of_edge
from neuroenc.encoders.design import Design, design, moments
from neuroenc.encoders.inputs import folds_of
from neuroenc.encoders.missing import ALL, Shown, by_stimulus, fittable
from neuroenc.encoders.stack import stack, stack_weights
from neuroenc.encoders.tokens import side_of
from neuroenc.errors import InputError

Floats = NDArray[Any]


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


class Sides(NamedTuple):
    """What a fold is fitted to and tested on."""

    number: int
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    inner: list[tuple[NDArray[np.int64], NDArray[np.int64]]]
    """Inner folds: rows of `train` to fit and to validate on"""

    @property
    def held(self) -> NDArray[np.int64]:
        """Rows of `train` that are also predicted by a model that was not fitted to them."""
        return self.inner[0][1]


class Member(NamedTuple):
    """A model fitted to one layer, or to all of them."""

    layers: list[str]
    model: Any
    prediction: Floats
    """(n_test, n_usable)"""
    validation: Floats
    """(n_held, n_usable)"""
    centre: Floats
    scale: Floats


class FoldResult(NamedTuple):
    """What a fold gives; NaN where a target cannot be fitted."""

    sides: Sides
    target: NDArray[np.int64]
    """Those that can"""
    prediction: Floats
    """(n_test, n_targets)"""
    validation: Floats
    """(n_held, n_targets)"""
    chosen_layer: NDArray[np.str_]
    """(n_targets,)"""
    alpha: Floats
    """(n_targets,)"""
    validation_r2: Floats
    """(n_members, n_targets)"""
    fits: list[Fit]


def queries(responses: xr.Dataset, options: config.Routed) -> tuple[NDArray[np.bool_] | None, list[str]]:
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
    *, checkpoint: Callable[[int, str], Any] | None = None, neuroids: slice = ALL,
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
    neuroids : slice
        A block of them (`in_blocks.encode_in_blocks`).

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
    shown = by_stimulus(responses, neuroids)
    responses = responses.isel(neuroid=neuroids)
    _check_layout(features, shown.mean, options)
    membership, names = queries(responses, options) if isinstance(options, config.Routed) else (None, ["all"])
    layers = list(dict.fromkeys(features["layer"].values))
    members = [layers] if together(features, options) else [[name] for name in layers]
    results = []
    n_folds = split.sizes["fold"]
    with tqdm(total=n_folds * len(members), desc=options.name, disable=None) as steps:
        for fold in range(n_folds):
            sides = _sides(split, fold, shown)
            result = _fit_fold(
                shown, features, sides, options, members, membership, checkpoint, steps,
                needed=neuroids == ALL,
            )  # fmt: skip
            results.append(result)
    if hasattr(options, "alphas"):
        alpha, r2 = (np.concatenate(v) for v in ([r.alpha for r in results],
                                                 [r.validation_r2.max(0) for r in results]))  # fmt: skip
        warn_of_edge(options.alphas, alpha, r2, "neuroids")
    if options.name in ROUTED:
        used = _read_by(membership, results[0].target, len(names))
        names = [name for name, u in zip(names, used, strict=True) if u]
    names_of_members = [_name(m, features, options) for m in members]
    dataset = _predictions(results, responses, shown, names_of_members).assign_attrs(
        kind="predictions", neuroenc_version=__version__, dataset=responses.attrs["dataset"],
        model=features.attrs["model"], weights=features.attrs["weights"], encoder=options.name,
        queries=", ".join(names), transductive=transductive(responses, split), left_out=shown.left_out,
    )  # fmt: skip
    return check(dataset, "predictions"), [fit for result in results for fit in result.fits]


def _check_layout(features: xr.Dataset, mean: Floats, options: config.Encoder) -> None:
    """Refuse features and responses of a shape that the encoder does not read."""
    if options.name not in FUSING and "fused" in features.attrs:
        raise InputError(
            f"Encoder {options.name!r} reads one model, found {features.attrs['fused']}. Give it one, or use "
            f"{', '.join(FUSING)}."
        )
    if options.name in TOKENS and features.sizes.get("token", 0) < (1 if options.name in SETS else 4):
        raise InputError(
            f"Encoder {options.name!r} needs features on a grid of tokens, {features.attrs['model']} has "
            f"{features['feature'].shape[1:]}. Pool it to 'grid:<k>' or leave it out of `models`."
        )
    if options.name in TOKENS and options.name not in SETS:
        side_of(features.sizes["token"])
    if options.name not in SETS and _fills_up(features):
        raise InputError(
            f"The texts of {features.attrs['model']} are of different lengths, which {options.name!r} does "
            f"not read. Use {', '.join(SETS)}, or pool by 'mean'."
        )
    if options.name in ROUTED and mean.ndim > 2:
        raise InputError(f"Encoder {options.name!r} reads responses without time bins. Average them first.")


def _fills_up(features: xr.Dataset) -> bool:
    """Say whether some tokens are not there: the last of the shortest texts."""
    if not features.attrs.get("pooling", "").startswith("tokens") or "token" not in features.dims:
        return False
    return bool(np.isnan(features["feature"][:, [0, -1], 0].values).any())


def _sides(split: xr.Dataset, fold: int, shown: Shown) -> Sides:
    side, inner = splits.sides(split, fold, shown.ids, shown.group)
    train = np.flatnonzero(side == splits.TRAIN)
    folds = folds_of(splits.inner_folds(inner[train]), len(train))
    return Sides(fold, train, np.flatnonzero(side == splits.TEST), folds)


def together(features: xr.Dataset, options: config.Encoder) -> bool:
    """Say whether all layers are read side by side: so they are of several models."""
    return options.name in TOGETHER or "fused" in features.attrs


def _name(layers: list[str], features: xr.Dataset, options: config.Encoder) -> str:
    """Name what a member reads."""
    return "all" if together(features, options) else layers[0]


def _read_by(membership: Any, target: NDArray[np.int64], n_queries: int) -> NDArray[np.bool_]:
    """Say which queries some target reads; without membership each has its own."""
    if membership is None:
        return np.isin(np.arange(n_queries), target)
    return np.asarray(membership[target].any(0))


def _fit_fold(
    shown: Shown, features: xr.Dataset, sides: Sides, options: config.Encoder, members: list[list[str]],
    membership: Any, checkpoint: Callable[[int, str], Any] | None, steps: Any, *, needed: bool,
) -> FoldResult:  # fmt: skip
    """Fit each layer, or all together, and choose or mix them for each target."""
    Y = shown.mean.reshape(len(shown.mean), -1)[sides.train]
    n_targets = Y.shape[1]
    target = np.flatnonzero(_usable(Y, sides.inner, sides.number, options.name, needed=needed))
    if not len(target):
        return _nothing(sides, len(members), n_targets)
    Y = Y[:, target] if len(target) < n_targets else Y
    if membership is not None:
        membership = membership[target][:, _read_by(membership, target, membership.shape[1])]
    found = []
    for layers in members:
        path = checkpoint and checkpoint(sides.number, layers[0])
        found.append(_fit_member(shown, features, sides, Y, layers, options, membership, path))
        steps.update()
    scores = np.stack([member.model.best_score_ for member in found])
    validation = [member.validation for member in found]
    if getattr(options, "layers", "select") == "stack":
        weight = stack_weights(validation, Y[sides.held], stimulus=shown.ids[sides.train[sides.held]])
    else:
        weight = np.asarray(np.eye(len(found))[ranking.best(scores)].T)
    best = weight.argmax(0)
    alpha = np.full(len(target), np.nan)
    for number, member in enumerate(found):
        if hasattr(member.model, "alpha_"):
            alpha[best == number] = member.model.alpha_[best == number]

    def spread(values: Floats) -> Floats:
        out = np.full((*values.shape[:-1], n_targets), np.nan, np.float32)
        out[..., target] = values
        return out

    names = np.array([_name(layers, features, options) for layers in members])
    chosen = np.zeros(n_targets, np.array(["all", *names]).dtype)
    chosen[target] = names[best]
    delays = getattr(options, "delays", [])
    return FoldResult(
        sides, target,
        spread(stack([member.prediction for member in found], weight)),
        spread(stack(validation, weight)), chosen, spread(alpha), spread(scores),
        [Fit(sides.number, m.layers, m.model, target, w, m.centre, m.scale, delays)
         for m, w in zip(found, weight, strict=True)],
    )  # fmt: skip


def _nothing(sides: Sides, n_members: int, n_targets: int) -> FoldResult:
    """Return what a fold gives where no target of a block can be fitted."""
    sizes = (len(sides.test), len(sides.held), n_members)
    none = [np.full((n, n_targets), np.nan, np.float32) for n in sizes]
    chosen, alpha = np.zeros(n_targets, "U3"), np.full(n_targets, np.nan, np.float32)
    return FoldResult(sides, np.zeros(0, np.int64), none[0], none[1], chosen, alpha, none[2], [])


def _fit_member(
    shown: Shown, features: xr.Dataset, sides: Sides, Y: Floats, layers: list[str], options: config.Encoder,
    membership: Any, checkpoint: Any,
) -> Member:  # fmt: skip
    """Fit one model; predict the test stimuli, and the validation stimuli by a fit without them."""
    X, centre, scale = _standardised(features, shown.ids, sides.train, layers, options)
    layer_of = features["layer"].values[np.isin(features["layer"].values, layers)]
    model = make(
        options, sides.inner, membership="each" if membership is None else membership, checkpoint=checkpoint,
        bands=np.tile(layer_of, int(np.prod(X.shape[1:])) // len(layer_of)),
        layer_channels=tuple(int((layer_of == name).sum()) for name in layers),
    )  # fmt: skip
    model.fit(X.take(sides.train), Y)
    if hasattr(model, "validation_"):
        validation = model.validation_[np.argsort(model.validation_rows_)]
    else:
        rows, held = sides.inner[0]
        again = model.refit(X.take(sides.train[rows]), Y[rows])
        validation = again.predict(X.take(sides.train[held]))
    # in single precision, as they are stored: those of all members are held
    prediction, validation = (v.astype(np.float32, copy=False) for v in (
        model.predict(X.take(sides.test)), validation,
    ))  # fmt: skip
    return Member(layers, model, prediction, validation, centre, scale)


def _standardised(
    features: xr.Dataset, ids: NDArray[np.str_], train: NDArray[np.int64], layers: list[str],
    options: config.Encoder,
) -> tuple[Design, Floats, Floats]:  # fmt: skip
    """Return the features of some layers as the encoder reads them, with their centre and scale.

    A readout that takes tokens sees one scale per channel, so that the grid stays even.

    Raises
    ------
    InputError
        No column of these layers varies over the training stimuli.
    """
    X = design(features, ids, layers)
    tokens = options.name in TOKENS
    centre, scale = map(np.atleast_2d, moments(X.take(train), tokens=tokens))
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
    scale = np.where(still | (not getattr(options, "standardise", True)), 1, scale)
    if delays := getattr(options, "delays", []):
        X = design(features, ids, layers, delays)
    X = X.standardised(centre, scale)
    return X if tokens else X.flattened(), centre, scale


def _predictions(
    results: list[FoldResult], responses: xr.Dataset, shown: Shown, layers: list[str]
) -> xr.Dataset:
    """Put the folds together."""
    dims, shape = responses["response"].dims[1:], shown.mean.shape[1:]
    fitted = np.zeros((len(results), len(shown.ids)), bool)
    for mask, result in zip(fitted, results, strict=True):
        mask[result.sides.train] = True
    test = [result.sides.test for result in results]
    held = [result.sides.train[result.sides.held] for result in results]

    def joined(name: str) -> Floats:
        return np.concatenate([getattr(result, name) for result in results]).reshape(-1, *shape)

    def stacked(name: str) -> Floats:
        values = np.stack([getattr(result, name) for result in results])
        return values.reshape(*values.shape[:-1], *shape)

    def fold_of(rows: list[NDArray[np.int64]]) -> NDArray[np.int64]:
        return np.repeat(np.arange(len(rows)), [len(r) for r in rows])

    return xr.Dataset(
        {
            "prediction": (("presentation", *dims), joined("prediction")),
            "validation": (("held", *dims), joined("validation")),
            "chosen_layer": (("fold", *dims), stacked("chosen_layer")),
            "alpha": (("fold", *dims), stacked("alpha")),
            "validation_r2": (("fold", "layer", *dims), stacked("validation_r2")),
            "training": (("fold", "stimulus"), fitted),
        },
        {k: c.variable for k, c in responses.coords.items() if set(c.dims) <= set(dims)}
        | {
            "stimulus_id": ("presentation", shown.ids[np.concatenate(test)]),
            "fold": ("presentation", fold_of(test)),
            "held_stimulus_id": ("held", shown.ids[np.concatenate(held)]),
            "held_fold": ("held", fold_of(held)),
            "training_stimulus_id": ("stimulus", shown.ids),
            "layer_name": ("layer", np.array(layers)),
        },
    )


def _usable(Y: Floats, folds: list[Any], fold: int, name: str, *, needed: bool) -> NDArray[np.bool_]:
    """Say which neuroids can be fitted; tell how many lack values.

    Raises
    ------
    InputError
        None can be, and one is needed: these are all.
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
    if needed and not usable.any():
        why = f"{lacking} and {fate}." if lacks.any() else "Check the responses."
        raise InputError(
            f"None of {Y.shape[1]} neuroids varies and has values over the training stimuli of fold {fold}. "
            f"{why}"
        )
    if lacks.any():
        tqdm.write(f"{lacking} and {fate}.")
    return usable


def transductive(responses: xr.Dataset, split: xr.Dataset) -> str:
    """Say whether the scale of the responses has seen the test stimuli of this split."""
    if responses.attrs.get("normalised_on") == "split=train":
        named = set(responses["stimulus_id"].values[responses["split"].values == "test"])
        tested = (split["side"].values == splits.TEST).any(0)
        if not set(split["stimulus_id"].values[tested]) <= named:
            return "sessions were scaled by trials that this split tests"
        return "false"
    return str(responses.attrs.get("transductive", "false"))
