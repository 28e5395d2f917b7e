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
    weights: Annotated[
        Path | None, typer.Option(help="Of the encoder that `augment` names (.safetensors).")
    ] = None,
    predictions: Annotated[Path | None, typer.Option(help="Its predictions (.nc).")] = None,
    encoder_features: Annotated[
        Path | None, typer.Option(help="Features it reads, of the pictures it may take (.nc).")
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(help="Features like --features of pictures of a folder, to make pairs of these (.nc)."),
    ] = None,
) -> None:
    """Fit one decoder; decode the embeddings of held-out stimuli.

    A network leaves its state beside OUT after each epoch; a run that is killed goes on from there.
    """
    from neuroenc.arrays import load, save
    from neuroenc.decoders.augment import Encoder
    from neuroenc.decoders.decode import decode as run
    from neuroenc.files import remove

    chosen = common.decoder(options)
    if chosen.name == "classifier":
        raise InputError("A classifier decodes no embeddings. Use `neuroenc decode classify`.")
    encoder = None
    if weights and predictions and encoder_features:
        of = load(pictures, "features") if pictures else None
        encoder = Encoder(weights, load(predictions, "predictions"), load(encoder_features, "features"), of)
    elif weights or predictions or encoder_features or pictures:
        raise InputError(
            "--weights, --predictions and --encoder-features are given together or not at all, --pictures "
            "beside them."
        )
    asked = chosen.augment
    if asked and encoder and (asked.pictures != "pool") != (pictures is not None):
        raise InputError(
            f"`augment.pictures` is {asked.pictures!r}, and --pictures is {'not ' * (pictures is None)}"
            "given. Give the features of a folder's pictures, or 'pool' and none."
        )
    resume = out.with_name(f".{out.stem}")
    found = run(
        load(responses, "responses"), load(features, "features"), load(split, "splits"), chosen,
        shuffle=shuffle, checkpoint=lambda fold: resume / f"{fold}.safetensors", encoder=encoder,
    )  # fmt: skip
    if common.first_process():
        save(found, out)
        remove(resume)


@decode.command("together")
def decode_together(
    responses: Annotated[list[str], typer.Option(help="SUBJECT=FILE.nc; two or more.")],
    features: Annotated[Path, typer.Option(help="Features whose embeddings are decoded (.nc).")],
    split: Annotated[Path, typer.Option(help="Splits (.nc).")],
    options: Options,
    out: Annotated[list[str], typer.Option(help="SUBJECT=FILE.nc: decoded embeddings of each.")],
    shuffle: Annotated[
        int | None, typer.Option(help="Seed: deal the training pictures anew to the responses, for the null.")
    ] = None,
) -> None:
    """Fit one network to several subjects at once; decode the embeddings of each one's held-out stimuli."""
    from neuroenc.arrays import load, save
    from neuroenc.config import NetworkDecoding
    from neuroenc.decoders.together import decode_together as run
    from neuroenc.files import remove

    chosen = common.decoder(options, default="network")
    if not isinstance(chosen, NetworkDecoding):
        raise InputError(f"A decoder {chosen.name!r} reads one subject. Use `name: network`.")
    recorded = common.named(responses, "responses")
    places = {name: Path(path) for name, path in common.pairs(out, "--out", "SUBJECT=FILE.nc").items()}
    if places.keys() != recorded.keys() or len(recorded) < 2:
        raise InputError(
            f"--responses are of {', '.join(recorded)}, --out of {', '.join(places)}. Expected the same "
            "subjects, two or more, SUBJECT=FILE.nc."
        )
    if len({path.resolve() for path in places.values()}) < len(places):
        raise InputError("--out gives two subjects the same file, and the second would replace the first.")
    first = next(iter(places.values()))
    resume = first.with_name(f".{first.stem}")
    found = run(
        recorded, load(features, "features"), load(split, "splits"), chosen, shuffle=shuffle,
        checkpoint=lambda fold: resume / f"{fold}.safetensors",
    )  # fmt: skip
    if common.first_process():
        for name, embeddings in found.items():
            save(embeddings, places[name])
        remove(resume)


@decode.command("transfer")
def decode_transfer(
    responses: Annotated[list[str], typer.Option(help="SUBJECT=FILE.nc; two or more.")],
    new: Annotated[str, typer.Option(help="Subject that is new; the others are trained on first.")],
    features: Annotated[Path, typer.Option(help="Features whose embeddings are decoded (.nc).")],
    split: Annotated[Path, typer.Option(help="Splits (.nc); the first fold is used.")],
    network: Annotated[str, typer.Option(help="Options of the network: JSON, or FILE.yaml#decoders.LABEL.")],
    ridge: Annotated[str, typer.Option(help="Options of ridge, likewise.")],
    out: Out,
    sessions: Annotated[
        list[int], typer.Option(help="First sessions of the new subject; may be given several times.", min=1)
    ],
    n_bootstraps: Annotated[int, typer.Option(help="Of the test pictures.", min=100)] = 1000,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
) -> None:
    """Retrieve by few sessions of a new subject: trained on others before, from scratch, and by ridge."""
    from neuroenc.arrays import load
    from neuroenc.config import NetworkDecoding, RidgeDecoding
    from neuroenc.decoders.transfer import METHODS, transfer
    from neuroenc.files import write_json

    one, other = common.decoder(network, default="network"), common.decoder(ridge)
    if not (isinstance(one, NetworkDecoding) and isinstance(other, RidgeDecoding)):
        raise InputError(
            f"--network is a {one.name!r}, --ridge a {other.name!r}. Expected 'network' and 'ridge'."
        )
    rows = transfer(
        common.named(responses, "responses"), new, load(features, "features"), load(split, "splits"), one,
        other, sessions, n_bootstraps=n_bootstraps, seed=seed,
    )  # fmt: skip
    write_json({"new": new, "methods": METHODS, "seed": seed, "rows": rows}, out)
    for r in rows:
        typer.echo(
            f"{r['sessions']:2d} sessions  {r['metric']:20s} {r['method']:22s} {r['value']:6.3f} "
            f"[{r['low']:.3f}, {r['high']:.3f}]"
        )


@decode.command("evaluate")
def decode_evaluate(
    embeddings: Annotated[Path, typer.Option(help="Decoded embeddings (.nc).")],
    out: Out,
    null: Annotated[Path | None, typer.Option(help="Embeddings decoded after --shuffle (.nc).")] = None,
    n_way: NWay = None,
    split: Annotated[
        Path | None, typer.Option(help="Splits with distances (.nc): also score near and far pictures.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
) -> None:
    """Retrieve the test pictures by their decoded embeddings; write the scores as JSON."""
    from neuroenc.arrays import load
    from neuroenc.decoders.retrieve import N_WAY
    from neuroenc.decoders.scores import prior_gain, retrieved_each, score
    from neuroenc.evaluation.near_and_far import near_and_far
    from neuroenc.files import write_json

    found = load(embeddings, "embeddings")
    apart = None
    if split is not None:
        each = retrieved_each(found, load(null, "embeddings") if null else None)
        where = found["stimulus_id"].values, found["fold"].values
        apart = near_and_far(each, *where, load(split, "splits"), seed=seed)
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
    if n_way is None and fewest > N_WAY:  # as papers report it
        again = score(found, n_way=N_WAY, seed=seed)
        dealt = score(load(null, "embeddings"), n_way=N_WAY, seed=seed) if null else {}
        for name, values in dealt.items():
            again[name]["shuffled"] = values["value"]
        about |= {"among": N_WAY, "scores_among": again}
    if apart:
        about["near_and_far"] = apart
    write_json({**about, "n_way": n_way or n, "seed": seed, "scores": scores}, out)
    _print(scores)
    if "scores_among" in about:
        typer.echo(f"among {N_WAY}:")
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


NullFile = Annotated[Path, typer.Option(help="Embeddings decoded after --shuffle (.nc).")]
EmbeddingsFile = Annotated[Path, typer.Option(help="Decoded embeddings (.nc).")]
TrueFeatures = Annotated[Path, typer.Option(help="Features that were decoded (.nc).")]
SplitFile = Annotated[Path, typer.Option(help="Splits (.nc).")]


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
    about: dict[str, Any] = {
        "dataset": given[0].attrs["dataset"], "model": given[1].attrs["model"], "decoder": chosen.name,
        "noise": noise, "seed": seed,
    }  # fmt: skip
    if suspect is not None:  # first what may still be refused
        one = of.suspect(load(suspect, "responses"), *given, among=among)
        about["suspect"] = one._asdict()
        typer.echo(
            f"lowest in {one.region}: z {one.z[one.region]:.2f}, p {one.p:.2g} over {len(one.z)} regions"
        )
    if recordings is not None:
        about["tried"] = of.try_lesions(*given, among=among, n_recordings=recordings, seed=seed)
        about["lesions"] = found = of.count_lesions(about["tried"])
        typer.echo(
            f"lesions: {found['named']} of {found['lesioned']} named right, {found['found']} significant; "
            f"whole recordings taken for lesioned: {found['false_alarms']} of {found['whole']}"
        )
    about["rows"] = rows = of.contributions(
        *given, among=among, noise=noise, n_bootstraps=n_bootstraps, seed=seed
    )
    for r in rows:
        if r["how"] == "left_out" and r["refit"] and r["score"] == "cosine":
            typer.echo(
                f"without {r['region']:14s} cosine {r['change']:+.3f} [{r['low']:+.3f}, {r['high']:+.3f}]"
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


@decode.command("joint")
def decode_joint(
    responses: Annotated[
        list[str], typer.Option(help="MODALITY:SUBJECT=FILE.nc, Responses of one recording, e.g. eeg:01=….")
    ],
    features: Annotated[
        list[str], typer.Option(help="MODALITY=FILE.nc, Features of its stimuli, of one model.")
    ],
    split: Annotated[Path, typer.Option(help="Splits of all sets (.nc), by `neuroenc split union`.")],
    options: Options,
    out: Annotated[Path, typer.Option(help="Folder to make: embeddings of each recording, scores.json.")],
    texts: Annotated[
        list[str] | None, typer.Option(help="MODALITY=FILE.nc, Features of texts of its stimuli.")
    ] = None,
    leave_out: Annotated[
        list[str] | None,
        typer.Option(help="MODALITY:SUBJECT, read through the adapters of others of its modality."),
    ] = None,
    null: Annotated[bool, typer.Option(help="Also fit to labels dealt anew, beside every score.")] = True,
    n_bootstraps: Annotated[int, typer.Option(min=100)] = 1000,
    seed: Annotated[int, typer.Option(help="Of the bootstrap and of dealing labels.")] = 0,
) -> None:
    """Fit one space to several modalities and subjects; retrieve within, across and jointly."""
    from neuroenc.arrays import load, save
    from neuroenc.config import JointDecoding
    from neuroenc.decoders.joint_scores import score_joint, spoken
    from neuroenc.decoders.recordings import decode_recordings
    from neuroenc.files import write_json

    chosen = common.section(JointDecoding, options)
    recorded, described = common.named(responses, "responses"), common.named(features, "features")
    stems = {name: name.replace(":", "-") for name in (*recorded, "fused")}
    if len(set(stems.values())) < len(stems):
        raise InputError(
            f"Two of the recordings {', '.join(recorded)} would be written to one file, `:` as `-`. "
            "Name them otherwise."
        )
    written = common.named(texts, "features", "--texts") if texts else None
    parted = load(split, "splits")
    given: dict[str, Any] = {"texts": written, "leave_out": leave_out or []}
    found = decode_recordings(recorded, described, parted, chosen, **given)
    dealt = decode_recordings(recorded, described, parted, chosen, **given, shuffle=seed) if null else None
    rows = score_joint(found, dealt, n_bootstraps=n_bootstraps, seed=seed)
    fused = found["fused"].attrs
    about = {k: str(fused[k]) for k in ("dataset", "model", "weights", "layer", "recordings")}
    for ending, made in (("", found), ("_desc-shuffled", dealt or {})):
        for name, embeddings in made.items():
            save(embeddings, out / f"{stems[name]}{ending}_embeddings.nc")
    write_json(about | {"seed": seed, "options": chosen.model_dump(), "rows": rows}, out / "scores.json")
    for row in rows:
        if not row["metric"].startswith("image_to_brain") and not row["metric"].endswith("top5"):
            typer.echo(spoken(row))


def _print(scores: dict[str, dict[str, Any]]) -> None:
    for name, s in scores.items():
        null = f", shuffled {s['shuffled']:.3f}" if "shuffled" in s else ""
        typer.echo(
            f"{name:22s} {s['value']:.3f} [{s['low']:.3f}, {s['high']:.3f}]  chance {s['chance']:.3f}{null}"
        )
