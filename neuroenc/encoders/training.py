"""What all readouts trained by gradient share: one loop, early stopping, a file to resume from."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted
from tqdm import tqdm

from neuroenc import ranking
from neuroenc.encoders.inputs import check_enough, check_fit, folds_of
from neuroenc.encoders.missing import correlation, r2
from neuroenc.encoders.tokens import check_tokens
from neuroenc.errors import InputError
from neuroenc.files import atomic
from neuroenc.real import deviation

if TYPE_CHECKING:
    import torch
    from torch import nn

Floats = NDArray[Any]
Loss = Callable[[Any, Any, Any, float], Any]


def train(
    module: nn.Module,
    X: Floats,
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
    import torch

    processes = Processes.here(device)
    device = processes.device
    module.to(device)
    parameters = {k: v for k, v in module.named_parameters() if v.requires_grad}
    first = [v for k, v in parameters.items() if first_decay is not None and k.startswith("first")]
    rest = [v for k, v in parameters.items() if first_decay is None or not k.startswith("first")]
    optimiser = torch.optim.AdamW(
        [{"params": rest}] + ([{"params": first, "weight_decay": first_decay}] if first else []),
        lr=learning_rate, weight_decay=weight_decay, fused=True,
    )  # fmt: skip
    best = {k: v.detach().clone() for k, v in parameters.items()}
    history: list[float] = []
    x, y = torch.from_numpy(X), torch.from_numpy(np.ascontiguousarray(Y, dtype=np.float32))
    if checkpoint is not None and Path(checkpoint).exists():
        history = _resume(Path(checkpoint), parameters, best, optimiser, fingerprint)
    halved = False
    bar = tqdm(range(len(history), max_epochs), description, disable=None)
    for epoch in bar:
        if len(history) - 1 - int(ranking.best(history or [0])) >= patience:
            break
        torch.manual_seed(1000 * seed + epoch + 7919 * processes.rank)
        order = np.random.default_rng((seed, epoch)).permutation(fitted)
        rate = learning_rate * 0.5 * (1 + np.cos(np.pi * epoch / max_epochs))
        for group in optimiser.param_groups:
            group["lr"] = rate
        module.train()
        start = 0
        while start < len(order):
            rows = order[start : start + batch_size]
            try:
                value = _step(
                    module,
                    x,
                    y,
                    rows,
                    optimiser,
                    clip,
                    device,
                    loss,
                    epoch / max_epochs,
                    accumulate,
                    processes,
                )
            except torch.cuda.OutOfMemoryError:
                if halved or batch_size == 1:
                    raise InputError(
                        f"The GPU is out of memory with batches of {batch_size} too. Set batch_size to "
                        f"{max(1, batch_size // 2)} or less."
                    ) from None
                halved, batch_size = True, max(1, batch_size // 2)
                torch.cuda.empty_cache()
                continue
            if not np.isfinite(value):
                kept = f" {checkpoint} keeps the last good state." if len(history) and checkpoint else ""
                raise InputError(
                    f"The loss is {value} in epoch {epoch + 1}, batch {start // batch_size + 1} (rows "
                    f"{rows[:3].tolist()}, …).{kept} Lower learning_rate, or look at these rows."
                )
            start += len(rows)
        predicted = predict(module, X[held], batch_size=batch_size, device=device)
        found = correlation(Y[held], predicted).mean() if score is None else score(Y[held], predicted)
        history.append(float(found))
        if history[-1] >= max(history):
            best = {k: v.detach().clone() for k, v in parameters.items()}
        bar.set_postfix(validation=f"{history[-1]:.3f}", best=f"{max(history):.3f}")
        if checkpoint is not None and processes.rank == 0:
            _store(Path(checkpoint), parameters, best, optimiser, history, fingerprint)
    bar.close()
    with torch.no_grad():
        for k, v in parameters.items():
            v.copy_(best[k])
    module.eval()
    return history


def fingerprint(estimator: Any, X: Floats, Y: Floats) -> str:
    """Hash what the weights of a training run depend on."""
    digest = hashlib.sha256()
    for name, value in sorted(estimator.get_params(deep=False).items()):
        if name not in ("checkpoint", "device", "patience", "cv"):
            digest.update(f"{name}={np.asarray(value).tolist() if value is not None else None}".encode())
    for values in (X, Y):
        digest.update(np.ascontiguousarray(values[:: max(1, len(values) // 64)]).tobytes())
    return digest.hexdigest()


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


ALONE = Processes(0, 1, "cpu")


def _step(
    module: nn.Module, x: torch.Tensor, y: torch.Tensor, rows: NDArray[np.int64],
    optimiser: torch.optim.Optimizer, clip: float, device: str, loss_of: Loss | None = None,
    over: float = 0.0, accumulate: int = 1, processes: Processes = ALONE,
) -> float:  # fmt: skip
    """Take one step unless the loss is not finite; return the loss."""
    import torch

    optimiser.zero_grad(set_to_none=True)
    value = 0.0
    mine = processes.share(rows)
    whole = len(rows) if len(rows) >= processes.n else len(rows) * processes.n
    for part in np.array_split(mine, min(accumulate, len(mine))):
        index = torch.from_numpy(part)
        with torch.autocast("cuda", torch.bfloat16, enabled=device.startswith("cuda")):
            if loss_of is not None:
                loss = loss_of(module, x[index].to(device), y[index].to(device), over)
            else:
                predicted = module(x[index].to(device))
                truth = y[index].to(device)
                miss = torch.where(truth.isnan(), 0, predicted.float() - truth)  # NaN: missing
                loss = (miss**2).mean(0).sum()
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


def predict(
    module: nn.Module, X: Floats, *, batch_size: int, device: str, call: Callable[..., Any] | None = None
) -> Floats:
    """Apply a trained readout in batches, in single precision.

    Parameters
    ----------
    module : nn.Module
    X : array of shape (n_samples, n_tokens, n_channels)
    batch_size, device
    call : callable, optional
        Used in place of the module's forward pass.
    """
    import torch

    module.eval()
    out = []
    with torch.no_grad():
        for start in range(0, len(X), batch_size):
            batch = torch.from_numpy(np.ascontiguousarray(X[start : start + batch_size])).to(device)
            out.append((call or module)(batch).float().cpu().numpy())
    return np.concatenate(out)


def _store(
    path: Path,
    parameters: dict[str, Any],
    best: dict[str, Any],
    optimiser: Any,
    history: list[float],
    fingerprint: str,
) -> None:
    from safetensors.torch import save

    tensors = {f"now/{k}": v.detach() for k, v in parameters.items()}
    tensors |= {f"best/{k}": v for k, v in best.items()}
    steps = {}
    for k, v in parameters.items():
        state = optimiser.state[v]
        tensors |= {f"{name}/{k}": state[name] for name in ("exp_avg", "exp_avg_sq")}
        steps[k] = float(state["step"])
    size = sum(v.numel() * v.element_size() + 512 for v in tensors.values()) + 2**16
    with atomic(path, size=size) as partial:
        partial.write_bytes(save(
            {k: v.contiguous().cpu().clone() for k, v in tensors.items()},
            {"history": json.dumps(history), "steps": json.dumps(steps), "fingerprint": fingerprint},
        ))  # fmt: skip


def _resume(
    path: Path, parameters: dict[str, Any], best: dict[str, Any], optimiser: Any, fingerprint: str
) -> list[float]:
    import torch
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        shapes = {k[4:]: list(file.get_slice(k).get_shape()) for k in file.keys() if k.startswith("now/")}  # noqa: SIM118
        expected = {k: list(v.shape) for k, v in parameters.items()}
        if shapes != expected:
            differ = min(k for k in shapes.keys() | expected if shapes.get(k) != expected.get(k))
            raise InputError(
                f"The checkpoint {path.name} is of another model: {differ!r} is {shapes.get(differ)}, "
                f"expected {expected.get(differ)}. Remove it, or use the same regions, layers and options."
            )
        if file.metadata()["fingerprint"] != fingerprint:
            raise InputError(
                f"The checkpoint {path.name} is of other regions, responses or options. Remove it to start "
                "anew."
            )
        steps, history = (json.loads(file.metadata()[k]) for k in ("steps", "history"))
        with torch.no_grad():
            for k, v in parameters.items():
                v.copy_(file.get_tensor(f"now/{k}"))
                best[k] = file.get_tensor(f"best/{k}").to(v.device)
                optimiser.state[v] = {
                    "step": torch.tensor(steps[k]),
                    **{n: file.get_tensor(f"{n}/{k}").to(v.device) for n in ("exp_avg", "exp_avg_sq")},
                }
    found: list[float] = history
    return found


class TrainedReadout(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A readout of tokens that is trained by gradient; subclasses build the module."""

    description: ClassVar[str]

    def fit(self, X: Any, y: Any, groups: ArrayLike | None = None) -> Self:
        """Train.

        Parameters
        ----------
        X : array of shape (n_samples, n_tokens, n_channels)
            Tokens of a square grid, row by row.
        y : array of shape (n_samples, n_targets)
            NaN marks a missing value, which the loss does not count.
        groups : array of shape (n_samples,), optional
            Handed to the splitter.

        Raises
        ------
        InputError
            Tokens that are no square grid; a checkpoint of another model, of other regions or data; the GPU
            out of memory.
        """
        import torch

        X, Y = check_fit(self, X, y, ndim=3, dtype=np.float32)
        Y = Y.reshape(len(Y), -1)
        fitted, held = folds_of(self.cv, len(X), groups, Y)[0]
        check_enough(Y[fitted])
        self._centre, self._scale = X[fitted].mean((0, 1)), deviation(X[fitted], (0, 1))
        self._scale[self._scale == 0] = 1
        self._mean = np.nanmean(Y[fitted], 0, dtype=float).astype(Y.dtype)
        self._deviation = deviation(Y[fitted], missing=True)
        self._deviation[self._deviation == 0] = 1
        X, target = (X - self._centre) / self._scale, (Y - self._mean) / self._deviation
        torch.manual_seed(self.seed)
        self.n_tokens_, self.n_channels_ = X.shape[1:]
        self.module_ = self._module(X.shape[1], X.shape[2], Y.shape[1])
        self.history_ = train(
            self.module_, X, target, fitted, held, learning_rate=self.learning_rate,
            weight_decay=self.weight_decay, batch_size=self.batch_size, max_epochs=self.max_epochs,
            patience=self.patience, clip=self.clip, seed=self.seed, device=self.device,
            checkpoint=self.checkpoint, fingerprint=fingerprint(self, X, target),
            description=self.description,
        )  # fmt: skip
        shown = self._finish(X, target, fitted, held)
        self.best_score_ = r2(target[held], shown)
        self.validation_, self.validation_rows_ = shown * self._deviation + self._mean, held
        return self

    def _module(self, n_tokens: int, n_channels: int, n_targets: int) -> Any:
        raise NotImplementedError

    def _finish(
        self,
        X: Floats,
        target: Floats,  # noqa: ARG002
        fitted: NDArray[Any],  # noqa: ARG002
        held: NDArray[Any],
    ) -> Floats:
        """Do what follows training; predict the validation rows."""
        return predict(self.module_, X[held], batch_size=self.batch_size, device=self.device)

    def predict(self, X: Any) -> Floats:
        """Predict, (n_samples, n_targets)."""
        check_is_fitted(self)
        out = predict(self.module_, self._design(X), batch_size=self.batch_size, device=self.device)
        return np.asarray(out * self._deviation + self._mean)

    def _design(self, X: Any) -> Floats:
        return (check_tokens(self, X) - self._centre) / self._scale
