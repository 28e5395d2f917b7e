rule encode_fit:
    """Fit one encoder to one subject and model; predict the held-out stimuli."""
    input:
        responses=f"{SUB}_responses.nc",
        features=features_of_fit,
        split=f"{RUN}/splits.nc",
    output:
        predictions=f"{SUB}_enc-{{encoder}}_feat-{{model}}_desc-predictions.nc",
        weights=f"{SUB}_enc-{{encoder}}_feat-{{model}}_weights.safetensors",
        sidecar=f"{SUB}_enc-{{encoder}}_feat-{{model}}_weights.json",
    log:
        f"{LOGS}/encode_fit/sub-{{subject}}_{{encoder}}_{{model}}.log",
    benchmark:
        f"{BENCHMARKS}/encode_fit/sub-{{subject}}_{{encoder}}_{{model}}.jsonl"
    wildcard_constraints:
        model=rf"{NAME}(\+{NAME})*",
        encoder=ALONE,
    threads: 1
    resources:
        gpu=lambda wildcards: trains(config["encoders"][wildcards.encoder]),
        mem_mb=forecast("encode fit", part="encoders", wildcard="encoder"),
        runtime=grown(240),
    params:
        options=lambda wildcards: fitting("encoders", wildcards.encoder),
        run=encoding,
    shell:
        "neuroenc {params.run:q} > {log:q} 2>&1"


rule encode_joint:
    """Fit one core to all subjects; predict the held-out stimuli of each."""
    input:
        responses=of_subjects("responses.nc"),
        features=f"{RUN}/feat-{{model}}_features.nc",
        split=f"{RUN}/splits.nc",
    output:
        predictions=of_subjects("enc-{encoder}_feat-{model}_desc-predictions.nc"),
        weights=of_subjects("enc-{encoder}_feat-{model}_weights.safetensors"),
        sidecars=of_subjects("enc-{encoder}_feat-{model}_weights.json"),
    log:
        f"{LOGS}/encode_joint/{{encoder}}_{{model}}.log",
    benchmark:
        f"{BENCHMARKS}/encode_joint/{{encoder}}_{{model}}.jsonl"
    wildcard_constraints:
        encoder=JOINT,
    threads: 1
    resources:
        gpu=lambda wildcards: trains(config["encoders"][wildcards.encoder]),
        mem_mb=memory(4, base=2000),
        runtime=grown(240),
    params:
        options=lambda wildcards: fitting("encoders", wildcards.encoder),
        run=joining,
    shell:
        "neuroenc {params.run:q} > {log:q} 2>&1"


if CURVE:
    PART = f"{SUB}_enc-{{encoder}}_feat-{{model}}_size-{{size}}"

    rule shorten:
        """Leave out training stimuli of a subject beyond each size of the learning curve."""
        input:
            split=f"{RUN}/splits.nc",
            responses=f"{SUB}_responses.nc",
        output:
            [f"{SUB}_size-{size}_splits.nc" for size in PARTS],
        log:
            f"{LOGS}/shorten/sub-{{subject}}.log",
        benchmark:
            f"{BENCHMARKS}/shorten/sub-{{subject}}.jsonl"
        # a size that is too large is refused before any fit
        priority: 1
        threads: 1
        resources:
            mem_mb=memory(3),
            runtime=grown(15),
        params:
            options=lambda wildcards: section("learning_curve", without=["fits"]),
            run=shortening,
        shell:
            "neuroenc {params.run:q} > {log:q} 2>&1"

    rule encode_part:
        """Fit one encoder to the first training stimuli of a subject, and score it on the same test stimuli."""
        input:
            responses=f"{SUB}_responses.nc",
            features=features_of_fit,
            split=f"{SUB}_size-{{size}}_splits.nc",
        output:
            scores=f"{PART}_desc-scores.nc",
            predictions=temp(f"{PART}_desc-predictions.nc"),
            weights=temp(f"{PART}_weights.safetensors"),
            sidecar=temp(f"{PART}_weights.json"),
        log:
            f"{LOGS}/encode_part/sub-{{subject}}_{{encoder}}_{{model}}_{{size}}.log",
        benchmark:
            f"{BENCHMARKS}/encode_part/sub-{{subject}}_{{encoder}}_{{model}}_{{size}}.jsonl"
        wildcard_constraints:
            model=rf"{NAME}(\+{NAME})*",
            size="[0-9]+",
        threads: 1
        resources:
            gpu=lambda wildcards: trains(config["encoders"][wildcards.encoder]),
            mem_mb=forecast("encode fit", part="encoders", wildcard="encoder"),
            runtime=grown(240),
        params:
            options=lambda wildcards: [
                fitting("encoders", wildcards.encoder),
                section("evaluation"),
            ],
            run=encoding_of_part,
        shell:
            "neuroenc {params.run:q} > {log:q} 2>&1"

    rule learning_curve:
        """Draw and list accuracy by region against the number of training stimuli, over all subjects."""
        input:
            whole=of_subjects(*[f"{stem(n)}_desc-scores.nc" for n in CURVES]),
            parts=of_subjects(
                *[
                    f"{stem(n)}_size-{size}_desc-scores.nc"
                    for n in CURVES
                    for size in PARTS
                ]
            ),
        output:
            table=f"{RUN}/learning-curve.csv",
            figure=report(
                f"{RUN}/learning-curve.png",
                caption="../report/learning_curve.rst",
                category="Learning curve",
            ),
        log:
            f"{LOGS}/learning_curve.log",
        benchmark:
            f"{BENCHMARKS}/learning_curve.jsonl"
        threads: 1
        resources:
            mem_mb=memory(3),
            runtime=grown(15),
        params:
            run=growing,
        shell:
            "neuroenc {params.run:q} > {log:q} 2>&1"


if EXPORT:

    rule export:
        """Write the encoder of each subject as a folder that others can call."""
        input:
            responses=of_subjects("responses.nc"),
            predictions=of_subjects(f"{stem(EXPORT)}_desc-predictions.nc"),
            scores=of_subjects(f"{stem(EXPORT)}_desc-scores.nc"),
            weights=of_subjects(*[f"{stem(n)}_weights.safetensors" for n in EXPORTED]),
            sidecars=of_subjects(*[f"{stem(n)}_weights.json" for n in EXPORTED]),
            features=[f"{RUN}/feat-{FITS[n][1]}_features.nc" for n in EXPORTED],
        output:
            [directory(f"{RUN}/sub-{s}_enc-{EXPORT}") for s in SUBJECTS],
        log:
            f"{LOGS}/export.log",
        benchmark:
            f"{BENCHMARKS}/export.jsonl"
        threads: 1
        resources:
            mem_mb=memory(3),
            runtime=grown(60),
        params:
            options=lambda wildcards: [
                section("models", FITS[name][1]) for name in EXPORTED
            ],
            run=exporting,
        shell:
            "neuroenc {params.run:q} > {log:q} 2>&1"


rule evaluate:
    """Mix the fits of a subject, score and compare all, and retrieve the test pictures by each."""
    input:
        responses=f"{SUB}_responses.nc",
        predictions=[f"{SUB}_{stem(n)}_desc-predictions.nc" for n in FITS],
    output:
        scores=of_fits("scores.nc"),
        stack=[f"{SUB}_{stem('stack')}_desc-predictions.nc"] * bool(STACK),
        retrieval=[f"{SUB}_{stem(n)}_retrieval.json" for n in MATCHED],
        comparisons=[f"{SUB}_comparison-{label}.nc" for label in COMPARISONS],
    log:
        f"{LOGS}/evaluate/sub-{{subject}}.log",
    benchmark:
        f"{BENCHMARKS}/evaluate/sub-{{subject}}.jsonl"
    threads: 1
    resources:
        mem_mb=forecast(
            *["encode stack"] * bool(STACK),
            *["evaluate compare"] * bool(COMPARISONS),
            "evaluate score",
            "decode match",
        ),
        runtime=grown(120),
    params:
        options=lambda wildcards: [
            NAMES,
            *map(section, ("stack", "evaluation", "comparisons")),
        ],
        run=evaluation,
    shell:
        "neuroenc {params.run:q} > {log:q} 2>&1"


if PARTITION:

    rule partition:
        """Split what models explain into unique and shared parts, and name the zone of each neuroid."""
        input:
            responses=f"{SUB}_responses.nc",
            features=[f"{RUN}/feat-{m}_features.nc" for m in PARTITION["models"]],
            split=f"{RUN}/splits.nc",
        output:
            f"{SUB}_desc-partition_scores.nc",
        log:
            f"{LOGS}/partition/sub-{{subject}}.log",
        benchmark:
            f"{BENCHMARKS}/partition/sub-{{subject}}.jsonl"
        threads: 1
        resources:
            mem_mb=memory(10, base=2000),
            runtime=grown(240),
        params:
            options=lambda wildcards: [section("partition"), section("evaluation")],
            run=parting,
        shell:
            "neuroenc {params.run:q} > {log:q} 2>&1"


rule similarity:
    """Hold dissimilarity matrices of layers against those of regions, over all subjects."""
    input:
        responses=of_subjects("responses.nc"),
        features=[f"{RUN}/feat-{m}_features.nc" for m in ALIKE],
    output:
        scores=f"{RUN}/similarity.json",
        figure=report(
            f"{RUN}/similarity.png",
            caption="../report/similarity.rst",
            category="Representational similarity",
        ),
    log:
        f"{LOGS}/similarity.log",
    benchmark:
        f"{BENCHMARKS}/similarity.jsonl"
    threads: 1
    resources:
        # triangles of regions, 4 GB at most, and what ranking takes
        mem_mb=memory(3, base=7000),
        runtime=grown(120),
    params:
        options=lambda wildcards: section("similarity"),
        run=comparing,
    shell:
        "neuroenc {params.run:q} > {log:q} 2>&1"


rule distance:
    """Score test stimuli by their distance to training, where the split is made in a space of features."""
    input:
        responses=f"{SUB}_responses.nc",
        predictions=[f"{SUB}_{stem(n)}_desc-predictions.nc" for n in FITS],
        split=f"{RUN}/splits.nc",
    output:
        scores=f"{SUB}_desc-distance_scores.json",
        figure=figure("distance", "distance", "Accuracy by distance to training"),
    log:
        f"{LOGS}/distance/sub-{{subject}}.log",
    benchmark:
        f"{BENCHMARKS}/distance/sub-{{subject}}.jsonl"
    threads: 1
    resources:
        mem_mb=memory(8),
        runtime=grown(30),
    params:
        run=spacing,
    shell:
        "neuroenc {params.run:q} > {log:q} 2>&1"
