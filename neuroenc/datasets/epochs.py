"""Epochs of MNE as responses: channels, their places, and a time bin for each sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuroenc.errors import InputError


def read_epochs(
    path: Path,
) -> tuple[NDArray[Any], pd.DataFrame, dict[str, NDArray[Any]], NDArray[np.str_] | None]:
    """Read epochs of MNE: channels with data that are not marked bad, one bin for each sample.

    The last is the column `stimulus_id` of their metadata, where they have one.
    """
    try:
        import mne
    except ImportError:
        raise InputError("Epochs (.fif) need the extra 'electrophysiology'. Install it.") from None
    try:
        epochs = mne.read_epochs(path, verbose="error").pick("data", exclude="bads")
        values = epochs.get_data(copy=False)
    except Exception as error:  # noqa: BLE001  the reader has errors of every kind
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"Cannot read {path}: {reason}. Does it hold epochs of MNE?") from None
    where = np.array([c["loc"][:3] for c in epochs.info["chs"]], np.float32)
    table = pd.DataFrame({"neuroid_id": epochs.ch_names, **dict(zip("xyz", where.T, strict=True))})
    known = epochs.metadata is not None and "stimulus_id" in epochs.metadata
    ids = np.char.strip(epochs.metadata["stimulus_id"].to_numpy().astype(str)) if known else None
    return values, table, {"start": epochs.times, "stop": epochs.times + 1 / epochs.info["sfreq"]}, ids
