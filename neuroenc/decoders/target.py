"""The space a response is decoded into: principal components of embeddings, each of unit variance."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from neuroenc.encoders.inputs import as_numbers
from neuroenc.errors import InputError

Floats = NDArray[np.float32]


class Target(NamedTuple):
    """An affine map of embeddings, learned from those of training pictures alone."""

    mean: Floats
    """(n_features,)"""
    basis: Floats
    """(n_components, n_features); rows are scaled so that components have unit variance in training"""

    @classmethod
    def fit(cls, embedding: ArrayLike, n_components: int | None = None) -> Self:
        """Learn the components.

        Whitening makes the cosine between two pictures a Mahalanobis cosine: directions that vary little but
        tell pictures apart count as much as those in which all pictures vary.

        Parameters
        ----------
        embedding : array of shape (n_pictures, n_features)
            Of training pictures.
        n_components : int, optional
            As many as there are, if there are fewer; None: all that carry more than a millionth of the
            variance of the first.

        Raises
        ------
        InputError
            The embeddings do not vary, are not finite, or are of another shape.
        """
        X = embeddings_of(embedding).astype(np.float64)
        mean = X.mean(0)
        _, singular, right = np.linalg.svd(X - mean, full_matrices=False)
        known = int((singular > 1e-3 * singular[0]).sum()) if singular[0] > 0 else 0
        if not known:
            raise InputError(f"The embeddings of {len(X)} training pictures are all the same.")
        k = min(known, n_components or known)
        basis = right[:k] / (singular[:k, None] / np.sqrt(len(X)))
        return cls(mean.astype(np.float32), basis.astype(np.float32))

    def transform(self, embedding: ArrayLike) -> Floats:
        """Project embeddings, (n, n_features) to (n, n_components)."""
        return np.asarray((embeddings_of(embedding) - self.mean) @ self.basis.T)

    def inverse(self, component: ArrayLike) -> Floats:
        """Return the embeddings of components, (n, n_components) to (n, n_features)."""
        scale = (self.basis**2).sum(1, keepdims=True)  # rows are orthogonal
        return np.asarray(np.asarray(component, np.float32) @ (self.basis / scale) + self.mean)


def embeddings_of(values: ArrayLike) -> Floats:
    """Check embeddings, (n, n_features).

    Raises
    ------
    InputError
        Another number of dimensions, none, or values that are not finite.
    """
    found = as_numbers(values, "The array of embeddings", np.float32)
    if found.ndim != 2 or not found.size:
        raise InputError(
            f"Embeddings have shape {found.shape}. Expected (n_pictures, n_features), one or more; flatten "
            "tokens: embeddings.reshape(len(embeddings), -1)."
        )
    bad = np.flatnonzero(~np.isfinite(found).all(1))
    if len(bad):
        raise InputError(
            f"Embeddings of {len(bad)} of {len(found)} pictures are not finite, first row {bad[0]}."
        )
    return found


def target_of(embeddings: xr.Dataset, fold: int) -> Target:
    """Return the space of components of a fold."""
    return Target(embeddings["mean"].values[fold], embeddings["basis"].values[fold])


def restore(embeddings: xr.Dataset, fold: int, name: str = "embedding") -> NDArray[np.float32]:
    """Return embeddings of a fold in the network's own space, (n_pictures, n_features).

    Parameters
    ----------
    embeddings : Dataset
    fold : int
    name : {"embedding", "sampled", "true"}
    """
    found = embeddings[name].values[embeddings["fold"].values == fold]
    return target_of(embeddings, fold).inverse(found)
