"""One core for several subjects, each with pictures of its own: side by side, then apart again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc import config
from neuroenc.arrays import check, make_responses
from neuroenc.encoders.encode import Fit, encode
from neuroenc.encoders.missing import by_stimulus
from neuroenc.errors import InputError


def side_by_side(responses: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Put the responses of several subjects side by side, one row a picture.

    Parameters
    ----------
    responses : mapping
        Subject to Responses without time bins.

    Returns
    -------
    Dataset
        Responses, (all pictures that some subject saw) x (neuroids of all); NaN where a subject did not see
        a picture. Neuroids are named SUBJECT/neuroid_id.

    Raises
    ------
    InputError
        Responses with time bins.
    """
    for subject, s in responses.items():
        if s["response"].ndim > 2:
            raise InputError(
                f"A joint fit reads responses without time bins, and those of {subject!r} have "
                f"{s.sizes['time_bin']}. Average them first."
            )
    shown = [by_stimulus(s) for s in responses.values()]
    group = {i: g for own in shown for i, g in zip(own.ids, own.group, strict=True)}
    ids = np.array(sorted(group))
    Y = np.full((len(ids), sum(own.mean.shape[1] for own in shown)), np.nan, np.float32)
    start = 0
    for own in shown:
        stop = start + own.mean.shape[1]
        Y[np.searchsorted(ids, own.ids), start:stop] = own.mean
        start = stop
    each = [s["neuroid_id"].values for s in responses.values()]
    first = next(iter(responses.values()))
    normalised = {str(s.attrs.get("transductive", "false")) for s in responses.values()}
    return make_responses(
        Y,
        presentation={
            "stimulus_id": ids, "group": np.array([group[i] for i in ids]),
            "split": np.full(len(ids), "none"), "session": np.full(len(ids), "none"),
            "run": np.zeros(len(ids), int), "repetition": np.zeros(len(ids), int),
        },
        neuroid={
            "neuroid_id": np.array([f"{k}/{i}" for k, v in zip(responses, each, strict=True) for i in v]),
            "subject": np.repeat(list(responses), [len(v) for v in each]),
            "hemisphere": np.concatenate([s["hemisphere"].values for s in responses.values()]),
            **{axis: np.zeros(len(Y[0]), np.float32) for axis in "xyz"},
            "ncsnr": np.full(len(Y[0]), np.nan, np.float32),
        },
        attrs={k: first.attrs[k] for k in ("dataset", "space", "units", "source")}
        | {"transductive": max(normalised)},
    )  # fmt: skip


def encode_jointly(
    responses: Mapping[str, xr.Dataset], features: xr.Dataset, split: xr.Dataset,
    options: config.ResponseCore, *, checkpoint: Callable[[int, str], Any] | None = None,
) -> dict[str, tuple[xr.Dataset, list[Fit]]]:  # fmt: skip
    """Fit one core to several subjects; give each its own as `encode` would.

    Parameters
    ----------
    responses : mapping
        Subject to Responses.
    features, split, options, checkpoint
        As `encode` takes them.

    Returns
    -------
    dict
        Subject to predictions and fits: of the pictures that it saw, and of its neuroids.

    Raises
    ------
    InputError
        As of `encode` and `side_by_side`.
    """
    predictions, fits = encode(side_by_side(responses), features, split, options, checkpoint=checkpoint)
    found, start = {}, 0
    for subject, own in responses.items():
        stop = start + own.sizes["neuroid"]
        found[subject] = _predictions_of(own, predictions, slice(start, stop)), _fits_of(fits, start, stop)
        start = stop
    return found


def _predictions_of(own: xr.Dataset, predictions: xr.Dataset, neuroids: slice) -> xr.Dataset:
    """Take out the neuroids of a subject, and the pictures that it saw."""
    shown = by_stimulus(own)
    seen = {
        dim: np.isin(predictions[name].values, shown.ids)
        for dim, name in (
            ("presentation", "stimulus_id"), ("held", "held_stimulus_id"),
            ("stimulus", "training_stimulus_id"),
        )
    }  # fmt: skip
    of = predictions.isel({"neuroid": neuroids, **seen})
    gone = [name for name, c in of.coords.items() if c.dims == ("neuroid",)]
    coords = {k: c.variable for k, c in own.coords.items() if c.dims == ("neuroid",)}
    of = of.drop_vars(gone).assign_coords(coords)
    return check(of.assign_attrs(left_out=shown.left_out), "predictions")


def _fits_of(fits: list[Fit], start: int, stop: int) -> list[Fit]:
    """Take out the targets of a subject; a model of which it has none is left out."""
    apart = []
    for fit in fits:
        mine: NDArray[np.bool_] = (fit.neuroid >= start) & (fit.neuroid < stop)
        if mine.any():
            apart.append(fit._replace(
                model=fit.model.of_targets(mine), neuroid=fit.neuroid[mine] - start, weight=fit.weight[mine]
            ))  # fmt: skip
    return apart
