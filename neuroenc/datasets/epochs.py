"""Epochs of MNE as responses: channels, their places, and a time bin for each sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuroenc.errors import InputError


class Epochs(NamedTuple):
    """What a file of epochs holds."""

    values: NDArray[Any]
    """(n_epochs, n_channels, n_samples), in SI units"""
    channels: pd.DataFrame
    time: dict[str, NDArray[Any]]
    stimulus_id: NDArray[np.str_] | None
    """Of its metadata"""
    others: dict[str, NDArray[np.str_]]
    """What else may name the epochs: their events, and columns of metadata."""
    dropped: list[int]
    """Which of the trials were dropped, from 0, as by an amplitude."""


def places(info: Any) -> NDArray[np.float32]:
    """Return the places of the channels of MNE, which counts in m, (n_channels, 3), in mm."""
    return np.array([1000 * c["loc"][:3] for c in info["chs"]], np.float32)


def read_epochs(path: Path) -> Epochs:
    """Read epochs of MNE: channels with data that are not marked bad, one bin for each sample."""
    try:
        import mne
    except ImportError:
        raise InputError("Epochs (.fif) need the extra 'electrophysiology'. Install it.") from None
    try:
        epochs = mne.read_epochs(path, verbose="error")
        if set(epochs.ch_names) <= set(epochs.info["bads"]):
            raise InputError(f"{path} marks all its channels bad. Unmark those that hold data.")
        epochs = epochs.pick("data", exclude="bads")
        values = epochs.get_data(copy=False)
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  the reader has errors of every kind
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"Cannot read {path}: {reason}. Does it hold epochs of MNE?") from None
    where = places(epochs.info)
    table = pd.DataFrame({"neuroid_id": epochs.ch_names, **dict(zip("xyz", where.T, strict=True))})
    about = pd.DataFrame() if epochs.metadata is None else epochs.metadata
    named = {str(c): np.char.strip(about[c].to_numpy().astype(str)) for c in about}
    ids = named.pop("stimulus_id", None)
    event = {number: name for name, number in epochs.event_id.items()}
    events = np.array([event[number] for number in epochs.events[:, 2].tolist()], dtype=str)
    time = {"start": epochs.times, "stop": epochs.times + 1 / epochs.info["sfreq"]}
    others = {"its events": events, **{f"its metadata#{c}": v for c, v in named.items()}}
    meant = [why for why in epochs.drop_log if "IGNORED" not in why]  # the others are of other events
    return Epochs(values, table, time, ids, others, [k for k, why in enumerate(meant) if why])
