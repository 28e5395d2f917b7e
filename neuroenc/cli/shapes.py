"""Commands from pictures and embeddings to objects in three dimensions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuroenc.cli import common
from neuroenc.cli.common import Options, Out, StimuliFile
from neuroenc.cli.decode import EmbeddingsFile, NullFile, SplitFile, TrueFeatures
from neuroenc.cli.encode import evaluate
from neuroenc.cli.pictures import decode
from neuroenc.cli.results import results
from neuroenc.errors import InputError

if TYPE_CHECKING:
    from neuroenc.config import Shapes
    from neuroenc.decoders.shapes import Objects

Folder = Annotated[
    Path, typer.Option("--shapes", help="Folder of `decode shapes` or `decode nearest-shapes`.")
]
ShapesOut = Annotated[
    Path, typer.Option(help="Folder to make: a mesh for each picture and condition, views, shapes.csv.")
]
MeshesTable = Annotated[
    Path | None, typer.Option(help="Table of true meshes (.csv): stimulus_id, mesh (.glb or .ply beside it).")
]


@decode.command("shapes")
def decode_shapes(
    stimuli: StimuliFile,
    out: ShapesOut,
    pictures: Annotated[
        Path | None,
        typer.Option(
            help="Of `decode reconstruct` (.nc); else the stimuli themselves are made into objects."
        ),
    ] = None,
    options: Options = '{"generator": "shap_e"}',
) -> None:
    """Draw objects from pictures by Shap-E: a mesh (GLB or PLY) and its turning views for each."""
    from neuroenc.arrays import load
    from neuroenc.config import Shapes
    from neuroenc.decoders.shapes import draw_shapes, shap_e
    from neuroenc.devices import pick_device
    from neuroenc.features.checkpoints import pipeline_folder

    chosen = common.section(Shapes, options)
    if chosen.generator != "shap_e":
        raise InputError(
            "Objects of the nearest training pictures are not drawn: use `neuroenc decode nearest-shapes`. "
            "The generator that draws is 'shap_e'."
        )
    shown = load(stimuli, "stimuli")
    drawn = load(pictures, "pictures") if pictures is not None else None
    folder = chosen.weights or pipeline_folder("shap_e") / "pipeline"
    decoder = shap_e(folder, pick_device(chosen.device), batch_size=chosen.batch_size)
    made = draw_shapes(shown, drawn, decoder, chosen)
    how = {
        "guidance": chosen.guidance or decoder.guidance, "n_steps": chosen.n_steps or decoder.n_steps,
        "grid": chosen.grid, "weights": str(folder),
    }  # fmt: skip
    _save(made, out, chosen, how, "" if drawn is None else str(drawn.attrs["generator"]))


@decode.command("nearest-shapes")
def decode_nearest_shapes(
    embeddings: EmbeddingsFile,
    null: NullFile,
    features: TrueFeatures,
    split: SplitFile,
    meshes: Annotated[
        Path, typer.Option(help="Table of true meshes (.csv): stimulus_id, mesh (.glb or .ply beside it).")
    ],
    out: ShapesOut,
    options: Options = "{}",
) -> None:
    """Take the object of the training picture nearest to what was decoded, and all it is held against."""
    from neuroenc.arrays import load
    from neuroenc.config import Shapes
    from neuroenc.datasets.shapes import true_meshes
    from neuroenc.decoders.shapes import nearest_meshes

    chosen = common.section(Shapes, options)
    made = nearest_meshes(
        load(embeddings, "embeddings"), load(null, "embeddings"), load(features, "features"),
        load(split, "splits"), true_meshes(meshes), seed=chosen.seed,
    )  # fmt: skip
    _save(made, out, chosen, {}, "")


def _save(made: Objects, out: Path, chosen: Shapes, how: dict[str, Any], pictures: str) -> None:
    from neuroenc.datasets.shapes import save_shapes

    notice = "Generated: a guess by a generator, not what the brain saw."
    about = {
        "generator": chosen.generator,
        "pictures": pictures,
        "seed": chosen.seed,
        **how,
        "notice": notice,
    }
    save_shapes(out, made.stimulus_id, made.fold, made.meshes, made.source, about, kind=chosen.format)
    typer.echo(f"{len(made.stimulus_id)} objects: {', '.join(made.meshes)}")


@evaluate.command("shapes")
def evaluate_shapes(
    shapes: Folder,
    stimuli: StimuliFile,
    out: Out,
    meshes: MeshesTable = None,
    judge: Annotated[
        str | None, typer.Option(help="NAME=OPTIONS of the model that looks at turning views, e.g. CLIP.")
    ] = None,
    align: Annotated[
        bool, typer.Option(help="Turn each mesh about the vertical to where it fits the true one best.")
    ] = True,
    seed: Annotated[
        int, typer.Option(help="Of points, of the stimuli it is held against, of the bootstrap.")
    ] = 0,
) -> None:
    """Score objects by Chamfer distance, F-score and the look of their views, against other stimuli's."""
    from neuroenc.arrays import load
    from neuroenc.config import Model
    from neuroenc.datasets.shapes import read_shapes, true_meshes
    from neuroenc.evaluation.shapes import DEFINITIONS, score_shapes
    from neuroenc.files import write_json

    if meshes is None and judge is None:
        raise InputError("Nothing to score by. Give --meshes, --judge or both.")
    name, _, how = (judge or "").partition("=")
    if judge and not how:
        raise InputError(f"Invalid value for '--judge': {judge!r}. Expected NAME=OPTIONS.")
    found = read_shapes(shapes)
    rows = score_shapes(
        found, load(stimuli, "stimuli"), true_meshes(meshes) if meshes else None,
        common.section(Model, how) if judge else None, align=align, seed=seed,
    )  # fmt: skip
    write_json({**found.about, "judge": name, "align": align, "definitions": DEFINITIONS, "rows": rows}, out)
    typer.echo(f"{'metric':10s}{'condition':10s}{'value':>8s}{'others':>8s}{'two-way':>9s}")
    for r in rows:
        limits = (r["two_way_low"], r["two_way_high"])  # none where all show one object or group
        interval = "" if None in limits else " [{:.3f}, {:.3f}]".format(*limits)
        typer.echo(
            f"{r['metric']:10s}{r['condition']:10s}{r['value']:8.3f}{r['shuffled']:8.3f}{r['two_way']:9.3f}"
            + interval
        )


@results.command("shapes")
def results_shapes(
    shapes: Folder,
    stimuli: StimuliFile,
    scores: Annotated[Path, typer.Option(help="Of `evaluate shapes` (.json).")],
    out: Annotated[Path, typer.Option(help="Figure of turning views (.png).")],
    turning: Annotated[Path | None, typer.Option(help="The same objects, turning (.gif).")] = None,
    meshes: MeshesTable = None,
) -> None:
    """Draw what was seen, the true object and those made of it from all around: best, middle and worst."""
    from neuroenc.arrays import load
    from neuroenc.datasets.shapes import read_shapes, true_meshes
    from neuroenc.documents import read_rows
    from neuroenc.figures.shapes import KEYS, draw_shapes

    if turning is not None and turning.suffix.lower() != ".gif":
        raise InputError(f"--turning is {turning}, expected a .gif. Name it so.")
    draw_shapes(
        read_shapes(shapes), load(stimuli, "stimuli"), true_meshes(meshes) if meshes else None,
        read_rows(scores, "generator", "align", of=KEYS)["rows"], out, turning=turning,
    )  # fmt: skip
