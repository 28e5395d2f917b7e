"""Features that need no network: of the pixels, of the categories, of the words of the captions."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import scipy.fft
import xarray as xr
from numpy.typing import NDArray
from PIL import Image

from neuroenc.errors import ContractError, invalid
from neuroenc.words import plain_words

SIDE, MARGIN, N_ORIENTATIONS = 128, 16, 6  # px: reflected margin, so that no edge sees the opposite one
PYRAMID = ((4, 12), (8, 12), (16, 8), (32, 4))  # wavelength in px, cells of the pooling grid
NOTHING = 1e-9  # of a filter's height: what is left of it is below the rounding of its output
N_WORDS = 512
CONTRACT = {
    "model": "gabor/pyramid", "weights": "none", "pooling": "grid per scale",
    "normalisation": "mean of the picture subtracted", "pixel_range": "0 to 1",
    "preprocessing": f"grey, bicubic resize to {SIDE}; wavelength and grid {json.dumps(PYRAMID)}",
}  # fmt: skip


class Gabor:
    """Energy of a pyramid of Gabor quadrature pairs, averaged in a grid per scale.

    The motion-free part of Nishimoto et al. (2011): grey picture of 128 px, six orientations,
    wavelengths of 4, 8, 16 and 32 px with a bandwidth of one octave, root of the energy.
    """

    layers = ("energy",)

    def __init__(self, pooling: str = "mean") -> None:
        """Build the filters.

        Parameters
        ----------
        pooling : str
            'grid:<k>': all scales in k x k cells, as tokens; else each scale in cells of its own.
        """
        if pooling != "mean" and not (pooling.startswith("grid:") and pooling[5:].isdigit()):
            raise invalid("pooling", pooling, ("mean", "grid:8"))
        self.cells = int(pooling[5:]) if pooling != "mean" else None
        self.contract = CONTRACT | ({"pooling": pooling} if self.cells else {})
        angles = np.pi * np.arange(N_ORIENTATIONS) / N_ORIENTATIONS
        self.filters = filter_bank(PYRAMID, angles, self.cells)

    def __call__(self, pixels: list[NDArray[np.uint8]]) -> dict[str, NDArray[np.float32]]:
        """Return {'energy': (n, n_features)}."""
        seen = grey(pixels, SIDE)
        margin = ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN))
        padded = np.pad(seen - seen.mean((1, 2), keepdims=True), margin, mode="reflect")
        parts = [
            np.stack([
                [pool @ _size(down @ (one[kept] @ across)) @ pool.T for kept, down, across in bank]
                for one in scipy.fft.fft2(padded)
            ]).reshape(len(pixels), N_ORIENTATIONS, -1)
            for bank, pool in self.filters.values()
        ]  # fmt: skip
        if self.cells:
            return {"energy": np.concatenate(parts, 1).transpose(0, 2, 1).astype(np.float32)}
        return {"energy": np.concatenate([p.reshape(len(p), -1) for p in parts], 1).astype(np.float32)}


Filter = tuple[Any, NDArray[np.complex64], NDArray[np.complex64]]
"""Frequencies that pass, and from these to the rows and columns of the picture"""


def filter_bank(
    pyramid: tuple[tuple[int, int], ...],
    angles: NDArray[np.float64],
    cells: int | None = None,
    *,
    nothing: float = NOTHING,
    apart: int | None = None,
) -> dict[int, tuple[list[Filter], NDArray[np.float32]]]:
    """Build complex Gabor filters of one octave, each for one side of the frequencies.

    Parameters
    ----------
    pyramid : tuple of (wavelength in px, cells of its pooling grid)
    angles : array of shape (n_orientations,)
        Of the frequency, rad; 0 is along the rows, what stands upright.
    cells : int, optional
        Of the grid of all scales.
    nothing : float
        Share of a filter's height below which a frequency is left out.
    apart : int, optional
        The output is taken at so many places of a wavelength, but two a cell at least; None: at every pixel.

    Returns
    -------
    dict of wavelength to (filter for each angle, pooling matrix of shape (n_cells, n_places))
    """
    at = scipy.fft.fftfreq(SIDE + 2 * MARGIN)
    made = {}
    for wavelength, own in pyramid:
        frequency = 1 / wavelength
        sigma = frequency / 3 / np.sqrt(2 * np.log(2))  # one octave at half height
        edges = np.linspace(0, SIDE, (cells or own) + 1).round().astype(int)
        step = 1 if apart is None else max(min(wavelength // apart, SIDE // (cells or own) // 2), 1)
        places = np.arange((step - 1) / 2, SIDE, step)
        # back to places inside the margin, from the few frequencies that a filter lets through
        waves = np.exp(2j * np.pi * np.outer(MARGIN + places, at)) / len(at)
        inside = (places >= edges[:-1, None]) & (places < edges[1:, None])
        # cells of unequal width where the side does not divide
        pool = (inside / inside.sum(1, keepdims=True)).astype(np.float32)
        bank = []
        for a in angles:
            along = [
                np.exp(-((at - frequency * turn) ** 2) / (2 * sigma**2)) for turn in (np.sin(a), np.cos(a))
            ]
            kept = [np.flatnonzero(v > nothing) for v in along]
            down, across = (
                (waves[:, k] * v[k]).astype(np.complex64) for k, v in zip(kept, along, strict=True)
            )
            bank.append((np.ix_(*kept), down, across.T))
        made[wavelength] = bank, pool
    return made


def _size(values: NDArray[np.complex64]) -> NDArray[np.float32]:
    return np.sqrt(values.real**2 + values.imag**2)


class Pixels:
    """A plain description of the pixels.

    `pixel`: RGB of the picture at 32 x 32 px, or as `pooling` says. `luminance`: mean and standard deviation
    of the grey level in a grid of cells. `spectral`: logarithm of the Fourier power in 8 orientations and 6
    octaves of frequency.
    """

    def __init__(self, kind: str, pooling: str = "mean") -> None:
        """Choose the description.

        Parameters
        ----------
        kind : {"pixel", "luminance", "spectral"}
        pooling : str
            'grid:<k>' gives k x k cells as tokens, of `pixel` a picture of k x k px; 'mean' 8 x 8 cells of
            luminance, or 32 x 32 px, side by side.
        """
        gridded = pooling.startswith("grid:") and pooling[5:].isdigit()
        if pooling != "mean" and not (gridded and kind != "spectral"):
            raise invalid("pooling", pooling, ("mean",) if kind == "spectral" else ("mean", "grid:8"))
        self.kind, self.cells = kind, int(pooling[5:]) if gridded else None
        done = {
            "pixel": f"RGB, bicubic resize to {self.cells or SIDE // 4}",
            "luminance": f"grey, bicubic resize to {SIDE}; mean and deviation of cells",
            "spectral": f"grey, bicubic resize to {SIDE}, Hann window; log power, 8 orientations, 6 octaves",
        }[kind]
        self.contract = _contract(kind, done) | {"pooling": pooling, "pixel_range": "0 to 1"}

    def __call__(self, pixels: list[NDArray[np.uint8]]) -> dict[str, NDArray[np.float32]]:
        """Return {layer: (n, n_features)}, or (n, n_cells, 2)."""
        if self.kind == "pixel":
            seen = _resized(pixels, "RGB", self.cells or SIDE // 4)
            return {"rgb": seen.reshape(len(pixels), -1, *[3] * bool(self.cells))}
        seen = grey(pixels, SIDE)
        if self.kind == "luminance":
            edges = np.linspace(0, SIDE, (self.cells or 8) + 1).round().astype(int)
            area = np.outer(np.diff(edges), np.diff(edges))
            mean, square = (
                np.add.reduceat(np.add.reduceat(v, edges[:-1], axis=1), edges[:-1], axis=2) / area
                for v in (seen.astype(float), seen.astype(float) ** 2)
            )
            cells = np.stack([mean, np.sqrt(np.maximum(square - mean**2, 0))], -1).astype(np.float32)
            cells = cells.reshape(len(seen), -1, 2)
            return {"luminance": cells if self.cells else cells.reshape(len(seen), -1)}
        window = np.outer(np.hanning(SIDE), np.hanning(SIDE))
        power = np.abs(scipy.fft.fft2((seen - seen.mean((1, 2), keepdims=True)) * window, workers=2)) ** 2
        fy, fx = np.meshgrid(*(scipy.fft.fftfreq(SIDE),) * 2, indexing="ij")
        octave = np.floor(np.log2(np.maximum(np.hypot(fx, fy) * SIDE, 0.5)))
        orientation = np.floor(np.mod(np.arctan2(fy, fx) / np.pi * 8 + 0.5, 8))  # the first around 0
        bands = [(octave == o) & (orientation == a) for o in range(6) for a in range(8)]
        sums = np.stack([power[:, band].mean(1) for band in bands if band.any()], 1)
        return {"power": np.log(sums + 1e-6).astype(np.float32)}


def grey(pixels: list[NDArray[np.uint8]], side: int) -> NDArray[np.float32]:
    """Bring pictures to grey squares, (n, side, side), 0 to 1."""
    return _resized(pixels, "L", side)


def _resized(pixels: list[NDArray[np.uint8]], mode: str, side: int) -> NDArray[np.float32]:
    shape = (side, side)
    made = [Image.fromarray(p).convert(mode).resize(shape, Image.Resampling.BICUBIC) for p in pixels]
    return np.stack([np.asarray(m, dtype=np.float32) for m in made]) / np.float32(255)


def category_features(stimuli: xr.Dataset) -> tuple[NDArray[np.float32], dict[str, str]]:
    """Presence and root of the area of each category, (n_stimuli, 2 n_categories)."""
    if "category" not in stimuli:
        raise ContractError(
            "The stimuli carry no categories. For NSD put COCO's instances_*.json into "
            "nsddata_stimuli/annotations."
        )
    area = stimuli["category"].values
    table = np.concatenate([area > 0, np.sqrt(area)], 1).astype(np.float32)
    return table, _contract("category", f"presence and root of the area of {area.shape[1]} categories")


def caption_features(stimuli: xr.Dataset) -> tuple[NDArray[np.float32], dict[str, str]]:
    """How often each word stands in a picture's captions, (n_stimuli, 512), words hashed."""
    from sklearn.feature_extraction.text import HashingVectorizer

    if "caption" not in stimuli:
        raise ContractError(
            "The stimuli carry no captions. For NSD put COCO's captions_*.json into "
            "nsddata_stimuli/annotations."
        )
    captions = stimuli["caption"].values
    vectorizer = HashingVectorizer(n_features=N_WORDS, alternate_sign=False, norm=None, analyzer=plain_words)
    counts = vectorizer.transform(captions.ravel()).toarray().reshape(*captions.shape, N_WORDS)
    there = np.maximum((captions != "").sum(1, keepdims=True), 1)  # an empty one is none
    mean = (counts.sum(1) / there).astype(np.float32)
    return mean, _contract("caption", f"counts of words hashed to {N_WORDS}, mean over captions")


def _contract(name: str, preprocessing: str) -> dict[str, Any]:
    return {
        "model": f"{name}/table", "weights": "none", "pooling": "none", "normalisation": "none",
        "pixel_range": "none", "preprocessing": preprocessing,
    }  # fmt: skip
