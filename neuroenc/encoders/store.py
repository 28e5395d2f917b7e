"""Fitted encoders on disk: safetensors beside a JSON that says what they are."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc import __version__
from neuroenc.arrays import same_contract
from neuroenc.blocks import BLOCK_BYTES
from neuroenc.documents import read_json
from neuroenc.encoders.design import Design, design
from neuroenc.encoders.encode import Fit
from neuroenc.errors import InputError
from neuroenc.files import atomic, existing, write_json

HOMES = {
    "RidgeCV": "ridge", "BandedRidgeCV": "banded", "PLS": "pls", "FactorisedCV": "factorised",
    "GaussianFieldCV": "gaussian", "SemanticTransformer": "semantic_transformer",
    "AttentionRouting": "attention", "EfficientProbing": "probing", "RandomAttentionCV": "random_attention",
    "ResponseCore": "response_core",
}  # fmt: skip
NOT_STORED = {
    "cv",
    "checkpoint",
    "cv_scores_",
    "X_fit_",
    "dual_coef_",
    "validation_",
    "validation_rows_",
    "module_",
}
OF_TARGETS = {
    "_coef", "coef_", "intercept_", "alpha_", "gamma_", "best_score_", "_y_mean", "mask_", "feature_",
    "field_",
}  # fmt: skip


class Parts(NamedTuple):
    """An array that is made in blocks of columns as it is written."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    blocks: Iterator[tuple[slice, NDArray[Any]]]


class Stored:
    """An array of a .safetensors file, read where it is indexed.

    Parameters
    ----------
    file : binary file
        Held open, so that a file that replaces it is not taken for it.
    offset : int
    shape : tuple of int
    dtype : dtype
    """

    def __init__(self, file: BinaryIO, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.file, self.offset, self.shape, self.dtype = file, offset, shape, dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> NDArray[Any]:
        return np.array(np.memmap(self.file, self.dtype, "r", self.offset, self.shape)[index])


def pack(model: Any, keep: NDArray[Any] | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Take a fitted encoder apart.

    Parameters
    ----------
    model : estimator
    keep : array of bool, (n_targets,), optional
        Targets that are stored; of a network all are.

    Returns
    -------
    description : dict
        JSON: class, parameters, fitted attributes that are no arrays.
    arrays : dict of ndarray or Parts
    """
    values = model.get_params(deep=False) | vars(model)
    plain: dict[str, Any] = {}
    arrays: dict[str, Any] = {}
    network = getattr(model, "module_", None)
    for name, value in values.items():
        if name in NOT_STORED or value is None:
            continue
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            if keep is not None and not keep.all() and network is None and name in OF_TARGETS:
                value = value[keep]
            arrays[name] = np.ascontiguousarray(value)
        elif isinstance(value, np.ndarray):
            plain[name] = value.tolist()
        elif isinstance(value, (str, int, float, bool, list, tuple)):
            plain[name] = value
    if hasattr(model, "dual_coef_"):
        targets = np.arange(model.dual_coef_.shape[0]) if keep is None else np.flatnonzero(keep)
        shape = (len(targets), model.n_features_in_)
        arrays["_coef"] = Parts(shape, model.dual_coef_.dtype, model.coef_blocks(targets))
    if network is not None:
        arrays |= {f"module_/{k}": v.detach().cpu().numpy() for k, v in network.state_dict().items()}
    if keep is not None and "_shape" in plain:
        plain["_shape"] = [int(keep.sum())]
    return {"class": type(model).__name__, "values": plain}, arrays


def unpack(description: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Any:
    """Put an encoder together again."""
    kind = getattr(import_module(f"neuroenc.encoders.{HOMES[description['class']]}"), description["class"])
    values = description["values"] | {k: v for k, v in arrays.items() if not k.startswith("module_/")}
    parameters = set(kind._get_param_names())
    model = kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in parameters})
    for name, value in values.items():
        if name not in parameters:
            setattr(model, name, tuple(value) if isinstance(value, list) and name == "_shape" else value)
    if description["class"] == "RidgeCV":
        model._kept = model._template = None
    if any(k.startswith("module_/") for k in arrays):
        import torch

        model.device = "cpu"
        n_targets = len(arrays["best_score_"])
        model.module_ = model._module(model.n_tokens_, model.n_channels_, n_targets)
        state = {
            k.removeprefix("module_/"): torch.from_numpy(v)
            for k, v in arrays.items()
            if k.startswith("module_/")
        }
        try:
            model.module_.load_state_dict(state)
        except RuntimeError:
            raise InputError(
                f"These weights of {description['class']} were stored by another version, with other parts. "
                "Fit it again."
            ) from None
        model.module_.eval()
    return model


class Writer:
    """A .safetensors file on its way: arrays one after the other, what they are at the end.

    Parameters
    ----------
    path : path
        Of the arrays alone, until `finish` puts the header before them.
    """

    def __init__(self, path: Path) -> None:
        self.file = path.open("w+b")
        self.header: dict[str, Any] = {}
        self.end = 0

    def add(self, name: str, values: NDArray[Any] | Parts) -> None:
        """Write one array."""
        dtype, start = values.dtype, self.end
        size = dtype.itemsize * int(np.prod(values.shape))
        self.end += size
        code = "BOOL" if dtype.kind == "b" else f"{dtype.kind.upper()}{8 * dtype.itemsize}"
        offsets = [start, self.end]
        self.header[name] = {"dtype": code, "shape": list(values.shape), "data_offsets": offsets}
        if isinstance(values, np.ndarray):
            self.file.seek(start)
            self.file.write(np.ascontiguousarray(values).data)
            return
        for columns, block in values.blocks:
            for row, strip in enumerate(np.ascontiguousarray(block, dtype)):
                at = start + (row * values.shape[1] + columns.start) * dtype.itemsize
                os.pwrite(self.file.fileno(), strip.data, at)

    def finish(self, path: Path) -> str:
        """Write the whole file; return the hash of header and arrays, which it holds too."""

        def head(digest: str) -> bytes:
            text = json.dumps({"__metadata__": {"arrays_sha256": digest}} | self.header).encode()
            text += b" " * (-len(text) % 8)
            return len(text).to_bytes(8, "little") + text

        digest = hashlib.sha256(json.dumps(self.header).encode())
        with path.open("wb") as out:
            out.write(head(digest.hexdigest()))
            self.file.seek(0)
            while part := self.file.read(BLOCK_BYTES):
                digest.update(part)
                out.write(part)
            out.seek(0)
            out.write(head(digest.hexdigest()))
        return digest.hexdigest()

    def close(self) -> None:
        """Remove the arrays without a header."""
        self.file.close()
        Path(self.file.name).unlink()


def _write(path: str | Path, arrays: Iterable[tuple[str, Any]], described: dict[str, Any]) -> None:
    """Write `path` and the JSON of the same name; the hash of the arrays, in both, ties them.

    Parameters
    ----------
    path : path
    arrays : iterable of (name, array or Parts)
        Taken one after the other.
    described : dict
        May grow while they are.
    """
    with atomic(path) as partial:
        writer = Writer(partial.with_name(f"{partial.name}.arrays"))
        try:
            for name, values in arrays:
                writer.add(name, values)
                del values  # before the next block is fitted
            digest = writer.finish(partial)
        finally:
            writer.close()
    described = {"neuroenc_version": __version__, "arrays_sha256": digest, **described}
    write_json(described, Path(path).with_suffix(".json"))


def _read(path: str | Path, *needed: str) -> tuple[Any, dict[str, Any]]:
    """Open weights and the JSON beside them.

    Raises
    ------
    InputError
        They are of two fits.
    """
    from safetensors import SafetensorError, safe_open

    beside = Path(path).with_suffix(".json")
    described = read_json(beside, *needed)
    try:
        file = safe_open(existing(path), "np")
    except SafetensorError as error:
        raise InputError(f"Cannot read {path}: {error}. Fit it again.") from None
    found, wanted = (dict(v or {}).get("arrays_sha256") for v in (file.metadata(), described))
    if found != wanted:
        raise InputError(
            f"{path} and {beside} are of two fits: the arrays have sha256 {found or 'not written'}, expected "
            f"{wanted or 'none, as older versions wrote it'}. Copy both files of one fit, or fit again."
        )
    return file, described


def _large(path: str | Path) -> dict[str, Stored]:
    """Find the weights of ridge that are read in parts."""
    file = Path(path).open("rb")  # noqa: SIM115 (what is read from it holds it)
    size = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(size))
    found = {}
    for name, about in header.items():
        start, stop = about.get("data_offsets", (0, 0))
        if name.endswith("/_coef") and stop - start > 2 * BLOCK_BYTES:
            dtype = np.dtype(f"f{int(about['dtype'][1:]) // 8}")
            found[name] = Stored(file, 8 + size + start, tuple(about["shape"]), dtype)
    return found


def save_model(model: Any, path: str | Path) -> None:
    """Write one fitted encoder: `path`, a .safetensors, and the JSON of the same name."""
    description, arrays = pack(model)
    _write(path, arrays.items(), description)


def load_model(path: str | Path) -> Any:
    """Read one fitted encoder.

    Raises
    ------
    InputError
        The weights are broken, or the JSON is of another fit.
    """
    file, described = _read(path)
    return unpack(described, {k: file.get_tensor(k) for k in file.keys()})  # noqa: SIM118


def save_fits(
    fits: Iterable[Fit],
    contract: dict[str, Any],
    neuroid_id: NDArray[np.str_],
    path: str | Path,
    queries: str = "",
    time_bin: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """Write all fitted models of a run.

    Parameters
    ----------
    fits : iterable of Fit
        As `encode` returns them; one at a time is in memory if they are made one at a time.
    contract : dict
        The embedding contract of the features they read.
    neuroid_id : array of text, (n_neuroids,)
    path : path
        `.safetensors`; the JSON has the same name.
    queries : str
        Names of what asks where tokens are routed.
    time_bin : mapping, optional
        Coordinates of the time bins, for responses that have some.
    """
    described: list[dict[str, Any]] = []
    _write(path, _arrays_of(fits, described), {
        "contract": {k: v for k, v in contract.items() if isinstance(v, (str, int, float))},
        "neuroid_id": neuroid_id.tolist(), "models": described, "queries": queries,
        "time_bin": None if time_bin is None else {k: np.asarray(v).tolist() for k, v in time_bin.items()},
        "standardise": "(feature - centre) / scale; predictions of the models of a fold add up by weight",
    })  # fmt: skip


def _arrays_of(fits: Iterable[Fit], described: list[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Take the fits apart one by one, and describe each; none is held when the next is asked for."""
    number = -1
    for fit in fits:  # `enumerate` would hold the last one
        number += 1
        used = fit.weight > 0
        if not used.any():
            continue
        description, parts = pack(fit.model, used)
        whole = hasattr(fit.model, "module_")
        parts |= {
            "neuroid": fit.neuroid if whole else fit.neuroid[used],
            "weight": fit.weight if whole else fit.weight[used],
            "centre": fit.centre, "scale": fit.scale,
        }  # fmt: skip
        yield from ((f"{number}/{name}", values) for name, values in parts.items())
        described.append(
            {"number": number, "fold": fit.fold, "layers": fit.layers, "delays": fit.delays, **description}
        )
        del fit, parts


def load_fits(path: str | Path, features: Any, fold: int) -> tuple[list[Fit], dict[str, Any]]:
    """Read the stored models of one fold, for features of the same embedding contract.

    Raises
    ------
    ContractError
        The features are not those the models were fitted to.
    InputError
        No such fold; weights that are broken, or beside the JSON of another fit.
    """
    same_contract(features.attrs, _read(path, "contract", "models")[1]["contract"])
    return open_fits(path, fold)


def copy_fold(path: str | Path, out: str | Path, fold: int) -> dict[str, Any]:
    """Write the stored models of one fold alone; return what their JSON says."""
    file, described = _read(path, "contract", "models", "neuroid_id")
    models = _of_fold(path, described, fold)
    numbers = {f"{m['number']}" for m in models}
    names = [k for k in file.keys() if k.partition("/")[0] in numbers]  # noqa: SIM118
    kept = {k: v for k, v in described.items() if k not in ("neuroenc_version", "arrays_sha256")}
    _write(out, ((k, file.get_tensor(k)) for k in names), kept | {"models": models})
    return described


def _of_fold(path: str | Path, described: dict[str, Any], fold: int) -> list[dict[str, Any]]:
    models = [m for m in described["models"] if m["fold"] == fold]
    if not models:
        folds = sorted({m["fold"] for m in described["models"]})
        raise InputError(f"No models of fold {fold} in {path}. Folds: {', '.join(map(str, folds))}.")
    return models


def open_fits(path: str | Path, fold: int) -> tuple[list[Fit], dict[str, Any]]:
    """Read the stored models of one fold.

    Raises
    ------
    InputError
        No such fold; weights that are broken, or beside the JSON of another fit.
    """
    file, described = _read(path, "contract", "models")
    fits, large = [], _large(path)
    for m in _of_fold(path, described, fold):
        prefix = f"{m['number']}/"
        arrays: dict[str, Any] = {
            k.removeprefix(prefix): large.get(k) or file.get_tensor(k)
            for k in file.keys() if k.startswith(prefix)  # noqa: SIM118
        }  # fmt: skip
        neuroid, weight, centre, scale = (arrays.pop(k) for k in ("neuroid", "weight", "centre", "scale"))
        fits.append(Fit(fold, m["layers"], unpack(m, arrays), neuroid, weight, centre, scale, m["delays"]))
    return fits, described


def design_of(fit: Fit, features: xr.Dataset) -> Design:
    """Return the features of all stimuli as a stored model reads them; nothing is read."""
    X = design(features, features["stimulus_id"].values, fit.layers, fit.delays)
    X = X.standardised(fit.centre, fit.scale)
    return X if hasattr(fit.model, "n_tokens_") else X.flattened()


def predict_fits(path: str | Path, features: Any, fold: int) -> xr.DataArray:
    """Predict stimuli by the stored models of one fold.

    Parameters
    ----------
    path : path
        As `save_fits` wrote it.
    features : Dataset
        Features of the same embedding contract.
    fold : int

    Returns
    -------
    DataArray
        (presentation, neuroid[, time_bin]) with the coordinates `stimulus_id`, `neuroid_id` and those of the
        time bins. NaN for neuroids that could not be fitted.

    Raises
    ------
    ContractError
        The features are not those the models were fitted to.
    InputError
        No such fold; weights of time bins that an earlier version stored without their times.
    """
    return predict_by(*load_fits(path, features, fold), features, str(path))


def predict_by(fits: list[Fit], described: dict[str, Any], features: xr.Dataset, source: str) -> xr.DataArray:
    """Predict stimuli by stored models that were read, as `predict_fits` does; `source` is for errors."""
    names, times = described["neuroid_id"], described.get("time_bin")
    n_times = 1 if times is None else len(next(iter(times.values())))
    out = np.full((features.sizes["stimulus"], len(names) * n_times), np.nan, np.float32)
    for fit in fits:
        used = fit.weight > 0
        neuroid = fit.neuroid[used]
        if neuroid.max() >= out.shape[1]:
            raise InputError(f"{source} was fitted to time bins and does not say which. Fit it again.")
        part = fit.model.predict(design_of(fit, features)).reshape(len(out), -1)[:, used] * fit.weight[used]
        out[:, neuroid] = np.nan_to_num(out[:, neuroid]) + part
    coords = {
        "stimulus_id": ("presentation", features["stimulus_id"].values),
        "neuroid_id": ("neuroid", np.array(names)),
    }
    if times is None:
        return xr.DataArray(out, coords, ("presentation", "neuroid"))
    coords |= {k: ("time_bin", np.array(v)) for k, v in times.items()}
    return xr.DataArray(
        out.reshape(len(out), len(names), n_times), coords, ("presentation", "neuroid", "time_bin")
    )
