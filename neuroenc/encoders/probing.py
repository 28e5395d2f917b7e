"""Efficient probing: each region asks with several queries, without projections that cancel, then reads out.

Psomas et al. (2025), "Attention, please! Revisiting attentive probing through the lens of efficiency",
arXiv 2506.10178: several learned queries score the raw tokens (the projection to keys is folded into the
queries), and each pools its own share of the values. Ours has queries for each region, which also score
the place of a token, and its linear readout can be solved exactly on what they pool.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from neuroenc.encoders.routing import OVERLAP, READOUT, Routed, RoutedReadout, positions, present
from neuroenc.errors import InputError

PLACES = 32  # dimensions of the code of places


class Probe(Routed):
    """Several queries a region pool the tokens, then a linear readout of each target.

    Query k of region q gives token l the share a_qkl = softmax_l(s_qk · x_l / sqrt(c) + r_qk · p_l), with the
    position code p_l; the region sees the pooled values of its queries side by side,
    t_q = [sum_l a_qkl V_k x_l]_k; and y_j = w_j · sum_q m_jq t_q + b_j. V_k is the identity ("whole"), takes
    the k-th part of the channels ("split") or of a learned projection of them ("linear"). The queries begin
    at places drawn from the grid.

    Shapes: x (n, n_tokens, n_channels) to (n, n_targets).

    Parameters
    ----------
    n_channels, n_tokens : int
        Of all layers together; of a square grid, or in one row.
    membership : array of shape (n_targets, n_queries), or int
        Which regions' queries a target reads; a number of targets that each have their own.
    n_queries : int
        Of each region.
    values, n_dimensions, dropout, overlap
        See `EfficientProbing`.
    """

    position: torch.Tensor

    def __init__(
        self,
        n_channels: int,
        n_tokens: int,
        membership: NDArray[np.bool_] | int,
        *,
        n_queries: int,
        values: str,
        n_dimensions: int,
        dropout: float,
        overlap: str,
    ) -> None:
        super().__init__(membership, overlap)
        self.values = values
        width = n_dimensions if values == "linear" else n_channels
        code = torch.from_numpy(positions(n_tokens, PLACES))
        start = torch.randint(n_tokens, (self.n_queries, n_queries))
        self.query = nn.Parameter(torch.randn(self.n_queries, n_queries, n_channels) * 0.1)
        self.place = nn.Parameter(code[start] / 4)
        self.value = nn.Linear(n_channels, width) if values == "linear" else nn.Identity()
        self.drop = nn.Dropout(dropout)
        self.read_by_targets(width * n_queries if values == "whole" else width)
        self.register_buffer("position", code, persistent=False)

    def route(self, x: torch.Tensor, which: slice = slice(None)) -> torch.Tensor:
        """Pool the tokens by the queries of each region, or of some, (n, n_regions, width)."""
        x, there = present(x)
        return self.pool(self.weights(x, there, which), self.value(x))

    def weights(
        self, x: torch.Tensor, there: torch.Tensor | None, which: slice = slice(None)
    ) -> torch.Tensor:
        """Share of each token in what each query pools, (n, n_regions, n_queries, n_tokens)."""
        query, place = self.query[which], self.place[which]
        score = x @ (query.flatten(0, 1).T * x.shape[-1] ** -0.5)  # (n, n_tokens, all queries)
        score = (score + self.position @ place.flatten(0, 1).T).transpose(1, 2)
        if there is not None:
            score = score.masked_fill(~there[:, None], -torch.inf)
        return score.softmax(-1).unflatten(1, query.shape[:2])

    def pool(self, weight: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Pool values by the shares of queries; dropout takes whole channels of what a query pooled."""
        if self.values == "whole":
            return self.drop((weight.flatten(1, 2) @ value).unflatten(1, weight.shape[1:3]).flatten(2))
        parts = value.tensor_split(weight.shape[2], -1)
        pooled = [weight[:, :, k] @ part for k, part in enumerate(parts)]
        return self.drop(torch.cat(pooled, -1))

    def attention(self, x: torch.Tensor) -> torch.Tensor:
        """Share of each token in what a region sees, mean over its queries, (n, n_regions, 1, n_tokens)."""
        return self.weights(*present(x)).mean(2, keepdim=True)

    def relevance(self, x: torch.Tensor) -> torch.Tensor:
        """Shares times the slope of the mean response of a region's targets on them, summed over queries."""
        x, there = present(x)
        with torch.enable_grad():
            weight = self.weights(x, there).detach().requires_grad_()
            token = self.pool(weight, self.value(x))
            total = (token * self.mean_readout() / self.n_targets[:, None]).sum()
            (slope,) = torch.autograd.grad(total, weight)
        return (weight * slope).detach().sum(2, keepdim=True)


class EfficientProbing(RoutedReadout):
    """Readout of what several queries a region pool from the tokens.

    Parameters
    ----------
    regions : array of shape (n_targets, n_regions) or "each", optional
        Which regions each target lies in; targets in none share queries of their own. None: the same queries
        for all targets. "each" (or the identity): queries for each target, in memory in proportion to them.
    n_queries : int
        Of each region.
    values : {"whole", "split", "linear"}
        What a query pools: all channels; its own part of them, so that a region sees as many numbers as a
        token has; or its own part of `n_dimensions` learned projections of them, as published.
    n_dimensions : int
        Of "linear".
    overlap : {"learned", "sum"}
        How a target of several regions takes what they see: mixed by weights learned for each combination,
        starting at the mean; or summed.
    readout : {"best", "gradient", "ridge"}
        The linear readout as trained; or solved exactly by ridge with one alpha per target on what is pooled;
        or whichever has the better validation r.
    dropout, learning_rate, weight_decay, batch_size, max_epochs, patience, clip
        Of the training.
    cv : int, splitter or iterable of (train, validation)
        The first split gives the validation rows of early stopping.
    seed : int
    device : str
    checkpoint : path, optional
        Where the run is kept after each epoch; the same call takes it up and ends in the same weights.

    Attributes
    ----------
    best_score_ : array of shape (n_targets,)
        R2 on the validation rows.
    history_ : list of float
        Validation r of each epoch.
    readout_ : {"gradient", "ridge"}
        What was kept.
    validation_, validation_rows_ : arrays
        Predictions of the validation rows by a model that was not fitted to them.
    """

    description = "efficient probing"

    OPTIONS: ClassVar[dict[str, Any]] = {
        "values": ("whole", "split", "linear"), "overlap": OVERLAP, "readout": READOUT, "n_queries": 1,
        "max_epochs": 1, "batch_size": 1,
    }  # fmt: skip

    def __init__(
        self,
        regions: ArrayLike | str | None = None,
        *,
        n_queries: int = 8,
        values: str = "split",
        n_dimensions: int = 128,
        overlap: str = "learned",
        readout: str = "best",
        dropout: float = 0.1,
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-4,
        batch_size: int = 32,
        max_epochs: int = 60,
        patience: int = 10,
        clip: float = 1.0,
        cv: Any = 5,
        seed: int = 0,
        device: str = "cpu",
        checkpoint: str | Path | None = None,
    ) -> None:
        self.regions = regions
        self.n_queries = n_queries
        self.values = values
        self.n_dimensions = n_dimensions
        self.overlap = overlap
        self.readout = readout
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.clip = clip
        self.cv = cv
        self.seed = seed
        self.device = device
        self.checkpoint = checkpoint

    def _module(self, n_tokens: int, n_channels: int, n_targets: int) -> Probe:
        width = self.n_dimensions if self.values == "linear" else n_channels
        if self.values != "whole" and width < self.n_queries:
            raise InputError(
                f"n_queries {self.n_queries} share {width} values; each needs one or more. Use fewer "
                "queries, or values 'whole'."
            )
        return Probe(
            n_channels, n_tokens, self._membership(n_targets), n_queries=self.n_queries, values=self.values,
            n_dimensions=self.n_dimensions, dropout=self.dropout, overlap=self.overlap,
        )  # fmt: skip
