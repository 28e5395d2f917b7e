WANTED = {}
if CAPTIONS:
    WANTED["table"] = f"{SUB}_desc-captions.csv"
    WANTED["regions"] = f"{SUB}_desc-captions_regions.csv"
    WANTED["scores"] = f"{SUB}_desc-captions_scores.json"
    WANTED["topics"] = f"{SUB}_desc-captions_topics.csv"
for region in SYNTHESIS.get("regions", []):
    WANTED[f"figure_{region}"] = report(
        f"{SUB}_synthesis-{region}.png",
        caption="../report/synthesis.rst",
        category="Pictures drawn for regions",
        labels={"subject": "{subject}", "region": region},
    )
    WANTED[f"scores_{region}"] = f"{SUB}_synthesis-{region}.json"
if WANTED:

    rule decode_wants:
        """Say in words what each voxel wants, and draw pictures that regions would answer to."""
        input:
            responses=f"{SUB}_responses.nc",
            stimuli=f"{RUN}/stimuli.nc",
            split=f"{RUN}/splits.nc",
            captions=f"{RUN}/feat-{CAPTIONS['model']}_features.nc" if CAPTIONS else [],
            captioner=writer("captions", CAPTIONS.get("generate")),
            synthesis=(
                f"{RUN}/feat-{SYNTHESIS['model']}_features.nc" if SYNTHESIS else []
            ),
            weights=(
                f"{SUB}_{stem(SYNTHESIS['judge'])}_weights.safetensors"
                if SYNTHESIS
                else []
            ),
        output:
            **WANTED,
        log:
            f"{LOGS}/decode_wants/sub-{{subject}}.log",
        benchmark:
            f"{BENCHMARKS}/decode_wants/sub-{{subject}}.jsonl"
        threads: 1
        resources:
            gpu=int(
                any(
                    runs_network(part["model"])
                    for part in (CAPTIONS, SYNTHESIS)
                    if part
                )
            ),
            mem_mb=memory(8, base=1500),
            runtime=grown(60),
        params:
            options=lambda wildcards: [
                CAPTIONS,
                SYNTHESIS,
                JUDGE_OF_SYNTHESIS,
                CAPTIONS and section("models", CAPTIONS["model"]),
            ],
            run=wants,
        shell:
            "neuroenc {params.run:q} > {log:q} 2>&1"


if DRAWN:

    rule decode_reconstruct:
        """Draw and caption pictures from decoded embeddings, and from all they are held against."""
        input:
            embeddings=f"{SUB}_{DRAWN_FROM}_embeddings.nc",
            null=f"{SUB}_{DRAWN_FROM}_desc-shuffled_embeddings.nc",
            features=f"{RUN}/feat-{DRAWN['model']}_features.nc",
            stimuli=f"{RUN}/stimuli.nc",
            split=f"{RUN}/splits.nc",
            captioner=writer("reconstruction", DRAWN.get("captions")),
            low=f"{SUB}_{START_FROM}_embeddings.nc" if START else [],
            low_null=(
                f"{SUB}_{START_FROM}_desc-shuffled_embeddings.nc" if START else []
            ),
        output:
            pictures=f"{SUB}_{DRAWN_FROM}_pictures.nc",
            captions=f"{SUB}_{DRAWN_FROM}_captions.nc" if DRAWN.get("captions") else [],
        log:
            f"{LOGS}/decode_reconstruct/sub-{{subject}}.log",
        benchmark:
            f"{BENCHMARKS}/decode_reconstruct/sub-{{subject}}.jsonl"
        priority: 1
        threads: 1
        resources:
            gpu=on_gpu(DRAWN) if LARGE else 0,
            mem_mb=forecast("decode reconstruct", part="reconstruction"),
            runtime=grown(1440 if LARGE else 600),
        params:
            options=lambda wildcards: [
                DRAWING,
                *EYE,
                *([section("models", START_MODEL)] if START else []),
            ],
            run=reconstruction,
        shell:
            "neuroenc {params.run:q} > {log:q} 2>&1"

    rule evaluate_reconstructions:
        """Score pictures by pixels, networks and encoders that predict responses to them; and captions."""
        input:
            pictures=rules.decode_reconstruct.output.pictures,
            captions=rules.decode_reconstruct.output.captions,
            stimuli=f"{RUN}/stimuli.nc",
            split=f"{RUN}/splits.nc" if SPACE else [],
            responses=f"{SUB}_responses.nc",
            weights=[
                f"{SUB}_{stem(n)}_weights.safetensors"
                for n in DRAWN.get("closed_loop", [])
            ],
        output:
            pictures=f"{SUB}_{DRAWN_FROM}_desc-pictures_scores.json",
            captions=(
                f"{SUB}_{DRAWN_FROM}_desc-captions_scores.json"
                if DRAWN.get("captions")
                else []
            ),
        log:
            f"{LOGS}/evaluate_reconstructions/sub-{{subject}}.log",
        benchmark:
            f"{BENCHMARKS}/evaluate_reconstructions/sub-{{subject}}.jsonl"
        priority: 1
        threads: 1
        resources:
            gpu=int(JUDGED_BY_NETWORKS),
            mem_mb=memory(8, base=3000 if JUDGED_BY_NETWORKS else 1500),
            runtime=grown(60),
        params:
            options=lambda wildcards: [
                DRAWN,
                [
                    section("models", name)
                    for name in [*DRAWN.get("judges", []), DRAWN["model"]]
                ],
                [section("models", FITS[n][1]) for n in DRAWN.get("closed_loop", [])],
            ],
            run=judgement,
        shell:
            "neuroenc {params.run:q} > {log:q} 2>&1"


if OBJECTS:

    rule decode_shapes:
        """Make objects in three dimensions of what was decoded; score them; draw them from all around."""
        input:
            stimuli=f"{RUN}/stimuli.nc",
            pictures=f"{SUB}_{DRAWN_FROM}_pictures.nc" if BY_SHAP_E else [],
            embeddings=[] if BY_SHAP_E else f"{SUB}_{OBJECTS_FROM}_embeddings.nc",
            null=(
                []
                if BY_SHAP_E
                else f"{SUB}_{OBJECTS_FROM}_desc-shuffled_embeddings.nc"
            ),
            features=(
                []
                if BY_SHAP_E
                else f"{RUN}/feat-{OBJECTS_FROM.split('_feat-')[1]}_features.nc"
            ),
            split=[] if BY_SHAP_E else f"{RUN}/splits.nc",
            meshes=MESHES or [],
        output:
            folder=directory(f"{SUB}_{OBJECTS_FROM}_shapes"),
            scores=f"{SUB}_{OBJECTS_FROM}_desc-shapes_scores.json",
            figure=figure("shapes", "shapes", "Objects"),
            turning=report(
                f"{SUB}_shapes.gif",
                caption="../report/shapes.rst",
                category="Objects",
                labels={"subject": "{subject}", "turning": "yes"},
            ),
        log:
            f"{LOGS}/decode_shapes/sub-{{subject}}.log",
        benchmark:
            f"{BENCHMARKS}/decode_shapes/sub-{{subject}}.jsonl"
        threads: 1
        resources:
            **({"gpu": 1} if BY_SHAP_E and OBJECTS.get("device") != "cpu" else {}),
            mem_mb=12000 if BY_SHAP_E else 3000,
            runtime=1440 if BY_SHAP_E else 120,
        params:
            options=lambda wildcards: [
                section("shapes"),
                section("models", OBJECTS["judge"]) if OBJECTS.get("judge") else [],
            ],
            run=shaping,
        shell:
            "neuroenc {params.run:q} > {log:q} 2>&1"
