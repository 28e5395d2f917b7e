"""What the page knows of one subject: neuroids, their places and regions, every score, words."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.arrays import regions
from neuroenc.datasets.atlas import VERTICES
from neuroenc.errors import InputError
from neuroenc.explorer.maps import layer_numbers, maps_of
from neuroenc.explorer.meshes import SIDES, Mesh, fits
from neuroenc.explorer.run import Found
from neuroenc.explorer.scripts import packed
from neuroenc.explorer.slices import grid_of

FARTHEST = 130.0  # mm from the origin of MNI's space, beyond any brain
ABOUT = (
    "model", "weights", "encoder", "transductive", "ceiling_method", "ceiling_threshold", "fdr_level",
    "n_test_stimuli", "n_training_stimuli", "n_missing_stimuli",
)  # fmt: skip
PER_NEUROID = ("ceiling", "p", "q", "r_low", "r_high")
COMPARED = ("low", "high", "p", "q")


def describe(found: Found, mesh: Mesh) -> dict[str, Any]:
    """Gather what the page shows of a subject.

    Parameters
    ----------
    found : Found
    mesh : Mesh
        Vertices of a finer fsaverage beyond its own are left out.

    Returns
    -------
    dict
        Ready for `scripts.assignment`.

    Raises
    ------
    InputError
        The neuroids lie under vertices of another mesh.
    """
    s = found.first
    surface = _surface(found, mesh)
    places = _places(found)
    return {
        "subject": found.subject, "dataset": s.attrs["dataset"],
        "ids": s["neuroid_id"].values.tolist(), "hemisphere": s["hemisphere"].values.tolist(),
        "lies": "surface" if surface else _lies(found, places), "surface": surface,
        "places": None if places is None else packed(places.astype(np.float32)),
        "grid": grid_of(found),
        "regions": [{"name": name, "inside": packed(mask)} for name, mask in regions(s).items()],
        "parcel": s["parcel"].values.tolist() if "parcel" in s.coords else None,
        "time": {k: s[k].values.tolist() for k in ("start", "stop")} if "time_bin" in s.dims else None,
        "fits": [_fit(name, found.files[name], fit) for name, fit in found.fits.items()],
        "comparisons": [_comparison(label, c) for label, c in found.comparisons.items()],
        "captions": _captions(found),
        "synthesis": [
            {"region": region, "caption": about["caption"], "picture": f"pictures/{path.name}"}
            for region, (path, about) in found.synthesis.items()
        ],
        "maps": maps_of(found),
    }  # fmt: skip


def _surface(found: Found, mesh: Mesh) -> dict[str, Any] | None:
    """Say which neuroid lies under each vertex of the mesh, -1 none."""
    r = found.responses
    if r is None:
        return None
    if "surface_L" in r:
        n = {side: r.sizes[r[f"surface_{side}"].dims[0]] for side in SIDES}
    elif "vertex" in r.coords and {"L", "R"} >= set(r["hemisphere"].values[r["vertex"].values >= 0]):
        known = {
            side: r.attrs.get(f"n_vertices_{side}", VERTICES.get(str(r.attrs["space"]))) for side in SIDES
        }
        n = {side: int(v) for side, v in known.items() if v is not None}
    else:
        return None
    if n.keys() != SIDES.keys():
        return None  # nothing says of which mesh the vertices are
    if not fits(mesh, n):
        said = " and ".join(f"{v} ({SIDES[k]})" for k, v in n.items())
        of = " and ".join(map(str, mesh.n_vertices.values()))
        raise InputError(
            f"Responses of subject {found.subject} lie on a surface of {said} vertices, {mesh.name} has "
            f"{of}. Name the folder of their own surfaces by --mesh."
        )
    return {side: packed(_under(r, side, mesh.n_vertices[side])) for side in SIDES}


def _under(responses: xr.Dataset, side: str, n_vertices: int) -> NDArray[np.int32]:
    """Say which neuroid lies under each of the first vertices of a hemisphere."""
    if f"surface_{side}" in responses:
        return np.asarray(responses[f"surface_{side}"].values[:n_vertices], np.int32)
    under, vertex = np.full(n_vertices, -1, np.int32), responses["vertex"].values
    mine = (responses["hemisphere"].values == side) & (vertex >= 0) & (vertex < n_vertices)
    under[vertex[mine]] = np.flatnonzero(mine)
    return under


def _places(found: Found) -> NDArray[np.floating] | None:
    """Return where neuroids are, (n_neuroids, 3): mm where they lie in a grid whose affine is known."""
    s = found.first
    if not {"x", "y", "z"} <= set(s.coords):
        return None
    places = np.stack([s[axis].values for axis in "xyz"], 1).astype(float)
    if not np.isfinite(places).all(1).any():
        return None
    if found.responses is not None and "affine" in found.responses.attrs:
        affine = np.reshape(found.responses.attrs["affine"], (4, 4))
        places = places @ affine[:3, :3].T + affine[:3, 3]
    return places


def _lies(found: Found, places: NDArray[np.floating] | None) -> str:
    """Say whether a brain is drawn around: electrodes with places in mm, or a volume in MNI's space."""
    if places is None:
        return "nowhere"
    space = "" if found.responses is None else str(found.responses.attrs["space"])
    near = float(np.nanmax(np.abs(places))) <= FARTHEST
    return "brain" if near and (space == "electrodes" or "MNI" in space) else "space"


def _fit(name: str, file: str, s: xr.Dataset) -> dict[str, Any]:
    """Take over the scores of a fit, bit by bit."""
    layers, chosen = layer_numbers(s)
    arrays = {metric: s["score"].sel(metric=metric).values for metric in s["metric"].values.tolist()}
    arrays |= {key: s[key].values for key in PER_NEUROID}
    return {
        "name": name, "file": file, "layers": layers,
        "about": {k: v.item() if hasattr(v := s.attrs[k], "item") else v for k in ABOUT if k in s.attrs},
        "arrays": {k: packed(v) for k, v in arrays.items()}
        | {"chosen_layer": packed(chosen), "validation_r2": packed(s["validation_r2"].values)},
    }  # fmt: skip


def _comparison(label: str, s: xr.Dataset) -> dict[str, Any]:
    arrays = {"difference": s["difference"].sel(metric=s.attrs["metric"]).values}
    arrays |= {key: s[key].values for key in COMPARED}
    return {
        "label": label, "better": s.attrs["better"], "metric": s.attrs["metric"],
        "rivals": s["rival_name"].values.astype(str).tolist(),
        "arrays": {k: packed(v) for k, v in arrays.items()},
    }  # fmt: skip


def _captions(found: Found) -> dict[str, list[Any]] | None:
    """Take over the table of captions, a list a column."""
    if found.captions is None:
        return None
    columns = [str(c) for c in found.captions if c != "neuroid_id"]
    return {column: found.captions[column].tolist() for column in columns}
