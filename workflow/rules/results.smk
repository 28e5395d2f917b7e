SHOWN = {"responses": f"{SUB}_responses.nc", "scores": of_fits("scores.nc")}
MADE = {
    "regions": figure("regions", "regions", "Accuracy by region"),
    "scatter": figure("scatter", "scatter", "Accuracy against ceiling"),
    "layers": figure("layers", "layers", "Layers"),
}
if SURFACE:
    MADE["surface"] = figure("surface", "surface", "Surface maps")
    MADE["left"] = f"{SUB}_hemi-L_desc-scores.func.gii"
    MADE["right"] = f"{SUB}_hemi-R_desc-scores.func.gii"
if SURFACE and COMPARISONS:
    SHOWN["comparisons"] = [f"{SUB}_comparison-{label}.nc" for label in COMPARISONS]
    MADE["winners"] = figure("winners", "winners", "Comparisons")
if SURFACE and PARTITION:
    SHOWN["partition"] = f"{SUB}_desc-partition_scores.nc"
    MADE["zones"] = figure("zones", "zone_map", "Zones")
if VOLUME:
    MADE["maps"] = f"{SUB}_desc-scores_maps.nii.gz"
    MADE["sidecar"] = f"{SUB}_desc-scores_maps.json"
if TIMES:
    MADE["time_course"] = figure("time-course", "time_course", "Accuracy over time")
for name in ATTENTION:
    label = stem(name)
    SHOWN["stimuli"] = f"{RUN}/stimuli.nc"
    SHOWN[f"weights_{label}"] = f"{SUB}_{label}_weights.safetensors"
    SHOWN[f"sidecar_{label}"] = f"{SUB}_{label}_weights.json"
    SHOWN[f"features_{label}"] = f"{RUN}/feat-{FITS[name][1]}_features.nc"
    MADE[f"attention_{label}"] = figure(
        f"{label}_attention", "attention", "Attention maps", model=FITS[name][1]
    )
    MADE[f"maps_{label}"] = f"{SUB}_{label}_attention.nc"
for label in CLASSIFIERS:
    SHOWN[f"classes_{label}"] = f"{SUB}_dec-{label}_desc-classes_scores.json"
    MADE[f"classes_{label}"] = figure(
        f"dec-{label}_classes", "classes", "Classes told apart", decoder=label
    )
if CAPTIONS:
    SHOWN["words"] = f"{SUB}_desc-captions_regions.csv"
    MADE["words"] = figure("words", "words", "What voxels want, in words")
if CAPTIONS and SURFACE:
    SHOWN["said"] = f"{SUB}_desc-captions.csv"
    MADE["words_on_surface"] = figure(
        "words-surface", "words_on_surface", "What voxels want, in words"
    )
if DRAWN:
    SHOWN["stimuli"] = f"{RUN}/stimuli.nc"
    SHOWN["pictures"] = f"{SUB}_{DRAWN_FROM}_pictures.nc"
    SHOWN["judged"] = f"{SUB}_{DRAWN_FROM}_desc-pictures_scores.json"
    SHOWN["captions"] = (
        f"{SUB}_{DRAWN_FROM}_captions.nc" if DRAWN.get("captions") else []
    )
    SHOWN["judged_captions"] = (
        f"{SUB}_{DRAWN_FROM}_desc-captions_scores.json" if DRAWN.get("captions") else []
    )
    MADE["reconstructions"] = figure(
        "reconstructions", "reconstructions", "Reconstructions"
    )
    # of all pictures, which it holds: too much for the report
    MADE["gallery"] = f"{SUB}_reconstructions.html"


rule figures:
    """Draw what is known of one subject: scores, layers, maps, attention, classes, words, pictures."""
    input:
        **SHOWN,
    output:
        **MADE,
    log:
        f"{LOGS}/figures/sub-{{subject}}.log",
    benchmark:
        f"{BENCHMARKS}/figures/sub-{{subject}}.jsonl"
    threads: 1
    resources:
        mem_mb=memory(10, base=1500),
        runtime=grown(30),
    params:
        run=drawing,
    shell:
        "neuroenc {params.run:q} > {log:q} 2>&1"


rule summary:
    """Hold a simulated run against its truth; gather all scores, and write what was done and what to cite."""
    input:
        scores=[p for s in SUBJECTS for p in of_fits("scores.nc", s)],
        retrieval=[f"{RUN}/sub-{s}/sub-{s}_{d}_retrieval.json" for s, d in RETRIEVED],
        classes=of_subjects(*[f"dec-{d}_desc-classes_scores.json" for d in CLASSIFIERS]),
        pictures=of_subjects(f"{DRAWN_FROM}_desc-pictures_scores.json", when=DRAWN),
        captions=of_subjects(
            f"{DRAWN_FROM}_desc-captions_scores.json", when=DRAWN.get("captions")
        ),
        comparisons=of_subjects(*[f"comparison-{label}.nc" for label in COMPARISONS]),
        partition=of_subjects("desc-partition_scores.nc", when=PARTITION),
        # the truth of what is simulated
        root=RECORDINGS if SIMULATED else [],
        split=f"{RUN}/splits.nc" if SIMULATED else [],
        responses=of_subjects("responses.nc", when=SIMULATED),
        attention=of_subjects(
            *[f"{stem(n)}_attention.nc" for n in ATTENTION[:1]], when=SIMULATED
        ),
        said=of_subjects("desc-captions.csv", when=SIMULATED and CAPTIONS),
        # whose sizes the methods name
        recorded=of_subjects("responses.nc"),
        features=[f"{RUN}/feat-{m}_features.nc" for m in FITTED],
    output:
        grade=f"{RUN}/grade.json" if SIMULATED else [],
        summary=f"{RUN}/summary.json",
        table=f"{RUN}/scores.parquet",
        parcels=f"{RUN}/parcels.csv" if ATLAS else [],
        comparisons=f"{RUN}/comparisons.csv" if COMPARISONS else [],
        differences=[
            report(
                f"{RUN}/comparison-{label}.png",
                caption="../report/comparison.rst",
                category="Comparisons",
                labels={"comparison": label},
            )
            for label in COMPARISONS
        ],
        patterns=f"{RUN}/patterns.csv" if PATTERNS else [],
        pattern_figures=[
            report(
                f"{RUN}/patterns-{label}.png",
                caption="../report/patterns.rst",
                category="Comparisons",
                labels={"comparison": label, "of": "patterns"},
            )
            for label in PATTERNS
        ],
        zones=f"{RUN}/zones.csv" if PARTITION else [],
        zone_figure=(
            report(f"{RUN}/zones.png", caption="../report/zones.rst", category="Zones")
            if PARTITION
            else []
        ),
        sites=[f"{RUN}/electrodes-{label}.csv" for label in COMPARISONS if ELECTRODES],
        electrodes=(
            report(
                f"{RUN}/electrodes.png",
                caption="../report/electrodes.rst",
                category="Electrodes",
            )
            if ELECTRODES
            else []
        ),
        page=report(
            f"{RUN}/summary.html",
            caption="../report/summary.rst",
            category="Summary",
        ),
        methods=f"{RUN}/methods.md",
        bib=f"{RUN}/methods.bib",
        methods_page=report(
            f"{RUN}/methods.html",
            caption="../report/methods.rst",
            category="Methods",
        ),
    log:
        f"{LOGS}/summary.log",
    benchmark:
        f"{BENCHMARKS}/summary.jsonl"
    threads: 1
    resources:
        mem_mb=memory(
            5, base=2000 if SIMULATED else 1500, without=("features", "recorded")
        ),
        runtime=grown(30),
    params:
        options=lambda wildcards: json.dumps(config),
        run=summing,
    shell:
        "neuroenc {params.run:q} > {log:q} 2>&1"


rule explorer:
    """Write pages with maps to turn and to ask. By its name alone: snakemake explorer."""
    input:
        summary=f"{RUN}/summary.json",
        scores=[p for s in SUBJECTS for p in of_fits("scores.nc", s)],
        responses=of_subjects("responses.nc"),
        comparisons=of_subjects(*[f"comparison-{label}.nc" for label in COMPARISONS]),
        partition=of_subjects("desc-partition_scores.nc", when=PARTITION),
        distance=of_subjects("desc-distance_scores.json", when=SPACE),
        captions=of_subjects("desc-captions.csv", when=CAPTIONS),
        synthesis=of_subjects(
            *[
                f"synthesis-{region}.{ending}"
                for region in SYNTHESIS.get("regions", [])
                for ending in ("json", "png")
            ]
        ),
    output:
        folder=directory(f"{RUN}/explorer"),
    log:
        f"{LOGS}/explorer.log",
    benchmark:
        f"{BENCHMARKS}/explorer.jsonl"
    threads: 1
    resources:
        mem_mb=memory(3, base=1500),
        runtime=grown(30),
    params:
        run=lambda wildcards, input, output: command(
            "explore", os.path.dirname(input.summary), out=output.folder
        ),
    shell:
        "neuroenc {params.run:q} > {log:q} 2>&1"
