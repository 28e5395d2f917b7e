"""Arrays taken together by their labels: stimuli, layers, regions, neuroids, embedding contracts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.arrays.contracts import CONTRACT, REGION_PREFIX
from neuroenc.blocks import CHUNK, blocks, columns
from neuroenc.errors import ContractError, invalid
from neuroenc.real import sum_groups


def regions(dataset: xr.Dataset) -> dict[str, NDArray[np.bool_]]:
    """Return the mask of each region, name -> (n_neuroids,)."""
    return {
        str(c).removeprefix(REGION_PREFIX): dataset[c].values
        for c in dataset.coords
        if str(c).startswith(REGION_PREFIX)
    }


def parcels(dataset: xr.Dataset) -> dict[tuple[str, str], NDArray[np.bool_]]:
    """Return the mask of each parcel, (hemisphere, name) -> (n_neuroids,), in the order of the neuroids.

    A label of both hemispheres is two parcels; neuroids without a label lie in none, and without an atlas
    there are none.
    """
    if "parcel" not in dataset.coords:
        return {}
    keys = list(zip(dataset["hemisphere"].values.tolist(), dataset["parcel"].values.tolist(), strict=True))
    number = {key: i for i, key in enumerate(dict.fromkeys(k for k in keys if k[1]))}
    of_each = np.array([number.get(k, -1) for k in keys], int)
    return {key: of_each == i for key, i in number.items()}


def average_repeats(responses: xr.Dataset) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
    """Average the presentations of each stimulus.

    Returns
    -------
    stimulus_id : ndarray of shape (n_stimuli,)
        In order of first presentation.
    mean : ndarray of shape (n_stimuli, n_neuroids[, n_time_bins])
        A presentation that is NaN for a neuroid is left out of its mean; NaN if all are.
    """
    ids, first, inverse = np.unique(responses["stimulus_id"].values, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))[inverse]
    response = responses["response"]
    mean = np.empty((len(ids), *response.shape[1:]), np.float32)
    for part in blocks(response.shape[1], CHUNK):
        values = response[:, part].values
        flat = values.reshape(len(values), -1)
        out = np.empty((len(ids), flat.shape[1]), np.float32)
        for cut in columns(*flat.shape):
            present = np.isfinite(flat[:, cut])
            total, count = (sum_groups(v, rank) for v in (np.where(present, flat[:, cut], 0), present))
            with np.errstate(invalid="ignore"):
                out[:, cut] = total / count
        mean[:, part] = out.reshape(len(ids), *values.shape[1:])
    return ids[np.argsort(first)], mean


def positions(features: xr.Dataset, stimulus_id: NDArray[np.str_]) -> NDArray[np.int64]:
    """Find the rows of the features of some stimuli.

    Parameters
    ----------
    features : Dataset
        Features.
    stimulus_id : array of text, (n_stimuli,)

    Raises
    ------
    ContractError
        A stimulus has no features; the first is named.
    """
    position = {s: i for i, s in enumerate(features["stimulus_id"].values)}
    missing = [s for s in dict.fromkeys(stimulus_id) if s not in position]
    if missing:
        raise ContractError(
            f"{len(missing)} of {len(set(stimulus_id))} stimuli have no features of "
            f"{features.attrs['model']!r}, first {str(missing[0])!r}; the features hold "
            f"{len(position)} stimuli, first {str(next(iter(position), None))!r}. Extract the features "
            "from the stimuli of the same dataset."
        )
    return np.array([position[s] for s in stimulus_id], int)


def join(features: xr.Dataset, stimulus_id: NDArray[np.str_]) -> NDArray[np.float32]:
    """Return the features of the stimuli in the given order, flattened to (n, n_features).

    Raises
    ------
    ContractError
        A stimulus has no features; the first is named.
    """
    values = features["feature"][positions(features, stimulus_id)].values
    return np.asarray(values.reshape(len(values), -1), dtype=np.float32)


def select_layers(features: xr.Dataset, layers: Sequence[str]) -> xr.Dataset:
    """Return the features of some layers; the embedding contract then names these alone.

    Parameters
    ----------
    features : Dataset
        Features.
    layers : sequence of str
        Empty: all.

    Raises
    ------
    InputError
        No such layer.
    """
    known = features["layer"].values
    for layer in layers:
        if layer not in known:
            raise invalid("layer", layer, list(dict.fromkeys(known)))
    if not layers:
        return features
    kept = np.flatnonzero(np.isin(known, layers))
    # a slice, where the layers are neighbours, is read from a file ten times faster
    together = len(kept) == kept[-1] - kept[0] + 1
    at: Any = slice(kept[0], kept[-1] + 1) if together else kept
    chosen = features.isel({str(features["feature"].dims[-1]): at})
    return chosen.assign_attrs(layer=",".join(dict.fromkeys(known[kept])))


def trained(predictions: xr.Dataset, stimulus_id: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Say which stimuli the models of each fold were fitted to, (n_folds, n_stimuli)."""
    row = {s: i for i, s in enumerate(predictions["training_stimulus_id"].values)}
    at = np.array([row.get(s, -1) for s in stimulus_id])
    return np.asarray(predictions["training"].values[:, at] & (at >= 0))


def holds(found: xr.Dataset, called: str, names: Iterable[str], command: str) -> None:
    """Refuse a file of the right kind that another command wrote, or an older version.

    Parameters
    ----------
    found : Dataset
    called : str
        In the error.
    names : iterable of str
        Variables and attributes.
    command : str
        That writes them.

    Raises
    ------
    ContractError
        Naming the first that is not there.
    """
    for name in names:
        if name not in found.variables and name not in found.attrs:
            raise ContractError(f"The {called} hold no `{name}`. Make them by `neuroenc {command}`.")


def same_neuroids(a: xr.Dataset, b: xr.Dataset) -> None:
    """Refuse two arrays of different neuroids, or of other numbers of time bins.

    Raises
    ------
    ContractError
        Naming the first that differs.
    """
    bins = [v.sizes.get("time_bin", 1) for v in (a, b)]
    if bins[0] != bins[1]:
        raise ContractError(
            f"The {a.attrs['kind']} have {bins[0]} time bins, the {b.attrs['kind']} {bins[1]}. Use files of "
            "one preparation."
        )
    one, other = a["neuroid_id"].values, b["neuroid_id"].values
    if len(one) != len(other):
        raise ContractError(
            f"The {a.attrs['kind']} have {len(one)} neuroids, the {b.attrs['kind']} {len(other)}. Use "
            "files of one subject and one mask."
        )
    differ = np.flatnonzero(one != other)
    if len(differ):
        first = differ[0]
        raise ContractError(
            f"The {a.attrs['kind']} and the {b.attrs['kind']} differ in {len(differ)} neuroids, first "
            f"{str(one[first])!r} and {str(other[first])!r}. Use files of one subject and one mask."
        )


def same_contract(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuse features of another embedding contract.

    Parameters
    ----------
    found, expected : mapping
        Attributes of the features that are given, and of those a model was fitted to.

    Raises
    ------
    ContractError
        Naming both values of the first attribute that differs.
    """
    for key in CONTRACT:
        if found.get(key) != expected.get(key):
            raise ContractError(
                f"Features disagree with the weights in {key!r}: found {found.get(key)!r}, fitted to "
                f"{expected.get(key)!r}. Extract them with the same model section."
            )
