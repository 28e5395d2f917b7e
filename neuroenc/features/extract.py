"""From a StimulusSet to Features: fed by worker processes, written in place, resumable."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from neuroenc.arrays import check, save
from neuroenc.config import BLIND, Model
from neuroenc.datasets.pixels import n_frames, stamps
from neuroenc.errors import InputError, invalid
from neuroenc.features import classical, foveation, moving, texts
from neuroenc.features.items import (
    HEARD_AND_SEEN,
    Jobs,
    batches,
    check_items,
    n_texts,
    read_items,
    there_of,
)
from neuroenc.features.layers import (
    Layers,
    features_of,
    same_tokens,
    side_by_side,
    stored_layers,
    together,
    with_time,
)  # fmt: skip
from neuroenc.features.project import PrincipalComponents, RandomProjection, beside, cut, projection
from neuroenc.features.registry import resolve
from neuroenc.features.writing import Unfinished, unfinished
from neuroenc.files import remove
from neuroenc.names import names

NETWORKS = ("open_clip", "open_clip_text", "timm", "torchvision", "transformers", "module")
PIXELS = ("gabor", "pixel", "luminance", "spectral")
MOVING: dict[str, Callable[[str], Any]] = {"mel": moving.Mel, "motion_energy": moving.MotionEnergy}
BATCHES = dict.fromkeys(PIXELS, 32) | dict.fromkeys((*MOVING, "vae"), 8)  # of what is no network
TABLES: dict[str, Callable[[xr.Dataset], tuple[NDArray[np.float32], dict[str, str]]]] = {
    "category": classical.category_features,
    "caption": classical.caption_features,
}


def extract(
    stimuli: xr.Dataset,
    model: Model,
    out: str | Path,
    *,
    split: xr.Dataset | None = None,
    memory_gb: float = 1.0,
    workers: int | None = None,
    shard: tuple[int, int] = (0, 1),
) -> None:
    """Extract features of all stimuli into one netCDF file.

    A run that is killed leaves its finished blocks in a folder beside `out`; the same command
    takes them up again if the stimuli and the embedding contract are the same.

    Parameters
    ----------
    stimuli : Dataset
        A StimulusSet.
    model : Model
        Extractor, network, weights, layers, pooling.
    out : path
        The file of Features.
    split : Dataset, optional
        Splits; a projection by PCA is fitted to stimuli that are training stimuli in all folds.
    memory_gb : float
        What the activations of one batch may take.
    workers : int, optional
        Processes that read and prepare stimuli; 0: this one. None: one for each core but one beside a GPU,
        none where the network itself takes the cores.
    shard : (number, of how many)
        Do only every so-manieth block, as one of several processes on GPUs of their own; run without shards
        when all are done to join the blocks.

    Raises
    ------
    InputError
        Features that are not finite; stimuli that lack what the network reads.
    """
    out, asked = Path(out), model
    model, _ = resolve(model)
    projected = (
        projection(model.projection, stimuli["stimulus_id"].values, split) if model.projection else None
    )
    if model.view and model.extractor in BLIND:
        raise InputError(
            f"Invalid value for 'view': {model.view!r}. It is of pictures, and {model.extractor!r} reads "
            "none. Leave it out."
        )
    shown = _moved(texts.with_texts(stimuli, model.texts) if model.texts else stimuli, model)
    if model.extractor in TABLES:
        if model.misalign_of != "both":
            raise InputError(
                f"misalign_of is {model.misalign_of!r}, and {model.extractor!r} is one of both. Leave it out."
            )
        table, contract = TABLES[model.extractor](shown)
        contract = _misaligned(_of_texts(contract, model), model)
        found = _in_memory(
            stimuli["stimulus_id"].values, {"table": table}, contract, model.dtype or "float32"
        )
        save(with_time(found, stimuli), out)
        return
    work = (_given if model.extractor == "file" else _shown)(shown, asked, memory_gb, workers)
    contract = _misaligned(work.contract, model)
    if projected is not None:
        contract = _projected(contract, projected)
    key = json.dumps([contract, asked.model_dump(mode="json"), work.batch, fingerprint(stimuli)])
    components = isinstance(projected, PrincipalComponents)
    with unfinished(out, key, alone=shard[1] == 1) as folder:
        made = Unfinished(folder, stimuli, contract, "float32" if components else work.dtype, raw=components)
        jobs = _jobs(made, work.batch, work.there.shape[1], shard)
        what = f"features of {asked.network or asked.module or asked.extractor}"
        each = projected if isinstance(projected, RandomProjection) else None
        _fill(made, jobs, work.there, work.feed(jobs), what, each)
        if shard[1] > 1:
            return
        if isinstance(projected, PrincipalComponents):
            _project(made, projected, Unfinished(folder / "projected", stimuli, contract, work.dtype), out)
        else:
            made.publish(out)


def later(stimuli: xr.Dataset, seconds: float) -> xr.Dataset:
    """Put in the place of each stimulus one that is so many seconds later in its film, or more.

    Each film is turned in a circle, by the fewest stimuli that bring none to a place less far away; so
    neighbours stay neighbours, and each stimulus is shown once.

    Raises
    ------
    InputError
        Stimuli without times, or a film that is too short.
    """
    if not {"film", "onset"} <= set(stimuli.coords):
        raise InputError("`misalign` moves features in time, and the stimuli have no films with onsets.")
    onset, film = stimuli["onset"].values, stimuli["film"].values
    order = np.arange(len(onset))
    for name in np.unique(film):
        rows = np.flatnonzero(film == name)
        rows = rows[np.argsort(onset[rows], kind="stable")]
        at = onset[rows]
        turns = (k for k in range(len(rows)) if np.abs(np.roll(at, -k) - at).min() >= seconds)
        turn = next(turns, None)
        if turn is None:
            raise InputError(
                f"The stimuli of {str(name)!r} reach over {at[-1] - at[0]:.0f} s: `misalign` {seconds:g} "
                "would bring some nearer to their place. Expected less than half of it."
            )
        order[rows] = np.roll(rows, -turn)
    return stimuli.isel(stimulus=order)


def _moved(stimuli: xr.Dataset, model: Model) -> xr.Dataset:
    """Put later stimuli in the place of each, or the pictures or the texts of these alone."""
    if not model.misalign:
        return stimuli
    moved = later(stimuli, model.misalign)
    if model.misalign_of == "both" or "caption" not in stimuli:
        return moved
    kept, of = (stimuli, moved) if model.misalign_of == "texts" else (moved, stimuli)
    return kept.assign(caption=(of["caption"].dims, of["caption"].values))


def _of_texts(contract: Mapping[str, str], model: Model) -> dict[str, str]:
    if not model.texts:
        return dict(contract)
    return {**contract, "preprocessing": contract["preprocessing"] + texts.in_contract(model.texts)}


def _misaligned(contract: Mapping[str, str], model: Model) -> dict[str, str]:
    if not model.misalign:
        return dict(contract)
    what = "" if model.misalign_of == "both" else f"{model.misalign_of} "
    told = f"{contract['preprocessing']}; {what}of what is {model.misalign:g} s later in the film"
    return {**contract, "preprocessing": told}


def _projected(
    contract: Mapping[str, str], projected: RandomProjection | PrincipalComponents
) -> dict[str, str]:
    return {**contract, "pooling": f"{contract['pooling']}, then {projected.description}"}


Job = tuple[NDArray[np.int64], int]
"""Rows of the stimuli, and which part of them"""


class Work(NamedTuple):
    """Where the features of stimuli come from."""

    contract: dict[str, str]
    dtype: str
    """On disk"""
    batch: int
    there: NDArray[np.bool_]
    """(n_stimuli, n_parts)"""
    feed: Callable[[list[Job]], Iterator[Layers]]


def _given(stimuli: xr.Dataset, model: Model, _memory_gb: float, _workers: int | None) -> Work:
    """Read features that were made elsewhere."""
    from neuroenc.features.given import Given

    found = Given(model, stimuli["stimulus_id"].values)
    there = np.ones((stimuli.sizes["stimulus"], 1), bool)
    return Work(
        found.contract, found.dtype, found.batch, there, lambda jobs: (found[rows] for rows, _ in jobs)
    )


def _shown(stimuli: xr.Dataset, asked: Model, memory_gb: float, workers: int | None) -> Work:
    """Show the stimuli to a network, or to filters."""
    model, _ = resolve(asked)
    extractor, prepare, run, reads = open_extractor(asked)
    if model.texts and "text" not in reads:
        raise InputError(
            f"{model.network!r} reads no text ({reads}), and `texts` names a table: leave it out."
        )
    if model.misalign_of != "both" and not ("text" in reads and reads != "text"):
        raise InputError(
            f"misalign_of is {model.misalign_of!r}, and {model.network or model.extractor!r} does not read "
            f"pictures and texts together ({reads}). Leave it out, or misalign one model of a joint set."
        )
    n_parts = _n_parts(stimuli, model, reads)
    if hasattr(extractor, "make_room"):
        everything = np.arange(stimuli.sizes["stimulus"])
        extractor.make_room(lambda: read_items(stimuli, everything, reads, model))
    on_gpu = getattr(extractor, "device", "cpu") != "cpu"
    batch = BATCHES.get(str(model.extractor)) or extractor.batch_size(memory_gb)
    if workers is None:
        workers = max(1, (os.cpu_count() or 2) - 1) if on_gpu else 0

    def feed(jobs: list[Job]) -> Iterator[Layers]:
        return map(run, batches(Jobs(stimuli, model, reads, prepare, jobs, n_parts), workers, pin=on_gpu))

    return Work(
        _contract(_viewed(extractor.contract, model), model, reads, n_parts), model.dtype or "float32",
        batch, there_of(stimuli, reads, n_parts, model.pooling), feed,
    )  # fmt: skip


def _n_parts(stimuli: xr.Dataset, model: Model, reads: str) -> int:
    """Return how many texts or frames of a stimulus are read, whose mean is taken."""
    if reads == "text":
        return n_texts(stimuli, model)
    return n_frames(stimuli, model.frame_rate) if reads == "image" else 1


def _contract(of_network: Mapping[str, str], model: Model, reads: str, n_parts: int) -> dict[str, str]:
    """Say also what is done around the network."""
    contract = dict(of_network)
    if reads == "image" and n_parts > 1:
        contract["preprocessing"] += f"; mean of {n_parts} frames"
    if model.context:
        contract["preprocessing"] += f"; {model.context} stimuli before each read along"
    if model.lead and reads in HEARD_AND_SEEN:
        contract["preprocessing"] += f"; {model.lead:g} s before each shown along"
    if model.window:
        contract["preprocessing"] += f"; at most {model.window} tokens"
    return _of_texts(contract, model)


def _jobs(made: Unfinished, batch: int, n_parts: int, shard: tuple[int, int]) -> list[Job]:
    """List (rows, part) of the blocks that are to be done; no batch stands in two blocks."""
    todo = made.lacking()
    return [
        (rows, part)
        for block in made.blocks[shard[0] :: shard[1]]
        if block in todo
        for start in range(block.start, block.stop, batch)
        for rows in [np.arange(start, min(start + batch, block.stop))]
        for part in range(n_parts)
    ]


def _fill(
    made: Unfinished, jobs: list[Job], there: NDArray[np.bool_],
    found: Iterator[Layers], what: str, projected: RandomProjection | None,
) -> None:  # fmt: skip
    """Write the batches of some jobs, each while the next is being made."""

    def write(rows: NDArray[np.int64], parts: list[Layers]) -> None:
        mean = parts[0]
        if len(parts) > 1:
            mean = {name: _mean([p[name] for p in parts], there[rows]) for name in mean}
        made.write(int(rows[0]), mean if projected is None else projected(mean))

    n_parts = there.shape[1]
    with ThreadPoolExecutor(1) as writer, tqdm(total=len(jobs), desc=what, disable=None) as bar:
        writing: Future[None] | None = None
        for rows, _ in jobs[::n_parts]:
            parts = []
            for _ in range(n_parts):
                parts.append(next(found))
                bar.update()
            if writing is not None:
                writing.result()
            writing = writer.submit(write, rows, parts)
        if writing is not None:
            writing.result()


def _project(made: Unfinished, projected: PrincipalComponents, final: Unfinished, out: Path) -> None:
    """Project features that are all there, read again from their file."""
    remove(final.folder)  # of a run that was killed here, perhaps with another split
    layers = stored_layers(made.path)
    for name, layer in layers.items():
        projected.fit(name, layer)
    widest = max((layer.shape[1:] for layer in layers.values()), key=np.prod)
    for rows in (part for block in made.blocks for part in cut(block, widest)):
        final.write(rows.start, projected({name: layer[rows] for name, layer in layers.items()}))
    projected.save(beside(out))
    final.publish(out)
    made.forget()


def fingerprint(stimuli: xr.Dataset) -> str:
    """Tell a table of stimuli from others: ids, texts, where the pictures are, files by size and time."""
    digest = hashlib.sha256(json.dumps([stimuli.attrs, stamps(stimuli)], default=str).encode())
    for name in sorted(map(str, stimuli.variables)):
        digest.update(f"{name}{stimuli[name].values.tolist()}".encode())
    return digest.hexdigest()


def _mean(parts: list[NDArray[np.float32]], there: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Average the parts that are there, (n, n_parts), of each stimulus."""
    if there.all():
        return np.asarray(np.mean(parts, 0))
    weight = (there / there.sum(1, keepdims=True)).astype(np.float32).T
    return np.asarray(sum(p * w.reshape(-1, *[1] * (p.ndim - 1)) for p, w in zip(parts, weight, strict=True)))


def _viewed(of_network: Mapping[str, str], model: Model) -> dict[str, str]:
    """Say also how pictures are looked at."""
    contract = dict(of_network)
    if model.view:
        contract["preprocessing"] = f"{foveation.DESCRIPTION}, then {contract['preprocessing']}"
    return contract


def _foveated(prepare: Callable[[list[Any]], Any], pictures: list[Any]) -> Any:
    return prepare([foveation.foveate(p) for p in pictures])


def open_extractor(asked: Model) -> tuple[Any, Callable[[list[Any]], Any], Callable[[Any], Layers], str]:
    """Open an extractor of pixels or texts: itself, what prepares items, what runs them, what it reads."""
    extractor, prepare, run, reads = _opened(asked)
    if asked.view and reads != "image":
        raise InputError(
            f"Invalid value for 'view': {asked.view!r}. It is of pictures alone, and "
            f"{asked.network or asked.extractor!r} reads {reads.replace('+', ' and ')}. Leave it out."
        )
    return extractor, partial(_foveated, prepare) if asked.view else prepare, run, reads


def _opened(asked: Model) -> tuple[Any, Callable[[list[Any]], Any], Callable[[Any], Layers], str]:
    model, _ = resolve(asked)
    if model.extractor == "file":
        raise InputError(
            "Features of files (`extractor: file`) cannot be made of new stimuli. Use a model that is shown "
            "them."
        )
    if model.extractor in PIXELS:
        kind = str(model.extractor)
        extractor: Any = (
            classical.Gabor(model.pooling) if kind == "gabor" else classical.Pixels(kind, model.pooling)
        )
        return extractor, list, extractor, "image"
    if model.extractor in MOVING:
        extractor = MOVING[model.extractor](model.pooling)
        return extractor, extractor.prepare, extractor.run, extractor.reads
    if model.extractor == "vae":
        from neuroenc.features.latents import Latents

        extractor = Latents(asked, device=asked.device)
        return extractor, list, extractor, "image"
    if model.extractor in NETWORKS:
        from neuroenc.features.networks import Network

        extractor = Network(asked, device=asked.device)
        return extractor, extractor.source.alike, extractor.run, extractor.reads
    raise invalid("extractor", model.extractor, (*NETWORKS, *PIXELS, *MOVING, *TABLES, "file", "vae"))


def describe(
    items: Sequence[Any], model: Model, *, stimulus_id: ArrayLike | None = None, batch_size: int = 32
) -> xr.Dataset:
    """Extract features of pictures, texts, sounds or clips at hand, in memory.

    Parameters
    ----------
    items : sequence
        As the network reads: uint8 pictures (height, width, 3), texts, sounds as (floats (n_samples,), Hz),
        or clips as (uint8 frames (n_frames, height, width, 3), frames/s).
    model : Model
    stimulus_id : array of text, (n_items,), optional
        Their ids; None: they are numbered.
    batch_size : int

    Returns
    -------
    Dataset
        Features.

    Raises
    ------
    InputError
        A projection, which is fitted elsewhere; items that are no pictures or texts; features that are not
        finite.
    """
    found = describer(model, batch_size=batch_size)(items)
    if stimulus_id is None:
        return found
    ids = names(stimulus_id, "stimulus_id")
    if ids.shape != (len(items),):
        raise InputError(
            f"{len(items)} items were given and stimulus ids of shape {ids.shape}. Give one each."
        )
    return check(found.assign_coords(stimulus_id=("stimulus", ids)), "features")


def describer(
    model: Model, *, projected: RandomProjection | PrincipalComponents | None = None, batch_size: int = 32
) -> Callable[[Sequence[Any]], xr.Dataset]:
    """Open a network once, and return what extracts features of items as `describe` does.

    Parameters
    ----------
    model : Model
    projected : projection, optional
        As it was fitted (`stored_projection`), where the model has one.
    batch_size : int
    """
    if model.projection and projected is None:
        raise InputError(
            f"{model.network or model.extractor} is projected ({model.projection}), which pictures at hand "
            "cannot be. Use a model without `projection`."
        )
    if model.texts:
        raise InputError(
            f"`texts` is of stimuli in a table, and items are at hand: leave {model.texts!r} out."
        )
    extractor, prepare, run, reads = open_extractor(model)

    def described(items: Sequence[Any]) -> xr.Dataset:
        shown = check_items(items, reads)
        if hasattr(extractor, "make_room"):
            extractor.make_room(lambda: list(shown))
        if reads == "text":  # texts of about one length run together
            order = np.argsort([len(text) for text in shown], kind="stable")
        else:
            order = np.arange(len(shown))
        parts = [
            run(prepare([shown[k] for k in order[i : i + batch_size]]))
            for i in range(0, len(shown), batch_size)
        ]
        back = np.argsort(order)
        values = {name: together([p[name] for p in parts], name)[back] for name in parts[0]}
        contract = _viewed(extractor.contract, model)
        if projected is not None:
            values, contract = projected(values), _projected(contract, projected)
        numbers = np.array([f"{i:07d}" for i in range(len(items))])
        return _in_memory(numbers, values, contract, "float32")

    return described


def _in_memory(
    stimulus_id: NDArray[np.str_], values: Layers, contract: Mapping[str, str], dtype: str
) -> xr.Dataset:
    values = same_tokens(values, contract["pooling"])
    feature = side_by_side(values, dtype, stimulus_id, words=contract["pooling"].startswith("tokens"))
    return features_of(feature, stimulus_id, values, contract)
