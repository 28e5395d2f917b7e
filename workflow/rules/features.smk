rule features:
    """Extract what one model makes of the stimuli."""
    input:
        stimuli=f"{RUN}/stimuli.nc",
        split=split_of_projection,
    output:
        f"{RUN}/feat-{{model}}_features.nc",
    log:
        f"{LOGS}/features/{{model}}.log",
    benchmark:
        f"{BENCHMARKS}/features/{{model}}.jsonl"
    threads: 1
    resources:
        mem_mb=memory(20, base=4000),
        runtime=120,
    params:
        options=model_section,
        split=lambda wildcards, input: [f"--split={input.split}"] if input.split else [],
    shell:
        "neuroenc features extract --stimuli={input.stimuli:q} --options={params.options:q} "
        "{params.split:q} --out={output:q} > {log} 2>&1"
