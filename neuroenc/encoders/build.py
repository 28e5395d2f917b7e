"""From the options of an encoder to its estimator."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from neuroenc import config
from neuroenc.errors import InputWarning

SOME = 0.01  # R2: what validation does not predict takes the largest alpha rightly


def warn_of_edge(alphas: tuple[float, float, int], alpha: ArrayLike, score: ArrayLike, what: str) -> None:
    """Warn where most targets that validation predicts have the largest alpha: a larger one may be better.

    Parameters
    ----------
    alphas : (low, high, number)
        log10 of the candidates, as in options.
    alpha, score : arrays of one shape
        What was chosen, and its validation R2; targets whose R2 is not above `SOME` do not count.
    what : str
        The targets are.
    """
    predicted = np.asarray(score) > SOME
    largest = np.isclose(np.asarray(alpha)[predicted], 10.0 ** alphas[1])
    if alphas[2] > 1 and largest.size and largest.mean() > 0.5:
        warnings.warn(
            f"The largest alpha, {10.0 ** alphas[1]:g}, was chosen for {largest.mean():.0%} of the "
            f"{largest.size} {what} that validation predicts: a larger one may do better. Raise the second "
            f"number of `alphas`, {alphas[1]:g}.", InputWarning, stacklevel=3,
        )  # fmt: skip


def make(
    options: config.Encoder, folds: list[Any], *, bands: Any = None, membership: Any = None,
    layer_channels: tuple[int, ...] | None = None, checkpoint: Any = None,
) -> Any:  # fmt: skip
    """Build the estimator an encoder's options describe.

    Parameters
    ----------
    options : Encoder
    folds : list of (train, validation)
    bands : array of text, (n_features,), optional
        For banded ridge.
    membership : array of shape (n_targets, n_queries) or "each", optional
        For readouts that route tokens to regions.
    layer_channels : tuple of int, optional
        Channels of the layers that stand side by side; for attention routing.
    checkpoint : path, optional
        From which a run trained by gradient is resumed.
    """
    values = options.model_dump(
        exclude={"name", "models", "layers", "delays", "queries", "networks", "standardise", "joint"}
    )
    if "alphas" in values:
        low, high, number = values["alphas"]
        values["alphas"] = np.logspace(low, high, number)
    values["cv"] = folds
    if values.get("device") == "cpu" and not isinstance(options, config.Trained):
        values["device"] = None  # NumPy, without torch
    elif "device" in values:
        from neuroenc.devices import pick_device

        values["device"] = pick_device(values["device"])
    if isinstance(options, config.Trained):
        values["checkpoint"] = checkpoint
    match options.name:
        case "ridge":
            from neuroenc.encoders.ridge import RidgeCV

            return RidgeCV(**values)
        case "banded":
            from neuroenc.encoders.banded import BandedRidgeCV

            return BandedRidgeCV(bands=bands, **values)
        case "pls":
            from neuroenc.encoders.pls import PLS

            return PLS(**values)
        case "factorised":
            from neuroenc.encoders.factorised import FactorisedCV

            return FactorisedCV(**values)
        case "gaussian":
            from neuroenc.encoders.gaussian import GaussianFieldCV

            return GaussianFieldCV(**values)
        case "semantic_transformer":
            from neuroenc.encoders.semantic_transformer import SemanticTransformer

            return SemanticTransformer(**values)
        case "response_core":
            from neuroenc.encoders.response_core import ResponseCore

            return ResponseCore(**values)
        case "random_attention":
            from neuroenc.encoders.random_attention import RandomAttentionCV

            return RandomAttentionCV(**values)
        case "attention":
            from neuroenc.encoders.attention import AttentionRouting

            return AttentionRouting(membership, layer_channels=layer_channels, **values)
        case "probing":
            from neuroenc.encoders.probing import EfficientProbing

            return EfficientProbing(membership, **values)
