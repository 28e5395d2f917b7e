"""Fitted weights on disk: safetensors beside a JSON that says what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroenc import __version__
from neuroenc.files import atomic, write_json


def save_weights(
    weights: dict[str, NDArray[Any]],
    contract: dict[str, Any],
    neuroid_id: NDArray[np.str_],
    path: str | Path,
) -> None:
    """Write fitted weights.

    Parameters
    ----------
    weights : dict of ndarray
        As `encode` returns them: `fold<k>/<layer>/<coef|intercept|centre|scale|neuroid>`.
    contract : dict
        The embedding contract of the features they read.
    neuroid_id : array of text, (n_neuroids,)
        What the `neuroid` rows count.
    path : path
        `.safetensors`; the JSON has the same name.
    """
    from safetensors.numpy import save_file

    with atomic(path) as partial:
        save_file({k: np.ascontiguousarray(v) for k, v in weights.items()}, partial)
    described = {k: v for k, v in contract.items() if isinstance(v, (str, int, float))}
    write_json(
        {"neuroenc_version": __version__, "contract": described, "neuroid_id": neuroid_id.tolist(),
         "standardise": "(feature - centre) / scale, then coef and intercept"},
        Path(path).with_suffix(".json"),
    )  # fmt: skip
