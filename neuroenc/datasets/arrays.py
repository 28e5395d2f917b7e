"""Recordings that are arrays at hand, as the library takes them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from neuroenc.arrays import make_responses, make_stimuli
from neuroenc.datasets.copied_rows import refuse_copied_rows
from neuroenc.datasets.repeats import warn_of_repeats
from neuroenc.errors import InputError
from neuroenc.names import names, same_columns, same_order, texts
from neuroenc.real import real32, unmasked


def from_arrays(
    response: ArrayLike,
    stimulus_id: ArrayLike,
    *,
    name: str = "arrays",
    subject: str = "1",
    units: str = "unstated",
    session: ArrayLike | None = None,
    group: ArrayLike | None = None,
    test: ArrayLike | None = None,
    neuroid_id: ArrayLike | None = None,
    regions: Mapping[str, ArrayLike] | None = None,
    position: ArrayLike | None = None,
    noise_ceiling: ArrayLike | None = None,
    captions: ArrayLike | None = None,
) -> tuple[xr.Dataset, xr.Dataset]:
    """Build a StimulusSet and Responses of arrays.

    Parameters
    ----------
    response : array of shape (n_presentations, n_neuroids) or (n_presentations, n_neuroids, n_time_bins)
        NaN marks a missing value. A stimulus that was shown several times has several rows.
    stimulus_id : array of text, (n_presentations,)
        What was shown.
    name : str
        Of the recordings.
    subject, units : str
    session : array of text, (n_presentations,), optional
    group : array of text, (n_presentations,), optional
        Stimuli that no split parts; None: each is its own.
    test : array of text, optional
        Ids of the test stimuli, for `split: {kind: dataset}`.
    neuroid_id : array of text, (n_neuroids,), optional
    regions : mapping, optional
        Name to mask, (n_neuroids,); regions may overlap.
    position : array of shape (n_neuroids, 3), optional
        mm.
    noise_ceiling : array of shape (n_neuroids,), optional
        Share of the variance of one presentation that can be explained; else it is estimated from repeats.
    captions : array of text, (n_stimuli,) or (n_stimuli, n_captions), optional
        In the order in which the stimuli first appear.

    Returns
    -------
    stimuli : Dataset
        In the order in which they first appear.
    responses : Dataset

    Raises
    ------
    InputError
        Arrays of different length, or tables whose rows or columns have these ids in another order; test
        stimuli that were not shown; one stimulus in two groups; values that are no numbers.
    """
    values = real32(response, "response")
    ids = names(stimulus_id, "stimulus_id")
    if values.ndim not in (2, 3) or ids.shape != values.shape[:1] or 0 in values.shape:
        raise InputError(
            f"response has shape {values.shape}, stimulus_id {ids.shape}; expected (presentations, "
            "neuroids[, time bins]) and one id a presentation."
        )
    n, k = values.shape[:2]
    first = np.sort(np.unique(ids, return_index=True)[1])
    same_order(response, ids, "response")
    sessions = np.full(n, "1") if session is None else names(session, "session")
    _rows("session", sessions, n)
    refuse_copied_rows("response", values, ids)
    warn_of_repeats("response", values, ids, sessions)
    groups = ids if group is None else _rows("group", names(group, "group"), n)
    own = dict(zip(ids[first], groups[first], strict=True))
    parted = [i for i, g in zip(ids, groups, strict=True) if own[i] != g]
    if parted:
        raise InputError(f"The stimulus {str(parted[0])!r} stands in two groups. Each belongs to one.")
    tested = np.isin(ids, _named(test, ids))
    split = np.where(tested, "test", "train")
    numbered = [str(i) for i in range(k)]
    neuroid: dict[str, NDArray[np.generic]] = {
        "neuroid_id": _rows(
            "neuroid_id", names(numbered if neuroid_id is None else neuroid_id, "neuroid_id"), k
        ),
        "subject": np.full(k, subject), "hemisphere": np.full(k, ""),
    }  # fmt: skip
    known_as = neuroid["neuroid_id"]
    if neuroid_id is not None:
        same_columns(response, known_as)
    places = np.full((k, 3), np.nan) if position is None else _rows("position", position, k, known_as)
    if places.shape != (k, 3):
        raise InputError(f"position has shape {places.shape}, expected ({k}, 3): x, y, z of each neuroid.")
    neuroid |= dict(zip("xyz", real32(places, "position").T, strict=True))
    ceiling = "ncsnr" if noise_ceiling is None else "noise_ceiling"
    known = (
        np.full(k, np.nan) if noise_ceiling is None else _rows("noise_ceiling", noise_ceiling, k, known_as)
    )
    neuroid[ceiling] = real32(known, "noise_ceiling")
    for region, mask in (regions or {}).items():
        inside = _rows(f"regions[{region!r}]", mask, k, known_as)
        if not np.isin(inside, (0, 1)).all():
            raise InputError(
                f"regions[{region!r}] holds {inside[~np.isin(inside, (0, 1))][0]}, expected a mask: "
                "True or False for each neuroid. Make one of numbers by `np.isin`."
            )
        neuroid[f"roi_{region}"] = inside.astype(bool)
    responses = make_responses(
        values,
        presentation={
            "stimulus_id": ids, "split": split, "group": groups, "run": np.zeros(n, int),
            "session": sessions,
            "repetition": pd.Series(ids).groupby(ids).cumcount().to_numpy(int),
        },
        neuroid=neuroid,
        time_bin={"bin": np.arange(values.shape[2])} if values.ndim == 3 else None,
        attrs={"dataset": name, "space": "none", "units": units, "source": "arrays"},
    )  # fmt: skip
    if captions is not None:
        same_order(captions, ids[first], "captions")
    written = None if captions is None else _rows("captions", texts(captions, "captions"), len(first))
    stimuli = make_stimuli(
        {"stimulus_id": ids[first], "split": split[first], "group": groups[first],
         "pixel_index": np.arange(len(first))},
        attrs={"dataset": name, "pixels": "not distributed"},
        captions=None if written is None else written.reshape(len(first), -1),
    )  # fmt: skip
    return stimuli, responses


def _rows(
    name: str, values: ArrayLike, n: int, ids: NDArray[np.generic] | None = None
) -> NDArray[np.generic]:
    found = unmasked(values)
    if found.shape[:1] != (n,):
        raise InputError(f"{name} has shape {found.shape}, expected {n} rows.")
    if ids is not None:
        same_order(values, ids, name)
    return found


def _named(test: ArrayLike | None, ids: NDArray[np.str_]) -> NDArray[np.str_]:
    """Return the ids of the test stimuli, each of which was shown."""
    named = names([] if test is None else test, "test").ravel()
    absent = named[~np.isin(named, ids)]
    if len(absent):
        raise InputError(
            f"{len(absent)} of {len(named)} test stimuli were not shown, first {str(absent[0])!r}. Give ids "
            "of `stimulus_id`."
        )
    return named
