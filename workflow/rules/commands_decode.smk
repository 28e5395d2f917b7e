# What the jobs of decoders and captions run: the words of their commands.


def of_augmenting(path, folder=False):
    """Return what lists a file of the encoder that makes pairs for a decoder.

    `folder`: only where it makes them of pictures of a folder.
    """

    def listed(wildcards):
        asked = DECODERS[wildcards.decoder].get("augment")
        if not asked or (folder and wildcards.decoder not in OF_FOLDER):
            return []
        fit = stem(asked["fit"])
        at = f"dec-{wildcards.decoder}_" if wildcards.decoder in OF_FOLDER else ""
        filled = path.replace("{fit}", fit).replace("{at}", at)
        filled = filled.replace("{feat}", fit.rpartition("_")[2])
        for name, value in wildcards.items():
            filled = filled.replace(f"{{{name}}}", value)
        return filled

    return listed


def describing(label):
    """Return what lists the commands of the pictures of a folder that pairs are made of."""

    def run(wildcards, input, output):
        return commands(
            command("data", "pictures", folder=input.folder, out=output.stimuli),
            *(
                command(
                    "features",
                    "extract",
                    stimuli=output.stimuli,
                    options=section("models", model),
                    out=out,
                )
                for model, out in zip(OF_FOLDER[label][1], output.features)
            ),
        )

    return run


def decoding(wildcards, input, output):
    """List the commands of `decode_fit`."""
    options = fitting("decoders", wildcards.decoder)
    fit = ["decode", "fit"]
    return commands(
        command(*fit, **input, options=options, out=output.embeddings),
        command(*fit, **input, options=options, out=output.null, shuffle=0),
        command(
            "decode",
            "evaluate",
            embeddings=output.embeddings,
            null=output.null,
            split=[input.split] if SPACE else [],
            out=output.retrieval,
        ),
    )


def label_of(decoded):
    """Label of the decoder in dec-LABEL_feat-MODEL."""
    return decoded.split("_feat-")[0].removeprefix("dec-")


def pooling(wildcards, input, output):
    """List the commands of `pool`."""
    return commands(
        command("data", "pictures", folder=input.folder, out=output.stimuli),
        *(
            command(
                "features",
                "extract",
                stimuli=output.stimuli,
                options=section("models", model),
                out=out,
            )
            for model, out in zip(POOLED, output.features)
        ),
    )


def indexing(wildcards, input, output):
    """List the commands of `pool_index`."""
    features, shown = (
        dict(zip(POOLED, files)) for files in (input.features, input.shown)
    )
    return commands(
        *(
            command(
                "decode",
                "index",
                features=features[d.split("_feat-")[1]],
                shown=shown[d.split("_feat-")[1]],
                without=input.split,
                layer=DECODERS[label_of(d)].get("layers", []),
                out=output[3 * n],
            )
            for n, d in enumerate(LOOKING)
        )
    )


def retrieving(wildcards, input, output):
    """List the commands of `pool_retrieve`."""
    return commands(
        *(
            command("decode", "retrieve", embeddings=embeddings, index=index, out=out)
            for embeddings, index, out in zip(input.embeddings, input.index, output)
        )
    )


def contributing(wildcards, input, output):
    """List the commands of `decode_contributions`."""
    asked = {
        k: [v] for k, v in CONTRIBUTIONS.items() if k not in ("decoders", "regions")
    }
    run = [
        command(
            "decode",
            "contributions",
            responses=input.responses,
            features=features,
            split=input.split,
            options=fitting("decoders", label_of(decoded)),
            region=CONTRIBUTIONS.get("regions", []),
            **{k: [] if v == [None] else v for k, v in asked.items()},
            out=out,
        )
        for decoded, features, out in zip(CONTRIBUTING, input.features, output.scores)
    ]
    names = [d.removeprefix("dec-").replace("_feat-", " of ") for d in CONTRIBUTING]
    run.append(
        command(
            "results",
            "contributions",
            scores=named(names, output.scores),
            out=output.figure,
        )
    )
    return commands(*run)


def decoding_together(label):
    """Return what lists the commands of a network of several subjects."""

    def run(wildcards, input, output):
        who = TOGETHER[label]
        options = fitting("decoders", label)
        fit = command(
            "decode",
            "together",
            responses=named(who, input.responses),
            features=input.features,
            split=input.split,
            options=options,
        )
        return commands(
            fit + command(out=named(who, output.embeddings)),
            fit + command(out=named(who, output.null), shuffle=0),
            *(
                command(
                    "decode",
                    "evaluate",
                    embeddings=output.embeddings[i],
                    null=output.null[i],
                    split=[input.split] if SPACE else [],
                    out=output.retrieval[i],
                )
                for i in range(len(who))
            ),
        )

    return run


def transferring(wildcards, input, output):
    """List the command of `decode_transfer`."""
    return command(
        "decode",
        "transfer",
        responses=named(SUBJECTS, input.responses),
        new=wildcards.subject,
        features=input.features,
        split=input.split,
        network=fitting("decoders", TRANSFER["network"]),
        ridge=fitting("decoders", TRANSFER["ridge"]),
        sessions=TRANSFER["sessions"],
        n_bootstraps=TRANSFER.get("n_bootstraps", 1000),
        seed=TRANSFER.get("seed", 0),
        out=output.scores,
    )


def training_of_captioner(wildcards, input, output):
    """List the command of `decode_captioner`."""
    asked = CAPTIONERS[wildcards.captioner]
    return command(
        "captioner",
        "train",
        **input,
        layer=[asked["layer"]] if asked.get("layer") else [],
        options=section("captioners", wildcards.captioner, without=["model", "layer"]),
        out=output.folder,
    )


def wants(wildcards, input, output):
    """List the commands of `decode_wants`."""
    given = {k: getattr(input, k) for k in ("responses", "stimuli", "split")}
    run = []
    if CAPTIONS:
        run.append(
            command(
                "caption",
                "voxels",
                *["--generate"] * bool(CAPTIONS.get("generate")),
                **given,
                features=input.captions,
                captioner=input.captioner,
                layer=[CAPTIONS["layer"]] if CAPTIONS.get("layer") else [],
                temperature=CAPTIONS.get("temperature", 0.05),
                out=output.table,
                regions=output.regions,
            )
        )
        run.append(
            command(
                "caption",
                "evaluate",
                **given,
                table=output.table,
                clip=section("models", CAPTIONS["model"]),
                out=output.scores,
                topics=output.topics,
            )
        )
    for region in SYNTHESIS.get("regions", []):
        judge = f"{input.weights}={JUDGE_OF_SYNTHESIS}"
        run.append(
            command(
                "decode",
                "synthesise",
                **given,
                features=input.synthesis,
                region=region,
                judge=judge,
                scale=SYNTHESIS.get("scale", 3),
                seed=SYNTHESIS.get("seed", 0),
                out=getattr(output, f"figure_{region}"),
                scores=getattr(output, f"scores_{region}"),
            )
        )
    return commands(*run)


def reconstruction(wildcards, input, output):
    """List the commands of `decode_reconstruct`."""
    given = {
        k: getattr(input, k)
        for k in ("embeddings", "null", "features", "stimuli", "split")
    }
    run = [
        command(
            "decode",
            "reconstruct",
            **given,
            low_level=input.low,
            low_level_null=input.low_null,
            low_level_model=[section("models", START_MODEL)] if START else [],
            options=DRAWING,
            eye=EYE,
            out=output.pictures,
        )
    ]
    if output.captions:
        run.append(
            command(
                "decode",
                "caption",
                **given,
                n_validation=4 * DRAWN.get("n_validation", 48),  # captions are cheap
                captioner=input.captioner,
                out=output.captions,
            )
        )
    return commands(*run)


def judgement(wildcards, input, output):
    """List the commands of `evaluate_reconstructions`."""
    encoders = [
        f"{name}={weights}={section('models', FITS[name][1])}"
        for name, weights in zip(DRAWN.get("closed_loop", []), input.weights)
    ]
    run = [
        command(
            "evaluate",
            "pictures",
            pictures=input.pictures,
            stimuli=input.stimuli,
            responses=input.responses,
            judge=[
                f"{name}={section('models', name)}" for name in DRAWN.get("judges", [])
            ],
            encoder=encoders,
            split=input.split,
            out=output.pictures,
        )
    ]
    if output.captions:
        run.append(
            command(
                "evaluate",
                "captions",
                captions=input.captions,
                stimuli=input.stimuli,
                split=input.split,
                clip=section("models", DRAWN["model"]),
                out=output.captions,
            )
        )
    return commands(*run)


def shaping(wildcards, input, output):
    """List the commands of `decode_shapes`."""
    made = (
        command(
            "decode",
            "shapes",
            stimuli=input.stimuli,
            pictures=input.pictures,
            options=section("shapes"),
            out=output.folder,
        )
        if BY_SHAP_E
        else command(
            "decode",
            "nearest-shapes",
            **{
                k: getattr(input, k)
                for k in ("embeddings", "null", "features", "split")
            },
            meshes=input.meshes,
            options=section("shapes"),
            out=output.folder,
        )
    )
    shared = {
        "shapes": output.folder,
        "stimuli": input.stimuli,
        "meshes": input.meshes,
    }
    judge = OBJECTS.get("judge")
    return commands(
        made,
        command(
            "evaluate",
            "shapes",
            *(["--no-align"] if OBJECTS.get("align") is False else []),
            **shared,
            judge=[f"{judge}={section('models', judge)}"] if judge else [],
            out=output.scores,
        ),
        command(
            "results",
            "shapes",
            **shared,
            scores=output.scores,
            out=output.figure,
            turning=output.turning,
        ),
    )
