"""Commands on recordings and what was shown."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuroenc.cli import common
from neuroenc.cli.common import Options, Out, Root, StimuliFile, Subject, Subjects

data = common.group("Recordings and what was shown.")
split = common.group("Training and test sets.")


@data.command("check")
def data_check(options: Options, subject: Subjects, root: Root = None) -> None:
    """Compare a tree with its expected record; name the first thing that is off."""
    from neuroenc.datasets import module

    section = common.dataset(options, root)
    for line in module(section).check_tree(section, subject):
        typer.echo(f"ok  {line}")


@data.command("accept")
def data_accept(name: Annotated[str, typer.Argument(help="Of the dataset.")]) -> None:
    """Read and accept the terms of a dataset; asked once on an account."""
    from neuroenc.datasets.sources import ask

    ask(name)


@data.command("fetch")
def data_fetch(options: Options, subject: Subjects, root: Root = None) -> None:
    """Fetch what is read of the subjects, resumed after a break; needs a network."""
    from neuroenc.datasets.sources import fetch_dataset

    found = fetch_dataset(common.dataset(options, root), subject)
    typer.echo(f"{len(found)} files were transferred.")


@data.command("show")
def data_show(name: Annotated[str, typer.Argument(help="Of the dataset.")]) -> None:
    """Say what a dataset is and under which licence it comes."""
    from neuroenc.config import Dataset, parse
    from neuroenc.datasets import module

    found = module(parse(Dataset, {"name": name}))
    typer.echo(f"{found.__doc__}\nLicence: {found.LICENCE}\nCite: {found.CITATION}")


@data.command("stimuli")
def data_stimuli(options: Options, subject: Subjects, out: Out, root: Root = None) -> None:
    """Write the StimulusSet of the subjects."""
    from neuroenc.arrays import save
    from neuroenc.datasets import module

    section = common.dataset(options, root)
    save(module(section).load_stimuli(section, subject), out)


@data.command("responses")
def data_responses(options: Options, subject: Subject, out: Out, root: Root = None) -> None:
    """Write the Responses of one subject."""
    from neuroenc.arrays import save
    from neuroenc.datasets import module

    section = common.dataset(options, root)
    save(module(section).load_responses(section, subject), out)


@split.command("make")
def split_make(
    stimuli: StimuliFile,
    options: Options,
    out: Out,
    features: Annotated[
        Path | None, typer.Option(help="Features of the model that split.features names (.nc).")
    ] = None,
) -> None:
    """Divide stimuli into training and test, once for all models."""
    from neuroenc import splits
    from neuroenc.arrays import load, save
    from neuroenc.config import Split

    space = None if features is None else load(features, "features")
    save(splits.make(load(stimuli, "stimuli"), common.section(Split, options), space), out)
