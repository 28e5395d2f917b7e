"""Write the explorer of a run: one folder that a browser opens from disk."""

from __future__ import annotations

import shutil
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

from neuroenc import __version__
from neuroenc.arrays import load
from neuroenc.documents import read_json
from neuroenc.errors import InputError
from neuroenc.explorer.attention import attended
from neuroenc.explorer.meshes import read_mesh
from neuroenc.explorer.preferred import preferred, write_pictures
from neuroenc.explorer.run import read_run
from neuroenc.explorer.scripts import assignment, packed
from neuroenc.explorer.subject import describe
from neuroenc.figures import style
from neuroenc.files import atomic

DIVERGING = "RdBu_r"
INDEX = "index.html"


def write_explorer(
    folder: str | Path, out: str | Path, *, pictures: bool = False, mesh: str | Path | None = None
) -> list[str]:
    """Write what a run found as pages with maps that one turns and asks.

    Parameters
    ----------
    folder : path
        Results of a run, such as results/demo.
    out : path
        Folder to write, whole or not at all; an explorer that stands there is replaced. `index.html` is its
        page; all it needs lies beside it.
    pictures : bool
        With small copies of the test pictures that each neuroid answered to most, and, of attention routing,
        where its regions look in them.
    mesh : path, optional
        Folder of surfaces to draw on, as `meshes.read_mesh` reads them; None: fsaverage5.

    Returns
    -------
    list of str
        The subjects.

    Raises
    ------
    InputError
        The results hold no scores of encoders, or `out` is there and no explorer; pictures are asked for and
        cannot be read; responses lie on another mesh.
    ContractError
        Files of one subject are of different neuroids.
    """
    folder, out = Path(folder), Path(out)
    ours = (out / "data" / "index.js").is_file() or (out.is_dir() and not any(out.iterdir()))
    if out.exists() and not ours:
        raise InputError(
            f"{out} is there and no explorer: it would be replaced. Choose another name, or remove it."
        )
    drawn_on = read_mesh(mesh)
    run = read_run(folder)
    subjects = [found.subject for found in run]
    stimuli = load(p, "stimuli") if (p := folder / "stimuli.nc").is_file() else None
    split = load(p, "splits") if (p := folder / "splits.nc").is_file() else None
    with atomic(out) as partial:
        with as_file(files("neuroenc.explorer") / "static") as static:
            shutil.copytree(static, partial)
        (partial / "data").mkdir()
        (partial / "pictures").mkdir()
        lie = set()
        for found in run:
            said = describe(found, drawn_on)
            said["preferred"], said["attention"] = preferred(found, stimuli, split), []
            if pictures and said["preferred"] is not None and stimuli is not None:
                at = f"pictures/sub-{found.subject}"
                names = write_pictures(stimuli, said["preferred"]["stimuli"], partial / at)
                said["preferred"]["pictures"] = [f"{at}/{name}" for name in names]
                said["attention"] = attended(found, said["preferred"]["stimuli"])
            lie.add(said["lies"])
            _write(partial, f"sub-{found.subject}", f"NEUROENC.subjects[{found.subject!r}]", said)
            for path, _ in found.synthesis.values():
                shutil.copyfile(path, partial / "pictures" / path.name)
        if lie & {"surface", "brain"}:
            _write(partial, "meshes", "NEUROENC.meshes", drawn_on.packed())
        _write(partial, "index", "NEUROENC", _index(folder, subjects, bool(lie & {"surface", "brain"})))
    return subjects


def _write(out: Path, name: str, target: str, value: Any) -> None:
    (out / "data" / f"{name}.js").write_text(assignment(target, value), encoding="ascii")


def _index(folder: Path, subjects: list[str], drawn: bool) -> dict[str, Any]:
    """Say what there is: subjects, colours, and what the page is of."""
    from matplotlib import colormaps

    summary = folder / "summary.json"
    label = read_json(summary, "label")["label"] if summary.is_file() else folder.resolve().name
    shades = {
        kind: packed((colormaps[name](np.linspace(0, 1, 256))[:, :3] * 255).round().astype(np.uint8))
        for kind, name in (("amount", style.MAP), ("signed", DIVERGING))
    }
    return {
        "label": label, "version": __version__, "names": subjects, "meshed": drawn, "shades": shades,
        "colours": list(style.COLOURS), "subjects": {},
    }  # fmt: skip
