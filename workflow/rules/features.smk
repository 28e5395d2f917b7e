rule features:
    """Extract what one model makes of the stimuli."""
    input:
        stimuli=f"{RUN}/stimuli.nc",
        split=split_of_projection,
        given=given_of_model,
    output:
        f"{RUN}/feat-{{model}}_features.nc",
    log:
        f"{LOGS}/features/{{model}}.log",
    benchmark:
        f"{BENCHMARKS}/features/{{model}}.jsonl"
    threads: 1
    resources:
        gpu=lambda wildcards: int(runs_network(wildcards.model)),
        mem_mb=memory_of_features,
        runtime=grown(120),
    params:
        options=lambda wildcards: section("models", wildcards.model),
        run=lambda wildcards, input, output: command(
            "features",
            "extract",
            stimuli=input.stimuli,
            options=section("models", wildcards.model),
            split=input.split,
            out=output[0],
        ),
    shell:
        "neuroenc {params.run:q} > {log:q} 2>&1"
