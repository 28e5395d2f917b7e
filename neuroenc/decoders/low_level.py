"""What a response says of what is where: small pictures or latents, decoded, from which drawing starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.decoders.target import restore, target_of
from neuroenc.errors import ContractError, InputError

if TYPE_CHECKING:
    from neuroenc.features.latents import Latents

Floats = NDArray[np.float32]
Pictures = NDArray[np.uint8]


def low_level_pictures(
    embeddings: xr.Dataset, fold: int, name: str = "embedding", latents: Latents | None = None
) -> Pictures:
    """Return decoded small pictures, or the pictures of decoded latents, (n, side, side, 3).

    Parameters
    ----------
    embeddings : Dataset
    fold : int
    name : str
        As in `target.restore`.
    latents : Latents, optional
        The autoencoder of latents.

    Raises
    ------
    ContractError
        The embeddings are neither those of the extractor 'pixel' nor latents of this autoencoder.
    InputError
        They are latents, and no autoencoder is given.
    """
    return as_pictures(restore(embeddings, fold, name), embeddings, latents)


def as_pictures(values: Floats, embeddings: xr.Dataset, latents: Latents | None) -> Pictures:
    """Turn RGB or latents, (n, n_features), into pictures, as `low_level_pictures`."""
    model = str(embeddings.attrs["model"])
    if model.startswith("vae/"):
        if latents is None:
            raise InputError(
                f"Low-level pictures are decoded from latents of {model!r}. Give --low-level-model."
            )
        for key, wanted in latents.contract.items():
            if str(embeddings.attrs[key]) != wanted:
                raise ContractError(
                    f"The low level was decoded from latents whose {key!r} is {embeddings.attrs[key]!r}; "
                    f"those of the autoencoder given are {wanted!r}. Give the model that was decoded."
                )
        return latents.pictures(values)
    if not model.startswith("pixel"):
        raise ContractError(
            f"Low-level pictures are decoded from {model!r}, expected 'pixel/…' or 'vae/…'. Decode a model "
            "whose extractor is 'pixel' or 'vae'."
        )
    side = round((values.shape[1] / 3) ** 0.5)
    return np.asarray((values.reshape(-1, side, side, 3).clip(0, 1) * 255).round(), np.uint8)


def low_level_starts(
    low_level: xr.Dataset, null: xr.Dataset, fold: int, rows: NDArray[np.int64],
    latents: Latents | None = None,
) -> dict[str, Pictures]:  # fmt: skip
    """Return the pictures from which each condition of a fold is drawn, (n, side, side, 3).

    Parameters
    ----------
    low_level, null : Dataset
        Embeddings of small pictures or latents, decoded and decoded after shuffling.
    fold : int
    rows : int array
        Of the test stimuli of the fold.
    latents : Latents, optional
    """

    def of(found: xr.Dataset, name: str = "embedding") -> Pictures:
        return as_pictures(restore(found, fold, name)[rows], found, latents)

    decoded = of(low_level)
    mean = as_pictures(target_of(low_level, fold).mean[None], low_level, latents)
    return {
        "brain": decoded, "plain": decoded, "prior": decoded, "mean": np.repeat(mean, len(decoded), 0),
        "shuffled": of(null), "true": of(low_level, "true"),
    }  # fmt: skip
