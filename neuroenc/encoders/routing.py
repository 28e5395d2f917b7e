"""What readouts that route tokens to regions share: who reads which query, the exact readout, the maps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import nn

from neuroenc.blocks import blocks
from neuroenc.encoders.memory import ROUTED_BYTES
from neuroenc.encoders.missing import correlation
from neuroenc.encoders.readout import TrainedReadout
from neuroenc.encoders.ridge import RidgeCV
from neuroenc.encoders.tokens import grid_of
from neuroenc.encoders.training import predict
from neuroenc.errors import InputError

Floats = NDArray[Any]
OVERLAP, READOUT = ("learned", "sum"), ("best", "gradient", "ridge")


def positions(n_tokens: int, n_dimensions: int) -> Floats:
    """Sine and cosine code of the places of tokens, (n_tokens, n_dimensions).

    Of a square grid half of the dimensions code the row, half the column, at wavelengths from 2 pi to
    20,000 pi of a coordinate that runs over 2 pi (Carion et al. 2020, DETR). Tokens that are no square grid,
    words say, stand in one row, which all dimensions code.
    """
    rows, side = grid_of(n_tokens)
    half = n_dimensions // 2 if rows > 1 else n_dimensions
    place = (np.arange(side) + 1) / side * 2 * np.pi
    wavelength = 10000 ** (2 * (np.arange(half) // 2) / half)
    angle = place[:, None] / wavelength
    code = np.where(np.arange(half) % 2 == 0, np.sin(angle), np.cos(angle))
    if rows > 1:
        code = np.concatenate([np.repeat(code, side, 0), np.tile(code, (side, 1))], 1)
    return np.pad(code, ((0, 0), (0, n_dimensions - code.shape[1]))).astype(np.float32)


def present(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Tell tokens that are there from those that fill up a text, which are NaN.

    Returns
    -------
    x : tensor of shape (n, n_tokens, n_channels)
        0 in tokens that are not there.
    there : tensor of bool, (n, n_tokens), or None
        None: all are.
    """
    there = ~x[..., 0].isnan()
    if there.all():
        return x, None
    return torch.where(there[..., None], x, 0), there


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


class Routed(nn.Module):
    """Tokens routed to queries, then a linear readout of each target: y_j = w_j · sum_q m_jq t_q + b_j.

    m mixes the queries of the regions that target j lies in; subclasses say what a query sees, t_q.

    Shapes: x (n, n_tokens, n_channels) to (n, n_targets).

    Parameters
    ----------
    membership : array of shape (n_targets, n_queries), or int
        Which queries a target reads; a number of targets that each read one of their own.
    overlap : {"learned", "sum"}
    """

    member: torch.Tensor
    back: torch.Tensor
    n_targets: torch.Tensor

    def __init__(self, membership: NDArray[np.bool_] | int, overlap: str) -> None:
        super().__init__()
        self.overlap = overlap
        self.single = isinstance(membership, int)
        if isinstance(membership, int):
            n_targets = self.n_queries = membership
            readers = np.ones(n_targets)
            patterns, self.sizes, self.order = np.zeros((0, 0), bool), [1] * n_targets, np.arange(n_targets)
        else:
            n_targets, self.n_queries = membership.shape
            readers = membership.sum(0)
            patterns, pattern = np.unique(membership, axis=0, return_inverse=True)
            self.order = np.argsort(pattern.ravel(), kind="stable")
            self.sizes = np.bincount(pattern.ravel(), minlength=len(patterns)).tolist()
        self.groups = np.split(self.order, np.cumsum(self.sizes)[:-1])
        self.register_buffer("member", torch.from_numpy(patterns), persistent=False)
        self.register_buffer("n_targets", torch.from_numpy(readers).float(), persistent=False)
        self.register_buffer("back", torch.from_numpy(np.argsort(self.order)), persistent=False)

    def read_by_targets(self, width: int) -> None:
        """Make the readout of what a query sees, (n_targets, width), and the mixtures of queries."""
        n_targets, (n_patterns, n_queries) = len(self.order), self.member.shape
        self.readout = nn.Parameter(torch.randn(n_targets, width) * width**-0.5 * 0.1)
        self.bias = nn.Parameter(torch.zeros(n_targets))
        self.mixture = nn.Parameter(torch.zeros(n_patterns, n_queries))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Predict responses, (n, n_targets)."""
        token = self.route(x)
        if self.single:  # a query for each target
            return (token * self.readout).sum(-1) + self.bias
        read = Grouped.apply(self.gather(token), self.readout, self.sizes)  # type: ignore[no-untyped-call]
        return read[:, self.back] + self.bias

    def route(self, x: torch.Tensor, which: slice = slice(None)) -> torch.Tensor:
        """Take for each query, or some, what it sees of the stimulus, (n, n_queries, width)."""
        raise NotImplementedError

    def gather(self, token: torch.Tensor) -> torch.Tensor:
        """Mix the tokens of each pattern of regions, (n, n_patterns, width)."""
        if self.overlap == "sum":
            return self.member.to(token.dtype) @ token
        weight = self.mixture.masked_fill(~self.member, -torch.inf).softmax(-1)
        return weight.to(token.dtype) @ token

    def mean_readout(self) -> torch.Tensor:
        """Sum the readouts of each query's targets, (n_queries, width), detached."""
        mean = self.readout.detach()
        if self.single:
            return mean
        parts = torch.stack([w.sum(0) for w in mean.split(self.sizes)])
        return self.member.to(mean.dtype).T @ parts

    def attention(self, x: torch.Tensor) -> torch.Tensor:
        """Share of each token in what a query sees, (n, n_queries, …, n_tokens)."""
        raise NotImplementedError

    def relevance(self, x: torch.Tensor) -> torch.Tensor:
        """Attention times the slope of the mean response of a query's targets on it; as `attention`."""
        raise NotImplementedError


class RoutedReadout(TrainedReadout):
    """A trained readout of routed tokens, whose linear part may be solved exactly; subclasses route."""

    sets = True

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

    def _membership(self, n_targets: int) -> NDArray[np.bool_] | int:
        """Return which queries each target reads, or a number of targets that each have one of their own."""
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
        return regions

    def _solve(
        self, X: Any, target: Floats, fitted: NDArray[Any], held: NDArray[Any]
    ) -> tuple[Floats, Floats, Floats]:
        """Ridge on the routed tokens; alpha by the validation rows, as the routing was."""
        module = self.module_
        width = module.readout.shape[1]

        def tokens() -> Iterator[Floats]:
            for some in blocks(len(module.groups), max(1, ROUTED_BYTES // (4 * len(X) * width))):

                def routed(x: torch.Tensor, some: slice = some) -> torch.Tensor:
                    return module.route(x, some) if module.single else module.gather(module.route(x))[:, some]

                seen = predict(module, X, batch_size=self.batch_size, device=self.device, call=routed)
                yield from seen.transpose(1, 0, 2)

        shown = np.empty((len(held), target.shape[1]), np.float32)
        coef = np.empty((target.shape[1], width), np.float32)
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
            Summed over layers; (n_samples, n_queries, 1, n_tokens) of tokens that are no grid. Queries are
            the columns of `regions`, then the one of the targets that lie in none.
        """
        check_is_fitted(self)
        maps = predict(
            self.module_, self._design(X), batch_size=self.batch_size, device=self.device,
            call=self.module_.relevance if kind == "relevance" else self.module_.attention,
        ).sum(2)  # fmt: skip
        return maps.reshape(*maps.shape[:2], *grid_of(self.n_tokens_))
