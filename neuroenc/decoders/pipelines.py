"""What draws: image decoders behind one call, each saying which embedding it takes.

The small decoder of the demo is here, those of diffusers are in `pretrained`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from neuroenc.errors import ContractError
from neuroenc.features import nano

Pictures = NDArray[np.uint8]
Floats = NDArray[np.float32]


TAKES: dict[str, Mapping[str, str]] = {
    "nano": {"model": "open_clip/nano", "layer": "visual"},
    "kandinsky": {"model": "open_clip/ViT-bigG-14", "layer": "visual"},
    "unclip": {"model": "open_clip/ViT-H-14", "layer": "visual"},
    "ip_adapter": {"model": "open_clip/ViT-H-14", "layer": "visual"},
    "ip_adapter_plus": {
        "model": "open_clip/ViT-H-14", "layer": "visual.transformer.resblocks.30", "pooling": "tokens",
    },
    "versatile": {"model": "open_clip/ViT-L-14-quickgelu", "layer": "visual.ln_post", "pooling": "tokens"},
}  # fmt: skip
"""Embeddings each takes, by the name of the generator; of `nano` the weights that come along besides.

Tokens are those of a layer, the class token first. 257 x 1,280 are the last but one block of ViT-H/14, which
IP-Adapter Plus was trained on; 257 x 1,024 those of ViT-L/14 behind its last normalisation, of which
MindEye1's 257 x 768 are a projection that `versatile` makes.
"""


def listing() -> str:
    """Write on one line which generator takes which embeddings."""
    return "; ".join(f"{name} takes {described(wanted)}" for name, wanted in TAKES.items())


def described(wanted: Mapping[str, Any]) -> str:
    """Name embeddings by network, layer and, of tokens, pooling."""
    of = f"{wanted['model']} {wanted['layer']}"
    return f"{of} {wanted['pooling']}" if "pooling" in wanted else of


class ImageDecoder(Protocol):
    """From embeddings to pictures."""

    takes: Mapping[str, str]
    """Embedding contract: model, layer, and weights where they are known"""
    shape: tuple[int, ...]
    """Of an embedding: (n_features,), or (n_tokens, n_channels) one after the other"""
    guidance: float
    """What suits it; 1: none"""
    n_steps: int
    starts: bool
    """Whether it can start from a low-level picture"""

    def __call__(
        self, embedding: Floats | None, *, n: int, init: Pictures | None, strength: float, guidance: float,
        n_steps: int, seed: int,
    ) -> Pictures:  # fmt: skip
        """Draw.

        Parameters
        ----------
        embedding : array of shape (n, n_features) or None
            Tokens one after the other. None: `n` pictures of no embedding at all, what the decoder draws by
            itself.
        n : int
        init : uint8 array of shape (n, height, width, 3), optional
            Pictures to start from.
        strength : float
            Share of the way back to noise that a start goes.
        guidance, n_steps
        seed : int
            Of the noise of the first picture; the next ones count up.

        Returns
        -------
        uint8 array of shape (n, side, side, 3)
        """
        ...


def check_takes(decoder: ImageDecoder, contract: Mapping[str, Any], n_features: int) -> None:
    """Refuse embeddings the decoder does not take.

    Raises
    ------
    ContractError
        Naming the field, what was found and what is taken.
    """
    if str(contract.get("weights")).startswith("random:"):
        raise ContractError(
            f"The embeddings are of an untrained network ({contract['weights']}); no generator takes them. "
            "Decode the trained one."
        )
    for key, wanted in decoder.takes.items():
        if contract.get(key) != wanted:
            raise ContractError(
                f"The image decoder takes embeddings whose {key!r} is {wanted!r}; these have "
                f"{contract.get(key)!r}. Decode that {key}, or choose a generator that takes this one: "
                f"{listing()}."
            )
    if n_features != prod(decoder.shape):
        taken = " x ".join(map(str, decoder.shape))
        raise ContractError(
            f"The image decoder takes embeddings of {taken} features; these have {n_features}. "
            f"Decode one layer, {'of pictures of its own size' if len(decoder.shape) > 1 else 'pooled'}."
        )


class Nano:
    """The small decoder that comes along, for pictures of the grammar.

    It does not start from a low-level picture but is shown it at every step, so that `strength` says nothing.
    """

    guidance, n_steps, starts = 2.0, 7, True
    shape: tuple[int, ...] = (64,)

    def __init__(self) -> None:
        weights = f"{nano.CHECKPOINT.name}:{nano.record()['sha256']}"
        self.takes: Mapping[str, str] = {**TAKES["nano"], "weights": weights}

    def __call__(
        self,
        embedding: Floats | None,
        *,
        n: int,
        init: Pictures | None,
        strength: float,  # noqa: ARG002
        guidance: float,
        n_steps: int,
        seed: int,
    ) -> Pictures:
        """Draw, as `ImageDecoder` says."""
        from neuroenc.decoders.nano import generate

        return generate(embedding, n=n, low_level=init, guidance=guidance, steps=n_steps, seed=seed)
