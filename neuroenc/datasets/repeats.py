"""What repeats tell: whether responses stand beside their presentations, and neuroids in one order."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from neuroenc.errors import InputWarning
from neuroenc.real import varies

FARTHEST = 3  # rows
LEAST = 12  # pairs of presentations
PAIRS, COLUMNS = 5000, 500  # that are compared, at most
CLEAR = 6.0  # standard errors
LOST = 1 / 3  # share of the likeness within sessions that must be there across them


def warn_of_repeats(
    name: str, values: NDArray[np.float32], stimulus_id: NDArray[np.str_], session: NDArray[np.str_]
) -> None:
    """Warn where repeats are alike only if responses are moved by some rows, or only within sessions.

    Parameters
    ----------
    name : str
        Of the responses.
    values : array of shape (n_presentations, n_neuroids[, n_time_bins])
    stimulus_id, session : arrays of text, (n_presentations,)

    Notes
    -----
    Likeness of two presentations is the mean product of their responses, z-scored within session. Moved by
    k rows, it must be larger than in place by `CLEAR` standard errors over pairs, and in place be nearer
    to the median over all k, which drifts alone make. Where one order was shown again and again, moving
    changes nothing, and nothing is said.
    """
    pairs = _pairs(stimulus_id)
    pairs = pairs[:: max(1, len(pairs) // PAIRS)]
    pairs = pairs[((pairs >= FARTHEST) & (pairs < len(values) - FARTHEST)).all(1)]
    if len(pairs) < LEAST:
        return
    rows = _scaled(values, session)
    moves = np.arange(-FARTHEST, FARTHEST + 1)
    alike = np.stack([(rows[pairs[:, 0] + k] * rows[pairs[:, 1] + k]).mean(1) for k in moves])
    if not _shifted(name, alike, moves):
        _parted(name, alike[FARTHEST] - np.median(alike, 0), np.equal(*session[pairs].T))


def _pairs(stimulus_id: NDArray[np.str_]) -> NDArray[np.int64]:
    """Return the rows of each presentation and of the next one of its stimulus, (n_pairs, 2)."""
    _, number = np.unique(stimulus_id, return_inverse=True)
    order = np.argsort(number, kind="stable")
    again = np.flatnonzero(np.diff(number[order]) == 0)
    return np.stack([order[again], order[again + 1]], 1)


def _scaled(values: NDArray[np.float32], session: NDArray[np.str_]) -> NDArray[np.float64]:
    """Return some neuroids, z-scored within session; 0 where one is missing or does not vary."""
    whole = values.reshape(len(values), -1)
    rows: NDArray[np.float64] = whole[:, :: max(1, whole.shape[1] // COLUMNS)].astype(np.float64)
    for each in np.unique(session):
        own = rows[session == each]
        known = varies(own)
        own[:, known] -= np.nanmean(own[:, known], 0)
        own[:, known] /= np.nanstd(own[:, known], 0)
        own[:, ~known] = 0
        rows[session == each] = np.nan_to_num(own)
    return rows


def _error(values: NDArray[np.float64]) -> float:
    return float(values.std() / np.sqrt(len(values)))


def _shifted(name: str, alike: NDArray[np.float64], moves: NDArray[np.int64]) -> bool:
    """Say whether repeats are alike only if moved, and warn of it."""
    mean = alike.mean(1)
    best, usual = int(mean.argmax()), float(np.median(mean))
    more = alike[best] - alike[FARTHEST]
    there = mean[FARTHEST] - usual < (mean[best] - usual) / 2
    if not there or more.mean() <= CLEAR * _error(more):
        return False
    k = int(moves[best])
    off = f"{abs(k)} row{'s' if abs(k) > 1 else ''} {'later' if k > 0 else 'earlier'}"
    warnings.warn(
        f"{name}: repeats of a stimulus are alike ({mean[best]:.2g}, in place {mean[FARTHEST]:.2g}) if each "
        f"presentation is given the response {off}. Was a trial or volume lost at the beginning?",
        InputWarning, stacklevel=3,
    )  # fmt: skip
    return True


def _parted(name: str, alike: NDArray[np.float64], together: NDArray[np.bool_]) -> None:
    """Warn where repeats within sessions are alike, and those across them are not."""
    within, across = alike[together], alike[~together]
    if min(len(within), len(across)) < LEAST or within.mean() <= CLEAR * _error(within):
        return
    if across.mean() + 3 * _error(across) < LOST * within.mean():
        warnings.warn(
            f"{name}: repeats of a stimulus are alike within sessions ({within.mean():.2g}) and not across "
            f"them ({across.mean():.2g}). Are the neuroids the same, in one order, in all sessions?",
            InputWarning, stacklevel=3,
        )  # fmt: skip
