rule features:
    """Extract what one model makes of the stimuli."""
    input:
        f"{RUN}/stimuli.nc",
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
    shell:
        "neuroenc features extract --stimuli {input:q} --options {params.options:q} "
        "--out {output:q} > {log} 2>&1"
