"""A convolutional network that learns to see from the responses alone, with a readout for each target.

Response-optimised cores: Klindt et al. (2017), arXiv 1711.02653; Khosla & Wehbe (2022), doi
10.1101/2022.03.16.484578; of groups of rotations: Cohen & Welling (2016), arXiv 1602.07576.
"""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from neuroenc.encoders.readout import TrainedReadout
from neuroenc.encoders.semantic_transformer import Warp
from neuroenc.encoders.tokens import side_of
from neuroenc.errors import InputError

ROTATIONS = (1, 4)


class RotatedConv(nn.Module):
    """Convolution whose filters stand in several rotations by quarter turns.

    y_{o, r} = sum_i sum_s T_r w_{o, i, s - r} * x_{i, s} + b_o, where T_r turns a filter by r quarters: if
    the picture turns by a quarter, maps turn with it and move on by one rotation. Without rotations it is a
    convolution.

    Shapes: x (n, n_in, n_before, side, side) to (n, n_out, n_rotations, side, side).

    Parameters
    ----------
    n_in, n_out : int
    n_before : int
        Rotations of what is read: 1 of a picture.
    n_rotations : int
        1 or 4.
    kernel : int
        Side of a filter, odd.
    """

    def __init__(self, n_in: int, n_out: int, n_before: int, n_rotations: int, kernel: int) -> None:
        super().__init__()
        self.n_rotations = n_rotations
        fan_in = n_in * n_before * kernel**2
        self.weight = nn.Parameter(torch.randn(n_out, n_in, n_before, kernel, kernel) * (2 / fan_in) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve with each rotation."""
        n_before = self.weight.shape[2]
        turned = [
            torch.rot90(self.weight.roll(r, 2) if n_before > 1 else self.weight, r, (-2, -1))
            for r in range(self.n_rotations)
        ]
        filters = torch.stack(turned, 1).flatten(2, 3).flatten(0, 1)  # (n_out x rotations, n_in x before, …)
        made = functional.conv2d(x.flatten(1, 2), filters, padding=self.weight.shape[-1] // 2)
        made = made.unflatten(1, (-1, self.n_rotations))
        return made + self.bias[:, None, None, None]


class Core(nn.Module):
    """Blocks of `RotatedConv` and elu; each but the last halves the side by averaging.

    Shapes: x (n, side², n_channels), row by row, to (n, (side / 2^(n_blocks - 1))², n_filters x n_rotations).

    Parameters
    ----------
    side : int
        Of the picture, px; a multiple of 2^(n_blocks - 1).
    n_channels, n_filters, n_blocks : int
    n_rotations : int
        1 or 4.
    """

    def __init__(self, side: int, n_channels: int, n_filters: int, n_blocks: int, n_rotations: int) -> None:
        super().__init__()
        self.side = side
        self.blocks = nn.ModuleList(
            RotatedConv(
                n_filters if k else n_channels, n_filters, n_rotations if k else 1, n_rotations, 3 if k else 5
            )
            for k in range(n_blocks)
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the last block's maps as tokens."""
        maps = x.transpose(1, 2).unflatten(-1, (self.side, self.side)).unsqueeze(2)
        for k, block in enumerate(self.blocks):
            maps = functional.elu(block(maps))
            if k < len(self.blocks) - 1:
                n_filters = maps.shape[1]
                maps = functional.avg_pool2d(maps.flatten(1, 2), 2).unflatten(1, (n_filters, -1))
        return maps.flatten(1, 2).flatten(2).transpose(1, 2)


class Factorised(nn.Module):
    """Where and what: y_j = sum_l m_jl sum_c f_jc x_lc + b_j, m_j not negative, of unit length.

    Shapes: x (n, side², n_channels) to (n, n_targets).

    Parameters
    ----------
    side, n_channels, n_targets : int
    """

    def __init__(self, side: int, n_channels: int, n_targets: int) -> None:
        super().__init__()
        self.mask = nn.Parameter(1 + 0.01 * torch.randn(n_targets, side**2))
        self.feature = nn.Parameter(torch.randn(n_targets, n_channels) * n_channels**-0.5 * 0.1)
        self.bias = nn.Parameter(torch.zeros(n_targets))

    def places(self) -> torch.Tensor:
        """Return the masks, (n_targets, side²)."""
        mask = self.mask.relu()
        return mask / mask.norm(dim=1, keepdim=True).clamp_min(1e-6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Predict responses."""
        seen = torch.einsum("nlc,tl->ntc", x, self.places())
        return (seen * self.feature).sum(-1) + self.bias


class GaussianMask(Factorised):
    """`Factorised`, m_j a Gaussian of unit length whose centre and width are learned.

    Centres and widths are shares of the picture's width, centres from -.5 to .5.
    """

    def __init__(self, side: int, n_channels: int, n_targets: int) -> None:
        super().__init__(side, n_channels, n_targets)
        self.mask = nn.Parameter(torch.cat([0.02 * torch.randn(n_targets, 2), torch.zeros(n_targets, 1)], 1))
        edge = (torch.arange(side) + 0.5) / side - 0.5
        cells = torch.stack(torch.meshgrid(edge, edge, indexing="ij"), -1).reshape(-1, 2)
        self.register_buffer("cells", cells, persistent=False)
        self.cells: torch.Tensor

    def places(self) -> torch.Tensor:
        """Return the masks; the third parameter is the logarithm of four times the width."""
        far = ((self.cells - self.mask[:, None, :2]) ** 2).sum(-1)
        width = 0.25 * self.mask[:, 2:].exp()
        mask = torch.exp(-far / (2 * width**2))
        return mask / mask.norm(dim=1, keepdim=True).clamp_min(1e-6)


class Seeing(nn.Module):
    """A core and its readout: y = readout(core(x)).

    Shapes: x (n, side², n_channels) to (n, n_targets).
    """

    def __init__(self, core: Core, readout: nn.Module) -> None:
        super().__init__()
        self.core = core
        self.readout = readout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Predict responses."""
        return self.readout(self.core(x))


class ResponseCore(TrainedReadout):
    """A convolutional core trained on the responses alone, with one readout for each target.

    Missing responses take no part, so that the targets of several subjects, each with pictures of its own,
    may stand side by side: the core then learns from all of them.

    Parameters
    ----------
    readout : {"factorised", "gaussian", "semantic_transformer"}
        A free mask, a Gaussian, or masks and channels that move with the picture (`Warp`).
    n_filters, n_blocks : int
        Of the core; each block but the last halves the side.
    n_rotations : {1, 4}
        4: filters stand in all quarter turns.
    n_hidden : int
        Of the semantic transformer's code of the picture.
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

    description = "response-optimised core"

    def __init__(
        self,
        *,
        readout: str = "factorised",
        n_filters: int = 32,
        n_blocks: int = 3,
        n_rotations: int = 1,
        n_hidden: int = 32,
        learning_rate: float = 1e-2,
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
        self.readout = readout
        self.n_filters = n_filters
        self.n_blocks = n_blocks
        self.n_rotations = n_rotations
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

    def _module(self, n_tokens: int, n_channels: int, n_targets: int) -> Seeing:
        side, parts = side_of(n_tokens), 2 ** (self.n_blocks - 1)
        if side % parts:
            raise InputError(
                f"{self.n_blocks} blocks halve the side {self.n_blocks - 1} times, expected a multiple of "
                f"{parts}, found {side}. Pool to 'grid:{max(1, round(side / parts)) * parts}', or take fewer."
            )
        core = Core(side, n_channels, self.n_filters, self.n_blocks, self.n_rotations)
        shape = side // parts, self.n_filters * self.n_rotations, n_targets
        if self.readout == "semantic_transformer":
            return Seeing(core, Warp(*shape, self.n_hidden))
        return Seeing(core, (GaussianMask if self.readout == "gaussian" else Factorised)(*shape))

    def of_targets(self, some: NDArray[np.bool_]) -> ResponseCore:
        """Return the fit with some of its targets alone; the core is the same.

        Parameters
        ----------
        some : array of bool, (n_targets,)
        """
        apart = copy(self)
        apart.module_ = self._module(self.n_tokens_, self.n_channels_, int(some.sum()))
        state = self.module_.state_dict()
        for name in ("mask", "feature", "bias"):
            state[f"readout.{name}"] = state[f"readout.{name}"][some]
        for name in ("weight", "bias"):
            if (moves := state.get(key := f"readout.move_target.{name}")) is not None:
                state[key] = moves.unflatten(0, (len(some), 6))[some].flatten(0, 1)
        apart.module_.load_state_dict(state)
        apart.module_.to(next(self.module_.parameters()).device)
        for name in ("_mean", "_deviation", "best_score_"):
            setattr(apart, name, getattr(self, name)[some])
        apart.validation_ = self.validation_[:, some]
        return apart
