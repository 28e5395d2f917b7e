"""Devices of torch: what a configuration names, found here or refused."""

from __future__ import annotations

import re

from neuroenc.errors import InputError, suggest

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
