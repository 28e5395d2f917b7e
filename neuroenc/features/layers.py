"""Several layers of a network side by side, as Features hold them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import DTypeLike, NDArray

from neuroenc.arrays import load, make_features
from neuroenc.errors import InputError

Layers = dict[str, NDArray[np.float32]]  # name -> (n, n_features) or (n, n_tokens, n_channels)
RUNNING = ("film", "onset", "duration")  # of stimuli, which features carry


def together(parts: list[NDArray[np.float32]], layer: str) -> NDArray[np.float32]:
    """Join what a layer gave for some stimuli and for others.

    Raises
    ------
    InputError
        It gave another number of tokens.
    """
    for part in parts:
        same_shape(layer, parts[0].shape[1:], part.shape[1:])
    return np.concatenate(parts)


def filled(parts: list[NDArray[np.float32]], n_tokens: int = 0) -> list[NDArray[np.float32]]:
    """Fill up tokens of texts, each part of one length, to the longest, or to `n_tokens`, with NaN."""
    n_tokens = max(n_tokens, *(part.shape[1] for part in parts))
    return [
        np.pad(part, ((0, 0), (0, n_tokens - part.shape[1]), (0, 0)), constant_values=np.nan)
        for part in parts
    ]


def same_shape(layer: str, some: tuple[int, ...], others: tuple[int, ...]) -> None:
    """Refuse a layer whose shape differs from stimulus to stimulus."""
    if some != others:
        few, many = sorted((some[0], others[0]))
        raise InputError(
            f"Layer {layer!r} has {few} tokens in some stimuli, {many} in others. Pool by "
            "'mean', 'cls' or 'last'."
        )


def same_tokens(values: Layers, pooling: str) -> Layers:
    """Return layers that can stand side by side: cells of different grids are features of the stimulus.

    Raises
    ------
    InputError
        They have different numbers of tokens, which are not cells of a grid.
    """
    shapes = {name: v.shape[1:] for name, v in values.items()}
    if len({s[:-1] for s in shapes.values()}) == 1:
        return values
    if not pooling.startswith("grid"):
        raise InputError(
            f"The layers have different numbers of tokens {shapes}; extract them one by one or pool "
            "them to 'grid:<k>'."
        )
    return {name: v.reshape(len(v), -1) for name, v in values.items()}


def features_of(
    feature: NDArray[np.floating[Any]], stimulus_id: NDArray[np.str_], values: Layers,
    contract: Mapping[str, str],
) -> xr.Dataset:  # fmt: skip
    """Build Features of layers that stand side by side; the contract names them and their shapes."""
    about = {"layer": ",".join(values), "shape": shapes_of(values)}
    layer = np.repeat(list(values), [v.shape[-1] for v in values.values()])
    return make_features(feature, stimulus_id=stimulus_id, layer=layer, attrs={**contract, **about})


def side_by_side(
    values: Layers, dtype: DTypeLike, stimulus_id: NDArray[np.str_], *, words: bool = False
) -> NDArray[np.floating[Any]]:
    """Join layers along their features, in the precision they are stored in.

    With `words` a token may be NaN in all channels: it fills up a text.

    Raises
    ------
    InputError
        Values that are not finite; the first stimulus is named.
    """
    with np.errstate(over="ignore"):  # found below
        feature: NDArray[np.floating[Any]] = np.concatenate(
            list(values.values()), axis=-1, dtype=dtype, casting="same_kind"
        )
    bad = ~np.isfinite(feature)
    if words and feature.ndim == 3:  # what fills up a text is not there, but some of each text is
        absent = np.isnan(feature).all(-1)
        bad[absent & ~absent.all(1, keepdims=True)] = False
    bad = bad.reshape(len(feature), -1).any(1)
    if bad.any():
        hint = " Store them as float32." if dtype == "float16" else ""
        raise InputError(
            f"{bad.sum()} stimuli have features that are not finite, first "
            f"{str(stimulus_id[bad][0])!r}.{hint}"
        )
    return feature


def shapes_of(values: Layers) -> str:
    """Write down the shape of a stimulus in each layer, as JSON."""
    return json.dumps({name: v.shape[1:] for name, v in values.items()})


def with_time(features: xr.Dataset, stimuli: xr.Dataset) -> xr.Dataset:
    """Say when the stimuli stand in a film, where they do."""
    return features.assign_coords(
        {name: ("stimulus", stimuli[name].values) for name in RUNNING if name in stimuli.coords}
    )


class StoredLayer:
    """A layer of Features in a file, read in parts: shape (n_stimuli, [n_tokens,] n_features)."""

    def __init__(self, features: xr.Dataset, name: str) -> None:
        columns = np.flatnonzero(features["layer"].values == name)
        self.feature, self.columns = features["feature"], slice(columns[0], columns[-1] + 1)
        self.shape = (self.feature.sizes["stimulus"], *json.loads(features.attrs["shape"])[name])

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        values = self.feature[rows, ..., self.columns].values
        return np.asarray(values, np.float32).reshape(-1, *self.shape[1:])


def stored_layers(path: Path) -> dict[str, StoredLayer]:
    """Open the layers of a file of Features."""
    features = load(path, "features")
    return {name: StoredLayer(features, name) for name in json.loads(features.attrs["shape"])}
