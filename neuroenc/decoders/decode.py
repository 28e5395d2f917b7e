"""From Responses and Features to decoded embeddings of held-out pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from tqdm import tqdm

from neuroenc import __version__, config, splits
from neuroenc.arrays import CONTRACT, check, select_layers
from neuroenc.blocks import BLOCK_BYTES, blocks
from neuroenc.decoders.augment import Encoder, Pairs, make_pairs, mixed, number_of_pairs
from neuroenc.decoders.choice import HELD, Choice, choose_share, joined, mixture, nearest
from neuroenc.decoders.samples import Sides, lay_out, samples_of
from neuroenc.decoders.target import Target
from neuroenc.devices import pick_device
from neuroenc.encoders.build import warn_of_edge
from neuroenc.encoders.design import Design
from neuroenc.encoders.encode import transductive
from neuroenc.errors import InputError


def make(options: config.Embedding, folds: Any, *, n_times: int | None = None, checkpoint: Any = None) -> Any:
    """Build the estimator a decoder's options describe.

    Parameters
    ----------
    options : RidgeDecoding or NetworkDecoding
    folds : list of (train, validation), or mapping of subject to one
    n_times : int, optional
        Samples of an epoch, for networks that read epochs.
    checkpoint : path, optional
        From which a run trained by gradient is resumed.
    """
    values = options.model_dump(
        exclude={"name", "models", "layers", "prior", "front", "repeats", "sessions", "subjects", "augment"}
    )
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
    encoder: Encoder | None = None,
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
    encoder : Encoder, optional
        Makes pairs, if `options.augment` asks for them.

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
    if getattr(options, "subjects", None):
        raise InputError(
            "This decoder is one network of several `subjects`, found the responses of one. Use "
            "`neuroenc decode together`."
        )
    if (options.augment is None) != (encoder is None):
        raise InputError(
            f"`augment` is {'not ' * (options.augment is None)}asked for, and a fitted encoder is "
            f"{'not ' * (encoder is None)}given. Give both or none."
        )
    of, said = samples_of(responses, split, options), []
    folds = []
    for fold in tqdm(range(split.sizes["fold"]), options.name, disable=None):
        samples = of(fold)
        said.append(samples.left_out)
        sides = lay_out(samples, features, split, fold, options)
        path = checkpoint and checkpoint(fold)
        pairs = None
        if encoder is not None and options.augment is not None:
            n = number_of_pairs(int(sides.train.sum()), options.augment.share)
            pairs = make_pairs(
                encoder, responses, split, fold, features, options.layers, sides.response, n,
                options.augment.seed,
            )  # fmt: skip
        folds.append(decode_fold(sides, fold, options, shuffle=shuffle, checkpoint=path, made=pairs))
    attrs = about(responses, features, split, options, said, shuffle)
    if options.prior is not None:
        held = [f.held for f in folds if f.held is not None]
        attrs |= {"prior_share": [h.share for h in held], "prior_choice": joined([h.choice for h in held])}
    return grouped(join_folds(folds, attrs), split)


def grouped(embeddings: xr.Dataset, split: xr.Dataset) -> xr.Dataset:
    """Name the group of each stimulus, which intervals of its scores draw as one."""
    of = dict(zip(split["stimulus_id"].values.tolist(), split["group"].values.tolist(), strict=True))
    group = np.array([of[s] for s in embeddings["stimulus_id"].values.tolist()])
    return embeddings.assign_coords(group=("presentation", group))


def about(
    responses: xr.Dataset, features: xr.Dataset, split: xr.Dataset, options: config.Embedding,
    left_out: list[str], shuffle: int | None,
) -> dict[str, Any]:  # fmt: skip
    """Say what decoded embeddings are of, for their attributes."""
    contract = select_layers(features, options.layers).attrs
    found = {k: contract[k] for k in CONTRACT} | {
        "dataset": responses.attrs["dataset"], "decoder": options.name,
        "transductive": transductive(responses, split),
        "left_out": "; ".join(dict.fromkeys(filter(None, left_out))),
        "shuffled": "no" if shuffle is None else f"training pairs, seed {shuffle}",
    }  # fmt: skip
    return found if options.sessions is None else found | {"sessions": options.sessions}


def decode_fold(
    sides: Sides, fold: int, options: config.Embedding, *, shuffle: int | None = None, checkpoint: Any = None,
    made: Pairs | None = None,
) -> DecodedFold:  # fmt: skip
    """Fit to the training stimuli of a fold and decode its test stimuli.

    Parameters
    ----------
    sides : Sides
    fold : int
    options : RidgeDecoding or NetworkDecoding
    shuffle, checkpoint
        As in `decode`.
    made : Pairs, optional
        Fitted to beside the measured ones; the space of components is that of the measured ones alone.
    """
    X, Y = sides.pairs(None if shuffle is None else (shuffle, fold))
    folds, n_times, test = splits.inner_folds(sides.inner), sides.n_times, sides.tested()
    if made is None:
        model = make(options, folds, n_times=n_times, checkpoint=checkpoint).fit(X, Y)
        if isinstance(options, config.RidgeDecoding) and shuffle is None:
            warn_of_edge(options.alphas, model.alpha_, model.best_score_, "components of the embeddings")
    else:
        target = Target.fit(Y, options.n_components)
        every, embeddings, folds = mixed(X, Y, folds, made)
        if shuffle is not None:  # made pairs too, of the pictures that were dealt
            dealt = np.random.default_rng((shuffle, fold, 1)).permutation(len(made.ids))
            embeddings[len(X) :] = made.embedding[dealt]
        model = make(options, folds, checkpoint=checkpoint).fit(every, embeddings, target)
    target, found = model.target_, model.predict_components(test)
    true = target.transform(sides.embedding.take(sides.test))
    decoded = DecodedFold(sides.ids[sides.test], found, true, target)
    return decoded if options.prior is None else with_prior(decoded, options, sides, X, Y, folds)


def with_prior(
    decoded: DecodedFold, options: config.Embedding, sides: Sides, X: Design, Y: Design, folds: list[Any]
) -> DecodedFold:
    """Train a prior on what decoders make of responses they were not fitted to; choose on validation.

    Parameters
    ----------
    decoded : DecodedFold
    options : RidgeDecoding or NetworkDecoding
    sides : Sides
    X, Y : Designs of shape (n, n_neuroids), (n, n_features)
        The training pairs.
    folds : list of (train, validation)
        The first validates.
    """
    assert options.prior is not None
    target, (_, rows) = decoded.target, folds[0]
    given, true = out_of_fold(options, X, Y, sides.inner, target, sides.n_times), target.transform(Y)
    made = sample_prior(options.prior, given, true, folds, [decoded.embedding, given[rows]])
    (sampled, expected), validated = made
    share, choice = choose_share(given[rows], validated[1], true[rows])
    ids = sides.ids[sides.train][rows]
    return decoded._replace(
        sampled=sampled, expected=expected, point=mixture(decoded.embedding, expected, share),
        held=Held(ids, given[rows], *validated, true[rows], share, choice),
    )  # fmt: skip


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
