"""What the commands share: how options, sections and files are given."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from neuroenc.errors import InputError

if TYPE_CHECKING:
    from neuroenc import config
    from neuroenc.arrays import Kind

    S = TypeVar("S", bound=config.Section)

Out = Annotated[Path, typer.Option(help="File to write, whole or not at all.")]
Options = Annotated[
    str, typer.Option(help="Section of the configuration: JSON, or FILE.yaml#path.to.section.")
]


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise InputError(f"An option is {value}, expected a finite number. Give one.")
    return value


def number(text: str, *, low: float | None = None, high: float | None = None) -> Any:
    """Make an option that takes a finite number."""
    return typer.Option(help=text, min=low, max=high, callback=_finite)


def _named(values: Any) -> Any:
    for value in [values] if isinstance(values, str) else values:
        if not re.fullmatch("[A-Za-z0-9]+", value):
            raise InputError(
                f"Invalid value for '--subject': {value!r}. Allowed: letters and digits (A-Z, a-z, 0-9)."
            )
    return values


Root = Annotated[Path | None, typer.Option(help="Folder of the dataset, instead of dataset.root.")]
Subject = Annotated[str, typer.Option(callback=_named)]
Subjects = Annotated[
    list[str], typer.Option("--subject", help="May be given several times.", callback=_named)
]
ResponsesFile = Annotated[Path, typer.Option(help="Responses (.nc).")]
FeaturesFiles = Annotated[
    list[str],
    typer.Option("--features", help="Features (.nc); of several models side by side NAME=FILE.nc for each."),
]
StimuliFile = Annotated[Path, typer.Option(help="StimulusSet (.nc).")]
ScoresFiles = Annotated[
    list[str], typer.Option("--scores", help="MODEL=FILE.nc; may be given several times.")
]


def first_process() -> bool:
    """Whether this process writes: under `accelerate launch` or `torchrun` only the first does."""
    return os.environ.get("RANK", "0") == "0"


def group(text: str) -> typer.Typer:
    """Make a noun."""
    return typer.Typer(no_args_is_help=True, help=text)


def read(text: str) -> tuple[Any, str]:
    """Read options given as JSON or as FILE.yaml#path; say where they are from."""
    from neuroenc.documents import parse_json, read_yaml
    from neuroenc.errors import invalid

    if text.lstrip().startswith("{"):
        return parse_json(text, "--options"), ""
    name, _, path = text.partition("#")
    found: Any = read_yaml(name)
    for key in filter(None, path.split(".")):
        if not isinstance(found, dict) or key not in found:
            raise invalid(f"section in {name}", path, found if isinstance(found, dict) else [])
        found = found[key]
    return found, text


def section(kind: type[S], text: str) -> S:
    """Read and check a section."""
    from neuroenc.config import parse

    found, source = read(text)
    return parse(kind, found, source=source)


def encoder(text: str) -> Any:
    """Read the options of one encoder; its label in the configuration may be its name."""
    from neuroenc.config import EncoderChoice, parse

    found, source = read(text)
    if isinstance(found, dict) and "name" not in found:
        found = found | {"name": text.rpartition(".")[2] if "#" in text else "ridge"}
    return parse(EncoderChoice, {"encoder": found}, source=source).encoder


def decoder(text: str, *, default: str = "ridge") -> Any:
    """Read the options of one decoder; its label in the configuration may be its name."""
    from neuroenc.config import DecoderChoice, parse

    found, source = read(text)
    if isinstance(found, dict) and "name" not in found:
        found = found | {"name": text.rpartition(".")[2] if "#" in text else default}
    return parse(DecoderChoice, {"decoder": found}, source=source).decoder


RETRIEVAL = ("scores", "n_way", "seed")
CLASSES = ("confusion", "classes", "windows", "best", "chance", "dataset", "target", "estimator", "n", "seed",
           "transductive", "n_permutations")  # fmt: skip


def retrieved(
    files: list[str], option: str = "--retrieval", keys: tuple[str, ...] = RETRIEVAL
) -> dict[tuple[str, str], Any]:
    """Read scores of decoders, SUBJECT:NAME=FILE.json."""
    from neuroenc.documents import read_json

    out = {}
    for item in files:
        key, _, path = item.partition("=")
        subject, colon, name = key.partition(":")
        if not (path and colon):
            raise InputError(f"Invalid value for {option!r}: {item!r}. Expected SUBJECT:NAME=FILE.json.")
        out[subject, name] = read_json(path, *keys)
    return out


def reconstructed(files: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Read scores of pictures and captions, SUBJECT=FILE.json; rows of one subject are joined."""
    from neuroenc.documents import read_rows
    from neuroenc.evaluation.subjects import KEYS

    out: dict[str, list[dict[str, Any]]] = {}
    for item in files:
        subject, equals, path = item.partition("=")
        if not equals:
            raise InputError(f"Invalid value for '--reconstruction': {item!r}. Expected SUBJECT=FILE.json.")
        out.setdefault(subject, []).extend(read_rows(path, "definitions", of=KEYS)["rows"])
    return out


def apart(files: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Read near and far scores of pictures and captions, SUBJECT=FILE.json; one subject's are joined."""
    from neuroenc.documents import read_json

    out: dict[str, list[dict[str, Any]]] = {}
    for subject, _, path in (item.partition("=") for item in files):
        found = read_json(path, "rows").get("near_and_far", {})
        out.setdefault(subject, []).extend(found.get("rows", []))
    return out


def dataset(options: str, root: Path | None) -> Any:
    """Read the section `dataset`, with its root if that is given apart."""
    from neuroenc.config import Dataset

    chosen = section(Dataset, options)
    return chosen if root is None else chosen.model_copy(update={"root": str(root)})


def pairs(items: list[str], option: str, form: str = "NAME=FILE.nc") -> dict[str, str]:
    """Read files given as NAME=FILE."""
    found: dict[str, str] = {}
    for item in items:
        name, _, path = item.partition("=")
        if not (name and path):
            raise InputError(f"Invalid value for {option!r}: {item!r}. Expected {form}.")
        if name in found:
            raise InputError(f"{option} gives {name!r} twice. Name each file once.")
        found[name] = path
    return found


def named(files: list[str], kind: Kind = "scores", option: str = "") -> dict[str, Any]:
    """Load files given as NAME=FILE.nc by an option, which is called as their kind unless told."""
    from neuroenc.arrays import load

    return {name: load(path, kind) for name, path in pairs(files, option or f"--{kind}").items()}


def features(files: list[str]) -> Any:
    """Load Features; those of several models, NAME=FILE.nc, side by side."""
    from neuroenc.arrays import load

    if len(files) == 1:
        return load(files[0], "features")
    from neuroenc.encoders.fusion import fuse

    return fuse(named(files, "features"))


def by_subject(files: list[str], kind: Kind = "scores") -> dict[tuple[str, str], Any]:
    """Load files given as SUBJECT:NAME=FILE.nc."""
    found = named(files, kind)
    wrong = [k for k in found if k.count(":") != 1]
    if wrong:
        name = "MODEL" if kind == "scores" else "LABEL"
        raise InputError(f"Invalid value for '--{kind}': {wrong[0]!r}. Expected SUBJECT:{name}=FILE.nc.")
    subjects = {k.partition(":")[0] for k in found}
    if "all" in subjects and len(subjects) > 1:
        raise InputError(
            f"Invalid value for '--{kind}': all subjects together go by 'all'. Name that subject otherwise."
        )
    return {(k.partition(":")[0], k.partition(":")[2]): s for k, s in found.items()}
