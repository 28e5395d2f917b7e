"""The command that writes a fitted encoder as a folder others can call."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuroenc.cli import common
from neuroenc.errors import InputError


def export(
    responses: Annotated[list[str], typer.Option(help="SUBJECT=FILE.nc; once for each subject.")],
    predictions: Annotated[list[str], typer.Option(help="SUBJECT=FILE.nc of the encoder or the stack.")],
    scores: Annotated[list[str], typer.Option(help="SUBJECT=FILE.nc of the same.")],
    weights: Annotated[
        list[str], typer.Option(help="SUBJECT:MEMBER=FILE.safetensors; of a stack each member.")
    ],
    features: Annotated[list[str], typer.Option(help="MEMBER=FILE.nc that it was fitted to.")],
    model: Annotated[list[str], typer.Option(help="MEMBER=OPTIONS, the section of `models` it reads.")],
    name: Annotated[str, typer.Option(help="Of the encoder.")],
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    components: Annotated[
        list[str] | None,
        typer.Option(help="MEMBER=FILE.projection.safetensors, where PCA made its features."),
    ] = None,
    licence: Annotated[
        str, typer.Option(help="Of what is written: an identifier of SPDX, or words.")
    ] = "unstated",
    fold: Annotated[int, typer.Option(help="Whose weights.", min=0)] = 0,
) -> None:
    """Write a fitted encoder as a folder that `neuroenc.load` reads."""
    from neuroenc.config import Model
    from neuroenc.encoders.export import Subject
    from neuroenc.encoders.export import export as run

    recorded, predicted = common.named(responses, "responses"), common.named(predictions, "predictions")
    scored = common.named(scores)
    files: dict[str, dict[str, str]] = {}
    for item in weights:
        key, _, path = item.partition("=")
        subject, colon, member = key.partition(":")
        if not (path and colon):
            raise InputError(f"Invalid value for '--weights': {item!r}. Expected SUBJECT:MEMBER=FILE.")
        files.setdefault(subject, {})[member] = path
    for what, found in (("predictions", predicted), ("scores", scored), ("weights", files)):
        if found.keys() != recorded.keys():
            raise InputError(
                f"--{what} are of the subjects {', '.join(found)}, --responses of {', '.join(recorded)}. "
                "Give all of each."
            )
    projected = {}
    for item in components or []:
        member, equals, path = item.partition("=")
        if not equals:
            raise InputError(f"Invalid value for '--components': {item!r}. Expected MEMBER=FILE.")
        projected[member] = path
    sections = {}
    for item in model:
        member, equals, options = item.partition("=")
        if not equals:
            raise InputError(f"Invalid value for '--model': {item!r}. Expected MEMBER=OPTIONS.")
        sections[member] = common.section(Model, options)
    run(
        out, [Subject(s, recorded[s], predicted[s], scored[s], files[s]) for s in recorded], sections,
        common.named(features, "features"), name=name, components=projected, licence=licence, fold=fold,
    )  # fmt: skip
