"""Commands from decoded embeddings to pictures: retrieved, drawn, captioned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from neuroenc.cli import common
from neuroenc.cli.caption import CaptionerFolder, writer
from neuroenc.cli.common import Options, ResponsesFile, StimuliFile
from neuroenc.cli.decode import EmbeddingsFile, NullFile, SplitFile, TrueFeatures
from neuroenc.cli.decode import decode as decode
from neuroenc.errors import InputError


def split_of(path: Path, embeddings: Any) -> Any:
    """Load the split of what was decoded: of its own set, where several were split together."""
    from neuroenc import unions
    from neuroenc.arrays import load
    from neuroenc.decoders.fused import modality_of

    found = load(path, "splits")
    if "set" not in found.coords:
        return found
    if "recording" not in embeddings.attrs:
        raise InputError(
            f"{path} is of several sets, and the embeddings do not say of which they are. Give those of one "
            "recording, by `neuroenc decode joint`."
        )
    return unions.part(found, modality_of(str(embeddings.attrs["recording"])))


@decode.command("index")
def decode_index(
    features: Annotated[Path, typer.Option(help="Features of the pool (.nc).")],
    out: Annotated[Path, typer.Option(help="File of the index; ids and contract go beside it.")],
    layer: Annotated[list[str] | None, typer.Option(help="Of the embedding; else all.")] = None,
    without: Annotated[Path | None, typer.Option(help="Splits (.nc): leave out what any fold tests.")] = None,
    recall: Annotated[
        float, common.number("Of the true ten nearest, for large pools.", low=0, high=1)
    ] = 0.95,
    shown: Annotated[
        Path | None,
        typer.Option(
            help="Features of the stimuli (.nc): also leave out pictures with the embedding of one that "
            "--without tests, whatever they are called."
        ),
    ] = None,
) -> None:
    """Build an index of a pool of pictures, exact while it is small."""
    import numpy as np

    from neuroenc.arrays import load, same_contract, select_layers
    from neuroenc.decoders.index import Index, copies_of
    from neuroenc.encoders.design import design
    from neuroenc.splits import TEST

    found = load(features, "features")
    ids = found["stimulus_id"].values
    if without is not None:
        split = load(without, "splits")
        ids = ids[~np.isin(ids, split["stimulus_id"].values[(split["side"].values == TEST).any(0)])]
    contract = select_layers(found, layer or []).attrs
    pool = design(found, ids, layer or []).flattened()
    if shown is not None:
        if without is None:
            raise InputError("--shown says what is tested by --without. Give both.")
        of = load(shown, "features")
        same_contract(select_layers(of, layer or []).attrs, contract)
        tested = split["stimulus_id"].values[(split["side"].values == TEST).any(0)]
        copies = copies_of(design(of, tested, layer or []).flattened()[:], pool, ids)
        typer.echo(f"{copies.sum()} pictures of the pool are tested ones, and left out")
        ids = ids[~copies]
        pool = pool.take(~copies)
    if not len(ids):
        raise InputError(
            f"All {found.sizes['stimulus']} pictures of the pool are tested, and none is left to retrieve. "
            "Give other pictures."
        )
    index = Index.build(pool, ids, contract, recall=recall)
    index.save(out)
    typer.echo(f"{len(index.ids)} pictures, recall of the ten nearest {index.recall:.3f}")


@decode.command("retrieve")
def decode_retrieve(
    embeddings: Annotated[Path, typer.Option(help="Decoded embeddings (.nc).")],
    index: Annotated[Path, typer.Option(help="Index of the pool.")],
    out: Annotated[Path, typer.Option(help="Table to write (.csv).")],
    k: Annotated[int, typer.Option(help="Pictures for each response.", min=1)] = 10,
    fold: Annotated[int, typer.Option(help="Whose test stimuli are asked for.")] = 0,
    allow_test: Annotated[
        bool, typer.Option("--allow-test", help="The pool may hold the very pictures that were decoded.")
    ] = False,
) -> None:
    """Retrieve the pictures of a pool that are nearest to what was decoded."""
    import numpy as np
    import pandas as pd

    from neuroenc.arrays import load
    from neuroenc.decoders.index import Index
    from neuroenc.files import atomic

    found, pool = load(embeddings, "embeddings"), Index.load(index)
    ids, similarity = pool.search_decoded(found, fold, k, allow_test=allow_test)
    asked = found["stimulus_id"].values[found["fold"].values == fold]
    table = pd.DataFrame({
        "stimulus_id": np.repeat(asked, k), "rank": np.tile(np.arange(1, k + 1), len(asked)),
        "retrieved": ids.ravel(), "cosine": similarity.ravel().round(5),
        "test_picture_in_pool": np.repeat(np.isin(asked, pool.ids), k),
    })  # fmt: skip
    with atomic(out) as partial:
        table.to_csv(partial, index=False)
    typer.echo(f"{len(asked)} responses, {k} of {len(pool.ids)} pictures each")


@decode.command("reconstruct")
def decode_reconstruct(
    embeddings: EmbeddingsFile,
    null: NullFile,
    features: TrueFeatures,
    stimuli: StimuliFile,
    split: SplitFile,
    options: Options,
    out: Annotated[Path, typer.Option(help="Pictures in all conditions (.nc).")],
    low_level: Annotated[
        Path | None, typer.Option(help="Decoded small pictures or latents to start from (.nc).")
    ] = None,
    low_level_null: Annotated[Path | None, typer.Option(help="The same after --shuffle (.nc).")] = None,
    low_level_model: Annotated[
        str | None, typer.Option(help="OPTIONS of the model they were decoded to; needed of latents.")
    ] = None,
    eye: Annotated[
        str | None,
        typer.Option(
            help="OPTIONS of the model whose embeddings were decoded. It looks at what is drawn: to keep the "
            "best of several draws, and to choose on validation what of a prior is drawn from."
        ),
    ] = None,
) -> None:
    """Draw pictures from decoded embeddings, and from all they are held against."""
    from neuroenc.arrays import load, save
    from neuroenc.config import Model, Reconstruction
    from neuroenc.decoders.drawing import eye_of
    from neuroenc.decoders.generator import make
    from neuroenc.decoders.reconstruct import reconstruct
    from neuroenc.devices import pick_device
    from neuroenc.features.latents import Latents

    chosen = common.section(Reconstruction, options)
    if (low_level is None) != (low_level_null is None):
        raise InputError("--low-level and --low-level-null are given together or not at all.")
    start = (
        (load(low_level, "embeddings"), load(low_level_null, "embeddings"))
        if low_level is not None and low_level_null is not None else None
    )  # fmt: skip
    decoded = load(embeddings, "embeddings")
    small = common.section(Model, low_level_model) if low_level_model else None
    encoder = Latents(small, device=small.device) if small and small.extractor == "vae" else None
    found = reconstruct(
        decoded, load(null, "embeddings"), load(features, "features"), load(stimuli, "stimuli"),
        split_of(split, decoded),
        make(chosen.generator, device=pick_device(chosen.device), batch_size=chosen.batch_size), chosen,
        low_level=start, latents=encoder, eye=eye_of(common.section(Model, eye), decoded) if eye else None,
    )  # fmt: skip
    save(found, out)
    typer.echo(f"{found.sizes['presentation']} pictures: {', '.join(found['condition'].values.tolist())}")
    if found.attrs["chosen"]:
        typer.echo(f"drawn from: {found.attrs['chosen']}")


@decode.command("caption")
def decode_caption(
    embeddings: EmbeddingsFile,
    null: NullFile,
    features: TrueFeatures,
    stimuli: StimuliFile,
    split: SplitFile,
    out: Annotated[Path, typer.Option(help="Captions in all conditions (.nc).")],
    n_validation: Annotated[
        int, typer.Option(help="Validation stimuli that choose what of a prior is captioned.", min=0)
    ] = 192,
    captioner: CaptionerFolder = None,
    seed: Annotated[int, typer.Option(help="Of captions drawn from no embedding.")] = 0,
) -> None:
    """Caption decoded embeddings by beam search, and all they are held against."""
    from neuroenc.arrays import load, save
    from neuroenc.decoders.reconstruct import caption

    decoded = load(embeddings, "embeddings")
    found = caption(
        decoded, load(null, "embeddings"), load(features, "features"), load(stimuli, "stimuli"),
        split_of(split, decoded), captioner=writer(captioner),
        n_validation=n_validation, seed=seed,
    )  # fmt: skip
    save(found, out)
    if found.attrs["chosen"]:
        typer.echo(f"captioned from: {found.attrs['chosen']}")
    for row in range(min(5, found.sizes["presentation"])):
        text = found["caption"].sel(condition="brain").values[row]
        typer.echo(f"{found['stimulus_id'].values[row]}: {text}")


@decode.command("synthesise")
def decode_synthesise(
    responses: ResponsesFile,
    features: Annotated[Path, typer.Option(help="Features of the nano network (.nc).")],
    stimuli: StimuliFile,
    split: SplitFile,
    region: Annotated[str, typer.Option(help="Region of the responses.")],
    out: Annotated[Path, typer.Option(help="Figure of the pictures (.png).")],
    scores: Annotated[Path, typer.Option(help="Predicted responses to them (.json).")],
    judge: Annotated[
        str | None, typer.Option(help="WEIGHTS=OPTIONS of an encoder that took no part, and its model.")
    ] = None,
    n: Annotated[int, typer.Option(help="Pictures of each kind.", min=2)] = 10,
    scale: Annotated[float, common.number("Strength of the gradient.", low=0)] = 3.0,
    fold: int = 0,
    seed: int = 0,
) -> None:
    """Draw pictures a region would answer to, by its words and by the gradient of its encoder."""
    from neuroenc.arrays import load
    from neuroenc.config import Model
    from neuroenc.decoders.synthesise import synthesise
    from neuroenc.evaluation.decoded import judge_synthesis
    from neuroenc.figures.reconstructions import draw_synthesis
    from neuroenc.files import write_json

    recorded = load(responses, "responses")
    made = synthesise(
        recorded, load(features, "features"), load(stimuli, "stimuli"), load(split, "splits"), region, n=n,
        scale=scale, fold=fold, seed=seed,
    )  # fmt: skip
    judged = {"guide": made.activation}
    if judge is not None:
        weights, _, options = judge.partition("=")
        judged["judge"] = judge_synthesis(
            made.pictures, recorded, region, weights, common.section(Model, options), fold=fold
        )
    rows = [
        {"region": region, "by": by, "pictures": kind, "mean": float(v.mean()),
         "standard_error": float(v.std(ddof=1) / len(v) ** 0.5), "n": len(v)}
        for by, found in judged.items() for kind, v in found.items()
    ]  # fmt: skip
    write_json(
        {"region": region, "caption": made.caption, "seed": seed, "scale": scale, "rows": rows}, scores
    )
    draw_synthesis(made, region, judged, out)
    typer.echo(f"{region}: {made.caption}")
    for r in rows:
        typer.echo(f"{r['by']:6s} {r['pictures']:9s} {r['mean']:7.3f} ± {r['standard_error']:.3f}")
