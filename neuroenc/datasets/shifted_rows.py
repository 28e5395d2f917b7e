"""Whether responses fit the presentations some rows before or after theirs, as where a trial was lost."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from neuroenc.errors import InputWarning
from neuroenc.real import varies

FARTHEST = 3  # rows
LEAST = 20  # pairs of presentations
PAIRS, COLUMNS = 5000, 500  # that are compared, at most
CLEAR = 6.0  # standard errors


def warn_of_shift(name: str, values: NDArray[np.float32], stimulus_id: NDArray[np.str_]) -> None:
    """Warn where repeats of a stimulus are alike only if responses are moved by some rows.

    Notes
    -----
    Likeness of two presentations is the mean product of their responses, z-scored over presentations. Moved
    by k rows, it must be larger than in place by `CLEAR` standard errors over pairs, and in place be nearer
    to the median over all k, which drifts alone make. Where one order was shown again and again, moving
    changes nothing, and nothing is said.
    """
    pairs = _pairs(stimulus_id)
    pairs = pairs[:: max(1, len(pairs) // PAIRS)]
    pairs = pairs[((pairs >= FARTHEST) & (pairs < len(values) - FARTHEST)).all(1)]
    if len(pairs) < LEAST:
        return
    rows = values.reshape(len(values), -1)
    rows = rows[:, :: max(1, rows.shape[1] // COLUMNS)].astype(np.float64)
    rows = rows[:, varies(rows)]
    rows = np.nan_to_num((rows - np.nanmean(rows, 0)) / np.nanstd(rows, 0))
    alike = {k: (rows[pairs[:, 0] + k] * rows[pairs[:, 1] + k]).mean(1)
             for k in range(-FARTHEST, FARTHEST + 1)}  # fmt: skip
    mean = {k: float(v.mean()) for k, v in alike.items()}
    best, usual = max(mean, key=mean.__getitem__), float(np.median(list(mean.values())))
    more = alike[best] - alike[0]
    clear = more.mean() > CLEAR * more.std() / np.sqrt(len(more))
    if clear and mean[0] - usual < (mean[best] - usual) / 2:
        rows_off = f"{abs(best)} row{'s' if abs(best) > 1 else ''} {'later' if best > 0 else 'earlier'}"
        warnings.warn(
            f"{name}: repeats of a stimulus are alike ({mean[best]:.2g}, in place {mean[0]:.2g}) if each "
            f"presentation is given the response {rows_off}. Was a trial or volume lost at the beginning?",
            InputWarning, stacklevel=2,
        )  # fmt: skip


def _pairs(stimulus_id: NDArray[np.str_]) -> NDArray[np.int64]:
    """Return the rows of each presentation and of the next one of its stimulus, (n_pairs, 2)."""
    _, number = np.unique(stimulus_id, return_inverse=True)
    order = np.argsort(number, kind="stable")
    again = np.flatnonzero(np.diff(number[order]) == 0)
    return np.stack([order[again], order[again + 1]], 1)
