rule maps_volume:
    """Write scores as NIfTI on the subject's grid."""
    input:
        responses=f"{SUB}_responses.nc",
        scores=all_scores(),
    output:
        maps=f"{SUB}_desc-scores_maps.nii.gz",
        sidecar=f"{SUB}_desc-scores_maps.json",
    log:
        f"{LOGS}/maps_volume/sub-{{subject}}.log",
    benchmark:
        f"{BENCHMARKS}/maps_volume/sub-{{subject}}.jsonl"
    threads: 1
    resources:
        mem_mb=memory(5),
        runtime=10,
    params:
        scores=scores_flags,
    shell:
        "neuroenc results maps --responses={input.responses:q} {params.scores:q} "
        "--nifti={output.maps:q} > {log} 2>&1"


rule maps_surface:
    """Write scores as GIFTI on the surface."""
    input:
        responses=f"{SUB}_responses.nc",
        scores=all_scores(),
    output:
        left=f"{SUB}_hemi-L_desc-scores.func.gii",
        right=f"{SUB}_hemi-R_desc-scores.func.gii",
    log:
        f"{LOGS}/maps_surface/sub-{{subject}}.log",
    benchmark:
        f"{BENCHMARKS}/maps_surface/sub-{{subject}}.jsonl"
    threads: 1
    resources:
        mem_mb=memory(5),
        runtime=10,
    params:
        scores=scores_flags,
    shell:
        "neuroenc results maps --responses={input.responses:q} {params.scores:q} "
        "--left={output.left:q} --right={output.right:q} > {log} 2>&1"


rule time_course:
    """Draw accuracy over time, with the clusters of bins above chance."""
    input:
        scores=all_scores(),
    output:
        report(
            f"{SUB}_time-course.png",
            caption="../report/time_course.rst",
            category="Accuracy over time",
            labels={"subject": "{subject}"},
        ),
    log:
        f"{LOGS}/time_course/sub-{{subject}}.log",
    benchmark:
        f"{BENCHMARKS}/time_course/sub-{{subject}}.jsonl"
    threads: 1
    resources:
        mem_mb=memory(5),
        runtime=10,
    params:
        scores=scores_flags,
    shell:
        "neuroenc results time-course {params.scores:q} --out={output:q} > {log} 2>&1"


rule figures:
    """Draw accuracy against ceiling by region and neuroid, and the layers."""
    input:
        scores=all_scores(),
    output:
        regions=report(
            f"{SUB}_regions.png",
            caption="../report/regions.rst",
            category="Accuracy by region",
            labels={"subject": "{subject}"},
        ),
        scatter=report(
            f"{SUB}_scatter.png",
            caption="../report/scatter.rst",
            category="Accuracy against ceiling",
            labels={"subject": "{subject}"},
        ),
        layers=report(
            f"{SUB}_layers.png",
            caption="../report/layers.rst",
            category="Layers",
            labels={"subject": "{subject}"},
        ),
    log:
        f"{LOGS}/figures/sub-{{subject}}.log",
    benchmark:
        f"{BENCHMARKS}/figures/sub-{{subject}}.jsonl"
    threads: 1
    resources:
        mem_mb=memory(5),
        runtime=10,
    params:
        scores=scores_flags,
    shell:
        "neuroenc results figures {params.scores:q} --regions={output.regions:q} "
        "--scatter={output.scatter:q} --layers={output.layers:q} > {log} 2>&1"


rule surface:
    """Draw accuracy, ceiling and best layer on the inflated surface."""
    input:
        responses=f"{SUB}_responses.nc",
        scores=all_scores(),
    output:
        report(
            f"{SUB}_surface.png",
            caption="../report/surface.rst",
            category="Surface maps",
            labels={"subject": "{subject}"},
        ),
    log:
        f"{LOGS}/surface/sub-{{subject}}.log",
    benchmark:
        f"{BENCHMARKS}/surface/sub-{{subject}}.jsonl"
    threads: 1
    resources:
        mem_mb=memory(5, base=2000),
        runtime=20,
    params:
        scores=scores_flags,
    shell:
        "neuroenc results surface --responses={input.responses:q} {params.scores:q} "
        "--out={output:q} > {log} 2>&1"


rule summary:
    """Gather all scores: a row per figure, a tidy table, a page for the report."""
    input:
        scores=all_scores(SUBJECTS),
        retrieval=[
            f"{RUN}/sub-{s}/sub-{s}_{d}_retrieval.json"
            for s in SUBJECTS
            for d in DECODED
        ],
        classification=[
            f"{RUN}/sub-{s}/sub-{s}_dec-{d}_desc-classes_scores.json"
            for s in SUBJECTS
            for d in CLASSIFIERS
        ],
        pictures=[
            f"{RUN}/sub-{s}/sub-{s}_{DRAWN_FROM}_desc-pictures_scores.json"
            for s in SUBJECTS
            if DRAWN
        ],
        captions=[
            f"{RUN}/sub-{s}/sub-{s}_{DRAWN_FROM}_desc-captions_scores.json"
            for s in SUBJECTS
            if DRAWN.get("captions")
        ],
        grade=f"{RUN}/grade.json" if SIMULATED else [],
    output:
        summary=f"{RUN}/summary.json",
        table=f"{RUN}/scores.parquet",
        page=report(
            f"{RUN}/summary.html",
            caption="../report/summary.rst",
            category="Summary",
        ),
    log:
        f"{LOGS}/summary.log",
    benchmark:
        f"{BENCHMARKS}/summary.jsonl"
    threads: 1
    resources:
        mem_mb=memory(5),
        runtime=10,
    params:
        scores=scores_flags,
        retrieval=retrieval_flags,
        classification=classification_flags,
        reconstruction=reconstruction_flags,
        label=config["label"],
        seed=config.get("evaluation", {}).get("seed", 0),
        grade=lambda wildcards, input: [f"--grade={input.grade}"] if input.grade else [],
        command=command_of_the_run,
    shell:
        "neuroenc results summary {params.scores:q} {params.retrieval:q} {params.classification:q} {params.reconstruction:q} --label={params.label:q} --seed={params.seed:q} "
        "--command={params.command:q} {params.grade:q} --out={output.summary:q} "
        "--table={output.table:q} --page={output.page:q} > {log} 2>&1"


rule attention_maps:
    """Draw where each region looks, and keep the maps as arrays."""
    input:
        weights=f"{SUB}_enc-{{encoder}}_feat-{{model}}_weights.safetensors",
        sidecar=f"{SUB}_enc-{{encoder}}_feat-{{model}}_weights.json",
        features=f"{RUN}/feat-{{model}}_features.nc",
        stimuli=f"{RUN}/stimuli.nc",
    output:
        figure=report(
            f"{SUB}_enc-{{encoder}}_feat-{{model}}_attention.png",
            caption="../report/attention.rst",
            category="Attention maps",
            labels={"subject": "{subject}", "model": "{model}"},
        ),
        maps=f"{SUB}_enc-{{encoder}}_feat-{{model}}_attention.nc",
    log:
        f"{LOGS}/attention_maps/sub-{{subject}}_{{encoder}}_{{model}}.log",
    benchmark:
        f"{BENCHMARKS}/attention_maps/sub-{{subject}}_{{encoder}}_{{model}}.jsonl"
    threads: 1
    resources:
        mem_mb=memory(10),
        runtime=20,
    shell:
        "neuroenc results attention --weights={input.weights:q} --features={input.features:q} "
        "--stimuli={input.stimuli:q} --out={output.figure:q} --maps={output.maps:q} > {log} 2>&1"
