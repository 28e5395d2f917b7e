"""Turning views of a mesh, drawn by a z-buffer: no window system, no graphics card, the same everywhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuroenc.blocks import blocks
from neuroenc.meshes import Mesh, about_vertical

ELEVATION = np.arctan(0.5)  # of the camera, as that of Shap-E's own turning views
FILLED = 0.9  # share of the picture's side that the ball around the object takes
LIGHT = np.array([-0.4, -0.5, 0.77])  # from the left, above and before; x right, y down, z to the camera
AMBIENT = 0.35  # share of a colour that needs no light
BACKGROUND = 255
FINENESS = 2  # pixels drawn for each one, along a side
FRAGMENTS = 2_000_000  # pixels of triangles held at a time


def turning_views(mesh: Mesh, n: int = 8, *, side: int = 128, start: float = 0.0) -> NDArray[np.uint8]:
    """Draw an object from all around, a little from above.

    The projection is orthographic, and the ball around the object's bounding box always takes the same share
    of the picture: its size says nothing. A triangle has the mean colour of its corners, lit from the
    left above, alike on both sides.

    Parameters
    ----------
    mesh : Mesh
    n : int
        Views, evenly round the vertical.
    side : int
        px.
    start : float
        Azimuth of the first camera, in radians; 0: it looks along +y.

    Returns
    -------
    uint8 array of shape (n, side, side, 3)
        On white.
    """
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    centred = mesh.vertices - (low + high) / 2
    radius = np.linalg.norm(centred, axis=1).max()
    fine = side * FINENESS
    out = np.empty((n, side, side, 3), np.uint8)
    for k in range(n):
        seen = centred @ _camera(start + 2 * np.pi * k / n).T / radius
        drawn = _draw(seen, mesh, fine)
        out[k] = drawn.reshape(side, FINENESS, side, FINENESS, 3).mean((1, 3)).round()
    return out


def _camera(azimuth: float) -> NDArray[np.float64]:
    """Return the rotation to x right, y down, z towards the camera, which goes anticlockwise from above."""
    c, s = np.cos(ELEVATION), np.sin(ELEVATION)
    level = about_vertical(-azimuth)  # now the camera stands at -y
    return np.asarray(np.array([[1, 0, 0], [0, -s, -c], [0, -c, s]]) @ level)


def _draw(seen: NDArray[np.float64], mesh: Mesh, side: int) -> NDArray[np.float64]:
    """Draw triangles of vertices as the camera sees them, the nearest in front, (side, side, 3)."""
    corner = seen[mesh.faces]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    normal = np.divide(normal, length, out=np.zeros_like(normal), where=length > 0)
    lit = AMBIENT + (1 - AMBIENT) * np.abs(normal @ (LIGHT / np.linalg.norm(LIGHT)))
    shade = mesh.colours[mesh.faces].mean(1) * lit[:, None]
    corner = corner * (FILLED * side / 2, FILLED * side / 2, 1) + (side / 2, side / 2, 0)
    low = np.floor(corner[..., :2].min(1)).astype(np.int64)
    extent = np.ceil(corner[..., :2].max(1)).astype(np.int64) - low
    width = 1 << np.ceil(np.log2(np.maximum(extent.max(1), 1))).astype(np.int64)
    depth = np.full(side * side, -np.inf)
    canvas = np.full((side * side, 3), float(BACKGROUND))
    for wide in np.unique(width):  # triangles of about one size are filled together
        alike = np.flatnonzero(width == wide)
        for rows in blocks(len(alike), max(1, FRAGMENTS // int(wide) ** 2)):
            some = alike[rows]
            pixel, z, which = _fill(corner[some], low[some], int(wide), side)
            nearer = np.argsort(z, kind="stable")  # of equal places the last one written stays
            pixel, z, which = pixel[nearer], z[nearer], which[nearer]
            front = z > depth[pixel]
            depth[pixel[front]] = z[front]
            canvas[pixel[front]] = shade[some[which[front]]]
    return canvas.reshape(side, side, 3)


def _fill(
    corner: NDArray[np.float64], low: NDArray[np.int64], wide: int, side: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Find the pixels whose middle lies in triangles: which, their depth, and of which triangle.

    A pixel lies in a triangle if its barycentric coordinates are not negative; they are sums of a number for
    its column and one for its row.
    """
    a, ab, ac = corner[:, 0], corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    whole = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    there = np.flatnonzero(np.abs(whole) > 1e-12)  # one seen from its edge fills none
    a, ab, ac, low = a[there], ab[there], ac[there], low[there]
    whole = whole[there, None]
    middle = np.arange(wide) + 0.5
    x, y = (low[:, k, None] + middle - a[:, k, None] for k in (0, 1))  # (n_triangles, wide)
    b_of = (x * ac[:, 1, None] / whole)[:, None, :] - (y * ac[:, 0, None] / whole)[:, :, None]
    c_of = (y * ab[:, 0, None] / whole)[:, :, None] - (x * ab[:, 1, None] / whole)[:, None, :]
    inside = (b_of >= 0) & (c_of >= 0)
    inside &= b_of + c_of <= 1
    which, row, column = np.nonzero(inside)
    z = a[which, 2] + b_of[inside] * ab[which, 2] + c_of[inside] * ac[which, 2]
    return (low[which, 1] + row) * side + low[which, 0] + column, z, there[which]
