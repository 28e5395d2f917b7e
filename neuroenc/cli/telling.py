"""Commands by which a run says of itself what was done and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuroenc.cli import common
from neuroenc.cli.common import Out, StimuliFile
from neuroenc.cli.results import results


@results.command("methods")
def results_methods(
    config: Annotated[str, typer.Argument(help="Configuration of the run: config.yaml, or its JSON.")],
    out: Out,
    folder: Annotated[
        Path | None,
        typer.Option("--results", help="Its results, e.g. results/demo, whose numbers are taken in."),
    ] = None,
    bib: Annotated[Path | None, typer.Option(help="BibTeX of what is cited (.bib).")] = None,
    page: Annotated[Path | None, typer.Option(help="The same text to read (.html).")] = None,
) -> None:
    """Write the methods section of a run with its parameters, and what to cite."""
    from neuroenc.config import parse_study
    from neuroenc.errors import InputError
    from neuroenc.methods.write import write

    if folder is not None and not folder.is_dir():
        raise InputError(f"Folder not found: {folder}. Give the results of a run, e.g. results/demo.")
    asked, source = common.read(config)
    write(parse_study(asked, source=source), folder, out, bib=bib, html=page)


@results.command("gallery")
def results_gallery(
    pictures: Annotated[Path, typer.Option(help="Pictures of `decode reconstruct` (.nc).")],
    stimuli: StimuliFile,
    scores: Annotated[Path, typer.Option(help="Of `evaluate pictures` (.json).")],
    out: Annotated[Path, typer.Option(help="Page to write (.html); it holds the pictures.")],
    captions: Annotated[Path | None, typer.Option(help="Captions of `decode caption` (.nc).")] = None,
    caption_scores: Annotated[Path | None, typer.Option(help="Of `evaluate captions` (.json).")] = None,
    title: Annotated[str, typer.Option(help="Of the page.")] = "",
) -> None:
    """Write a page of all reconstructions: seen, retrieved, drawn and said, sortable by each score."""
    from neuroenc.arrays import load
    from neuroenc.documents import read_json
    from neuroenc.figures.gallery import write_gallery

    write_gallery(
        load(pictures, "pictures"), load(stimuli, "stimuli"),
        read_json(scores, "definitions", "rows")["rows"], out,
        captions=load(captions, "captions") if captions else None,
        caption_scores=read_json(caption_scores, "definitions", "rows")["rows"] if caption_scores else None,
        title=title,
    )  # fmt: skip


@results.command("joint")
def results_joint(
    scores: Annotated[
        list[Path],
        typer.Option(help="Of `decode joint` (.json); then of spaces without a recording (--leave-out)."),
    ],
    figure: Annotated[Path, typer.Option(help="Figure to write (.png).")],
    table: Annotated[Path, typer.Option(help="Table to write (.csv).")],
) -> None:
    """Draw and list retrieval within recordings, across modalities, and by all together."""
    from neuroenc.documents import read_rows
    from neuroenc.figures.joint import KEYS, draw_joint, write_table

    whole, *without = (read_rows(path, of=KEYS)["rows"] for path in scores)
    # of a space that lacks a recording only how that one is read is new
    rows = [*whole, *(r for found in without for r in found if r["subjects"] == "across")]
    draw_joint(rows, figure)
    write_table(rows, table)
