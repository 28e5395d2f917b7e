"""Single-trial estimates and cleaned time courses of a run.

Least squares, separate (Mumford et al. 2012, NeuroImage 59, 2636): trial i has a model of its own,

    y = b_i x_i + c_i Σ_{j≠i} x_j + N g + e,

x_j the response that a haemodynamic function makes of trial j, N what is of no interest. By the theorem of
Frisch, Waugh and Lovell b_i is the solution of two equations in what N leaves of y, x_i and Σ x_j, so that N
is projected out once for all trials; that is ordinary least squares, the noise taken as white.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroenc.blocks import columns
from neuroenc.datasets.reading import read_table
from neuroenc.errors import InputError
from neuroenc.real import deviation

HRF = "glover"
NUISANCE = ("trans_[xyz]*", "rot_[xyz]*", "csf", "white_matter", "non_steady_state_outlier*")
"""24 of motion, means of cerebrospinal fluid and white matter, volumes before the steady state"""
UNSTEADY = "non_steady_state_outlier"
DIFFERENCES = ("_derivative1", "framewise_displacement", "dvars", "rmsd")  # the first volume has none
LEAST = 1e-3  # share of the largest regressor's sum of squares that one must keep to be estimated
RANK = 1e-6  # singular values below this share of the largest are none


def read_confounds(
    path: Path, n_volumes: int, patterns: tuple[str, ...] = NUISANCE
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Read confounds of fMRIPrep, (n_volumes, n_confounds), and which volumes are not yet steady.

    Differences between volumes have no first value (n/a); it is set to the second, as nilearn does.

    Raises
    ------
    InputError
        It has another length; a pattern names no column; a value is missing elsewhere.
    """
    table = read_table(path)
    if len(table) != n_volumes:
        raise InputError(f"{path} has {len(table)} rows, its series {n_volumes} volumes; they must match.")
    chosen = {p: [c for c in table.columns if fnmatchcase(c, p)] for p in patterns}
    for pattern, found in chosen.items():
        if not found and not pattern.startswith(UNSTEADY):
            raise InputError(
                f"{path} has no column {pattern!r}; found {', '.join(table.columns[:6])}, … Choose by "
                "--confound."
            )
    names = list(dict.fromkeys(c for found in chosen.values() for c in found))
    values = table.matrix(names, missing=True)
    for k, name in enumerate(names):
        if any(d in name for d in DIFFERENCES) and n_volumes > 1 and np.isnan(values[0, k]):
            values[0, k] = values[1, k]
        missing = np.flatnonzero(np.isnan(values[:, k]))
        if len(missing):
            raise InputError(
                f"{path} has no {name} in line {table.lines[missing[0]]}; only the first row of a difference "
                "may be missing. Run fMRIPrep again, or choose others by --confound."
            )
    unsteady = [k for k, name in enumerate(names) if name.startswith(UNSTEADY)]
    return values, np.asarray((values[:, unsteady] > 0).any(1))


def nuisance(confounds: NDArray[np.float64], tr: float, high_pass: float) -> NDArray[np.float64]:
    """Return an orthonormal basis of what is of no interest: constant, slow cosines and confounds.

    Parameters
    ----------
    confounds : array of shape (n_volumes, n_confounds)
    tr : float
        s
    high_pass : float
        Hz; slower cosines are in the basis.

    Raises
    ------
    InputError
        It leaves fewer than three degrees of freedom.
    """
    from nilearn.glm.first_level.design_matrix import create_cosine_drift

    n = len(confounds)
    spread = deviation(confounds)
    scaled = (confounds - confounds.mean(0)) / np.where(spread > 0, spread, 1)
    slow = create_cosine_drift(high_pass, np.arange(n) * tr)
    left, size, _ = np.linalg.svd(np.column_stack([slow * np.sqrt(n), scaled]), full_matrices=False)
    basis = left[:, size > RANK * size[0]]
    if n - basis.shape[1] < 3:
        raise InputError(
            f"A run of {n} volumes has {basis.shape[1]} confounds and slow cosines. Choose fewer by "
            "--confound."
        )
    return basis


def regressors(
    onset: NDArray[np.float64], duration: NDArray[np.float64], times: NDArray[Any]
) -> NDArray[np.float64]:
    """Return the expected response to each trial at the times of the volumes, (n_volumes, n_trials)."""
    return np.column_stack([
        together(onset[i : i + 1], duration[i : i + 1], times) for i in range(len(onset))
    ])  # fmt: skip


def together(
    onset: NDArray[np.float64], duration: NDArray[np.float64], times: NDArray[Any]
) -> NDArray[np.float64]:
    """Return the expected response to all trials at the times of the volumes, (n_volumes,)."""
    from nilearn.glm.first_level import compute_regressor

    trials = np.stack([onset, duration, np.ones(len(onset))])
    return np.asarray(compute_regressor(trials, HRF, times)[0][:, 0])


def separate(
    series: NDArray[np.float32], design: NDArray[np.float64], basis: NDArray[np.float64], what: str
) -> NDArray[np.float32]:
    """Estimate each trial by a model of its own, in percent of the mean of the series.

    Parameters
    ----------
    series : array of shape (n_volumes, n_units)
    design : array of shape (n_volumes, n_trials)
    basis : array of shape (n_volumes, n_nuisance)
        Orthonormal.
    what : str
        The run, for errors.

    Returns
    -------
    array of shape (n_trials, n_units)
        NaN where the series is constant.

    Raises
    ------
    InputError
        A trial leaves no trace in the volumes, or none of its own.
    """
    X = design - basis @ (basis.T @ design)
    others = X.sum(1, keepdims=True) - X
    own, rest, both = (X**2).sum(0), (others**2).sum(0), (X * others).sum(0)
    alone = rest < LEAST * own.max()  # a run of one trial
    free = own * rest - both**2
    lost = (own < LEAST * own.max()) | (~alone & (free < LEAST * own * rest))
    if lost.any():
        raise InputError(
            f"Trial {int(np.flatnonzero(lost)[0]) + 1} of {what} cannot be told from the others, from the "
            "confounds or from the end of the run. Take it out of the events."
        )
    betas = np.empty((design.shape[1], series.shape[1]), np.float32)
    for part in columns(*series.shape):
        y = series[:, part].astype(np.float64)
        mean, still = y.mean(0), np.ptp(y, axis=0) == 0
        a, b = X.T @ y, others.T @ y  # X is free of the basis, so y need not be
        with np.errstate(invalid="ignore", divide="ignore"):
            found = np.where(
                alone[:, None], a / own[:, None],
                (rest[:, None] * a - both[:, None] * b) / np.where(alone, 1, free)[:, None],
            )  # fmt: skip
            betas[:, part] = np.where(still | (mean == 0), np.nan, 100 * found / np.abs(mean))
    return betas


def cleaned(series: NDArray[np.float32], basis: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return what the basis leaves of a series, z-scored over the run (n - 1); NaN if that is nothing."""
    out = np.empty(series.shape, np.float32)
    for part in columns(*series.shape):
        y = series[:, part].astype(np.float64)
        rest = y - basis @ (basis.T @ y)
        spread = rest.std(0, ddof=1)
        none = spread <= RANK * np.abs(y).max(0)
        out[:, part] = (rest - rest.mean(0)) / np.where(none, np.nan, spread)
    return out
