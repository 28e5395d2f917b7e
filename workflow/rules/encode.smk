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
        mem_mb=forecast("encode fit", part="encoders", wildcard="encoder"),
        runtime=240,
    params:
        # a longer list of models refits nothing
        run=lambda wildcards, input, output: command(
            "encode",
            "fit",
            **input,
            options=section("encoders", wildcards.encoder, without=["models"]),
            out=output.predictions,
            weights=output.weights,
        ),
    shell:
        "neuroenc {params.run:q} > {log:q} 2>&1"


rule evaluate:
    """Mix the fits of a subject, score all against the ceiling, and retrieve the test pictures by each."""
    input:
        responses=f"{SUB}_responses.nc",
        predictions=[f"{SUB}_{stem(n)}_desc-predictions.nc" for n in FITS],
    output:
        scores=of_fits("scores.nc"),
        stack=[f"{SUB}_{stem('stack')}_desc-predictions.nc"] * bool(STACK),
        retrieval=[f"{SUB}_{stem(n)}_retrieval.json" for n in MATCHED],
    log:
        f"{LOGS}/evaluate/sub-{{subject}}.log",
    benchmark:
        f"{BENCHMARKS}/evaluate/sub-{{subject}}.jsonl"
    threads: 1
    resources:
        mem_mb=forecast(*["encode stack"] * bool(STACK), "evaluate score", "decode match"),
        runtime=120,
    params:
        run=evaluation,
    shell:
        "neuroenc {params.run:q} > {log:q} 2>&1"
