"""What decoders read: stimuli of a fold, what they evoked, standardised, and their embeddings."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc import config, splits
from neuroenc.arrays import average_repeats, select_layers
from neuroenc.encoders.design import Design, design, moments
from neuroenc.encoders.missing import by_stimulus, complete
from neuroenc.errors import InputError


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
