"""Commands from responses back to pictures."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from neuroenc.cli import common
from neuroenc.cli.common import Options, Out, ResponsesFile, StimuliFile
from neuroenc.errors import InputError, InputWarning

decode = common.group("From responses back to pictures.")

AMONG = 300  # pictures, drawn at random, among which the literature retrieves

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

    chosen = common.decoder(options)
    if chosen.name == "classifier":
        raise InputError("A classifier decodes no embeddings. Use `neuroenc decode classify`.")
    resume = out.with_name(f".{out.stem}")
    found = run(
        load(responses, "responses"), load(features, "features"), load(split, "splits"),
        chosen, shuffle=shuffle, checkpoint=lambda fold: resume / f"{fold}.safetensors",
    )  # fmt: skip
    if common.first_process():
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
    from neuroenc.decoders.scores import prior_gain, score
    from neuroenc.files import write_json

    found = load(embeddings, "embeddings")
    scores = score(found, n_way=n_way, seed=seed)
    shuffled = score(load(null, "embeddings"), n_way=n_way, seed=seed) if null else {}
    for name, values in shuffled.items():
        scores[name]["shuffled"] = values["value"]
    about = {k: found.attrs[k] for k in ("dataset", "model", "weights", "layer", "decoder", "transductive")}
    if "sampled" in found:
        about["prior"] = prior_gain(found, seed=seed)
        about["prior_choice"] = found.attrs["prior_choice"]
    n = found.sizes["presentation"] // len(set(found["fold"].values.tolist()))
    fewest = int(found["fold"].to_series().value_counts().min())
    if n_way is None and fewest > AMONG:  # as papers report it
        again = score(found, n_way=AMONG, seed=seed)
        dealt = score(load(null, "embeddings"), n_way=AMONG, seed=seed) if null else {}
        for name, values in dealt.items():
            again[name]["shuffled"] = values["value"]
        about |= {"among": AMONG, "scores_among": again}
    write_json({**about, "n_way": n_way or n, "seed": seed, "scores": scores}, out)
    _print(scores)
    if "scores_among" in about:
        typer.echo(f"among {AMONG}:")
        _print(about["scores_among"])
    for name, g in about.get("prior", {}).items():
        typer.echo(
            f"{name:22s} {g['plain']:.3f} plain, {g['prior']:.3f} as chosen on validation: {g['gain']:+.3f} "
            f"[{g['low']:+.3f}, {g['high']:+.3f}]; mean of samples {g['mean_of_samples']:.3f}, one sample "
            f"{g['one_sample']:.3f}"
        )
    if "sampled" in found:
        typer.echo(f"share of the mean of samples: {found.attrs['prior_choice']}")


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
    from neuroenc.decoders.scores import match
    from neuroenc.files import write_json

    found = load(predictions, "predictions")
    scores = match(load(responses, "responses"), found, n_way=n_way, seed=seed)
    about = {k: found.attrs[k] for k in ("dataset", "model", "weights", "encoder", "transductive")}
    n = found.sizes["presentation"] // len(set(found["fold"].values.tolist()))
    write_json({**about, "n_way": n_way or n, "seed": seed, "scores": scores}, out)
    _print(scores)


@decode.command("index")
def decode_index(
    features: Annotated[Path, typer.Option(help="Features of the pool (.nc).")],
    out: Annotated[Path, typer.Option(help="File of the index; ids and contract go beside it.")],
    layer: Annotated[list[str] | None, typer.Option(help="Of the embedding; else all.")] = None,
    without: Annotated[Path | None, typer.Option(help="Splits (.nc): leave out what any fold tests.")] = None,
    recall: Annotated[
        float, common.number("Of the true ten nearest, for large pools.", low=0, high=1)
    ] = 0.95,
) -> None:
    """Build an index of a pool of pictures, exact while it is small."""
    import numpy as np

    from neuroenc.arrays import load, select_layers
    from neuroenc.decoders.index import Index
    from neuroenc.encoders.design import design
    from neuroenc.splits import TEST

    found = load(features, "features")
    ids = found["stimulus_id"].values
    if without is not None:
        split = load(without, "splits")
        ids = ids[~np.isin(ids, split["stimulus_id"].values[(split["side"].values == TEST).any(0)])]
    contract = select_layers(found, layer or []).attrs
    index = Index.build(design(found, ids, layer or []).flattened(), ids, contract, recall=recall)
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


NullFile = Annotated[Path, typer.Option(help="Embeddings decoded after --shuffle (.nc).")]
EmbeddingsFile = Annotated[Path, typer.Option(help="Decoded embeddings (.nc).")]
TrueFeatures = Annotated[Path, typer.Option(help="Features that were decoded (.nc).")]
SplitFile = Annotated[Path, typer.Option(help="Splits (.nc).")]


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
        Path | None, typer.Option(help="Decoded small pictures to start from (.nc).")
    ] = None,
    low_level_null: Annotated[Path | None, typer.Option(help="The same after --shuffle (.nc).")] = None,
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

    chosen = common.section(Reconstruction, options)
    if (low_level is None) != (low_level_null is None):
        raise InputError("--low-level and --low-level-null are given together or not at all.")
    start = (
        (load(low_level, "embeddings"), load(low_level_null, "embeddings"))
        if low_level is not None and low_level_null is not None else None
    )  # fmt: skip
    decoded = load(embeddings, "embeddings")
    found = reconstruct(
        decoded, load(null, "embeddings"), load(features, "features"), load(stimuli, "stimuli"),
        load(split, "splits"),
        make(chosen.generator, device=pick_device(chosen.device), batch_size=chosen.batch_size), chosen,
        low_level=start, eye=eye_of(common.section(Model, eye), decoded) if eye else None,
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
    seed: Annotated[int, typer.Option(help="Of captions drawn from no embedding.")] = 0,
) -> None:
    """Caption decoded embeddings by beam search, and all they are held against."""
    from neuroenc.arrays import load, save
    from neuroenc.decoders.reconstruct import caption

    found = caption(
        load(embeddings, "embeddings"), load(null, "embeddings"), load(features, "features"),
        load(stimuli, "stimuli"), load(split, "splits"), n_validation=n_validation, seed=seed,
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


@decode.command("contributions")
def decode_contributions(
    responses: ResponsesFile,
    features: TrueFeatures,
    split: SplitFile,
    options: Options,
    out: Out,
    regions: Annotated[list[str] | None, typer.Option("--region", help="Else all.")] = None,
    noise: Annotated[float, common.number("Training standard deviations that are added.", low=0)] = 1.0,
    recordings: Annotated[
        int | None,
        typer.Option(help="Deal the test pictures into so many recordings, lesion each, and find it.", min=1),
    ] = None,
    suspect: Annotated[
        Path | None,
        typer.Option(help="Responses of the same neuroids (.nc): is a region lesioned there, and which?"),
    ] = None,
    n_bootstraps: Annotated[int, typer.Option(min=100)] = 1000,
    seed: int = 0,
) -> None:
    """Say what each score loses without a region, with it alone, with noise in it.

    Also tells recordings with a lesion from whole ones, by the region that says less of the pictures than it
    did. Writes JSON.
    """
    from neuroenc.arrays import load
    from neuroenc.decoders import contributions as of
    from neuroenc.files import write_json

    chosen, among = common.decoder(options), regions or []
    if chosen.name == "classifier":
        raise InputError("A classifier decodes no embeddings. Name a ridge or a network decoder.")
    given = load(responses, "responses"), load(features, "features"), load(split, "splits"), chosen
    rows = of.contributions(*given, among=among, noise=noise, n_bootstraps=n_bootstraps, seed=seed)
    about = {"dataset": given[0].attrs["dataset"], "model": given[1].attrs["model"], "decoder": chosen.name,
             "noise": noise, "seed": seed, "rows": rows}  # fmt: skip
    for r in rows:
        if r["how"] == "left_out" and r["refit"] and r["score"] == "cosine":
            typer.echo(
                f"without {r['region']:14s} cosine {r['change']:+.3f} [{r['low']:+.3f}, {r['high']:+.3f}]"
            )
    if recordings is not None:
        about["tried"] = of.try_lesions(*given, among=among, n_recordings=recordings, seed=seed)
        about["lesions"] = found = of.count_lesions(about["tried"])
        typer.echo(
            f"lesions: {found['named']} of {found['lesioned']} named right, {found['found']} significant; "
            f"whole recordings taken for lesioned: {found['false_alarms']} of {found['whole']}"
        )
    if suspect is not None:
        one = of.suspect(load(suspect, "responses"), *given, among=among)
        about["suspect"] = one._asdict()
        typer.echo(
            f"lowest in {one.region}: z {one.z[one.region]:.2f}, p {one.p:.2g} over {len(one.z)} regions"
        )
    write_json(about, out)


@decode.command("classify")
def decode_classify(
    responses: ResponsesFile,
    stimuli: StimuliFile,
    split: SplitFile,
    options: Options,
    out: Annotated[Path, typer.Option(help="Scores of each class for the test stimuli (.nc).")],
    scores: Annotated[Path, typer.Option(help="Accuracy, AUC, confusion (.json).")],
) -> None:
    """Tell classes of held-out stimuli apart, and after dealing the labels anew, for the null."""
    from neuroenc.arrays import load, save
    from neuroenc.config import Classifying
    from neuroenc.decoders.classify import classify
    from neuroenc.evaluation.classification import assess
    from neuroenc.figures.summary import classes_table, classified
    from neuroenc.files import write_json

    chosen = common.decoder(options, default="classifier")
    if not isinstance(chosen, Classifying):
        raise InputError(f"A decoder {chosen.name!r} reads no classes. Use `name: classifier`.")
    found = classify(load(responses, "responses"), load(stimuli, "stimuli"), load(split, "splits"), chosen)
    assessed = assess(found)
    save(found, out)
    about: dict[str, Any] = {
        k: str(found.attrs[k]) for k in ("dataset", "target", "estimator", "transductive")
    }
    about |= {k: int(found.attrs[k]) for k in ("seed", "n_unlabelled")}
    write_json(about | assessed, scores)
    for fold, names in assessed["absent"].items():
        warnings.warn(f"Fold {fold} tests no {', '.join(names)}.", InputWarning, stacklevel=1)
    made = {"subject": "", "by": chosen.target, "command": "neuroenc decode classify", "seed": chosen.seed}
    typer.echo("\n".join(classes_table(classified(about | assessed, made))))


def _print(scores: dict[str, dict[str, Any]]) -> None:
    for name, s in scores.items():
        null = f", shuffled {s['shuffled']:.3f}" if "shuffled" in s else ""
        typer.echo(
            f"{name:22s} {s['value']:.3f} [{s['low']:.3f}, {s['high']:.3f}]  chance {s['chance']:.3f}{null}"
        )
