rule encode_fit:
    """Fit one encoder to one subject and model; predict the held-out stimuli."""
    input:
        responses=f"{SUB}_responses.nc",
        features=f"{RUN}/feat-{{model}}_features.nc",
        split=f"{RUN}/splits.nc",
    output:
        predictions=f"{SUB}_enc-{{encoder}}_feat-{{model}}_desc-predictions.nc",
        weights=f"{SUB}_enc-{{encoder}}_feat-{{model}}_weights.safetensors",
        sidecar=f"{SUB}_enc-{{encoder}}_feat-{{model}}_weights.json",
    log:
        f"{LOGS}/encode_fit/sub-{{subject}}_{{encoder}}_{{model}}.log",
    benchmark:
        f"{BENCHMARKS}/encode_fit/sub-{{subject}}_{{encoder}}_{{model}}.jsonl"
    threads: 1
    resources:
        mem_mb=memory(10),
        runtime=240,
    params:
        options=encoder_section,
    shell:
        "neuroenc encode fit --responses={input.responses:q} --features={input.features:q} "
        "--split={input.split:q} --options={params.options:q} --out={output.predictions:q} "
        "--weights={output.weights:q} > {log} 2>&1"


rule encode_stack:
    """Mix encoders for each neuroid by weights learned on validation stimuli."""
    input:
        responses=f"{SUB}_responses.nc",
        predictions=[f"{SUB}_{stem(n)}_desc-predictions.nc" for n in STACK],
    output:
        f"{SUB}_enc-stack_feat-all_desc-predictions.nc",
    log:
        f"{LOGS}/encode_stack/sub-{{subject}}.log",
    benchmark:
        f"{BENCHMARKS}/encode_stack/sub-{{subject}}.jsonl"
    threads: 1
    resources:
        mem_mb=memory(10),
        runtime=30,
    params:
        options=section("stack"),
        members=members_flags,
    shell:
        "neuroenc encode stack --responses={input.responses:q} {params.members:q} "
        "--options={params.options:q} --out={output:q} > {log} 2>&1"


ruleorder: encode_stack > encode_fit


rule evaluate:
    """Score predictions against the ceiling, with intervals and p-values."""
    input:
        responses=f"{SUB}_responses.nc",
        predictions=f"{SUB}_enc-{{encoder}}_feat-{{model}}_desc-predictions.nc",
    output:
        f"{SUB}_enc-{{encoder}}_feat-{{model}}_desc-scores.nc",
    log:
        f"{LOGS}/evaluate/sub-{{subject}}_{{encoder}}_{{model}}.log",
    benchmark:
        f"{BENCHMARKS}/evaluate/sub-{{subject}}_{{encoder}}_{{model}}.jsonl"
    threads: 1
    resources:
        mem_mb=memory(10),
        runtime=30,
    params:
        options=section("evaluation"),
    shell:
        "neuroenc evaluate score --responses={input.responses:q} "
        "--predictions={input.predictions:q} --options={params.options:q} --out={output:q} "
        "> {log} 2>&1"


rule grade:
    """Hold a simulated run against its truth."""
    input:
        root=ancient(DATASET_ROOT),
        split=f"{RUN}/splits.nc",
        responses=collect(f"{SUB}_responses.nc", subject=SUBJECTS),
        scores=all_scores(SUBJECTS),
        attention=[
            f"{RUN}/sub-{s}/sub-{s}_{stem(ATTENTION[0])}_attention.nc"
            for s in SUBJECTS
            if ATTENTION
        ],
        captions=[
            f"{RUN}/sub-{s}/sub-{s}_desc-captions.csv" for s in SUBJECTS if CAPTIONS
        ],
    output:
        f"{RUN}/grade.json",
    log:
        f"{LOGS}/grade.log",
    benchmark:
        f"{BENCHMARKS}/grade.jsonl"
    threads: 1
    resources:
        mem_mb=6000,
        runtime=30,
    params:
        options=section(),
        responses=responses_flags,
        scores=scores_flags,
        attention=lambda wildcards, input: of_each_subject("attention", input.attention),
        captions=lambda wildcards, input: of_each_subject("captions", input.captions),
    shell:
        "neuroenc evaluate grade --options={params.options:q} --root={input.root:q} "
        "--split={input.split:q} {params.responses:q} {params.scores:q} {params.attention:q} {params.captions:q} --out={output:q} > {log} 2>&1"
