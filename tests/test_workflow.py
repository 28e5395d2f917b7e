"""The workflow as people run it: dry runs, a small run, a kill in the middle."""

import itertools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
from PIL import Image

from tests.conftest import REGIONS, ROOT

pytest.importorskip("snakemake")
SNAKEMAKE = Path(sys.executable).with_name("snakemake")
CONFIG = {
    "label": "small",
    "dataset": {"name": "nsd", "regions": REGIONS},
    "simulate": {"n_voxels": 300, "sessions": 3, "n_shared": 20, "n_unique": 120, "picture_size": 96},
    "subjects": ["01", "02"],
    "split": {"n_inner": 3},
    "models": {
        "category": {"extractor": "category"},
        "gabor": {"extractor": "gabor"},
        "cells": {"extractor": "gabor", "pooling": "grid:4"},
        "nano": {"network": "nano", "layers": ["visual"]},
        "pixel": {"extractor": "pixel"},
    },
    "decoders": {
        "ridge": {"models": ["gabor", "nano"], "n_components": 8, "prior": {"max_epochs": 3, "n_steps": 5}},
        "small": {"name": "ridge", "models": ["pixel"], "n_components": 8},
    },
    "reconstruction": {
        "decoder": "ridge",
        "model": "nano",
        "low_level": "small",
        "side": 64,
        "n_steps": 5,
        "captions": True,
        "judges": ["nano", "gabor"],
        "closed_loop": ["gabor"],
    },
    "captions": {"model": "nano", "layer": "visual", "generate": True},
    "synthesis": {"model": "nano", "regions": ["FFA"], "judge": "gabor"},
    "pools": {"outside": "outside"},
    "contributions": {"decoders": ["small"], "regions": ["FFA", "V1"], "n_bootstraps": 100, "recordings": 1},
    "encoders": {
        "ridge": {"alphas": [0, 5, 4], "models": ["category", "gabor"]},
        "routing": {
            "name": "attention",
            "models": ["cells"],
            "max_epochs": 2,
            "n_dimensions": 16,
            "n_heads": 2,
        },
        "wide": {"name": "banded", "alphas": [0, 5, 4], "models": [["category", "gabor"]]},
    },
    "stack": {"members": ["gabor", "cells-routing"]},
    "comparisons": {
        "mixed": {"better": "stack", "than": ["gabor", "cells-routing"]},
        "early": {"better": "gabor", "than": ["category"]},
    },
    "export": "stack",
    "learning_curve": {"sizes": [60], "fits": ["gabor", "category+gabor-wide"]},
    "evaluation": {"n_bootstraps": 100, "n_permutations": 100},
    "figures": {"surface": True, "volume": True},
}


def snakemake(folder, *arguments, **options):
    environment = os.environ | {"PATH": f"{SNAKEMAKE.parent}:{os.environ['PATH']}"}
    command = [SNAKEMAKE, "-s", ROOT / "Snakefile", "--directory", folder, "--cores", "2",
               "--workflow-profile", "none", *arguments]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, env=environment, **options)


# dry runs fork from one process that has imported what each would: most of what a dry run takes
DRY_RUNS = """
import json, os, sys
import snakemake.api, snakemake.cli, snakemake.workflow
import neuroenc.config
for line in sys.stdin:
    arguments, environment, said = json.loads(line)
    child = os.fork()
    if not child:
        out = os.open(said, os.O_CREAT | os.O_WRONLY)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv[1:] = arguments  # Snakemake reads them again for its jobs
        snakemake.cli.main(arguments)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Dry(NamedTuple):
    """What a dry run said, and how it ended."""

    returncode: int
    said: str


@pytest.fixture(scope="module")
def dry_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("said")
    numbers = itertools.count()
    with subprocess.Popen(
        [sys.executable, "-c", DRY_RUNS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def call(directory, *arguments):
            said = folder / str(next(numbers))
            words = ["-s", ROOT / "Snakefile", "--directory", directory, "--cores", "2",
                     "--workflow-profile", "none", "--dry-run", *arguments]  # fmt: skip
            process.stdin.write(json.dumps([[str(w) for w in words], dict(os.environ), str(said)]) + "\n")
            process.stdin.flush()
            return Dry(int(process.stdout.readline()), said.read_text())

        yield call
        process.stdin.close()


def configure(folder, **changes):
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(CONFIG | changes))
    rng, pool = np.random.default_rng(0), folder / "outside/more"
    pool.mkdir(parents=True, exist_ok=True)
    for i in range(12):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(pool / f"{i}.png")
    return "--configfile", path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    done = snakemake(folder, *configure(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


CONFIGURATIONS = {"config": None, "v4": "data/v4", "haxby": "data/haxby", "mtl": "data/mtl",
                  "n170": "data/eeg_n170", "custom": "my-experiment", "things_eeg2": "things_eeg2", "treebank": "braintreebank", "bold5000": "bold5000", "things_fmri": "things_fmri",
                  "algonauts2023": "algonauts_2023_challenge_data", "stories": "data/stories",
                  "things_meg": "things_meg", "pereira": "pereira2018", "nsd": "nsd",
                  "glmsingle": "glmsingle", "tvsd": "TVSD", "things_eeg1": "things_eeg1", "laion_fmri": "laion-fmri", "mosaic": "mosaic", "majajhong2015": "brainio", "freemanziemba2013": "brainio",
                  "shipped": None, "studies/visual_system": None, "studies/vision_language": "resources/bold5000",
                  "studies/sites_of_integration": "resources/treebank",
                  "studies/sites_of_integration_scenes": "resources/treebank", "studies/attention_routing": None,
                  "studies/regions_decoded": None, "studies/one_hour": None, "studies/mindeye": None,
                  "studies/words_on_cortex": None, "studies/objects": "resources/objects",
                  "studies/dual_stream_v4": "data/v4", "studies/one_space": "resources/things",
                  "studies/dual_stream_majajhong2015": "resources/brainio"}  # fmt: skip


def test_every_configuration_is_tried():
    found = (ROOT / "config").rglob("*.yaml")
    assert {p.relative_to(ROOT / "config").with_suffix("").as_posix() for p in found} == set(CONFIGURATIONS)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_dry_run_of_every_configuration(name, tmp_path, monkeypatch, dry_run):
    monkeypatch.setenv("NEUROENC_REAL_DATA", str(tmp_path / "data"))
    if CONFIGURATIONS[name]:
        (tmp_path / CONFIGURATIONS[name]).mkdir(parents=True)
    path = ROOT / f"config/{name}.yaml"
    asked = yaml.safe_load(path.read_text())
    if meshes := (asked.get("shapes") or {}).get("meshes"):
        (tmp_path / meshes).touch()
    for of in asked.get("sets", {}).values():
        (tmp_path / of["dataset"]["root"]).mkdir()
    for model in asked.get("models", {}).values():  # features that were made elsewhere
        places = model.get("path") or {}
        places = [places] if isinstance(places, str) else [*places.values()]
        for place in [*places, *filter(None, [model.get("texts")])]:
            (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place).touch()
    done = dry_run(tmp_path, "--configfile", path)
    assert done.returncode == 0, done.said
    assert ("joint_fit" if "sets" in asked else "encode_fit") in done.said


def test_a_joint_core_is_one_job_for_all_subjects_and_scored_as_others_are(tmp_path, dry_run):
    core = {"name": "response_core", "joint": True, "models": ["pixel"]}
    encoders = {"ridge": {"models": ["gabor"]}, "core": core, "alone": core | {"joint": False}}
    models = {"gabor": {"extractor": "gabor"}, "pixel": {"extractor": "pixel", "pooling": "grid:8"}}
    only = {key: CONFIG[key] for key in ("label", "dataset", "simulate", "subjects", "split")}
    compared = {"comparisons": {"core": {"better": "pixel-core", "than": ["gabor-ridge", "pixel"]}}}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(only | compared | {"models": models, "encoders": encoders}))
    done = dry_run(tmp_path, "--configfile", path)
    assert done.returncode == 0, done.said
    jobs = (done.said).split("rule ")
    (joint,) = [job for job in jobs if job.startswith("encode_joint:")]
    assert all(f"sub-{s}_enc-core_feat-pixel_desc-predictions.nc" in joint for s in ("01", "02"))
    assert sum(job.startswith("encode_fit:") for job in jobs) == 4
    assert sum(job.startswith("evaluate:") for job in jobs) == 2


def test_pairs_of_a_folder_and_latents_are_jobs_that_decoding_and_drawing_wait_for(tmp_path, dry_run):
    made = {"fit": "gabor", "pictures": "mine"}
    ridge = {"models": ["nano"], "augment": made}
    low = {"latent": {"extractor": "vae", "network": "vae", "input_size": 32}}
    only = {key: CONFIG[key] for key in ("label", "dataset", "simulate", "subjects")}
    only |= {
        "split": {"kind": "distant", "features": "nano"},
        "models": {k: CONFIG["models"][k] for k in ("gabor", "nano")} | low,
        "encoders": {"ridge": {"models": ["gabor"]}},
        "decoders": {"ridge": ridge, "low": {"name": "ridge", "models": ["latent"]}},
        "reconstruction": {"decoder": "ridge", "model": "nano", "low_level": "low", "judges": ["gabor"]},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(only))
    done = dry_run(tmp_path, "--configfile", path)
    assert done.returncode == 2
    assert "Folder not found: mine. Point decoders.ridge.augment.pictures at a folder" in done.said
    (tmp_path / "mine").mkdir()
    done = dry_run(tmp_path, "--configfile", path)
    assert done.returncode == 0, done.said
    jobs = done.said.split("rule ")
    (pictures,) = [job for job in jobs if job.startswith("decode_pictures_ridge:")]
    assert all(
        f"dec-ridge_feat-{m}_features.nc" in pictures.partition("output:")[2] for m in ("gabor", "nano")
    )
    fits = [job.partition("output:")[0] for job in jobs if job.startswith("decode_fit:")]
    assert sum("dec-ridge_feat-nano_features.nc" in job for job in fits) == 2  # one a subject, none of `low`
    (drawing, _) = [job for job in jobs if job.startswith("decode_reconstruct:")]
    assert "dec-low_feat-latent_embeddings.nc" in drawing.partition("output:")[0]
    judged = [job.partition("output:")[0] for job in jobs if job.startswith("evaluate_reconstructions:")]
    assert len(judged) == 2 and all("splits.nc" in job for job in judged)


def test_texts_of_a_model_are_an_input_of_its_features_alone(tmp_path, dry_run):
    encoders = {"ridge": {"models": ["words", "category"]}}
    models = {"words": {"extractor": "caption", "texts": "t.csv"}, "category": {"extractor": "category"}}
    only = {key: CONFIG[key] for key in ("label", "dataset", "simulate", "subjects", "split")}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(only | {"models": models, "encoders": encoders}))
    done = dry_run(tmp_path, "--configfile", path)
    assert done.returncode == 2 and "File not found: t.csv. Point models.words.texts" in done.said
    (tmp_path / "t.csv").touch()
    done = dry_run(tmp_path, "--configfile", path)
    jobs = (done.said).split("rule ")
    assert done.returncode == 0, done.said
    readers = [job for job in jobs if re.search(r"input:.*\bt\.csv", job)]
    assert len(readers) == 1 and readers[0].startswith("features:") and "model=words" in readers[0]


def test_outputs(finished):
    run = finished / "results/small"
    rows = json.loads((run / "summary.json").read_text())["rows"]
    by = {r["by"]: r for r in rows if r["name"] == "retrieval, brain_to_image_top1" and r["subject"] == "01"}
    assert by["dec-ridge_feat-gabor"]["shuffled"] < 0.3 and "enc-stack_feat-all" in by
    assert {r["name"] for r in rows} >= {
        "mean test r", "ceiling error mean", "brain_to_image_top1", "reconstruction, pixcorr",
        "reconstruction, closed_loop_r", "reconstruction, cider", "gain by the prior, cosine",
    }  # fmt: skip
    drawn = {r["condition"]: r for r in rows if r["name"] == "reconstruction, ssim" and r["subject"] == "all"}
    assert set(drawn) == {
        "brain", "plain", "prior", "low_level", "retrieved", "shuffled", "mean", "sample", "true"
    }  # fmt: skip
    curve = pd.read_csv(run / "learning-curve.csv", dtype={"subject": str})
    assert set(curve["fit"]) == {"gabor", "category+gabor-wide"} and (run / "learning-curve.png").exists()
    own = curve[(curve["subject"] == "01") & (curve["region"] == "V1") & (curve["fit"] == "gabor")]
    assert own["n_training_stimuli"].tolist() == [60, 120] and own["r"].is_monotonic_increasing
    for subject in ("01", "02"):
        names = {p.name.removeprefix(f"sub-{subject}_") for p in (run / f"sub-{subject}").iterdir()}
        assert names >= {
            "responses.nc", "enc-ridge_feat-gabor_desc-scores.nc",
            "enc-ridge_feat-gabor_weights.safetensors", "enc-routing_feat-cells_attention.png",
            "enc-routing_feat-cells_attention.nc", "enc-stack_feat-all_desc-scores.nc",
            "enc-wide_feat-category+gabor_desc-scores.nc",
            "dec-ridge_feat-gabor_retrieval.json", "enc-stack_feat-all_retrieval.json",
            "surface.png", "regions.png", "layers.png", "scatter.png", "desc-scores_maps.nii.gz",
            "hemi-L_desc-scores.func.gii", "dec-ridge_feat-nano_pictures.nc", "words.png",
            "dec-ridge_feat-nano_captions.nc", "dec-ridge_feat-nano_desc-pictures_scores.json",
            "dec-ridge_feat-nano_pool-outside_retrieved.csv", "contributions.png", "dec-small_feat-pixel_contributions.json",
            "reconstructions.png", "reconstructions.html", "synthesis-FFA.png", "synthesis-FFA.json", "desc-captions.csv",
            "desc-captions_scores.json", "desc-captions_topics.csv", "words-surface.png",
        }  # fmt: skip
        facts = json.loads((run / f"sub-{subject}_enc-stack/encoder.json").read_text())
        assert {m["name"] for m in facts["members"]} <= {"gabor", "cells-routing"} and facts[
            "name"
        ] == "small-stack"
    told = (run / "methods.md").read_text()
    assert "4 values from 10^0 to 10^5" in told and "60 training stimuli" in told and "300 neuroids" in told
    assert "@article{adeli2025," in (run / "methods.bib").read_text() and (run / "methods.html").exists()
    assert not list(finished.rglob(".partial*"))
    assert list((finished / "logs/small/benchmarks/encode_fit").glob("*.jsonl"))


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_notebook_runs_on_a_finished_run(path, finished, monkeypatch):
    pytest.importorskip("ipykernel")
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("NEUROENC_RESULTS", os.fspath(finished / "results/small"))
    notebook = nbformat.read(path, as_version=4)
    assert all(not c.get("outputs") for c in notebook.cells), "strip outputs before committing"
    done = NotebookClient(notebook, timeout=None, kernel_name="python3").execute()
    pictures = [o for c in done.cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(pictures) == 3, "each notebook draws three figures"


def test_second_run_has_nothing_to_do(finished):
    done = snakemake(finished, *configure(finished))
    assert "Nothing to be done" in done.stdout + done.stderr


def test_what_a_command_holds_of_the_configuration_is_recorded(finished):
    """Snakemake compares no parameters that are made from inputs and outputs, as whole commands are."""
    seen = set()
    for path in filter(Path.is_file, (finished / ".snakemake/metadata").rglob("*")):
        record = json.loads(path.read_text())
        params = " ".join(record["params"])
        for word in shlex.split(record["shellcmd"] or ""):
            name, brace, rest = word.partition("={")
            if brace and rest != "}":
                seen.add((record["rule"], name.partition("=")[0]))
                assert "{" + rest in params, (record["rule"], word)
    assert {rule for rule, _ in seen} >= {
        "stimuli", "responses", "split", "features", "encode_fit", "evaluate", "decode_fit",
        "decode_reconstruct", "decode_wants", "evaluate_reconstructions", "export", "summary",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("section", "option", "rerun", "kept"),
    [
        ("simulate", {"n_voxels": 250}, ["simulate", "responses", "features", "evaluate"], []),
        ("split", {"seed": 1}, ["split", "encode_fit", "decode_fit"], ["simulate", "responses", "features"]),
        ("evaluation", {"threshold": 0.1}, ["evaluate", "figures"], ["split", "encode_fit", "decode_fit"]),
        ("captions", {"temperature": 0.1}, ["decode_wants"], ["encode_fit", "evaluate", "decode_fit"]),
    ],
)
def test_a_changed_option_reruns_what_depends_on_it(section, option, rerun, kept, finished, dry_run):
    changed = {section: CONFIG[section] | option}
    text = dry_run(finished, *configure(finished, **changed)).said
    configure(finished)
    assert all(f"rule {name}:" in text for name in rerun)
    assert not any(f"rule {name}:" in text for name in kept)


def test_a_changed_model_or_subject_reruns_only_what_depends_on_it(finished, dry_run):
    models = CONFIG["models"] | {"caption": {"extractor": "caption"}}
    ridge = CONFIG["encoders"]["ridge"] | {"models": ["category", "gabor", "caption"]}
    encoders = CONFIG["encoders"] | {"ridge": ridge}
    done = dry_run(finished, *configure(finished, models=models, encoders=encoders))
    text = done.said
    assert "rule features:" in text and text.count("rule encode_fit:") == 2
    assert text.count("rule evaluate:") == 2 and text.count("rule figures:") == 2
    for kept in (
        "responses",
        "simulate",
        "decode_fit",
        "decode_reconstruct",
        "evaluate_reconstructions",
        "decode_wants",
    ):
        assert f"rule {kept}:" not in text
    configure(finished)
    responses = finished / "results/small/sub-01/sub-01_responses.nc"
    os.utime(responses)
    with xr.open_dataset(responses) as dataset:
        changed = dataset.load()
    changed["response"][0, 0] += 1
    changed.to_netcdf(responses, engine="h5netcdf")
    text = dry_run(finished, *configure(finished)).said
    assert text.count("rule encode_fit:") == 4 and "rule features:" not in text
    encode_jobs = [b for b in text.split("rule ") if b.startswith("encode_fit")]
    assert all("subject=01" in b for b in encode_jobs)


def test_report(finished):
    done = snakemake(finished, *configure(finished), "--report", "report.html", "--rerun-triggers", "mtime")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (finished / "report.html").stat().st_size > 500_000


def test_mistake_in_the_configuration_is_one_line_and_status_2(tmp_path, dry_run):
    done = dry_run(tmp_path, *configure(tmp_path, splitt={"kind": "group"}))
    assert done.returncode == 2
    message = [line for line in done.said.splitlines() if line.startswith("neuroenc:")]
    assert len(message) == 1 and "did you mean 'split'" in message[0]
    assert "Traceback" not in done.said


def test_missing_recordings_are_one_line_and_status_2(tmp_path, dry_run):
    done = dry_run(tmp_path, *configure(tmp_path, dataset={"name": "nsd", "root": "/no/nsd"}))
    assert done.returncode == 2
    assert "neuroenc: File not found: /no/nsd. Point dataset.root at the recordings." in done.said
    assert "Traceback" not in done.said and "Exception" not in done.said


def test_second_run_of_the_same_results_says_so_and_a_dead_one_holds_nothing(tmp_path, dry_run):
    """What holds the results is the running process; nothing is left to be unlocked."""
    hold = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_EX)\n"
        "print('held', flush=True); time.sleep(600)"
    )
    (tmp_path / ".snakemake").mkdir()
    other = subprocess.Popen(
        [sys.executable, "-c", hold, tmp_path / ".snakemake/neuroenc-small.lock"], stdout=subprocess.PIPE
    )
    try:
        assert other.stdout.readline() == b"held\n"
        configuration = configure(tmp_path)
        done = snakemake(tmp_path, "--nolock", "results/small/stimuli.nc", *configuration)
        assert done.returncode == 2 and "Traceback" not in done.stderr
        assert [line for line in done.stderr.splitlines() if "Another run of 'small'" in line]
        assert not (tmp_path / "resources").exists()
        assert dry_run(tmp_path, *configuration).returncode == 0  # looks, and does not wait
    finally:
        other.kill()
        other.wait()
    done = snakemake(tmp_path, "--nolock", "results/small/stimuli.nc", *configuration)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_a_failed_job_says_is_shown_at_the_end(finished):
    root = finished / "resources/small/nsd"
    wrong = configure(finished, subjects=["03"], label="wrong", dataset={"name": "nsd", "root": str(root)})
    done = snakemake(finished, *wrong, "--quiet", "rules")
    configure(finished)
    assert done.returncode != 0
    message = [line for line in done.stderr.splitlines() if line.startswith("neuroenc: Invalid value")]
    assert message and "'subject': '03'. Allowed: '01', '02'" in message[0]
    assert not list((finished / "results/wrong").rglob("*.nc"))


def test_killed_simulation_leaves_nothing_and_the_same_command_finishes(finished, tmp_path):
    options = [f"--{k.replace('_', '-')}={v}" for k, v in CONFIG["simulate"].items()]
    command = [sys.executable, "-m", "neuroenc", "simulate", tmp_path / "tree", *options]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not list(tmp_path.glob(".partial-*-tree")) and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "tree").exists()
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert [p.name for p in tmp_path.iterdir()] == ["tree"]
    for name in ("truth/sub-01.nc", "truth/sub-02.nc"):
        reference = finished / "resources/small/nsd" / name
        with xr.open_dataset(tmp_path / "tree" / name) as a, xr.open_dataset(reference) as b:
            assert a.identical(b)


def test_killed_workflow_is_taken_up_and_gives_the_same(finished, tmp_path):
    """kill -9 of everything while a stage runs; then the same command."""
    name = "sub-02/sub-02_enc-ridge_feat-gabor_desc-predictions.nc"
    configuration = (f"results/small/{name}", *configure(tmp_path))
    # what profiles/default sets; the profile itself would use all cores
    flags = ("--nolock", "--rerun-incomplete")
    assert "nolock: true" in (ROOT / "profiles/default/profile.yaml").read_text()
    environment = os.environ | {"PATH": f"{SNAKEMAKE.parent}:{os.environ['PATH']}"}
    command = [SNAKEMAKE, "-s", ROOT / "Snakefile", "--directory", tmp_path, "--cores", "2",
               "--workflow-profile", "none", *flags, *configuration]  # fmt: skip
    child = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
    log = tmp_path / "logs/small/encode_fit/sub-02_ridge_gabor.log"
    deadline = time.monotonic() + 600
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(1)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert log.exists() and not (tmp_path / "results/small" / name).exists()
    done = snakemake(tmp_path, *flags, *configuration)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list(tmp_path.rglob(".partial*"))
    run = Path("results/small")
    with xr.open_dataset(tmp_path / run / name) as a, xr.open_dataset(finished / run / name) as b:
        assert a["prediction"].identical(b["prediction"])


def test_download_fetches_what_a_program_may_before_it_is_there(tmp_path, dry_run):
    options = {"label": "dl", "dataset": {"name": "nsd", "root": "nsd"}, "subjects": ["01"],
               "models": {"clip": {"network": "clip-vitb32"}}}  # fmt: skip
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(options))
    done = dry_run(tmp_path, "download", "--configfile", tmp_path / "c.yaml", "--printshellcmds")
    text = done.said
    assert done.returncode == 0, text
    assert "neuroenc data fetch --options" in text and "for network in clip-vitb32" in text
    done = dry_run(tmp_path, "--configfile", tmp_path / "c.yaml")
    assert done.returncode == 2 and "File not found: nsd" in done.said
    # run for real, the terms unaccepted: one line, and nothing fetched
    done = snakemake(tmp_path, "download", "--configfile", tmp_path / "c.yaml")
    assert done.returncode != 0 and "neuroenc data accept nsd" in done.stdout + done.stderr
    assert not (tmp_path / "nsd").exists()


def test_download_of_what_needs_no_weights_fetches_none(tmp_path, dry_run):
    options = {"label": "dl", "dataset": {"name": "custom", "root": str(tmp_path)}, "subjects": ["01"],
               "models": {"g": {"network": "gabor"}, "n": {"network": "nano"}}}  # fmt: skip
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(options))
    done = snakemake(tmp_path, "download", "--configfile", tmp_path / "c.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nano: needs no weights" in (tmp_path / "logs/dl/download.log").read_text()
    options["dataset"]["regions"] = {"atlas": "labels of {hemi}'s.annot"}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(options))
    done = snakemake(tmp_path, "download", "--configfile", tmp_path / "c.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    log = (tmp_path / "logs/dl/download.log").read_text()
    assert "labels of {hemi}'s.annot is a file: nothing to fetch" in log
    options["models"] = {"g": {"network": "gabour"}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(options))
    done = dry_run(tmp_path, "--configfile", tmp_path / "c.yaml")
    assert done.returncode == 2 and "did you mean 'gabor'" in done.said
