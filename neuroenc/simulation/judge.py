"""A network that names what is in a picture, to grade pictures that another network was trained to please."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from tqdm import tqdm

BATCH = 128


class Judge(nn.Module):
    """name(max over places of convolutions), from pictures to a logit of each category.

    Parameters
    ----------
    n_categories : int
    """

    def __init__(self, n_categories: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in, n_out, stride in (
            (3, 32, 1),
            (32, 32, 2),
            (32, 64, 1),
            (64, 64, 2),
            (64, 96, 1),
            (96, 96, 2),
        ):
            layers += [nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers)
        self.name = nn.Linear(96, n_categories)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map pictures, (n, 3, height, width) from -1 to 1, to logits, (n, n_categories)."""
        logits: torch.Tensor = self.name(self.convolutions(x).amax((2, 3)))
        return logits


def train_judge(
    pixels: NDArray[np.uint8],
    shown: NDArray[np.bool_],
    *,
    epochs: int = 2,
    learning_rate: float = 3e-3,
    seed: int = 0,
) -> Judge:
    """Train a judge of its own on pictures, half of them mirrored, with noise.

    Parameters
    ----------
    pixels : uint8 array of shape (n, height, width, 3)
    shown : bool array of shape (n, n_categories)
        Which categories a picture shows.
    epochs, learning_rate, seed
    """
    torch.manual_seed(seed)
    rng, truth = np.random.default_rng(seed), torch.from_numpy(shown.astype(np.float32))
    judge, per_epoch = Judge(shown.shape[1]), len(pixels) // BATCH
    optimizer = torch.optim.AdamW(judge.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=epochs * per_epoch)
    for _ in tqdm(range(epochs), "a judge", disable=None):
        for rows in rng.permutation(len(pixels))[: per_epoch * BATCH].reshape(per_epoch, -1):
            x = _scaled(pixels[rows])
            x[::2] = x[::2].flip(3)
            loss = binary_cross_entropy_with_logits(
                judge(x + 0.1 * torch.rand(1) * torch.randn_like(x)), truth[rows]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return judge.eval()


def named(judge: Judge, pixels: NDArray[np.uint8]) -> NDArray[Any]:
    """Name the likeliest category of each picture, (n,)."""
    with torch.inference_mode():
        return np.concatenate(
            [judge(_scaled(p)).argmax(1).numpy() for p in np.array_split(pixels, -(-len(pixels) // BATCH))]
        )


def _scaled(pixels: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
