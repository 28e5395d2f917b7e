"""Commands by which a run says of itself what was done and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuroenc.cli import common
from neuroenc.cli.common import Out
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
    from neuroenc.config import Config, load_config, parse
    from neuroenc.errors import InputError
    from neuroenc.methods.write import write

    if folder is not None and not folder.is_dir():
        raise InputError(f"Folder not found: {folder}. Give the results of a run, e.g. results/demo.")
    asked = parse(Config, common.read(config)[0]) if config.lstrip().startswith("{") else load_config(config)
    write(asked, folder, out, bib=bib, html=page)
