"""Single-trial betas by the package glmsingle, where it is installed (it is not on PyPI)."""

from __future__ import annotations

import contextlib
import sys
import tempfile

import numpy as np
from numpy.typing import NDArray

from neuroenc.datasets.bids import Run, Shown
from neuroenc.errors import InputError, reason

SOURCE = "github.com/cvnlab/GLMsingle"


def estimate(series: list[NDArray[np.float32]], shown: list[Shown], runs: list[Run]) -> NDArray[np.float32]:
    """Fit GLMsingle to all runs of a subject and return its betas of type D, percent signal change.

    It finds its own regressors of noise; confounds are not used. Trials count to the nearest volume. The
    whole subject is in memory.

    Parameters
    ----------
    series : list of arrays of shape (n_volumes, n_units)
    shown : list of Shown
    runs : list of Run

    Returns
    -------
    array of shape (n_trials, n_units)

    Raises
    ------
    InputError
        The package is not there; runs differ in repetition time; two trials begin in one volume.
    """
    try:
        from glmsingle.glmsingle import GLM_single
    except ImportError:
        raise InputError(
            f"The package glmsingle is not installed. Install it from {SOURCE}, or use --betas lss."
        ) from None
    tr = runs[0].tr
    if any(abs(run.tr - tr) > 1e-3 for run in runs):
        raise InputError(f"The runs of sub-{runs[0].subject} differ in repetition time. Use --betas lss.")
    names = sorted({f for s in shown for f in s.file.tolist()})
    designs = [_design(s, run, names) for s, run in zip(shown, runs, strict=True)]
    sessions = {s: i + 1 for i, s in enumerate(dict.fromkeys(run.session for run in runs))}
    options = {
        "wantfileoutputs": [0, 0, 0, 0], "wantmemoryoutputs": [0, 0, 0, 1],
        "sessionindicator": np.array([[sessions[run.session] for run in runs]]),
    }  # fmt: skip
    lasts = float(np.median(np.concatenate([s.duration for s in shown])))
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(sys.stderr):
        try:
            fitted = GLM_single(options).fit(
                designs, [s.T for s in series], max(lasts, 0.1), tr, outputdir=f"{place}/out",
                figuredir=f"{place}/figures",
            )  # fmt: skip
            betas = np.asarray(fitted["typed"]["betasmd"], np.float32)
        except Exception as error:  # noqa: BLE001  its assertions are of every kind
            raise InputError(
                f"GLMsingle cannot fit sub-{runs[0].subject}: {reason(error)}. Use --betas lss."
            ) from None
    order = np.argsort([o + 1e6 * i for i, s in enumerate(shown) for o in s.onset], kind="stable")
    out = np.empty((len(order), betas.reshape(-1, betas.shape[-1]).shape[0]), np.float32)
    out[order] = betas.reshape(-1, betas.shape[-1]).T  # it lists trials by their onsets
    return out


def _design(shown: Shown, run: Run, names: list[str]) -> NDArray[np.float64]:
    """Mark the volume in which each trial begins, (n_volumes, n_conditions)."""
    design = np.zeros((run.n_volumes, len(names)))
    volume = np.round(shown.onset / run.tr).astype(int).clip(0, run.n_volumes - 1)
    if len(set(volume.tolist())) < len(volume):
        raise InputError(f"Two trials of {run.events} begin in one volume of {run.tr:g} s. Use --betas lss.")
    for row, name in zip(volume, shown.file.tolist(), strict=True):
        design[row, names.index(name)] = 1
    return design
