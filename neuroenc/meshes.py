"""Surfaces of objects: triangles with colours, z upwards, as GLB and PLY."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuroenc.errors import InputError, reason
from neuroenc.files import atomic, existing

FORMATS = (".glb", ".ply")
GREY = 190  # of what comes without colours


class Mesh(NamedTuple):
    """Triangles in space, z upwards."""

    vertices: NDArray[np.float64]
    """(n_vertices, 3)"""
    faces: NDArray[np.int64]
    """(n_faces, 3), places in `vertices`"""
    colours: NDArray[np.uint8]
    """(n_vertices, 3), sRGB"""


def joined(*parts: Mesh) -> Mesh:
    """Put meshes side by side into one."""
    first = np.cumsum([0, *(len(p.vertices) for p in parts)])
    return Mesh(
        np.concatenate([p.vertices for p in parts]),
        np.concatenate([p.faces + start for p, start in zip(parts, first, strict=False)]),
        np.concatenate([p.colours for p in parts]),
    )


def turned(mesh: Mesh, angle: float) -> Mesh:
    """Turn a mesh about the vertical, in radians, anticlockwise seen from above."""
    return mesh._replace(vertices=mesh.vertices @ about_vertical(angle).T)


def about_vertical(angle: float) -> NDArray[np.float64]:
    """Return the rotation about z, (3, 3)."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def areas(mesh: Mesh) -> NDArray[np.float64]:
    """Return the area of each triangle, (n_faces,)."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    return np.asarray(np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2)


def check(mesh: Mesh, name: str) -> Mesh:
    """Refuse what is no surface.

    Raises
    ------
    InputError
        No triangles, none of any area, triangles of vertices that are not there, or numbers that are not
        finite.
    """
    if not len(mesh.faces):
        raise InputError(f"{name} has {len(mesh.vertices)} points and no triangles. Give a surface.")
    if mesh.faces.min() < 0 or mesh.faces.max() >= len(mesh.vertices):
        raise InputError(f"{name} has {len(mesh.vertices)} vertices, and a triangle of another. Is it whole?")
    if not np.isfinite(mesh.vertices).all():
        raise InputError(f"{name} has vertices that are not finite. Write it anew.")
    if not areas(mesh).sum() > 0:
        raise InputError(f"{name} is a surface without area. Give one of triangles that are not flat lines.")
    return mesh


def write(mesh: Mesh, path: str | Path) -> None:
    """Write a mesh, whole or not at all.

    Parameters
    ----------
    mesh : Mesh
    path : path
        `.glb` (glTF 2.0: y upwards, and colours in linear light, as its specification says) or `.ply` (z
        upwards, colours as they are).

    Raises
    ------
    InputError
        Another format, or what is no surface.
    """
    check(mesh, str(path))
    kind = _format(Path(path))
    vertices, colours = mesh.vertices, mesh.colours
    if kind == ".glb":
        vertices, colours = vertices[:, [0, 2, 1]] * (1, 1, -1), linear(colours)
    opened = _trimesh().Trimesh(vertices, mesh.faces, vertex_colors=colours, process=False)
    with atomic(path) as partial:
        partial.write_bytes(opened.export(file_type=kind[1:]))


def read(path: str | Path) -> Mesh:
    """Read a mesh as `write` leaves it; of several in a GLB all, where they stand.

    Raises
    ------
    InputError
        It is missing, of another format, broken, or no surface.
    """
    path = existing(path)
    kind, trimesh = _format(path), _trimesh()
    try:
        found = trimesh.load_mesh(path, process=False)
        if found.visual.kind == "texture":
            found.visual = found.visual.to_color()
        plain = found.visual.kind is None
        vertices, faces = np.asarray(found.vertices, np.float64), np.asarray(found.faces, np.int64)
        colours = np.full((len(vertices), 3), GREY, np.uint8)
        if not plain:
            colours = np.asarray(found.visual.vertex_colors, np.uint8)[:, :3]
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  the reader has no error of its own
        raise InputError(f"{path} is no mesh that can be read: {reason(error)}. Export it anew.") from None
    if kind == ".glb":
        vertices = vertices[:, [0, 2, 1]] * (1, -1, 1)
        colours = colours if plain else gamma(colours)
    return check(Mesh(vertices, faces, colours), str(path))


def _format(path: Path) -> str:
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path} ends in {path.suffix!r}, expected '.glb' or '.ply'. Choose one of them.")
    return path.suffix.lower()


def _trimesh() -> Any:
    import trimesh

    return trimesh


def linear(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn sRGB into linear light (IEC 61966-2-1)."""
    v = colours / 255
    light = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    return np.asarray((light * 255).round(), np.uint8)


def gamma(colours: NDArray[Any]) -> NDArray[np.uint8]:
    """Turn linear light, 0 to 255, into sRGB (IEC 61966-2-1)."""
    v = np.clip(np.asarray(colours, np.float64) / 255, 0, 1)
    coded = np.where(v <= 0.0031308, v * 12.92, 1.055 * v ** (1 / 2.4) - 0.055)
    return np.asarray((coded * 255).round(), np.uint8)
