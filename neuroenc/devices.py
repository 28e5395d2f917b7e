"""Devices of torch, and processes that train together on several."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from neuroenc.errors import InputError, suggest

if TYPE_CHECKING:
    from torch import nn

NAMES = r"auto|cpu|mps|cuda(:[0-9]{1,4})?"


def pick_device(name: str) -> str:
    """Turn "auto" into a GPU where there is one.

    Raises
    ------
    InputError
        There is no such device, at all or here.
    """
    import torch

    if not re.fullmatch(NAMES, name):
        raise InputError(
            f"Invalid value for 'device': {name!r}. {suggest(name, ('auto', 'cpu', 'cuda', 'cuda:0', 'mps'))}"
        )
    gpus = torch.cuda.device_count()
    if name == "auto":
        return "cuda" if gpus else "cpu"
    kind, _, number = name.partition(":")
    there = {"cpu": True, "cuda": gpus > int(number or 0), "mps": torch.backends.mps.is_available()}
    if not there[kind]:
        raise InputError(f"There is no device {name!r} here; torch sees {gpus} GPUs. Use 'auto' or 'cpu'.")
    return name


class Processes(NamedTuple):
    """The processes that train together."""

    rank: int
    n: int
    device: str

    @classmethod
    def here(cls, device: str) -> Self:
        """Ask accelerate, if there are others."""
        if os.environ.get("WORLD_SIZE", "1") == "1":
            return cls(0, 1, device)
        from accelerate import PartialState

        state = PartialState(cpu=not device.startswith("cuda"))
        return cls(state.process_index, state.num_processes, str(state.device))

    def share(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return this process' rows of a batch; all of a batch with fewer rows than processes."""
        return rows[self.rank :: self.n] if len(rows) >= self.n else rows

    def average(self, module: nn.Module, value: float) -> float:
        """Average the loss over processes, and gradients unless it is not finite in one of them."""
        if self.n == 1:
            return value
        import torch
        from accelerate.utils import reduce

        value = float(reduce(torch.tensor(value, device=self.device), "mean"))
        if not np.isfinite(value):  # some have gradients and some have none: reducing them would never end
            return value
        for parameter in module.parameters():
            if parameter.requires_grad:  # a layer that saw no row here may have seen one elsewhere
                mine = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad = reduce(mine, "mean")
        return value
