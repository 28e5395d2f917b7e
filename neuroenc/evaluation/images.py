"""Reconstructed pictures against the seen ones, pixels and features, definitions named.

Two definitions in the literature share a name. "SSIM" is 2-D here; older scikit-image, asked for
`multichannel=True` on a grey picture, averages 1-D SSIM over columns. "Two-way identification" fixes the
reconstruction and takes other pictures as distractors in released code, and the other way round in a text.
Report pixels and features together: a blurred mean wins the first and loses the second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from neuroenc.blocks import blocks
from neuroenc.errors import InputError, invalid
from neuroenc.evaluation.identification import cosine
from neuroenc.ranking import ahead
from neuroenc.real import varies

Floats = NDArray[np.float64]
SIDE = 425  # px, to which pictures are brought before pixels are compared
SIGMA, RADIUS = 1.5, 5  # px, of the window of SSIM
STRIP = 24  # px, blurred at a time
DEFINITIONS = {
    "pixcorr": f"Pearson r over RGB pixels, bilinear {SIDE}",
    "ssim": f"2-D, grey (ITU-R 601), bilinear {SIDE}, Gaussian sigma 1.5 to 3.5 sigma, interior mean",
    "two_way images": "share of other pictures less correlated with the reconstruction than its own",
    "two_way reconstructions": "share of other reconstructions less correlated with the picture than its own",
}


def _pairs(seen: ArrayLike, made: ArrayLike) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    a, b = np.asarray(seen), np.asarray(made)
    for name, v, dims in (("seen", a, (4,)), ("reconstructed", b, (4, 5))):
        if v.ndim not in dims or v.shape[-1] != 3 or v.dtype != np.uint8:
            raise InputError(
                f"The {name} pictures are {v.dtype} of shape {v.shape}, expected uint8 (n, height, width, 3)."
            )
    if len(a) != b.shape[-4]:
        raise InputError(
            f"{len(a)} pictures were seen, {b.shape[-4]} reconstructed. They must match one to one."
        )
    return a, b


def _by_pair(
    seen: ArrayLike, made: ArrayLike, mode: str, describe: Callable[[NDArray[np.uint8]], Any],
    compare: Callable[[Any, Any], float],
) -> Floats:  # fmt: skip
    """Compare each picture that was seen with those made of it; it is resized and described once."""
    a, b = _pairs(seen, made)
    conditions = b if b.ndim == 5 else b[None]
    out = np.empty(conditions.shape[:2])
    for i, picture in enumerate(a):
        known = describe(_resized(picture, mode))
        out[:, i] = [compare(known, describe(_resized(v, mode))) for v in conditions[:, i]]
    return out if b.ndim == 5 else out[0]


def _resized(picture: NDArray[np.uint8], mode: str) -> NDArray[np.uint8]:
    made = Image.fromarray(picture).convert(mode).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(made)


def pixcorr(seen: ArrayLike, made: ArrayLike) -> Floats:
    """Correlate the pixels of each pair.

    Parameters
    ----------
    seen, made : uint8 arrays of shape (n, height, width, 3)
        Sizes may differ between the two; `made` may have an axis of conditions before.

    Returns
    -------
    array of shape (n,) or (n_conditions, n)
        Pearson's r; 0 where a picture has one colour.

    Raises
    ------
    InputError
        Not uint8 RGB, or not as many.
    """

    def sums(picture: NDArray[np.uint8]) -> tuple[Floats, float, float]:  # of whole numbers: exact
        flat = picture.ravel().astype(np.float64)
        total = flat.sum()
        return flat, total, float(flat @ flat - total * total / flat.size)

    def correlate(x: tuple[Floats, float, float], y: tuple[Floats, float, float]) -> float:
        (a, sum_a, var_a), (b, sum_b, var_b) = x, y
        if min(var_a, var_b) < 0.5:  # two colours differ by one at least
            return 0.0
        return float((a @ b - sum_a * sum_b / a.size) / np.sqrt(var_a * var_b))

    return _by_pair(seen, made, "RGB", sums, correlate)


def ssim(seen: ArrayLike, made: ArrayLike) -> Floats:
    """Structural similarity of each pair (Wang et al. 2004), 2-D on grey pictures.

    Parameters
    ----------
    seen, made : uint8 arrays of shape (n, height, width, 3)
        `made` may have an axis of conditions before.

    Returns
    -------
    array of shape (n,) or (n_conditions, n)

    Raises
    ------
    InputError
        Not uint8 RGB, or not as many.
    """

    def local(picture: NDArray[np.uint8]) -> tuple[Floats, Floats, Floats]:
        v = picture / 255
        mean = _blur(v)
        return v, mean, _blur(v * v) - mean**2

    return _by_pair(seen, made, "L", local, _similar)


def _blur(v: Floats) -> Floats:
    """Blur the inside, all but `RADIUS` px, by products with strips of the band matrix of the filter."""
    weight = np.exp(-(np.arange(-RADIUS, RADIUS + 1) ** 2) / (2 * SIGMA**2))
    band = np.zeros((STRIP, STRIP + 2 * RADIUS))
    for i in range(STRIP):
        band[i, i : i + len(weight)] = weight / weight.sum()
    n = SIDE - 2 * RADIUS
    rows, out = np.empty((n, SIDE)), np.empty((n, n))
    for cut in blocks(n, STRIP):
        k = cut.stop - cut.start
        np.matmul(band[:k, : k + 2 * RADIUS], v[cut.start : cut.stop + 2 * RADIUS], out=rows[cut])
    for cut in blocks(n, STRIP):
        k, wide = cut.stop - cut.start, slice(cut.start, cut.stop + 2 * RADIUS)
        np.matmul(rows[:, wide], band[:k, : k + 2 * RADIUS].T, out=out[:, cut])
    return out


def _similar(x: tuple[Floats, Floats, Floats], y: tuple[Floats, Floats, Floats]) -> float:
    """Compare two pictures, each with its local mean and variance."""
    (a, ma, va), (b, mb, vb) = x, y
    cov = _blur(a * b) - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    similar = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    return float(similar.mean())


def two_way(
    seen: ArrayLike, made: ArrayLike, *, distractor: Literal["images", "reconstructions"] = "images"
) -> Floats:
    """Identify each picture in pairs, by features of any network; chance is 0.5.

    Parameters
    ----------
    seen, made : arrays of shape (n, n_features)
        Features of the seen and the reconstructed pictures.
    distractor : {"images", "reconstructions"}
        What the right one competes with: other seen pictures for each reconstruction (the released code of
        Brain-Diffuser, MindEye and others), or other reconstructions for each seen picture.

    Returns
    -------
    array of shape (n,)
        Share of the distractors that are less alike.

    Raises
    ------
    InputError
        Fewer than two pictures, or another distractor.
    """
    if distractor not in ("images", "reconstructions"):
        raise invalid("distractor", distractor, ("images", "reconstructions"))
    r = _cross(seen, made)
    return np.asarray(1 - ahead(r.T if distractor == "images" else r) / (len(r) - 1))


def correlation_distance(seen: ArrayLike, made: ArrayLike) -> Floats:
    """Return 1 - Pearson's r between the features of each pair, (n,); lower is better.

    Parameters
    ----------
    seen, made : arrays of shape (n, n_features)
    """
    return np.asarray(1 - np.diag(_cross(seen, made)))


def frechet_distance(seen: ArrayLike, made: ArrayLike) -> float:
    """Fréchet distance of two sets of features taken as normal (FID, Heusel et al. 2017).

    Parameters
    ----------
    seen, made : arrays of shape (n, n_features), (m, n_features)
        More rows than features, or the covariances have no full rank and the distance is biased upwards.

    Raises
    ------
    InputError
        Of other widths, of one row, or not finite.
    """
    a, b = (np.asarray(v, np.float64) for v in (seen, made))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise InputError(
            f"Features of shapes {a.shape} and {b.shape}. Expected (n, n_features) of one width, two rows or "
            "more."
        )
    _finite(a, b)
    ca, cb = (np.atleast_2d(np.cov(v.T)) for v in (a, b))
    root = np.linalg.eigvals(ca @ cb)  # real and not negative but for rounding
    shared = np.sqrt(np.maximum(root.real, 0)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca) + np.trace(cb) - 2 * shared)


def _finite(a: Floats, b: Floats) -> None:
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError("Features of pictures hold values that are not finite. Extract them again.")


def _cross(seen: ArrayLike, made: ArrayLike) -> Floats:
    """Correlate all seen (rows) with all reconstructed pictures (columns)."""
    a, b = (np.asarray(v, np.float64).reshape(len(np.asarray(v)), -1) for v in (seen, made))
    if len(a) < 2 or a.shape != b.shape:
        raise InputError(
            f"Features of shapes {a.shape} and {b.shape}. Expected one shape, of two pictures or more."
        )
    _finite(a, b)
    return cosine(*(np.where(varies(v, 1)[:, None], v - v.mean(1, keepdims=True), 0) for v in (a, b)))
