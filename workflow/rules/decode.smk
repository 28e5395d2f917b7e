rule decode_fit:
    """Decode embeddings of held-out stimuli, also after dealing the training pictures anew; retrieve by both."""
    input:
        responses=f"{SUB}_responses.nc",
        features=f"{RUN}/feat-{{model}}_features.nc",
        split=f"{RUN}/splits.nc",
        weights=of_augmenting(f"{SUB}_{{fit}}_weights.safetensors"),
        predictions=of_augmenting(f"{SUB}_{{fit}}_desc-predictions.nc"),
        encoder_features=of_augmenting(f"{RUN}/{{at}}{{feat}}_features.nc"),
        pictures=of_augmenting(
            f"{RUN}/dec-{{decoder}}_feat-{{model}}_features.nc", folder=True
        ),
    output:
        embeddings=f"{SUB}_dec-{{decoder}}_feat-{{model}}_embeddings.nc",
        null=f"{SUB}_dec-{{decoder}}_feat-{{model}}_desc-shuffled_embeddings.nc",
        retrieval=f"{SUB}_dec-{{decoder}}_feat-{{model}}_retrieval.json",
    log:
        f"{LOGS}/decode_fit/sub-{{subject}}_{{decoder}}_{{model}}.log",
    benchmark:
        f"{BENCHMARKS}/decode_fit/sub-{{subject}}_{{decoder}}_{{model}}.jsonl"
    wildcard_constraints:
        decoder="|".join(k for k in DECODERS if k not in TOGETHER) or NAME,
    priority: 1  # the longest chain of jobs begins here
    threads: 1
    resources:
        gpu=lambda wildcards: trains(DECODERS[wildcards.decoder]),
        mem_mb=forecast("decode fit", part="decoders", wildcard="decoder"),
        runtime=grown(120),
    params:
        options=lambda wildcards: fitting("decoders", wildcards.decoder),
        run=decoding,
    shell:
        "neuroenc {params.run:q} > {log:q} 2>&1"


for label, (folder, read) in OF_FOLDER.items():

    rule:
        name:
            f"decode_pictures_{label}"
        input:
            folder=ancient(folder),
            # recordings that cannot be read are refused before hours of work
            recorded=ancient(f"{RUN}/stimuli.nc"),
        output:
            stimuli=f"{RUN}/dec-{label}_stimuli.nc",
            features=[f"{RUN}/dec-{label}_feat-{m}_features.nc" for m in read],
        log:
            f"{LOGS}/decode_pictures/{label}.log",
        benchmark:
            f"{BENCHMARKS}/decode_pictures/{label}.jsonl"
        threads: 2
        resources:
            gpu=int(any(map(runs_network, read))),
            mem_mb=grown(4000),
            runtime=grown(1440),
        params:
            options=[folder, [section("models", m) for m in read]],
            run=describing(label),
        shell:
            "neuroenc {params.run:q} > {log:q} 2>&1"


for label, who in TOGETHER.items():

    rule:
        name:
            f"decode_together_{label}"
        input:
            responses=[f"{RUN}/sub-{s}/sub-{s}_responses.nc" for s in who],
            features=f"{RUN}/feat-{{model}}_features.nc",
            split=f"{RUN}/splits.nc",
        output:
            embeddings=[
                f"{RUN}/sub-{s}/sub-{s}_dec-{label}_feat-{{model}}_embeddings.nc"
                for s in who
            ],
            null=[
                f"{RUN}/sub-{s}/sub-{s}_dec-{label}_feat-{{model}}_desc-shuffled_embeddings.nc"
                for s in who
            ],
            retrieval=[
                f"{RUN}/sub-{s}/sub-{s}_dec-{label}_feat-{{model}}_retrieval.json"
                for s in who
            ],
        log:
            f"{LOGS}/decode_together/{label}_{{model}}.log",
        benchmark:
            f"{BENCHMARKS}/decode_together/{label}_{{model}}.jsonl"
        priority: 1
        threads: 1
        resources:
            gpu=trains(DECODERS[label]),
            mem_mb=memory(6, base=2000),
            runtime=grown(600),
        params:
            options=fitting("decoders", label),
            run=decoding_together(label),
        shell:
            "neuroenc {params.run:q} > {log:q} 2>&1"


if TRANSFER:

    rule decode_transfer:
        """Decode a new subject from few sessions, after training on the others and without."""
        input:
            responses=of_subjects("responses.nc"),
            features=f"{RUN}/feat-{TRANSFER['model']}_features.nc",
            split=f"{RUN}/splits.nc",
        output:
            scores=f"{SUB}_desc-transfer_scores.json",
        log:
            f"{LOGS}/decode_transfer/sub-{{subject}}.log",
        benchmark:
            f"{BENCHMARKS}/decode_transfer/sub-{{subject}}.jsonl"
        priority: 1
        threads: 1
        resources:
            gpu=trains(DECODERS[TRANSFER["network"]]),
            mem_mb=memory(6, base=2000),
            runtime=grown(600),
        params:
            options=lambda wildcards: [
                section("transfer", without=["subjects"]),
                *(fitting("decoders", TRANSFER[k]) for k in ("network", "ridge")),
            ],
            run=transferring,
        shell:
            "neuroenc {params.run:q} > {log:q} 2>&1"

    rule transfer:
        """Draw and list retrieval against the sessions of the new subjects."""
        input:
            scores=[
                f"{RUN}/sub-{s}/sub-{s}_desc-transfer_scores.json"
                for s in TRANSFER.get("subjects") or SUBJECTS
            ],
        output:
            figure=report(
                f"{RUN}/transfer.png",
                caption="../report/transfer.rst",
                category="Sessions of a new subject",
            ),
            table=report(
                f"{RUN}/transfer.csv",
                caption="../report/transfer.rst",
                category="Sessions of a new subject",
            ),
        log:
            f"{LOGS}/transfer.log",
        benchmark:
            f"{BENCHMARKS}/transfer.jsonl"
        threads: 1
        resources:
            mem_mb=grown(1000),
            runtime=grown(10),
        params:
            run=lambda wildcards, input, output: command(
                "results", "transfer", scores=list(input.scores), **output
            ),
        shell:
            "neuroenc {params.run:q} > {log:q} 2>&1"


rule decode_classify:
    """Tell classes of held-out stimuli apart; and after dealing the labels anew, for the null."""
    input:
        responses=f"{SUB}_responses.nc",
        stimuli=f"{RUN}/stimuli.nc",
        split=f"{RUN}/splits.nc",
    output:
        classes=f"{SUB}_dec-{{decoder}}_classes.nc",
        scores=f"{SUB}_dec-{{decoder}}_desc-classes_scores.json",
    log:
        f"{LOGS}/decode_classify/sub-{{subject}}_{{decoder}}.log",
    benchmark:
        f"{BENCHMARKS}/decode_classify/sub-{{subject}}_{{decoder}}.jsonl"
    threads: 1
    resources:
        mem_mb=memory(12),
        runtime=grown(120),
    params:
        options=lambda wildcards: fitting("decoders", wildcards.decoder),
        run=lambda wildcards, input, output: command(
            "decode",
            "classify",
            **input,
            options=fitting("decoders", wildcards.decoder),
            out=output.classes,
            scores=output.scores,
        ),
    shell:
        "neuroenc {params.run:q} > {log:q} 2>&1"


if POOLS:

    rule pool:
        """List the pictures of a folder; extract their features by each model that is decoded."""
        input:
            folder=lambda wildcards: ancient(POOLS[wildcards.pool]),
            # recordings that cannot be read are refused before hours of work
            recorded=ancient(f"{RUN}/stimuli.nc"),
        output:
            stimuli=f"{RUN}/pool-{{pool}}_stimuli.nc",
            features=[f"{RUN}/pool-{{pool}}_feat-{m}_features.nc" for m in POOLED],
        log:
            f"{LOGS}/pool/{{pool}}.log",
        benchmark:
            f"{BENCHMARKS}/pool/{{pool}}.jsonl"
        threads: 2
        resources:
            gpu=int(any(map(runs_network, POOLED))),
            mem_mb=grown(4000),
            runtime=grown(1440),
        params:
            options=lambda wildcards: [
                POOLS[wildcards.pool],
                [section("models", m) for m in POOLED],
            ],
            run=pooling,
        shell:
            "neuroenc {params.run:q} > {log:q} 2>&1"

    rule pool_index:
        """Index the pictures of a pool by each embedding that is decoded, without those that are tested."""
        input:
            features=rules.pool.output.features,
            shown=[f"{RUN}/feat-{m}_features.nc" for m in POOLED],
            split=f"{RUN}/splits.nc",
        output:
            [
                f"{RUN}/pool-{{pool}}_{d}.{e}"
                for d in LOOKING
                for e in ("index", "npy", "json")
            ],
        log:
            f"{LOGS}/pool_index/{{pool}}.log",
        benchmark:
            f"{BENCHMARKS}/pool_index/{{pool}}.jsonl"
        threads: 2
        resources:
            mem_mb=memory(2),
            runtime=grown(240),
        params:
            options=lambda wildcards: [
                fitting("decoders", label_of(d)) for d in LOOKING
            ],
            run=indexing,
        shell:
            "neuroenc {params.run:q} > {log:q} 2>&1"

    rule pool_retrieve:
        """Find the pictures of a pool that are nearest to what was decoded of one subject."""
        input:
            embeddings=[f"{SUB}_{d}_embeddings.nc" for d in LOOKING],
            index=[f"{RUN}/pool-{{pool}}_{d}.index" for d in LOOKING],
        output:
            [f"{SUB}_{d}_pool-{{pool}}_retrieved.csv" for d in LOOKING],
        log:
            f"{LOGS}/pool_retrieve/sub-{{subject}}_{{pool}}.log",
        benchmark:
            f"{BENCHMARKS}/pool_retrieve/sub-{{subject}}_{{pool}}.jsonl"
        threads: 1
        resources:
            mem_mb=memory(3),
            runtime=grown(60),
        params:
            run=retrieving,
        shell:
            "neuroenc {params.run:q} > {log:q} 2>&1"


if CONTRIBUTING:

    rule decode_contributions:
        """Decode without each region, with it alone, with noise in it; find lesions."""
        input:
            responses=f"{SUB}_responses.nc",
            features=[
                f"{RUN}/feat-{d.split('_feat-')[1]}_features.nc" for d in CONTRIBUTING
            ],
            split=f"{RUN}/splits.nc",
        output:
            figure=figure("contributions", "contributions", "What regions carry"),
            scores=[f"{SUB}_{d}_contributions.json" for d in CONTRIBUTING],
        log:
            f"{LOGS}/decode_contributions/sub-{{subject}}.log",
        benchmark:
            f"{BENCHMARKS}/decode_contributions/sub-{{subject}}.jsonl"
        threads: 1
        resources:
            mem_mb=forecast("decode contributions"),
            runtime=grown(240),
        params:
            options=lambda wildcards: [
                CONTRIBUTIONS,
                [fitting("decoders", label_of(d)) for d in CONTRIBUTING],
            ],
            run=contributing,
        shell:
            "neuroenc {params.run:q} > {log:q} 2>&1"


if CAPTIONERS:

    rule decode_captioner:
        """Train what writes captions of a model's embeddings, on the pictures that no fold tests."""
        input:
            features=lambda wildcards: (
                f"{RUN}/feat-{CAPTIONERS[wildcards.captioner]['model']}_features.nc"
            ),
            stimuli=f"{RUN}/stimuli.nc",
            split=f"{RUN}/splits.nc",
        output:
            folder=directory(f"{RUN}/captioner-{{captioner}}"),
        log:
            f"{LOGS}/decode_captioner/{{captioner}}.log",
        benchmark:
            f"{BENCHMARKS}/decode_captioner/{{captioner}}.jsonl"
        priority: 1
        threads: 1
        resources:
            gpu=lambda wildcards: on_gpu(CAPTIONERS[wildcards.captioner]),
            mem_mb=memory(8, base=6000),
            runtime=grown(600),
        params:
            options=lambda wildcards: section("captioners", wildcards.captioner),
            run=training_of_captioner,
        shell:
            "neuroenc {params.run:q} > {log:q} 2>&1"
