"""The space a response is decoded into: principal components of embeddings, each of unit variance."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
import scipy.linalg
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from neuroenc.blocks import BLOCK_BYTES, blocks, columns
from neuroenc.encoders.design import Design, is_whole
from neuroenc.encoders.inputs import as_numbers
from neuroenc.errors import InputError

Floats = NDArray[np.float32]
WHOLE_BYTES = 2**28  # of embeddings that are decomposed at once, which keeps small components exact


class Target(NamedTuple):
    """An affine map of embeddings, learned from those of training pictures alone."""

    mean: Floats
    """(n_features,)"""
    basis: Floats
    """(n_components, n_features); rows are scaled so that components have unit variance in training"""

    @classmethod
    def fit(cls, embedding: Any, n_components: int | None = None) -> Self:
        """Learn the components.

        Whitening makes the cosine between two pictures a Mahalanobis cosine: directions that vary little but
        tell pictures apart count as much as those in which all pictures vary.

        Parameters
        ----------
        embedding : array or Design of shape (n_pictures, n_features)
            Of training pictures. More than `WHOLE_BYTES` in double precision are read in blocks.
        n_components : int, optional
            As many as there are, if there are fewer; None: all that carry more than a millionth of the
            variance of the first.

        Raises
        ------
        InputError
            The embeddings do not vary, are not finite, or are of another shape.
        """
        if n_components is not None and n_components < 1:
            raise InputError(
                f"Invalid value for 'n_components': {n_components!r}. Expected 1 or more, or None."
            )
        X = rows_of(embedding)
        mean = column_mean(X)
        if 8 * X.shape[0] * X.shape[1] <= WHOLE_BYTES:
            _, singular, right = np.linalg.svd(X[:] - mean, full_matrices=False)
        else:
            singular, right = principal_axes(X, mean, n_components)
        known = int((singular > 1e-3 * singular[0]).sum()) if singular[0] > 0 else 0
        if not known:
            raise InputError(f"The embeddings of {len(X)} training pictures are all the same.")
        k = min(known, n_components or known)
        basis = right[:k] / (singular[:k, None] / np.sqrt(len(X)))
        return cls(mean.astype(np.float32), basis.astype(np.float32))

    def transform(self, embedding: Any) -> Floats:
        """Project embeddings, (n, n_features) to (n, n_components), reading them in blocks of rows."""
        X = rows_of(embedding)
        return np.concatenate([(X[rows] - self.mean) @ self.basis.T for rows in row_blocks(X)])

    def inverse(self, component: ArrayLike) -> Floats:
        """Return the embeddings of components, (n, n_components) to (n, n_features)."""
        scale = (self.basis**2).sum(1, keepdims=True)  # rows are orthogonal
        return np.asarray(np.asarray(component, np.float32) @ (self.basis / scale) + self.mean)


def rows_of(embedding: Any) -> Design:
    """Return embeddings, (n, n_features), as rows that are read in parts; those in memory are checked."""
    if isinstance(embedding, Design):
        return embedding
    return Design(embeddings_of(embedding)) if is_whole(embedding) else Design(embedding, flat=True)


def row_blocks(X: Design) -> list[slice]:
    """Cut rows so that a block takes `BLOCK_BYTES` in single precision, or one row."""
    return blocks(len(X), max(1, BLOCK_BYTES // (4 * X.shape[1])))


def column_mean(X: Design) -> NDArray[np.float64]:
    """Mean of each column in double precision, (n_features,).

    Raises
    ------
    InputError
        A value is not finite.
    """
    total = np.zeros(X.shape[1])
    for rows in row_blocks(X):
        part = X[rows]
        bad = np.flatnonzero(~np.isfinite(part).all(1))
        if len(bad):
            raise InputError(f"Embeddings are not finite, first row {rows.start + bad[0]}.")
        total += part.sum(0, dtype=np.float64)
    return total / len(X)


def principal_axes(
    X: Design, mean: NDArray[np.float64], n_components: int | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Singular values and right singular vectors of X - mean, by its smaller Gram matrix.

    With more features than rows G = (X - mean)(X - mean)' is summed over blocks of columns, and an axis is
    (X - mean)' u / s of its eigenvectors u; else G = (X - mean)'(X - mean) is summed over blocks of rows.

    Parameters
    ----------
    X : Design of shape (n, p)
    mean : array of shape (p,)
    n_components : int, optional
        Axes that are wanted.

    Returns
    -------
    singular : array of shape (min(n, p),)
        Descending.
    axes : array of shape (n_axes, p)
    """
    n, p = X.shape
    gram = np.zeros((min(n, p),) * 2)
    across = columns(n, p) if p > n else row_blocks(X)
    for cut in across:
        part = X[:, cut] - mean[cut] if p > n else (X[cut] - mean).T
        gram += part @ part.T
    values, vectors = scipy.linalg.eigh(gram, overwrite_a=True)
    singular = np.sqrt(np.maximum(values[::-1], 0))
    k = min(n_components or len(singular), int((singular > 1e-3 * singular[0]).sum()))
    vectors = vectors[:, ::-1][:, :k].T
    if p <= n:
        return singular, vectors
    axes = np.empty((k, p))
    for cut in across:
        axes[:, cut] = vectors @ (X[:, cut] - mean[cut]) / singular[:k, None]
    return singular, axes


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
    name : {"embedding", "sampled", "expected", "point", "true"}
    """
    found = embeddings[name].values[embeddings["fold"].values == fold]
    return target_of(embeddings, fold).inverse(found)
