"""Pictures a region would answer to, drawn from its words and by the gradient of its encoder.

By words: what is written of the region becomes an embedding of text, ridge takes it to an embedding of
pictures, and the generator draws that (after BrainSCUBA, Luo et al. 2024). By gradient: each step of
denoising is pushed towards pictures whose predicted response is higher (after BrainDiVE, Luo et al. 2023,
arXiv 2306.03089). The small generator of the simulated world is used; what is drawn is judged by an encoder
that took no part, against the pictures of the bank.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc import splits
from neuroenc.arrays import join, regions, select_layers
from neuroenc.datasets.pixels import read_pixels
from neuroenc.decoders import nano as small
from neuroenc.decoders.pipelines import Nano, check_takes
from neuroenc.decoders.voxels import Words, count_words, word_scores
from neuroenc.decoders.voxels import caption as choose_caption
from neuroenc.encoders.missing import by_stimulus
from neuroenc.encoders.ridge import RidgeCV
from neuroenc.errors import InputError, invalid
from neuroenc.real import deviation, varies

if TYPE_CHECKING:
    import torch

Floats = NDArray[Any]
STEPS = 20  # of drawing with a gradient, and without: 50 raised that of the face area no more


class Synthesis(NamedTuple):
    """Pictures for one region and the embeddings of natural ones beside them."""

    caption: str
    pictures: dict[str, NDArray[np.uint8]]
    """text, gradient, unguided: (n, side, side, 3); top, random: pictures of the bank"""
    activation: dict[str, Floats]
    """Mean response of the region that the guiding encoder predicts, in its standard deviations"""


def synthesise(
    responses: xr.Dataset, features: xr.Dataset, stimuli: xr.Dataset, split: xr.Dataset, region: str, *,
    n: int = 10, scale: float = 3.0, fold: int = 0, seed: int = 0,
) -> Synthesis:  # fmt: skip
    """Draw pictures for a region.

    Parameters
    ----------
    responses, features, stimuli, split : Dataset
        Responses, Features of the small network (layer `visual`), StimulusSet with captions, Splits.
    region : str
    n : int
        Pictures of each kind.
    scale : float
        Strength of the gradient.
    fold : int
        Whose training pictures the encoder is fitted to; the bank is these.
    seed : int

    Raises
    ------
    ContractError
        Features the generator does not take.
    InputError
        No such region; no voxel of it varies.
    """
    features = select_layers(features, ["visual"])
    ids, mean, group, _ = by_stimulus(responses)
    side, inner = splits.sides(split, fold, ids, group)
    train = side == splits.TRAIN
    known = regions(responses)
    if region not in known:
        raise invalid("region", region, known)
    response = mean.reshape(len(ids), -1)[train][:, known[region]]
    response = response[:, varies(response)]
    if not response.shape[1]:
        raise InputError(f"No voxel of {region!r} varies over the training stimuli.")
    drive = mean_drive(response)
    embedding = join(features, ids[train])
    check_takes(Nano(), features.attrs, embedding.shape[1])
    centre, spread = embedding.mean(0), deviation(embedding)
    spread = np.where(spread > 0, spread, 1)
    folds = splits.inner_folds(inner[train])
    X = (embedding - centre) / spread
    encoder = RidgeCV(np.logspace(-1, 5, 13), cv=folds).fit(X, drive[:, None])
    weight, level = np.asarray(encoder.coef_).ravel(), float(np.ravel(encoder.intercept_)[0])
    predicted = X @ weight + level
    unit = predicted.std()

    row = {s: i for i, s in enumerate(stimuli["stimulus_id"].values)}
    places = np.array([row[s] for s in ids[train]])
    texts = stimuli["caption"].values[places]
    said = _caption(weight / spread, embedding - centre, texts)
    drawn: dict[str, NDArray[np.uint8]] = {
        "text": small.generate(np.repeat(_picture_embedding(said, texts, embedding), n, 0), seed=seed),
        "gradient": small.generate(
            None, n=n, seed=seed, steps=STEPS, push=_push(weight / spread, centre, scale / unit)
        ),
        "unguided": small.generate(None, n=n, seed=seed, steps=STEPS),
    }  # fmt: skip
    order = np.argsort(-predicted)
    chosen = {"top": order[:n], "random": np.random.default_rng(seed).choice(len(order), n, replace=False)}
    for name, rows in chosen.items():
        shown = read_pixels(stimuli, places[rows])
        drawn[name] = np.stack([small.resize(p, small.SIDE) for p in shown])
    activation = {
        name: (((small.embed(p) - centre) / spread) @ weight + level) / unit for name, p in drawn.items()
    }
    return Synthesis(said, drawn, activation)


def mean_drive(response: Floats) -> Floats:
    """Average the voxels of a region, each in its own standard deviations, (n_stimuli,).

    Parameters
    ----------
    response : array of shape (n_stimuli, n_voxels)
        NaN marks a missing value: the others of the stimulus are averaged; NaN where there is none.
    """
    z = (response - np.nanmean(response, 0, dtype=float)) / deviation(response, missing=True)
    known = np.isfinite(z)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, z, 0).sum(1) / known.sum(1))


def _caption(weight: Floats, bank: Floats, texts: NDArray[Any]) -> str:
    words: Words = count_words(texts)
    score = word_scores(weight[None], bank, words.present)
    return choose_caption(score, words.names, [str(t) for t in texts.ravel() if t])[0]


def _picture_embedding(caption: str, texts: NDArray[Any], embedding: Floats) -> Floats:
    """Take a caption to the embedding of a picture, by ridge from the text half to the picture half."""
    from neuroenc.config import Model
    from neuroenc.features.networks import embed_texts

    model = Model(extractor="open_clip", network="nano")
    pairs = [str(t[0]) for t in texts]
    given = embed_texts([*pairs, caption], model)
    given /= np.linalg.norm(given, axis=1, keepdims=True)
    bridge = RidgeCV(np.logspace(-4, 3, 15), cv=5).fit(given[:-1], embedding)
    return np.asarray(bridge.predict(given[-1:]), np.float32)


def _push(weight: Floats, centre: Floats, scale: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return from pictures, (n, 3, side, side) in -1 to 1, the response to be raised, (n,)."""
    import torch

    w, c = (torch.from_numpy(np.asarray(v, np.float32)) for v in (weight, centre))

    def response(pictures: torch.Tensor) -> torch.Tensor:
        return scale * ((small.look(pictures.clamp(-1, 1)) - c) @ w)

    return response
