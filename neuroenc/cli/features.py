"""Commands on networks, their weights and their features."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from neuroenc.cli import common
from neuroenc.cli.common import Options, Out, StimuliFile
from neuroenc.errors import InputError

features = common.group("What a network makes of the stimuli.")
weights = common.group("Weights of networks: the only commands that fetch them.")
nano = common.group("The small models that come with neuroenc.")


@features.command("list")
def features_list() -> None:
    """List the networks known by name; any other of their libraries is as good."""
    from neuroenc.features.registry import ENTRIES

    for name, entry in ENTRIES.items():
        partner = f"  half: {', '.join(entry.partner)}" if entry.partner else ""
        typer.echo(f"{name:20s} {entry.extractor:15s} {entry.network:28s}{partner}".rstrip())


@features.command("show")
def features_show(
    network: Annotated[
        str, typer.Argument(help="A name of `features list`, or a section: JSON or FILE#path.")
    ],
) -> None:
    """Describe a network and list its layers with their shapes; no weights are needed."""
    from neuroenc.config import Model
    from neuroenc.features import networks, registry

    if network in registry.ENTRIES or not ("#" in network or network.lstrip().startswith("{")):
        for key, value in registry.describe(network).items():
            typer.echo(f"{key + ':':12s} {value}")
        if not registry.ENTRIES[network].network:
            return
        model = Model(network=network)
    else:
        model = common.section(Model, network)
    for name, (kind, shape) in networks.describe_layers(model).items():
        typer.echo(f"{name}  {kind}  {shape}")


@features.command("extract")
def features_extract(
    stimuli: StimuliFile,
    options: Options,
    out: Out,
    split: Annotated[Path | None, typer.Option(help="Splits (.nc), for PCA of training stimuli.")] = None,
    memory_gb: Annotated[float, common.number("For the activations of a batch.", low=0.001)] = 1.0,
    device: Annotated[str | None, typer.Option(help="Of torch, instead of the model's.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that read and resize; else as many as serve.", min=0, max=1024),
    ] = None,
    shard: Annotated[str, typer.Option(help="K/N: one of N processes; then run once without.")] = "0/1",
) -> None:
    """Extract features of all stimuli; a killed run is taken up again."""
    from neuroenc.arrays import load
    from neuroenc.config import Model, parse
    from neuroenc.features.extract import extract

    match = re.fullmatch("([0-9]{1,6})/([0-9]{1,6})", shard)
    number, total = (int(match[1]), int(match[2])) if match else (0, 0)
    if number >= total:
        raise InputError(f"Invalid value for '--shard': {shard!r}. Expected K/N with K below N, e.g. 0/4.")
    chosen = common.section(Model, options)
    if device is not None:
        chosen = parse(Model, chosen.model_dump() | {"device": device})
    extract(
        load(stimuli, "stimuli"), chosen, out,
        split=load(split, "splits") if split else None, memory_gb=memory_gb,
        workers=workers, shard=(number, total),
    )  # fmt: skip


@features.command("objects")
def features_objects(
    stimuli: StimuliFile,
    out: Annotated[Path, typer.Option(help="HDF5 that the option `regions` of a model reads.")],
    weights: Annotated[
        str | None,
        typer.Option(help="A checkpoint or random:<seed>; else those of `weights fetch faster-rcnn`."),
    ] = None,
    device: Annotated[str, typer.Option(help="Of torch.")] = "auto",
    side: Annotated[int, typer.Option(help="Shorter side of what the detector sees, px.", min=64)] = 800,
) -> None:
    """Detect the objects that VisualBERT and LXMERT are shown, by torchvision's Faster R-CNN."""
    from neuroenc.arrays import load
    from neuroenc.features.objects import detect

    detect(load(stimuli, "stimuli"), out, weights=weights, device=device, side=side)


@features.command("finetune")
def features_finetune(
    options: Options,
    out: Annotated[Path, typer.Option(help="The .safetensors to write; the record goes beside.")],
    pictures: Annotated[
        Path | None, typer.Option(help="A folder with a sub-folder of pictures for each class.")
    ] = None,
    simulated: Annotated[
        int | None, typer.Option(help="So many pictures of the simulated world's eight categories.", min=16)
    ] = None,
    rotation: Annotated[bool, typer.Option(help="Turn pictures by 0, 90, 180 or 270 degrees.")] = False,
    adversarial: Annotated[bool, typer.Option(help="Train on fast adversarial steps of 2/255.")] = False,
    epochs: Annotated[int, typer.Option(min=1)] = 6,
    batch_size: Annotated[int, typer.Option(min=2)] = 64,
    learning_rate: Annotated[float, common.number("Of AdamW, at the start.", low=0)] = 2e-4,
    held_out: Annotated[float, common.number("Share of each class that grades.", low=0)] = 0.1,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Annotated[str, typer.Option(help="Of torch.")] = "auto",
) -> None:
    """Fine-tune a network to rotated or adversarial pictures; a killed run is taken up again."""
    from neuroenc.config import Model
    from neuroenc.features.finetune import Pictures, Recipe, finetune, in_folder
    from neuroenc.files import write_json

    if (pictures is None) == (simulated is None):
        raise InputError("Name a folder of --pictures, or a number of --simulated ones: one of the two.")
    if out.suffix != ".safetensors":
        raise InputError(f"Invalid value for '--out': {out.name!r}. Expected a name ending in .safetensors.")
    if not 0 < held_out < 1:
        raise InputError(f"Invalid value for '--held-out': {held_out:g}. Expected a share between 0 and 1.")
    if pictures is not None:
        found = in_folder(pictures)
    else:
        from neuroenc.simulation import grammar, objects

        drawn, label = objects.labelled(int(simulated or 0), objects.SIDE, seed)
        found = Pictures(lambda rows: list(drawn[rows]), label, list(grammar.CATEGORIES))
    recipe = Recipe(rotation, adversarial, epochs, batch_size, learning_rate, held_out=held_out, seed=seed)
    record = finetune(common.section(Model, options), found, out, recipe, device=device)
    if common.first_process():
        write_json(record, out.with_name(f"{out.stem}_training.json"))
        typer.echo("  ".join(f"{k} {record[k]:.3f}" for k in ("clean", "rotated", "adversarial", "chance")))


class Precision(StrEnum):
    """In which a network runs."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


@features.command("describe")
def features_describe(
    stimuli: StimuliFile,
    network: Annotated[
        str, typer.Option(help="BLIP-2 or Florence-2: a name of `weights list`, OWNER/NAME or a folder.")
    ],
    out: Annotated[Path, typer.Option(help=".csv that the option `texts` of a model reads.")],
    prompt: Annotated[
        str | None,
        typer.Option(
            help="BLIP-2: how a text begins, or a question. Florence-2: <CAPTION>, <DETAILED_CAPTION> or, "
            "unless told, <MORE_DETAILED_CAPTION>."
        ),
    ] = None,
    max_tokens: Annotated[int, typer.Option(help="No text is longer.", min=1, max=1024)] = 256,
    batch_size: Annotated[int, typer.Option(help="Pictures at a time.", min=1, max=4096)] = 8,
    precision: Annotated[Precision, typer.Option(help="In which the network runs.")] = Precision.float32,
    device: Annotated[str, typer.Option(help="Of torch.")] = "auto",
) -> None:
    """Write a text about each picture; a killed run is taken up again."""
    from neuroenc.arrays import load
    from neuroenc.features.captioners import describe

    describe(
        load(stimuli, "stimuli"), network, out, prompt=prompt, max_tokens=max_tokens, batch_size=batch_size,
        precision=precision.value, device=device,
    )  # fmt: skip


@weights.command("list")
def weights_list() -> None:
    """List the networks whose weights are published, and which are here."""
    from neuroenc.features import registry
    from neuroenc.features.checkpoints import listing

    typer.echo(f"in {registry.folder()} (NEUROENC_WEIGHTS)")
    for name, published, state in listing():
        typer.echo(f"{name:20s} {published:52s} {state}")


Networks = Annotated[list[str], typer.Argument(help="Names of `weights list`, or OWNER/NAME on the hub.")]


@weights.command("fetch")
def weights_fetch(
    networks: Networks,
    revision: Annotated[str, typer.Option(help="Branch, tag or commit on the hub.")] = "main",
) -> None:
    """Fetch weights, tokenizer and settings; write their manifest."""
    from neuroenc.features.checkpoints import fetch, needed

    for name in networks:
        if needed(name):
            typer.echo(f"{name}: {fetch(name, revision=revision)}")
        else:
            typer.echo(f"{name}: needs no weights to be fetched.", err=True)


@weights.command("verify")
def weights_verify(networks: Networks) -> None:
    """Compare fetched weights with their manifest."""
    from neuroenc.features.checkpoints import needed, verify

    for name in networks:
        if not needed(name):
            typer.echo(f"{name}: needs no weights to be fetched.", err=True)
            continue
        for line in verify(name):
            typer.echo(f"ok  {name}  {line}")


class Trained(StrEnum):
    """What is trained by the project itself."""

    network = "network"
    pictures = "pictures"
    captions = "captions"


@nano.command("train")
def nano_train(
    what: Annotated[
        Trained, typer.Argument(help="The image-text network, or what draws or captions its embeddings.")
    ],
    out: Annotated[Path, typer.Argument(help="The .safetensors to write; the record goes beside.")],
    n_pictures: Annotated[int | None, typer.Option(help="Else as the shipped weights.", min=256)] = None,
    epochs: Annotated[int | None, typer.Option(help="Else as the shipped weights.", min=1)] = None,
    seed: int = 0,
) -> None:
    """Train a small model on the grammar of pictures, in about an hour on two cores."""
    from neuroenc.simulation import train_decoders, train_network

    train: dict[Trained, Any] = {
        Trained.network: train_network.train, Trained.pictures: train_decoders.train_pictures,
        Trained.captions: train_decoders.train_captions,
    }  # fmt: skip
    given = {"n_pictures": n_pictures, "epochs": epochs}
    record = train[what](out, seed=seed, **{k: v for k, v in given.items() if v is not None})
    typer.echo(json.dumps(record, indent=2))


@nano.command("words")
def nano_words() -> None:
    """List the words the network knows."""
    from neuroenc.features.nano import words

    typer.echo(" ".join(words()))
