"""Pictures drawn in blocks, the best of several, and what of a prior they are drawn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from tqdm import tqdm

from neuroenc.arrays import same_contract, select_layers
from neuroenc.blocks import BLOCK_BYTES, blocks
from neuroenc.config import Model
from neuroenc.decoders.choice import Choice, candidates, choose
from neuroenc.decoders.pipelines import ImageDecoder
from neuroenc.decoders.target import Target, target_of
from neuroenc.evaluation.identification import cosine
from neuroenc.evaluation.images import two_way
from neuroenc.features.extract import describer

Floats = NDArray[np.float32]
Pictures = NDArray[np.uint8]
Eye = Callable[[Pictures], Floats]
"""From pictures, (n, height, width, 3), to embeddings as those decoded, (n, n_features)"""
FEWEST = 3  # validation stimuli that choose anything


class Drawn(NamedTuple):
    """Pictures and how they were chosen."""

    picture: Pictures
    """(n, side, side, 3)"""
    draw: NDArray[np.int64]
    """(n,), which of the draws was kept"""


def draw(
    decoder: ImageDecoder, embedding: Any, n: int, init: Pictures | None, how: Mapping[str, Any]
) -> Pictures:
    """Draw n pictures, embeddings of `BLOCK_BYTES` at a time.

    Parameters
    ----------
    decoder : ImageDecoder
    embedding : array of shape (n, n_features), read by slices, or None
    n : int
    init : uint8 array of shape (n, height, width, 3), optional
    how : mapping
        strength, guidance, n_steps and seed, that of the first picture.
    """
    width = 1 if embedding is None else embedding.shape[1]
    made = [
        decoder(
            None if embedding is None else np.asarray(embedding[rows]), n=rows.stop - rows.start,
            init=None if init is None else init[rows], **{**how, "seed": how["seed"] + rows.start},
        )
        for rows in blocks(n, max(1, BLOCK_BYTES // (4 * width)))
    ]  # fmt: skip
    return np.concatenate(made)


def draw_best(
    decoder: ImageDecoder, embedding: Any, n: int, init: Pictures | None, how: Mapping[str, Any],
    n_draws: int, eye: Eye | None, target: Target,
) -> Drawn:  # fmt: skip
    """Draw each embedding several times and keep the picture that is most like it: the truth has no say.

    Parameters
    ----------
    decoder, embedding, n, init, how
        As in `draw`; draw k of a picture has the seed of the first one plus k n.
    n_draws : int
    eye : callable, optional
        What looks at the pictures; not needed for a single draw, nor where there is no embedding.
    target : Target
        In whose components a picture is compared, by cosine, with the embedding it was drawn from.
    """
    first = draw(decoder, embedding, n, init, how)
    kept = Drawn(first, np.zeros(n, np.int64))
    if n_draws == 1 or embedding is None or eye is None:
        return kept
    wanted = target.transform(np.asarray(embedding[:]))
    best = _agreement(target.transform(eye(first)), wanted)
    for k in range(1, n_draws):
        made = draw(decoder, embedding, n, init, {**how, "seed": how["seed"] + k * n})
        found = _agreement(target.transform(eye(made)), wanted)
        better = found > best
        best[better], kept.draw[better], kept.picture[better] = found[better], k, made[better]
    return kept


def _agreement(made: Floats, wanted: Floats) -> NDArray[np.float64]:
    """Cosine of each row with its own."""
    return np.array([cosine(a[None], b[None])[0, 0] for a, b in zip(made, wanted, strict=True)])


def eye_of(model: Model, embeddings: xr.Dataset) -> Eye:
    """Return the network whose embeddings were decoded, as what looks at pictures.

    Raises
    ------
    InputError, ContractError
        It is another network than that of the embeddings, or gives other layers.
    """
    described, layers = describer(model), str(embeddings.attrs["layer"]).split(",")

    def look(pictures: Pictures) -> Floats:
        found = select_layers(described(list(pictures)), layers)
        same_contract(found.attrs, embeddings.attrs)
        return np.asarray(found["feature"].values.reshape(len(pictures), -1), np.float32)

    look(np.zeros((1, 64, 64, 3), np.uint8))  # so that another network is refused before hours of drawing
    return look


def choose_for_pictures(
    embeddings: xr.Dataset, fold: int, decoder: ImageDecoder, eye: Eye | None, n: int, how: Mapping[str, Any]
) -> Choice:
    """Choose what pictures are drawn from: validation stimuli are drawn from each candidate and identified.

    The score is two-way identification among them by the network whose embedding was decoded. Without
    evidence it is the prior's sample. Low-level pictures are not started from.

    Parameters
    ----------
    embeddings : Dataset
        Embeddings, with what a prior made.
    fold : int
    decoder : ImageDecoder
    eye : callable, optional
        None: nothing is drawn, and the choice is the prior's sample.
    n : int
        Validation stimuli, at most; fewer than three choose nothing.
    how : mapping
        As in `draw`.
    """
    found, true = validated(embeddings, fold, n)
    if len(true) < FEWEST or eye is None:
        return Choice("prior", {}, 0)
    target = target_of(embeddings, fold)
    seen = target.inverse(true)
    names = ["prior", *(name for name in found if name != "prior")]
    scores = {
        name: two_way(seen, eye(draw(decoder, target.inverse(found[name]), len(true), None, how)))
        for name in tqdm(names, "choose", disable=None)
    }
    return choose(scores)


def validated(embeddings: xr.Dataset, fold: int, n: int) -> tuple[dict[str, Floats], Floats]:
    """Return the candidates and the truth of n validation stimuli of a fold, spread evenly over them."""
    rows = validation_rows(embeddings, fold, n)
    true = embeddings["held_true"].values[embeddings["held_fold"].values == fold]
    return {k: v[rows] for k, v in candidates(embeddings, fold, held=True).items()}, true[rows]


def validation_rows(embeddings: xr.Dataset, fold: int, n: int) -> NDArray[np.int64]:
    """Return n rows, or all, of the validation stimuli of a fold."""
    total = int((embeddings["held_fold"].values == fold).sum())
    return np.unique(np.linspace(0, total - 1, min(n, total)).round().astype(np.int64))
