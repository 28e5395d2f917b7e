"""The diffusion prior: from decoded embeddings, averages of many, to embeddings a picture could have.

Ramesh et al. (2022, arXiv 2204.06125, section 2.2) and, from brains, Scotti et al. (2023, arXiv 2305.18274),
on the transformer of diffusers. It has no embedding for "no condition", so one is learned; embeddings are
standardised before, and the estimate is not clipped to [-1, 1], which they do not keep to.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import nn

from neuroenc.decoders.diffusion import Schedule
from neuroenc.decoders.prior_transformer import PriorTransformer
from neuroenc.encoders import training
from neuroenc.encoders.inputs import as_numbers, folds_of, join_rows
from neuroenc.errors import InputError
from neuroenc.real import deviation

Floats = NDArray[Any]
TIMESTEPS = 100
HELD_TIMES = (5, 25, 45, 65, 85)  # at which the loss on validation is measured, with noise that stays


class Prior(nn.Module):
    """From the condition c, the time t and noisy x_t to an estimate of the embedding x_0.

    A transformer over tokens, those of c, one of t, those of x_t, without a mask between them; x_0 is read
    off the places of x_t. It is trained by the squared error of x_0, x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e
    with Gaussian e, and with a learned `null` in place of c in some steps.

    Parameters
    ----------
    condition, target : (n_tokens, n_channels)
    n_layers, n_heads, head_width : int
    dropout : float
    seed : int
        Of the noise by which validation is measured.
    """

    def __init__(
        self, condition: tuple[int, int], target: tuple[int, int], n_layers: int, n_heads: int,
        head_width: int, dropout: float, seed: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.condition, self.target, self.seed = condition, target, seed
        self.transformer = PriorTransformer(condition, target, n_layers, n_heads, head_width, dropout)
        self.null = nn.Parameter(torch.randn(1, *condition) * 0.02)
        self.schedule = Schedule(TIMESTEPS)

    def denoise(self, noisy: torch.Tensor, time: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
        """Predict the embedding, (n, n_tokens, n_channels)."""
        found: torch.Tensor = self.transformer(noisy, time, given).float()
        return found

    def split(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Take a row of condition and target apart."""
        cut = self.condition[0] * self.condition[1]
        return x[:, :cut].reshape(-1, *self.condition), x[:, cut:].reshape(-1, *self.target)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Squared error of denoising of each row, (n, 1), with noise that does not change.

        Parameters
        ----------
        x : tensor of shape (n, n_condition + n_target)
            Condition and target, flattened.
        """
        given, true = self.split(x)
        drawn = torch.Generator().manual_seed(self.seed)
        noise = torch.randn(len(HELD_TIMES), 1, *self.target, generator=drawn).to(x)
        error = x.new_zeros(len(x), 1)
        for t, one in zip(HELD_TIMES, noise, strict=True):
            time = torch.full((len(x),), t, device=x.device)
            noisy = self.schedule.add_noise(true, one.expand_as(true), time)
            error[:, 0] += ((self.denoise(noisy, time, given) - true) ** 2).mean((1, 2))
        return error / len(HELD_TIMES)


class DiffusionPrior(BaseEstimator):  # type: ignore[misc]
    """Samples of the embeddings that pictures have, given what was decoded.

    Parameters
    ----------
    n_layers, n_heads, head_width : int
        Of the transformer.
    dropout : float
    drop_condition : float
        Share of training steps in which the learned null embedding stands for the condition.
    learning_rate, weight_decay, batch_size, max_epochs, patience, clip
        Of AdamW; the epoch with the smallest denoising error on validation is kept.
    cv : int, splitter or iterable of (train, validation)
        The first split gives the validation rows.
    seed : int
    device : str
    checkpoint : path, optional
        Written after each epoch; a run that is killed goes on from there to the same weights.

    Attributes
    ----------
    history_ : list of float
        Minus the denoising error on validation after each epoch.

    Notes
    -----
    The condition must be decoded from responses the decoder was not fitted to: what it makes of its own
    training responses is closer to the truth than anything it will meet, and a prior trained on that trusts
    it too much.
    """

    def __init__(
        self,
        *,
        n_layers: int = 2,
        n_heads: int = 4,
        head_width: int = 32,
        dropout: float = 0.1,
        drop_condition: float = 0.2,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        batch_size: int = 64,
        max_epochs: int = 40,
        patience: int = 10,
        clip: float = 1.0,
        cv: Any = 5,
        seed: int = 0,
        device: str = "cpu",
        checkpoint: str | Path | None = None,
    ) -> None:
        self.n_layers = n_layers
        self.n_heads = n_heads
        self.head_width = head_width
        self.dropout = dropout
        self.drop_condition = drop_condition
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

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train.

        Parameters
        ----------
        X : array of shape (n_samples, n_features) or (n_samples, n_tokens, n_channels)
            Embeddings decoded from responses the decoder did not see.
        y : array of shape (n_samples, n_features) or (n_samples, n_tokens, n_channels)
            Embeddings of the pictures.

        Raises
        ------
        InputError
            Values that are not finite; a checkpoint of another model; a loss that is not finite.
        """
        X, y = join_rows(X, y)
        given, true = _tokens(X), _tokens(y)
        if len(given) != len(true):
            raise InputError(f"{len(given)} decoded and {len(true)} true embeddings. They must match.")
        self.condition_shape_, self.target_shape_ = given.shape[1:], true.shape[1:]
        self._flat = np.ndim(y) == 2
        fitted, held = folds_of(self.cv, len(given))[0]
        self._centre, self._scale = _moments(given[fitted])
        self._mean, self._deviation = _moments(true[fitted])
        a, b = (given - self._centre) / self._scale, (true - self._mean) / self._deviation
        joined = np.concatenate([a.reshape(len(a), -1), b.reshape(len(b), -1)], 1)
        torch.manual_seed(self.seed)
        self.module_ = Prior(
            self.condition_shape_, self.target_shape_, self.n_layers, self.n_heads, self.head_width,
            self.dropout, self.seed,
        )  # fmt: skip
        self.history_ = training.train(
            self.module_, joined, np.zeros((len(joined), 1), np.float32), fitted, held,
            learning_rate=self.learning_rate, weight_decay=self.weight_decay, batch_size=self.batch_size,
            max_epochs=self.max_epochs, patience=self.patience, clip=self.clip, seed=self.seed,
            device=self.device, checkpoint=self.checkpoint, description="diffusion prior",
            loss=lambda module, x, *_: self.loss(module, x),
            fingerprint=training.fingerprint(self, joined, joined),
            score=lambda _, error: -float(error.mean()),
        )  # fmt: skip
        return self

    def loss(self, module: Any, x: torch.Tensor) -> torch.Tensor:
        """Squared error of denoising, at random times, some rows without their condition.

        Parameters
        ----------
        module : module
            The prior's.
        x : tensor of shape (n_samples, n_condition + n_target)
            Condition and target, flattened, side by side.

        Returns
        -------
        tensor of shape ()
        """
        given, true = module.split(x)
        n = len(x)
        dropped = torch.rand(n, 1, 1, device=x.device) < self.drop_condition
        time = torch.randint(TIMESTEPS, (n,), device=x.device)
        noisy = module.schedule.add_noise(true, torch.randn_like(true), time)
        found = module.denoise(noisy, time, torch.where(dropped, module.null, given))
        return ((found - true) ** 2).mean()

    def sample(
        self, X: ArrayLike, *, guidance: float = 1.0, n_steps: int = 20, n_samples: int = 1, seed: int = 0
    ) -> Floats:
        """Sample embeddings, and average the samples of each.

        Parameters and errors as in `samples`.

        Returns
        -------
        array of shape (n_samples, n_features) or (n_samples, n_tokens, n_channels)
        """
        return np.asarray(
            self.samples(X, guidance=guidance, n_steps=n_steps, n_samples=n_samples, seed=seed).mean(0)
        )

    def samples(
        self, X: ArrayLike, *, guidance: float = 1.0, n_steps: int = 20, n_samples: int = 1, seed: int = 0
    ) -> Floats:
        """Sample embeddings (DDIM).

        Parameters
        ----------
        X : array of shape (n_samples, n_features) or (n_samples, n_tokens, n_channels)
            Decoded embeddings.
        guidance : float
            Away from the null embedding; 1: none, 0: the condition is not looked at.
        n_steps : int
        n_samples : int
            1 for pictures; with many the mean of what is possible comes back.
        seed : int
            Of the noise of the first row; the next ones count up.

        Returns
        -------
        array of shape (n_samples, n, …)
            Of the shape of `y` at fitting, for each sample.

        Raises
        ------
        InputError
            Embeddings of another shape than at fitting; no step or sample, more steps than there are times.
        """
        check_is_fitted(self)
        given = _tokens(X)
        if given.shape[1:] != self.condition_shape_:
            raise InputError(
                f"Embeddings of shape {given.shape[1:]}, the prior was fitted to {self.condition_shape_}. "
                "Decode them by the same model."
            )
        if not 1 <= n_steps <= TIMESTEPS or n_samples < 1:
            raise InputError(
                f"Invalid value for 'n_steps', 'n_samples': {n_steps}, {n_samples}. Expected 1 to "
                f"{TIMESTEPS} steps and one sample or more."
            )
        module = self.module_
        condition = torch.from_numpy((given - self._centre) / self._scale).to(self.device)
        drawn = np.empty((n_samples, len(given), *self.target_shape_), np.float32)
        with torch.inference_mode():
            for number in range(n_samples):
                noise = [
                    torch.randn(
                        self.target_shape_,
                        generator=torch.Generator().manual_seed(seed + i + number * len(given)),
                    )
                    for i in range(len(given))
                ]
                x = torch.stack(noise).to(self.device)
                for t in module.schedule.times(n_steps):
                    time = torch.full((len(x),), t, device=self.device)
                    found = module.denoise(x, time, condition)
                    if guidance != 1:
                        free = module.denoise(x, time, module.null.expand_as(condition))
                        found = free + guidance * (found - free)
                    x = module.schedule.step(found, t, x, n_steps)
                drawn[number] = x.float().cpu().numpy()
        out = drawn * self._deviation + self._mean
        return np.asarray(out[:, :, 0] if self._flat else out)


def _tokens(values: ArrayLike) -> Floats:
    """Bring embeddings to (n, n_tokens, n_channels)."""
    v = as_numbers(values, "The array of embeddings", np.float32)
    if v.ndim not in (2, 3) or not v.size:
        raise InputError(
            f"Embeddings of shape {v.shape}. Expected (n, features) or (n, tokens, channels), one or more."
        )
    if not np.isfinite(v).all():
        bad = np.flatnonzero(~np.isfinite(v).reshape(len(v), -1).all(1))
        raise InputError(f"{len(bad)} embeddings are not finite, first row {bad[0]}. Look at these pictures.")
    return v if v.ndim == 3 else v[:, None]


def _moments(values: Floats) -> tuple[Floats, Floats]:
    """Mean and deviation of each channel of each token; 1 where it does not vary."""
    scale = deviation(values)
    return values.mean(0), np.where(scale > 0, scale, 1).astype(np.float32)
