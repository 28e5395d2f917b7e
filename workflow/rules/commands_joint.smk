def of_sets(file):
    """List one file of each set."""
    return [f"{folder}/{file}" for folder in FOLDERS.values()]


def decoding(wildcards, input, output):
    """List the command that fits one space, perhaps without a recording."""
    without = getattr(wildcards, "recording", None)
    return command(
        "decode",
        "joint",
        responses=named(RESPONSES, input.responses),
        features=named(FOLDERS, input.features),
        texts=named(FOLDERS, input.texts),
        split=input.split,
        options=section("joint"),
        leave_out=[name for name in RESPONSES if name.replace(":", "-") == without],
        out=os.path.dirname(output.scores),
    )


def drawing(wildcards, input, output):
    """List the commands that draw, caption and score what was decoded from a recording."""
    given = {
        k: getattr(input, k)
        for k in ("embeddings", "null", "features", "stimuli", "split")
    }
    # the network that was decoded looks at what is drawn
    several = DRAWN.get("n_draws", 1) > 1
    options = section("reconstruction", without=["captions", "captioner"])
    judged = f"target={section('model')}"
    drawn = {"pictures": output.pictures, "stimuli": input.stimuli}
    run = [
        command(
            "decode",
            "reconstruct",
            **given,
            options=json.dumps(
                {"decoder": "joint", "model": "target"} | json.loads(options)
            ),
            eye=[section("model")] if several else [],
            out=output.pictures,
        ),
        command("evaluate", "pictures", **drawn, judge=judged, out=output.scores),
    ]
    said = {}
    if output.captions:
        run += [
            command(
                "decode",
                "caption",
                **given,
                captioner=DRAWN.get("captioner", []),
                out=output.captions,
            ),
            command(
                "evaluate",
                "captions",
                captions=output.captions,
                stimuli=input.stimuli,
                clip=section("model"),
                out=output.caption_scores,
            ),
        ]
        said = {
            "captions": output.captions,
            "caption_scores": output.caption_scores,
        }
    page = command(
        "results", "gallery", **drawn, scores=output.scores, **said, out=output.page
    )
    return commands(*run, page)


def telling(wildcards, input, output):
    """List the commands that draw and list the scores, and write the methods section."""
    scores = [input.scores, *input.without]
    return commands(
        command(
            "results",
            "joint",
            scores=scores,
            figure=output.figure,
            table=output.table,
        ),
        command(
            "results",
            "methods",
            json.dumps(config),
            results=os.path.dirname(output.methods),
            out=output.methods,
            bib=output.bib,
            page=output.methods_page,
        ),
    )


def of_its_set(file):
    """Find a file of the set that a recording is of."""
    return lambda wildcards: f"{FOLDERS[wildcards.recording.rpartition('-')[0]]}/{file}"
