"""Commands from responses back to pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from neuroenc.cli import common
from neuroenc.cli.common import Options, Out, ResponsesFile

decode = common.group("From responses back to pictures.")

NWay = Annotated[
    int | None, typer.Option(help="Candidates, drawn at random; else the whole test set.", min=2)
]


@decode.command("fit")
def decode_fit(
    responses: ResponsesFile,
    features: Annotated[Path, typer.Option(help="Features whose embeddings are decoded (.nc).")],
    split: Annotated[Path, typer.Option(help="Splits (.nc).")],
    options: Options,
    out: Annotated[Path, typer.Option(help="Decoded embeddings of the test stimuli (.nc).")],
    shuffle: Annotated[
        int | None, typer.Option(help="Seed: deal the training pictures anew to the responses, for the null.")
    ] = None,
) -> None:
    """Fit one decoder; decode the embeddings of held-out stimuli.

    A network leaves its state beside OUT after each epoch; a run that is killed goes on from there.
    """
    from neuroenc.arrays import load, save
    from neuroenc.decoders.decode import decode as run
    from neuroenc.files import remove

    resume = out.with_name(f".{out.stem}")
    found = run(
        load(responses, "responses"), load(features, "features"), load(split, "splits"),
        common.decoder(options), shuffle=shuffle, checkpoint=lambda fold: resume / f"{fold}.safetensors",
    )  # fmt: skip
    save(found, out)
    remove(resume)


@decode.command("evaluate")
def decode_evaluate(
    embeddings: Annotated[Path, typer.Option(help="Decoded embeddings (.nc).")],
    out: Out,
    null: Annotated[Path | None, typer.Option(help="Embeddings decoded after --shuffle (.nc).")] = None,
    n_way: NWay = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
) -> None:
    """Retrieve the test pictures by their decoded embeddings; write the scores as JSON."""
    from neuroenc.arrays import load
    from neuroenc.decoders.decode import score
    from neuroenc.files import write_json

    found = load(embeddings, "embeddings")
    scores = score(found, n_way=n_way, seed=seed)
    shuffled = score(load(null, "embeddings"), n_way=n_way, seed=seed) if null else {}
    for name, values in shuffled.items():
        scores[name]["shuffled"] = values["value"]
    about = {
        k: found.attrs[k]
        for k in ("dataset", "model", "weights", "decoded_layers", "decoder", "transductive")
    }
    n = found.sizes["presentation"] // len(set(found["fold"].values.tolist()))
    write_json({**about, "n_way": n_way or n, "seed": seed, "scores": scores}, out)
    _print(scores)


@decode.command("match")
def decode_match(
    responses: ResponsesFile,
    predictions: Annotated[Path, typer.Option(help="Predictions of an encoder (.nc).")],
    out: Out,
    n_way: NWay = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
) -> None:
    """Retrieve the test pictures by an encoder: how likely each response is, given its prediction."""
    from neuroenc.arrays import load
    from neuroenc.decoders.decode import match
    from neuroenc.files import write_json

    found = load(predictions, "predictions")
    scores = match(load(responses, "responses"), found, n_way=n_way, seed=seed)
    about = {k: found.attrs[k] for k in ("dataset", "model", "weights", "encoder", "transductive")}
    n = found.sizes["presentation"] // len(set(found["fold"].values.tolist()))
    write_json({**about, "n_way": n_way or n, "seed": seed, "scores": scores}, out)
    _print(scores)


def _print(scores: dict[str, dict[str, Any]]) -> None:
    for name, s in scores.items():
        null = f", shuffled {s['shuffled']:.3f}" if "shuffled" in s else ""
        typer.echo(
            f"{name:22s} {s['value']:.3f} [{s['low']:.3f}, {s['high']:.3f}]  chance {s['chance']:.3f}{null}"
        )
