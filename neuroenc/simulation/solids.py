"""Objects whose surface is known: a dozen kinds, built of boxes and turned profiles, no two alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from neuroenc.meshes import Mesh, joined
from neuroenc.simulation.grammar import COLOURS, Colour

ROUND = 24  # corners of a circle
WOOD, METAL, DARK, GLASS = COLOURS["brown"], (160, 165, 175), (45, 45, 50), (175, 215, 235)


def make(kind: str, seed: int | Sequence[int]) -> Mesh:
    """Build an object: proportions and colour are drawn, it stands on z = 0 with its front to -y.

    Parameters
    ----------
    kind : str
        Of `SOLIDS`.
    seed : int or sequence of int
    """
    rng = np.random.default_rng(seed)
    colour = list(COLOURS.values())[rng.integers(len(COLOURS))]
    return SOLIDS[kind](rng, colour)


def box(low: Sequence[float], high: Sequence[float], colour: Colour) -> Mesh:
    """Return a box between two corners."""
    corners = np.array(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij")).reshape(3, -1).T
    vertices = np.array(low) + corners * (np.array(high) - np.array(low))
    squares = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [t for a, b, c, d in squares for t in ((a, b, c), (a, c, d))]
    return _coloured(vertices, faces, colour)


def lathe(profile: Sequence[tuple[float, float]], colour: Colour, *, at: Sequence[float] = (0, 0, 0)) -> Mesh:
    """Turn a profile of (radius, height), from below, about a vertical through a point."""
    angle = np.linspace(0, 2 * np.pi, ROUND, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle), np.zeros(ROUND)], 1)
    rings = [ring * (r, r, 0) + (0, 0, z) for r, z in profile]
    vertices = np.concatenate(rings) + np.array(at)
    k = np.arange(ROUND)
    following = (k + 1) % ROUND
    faces = []
    for lower in range(len(profile) - 1):
        a, b = lower * ROUND + k, lower * ROUND + following
        faces += [np.stack([a, b, b + ROUND], 1), np.stack([a, b + ROUND, a + ROUND], 1)]
    return _coloured(vertices, np.concatenate(faces), colour)


def ball(radius: float, centre: Sequence[float], colour: Colour) -> Mesh:
    """Return a ball."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, ROUND // 2 + 1)
    return lathe([(radius * np.cos(a), radius * np.sin(a)) for a in angle], colour, at=centre)


def disc(radius: float, low: float, high: float, colour: Colour, *, at: Sequence[float] = (0, 0, 0)) -> Mesh:
    """Return an upright cylinder, closed on both sides."""
    return lathe([(0, low), (radius, low), (radius, high), (0, high)], colour, at=at)


def roof(low: Sequence[float], high: Sequence[float], colour: Colour) -> Mesh:
    """Return a roof whose ridge runs along x."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    y = (y0 + y1) / 2
    vertices = [(x0, y0, z0), (x1, y0, z0), (x1, y1, z0), (x0, y1, z0), (x0, y, z1), (x1, y, z1)]
    faces = [(0, 1, 5), (0, 5, 4), (2, 3, 4), (2, 4, 5), (1, 2, 5), (3, 0, 4), (0, 3, 2), (0, 2, 1)]
    return _coloured(np.array(vertices), faces, colour)


def wheel(radius: float, width: float, centre: Sequence[float]) -> Mesh:
    """Return a cylinder that lies, its axis along y."""
    made = disc(radius, -width / 2, width / 2, DARK)
    return made._replace(vertices=made.vertices[:, [0, 2, 1]] * (1, -1, 1) + np.array(centre))


def _coloured(vertices: NDArray[np.float64], faces: object, colour: Colour) -> Mesh:
    colours = np.tile(np.array(colour, np.uint8), (len(vertices), 1))
    return Mesh(vertices.astype(np.float64), np.asarray(faces, np.int64), colours)


def _house(rng: np.random.Generator, colour: Colour) -> Mesh:
    x, y, z = rng.uniform(0.45, 0.7), rng.uniform(0.35, 0.5), rng.uniform(0.4, 0.6)
    top = z + rng.uniform(0.25, 0.5)
    door = rng.uniform(-0.6, 0.6) * x
    return joined(
        box((-x, -y, 0), (x, y, z), colour),
        roof((-x - 0.06, -y - 0.06, z), (x + 0.06, y + 0.06, top), COLOURS["red"]),
        box((door - 0.09, -y - 0.02, 0), (door + 0.09, -y, 0.6 * z), WOOD),
        box((0.5 * x, -0.1, z), (0.5 * x + 0.14, 0.04, top + 0.1), DARK),
    )


def _tower(rng: np.random.Generator, colour: Colour) -> Mesh:
    side, height = rng.uniform(0.18, 0.26), rng.uniform(1.3, 1.8)
    floors = [
        box((-side - 0.02, -side - 0.02, z), (side + 0.02, side + 0.02, z + 0.03), DARK)
        for z in np.linspace(0.2, height, int(rng.integers(4, 8)))
    ]
    return joined(
        box((-side, -side, 0), (side, side, height), colour), *floors,
        lathe([(0.03, height), (0.0, height + rng.uniform(0.2, 0.5))], METAL),
    )  # fmt: skip


def _apple(rng: np.random.Generator, colour: Colour) -> Mesh:
    tall = rng.uniform(0.85, 1.1)
    profile = [(0, 0.06), (0.2, 0), (0.42, 0.14), (0.5, 0.45), (0.4, 0.76), (0.18, 0.84), (0, 0.72)]
    return joined(
        lathe([(r, z * tall) for r, z in profile], colour),
        disc(0.025, 0.72 * tall, 0.72 * tall + rng.uniform(0.2, 0.3), WOOD),
    )


def _bottle(rng: np.random.Generator, colour: Colour) -> Mesh:
    wide, shoulder, neck = rng.uniform(0.22, 0.32), rng.uniform(0.7, 0.9), rng.uniform(0.06, 0.09)
    top = shoulder + rng.uniform(0.45, 0.6)
    body = [(0, 0), (wide, 0), (wide, shoulder), (neck, shoulder + 0.22), (neck, top), (0, top)]
    return joined(lathe(body, colour), disc(wide + 0.01, 0.2, 0.5 * shoulder, COLOURS["white"]))


def _table(rng: np.random.Generator, colour: Colour) -> Mesh:
    x, y, z = rng.uniform(0.6, 0.9), rng.uniform(0.4, 0.55), rng.uniform(0.5, 0.7)
    return joined(box((-x, -y, z), (x, y, z + 0.07), colour), *_legs(x - 0.05, y - 0.05, z, 0.04))


def _chair(rng: np.random.Generator, colour: Colour) -> Mesh:
    side, z, back = rng.uniform(0.28, 0.36), rng.uniform(0.45, 0.55), rng.uniform(0.5, 0.75)
    return joined(
        box((-side, -side, z), (side, side, z + 0.06), colour),
        box((-side, side - 0.06, z + 0.06), (side, side, z + back), colour),
        *_legs(side - 0.04, side - 0.04, z, 0.035),
    )


def _legs(x: float, y: float, z: float, half: float) -> list[Mesh]:
    return [
        box((sx * x - half, sy * y - half, 0), (sx * x + half, sy * y + half, z), WOOD)
        for sx in (-1, 1)
        for sy in (-1, 1)
    ]


def _mug(rng: np.random.Generator, colour: Colour) -> Mesh:
    wide, tall = rng.uniform(0.3, 0.4), rng.uniform(0.65, 0.9)
    cup = [(0, 0), (wide, 0), (wide, tall), (wide - 0.05, tall), (wide - 0.05, 0.06), (0, 0.06)]
    out = rng.uniform(0.2, 0.3)
    low, high = 0.25 * tall, 0.8 * tall
    handle = [
        box((wide, -0.04, low), (wide + out, 0.04, low + 0.08), colour),
        box((wide, -0.04, high), (wide + out, 0.04, high + 0.08), colour),
        box((wide + out - 0.08, -0.04, low + 0.08), (wide + out, 0.04, high), colour),
    ]
    return joined(lathe(cup, colour), *handle)


def _car(rng: np.random.Generator, colour: Colour) -> Mesh:
    x, y, z = rng.uniform(0.75, 0.95), rng.uniform(0.33, 0.4), rng.uniform(0.22, 0.3)
    cabin, wheels = rng.uniform(0.4, 0.55) * x, rng.uniform(0.13, 0.17)
    back = rng.uniform(-0.2, 0.15)
    return joined(
        box((-x, -y, wheels), (x, y, wheels + z), colour),
        box((back - cabin, -y + 0.05, wheels + z), (back + cabin, y - 0.05, wheels + z + 0.24), GLASS),
        *(wheel(wheels, 0.1, (sx * 0.6 * x, sy * y, wheels)) for sx in (-1, 1) for sy in (-1, 1)),
    )


def _boat(rng: np.random.Generator, colour: Colour) -> Mesh:
    x, y, z = rng.uniform(0.7, 0.9), rng.uniform(0.22, 0.3), rng.uniform(0.2, 0.28)
    mast = z + rng.uniform(0.9, 1.2)
    hull = box((-0.7, -0.6, 0), (0.7, 0.6, 1), colour)
    wider = 0.7 + 0.3 * hull.vertices[:, 2:]  # narrow below
    hull = hull._replace(vertices=hull.vertices * np.hstack([wider, wider, np.ones_like(wider)]) * (x, y, z))
    sail = [(0.04, 0.0, z + 0.15), (0.04, 0.0, mast), (0.6 * x, 0.0, z + 0.15)]
    return joined(hull, disc(0.025, z, mast, WOOD), _coloured(np.array(sail), [(0, 1, 2)], COLOURS["white"]))


def _lamp(rng: np.random.Generator, colour: Colour) -> Mesh:
    tall, wide = rng.uniform(0.7, 1.0), rng.uniform(0.3, 0.42)
    return joined(
        disc(rng.uniform(0.2, 0.28), 0, 0.06, METAL), disc(0.03, 0.06, tall, METAL),
        lathe([(wide, tall - 0.05), (0.5 * wide, tall + rng.uniform(0.3, 0.4))], colour),
    )  # fmt: skip


def _hammer(rng: np.random.Generator, colour: Colour) -> Mesh:
    tall, head = rng.uniform(1.0, 1.3), rng.uniform(0.25, 0.35)
    return joined(
        box((-0.05, -0.04, 0), (0.05, 0.04, tall), WOOD),
        box((-head, -0.09, tall), (head, 0.09, tall + rng.uniform(0.18, 0.24)), METAL),
        box((-0.06, -0.05, 0.1), (0.06, 0.05, 0.1 + rng.uniform(0.2, 0.4)), colour),
    )


def _pizza(rng: np.random.Generator, colour: Colour) -> Mesh:
    wide = rng.uniform(0.7, 0.9)
    angle, far = rng.uniform(0, 2 * np.pi, 7), wide * rng.uniform(0.1, 0.7, 7)
    on_it = [
        disc(0.09, 0.05, 0.08, colour, at=(r * np.cos(a), r * np.sin(a), 0))
        for a, r in zip(angle, far, strict=True)
    ]
    return joined(
        disc(wide, 0, 0.03, (220, 175, 105)), disc(0.9 * wide, 0.03, 0.05, COLOURS["yellow"]), *on_it
    )


SOLIDS: dict[str, Callable[[np.random.Generator, Colour], Mesh]] = {
    "house": _house, "tower": _tower, "apple": _apple, "bottle": _bottle, "table": _table, "chair": _chair,
    "mug": _mug, "car": _car, "boat": _boat, "lamp": _lamp, "hammer": _hammer, "pizza": _pizza,
}  # fmt: skip
