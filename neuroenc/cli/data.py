"""Commands on recordings and what was shown."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuroenc.cli import common
from neuroenc.cli.common import Options, Out, ResponsesFile, Root, StimuliFile, Subject, Subjects
from neuroenc.errors import invalid

data = common.group("Recordings and what was shown.")
split = common.group("Training and test sets.")


@data.command("check")
def data_check(options: Options, subject: Subjects, root: Root = None) -> None:
    """Compare a tree with its expected record; name the first thing that is off."""
    from neuroenc.datasets import module

    section = common.dataset(options, root)
    for line in module(section).check_tree(section, subject):
        typer.echo(f"ok  {line}")
    if section.atlas is not None:
        from neuroenc.datasets.atlas import add_parcels, report_parcels

        short = section.model_copy(update={"sessions": 1})  # places are those of all sessions
        for name in subject:
            found = add_parcels(module(section).load_responses(short, name), section, name)
            typer.echo(f"ok  {report_parcels(found, name)}")


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


@data.command("atlas")
def data_atlas(
    name: Annotated[str, typer.Argument(help="schaefer-400 or glasser-360.")],
) -> None:
    """Fetch an atlas that is known by name, for all its meshes and grids; needs a network."""
    from neuroenc.config import Dataset, parse
    from neuroenc.config.dataset import ATLASES
    from neuroenc.datasets.atlas_sources import fetch_atlas

    if parse(Dataset, {"name": "custom", "atlas": name}).atlas not in ATLASES:
        typer.echo(f"{name} is a file: nothing to fetch.")
        return
    typer.echo(f"{len(fetch_atlas(name))} files were transferred.")


@data.command("show")
def data_show(name: Annotated[str, typer.Argument(help="Of the dataset.")]) -> None:
    """Say what a dataset is and under which licence it comes."""
    from neuroenc.config import Dataset, parse
    from neuroenc.datasets import module

    found = module(parse(Dataset, {"name": name}))
    typer.echo(f"{found.__doc__}\nLicence: {found.LICENCE}\nCite: {found.CITATION}")


@data.command("init")
def data_init(folder: Annotated[Path, typer.Argument(help="With tables, arrays, images, pictures.")]) -> None:
    """Write a first dataset.yaml for a folder of your own, by what lies there, never over another."""
    from neuroenc.datasets.init import init

    typer.echo(init(folder), nl=False)


@data.command("from-bids")
def data_from_bids(
    root: Annotated[Path, typer.Argument(help="Of the raw BIDS dataset, with events and stimuli/.")],
    task: Annotated[str, typer.Option(help="As in task-<task>.")],
    space: Annotated[str, typer.Option(help="T1w, fsaverage5, MNI152NLin2009cAsym:res-2, fsLR:den-91k, …")],
    out: Annotated[Path, typer.Option(help="Folder to write, in the layout of `custom`.")],
    subject: Annotated[list[str] | None, typer.Option(help="May be given several times; else all.")] = None,
    derivatives: Annotated[
        Path | None, typer.Option(help="fMRIPrep's outputs; else ROOT/derivatives/fmriprep.")
    ] = None,
    film: Annotated[bool, typer.Option("--film", help="Cleaned volumes of films, not trials.")] = False,
    betas: Annotated[str, typer.Option(help="lss, or glmsingle where it is installed.")] = "lss",
    confound: Annotated[
        list[str] | None, typer.Option(help="Columns, e.g. 'a_comp_cor_0[0-4]'; may be given several times.")
    ] = None,
    high_pass: Annotated[float, common.number("Hz: slower drifts are removed.", low=0, high=1)] = 1 / 128,
) -> None:
    """Make a folder for `custom` out of fMRIPrep's outputs and events; taken up again after a break."""
    from neuroenc.datasets.from_bids import Choices, convert
    from neuroenc.errors import InputError, invalid

    if betas not in ("lss", "glmsingle"):
        raise invalid("--betas", betas, ("lss", "glmsingle"))
    if film and betas != "lss":
        raise InputError("--film has no trials: --betas glmsingle cannot be given with it. Leave one out.")
    chosen = Choices(film=film, betas=betas, high_pass=high_pass)
    if confound:
        chosen = chosen._replace(confounds=tuple(confound))
    for line in convert(root, out, task=task, space=space, subjects=subject or [], derivatives=derivatives,
                        choices=chosen):  # fmt: skip
        typer.echo(line)
    typer.echo(f"{out / 'dataset.yaml'}: read by dataset: {{name: custom, root: {out}}}")


@data.command("stimuli")
def data_stimuli(options: Options, subject: Subjects, out: Out, root: Root = None) -> None:
    """Write the StimulusSet of the subjects."""
    from neuroenc.arrays import save
    from neuroenc.datasets import module

    section = common.dataset(options, root)
    save(module(section).load_stimuli(section, subject), out)


@data.command("pictures")
def data_pictures(
    folder: Annotated[Path, typer.Option(help="Pictures, in folders as they are.")], out: Out
) -> None:
    """List a folder of pictures that nobody was shown as a StimulusSet, whose features make a pool."""
    from neuroenc.arrays import save
    from neuroenc.datasets.pool import load_pool

    found = load_pool(folder)
    save(found, out)
    typer.echo(f"{found.sizes['stimulus']} pictures")


@data.command("responses")
def data_responses(options: Options, subject: Subject, out: Out, root: Root = None) -> None:
    """Write the Responses of one subject."""
    from neuroenc.arrays import save
    from neuroenc.datasets import module

    section = common.dataset(options, root)
    found = module(section).load_responses(section, subject)
    if section.atlas is not None:
        from neuroenc.datasets.atlas import add_parcels

        found = add_parcels(found, section, subject)
    if section.average is not None:
        from neuroenc.evaluation.parcels import average_parcels

        found = average_parcels(found)
    save(found, out)


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


@split.command("shorten")
def split_shorten(
    split: Annotated[Path, typer.Option(help="Splits (.nc).")],
    responses: ResponsesFile,
    size: Annotated[int, typer.Option(help="Training stimuli of each fold that stay.", min=2)],
    out: Out,
) -> None:
    """Leave out training stimuli beyond a number, the last of a seeded order; tests stay as they are."""
    from neuroenc import splits
    from neuroenc.arrays import load, save

    save(splits.shorten(load(split, "splits"), load(responses, "responses"), size), out)


@split.command("union")
def split_union(
    stimuli: Annotated[
        list[str], typer.Option(help="SET=FILE.nc, a StimulusSet; of two or more, called as their modality.")
    ],
    options: Options,
    out: Out,
    by: Annotated[
        str,
        typer.Option(help="Label that sets share: caption, category or a column; group: none, each its own."),
    ] = "caption",
    splits: Annotated[
        list[str] | None,
        typer.Option(help="SET=FILE.nc: its test stimuli in place of those the set names."),
    ] = None,
    pixels: Annotated[
        bool, typer.Option(help="Also match pictures by their content, by reading all of them once.")
    ] = True,
) -> None:
    """Divide several sets together: no concept or picture that one tests is trained on in another."""
    from neuroenc import unions
    from neuroenc.arrays import save
    from neuroenc.config import Split
    from neuroenc.datasets.copies import look, together, warn_of_copies

    sets, given = common.named(stimuli, "stimuli"), common.named(splits or [], "splits")
    for name in given:
        if name not in sets:
            raise invalid("splits", name, sets)
    chosen = common.section(Split, options)
    looks = {name: look(s) for name, s in sets.items()} if pixels else {}
    content = {name: found.content for name, found in looks.items()} or None
    found = unions.union(sets, chosen, by=by, content=content, given=given)
    save(found, out)
    if looks:
        warn_of_copies(found, together(list(looks.values())))
    for name in sets:
        side = unions.part(found, name)["side"].values
        train, test, neither = ((side == k).sum(1).mean() for k in range(3))
        typer.echo(f"{name}: {train:g} train, {test:g} test, {neither:g} neither")
