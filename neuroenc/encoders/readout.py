"""What readouts trained by gradient share: scaling, validation rows, training, prediction."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from neuroenc.blocks import columns
from neuroenc.encoders.design import moments
from neuroenc.encoders.inputs import as_fitted, check_enough, check_fit, folds_of, in_parts, join_rows
from neuroenc.encoders.missing import r2
from neuroenc.encoders.tokens import check_tokens
from neuroenc.encoders.training import fingerprint, predict, train
from neuroenc.real import deviation

Floats = NDArray[Any]


class Scaled:
    """Rows of features, (X - centre) / scale, read where they are indexed."""

    def __init__(self, X: Any, centre: Floats, scale: Floats) -> None:
        self.X, self.centre, self.scale = X, centre, scale

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, rows: Any) -> Floats:
        out: Floats = self.X[rows] - self.centre
        out /= self.scale
        return out


class TrainedReadout(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A readout of tokens that is trained by gradient; subclasses build the module."""

    description: ClassVar[str]
    sets: ClassVar[bool] = False
    """Whether it reads tokens that are no grid, of which those that are NaN are not there"""

    def fit(self, X: Any, y: Any, groups: ArrayLike | None = None) -> Self:
        """Train.

        Parameters
        ----------
        X : array of shape (n_samples, n_tokens, n_channels)
            Tokens of a square grid, row by row; of some readouts any set of tokens. In memory or on disk,
            from where batches are read.
        y : array of shape (n_samples, n_targets)
            NaN marks a missing value, which the loss does not count.
        groups : array of shape (n_samples,), optional
            Handed to the splitter.

        Raises
        ------
        InputError
            Tokens that are no square grid where one is needed; a checkpoint of another model, of other
            regions or data; the GPU out of memory.
        """
        groups = join_rows(X, groups, "groups")[1]
        X, Y = check_fit(self, X, y, ndim=3, dtype=np.float32, sets=self.sets)
        Y = Y.reshape(len(Y), -1)
        fitted, held = folds_of(self.cv, len(X), groups, Y)[0]
        check_enough(Y[fitted])
        self._centre, self._scale = (v[0] for v in moments(in_parts(X).take(fitted), tokens=True))
        self._scale[self._scale == 0] = 1
        target = self._standardise(Y, fitted)
        self.n_tokens_, self.n_channels_ = X.shape[1:]
        X = Scaled(X, self._centre, self._scale)
        torch.manual_seed(self.seed)
        self.module_ = self._module(self.n_tokens_, self.n_channels_, Y.shape[1])
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

    def _standardise(self, Y: Floats, fitted: NDArray[Any]) -> Floats:
        """Standardise responses by their fitted rows."""
        self._mean, self._deviation = np.empty((2, Y.shape[1]), Y.dtype)
        for t in columns(*Y.shape):
            own = Y[fitted, t]
            self._mean[t], self._deviation[t] = np.nanmean(own, 0, dtype=float), deviation(own, missing=True)
        self._deviation[self._deviation == 0] = 1
        target = Y - self._mean
        target /= self._deviation
        return target

    def _module(self, n_tokens: int, n_channels: int, n_targets: int) -> Any:
        raise NotImplementedError

    def _finish(
        self,
        X: Any,
        target: Floats,  # noqa: ARG002
        fitted: NDArray[Any],  # noqa: ARG002
        held: NDArray[Any],
    ) -> Floats:
        """Do what follows training; predict the validation rows."""
        return predict(self.module_, X, held, batch_size=self.batch_size, device=self.device)

    def predict(self, X: Any) -> Floats:
        """Predict, (n_samples, n_targets), of a single target (n_samples,) where y was so."""
        check_is_fitted(self)
        out = predict(self.module_, self._design(X), batch_size=self.batch_size, device=self.device)
        out *= self._deviation
        out += self._mean
        return as_fitted(self, out)

    def _design(self, X: Any) -> Scaled:
        return Scaled(check_tokens(self, X), self._centre, self._scale)
