"""Frames of films at given times, decoded as they are asked for."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroenc.errors import InputError
from neuroenc.files import existing

ENDINGS = (".mp4", ".m4v", ".mov", ".mkv", ".avi", ".webm")
AHEAD = 5.0  # s; what is closer is reached by decoding on, what is farther by a jump


class Film:
    """A film that is read mostly forwards.

    Parameters
    ----------
    path : path

    Raises
    ------
    InputError
        It cannot be decoded, or the extra `films` is not installed.
    """

    def __init__(self, path: Path) -> None:
        try:
            import av
        except ImportError:
            raise InputError("Films need the extra 'films'. Install neuroenc[films].") from None
        self.path, self.errors = path, av.FFmpegError
        try:
            self.container = av.open(str(existing(path)))
            self.stream: Any = self.container.streams.video[0]
        except (av.FFmpegError, IndexError) as error:
            raise InputError(f"Cannot read the film {path}: {error}. Is it whole?") from None
        # readers work side by side; a decoder's own threads would be missing where it is freed after a fork
        self.stream.codec_context.thread_count = 1
        self.start = float((self.stream.start_time or 0) * (self.stream.time_base or 0))
        self.frames: Any = iter(())
        self.now: Any = None
        self.next: Any = None

    @property
    def duration(self) -> float:
        """Length in s."""
        if self.stream.duration is not None:
            return float(self.stream.duration * self.stream.time_base)
        return float(self.container.duration or 0) / 1e6

    def frame(self, time: float) -> NDArray[np.uint8]:
        """Return the frame that is shown at a time.

        Parameters
        ----------
        time : float
            s from the beginning.

        Returns
        -------
        uint8 array of shape (height, width, 3)

        Raises
        ------
        InputError
            The film is shorter than that, or broken there.
        """
        wanted = time + self.start
        try:
            if self.now is None or wanted < self.now.time or wanted > self.now.time + AHEAD:
                back = int(max(wanted, self.start) / self.stream.time_base)
                self.container.seek(back, stream=self.stream, backward=True)
                self.frames = self.container.decode(self.stream)
                self.now = next(self.frames, None)
                self.next = next(self.frames, None)
            while self.next is not None and self.next.time <= wanted + 1e-6:
                self.now, self.next = self.next, next(self.frames, None)
        except self.errors as error:
            raise InputError(f"Cannot decode {self.path} at {time:.2f} s: {error}. Is it whole?") from None
        last = 2 / float(self.stream.average_rate or 25)
        if self.now is None or (self.next is None and wanted > self.now.time + last):
            end = self.duration if self.now is None else self.now.time - self.start
            raise InputError(
                f"{self.path} ends at {end:.2f} s, a stimulus asks for {time:.2f} s. Is it the film that was "
                "shown?"
            )
        return np.asarray(self.now.to_ndarray(format="rgb24", threads=1))


def open_film(path: Path) -> Film:
    """Open a film, or return the one that is open; each process has its own."""
    return _open(path, os.getpid())


@lru_cache(maxsize=4)
def _open(path: Path, process: int) -> Film:  # noqa: ARG001  a fork must not share the position
    return Film(path)
