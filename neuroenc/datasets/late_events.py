"""Whether a series answers to its events only some seconds before or after they are said to begin.

As where volumes were dropped from the beginning of a run, and their time was not taken off the onsets.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroenc.blocks import columns
from neuroenc.datasets.trials import LEAST, together
from neuroenc.errors import InputWarning

LAGS = np.arange(-12.0, 12.5, 1.0)  # s
LATE = 3.0  # s; less may be the shape of a response
UNITS = 0.05  # share of units, those that answer most
FOUND = 12.0  # times what one regressor explains of noise
ALIKE = 1.5  # s by which runs may differ


def explained(
    series: NDArray[np.float32], onset: NDArray[np.float64], duration: NDArray[np.float64],
    times: NDArray[Any], basis: NDArray[np.float64],
) -> NDArray[np.float32]:  # fmt: skip
    """Return what all trials together explain of a series, were they `LAGS` later, (n_lags, n_units).

    Parameters
    ----------
    series : array of shape (n_volumes, n_units)
    onset, duration : arrays of shape (n_trials,)
    times : array of shape (n_volumes,)
    basis : array of shape (n_volumes, n_nuisance)
        Orthonormal; left out of both.

    Returns
    -------
    array of float32
        Shares of the variance, as multiples of what one regressor explains of white noise.
    """
    X = np.stack([together(onset + lag, duration, times) for lag in LAGS], 1)
    left = X - basis @ (basis.T @ X)
    power = (left**2).sum(0)
    left = left / np.sqrt(np.where(power > LEAST * (X**2).sum(0), power, np.inf))
    out = np.empty((len(LAGS), series.shape[1]), np.float32)
    for part in columns(*series.shape):
        y = series[:, part].astype(np.float64)
        rest = y - basis @ (basis.T @ y)
        total = (rest**2).sum(0)
        out[:, part] = (left.T @ rest) ** 2 / np.where(total > LEAST**2 * (y**2).sum(0), total, np.inf)
    return out * (len(series) - basis.shape[1])


def warn_of_late_events(name: str, runs: list[NDArray[np.float32]]) -> None:
    """Warn where the runs agree that events are some seconds off.

    Parameters
    ----------
    name : str
        Whose runs.
    runs : list of arrays of shape (n_lags, n_units)
        As `explained` returns them, of one set of units.

    Notes
    -----
    The lag, and the units that answer most, are those of the other runs: a run agrees if its own best lag is
    near, if there twice as much is explained as in place, and more than of noise.
    """
    if len(runs) < 2:
        return
    total = np.sum(runs, 0, dtype=np.float64)
    here = int(np.flatnonzero(LAGS == 0)[0])
    found = []
    for run in runs:
        others = total - run
        most = np.argsort(others.max(0))[-max(1, round(UNITS * others.shape[1])) :]
        best, own = int(others[:, most].mean(1).argmax()), run[:, most].mean(1)
        near = abs(LAGS[own.argmax()] - LAGS[best]) <= ALIKE
        agrees = near and own[best] > max(2 * own[here], FOUND)
        found.append(float(LAGS[best]) if agrees else 0.0)
    lag = float(np.median(found))
    if abs(lag) >= LATE and np.ptp(found) <= 2 * ALIKE:
        warnings.warn(
            f"{name} answers to its events in all {len(runs)} runs as if they began {abs(lag):g} s "
            f"{'later' if lag > 0 else 'earlier'}. Were volumes dropped whose time is still in the onsets? "
            "Correct the events.", InputWarning, stacklevel=2,
        )  # fmt: skip
