"""Fewer dimensions: a seeded sparse random projection, or PCA of the training stimuli."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuroenc.errors import InputError, invalid

SEED = 0


class Projection:
    """Project the features of a layer.

    Parameters
    ----------
    spec : str
        'sparse:<error>': `sklearn.random_projection.SparseRandomProjection` to the number of dimensions at
        which squared distances are kept within that share (Johnson and Lindenstrauss); layers with fewer
        are left as they are. 'pca:<components>': principal components of the training stimuli.

    Raises
    ------
    InputError
        Neither.
    """

    def __init__(self, spec: str) -> None:
        self.kind, _, number = spec.partition(":")
        try:
            self.number = float(number)
        except ValueError:
            raise invalid("projection", spec, ("sparse:0.1", "pca:500")) from None
        fits = {"sparse": 0 < self.number < 1, "pca": self.number >= 1}
        if not fits.get(self.kind, False):
            raise invalid("projection", spec, ("sparse:0.1", "pca:500"))

    @property
    def description(self) -> str:
        """What was done, for the contract."""
        if self.kind == "sparse":
            return f"sparse random projection, error {self.number:g}, seed {SEED}"
        return f"{self.number:g} principal components of the training stimuli"

    def __call__(
        self, values: NDArray[np.float32], layer: str, fitted: NDArray[np.bool_] | None
    ) -> NDArray[np.float32]:
        """Project.

        Parameters
        ----------
        values : array of shape (n_stimuli, …, n_features)
            Tokens are projected each by itself.
        layer : str
        fitted : bool array of shape (n_stimuli,), optional
            Training stimuli, for PCA.
        """
        from sklearn.decomposition import PCA
        from sklearn.random_projection import SparseRandomProjection, johnson_lindenstrauss_min_dim

        width = values.shape[-1]
        if self.kind == "sparse":
            n_components = int(johnson_lindenstrauss_min_dim(len(values), eps=self.number))
            if n_components >= width:
                return values
            flat = values.reshape(-1, width)
            made = SparseRandomProjection(n_components, random_state=SEED).fit(flat[:2]).transform(flat)
        else:
            if fitted is None or not fitted.any():
                raise InputError(
                    f"PCA of layer {layer!r} needs training stimuli common to all folds. Give --split, or "
                    "project by 'sparse:0.1'."
                )
            flat = values[fitted].reshape(-1, width)
            n_components = int(min(self.number, width, len(flat)))
            solver = "randomized" if n_components < 0.8 * min(flat.shape) else "full"
            pca = PCA(n_components, svd_solver=solver, random_state=SEED).fit(flat)
            made = pca.transform(values.reshape(-1, width))
        return np.asarray(made, np.float32).reshape(*values.shape[:-1], -1)
