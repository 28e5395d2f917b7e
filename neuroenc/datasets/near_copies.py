"""Pictures that were cropped, scaled or compressed anew: found by how they look from afar.

Each picture is a thumbnail of 48 x 48 pixels, whatever its shape. The five others that are most alike in
grey are held against it: one is moved and stretched to where it fits the whole of the other best, at most a
fifth of its side cut off, and both are compared in colour, cell by cell of 12 x 12. They are near copies
where the difference is small throughout, against the spread of the picture: another object before the same
background makes none.

Measured with 100 pictures each of `v4`, `mtl` and the drawn scenes of the demo: of JPEG of quality 50 at
least 99 % were found, at half the size and quality 75 at least 91 %, with up to a tenth of each side cut off
at least 98 %; none of the 4,540, 215 and 1,500 different pictures there was taken for another. Renderings of
solids that differ by a few facets are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from neuroenc.blocks import blocks

SIDE, CELLS, COARSE = 48, 12, 6  # px of a thumbnail; cells a side by which pictures are compared, and chosen
NEIGHBOURS = 5  # that a picture is held against
ALIKE = 0.5  # correlation of 8 x 8 cells of grey, at least, of a neighbour
NEAR, SEARCHED = 0.35, 0.35  # root mean square difference up to which a pair is looked at more closely
DIFFERENCE, LARGEST = (
    0.1,
    0.4,
)  # root mean square and largest difference, in deviations of a picture
FLAT = 4.0  # grey levels of deviation below which a picture shows nothing to be compared
LENGTHS = (1, 0.95, 0.9, 0.85, 0.8)  # of a side that is left
SHORTEST = 0.75  # of a side, once its ends were moved
STEP = 0.05  # of a side, by which a window is moved
FINER = (0.025, 0.0125, 0.006)
BLOCK = 64  # pairs

Floats = NDArray[np.float32]


def thumbnail(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scale a picture to `SIDE` x `SIDE`, (SIDE, SIDE, 3)."""
    return np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def near_copies(thumbnails: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Find the pairs of pictures of which one is the other, cropped, scaled or compressed anew.

    Parameters
    ----------
    thumbnails : array of shape (n, SIDE, SIDE, 3)
        Of pictures that are all different, by `thumbnail`.

    Returns
    -------
    list of pairs
        In rising order. What shows nothing (a flat picture) is in none.
    """
    if len(thumbnails) < 2:
        return []
    shown = np.flatnonzero(thumbnails.reshape(len(thumbnails), -1).std(1) >= FLAT)
    grey = thumbnails[shown].mean(3, dtype=np.float32)
    found = []
    pairs = _neighbours(grey)
    for part in blocks(len(pairs), BLOCK):
        for i, j in pairs[part][_roughly_alike(grey, pairs[part])]:
            a, b = (thumbnails[shown[k]].astype(np.float32) for k in (i, j))
            if _within(a, b) or _within(b, a):
                found.append((int(shown[i]), int(shown[j])))
    return found


def _neighbours(grey: Floats) -> NDArray[np.int64]:
    """List the pairs of which one is among the neighbours of the other, (n_pairs, 2), each once."""
    n, size = len(grey), SIDE // 8
    flat = grey.reshape(n, 8, size, 8, size).mean((2, 4)).reshape(n, 64)
    flat -= flat.mean(1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    pairs: set[tuple[int, int]] = set()
    for rows in blocks(n, max(1, 2**24 // max(1, n))):
        r = flat[rows] @ flat.T
        r[np.arange(len(r)), np.arange(n)[rows]] = -1
        near = np.argpartition(-r, min(NEIGHBOURS, n) - 1, axis=1)[:, :NEIGHBOURS]
        one, k = np.nonzero(np.take_along_axis(r, near, 1) >= ALIKE)
        other, one = near[one, k], one + rows.start
        pairs |= set(zip(np.minimum(one, other).tolist(), np.maximum(one, other).tolist(), strict=True))
    return np.array(sorted(pairs), np.int64).reshape(-1, 2)


def _roughly_alike(grey: Floats, pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say of which pairs one roughly fits some window of the other."""
    windows, (whole,) = _windows(COARSE), _windows(COARSE, (1,))
    out = np.zeros(len(pairs), bool)
    for a, b in ((grey[pairs[:, 0]], grey[pairs[:, 1]]), (grey[pairs[:, 1]], grey[pairs[:, 0]])):
        aim = whole @ b @ whole.T
        rows = np.einsum("aik,pkl->pail", windows, a, optimize=True)
        cut = np.einsum("pail,bjl->pabij", rows, windows, optimize=True)
        miss = ((cut - aim[:, None, None]) ** 2).mean((3, 4)).min((1, 2))
        out |= miss <= NEAR**2 * aim.var((1, 2))
    return out


def _within(a: Floats, b: Floats) -> bool:
    """Say whether a picture is some window of another one, `a`."""
    windows, (whole,) = _windows(CELLS), _windows(CELLS, (1,))
    aim = _cells(whole, b, whole)
    rows = np.einsum("aik,klc->ailc", windows, a, optimize=True)
    cut = np.einsum("ailc,bjl->abijc", rows, windows, optimize=True)
    miss = ((cut - aim) ** 2).mean((2, 3, 4))
    if miss.min() > SEARCHED**2 * aim.var():
        return False
    at = [list(_spans(LENGTHS)[k]) for k in np.unravel_index(miss.argmin(), miss.shape)]
    best = cut[np.unravel_index(miss.argmin(), miss.shape)]
    for step in FINER:
        best = _moved(a, aim, at, best, step)
    difference = np.abs(best - aim) / aim.std()
    return bool((difference**2).mean() <= DIFFERENCE**2 and difference.max() <= LARGEST)


def _moved(a: Floats, aim: Floats, at: list[list[float]], best: Floats, step: float) -> Floats:
    """Move the edges of a window, one by one, as long as it fits better; return what is in it."""
    better = True
    while better:
        better = False
        for axis, edge, by in ((k, e, s) for k in (0, 1) for e in (0, 1) for s in (-step, step)):
            old = at[axis][edge]
            at[axis][edge] = min(max(old + by, 0.0), 1.0)
            if at[axis][1] - at[axis][0] < SHORTEST:
                at[axis][edge] = old
                continue
            found = _cells(_weights(at[0], CELLS), a, _weights(at[1], CELLS))
            if ((found - aim) ** 2).mean() < ((best - aim) ** 2).mean() - 1e-6:
                best, better = found, True
            else:
                at[axis][edge] = old
    return best


def _cells(down: Floats, picture: Floats, across: Floats) -> Floats:
    """Average a picture in cells, (CELLS, CELLS, 3)."""
    return np.asarray(np.moveaxis(down @ np.moveaxis(picture, 2, 0) @ across.T, 0, 2))


def _spans(lengths: tuple[float, ...]) -> list[tuple[float, float]]:
    """List the parts of a side of these lengths, at steps, (begin, end) from 0 to 1."""
    return [
        (k * STEP, k * STEP + length) for length in lengths for k in range(round((1 - length) / STEP) + 1)
    ]


@lru_cache(maxsize=8)
def _windows(cells: int, lengths: tuple[float, ...] = LENGTHS) -> Floats:
    """Return the weights of all parts of a side, (n, cells, SIDE)."""
    return np.stack([_weights(span, cells) for span in _spans(lengths)])


def _weights(span: Sequence[float], cells: int) -> Floats:
    """Return what share each pixel of a side has in each cell of a part of it, (cells, SIDE)."""
    edge = np.linspace(span[0] * SIDE, span[1] * SIDE, cells + 1)
    pixel = np.arange(SIDE)
    share = np.minimum(edge[1:, None], pixel + 1) - np.maximum(edge[:-1, None], pixel)
    share = share.clip(min=0)
    return np.asarray(share / share.sum(1, keepdims=True), np.float32)
