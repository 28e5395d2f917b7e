"""Commands that say in words what a voxel wants."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuroenc.cli import common
from neuroenc.cli.common import ResponsesFile, StimuliFile

caption = common.group("What voxels want, in words.")


@caption.command("voxels")
def caption_voxels(
    responses: ResponsesFile,
    features: Annotated[Path, typer.Option(help="Features with an embedding of each picture (.nc).")],
    stimuli: StimuliFile,
    split: Annotated[Path, typer.Option(help="Splits (.nc); what a fold tests is not in the bank.")],
    out: Annotated[Path, typer.Option(help="Table to write, a row a voxel (.csv).")],
    regions: Annotated[Path, typer.Option(help="Table to write, words of each region (.csv).")],
    layer: Annotated[str | None, typer.Option(help="Of the features; else all.")] = None,
    temperature: Annotated[float, common.number("Of the softmax over the bank.", low=1e-6)] = 0.05,
    generate: Annotated[
        bool, typer.Option("--generate", help="Write captions too (embeddings of nano).")
    ] = False,
    level: Annotated[
        float, common.number("False discovery rate of confident captions.", low=0, high=1)
    ] = 0.05,
    seed: int = 0,
) -> None:
    """Caption every voxel by what its encoder's weights pick from a bank of captioned pictures."""
    from neuroenc.arrays import load
    from neuroenc.decoders.voxels import caption_voxels as run
    from neuroenc.decoders.voxels import region_words
    from neuroenc.files import atomic

    recorded = load(responses, "responses")
    table = run(
        recorded, load(features, "features"), load(stimuli, "stimuli"), load(split, "splits"),
        layer=layer, temperature=temperature, level=level, generate=generate, seed=seed,
    )  # fmt: skip
    for made, path in ((table, out), (region_words(table, recorded, seed=seed), regions)):
        with atomic(path) as partial:
            made.to_csv(partial, index=False)
    sure = table[table["confident"]]
    typer.echo(
        f"{len(sure)} of {len(table)} voxels have a confident caption; rank correlation of caption and "
        f"response {sure['spearman'].mean():.3f}, of shuffled weights {sure['spearman_null'].mean():.3f}"
    )
