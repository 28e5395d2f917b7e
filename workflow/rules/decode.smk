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
        "(neuroenc decode fit --responses {input.responses:q} --features {input.features:q} "
        "--split {input.split:q} --options {params.options:q} --out {output.embeddings:q}; "
        "neuroenc decode fit --responses {input.responses:q} --features {input.features:q} "
        "--split {input.split:q} --options {params.options:q} --out {output.null:q} --shuffle 0) > {log} 2>&1"


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
        "neuroenc decode evaluate --embeddings {input.embeddings:q} --null {input.null:q} "
        "--out {output:q} > {log} 2>&1"


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
        layer=f"--layer {CAPTIONS['layer']}" if CAPTIONS.get("layer") else "",
        temperature=CAPTIONS.get("temperature", 0.05),
    shell:
        "neuroenc caption voxels --responses {input.responses:q} --features {input.features:q} "
        "--stimuli {input.stimuli:q} --split {input.split:q} {params.layer} "
        "--temperature {params.temperature} --out {output.table:q} --regions {output.regions:q} "
        "> {log} 2>&1"


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
        "neuroenc decode match --responses {input.responses:q} --predictions {input.predictions:q} "
        "--out {output:q} > {log} 2>&1"
