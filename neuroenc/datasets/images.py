"""Images of brains (NIfTI, MGH, GIFTI, CIFTI): seen to be whole, and read with their own labels."""

from __future__ import annotations

import gzip
import math
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.arrayproxy import is_proxy
from nibabel.dataobj_images import DataobjImage
from numpy.typing import NDArray

from neuroenc.errors import InputError, InputWarning, reason
from neuroenc.files import existing

AFFINE_TOLERANCE = 1e-3  # mm; headers hold single precision
WHOLE = 0.01  # how far a mask's values may lie from whole numbers: what resampling to the same grid leaves
# intents of GIFTI that are values: none, estimate, no unit, time series, shape; statistics are 2 to 24
VALUES = {0, 1001, 1011, 2001, 2005, *range(2, 25)}
NODE_INDEX = 2002
SIDES = {"CORTEX_LEFT": "L", "CORTEX_RIGHT": "R", "CortexLeft": "L", "CortexRight": "R"}
NAMED_SIDES = {
    "L": re.compile(r"hemi-L|(^|[_./-])(lh|left)[_.-]|\.L\."),
    "R": re.compile(r"hemi-R|(^|[_./-])(rh|right)[_.-]|\.R\."),
}
Places = tuple[pd.DataFrame, dict[str, Any]]


def named_side(name: str) -> str:
    """Return the hemisphere that the name of a file says, L or R; empty where it says none, or both."""
    found = [side for side, named in NAMED_SIDES.items() if named.search(name)]
    return found[0] if len(found) == 1 else ""


class Read(NamedTuple):
    """What an image of responses holds."""

    values: NDArray[np.float32]
    """(n_presentations, n_neuroids)"""
    neuroids: pd.DataFrame
    attrs: dict[str, Any]
    maps: list[str]
    """How it calls its volumes or rows, in their order; empty where it does not."""


def read_image(path: str | Path) -> Any:
    """Open a NIfTI, MGH, GIFTI or CIFTI file and see that it is whole, however large it is.

    Parameters
    ----------
    path : path

    Returns
    -------
    image of nibabel
        Read its values by `read_values`. A compressed file stays open, so that volumes read in turn are
        decompressed once.

    Raises
    ------
    InputError
        It is missing, broken or cut short, its values lie in another file, or they are colours, records or
        complex numbers.
    """
    path = existing(path)
    try:
        with nib.imageglobals.LoggingOutputSuppressor():  # what it says of a header, the line below says
            image = nib.load(path)
        if isinstance(image, DataobjImage):
            image = type(image).from_filename(path, keep_file_open=True)
            kinds = {image.get_data_dtype()}
        else:
            kinds = {array.data.dtype for array in image.darrays}
            if any(array.ext_fname for array in image.darrays):
                raise InputError(f"{path} takes its values from another file. Store them in this one.")
        if is_proxy(image.dataobj if isinstance(image, DataobjImage) else None):
            _check_whole(path, image.dataobj)
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  headers, XML and compression each have errors of their own
        raise InputError(f"Cannot read {path}: {reason(error)}. Fetch it again.") from None
    for kind in kinds:
        if kind.kind not in "biuf":
            raise InputError(f"{path} holds {kind}, expected real numbers. Save them as float32.")
    return image


def _check_whole(path: Path, values: Any) -> None:
    """Compare the length of a file, uncompressed, with what its header announces."""
    if min(values.shape, default=1) < 0:
        raise InputError(f"Cannot read {path}: its header states the shape {values.shape}. Fetch it again.")
    expected = int(values.offset) + math.prod(map(int, values.shape)) * values.dtype.itemsize
    found = path.stat().st_size
    if path.name.lower().endswith((".gz", ".mgz")):
        with gzip.open(path) as file:  # to its end, where the check sum is
            found = sum(map(len, iter(lambda: file.read(1 << 22), b"")))
    if found < expected:
        raise InputError(f"Cannot read {path}: it has {found} bytes, its header {expected}. Fetch it again.")


def read_values(image: Any, index: Any = ...) -> NDArray[Any]:
    """Read values of an opened image, scaled as its header says.

    Parameters
    ----------
    image : image of nibabel
    index : slices, optional
        Of the array.

    Raises
    ------
    InputError
        The file is broken there, or too large for the memory.
    """
    try:
        return np.asanyarray(image.dataobj[index])
    except Exception as error:  # noqa: BLE001  as above
        raise InputError(f"Cannot read {image.get_filename()}: {reason(error)}. Fetch it again.") from None


def read_mask(path: str | Path, like: Any = None) -> NDArray[np.bool_]:
    """Read a mask: inside where the value is above 0, outside where it is 0, negative or missing.

    Parameters
    ----------
    path : path
        Of one volume.
    like : image, optional
        On whose grid it must lie.

    Raises
    ------
    InputError
        It lies on another grid, has several volumes, or holds shares instead of whole numbers.
    """
    return _numbers(path, like) > 0


def read_region(path: str | Path, like: Any = None) -> NDArray[np.bool_]:
    """Read a region as `read_mask` does; of an atlas all labels are one region, which is warned of."""
    data = _numbers(path, like)
    labels = np.unique(data[data > 0])
    if len(labels) > 1:
        warnings.warn(
            f"{path} holds {len(labels)} labels, {labels[0]:g} to {labels[-1]:g}: all of them are taken as "
            "one region. For a parcel each, name the file as `dataset.atlas`.", InputWarning, stacklevel=2,
        )  # fmt: skip
    return np.asarray(data > 0)


def _numbers(path: str | Path, like: Any) -> NDArray[np.float64]:
    """Read the whole numbers of a mask on a grid."""
    image = read_image(path)
    data = read_whole(image, "mask", "Is it a map of shares? Threshold it first")
    if like is not None:
        if data.shape != like.shape[:3]:
            raise InputError(
                f"{path} has the grid {data.shape}, {like.get_filename()} {like.shape[:3]}. "
                "Resample it to the responses first."
            )
        if not np.allclose(image.affine, like.affine, atol=AFFINE_TOLERANCE):
            raise InputError(
                f"{path} has another affine than {like.get_filename()}: its voxels lie elsewhere. "
                "Resample it to the responses first."
            )
    return data


def read_whole(image: Any, what: str, instead: str) -> NDArray[np.float64]:
    """Read a volume of whole numbers; what is missing is 0.

    Parameters
    ----------
    image : image of nibabel
    what : str
        It is, for errors.
    instead : str
        What to do where it holds others.

    Raises
    ------
    InputError
        It has several volumes, or holds shares.
    """
    path = image.get_filename()
    data = np.asarray(read_values(image), np.float64)
    if data.size != math.prod(data.shape[:3]):
        raise InputError(
            f"The {what} {path} has shape {data.shape}, expected one volume. Choose one of them."
        )
    data = data.reshape(data.shape[:3])
    data = np.where(np.isnan(data), 0, data)
    with np.errstate(invalid="ignore"):
        off = ~(np.abs(data - np.round(data)) <= WHOLE)
    if off.any():
        holds = "holds" if what == "mask" else "hold"
        raise InputError(f"The {what} {path} {holds} {data[off][0]:g}, expected whole numbers. {instead}.")
    return np.asarray(np.round(data))


def read_responses(path: Path, mask: Path | None, regions: dict[str, Path]) -> Read:
    """Read an image with one volume, or row, for each presentation.

    Parameters
    ----------
    path : path
    mask : path or None
        Of a volume: voxels that are kept; else all whose value is not the same in all presentations.
    regions : dict of name to path
        Masks on the grid of the volume.

    Returns
    -------
    values : float32 array of shape (n_presentations, n_neuroids)
    neuroids : DataFrame
        What the file says of each: `neuroid_id`; `x`, `y`, `z` (voxels, counted) or `vertex`, `hemisphere`,
        `structure`; one `roi_<name>` per region.
    attrs : dict
        `grid_shape` and `affine` of volumes (of voxels beside surfaces `voxel_grid_shape`, `voxel_affine`),
        `n_vertices_L` and `n_vertices_R` of meshes, `n_vertices` where the file does not say which.
    maps : list of str
        Names of scalars (CIFTI) or arrays (GIFTI).

    Raises
    ------
    InputError
        It is broken, of another kind, or does not fit the masks.
    """
    image = read_image(path)
    reader: Callable[[Path, Any], Read] | None = None
    if isinstance(image, nib.Cifti2Image):
        reader = _cifti
    elif isinstance(image, nib.GiftiImage):
        reader = _gifti
    if reader is None:
        return _volumes(path, image, mask, regions)
    if mask is not None or regions:
        raise InputError(f"{path} has no voxels for `mask` and `regions`. Name its regions in `neuroids`.")
    try:
        return reader(path, image)
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  axes of CIFTI are read from XML only now
        raise InputError(f"Cannot read {path}: {reason(error)}. Is it whole?") from None


def _volumes(path: Path, image: Any, mask: Path | None, regions: dict[str, Path]) -> Read:
    if len(image.shape) != 4:
        raise InputError(f"{path} has shape {image.shape}, expected (x, y, z, presentations).")
    _grid, n = image.shape[:3], image.shape[3]
    inside = varying(image) if mask is None else read_mask(mask, image)
    if not inside.any():
        raise InputError(f"No voxel of {path} is inside the mask.")
    values = np.empty((n, inside.sum()), np.float32)
    for volume in range(n):
        values[volume] = read_values(image, (..., volume))[inside]
    return Read(values, *_places(image, inside, regions), [])


def _places(image: Any, inside: NDArray[np.bool_], regions: dict[str, Path]) -> Places:
    """Say where the voxels inside lie, and in which regions, on the grid of an image."""
    where = np.argwhere(inside)
    table = pd.DataFrame({"neuroid_id": [f"{i}-{j}-{k}" for i, j, k in where]})
    table[["x", "y", "z"]] = where.astype("f4")
    for name, file in regions.items():
        table[f"roi_{name}"] = read_region(file, image)[inside]
    return table, {"grid_shape": np.array(inside.shape), "affine": np.asarray(image.affine).ravel()}


def read_voxels(mask: Path, regions: dict[str, Path], n: int, name: str) -> Places:
    """Say where the columns of an array lie: they are the voxels inside a mask, in the order of C.

    Parameters
    ----------
    mask : path
    regions : dict of name to path
        Masks on its grid.
    n : int
        Columns of the array.
    name : str
        Of the array.

    Returns
    -------
    table, attrs
        As of `read_responses`.

    Raises
    ------
    InputError
        The mask has another number of voxels; it is broken; a region lies on another grid.
    """
    inside = read_mask(mask)
    if inside.sum() != n:
        raise InputError(
            f"{name} has {n} columns, {mask} {inside.sum()} voxels inside; they must match one to one. Is it "
            "the mask that the array was cut out with?"
        )
    return _places(read_image(mask), inside, regions)


def varying(image: Any) -> NDArray[np.bool_]:
    """Return the voxels whose value is not the same in all volumes; missing values do not count.

    Parameters
    ----------
    image : image of four dimensions
    """
    low, high = (np.full(image.shape[:3], v, np.float64) for v in (np.inf, -np.inf))
    for volume in range(image.shape[3]):
        values = read_values(image, (..., volume))
        np.fmin(low, values, out=low)
        np.fmax(high, values, out=high)
    return np.asarray(high > low)


def _gifti(path: Path, image: Any) -> Read:
    """Read an array for each presentation, or one of shape (vertices, presentations)."""
    arrays = [a for a in image.darrays if a.intent != NODE_INDEX]
    wrong = [a.intent for a in arrays if a.intent not in VALUES]
    if wrong or not arrays:
        found = nib.nifti1.intent_codes.label[wrong[0]] if wrong else "no arrays"
        raise InputError(f"{path} holds {found}, expected values of vertices (a .func.gii).")
    shapes = sorted({a.data.shape for a in arrays})
    if len(shapes) > 1 or len(shapes[0]) > 2 or (len(shapes[0]) == 2 and len(arrays) > 1):
        raise InputError(f"{path} has arrays of shapes {shapes}, expected one length, that of the mesh.")
    values = np.stack([a.data for a in arrays]) if len(shapes[0]) == 1 else arrays[0].data.T
    nodes = [a.data for a in image.darrays if a.intent == NODE_INDEX]
    vertex = np.ravel(nodes[0]).astype(int) if nodes else np.arange(values.shape[1])
    if len(vertex) != values.shape[1]:
        raise InputError(f"{path} lists {len(vertex)} vertices for {values.shape[1]} values.")
    if vertex.min(initial=0) < 0 or len(set(vertex)) < len(vertex):
        raise InputError(f"{path} lists vertices twice or below 0. Was it cut out of another?")
    meta = dict(arrays[0].meta) | dict(image.meta)
    side = SIDES.get(str(meta.get("AnatomicalStructurePrimary", "")), "")
    # listed vertices do not say how many the mesh has
    mesh = {} if nodes else {f"n_vertices_{side}" if side else "n_vertices": values.shape[1]}
    table = pd.DataFrame({"neuroid_id": vertex, "vertex": vertex, "hemisphere": side})
    maps = [str(dict(a.meta).get("Name", "")) for a in arrays] if len(shapes[0]) == 1 else []
    return Read(values.astype(np.float32), table, mesh, maps)


def _cifti(path: Path, image: Any) -> Read:
    """Read rows of brain models or parcels, named as the file names them."""
    rows, columns = (image.header.get_axis(i) for i in range(len(image.shape)))
    axes = nib.cifti2
    if not isinstance(rows, (axes.ScalarAxis, axes.SeriesAxis)) or not isinstance(
        columns, (axes.BrainModelAxis, axes.ParcelsAxis)
    ):
        raise InputError(
            f"{path} has the axes {type(rows).__name__} and {type(columns).__name__}, expected scalars or a "
            "series of brain models or parcels (.dscalar, .dtseries, .pscalar, .ptseries)."
        )
    values = read_values(image).astype(np.float32)
    maps = [str(name) for name in rows.name] if isinstance(rows, axes.ScalarAxis) else []
    if isinstance(columns, axes.ParcelsAxis):
        return Read(values, pd.DataFrame({"neuroid_id": columns.name.astype(str)}), {}, maps)
    structure = [str(s).removeprefix("CIFTI_STRUCTURE_") for s in columns.name]
    surface, ijk = columns.surface_mask, columns.voxel
    table = pd.DataFrame({"hemisphere": [SIDES.get(s, "") for s in structure], "structure": structure})
    table["neuroid_id"] = [
        f"{side or name}{'' if side else '-'}{v}" if on else f"{name}-{i}-{j}-{k}"
        for side, name, on, v, (i, j, k) in zip(
            table["hemisphere"], structure, surface, columns.vertex, ijk, strict=True
        )
    ]
    if surface.any():
        table["vertex"] = np.where(surface, columns.vertex, -1)
    if not surface.all():
        table[["x", "y", "z"]] = np.where(surface[:, None], np.nan, ijk).astype("f4")
    attrs: dict[str, Any] = {
        f"n_vertices_{SIDES[short]}": n for name, n in columns.nvertices.items()
        if (short := str(name).removeprefix("CIFTI_STRUCTURE_")) in SIDES
    }  # fmt: skip
    if not surface.all():  # a grid that holds all neuroids is one that maps can be drawn on
        of = "voxel_" if surface.any() else ""
        attrs[f"{of}grid_shape"] = np.array(columns.volume_shape)
        attrs[f"{of}affine"] = np.asarray(columns.affine).ravel()
    return Read(values, table, attrs, maps)
