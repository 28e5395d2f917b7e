"""A first layer for epochs: channels attend to each other, then convolutions over time and space.

After ATM (Li et al. 2024, arXiv 2403.07721): one transformer layer whose tokens are channels, then the
temporal and spatial filters of a shallow convolutional network. Filters are in shares of the epoch, which at
250 samples are the published 25, 50 and 5. Groups are normalised in place of batches, so that a run resumed
from its parameters ends in the same weights.
"""

from __future__ import annotations

import torch
from torch import nn

N_FILTERS = 40


class EpochEncoder(nn.Module):
    """out(space(pool(time(attention(x + who))))), from epochs to hidden features.

    Parameters
    ----------
    n_channels, n_times : int
        Of an epoch.
    n_out : int
    dropout : float

    Attributes
    ----------
    who : parameter of shape (1, n_channels, n_times)
        Tells channels apart.
    """

    def __init__(self, n_channels: int, n_times: int, n_out: int, dropout: float) -> None:
        super().__init__()
        self.n_channels, self.n_times = n_channels, n_times
        kernel, pool, stride = max(1, n_times // 10), max(1, n_times // 5), max(1, n_times // 50)
        width = ((n_times - kernel + 1) - pool) // stride + 1
        n_heads = next(h for h in (5, 4, 3, 2, 1) if n_times % h == 0)
        self.who = nn.Parameter(torch.randn(1, n_channels, n_times) * 0.02)
        self.attention = nn.TransformerEncoderLayer(
            n_times, n_heads, 256, dropout / 2, "gelu", batch_first=True, norm_first=True
        )
        self.filters = nn.Sequential(
            nn.Conv2d(1, N_FILTERS, (1, kernel)), nn.AvgPool2d((1, pool), (1, stride)),
            nn.GroupNorm(1, N_FILTERS), nn.ELU(), nn.Conv2d(N_FILTERS, N_FILTERS, (n_channels, 1)),
            nn.GroupNorm(1, N_FILTERS), nn.ELU(), nn.Dropout(dropout), nn.Flatten(),
        )  # fmt: skip
        self.out = nn.Linear(N_FILTERS * width, n_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Read epochs laid out channel by channel, (n, n_channels * n_times) to (n, n_out)."""
        epochs = x.reshape(len(x), self.n_channels, self.n_times)
        hidden: torch.Tensor = self.out(self.filters(self.attention(epochs + self.who)[:, None]))
        return hidden
