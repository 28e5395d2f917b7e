"""Attention routing: each region asks the grid of tokens where to look, then reads out linearly.

Adeli, Minni, Kriegeskorte (2025), "Transformer brain encoders", arXiv 2505.17329: one decoder layer
with learned queries and no self-attention; keys carry a 2-D position, values do not. Ours differs where
that is wasteful or unsound: features are cached, a voxel is multiplied with the token of its own regions
only, voxels of several regions take a learned mixture that starts at the mean (the published sum is
`overlap="sum"`), and the linear readout can be solved exactly on the routed tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn
from torch.nn import functional

from neuroenc.encoders.routing import OVERLAP, READOUT, Routed, RoutedReadout, positions, present
from neuroenc.errors import InputError


class Routing(Routed):
    """One decoder layer without self-attention, then a linear readout of each target.

    Keys k_l = K x_l + P p_l + e and values v_l = V x_l of each token l of a layer, with its position code p_l
    and the layer's own e; a query q sees t_q = LN(u + MLP(LN(u))) with
    u = O sum_l softmax_l(q' k_l / sqrt(d)) v_l, in heads; and y_j = w_j · sum_q m_jq t_q + b_j, where m mixes
    the queries of the regions that target j lies in.

    Shapes: x (n, n_tokens, sum of n_channels) to (n, n_targets).

    Parameters
    ----------
    n_channels : list of int
        Of each layer of the source network; each has its own projections to keys and values.
    n_tokens : int
        Of the square grid, the same for all layers.
    membership : array of shape (n_targets, n_queries), or int
        Which queries a target reads; a number of targets that each read one of their own.
    n_dimensions, n_heads, n_hidden, dropout, overlap, mlp
        See `AttentionRouting`.
    """

    position: torch.Tensor

    def __init__(
        self,
        n_channels: list[int],
        n_tokens: int,
        membership: NDArray[np.bool_] | int,
        *,
        n_dimensions: int,
        n_heads: int,
        n_hidden: int,
        dropout: float,
        overlap: str,
        mlp: bool,
    ) -> None:
        super().__init__(membership, overlap)
        self.n_channels, self.n_tokens, self.n_heads, self.mlp = n_channels, n_tokens, n_heads, mlp
        self.query = nn.Parameter(torch.randn(self.n_queries, n_dimensions))
        self.to_query = nn.Linear(n_dimensions, n_dimensions)
        self.to_key = nn.ModuleList(nn.Linear(c, n_dimensions) for c in n_channels)
        self.to_value = nn.ModuleList(nn.Linear(c, n_dimensions) for c in n_channels)
        self.layer_code = nn.Parameter(torch.zeros(len(n_channels), n_dimensions))
        self.place = nn.Linear(n_dimensions, n_dimensions, bias=False)
        self.out = nn.Linear(n_dimensions, n_dimensions)
        self.before, self.after = nn.LayerNorm(n_dimensions), nn.LayerNorm(n_dimensions)
        self.widen, self.narrow = nn.Linear(n_dimensions, n_hidden), nn.Linear(n_hidden, n_dimensions)
        self.drop = nn.Dropout(dropout)
        self.read_by_targets(n_dimensions)
        code = torch.from_numpy(positions(n_tokens, n_dimensions))
        self.register_buffer("position", code, persistent=False)

    def route(self, x: torch.Tensor, which: slice = slice(None)) -> torch.Tensor:
        """Take for each query, or some, what it sees of the picture, (n, n_queries, d)."""
        x, there = present(x)
        q = self.heads(self.to_query(self.query[which])).expand(len(x), -1, -1, -1)
        mask = None if there is None else there.repeat(1, len(self.n_channels))[:, None, None]
        seen = functional.scaled_dot_product_attention(
            q, self.heads(self.keys(x)), self.heads(self.values(x)), mask
        )
        return self.finish(seen.transpose(1, 2).flatten(2))

    def keys(self, x: torch.Tensor) -> torch.Tensor:
        """Keys of all layers with their position, (n, n_layers * n_tokens, d)."""
        place = self.place(self.position)
        parts = zip(self.to_key, x.split(self.n_channels, dim=-1), self.layer_code, strict=True)
        return _joined([m(p) + (place + c) for m, p, c in parts])

    def values(self, x: torch.Tensor) -> torch.Tensor:
        """Values of all layers, (n, n_layers * n_tokens, d)."""
        parts = x.split(self.n_channels, dim=-1)
        return _joined([m(p) for m, p in zip(self.to_value, parts, strict=True)])

    def heads(self, x: torch.Tensor) -> torch.Tensor:
        """Cut the last dimension into heads, (…, n_heads, n, d / n_heads)."""
        return x.unflatten(-1, (self.n_heads, -1)).transpose(-3, -2)

    def finish(self, seen: torch.Tensor) -> torch.Tensor:
        """Apply what follows the attention, (n, n_queries, d)."""
        token = self.drop(self.out(seen))
        if self.mlp:
            token = token + self.drop(self.narrow(self.drop(self.widen(self.before(token)).relu())))
        return self.after(token)

    def weights(self, x: torch.Tensor, there: torch.Tensor | None) -> torch.Tensor:
        """Share of each token in what a head sees, (n, n_heads, n_queries, n_layers * n_tokens)."""
        q, k = self.heads(self.to_query(self.query)), self.heads(self.keys(x))
        score = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        if there is not None:
            score = score.masked_fill(~there.repeat(1, len(self.n_channels))[:, None, None], -torch.inf)
        return score.softmax(-1)

    def attention(self, x: torch.Tensor) -> torch.Tensor:
        """Share of each token in what a query sees, (n, n_queries, n_layers, n_tokens)."""
        weight = self.weights(*present(x)).mean(-3)
        return weight.unflatten(-1, (len(self.n_channels), self.n_tokens))

    def relevance(self, x: torch.Tensor) -> torch.Tensor:
        """Attention times the slope of the mean response of a query's targets on it.

        Attention alone says where a query looks, not what it takes from there; the product, summed over
        heads, says how much each token moves the response (Chefer, Gur, Wolf 2021). Shape as `attention`.
        """
        x, there = present(x)
        with torch.enable_grad():
            weight = self.weights(x, there).detach().requires_grad_()
            token = self.finish((weight @ self.heads(self.values(x))).transpose(1, 2).flatten(2))
            total = (token * self.mean_readout() / self.n_targets[:, None]).sum()
            (slope,) = torch.autograd.grad(total, weight)
        shown = (weight * slope).detach().sum(-3)
        return shown.unflatten(-1, (len(self.n_channels), self.n_tokens))


def _joined(layers: list[torch.Tensor]) -> torch.Tensor:
    """Put the tokens of all layers in one row."""
    return torch.cat(layers, 1) if len(layers) > 1 else layers[0]  # spares a copy


class AttentionRouting(RoutedReadout):
    """Readout that routes tokens to regions by attention.

    Parameters
    ----------
    regions : array of shape (n_targets, n_regions) or "each", optional
        Which regions each target lies in; targets in none share a query of their own. None: one query
        for all targets. "each" (or the identity): a query for each target, in memory in proportion to them.
        Join columns to ask by networks of regions.
    layer_channels : sequence of int, optional
        Channels of each layer of the source network that stand side by side in X; None: one layer.
    n_dimensions, n_heads, n_hidden : int
        Of the tokens, the attention and the layer after it.
    mlp : bool
        Whether there is a layer after the attention, as published.
    overlap : {"learned", "sum"}
        How a target of several regions takes their tokens: mixed by weights learned for each combination,
        starting at the mean; or summed, as published.
    readout : {"best", "gradient", "ridge"}
        The linear readout as trained; or solved exactly by ridge with one alpha per target on the routed
        tokens; or whichever has the better validation r.
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

    description = "attention routing"

    OPTIONS: ClassVar[dict[str, Any]] = {
        "overlap": OVERLAP,
        "readout": READOUT,
        "max_epochs": 1,
        "batch_size": 1,
    }

    def __init__(
        self,
        regions: ArrayLike | str | None = None,
        *,
        layer_channels: tuple[int, ...] | None = None,
        n_dimensions: int = 128,
        n_heads: int = 8,
        n_hidden: int = 256,
        mlp: bool = True,
        overlap: str = "learned",
        readout: str = "best",
        dropout: float = 0.1,
        learning_rate: float = 5e-4,
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
        self.layer_channels = layer_channels
        self.n_dimensions = n_dimensions
        self.n_heads = n_heads
        self.n_hidden = n_hidden
        self.mlp = mlp
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

    def _module(self, n_tokens: int, n_channels: int, n_targets: int) -> Routing:
        regions = self._membership(n_targets)
        channels = list(self.layer_channels or [n_channels])
        if sum(channels) != n_channels:
            raise InputError(
                f"layer_channels {channels} sum to {sum(channels)}, the features have {n_channels}."
            )
        if self.n_dimensions % self.n_heads:
            raise InputError(f"n_dimensions {self.n_dimensions} is no multiple of n_heads {self.n_heads}.")
        return Routing(
            channels, n_tokens, regions, n_dimensions=self.n_dimensions, n_heads=self.n_heads,
            n_hidden=self.n_hidden, dropout=self.dropout, overlap=self.overlap, mlp=self.mlp,
        )  # fmt: skip
