"""Sound of films and of sound files, in one channel, decoded as it is asked for."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuroenc.errors import InputError, reason
from neuroenc.files import existing

ENDINGS = (".wav", ".flac", ".mp3", ".m4a", ".ogg")
LOUDEST = 16.0  # of floating samples, whose full scale is 1: some go beyond it, whole numbers go far beyond
MISSING = 0.1  # s; streams of sound end a little before or after the pictures


class Sound(NamedTuple):
    """A stretch of sound."""

    values: NDArray[np.float32]
    """(n_samples,), full scale is 1; channels are averaged"""
    rate: int
    """Hz"""


def read_sound(path: Path, onset: float = 0.0, duration: float | None = None) -> Sound:
    """Read a stretch of a sound file, or of the sound of a film.

    Parameters
    ----------
    path : path
        WAV is read by SciPy; anything else, films among it, needs the extra `films`.
    onset : float
        s from the beginning; of a film, of its pictures.
    duration : float, optional
        s; None: to the end.

    Raises
    ------
    InputError
        It is missing or broken, has no sound, or ends before the stretch does.
    """
    if path.suffix.lower() == ".wav":
        values, rate = _wav(existing(path))
        start, ahead = round(onset * rate), 0.0
    else:
        values, rate, ahead = _decoded(path, onset, duration)
        start = 0
    n = max(len(values) - start, 0) if duration is None else round(duration * rate)
    part = values[start : start + n]
    if n == 0 or len(part) < n - MISSING * rate:
        raise InputError(
            f"The sound of {path} ends at {ahead + len(values) / rate:.2f} s, a stimulus asks for "
            f"{onset + (duration or 0):.2f} s. Is it the one that was heard?"
        )
    return Sound(np.pad(part, (0, n - len(part))), rate)


@lru_cache(maxsize=2)
def _wav(path: Path) -> tuple[NDArray[np.float32], int]:
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of notes beside the sound
            rate, stored = wavfile.read(path)
    except Exception as error:  # noqa: BLE001  a broken header fails in many ways
        raise InputError(f"Cannot read the sound {path}: {reason(error)}. Is it a WAV, and whole?") from None
    if stored.dtype == np.uint8:
        values = stored.astype(np.float32) / 128 - 1
    elif stored.dtype.kind == "i":
        values = stored / np.float32(2 ** (8 * stored.dtype.itemsize - 1))
    else:
        values = stored
        if not (np.abs(values) <= LOUDEST).all():
            raise InputError(
                f"The sound {path} holds {values[~(np.abs(values) <= LOUDEST)][0]:g}, expected floating "
                "numbers from -1 to 1. Scale it, or save it as 16-bit WAV."
            )
    return values.reshape(len(values), -1).mean(1, dtype=np.float32), rate


def _decoded(path: Path, onset: float, duration: float | None) -> tuple[NDArray[np.float32], int, float]:
    """Decode a stretch by FFmpeg: samples from the onset on, rate, and the onset."""
    try:
        import av
    except ImportError:
        raise InputError("Sounds other than WAV need the extra 'films'. Install neuroenc[films].") from None
    parts: list[NDArray[np.float32]] = []
    try:
        with av.open(str(existing(path))) as container:
            if not container.streams.audio:
                raise InputError(f"{path} has no sound. Use a network of pictures, or leave it out.")
            stream = container.streams.audio[0]
            first = container.streams.video[0] if container.streams.video else stream
            start = float((first.start_time or 0) * (first.time_base or 0))
            rate = stream.rate
            resampler = av.AudioResampler(format="fltp", rate=rate)
            if onset > 1 and stream.time_base:
                container.seek(int((start + onset - 1) / stream.time_base), stream=stream, backward=True)
            at: int | None = None  # of the next sample, from the onset
            end = np.inf if duration is None else round(duration * rate)
            for frame in container.decode(stream):
                if frame.time is None:
                    raise InputError(f"The sound of {path} does not say its times. Save it as WAV.")
                if at is None:
                    at = round((frame.time - start - onset) * rate)
                    if at > 0:
                        parts.append(np.zeros(min(at, int(min(end, 2**40))), np.float32))
                for made in resampler.resample(frame):
                    values = made.to_ndarray().mean(0, dtype=np.float32)
                    parts.append(values[max(-at, 0) :])
                    at += len(values)
                if at >= end:
                    break
    except av.FFmpegError as error:
        raise InputError(f"Cannot decode the sound of {path}: {error}. Is it whole?") from None
    return np.concatenate([np.zeros(0, np.float32), *parts]), rate, onset


def resampled(sound: Sound, rate: int) -> NDArray[np.float32]:
    """Bring a sound to another sampling rate, by a polyphase filter that keeps out what would fold over.

    Parameters
    ----------
    sound : Sound
    rate : int
        Hz.

    Returns
    -------
    float32 array of shape (n_samples,)
    """
    from scipy.signal import resample_poly

    if sound.rate == rate:
        return sound.values
    common = np.gcd(sound.rate, rate)
    made = resample_poly(sound.values, rate // common, sound.rate // common)
    return np.asarray(made, np.float32)
