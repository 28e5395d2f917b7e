"""One space for recordings of several modalities and subjects that share stimuli or concepts.

After BrainFLORA (Li et al. 2025, arXiv 2507.09747): an adapter for each recording, a trunk that all share,
and a contrast with embeddings of pictures, and of texts. A training row is one stimulus in one recording, so
that no stimulus need be in more than one; what several recordings say of one is averaged. Unlike theirs the
projection is one network that is told modality and recording, not a mixture of experts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch.nn.functional import normalize

from neuroenc.decoders import losses
from neuroenc.decoders.adapters import Front, JointNetwork
from neuroenc.decoders.fused import modality_of, row_cosine
from neuroenc.decoders.network import Rows
from neuroenc.decoders.target import Target, embeddings_of
from neuroenc.encoders import training
from neuroenc.encoders.inputs import as_numbers, folds_of, same_length
from neuroenc.encoders.ridge import RidgeCV
from neuroenc.errors import InputError, invalid

Floats = NDArray[Any]


class JointDecoder(BaseEstimator):  # type: ignore[misc]
    """Contrastive decoder of recordings of several modalities into one space.

    Parameters
    ----------
    n_components : int or None
        Of the embeddings of the training pictures, whitened: the space that is decoded into.
    n_times : mapping, optional
        Modality -> samples of an epoch, of modalities whose epochs, flattened channel by channel, attention
        between channels and convolutions over time read (`atm`) in place of a linear layer.
    position : mapping, optional
        Recording -> (n_channels, 3): a graph of these channels reads the epochs in place of attention.
    n_hidden, n_blocks : int
        Width and number of the shared residual blocks.
    dropout : float
    squared_error : float
        Weight of the squared error beside the contrast: it sets the length of what is decoded.
    text : float
        Share of the contrast with embeddings of texts in the loss, where these are given.
    learning_rate, weight_decay, first_decay
        `first_decay` is the weight decay of the adapters.
    batch_size, max_epochs, patience, clip
    cv : int, or mapping of recording to a list of (train, validation)
        The first split gives the validation rows, by which the best epoch is chosen; the others choose the
        alphas of the ridge at which the linear path of a recording starts. A recording may have no validation
        rows, if another one has.
    seed : int
    device : str
    checkpoint : path, optional
        Written after each epoch; a run that is killed goes on from there to the same weights.

    Attributes
    ----------
    target_ : Target
    fronts_ : dict
        Recording -> Front.
    history_ : list of float
        Cosine on validation after each epoch, mean over recordings.
    """

    def __init__(
        self,
        n_components: int | None = 100,
        *,
        n_times: Mapping[str, int] | None = None,
        position: Mapping[str, ArrayLike] | None = None,
        n_hidden: int = 256,
        n_blocks: int = 2,
        dropout: float = 0.3,
        squared_error: float = 1.0,
        text: float = 0.01,
        learning_rate: float = 3e-4,
        weight_decay: float = 1e-2,
        first_decay: float = 1e-1,
        batch_size: int = 128,
        max_epochs: int = 20,
        patience: int = 10,
        clip: float = 1.0,
        cv: Any = 5,
        seed: int = 0,
        device: str = "cpu",
        checkpoint: str | Path | None = None,
    ) -> None:
        self.n_components = n_components
        self.n_times = n_times
        self.position = position
        self.n_hidden = n_hidden
        self.n_blocks = n_blocks
        self.dropout = dropout
        self.squared_error = squared_error
        self.text = text
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.first_decay = first_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.clip = clip
        self.cv = cv
        self.seed = seed
        self.device = device
        self.checkpoint = checkpoint

    def fit(
        self, X: Mapping[str, ArrayLike], y: Mapping[str, ArrayLike],
        text: Mapping[str, ArrayLike] | None = None,
    ) -> Self:  # fmt: skip
        """Train on all recordings together.

        Parameters
        ----------
        X : mapping
            Recording (MODALITY:SUBJECT) -> responses, (n_samples, n_neuroids), standardised.
        y : mapping
            Recording -> embeddings of its pictures, (n_samples, n_features).
        text : mapping, optional
            Recording -> embeddings of texts of its pictures, (n_samples, n_text_features).

        Raises
        ------
        InputError
            Names that are none; responses that are not finite; epochs of another length; no validation rows;
            a checkpoint of another model; a loss that is not finite.
        """
        if not X:
            raise InputError("There are no recordings to train on. Give one or more, MODALITY:SUBJECT.")
        responses = {name: _finite(values, name) for name, values in X.items()}
        self.fronts_ = {name: self._front(name, v.shape[1]) for name, v in responses.items()}
        told = [_of_each(responses, given) for given in ([y] if text is None else [y, text])]
        targets = [Target.fit(np.concatenate(list(v.values())), self.n_components) for v in told]
        self.target_ = targets[0]
        component = np.concatenate(
            [t.transform(np.concatenate(list(v.values()))) for t, v in zip(targets, told, strict=True)], 1
        )
        n_out = len(self.target_.basis)
        torch.manual_seed(self.seed)
        self.module_ = JointNetwork(
            self.fronts_, self.n_hidden, self.n_blocks, self.dropout, n_out, component.shape[1] - n_out
        )
        fitted, held, start = [], [], 0
        for name, values in responses.items():
            folds = self.cv[name] if isinstance(self.cv, Mapping) else folds_of(self.cv, len(values))
            self._start(name, values, component[start : start + len(values), :n_out], folds)
            fitted.append(folds[0][0] + start)
            held.append(folds[0][1] + start)
            start += len(values)
        held = [rows for rows in held if len(rows)]
        if not held:
            raise InputError("No recording has validation rows. Give folds whose first validates on some.")
        stacked = Rows(list(responses.values()), list(range(len(responses))))
        self._train(stacked, component, np.concatenate(fitted), held)
        return self

    def _front(self, name: str, width: int) -> Front:
        modality = modality_of(name)
        n_times, position = (self.n_times or {}).get(modality), (self.position or {}).get(name)
        if n_times and width % n_times:
            raise InputError(
                f"{width} responses of {name!r} are no epochs of {n_times} samples. Give channels times "
                "samples, flattened."
            )
        if position is not None and (n_times is None or np.shape(position) != (width // n_times, 3)):
            raise InputError(
                f"The positions of {name!r} have shape {np.shape(position)}, expected "
                f"({width // (n_times or 1)}, 3), one of each channel, and `n_times` of its modality."
            )
        return Front(modality, width, n_times, position)

    def _start(self, name: str, X: Floats, component: Floats, folds: list[Any]) -> None:
        """Start the linear path of a recording at the ridge of its fitted rows."""
        fitted = folds[0][0]
        place = np.full(len(X), -1)
        place[fitted] = np.arange(len(fitted))
        inside = [[place[part][place[part] >= 0] for part in fold] for fold in folds[1:]]
        within: Any = [fold for fold in inside if len(fold[0]) > 1 and len(fold[1]) > 1]
        cv = within or max(2, min(5, len(fitted) // 2))
        ridge = RidgeCV(np.logspace(0, 6, 13), cv=cv)
        ridge.fit(X[fitted], component[fitted])
        layer: Any = self.module_.first_straight[f"r{name}"]
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(ridge.coef_)))
            layer.bias.copy_(torch.from_numpy(np.asarray(ridge.intercept_)))

    def _train(
        self, X: Rows, component: Floats, fitted: NDArray[np.int64], held: list[NDArray[np.int64]]
    ) -> None:
        digest = hashlib.sha256(training.fingerprint(self, X, component).encode())
        digest.update(",".join(self.fronts_).encode())
        ends = np.cumsum([len(rows) for rows in held])[:-1]
        n_out = len(self.target_.basis)

        def score(truth: Floats, predicted: Floats) -> float:
            parts = zip(np.split(truth[:, :n_out], ends), np.split(predicted, ends), strict=True)
            return float(np.mean([row_cosine(*part).mean() for part in parts]))

        self.history_ = training.train(
            self.module_, X, component, fitted, np.concatenate(held), learning_rate=self.learning_rate,
            weight_decay=self.weight_decay, first_decay=self.first_decay, batch_size=self.batch_size,
            max_epochs=self.max_epochs, patience=self.patience, clip=self.clip, seed=self.seed,
            device=self.device, checkpoint=self.checkpoint, fingerprint=digest.hexdigest(),
            description=f"joint decoder of {len(self.fronts_)}", loss=self.loss, score=score,
        )  # fmt: skip

    def loss(self, module: torch.nn.Module, x: torch.Tensor, true: torch.Tensor, over: float) -> torch.Tensor:
        """Contrast decoded with true components, with targets as soft as pictures are alike.

        A picture that stands in a batch for two recordings is no wrong answer of either: it is as like as can
        be.

        Parameters
        ----------
        module : JointNetwork
        x : tensor of shape (n, n_widest + 1)
        true : tensor of shape (n, n_components + n_text_components)
        over : float
            Share of all epochs that are over.
        """
        decoded: Any = module(x).float()
        picture, text = true[:, : decoded.shape[1]], true[:, decoded.shape[1] :]
        temperature = losses.soft_temperature(over)
        value = losses.softclip(normalize(decoded, dim=1), normalize(picture, dim=1), temperature)
        if text.shape[1]:
            said: Any = module.text(decoded)  # type: ignore[operator]
            other = losses.softclip(normalize(said, dim=1), normalize(text, dim=1), temperature)
            value = (1 - self.text) * value + self.text * other
        found: torch.Tensor = value + self.squared_error * ((decoded - picture) ** 2).mean()
        return found

    def predict_components(
        self, X: ArrayLike, recording: str, through: Iterable[str] | None = None
    ) -> Floats:
        """Decode responses into the shared space, (n_samples, n_components).

        Parameters
        ----------
        X : array of shape (n_samples, n_neuroids)
        recording : str
            Whose responses these are.
        through : iterable of str, optional
            Recordings of the same modality and the same neuroids, whose adapters are taken in place of its
            own: the mean of what they decode. For a subject that was not trained on.

        Raises
        ------
        InputError
            No such recording; another number of neuroids.
        """
        check_is_fitted(self)
        names = list(self.fronts_)
        values = _finite(X, recording)
        parts = []
        for name in [recording] if through is None else through:
            if name not in names:
                raise invalid("recording", name, names)
            if values.shape[1] != self.fronts_[name].width:
                raise InputError(
                    f"{recording!r} has {values.shape[1]} neuroids times time bins, the adapter of {name!r} "
                    f"reads {self.fronts_[name].width}. Use an adapter of the same channels and window."
                )
            widest = max(front.width for front in self.fronts_.values())
            rows = Rows([values], [names.index(name)], widest)
            parts.append(training.predict(self.module_, rows, batch_size=self.batch_size, device=self.device))
        return np.asarray(np.mean(parts, 0))

    def predict(self, X: ArrayLike, recording: str) -> Floats:
        """Decode embeddings, (n_samples, n_features)."""
        return self.target_.inverse(self.predict_components(X, recording))


def _of_each(responses: Mapping[str, Floats], given: Mapping[str, ArrayLike]) -> dict[str, Floats]:
    """Return the embeddings of each recording, checked."""
    out = {}
    for name, values in responses.items():
        if name not in given:
            raise invalid("recording", name, given)
        out[name] = embeddings_of(given[name])
        same_length(values, out[name])
    return out


def _finite(values: ArrayLike, name: str) -> Floats:
    found: Floats = as_numbers(values, f"The array of {name!r}", np.float32)
    if found.ndim != 2 or not found.size:
        raise InputError(
            f"The responses of {name!r} have shape {found.shape}. Expected (n_samples, n_neuroids), one row "
            "or more; flatten epochs."
        )
    bad = ~np.isfinite(found).all(0)
    if bad.any():
        raise InputError(
            f"The responses of {name!r} have NaN or infinite values in columns "
            f"{np.flatnonzero(bad)[:5].tolist()}. Leave them out, or put 0 there."
        )
    return found
