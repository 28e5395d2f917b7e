"""Commands that say in words what a voxel wants."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from neuroenc.cli import common
from neuroenc.cli.common import Options, ResponsesFile, StimuliFile

caption = common.group("What voxels want, in words.")
captioner = common.group("What writes captions of embeddings.")
CaptionerFolder = Annotated[
    Path | None,
    typer.Option(
        "--captioner", help="What writes: a folder of `captioner train`; else that of nano's embeddings."
    ),
]


def writer(folder: Path | None) -> Any:
    """Load a captioner, if one is named."""
    if folder is None:
        return None
    from neuroenc.decoders.prefix_captioner import Captioner

    return Captioner(folder)


@caption.command("voxels")
def caption_voxels(
    responses: ResponsesFile,
    features: Annotated[Path, typer.Option(help="Features with an embedding of each picture (.nc).")],
    stimuli: StimuliFile,
    split: Annotated[Path, typer.Option(help="Splits (.nc); what a fold tests is not in the bank.")],
    out: Annotated[Path, typer.Option(help="Table to write, a row a voxel (.csv).")],
    regions: Annotated[Path, typer.Option(help="Table to write, words of each region (.csv).")],
    layer: Annotated[str | None, typer.Option(help="Of the features; else all.")] = None,
    temperature: Annotated[float, common.number("Of the softmax over the bank.", low=1e-6)] = 0.05,
    generate: Annotated[bool, typer.Option("--generate", help="Write captions too.")] = False,
    captioner: CaptionerFolder = None,
    level: Annotated[
        float, common.number("False discovery rate of confident captions.", low=0, high=1)
    ] = 0.05,
    seed: int = 0,
) -> None:
    """Caption every voxel by what its encoder's weights pick from a bank of captioned pictures."""
    from neuroenc.arrays import load
    from neuroenc.decoders.voxel_words import region_words
    from neuroenc.decoders.voxels import caption_voxels as run
    from neuroenc.files import atomic

    recorded = load(responses, "responses")
    table = run(
        recorded, load(features, "features"), load(stimuli, "stimuli"), load(split, "splits"),
        layer=layer, temperature=temperature, level=level, generate=generate,
        captioner=writer(captioner), seed=seed,
    )  # fmt: skip
    for made, path in ((table, out), (region_words(table, recorded, seed=seed), regions)):
        with atomic(path) as partial:
            made.to_csv(partial, index=False)
    sure = table[table["confident"]]
    typer.echo(
        f"{len(sure)} of {len(table)} voxels have a confident caption; rank correlation of caption and "
        f"response {sure['spearman'].mean():.3f}, of shuffled weights {sure['spearman_null'].mean():.3f}"
    )


@caption.command("evaluate")
def caption_evaluate(
    table: Annotated[Path, typer.Option(help="Captions of `caption voxels` (.csv).")],
    responses: ResponsesFile,
    stimuli: StimuliFile,
    split: Annotated[Path, typer.Option(help="Splits (.nc).")],
    out: Annotated[Path, typer.Option(help="Scores to write (.json).")],
    topics: Annotated[
        Path | None, typer.Option(help="Table to write, regions by what captions name (.csv).")
    ] = None,
    clip: Annotated[
        str | None,
        typer.Option(help="OPTIONS of an image-text model, whose text half is taken without minilm."),
    ] = None,
    fold: int = 0,
    top: Annotated[int, typer.Option(help="Voxels, by test r.", min=1)] = 5000,
    n_bootstraps: Annotated[int, typer.Option(help="Of test pictures.", min=100)] = 200,
    seed: int = 0,
) -> None:
    """Score captions of voxels by the responses to pictures with captions like them; list what they name.

    Sentences are embedded by all-MiniLM-L6-v2 (extra `text`) where it is.
    """
    import numpy as np
    import pandas as pd

    from neuroenc.arrays import load
    from neuroenc.config import Model
    from neuroenc.decoders.voxel_scores import DEFINITION, embedder, score_sentences
    from neuroenc.decoders.voxel_words import read_captions, topic_shares
    from neuroenc.files import atomic, write_json

    said, recorded = read_captions(table), load(responses, "responses")
    shown, divided = load(stimuli, "stimuli"), load(split, "splits")
    network, embed = embedder(common.section(Model, clip) if clip else None)
    rows = score_sentences(
        said, recorded, shown, divided, embed, fold=fold, top=top, n_bootstraps=n_bootstraps, seed=seed
    )
    if topics is not None:
        texts = np.asarray(shown["caption"].values, str)
        made = [
            topic_shares(said, recorded, texts, column=c, seed=seed).assign(captions=c)
            for c in ("caption", "generated") if c in said
        ]  # fmt: skip
        with atomic(topics) as partial:
            pd.concat(made).to_csv(partial, index=False)
    about = {"dataset": recorded.attrs["dataset"], "subject": str(recorded["subject"].values[0])}
    write_json({**about, "network": network, "definition": DEFINITION, "seed": seed, "rows": rows}, out)
    for r in rows:
        typer.echo(
            f"{r['what']:10s} {r['value']:.3f} [{r['low']:.3f}, {r['high']:.3f}], captions dealt anew "
            f"{r['null']:.3f} (p {r['p']:.2g}), {r['n_voxels']} voxels, {r['n_words']} words"
        )


@captioner.command("train")
def captioner_train(
    features: Annotated[Path, typer.Option(help="Features with an embedding of each picture (.nc).")],
    stimuli: StimuliFile,
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    split: Annotated[
        Path | None, typer.Option(help="Splits (.nc): what any fold tests is left out. None: a corpus.")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Of the features; else all.")] = None,
    texts: Annotated[
        Path | None, typer.Option(help="Table of stimulus_id and text, in place of the stimuli's captions.")
    ] = None,
    options: Options = "{}",
) -> None:
    """Train what writes captions of a model's embeddings; a killed run is taken up again."""
    from neuroenc.arrays import load
    from neuroenc.config import Captioner
    from neuroenc.decoders.train_captioner import corpus, train
    from neuroenc.features.texts import with_texts

    chosen = common.section(Captioner, options)
    shown = load(stimuli, "stimuli")
    if texts is not None:
        shown = with_texts(shown, str(texts))
    found = corpus(load(features, "features"), shown, load(split, "splits") if split else None, layer=layer)
    made = train(found, chosen, out)
    typer.echo(
        f"{made['n_pictures']} pictures; {made['surprise']:.3f} nats a token of captions of "
        f"{made['n_validation']} others, {made['shuffled']:.3f} with their embeddings dealt anew"
    )


@captioner.command("write")
def captioner_write(
    folder: Annotated[Path, typer.Argument(help="Of `captioner train`.")],
    features: Annotated[Path, typer.Option(help="Features of any pictures (.nc).")],
    out: Annotated[Path, typer.Option(help="Table of stimulus_id and text (.csv).")],
    layer: Annotated[str | None, typer.Option(help="Of the features; else all.")] = None,
    n_beams: Annotated[int, typer.Option(min=1)] = 5,
) -> None:
    """Caption embeddings of pictures."""
    import pandas as pd

    from neuroenc.arrays import join, load, select_layers
    from neuroenc.files import atomic

    chosen = select_layers(load(features, "features"), [] if layer is None else [layer])
    ids = chosen["stimulus_id"].values
    embedding = join(chosen, ids)
    write = writer(folder)
    write.check(chosen.attrs, embedding.shape[1], ())
    table = pd.DataFrame({"stimulus_id": ids, "text": write(embedding, n_beams=n_beams)})
    with atomic(out) as partial:
        table.to_csv(partial, index=False)
    for row in table.head().itertuples():
        typer.echo(f"{row.stimulus_id}: {row.text}")
