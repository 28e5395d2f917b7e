"""Commands on maps, figures and tables of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

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


@results.command("transfer")
def results_transfer(
    scores: Annotated[
        list[Path], typer.Option(help="Of `decode transfer` (.json); may be given several times.")
    ],
    figure: Annotated[Path, typer.Option(help="Figure to write (.png).")],
    table: Annotated[Path, typer.Option(help="Table to write (.csv).")],
) -> None:
    """Draw and list top-1 against the sessions of new subjects."""
    from neuroenc.documents import read_rows
    from neuroenc.figures.transfer import KEYS, draw_transfer, write_table

    read = [read_rows(path, "new", "methods", of=KEYS) for path in scores]
    new = [str(found["new"]) for found in read]
    if twice := next((s for s in new if new.count(s) > 1), None):
        raise InputError(f"--scores gives the new subject {twice!r} twice. Give one file of each.")
    rows = [row for found in read for row in found["rows"]]
    if not rows:
        raise InputError("--scores list no rows. Run `neuroenc decode transfer` again.")
    draw_transfer(rows, figure)
    write_table(rows, table)


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


@results.command("words-on-surface")
def results_words_on_surface(
    responses: ResponsesFile,
    table: Annotated[Path, typer.Option(help="Captions of `caption voxels` (.csv).")],
    out: Out,
) -> None:
    """Draw topics and words of confident voxels on the inflated surface."""
    from neuroenc.arrays import load
    from neuroenc.decoders.voxel_words import read_captions
    from neuroenc.figures.surface import draw_words_on_surface

    draw_words_on_surface(load(responses, "responses"), read_captions(table), out)


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
    patterns: Annotated[
        Path | None,
        typer.Option(help="2V2 and r of patterns, a row per comparison, subject, region and fit (.csv)."),
    ] = None,
    pattern_figure: Annotated[list[str] | None, typer.Option(help="LABEL=FILE.png of the patterns.")] = None,
) -> None:
    """Bring comparisons of subjects together: a table, and differences by region.

    Of `evaluation: {pairs: true}` also which fit's patterns are significantly the best of a region.
    """
    from neuroenc.evaluation.effects import comparison_rows
    from neuroenc.evaluation.pattern_tests import pattern_rows
    from neuroenc.figures.comparison import draw_comparison
    from neuroenc.figures.patterns import draw_patterns

    found = common.by_subject(comparison, "comparison")
    of = {
        label: {s: v for (s, name), v in found.items() if name == label}
        for label in dict.fromkeys(name for _, name in found)
    }
    rows = {label: comparison_rows(subjects, label) for label, subjects in of.items()}
    of_patterns = {
        label: pattern_rows(subjects, label) for label, subjects in of.items() if patterns or pattern_figure
    }
    drawn = _by_label(pattern_figure, "--pattern-figure", "png", of)
    for label, path in _by_label(figure, "--figure", "png", rows):
        draw_comparison(rows[label], path)
    for label, path in drawn:
        draw_patterns(of_patterns[label], path)
    _write_rows(rows, table)
    if patterns:
        _write_rows(of_patterns, patterns)


def _write_rows(rows: Mapping[str, list[dict[str, Any]]], table: Path) -> None:
    """Write the rows of all comparisons as one table."""
    import pandas as pd

    from neuroenc.files import atomic

    with atomic(table) as partial:
        every = pd.DataFrame([row for each in rows.values() for row in each])
        every.convert_dtypes().to_csv(partial, index=False)


@results.command("zones")
def results_zones(
    partition: Annotated[list[str], typer.Option(help="SUBJECT=FILE.nc of `encode partition`.")],
    table: Annotated[Path, typer.Option(help="A row per subject, region and space (.csv).")],
    out: Out,
) -> None:
    """Bring partitions of subjects together: unique variance and shares of zones by region."""
    import pandas as pd

    from neuroenc.evaluation.zones import zone_rows
    from neuroenc.figures.zones import draw_zones
    from neuroenc.files import atomic

    rows = zone_rows(common.named(partition, option="--partition"))
    draw_zones(rows, out)
    with atomic(table) as partial:
        pd.DataFrame(rows).to_csv(partial, index=False)


@results.command("learning-curve")
def results_learning_curve(
    scores: Annotated[list[str], typer.Option(help="SUBJECT:FIT:SIZE=FILE.nc; without SIZE: all stimuli.")],
    table: Annotated[Path, typer.Option(help="A row per fit, subject, region and size (.csv).")],
    out: Annotated[Path, typer.Option(help="Figure, a panel per region (.png).")],
) -> None:
    """Bring fits to fewer training stimuli together: mean test r by region and size, with intervals."""
    import pandas as pd

    from neuroenc.evaluation.learning_curve import Point, curve_rows
    from neuroenc.figures.learning_curve import draw_learning_curve
    from neuroenc.files import atomic

    points = []
    for name, found in common.named(scores).items():
        subject, *fit = name.split(":")
        if not 1 <= len(fit) <= 2 or not all([subject, *fit]):
            raise InputError(f"Invalid value for '--scores': {name!r}. Expected SUBJECT:FIT:SIZE=FILE.nc.")
        points.append(Point(subject, fit[0], "".join(fit[1:]), found))
    rows = curve_rows(points)
    draw_learning_curve(rows, out)
    with atomic(table) as partial:
        pd.DataFrame(rows).to_csv(partial, index=False)


@results.command("zone-map")
def results_zone_map(
    responses: ResponsesFile,
    partition: Annotated[Path, typer.Option(help="Of `encode partition` (.nc).")],
    out: Out,
) -> None:
    """Draw the zones of one subject, and what each space alone explains, on the inflated surface."""
    from neuroenc.arrays import load
    from neuroenc.figures.surface import draw_zone_map

    draw_zone_map(load(responses, "responses"), load(partition, "scores"), out)


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
        near_and_far=common.apart(reconstruction or []),
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
    from neuroenc.documents import read_rows
    from neuroenc.figures.contributions import KEYS, draw_contributions

    given = common.pairs(scores, "--scores", "NAME=FILE.json")
    found = {name: read_rows(path, "noise", of=KEYS) for name, path in given.items()}
    draw_contributions(found, score, out)


@results.command("show")
def results_show(summary: Annotated[Path, typer.Argument(help="summary.json of a run.")]) -> None:
    """Print a short table of a run."""
    from neuroenc.documents import read_rows
    from neuroenc.figures.summary import KEYS, short_table

    table = short_table(read_rows(summary, "label", of=KEYS)).strip("\n")
    if not table:
        raise InputError(f"{summary} holds no scores of a run. Was it written by another command?")
    typer.echo(table)


@results.command("pictures")
def results_pictures(summary: Annotated[Path, typer.Argument(help="summary.json of a run.")]) -> None:
    """Print the table of reconstruction in the order of its papers, each subject between its bounds."""
    from neuroenc.documents import read_rows
    from neuroenc.figures.pictures import picture_table
    from neuroenc.figures.summary import KEYS

    lines = picture_table(read_rows(summary, "label", of=KEYS)["rows"])
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


def explore(
    folder: Annotated[Path, typer.Argument(metavar="RESULTS", help="Results of a run, e.g. results/demo.")],
    out: Annotated[Path, typer.Option(help="Folder to write, whole or not at all.")],
    pictures: Annotated[
        bool, typer.Option("--pictures", help="With small copies of test pictures; mind their licence.")
    ] = False,
    mesh: Annotated[
        Path | None,
        typer.Option(help="Folder of surfaces: lh.inflated, rh.inflated, lh.pial, ...; none: fsaverage5."),
    ] = None,
) -> None:
    """Write pages of a run with maps to turn and to ask, which a browser opens from disk."""
    from neuroenc.explorer import write_explorer

    subjects = write_explorer(folder, out, pictures=pictures, mesh=mesh)
    typer.echo(f"{out / 'index.html'}: {len(subjects)} subject{'s' * (len(subjects) > 1)}")
