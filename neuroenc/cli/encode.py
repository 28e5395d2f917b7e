"""Commands from features to predictions and scores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from neuroenc import __version__
from neuroenc.cli import common
from neuroenc.cli.common import FeaturesFiles, Options, Out, ResponsesFile, Root, StimuliFile
from neuroenc.errors import InputError

encode = common.group("From features to responses.")
evaluate = common.group("Scores, ceilings, statistics.")


@encode.command("fit")
def encode_fit(
    responses: ResponsesFile,
    features: FeaturesFiles,
    split: Annotated[Path, typer.Option(help="Splits (.nc).")],
    options: Options,
    out: Annotated[Path, typer.Option(help="Predictions of the test stimuli (.nc).")],
    weights: Annotated[Path, typer.Option(help="Fitted weights (.safetensors).")],
) -> None:
    """Fit one encoder; predict the held-out stimuli.

    An encoder trained by gradient leaves its state beside WEIGHTS after each epoch; a run that is
    killed goes on from there.
    """
    from itertools import chain

    from neuroenc.arrays import load, save
    from neuroenc.encoders.in_blocks import encode_in_blocks, join_blocks
    from neuroenc.encoders.store import save_fits
    from neuroenc.files import remove

    features_of, chosen = common.features(features), common.encoder(options)
    if getattr(chosen, "joint", False):
        raise InputError(
            "'joint' fits several subjects at once, and `encode fit` has one. Use `neuroenc encode joint`, "
            "or leave it out."
        )
    recorded = load(responses, "responses")
    resume = weights.with_name(f".{weights.stem}")
    run = encode_in_blocks(
        recorded, features_of, load(split, "splits"), chosen,
        checkpoint=lambda fold, layer: resume / f"{fold}-{layer}.safetensors",
    )  # fmt: skip
    parts: list[Any] = []

    def fits() -> Iterator[Any]:
        for predictions, found in chain([first], run):
            parts.append(predictions)
            while found:  # taken out, so that no weights of a block are held beside those of the next
                yield found.pop(0)

    first = next(run)
    if not common.first_process():
        return
    times = {str(k): c.values for k, c in recorded.coords.items() if c.dims == ("time_bin",)}
    save_fits(
        fits(), features_of.attrs, recorded["neuroid_id"].values, weights, first[0].attrs["queries"],
        times or None,
    )  # fmt: skip
    save(join_blocks(parts), out)
    remove(resume)


@encode.command("joint")
def encode_joint(
    responses: Annotated[list[str], typer.Option(help="SUBJECT=FILE.nc; once for each subject.")],
    features: FeaturesFiles,
    split: Annotated[Path, typer.Option(help="Splits (.nc).")],
    options: Options,
    out: Annotated[list[str], typer.Option(help="SUBJECT=FILE.nc: predictions of its test stimuli.")],
    weights: Annotated[list[str], typer.Option(help="SUBJECT=FILE.safetensors: fitted weights.")],
) -> None:
    """Fit one response-optimised core to several subjects; write the fit of each as `encode fit` does.

    A picture that a subject did not see takes no part in its readout. The state of the training is left
    beside the first subject's weights after each epoch; a run that is killed goes on from there.
    """
    from neuroenc.arrays import load, save
    from neuroenc.config import ResponseCore
    from neuroenc.encoders.joint import encode_jointly
    from neuroenc.encoders.store import save_fits
    from neuroenc.files import remove

    recorded = common.named(responses, "responses")
    places = [common.pairs(out, "--out"), common.pairs(weights, "--weights", "SUBJECT=FILE.safetensors")]
    for option, found in zip(("--out", "--weights"), places, strict=True):
        if set(found) != set(recorded):
            raise InputError(
                f"{option} is of {', '.join(found)}, expected SUBJECT=FILE of {', '.join(recorded)}, each "
                "once."
            )
    features_of, chosen = common.features(features), common.encoder(options)
    if not isinstance(chosen, ResponseCore):
        raise InputError(f"Encoder {chosen.name!r} fits subjects one by one. Use `neuroenc encode fit`.")
    first = Path(next(iter(places[1].values())))
    resume = first.with_name(f".{first.stem}")
    fitted = encode_jointly(
        recorded, features_of, load(split, "splits"), chosen,
        checkpoint=lambda fold, layer: resume / f"{fold}-{layer}.safetensors",
    )  # fmt: skip
    if not common.first_process():
        return
    for subject, (predictions, fits) in fitted.items():
        save_fits(fits, features_of.attrs, recorded[subject]["neuroid_id"].values, places[1][subject])
        save(predictions, places[0][subject])
    remove(resume)


@encode.command("predict")
def encode_predict(
    weights: Annotated[Path, typer.Option(help="Fitted weights (.safetensors).")],
    features: FeaturesFiles,
    out: Annotated[Path, typer.Option(help="Predictions of all these stimuli (.nc).")],
    fold: Annotated[int, typer.Option(help="Whose training stimuli the weights were fitted to.")] = 0,
) -> None:
    """Predict new stimuli by weights that were fitted before, from features of the same contract."""
    from neuroenc.encoders.store import predict_fits
    from neuroenc.files import atomic

    features_of = common.features(features)
    predicted = predict_fits(weights, features_of, fold)
    about = {"model": features_of.attrs["model"], "neuroenc_version": __version__, "fold": fold}
    dataset = predicted.to_dataset(name="prediction").assign_attrs(about)
    with atomic(out, size=dataset.nbytes + 2**16) as partial:
        dataset.to_netcdf(partial, engine="h5netcdf")


@encode.command("stack")
def encode_stack(
    responses: ResponsesFile,
    predictions: Annotated[list[str], typer.Option(help="NAME=FILE.nc; once for each member.")],
    out: Annotated[Path, typer.Option(help="Predictions of the stack (.nc).")],
    options: Annotated[str, typer.Option(help="Section `stack`: JSON, or FILE.yaml#stack.")] = "{}",
) -> None:
    """Mix encoders for each neuroid, by weights learned on validation stimuli, or as their mean."""
    from neuroenc.arrays import load, save
    from neuroenc.config import Stack
    from neuroenc.encoders.stack import stack_predictions
    from neuroenc.errors import invalid

    chosen = common.section(Stack, options)
    members = common.named(predictions, "predictions")
    for name in chosen.members:
        if name not in members:
            raise invalid("members", name, members)
    wanted = {k: members[k] for k in chosen.members or members}
    save(stack_predictions(load(responses, "responses"), wanted, chosen), out)


@encode.command("partition")
def encode_partition(
    responses: ResponsesFile,
    features: Annotated[list[str], typer.Option(help="NAME=FILE.nc; two to five feature spaces.")],
    split: Annotated[Path, typer.Option(help="Splits (.nc).")],
    out: Annotated[Path, typer.Option(help="Scores: R2 of all subsets, unique and shared (.nc).")],
    options: Annotated[str, typer.Option(help="Options of banded ridge: JSON, or FILE.yaml#path.")] = "{}",
    evaluation: Annotated[
        str, typer.Option(help="Section `evaluation`: JSON, or FILE.yaml#evaluation.")
    ] = "{}",
) -> None:
    """Split the variance that feature spaces explain into unique and shared parts, with intervals.

    A neuroid is of the zone of the space whose unique part is the largest, where that is significant.
    """
    from neuroenc.arrays import load, save
    from neuroenc.config import Banded, Evaluation
    from neuroenc.evaluation.partition import partition

    save(
        partition(
            load(responses, "responses"), common.named(features, "features"), load(split, "splits"),
            common.section(Banded, options), common.section(Evaluation, evaluation),
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
            common.section(Evaluation, options),
        ),
        out,
    )


@evaluate.command("compare")
def evaluate_compare(
    responses: ResponsesFile,
    predictions: Annotated[list[str], typer.Option(help="FIT=FILE.nc; once for each fit.")],
    comparison: Annotated[
        str, typer.Option(help="A section of `comparisons`: JSON, or FILE.yaml#comparisons.LABEL.")
    ],
    out: Out,
    options: Annotated[str, typer.Option(help="Section `evaluation`: JSON, or FILE.yaml#evaluation.")] = "{}",
) -> None:
    """Test whether one fit beats others, for each neuroid and region: differences, intervals, p, counts."""
    from neuroenc.arrays import load, save
    from neuroenc.config import Comparison, Evaluation
    from neuroenc.evaluation.comparison import compare

    asked, fits = common.section(Comparison, comparison), common.named(predictions, "predictions")
    save(compare(load(responses, "responses"), fits, asked, common.section(Evaluation, options)), out)


@evaluate.command("similarity")
def evaluate_similarity(
    responses: Annotated[list[str], typer.Option(help="SUBJECT=FILE.nc; once for each subject.")],
    features: Annotated[list[str], typer.Option(help="MODEL=FILE.nc; once for each model.")],
    out: Out,
    options: Annotated[str, typer.Option(help="Section `similarity`: JSON, or FILE.yaml#similarity.")] = "{}",
) -> None:
    """Hold dissimilarity matrices of layers against those of regions, with intervals and ceilings."""
    from neuroenc.config import Similarity
    from neuroenc.errors import invalid
    from neuroenc.evaluation.similarity import similarity
    from neuroenc.files import write_json

    chosen, models = common.section(Similarity, options), common.named(features, "features")
    for name in chosen.models:
        if name not in models:
            raise invalid("models", name, models)
    wanted = {k: models[k] for k in chosen.models or models}
    write_json(similarity(common.named(responses, "responses"), wanted, chosen), out)


@evaluate.command("distance")
def evaluate_distance(
    responses: ResponsesFile,
    predictions: Annotated[list[str], typer.Option(help="MODEL=FILE.nc; once for each model.")],
    split: Annotated[Path, typer.Option(help="Splits made with features (.nc).")],
    out: Out,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
) -> None:
    """Score test stimuli by their distance to training, and the gap between near and far ones."""
    from neuroenc.arrays import load
    from neuroenc.evaluation.distance import score_by_distance
    from neuroenc.files import write_json

    predicted = common.named(predictions, "predictions")
    write_json(
        score_by_distance(load(responses, "responses"), predicted, load(split, "splits"), seed=seed), out
    )


@evaluate.command("grade")
def evaluate_grade(
    options: Annotated[str, typer.Option(help="The whole configuration: JSON or FILE.yaml.")],
    split: Annotated[Path, typer.Option(help="Splits (.nc).")],
    responses: Annotated[list[str], typer.Option(help="SUBJECT=FILE.nc.")],
    scores: Annotated[list[str], typer.Option(help="SUBJECT:MODEL=FILE.nc.")],
    out: Out,
    root: Root = None,
    attention: Annotated[list[str] | None, typer.Option(help="SUBJECT=MAPS.nc of attention routing.")] = None,
    captions: Annotated[list[str] | None, typer.Option(help="SUBJECT=FILE.csv of `caption voxels`.")] = None,
) -> None:
    """Grade a run on simulated data against the truth."""
    import pandas as pd
    import xarray as xr

    from neuroenc.arrays import load
    from neuroenc.config import Config
    from neuroenc.datasets.reading import read_table
    from neuroenc.files import existing, write_json
    from neuroenc.simulation.grade import grade

    section = common.section(Config, options)
    if root is not None:
        dataset = section.dataset.model_copy(update={"root": str(root)})
        section = section.model_copy(update={"dataset": dataset})
    recorded = {s.partition("=")[0]: load(s.partition("=")[2], "responses") for s in responses}
    scored = common.by_subject(scores)
    maps = {a.partition("=")[0]: xr.load_dataset(existing(a.partition("=")[2])) for a in attention or []}
    said = {}
    for item in captions or []:
        subject, _, path = item.partition("=")
        table = read_table(path, "caption")
        texts = {c: table.text(c) for c in ("caption", "generated") if c in table}
        said[subject] = pd.DataFrame(texts | {"confident": table.flags("confident")})
    rows = grade(section, recorded, scored, load(split, "splits"), maps, said)
    write_json({"graded": section.label, "rows": rows}, out)


Apart = Annotated[
    Path | None, typer.Option(help="Splits with distances (.nc): also score near and far stimuli.")
]


@evaluate.command("pictures")
def evaluate_pictures(
    pictures: Annotated[Path, typer.Option(help="Pictures of `decode reconstruct` (.nc).")],
    stimuli: StimuliFile,
    out: Out,
    judge: Annotated[
        list[str] | None, typer.Option(help="NAME=OPTIONS of a model by whose layers they are identified.")
    ] = None,
    responses: Annotated[Path | None, typer.Option(help="Responses, for the closed loop (.nc).")] = None,
    encoder: Annotated[
        list[str] | None, typer.Option(help="NAME=WEIGHTS=OPTIONS: an encoder and the model it reads.")
    ] = None,
    split: Apart = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
) -> None:
    """Score reconstructed pictures by pixels, networks and encoders, between their bounds."""
    from neuroenc.arrays import load
    from neuroenc.config import Model
    from neuroenc.evaluation.decoded import Loop, close_loop, score_pictures
    from neuroenc.evaluation.images import DEFINITIONS
    from neuroenc.files import write_json

    found, shown = load(pictures, "pictures"), load(stimuli, "stimuli")
    _refuse(found, split)
    judges = {}
    for item in judge or []:
        name, _, options = item.partition("=")
        judges[name] = common.section(Model, options)
    loops = {}
    for item in encoder or []:
        name, _, rest = item.partition("=")
        weights, _, options = rest.partition("=")
        if responses is None or not options:
            raise InputError("--encoder is NAME=WEIGHTS=OPTIONS and needs --responses.")
        loops[name] = Loop(weights, common.section(Model, options), {})
    rows = score_pictures(found, shown, judges, loops=list(loops.values()), seed=seed)
    for name, loop in loops.items():
        rows += close_loop(found, shown, load(str(responses), "responses"), loop, name=name, seed=seed)
    about = {
        k: str(found.attrs[k]) for k in ("generator", "decoder", "model", "layer", "transductive", "seed")
    }
    write_json({**about, **_apart(rows, found, split, seed), "definitions": DEFINITIONS, "rows": rows}, out)


@evaluate.command("captions")
def evaluate_captions(
    captions: Annotated[Path, typer.Option(help="Captions of `decode caption` (.nc).")],
    stimuli: StimuliFile,
    out: Out,
    clip: Annotated[str | None, typer.Option(help="OPTIONS of an image-text model, for CLIPScore.")] = None,
    sentences: Annotated[bool, typer.Option(help="Cosine of all-MiniLM-L6-v2 (extra `text`).")] = True,
    split: Apart = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
) -> None:
    """Score captions against those people wrote, between their bounds."""
    from neuroenc.arrays import load
    from neuroenc.config import Model
    from neuroenc.evaluation.captions import DEFINITIONS
    from neuroenc.evaluation.decoded import score_captions
    from neuroenc.files import write_json

    found = load(captions, "captions")
    _refuse(found, split)
    rows = score_captions(
        found, load(stimuli, "stimuli"), clip=common.section(Model, clip) if clip else None,
        sentences=sentences, seed=seed,
    )  # fmt: skip
    about = {k: found.attrs[k] for k in ("generator", "decoder", "model", "layer", "transductive")}
    write_json({**about, **_apart(rows, found, split, seed), "definitions": DEFINITIONS, "rows": rows}, out)


def _refuse(made: Any, split: Path | None) -> None:
    """Refuse a split of other stimuli, or without distances, before minutes of work."""
    from neuroenc.arrays import load
    from neuroenc.evaluation.near_and_far import distances

    if split is not None:
        distances(made["stimulus_id"].values, made["fold"].values, load(split, "splits"))


def _apart(rows: list[dict[str, Any]], made: Any, split: Path | None, seed: int) -> dict[str, Any]:
    """Part scores into those of near and of far stimuli, if a split with distances is given."""
    from neuroenc.arrays import load
    from neuroenc.evaluation.near_and_far import near_and_far

    if split is None:
        return {}
    given = made["stimulus_id"].values, made["fold"].values, load(split, "splits")
    return {"near_and_far": near_and_far(rows, *given, seed=seed)}
