"""A picture as a fovea at its centre sees it: sampled ever more coarsely towards the periphery.

The log-polar map of primate cortex, w = log(z + a) (Schwartz 1980, Vision Research 20, 645-669), and the
inverse of cortical magnification, proportional to eccentricity + a with a of 0.75 degrees in people (Horton
and Hoyt 1991, Archives of Ophthalmology 109, 816-824): about a tenth of a picture 8 degrees wide.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 256  # samples along the shorter side, were all of the picture seen as at the centre
FOVEA = 0.1  # of the shorter side: the eccentricity at which samples lie twice as far apart
DESCRIPTION = f"foveated at the centre (log-polar, {SIDE} samples a side, doubling at {FOVEA:g} of it)"

Floats = NDArray[np.float32]


def foveate(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Sample a picture on a log-polar grid around its centre, and draw what the samples hold.

    At the eccentricity r, in shares of the shorter side, samples lie

        s(r) = (1 + r / a) / 256,  a = 0.1

    apart, along the radius and, far from the centre, around it: the ring k = 256 a ln(1 + r / a) of 256 a
    ln(1 + R / a) rings, R the eccentricity of the corners, with 2 pi 256 a directions each. A sample is the
    mean under a Gaussian of sigma s(r) / 2; between samples the picture is interpolated linearly, so that a
    network sees it in the plane it was trained in.

    Parameters
    ----------
    picture : uint8 array of shape (height, width, 3)
        Brought to 256 px of its shorter side first, where it is larger (bicubic).

    Returns
    -------
    uint8 array of shape (height, width, 3)
    """
    from scipy.ndimage import gaussian_filter, map_coordinates

    height, width = picture.shape[:2]
    side = min(height, width)
    if side > SIDE:
        size = round(width * SIDE / side), round(height * SIDE / side)
        picture = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
    sigmas, samples, places = _grid(*picture.shape[:2])
    values = picture.astype(np.float32)
    made = np.empty_like(values)
    for channel in range(3):
        plane = values[..., channel]
        blurred = [plane if sigma == 0 else gaussian_filter(plane, sigma, mode="nearest") for sigma in sigmas]
        # the third axis is the blur: samples between two widths are mixtures of these
        seen = map_coordinates(np.stack(blurred), samples, order=1, mode="nearest")
        around = np.concatenate([seen, seen[:, :1]], 1)  # from the last direction to the first
        made[..., channel] = map_coordinates(around, places, order=1, mode="nearest")
    return np.clip(made.round(), 0, 255).astype(np.uint8)


@lru_cache(maxsize=16)
def _grid(height: int, width: int) -> tuple[list[float], Floats, Floats]:
    """Lay the grid for pictures of a size.

    Returns
    -------
    sigmas : list of float
        Widths of the blurred copies, px, from none.
    samples : array of shape (3, n_rings, n_directions)
        Which copy, row and column each sample is taken at.
    places : array of shape (2, height, width)
        Which ring and direction each pixel lies at.
    """
    side = min(height, width)
    a, spacing = FOVEA * side, side / SIDE  # px
    centre = (height - 1) / 2, (width - 1) / 2
    rings = np.arange(int(np.ceil(a / spacing * np.log1p(np.hypot(*centre) / a))) + 1)
    n_directions = round(2 * np.pi * a / spacing)
    radius = a * np.expm1(rings * spacing / a)
    sigma = spacing * (1 + radius / a) / 2
    sigma[sigma < 0.5] = 0  # finer than the pixels: nothing to average
    steps = max(2, int(np.ceil(2 * np.log2(sigma.max(initial=1) / 0.5))) + 1)
    sigmas = [0.0, *np.geomspace(0.5, max(sigma.max(), 0.6), steps)]
    angle = 2 * np.pi * np.arange(n_directions) / n_directions
    samples = np.stack(np.broadcast_arrays(
        np.interp(sigma, sigmas, np.arange(len(sigmas)))[:, None],
        centre[0] + radius[:, None] * np.sin(angle), centre[1] + radius[:, None] * np.cos(angle),
    ))  # fmt: skip
    rows, columns = np.meshgrid(np.arange(height) - centre[0], np.arange(width) - centre[1], indexing="ij")
    ring = a / spacing * np.log1p(np.hypot(rows, columns) / a)
    direction = np.mod(np.arctan2(rows, columns) / (2 * np.pi), 1) * n_directions
    return sigmas, samples.astype(np.float32), np.stack([ring, direction]).astype(np.float32)
