"""Training by gradient: one loop for readouts and decoders, early stopping, a file to resume from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from neuroenc.blocks import blocks
from neuroenc.devices import Processes
from neuroenc.encoders.checkpoint import Run
from neuroenc.encoders.missing import correlation
from neuroenc.errors import InputError

Floats = NDArray[Any]
Loss = Callable[[Any, Any, Any, float], Any]
Part = TypeVar("Part")
Read = TypeVar("Read")


def train(
    module: nn.Module,
    X: Any,
    Y: Floats,
    fitted: NDArray[np.int64],
    held: NDArray[np.int64],
    *,
    learning_rate: float,
    weight_decay: float,
    batch_size: int,
    max_epochs: int,
    patience: int,
    clip: float,
    seed: int,
    device: str,
    checkpoint: str | Path | None,
    fingerprint: str,
    description: str,
    loss: Loss | None = None,
    score: Callable[[Floats, Floats], float] | None = None,
    first_decay: float | None = None,
    accumulate: int = 1,
) -> list[float]:
    """Train a readout; leave it with the weights of its best epoch.

    AdamW, on the squared error unless told otherwise, cosine decay of the learning rate, gradients clipped
    by norm, in bfloat16 on a GPU. The order of samples and the dropout of an epoch depend on the seed and the
    epoch alone, so that a run resumed from its checkpoint ends in the same weights. Under `accelerate launch`
    or `torchrun` each process takes its share of every batch and gradients are averaged; all end with the
    same weights, and the first one writes the checkpoint.

    Parameters
    ----------
    module : nn.Module
        From a batch (n, n_tokens, n_channels) to (n, n_targets).
    X : array of shape (n_samples, n_tokens, n_channels)
        In memory or read in parts: batches of its rows are read ahead of the steps, in any order.
    Y : array of shape (n_samples, n_targets)
    fitted, held : arrays of int
        Training and validation rows.
    learning_rate, weight_decay, batch_size, max_epochs, patience, clip, seed, device
        Epochs without improvement of the validation r end the run after `patience`.
    checkpoint : path, optional
        Written after each epoch and taken up if it is there.
    fingerprint : str
        Of what the module does not show: regions, data. A checkpoint of another one is refused.
    description : str
        Beside the progress bar.
    loss : callable, optional
        From the module, a batch, its targets and the share of the epochs that are over to a scalar.
    score : callable, optional
        From the targets and predictions of the validation rows to what the best epoch maximises; else
        Pearson's r, mean over targets.
    first_decay : float, optional
        Weight decay of parameters whose name begins with `first`.
    accumulate : int
        Parts into which a batch is cut, one after the other, before a step is taken.

    Returns
    -------
    list of float
        Validation score of each epoch.

    Raises
    ------
    InputError
        Out of memory on the GPU with half the batch too, a checkpoint of another model, or a loss that is not
        finite.
    """
    processes = Processes.here(device)
    device = processes.device
    module.to(device)
    run = Run(module, _optimiser(module, learning_rate, weight_decay, first_decay))
    if checkpoint is not None and Path(checkpoint).exists():
        run.resume(Path(checkpoint), fingerprint)

    def read(rows: NDArray[np.int64]) -> tuple[torch.Tensor, ...]:
        mine = processes.share(rows)
        return tuple(torch.from_numpy(np.ascontiguousarray(v[mine], np.float32)) for v in (X, Y))

    def step(x: torch.Tensor, y: torch.Tensor, n_rows: int) -> float:
        over = epoch / max_epochs
        return _step(module, x, y, n_rows, run.optimiser, clip, processes, loss, over, accumulate)

    largest = batch_size
    bar = tqdm(range(len(run.history), max_epochs), description, disable=None)
    for epoch in bar:
        if run.stalled(patience):
            break
        torch.manual_seed(1000 * seed + epoch + 7919 * processes.rank)
        order = np.random.default_rng((seed, epoch)).permutation(fitted)
        for group in run.optimiser.param_groups:
            group["lr"] = learning_rate * 0.5 * (1 + np.cos(np.pi * epoch / max_epochs))
        module.train()
        kept = f" {checkpoint} keeps the last good state." if run.history and checkpoint else ""
        batch_size = _epoch(read, step, order, batch_size, batch_size == largest, f"epoch {epoch + 1}", kept)
        predicted = predict(module, X, held, batch_size=batch_size, device=device)
        found = correlation(Y[held], predicted).mean() if score is None else score(Y[held], predicted)
        run.add(float(found))
        bar.set_postfix(validation=f"{run.history[-1]:.3f}", best=f"{max(run.history):.3f}")
        if checkpoint is not None and processes.rank == 0:
            run.store(Path(checkpoint), fingerprint)
    bar.close()
    run.finish()
    return run.history


def _optimiser(
    module: nn.Module, learning_rate: float, weight_decay: float, first_decay: float | None
) -> torch.optim.Optimizer:
    """AdamW, with a weight decay of their own of parameters whose name begins with `first`."""
    parameters = {k: v for k, v in module.named_parameters() if v.requires_grad}
    first = [v for k, v in parameters.items() if first_decay is not None and k.startswith("first")]
    rest = [v for k, v in parameters.items() if first_decay is None or not k.startswith("first")]
    groups: list[dict[str, Any]] = [{"params": rest}]
    if first:
        groups.append({"params": first, "weight_decay": first_decay})
    return torch.optim.AdamW(groups, lr=learning_rate, weight_decay=weight_decay, fused=True)


def _epoch(
    read: Callable[[Any], tuple[torch.Tensor, ...]], step: Callable[..., float], order: NDArray[np.int64],
    batch_size: int, may_halve: bool, name: str, kept: str,
) -> int:  # fmt: skip
    """Take the steps of an epoch; return the batch size, halved if the GPU was out of memory.

    Raises
    ------
    InputError
        Out of memory with half the batch too, or a loss that is not finite.
    """
    done = 0
    while done < len(order):
        batches = [order[done:][cut] for cut in blocks(len(order) - done, batch_size)]
        try:
            for rows, batch in zip(batches, ahead(read, batches), strict=True):
                value = step(*batch, len(rows))
                if not np.isfinite(value):
                    raise InputError(
                        f"The loss is {value} in {name}, batch {done // batch_size + 1} (rows "
                        f"{rows[:3].tolist()}, …).{kept} Lower learning_rate, or look at these rows."
                    )
                done += len(rows)
        except torch.cuda.OutOfMemoryError:
            if not may_halve or batch_size == 1:
                raise InputError(
                    f"The GPU is out of memory with batches of {batch_size} too. Set batch_size to "
                    f"{max(1, batch_size // 2)} or less."
                ) from None
            may_halve, batch_size = False, max(1, batch_size // 2)
            torch.cuda.empty_cache()
    return batch_size


def ahead(read: Callable[[Part], Read], parts: Iterable[Part]) -> Iterator[Read]:
    """Read part after part, each in a thread while the caller works on the one before."""
    with ThreadPoolExecutor(1) as thread:
        waiting = None
        for part in parts:
            following = thread.submit(read, part)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()


def _step(
    module: nn.Module, x: torch.Tensor, y: torch.Tensor, n_rows: int, optimiser: torch.optim.Optimizer,
    clip: float, processes: Processes, loss_of: Loss | None = None, over: float = 0.0, accumulate: int = 1,
) -> float:  # fmt: skip
    """Take one step unless the loss is not finite; return the loss.

    x and y are this process' share of the `n_rows` rows of a batch.
    """
    device = processes.device
    optimiser.zero_grad(set_to_none=True)
    value = 0.0
    whole = n_rows if n_rows >= processes.n else n_rows * processes.n
    parts = min(accumulate, len(x))
    for part, truth in zip(x.tensor_split(parts), y.tensor_split(parts), strict=True):
        with torch.autocast("cuda", torch.bfloat16, enabled=device.startswith("cuda")):
            loss = (loss_of or _squared_error)(module, part.to(device), truth.to(device), over)
        loss = loss * (len(part) * processes.n / whole)  # so that parts add up to the mean over the batch
        value += float(loss.detach())
        if np.isfinite(value):
            loss.backward()
    value = processes.average(module, value)
    if not np.isfinite(value):
        return value
    torch.nn.utils.clip_grad_norm_(module.parameters(), clip)
    optimiser.step()
    return value


def _squared_error(module: nn.Module, x: torch.Tensor, y: torch.Tensor, over: float) -> torch.Tensor:  # noqa: ARG001
    """Squared error of what is not missing, mean over rows, sum over targets."""
    miss = torch.where(y.isnan(), 0, module(x).float() - y)
    return (miss**2).mean(0).sum()


def predict(
    module: nn.Module, X: Any, rows: NDArray[np.int64] | None = None, *, batch_size: int, device: str,
    call: Callable[..., Any] | None = None,
) -> Floats:  # fmt: skip
    """Apply a trained readout in batches, in single precision.

    Parameters
    ----------
    module : nn.Module
    X : array of shape (n_samples, n_tokens, n_channels)
        In memory or read in parts.
    rows : array of int, optional
        Of X; None: all.
    batch_size, device
    call : callable, optional
        Used in place of the module's forward pass.
    """
    module.eval()
    rows = np.arange(len(X)) if rows is None else rows

    def read(cut: slice) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(X[rows[cut]], np.float32))

    out: Any = None
    cuts = blocks(len(rows), batch_size)
    with torch.no_grad():
        for cut, batch in zip(cuts, ahead(read, cuts), strict=True):
            made = (call or module)(batch.to(device)).float().cpu().numpy()
            out = np.empty((len(rows), *made.shape[1:]), np.float32) if out is None else out
            out[cut] = made
    return out


def fingerprint(estimator: Any, X: Any, Y: Floats) -> str:
    """Hash what the weights of a training run depend on."""
    digest = hashlib.sha256()
    for name, value in sorted(estimator.get_params(deep=False).items()):
        if name not in ("checkpoint", "device", "patience", "cv"):
            digest.update(f"{name}={np.asarray(value).tolist() if value is not None else None}".encode())
    for values in (X, Y):
        for row in range(0, len(values), max(1, len(values) // 64)):
            digest.update(np.ascontiguousarray(values[row : row + 1]).tobytes())
    return digest.hexdigest()
