"""The brain network: a linear layer for each subject, a shared residual network, contrastive training.

Scotti et al. (2023, arXiv 2305.18274; 2024, arXiv 2403.11207). The first layer is linear with a weight decay
of its own, the largest single gain in their ablations; what follows is shared by all subjects. Beside it runs
a linear path that starts at the ridge of the fitted rows, so that the network learns what ridge leaves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted
from torch.nn.functional import normalize

from neuroenc.blocks import BLOCK_BYTES, blocks
from neuroenc.decoders import losses
from neuroenc.decoders.fused import row_cosine
from neuroenc.decoders.residual import ResidualNetwork
from neuroenc.decoders.target import Target, embeddings_of, rows_of
from neuroenc.encoders import memory, training
from neuroenc.encoders.design import Design, is_whole
from neuroenc.encoders.inputs import as_numbers, folds_of, join_rows, same_length
from neuroenc.encoders.ridge import RidgeCV
from neuroenc.errors import InputError, invalid

Floats = NDArray[Any]


class BrainNetwork(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Contrastive decoder of one or several subjects.

    Parameters
    ----------
    n_components : int or None
        Of the embeddings of the training pictures, whitened: the space that is decoded into.
    n_hidden, n_blocks : int
        Width and number of the shared residual blocks.
    dropout : float
    n_times : int, optional
        Responses are epochs of so many samples, flattened channel by channel: attention between channels and
        convolutions over time (`atm`) stand in front in place of a linear layer.
    squared_error : float
        Weight of the squared error beside the contrastive loss: it sets the length of what is decoded.
    learning_rate, weight_decay, first_decay
        `first_decay` is the weight decay of the subjects' linear layers.
    batch_size, max_epochs, patience, clip
    accumulate : int
        Parts into which a batch is cut to save memory; pictures are contrasted within a part.
    cv : int, splitter or iterable of (train, validation), or mapping of subject to one
        The first split gives the validation rows, by which the best epoch is chosen.
    seed : int
    device : str
    checkpoint : path, optional
        Written after each epoch; a run that is killed goes on from there to the same weights.

    Attributes
    ----------
    target_ : Target
    subjects_ : list of str
    history_ : list of float
        Cosine on validation after each epoch.
    """

    def __init__(
        self,
        n_components: int | None = 100,
        *,
        n_hidden: int = 512,
        n_blocks: int = 2,
        dropout: float = 0.3,
        n_times: int | None = None,
        squared_error: float = 1.0,
        learning_rate: float = 1e-4,
        weight_decay: float = 1e-2,
        first_decay: float = 1e-1,
        batch_size: int = 64,
        max_epochs: int = 20,
        patience: int = 10,
        clip: float = 1.0,
        accumulate: int = 1,
        cv: Any = 5,
        seed: int = 0,
        device: str = "cpu",
        checkpoint: str | Path | None = None,
    ) -> None:
        self.n_components = n_components
        self.n_hidden = n_hidden
        self.n_blocks = n_blocks
        self.dropout = dropout
        self.n_times = n_times
        self.squared_error = squared_error
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.first_decay = first_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.clip = clip
        self.accumulate = accumulate
        self.cv = cv
        self.seed = seed
        self.device = device
        self.checkpoint = checkpoint

    def fit(
        self, X: ArrayLike | Mapping[str, ArrayLike], y: ArrayLike | Mapping[str, ArrayLike],
        target: Target | None = None,
    ) -> Self:  # fmt: skip
        """Train.

        Parameters
        ----------
        X : array of shape (n_samples, n_neuroids), or mapping of subject to such arrays
            Responses, standardised. Of shape (n_samples, n_repetitions, n_neuroids): each step takes one
            repetition at random, validation and prediction their mean.
        y : array of shape (n_samples, n_features), or mapping of subject to such arrays
            Embeddings of the pictures, flattened.
        target : Target, optional
            The space that is decoded into; else learned from y.

        Raises
        ------
        InputError
            Responses that are not finite; a checkpoint of another model; a loss that is not finite.
        """
        responses, embeddings = by_subject(X, y)
        self.subjects_ = list(responses)
        self.widths_ = {s: np.shape(v)[-1] for s, v in responses.items()}
        ragged = [s for s, n in self.widths_.items() if self.n_times and n % self.n_times]
        if ragged:
            raise InputError(
                f"{self.widths_[ragged[0]]} responses of subject {ragged[0]!r} are no epochs of "
                f"{self.n_times} samples. Give channels times samples, flattened."
            )
        stacked = Rows([self._checked(v, s) for s, v in responses.items()], list(range(len(responses))))
        truth = joined(list(embeddings.values()))
        fitted, held, start = [], [], 0
        for s, v in responses.items():
            train, validation = folds_of(self._cv(s), len(v))[0]
            fitted.append(train + start)
            held.append(validation + start)
            start += len(v)
        self.target_ = target or Target.fit(truth, self.n_components)
        component = self.target_.transform(truth)
        torch.manual_seed(self.seed)
        self.module_ = self._network(self.widths_, component.shape[1])
        for subject, rows in zip(self.subjects_, fitted, strict=True):
            self._start(stacked, component, rows, subject)
        self._train(stacked, component, np.concatenate(fitted), np.concatenate(held), self.checkpoint)
        return self

    def fine_tune(
        self,
        X: Any,
        y: Any,
        subject: str,
        *,
        freeze: bool = False,
        checkpoint: str | Path | None = None,
    ) -> Self:
        """Train on a new subject, with a linear layer of its own.

        Parameters
        ----------
        X : array of shape (n_samples, n_neuroids)
        y : array of shape (n_samples, n_features)
        subject : str
        freeze : bool
            Leave what the subjects share as it is.
        checkpoint : path, optional
            Of this run, not that of `fit`.

        Raises
        ------
        InputError
            The subject is known already.
        """
        check_is_fitted(self)
        if subject in self.subjects_:
            raise InputError(f"Subject {subject!r} was trained on already: {', '.join(self.subjects_)}.")
        old = self.module_
        self.widths_ = {subject: np.shape(X)[-1]} | self.widths_
        self.subjects_ = [subject, *self.subjects_]
        torch.manual_seed(self.seed)
        self.module_ = self._network(self.widths_, len(self.target_.basis))
        self.module_.load_state_dict(old.state_dict(), strict=False)
        for name, parameter in self.module_.named_parameters():
            own = f".s{subject}." in name  # the layers of the others see no batch
            parameter.requires_grad_(own or not (freeze or name.startswith("first")))
        responses, embeddings = by_subject({subject: X}, {subject: y})
        stacked, y = self._rows(responses[subject], subject), embeddings[subject]
        fitted, held = folds_of(self._cv(subject), len(stacked))[0]
        component = self.target_.transform(y)
        self._start(stacked, component, fitted, subject)
        self._train(stacked, component, fitted, held, checkpoint)
        for parameter in self.module_.parameters():
            parameter.requires_grad_(True)
        return self

    def forecast(self, widths: Mapping[str, int], n_samples: int) -> int:
        """Forecast the bytes training takes, over what X and y occupy (`encoders.memory.network`).

        Parameters
        ----------
        widths : mapping
            Subject -> neuroids.
        n_samples : int
            Of all subjects; also the number of components, where it is smaller than `n_components` or that
            is None.
        """
        n_out = min(n_samples, self.n_components or n_samples)
        with torch.device("meta"):
            module = self._network(widths, n_out)
        return memory.network(
            n_samples, max(widths.values()), n_out, weights=sum(p.numel() for p in module.parameters()),
            n_hidden=self.n_hidden, n_blocks=self.n_blocks, batch_size=self.batch_size,
        )  # fmt: skip

    def _cv(self, subject: str) -> Any:
        return self.cv[subject] if isinstance(self.cv, Mapping) else self.cv

    def _network(self, widths: Mapping[str, int], n_out: int) -> ResidualNetwork:
        return ResidualNetwork(widths, self.n_hidden, self.n_blocks, self.dropout, n_out, self.n_times)

    def _start(self, X: Rows, component: Floats, fitted: NDArray[np.int64], subject: str) -> None:
        """Start the linear path of a subject at the ridge of its fitted rows."""
        cv = max(2, min(5, len(fitted) // 2))  # a fold of one row has no R2
        ridge = RidgeCV(np.logspace(0, 6, 13), cv=cv).fit(X.responses(fitted), component[fitted])
        layer: Any = self.module_.first_straight[f"s{subject}"]
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(ridge.coef_)))
            layer.bias.copy_(torch.from_numpy(np.asarray(ridge.intercept_)))

    def _train(
        self, X: Rows, component: Floats, fitted: NDArray[np.int64], held: NDArray[np.int64],
        checkpoint: str | Path | None,
    ) -> None:  # fmt: skip
        digest = hashlib.sha256(training.fingerprint(self, X, component).encode())
        digest.update(",".join(self.subjects_).encode())
        self.history_ = training.train(
            self.module_, X, component, fitted, held, learning_rate=self.learning_rate,
            weight_decay=self.weight_decay, first_decay=self.first_decay, batch_size=self.batch_size,
            max_epochs=self.max_epochs, patience=self.patience, clip=self.clip, seed=self.seed,
            device=self.device, checkpoint=checkpoint, fingerprint=digest.hexdigest(),
            description="brain network", loss=self.loss, score=_cosine, accumulate=self.accumulate,
        )  # fmt: skip

    def loss(self, module: torch.nn.Module, x: torch.Tensor, true: torch.Tensor, over: float) -> torch.Tensor:
        """Contrast decoded with true components: mixed responses first, then soft targets and their length.

        Parameters
        ----------
        module : Module
        x : tensor of shape (n, n_widest + 1) or (n, n_repetitions, n_widest + 1)
            A batch as the module takes it; of repetitions one is drawn for each row.
        true : tensor of shape (n, n_components)
        over : float
            Share of all epochs that are over.
        """
        unit = normalize(true, dim=1)
        if x.ndim == 3:
            x = x[torch.arange(len(x)), torch.randint(x.shape[1], (len(x),))]
        if over < losses.MIXED:
            mixed, partner, share = losses.mix(x[:, :-1], x[:, -1].long())
            x = torch.cat([mixed, x[:, -1:]], 1)
            decoded = normalize(module(x).float(), dim=1)  # a mixed response has no one length
            return losses.mixco(decoded, unit, partner, share, losses.TEMPERATURE)
        decoded = module(x).float()
        contrast = losses.softclip(normalize(decoded, dim=1), unit, losses.soft_temperature(over))
        error: torch.Tensor = ((decoded - true) ** 2).mean()
        return contrast + self.squared_error * error

    def _rows(self, X: ArrayLike, subject: str) -> Rows:
        """Responses of one subject as the module takes them."""
        if subject not in self.widths_:
            raise invalid("subject", subject, self.widths_)
        names = list(self.widths_)
        return Rows([self._checked(X, subject)], [names.index(subject)], max(self.widths_.values()))

    def _checked(self, X: ArrayLike, subject: str) -> Any:
        """Check the responses of a subject; those that are read in parts are not read whole."""
        found = X if isinstance(X, Design) else as_numbers(X, "X", np.float32)
        if found.ndim not in (2, 3) or not min(found.shape):
            raise InputError(
                f"X has shape {found.shape}. Expected (n_samples, n_neuroids) or (n_samples, n_repetitions, "
                "n_neuroids), one row or more."
            )
        if found.shape[-1] != self.widths_[subject]:
            raise InputError(
                f"Responses of {found.shape[-1]} neuroids, subject {subject!r} was fitted with "
                f"{self.widths_[subject]}. Use the same mask."
            )
        bad = np.zeros(found.shape[-1], bool)
        for cut in blocks(len(found), max(1, BLOCK_BYTES // (4 * int(np.prod(found.shape[1:]))))):
            bad |= ~np.isfinite(found[cut].reshape(-1, len(bad))).all(0)
        if bad.any():
            raise InputError(
                f"Responses have NaN or infinite values in neuroids {np.flatnonzero(bad)[:5].tolist()}."
            )
        return found

    def predict_components(self, X: Any, subject: str | None = None) -> Floats:
        """Predict in the space of components, (n_samples, n_components).

        Parameters
        ----------
        X : array of shape (n_samples, n_neuroids)
        subject : str, optional
            Whose responses these are; the first one's.
        """
        check_is_fitted(self)
        rows = self._rows(X, subject or self.subjects_[0])
        return training.predict(self.module_, rows, batch_size=self.batch_size, device=self.device)

    def predict(self, X: ArrayLike, subject: str | None = None) -> Floats:
        """Predict embeddings, (n_samples, n_features)."""
        return self.target_.inverse(self.predict_components(X, subject))


class Rows:
    """Responses of subjects below each other, as wide as the widest, with the subject's number behind each.

    A row is made where it is indexed, by numbers or a slice; of the responses nothing is copied.

    Parameters
    ----------
    parts : list of arrays or Designs
        (n_samples, n_neuroids), or all of them (n_samples, n_repetitions, n_neuroids).
    numbers : list of int
        Of the subjects.
    width : int, optional
        Of the widest that there is.
    """

    def __init__(self, parts: list[Any], numbers: list[int], width: int | None = None) -> None:
        self.parts, self.numbers = parts, numbers
        self.start = np.cumsum([0, *map(len, parts)])
        self.width = width or max(part.shape[-1] for part in parts)
        self.ndim = parts[0].ndim

    def __len__(self) -> int:
        return int(self.start[-1])

    def __getitem__(self, index: Any) -> Floats:
        rows = np.arange(len(self))[index]
        out = np.zeros((len(rows), *self.parts[0].shape[1:-1], self.width + 1), np.float32)
        which = np.searchsorted(self.start, rows, "right") - 1
        for k in np.unique(which):
            mine, part = which == k, self.parts[k]
            out[mine, ..., : part.shape[-1]] = part[rows[mine] - self.start[k]]
            out[mine, ..., -1] = self.numbers[k]
        return out

    def responses(self, rows: NDArray[np.int64]) -> Any:
        """Return the responses of rows of one subject, of repetitions the mean; a Design is not read."""
        k = int(np.searchsorted(self.start, rows[0], "right")) - 1
        part, own = self.parts[k], rows - self.start[k]
        if self.ndim == 2:
            return part.take(own) if isinstance(part, Design) else part[own]
        mean = np.empty((len(own), part.shape[-1]), np.float32)
        for cut in blocks(len(own), max(1, BLOCK_BYTES // (4 * int(np.prod(part.shape[1:]))))):
            mean[cut] = part[own[cut]].mean(1)
        return mean


def by_subject(
    X: ArrayLike | Mapping[str, ArrayLike], y: ArrayLike | Mapping[str, ArrayLike]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the responses and the embeddings of each subject, row by row; those of one are named "1".

    Raises
    ------
    InputError
        A name that is none; a subject without embeddings; other numbers of rows.
    """
    given = dict(X) if isinstance(X, Mapping) else {"1": X}
    wanted = dict(y) if isinstance(y, Mapping) else {"1": y}
    odd = [s for s in given if not isinstance(s, str) or not s or "." in s]
    if odd or not given:
        raise InputError(
            f"Invalid names of subjects: {odd or 'none'}. Expected one or more, texts without a dot."
        )
    responses: dict[str, Any] = {}
    embeddings: dict[str, Any] = {}
    for s, values in given.items():
        if s not in wanted:
            raise invalid("subject", s, wanted)
        rows, targets = join_rows(values, wanted[s])
        responses[s] = rows if isinstance(rows, Design) else as_numbers(rows, "X", np.float32)
        embeddings[s] = embeddings_of(targets) if is_whole(targets) else rows_of(targets)
        same_length(responses[s], embeddings[s])
    return responses, embeddings


def joined(embeddings: list[Any]) -> Any:
    """Stack the embeddings of subjects; those of one stay where they are."""
    return embeddings[0] if len(embeddings) == 1 else np.concatenate([v[:] for v in embeddings])


def _cosine(truth: Floats, predicted: Floats) -> float:
    return float(row_cosine(truth, predicted).mean())
