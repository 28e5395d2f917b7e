"""From Responses and Features to decoded embeddings of held-out pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from tqdm import tqdm

from neuroenc import __version__, config, splits
from neuroenc.arrays import CONTRACT, average_repeats, check, select_layers
from neuroenc.blocks import BLOCK_BYTES, blocks
from neuroenc.decoders.choice import HELD, Choice, choose_share, joined, mixture, nearest
from neuroenc.decoders.target import Target
from neuroenc.devices import pick_device
from neuroenc.encoders.design import Design, design, moments
from neuroenc.encoders.encode import transductive
from neuroenc.encoders.missing import by_stimulus, complete
from neuroenc.errors import InputError


def make(
    options: config.Embedding, folds: list[Any], *, n_times: int | None = None, checkpoint: Any = None
) -> Any:
    """Build the estimator a decoder's options describe.

    Parameters
    ----------
    options : RidgeDecoding or NetworkDecoding
    folds : list of (train, validation)
    n_times : int, optional
        Samples of an epoch, for networks that read epochs.
    checkpoint : path, optional
        From which a run trained by gradient is resumed.
    """
    values = options.model_dump(exclude={"name", "models", "layers", "prior", "front", "repeats"})
    if isinstance(options, config.RidgeDecoding):
        from neuroenc.decoders.ridge import RidgeDecoder

        low, high, number = values.pop("alphas")
        return RidgeDecoder(np.logspace(low, high, number).tolist(), cv=folds, **values)
    from neuroenc.decoders.network import BrainNetwork

    values["device"] = pick_device(values["device"])
    epochs = n_times if options.front == "atm" else None
    return BrainNetwork(cv=folds, checkpoint=checkpoint, n_times=epochs, **values)


def out_of_fold(
    options: config.Embedding,
    X: Design,
    Y: Design,
    inner: NDArray[np.int64],
    target: Target,
    n_times: int | None = None,
) -> NDArray[np.float32]:
    """Decode each training stimulus by a decoder that was fitted to the other inner folds.

    Parameters
    ----------
    options : RidgeDecoding or NetworkDecoding
    X, Y : Designs of shape (n, n_neuroids), (n, n_features)
        Responses and embeddings of the training stimuli.
    inner : int array of shape (n, 3)
        Their inner folds, as `splits.sides` gives them.
    target : Target
        In whose components the result is.
    n_times : int, optional
        As in `make`.

    Returns
    -------
    array of shape (n, n_components)
    """
    out = np.empty((len(X), len(target.basis)), np.float32)
    for rows, held in splits.inner_folds(inner):
        folds = splits.inner_folds(inner[rows])
        model = make(options, folds, n_times=n_times).fit(X.take(rows), Y.take(rows))
        found = model.predict_components(X.take(held))
        parts = blocks(len(found), max(1, BLOCK_BYTES // (4 * Y.shape[1])))
        out[held] = np.concatenate([target.transform(model.target_.inverse(found[p])) for p in parts])
    return out


class Samples(NamedTuple):
    """What stimuli evoked, complete."""

    ids: NDArray[np.str_]
    group: NDArray[np.str_]
    response: NDArray[np.float32]
    """(n_stimuli, n_features), the mean; (n_stimuli, n_repetitions, n_features) if one is to be drawn"""
    whole: NDArray[np.bool_]
    """(n_features,), without missing values"""
    n_times: int | None
    """Time bins of an epoch, which is flattened neuroid by neuroid"""
    left_out: str


class Held(NamedTuple):
    """Validation stimuli of a fold, decoded by decoders and priors that were not fitted to them."""

    ids: NDArray[np.str_]
    embedding: NDArray[np.float32]
    """(n_held, n_components), as the others"""
    sampled: NDArray[np.float32]
    expected: NDArray[np.float32]
    true: NDArray[np.float32]
    share: float
    """Of the mean of samples in the point estimate, chosen by them"""
    choice: Choice


class DecodedFold(NamedTuple):
    """Test stimuli of a fold."""

    ids: NDArray[np.str_]
    embedding: NDArray[np.float32]
    """(n_test, n_components), as `true` and what a prior makes"""
    true: NDArray[np.float32]
    target: Target
    sampled: NDArray[np.float32] | None = None
    expected: NDArray[np.float32] | None = None
    point: NDArray[np.float32] | None = None
    held: Held | None = None


def decode(
    responses: xr.Dataset, features: xr.Dataset, split: xr.Dataset, options: config.Embedding, *,
    shuffle: int | None = None, checkpoint: Callable[[int], Any] | None = None,
) -> xr.Dataset:  # fmt: skip
    """Fit a decoder on the training stimuli of each fold and decode its test stimuli.

    Repeats are averaged; neuroids are standardised by the training stimuli, those that do not vary there are
    left out. NaN in the responses is a missing value: stimuli without any value are left out, then the
    neuroids, or else the stimuli, that lack some, whichever are the smaller share; the attribute `left_out`
    says so. Embeddings are decoded as whitened components, learned from those of the training stimuli.

    Parameters
    ----------
    responses, features, split : Dataset
        Responses, Features, Splits.
    options : RidgeDecoding or NetworkDecoding
    shuffle : int, optional
        Seed: deal the training embeddings anew to the training responses, for the null.
    checkpoint : callable, optional
        From fold to the file a training run is resumed from.

    Returns
    -------
    Dataset
        Embeddings: `embedding` and `true` (presentation, component) of the test stimuli of all folds; `mean`
        and `basis` lead from embeddings to components: (embedding - mean) @ basis'. With a prior also
        `sampled`, of samples of what `embedding` could have been that most like it; `expected`, their mean;
        `point`, the
        mixture of `embedding` and `expected` that identified validation stimuli best, its share of `expected`
        in the attribute `prior_share`, a number for each fold, and why in `prior_choice`; and the same of the
        validation stimuli, `held_…` (held, component).

    Raises
    ------
    InputError
        No such layer; no neuroid varies; the features are categories.
    """
    samples = sample(responses, options)
    if features.attrs["model"] == "category/table":
        raise InputError(
            "Stimuli share their categories, so that none can be retrieved by them. Use "
            "`neuroenc decode classify`."
        )
    contract = select_layers(features, options.layers).attrs
    embedding = design(features, samples.ids, options.layers).flattened()
    folds = [
        decode_fold(
            samples, embedding, split, fold, options, shuffle=shuffle,
            checkpoint=checkpoint and checkpoint(fold),
        )
        for fold in tqdm(range(split.sizes["fold"]), options.name, disable=None)
    ]  # fmt: skip
    attrs = {k: contract[k] for k in CONTRACT} | {
        "dataset": responses.attrs["dataset"], "decoder": options.name,
        "transductive": transductive(responses, split), "left_out": samples.left_out,
        "shuffled": "no" if shuffle is None else f"training pairs, seed {shuffle}",
    }  # fmt: skip
    if options.prior is not None:
        held = [f.held for f in folds if f.held is not None]
        attrs |= {"prior_share": [h.share for h in held], "prior_choice": joined([h.choice for h in held])}
    return join_folds(folds, attrs)


def sample(responses: xr.Dataset, options: config.Embedding) -> Samples:
    """Lay out what a decoder reads of the responses.

    Parameters
    ----------
    responses : Dataset
    options : RidgeDecoding or NetworkDecoding

    Raises
    ------
    InputError
        No stimulus, or none and no neuroid, is complete; epochs are asked for where there are none.
    """
    ids, mean, group, without_any = by_stimulus(responses)
    kept, whole, incomplete = complete(mean.reshape(len(ids), -1))
    if not kept.all():
        ids, mean, group = ids[kept], mean[kept], group[kept]
    n_times = mean.shape[2] if mean.ndim == 3 else None
    if _option(options, "front") == "atm" and n_times is None:
        raise InputError("These responses have no time bins, which `front: atm` reads. Use `front: linear`.")
    response: NDArray[np.float32] = mean.reshape(len(ids), -1)
    if _option(options, "repeats") == "random":
        every = repetitions(responses, ids)
        response = every if every.shape[1] > 1 else every[:, 0]
    left_out = "; ".join(filter(None, (without_any, incomplete)))
    return Samples(ids, group, response, whole, n_times, left_out)


def _option(options: config.Embedding, name: str) -> Any:
    """Return an option that networks alone have."""
    return getattr(options, name, None)


def decode_fold(
    samples: Samples, embedding: Design, split: xr.Dataset, fold: int,
    options: config.Embedding, *, shuffle: int | None = None, checkpoint: Any = None,
) -> DecodedFold:  # fmt: skip
    """Fit to the training stimuli of a fold and decode its test stimuli.

    Parameters
    ----------
    samples : Samples
    embedding : Design of shape (n_stimuli, n_features)
    split : Dataset
        Splits.
    fold : int
    options : RidgeDecoding or NetworkDecoding
    shuffle, checkpoint
        As in `decode`.
    """
    side, inner = splits.sides(split, fold, samples.ids, samples.group)
    train, test = side == splits.TRAIN, side == splits.TEST
    X = standardise(samples, train, fold, keep_epochs=_option(options, "front") == "atm")
    X_train, X_test, Y = X.take(train), X.take(test), embedding.take(train)
    if shuffle is not None:
        Y = Y.take(np.random.default_rng((shuffle, fold)).permutation(len(Y)))
    folds, n_times = splits.inner_folds(inner[train]), samples.n_times
    model = make(options, folds, n_times=n_times, checkpoint=checkpoint).fit(X_train, Y)
    target, found = model.target_, model.predict_components(X_test)
    decoded = DecodedFold(samples.ids[test], found, target.transform(embedding.take(test)), target)
    if options.prior is None:
        return decoded
    given = out_of_fold(options, X_train, Y, inner[train], target, n_times)
    _, rows = folds[0]
    true = target.transform(Y)
    made = sample_prior(options.prior, given, true, folds, [found, given[rows]])
    (sampled, expected), validated = made
    share, choice = choose_share(given[rows], validated[1], true[rows])
    held = Held(samples.ids[train][rows], given[rows], *validated, true[rows], share, choice)
    point = mixture(found, expected, share)
    return decoded._replace(sampled=sampled, expected=expected, point=point, held=held)


def standardise(samples: Samples, train: NDArray[np.bool_], fold: int, *, keep_epochs: bool) -> Design:
    """Centre and scale responses by those to the training stimuli; leave out those that do not vary there.

    Parameters
    ----------
    samples : Samples
    train : bool array of shape (n_stimuli,)
    fold : int
    keep_epochs : bool
        An epoch keeps its shape: what does not vary is 0.

    Returns
    -------
    Design of the shape of the responses, without those that are left out

    Raises
    ------
    InputError
        None varies.
    """
    response = Design(samples.response)
    centre, scale = (v.ravel() for v in moments(response.take(train), tokens=response.ndim == 3))
    usable = samples.whole & (scale > 0)
    if not usable.any():
        raise InputError(
            f"None of {response.shape[-1]} neuroids is finite and varies over the training stimuli of "
            f"fold {fold}. Check the responses."
        )
    if keep_epochs:
        kept = np.where(usable, samples.response - centre, 0) / np.where(usable, scale, 1)
        return Design(kept)
    return Design(
        samples.response, columns=np.flatnonzero(usable), centre=centre[usable], scale=scale[usable]
    )


def sample_prior(
    options: config.Prior, given: NDArray[np.float32], true: NDArray[np.float32], folds: list[Any],
    decoded: list[NDArray[np.float32]],
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:  # fmt: skip
    """Train a prior and sample from it what could have been seen.

    Parameters
    ----------
    options : Prior
    given, true : arrays of shape (n, n_components)
        Of the training stimuli, `given` by decoders that were not fitted to them.
    folds : list of (train, validation)
        It learns from the training rows of the first; those of validation say when to stop.
    decoded : list of arrays of shape (n, n_components)

    Returns
    -------
    list of (sampled, expected)
        Each as `decoded`: of `n_samples` samples the one most like what was decoded, by cosine, and the mean
        of them.
    """
    from neuroenc.decoders.prior import DiffusionPrior

    how = options.model_dump(exclude={"guidance", "n_steps", "n_samples"})
    prior = DiffusionPrior(**how | {"device": pick_device(how["device"])}, cv=folds).fit(given, true)
    drawing = {k: getattr(options, k) for k in ("guidance", "n_steps", "n_samples", "seed")}
    out = []
    for d in decoded:
        drawn = prior.samples(d, **drawing)
        out.append((nearest(drawn, d), drawn.mean(0)))
    return out


def join_folds(folds: list[DecodedFold], attrs: Mapping[str, Any]) -> xr.Dataset:
    """Lay the decoded folds out as Embeddings."""
    width = min(len(f.target.basis) for f in folds)  # folds of other sizes may have a component less
    held = [f.held for f in folds if f.held is not None]
    values = {
        name: (("presentation", "component"), np.concatenate([getattr(f, name)[:, :width] for f in folds]))
        for name in (["sampled", "expected", "point"] if held else []) + ["embedding", "true"]
    }
    where: dict[str, Any] = {}
    if held:
        values |= {
            f"held_{n}": (("held", "component"), np.concatenate([getattr(h, n)[:, :width] for h in held]))
            for n in HELD
        }
        where = {
            "held_stimulus_id": ("held", np.concatenate([h.ids for h in held])),
            "held_fold": ("held", np.repeat(np.arange(len(held)), [len(h.ids) for h in held])),
        }
    dataset = xr.Dataset(
        values | {
            "mean": (("fold_index", "feature_index"), np.stack([f.target.mean for f in folds])),
            "basis": (
                ("fold_index", "component", "feature_index"),
                np.stack([f.target.basis[:width] for f in folds]),
            ),
        },
        {
            "stimulus_id": ("presentation", np.concatenate([f.ids for f in folds])),
            "fold": ("presentation", np.repeat(np.arange(len(folds)), [len(f.ids) for f in folds])),
            **where,
        },
        {"kind": "embeddings", "neuroenc_version": __version__, **attrs},
    )  # fmt: skip
    return check(dataset, "embeddings")


def repetitions(responses: xr.Dataset, ids: NDArray[np.str_]) -> NDArray[np.float32]:
    """Return the repetitions of each stimulus, (n_stimuli, n_repetitions, n_neuroids).

    Parameters
    ----------
    responses : Dataset
    ids : array of text, (n_stimuli,)
        A stimulus with fewer repetitions than another one has its own again, in turn. What a repetition lacks
        is the mean of the stimulus' others.
    """
    shown = responses["stimulus_id"].values
    rows = [np.flatnonzero(shown == s) for s in ids]
    most = max(len(r) for r in rows)
    values = responses["response"].values.reshape(len(shown), -1)
    found = values[np.stack([np.resize(r, most) for r in rows])]
    names, mean = average_repeats(responses)
    row = {s: i for i, s in enumerate(names)}
    instead = mean.reshape(len(mean), 1, -1)[[row[s] for s in ids]]
    return np.where(np.isfinite(found), found, instead)
