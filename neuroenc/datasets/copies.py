"""Which stimuli show the same picture: the same pixels, or one cropped, scaled or compressed anew."""

from __future__ import annotations

import hashlib
import warnings
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from neuroenc.datasets.films import ENDINGS
from neuroenc.datasets.near_copies import near_copies, thumbnail
from neuroenc.datasets.pixels import STACK, read_pixels
from neuroenc.datasets.sounds import ENDINGS as SOUNDS
from neuroenc.errors import InputWarning


def merge_same(stimuli: xr.Dataset) -> xr.Dataset:
    """Put stimuli with the same pixels into one group, so that no split parts them.

    A name is a label: the same photograph may stand under two ids, as one file or as copies, in two formats
    even. Groups that share a picture become one, and so on; it is called by the first of their names.

    Parameters
    ----------
    stimuli : Dataset
        A StimulusSet with pictures; every one is decoded once, and so checked.

    Returns
    -------
    Dataset
        With `group` merged; `attrs["n_same_pictures"]` says how many pictures stand under several ids. Near
        copies (`datasets.near_copies`) in two groups are warned of.

    Raises
    ------
    InputError
        A picture is missing or broken.
    """
    looks = look(stimuli)
    content = np.unique(looks.content, return_inverse=True)[1]
    names, group = np.unique(stimuli["group"].values, return_inverse=True)
    size = max(len(names), content.max(initial=-1) + 1)
    edges = coo_array((np.ones(len(group)), (group, size + content)), (2 * size, 2 * size))
    part = connected_components(edges, directed=False)[1][: len(names)]
    first = {p: n for n, p in reversed(list(enumerate(part)))}
    merged = names[[first[p] for p in part]][group]
    found = stimuli.assign_coords(group=("stimulus", merged))
    warn_of_copies(found, looks)
    return found.assign_attrs(n_same_pictures=int((np.bincount(content) > 1).sum()))


class Looks(NamedTuple):
    """How the stimuli look."""

    content: list[str]
    """What tells the pixels of each apart; of films it is the file and the time"""
    thumbnails: dict[str, NDArray[np.uint8]]
    """Of each content that is a picture"""


def warn_of_copies(stimuli: xr.Dataset, looks: Looks) -> None:
    """Name pictures of different groups that are one, cropped, scaled or compressed anew.

    Parameters
    ----------
    stimuli : Dataset
        StimulusSet or Splits, with `stimulus_id` and `group`.
    looks : Looks
        Of these stimuli.
    """
    names = list(looks.thumbnails)
    row = {d: k for k, d in reversed(list(enumerate(looks.content)))}
    ids, group = stimuli["stimulus_id"].values, stimuli["group"].values
    found = near_copies(np.array(list(looks.thumbnails.values())))
    pairs = sorted(sorted((row[names[i]], row[names[j]])) for i, j in found)
    apart = [(i, j) for i, j in pairs if group[i] != group[j]]
    if apart:
        i, j = apart[0]
        warnings.warn(
            f"{len(apart)} pairs of pictures look like copies (cropped, scaled or compressed anew), first "
            f"{str(ids[i])!r} and {str(ids[j])!r}: one may train a model that the other tests. Give them one "
            "name in the column `group`, or leave one out.", InputWarning, stacklevel=2,
        )  # fmt: skip


def together(looks: list[Looks]) -> Looks:
    """Join the looks of several sets, one after the other."""
    return Looks(
        [c for one in looks for c in one.content], {k: v for one in looks for k, v in one.thumbnails.items()}
    )


def contents(stimuli: xr.Dataset) -> list[str]:
    """Return what tells the pixels of each stimulus apart; of films it is the file and the time."""
    return look(stimuli).content


def look(stimuli: xr.Dataset) -> Looks:
    """Read every picture once."""
    n = stimuli.sizes["stimulus"]
    files = stimuli["file"].values.astype(str) if "file" in stimuli.coords else [""] * n
    known: dict[str, str] = {}  # of files: one that stands there twice is read once
    out: list[str] = []
    seen: dict[str, NDArray[np.uint8]] = {}
    for row in tqdm(range(n), "pictures looked at", disable=None, delay=2):
        name = str(files[row])
        if STACK.search(name):
            name += f" {stimuli['pixel_index'].values[row]}"
        if name.lower().endswith((*ENDINGS, *SOUNDS)):
            when = [float(stimuli[k].values[row]) for k in ("onset", "duration") if k in stimuli.coords]
            out.append(f"{name} {when}")
        elif name in known:
            out.append(known[name])
        else:
            (pixels,) = read_pixels(stimuli, np.array([row]))
            digest = hashlib.sha256(f"{pixels.shape}".encode())
            digest.update(pixels.tobytes())
            out.append(digest.hexdigest())
            if out[-1] not in seen:
                seen[out[-1]] = thumbnail(pixels)
            if name:
                known[name] = out[-1]
    return Looks(out, seen)
