"""The cortex that maps are drawn on: fsaverage5, which nilearn brings, or a mesh of the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuroenc.datasets.images import read_image
from neuroenc.errors import InputError
from neuroenc.explorer.scripts import packed
from neuroenc.files import existing

MESH = "fsaverage5"
SHAPES = {"inflated": "infl", "pial": "pial", "flat": "flat"}  # and as nilearn's files are called
NEEDED = ("inflated", "pial")  # flat hemispheres and depths of sulci may be missing
SIDES = {"L": "left", "R": "right"}
# vertices of an icosahedron divided k times; the first of each are those of the coarser ones
DIVIDED = tuple(10 * 4**k + 2 for k in range(8))
Part = tuple[NDArray[np.float32], NDArray[np.uint32]]


class Mesh(NamedTuple):
    """Both hemispheres in some shapes, all of the same vertices."""

    name: str
    n_vertices: dict[str, int]
    """Of side L and R"""
    shapes: dict[str, dict[str, Part]]
    """Shape to side to places (n_vertices, 3), mm, and faces (n_faces, 3). A flat hemisphere is cut, and
    lacks some faces."""
    sulc: dict[str, NDArray[np.float32]]
    """Depth of sulci at each vertex"""

    def packed(self) -> dict[str, Any]:
        """Return it ready for `scripts.assignment`."""
        shapes = {
            shape: {side: {"places": packed(p), "faces": packed(f)} for side, (p, f) in parts.items()}
            for shape, parts in self.shapes.items()
        }
        return {"name": self.name, "sulc": {k: packed(v) for k, v in self.sulc.items()}, "shapes": shapes}


def read_mesh(folder: str | Path | None = None) -> Mesh:
    """Read both hemispheres, inflated, folded and, where there is one, flat.

    Parameters
    ----------
    folder : path, optional
        Holds FreeSurfer's `lh.inflated`, `lh.pial`, `lh.sulc` (as `surf/` of a subject does) or GIFTI files
        `infl_left.gii.gz`, `pial_left.gii.gz`, `flat_left.gii.gz`, `sulc_left.gii.gz` (as nilearn's
        `fetch_surf_fsaverage` leaves them), and those of the other side. None: fsaverage5.

    Returns
    -------
    Mesh

    Raises
    ------
    InputError
        A file is missing or broken, or its vertices are not those of the others.
    """
    if folder is None:
        return _of_nilearn()
    folder = existing(folder)
    shapes: dict[str, dict[str, Part]] = {}
    for shape, short in SHAPES.items():
        paths = {side: _find(folder, side, shape, short) for side in SIDES}
        if all(paths.values()):
            shapes[shape] = {side: _surface(path) for side, path in paths.items() if path}
        elif shape in NEEDED:
            raise InputError(
                f"{folder} holds no {shape} surface of both hemispheres. Expected lh.{shape} and rh.{shape} "
                f"of FreeSurfer, or {short}_left.gii.gz and {short}_right.gii.gz."
            )
    n = {side: len(places) for side, (places, _) in shapes["inflated"].items()}
    sulcal = {side: _find(folder, side, "sulc", "sulc") for side in SIDES}
    sulc = {side: _values(path) if path else np.zeros(n[side], np.float32) for side, path in sulcal.items()}
    for side in SIDES:
        found = {shape: len(parts[side][0]) for shape, parts in shapes.items()} | {"sulc": len(sulc[side])}
        if set(found.values()) != {n[side]}:
            said = ", ".join(f"{k} {v}" for k, v in found.items())
            raise InputError(f"{folder}: {SIDES[side]} surfaces have other numbers of vertices ({said}).")
    return Mesh(folder.resolve().name, n, shapes, sulc)


def fits(mesh: Mesh, n_vertices: dict[str, int]) -> bool:
    """Say whether values of so many vertices a hemisphere are those of the mesh, or of a finer fsaverage."""

    def fit(n: int, ours: int) -> bool:
        return n == ours or (n in DIVIDED and ours in DIVIDED and n > ours)

    return all(fit(n, mesh.n_vertices[side]) for side, n in n_vertices.items())


def _of_nilearn() -> Mesh:
    from nilearn.datasets import load_fsaverage, load_fsaverage_data

    loaded = load_fsaverage(MESH)
    sulcal = load_fsaverage_data(mesh=MESH, data_type="sulcal").data.parts
    shapes = {
        shape: {
            side: (
                loaded[shape].parts[part].coordinates.astype(np.float32),
                loaded[shape].parts[part].faces.astype(np.uint32),
            )
            for side, part in SIDES.items()
        }
        for shape in SHAPES
    }
    sulc = {side: np.asarray(sulcal[part], np.float32).reshape(-1) for side, part in SIDES.items()}
    return Mesh(MESH, {side: len(v) for side, v in sulc.items()}, shapes, sulc)


def _find(folder: Path, side: str, name: str, short: str) -> Path | None:
    names = [f"{side.lower()}h.{name}", *(f"{short}_{SIDES[side]}.gii{end}" for end in (".gz", ""))]
    return next((path for n in names if (path := folder / n).is_file()), None)


def _surface(path: Path) -> Part:
    """Read places and faces of FreeSurfer or GIFTI."""
    import nibabel as nib

    if ".gii" in path.name:
        arrays = read_image(path)
        found = [arrays.get_arrays_from_intent(f"NIFTI_INTENT_{kind}") for kind in ("POINTSET", "TRIANGLE")]
        if not all(found):
            raise InputError(f"{path} holds no surface (points and triangles). Name a .surf.gii.")
        places, faces = (each[0].data for each in found)
    else:
        try:
            places, faces = nib.freesurfer.read_geometry(path)
        except (ValueError, IndexError, TypeError, MemoryError):
            raise InputError(f"{path} is no surface of FreeSurfer, or cut short. Fetch it again.") from None
    if not (faces.size and np.isfinite(places).all() and faces.min() >= 0 and faces.max() < len(places)):
        raise InputError(f"{path} is broken: places that are not finite, or faces of vertices it lacks.")
    return places.astype(np.float32), faces.astype(np.uint32)


def _values(path: Path) -> NDArray[np.float32]:
    """Read a number for each vertex."""
    import nibabel as nib

    if ".gii" in path.name:
        values = read_image(path).darrays[0].data
    else:
        try:
            values = nib.freesurfer.read_morph_data(path)
        except (ValueError, IndexError, TypeError, MemoryError):
            raise InputError(
                f"{path} holds no values of FreeSurfer, or is cut short. Fetch it again."
            ) from None
    return np.nan_to_num(np.asarray(values, np.float32).reshape(-1))
