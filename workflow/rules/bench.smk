rule bench_readouts:
    """Compare all readouts on the same features, splits and ceilings."""
    input:
        script=workflow.source_path("../../benchmarks/readouts.py"),
        options=workflow.source_path("../../benchmarks/readouts.yaml"),
    output:
        rows="benchmarks/results/readouts.json",
        table="benchmarks/RESULTS.md",
        figure=report(
            "docs/readouts.png",
            caption="../report/readouts.rst",
            category="Bench of readouts",
        ),
    log:
        "logs/bench_readouts.log",
    benchmark:
        "logs/bench_readouts.jsonl"
    threads: 2
    resources:
        mem_mb=grown(8000),
        runtime=grown(120),
    shell:
        "python {input.script:q} > {log:q} 2>&1"
