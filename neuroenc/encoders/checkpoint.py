"""A training run as it stands after an epoch, in memory and in a file to resume from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from neuroenc import ranking
from neuroenc.errors import InputError
from neuroenc.files import atomic

MOMENTS = ("exp_avg", "exp_avg_sq")


class Run:
    """Weights, moments of AdamW, the best weights so far and the score of each epoch.

    Parameters
    ----------
    module : nn.Module
        On its device.
    optimiser : AdamW
    """

    def __init__(self, module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        self.module, self.optimiser = module, optimiser
        self.parameters = {k: v for k, v in module.named_parameters() if v.requires_grad}
        self.history: list[float] = []
        self._keep()

    def _keep(self) -> None:
        self.best = {k: v.detach().clone() for k, v in self.parameters.items()}

    def add(self, score: float) -> None:
        """Note the score of an epoch; keep its weights if it is the best, or as good."""
        self.history.append(score)
        if score >= max(self.history):
            self._keep()

    def stalled(self, patience: int) -> bool:
        """Say whether the last `patience` epochs brought nothing."""
        return len(self.history) - 1 - int(ranking.best(self.history or [0])) >= patience

    def finish(self) -> None:
        """Leave the module with the weights of the best epoch."""
        with torch.no_grad():
            for k, v in self.parameters.items():
                v.copy_(self.best[k])
        self.module.eval()

    def store(self, path: Path, fingerprint: str) -> None:
        """Write what `resume` reads."""
        tensors = {f"now/{k}": v.detach() for k, v in self.parameters.items()}
        tensors |= {f"best/{k}": v for k, v in self.best.items()}
        steps = {}
        for k, v in self.parameters.items():
            # parts that are left out (mixtures of one query, the layer behind) have had no gradient
            unused: dict[str, Any] = {"step": 0, **{name: torch.zeros_like(v) for name in MOMENTS}}
            state = self.optimiser.state[v] or unused
            tensors |= {f"{name}/{k}": state[name] for name in MOMENTS}
            steps[k] = float(state["step"])
        size = sum(v.numel() * v.element_size() + 512 for v in tensors.values()) + 2**16
        with atomic(path, size=size) as partial:
            save_file(
                {k: v.contiguous().cpu() for k, v in tensors.items()}, partial,
                {
                    "history": json.dumps(self.history), "steps": json.dumps(steps),
                    "fingerprint": fingerprint,
                },
            )  # fmt: skip

    def resume(self, path: Path, fingerprint: str) -> None:
        """Go on from a file.

        Raises
        ------
        InputError
            It is of another model, or of other regions, responses or options.
        """
        with safe_open(path, "pt") as file:
            names = [k for k in file.keys() if k.startswith("now/")]  # noqa: SIM118
            shapes = {k[4:]: list(file.get_slice(k).get_shape()) for k in names}
            expected = {k: list(v.shape) for k, v in self.parameters.items()}
            if shapes != expected:
                differ = min(k for k in shapes.keys() | expected if shapes.get(k) != expected.get(k))
                raise InputError(
                    f"The checkpoint {path.name} is of another model: {differ!r} is {shapes.get(differ)}, "
                    f"expected {expected.get(differ)}. Remove it, or use the same regions, layers and "
                    "options."
                )
            if file.metadata()["fingerprint"] != fingerprint:
                raise InputError(
                    f"The checkpoint {path.name} is of other regions, responses or options. Remove it to "
                    "start anew."
                )
            steps, self.history = (json.loads(file.metadata()[k]) for k in ("steps", "history"))
            with torch.no_grad():
                for k, v in self.parameters.items():
                    v.copy_(file.get_tensor(f"now/{k}"))
                    self.best[k] = file.get_tensor(f"best/{k}").to(v.device)
                    self.optimiser.state[v] = {
                        "step": torch.tensor(steps[k]),
                        **{n: file.get_tensor(f"{n}/{k}").to(v.device) for n in MOMENTS},
                    }
