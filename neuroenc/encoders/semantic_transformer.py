"""Semantic spatial transformer: each target's mask and each channel are moved by what is seen.

Saha, Chadha, Khosla (2024), arXiv 2410.14031: from the picture follow one affine map for each target,
which moves its spatial mask, and one for each channel, which moves that channel's map; the response is
the factorised product of the two.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from neuroenc.blocks import blocks
from neuroenc.encoders.readout import TrainedReadout
from neuroenc.encoders.tokens import side_of

TARGETS_AT_ONCE = 256  # masks warped together: memory is batch x targets x cells


class Warp(nn.Module):
    """Factorised readout whose masks and channels are moved by affine maps that follow from the picture.

    y_j = sum_l sum_c S(m_j; A_j)_l f_jc S(x_c; B_c)_l + b_j, where S(z; A) samples the map z at the cells
    that A moves to, m_j is a mask of unit length and no negative values, and A_j and B_c are linear in
    relu(C x), the code of the picture. They start as the identity, masks even.

    Shapes: x (n, side², n_channels) to (n, n_targets).

    Parameters
    ----------
    side : int
        Of the grid of tokens.
    n_channels, n_targets, n_hidden : int
    """

    def __init__(self, side: int, n_channels: int, n_targets: int, n_hidden: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(n_channels, 4, 1)
        self.code = nn.Linear(4 * side**2, n_hidden)
        self.move_target = nn.Linear(n_hidden, 6 * n_targets)
        self.move_channel = nn.Linear(n_hidden, 6 * n_channels)
        for layer in (self.move_target, self.move_channel):
            nn.init.zeros_(layer.weight)
            layer.bias.data = torch.tensor([1.0, 0, 0, 0, 1, 0]).repeat(layer.out_features // 6)
        self.mask = nn.Parameter(1 + 0.01 * torch.randn(n_targets, side, side))
        self.feature = nn.Parameter(torch.randn(n_targets, n_channels) * n_channels**-0.5 * 0.1)
        self.bias = nn.Parameter(torch.zeros(n_targets))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Predict responses, (n, n_targets)."""
        n, n_channels = len(x), x.shape[2]
        n_targets, side, _ = self.mask.shape
        maps = x.transpose(1, 2).unflatten(-1, (side, side))
        code = self.code(self.squeeze(maps).flatten(1)).relu()
        theta = self.move_channel(code).view(n * n_channels, 2, 3)
        moved = _sample(maps.reshape(n * n_channels, 1, side, side), theta).view(n, n_channels, side**2)
        mask = self.mask.relu()
        mask = mask / mask.flatten(1).norm(dim=1)[:, None, None].clamp_min(1e-6)
        theta = self.move_target(code).view(n, n_targets, 2, 3)
        out = []
        for t in blocks(n_targets, TARGETS_AT_ONCE):
            size = t.stop - t.start
            masks = mask[t].expand(n, -1, -1, -1).reshape(n * size, 1, side, side)
            warped = _sample(masks, theta[:, t].reshape(n * size, 2, 3)).view(n, size, side**2)
            out.append((warped * (self.feature[t] @ moved)).sum(-1))
        return torch.cat(out, 1) + self.bias


def _sample(maps: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    """Sample maps (n, 1, side, side) at the cells that affine maps (n, 2, 3) move to."""
    grid = functional.affine_grid(theta, list(maps.shape), align_corners=False)
    return functional.grid_sample(maps, grid, align_corners=False)


class SemanticTransformer(TrainedReadout):
    """Factorised readout whose masks and channels move with the picture.

    Parameters
    ----------
    n_hidden : int
        Of the code of the picture.
    learning_rate, weight_decay, batch_size, max_epochs, patience, clip
        Of the training.
    cv : int, splitter or iterable of (train, validation)
        The first split gives the validation rows of early stopping.
    seed : int
    device : str
    checkpoint : path, optional
        Where the run is kept after each epoch.

    Attributes
    ----------
    best_score_ : array of shape (n_targets,)
        R2 on the validation rows.
    history_ : list of float
        Validation r of each epoch.
    validation_, validation_rows_ : arrays
        Predictions of the validation rows.
    """

    description = "semantic transformer"

    def __init__(
        self,
        *,
        n_hidden: int = 32,
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-3,
        batch_size: int = 32,
        max_epochs: int = 60,
        patience: int = 10,
        clip: float = 1.0,
        cv: Any = 5,
        seed: int = 0,
        device: str = "cpu",
        checkpoint: str | Path | None = None,
    ) -> None:
        self.n_hidden = n_hidden
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

    def _module(self, n_tokens: int, n_channels: int, n_targets: int) -> Warp:
        return Warp(side_of(n_tokens), n_channels, n_targets, self.n_hidden)
