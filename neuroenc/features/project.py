"""Fewer dimensions: a seeded sparse random projection, or principal components of the training stimuli."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import xarray as xr
from numpy.typing import NDArray

from neuroenc.blocks import BLOCK_BYTES, blocks
from neuroenc.errors import InputError, invalid, reason
from neuroenc.features.layers import Layers, StoredLayer
from neuroenc.files import atomic, existing
from neuroenc.splits import TRAIN

SEED = 0
TINY = 1e-12  # of the largest variance: components below are noise of the arithmetic


def projection(
    spec: str, stimulus_id: NDArray[np.str_], split: xr.Dataset | None
) -> RandomProjection | PrincipalComponents:
    """Read how features are projected.

    Parameters
    ----------
    spec : str
        'sparse:<error>' or 'pca:<components>'.
    stimulus_id : array of text, (n_stimuli,)
    split : Dataset, optional
        Splits; components are those of stimuli that are training stimuli in all folds.

    Raises
    ------
    InputError
        Neither of both; PCA without such stimuli.
    """
    kind, _, text = spec.partition(":")
    try:
        number = float(text)
    except ValueError:
        number = np.nan
    if kind == "sparse" and 0 < number < 1:
        return RandomProjection(number, len(stimulus_id))
    if kind != "pca" or not number >= 1:
        raise invalid("projection", spec, ("sparse:0.1", "pca:500"))
    train = [] if split is None else split["stimulus_id"].values[(split["side"] == TRAIN).all("fold")]
    fitted = np.flatnonzero(np.isin(stimulus_id, train))
    if not len(fitted):
        raise InputError(
            "PCA needs training stimuli common to all folds. Give --split, or project by 'sparse:0.1'."
        )
    return PrincipalComponents(number, fitted)


class RandomProjection:
    """`sklearn.random_projection.SparseRandomProjection`, of any stimuli by themselves.

    Projects to the number of dimensions at which squared distances between `n_stimuli` are kept within the
    share `error` (Johnson and Lindenstrauss); layers with fewer are left as they are.
    """

    def __init__(self, error: float, n_stimuli: int) -> None:
        self.error, self.n_stimuli = error, n_stimuli
        self.description = f"sparse random projection, error {error:g}, seed {SEED}"
        self.matrices: dict[str, Any] = {}

    def __call__(self, values: Layers) -> Layers:
        """Project layers of some stimuli; tokens each by itself."""
        return {name: self._project(name, v) for name, v in values.items()}

    def _project(self, name: str, values: NDArray[np.float32]) -> NDArray[np.float32]:
        from sklearn.random_projection import SparseRandomProjection, johnson_lindenstrauss_min_dim

        width = values.shape[-1]
        n_components = int(johnson_lindenstrauss_min_dim(self.n_stimuli, eps=self.error))
        if n_components >= width:
            return values
        flat = values.reshape(-1, width)
        if name not in self.matrices:
            made = SparseRandomProjection(n_components, random_state=SEED)
            self.matrices[name] = made.fit(np.zeros((1, width), flat.dtype))
        projected = self.matrices[name].transform(flat)
        return np.asarray(projected, np.float32).reshape(*values.shape[:-1], -1)


class PrincipalComponents:
    """Principal components of the features of some stimuli, exact, of features that lie in a file.

    The eigenvectors of (X - m)^T (X - m), or where rows are fewer than features those of (X - m)(X - m)^T
    times X - m; X of shape (n_fitted n_tokens, n_features), m its mean. The largest loading of each is
    positive, as in `sklearn.decomposition.PCA`.
    """

    def __init__(self, number: float, fitted: NDArray[np.int64]) -> None:
        self.number, self.fitted = number, fitted
        self.description = f"{number:g} principal components of the training stimuli"
        self.mean: dict[str, NDArray[np.float32]] = {}
        self.components: dict[str, NDArray[np.float32]] = {}

    def __call__(self, values: Layers) -> Layers:
        """Project layers of some stimuli; tokens each by itself."""
        return {
            name: np.asarray((v - self.mean[name]) @ self.components[name].T, np.float32)
            for name, v in values.items()
        }

    def save(self, path: Path) -> None:
        """Write means and components, as safetensors."""
        from safetensors.numpy import save

        arrays = {f"mean/{k}": v for k, v in self.mean.items()}
        arrays |= {f"components/{k}": v for k, v in self.components.items()}
        with atomic(path) as partial:
            partial.write_bytes(save({k: np.ascontiguousarray(v) for k, v in arrays.items()}))

    def fit(self, name: str, layer: StoredLayer) -> None:
        """Learn the components of a layer."""
        width = layer.shape[-1]
        n = len(self.fitted) * int(np.prod(layer.shape[1:-1]))
        k = int(min(self.number, width, n))
        mean = sum(part.sum(0) for part in self._parts(layer)) / n
        if np.isnan(mean).any():
            raise InputError(
                f"Layer {name!r} has texts of different lengths: PCA needs all tokens. Use `projection: "
                "sparse:<error>`, or none."
            )
        if n >= width:
            scatter = np.zeros((width, width))
            for part in self._parts(layer):
                scatter += (part - mean).T @ (part - mean)
            _, vectors = scipy.linalg.eigh(scatter, subset_by_index=[width - k, width - 1])
            components = vectors[:, ::-1].T
        else:
            X = np.concatenate([part - mean for part in self._parts(layer)])
            variance, vectors = scipy.linalg.eigh(X @ X.T, subset_by_index=[n - k, n - 1])
            variance, vectors = variance[::-1], vectors[:, ::-1]
            there = variance > TINY * variance[0]
            scale = np.where(there, 1 / np.sqrt(np.where(there, variance, 1)), 0)
            components = (vectors * scale).T @ X
        largest = np.take_along_axis(components, np.abs(components).argmax(1)[:, None], 1)
        self.mean[name] = np.asarray(mean, np.float32)
        self.components[name] = np.asarray(components * np.sign(largest), np.float32)

    def _parts(self, layer: StoredLayer) -> Iterator[NDArray[np.float64]]:
        """Yield the fitted rows, tokens among them, in double precision."""
        for rows in cut(slice(0, len(self.fitted)), layer.shape[1:]):
            yield layer[self.fitted[rows]].reshape(-1, layer.shape[-1]).astype(np.float64)


def beside(features: str | Path) -> Path:
    """Name the file of the components of some features."""
    return Path(features).with_suffix(".projection.safetensors")


def stored_projection(spec: str, n_stimuli: int, path: Path) -> RandomProjection | PrincipalComponents:
    """Return a projection as it was fitted.

    Parameters
    ----------
    spec : str
        'sparse:<error>' or 'pca:<components>'.
    n_stimuli : int
        That were projected.
    path : path
        Of the components of PCA.

    Raises
    ------
    InputError
        They are missing or broken.
    """
    kind, _, number = spec.partition(":")
    if kind == "sparse":
        return RandomProjection(float(number), n_stimuli)
    from safetensors.numpy import load_file

    made = PrincipalComponents(float(number), np.zeros(0, np.int64))
    where = existing(path, made_by="`features extract` writes it beside the features; extract them again.")
    try:
        arrays = load_file(where)
        for name, values in arrays.items():
            part, _, layer = name.partition("/")
            {"mean": made.mean, "components": made.components}[part][layer] = values
    except Exception as error:  # noqa: BLE001  of a file that is broken
        raise InputError(f"Cannot read the components {path}: {reason(error)}. Extract again.") from None
    return made


def cut(rows: slice, shape: tuple[int, ...]) -> list[slice]:
    """Cut rows of some shape so that a part in double precision takes `BLOCK_BYTES`."""
    size = max(1, BLOCK_BYTES // (8 * int(np.prod(shape))))
    return [
        slice(rows.start + part.start, rows.start + part.stop)
        for part in blocks(rows.stop - rows.start, size)
    ]
