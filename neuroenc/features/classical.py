"""Features that need no network: Gabor energy, categories, words of the captions."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import scipy.fft
import xarray as xr
from numpy.typing import NDArray
from PIL import Image

from neuroenc.errors import ContractError, invalid

SIDE, MARGIN, N_ORIENTATIONS = 128, 16, 6  # px: reflected margin, so that no edge sees the opposite one
PYRAMID = ((4, 12), (8, 12), (16, 8), (32, 4))  # wavelength in px, cells of the pooling grid
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
        fy, fx = np.meshgrid(*(scipy.fft.fftfreq(SIDE + 2 * MARGIN),) * 2, indexing="ij")
        self.bank = {}
        for wavelength, _ in PYRAMID:
            frequency = 1 / wavelength
            sigma = frequency / 3 / np.sqrt(2 * np.log(2))  # one octave at half height
            self.bank[wavelength] = np.stack([
                np.exp(-((fx - frequency * np.cos(a)) ** 2 + (fy - frequency * np.sin(a)) ** 2)
                       / (2 * sigma**2))
                for a in np.pi * np.arange(N_ORIENTATIONS) / N_ORIENTATIONS
            ]).astype(np.float32)  # fmt: skip

    def __call__(self, pixels: list[NDArray[np.uint8]]) -> dict[str, NDArray[np.float32]]:
        """Return {'energy': (n, n_features)}."""
        grey = np.stack([
            np.asarray(
                Image.fromarray(p).convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC),
                dtype=np.float32,
            )
            for p in pixels
        ]) / 255  # fmt: skip
        margin = ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN))
        padded = np.pad(grey - grey.mean((1, 2), keepdims=True), margin, mode="reflect")
        spectrum = scipy.fft.fft2(padded)[:, None]
        inside = slice(MARGIN, MARGIN + SIDE)
        parts = []
        for wavelength, own in PYRAMID:
            cells = self.cells or own
            energy = np.abs(scipy.fft.ifft2(spectrum * self.bank[wavelength], workers=2))
            energy = energy[..., inside, inside]
            # cells of unequal width where the side does not divide
            edges = np.linspace(0, SIDE, cells + 1).round().astype(int)
            rows = np.add.reduceat(energy, edges[:-1], axis=2)
            sums = np.add.reduceat(rows, edges[:-1], axis=3)
            area = np.outer(np.diff(edges), np.diff(edges))
            parts.append((sums / area).reshape(len(pixels), N_ORIENTATIONS, -1))
        if self.cells:
            return {"energy": np.concatenate(parts, 1).transpose(0, 2, 1).astype(np.float32)}
        return {"energy": np.concatenate([p.reshape(len(p), -1) for p in parts], 1).astype(np.float32)}


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
    vectorizer = HashingVectorizer(n_features=N_WORDS, alternate_sign=False, norm=None)
    counts = vectorizer.transform(captions.ravel()).toarray()
    mean = counts.reshape(*captions.shape, N_WORDS).mean(1).astype(np.float32)
    return mean, _contract("caption", f"counts of words hashed to {N_WORDS}, mean over captions")


def _contract(name: str, preprocessing: str) -> dict[str, Any]:
    return {
        "model": f"{name}/table", "weights": "none", "pooling": "none", "normalisation": "none",
        "pixel_range": "none", "preprocessing": preprocessing,
    }  # fmt: skip
