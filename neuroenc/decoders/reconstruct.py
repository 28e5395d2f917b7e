"""Pictures and captions from decoded embeddings, and from everything they must be held against.

A reconstruction by itself says little: a good generator draws convincing pictures from noise. So each picture
comes in conditions, by the same generator from the same seed: decoded from the brain; from a brain whose
training pictures were dealt anew; from the mean embedding; from no embedding; from the true embedding. Beside
them stands the nearest training picture, which no generator is needed for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from tqdm import tqdm

from neuroenc import __version__, ranking, splits
from neuroenc.arrays import CONTRACT, check, same_contract, select_layers
from neuroenc.blocks import BLOCK_BYTES, blocks
from neuroenc.config import Reconstruction
from neuroenc.datasets.pixels import read_pixels
from neuroenc.decoders.nano import describe, resize
from neuroenc.decoders.pipelines import ImageDecoder, Nano, check_takes
from neuroenc.decoders.target import Target, restore, target_of
from neuroenc.encoders.design import design
from neuroenc.errors import ContractError, InputError
from neuroenc.evaluation.identification import cosine

CONDITIONS = {
    "brain": "decoded from the response",
    "plain": "decoded from the response, without the prior",
    "low_level": "the low-level picture, decoded from the response",
    "retrieved": "the training picture nearest to what was decoded",
    "shuffled": "decoded after the training pictures were dealt anew to the responses",
    "mean": "from the mean embedding of the training pictures",
    "sample": "drawn by the generator from no embedding",
    "true": "from the true embedding: the generator's ceiling",
}
Floats = NDArray[np.float32]


class Restored:
    """Embeddings of decoded components, (n_pictures, n_features), made where they are indexed.

    Parameters
    ----------
    component : array of shape (n_pictures, n_components)
    target : Target
        Their space.
    """

    def __init__(self, component: Floats, target: Target) -> None:
        self.component, self.target = component, target
        self.shape = (len(component), len(target.mean))

    def __getitem__(self, rows: slice) -> Floats:
        return self.target.inverse(self.component[rows])


def given_embeddings(
    embeddings: xr.Dataset, null: xr.Dataset, features: xr.Dataset, fold: int
) -> dict[str, Any]:
    """Collect the embeddings of the conditions of a fold, each (n_pictures, n_features), read by slices.

    Parameters
    ----------
    embeddings, null : Dataset
        Embeddings, decoded and decoded after shuffling.
    features : Dataset
        Features they were decoded to, for the true embeddings.
    fold : int

    Raises
    ------
    ContractError
        The arrays disagree about what is embedded, or about the pictures.
    """
    layers = str(embeddings.attrs["layer"]).split(",")
    same_contract(select_layers(features, layers).attrs, embeddings.attrs)
    same_contract(null.attrs, embeddings.attrs)
    mine = embeddings["fold"].values == fold
    ids = embeddings["stimulus_id"].values[mine]
    if not np.array_equal(ids, null["stimulus_id"].values[null["fold"].values == fold]):
        raise ContractError("The decoded and the shuffled embeddings are of other pictures. Fit both anew.")
    target = target_of(embeddings, fold)
    out: dict[str, Any] = {}
    if "sampled" in embeddings:
        out["brain"] = Restored(embeddings["sampled"].values[mine], target)
        out["plain"] = Restored(embeddings["embedding"].values[mine], target)
    else:
        out["brain"] = Restored(embeddings["embedding"].values[mine], target)
    shuffled = null["sampled" if "sampled" in null else "embedding"].values[null["fold"].values == fold]
    out["shuffled"] = Restored(shuffled, target_of(null, fold))
    out["mean"] = np.broadcast_to(target.mean, (len(ids), len(target.mean)))
    out["true"] = design(features, ids, layers).flattened()
    return out


def nearest_training(
    embeddings: xr.Dataset, features: xr.Dataset, split: xr.Dataset, fold: int
) -> NDArray[np.str_]:
    """Retrieve for each test picture of a fold the nearest training picture, by cosine of components.

    Parameters
    ----------
    embeddings, features, split : Dataset
        Embeddings, Features, Splits.
    fold : int
    """
    pool = split["stimulus_id"].values[split["side"].values[fold] == splits.TRAIN]
    pool = pool[np.isin(pool, features["stimulus_id"].values)]
    known = design(features, pool, str(embeddings.attrs["layer"]).split(",")).flattened()
    decoded = embeddings["embedding"].values[embeddings["fold"].values == fold]
    similarity = cosine(decoded, target_of(embeddings, fold).transform(known))
    return np.asarray(pool[ranking.best(similarity, 1)])


def low_level_pictures(embeddings: xr.Dataset, fold: int, name: str = "embedding") -> NDArray[np.uint8]:
    """Return decoded small pictures, (n, side, side, 3).

    Raises
    ------
    ContractError
        The embeddings are not those of the extractor 'pixel'.
    """
    if not str(embeddings.attrs["model"]).startswith("pixel"):
        raise ContractError(
            f"Low-level pictures are decoded from {embeddings.attrs['model']!r}, expected 'pixel/…'. Decode "
            "a model whose extractor is 'pixel'."
        )
    rgb = restore(embeddings, fold, name)
    side = round((rgb.shape[1] / 3) ** 0.5)
    return np.asarray((rgb.reshape(-1, side, side, 3).clip(0, 1) * 255).round(), np.uint8)


def reconstruct(
    embeddings: xr.Dataset, null: xr.Dataset, features: xr.Dataset, stimuli: xr.Dataset, split: xr.Dataset,
    decoder: ImageDecoder, options: Reconstruction, *, low_level: tuple[xr.Dataset, xr.Dataset] | None = None,
) -> xr.Dataset:  # fmt: skip
    """Draw the test pictures of all folds in all conditions.

    Parameters
    ----------
    embeddings, null : Dataset
        Embeddings, decoded and decoded after shuffling.
    features, stimuli, split : Dataset
        Features they were decoded to, StimulusSet, Splits.
    decoder : ImageDecoder
    options : Reconstruction
    low_level : (Embeddings, Embeddings), optional
        Small pictures, decoded and decoded after shuffling.

    Returns
    -------
    Dataset
        Pictures: `picture` (condition, presentation, row, column, channel), and `retrieved`, the id of the
        nearest training picture.

    Raises
    ------
    ContractError
        The decoder takes other embeddings.
    """
    how: dict[str, Any] = {
        "guidance": decoder.guidance if options.guidance is None else options.guidance,
        "n_steps": options.n_steps or decoder.n_steps, "strength": options.strength, "seed": options.seed,
    }  # fmt: skip
    out: dict[str, list[Any]] = {}
    ids, folds, retrieved = [], [], []
    row = {s: i for i, s in enumerate(stimuli["stimulus_id"].values)}
    for fold in np.unique(embeddings["fold"].values).tolist():
        given = given_embeddings(embeddings, null, features, fold)
        check_takes(decoder, embeddings.attrs, given["true"].shape[1])
        starts = low_level_starts(*low_level, fold) if low_level is not None else {}
        near = nearest_training(embeddings, features, split, fold)
        shown: dict[str, Any] = {"retrieved": read_pixels(stimuli, np.array([row[s] for s in near]))}
        if starts:
            shown["low_level"] = starts["brain"]
        for name in tqdm([*given, "sample"], "reconstruct", disable=None):
            shown[name] = draw(decoder, given.get(name), len(near), starts.get(name), how)
        for name, made in shown.items():
            out.setdefault(name, []).append(np.stack([resize(p, options.side) for p in made]))
        retrieved.append(near)
        ids.append(embeddings["stimulus_id"].values[embeddings["fold"].values == fold])
        folds.append(np.full(len(near), fold))
    names = [c for c in CONDITIONS if c in out]
    picture = np.stack([np.concatenate(out[c]) for c in names])
    return _finish(
        "pictures", "picture", ("row", "column", "channel"), picture, names, np.concatenate(ids),
        np.concatenate(folds), embeddings,
        {"generator": options.generator, "seed": options.seed, "guidance": how["guidance"],
         "n_steps": how["n_steps"], "strength": options.strength if low_level else 1.0,
         "notice": "Generated: a guess by a generator, not what the brain saw."},
        {"retrieved": ("presentation", np.concatenate(retrieved))},
    )  # fmt: skip


def low_level_starts(low_level: xr.Dataset, null: xr.Dataset, fold: int) -> dict[str, NDArray[np.uint8]]:
    """Return the small pictures from which each condition of a fold is drawn, (n, side, side, 3).

    Parameters
    ----------
    low_level, null : Dataset
        Embeddings of small pictures, decoded and decoded after shuffling.
    fold : int
    """
    decoded = low_level_pictures(low_level, fold)
    average = target_of(low_level, fold).mean.reshape(1, *decoded.shape[1:])
    mean = np.repeat((average.clip(0, 1) * 255).round().astype(np.uint8), len(decoded), 0)
    return {
        "brain": decoded, "plain": decoded, "shuffled": low_level_pictures(null, fold), "mean": mean,
        "true": low_level_pictures(low_level, fold, "true"),
    }  # fmt: skip


def draw(
    decoder: ImageDecoder, embedding: Any, n: int, init: NDArray[np.uint8] | None, how: Mapping[str, Any]
) -> NDArray[np.uint8]:
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


def caption(
    embeddings: xr.Dataset, null: xr.Dataset, features: xr.Dataset, stimuli: xr.Dataset, split: xr.Dataset, *,
    seed: int = 0,
) -> xr.Dataset:  # fmt: skip
    """Caption the test pictures of all folds in all conditions, by the captioner that comes along.

    Parameters
    ----------
    embeddings, null, features, stimuli, split
        As in `reconstruct`; the retrieved caption is the first of the nearest training picture.
    seed : int
        Of the captions drawn from no embedding.

    Raises
    ------
    ContractError
        The embeddings are not those the captioner takes.
    InputError
        The stimuli carry no captions.
    """
    if "caption" not in stimuli:
        raise InputError("The stimuli carry no captions. Use pictures that have some.")
    row = {s: i for i, s in enumerate(stimuli["stimulus_id"].values)}
    out: dict[str, list[str]] = {}
    ids, folds = [], []
    for fold in np.unique(embeddings["fold"].values).tolist():
        given = given_embeddings(embeddings, null, features, fold)
        check_takes(Nano(), embeddings.attrs, given["true"].shape[1])
        near = nearest_training(embeddings, features, split, fold)
        out.setdefault("retrieved", []).extend(str(stimuli["caption"].values[row[s], 0]) for s in near)
        said = iter(describe(np.concatenate([v[:] for v in given.values()])))
        for name in given:
            out.setdefault(name, []).extend(next(said) for _ in near)
        out.setdefault("sample", []).extend(describe(None, n=len(near), seed=seed))
        ids.append(embeddings["stimulus_id"].values[embeddings["fold"].values == fold])
        folds.append(np.full(len(near), fold))
    names = [c for c in CONDITIONS if c in out]
    return _finish(
        "captions", "caption", (), np.array([out[c] for c in names]), names, np.concatenate(ids),
        np.concatenate(folds), embeddings, {"generator": "nano", "seed": seed}, {},
    )  # fmt: skip


def _finish(
    kind: Any, name: str, dims: tuple[str, ...], values: NDArray[Any], conditions: list[str],
    ids: NDArray[np.str_], fold: NDArray[np.int64], embeddings: xr.Dataset, about: Mapping[str, Any],
    more: Mapping[str, Any],
) -> xr.Dataset:  # fmt: skip
    kept = (*CONTRACT, "dataset", "decoder", "transductive")
    dataset = xr.Dataset(
        {name: (("condition", "presentation", *dims), values), **more},
        {"condition": conditions, "stimulus_id": ("presentation", ids), "fold": ("presentation", fold)},
        {k: embeddings.attrs[k] for k in kept}
        | {"kind": kind, "neuroenc_version": __version__}
        | dict(about),
    )
    return check(dataset, kind)
