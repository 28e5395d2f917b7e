"""Finite impulse responses: features of earlier samples as features of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from neuroenc.arrays import join
from neuroenc.errors import ContractError, InputError


def earlier(delays: Sequence[int], groups: NDArray[Any]) -> NDArray[np.int64]:
    """Find the sample that each delay looks back to.

    Parameters
    ----------
    delays : sequence of int
        In samples; positive ones look back.
    groups : array of shape (n_samples,)
        Runs or stories, in order of time: nothing passes from one to the next.

    Returns
    -------
    array of shape (n_samples, n_delays)
        -1 where there is nothing to look back to.
    """
    index = np.arange(len(groups))
    found = index[:, None] - np.asarray(delays)
    inside = (found >= 0) & (found < len(groups))
    inside[inside] = (groups[found.clip(0, len(groups) - 1)] == groups[:, None])[inside]
    return np.where(inside, found, -1)


def delay(X: ArrayLike, delays: Sequence[int], groups: ArrayLike | None = None) -> NDArray[Any]:
    """Put delayed copies of the features side by side.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        In order of time.
    delays : sequence of int
        In samples; positive ones look back.
    groups : array of shape (n_samples,), optional
        Runs or stories: nothing passes from one to the next.

    Returns
    -------
    array of shape (n_samples, n_delays * n_features)
        Zero where there is nothing to look back to.

    Raises
    ------
    InputError
        X of other dimensions; delays that are no whole numbers, or stand twice; a group that stands in two
        stretches, or not one a sample.
    """
    X = np.asarray(X)
    if X.ndim != 2:
        raise InputError(f"X has shape {X.shape}, expected (n_samples, n_features).")
    if not len(delays) or np.asarray(delays).dtype.kind not in "iu":
        raise InputError(f"delays are {list(delays)}, expected whole numbers of samples.")
    if len(set(delays)) < len(delays):
        raise InputError(f"delays are {list(delays)}, expected each once.")
    named = np.zeros(len(X)) if groups is None else np.asarray(groups)
    if named.shape != (len(X),):
        raise InputError(f"groups has shape {named.shape}, X {len(X)} samples; expected one each.")
    begins = named[np.flatnonzero(np.concatenate([[True], named[1:] != named[:-1]]))]
    if len(set(begins.tolist())) < len(begins):
        twice = next(g for g in begins.tolist() if begins.tolist().count(g) > 1)
        raise InputError(
            f"The group {twice!r} stands in two stretches, with others between. Put the samples in order of "
            "time, and give each run a name of its own."
        )
    found = earlier(delays, named)
    return np.where(found[:, :, None] >= 0, X[found], np.zeros((), X.dtype)).reshape(len(X), -1)


def sources(features: xr.Dataset, delays: Sequence[int]) -> NDArray[np.int64]:
    """Find the stimulus that each delay of each stimulus looks back to, within its film.

    Parameters
    ----------
    features : Dataset
        Features, with the coordinates `film` and `onset`.
    delays : sequence of int
        In stimuli.

    Returns
    -------
    array of shape (n_stimuli, n_delays)
        -1 where there is none.

    Raises
    ------
    ContractError
        The stimuli do not run.
    """
    if not {"film", "onset"} <= set(features.coords):
        raise ContractError(
            f"The features of {features.attrs['model']!r} have no films and onsets, which `delays` go by. "
            "Leave `delays` out, or extract the features again from stimuli that have both."
        )
    film = features["film"].values
    order = np.lexsort((features["onset"].values, film))
    found = earlier(delays, film[order])
    out = np.empty_like(found)
    out[order] = np.where(found >= 0, order[found], -1)
    return out


def gather(
    features: xr.Dataset, stimulus_id: NDArray[np.str_], delays: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Read the features of some stimuli; with delays of all, because those between are needed too.

    Returns
    -------
    X : array of shape (n_read, n_features)
    rows : int array of shape (n_stimuli,)
        Where the stimuli stand in it.
    """
    X = join(features, stimulus_id)
    if not delays:
        return X, np.arange(len(X))
    every = features["stimulus_id"].values
    row = {s: i for i, s in enumerate(every)}
    return join(features, every), np.array([row[s] for s in stimulus_id])


def delay_stimuli(X: NDArray[Any], features: xr.Dataset, delays: Sequence[int]) -> NDArray[Any]:
    """Delay the features of running stimuli within their films.

    Parameters
    ----------
    X : array of shape (n_stimuli, n_features)
        A row for each stimulus of `features`.
    features, delays
        As `sources` takes them.
    """
    found = sources(features, delays)
    return np.where(found[:, :, None] >= 0, X[found], np.zeros((), X.dtype)).reshape(len(X), -1)
