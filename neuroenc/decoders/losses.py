"""Contrastive losses between decoded and true embeddings (Scotti et al. 2023, arXiv 2305.18274)."""

from __future__ import annotations

import math

import torch

MIXED = 1 / 3  # share of the epochs in which responses are mixed
BETA = 0.15  # of the distribution of the share of the other response
TEMPERATURE = 0.006  # while they are mixed
SOFT = (0.004, 0.0075)  # first and last temperature of the soft targets


def mix(x: torch.Tensor, who: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mix half of the responses with another one of the batch and subject (BiMixCo).

    Parameters
    ----------
    x : tensor of shape (n, n_neuroids)
    who : int tensor of shape (n,)
        Subject of each response.

    Returns
    -------
    mixed : tensor of the shape of x
    partner : int tensor of shape (n,)
    share : tensor of shape (n,)
        Of the response itself; 1 where nothing is mixed in.
    """
    n = len(x)
    partner = torch.arange(n, device=x.device)
    for subject in who.unique():
        rows = torch.nonzero(who == subject)[:, 0]
        partner[rows] = rows[torch.randperm(len(rows), device=x.device)]
    share = torch.distributions.Beta(BETA, BETA).sample((n,)).to(x)
    share = torch.where(torch.rand(n, device=x.device) < 0.5, share, torch.ones_like(share))
    return share[:, None] * x + (1 - share)[:, None] * x[partner], partner, share


def mixco(
    decoded: torch.Tensor, true: torch.Tensor, partner: torch.Tensor, share: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Contrast mixed responses with pictures, both ways.

    Parameters
    ----------
    decoded, true : tensors of shape (n, n_features), of unit norm
    partner, share : tensors of shape (n,)
        As `mix` gave them: a mixed response belongs to two pictures.
    temperature : float
    """
    logits = decoded @ true.T / temperature
    rows = torch.arange(len(share), device=share.device)
    belongs = torch.zeros_like(logits)
    belongs[rows, rows] = share
    belongs[rows, partner] += 1 - share
    one = -(belongs * logits.log_softmax(1)).sum(1).mean()
    # seen from the pictures the targets are the transposed table, whose rows need not sum to one
    other = -(belongs.T * logits.T.log_softmax(1)).sum(1).mean()
    return (one + other) / 2


def softclip(decoded: torch.Tensor, true: torch.Tensor, temperature: float) -> torch.Tensor:
    """Contrast both ways with targets as soft as the pictures are alike.

    Parameters
    ----------
    decoded, true : tensors of shape (n, n_features), of unit norm
    temperature : float
    """
    alike = (true @ true.T / temperature).softmax(1)
    logits = decoded @ true.T / temperature
    one = -(alike * logits.log_softmax(1)).sum(1).mean()
    other = -(alike * logits.T.log_softmax(1)).sum(1).mean()
    return (one + other) / 2


def soft_temperature(over: float) -> float:
    """Cosine schedule of the temperature of `softclip`.

    Parameters
    ----------
    over : float
        Share of all epochs that are over.
    """
    done = min(max((over - MIXED) / (1 - MIXED), 0.0), 1.0)
    first, last = SOFT
    return last - (last - first) * 0.5 * (1 + math.cos(math.pi * done))
