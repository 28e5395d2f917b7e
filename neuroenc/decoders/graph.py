"""A first layer for epochs: sensors that lie beside each other are read together.

Graph convolutions (Kipf and Welling 2017, arXiv 1609.02907) over the sensors, whose edges come from where
they are: each sensor is joined to those nearest to it. Samples of an epoch are the features of a sensor.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import pdist, squareform
from torch import nn
from torch.nn.functional import gelu

N_NEIGHBOURS = 6
N_FILTERS = 32


def adjacency(position: ArrayLike, n_neighbours: int = N_NEIGHBOURS) -> NDArray[np.float32]:
    """Join sensors to their nearest: D^-1/2 (A + I) D^-1/2, with A_ij = 1 if i is near j or j near i.

    Parameters
    ----------
    position : array of shape (n_sensors, 3)
        In any unit.
    n_neighbours : int
        Of each sensor; all others where there are fewer.

    Returns
    -------
    array of shape (n_sensors, n_sensors)
        Symmetric; its largest eigenvalue is 1.
    """
    distance = squareform(pdist(np.asarray(position, float)))
    np.fill_diagonal(distance, -1)  # a sensor is nearest to itself, also where two lie in one place
    nearest = np.argsort(distance, 1, kind="stable")[:, : n_neighbours + 1]
    near = np.zeros(distance.shape, bool)
    np.put_along_axis(near, nearest, True, 1)
    joined = (near | near.T).astype(float)
    root = np.sqrt(joined.sum(1))
    return np.asarray(joined / np.outer(root, root), np.float32)


class SensorGraph(nn.Module):
    """out(H_2), with H_k = drop(GELU(norm(A H_{k-1} W_k))) and H_0 an epoch, sensors by samples.

    Parameters
    ----------
    position : array of shape (n_sensors, 3)
    n_times : int
        Samples of an epoch.
    n_out : int
    dropout : float
    """

    adjacency: torch.Tensor

    def __init__(self, position: ArrayLike, n_times: int, n_out: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("adjacency", torch.from_numpy(adjacency(position)))
        self.n_sensors, self.n_times = len(self.adjacency), n_times
        widths = (n_times, N_FILTERS, N_FILTERS)
        self.weights = nn.ModuleList(map(nn.Linear, widths[:-1], widths[1:]))
        self.norms = nn.ModuleList(nn.GroupNorm(1, self.n_sensors) for _ in self.weights)
        self.drop = nn.Dropout(dropout)
        self.out = nn.Linear(self.n_sensors * N_FILTERS, n_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Read epochs laid out sensor by sensor, (n, n_sensors * n_times) to (n, n_out)."""
        hidden = x.reshape(len(x), self.n_sensors, self.n_times)
        for weight, norm in zip(self.weights, self.norms, strict=True):
            hidden = self.drop(gelu(norm(self.adjacency @ weight(hidden))))
        mapped: torch.Tensor = self.out(hidden.flatten(1))
        return mapped
