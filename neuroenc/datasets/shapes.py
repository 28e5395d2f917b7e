"""Meshes on disk: a table says which stimulus shows which object, and a folder holds what was made of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from PIL import Image

from neuroenc.datasets.pixels import read_pixels
from neuroenc.datasets.reading import read_table
from neuroenc.documents import read_json
from neuroenc.errors import ContractError, InputError
from neuroenc.files import atomic, relative, write_json
from neuroenc.meshes import Mesh, read, write
from neuroenc.views import turning_views

TABLE, RECORD = "shapes.csv", "shapes.json"
N_VIEWS = 8


class MeshFiles(Sequence[Mesh]):
    """Meshes that are read where they are asked for.

    Parameters
    ----------
    paths : sequence of Path
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: Any) -> Any:
        return read(self.paths[row])

    def __iter__(self) -> Iterator[Mesh]:
        return map(read, self.paths)


class Shapes(NamedTuple):
    """What was made of stimuli."""

    stimulus_id: NDArray[np.str_]
    fold: NDArray[np.int64]
    meshes: dict[str, MeshFiles]
    """Condition to a mesh for each stimulus"""
    about: dict[str, Any]


def true_meshes(path: str | Path) -> dict[str, Path]:
    """Read which mesh each stimulus shows.

    Parameters
    ----------
    path : path
        Table with `stimulus_id` and `mesh`, a .glb or .ply below the folder of the table.

    Returns
    -------
    dict
        Stimulus to file.

    Raises
    ------
    InputError
        A stimulus stands there twice, or a file leads out of the folder.
    """
    table = read_table(path, "stimulus_id", "mesh")
    ids, files = table.names("stimulus_id"), table.text("mesh")
    once, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        raise InputError(f"{path} names {str(once[counts > 1][0])!r} twice. Give each stimulus one mesh.")
    return {str(s): Path(path).parent / relative(str(f)) for s, f in zip(ids, files, strict=True)}


def seen_pictures(stimuli: xr.Dataset, ids: Sequence[str]) -> list[NDArray[np.uint8]]:
    """Read the pictures of some stimuli, in their order.

    Raises
    ------
    ContractError
        The StimulusSet lacks one.
    """
    row = {str(s): i for i, s in enumerate(stimuli["stimulus_id"].values)}
    missing = [str(s) for s in ids if str(s) not in row]
    if missing:
        raise ContractError(
            f"{len(missing)} of {len(ids)} objects are of no stimulus, first {missing[0]!r}. Use the stimuli "
            "of the same run."
        )
    return read_pixels(stimuli, np.array([row[str(s)] for s in ids]))


def save_shapes(
    out: str | Path, stimulus_id: NDArray[np.str_], fold: NDArray[np.int64],
    made: Mapping[str, Sequence[Mesh]], source: Mapping[str, Sequence[str]], about: Mapping[str, Any], *,
    kind: Literal["glb", "ply"] = "glb",
) -> None:  # fmt: skip
    """Write a folder of meshes, each with a strip of its turning views.

    Parameters
    ----------
    out : path
        Folder, made whole or not at all.
    stimulus_id, fold : arrays of shape (n,)
    made : mapping
        Condition to n meshes.
    source : mapping
        Condition to where each is from, in words.
    about : mapping
        What made them.
    kind : {"glb", "ply"}
    """
    rows = []
    with atomic(out) as folder:
        for condition, meshes in made.items():
            (folder / condition).mkdir(parents=True)
            for k, mesh in enumerate(meshes):
                plain = re.sub(r"[^A-Za-z0-9_-]+", "_", str(stimulus_id[k]))[:60]
                file = f"{condition}/{k:05d}-{plain}.{kind}"
                write(mesh, folder / file)
                strip = np.concatenate(list(turning_views(mesh, N_VIEWS)), axis=1)
                Image.fromarray(strip).save((folder / file).with_suffix(".png"))
                rows.append((stimulus_id[k], fold[k], condition, file, source[condition][k]))
        table = pd.DataFrame(rows, columns=["stimulus_id", "fold", "condition", "mesh", "source"])
        table.to_csv(folder / TABLE, index=False)
        write_json(dict(about), folder / RECORD)


def read_shapes(folder: str | Path) -> Shapes:
    """Read what `save_shapes` wrote; the meshes wait in their files.

    Raises
    ------
    InputError
        The folder is none of it, or conditions are of other stimuli.
    """
    folder = Path(folder)
    table = read_table(folder / TABLE, "stimulus_id", "fold", "condition", "mesh")
    ids, fold, condition = table.names("stimulus_id"), table.integers("fold"), table.text("condition")
    files = np.array([folder / relative(str(f)) for f in table.text("mesh")])
    groups = {str(c): np.flatnonzero(condition == c) for c in dict.fromkeys(condition.tolist())}
    first = next(iter(groups.values()))
    for name, rows in groups.items():
        if not np.array_equal(ids[rows], ids[first]):
            raise InputError(
                f"{folder / TABLE}: the condition {name!r} has other stimuli than the first. Make the folder "
                "anew, in one run."
            )
    meshes = {name: MeshFiles(files[rows].tolist()) for name, rows in groups.items()}
    return Shapes(ids[first], fold[first], meshes, read_json(folder / RECORD, "generator"))
