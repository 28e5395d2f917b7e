"""Fewer dimensions: a seeded sparse random projection, or PCA of the training stimuli."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.errors import InputError, invalid
from neuroenc.splits import TRAIN

SEED = 0


class Projection:
    """Project the features of a layer.

    Parameters
    ----------
    spec : str
        'sparse:<error>': `sklearn.random_projection.SparseRandomProjection` to the number of dimensions at
        which squared distances are kept within that share (Johnson and Lindenstrauss); layers with fewer
        are left as they are. 'pca:<components>': principal components of the training stimuli.
    stimulus_id : array of text, (n_stimuli,)
    split : Dataset, optional
        Splits; PCA is fitted to stimuli that are training stimuli in all folds.

    Raises
    ------
    InputError
        Neither of both; PCA without such stimuli.
    """

    def __init__(self, spec: str, stimulus_id: NDArray[np.str_], split: xr.Dataset | None) -> None:
        self.kind, _, number = spec.partition(":")
        try:
            self.number = float(number)
        except ValueError:
            raise invalid("projection", spec, ("sparse:0.1", "pca:500")) from None
        fits = {"sparse": 0 < self.number < 1, "pca": self.number >= 1}
        if not fits.get(self.kind, False):
            raise invalid("projection", spec, ("sparse:0.1", "pca:500"))
        if self.kind == "pca":
            train = [] if split is None else split["stimulus_id"].values[(split["side"] == TRAIN).all("fold")]
            self.fitted = np.isin(stimulus_id, train)
            if not self.fitted.any():
                raise InputError(
                    "PCA needs training stimuli common to all folds. Give --split, or project by "
                    "'sparse:0.1'."
                )

    @property
    def description(self) -> str:
        """What was done, for the contract."""
        if self.kind == "sparse":
            return f"sparse random projection, error {self.number:g}, seed {SEED}"
        return f"{self.number:g} principal components of the training stimuli"

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Project (n_stimuli, …, n_features); tokens each by itself."""
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
            flat = values[self.fitted].reshape(-1, width)
            n_components = int(min(self.number, width, len(flat)))
            solver = "randomized" if n_components < 0.8 * min(flat.shape) else "full"
            pca = PCA(n_components, svd_solver=solver, random_state=SEED).fit(flat)
            made = pca.transform(values.reshape(-1, width))
        return np.asarray(made, np.float32).reshape(*values.shape[:-1], -1)
