"""Stretches of films and sounds that a stimulus is: pictures at any of its times, and what is heard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.datasets import films, sounds
from neuroenc.datasets.sounds import Sound, read_sound
from neuroenc.errors import InputError

LAST = 0.04  # s before the end of a film, where its last frame is shown


class Clip(NamedTuple):
    """A stretch of a film, decoded when it is looked at."""

    look: Callable[[float], NDArray[np.uint8]]
    """From s after the onset to the frame that is shown then"""
    before: float
    """s of the film before the onset"""
    duration: float
    """s"""
    after: float
    """s of the film behind the end"""

    def at(self, times: NDArray[np.float64]) -> list[NDArray[np.uint8]]:
        """Return frames at times after the onset, s; at those outside the film its first or last."""
        inside = np.clip(times, -self.before, self.duration + max(self.after - LAST, 0))
        return [self.look(float(t)) for t in inside]


def of_frames(frames: NDArray[np.uint8], rate: float) -> Clip:
    """Make a clip of frames at hand, (n_frames, height, width, 3), so many a second."""
    last = len(frames) - 1
    return Clip(lambda t: frames[int(np.clip(t * rate + 1e-6, 0, last))], 0.0, len(frames) / rate, 0.0)


def read_clips(stimuli: xr.Dataset, rows: NDArray[np.int64], lead: float = 0.0) -> list[Clip]:
    """List the clips that stimuli are.

    Parameters
    ----------
    stimuli : Dataset
        As `neuroenc.datasets.pixels.read_pixels` reads.
    rows : int array of shape (n,)
    lead : float
        s before each stimulus that are shown along, as far as the film goes back.

    Raises
    ------
    InputError
        A stimulus is no film, or its film is missing or broken.
    """
    return [_clip(*where, lead) for where in _places(stimuli, rows, films.ENDINGS, "film")]


def _clip(path: Path, onset: float, duration: float | None, lead: float) -> Clip:
    film = films.open_film(path)
    length = film.duration
    lasts = length - onset if duration is None else duration
    lead = min(lead, onset)

    def look(time: float) -> NDArray[np.uint8]:
        # not `film`: of many clips that wait, not all can be open
        return films.open_film(path).frame(time + onset - lead)

    return Clip(look, onset - lead, lead + lasts, max(length - onset - lasts, 0.0))


def read_sounds(stimuli: xr.Dataset, rows: NDArray[np.int64], lead: float = 0.0) -> list[Sound]:
    """Read what is heard during stimuli, of films or sound files; as `read_clips`."""
    made = []
    for path, onset, duration in _places(stimuli, rows, (*films.ENDINGS, *sounds.ENDINGS), "film or sound"):
        before = min(lead, onset)
        made.append(read_sound(path, onset - before, None if duration is None else before + duration))
    return made


def _places(
    stimuli: xr.Dataset, rows: NDArray[np.int64], endings: tuple[str, ...], what: str
) -> Iterator[tuple[Path, float, float | None]]:
    """File, onset and duration of stimuli."""
    place = Path(str(stimuli.attrs["pixels"]))
    if "file" not in stimuli.coords:
        raise InputError(
            f"The stimuli of {stimuli.attrs['dataset']!r} come without films. Name them in the column `file`."
        )
    for row in rows:
        name = str(stimuli["file"].values[row])
        if not name.lower().endswith(endings):
            raise InputError(
                f"Stimulus {str(stimuli['stimulus_id'].values[row])!r} is {name!r}, expected a {what} "
                f"({', '.join(endings)}). Use a network of pictures."
            )
        onset = float(stimuli["onset"].values[row]) if "onset" in stimuli.coords else 0.0
        duration = float(stimuli["duration"].values[row]) if "duration" in stimuli.coords else None
        yield place / name, onset, duration
