"""The module behind the brain network: linear layers of subjects, shared residual blocks, a linear path.

For a response x of subject s, with first_s and straight_s the subject's own linear maps:
h = drop(first_s(x)), h <- h + last(drop(GELU(inner(LayerNorm(h))))) in each block, and the result is
head(h) + straight_s(x). `head` and each `last` start at zero, so that training starts at the linear path.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from neuroenc.decoders.atm import EpochEncoder


class ResidualBlock(nn.Module):
    """h + last(drop(GELU(linear(LayerNorm(h))))), starting as the identity.

    Parameters
    ----------
    width : int
    dropout : float
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout)
        )
        self.last = zeroed(nn.Linear(width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, width) to (n, width)."""
        return x + self.last(self.inner(x))


class ResidualNetwork(nn.Module):
    """head(blocks(drop(first_s(x)))) + first_straight_s(x) for responses x of subject s.

    Parameters
    ----------
    widths : mapping
        Subject -> neuroids.
    n_hidden, n_blocks : int
    dropout : float
    n_out : int
    n_times : int, optional
        Responses are epochs of so many samples, flattened channel by channel; an `EpochEncoder` reads them
        in place of the first linear layer.
    """

    def __init__(
        self, widths: Mapping[str, int], n_hidden: int, n_blocks: int, dropout: float, n_out: int,
        n_times: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.widths, self.n_out = dict(widths), n_out

        def first(n: int) -> nn.Module:
            if n_times is None:
                return nn.Linear(n, n_hidden)
            return EpochEncoder(n // n_times, n_times, n_hidden, dropout)

        self.first = nn.ModuleDict({f"s{name}": first(n) for name, n in widths.items()})
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*[ResidualBlock(n_hidden, dropout) for _ in range(n_blocks)])
        self.head = zeroed(nn.Linear(n_hidden, n_out))
        # what is linear from end to end; ridge starts it
        self.first_straight = nn.ModuleDict({f"s{name}": nn.Linear(n, n_out) for name, n in widths.items()})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map responses to components, (n, n_out).

        Parameters
        ----------
        x : tensor of shape (n, n_widest + 1) or (n, n_repetitions, n_widest + 1)
            Responses, as wide as the widest subject's, and the number of the subject behind them; of
            repetitions the mean is taken.
        """
        if x.ndim == 3:
            x = x.mean(1)
        if len(self.widths) == 1:
            (subject,) = self.widths
            return self.decode(x, subject)
        who = x[:, -1].long()
        out = x.new_zeros(len(x), self.n_out)
        for number, subject in enumerate(self.widths):
            mine = who == number
            if mine.any():
                out = out.index_put((mine,), self.decode(x[mine], subject).to(out.dtype))
        return out

    def decode(self, x: torch.Tensor, subject: str) -> torch.Tensor:
        """Map responses of one subject, (n, n_widest + 1) to (n, n_out)."""
        seen, name = x[:, : self.widths[subject]], f"s{subject}"
        hidden = self.blocks(self.drop(self.first[name](seen)))
        decoded: torch.Tensor = self.head(hidden) + self.first_straight[name](seen)
        return decoded


def zeroed(layer: nn.Linear) -> nn.Linear:
    """Set weights and bias of a layer to zero."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
