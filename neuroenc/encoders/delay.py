"""Finite impulse responses: features of earlier samples as features of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from neuroenc.arrays import join
from neuroenc.errors import ContractError, InputError

UNEVEN = 0.1  # of a step, by which steps may differ
GAPS = 0.25  # share of steps, and
FEW = 3  # number of them, up to which longer steps are gaps


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
    if (named != named).any():
        raise InputError(
            f"groups has no name for {(named != named).sum()} of {len(named)} samples (NaN). Name their runs."
        )
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

    Where the stimuli of a film follow each other at even steps but for gaps, a delay is so many steps: what
    falls into a gap is missing, not the stimulus before it. Where they are uneven, as words are, a delay is
    so many stimuli. Where more than a quarter of the steps are longer, by whole numbers of the usual one, it
    could be either, as of events at whole seconds: they are even if a stimulus lasts a step.

    Parameters
    ----------
    features : Dataset
        Features, with the coordinates `film` and `onset`, and `duration` if known.
    delays : sequence of int
        In steps or stimuli.

    Returns
    -------
    array of shape (n_stimuli, n_delays)
        -1 where there is none.

    Raises
    ------
    ContractError
        The stimuli do not run.
    InputError
        Whether their steps are even cannot be told.
    """
    if not {"film", "onset"} <= set(features.coords):
        raise ContractError(
            f"The features of {features.attrs['model']!r} have no films and onsets, which `delays` go by. "
            "Leave `delays` out, or extract the features again from stimuli that have both."
        )
    film = features["film"].values
    onset = features["onset"].values
    order = np.lexsort((onset, film))
    lasts = features["duration"].values if "duration" in features.coords else np.full(len(onset), np.nan)
    rows = [order[film[order] == f] for f in np.unique(film)]
    place = np.concatenate([_steps(onset[r], lasts[r], str(film[r[0]])) for r in rows])
    at = {where: row for row, where in enumerate(zip(film[order], place.tolist(), strict=True))}
    found = np.array(
        [[at.get((f, p - d), -1) for d in delays] for f, p in zip(film[order], place.tolist(), strict=True)],
        dtype=np.int64,
    ).reshape(len(order), len(delays))
    out = np.empty_like(found)
    out[order] = np.where(found >= 0, order[found], -1)
    return out


def _steps(onset: NDArray[np.float64], lasts: NDArray[np.float64], film: str) -> NDArray[np.int64]:
    """Return the numbers of the stimuli of a film, by the usual step where each is one or several such."""
    steps, place = np.diff(onset), np.arange(len(onset))
    if not len(steps) or steps.min() <= 0:
        return place
    gap = np.sort(steps)[(len(steps) - 1) // 2]
    whole = np.round(steps / gap)
    if (whole < 1).any() or (np.abs(steps / gap - whole) > UNEVEN).any():
        return place
    longer, known = int((whole > 1).sum()), np.isfinite(lasts).any()
    if longer > max(FEW, GAPS * len(steps)):
        if not known:
            raise InputError(
                f"{longer} of {len(steps)} steps between the stimuli of {film!r} are longer than the usual "
                f"{gap:g} s, by whole numbers of it: `delays` could go by time, with stimuli missing, or "
                f"from event to event. Give the stimuli a `duration` ({gap:g} s for the first) and extract "
                "the features again."
            )
        if np.abs(np.nanmedian(lasts) - gap) > UNEVEN * gap:
            return place
    return np.concatenate([[0], np.cumsum(whole)]).astype(np.int64)


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
