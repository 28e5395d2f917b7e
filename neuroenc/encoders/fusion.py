"""Late fusion: the features of several models side by side, for one encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core.indexing import (
    ExplicitIndexer,
    IndexingSupport,
    LazilyIndexedArray,
    explicit_indexing_adapter,
)

from neuroenc.arrays import CONTRACT, check, positions
from neuroenc.encoders.design import Design
from neuroenc.errors import InputError
from neuroenc.features.layers import RUNNING


class SideBySide(BackendArray):
    """Columns of several designs, read where they are indexed.

    Parameters
    ----------
    parts : sequence of Design
        Each (n_rows, n_columns), of the same rows.
    """

    def __init__(self, parts: Sequence[Design]) -> None:
        self.parts = list(parts)
        self.edges = np.cumsum([0, *[part.shape[1] for part in parts]])
        self.shape = len(parts[0]), int(self.edges[-1])
        self.dtype = np.result_type(*[part.dtype for part in parts])

    def __getitem__(self, key: ExplicitIndexer) -> Any:
        return explicit_indexing_adapter(key, self.shape, IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> NDArray[Any]:
        rows, columns = (np.atleast_1d(np.arange(n)[k]) for k, n in zip(key, self.shape, strict=True))
        out = np.empty((len(rows), len(columns)), self.dtype)
        for part, first, last in zip(self.parts, self.edges, self.edges[1:], strict=False):
            here = (columns >= first) & (columns < last)
            if here.any():
                out[:, here] = part[rows, columns[here] - first]
        return out[tuple(0 if np.ndim(k) == 0 and not isinstance(k, slice) else slice(None) for k in key)]


def fuse(features: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Put the features of several models side by side; nothing is read.

    Tokens stand one after the other, (n_stimuli, n_tokens * n_channels); layers are called MODEL:LAYER.

    Parameters
    ----------
    features : mapping
        Features of the same stimuli, in any order, by the name of the model.

    Returns
    -------
    Dataset
        Features, in the order of stimuli of the first. The embedding contract says of each model what its own
        says, joined by ' + ', and the attribute `fused` names the models.

    Raises
    ------
    InputError
        Fewer than two; features of other stimuli, or of the same at other times.
    """
    names = list(features)
    if len(names) < 2:
        raise InputError(f"{len(names)} model to fuse, expected two or more. Give NAME=FILE.nc for each.")
    first = features[names[0]]
    ids = first["stimulus_id"].values
    for name in names[1:]:
        other = features[name]["stimulus_id"].values
        alone = np.setxor1d(ids, other)
        if len(alone):
            raise InputError(
                f"The features of {names[0]!r} are of {len(ids)} stimuli, those of {name!r} of {len(other)}; "
                f"{len(alone)} stand in one alone, first {str(alone[0])!r}. Extract both from the same "
                "stimuli."
            )
    parts = [Design(f["feature"], rows=positions(f, ids)).flattened() for f in features.values()]
    layers = [
        np.tile(
            [f"{name}:{layer}" for layer in f["layer"].values], part.shape[1] // f.sizes[f["layer"].dims[0]]
        )
        for (name, f), part in zip(features.items(), parts, strict=True)
    ]
    layer = np.concatenate(layers)
    contract = {k: " + ".join(str(f.attrs[k]) for f in features.values()) for k in CONTRACT}
    dataset = xr.Dataset(
        {"feature": (("stimulus", "feature_index"), LazilyIndexedArray(SideBySide(parts)))},
        {"stimulus_id": ("stimulus", ids), "layer": ("feature_index", layer), **_running(features, ids)},
        contract | {
            "kind": "features", "layer": ",".join(dict.fromkeys(layer.tolist())), "fused": ", ".join(names),
        },
    )  # fmt: skip
    return check(dataset, "features")


def _running(features: Mapping[str, xr.Dataset], ids: NDArray[np.str_]) -> dict[str, Any]:
    """Take film and onset from the models whose features have them, which must agree."""
    found: dict[str, Any] = {}
    of: dict[str, str] = {}
    for name, f in features.items():
        for key in (k for k in RUNNING if k in f.coords):
            values = f[key].values[positions(f, ids)]
            if not np.array_equal(found.setdefault(key, ("stimulus", values))[1], values):
                raise InputError(
                    f"The features of {of[key]!r} and {name!r} are of the same stimuli with other values of "
                    f"{key!r}. Extract both from one stimulus set."
                )
            of.setdefault(key, name)
    return found
