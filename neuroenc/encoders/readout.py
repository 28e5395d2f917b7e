"""What readouts trained by gradient share: scaling, validation rows, training, prediction."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from neuroenc.encoders.inputs import check_enough, check_fit, folds_of
from neuroenc.encoders.missing import r2
from neuroenc.encoders.tokens import check_tokens
from neuroenc.encoders.training import fingerprint, predict, train
from neuroenc.real import deviation

Floats = NDArray[Any]


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
