"""`neuroenc <noun> <verb>`: a thin door to the library. Heavy imports wait inside the commands."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from neuroenc import __version__
from neuroenc.errors import InputError, NeuroencError

if TYPE_CHECKING:
    from neuroenc import config
    from neuroenc.arrays import Kind

    S = TypeVar("S", bound=config.Section)

app = typer.Typer(
    name="neuroenc", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Encoding models and decoders of brains looking at pictures and films.",
)  # fmt: skip


def _group(name: str, text: str) -> typer.Typer:
    group = typer.Typer(no_args_is_help=True, help=text)
    app.add_typer(group, name=name)
    return group


data = _group("data", "Recordings and what was shown.")
split = _group("split", "Training and test sets.")
features = _group("features", "What a network makes of the stimuli.")
encode = _group("encode", "From features to responses.")
evaluate = _group("evaluate", "Scores, ceilings, statistics.")
results = _group("results", "Maps, figures and tables of a run.")
nano = _group("nano", "The small network that comes with neuroenc.")
configuration = _group("config", "The configuration file.")

Out = Annotated[Path, typer.Option(help="File to write, whole or not at all.")]
Options = Annotated[
    str, typer.Option(help="Section of the configuration: JSON, or FILE.yaml#path.to.section.")
]
Root = Annotated[Path | None, typer.Option(help="Folder of the dataset, instead of dataset.root.")]
Subjects = Annotated[list[str], typer.Option("--subject", help="May be given several times.")]
ResponsesFile = Annotated[Path, typer.Option(help="Responses (.nc).")]
StimuliFile = Annotated[Path, typer.Option(help="StimulusSet (.nc).")]


def _read(text: str) -> tuple[Any, str]:
    """Read options given as JSON or as FILE.yaml#path; say where they are from."""
    from neuroenc.errors import invalid
    from neuroenc.files import existing

    if text.lstrip().startswith("{"):
        try:
            return json.loads(text), ""
        except json.JSONDecodeError as error:
            raise InputError(f"--options is not JSON: {error}.") from None
    import yaml

    name, _, path = text.partition("#")
    found: Any = yaml.safe_load(existing(name).read_text())
    for key in filter(None, path.split(".")):
        if not isinstance(found, dict) or key not in found:
            raise invalid(f"section in {name}", path, found if isinstance(found, dict) else [])
        found = found[key]
    return found, text


def _section(kind: type[S], text: str) -> S:
    from neuroenc.config import parse

    found, source = _read(text)
    return parse(kind, found, source=source)


def _encoder(text: str) -> Any:
    """Read the options of one encoder; its label in the configuration may be its name."""
    from neuroenc.config import EncoderChoice, parse

    found, source = _read(text)
    if isinstance(found, dict) and "name" not in found:
        found = found | {"name": text.rpartition(".")[2] if "#" in text else "ridge"}
    return parse(EncoderChoice, {"encoder": found}, source=source).encoder


def _dataset(options: str, root: Path | None) -> Any:
    from neuroenc.config import Dataset

    section = _section(Dataset, options)
    return section if root is None else section.model_copy(update={"root": str(root)})


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="Folder to make: the root of an NSD tree.")],
    seed: int = 0,
    n_subjects: int = 2,
    n_voxels: Annotated[int, typer.Option(help="Of nsdgeneral of the first subject.")] = 2000,
    sessions: int = 6,
    n_shared: Annotated[int, typer.Option(help="Pictures all subjects see `repeats` times.")] = 120,
    repeats: int = 3,
    n_unique: Annotated[int, typer.Option(help="Pictures of one subject, seen once.")] = 1140,
    picture_size: Annotated[int, typer.Option(help="Side in px, at least 96.")] = 128,
    ncsnr: Annotated[float, typer.Option(help="Median of driven voxels.")] = 0.5,
    ncsnr_spread: float = 0.35,
    silent: Annotated[float, typer.Option(help="Share of voxels without signal.")] = 0.2,
    drift: Annotated[float, typer.Option(help="Log-gain between sessions.")] = 0.1,
) -> None:
    """Simulate pictures and cortex, in the layout of the Natural Scenes Dataset."""
    given = {k: v for k, v in locals().items() if k != "out"}
    from neuroenc.config import Simulation, parse
    from neuroenc.datasets.simulate import simulate as run

    run(out, parse(Simulation, given))


@data.command("check")
def data_check(options: Options, subject: Subjects, root: Root = None) -> None:
    """Compare a tree with its expected record; name the first thing that is off."""
    from neuroenc.datasets import module

    section = _dataset(options, root)
    for line in module(section).check_tree(section, subject):
        typer.echo(f"ok  {line}")


@data.command("show")
def data_show(options: Options) -> None:
    """Say what a dataset is and under which licence it comes."""
    from neuroenc.datasets import module

    found = module(_dataset(options, None))
    typer.echo(f"{found.__doc__}\nLicence: {found.LICENCE}")


@data.command("stimuli")
def data_stimuli(options: Options, subject: Subjects, out: Out, root: Root = None) -> None:
    """Write the StimulusSet of the subjects."""
    from neuroenc.arrays import save
    from neuroenc.datasets import module

    section = _dataset(options, root)
    save(module(section).load_stimuli(section, subject), out)


@data.command("responses")
def data_responses(
    options: Options, subject: Annotated[str, typer.Option()], out: Out, root: Root = None
) -> None:
    """Write the Responses of one subject."""
    from neuroenc.arrays import save
    from neuroenc.datasets import module

    section = _dataset(options, root)
    save(module(section).load_responses(section, subject), out)


@split.command("make")
def split_make(stimuli: StimuliFile, options: Options, out: Out) -> None:
    """Divide stimuli into training and test, once for all models."""
    from neuroenc import splits
    from neuroenc.arrays import load, save
    from neuroenc.config import Split

    save(splits.make(load(stimuli, "stimuli"), _section(Split, options)), out)


@features.command("list")
def features_list() -> None:
    """List the extractors."""
    from neuroenc.features.extract import EXTRACTORS

    for name, text in EXTRACTORS.items():
        typer.echo(f"{name:12s} {text}")


@features.command("layers")
def features_layers(options: Options) -> None:
    """List the layers of a network."""
    from neuroenc.config import Model
    from neuroenc.features.networks import layer_names

    for name, kind in layer_names(_section(Model, options)).items():
        typer.echo(f"{name}  {kind}")


@features.command("extract")
def features_extract(
    stimuli: StimuliFile,
    options: Options,
    out: Out,
    memory_gb: Annotated[float, typer.Option(help="For the activations of a batch.")] = 1.0,
    device: Annotated[str, typer.Option(help="Of torch; auto: cuda where there is one.")] = "auto",
) -> None:
    """Extract features of all stimuli; a killed run is taken up again."""
    from neuroenc.arrays import load
    from neuroenc.config import Model
    from neuroenc.features.extract import extract

    table = load(stimuli, "stimuli")
    extract(table, _section(Model, options), out, memory_gb=memory_gb, device=device)


@encode.command("fit")
def encode_fit(
    responses: ResponsesFile,
    features: Annotated[Path, typer.Option(help="Features (.nc).")],
    split: Annotated[Path, typer.Option(help="Splits (.nc).")],
    options: Options,
    out: Annotated[Path, typer.Option(help="Predictions of the test stimuli (.nc).")],
    weights: Annotated[Path, typer.Option(help="Fitted weights (.safetensors).")],
) -> None:
    """Fit one encoder; predict the held-out stimuli.

    An encoder trained by gradient leaves its state beside WEIGHTS after each epoch; a run that is
    killed goes on from there.
    """
    from neuroenc.arrays import load, save
    from neuroenc.encoders.encode import encode as run
    from neuroenc.encoders.store import save_fits
    from neuroenc.files import remove

    features_of, chosen = load(features, "features"), _encoder(options)
    resume = weights.with_name(f".{weights.stem}")
    predictions, fits = run(
        load(responses, "responses"), features_of, load(split, "splits"), chosen,
        checkpoint=lambda fold, layer: resume / f"{fold}-{layer}.safetensors",
    )  # fmt: skip
    save_fits(
        fits, features_of.attrs, predictions["neuroid_id"].values, weights, predictions.attrs["queries"]
    )
    save(predictions, out)
    remove(resume)


@encode.command("predict")
def encode_predict(
    weights: Annotated[Path, typer.Option(help="Fitted weights (.safetensors).")],
    features: Annotated[Path, typer.Option(help="Features of any stimuli, of the same contract (.nc).")],
    out: Annotated[Path, typer.Option(help="Predictions of all these stimuli (.nc).")],
    fold: Annotated[int, typer.Option(help="Whose training stimuli the weights were fitted to.")] = 0,
) -> None:
    """Predict new stimuli by weights that were fitted before."""
    import numpy as np
    import xarray as xr

    from neuroenc.arrays import load
    from neuroenc.encoders.store import predict_fits
    from neuroenc.files import atomic

    features_of = load(features, "features")
    predicted, neuroid_id = predict_fits(weights, features_of, fold)
    dataset = xr.Dataset(
        {"prediction": (("presentation", "neuroid"), predicted)},
        {"stimulus_id": ("presentation", features_of["stimulus_id"].values),
         "neuroid_id": ("neuroid", np.array(neuroid_id))},
        {"model": features_of.attrs["model"], "neuroenc_version": __version__, "fold": fold},
    )  # fmt: skip
    with atomic(out) as partial:
        dataset.to_netcdf(partial, engine="h5netcdf")


@encode.command("stack")
def encode_stack(
    responses: ResponsesFile,
    predictions: Annotated[list[str], typer.Option(help="NAME=FILE.nc; once for each member.")],
    out: Annotated[Path, typer.Option(help="Predictions of the stack (.nc).")],
    options: Annotated[str, typer.Option(help="Section `stack`: JSON, or FILE.yaml#stack.")] = "{}",
) -> None:
    """Mix encoders for each neuroid by weights learned on validation stimuli."""
    from neuroenc.arrays import load, save
    from neuroenc.config import Stack
    from neuroenc.encoders.encode import stack_predictions
    from neuroenc.errors import invalid

    chosen = _section(Stack, options)
    members = _named(predictions, "predictions")
    for name in chosen.members:
        if name not in members:
            raise invalid("members", name, members)
    wanted = {k: members[k] for k in chosen.members or members}
    save(stack_predictions(load(responses, "responses"), wanted, select=chosen.select), out)


@encode.command("partition")
def encode_partition(
    responses: ResponsesFile,
    features: Annotated[list[str], typer.Option(help="NAME=FILE.nc; two to five feature spaces.")],
    split: Annotated[Path, typer.Option(help="Splits (.nc).")],
    out: Annotated[Path, typer.Option(help="Scores: R2 of all subsets, unique and shared (.nc).")],
    options: Annotated[str, typer.Option(help="Options of banded ridge: JSON, or FILE.yaml#path.")] = "{}",
) -> None:
    """Split the variance that feature spaces explain into unique and shared parts."""
    from neuroenc.arrays import load, save
    from neuroenc.config import Banded
    from neuroenc.evaluation.partition import partition

    save(
        partition(
            load(responses, "responses"), _named(features, "features"), load(split, "splits"),
            _section(Banded, options),
        ),
        out,
    )  # fmt: skip


@evaluate.command("score")
def evaluate_score(
    responses: ResponsesFile,
    predictions: Annotated[Path, typer.Option(help="Predictions (.nc).")],
    options: Options,
    out: Out,
) -> None:
    """Score predictions: raw, against the ceiling, with intervals and p-values."""
    from neuroenc.arrays import load, save
    from neuroenc.config import Evaluation
    from neuroenc.evaluation.evaluate import evaluate as run

    save(
        run(
            load(responses, "responses"),
            load(predictions, "predictions"),
            _section(Evaluation, options),
        ),
        out,
    )


ScoresFiles = Annotated[
    list[str], typer.Option("--scores", help="MODEL=FILE.nc; may be given several times.")
]


def _named(files: list[str], kind: Kind = "scores") -> dict[str, Any]:
    from neuroenc.arrays import load

    pairs = [f.partition("=") for f in files]
    wrong = [f for f, (_, equals, _) in zip(files, pairs, strict=True) if not equals]
    if wrong:
        raise InputError(f"Invalid value for '--{kind}': {wrong[0]!r}. Expected NAME=FILE.nc.")
    return {name: load(path, kind) for name, _, path in pairs}


def _by_subject(files: list[str]) -> dict[tuple[str, str], Any]:
    named = _named(files)
    wrong = [k for k in named if k.count(":") != 1]
    if wrong:
        raise InputError(f"Invalid value for '--scores': {wrong[0]!r}. Expected SUBJECT:MODEL=FILE.nc.")
    return {(k.partition(":")[0], k.partition(":")[2]): s for k, s in named.items()}


@evaluate.command("grade")
def evaluate_grade(
    options: Annotated[str, typer.Option(help="The whole configuration: JSON or FILE.yaml.")],
    split: Annotated[Path, typer.Option(help="Splits (.nc).")],
    responses: Annotated[list[str], typer.Option(help="SUBJECT=FILE.nc.")],
    scores: Annotated[list[str], typer.Option(help="SUBJECT:MODEL=FILE.nc.")],
    out: Out,
    root: Root = None,
    attention: Annotated[list[str] | None, typer.Option(help="SUBJECT=MAPS.nc of attention routing.")] = None,
) -> None:
    """Grade a run on simulated data against the truth."""
    import xarray as xr

    from neuroenc.arrays import load
    from neuroenc.config import Config
    from neuroenc.evaluation.grade import grade
    from neuroenc.files import existing, write_json

    section = _section(Config, options)
    if root is not None:
        dataset = section.dataset.model_copy(update={"root": str(root)})
        section = section.model_copy(update={"dataset": dataset})
    recorded = {s.partition("=")[0]: load(s.partition("=")[2], "responses") for s in responses}
    scored = _by_subject(scores)
    maps = {a.partition("=")[0]: xr.load_dataset(existing(a.partition("=")[2])) for a in attention or []}
    write_json(grade(section, recorded, scored, load(split, "splits"), maps), out)


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

    recorded, scored = load(responses, "responses"), _named(scores)
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

    scored = _named(scores)
    plots.draw_regions(scored, regions)
    plots.draw_scatter(scored, scatter)
    plots.draw_layers(scored, layers)


@results.command("attention")
def results_attention(
    weights: Annotated[Path, typer.Option(help="Weights of attention routing (.safetensors).")],
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
    with atomic(maps) as partial:
        arrays.to_netcdf(partial, engine="h5netcdf")
    draw_attention(arrays, shown, out, regions=regions)


@results.command("surface")
def results_surface(
    responses: ResponsesFile,
    scores: ScoresFiles,
    out: Out,
) -> None:
    """Draw accuracy, ceiling and best layer of one subject on the inflated surface."""
    from neuroenc.arrays import load
    from neuroenc.figures.surface import draw_surface

    draw_surface(load(responses, "responses"), _named(scores), out)


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
) -> None:
    """Gather all scores into summary.json and a tidy table."""
    from neuroenc.figures.summary import summarise

    scored = _by_subject(scores)
    summarise(
        scored,
        label=label,
        command=command,
        seed=seed,
        out=out,
        table=table,
        page=page,
        grade=grade,
    )


@results.command("show")
def results_show(summary: Annotated[Path, typer.Argument(help="summary.json of a run.")]) -> None:
    """Print a short table of a run."""
    from neuroenc.figures.summary import short_table
    from neuroenc.files import existing

    typer.echo(short_table(json.loads(existing(summary).read_text())))


@results.command("times")
def results_times(
    folder: Annotated[Path, typer.Argument(help="Snakemake's benchmark files (.jsonl).")],
) -> None:
    """Print the seconds each stage took, its jobs summed."""
    from neuroenc.figures.summary import stage_times

    typer.echo(stage_times(folder))


@nano.command("train")
def nano_train(
    out: Annotated[Path, typer.Argument(help="The .safetensors to write; the record goes beside.")],
    n_pictures: int = 40_000,
    epochs: int = 14,
    batch_size: int = 256,
    learning_rate: float = 1.5e-3,
    seed: int = 0,
) -> None:
    """Train the small image-text network on the grammar of pictures."""
    from neuroenc.features import nano as network

    record = network.train(
        out, n_pictures=n_pictures, epochs=epochs, batch_size=batch_size,
        learning_rate=learning_rate, seed=seed,
    )  # fmt: skip
    typer.echo(json.dumps(record, indent=2))


@nano.command("words")
def nano_words() -> None:
    """List the words the network knows."""
    from neuroenc.datasets.grammar import vocabulary

    typer.echo(" ".join(vocabulary()))


@configuration.command("check")
def config_check(path: Annotated[Path, typer.Argument(help="config.yaml")]) -> None:
    """Check a configuration file."""
    from neuroenc.config import load_config

    loaded = load_config(path)
    typer.echo(
        f"{path}: {loaded.dataset.name}, {len(loaded.subjects)} subjects, {len(loaded.models)} models."
    )


@configuration.command("schema")
def config_schema() -> None:
    """Print the JSON schema of the configuration."""
    from neuroenc.config import schema

    typer.echo(schema(), nl=False)


def main() -> None:
    """Run the command line; a foreseen error is one line and its exit status."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        app()
    except NeuroencError as error:
        print(f"neuroenc: {error}", file=sys.stderr)
        sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
