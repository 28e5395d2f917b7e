"""Features that were made elsewhere: arrays in memory, or files of them, under the same contract.

Rows are joined to stimuli by their ids. An order is trusted only where there are no ids and the numbers of
rows agree; that is said aloud, and stands in the features as `joined`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from neuroenc.blocks import BLOCK_BYTES
from neuroenc.config import Model
from neuroenc.datasets.copied_rows import warn_of_flat_rows
from neuroenc.errors import InputError, InputWarning, invalid
from neuroenc.features.given_files import SIDECAR, STATED, Layer, divide, open_layers, sidecar
from neuroenc.features.layers import features_of, same_tokens, side_by_side
from neuroenc.files import sha256
from neuroenc.names import names, same_order
from neuroenc.real import unmasked

NAME = re.compile("[A-Za-z0-9_][A-Za-z0-9_.:/+-]*")


def from_arrays(
    values: ArrayLike | Mapping[str, ArrayLike],
    stimulus_id: ArrayLike,
    *,
    contract: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """Build Features of arrays at hand.

    Parameters
    ----------
    values : array of shape (n_stimuli, n_features) or (n_stimuli, n_tokens, n_channels), or mapping
        Several layers by name. float16 stays so, all else becomes float32.
    stimulus_id : array of text, (n_stimuli,)
        Of the rows, each once.
    contract : mapping, optional
        What made them: `model`, `weights`, `pooling`, `normalisation`, `pixel_range`, `preprocessing`, as far
        as known. Left out, the weights are the SHA-256 of the arrays.

    Returns
    -------
    Dataset
        Features.

    Raises
    ------
    InputError
        No numbers, or some that are not finite; layers of different length; ids that stand twice, or are not
        as many as the rows.
    """
    stated = dict(contract or {})
    _check_stated(stated, "contract")
    given = dict(values) if isinstance(values, Mapping) else {"features": values}
    if not given:
        raise InputError("No layers were given, expected at least one array.")
    ids = names(stimulus_id, "stimulus_id")
    if ids.ndim != 1:
        raise InputError(f"stimulus_id has shape {ids.shape}, expected one a stimulus.")
    layers: dict[str, NDArray[Any]] = {}
    digest = hashlib.sha256()
    for name, array in given.items():
        found = unmasked(array, f"layer {name!r}")
        check_array(f"Layer {name!r}", found.shape, found.dtype)
        _check_name(name)
        rows_of(f"Layer {name!r}", ids, len(found), ids)
        same_order(array, ids, f"Layer {name!r}")
        layers[name] = _stored(found, halves=True)
        digest.update(f"{name}{found.shape}{layers[name].dtype}".encode())
        digest.update(np.ascontiguousarray(layers[name]).data)
    known = _contract(stated, [v.shape for v in layers.values()], "arrays", f"arrays:{digest.hexdigest()}")
    layers = same_tokens(layers, known["pooling"])
    words = known["pooling"].startswith("tokens")
    feature = side_by_side(layers, _dtype(layers.values(), None), ids, words=words)
    return features_of(feature, ids, layers, known)


def check_array(name: str, shape: tuple[int, ...], dtype: Any) -> None:
    """Refuse what are no features of stimuli.

    Raises
    ------
    InputError
        Complex values, text, objects; another number of dimensions; nothing.
    """
    if dtype.kind not in "biuf":
        raise InputError(f"{name} holds {dtype}, expected real numbers: float16, float32 or what becomes it.")
    if len(shape) not in (2, 3):
        raise InputError(
            f"{name} has shape {shape}, expected (stimuli, features) or (stimuli, tokens, channels). Reshape "
            "it."
        )
    if 0 in shape:
        raise InputError(f"{name} has shape {shape}: it is empty.")


def rows_of(name: str, ids: NDArray[np.str_] | None, n: int, wanted: NDArray[np.str_]) -> NDArray[np.int64]:
    """Find the rows of some stimuli in an array, by its ids; by order where it has none.

    Raises
    ------
    InputError
        Ids that stand twice or are not as many as the rows; stimuli that are not among them; without ids
        another number of rows.
    """
    if ids is None:
        if n != len(wanted):
            raise InputError(
                f"{name} has {n} rows and names no stimuli, the stimulus set has {len(wanted)}. Give the "
                "`stimulus_id` of its rows (docs/own-features.md says where), or as many rows."
            )
        _say(f"{name} names no stimuli: its {n} rows are taken to be the stimuli in their order.")
        return np.arange(n)
    if len(ids) != n:
        raise InputError(f"{name} has {n} rows and {len(ids)} stimulus ids; they must match one to one.")
    known, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        twice = str(known[counts.argmax()])
        raise InputError(f"{name} names the stimulus {twice!r} {counts.max()} times. Each needs one row.")
    if "" in known:
        raise InputError(f"{name} has a row without a stimulus id. Fill it in or remove the row.")
    row = {s: i for i, s in enumerate(ids.tolist())}
    missing = [s for s in wanted.tolist() if s not in row]
    own = set(wanted.tolist())
    unknown = [s for s in ids.tolist() if s not in own]
    others = f"{len(unknown)} of its {n} rows are of other stimuli, first {unknown[0]!r}" if unknown else ""
    if missing:
        raise InputError(
            f"{name} lacks {len(missing)} of {len(wanted)} stimuli, first {missing[0]!r}"
            f"{'; ' + others if unknown else ''}. Give features of the same stimuli under the same ids."
        )
    if unknown:
        _say(f"{name}: {others}; they are left out.")
    return np.array([row[s] for s in wanted.tolist()], np.int64)


def _say(text: str) -> None:
    warnings.warn(text, InputWarning, stacklevel=2)


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InputError(
            f"A layer cannot be called {name!r}: letters, digits and _ . : / + - are allowed. Name it by "
            "`path: {layer: file}`, or `layer` in the JSON beside the file."
        )


def _check_stated(stated: Mapping[str, Any], source: str) -> None:
    for key, value in stated.items():
        if key not in STATED:
            raise invalid(f"key of {source}", key, STATED)
        if not isinstance(value, str) or not value:
            raise InputError(f"Invalid value for {key!r} in {source}: {value!r}. Expected text.")


def _contract(
    stated: Mapping[str, str], shapes: Sequence[tuple[int, ...]], model: str, weights: str
) -> dict[str, str]:
    """Complete what is stated of features; what nobody said is "unstated"."""
    pooling = "tokens" if all(len(s) == 3 for s in shapes) else "unstated"
    return {"model": model, "weights": weights, **dict.fromkeys(STATED[3:], "unstated"), "pooling": pooling,
            **stated}  # fmt: skip


def _stored(values: NDArray[Any], *, halves: bool) -> NDArray[Any]:
    """Return numbers as float32, or as they are where they are halves that may stay so."""
    with np.errstate(over="ignore"):  # infinite ones are found where they stand side by side
        return values if halves and values.dtype == np.float16 else values.astype(np.float32)


def _dtype(layers: Any, asked: str | None) -> str:
    return asked or ("float16" if all(v.dtype == np.float16 for v in layers) else "float32")


class Given:
    """Features in files, read by the rows of some stimuli.

    Parameters
    ----------
    model : Model
        With `path`; `layers` that are read, empty: all; `contract`; `dtype`.
    stimulus_id : array of text, (n_stimuli,)
        Whose rows are read, in this order.

    Attributes
    ----------
    layers : list of Layer
    contract : dict
        The embedding contract, with `source` (file: SHA-256) and `joined`.
    dtype : str
        On disk.
    batch : int
        Stimuli whose features take `BLOCK_BYTES`.

    Raises
    ------
    InputError
        A file that is missing, broken or of an unknown format; no such layer; values or ids that are wrong.
    """

    def __init__(self, model: Model, stimulus_id: NDArray[np.str_]) -> None:
        self.layers = chosen_layers(model)
        ids = [_as_stimuli(layer, stimulus_id) for layer in self.layers]
        self.rows = [
            rows_of(str(layer.place), known, layer.shape[0], stimulus_id)
            for layer, known in zip(self.layers, ids, strict=True)
        ]
        self.projected = model.projection is not None
        self.dtype = _dtype(self.layers, model.dtype)
        each = sum(int(np.prod(layer.shape[1:])) for layer in self.layers)
        self.batch = max(1, BLOCK_BYTES // (4 * each))
        by_order = [layer.path.name for layer, known in zip(self.layers, ids, strict=True) if known is None]
        joined = f"by order: {by_order[0]} names no stimuli" if by_order else "by stimulus_id"
        self.contract = self._contract(model) | {"joined": joined}

    def _contract(self, model: Model) -> dict[str, str]:
        """Put together what files and configuration state."""
        paths = list(dict.fromkeys(layer.path for layer in self.layers))
        stated: dict[str, str] = dict(model.contract.items())
        for layer in self.layers:
            beside, found = layer.stated()
            _check_stated(found, str(beside))
            for key, value in found.items():
                if stated.setdefault(key, value) != value:
                    raise InputError(
                        f"{beside} says that {key!r} is {value!r}, the configuration or another file "
                        f"{stated[key]!r}. Correct one."
                    )
        hashes = {path.name: sha256(path) for path in paths}
        files = ", ".join(f"{name}:{digest}" for name, digest in hashes.items())
        made = _contract(stated, [v.shape for v in self.layers], f"file/{', '.join(hashes)}", files)
        return made | {"source": json.dumps(hashes)}

    def __getitem__(self, stimuli: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Read the layers of some stimuli, by their place in `stimulus_id`."""
        found = {}
        for layer, rows in zip(self.layers, self.rows, strict=True):
            once, back = np.unique(rows[stimuli], return_inverse=True)
            values = layer.read(once)[back]
            warn_of_flat_rows(str(layer.place), values.reshape(len(values), -1))
            found[layer.name] = _stored(values, halves=not self.projected)
        return found


def _as_stimuli(layer: Layer, stimulus_id: NDArray[np.str_]) -> NDArray[np.str_] | None:
    """Return the ids of the rows; files as the stimuli are called, with folder and ending or without."""
    ids = layer.ids()
    if ids is None or not layer.by_file:
        return ids
    files = [PurePosixPath(i.strip().replace("\\", "/")) for i in ids.tolist()]
    forms = [[str(f) for f in files], [f.name for f in files], [f.stem for f in files]]
    wanted = set(stimulus_id.tolist())
    return np.array(next((form for form in forms if wanted <= set(form)), forms[0]), dtype=str)


def is_here(model: Model) -> bool:
    """Tell whether the files of a model are here."""
    places = model.path.values() if isinstance(model.path, dict) else [str(model.path)]
    names = [os.path.expanduser(os.path.expandvars(divide(p)[0])) for p in places]  # noqa: PTH111
    return all(map(os.path.exists, names))


def chosen_layers(model: Model) -> list[Layer]:
    """Open the layers of a model's files, and check what can be told before anything is read.

    Raises
    ------
    InputError
        As `Given`, but for values and ids.
    """
    layers = open_layers(model)
    known = {layer.name: layer for layer in layers}
    for name in model.layers:
        if name not in known:
            raise invalid("layer", name, known)
    chosen = [known[name] for name in model.layers] if model.layers else layers
    for layer in chosen:
        _check_name(layer.name)
        check_array(str(layer.place), layer.shape, layer.dtype)
        _, about = sidecar(layer.path)
        shape = about.get("shape")
        if shape is not None and shape != list(layer.shape[1:]):
            raise InputError(
                f"{layer.path.with_suffix(SIDECAR)} says that a stimulus has shape {shape}, {layer.place} "
                f"has {list(layer.shape[1:])}. Correct one."
            )
    lengths = {layer.shape[0]: layer for layer in chosen}
    if len(lengths) > 1:
        (n, one), (m, other) = list(lengths.items())[:2]
        raise InputError(
            f"Layer {one.name!r} has {n} rows, layer {other.name!r} {m}. Give all layers of the same stimuli."
        )
    return chosen
