"""Commands on maps, figures and tables of a run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from neuroenc.cli import common
from neuroenc.cli.common import Out, ResponsesFile, ScoresFiles, StimuliFile
from neuroenc.errors import InputError

results = common.group("Maps, figures and tables of a run.")


@results.command("maps")
def results_maps(
    responses: ResponsesFile,
    scores: ScoresFiles,
    nifti: Annotated[Path | None, typer.Option(help="4-D map on the subject's grid.")] = None,
    left: Annotated[Path | None, typer.Option(help="GIFTI of the left hemisphere.")] = None,
    right: Annotated[Path | None, typer.Option(help="GIFTI of the right hemisphere.")] = None,
) -> None:
    """Write scores as maps any viewer opens."""
    from neuroenc.arrays import load
    from neuroenc.figures.maps import write_gifti, write_nifti

    recorded, scored = load(responses, "responses"), common.named(scores)
    if nifti is not None:
        write_nifti(recorded, scored, nifti)
    for side, path in (("L", left), ("R", right)):
        if path is not None:
            write_gifti(recorded, scored, side, path)


@results.command("figures")
def results_figures(
    scores: ScoresFiles,
    regions: Annotated[Path, typer.Option(help="Accuracy against ceiling per region (.png).")],
    scatter: Annotated[Path, typer.Option(help="Accuracy against ceiling per neuroid (.png).")],
    layers: Annotated[Path, typer.Option(help="Layers by region, or by site (.png).")],
) -> None:
    """Draw the figures of one subject."""
    from neuroenc.figures import plots

    scored = common.named(scores)
    plots.draw_regions(scored, regions)
    plots.draw_scatter(scored, scatter)
    plots.draw_layers(scored, layers)


@results.command("time-course")
def results_time_course(scores: ScoresFiles, out: Out) -> None:
    """Draw accuracy over time of responses with time bins."""
    from neuroenc.figures import plots

    plots.draw_time_course(common.named(scores), out)


@results.command("attention")
def results_attention(
    weights: Annotated[Path, typer.Option(help="Weights of attention routing or probing (.safetensors).")],
    features: Annotated[Path, typer.Option(help="Features they read (.nc).")],
    stimuli: StimuliFile,
    out: Annotated[Path, typer.Option(help="Figure of some pictures and regions (.png).")],
    maps: Annotated[Path, typer.Option(help="Maps of all test pictures and regions (.nc).")],
    regions: Annotated[list[str] | None, typer.Option("--region", help="Regions drawn; else six.")] = None,
) -> None:
    """Draw where each region looks, and keep the maps as arrays."""
    from neuroenc.arrays import load
    from neuroenc.figures.attention import attention_arrays, draw_attention
    from neuroenc.files import atomic

    shown = load(stimuli, "stimuli")
    arrays = attention_arrays(weights, load(features, "features"), shown)
    with atomic(maps, size=arrays.nbytes + 2**16) as partial:
        arrays.to_netcdf(partial, engine="h5netcdf")
    draw_attention(arrays, shown, out, regions=regions)


@results.command("reconstructions")
def results_reconstructions(
    pictures: Annotated[Path, typer.Option(help="Pictures of `decode reconstruct` (.nc).")],
    stimuli: StimuliFile,
    scores: Annotated[Path, typer.Option(help="Of `evaluate pictures` (.json).")],
    out: Out,
    captions: Annotated[Path | None, typer.Option(help="Captions of `decode caption` (.nc).")] = None,
    n: Annotated[int, typer.Option(help="Pictures of each of best, middle and worst.", min=1)] = 4,
) -> None:
    """Draw what was seen, retrieved and drawn: best, middle and worst."""
    from neuroenc.arrays import load
    from neuroenc.documents import read_json
    from neuroenc.figures.reconstructions import draw_reconstructions

    rows = read_json(scores, "definitions", "rows")["rows"]
    draw_reconstructions(
        load(pictures, "pictures"), load(stimuli, "stimuli"), rows, out,
        captions=load(captions, "captions") if captions else None, n=n,
    )  # fmt: skip


@results.command("classes")
def results_classes(
    scores: Annotated[Path, typer.Option(help="Of `decode classify` (.json).")],
    out: Out,
) -> None:
    """Draw which classes are taken for which, and accuracy over time."""
    from neuroenc.documents import read_json
    from neuroenc.figures.classes import draw_classes

    draw_classes(read_json(scores, *common.CLASSES), out)


@results.command("similarity")
def results_similarity(
    scores: Annotated[Path, typer.Option(help="Of `evaluate similarity` (.json).")],
    out: Out,
) -> None:
    """Draw the similarity of each layer to each region, and of the best layers against the ceiling."""
    from neuroenc.documents import read_json
    from neuroenc.figures.similarity import draw_similarity

    draw_similarity(read_json(scores, "measure", "distance", "n_stimuli", "subjects", "rows"), out)


@results.command("distance")
def results_distance(
    scores: Annotated[Path, typer.Option(help="Of `evaluate distance` (.json).")],
    out: Out,
) -> None:
    """Draw accuracy against the distance to training, and the gap between near and far of each region."""
    from neuroenc.documents import read_json
    from neuroenc.figures.distance import draw_distance

    draw_distance(read_json(scores, "bins", "gaps", "space", "kind_of_split", "dataset", "subject"), out)


@results.command("words")
def results_words(
    regions: Annotated[Path, typer.Option(help="Words by region, of `caption voxels` (.csv).")],
    out: Out,
) -> None:
    """Draw the words of each region's voxels, and the share about people, places and food."""
    import pandas as pd

    from neuroenc.datasets.reading import read_table
    from neuroenc.figures.words import draw_words

    table = read_table(regions, empty=True)  # where no voxel has a confident caption
    words = {c: table.text(c) for c in ("region", "kind", "word")}
    numbers = {c: table.numbers(c) for c in ("share", "low", "high", "n_voxels")}
    draw_words(pd.DataFrame(words | numbers), out)


@results.command("surface")
def results_surface(
    responses: ResponsesFile,
    scores: ScoresFiles,
    out: Out,
) -> None:
    """Draw accuracy, ceiling and best layer of one subject on the inflated surface."""
    from neuroenc.arrays import load
    from neuroenc.figures.surface import draw_surface

    draw_surface(load(responses, "responses"), common.named(scores), out)


def _by_label(items: list[str] | None, option: str, form: str, known: Iterable[str]) -> list[tuple[str, str]]:
    """Read files given as LABEL=FILE, all of them before one is written."""
    pairs = [item.partition("=") for item in items or []]
    for label, equals, path in pairs:
        if not path or label not in known:
            raise InputError(
                f"{option} is LABEL=FILE.{form}, LABEL one of {list(known)}; found {label + equals + path!r}."
            )
    return [(label, path) for label, _, path in pairs]


@results.command("electrodes")
def results_electrodes(
    scores: Annotated[list[str], typer.Option(help="SUBJECT:MODEL=FILE.nc; may be given several times.")],
    out: Out,
    comparison: Annotated[
        list[str] | None, typer.Option(help="SUBJECT:LABEL=FILE.nc of `evaluate compare`.")
    ] = None,
    table: Annotated[list[str] | None, typer.Option(help="LABEL=FILE.csv, a row for each electrode.")] = None,
) -> None:
    """Draw models and comparisons at the electrodes of all subjects, in a brain of glass, and list them."""
    from neuroenc.evaluation.integration import table_of_sites
    from neuroenc.figures.electrodes import draw_electrodes
    from neuroenc.files import atomic

    found = common.by_subject(comparison or [], "comparison")
    sites = {
        label: table_of_sites({s: v for (s, name), v in found.items() if name == label})
        for label in dict.fromkeys(name for _, name in found)
    }
    for label, path in _by_label(table, "--table", "csv", sites):
        with atomic(path) as partial:
            sites[label].to_csv(partial, index=False)
    draw_electrodes(common.by_subject(scores), out, sites)


@results.command("winners")
def results_winners(
    responses: ResponsesFile,
    comparison: Annotated[list[str], typer.Option(help="LABEL=FILE.nc of `evaluate compare`.")],
    out: Out,
) -> None:
    """Draw on the inflated surface which fit is best where."""
    from neuroenc.arrays import load
    from neuroenc.figures.surface import draw_winners

    draw_winners(load(responses, "responses"), common.named(comparison, "comparison"), out)


@results.command("comparisons")
def results_comparisons(
    comparison: Annotated[list[str], typer.Option(help="SUBJECT:LABEL=FILE.nc of `evaluate compare`.")],
    table: Annotated[Path, typer.Option(help="A row per comparison, subject, region and rival (.csv).")],
    figure: Annotated[list[str] | None, typer.Option(help="LABEL=FILE.png.")] = None,
) -> None:
    """Bring comparisons of subjects together: a table, and differences by region."""
    import pandas as pd

    from neuroenc.evaluation.effects import comparison_rows
    from neuroenc.figures.comparison import draw_comparison
    from neuroenc.files import atomic

    found = common.by_subject(comparison, "comparison")
    rows = {
        label: comparison_rows({s: v for (s, name), v in found.items() if name == label}, label)
        for label in dict.fromkeys(name for _, name in found)
    }
    for label, path in _by_label(figure, "--figure", "png", rows):
        draw_comparison(rows[label], path)
    with atomic(table) as partial:
        every = pd.DataFrame([row for each in rows.values() for row in each])
        every.convert_dtypes().to_csv(partial, index=False)


@results.command("summary")
def results_summary(
    scores: Annotated[list[str], typer.Option(help="SUBJECT:MODEL=FILE.nc.")],
    label: Annotated[str, typer.Option(help="Name of the run.")],
    command: Annotated[str, typer.Option(help="What makes these figures again.")],
    seed: Annotated[int, typer.Option()],
    out: Out,
    table: Annotated[Path, typer.Option(help="Tidy table of scores (.parquet).")],
    page: Annotated[Path, typer.Option(help="The same figures as a page (.html).")],
    grade: Annotated[Path | None, typer.Option(help="Grades to take in (.json).")] = None,
    retrieval: Annotated[
        list[str] | None, typer.Option(help="SUBJECT:NAME=FILE.json of `decode evaluate` or `decode match`.")
    ] = None,
    classification: Annotated[
        list[str] | None, typer.Option(help="SUBJECT:NAME=FILE.json of `decode classify`.")
    ] = None,
    reconstruction: Annotated[
        list[str] | None,
        typer.Option(help="SUBJECT=FILE.json of `evaluate pictures` or `evaluate captions`."),
    ] = None,
    parcels: Annotated[Path | None, typer.Option(help="Scores by parcel of an atlas (.csv).")] = None,
    comparison: Annotated[
        list[str] | None, typer.Option(help="SUBJECT:LABEL=FILE.nc of `evaluate compare`.")
    ] = None,
    drawn_from: Annotated[
        str | None, typer.Option(help="NAME of --retrieval whose embeddings the pictures are drawn from.")
    ] = None,
) -> None:
    """Gather all scores into summary.json and a tidy table."""
    from neuroenc.figures.summary import summarise

    scored = common.by_subject(scores)
    summarise(
        scored,
        label=label,
        command=command,
        seed=seed,
        out=out,
        table=table,
        page=page,
        grade=grade,
        retrieval=common.retrieved(retrieval or []),
        classification=common.retrieved(classification or [], "--classification", common.CLASSES),
        reconstruction=common.reconstructed(reconstruction or []),
        parcels=parcels,
        comparisons=common.by_subject(comparison or [], "comparison"),
        drawn_from=drawn_from,
    )


@results.command("contributions")
def results_contributions(
    scores: Annotated[list[str], typer.Option(help="NAME=FILE.json of `decode contributions`; repeatable.")],
    out: Annotated[Path, typer.Option(help="Figure (.png).")],
    score: Annotated[str, typer.Option(help="cosine, two_way or top1.")] = "cosine",
) -> None:
    """Draw what each decoder loses as a region is taken away, and what the region says alone."""
    from neuroenc.documents import read_json
    from neuroenc.figures.contributions import draw_contributions

    pairs = [item.partition("=") for item in scores]
    if wrong := [item for item, (_, _, path) in zip(scores, pairs, strict=True) if not path]:
        raise InputError(f"--scores is NAME=FILE.json, found {wrong[0]!r}.")
    draw_contributions({name: read_json(path, "rows") for name, _, path in pairs}, score, out)


@results.command("show")
def results_show(summary: Annotated[Path, typer.Argument(help="summary.json of a run.")]) -> None:
    """Print a short table of a run."""
    from neuroenc.documents import read_json
    from neuroenc.figures.summary import short_table

    typer.echo(short_table(read_json(summary, "label", "rows")))


@results.command("pictures")
def results_pictures(summary: Annotated[Path, typer.Argument(help="summary.json of a run.")]) -> None:
    """Print the table of reconstruction in the order of its papers, each subject between its bounds."""
    from neuroenc.documents import read_json
    from neuroenc.figures.pictures import picture_table

    lines = picture_table(read_json(summary, "label", "rows")["rows"])
    if not lines:
        raise InputError(
            f"{summary} holds no reconstructed pictures. Give its run a section `reconstruction`."
        )
    typer.echo("\n".join(lines[1:]))


@results.command("times")
def results_times(
    folder: Annotated[Path, typer.Argument(help="The logs of a run, e.g. logs/demo.")],
) -> None:
    """Print the seconds each stage took, its jobs summed, and how much went into loading libraries."""
    from neuroenc.figures.times import stage_times

    typer.echo(stage_times(folder))
