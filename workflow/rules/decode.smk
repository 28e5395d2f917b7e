rule decode_fit:
    """Decode embeddings of held-out stimuli; and after dealing the training pictures anew, for the null."""
    input:
        responses=f"{SUB}_responses.nc",
        features=f"{RUN}/feat-{{model}}_features.nc",
        split=f"{RUN}/splits.nc",
    output:
        embeddings=f"{SUB}_dec-{{decoder}}_feat-{{model}}_embeddings.nc",
        null=f"{SUB}_dec-{{decoder}}_feat-{{model}}_desc-shuffled_embeddings.nc",
    log:
        f"{LOGS}/decode_fit/sub-{{subject}}_{{decoder}}_{{model}}.log",
    benchmark:
        f"{BENCHMARKS}/decode_fit/sub-{{subject}}_{{decoder}}_{{model}}.jsonl"
    resources:
        mem_mb=memory(8),
        runtime=120,
    params:
        options=decoder_section,
    shell:
        "(neuroenc decode fit --responses={input.responses:q} --features={input.features:q} "
        "--split={input.split:q} --options={params.options:q} --out={output.embeddings:q}; "
        "neuroenc decode fit --responses={input.responses:q} --features={input.features:q} "
        "--split={input.split:q} --options={params.options:q} --out={output.null:q} --shuffle 0) > {log} 2>&1"


rule decode_evaluate:
    """Retrieve the test pictures by their decoded embeddings."""
    input:
        embeddings=f"{SUB}_dec-{{decoder}}_feat-{{model}}_embeddings.nc",
        null=f"{SUB}_dec-{{decoder}}_feat-{{model}}_desc-shuffled_embeddings.nc",
    output:
        f"{SUB}_dec-{{decoder}}_feat-{{model}}_retrieval.json",
    log:
        f"{LOGS}/decode_evaluate/sub-{{subject}}_{{decoder}}_{{model}}.log",
    benchmark:
        f"{BENCHMARKS}/decode_evaluate/sub-{{subject}}_{{decoder}}_{{model}}.jsonl"
    resources:
        mem_mb=memory(4),
        runtime=30,
    shell:
        "neuroenc decode evaluate --embeddings={input.embeddings:q} --null={input.null:q} "
        "--out={output:q} > {log} 2>&1"


rule decode_classify:
    """Tell classes of held-out stimuli apart; and after dealing the labels anew, for the null."""
    input:
        responses=f"{SUB}_responses.nc",
        stimuli=f"{RUN}/stimuli.nc",
        split=f"{RUN}/splits.nc",
    output:
        classes=f"{SUB}_dec-{{decoder}}_classes.nc",
        scores=f"{SUB}_dec-{{decoder}}_desc-classes_scores.json",
    log:
        f"{LOGS}/decode_classify/sub-{{subject}}_{{decoder}}.log",
    benchmark:
        f"{BENCHMARKS}/decode_classify/sub-{{subject}}_{{decoder}}.jsonl"
    resources:
        mem_mb=memory(12),
        runtime=120,
    params:
        options=decoder_section,
    shell:
        "neuroenc decode classify --responses={input.responses:q} --stimuli={input.stimuli:q} "
        "--split={input.split:q} --options={params.options:q} --out={output.classes:q} "
        "--scores={output.scores:q} > {log} 2>&1"


rule classes:
    """Draw which classes are taken for which, and accuracy over time."""
    input:
        f"{SUB}_dec-{{decoder}}_desc-classes_scores.json",
    output:
        report(
            f"{SUB}_dec-{{decoder}}_classes.png",
            caption="../report/classes.rst",
            category="Classes told apart",
            labels={"subject": "{subject}", "decoder": "{decoder}"},
        ),
    log:
        f"{LOGS}/classes/sub-{{subject}}_{{decoder}}.log",
    benchmark:
        f"{BENCHMARKS}/classes/sub-{{subject}}_{{decoder}}.jsonl"
    resources:
        mem_mb=memory(4),
        runtime=10,
    shell:
        "neuroenc results classes --scores={input:q} --out={output:q} > {log} 2>&1"


rule caption_voxels:
    """Say in words what each voxel wants."""
    input:
        responses=f"{SUB}_responses.nc",
        features=f"{RUN}/feat-{CAPTIONS.get('model')}_features.nc",
        stimuli=f"{RUN}/stimuli.nc",
        split=f"{RUN}/splits.nc",
    output:
        table=f"{SUB}_desc-captions.csv",
        regions=f"{SUB}_desc-captions_regions.csv",
    log:
        f"{LOGS}/caption_voxels/sub-{{subject}}.log",
    benchmark:
        f"{BENCHMARKS}/caption_voxels/sub-{{subject}}.jsonl"
    resources:
        mem_mb=memory(8),
        runtime=60,
    params:
        flags=caption_flags,
        temperature=CAPTIONS.get("temperature", 0.05),
    shell:
        "neuroenc caption voxels --responses={input.responses:q} --features={input.features:q} "
        "--stimuli={input.stimuli:q} --split={input.split:q} {params.flags:q} "
        "--temperature={params.temperature:q} --out={output.table:q} --regions={output.regions:q} "
        "> {log} 2>&1"


rule words:
    """Draw the words of each region's voxels, and the share about people, places and food."""
    input:
        f"{SUB}_desc-captions_regions.csv",
    output:
        report(
            f"{SUB}_words.png",
            caption="../report/words.rst",
            category="What voxels want, in words",
            labels={"subject": "{subject}"},
        ),
    log:
        f"{LOGS}/words/sub-{{subject}}.log",
    benchmark:
        f"{BENCHMARKS}/words/sub-{{subject}}.jsonl"
    resources:
        mem_mb=memory(4),
        runtime=10,
    shell:
        "neuroenc results words --regions={input:q} --out={output:q} > {log} 2>&1"


rule decode_synthesise:
    """Draw pictures a region would answer to."""
    input:
        responses=f"{SUB}_responses.nc",
        features=f"{RUN}/feat-{SYNTHESIS.get('model')}_features.nc",
        stimuli=f"{RUN}/stimuli.nc",
        split=f"{RUN}/splits.nc",
        weights=f"{SUB}_{stem(SYNTHESIS.get('judge'))}_weights.safetensors",
    output:
        figure=report(
            f"{SUB}_synthesis-{{region}}.png",
            caption="../report/synthesis.rst",
            category="Pictures drawn for regions",
            labels={"subject": "{subject}", "region": "{region}"},
        ),
        scores=f"{SUB}_synthesis-{{region}}.json",
    log:
        f"{LOGS}/decode_synthesise/sub-{{subject}}_{{region}}.log",
    benchmark:
        f"{BENCHMARKS}/decode_synthesise/sub-{{subject}}_{{region}}.jsonl"
    resources:
        mem_mb=memory(6, base=2000),
        runtime=60,
    params:
        judge=synthesis_judge,
        scale=SYNTHESIS.get("scale", 3),
        seed=SYNTHESIS.get("seed", 0),
    shell:
        "neuroenc decode synthesise --responses={input.responses:q} --features={input.features:q} "
        "--stimuli={input.stimuli:q} --split={input.split:q} --region={wildcards.region:q} "
        "--judge={params.judge:q} --scale={params.scale:q} --seed={params.seed:q} --out={output.figure:q} "
        "--scores={output.scores:q} > {log} 2>&1"


rule decode_match:
    """Retrieve the test pictures by the predictions of an encoder."""
    input:
        responses=f"{SUB}_responses.nc",
        predictions=f"{SUB}_enc-{{encoder}}_feat-{{model}}_desc-predictions.nc",
    output:
        f"{SUB}_enc-{{encoder}}_feat-{{model}}_retrieval.json",
    log:
        f"{LOGS}/decode_match/sub-{{subject}}_{{encoder}}_{{model}}.log",
    benchmark:
        f"{BENCHMARKS}/decode_match/sub-{{subject}}_{{encoder}}_{{model}}.jsonl"
    resources:
        mem_mb=memory(4),
        runtime=30,
    shell:
        "neuroenc decode match --responses={input.responses:q} --predictions={input.predictions:q} "
        "--out={output:q} > {log} 2>&1"


if DRAWN:

    rule decode_reconstruct:
        """Draw pictures from decoded embeddings, and from all they are held against."""
        input:
            embeddings=f"{SUB}_{DRAWN_FROM}_embeddings.nc",
            null=f"{SUB}_{DRAWN_FROM}_desc-shuffled_embeddings.nc",
            features=f"{RUN}/feat-{DRAWN['model']}_features.nc",
            stimuli=f"{RUN}/stimuli.nc",
            split=f"{RUN}/splits.nc",
            low=f"{SUB}_{START_FROM}_embeddings.nc" if START else [],
            low_null=(
                f"{SUB}_{START_FROM}_desc-shuffled_embeddings.nc" if START else []
            ),
        output:
            f"{SUB}_{DRAWN_FROM}_pictures.nc",
        log:
            f"{LOGS}/decode_reconstruct/sub-{{subject}}.log",
        benchmark:
            f"{BENCHMARKS}/decode_reconstruct/sub-{{subject}}.jsonl"
        resources:
            mem_mb=memory(8, base=3000),
            runtime=600,
        params:
            options=reconstruction_section,
            low=low_level_flags,
        shell:
            "neuroenc decode reconstruct --embeddings={input.embeddings:q} --null={input.null:q} "
            "--features={input.features:q} --stimuli={input.stimuli:q} --split={input.split:q} "
            "--options={params.options:q} {params.low:q} --out={output:q} > {log} 2>&1"

    rule decode_caption:
        """Caption decoded embeddings, and all they are held against."""
        input:
            embeddings=f"{SUB}_{DRAWN_FROM}_embeddings.nc",
            null=f"{SUB}_{DRAWN_FROM}_desc-shuffled_embeddings.nc",
            features=f"{RUN}/feat-{DRAWN['model']}_features.nc",
            stimuli=f"{RUN}/stimuli.nc",
            split=f"{RUN}/splits.nc",
        output:
            f"{SUB}_{DRAWN_FROM}_captions.nc",
        log:
            f"{LOGS}/decode_caption/sub-{{subject}}.log",
        benchmark:
            f"{BENCHMARKS}/decode_caption/sub-{{subject}}.jsonl"
        resources:
            mem_mb=memory(4, base=2000),
            runtime=60,
        shell:
            "neuroenc decode caption --embeddings={input.embeddings:q} --null={input.null:q} "
            "--features={input.features:q} --stimuli={input.stimuli:q} --split={input.split:q} "
            "--out={output:q} > {log} 2>&1"

    rule evaluate_pictures:
        """Score pictures by pixels, by networks, and by encoders that predict responses to them."""
        input:
            pictures=f"{SUB}_{DRAWN_FROM}_pictures.nc",
            stimuli=f"{RUN}/stimuli.nc",
            responses=f"{SUB}_responses.nc",
            weights=[
                f"{SUB}_{stem(n)}_weights.safetensors"
                for n in DRAWN.get("closed_loop", [])
            ],
        output:
            f"{SUB}_{DRAWN_FROM}_desc-pictures_scores.json",
        log:
            f"{LOGS}/evaluate_pictures/sub-{{subject}}.log",
        benchmark:
            f"{BENCHMARKS}/evaluate_pictures/sub-{{subject}}.jsonl"
        resources:
            mem_mb=memory(8, base=3000),
            runtime=60,
        params:
            judges=judge_flags,
        shell:
            "neuroenc evaluate pictures --pictures={input.pictures:q} --stimuli={input.stimuli:q} "
            "--responses={input.responses:q} {params.judges:q} --out={output:q} > {log} 2>&1"

    rule evaluate_captions:
        """Score captions against those people wrote."""
        input:
            captions=f"{SUB}_{DRAWN_FROM}_captions.nc",
            stimuli=f"{RUN}/stimuli.nc",
        output:
            f"{SUB}_{DRAWN_FROM}_desc-captions_scores.json",
        log:
            f"{LOGS}/evaluate_captions/sub-{{subject}}.log",
        benchmark:
            f"{BENCHMARKS}/evaluate_captions/sub-{{subject}}.jsonl"
        resources:
            mem_mb=memory(4, base=2000),
            runtime=60,
        params:
            clip=clip_section,
        shell:
            "neuroenc evaluate captions --captions={input.captions:q} --stimuli={input.stimuli:q} "
            "--clip={params.clip:q} --out={output:q} > {log} 2>&1"

    rule reconstructions:
        """Show what was seen, retrieved and drawn: the best, the middle and the worst pictures."""
        input:
            pictures=f"{SUB}_{DRAWN_FROM}_pictures.nc",
            scores=f"{SUB}_{DRAWN_FROM}_desc-pictures_scores.json",
            stimuli=f"{RUN}/stimuli.nc",
            captions=(
                f"{SUB}_{DRAWN_FROM}_captions.nc" if DRAWN.get("captions") else []
            ),
        output:
            report(
                f"{SUB}_reconstructions.png",
                caption="../report/reconstructions.rst",
                category="Reconstructions",
                labels={"subject": "{subject}"},
            ),
        log:
            f"{LOGS}/reconstructions/sub-{{subject}}.log",
        benchmark:
            f"{BENCHMARKS}/reconstructions/sub-{{subject}}.jsonl"
        resources:
            mem_mb=memory(4, base=2000),
            runtime=10,
        params:
            captions=lambda wildcards, input: (
                [f"--captions={input.captions}"] if input.captions else []
            ),
        shell:
            "neuroenc results reconstructions --pictures={input.pictures:q} --scores={input.scores:q} "
            "--stimuli={input.stimuli:q} {params.captions:q} --out={output:q} > {log} 2>&1"
