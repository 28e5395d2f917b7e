# What the jobs run: the words of their commands.


def features_of_fit(wildcards):
    """List the features that a fit reads: of several models, A+B, those of each."""
    return [f"{RUN}/feat-{m}_features.nc" for m in wildcards.model.split("+")]


def encoding(wildcards, input, output):
    """List the command of `encode_fit`."""
    models = wildcards.model.split("+")
    features = [input.features] if isinstance(input.features, str) else input.features
    return command(
        "encode",
        "fit",
        responses=input.responses,
        features=named(models, features) if len(models) > 1 else list(features),
        split=input.split,
        options=fitting("encoders", wildcards.encoder),
        out=output.predictions,
        weights=output.weights,
    )


def joining(wildcards, input, output):
    """List the command of `encode_joint`."""
    return command(
        "encode",
        "joint",
        responses=named(SUBJECTS, input.responses),
        features=input.features,
        split=input.split,
        options=fitting("encoders", wildcards.encoder),
        out=named(SUBJECTS, output.predictions),
        weights=named(SUBJECTS, output.weights),
    )


def shortening(wildcards, input, output):
    """List the commands of `shorten`."""
    return commands(
        *(
            command("split", "shorten", **input, size=size, out=out)
            for size, out in zip(PARTS, output)
        )
    )


def encoding_of_part(wildcards, input, output):
    """List the commands of `encode_part`."""
    return commands(
        encoding(wildcards, input, output),
        command(
            "evaluate",
            "score",
            responses=input.responses,
            predictions=output.predictions,
            options=section("evaluation"),
            out=output.scores,
        ),
    )


def growing(wildcards, input, output):
    """List the command of `learning_curve`."""
    whole = [f"{s}:{n}" for s in SUBJECTS for n in CURVES]
    parts = [f"{s}:{n}:{size}" for s in SUBJECTS for n in CURVES for size in PARTS]
    return command(
        "results",
        "learning-curve",
        scores=named(whole, input.whole) + named(parts, input.parts),
        table=output.table,
        out=output.figure,
    )


def evaluation(wildcards, input, output):
    """List the commands of `evaluate`."""
    predictions = dict(zip(FITS, input.predictions))
    run = []
    if STACK:
        members = [f"{n}={predictions[n]}" for n in STACK]
        predictions["stack"] = output.stack[0]
        run.append(
            command(
                "encode",
                "stack",
                responses=input.responses,
                predictions=members,
                options=section("stack"),
                out=output.stack[0],
            )
        )
    for name, scores in zip(NAMES, output.scores):
        run.append(
            command(
                "evaluate",
                "score",
                responses=input.responses,
                predictions=predictions[name],
                options=section("evaluation"),
                out=scores,
            )
        )
    for name, retrieval in zip(MATCHED, output.retrieval):
        run.append(
            command(
                "decode",
                "match",
                responses=input.responses,
                predictions=predictions[name],
                out=retrieval,
            )
        )
    for (label, asked), out in zip(COMPARISONS.items(), output.comparisons):
        run.append(
            command(
                "evaluate",
                "compare",
                responses=input.responses,
                predictions=[
                    f"{n}={predictions[n]}" for n in [asked["better"], *asked["than"]]
                ],
                comparison=section("comparisons", label),
                options=section("evaluation"),
                out=out,
            )
        )
    return commands(*run)


def parting(wildcards, input, output):
    """List the command of `partition`."""
    return command(
        "encode",
        "partition",
        responses=input.responses,
        features=named(PARTITION["models"], input.features),
        split=input.split,
        options=section("partition", without=["models"]),
        evaluation=section("evaluation"),
        out=output[0],
    )


def exporting(wildcards, input, output):
    """List the commands of `export`."""
    n = len(EXPORTED)
    return commands(
        *(
            command(
                "export",
                responses=f"{subject}={input.responses[i]}",
                predictions=f"{subject}={input.predictions[i]}",
                scores=f"{subject}={input.scores[i]}",
                weights=named(
                    [f"{subject}:{name}" for name in EXPORTED],
                    input.weights[i * n : (i + 1) * n],
                ),
                features=named(EXPORTED, input.features),
                model=named(
                    EXPORTED, [section("models", FITS[name][1]) for name in EXPORTED]
                ),
                components=[
                    f"{name}={os.path.splitext(path)[0]}.projection.safetensors"
                    for name, path in zip(EXPORTED, input.features)
                    if (
                        config["models"][FITS[name][1]].get("projection") or ""
                    ).startswith("pca")
                ],
                name=f"{config['label']}-{EXPORT}",
                out=output[i],
            )
            for i, subject in enumerate(SUBJECTS)
        )
    )


def spacing(wildcards, input, output):
    """List the commands of `distance`."""
    given = {k: getattr(input, k) for k in ("responses", "split")}
    scores = ["evaluate", "distance"]
    return commands(
        command(
            *scores,
            **given,
            predictions=named(FITS, input.predictions),
            out=output.scores,
        ),
        command("results", "distance", scores=output.scores, out=output.figure),
    )


def comparing(wildcards, input, output):
    """List the commands of `similarity`."""
    return commands(
        command(
            "evaluate",
            "similarity",
            responses=named(SUBJECTS, input.responses),
            features=named(ALIKE, input.features),
            options=section("similarity"),
            out=output.scores,
        ),
        command("results", "similarity", scores=output.scores, out=output.figure),
    )


def figure(ending, caption, category, **labels):
    """A figure of one subject, as the report shows it."""
    return report(
        f"{SUB}_{ending}.png",
        caption=f"../report/{caption}.rst",
        category=category,
        labels={"subject": "{subject}", **labels},
    )


def drawing(wildcards, input, output):
    """List the commands of `figures`."""
    scores = named(NAMES, input.scores)
    run = [
        command(
            "results",
            "figures",
            scores=scores,
            regions=output.regions,
            scatter=output.scatter,
            layers=output.layers,
        )
    ]
    if SURFACE or VOLUME:
        maps = {
            "nifti": [output.maps] if VOLUME else [],
            "left": [output.left] if SURFACE else [],
            "right": [output.right] if SURFACE else [],
        }
        run.append(
            command("results", "maps", responses=input.responses, scores=scores, **maps)
        )
    if SURFACE:
        run.append(
            command(
                "results",
                "surface",
                responses=input.responses,
                scores=scores,
                out=output.surface,
            )
        )
    if SURFACE and COMPARISONS:
        run.append(
            command(
                "results",
                "winners",
                responses=input.responses,
                comparison=named(COMPARISONS, input.comparisons),
                out=output.winners,
            )
        )
    if SURFACE and PARTITION:
        run.append(
            command(
                "results",
                "zone-map",
                responses=input.responses,
                partition=input.partition,
                out=output.zones,
            )
        )
    if TIMES:
        run.append(
            command("results", "time-course", scores=scores, out=output.time_course)
        )
    for name in ATTENTION:
        label = stem(name)
        run.append(
            command(
                "results",
                "attention",
                weights=getattr(input, f"weights_{label}"),
                features=getattr(input, f"features_{label}"),
                stimuli=input.stimuli,
                out=getattr(output, f"attention_{label}"),
                maps=getattr(output, f"maps_{label}"),
            )
        )
    for label in CLASSIFIERS:
        run.append(
            command(
                "results",
                "classes",
                scores=getattr(input, f"classes_{label}"),
                out=getattr(output, f"classes_{label}"),
            )
        )
    if CAPTIONS:
        run.append(command("results", "words", regions=input.words, out=output.words))
    if CAPTIONS and SURFACE:
        run.append(
            command(
                "results",
                "words-on-surface",
                responses=input.responses,
                table=input.said,
                out=output.words_on_surface,
            )
        )
    if DRAWN:
        run.append(
            command(
                "results",
                "reconstructions",
                pictures=input.pictures,
                scores=input.judged,
                stimuli=input.stimuli,
                captions=input.captions,
                out=output.reconstructions,
            )
        )
        run.append(
            command(
                "results",
                "gallery",
                pictures=input.pictures,
                scores=input.judged,
                stimuli=input.stimuli,
                captions=input.captions,
                caption_scores=input.judged_captions,
                title=f"Subject {wildcards.subject} of {config['label']}: what was decoded",
                out=output.gallery,
            )
        )
    return commands(*run)


def summing(wildcards, input, output):
    """List the commands of `summary`; a simulated run is held against its truth first."""
    fits = [f"{s}:{n}" for s in SUBJECTS for n in NAMES]
    scores = named(fits, input.scores)
    pairs = [f"{s}:{label}" for s in SUBJECTS for label in COMPARISONS]
    comparisons = named(pairs, input.comparisons)
    run = []
    if COMPARISONS:
        run.append(
            command(
                "results",
                "comparisons",
                comparison=comparisons,
                figure=named(COMPARISONS, output.differences),
                table=output.comparisons,
                patterns=output.patterns,
                pattern_figure=named(COMPARISONS, output.pattern_figures),
            )
        )
    if PARTITION:
        run.append(
            command(
                "results",
                "zones",
                partition=named(SUBJECTS, input.partition),
                table=output.zones,
                out=output.zone_figure,
            )
        )
    if ELECTRODES:
        run.append(
            command(
                "results",
                "electrodes",
                scores=scores,
                comparison=comparisons,
                table=named(COMPARISONS, output.sites),
                out=output.electrodes,
            )
        )
    if SIMULATED:
        run.append(
            command(
                "evaluate",
                "grade",
                options=json.dumps(config),
                root=input.root,
                split=input.split,
                responses=named(SUBJECTS, input.responses),
                scores=scores,
                attention=named(SUBJECTS, input.attention),
                captions=named(SUBJECTS, input.said),
                out=output.grade,
            )
        )
    run.append(
        command(
            "results",
            "summary",
            scores=scores,
            retrieval=named([f"{s}:{d}" for s, d in RETRIEVED], input.retrieval),
            classification=named(
                [f"{s}:{d}" for s in SUBJECTS for d in CLASSIFIERS], input.classes
            ),
            reconstruction=named(SUBJECTS, input.pictures)
            + named(SUBJECTS, input.captions),
            comparison=comparisons,
            drawn_from=[DRAWN_FROM] if DRAWN else [],
            label=config["label"],
            seed=config.get("evaluation", {}).get("seed", 0),
            command=command_of_the_run(),
            grade=output.grade,
            out=output.summary,
            table=output.table,
            parcels=output.parcels,
            page=output.page,
        )
    )
    run.append(
        command(
            "results",
            "methods",
            json.dumps(config),
            results=os.path.dirname(output.summary),
            out=output.methods,
            bib=output.bib,
            page=output.methods_page,
        )
    )
    return commands(*run)


def of_subjects(*endings, when=True):
    return [f"{RUN}/sub-{s}/sub-{s}_{e}" for s in SUBJECTS for e in endings if when]
