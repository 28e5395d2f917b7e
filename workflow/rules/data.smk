rule simulate:
    """Simulate pictures and cortex in NSD's own layout."""
    output:
        directory(f"<resources>/{config['label']}/nsd"),
    log:
        f"{LOGS}/simulate.log",
    benchmark:
        f"{BENCHMARKS}/simulate.jsonl"
    threads: 2
    resources:
        mem_mb=grown(2000),
        runtime=grown(20),
    params:
        options=lambda wildcards: config.get("simulate", {}),
        run=lambda wildcards, output: command(
            "simulate", output[0], **config.get("simulate", {})
        ),
    shell:
        "neuroenc {params.run:q} > {log:q} 2>&1"


rule stimuli:
    """List the stimuli of all subjects, and where their pixels are."""
    input:
        root=RECORDINGS,
    output:
        f"{RUN}/stimuli.nc",
    log:
        f"{LOGS}/stimuli.log",
    benchmark:
        f"{BENCHMARKS}/stimuli.jsonl"
    group:
        "listing"  # takes seconds, as split does: on a cluster both are one job
    threads: 1
    resources:
        mem_mb=grown(1500),
        runtime=grown(10),
    params:
        options=lambda wildcards: [section("dataset"), SUBJECTS],
        run=lambda wildcards, input, output: command(
            "data",
            "stimuli",
            options=section("dataset"),
            root=input.root,
            subject=SUBJECTS,
            out=output[0],
        ),
    shell:
        "neuroenc {params.run:q} > {log:q} 2>&1"


rule responses:
    """Read the recordings of one subject."""
    input:
        root=RECORDINGS,
        atlas=labels_of_atlas,
    output:
        f"{SUB}_responses.nc",
    log:
        f"{LOGS}/responses/sub-{{subject}}.log",
    benchmark:
        f"{BENCHMARKS}/responses/sub-{{subject}}.jsonl"
    threads: 1
    resources:
        # forty sessions of nsdgeneral take 2.2 GB, benchmarks/results/nsd.json
        mem_mb=grown(4000),
        runtime=grown(60),
    params:
        options=lambda wildcards: section("dataset"),
        run=lambda wildcards, input, output: command(
            "data",
            "responses",
            options=section("dataset"),
            root=input.root,
            subject=wildcards.subject,
            out=output[0],
        ),
    shell:
        "neuroenc {params.run:q} > {log:q} 2>&1"


rule split:
    """Divide the stimuli into training and test, once for all models."""
    input:
        stimuli=f"{RUN}/stimuli.nc",
        features=[f"{RUN}/feat-{m}_features.nc" for m in SPACE],
    output:
        f"{RUN}/splits.nc",
    log:
        f"{LOGS}/split.log",
    benchmark:
        f"{BENCHMARKS}/split.jsonl"
    group:
        "dividing" if SPACE else "listing"
    threads: 1
    resources:
        mem_mb=memory(1) if SPACE else grown(1000),
        runtime=grown(30 if SPACE else 5),
    params:
        options=lambda wildcards: section("split"),
        run=lambda wildcards, input, output: command(
            "split",
            "make",
            stimuli=input.stimuli,
            features=input.features,
            options=section("split"),
            out=output[0],
        ),
    shell:
        "neuroenc {params.run:q} > {log:q} 2>&1"
