"""Missing responses: a fit without them, exactly, by filling in what the fit to the others predicts.

Ridge at a given alpha is linear in the responses: its predictions of the rows it was fitted to are Hy. If the
rows m of a target are missing, the fit to the rows o that are there predicts for them
z = (I - H_mm)^-1 H_mo y_o, and the fit to all rows with z in the missing places is the fit to o alone: z lies
on it and pulls it nowhere. So no target needs a factorisation of its own, whatever it lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import sparse
from tqdm import tqdm

from neuroenc.arrays import average_repeats
from neuroenc.blocks import columns
from neuroenc.encoders.factorise import ROUNDING, Factors, eigenbasis
from neuroenc.errors import InputError
from neuroenc.real import varies

Floats = NDArray[Any]
TARGETS_AT_ONCE = 256
ALL = slice(None)


class Smoother(NamedTuple):
    """Ridge as a linear map of the responses of its training rows, at any alpha."""

    basis: Floats
    """(n_train, k), orthonormal; beside it a constant, with an intercept"""
    values: Floats
    """(k,): a response along basis[:, j] is shrunk by values[j] / (values[j] + alpha)"""
    held: Floats
    """(n_held, k): other rows are predicted as held @ (basis' y / (values + alpha))"""
    fit_intercept: bool

    @classmethod
    def of(cls, values: Floats, basis: Floats, held: Floats, *, fit_intercept: bool) -> Smoother:
        """Leave out directions that the rows do not span."""
        seen = values > values.max(initial=0.0) * len(values) * ROUNDING
        return cls(basis[:, seen], values[seen], held[:, seen], fit_intercept)

    @classmethod
    def of_rows(
        cls, factors: Factors, train: NDArray[Any], held: NDArray[Any], *, fit_intercept: bool
    ) -> Smoother:
        """Build the one of a fold."""
        centre, dual, values, towards, away = eigenbasis(factors, train, held, fit_intercept=fit_intercept)
        if dual:
            return cls.of(values, towards, away, fit_intercept=fit_intercept)
        root = np.sqrt(np.maximum(values, np.finfo(float).tiny))
        basis = (factors.left[train].astype(float) - centre) @ (towards / root)
        return cls.of(values, basis, away * root, fit_intercept=fit_intercept)

    def missing(self, alphas: Floats, Y: Floats, absent: NDArray[np.bool_]) -> Floats:
        """Predict what is missing from what is there.

        Parameters
        ----------
        alphas : array of shape (n_alphas,)
        Y : array of shape (n_train, n_targets)
            0 where values are missing.
        absent : array of bool, (n_train, n_targets)
            No target lacks all.

        Returns
        -------
        array of shape (n_alphas, n_missing)
            In the order of `np.nonzero(absent.T)`.
        """
        shrink = self.values / (self.values + alphas[:, None])  # (a, k)
        level = self.fit_intercept / len(Y)
        projected, total = self.basis.T @ Y, Y.sum(0)
        count = absent.sum(0)
        start = np.cumsum(count) - count
        out = np.empty((len(alphas), int(count.sum())))
        # targets that lack the same rows share a system
        _, first, which = np.unique(
            np.packbits(absent, axis=0), axis=1, return_index=True, return_inverse=True
        )
        members = np.split(
            np.argsort(which.ravel(), kind="stable"), np.cumsum(np.bincount(which.ravel()))[:-1]
        )
        for one, targets in zip(first, members, strict=True):
            rows = np.flatnonzero(absent[:, one])
            own = self.basis[rows]
            shown = (own * shrink[:, None]) @ projected[:, targets] + level * total[targets]
            system = np.eye(len(rows)) - (own * shrink[:, None]) @ own.T - level
            found = np.linalg.solve(system, shown)  # (a, m, t)
            out[:, start[targets][:, None] + np.arange(len(rows))] = found.transpose(0, 2, 1)
        return out

    def score(self, alphas: Floats, Y: Floats, truth: Floats) -> Floats:
        """R2 of the held rows that are there, by the training rows that are there.

        Parameters
        ----------
        alphas : array of shape (n_alphas,)
        Y, truth : arrays of shape (n_train, n_targets), (n_held, n_targets)
            NaN where values are missing.

        Returns
        -------
        array of shape (n_alphas, n_targets)
            0 where the target is constant, or not there.
        """
        out = np.zeros((len(alphas), Y.shape[1]))
        absent = np.isnan(Y)
        known = ~absent.all(0)
        Y, truth, absent = Y[:, known], truth[:, known], absent[:, known]
        Y = np.where(absent, 0, Y)
        made = self.missing(alphas, Y, absent)
        column, row = np.nonzero(absent.T)
        projected, total = self.basis.T @ Y, Y.sum(0)
        for i, alpha in enumerate(alphas):
            added = sparse.coo_array((made[i], (column, row)), shape=absent.T.shape).tocsr()
            along = (projected + (added @ self.basis).T) / (self.values + alpha)[:, None]
            level = self.fit_intercept * (total + np.asarray(added.sum(1)).ravel()) / len(Y)
            out[i, known] = r2(truth, self.held @ along + level)
        return out


def smoother(left: Any, singular: Any, *, fit_intercept: bool) -> Smoother:
    """Return the map of all rows, from the factors of X."""
    basis = np.asarray(left, float)
    return Smoother.of(np.asarray(singular) ** 2, basis, basis[:0], fit_intercept=fit_intercept)


def fill(of: Smoother, alpha: Floats, Y: Floats) -> Floats:
    """Replace missing values so that ridge on all rows is ridge on those that are there.

    Parameters
    ----------
    of : Smoother
    alpha : array of shape (n_targets,)
    Y : array of shape (n_train, n_targets)
        NaN where values are missing; no target lacks all.
    """
    out, absent = Y.copy(), np.isnan(Y)
    lacks: Any = absent.any(0)
    for a in np.unique(alpha[lacks]):
        mine = np.flatnonzero(lacks & (alpha == a))
        part = np.where(absent[:, mine], 0, Y[:, mine]).astype(float)
        column, row = np.nonzero(absent[:, mine].T)
        out[row, mine[column]] = of.missing(np.array([a]), part, absent[:, mine])[0]
    return out


def choose(
    smoothers: Iterator[tuple[Smoother, NDArray[Any], NDArray[Any]]], alphas: Floats, n_targets: int,
    take: Callable[[slice], Floats],
) -> Floats:  # fmt: skip
    """Score targets that lack values, (n_alphas, n_targets), mean over folds.

    Parameters
    ----------
    smoothers : iterator of (Smoother, train, held)
        One at a time, since each is as large as X.
    alphas : array of shape (n_alphas,)
    n_targets : int
    take : callable
        From a slice of the targets to their values, (n, n_of_slice).
    """
    total, number = np.zeros((len(alphas), n_targets)), 0
    for one, train, held in smoothers:
        for start in range(0, n_targets, TARGETS_AT_ONCE):
            t = slice(start, min(start + TARGETS_AT_ONCE, n_targets))
            Y = take(t)
            total[:, t] += one.score(alphas, Y[train], Y[held])
        number += 1
    return total / number


def r2(truth: Floats, predicted: Floats) -> Floats:
    """Coefficient of determination of each column over the rows that are there, (n_targets,).

    0 where the truth is constant, within its rounding, or not there.
    """
    return _by_columns(_r2, truth, predicted)


def correlation(truth: Floats, predicted: Floats) -> Floats:
    """Pearson's r of each column over the rows that are there, 0 where one is constant."""
    return _by_columns(_correlation, truth, predicted)


def _by_columns(score: Callable[[Floats, Floats], Floats], truth: Floats, predicted: Floats) -> Floats:
    return np.concatenate([score(truth[:, t], predicted[:, t]) for t in columns(*truth.shape)])


def _r2(truth: Floats, predicted: Floats) -> Floats:
    there, vary = np.isfinite(truth), varies(truth)
    known = np.where(there, truth, 0).astype(float)
    centred = np.where(there, known - known.sum(0) / np.maximum(there.sum(0), 1), 0)
    spread = (centred**2).sum(0)
    error = (np.where(there, known - predicted, 0) ** 2).sum(0)
    return np.where(vary, 1 - error / np.where(vary, spread, 1), 0)


def _correlation(truth: Floats, predicted: Floats) -> Floats:
    there = np.isfinite(truth)
    n = np.maximum(there.sum(0), 1)
    a, b = (np.where(there, v, 0) for v in (truth, predicted))
    a, b = (np.where(there, v - v.sum(0) / n, 0) for v in (a, b))
    size = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    vary = varies(truth, known=there) & varies(predicted, known=there) & (size > 0)
    return np.asarray((a * b).sum(0) / np.where(vary, size, np.inf))


class Shown(NamedTuple):
    """Stimuli that have responses, in order of first presentation."""

    ids: NDArray[np.str_]
    mean: NDArray[np.float32]
    """(n_stimuli, n_neuroids[, n_time_bins]), over presentations; NaN where all lack a value"""
    group: NDArray[np.str_]
    left_out: str
    """Names the stimuli without any value, which are not among `ids`; empty if there are none"""


def by_stimulus(responses: xr.Dataset, neuroids: slice = ALL) -> Shown:
    """Average the presentations of each stimulus; leave out, and name, stimuli without any value.

    Parameters
    ----------
    responses : Dataset
        Responses, in memory or read in parts.
    neuroids : slice
        Which are averaged; a stimulus is left out if no neuroid at all has a value.

    Raises
    ------
    InputError
        No stimulus has one.
    """
    ids, mean = average_repeats(responses.isel(neuroid=neuroids))
    first = {s: i for i, s in reversed(list(enumerate(responses["stimulus_id"].values)))}
    group = responses["group"].values[[first[s] for s in ids]]
    there = np.isfinite(mean).reshape(len(ids), -1).any(1)
    if not there.all() and neuroids != ALL:
        lost = responses.isel(presentation=np.isin(responses["stimulus_id"].values, ids[~there]))
        names, others = average_repeats(lost)
        there |= np.isin(ids, names[np.isfinite(others).reshape(len(names), -1).any(1)])
    if there.all():
        return Shown(ids, mean, group, "")
    if not there.any():
        raise InputError(f"All responses to {len(ids)} stimuli are missing (NaN). Check the responses.")
    gone = ids[~there]
    named = ", ".join(gone[:5].tolist()) + (", …" if len(gone) > 5 else "")
    said = f"{len(gone)} of {len(ids)} stimuli have no response (all NaN) and are left out: {named}"
    tqdm.write(said)
    return Shown(ids[there], mean[there], group[there], said)


def fittable(Y: Floats, folds: list[Any]) -> NDArray[np.bool_]:
    """Say which targets vary and have two values or more in the training rows of every fold.

    Parameters
    ----------
    Y : array of shape (n, n_targets)
        NaN where values are missing.
    folds : list of (train, validation)
    """
    there = np.isfinite(Y)
    enough = np.min([there[train].sum(0) for train, _ in folds], axis=0) > 1
    return np.asarray(enough & varies(Y))


def complete(Y: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_], str]:
    """Choose rows and neuroids without missing values, for what reads all neuroids of a row together.

    Neuroids without any value are left out; then the neuroids, or else the rows, that lack some: whichever
    are the smaller share.

    Parameters
    ----------
    Y : array of shape (n, n_neuroids)

    Returns
    -------
    rows, neuroids : arrays of bool, (n,), (n_neuroids,)
        What is kept.
    left_out : str
        Says what is not, and why; empty if all is kept.

    Raises
    ------
    InputError
        Every row and every neuroid lacks a value.
    """
    absent = ~np.isfinite(Y)
    rows: Any = np.ones(len(Y), bool)
    neuroids: Any = ~absent.all(0)
    odd_rows, odd_neuroids = absent[:, neuroids].any(1), absent[:, neuroids].any(0)
    if not absent.any():
        return rows, neuroids, ""
    if odd_rows.all() and odd_neuroids.all():
        raise InputError(
            f"Each of {len(Y)} stimuli and each of {neuroids.sum()} neuroids lacks a value (NaN): none is "
            "complete. Leave out the presentations or the neuroids that lack most."
        )
    if odd_neuroids.mean() <= odd_rows.mean():
        neuroids[neuroids] = ~odd_neuroids
    else:
        rows = ~odd_rows
    parts = [
        f"{(~kept).sum()} of {len(kept)} {what}"
        for kept, what in ((rows, "stimuli"), (neuroids, "neuroids")) if not kept.all()
    ]  # fmt: skip
    left_out = f"{' and '.join(parts)} lack values (NaN) and are left out"
    tqdm.write(left_out)
    return rows, neuroids, left_out
