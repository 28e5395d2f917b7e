"""The U-Net of the small picture decoder, with the names of weights of diffusers' `UNet2DConditionModel`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import nn
from torch.nn.functional import interpolate, silu

from neuroenc.decoders.diffusion import TimeEmbedding

GROUPS = 16  # of channels that are normalised together


class ResnetBlock(nn.Module):
    """shortcut(x) + conv2(SiLU(norm2(conv1(SiLU(norm1(x))) + time_emb_proj(SiLU(e))))).

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    n_embedding : int
        Width of e, the embedding of time and condition.
    """

    def __init__(self, n_in: int, n_out: int, n_embedding: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, n_in)
        self.conv1 = nn.Conv2d(n_in, n_out, 3, padding=1)
        self.time_emb_proj = nn.Linear(n_embedding, n_out)
        self.norm2 = nn.GroupNorm(GROUPS, n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(n_in, n_out, 1) if n_in != n_out else nn.Identity()

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """Map (n, n_in, height, width) to (n, n_out, height, width)."""
        hidden = self.conv1(silu(self.norm1(x))) + self.time_emb_proj(silu(embedding))[:, :, None, None]
        mapped: torch.Tensor = self.conv_shortcut(x) + self.conv2(silu(self.norm2(hidden)))
        return mapped


class Resampled(nn.Module):
    """A convolution that halves the sides, or one after they were doubled.

    Parameters
    ----------
    n_channels : int
    stride : int
        2 to halve, 1 to double.
    """

    def __init__(self, n_channels: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_channels, n_channels, 3, stride, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, n_channels, height, width)."""
        doubled = x if self.conv.stride == (2, 2) else interpolate(x, scale_factor=2.0, mode="nearest")
        mapped: torch.Tensor = self.conv(doubled)
        return mapped


class Level(nn.Module):
    """The blocks of one size of pictures.

    Parameters
    ----------
    widths : list of (n_in, n_out)
        Of its blocks.
    n_embedding : int
    resampled : {"downsamplers", "upsamplers"}, optional
        What stands behind them.
    """

    def __init__(self, widths: list[tuple[int, int]], n_embedding: int, resampled: str | None = None) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResnetBlock(a, b, n_embedding) for a, b in widths)
        if resampled is not None:
            stride = 2 if resampled == "downsamplers" else 1
            self.add_module(resampled, nn.ModuleList([Resampled(widths[-1][1], stride)]))


class PictureUNet(nn.Module):
    """From noisy places, the time and a condition c to the picture: down, across and up, with skips.

    e = time_embedding(t) + class_embedding(c) enters every block.

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    n_condition : int
    """

    def __init__(self, n_in: int, n_out: int, n_condition: int) -> None:
        super().__init__()
        wide, deep = 64, 96
        n_embedding = 4 * wide
        self.conv_in = nn.Conv2d(n_in, wide, 3, padding=1)
        self.time_embedding = TimeEmbedding(wide // 2, n_embedding, n_embedding)
        self.class_embedding = nn.Linear(n_condition, n_embedding)
        self.down_blocks = nn.ModuleList([
            Level([(wide, wide)], n_embedding, "downsamplers"), Level([(wide, deep)], n_embedding),
        ])  # fmt: skip
        self.up_blocks = nn.ModuleList([
            Level([(deep + deep, deep), (deep + wide, deep)], n_embedding, "upsamplers"),
            Level([(deep + wide, wide), (wide + wide, wide)], n_embedding),
        ])  # fmt: skip
        self.mid_block = Level([(deep, deep)], n_embedding)
        self.conv_norm_out = nn.GroupNorm(GROUPS, wide)
        self.conv_out = nn.Conv2d(wide, n_out, 3, padding=1)

    def forward(self, x: torch.Tensor, time: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Estimate the picture.

        Parameters
        ----------
        x : tensor of shape (n, n_in, side, side)
        time : tensor of shape (n,)
        condition : tensor of shape (n, n_condition)

        Returns
        -------
        tensor of shape (n, n_out, side, side)
        """
        embedding = self.time_embedding(time) + self.class_embedding(condition)
        x = self.conv_in(x)
        skips = [x]
        for level in cast("Iterable[Level]", self.down_blocks):
            for block in level.resnets:
                x = block(x, embedding)
                skips.append(x)
            for down in getattr(level, "downsamplers", []):
                x = down(x)
                skips.append(x)
        for block in self.mid_block.resnets:
            x = block(x, embedding)
        for level in cast("Iterable[Level]", self.up_blocks):
            for block in level.resnets:
                x = block(torch.cat([x, skips.pop()], 1), embedding)
            for up in getattr(level, "upsamplers", []):
                x = up(x)
        picture: torch.Tensor = self.conv_out(silu(self.conv_norm_out(x)))
        return picture
