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
        mem_mb=6000,
        runtime=20,
    params:
        flags=simulation_flags,
    shell:
        "neuroenc simulate {params.flags:q} {output:q} > {log} 2>&1"


rule stimuli:
    """List the stimuli of all subjects, and where their pixels are."""
    input:
        root=ancient(DATASET_ROOT),
    output:
        f"{RUN}/stimuli.nc",
    log:
        f"{LOGS}/stimuli.log",
    benchmark:
        f"{BENCHMARKS}/stimuli.jsonl"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=10,
    params:
        options=section("dataset"),
        subjects=subject_flags,
    shell:
        "neuroenc data stimuli --options={params.options:q} --root={input.root:q} "
        "{params.subjects:q} --out={output:q} > {log} 2>&1"


rule responses:
    """Read the recordings of one subject."""
    input:
        root=ancient(DATASET_ROOT),
    output:
        f"{SUB}_responses.nc",
    log:
        f"{LOGS}/responses/sub-{{subject}}.log",
    benchmark:
        f"{BENCHMARKS}/responses/sub-{{subject}}.jsonl"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        options=section("dataset"),
    shell:
        "neuroenc data responses --options={params.options:q} --root={input.root:q} "
        "--subject={wildcards.subject:q} --out={output:q} > {log} 2>&1"


rule split:
    """Divide the stimuli into training and test, once for all models."""
    input:
        f"{RUN}/stimuli.nc",
    output:
        f"{RUN}/splits.nc",
    log:
        f"{LOGS}/split.log",
    benchmark:
        f"{BENCHMARKS}/split.jsonl"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        options=section("split"),
    shell:
        "neuroenc split make --stimuli={input:q} --options={params.options:q} --out={output:q} "
        "> {log} 2>&1"
