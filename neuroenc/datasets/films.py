"""Frames of films at given times, decoded as they are asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from neuroenc.errors import InputError
from neuroenc.files import existing

ENDINGS = (".mp4", ".m4v", ".mov", ".mkv", ".avi", ".webm")
ROUNDING = 1e-6  # s
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
        self.path, self.open, self.errors = path, av.open, av.FFmpegError
        try:
            self.container = av.open(str(existing(path)))
            self.stream: Any = self.container.streams.video[0]
        except (av.FFmpegError, IndexError) as error:
            raise InputError(f"Cannot read the film {path}: {error}. Is it whole?") from None
        # readers work side by side; a decoder's own threads would be missing where it is freed after a fork
        self.stream.codec_context.thread_count = 1
        self.begins = float((self.stream.start_time or 0) * (self.stream.time_base or 0))
        self.frames: Any = iter(())
        self.now: Any = None
        self.next: Any = None
        self.start = self.begins
        if self.container.format.name == "avi":  # counts frames as they are stored: some decoders lag behind
            self.start = self._jump(self.begins, 0.0)

    @cached_property
    def duration(self) -> float:
        """Length in s."""
        if self.stream.duration is not None:
            return float(self.stream.duration * self.stream.time_base)
        if self.container.duration and not self.begins:
            return float(self.container.duration) / 1e6
        # of recordings that were written as they came, or began late, nothing says when they end
        with self._whole(0.0), self.open(str(self.path)) as container:
            packets = container.demux(video=0)
            end = max((p.pts + (p.duration or 0) for p in packets if p.pts is not None), default=0)
        return float(end * self.stream.time_base) - self.begins

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
        if self.now is None or wanted < self.now.time or wanted > self.now.time + AHEAD:
            self._jump(wanted, time)
        while self.next is not None and self.next.time <= wanted + ROUNDING:
            self.now, self.next = self.next, self._decoded(time)
        lasts = float((getattr(self.now, "duration", 0) or 0) * (self.stream.time_base or 0))
        lasts = max(lasts, 2 / float(self.stream.average_rate or 25))
        if self.now is None or (self.next is None and wanted > self.now.time + lasts):
            end = self.duration if self.now is None else self.now.time - self.start
            raise InputError(
                f"{self.path} ends at {end:.2f} s, a stimulus asks for {time:.2f} s. Is it the film that was "
                "shown?"
            )
        return as_shown(self.now, self.stream.sample_aspect_ratio)

    def _jump(self, wanted: float, time: float) -> float:
        """Go to a key frame that is shown at `wanted` or before; return when it is shown.

        Containers find key frames by when they are decoded: the one they find may be shown later.
        """
        back = 0.0
        while True:
            goal = max(wanted - back, self.begins)
            with self._whole(time):
                self.container.seek(int(goal / self.stream.time_base), stream=self.stream, backward=True)
            self.frames, self.now, self.next = self.container.decode(self.stream), None, None
            self.now = self._decoded(time)
            if self.now is None or self.now.time <= wanted + ROUNDING or goal == self.begins:
                break
            back = 2 * back + 1
        self.next = self._decoded(time)
        return self.begins if self.now is None else float(self.now.time)

    def _decoded(self, time: float) -> Any:
        """Return the next frame, None behind the last."""
        with self._whole(time):
            frame = next(self.frames, None)
        before = self.next or self.now
        if frame is not None and (frame.time is None or (before is not None and frame.time < before.time)):
            raise InputError(
                f"{self.path} does not say when its frames are shown: they are decoded in another order than "
                f"their times, or have none. Write it anew, e.g. `ffmpeg -i {self.path.name} "
                f"{self.path.stem}-new.mp4`."
            )
        return frame

    @contextmanager
    def _whole(self, time: float) -> Iterator[None]:
        try:
            yield
        except self.errors as error:
            raise InputError(f"Cannot decode {self.path} at {time:.2f} s: {error}. Is it whole?") from None


def as_shown(frame: Any, pixel: Fraction | None) -> NDArray[np.uint8]:
    """Return a frame of a film as players show it.

    Parameters
    ----------
    frame : av.VideoFrame
        With the matrix by which it is turned or mirrored, where the film has one.
    pixel : Fraction, optional
        Width of a pixel by its height; a picture of others than squares is resized (bicubic) in its width.

    Returns
    -------
    uint8 array of shape (height, width, 3)
    """
    picture = np.asarray(frame.to_ndarray(format="rgb24", threads=1))
    width = round(frame.width * (pixel or 1))
    if width != frame.width:
        size = (width, frame.height)
        picture = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
    side = frame.side_data.get("DISPLAYMATRIX")
    if side is None:
        return picture
    a, b, _, c, d = np.frombuffer(bytes(side), np.int32)[:5] / 2**16  # shown at (a x + c y, b x + d y)
    if abs(a) < abs(b):  # by a right angle
        picture, a, d = picture.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def open_film(path: Path) -> Film:
    """Open a film, or return the one that is open; each process has its own."""
    return _open(path, os.getpid())


@lru_cache(maxsize=4)
def _open(path: Path, process: int) -> Film:  # noqa: ARG001  a fork must not share the position
    return Film(path)
