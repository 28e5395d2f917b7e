"""Files of labels: volumes with their tables, GIFTI and FreeSurfer's annotations, CIFTI."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from neuroenc.datasets.images import NODE_INDEX, SIDES, named_side, read_image, read_values, read_whole
from neuroenc.datasets.reading import read_table
from neuroenc.documents import read_object, read_text
from neuroenc.errors import InputError, reason
from neuroenc.files import existing

TABLES = (".tsv", ".txt", ".json", ".xml")
LARGEST = 2**31  # of a number that stands for a label
LABEL = 1002  # intent of GIFTI
NOWHERE = {"", "unknown", "unlabeled", "unlabelled", "none", "medialwall"}  # without marks, in lower case


class Part(NamedTuple):
    """Labels of all voxels of a grid, or of all vertices of a hemisphere."""

    path: Path
    number: NDArray[np.int64]
    names: dict[int, str] | None
    """None: the numbers are the names, and what is not above 0 is none"""
    affine: NDArray[np.float64] | None

    def at(self, index: tuple[NDArray[np.int64], ...]) -> NDArray[np.str_]:
        """Return the names at some places, empty where there is no label."""
        numbers, inverse = np.unique(self.number[index], return_inverse=True)
        names = {int(v): str(v) for v in numbers if v > 0} if self.names is None else self.names
        return np.array([_name(names.get(int(v), "")) for v in numbers], dtype=str)[inverse]


def _name(text: str) -> str:
    """Return a label; empty where the name says that there is none, as `???` or `Medial_Wall` do."""
    key = re.sub(r"[\W_]+", "", text).lower()
    return "" if key in NOWHERE or key.startswith("background") else text


def _named(part: Part, table: Path) -> Part:
    """Refuse labels that their table does not name; 0 and below may go without."""
    unnamed = sorted(set(np.unique(part.number[part.number > 0]).tolist()) - set(part.names or {}))
    if unnamed:
        raise InputError(
            f"{part.path} holds the label {unnamed[0]}, which is none of {len(part.names or {})} in {table}"
            f"{'' if len(unnamed) == 1 else f' ({len(unnamed)} are not)'}. Give the table of this atlas."
        )
    return part


def read_volume(path: Path, table: Path | None) -> dict[str, Part]:
    """Read a NIfTI of numbers, or a CIFTI of labels.

    Parameters
    ----------
    path : path
    table : path or None
        Names of the numbers; None: a table of the same name beside it, else the numbers themselves.

    Returns
    -------
    dict of str to Part
        "" for voxels; of CIFTI also L and R for the meshes.

    Raises
    ------
    InputError
        It is broken, has several volumes, or holds other numbers than whole ones; the table lacks one.
    """
    image = read_image(path)
    if isinstance(image, nib.Cifti2Image):
        return _cifti(path, image)
    if isinstance(image, nib.GiftiImage):
        raise InputError(
            f"{path} is a GIFTI, expected a volume. Name it .label.gii, with {{hemi}} in its name."
        )
    numbers = read_whole(image, "labels", "Resample labels by the nearest neighbour")
    if np.abs(numbers).max(initial=0) >= LARGEST:
        raise InputError(f"{path} holds {np.abs(numbers).max():g}, expected numbers of labels. Is it one?")
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    beside = [p for e in TABLES if (p := path.with_name(stem + e)).exists()]
    table = table or (beside[0] if beside else None)
    affine = np.asarray(image.affine, np.float64)
    part = Part(path, numbers.astype(np.int64), read_names(table) if table else None, affine)
    return {"": _named(part, table) if table else part}


def read_names(path: Path) -> dict[int, str]:
    """Read which number stands for which label.

    Parameters
    ----------
    path : path
        `.tsv` with the columns index and name (BIDS), `.json` ({number: name}), `.xml` (FSL's, of the type
        Label), else a colour table: lines of number, name, and colours (FreeSurfer's, Schaefer's).

    Raises
    ------
    InputError
        It is missing or of another form; a number stands twice.
    """
    path = existing(path)
    if path.suffix.lower() == ".tsv":
        table = read_table(path, "index", "name")
        pairs = list(zip(table.integers("index").tolist(), table.names("name").tolist(), strict=True))
    elif path.suffix.lower() == ".json":
        found = read_object(path)
        odd = [k for k, v in found.items() if not re.fullmatch("[0-9]{1,9}", k) or not isinstance(v, str)]
        if odd or not found:
            raise InputError(
                f"{path} holds {odd[0] if odd else 'nothing'!r}, expected names by their numbers, "
                '{"1": "V1"}. Name the table in `dataset.atlas_labels`.'
            )
        pairs = [(int(k), str(v)) for k, v in found.items()]
    elif path.suffix.lower() == ".xml":
        pairs = _fsl(path)
    else:
        pairs = [_entry(path, line) for line in read_text(path).splitlines() if line.split("#")[0].strip()]
    names = dict(pairs)
    if len(names) < len(pairs):
        numbers = [number for number, _ in pairs]
        twice = next(n for n in numbers if numbers.count(n) > 1)
        raise InputError(f"{path} names the label {twice} twice. Name each once.")
    return names


def _fsl(path: Path) -> list[tuple[int, str]]:
    """Read FSL's description of an atlas; those of another type than Label count otherwise than volumes."""
    try:
        atlas = ElementTree.fromstring(path.read_bytes())
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # also encodings it does not know
        raise InputError(f"Cannot read {path}: {reason(error)}. Is it an atlas of FSL's?") from None
    kind, labels = atlas.findtext("header/type"), atlas.findall("data/label")
    if kind != "Label" or not labels:
        raise InputError(
            f"{path} describes {len(labels)} labels of the type {kind!r}, expected 'Label', whose numbers "
            "are those of its volume. Give the names as a table (.tsv: index, name)."
        )
    # a name may be broken over lines
    names = [" ".join("".join(label.itertext()).split()) for label in labels]
    return [_entry(path, f"{label.get('index')}\t{name}") for label, name in zip(labels, names, strict=True)]


def _entry(path: Path, line: str) -> tuple[int, str]:
    """Read a line of a colour table."""
    cells = [c.strip() for c in line.strip().split("\t")] if "\t" in line.strip() else line.split()
    number, name, *colours = [*cells, "", ""] if len(cells) < 2 else cells
    whole = [re.fullmatch("[0-9]{1,9}", c) for c in (number, *colours)]
    if not name or not all(whole) or len(colours) > 4:
        raise InputError(
            f"{path} has the line {line.strip()[:80]!r}, expected a number, a name and up to four numbers of "
            "its colour. Part them by tabs where names hold blanks."
        )
    return int(number), name


def _cifti(path: Path, image: Any) -> dict[str, Part]:
    """Put the labels of a CIFTI onto whole meshes and the whole grid, 0 where it has no value."""
    axes = nib.cifti2
    try:
        rows, columns = (image.header.get_axis(i) for i in range(len(image.shape)))
        if not isinstance(rows, axes.LabelAxis) or not isinstance(columns, axes.BrainModelAxis):
            raise InputError(
                f"{path} has the axes {type(rows).__name__} and {type(columns).__name__}, expected labels of "
                "brain models (.dlabel.nii)."
            )
        _one(path, len(rows))
        numbers = _integers(path, read_values(image)[0])
        names = {int(k): str(v[0]) for k, v in rows.label[0].items()}
        found = {}
        for structure, side in (("CORTEX_LEFT", "L"), ("CORTEX_RIGHT", "R")):
            model = f"CIFTI_STRUCTURE_{structure}"
            if model in columns.nvertices:
                inside = columns.name == model
                whole = np.zeros(columns.nvertices[model], np.int64)
                whole[columns.vertex[inside]] = numbers[inside]
                found[side] = _named(Part(path, whole, names, None), path)
        if not columns.surface_mask.all():
            voxels = ~columns.surface_mask
            grid = np.zeros(columns.volume_shape, np.int64)
            grid[tuple(columns.voxel[voxels].T)] = numbers[voxels]
            found[""] = _named(Part(path, grid, names, np.asarray(columns.affine)), path)
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  axes of CIFTI are read from XML only now
        raise InputError(f"Cannot read {path}: {reason(error)}. Is it whole?") from None
    return found


def _integers(path: Path, numbers: NDArray[Any]) -> NDArray[np.int64]:
    """Return numbers of labels that may be stored as floating ones; what is missing is 0."""
    found = np.where(np.isnan(numbers), 0, numbers)
    off = (found != np.round(found)) | (np.abs(found) >= LARGEST)
    if off.any():
        raise InputError(
            f"The labels {path} hold {found[off][0]:g}, expected whole numbers below 2**31. Resample labels "
            "by the nearest neighbour."
        )
    return found.astype(np.int64)


def _one(path: Path, n: int) -> None:
    if n != 1:
        raise InputError(
            f"{path} has {n} maps of labels, expected one. Store the one that is meant by itself."
        )


def read_surface(path: Path, side: str) -> Part:
    """Read the labels of a hemisphere, GIFTI (.label.gii), FreeSurfer's (.annot) or CIFTI (.dlabel.nii).

    Parameters
    ----------
    path : path
    side : str
        "L" or "R"; a file that says otherwise is refused.

    Raises
    ------
    InputError
        It is missing, broken or of another kind; its table lacks a label.
    """
    if path.name.lower().endswith(".annot"):
        return _annotation(existing(path))
    image = read_image(path)
    if isinstance(image, nib.Cifti2Image):
        parts = _cifti(path, image)
        if side not in parts:
            raise InputError(f"{path} has no labels of hemisphere {side!r}. Are the files swapped?")
        return parts[side]
    if not isinstance(image, nib.GiftiImage):
        raise InputError(f"{path} is no GIFTI. Name a volume of labels .nii or .nii.gz.")
    arrays = [a for a in image.darrays if a.intent == LABEL]
    if not arrays or any(a.intent == NODE_INDEX for a in image.darrays):
        found = "lists vertices" if arrays else "holds no labels"
        raise InputError(f"{path} {found}, expected a label for each vertex (a .label.gii).")
    _one(path, len(arrays))
    own = SIDES.get(str((dict(arrays[0].meta) | dict(image.meta)).get("AnatomicalStructurePrimary", "")), "")
    own = own or named_side(path.name) or side
    if own != side:
        raise InputError(f"{path} is of hemisphere {own!r}, expected {side!r}. Are the files swapped?")
    names = {int(k): v or "" for k, v in image.labeltable.get_labels_as_dict().items()}
    return _named(Part(path, _integers(path, np.ravel(arrays[0].data)), names, None), path)


def _annotation(path: Path) -> Part:
    """Read an annotation: each vertex holds the colour of its label; of equal colours the first counts."""
    size = path.stat().st_size
    n = int(np.fromfile(path, ">i4", 1)[0]) if size >= 4 else -1
    # whether there is a table, its version and its length
    head = np.fromfile(path, ">i4", 3, offset=4 + 8 * n) if n >= 0 and 4 + 8 * n <= size else np.array([])
    if len(head) < 3 or head.max() > size:
        raise InputError(f"Cannot read {path}: it states more than its {size} bytes hold. Fetch it again.")
    try:
        number, table, texts = nib.freesurfer.read_annot(path, orig_ids=True)
        if len(table) != len(texts):
            raise InputError(f"{path} has {len(table)} colours and {len(texts)} names; they must match.")
        names: dict[int, str] = {}
        for colour, text in zip(table[:, 4].tolist(), texts, strict=True):
            names.setdefault(int(colour), (text if isinstance(text, bytes) else text.encode()).decode())
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  the reader has errors of every kind
        raise InputError(f"Cannot read {path}: {reason(error)}. Fetch it again.") from None
    return _named(Part(path, np.asarray(number, np.int64), names, None), path)
