"""Pictures and captions from decoded embeddings, and from everything they must be held against.

A reconstruction by itself says little: a good generator draws convincing pictures from noise. So each picture
comes in conditions, by the same generator from the same seed: decoded from the brain; from a brain whose
training pictures were dealt anew; from the mean embedding; from no embedding; from the true embedding. Beside
them stands the nearest training picture, which no generator is needed for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from tqdm import tqdm

from neuroenc import __version__, ranking, splits
from neuroenc.arrays import CONTRACT, check, same_contract, select_layers
from neuroenc.config import Reconstruction
from neuroenc.datasets.pixels import read_pixels
from neuroenc.decoders.choice import Choice, candidates, choose, joined, point_estimate
from neuroenc.decoders.drawing import (
    FEWEST,
    Eye,
    choose_for_pictures,
    draw_best,
    validated,
    validation_rows,
)
from neuroenc.decoders.low_level import low_level_starts
from neuroenc.decoders.nano import describe, resize
from neuroenc.decoders.pipelines import ImageDecoder, Nano, check_takes
from neuroenc.decoders.target import Target, target_of
from neuroenc.encoders.design import design
from neuroenc.errors import ContractError, InputError
from neuroenc.evaluation.identification import cosine

if TYPE_CHECKING:
    from neuroenc.decoders.prefix_captioner import Captioner
    from neuroenc.features.latents import Latents

CONDITIONS = {
    "brain": "decoded from the response; with a prior, what served validation stimuli best",
    "plain": "decoded from the response, without the prior",
    "prior": "decoded from the response, the prior's sample",
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
    embeddings: xr.Dataset, null: xr.Dataset, features: xr.Dataset, fold: int, chosen: str = "plain",
    rows: NDArray[np.int64] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Collect the embeddings of the conditions of a fold, each (n_pictures, n_features), read by slices.

    Parameters
    ----------
    embeddings, null : Dataset
        Embeddings, decoded and decoded after shuffling.
    features : Dataset
        Features they were decoded to, for the true embeddings.
    fold : int
    chosen : str
        Candidate of `choice.candidates` that is `brain`, and `shuffled` of the null.
    rows : int array, optional
        Of the test stimuli of the fold; else all.

    Raises
    ------
    ContractError
        The arrays disagree about what is embedded, or about the pictures.
    """
    layers = str(embeddings.attrs["layer"]).split(",")
    same_contract(select_layers(features, layers).attrs, embeddings.attrs)
    same_contract(null.attrs, embeddings.attrs)
    ids = ids_of(embeddings, fold)
    if not np.array_equal(ids, ids_of(null, fold)):
        raise ContractError("The decoded and the shuffled embeddings are of other pictures. Fit both anew.")
    at = np.arange(len(ids)) if rows is None else rows
    target = target_of(embeddings, fold)
    found, dealt = candidates(embeddings, fold), candidates(null, fold)
    out: dict[str, Any] = {"brain": Restored(found[chosen][at], target)}
    if len(found) > 1:
        out |= {name: Restored(found[name][at], target) for name in ("plain", "prior")}
    out["shuffled"] = Restored(dealt.get(chosen, dealt["plain"])[at], target_of(null, fold))
    out["mean"] = np.broadcast_to(target.mean, (len(at), len(target.mean)))
    out["true"] = design(features, ids[at], layers).flattened()
    return out


def ids_of(embeddings: xr.Dataset, fold: int) -> NDArray[np.str_]:
    """Return the test stimuli of a fold."""
    return np.asarray(embeddings["stimulus_id"].values[embeddings["fold"].values == fold])


def tested_rows(n: int, n_test: int | None, seed: int) -> NDArray[np.int64]:
    """Choose which of n test stimuli of a fold are drawn, in their order."""
    if n_test is None or n_test >= n:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, n_test, replace=False))


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
    decoded = point_estimate(embeddings)[embeddings["fold"].values == fold]
    similarity = cosine(decoded, target_of(embeddings, fold).transform(known))
    return np.asarray(pool[ranking.best(similarity, 1)])


def reconstruct(
    embeddings: xr.Dataset, null: xr.Dataset, features: xr.Dataset, stimuli: xr.Dataset, split: xr.Dataset,
    decoder: ImageDecoder, options: Reconstruction, *, low_level: tuple[xr.Dataset, xr.Dataset] | None = None,
    latents: Latents | None = None, eye: Eye | None = None,
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
        Small pictures or latents, decoded and decoded after shuffling.
    latents : Latents, optional
        The autoencoder of latents.
    eye : callable, optional
        The network whose embeddings were decoded, which looks at what is drawn: for several draws, and to
        choose what of a prior is drawn from (`drawing.choose_for_pictures`).

    Returns
    -------
    Dataset
        Pictures: `picture` (condition, presentation, row, column, channel); `draw` (condition, presentation),
        which of the draws was kept; `retrieved`, the id of the nearest training picture. With a prior the
        attribute `chosen` says what `brain` and `shuffled` are drawn from.

    Raises
    ------
    ContractError
        The decoder takes other embeddings.
    InputError
        Several draws and no eye.
    """
    if options.n_draws > 1 and eye is None:
        raise InputError("Several draws are compared by the network that was decoded. Give its `--eye`.")
    how: dict[str, Any] = {
        "guidance": decoder.guidance if options.guidance is None else options.guidance,
        "n_steps": options.n_steps or decoder.n_steps, "strength": options.strength, "seed": options.seed,
    }  # fmt: skip
    out: dict[str, list[Any]] = {}
    kept: dict[str, list[Any]] = {}
    ids, folds, retrieved, choices = [], [], [], []
    row = {s: i for i, s in enumerate(stimuli["stimulus_id"].values)}
    for fold in np.unique(embeddings["fold"].values).tolist():
        tested = ids_of(embeddings, fold)
        rows = tested_rows(len(tested), options.n_test, options.seed)
        check_takes(decoder, embeddings.attrs, len(target_of(embeddings, fold).mean))
        chosen = Choice("plain", {}, 0)
        if "sampled" in embeddings:
            chosen = choose_for_pictures(embeddings, fold, decoder, eye, options.n_validation, how)
            choices.append(chosen)
        given = given_embeddings(embeddings, null, features, fold, chosen.name, rows)
        starts = low_level_starts(*low_level, fold, rows, latents) if low_level is not None else {}
        near = nearest_training(embeddings, features, split, fold)[rows]
        shown: dict[str, Any] = {"retrieved": read_pixels(stimuli, np.array([row[s] for s in near]))}
        which: dict[str, Any] = {}
        if starts:
            shown["low_level"] = starts["brain"]
        for name in tqdm([*given, "sample"], "reconstruct", disable=None):
            if name == chosen.name:
                shown[name], which[name] = shown["brain"], which["brain"]
                continue
            shown[name], which[name] = draw_best(
                decoder, given.get(name), len(near), starts.get(name), how, options.n_draws, eye,
                target_of(null if name == "shuffled" else embeddings, fold),
            )  # fmt: skip
        for name, made in shown.items():
            out.setdefault(name, []).append(np.stack([resize(p, options.side) for p in made]))
            kept.setdefault(name, []).append(which.get(name, np.zeros(len(near), np.int64)))
        retrieved.append(near)
        ids.append(tested[rows])
        folds.append(np.full(len(near), fold))
    names = [c for c in CONDITIONS if c in out]
    picture = np.stack([np.concatenate(out[c]) for c in names])
    about = {
        "generator": options.generator, "seed": options.seed, "guidance": how["guidance"],
        "n_steps": how["n_steps"], "strength": options.strength if low_level else 1.0,
        "n_draws": options.n_draws, "chosen": joined(choices),
        "notice": "Generated: a guess by a generator, not what the brain saw.",
    }  # fmt: skip
    more = {
        "retrieved": ("presentation", np.concatenate(retrieved)),
        "draw": (("condition", "presentation"), np.stack([np.concatenate(kept[c]) for c in names])),
    }
    return _finish(
        "pictures", "picture", ("row", "column", "channel"), picture, names, np.concatenate(ids),
        np.concatenate(folds), embeddings, about, more,
    )  # fmt: skip


def caption(
    embeddings: xr.Dataset, null: xr.Dataset, features: xr.Dataset, stimuli: xr.Dataset, split: xr.Dataset, *,
    captioner: Captioner | None = None, n_validation: int = 192, seed: int = 0,
) -> xr.Dataset:  # fmt: skip
    """Caption the test pictures of all folds in all conditions.

    Parameters
    ----------
    embeddings, null, features, stimuli, split
        As in `reconstruct`; the retrieved caption is the first of the nearest training picture.
    captioner : Captioner, optional
        Of these embeddings, trained on no picture that is decoded; None: the one that comes along.
    n_validation : int
        Validation stimuli, at most, that are captioned to choose what of a prior serves captions
        (`choose_for_captions`).
    seed : int
        Of the captions drawn from no embedding.

    Raises
    ------
    ContractError
        The embeddings are not those the captioner takes.
    InputError
        The stimuli carry no captions; the captioner was trained on pictures that are decoded.
    """
    if "caption" not in stimuli:
        raise InputError("The stimuli carry no captions. Use pictures that have some.")
    n_features = embeddings["mean"].shape[1]
    if captioner is None:
        check_takes(Nano(), embeddings.attrs, n_features)
    else:
        captioner.check(embeddings.attrs, n_features, embeddings["stimulus_id"].values)
    write = captioner or describe
    name = str(captioner.about["language"]["network"]) if captioner else "nano"
    row = {s: i for i, s in enumerate(stimuli["stimulus_id"].values)}
    out: dict[str, list[str]] = {}
    ids, folds, choices = [], [], []
    for fold in np.unique(embeddings["fold"].values).tolist():
        chosen = Choice("plain", {}, 0)
        if "sampled" in embeddings:
            chosen = choose_for_captions(embeddings, fold, stimuli, n_validation, write)
            choices.append(chosen)
        given = given_embeddings(embeddings, null, features, fold, chosen.name)
        near = nearest_training(embeddings, features, split, fold)
        out.setdefault("retrieved", []).extend(str(stimuli["caption"].values[row[s], 0]) for s in near)
        said = iter(write(np.concatenate([v[:] for v in given.values()])))
        for condition in given:
            out.setdefault(condition, []).extend(next(said) for _ in near)
        out.setdefault("sample", []).extend(write(None, n=len(near), seed=seed))
        ids.append(embeddings["stimulus_id"].values[embeddings["fold"].values == fold])
        folds.append(np.full(len(near), fold))
    names = [c for c in CONDITIONS if c in out]
    return _finish(
        "captions", "caption", (), np.array([out[c] for c in names]), names, np.concatenate(ids),
        np.concatenate(folds), embeddings,
        {"generator": name, "seed": seed, "chosen": joined(choices)}, {},
    )  # fmt: skip


def choose_for_captions(
    embeddings: xr.Dataset, fold: int, stimuli: xr.Dataset, n: int, write: Callable[[Floats], list[str]]
) -> Choice:
    """Choose what captions are written from: validation stimuli are captioned from each candidate.

    The score is CIDEr against what people wrote of them; without evidence it is what was decoded.

    Parameters
    ----------
    embeddings : Dataset
        Embeddings, with what a prior made.
    fold : int
    stimuli : Dataset
        StimulusSet with captions.
    n : int
        Validation stimuli, at most.
    write : callable
        From embeddings to captions.
    """
    from neuroenc.evaluation.captions import cider

    found, true = validated(embeddings, fold, n)
    if len(true) < FEWEST:
        return Choice("plain", {}, 0)
    mine = embeddings["held_fold"].values == fold
    ids = embeddings["held_stimulus_id"].values[mine][validation_rows(embeddings, fold, n)]
    row = {s: i for i, s in enumerate(stimuli["stimulus_id"].values)}
    written = [[str(t) for t in stimuli["caption"].values[row[s]] if t] for s in ids]
    target = target_of(embeddings, fold)
    return choose({name: cider(write(target.inverse(v)), written) for name, v in found.items()})


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
