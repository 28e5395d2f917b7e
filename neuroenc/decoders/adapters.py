"""The module behind the joint decoder: an adapter for each recording, then what all recordings share.

For a response x of recording r, whose modality is m, h = drop(first_r(x) + first_modality_m + first_who_r)
runs through residual blocks, and the result is head(h) + first_straight_r(x). `first_r` is linear, or reads
epochs (`EpochEncoder`, `SensorGraph`). `head` starts at zero, so that training starts at the linear path.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import nn

from neuroenc.decoders.atm import EpochEncoder
from neuroenc.decoders.graph import SensorGraph
from neuroenc.decoders.residual import ResidualBlock, zeroed


class Front(NamedTuple):
    """What a recording looks like to its adapter."""

    modality: str
    width: int
    """Neuroids, times time bins of epochs"""
    n_times: int | None = None
    """Samples of an epoch, laid out channel by channel, for attention and convolutions; None: linear"""
    position: ArrayLike | None = None
    """Of the channels, (n_channels, 3), for a graph of them in place of attention"""


class JointNetwork(nn.Module):
    """head(blocks(drop(first_r(x) + first_modality_m + first_who_r))) + first_straight_r(x).

    Parameters
    ----------
    fronts : mapping
        Recording -> Front.
    n_hidden, n_blocks : int
        Width and number of the shared residual blocks.
    dropout : float
    n_out : int
    n_text : int
        Components of embeddings of texts, to which `text` leads from what is decoded; 0: none.
    """

    def __init__(
        self, fronts: Mapping[str, Front], n_hidden: int, n_blocks: int, dropout: float, n_out: int,
        n_text: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.fronts, self.n_out = dict(fronts), n_out
        self.modalities = list(dict.fromkeys(f.modality for f in fronts.values()))

        def first(front: Front) -> nn.Module:
            if front.n_times is None:
                return nn.Linear(front.width, n_hidden, bias=False)  # who it is stands in its place
            if front.position is not None:
                return SensorGraph(front.position, front.n_times, n_hidden, dropout)
            return EpochEncoder(front.width // front.n_times, front.n_times, n_hidden, dropout)

        self.first = nn.ModuleDict({f"r{name}": first(f) for name, f in fronts.items()})
        self.first_modality = nn.Embedding(len(self.modalities), n_hidden)
        self.first_who = nn.Embedding(len(fronts), n_hidden)
        for table in (self.first_modality, self.first_who):
            nn.init.normal_(table.weight, std=0.02)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*[ResidualBlock(n_hidden, dropout) for _ in range(n_blocks)])
        self.head = zeroed(nn.Linear(n_hidden, n_out))
        self.first_straight = nn.ModuleDict({f"r{n}": nn.Linear(f.width, n_out) for n, f in fronts.items()})
        self.text = nn.Linear(n_out, n_text) if n_text else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map responses to the shared space, (n, n_out).

        Parameters
        ----------
        x : tensor of shape (n, n_widest + 1)
            Responses, as wide as those of the widest recording, and the number of the recording behind them.
        """
        who = x[:, -1].long()
        out = x.new_zeros(len(x), self.n_out)
        for number, name in enumerate(self.fronts):
            mine = who == number
            if mine.any():
                out = out.index_put((mine,), self.decode(x[mine], name, number).to(out.dtype))
        return out

    def decode(self, x: torch.Tensor, name: str, number: int) -> torch.Tensor:
        """Map responses of one recording, (n, n_widest + 1) to (n, n_out)."""
        front = self.fronts[name]
        seen = x[:, : front.width]
        told = self.first_modality.weight[self.modalities.index(front.modality)]
        told = told + self.first_who.weight[number]
        hidden = self.blocks(self.drop(self.first[f"r{name}"](seen) + told))
        decoded: torch.Tensor = self.head(hidden) + self.first_straight[f"r{name}"](seen)
        return decoded
