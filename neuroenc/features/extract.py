"""From a StimulusSet to Features: in blocks, resumable, one netCDF at the end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from tqdm import tqdm

from neuroenc.arrays import make_features, save
from neuroenc.config import Model
from neuroenc.datasets.pixels import read_pixels
from neuroenc.errors import InputError, invalid
from neuroenc.features import classical
from neuroenc.files import atomic, remove

NETWORKS = ("open_clip", "timm", "torchvision")
TABLES: dict[str, Callable[[xr.Dataset], tuple[NDArray[np.float32], dict[str, str]]]] = {
    "category": classical.category_features,
    "caption": classical.caption_features,
}
EXTRACTORS = {
    "open_clip": "image towers of open_clip; network 'nano' comes with its weights",
    "timm": "any network of timm, from a checkpoint file or untrained",
    "torchvision": "any network of torchvision, from a checkpoint file or untrained",
    "gabor": "energy of a Gabor pyramid, the classical baseline",
    "category": "presence and size of the categories of the stimulus table",
    "caption": "words of the captions of the stimulus table",
}
BLOCK = 256  # stimuli per stored block


def extract(
    stimuli: xr.Dataset,
    model: Model,
    out: str | Path,
    *,
    memory_gb: float = 1.0,
    device: str = "auto",
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
    memory_gb : float
        What the activations of one batch may take.
    device : str
        Of torch; "auto" takes a GPU where there is one.
    """
    out = Path(out)
    ids = stimuli["stimulus_id"].values
    if model.extractor in TABLES:
        table, contract = TABLES[model.extractor](stimuli)
        _save(out, ids, {"table": table}, contract)
        return
    if model.extractor == "gabor":
        extractor: Any = classical.Gabor(model.pooling)
        batch = 32
    elif model.extractor in NETWORKS:
        from neuroenc.features.networks import Network

        extractor = Network(model, device=device)
        batch = extractor.batch_size(memory_gb)
    else:
        raise invalid("extractor", model.extractor, EXTRACTORS)

    folder = out.with_name(f".blocks-{out.name}")
    key = json.dumps([extractor.contract, list(model.layers), batch, ids.tolist()])
    note = folder / "contract.json"
    if not note.exists() or note.read_text() != key:
        remove(folder)
        with atomic(note) as partial:
            partial.write_text(key)
    starts = range(0, len(ids), BLOCK)
    for start in tqdm(starts, f"features of {model.network or model.extractor}", disable=None):
        block = folder / f"{start:07d}.npz"
        if block.exists():
            continue
        parts = []
        for i in range(start, min(start + BLOCK, len(ids)), batch):
            rows = np.arange(i, min(i + batch, start + BLOCK, len(ids)))
            parts.append(extractor(read_pixels(stimuli, rows)))
        with atomic(block) as partial, partial.open("wb") as file:
            np.savez(file, **{n: np.concatenate([p[n] for p in parts]) for n in parts[0]})  # type: ignore[arg-type]
    blocks = [np.load(folder / f"{start:07d}.npz") for start in starts]
    values = {name: np.concatenate([b[name] for b in blocks]) for name in blocks[0].files}
    _save(out, ids, values, extractor.contract)
    remove(folder)


def _save(
    out: Path,
    ids: NDArray[np.str_],
    values: dict[str, NDArray[np.float32]],
    contract: dict[str, str],
) -> None:
    if len({v.shape[1:-1] for v in values.values()}) > 1 and contract["pooling"].startswith("grid"):
        values = {name: v.reshape(len(v), -1) for name, v in values.items()}  # a layer without a grid
    if len({v.shape[1:-1] for v in values.values()}) > 1:
        shapes = {name: v.shape[1:] for name, v in values.items()}
        raise InputError(
            f"The layers have different numbers of tokens {shapes}; extract them one by one or pool "
            "them to 'grid:<k>'."
        )
    feature = np.concatenate(list(values.values()), axis=-1)
    bad = ~np.isfinite(feature).reshape(len(feature), -1).all(1)
    if bad.any():
        raise InputError(
            f"{bad.sum()} stimuli have features that are not finite, first {str(ids[bad][0])!r}."
        )
    layer = np.repeat(list(values), [v.shape[-1] for v in values.values()])
    attrs = contract | {
        "layer": ",".join(values),
        "shape": json.dumps({name: v.shape[1:] for name, v in values.items()}),
    }
    save(make_features(feature, stimulus_id=ids, layer=layer, attrs=attrs), out)
