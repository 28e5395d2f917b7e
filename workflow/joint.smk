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
DRAWN = config.get("reconstruction")  # may be empty
LARGE = (DRAWN or {}).get("generator", "nano") != "nano"
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


# recording -> the page of what was decoded from it
PAGES = [f"{RUN}/joint/{n.replace(':', '-')}_reconstructions.html" for n in RESPONSES]


include: "rules/commands_joint.smk"


rule all:
    """Scores of the space, of spaces without a recording, figure and table."""
    default_target: True
    input:
        f"{RUN}/joint.png",
        f"{RUN}/joint.csv",
        [] if DRAWN is None else PAGES,


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
            f"{RUN}/joint/{n.replace(':', '-')}{ending}_embeddings.nc"
            for n in RESPONSES
            for ending in ("", "_desc-shuffled")
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


if DRAWN is not None:
    DRAWS = f"{RUN}/joint/{{recording}}"

    rule joint_pictures:
        """Draw and caption what was decoded from one recording; score both; write a page of them."""
        input:
            embeddings=f"{DRAWS}_embeddings.nc",
            null=f"{DRAWS}_desc-shuffled_embeddings.nc",
            features=of_its_set("feat-target_features.nc"),
            stimuli=of_its_set("stimuli.nc"),
            split=rules.joint_split.output,
        output:
            pictures=f"{DRAWS}_pictures.nc",
            scores=f"{DRAWS}_desc-pictures_scores.json",
            captions=f"{DRAWS}_captions.nc" if DRAWN.get("captions") else [],
            caption_scores=(
                f"{DRAWS}_desc-captions_scores.json" if DRAWN.get("captions") else []
            ),
            page=report(
                f"{DRAWS}_reconstructions.html",
                caption="report/reconstructions.rst",
                category="Decoding",
                labels={"figure": "reconstructions of {recording}"},
            ),
        log:
            f"{LOGS}/pictures/{{recording}}.log",
        benchmark:
            f"{BENCHMARKS}/pictures/{{recording}}.jsonl"
        wildcard_constraints:
            recording="|".join(name.replace(":", "-") for name in RESPONSES),
        threads: 1
        resources:
            gpu=on_gpu(DRAWN) if LARGE else 0,
            mem_mb=forecast("decode reconstruct", part="reconstruction"),
            runtime=grown(1440 if LARGE else 600),
        params:
            options=lambda wildcards: [section("reconstruction"), section("model")],
            run=drawing,
        shell:
            "neuroenc {params.run:q} > {log:q} 2>&1"


rule joint_results:
    """Draw retrieval within, across and jointly; list all scores with their protocols; write the methods."""
    input:
        # what methods say of the recordings and the network is read from these
        responses=list(RESPONSES.values()),
        features=of_sets("feat-target_features.nc"),
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
        methods=f"{RUN}/methods.md",
        bib=f"{RUN}/methods.bib",
        methods_page=report(
            f"{RUN}/methods.html",
            caption="report/methods.rst",
            category="Methods",
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
        options=lambda wildcards: json.dumps(config),
        run=telling,
    shell:
        "neuroenc {params.run:q} > {log:q} 2>&1"
