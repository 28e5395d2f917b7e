"""One space for several sets of recordings: each set's own rules, and what is made of all."""

from snakemake.utils import min_version, validate

min_version("9.19")


include: "rules/common.smk"


validate(config, "schemas/joint.schema.json", set_default=False)


report: "report/joint.rst"


container: "envs/neuroenc.sif"


RUN = f"<results>/{config['label']}"
LOGS = f"<logs>/{config['label']}"
BENCHMARKS = f"{LOGS}/benchmarks"
MODELS = {"target": config["model"]} | (
    {"texts": config["texts"]} if config.get("texts") else {}
)
SPLIT = {k: v for k, v in config.get("split", {}).items() if k not in ("by", "pixels")}
# recording -> where what belongs to it lies
FOLDERS = {name: f"{RUN}-{name.lower()}" for name in config["sets"]}
RESPONSES = {
    f"{name}:{s}": f"{FOLDERS[name]}/sub-{s}/sub-{s}_responses.nc"
    for name, of in config["sets"].items()
    for s in of["subjects"]
}
LEFT_OUT = [name.replace(":", "-") for name in config.get("leave_out", [])]


for SET, of in config["sets"].items():
    PREFIX = f"{SET}_"

    module:
        name: SET
        snakefile:
            "Snakefile"
        config:
            of
            | {
                "label": f"{config['label']}-{SET.lower()}",
                "models": MODELS,
                "split": SPLIT,
            }

    use rule * from SET as PREFIX*


def of_sets(file):
    """List one file of each set."""
    return [f"{folder}/{file}" for folder in FOLDERS.values()]


def decoding(wildcards, input, output):
    """List the command that fits one space, perhaps without a recording."""
    without = getattr(wildcards, "recording", None)
    return command(
        "decode",
        "joint",
        responses=named(RESPONSES, input.responses),
        features=named(FOLDERS, input.features),
        texts=named(FOLDERS, input.texts),
        split=input.split,
        options=section("joint"),
        leave_out=[name for name in RESPONSES if name.replace(":", "-") == without],
        out=os.path.dirname(output.scores),
    )


rule all:
    """Scores of the space, of spaces without a recording, figure and table."""
    default_target: True
    input:
        f"{RUN}/joint.png",
        f"{RUN}/joint.csv",


rule joint_split:
    """Divide the stimuli of all sets together: no concept that one tests is trained on in another."""
    input:
        stimuli=of_sets("stimuli.nc"),
    output:
        f"{RUN}/splits.nc",
    log:
        f"{LOGS}/split.log",
    benchmark:
        f"{BENCHMARKS}/split.jsonl"
    threads: 1
    resources:
        mem_mb=grown(2000),
        runtime=grown(60),
    params:
        options=lambda wildcards: section("split"),
        run=lambda wildcards, input, output: command(
            "split",
            "union",
            (
                "--pixels"
                if config.get("split", {}).get("pixels", True)
                else "--no-pixels"
            ),
            stimuli=named(FOLDERS, input.stimuli),
            by=config.get("split", {}).get("by", "caption"),
            options=section("split", without=["by", "pixels"]),
            out=output[0],
        ),
    shell:
        "neuroenc {params.run:q} > {log:q} 2>&1"


rule joint_fit:
    """Fit one space to all recordings; retrieve within them, across modalities and by all together."""
    input:
        responses=list(RESPONSES.values()),
        features=of_sets("feat-target_features.nc"),
        texts=of_sets("feat-texts_features.nc") if "texts" in MODELS else [],
        split=rules.joint_split.output,
    output:
        embeddings=[
            f"{RUN}/joint/{n.replace(':', '-')}_embeddings.nc" for n in RESPONSES
        ],
        fused=f"{RUN}/joint/fused_embeddings.nc",
        scores=f"{RUN}/joint/scores.json",
    log:
        f"{LOGS}/joint.log",
    benchmark:
        f"{BENCHMARKS}/joint.jsonl"
    threads: 2
    resources:
        gpu=on_gpu(config.get("joint", {})),
        mem_mb=memory(4, base=2000),
        runtime=grown(240),
    params:
        options=lambda wildcards: section("joint"),
        run=decoding,
    shell:
        "neuroenc {params.run:q} > {log:q} 2>&1"


use rule joint_fit as joint_fit_without with:
    output:
        fused=f"{RUN}/without-{{recording}}/fused_embeddings.nc",
        scores=f"{RUN}/without-{{recording}}/scores.json",
    log:
        f"{LOGS}/without-{{recording}}.log",
    benchmark:
        f"{BENCHMARKS}/without-{{recording}}.jsonl"


rule joint_results:
    """Draw retrieval within, across and jointly; list all scores with their protocols."""
    input:
        scores=rules.joint_fit.output.scores,
        without=[f"{RUN}/without-{name}/scores.json" for name in LEFT_OUT],
    output:
        figure=report(
            f"{RUN}/joint.png",
            caption="report/joint_scores.rst",
            category="Decoding",
            labels={"figure": "one space"},
        ),
        table=report(
            f"{RUN}/joint.csv",
            caption="report/joint_scores.rst",
            category="Decoding",
            labels={"figure": "one space, table"},
        ),
    log:
        f"{LOGS}/results.log",
    benchmark:
        f"{BENCHMARKS}/results.jsonl"
    threads: 1
    resources:
        mem_mb=grown(1500),
        runtime=grown(10),
    params:
        run=lambda wildcards, input, output: command(
            "results", "joint", scores=[input.scores, *input.without], **output
        ),
    shell:
        "neuroenc {params.run:q} > {log:q} 2>&1"
