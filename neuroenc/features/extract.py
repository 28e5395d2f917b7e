"""From a StimulusSet to Features: fed by worker processes, in blocks, resumable, one netCDF at the end."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from glob import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from tqdm import tqdm

from neuroenc.arrays import make_features, save
from neuroenc.config import Model
from neuroenc.datasets.pixels import n_frames, read_pixels
from neuroenc.datasets.reading import open_hdf5
from neuroenc.errors import ContractError, InputError, invalid
from neuroenc.features import classical
from neuroenc.features.pooling import together
from neuroenc.features.project import Projection
from neuroenc.features.registry import resolve
from neuroenc.files import atomic, existing, lock, remove

NETWORKS = ("open_clip", "open_clip_text", "timm", "torchvision", "transformers")
PIXELS = ("gabor", "pixel", "luminance", "spectral")
TABLES: dict[str, Callable[[xr.Dataset], tuple[NDArray[np.float32], dict[str, str]]]] = {
    "category": classical.category_features,
    "caption": classical.caption_features,
}
BLOCK = 256  # stimuli per stored block
Parts = dict[str, NDArray[np.float32]]


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
    ids = stimuli["stimulus_id"].values
    projection = Projection(model.projection, ids, split) if model.projection else None
    if model.extractor in TABLES:
        table, contract = TABLES[model.extractor](stimuli)
        _save(out, stimuli, {"table": table}, contract, model.dtype)
        return
    extractor, prepare, run, reads = _open(asked)
    batch = 32 if model.extractor in PIXELS else extractor.batch_size(memory_gb)

    n_parts = 1  # texts or frames of a stimulus, whose mean is taken
    if reads == "text":
        n_parts = _n_texts(stimuli, model)
    elif reads == "image":
        n_parts = n_frames(stimuli, model.frame_rate)
    there = _there(stimuli, reads, n_parts)
    contract = dict(extractor.contract)
    if reads == "image" and n_parts > 1:
        contract["preprocessing"] += f"; mean of {n_parts} frames"
    if model.context:
        contract["preprocessing"] += f"; {model.context} stimuli before each read along"
    key = json.dumps(
        [
            contract,
            asked.model_dump(mode="json", exclude={"projection", "dtype"}),
            batch,
            _fingerprint(stimuli),
        ]
    )
    starts = list(range(0, len(ids), BLOCK))
    with _blocks(out, key) as folder:
        open_blocks = [s for s in starts[shard[0] :: shard[1]] if not (folder / f"{s:07d}.npz").exists()]
        jobs = [
            (start, np.arange(i, min(i + batch, start + BLOCK, len(ids))), part)
            for start in open_blocks
            for i in range(start, min(start + BLOCK, len(ids)), batch)
            for part in range(n_parts)
        ]
        on_gpu = getattr(extractor, "device", "cpu") != "cpu"
        if workers is None:
            workers = max(1, (os.cpu_count() or 2) - 1) if on_gpu else 0
        feed = _batches(Jobs(stimuli, model, reads, prepare, jobs, n_parts), workers, pin=on_gpu)
        _fill(folder, jobs, there, map(run, feed), f"features of {asked.network or asked.extractor}")
        if shard[1] > 1:
            return
        values = _join([folder / f"{start:07d}.npz" for start in starts], len(ids))
        if projection is not None:
            values = {name: projection(v) for name, v in values.items()}
            contract = contract | {"pooling": f"{contract['pooling']}, then {projection.description}"}
        _save(out, stimuli, values, contract, model.dtype)
    _drop(folder)


def _fingerprint(stimuli: xr.Dataset) -> str:
    """Tell a table of stimuli from others: ids, texts, where the pictures are."""
    digest = hashlib.sha256(json.dumps(stimuli.attrs, default=str).encode())
    for name in sorted(map(str, stimuli.variables)):
        digest.update(f"{name}{stimuli[name].values.tolist()}".encode())
    return digest.hexdigest()


@contextmanager
def _blocks(out: Path, key: str) -> Iterator[Path]:
    """Hold the folder of the blocks of some features, together with other processes that fill it."""
    name = f".blocks-{out.name}-"
    folder = out.with_name(name + hashlib.sha256(key.encode()).hexdigest()[:16])
    for old in sorted(out.parent.glob(f"{escape(name)}*")):
        if old != folder:
            _drop(old)  # of other stimuli or options
    try:
        with lock(folder / "lock", shared=True):
            yield folder
    finally:
        if not any(folder.glob("[0-9]*.npz")):  # nothing to go on from
            _drop(folder)


def _drop(folder: Path) -> None:
    """Remove a folder of blocks, unless a process fills it."""
    with lock(folder / "lock") as free:
        if free:
            remove(folder)


def _fill(
    folder: Path, jobs: list[tuple[int, NDArray[np.int64], int]], there: NDArray[np.bool_],
    found: Iterator[Parts], what: str,
) -> None:  # fmt: skip
    """Write the blocks of some jobs, each while the next is being made."""
    n_parts = there.shape[1]
    bar = tqdm(total=len(jobs), desc=what, disable=None)
    with ThreadPoolExecutor(1) as writer:
        writing: Any = None
        for start, here in groupby(jobs, key=lambda job: job[0]):
            parts: list[list[Parts]] = [[] for _ in range(n_parts)]
            for _, _, part in here:
                parts[part].append(next(found))
                bar.update()
            joined = [{name: together([p[name] for p in done], name) for name in done[0]} for done in parts]
            mean = joined[0]
            if n_parts > 1:
                mean = {name: _mean([p[name] for p in joined], there[start : start + BLOCK]) for name in mean}
            if writing is not None:
                writing.result()
            writing = writer.submit(_write, folder / f"{start:07d}.npz", mean)
        if writing is not None:
            writing.result()
    bar.close()


def _open(asked: Model) -> tuple[Any, Callable[[list[Any]], Any], Callable[[Any], Parts], str]:
    """Open an extractor of pixels or texts: itself, what prepares items, what runs them, what it reads."""
    model, _ = resolve(asked)
    if model.extractor in PIXELS:
        kind = str(model.extractor)
        extractor: Any = (
            classical.Gabor(model.pooling) if kind == "gabor" else classical.Pixels(kind, model.pooling)
        )
        return extractor, _same, extractor, "image"
    if model.extractor in NETWORKS:
        from neuroenc.features.networks import Network

        extractor = Network(asked, device=asked.device)
        return extractor, extractor.source.alike, extractor.run, extractor.reads
    raise invalid("extractor", model.extractor, (*NETWORKS, *PIXELS, *TABLES))


def describe(items: Sequence[Any], model: Model, *, batch_size: int = 32) -> xr.Dataset:
    """Extract features of pictures or texts at hand, in memory.

    Parameters
    ----------
    items : sequence
        uint8 pictures (height, width, 3), or texts, as the network reads.
    model : Model
    batch_size : int

    Returns
    -------
    Dataset
        Features; the stimuli are numbered.

    Raises
    ------
    InputError
        A projection, which is fitted elsewhere; items that are no pictures or texts; features that are not
        finite.
    """
    return describer(model, batch_size=batch_size)(items)


def describer(model: Model, *, batch_size: int = 32) -> Callable[[Sequence[Any]], xr.Dataset]:
    """Open a network once, and return what extracts features of items as `describe` does."""
    if model.projection:
        raise InputError(
            f"{model.network or model.extractor} is projected ({model.projection}), which pictures at hand "
            "cannot be. Use a model without `projection`."
        )
    extractor, prepare, run, reads = _open(model)

    def described(items: Sequence[Any]) -> xr.Dataset:
        _check(items, reads)
        parts = [run(prepare(list(items[i : i + batch_size]))) for i in range(0, len(items), batch_size)]
        values = {name: together([p[name] for p in parts], name) for name in parts[0]}
        numbers = np.array([f"{i:07d}" for i in range(len(items))])
        return _dataset(numbers, values, dict(extractor.contract), "float32")

    return described


def _check(items: Sequence[Any], reads: str) -> None:
    """Refuse what is no picture or text, before anything reads it."""
    if not len(items):
        raise InputError("No stimuli were given, expected at least one.")
    for number, item in enumerate(items):
        picture, text = item if "+" in reads else (item, item)
        if "text" in reads and not isinstance(text, str):
            raise InputError(f"Item {number} is {type(text).__name__}, expected a text.")
        if "image" not in reads:
            continue
        shape, kind = np.shape(picture), getattr(picture, "dtype", type(picture).__name__)
        if kind != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise InputError(
                f"Item {number} is {kind} of shape {shape}, expected a picture: uint8, (height, width, 3)."
            )


class Jobs:
    """What worker processes do: read stimuli and make batches of them."""

    def __init__(
        self, stimuli: xr.Dataset, model: Model, reads: str, prepare: Callable[[list[Any]], Any],
        jobs: list[tuple[int, NDArray[np.int64], int]], n_parts: int,
    ) -> None:  # fmt: skip
        self.stimuli, self.model, self.reads, self.prepare = stimuli, model, reads, prepare
        self.jobs, self.n_parts = jobs, n_parts

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, number: int) -> Any:
        _, rows, part = self.jobs[number]
        items = read_items(self.stimuli, rows, self.reads, self.model, part, self.n_parts)
        return self.prepare(items)


def _same(items: list[Any]) -> list[Any]:
    return items


def _batches(jobs: Jobs, workers: int, *, pin: bool) -> Iterator[Any]:
    if workers == 0 or len(jobs) < 2:
        return (jobs[i] for i in range(len(jobs)))
    from torch.utils.data import DataLoader

    loader: Any = DataLoader(
        jobs,  # type: ignore[arg-type]
        batch_size=None, num_workers=workers, prefetch_factor=2, pin_memory=pin, collate_fn=_same,
    )  # fmt: skip
    return iter(loader)


def read_items(
    stimuli: xr.Dataset, rows: NDArray[np.int64], reads: str, model: Model, part: int = 0, n_parts: int = 1
) -> list[Any]:
    """Read stimuli as a network takes them.

    Parameters
    ----------
    stimuli : Dataset
    rows : int array
    reads : str
        "image", "text", "image+text" or "regions+text".
    model : Model
        `context` and `regions`.
    part : int
        Which of several texts or frames of each stimulus.
    n_parts : int
        How many there are.

    Returns
    -------
    list
        Pictures, texts, or pairs of (picture, text) or ((features, boxes), text).
    """
    if reads == "image":
        return read_pixels(stimuli, rows, (part + 0.5) / n_parts)
    if "caption" not in stimuli:
        raise ContractError("The stimuli carry no text. For NSD put COCO's captions_*.json into "
                            "nsddata_stimuli/annotations; a table of your own needs a column "
                            "`caption`.")  # fmt: skip
    all_texts = _captions(stimuli)[:, part]
    texts = [str(all_texts[r]) for r in rows]
    if model.context:
        group = stimuli["film" if "film" in stimuli.coords else "group"].values
        spans = [np.arange(max(0, r - model.context), r + 1) for r in rows]
        texts = [
            " ".join(str(t) for t in all_texts[s[group[s] == group[r]]] if t)
            for r, s in zip(rows, spans, strict=True)
        ]
    if reads == "text":
        return texts
    if reads == "image+text":
        return list(zip(read_pixels(stimuli, rows), texts, strict=True))
    if model.regions is None:
        raise InputError(
            "This network is shown features of detected objects, not pictures. Name their HDF5 file as "
            "`regions` (features, boxes, stimulus_id)."
        )
    with open_hdf5(model.regions) as file:
        where = {v.decode(): i for i, v in enumerate(file["stimulus_id"][:])}
        wanted = stimuli["stimulus_id"].values[rows]
        absent = [i for i in wanted if i not in where]
        if absent:
            raise InputError(
                f"{model.regions} has no objects of {len(absent)} stimuli, first {str(absent[0])!r}."
            )
        found = [(file["features"][where[i]], file["boxes"][where[i]]) for i in wanted]
    return list(zip(found, texts, strict=True))


def _there(stimuli: xr.Dataset, reads: str, n_parts: int) -> NDArray[np.bool_]:
    """Say which parts of each stimulus are there, (n, n_parts): all frames, and captions that are not empty.

    Raises
    ------
    InputError
        A stimulus has no caption; moments of a film may be silent, and the empty text is read.
    """
    there = np.ones((stimuli.sizes["stimulus"], n_parts), bool)
    if "text" not in reads or "caption" not in stimuli:
        return there
    texts = _captions(stimuli)
    silent = stimuli["stimulus_id"].values[texts[:, 0] == ""]
    if len(silent) and "film" not in stimuli.coords:
        raise InputError(
            f"{len(silent)} of {len(texts)} stimuli have no caption, first {str(silent[0])!r}. Write one, or "
            "leave them out of the table."
        )
    there[:, 1:] = texts[:, 1:n_parts] != ""
    return there


def _captions(stimuli: xr.Dataset) -> NDArray[np.str_]:
    """Captions, (n, n_captions), those that are there first: an empty one is none."""
    texts = stimuli["caption"].values
    return np.take_along_axis(texts, np.argsort(texts == "", axis=1, kind="stable"), axis=1)


def _mean(parts: list[NDArray[np.float32]], there: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Average the parts that are there, (n, n_parts), of each stimulus."""
    if there.all():
        return np.asarray(np.mean(parts, 0))
    weight = (there / there.sum(1, keepdims=True)).astype(np.float32).T
    return np.asarray(sum(p * w.reshape(-1, *[1] * (p.ndim - 1)) for p, w in zip(parts, weight, strict=True)))


def _n_texts(stimuli: xr.Dataset, model: Model) -> int:
    """Return how many texts of a stimulus are averaged; tokens are those of the first alone."""
    if "caption" not in stimuli or model.pooling == "tokens":
        return 1
    return stimuli.sizes["caption_index"]


def _write(path: Path, values: Parts) -> None:
    with atomic(path) as partial, partial.open("wb") as file:
        np.savez(file, **values)  # type: ignore[arg-type]


def _join(paths: list[Path], n: int) -> Parts:
    """Join stored blocks of n stimuli."""
    values: Parts = {}
    row = 0
    for path in paths:
        with np.load(existing(path, made_by="Run the other shards first.")) as block:
            for name in block.files:
                part = block[name]
                if name not in values:
                    values[name] = np.empty((n, *part.shape[1:]), part.dtype)
                together([values[name][:0], part[:0]], name)
                values[name][row : row + len(part)] = part
        row += len(part)
    return values


def _save(out: Path, stimuli: xr.Dataset, values: Parts, contract: dict[str, str], dtype: str) -> None:
    dataset = _dataset(stimuli["stimulus_id"].values, values, contract, dtype)
    running = {k: ("stimulus", stimuli[k].values) for k in ("film", "onset") if k in stimuli.coords}
    save(dataset.assign_coords(running), out)


def _dataset(ids: NDArray[np.str_], values: Parts, contract: dict[str, str], dtype: str) -> xr.Dataset:
    """Join layers to Features."""
    if len({v.shape[1:-1] for v in values.values()}) > 1 and contract["pooling"].startswith("grid"):
        values = {name: v.reshape(len(v), -1) for name, v in values.items()}  # a layer without a grid
    if len({v.shape[1:-1] for v in values.values()}) > 1:
        shapes = {name: v.shape[1:] for name, v in values.items()}
        raise InputError(
            f"The layers have different numbers of tokens {shapes}; extract them one by one or pool "
            "them to 'grid:<k>'."
        )
    layer = np.repeat(list(values), [v.shape[-1] for v in values.values()])
    attrs = contract | {
        "layer": ",".join(values),
        "shape": json.dumps({name: v.shape[1:] for name, v in values.items()}),
    }
    with np.errstate(over="ignore"):  # found below
        feature = np.concatenate(list(values.values()), axis=-1).astype(dtype)
    bad = ~np.isfinite(feature).reshape(len(feature), -1).all(1)
    if bad.any():
        hint = " Store them as float32." if dtype == "float16" else ""
        raise InputError(
            f"{bad.sum()} stimuli have features that are not finite, first {str(ids[bad][0])!r}.{hint}"
        )
    return make_features(feature, stimulus_id=ids, layer=layer, attrs=attrs)
