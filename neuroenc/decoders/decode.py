"""From Responses and Features to decoded embeddings of held-out pictures."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from tqdm import tqdm

from neuroenc import __version__, config, splits
from neuroenc.arrays import CONTRACT, average_repeats, check, select_layers
from neuroenc.blocks import BLOCK_BYTES, blocks
from neuroenc.decoders.augment import Encoder, Pairs, make_pairs, mixed, number_of_pairs
from neuroenc.decoders.target import Target
from neuroenc.devices import pick_device
from neuroenc.encoders.design import Design, design, moments
from neuroenc.encoders.encode import transductive
from neuroenc.encoders.missing import by_stimulus, complete
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


class Sides(NamedTuple):
    """Training and test stimuli of a fold, as decoders read them."""

    ids: NDArray[np.str_]
    side: NDArray[np.int64]
    group: NDArray[np.str_]
    response: Design
    """(n_stimuli, n_neuroids), standardised by the training stimuli"""
    embedding: Design
    """(n_stimuli, n_features)"""
    inner: NDArray[np.int64]
    """Inner folds of the training stimuli, as `splits.sides` gives them"""
    n_times: int | None

    @property
    def train(self) -> NDArray[np.bool_]:
        """(n_stimuli,)."""
        return np.asarray(self.side == splits.TRAIN)

    @property
    def test(self) -> NDArray[np.bool_]:
        """(n_stimuli,)."""
        return np.asarray(self.side == splits.TEST)

    def tested(self) -> Design:
        """Return the test responses.

        Raises
        ------
        InputError
            There are none.
        """
        if not self.test.any():
            raise InputError(
                f"None of {len(self.ids)} stimuli of the responses is tested, first {str(self.ids[0])!r}. "
                "Use a split of these stimuli."
            )
        return self.response.take(self.test)

    def pairs(self, shuffle: Any = None) -> tuple[Design, Design]:
        """Return training responses and embeddings; with a seed these are dealt anew."""
        Y = self.embedding.take(self.train)
        if shuffle is not None:
            Y = Y.take(np.random.default_rng(shuffle).permutation(len(Y)))
        return self.response.take(self.train), Y


class DecodedFold(NamedTuple):
    """Test stimuli of a fold."""

    ids: NDArray[np.str_]
    embedding: NDArray[np.float32]
    """(n_test, n_components), as `sampled` and `true`"""
    sampled: NDArray[np.float32] | None
    true: NDArray[np.float32]
    target: Target


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
        `sampled`, what it makes of `embedding`.

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
    return join_folds(folds, about(responses, features, split, options, said, shuffle))


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


def samples_of(
    responses: xr.Dataset, split: xr.Dataset, options: config.Embedding
) -> Callable[[int], Samples]:
    """Return what a decoder reads of the responses in each fold; of the first sessions alone, if so told.

    Raises
    ------
    InputError
        As `sample` and `first_sessions`.
    """
    n = options.sessions
    if n is not None:
        return lambda fold: sample(first_sessions(responses, split, fold, n), options)
    whole = sample(responses, options)
    return lambda _: whole


def first_sessions(responses: xr.Dataset, split: xr.Dataset, fold: int, n: int) -> xr.Dataset:
    """Leave out what training stimuli evoked after the first sessions; test stimuli keep all repetitions.

    Parameters
    ----------
    responses, split : Dataset
        Responses with the coordinate `session`; Splits.
    fold, n : int
        Sessions are in the order of their names, numbers in them by size.

    Raises
    ------
    InputError
        There are no sessions, or fewer.
    """
    if "session" not in responses.coords:
        raise InputError(
            f"The responses of {responses.attrs['dataset']!r} name no sessions, which `sessions: {n}` "
            "counts. Leave it out."
        )
    session = responses["session"].values.astype(str)
    names = sorted(np.unique(session).tolist(), key=_by_number)
    if n > len(names):
        raise InputError(
            f"Invalid value for 'sessions': {n}. Subject {responses['subject'].values[0]} has {len(names)} "
            f"({names[0]} to {names[-1]}). Ask for {len(names)} or fewer."
        )
    tested = split["stimulus_id"].values[split["side"].values[fold] == splits.TEST]
    kept = np.isin(session, names[:n]) | np.isin(responses["stimulus_id"].values, tested)
    return responses.isel(presentation=kept)


def _by_number(name: str) -> list[tuple[bool, int, str]]:
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]


def lay_out(
    samples: Samples, features: xr.Dataset, split: xr.Dataset, fold: int, options: config.Embedding
) -> Sides:
    """Part stimuli into training and test, and standardise what they evoked.

    Raises
    ------
    InputError
        No such layer; no neuroid varies; the features are categories; no stimulus to train on or to test.
    """
    if features.attrs["model"] == "category/table":
        raise InputError(
            "Stimuli share their categories, so that none can be retrieved by them. Use "
            "`neuroenc decode classify`."
        )
    select_layers(features, options.layers)
    side, inner = splits.sides(split, fold, samples.ids, samples.group)
    train = side == splits.TRAIN
    X = standardise(samples, train, fold, keep_epochs=_option(options, "front") == "atm")
    embedding = design(features, samples.ids, options.layers).flattened()
    return Sides(samples.ids, side, samples.group, X, embedding, inner[train], samples.n_times)


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
    else:
        target = Target.fit(Y, options.n_components)
        every, embeddings, folds = mixed(X, Y, folds, made)
        if shuffle is not None:  # made pairs too, of the pictures that were dealt
            dealt = np.random.default_rng((shuffle, fold, 1)).permutation(len(made.ids))
            embeddings[len(X) :] = made.embedding[dealt]
        model = make(options, folds, checkpoint=checkpoint).fit(every, embeddings, target)
    target, found, sampled = model.target_, model.predict_components(test), None
    if options.prior is not None:
        given = out_of_fold(options, X, Y, sides.inner, target, n_times)
        sampled = sample_prior(options.prior, given, target.transform(Y), folds, found)
    true = target.transform(sides.embedding.take(sides.test))
    return DecodedFold(sides.ids[sides.test], found, sampled, true, target)


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
    decoded: NDArray[np.float32],
) -> NDArray[np.float32]:  # fmt: skip
    """Train a prior and sample from it what could have been decoded.

    Parameters
    ----------
    options : Prior
    given, true : arrays of shape (n, n_components)
        Of the training stimuli, `given` by decoders that were not fitted to them.
    folds : list of (train, validation)
    decoded : array of shape (n_test, n_components)

    Returns
    -------
    array of shape (n_test, n_components)
    """
    from neuroenc.decoders.prior import DiffusionPrior

    how = options.model_dump(exclude={"guidance", "n_steps"})
    prior = DiffusionPrior(**how | {"device": pick_device(how["device"])}, cv=folds).fit(given, true)
    return prior.sample(decoded, guidance=options.guidance, n_steps=options.n_steps, seed=options.seed)


def join_folds(folds: list[DecodedFold], attrs: Mapping[str, Any]) -> xr.Dataset:
    """Lay the decoded folds out as Embeddings."""
    width = min(len(f.target.basis) for f in folds)  # folds of other sizes may have a component less
    values = {
        name: (("presentation", "component"), np.concatenate([getattr(f, name)[:, :width] for f in folds]))
        for name in (["sampled"] if folds[0].sampled is not None else []) + ["embedding", "true"]
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
