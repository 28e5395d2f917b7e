"""What networks are shown: stimuli read as pictures, texts or both, and fed by worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.config import Model
from neuroenc.datasets.clips import Clip, of_frames, read_clips, read_sounds
from neuroenc.datasets.pixels import read_pixels
from neuroenc.datasets.sounds import Sound
from neuroenc.errors import ContractError, InputError
from neuroenc.hdf5 import open_hdf5

HEARD_AND_SEEN = ("sound", "clip")


class Jobs:
    """What worker processes do: read stimuli and make batches of them."""

    def __init__(
        self, stimuli: xr.Dataset, model: Model, reads: str, prepare: Callable[[list[Any]], Any],
        jobs: list[tuple[NDArray[np.int64], int]], n_parts: int,
    ) -> None:  # fmt: skip
        self.stimuli, self.model, self.reads, self.prepare = stimuli, model, reads, prepare
        self.jobs, self.n_parts = jobs, n_parts

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, number: int) -> Any:
        rows, part = self.jobs[number]
        items = read_items(self.stimuli, rows, self.reads, self.model, part, self.n_parts)
        return self.prepare(items)


def batches(jobs: Jobs, workers: int, *, pin: bool) -> Iterator[Any]:
    """Read and prepare the items of all jobs, in `workers` processes, in order."""
    if workers == 0 or len(jobs) < 2:
        return (jobs[i] for i in range(len(jobs)))
    from torch.utils.data import DataLoader

    loader: Any = DataLoader(
        jobs,  # type: ignore[arg-type]
        batch_size=None, num_workers=workers, prefetch_factor=2, pin_memory=pin, collate_fn=list,
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
        "image", "text", "image+text", "regions+text", "sound" or "clip".
    model : Model
        `context`, `lead` and `regions`.
    part : int
        Which of several texts or frames of each stimulus.
    n_parts : int
        How many there are.

    Returns
    -------
    list
        Pictures, texts, sounds, clips, or pairs of (picture, text) or ((features, boxes), text). Where the
        stimulus' own words are pooled, a text is a pair itself: what came before, and it.
    """
    if reads == "image":
        return read_pixels(stimuli, rows, (part + 0.5) / n_parts)
    if reads in HEARD_AND_SEEN:
        return (read_sounds if reads == "sound" else read_clips)(stimuli, rows, model.lead)
    if "caption" not in stimuli:
        raise ContractError("The stimuli carry no text. For NSD put COCO's captions_*.json into "
                            "nsddata_stimuli/annotations, for BOLD5000 captions_train2014.json into "
                            "BOLD5000_Stimuli/Image_Labels; a table of your own needs a column "
                            "`caption`.")  # fmt: skip
    all_texts = _captions(stimuli)[:, part]
    texts: list[Any] = [str(all_texts[r]) for r in rows]
    before = [""] * len(rows)
    if model.context:
        before = [
            " ".join(str(t) for t in all_texts[s] if t) for s in earlier_rows(stimuli, rows, model.context)
        ]
    if model.pooling.startswith("own"):
        texts = list(zip(before, texts, strict=True))
    else:
        texts = [" ".join(filter(None, pair)) for pair in zip(before, texts, strict=True)]
    if reads == "text":
        return texts
    if reads == "image+text":
        return list(zip(read_pixels(stimuli, rows), texts, strict=True))
    if model.regions is None:
        raise InputError(
            "This network is shown features of detected objects, not pictures. Name their HDF5 file as "
            "`regions` (features, boxes, stimulus_id), as `neuroenc features objects` writes it."
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


def earlier_rows(stimuli: xr.Dataset, rows: NDArray[np.int64], n: int) -> list[NDArray[np.int64]]:
    """Find the up to `n` stimuli that came before each in its film or group, in order of time.

    Time goes by `onset`; without it the rows of a group stand in order.
    """
    group = stimuli["film" if "film" in stimuli.coords else "group"].values
    when = stimuli["onset"].values if "onset" in stimuli.coords else np.zeros(len(group))
    found: dict[int, NDArray[np.int64]] = {}
    for name in np.unique(group[rows]):
        members = np.flatnonzero(group == name)
        members = members[np.argsort(when[members], kind="stable")]
        place = dict(zip(members.tolist(), range(len(members)), strict=True))
        for row in rows[group[rows] == name].tolist():
            found[row] = members[max(0, place[row] - n) : place[row]]
    return [found[row] for row in rows.tolist()]


def there_of(stimuli: xr.Dataset, reads: str, n_parts: int, pooling: str = "mean") -> NDArray[np.bool_]:
    """Say which parts of each stimulus are there, (n, n_parts): all frames, and captions that are not empty.

    Raises
    ------
    InputError
        A stimulus has no caption; moments of a film may be silent, and the empty text is read, unless the
        stimulus' own words are pooled.
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
    if len(silent) and pooling.startswith("own"):
        raise InputError(
            f"{len(silent)} of {len(texts)} moments are silent, first {str(silent[0])!r}, and pooling "
            f"{pooling!r} needs words of their own. Pool by 'last' or 'mean', or leave them out of the table."
        )
    there[:, 1:] = texts[:, 1:n_parts] != ""
    return there


def n_texts(stimuli: xr.Dataset, model: Model) -> int:
    """Return how many texts of a stimulus are averaged; tokens are those of the first alone."""
    if "caption" not in stimuli or model.pooling == "tokens":
        return 1
    return stimuli.sizes["caption_index"]


def _captions(stimuli: xr.Dataset) -> NDArray[np.str_]:
    """Captions, (n, n_captions), those that are there first: an empty one is none."""
    texts = stimuli["caption"].values
    return np.take_along_axis(texts, np.argsort(texts == "", axis=1, kind="stable"), axis=1)


def check_items(items: Sequence[Any], reads: str) -> list[Any]:
    """Refuse what is no picture, text, sound or clip, before anything reads it; return what is read."""
    if not len(items):
        raise InputError("No stimuli were given, expected at least one.")
    if reads in HEARD_AND_SEEN:
        return [_moving(number, item, reads) for number, item in enumerate(items)]
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
    return list(items)


def _moving(number: int, item: Any, reads: str) -> Sound | Clip:
    """Read a pair of (samples, Hz) as a sound, of (frames, frames/s) as a clip."""
    values, rate = item if isinstance(item, tuple) and len(item) == 2 else (item, 0)
    values, rate = np.asarray(values), rate if isinstance(rate, (int, float)) else 0
    paced = rate > 0
    kind = f"{values.dtype} of shape {values.shape} at {rate}"
    if reads == "sound":
        if not paced or rate != int(rate) or values.dtype.kind != "f" or values.ndim != 1 or not len(values):
            raise InputError(f"Item {number} is {kind}, expected a sound: (floats (n_samples,), Hz).")
        if not np.isfinite(values).all():
            raise InputError(f"Item {number} is a sound with samples that are not finite. Leave it out.")
        return Sound(values.astype(np.float32), int(rate))
    if not paced or values.dtype != np.uint8 or values.ndim != 4 or values.shape[3] != 3 or 0 in values.shape:
        raise InputError(
            f"Item {number} is {kind}, expected a clip: (uint8 (n_frames, height, width, 3), frames/s)."
        )
    return of_frames(values, float(rate))
