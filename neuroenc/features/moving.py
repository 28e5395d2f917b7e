"""Features of films and sounds that need no network: log-mel spectrum, motion energy."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from neuroenc.datasets.clips import Clip
from neuroenc.datasets.sounds import Sound, resampled
from neuroenc.errors import InputError, invalid
from neuroenc.features.classical import MARGIN, SIDE, filter_bank, grey

RATE, WINDOW, HOP, N_MELS = 16_000, 400, 160, 80  # Hz, samples, samples, bands
FLOOR = 1e-10  # of power, below which all is silence
FPS = 16.0  # frames/s
REACH = 7  # frames on either side of a filter's middle: 3 deviations
TAU = 0.15  # s, deviation of a filter in time
PYRAMID = ((4, 8), (8, 8), (16, 8), (32, 4), (64, 2))  # wavelength in px, cells of the pooling grid
N_ORIENTATIONS = 4
DRIFTS = (0.0, 2.0, -2.0, 4.0, -4.0)  # cycles/s, along the direction of the wave


class Mel:
    """Logarithm of the power in mel bands, averaged over the stimulus.

    With S the power of a Hann window of 25 ms every 10 ms at 16 kHz and M the triangles of Slaney's mel scale
    from 0 to 8 kHz, each of area 1, a stimulus is the mean over windows of log10(max(M S, 1e-10)), (80,).
    Windows lie inside the stimulus, none over its edges. Silence is -10 in all bands.
    """

    layers = ("mel",)
    reads = "sound"

    def __init__(self, pooling: str = "mean") -> None:
        if pooling != "mean":
            raise invalid("pooling", pooling, ("mean",))
        self.filters = mel_filters(RATE, WINDOW, N_MELS)
        self.contract = {
            "model": "mel/log", "weights": "none", "pooling": "mean over time", "normalisation": "none",
            "pixel_range": "full scale of the sound is 1",
            "preprocessing": f"one channel, {RATE} Hz, Hann window of {WINDOW} every {HOP} samples, {N_MELS} "
            "bands of Slaney's mel scale, log10 of the power",
        }  # fmt: skip

    def prepare(self, sounds: list[Sound]) -> list[NDArray[np.float32]]:
        """Bring sounds to the rate of the windows."""
        return [resampled(sound, RATE) for sound in sounds]

    def run(self, sounds: list[NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Return {'mel': (n, 80)}."""
        return {"mel": np.stack([self.spectrogram(values).mean(1) for values in sounds])}

    def spectrogram(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the log-mel spectrogram of a sound at 16 kHz, (80, n_windows)."""
        if len(values) < WINDOW:
            raise InputError(
                f"A sound lasts {len(values) / RATE:.3f} s, less than a window of {WINDOW / RATE:.3f} s. "
                "Leave it out, or make the stimuli longer."
            )
        windows = np.lib.stride_tricks.sliding_window_view(values, WINDOW)[::HOP]
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
        power = np.abs(scipy.fft.rfft(windows * hann, axis=1)) ** 2
        return np.log10(np.maximum(self.filters @ power.T, FLOOR)).astype(np.float32)


def mel_filters(rate: int, n_fft: int, n: int) -> NDArray[np.float64]:
    """Triangles of area 1 (in Hz) that stand evenly on Slaney's mel scale, from 0 to half the rate.

    The scale is linear up to 1 kHz, 3 mel for 200 Hz, and logarithmic above, 27 mel for a factor of 6.4.

    Returns
    -------
    array of shape (n, n_fft // 2 + 1)
        Over the frequencies of a real Fourier transform.
    """
    step = np.log(6.4) / 27
    top = 15 + np.log(rate / 2 / 1000) / step
    mels = np.linspace(0, top, n + 2)
    at = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * step))[:, None]
    frequency = np.linspace(0, rate / 2, n_fft // 2 + 1)
    rising = (frequency - at[:-2]) / (at[1:-1] - at[:-2])
    falling = (at[2:] - frequency) / (at[2:] - at[1:-1])
    return np.maximum(np.minimum(rising, falling), 0) * 2 / (at[2:] - at[:-2])


class MotionEnergy:
    """Motion energy of a pyramid of drifting Gabor quadrature pairs, averaged in a grid per scale.

    Adelson & Bergen (1985), as Nishimoto et al. (2011) have it: a filter is a Gabor wave in space, of a
    bandwidth of one octave, times a wave in time under a Gaussian of 0.15 s,

        R(x, t) = sum_s exp(-s^2 / 2 tau^2) exp(2 pi i w s) (G * I)(x, t + s),

    with I the grey pictures, 16 a second, and G the complex Gabor filter whose frequency f points along the
    direction; what drifts that way passes w cycles each second, at a speed of w / |f|. Five wavelengths (4
    to 64 px of a picture of 128 px), eight directions at 2 and 4 cycles/s and four orientations that stand
    still; |R|, the root of the energy, is averaged over the cells of a grid and the times of the stimulus.
    Frames before and after it enter the filters as far as they reach, 0.44 s; at the ends of a film its first
    or last frame does.
    """

    layers = ("energy",)
    reads = "clip"

    def __init__(self, pooling: str = "mean") -> None:
        """Build the filters; `pooling` as `neuroenc.features.classical.Gabor` takes it."""
        if pooling != "mean" and not (pooling.startswith("grid:") and pooling[5:].isdigit()):
            raise invalid("pooling", pooling, ("mean", "grid:8"))
        self.cells = int(pooling[5:]) if pooling != "mean" else None
        angles = np.pi * np.arange(N_ORIENTATIONS) / N_ORIENTATIONS
        # of responses as smooth as these, four places a wavelength have the mean of all
        self.filters = filter_bank(PYRAMID, angles, self.cells, nothing=1e-4, apart=4)
        s = np.arange(-REACH, REACH + 1) / FPS
        shape = np.exp(-(s**2) / (2 * TAU**2))
        self.in_time = (shape / shape.sum() * np.exp(2j * np.pi * np.outer(DRIFTS, s))).astype(np.complex64)
        self.contract = {
            "model": "motion_energy/pyramid", "weights": "none",
            "pooling": pooling if self.cells else "grid per scale, mean over time",
            "normalisation": "mean of each clip subtracted", "pixel_range": "0 to 1",
            "preprocessing": f"grey, bicubic resize to {SIDE}, {FPS:g} frames/s; wavelength and grid "
            f"{json.dumps(PYRAMID)}; {json.dumps(DRIFTS)} cycles/s",
        }  # fmt: skip

    def prepare(self, clips: list[Clip]) -> list[NDArray[np.float32]]:
        """Decode frames, grey, (n_frames + 14, 128, 128)."""
        made = []
        for clip in clips:
            n = max(round(clip.duration * FPS), 1)
            at = (np.arange(-REACH, n + REACH) + 0.5) / FPS
            made.append(grey(clip.at(np.asarray(at, float)), SIDE))
        return made

    def run(self, clips: list[NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Return {'energy': (n, n_features)}, or (n, n_cells, n_filters).

        Features go by wavelength, drift, orientation, row and column.
        """
        return {"energy": np.stack([self._energy(clip) for clip in clips])}

    def _energy(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        margin = ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN))
        # a margin that reflected the picture would move the other way
        seen = scipy.fft.fft2(np.pad(frames - frames.mean(), margin, mode="edge"))
        parts = []
        for bank, pool in self.filters.values():
            found: list[Any] = []
            for kept, down, across in bank:
                some = seen[:, *kept]  # (n_frames, few, few)
                windows = np.lib.stride_tricks.sliding_window_view(some, 2 * REACH + 1, axis=0)
                drifting = np.einsum("tyxs,ws->wtyx", windows, self.in_time, optimize=True)
                found.append((pool @ np.abs(down @ drifting @ across) @ pool.T).mean(1))
            parts.append(np.stack(found, 1).reshape(len(DRIFTS) * N_ORIENTATIONS, -1))
        if self.cells:
            return np.concatenate(parts).T.astype(np.float32)
        return np.concatenate([p.ravel() for p in parts]).astype(np.float32)
