"""Attention routing: each region asks the grid of tokens where to look, then reads out linearly.

Adeli, Minni, Kriegeskorte (2025), "Transformer brain encoders", arXiv 2505.17329: one decoder layer
with learned queries and no self-attention; keys carry a 2-D position, values do not. Ours differs where
that is wasteful or unsound: features are cached, a voxel is multiplied with the token of its own regions
only, voxels of several regions take a learned mixture that starts at the mean (the published sum is
`overlap="sum"`), and the linear readout can be solved exactly on the routed tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted
from torch import nn
from torch.nn import functional

from neuroenc.blocks import blocks
from neuroenc.encoders.memory import ROUTED_BYTES
from neuroenc.encoders.missing import correlation
from neuroenc.encoders.readout import TrainedReadout
from neuroenc.encoders.ridge import RidgeCV
from neuroenc.encoders.tokens import side_of
from neuroenc.encoders.training import predict
from neuroenc.errors import InputError

Floats = NDArray[Any]


def positions(side: int, n_dimensions: int) -> Floats:
    """Sine and cosine code of the rows and columns of a square grid, (side², n_dimensions).

    Half of the dimensions code the row, half the column, at wavelengths from 2 pi to 20,000 pi of a
    coordinate that runs over 2 pi (Carion et al. 2020, DETR).
    """
    half = n_dimensions // 2
    place = (np.arange(side) + 1) / side * 2 * np.pi
    wavelength = 10000 ** (2 * (np.arange(half) // 2) / half)
    angle = place[:, None] / wavelength
    code = np.where(np.arange(half) % 2 == 0, np.sin(angle), np.cos(angle))
    grid = np.concatenate([np.repeat(code, side, 0), np.tile(code, (side, 1))], 1)
    return np.pad(grid, ((0, 0), (0, n_dimensions - grid.shape[1]))).astype(np.float32)


class Grouped(torch.autograd.Function):
    """Multiply the token of each pattern with the weights of its own targets only.

    y_gj = w_gj · t_g for target j of pattern g, where the published form multiplies every token with
    every weight and masks. Written out so that the gradient of the weights, the largest array of a step, is
    made in place.

    Shapes: token (n, n_patterns, d), weight (n_targets, d) in the order of the patterns, sizes of the
    patterns; (n, n_targets) in that order.
    """

    @staticmethod
    @torch.amp.custom_fwd(device_type="cuda", cast_inputs=torch.float32)  # type: ignore[untyped-decorator]
    def forward(ctx: Any, token: torch.Tensor, weight: torch.Tensor, sizes: list[int]) -> torch.Tensor:
        """Return the responses of all patterns side by side."""
        ctx.save_for_backward(token, weight)
        ctx.sizes = sizes
        parts = zip(token.unbind(1), weight.split(sizes), strict=True)
        return torch.cat([t @ w.T for t, w in parts], 1)

    @staticmethod
    @torch.amp.custom_bwd(device_type="cuda")  # type: ignore[untyped-decorator]
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Return the slopes on tokens and weights."""
        token, weight = ctx.saved_tensors
        to_token, to_weight = torch.empty_like(token), torch.empty_like(weight)
        parts = zip(
            slope.split(ctx.sizes, 1), weight.split(ctx.sizes), to_weight.split(ctx.sizes), strict=True
        )
        for k, (part, own, made) in enumerate(parts):
            torch.mm(part.T, token[:, k], out=made)
            to_token[:, k] = part @ own
        return to_token, to_weight, None


class Routing(nn.Module):
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
    member: torch.Tensor
    back: torch.Tensor
    n_targets: torch.Tensor

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
        super().__init__()
        self.n_channels, self.n_tokens, self.n_heads = n_channels, n_tokens, n_heads
        self.overlap, self.mlp = overlap, mlp
        self.single = isinstance(membership, int)
        if isinstance(membership, int):
            n_targets = n_queries = membership
            readers = np.ones(n_targets)
            patterns, self.sizes, self.order = np.zeros((0, 0), bool), [1] * n_targets, np.arange(n_targets)
        else:
            n_targets, n_queries = membership.shape
            readers = membership.sum(0)
            patterns, pattern = np.unique(membership, axis=0, return_inverse=True)
            self.order = np.argsort(pattern.ravel(), kind="stable")
            self.sizes = np.bincount(pattern.ravel(), minlength=len(patterns)).tolist()
        self.groups = np.split(self.order, np.cumsum(self.sizes)[:-1])
        self.query = nn.Parameter(torch.randn(n_queries, n_dimensions))
        self.to_query = nn.Linear(n_dimensions, n_dimensions)
        self.to_key = nn.ModuleList(nn.Linear(c, n_dimensions) for c in n_channels)
        self.to_value = nn.ModuleList(nn.Linear(c, n_dimensions) for c in n_channels)
        self.layer_code = nn.Parameter(torch.zeros(len(n_channels), n_dimensions))
        self.place = nn.Linear(n_dimensions, n_dimensions, bias=False)
        self.out = nn.Linear(n_dimensions, n_dimensions)
        self.before, self.after = nn.LayerNorm(n_dimensions), nn.LayerNorm(n_dimensions)
        self.widen, self.narrow = nn.Linear(n_dimensions, n_hidden), nn.Linear(n_hidden, n_dimensions)
        self.drop = nn.Dropout(dropout)
        self.readout = nn.Parameter(torch.randn(n_targets, n_dimensions) * n_dimensions**-0.5 * 0.1)
        self.bias = nn.Parameter(torch.zeros(n_targets))
        self.mixture = nn.Parameter(torch.zeros(len(patterns), n_queries if len(patterns) else 0))
        code = torch.from_numpy(positions(round(n_tokens**0.5), n_dimensions))
        self.register_buffer("position", code, persistent=False)
        self.register_buffer("member", torch.from_numpy(patterns), persistent=False)
        self.register_buffer("n_targets", torch.from_numpy(readers).float(), persistent=False)
        self.register_buffer("back", torch.from_numpy(np.argsort(self.order)), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Predict responses, (n, n_targets)."""
        token = self.route(x)
        if self.single:  # a query for each target
            return (token * self.readout).sum(-1) + self.bias
        read = Grouped.apply(self.gather(token), self.readout, self.sizes)  # type: ignore[no-untyped-call]
        return read[:, self.back] + self.bias

    def route(self, x: torch.Tensor, which: slice = slice(None)) -> torch.Tensor:
        """Take for each query, or some, what it sees of the picture, (n, n_queries, d)."""
        q = self.heads(self.to_query(self.query[which])).expand(len(x), -1, -1, -1)
        seen = functional.scaled_dot_product_attention(
            q, self.heads(self.keys(x)), self.heads(self.values(x))
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

    def gather(self, token: torch.Tensor) -> torch.Tensor:
        """Mix the tokens of each pattern of regions, (n, n_patterns, d)."""
        if self.overlap == "sum":
            return self.member.to(token.dtype) @ token
        weight = self.mixture.masked_fill(~self.member, -torch.inf).softmax(-1)
        return weight.to(token.dtype) @ token

    def attention(self, x: torch.Tensor) -> torch.Tensor:
        """Share of each token in what a query sees, (n, n_queries, n_layers, n_tokens)."""
        q, k = self.heads(self.to_query(self.query)), self.heads(self.keys(x))
        weight = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1).mean(-3)
        return weight.unflatten(-1, (len(self.n_channels), self.n_tokens))

    def relevance(self, x: torch.Tensor) -> torch.Tensor:
        """Attention times the slope of the mean response of a query's targets on it.

        Attention alone says where a query looks, not what it takes from there; the product, summed over
        heads, says how much each token moves the response (Chefer, Gur, Wolf 2021). Shape as `attention`.
        """
        with torch.enable_grad():
            q, k = self.heads(self.to_query(self.query)), self.heads(self.keys(x))
            weight = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1).detach().requires_grad_()
            token = self.finish((weight @ self.heads(self.values(x))).transpose(1, 2).flatten(2))
            mean = self.readout.detach()
            if not self.single:
                parts = torch.stack([w.sum(0) for w in mean.split(self.sizes)])
                mean = self.member.to(x.dtype).T @ parts
            (slope,) = torch.autograd.grad((token * mean / self.n_targets[:, None]).sum(), weight)
        shown = (weight * slope).detach().sum(-3)
        return shown.unflatten(-1, (len(self.n_channels), self.n_tokens))


def _joined(layers: list[torch.Tensor]) -> torch.Tensor:
    """Put the tokens of all layers in one row."""
    return torch.cat(layers, 1) if len(layers) > 1 else layers[0]  # spares a copy


class AttentionRouting(TrainedReadout):
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

    def _finish(self, X: Any, target: Floats, fitted: NDArray[Any], held: NDArray[Any]) -> Floats:
        """Solve the readout by ridge; keep it where it is better."""
        self.readout_ = "gradient"
        shown = super()._finish(X, target, fitted, held)
        if self.readout == "gradient":
            return shown
        solved, coef, intercept = self._solve(X, target, fitted, held)
        gain = correlation(target[held], solved) - correlation(target[held], shown)
        if self.readout == "best" and gain.mean() <= 0:
            return shown
        self.readout_ = "ridge"
        with torch.no_grad():
            self.module_.readout.copy_(torch.from_numpy(coef))
            self.module_.bias.copy_(torch.from_numpy(intercept))
        return solved

    def _module(self, n_tokens: int, n_channels: int, n_targets: int) -> Routing:
        side_of(n_tokens)
        regions: NDArray[np.bool_] | int = n_targets
        if not isinstance(self.regions, str):
            regions = (
                np.ones((n_targets, 1), bool) if self.regions is None else np.asarray(self.regions, bool)
            )
            if len(regions) != n_targets:
                raise InputError(
                    f"Regions are given for {len(regions)} targets, the responses have {n_targets}."
                )
            outside: Any = ~regions.any(1)
            if outside.any():
                regions = np.concatenate([regions, outside[:, None]], 1)
            if regions.shape == (n_targets, n_targets) and (regions == np.eye(n_targets)).all():
                regions = n_targets
        elif self.regions != "each":
            raise InputError(
                f"Invalid value for 'regions': {self.regions!r}. Expected an array, 'each' or None."
            )
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

    def _solve(
        self, X: Any, target: Floats, fitted: NDArray[Any], held: NDArray[Any]
    ) -> tuple[Floats, Floats, Floats]:
        """Ridge on the routed tokens; alpha by the validation rows, as the routing was."""
        module = self.module_

        def tokens() -> Iterator[Floats]:
            for some in blocks(len(module.groups), max(1, ROUTED_BYTES // (4 * len(X) * self.n_dimensions))):

                def routed(x: torch.Tensor, some: slice = some) -> torch.Tensor:
                    return module.route(x, some) if module.single else module.gather(module.route(x))[:, some]

                seen = predict(module, X, batch_size=self.batch_size, device=self.device, call=routed)
                yield from seen.transpose(1, 0, 2)

        shown = np.empty((len(held), target.shape[1]), np.float32)
        coef = np.empty((target.shape[1], self.n_dimensions), np.float32)
        intercept = np.empty(target.shape[1], np.float32)
        split = [(np.arange(len(fitted)), len(fitted) + np.arange(len(held)))]
        rows = np.concatenate([fitted, held])
        alphas = np.logspace(-1, 5, 13)
        for token, group in zip(tokens(), module.groups, strict=True):
            ridge = RidgeCV(alphas, cv=split).fit(token[rows], target[rows[:, None], group])
            coef[group], intercept[group] = ridge.coef_, ridge.intercept_
            # the validation rows are predicted at the same alphas without them
            alone = ridge.refit(token[fitted], target[fitted[:, None], group])
            shown[:, group] = alone.predict(token[held])
        return shown, coef[module.order], intercept

    def attention_maps(self, X: Any, *, kind: str = "relevance") -> Floats:
        """Show where each region looks.

        Parameters
        ----------
        X : array of shape (n_samples, n_tokens, n_channels)
        kind : {"relevance", "weight"}
            Attention times the slope of the region's mean response on it, which says how much each cell
            moves the response; or the attention alone, which sums to one.

        Returns
        -------
        array of shape (n_samples, n_queries, side, side)
            Summed over layers. Queries are the columns of `regions`, then the one of the targets that lie in
            none.
        """
        check_is_fitted(self)
        maps = predict(
            self.module_, self._design(X), batch_size=self.batch_size, device=self.device,
            call=self.module_.relevance if kind == "relevance" else self.module_.attention,
        ).sum(2)  # fmt: skip
        side = round(self.n_tokens_**0.5)
        return maps.reshape(*maps.shape[:2], side, side)
