"""Semantic spatial transformer: each target's mask and each channel are moved by what is seen.

Saha, Chadha, Khosla (2024), arXiv 2410.14031: from the picture follow one affine map for each target,
which moves its spatial mask, and one for each channel, which moves that channel's map; the response is
the factorised product of the two.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.model_selection import check_cv
from sklearn.utils.validation import check_is_fitted

from neuroenc.encoders import training
from neuroenc.errors import InputError

if TYPE_CHECKING:
    import torch

Floats = NDArray[Any]
TARGETS_AT_ONCE = 256  # masks warped together: memory is batch x targets x cells


def make_module(side: int, n_channels: int, n_targets: int, n_hidden: int) -> Any:
    """Build the network; maps start as the identity, masks even."""
    import torch
    from torch import nn
    from torch.nn import functional

    identity = torch.tensor([1.0, 0, 0, 0, 1, 0])

    class Warp(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.squeeze = nn.Conv2d(n_channels, 4, 1)
            self.code = nn.Linear(4 * side**2, n_hidden)
            self.move_target = nn.Linear(n_hidden, 6 * n_targets)
            self.move_channel = nn.Linear(n_hidden, 6 * n_channels)
            for layer in (self.move_target, self.move_channel):
                nn.init.zeros_(layer.weight)
                layer.bias.data = identity.repeat(layer.out_features // 6)
            self.mask = nn.Parameter(1 + 0.01 * torch.randn(n_targets, side, side))
            self.feature = nn.Parameter(torch.randn(n_targets, n_channels) * n_channels**-0.5 * 0.1)
            self.bias = nn.Parameter(torch.zeros(n_targets))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            n = len(x)
            maps = x.transpose(1, 2).unflatten(-1, (side, side))
            code = self.code(self.squeeze(maps).flatten(1)).relu()
            theta = self.move_channel(code).view(n * n_channels, 2, 3)
            grid = functional.affine_grid(theta, [n * n_channels, 1, side, side], align_corners=False)
            moved = functional.grid_sample(
                maps.reshape(n * n_channels, 1, side, side), grid, align_corners=False
            ).view(n, n_channels, side**2)
            mask = self.mask.relu()
            mask = mask / mask.flatten(1).norm(dim=1)[:, None, None].clamp_min(1e-6)
            theta = self.move_target(code).view(n, n_targets, 2, 3)
            out = []
            for start in range(0, n_targets, TARGETS_AT_ONCE):
                t = slice(start, min(start + TARGETS_AT_ONCE, n_targets))
                size = t.stop - start
                grid = functional.affine_grid(
                    theta[:, t].reshape(n * size, 2, 3), [n * size, 1, side, side], align_corners=False
                )
                masks = mask[t].expand(n, -1, -1, -1).reshape(n * size, 1, side, side)
                warped = functional.grid_sample(masks, grid, align_corners=False).view(n, size, side**2)
                out.append((warped * (self.feature[t] @ moved)).sum(-1))
            return torch.cat(out, 1) + self.bias

    return Warp()


class SemanticTransformer(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Factorised readout whose masks and channels move with the picture.

    Parameters
    ----------
    n_hidden : int
        Of the code of the picture.
    learning_rate, weight_decay, batch_size, max_epochs, patience, clip
        Of the training.
    cv : int, splitter or iterable of (train, validation)
        The first split gives the validation rows of early stopping.
    seed : int
    device : str
    checkpoint : path, optional
        Where the run is kept after each epoch.

    Attributes
    ----------
    best_score_ : array of shape (n_targets,)
        R2 on the validation rows.
    history_ : list of float
        Validation r of each epoch.
    validation_, validation_rows_ : arrays
        Predictions of the validation rows.
    """

    def __init__(
        self,
        *,
        n_hidden: int = 32,
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-3,
        batch_size: int = 32,
        max_epochs: int = 60,
        patience: int = 10,
        clip: float = 1.0,
        cv: Any = 5,
        seed: int = 0,
        device: str = "cpu",
        checkpoint: str | Path | None = None,
    ) -> None:
        self.n_hidden = n_hidden
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

    def fit(self, X: Any, y: Any, groups: ArrayLike | None = None) -> Self:
        """Train.

        Parameters
        ----------
        X : array of shape (n_samples, n_tokens, n_channels)
            Tokens of a square grid, row by row.
        y : array of shape (n_samples, n_targets)
        groups : array of shape (n_samples,), optional

        Raises
        ------
        InputError
            Tokens that are no square grid; a checkpoint of another model.
        """
        import torch

        X, Y = training.tokens_of(X), np.asarray(getattr(y, "values", y), dtype=np.float32)
        rows = np.zeros(len(X))
        fitted, held = (np.asarray(r) for r in next(iter(check_cv(self.cv).split(rows, rows, groups))))
        self._centre, self._scale = X[fitted].mean((0, 1)), X[fitted].std((0, 1))
        self._scale[self._scale == 0] = 1
        self._mean, self._deviation = Y[fitted].mean(0), Y[fitted].std(0)
        self._deviation[self._deviation == 0] = 1
        X, target = (X - self._centre) / self._scale, (Y - self._mean) / self._deviation
        torch.manual_seed(self.seed)
        self.module_ = self._module(X.shape[1], X.shape[2], Y.shape[1])
        self.history_ = training.train(
            self.module_, X, target, fitted, held, learning_rate=self.learning_rate,
            weight_decay=self.weight_decay, batch_size=self.batch_size, max_epochs=self.max_epochs,
            patience=self.patience, clip=self.clip, seed=self.seed, device=self.device,
            checkpoint=self.checkpoint,
            fingerprint=training.fingerprint(self, X, target), description="semantic transformer",
        )  # fmt: skip
        self.n_tokens_, self.n_channels_ = X.shape[1:]
        shown = training.predict(self.module_, X[held], batch_size=self.batch_size, device=self.device)
        spread = ((target[held] - target[held].mean(0)) ** 2).sum(0)
        self.best_score_ = 1 - ((target[held] - shown) ** 2).sum(0) / np.where(spread > 0, spread, np.inf)
        self.validation_, self.validation_rows_ = shown * self._deviation + self._mean, held
        return self

    def _module(self, n_tokens: int, n_channels: int, n_targets: int) -> Any:
        side = round(n_tokens**0.5)
        if side**2 != n_tokens:
            raise InputError(f"{n_tokens} tokens are no square grid. Pool the network to 'grid:<k>'.")
        return make_module(side, n_channels, n_targets, self.n_hidden)

    def predict(self, X: Any) -> Floats:
        """Predict, (n_samples, n_targets)."""
        check_is_fitted(self)
        X = (training.tokens_of(X, self.n_tokens_, self.n_channels_) - self._centre) / self._scale
        out = training.predict(self.module_, X, batch_size=self.batch_size, device=self.device)
        return out * self._deviation + self._mean
