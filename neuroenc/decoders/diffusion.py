"""Denoising by a cosine schedule (Nichol and Dhariwal 2021) and DDIM (Song et al. 2021), in plain torch.

The same as diffusers' `DDIMScheduler`, which takes ten seconds to import, for networks that predict x_0.
"""

from __future__ import annotations

import math

import torch
from torch import nn

OFFSET = 0.008  # of the schedule, so that the first steps do add noise


class Schedule:
    """How much of the signal is left at each of n times: a_t = product of (1 - b_s) over s <= t.

    Parameters
    ----------
    n_times : int
    zero_signal : bool
        Scale the schedule so that nothing is left at the last time (Lin et al. 2024, algorithm 1).
    clip : bool
        Keep the estimate of x_0 between -1 and 1.

    Attributes
    ----------
    signal : tensor of shape (n_times,)
        The a_t.
    """

    def __init__(self, n_times: int, *, zero_signal: bool = False, clip: bool = False) -> None:
        self.n_times, self.clip = n_times, clip

        def kept(t: float) -> float:
            return math.cos((t + OFFSET) / (1 + OFFSET) * math.pi / 2) ** 2

        each = [1 - kept((t + 1) / n_times) / kept(t / n_times) for t in range(n_times)]
        beta = torch.tensor([min(b, 0.999) for b in each])
        if zero_signal:
            root = torch.cumprod(1 - beta, 0).sqrt()
            root = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
            left = root**2
            beta = 1 - torch.cat([left[:1], left[1:] / left[:-1]])
        self.signal = torch.cumprod(1 - beta, 0)

    def times(self, n_steps: int) -> list[int]:
        """List the times of `n_steps` steps, from the last time down."""
        return [round(self.n_times - i * self.n_times / n_steps) - 1 for i in range(n_steps)]

    def add_noise(self, x: torch.Tensor, noise: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """sqrt(a_t) x + sqrt(1 - a_t) noise, for a time of each row."""
        signal = self.signal.to(x)[time].reshape(-1, *[1] * (x.ndim - 1))
        return signal.sqrt() * x + (1 - signal).sqrt() * noise

    def step(self, found: torch.Tensor, time: int, x: torch.Tensor, n_steps: int) -> torch.Tensor:
        """From x_t to the time before, given an estimate of x_0: DDIM without noise of its own.

        With e = (x_t - sqrt(a_t) x_0) / sqrt(1 - a_t): sqrt(a_s) x_0 + sqrt(1 - a_s) e at the time before, s.

        Parameters
        ----------
        found : tensor of the shape of x
            Estimate of x_0.
        time : int
            One of `times`.
        x : tensor of shape (n, …)
            At this time.
        n_steps : int
        """
        before = time - self.n_times // n_steps
        now = self.signal[time]
        then = self.signal[before] if before >= 0 else torch.tensor(1.0)
        noise = (x - now.sqrt() * found) / (1 - now).sqrt()
        if self.clip:
            found = found.clamp(-1, 1)
        return then.sqrt() * found + (1 - then).sqrt() * noise


class TimeEmbedding(nn.Module):
    """linear_2(SiLU(linear_1([cos(t w), sin(t w)]))), with frequencies w from 1 down to 1 / 10,000.

    Parameters
    ----------
    n_frequencies : int
        Of both cosine and sine.
    n_hidden, n_out : int
    """

    def __init__(self, n_frequencies: int, n_hidden: int, n_out: int) -> None:
        super().__init__()
        self.n_frequencies = n_frequencies
        self.linear_1 = nn.Linear(2 * n_frequencies, n_hidden)
        self.act = nn.SiLU()
        self.linear_2 = nn.Linear(n_hidden, n_out)

    def forward(self, time: torch.Tensor) -> torch.Tensor:
        """Embed times, (n,) to (n, n_out)."""
        place = torch.arange(self.n_frequencies, dtype=torch.float32, device=time.device)
        angle = time[:, None].float() * torch.exp(-math.log(10_000) * place / self.n_frequencies)
        waves = torch.cat([angle.cos(), angle.sin()], 1).to(self.linear_1.weight.dtype)
        embedded: torch.Tensor = self.linear_2(self.act(self.linear_1(waves)))
        return embedded
