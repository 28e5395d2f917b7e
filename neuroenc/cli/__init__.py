"""`neuroenc <noun> <verb>`: a thin door to the library. Heavy imports wait inside the commands."""

from __future__ import annotations

import atexit
import os
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from neuroenc import __version__
from neuroenc.blocks import give_back
from neuroenc.cli import caption, common, data, encode, export, features, loading, pictures, results
from neuroenc.cli import shapes as shapes
from neuroenc.cli import telling as telling
from neuroenc.errors import InputError, InputWarning, NeuroencError, suggest
from neuroenc.extras import advice

# packages that an extra of ours brings
# stages whose memory `neuroenc.forecast` knows
FORECAST = (
    "encode fit", "encode stack", "evaluate score", "evaluate compare", "decode match", "decode fit",
)  # fmt: skip
# studies whose trees are simulated too: modules of neuroenc.simulation with `simulate(out, seed)`
LAYOUTS: tuple[str, ...] = ("bold5000", "majajhong2015", "shapes", "things", "treebank")
SHOW_OTHERS = warnings.showwarning
LONGEST = 900  # characters of a line of error
app = typer.Typer(
    name="neuroenc", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Encoding models and decoders of brains looking at pictures and films.",
    epilog="Several commands in one process, which loads its libraries once: "
    "neuroenc COMMAND ... --then COMMAND ...",
)  # fmt: skip
configuration = common.group("The configuration file.")
for name, noun in (
    ("data", data.data), ("split", data.split), ("features", features.features),
    ("weights", features.weights), ("encode", encode.encode), ("evaluate", encode.evaluate),
    ("decode", pictures.decode), ("caption", caption.caption),
    ("captioner", caption.captioner),
    ("results", results.results), ("nano", features.nano), ("config", configuration),
):  # fmt: skip
    app.add_typer(noun, name=name)

app.command("export")(export.export)
app.command("explore")(results.explore)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def simulate(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(help="Folder to make: the root of the tree.")],
    layout: Annotated[
        str, typer.Option(help="nsd, whose sizes the options say, or a study's: " + ", ".join(LAYOUTS) + ".")
    ] = "nsd",
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
    """Simulate pictures and brains in a dataset's own layout, with the truth beside them."""
    given = {k: v for k, v in locals().items() if k not in ("context", "out", "layout")}
    _replaceable(out)
    if layout == "nsd":
        from neuroenc.config import Simulation, parse
        from neuroenc.simulation.simulate import simulate as run

        run(out, parse(Simulation, given))
        return
    if layout not in LAYOUTS:
        raise InputError(f"--layout: no layout {layout!r}. {suggest(layout, ['nsd', *LAYOUTS])}")
    for name in given:
        if name != "seed" and (source := context.get_parameter_source(name)) and source.name != "DEFAULT":
            raise InputError(
                f"--{name.replace('_', '-')} belongs to the layout nsd. Leave it out of {layout!r}"
            )
    import_module(f"neuroenc.simulation.{layout}").simulate(out, seed)


def _replaceable(out: Path) -> None:
    """Refuse to write over what is no simulated tree: recordings of the same name, say."""
    ours = any((out / name).is_file() for name in ("expected.json", "truth.csv"))
    if out.exists() and not ours and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(
            f"{out} is there and no simulated tree: it would be replaced. Choose another name, or remove it."
        )


@app.command()
def plan(
    out: common.Out,
    figure: Annotated[
        Path | None, typer.Option(help="Curves over pictures and repeats (.png, .svg).")
    ] = None,
    pictures: Annotated[int, typer.Option(help="Training pictures.")] = 1000,
    repeats: Annotated[int, typer.Option(help="Presentations of each picture.")] = 3,
    train_repeats: Annotated[int | None, typer.Option(help="Of training pictures; else `repeats`.")] = None,
    test_pictures: int = 100,
    voxels: int = 1000,
    ncsnr: Annotated[float, typer.Option(help="Median of voxels with signal.")] = 0.5,
    ncsnr_spread: Annotated[float, typer.Option(help="Standard deviation of its logarithm.")] = 0.35,
    silent: Annotated[float, typer.Option(help="Share of voxels without signal.")] = 0.2,
    features: Annotated[int, typer.Option(help="Features; the k-th has the variance 1/k.")] = 200,
    explained: Annotated[
        float, typer.Option(help="Share of the signal that is linear in the features.")
    ] = 0.5,
    shared_noise: Annotated[float, typer.Option(help="Share of the noise in 20 patterns over voxels.")] = 0.2,
    experiments: Annotated[int, typer.Option(help="Simulated, for the intervals.")] = 10,
    n_permutations: int = 200,
    seed: int = 0,
) -> None:
    """Say what a design can be expected to find, by simulating it through the estimators that score it."""
    given = {k: v for k, v in locals().items() if k not in ("out", "figure")}
    from neuroenc.config import Plan, parse
    from neuroenc.files import write_json
    from neuroenc.simulation.plan import draw_curves, make_plan, table

    if figure is not None and figure.suffix not in (".png", ".svg", ".pdf"):
        raise InputError(
            f"Invalid value for '--figure': it ends in {figure.suffix!r}. Allowed: '.png', '.svg', '.pdf'."
        )
    design = parse(Plan, given)
    found = make_plan(design, curves=figure is not None)
    if figure is not None:
        draw_curves(found, figure)
    write_json(found, out)
    typer.echo(table(found))


@app.command()
def doctor(
    config: Annotated[
        Path | None, typer.Argument(help="A configuration, the weights of whose networks are looked for.")
    ] = None,
) -> None:
    """Look at this machine: libraries, memory, disk, GPU, weights; end with 1 where something is wrong."""
    from neuroenc.doctor import examine

    faults = 0
    for finding in examine(config):
        typer.echo(finding)
        faults += bool(finding.remedy)
    typer.echo(f"{faults} fault{'s' * (faults > 1)}" if faults else "nothing is wrong")
    raise typer.Exit(int(faults > 0))


@configuration.command("check")
def config_check(path: Annotated[Path, typer.Argument(help="config.yaml")]) -> None:
    """Check a configuration file."""
    from neuroenc.checks import check
    from neuroenc.config import JointStudy, load_study

    study = load_study(path)
    for one in study.members.values() if isinstance(study, JointStudy) else [study]:
        check(one, libraries=True)
        typer.echo(f"{path}: {one.dataset.name}, {len(one.subjects)} subjects, {len(one.models)} models.")


@configuration.command("schema")
def config_schema(
    joint: Annotated[
        bool, typer.Option("--joint", help="Of a study over several sets of recordings.")
    ] = False,
) -> None:
    """Print the JSON schema of the configuration."""
    from neuroenc.config import Config, JointStudy, schema

    typer.echo(schema(JointStudy if joint else Config), nl=False)


def main() -> None:
    """Run one command, or several with `--then` between them; a foreseen error is one line and a status.

    Commands in one process load their libraries once. The first that fails ends it.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    if " ".join(sys.argv[1:3]) in FORECAST:
        give_back()
    if os.environ.get("NEUROENC_TIMES"):
        counted = loading.Loading()
        atexit.register(lambda: print(counted.report(), file=sys.stderr))
    commands: list[list[str]] = [[]]
    for word in sys.argv[1:]:
        if word == "--then":
            commands.append([])
        else:
            commands[-1].append(word)
    try:
        for command in commands[:-1]:
            try:
                app(command)
            except SystemExit as end:
                if end.code:
                    raise
        app(commands[-1])
    except NeuroencError as error:
        _end(str(error), error.exit_status)
    except MemoryError as error:
        _end(f"This takes more memory than there is: {error or 'it is used up'}. Is the input what it seems?")
    except OSError as error:
        place = f" {error.filename}" if error.filename else ""
        _end(f"The system refuses{place}: {error.strerror or error}. Check the path, access and free space.")
    except ModuleNotFoundError as error:
        if (needed := advice(error)) is None:
            raise
        _end(needed, 2)


def _show_warning(message: Warning | str, category: type[Warning], *place: Any) -> None:
    """Print a warning of ours in one line, those of libraries as they are."""
    if issubclass(category, InputWarning):
        print(f"neuroenc: warning: {_printable(str(message))}", file=sys.stderr)
    else:
        SHOW_OTHERS(message, category, *place)


def _end(message: str, status: int = 1) -> NoReturn:
    print(f"neuroenc: {_printable(message)}", file=sys.stderr)
    sys.exit(status)


def _printable(message: str) -> str:
    """Spell out what a terminal would act upon, and leave out the middle of very much."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 250]} … {line[-240:]}"
