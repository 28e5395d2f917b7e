"""What jobs ask a cluster for, and the scripts of profiles/generic, without a cluster."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from neuroenc.features.extract import NETWORKS
from neuroenc.forecast import TRAINED
from tests.conftest import ROOT

pytest.importorskip("snakemake")
SNAKEMAKE = Path(sys.executable).with_name("snakemake")
GENERIC = ROOT / "profiles/generic"
CONFIG = {
    "label": "asks",
    "dataset": {"name": "nsd"},
    "subjects": ["01"],
    "models": {
        "clip": {"network": "clip-vitb32", "weights": "random:0"},
        "still": {"network": "clip-vitb32", "weights": "random:0", "device": "cpu"},
        "nano": {"network": "nano"},
        "cells": {"extractor": "gabor", "pooling": "grid:4"},
    },
    "encoders": {
        "ridge": {"models": ["nano", "clip", "still"]},
        "routing": {"name": "attention", "models": ["cells"]},
        "slow": {"name": "attention", "models": ["cells"], "device": "cpu"},
    },
    "decoders": {
        "net": {"name": "network", "models": ["nano"]},
        "plain": {"name": "ridge", "models": ["nano"]},
        "sampled": {"name": "ridge", "models": ["nano"], "prior": {}},
    },
}


def asked(folder, *arguments):
    """Return the resources of each job of a dry run, by what tells it apart."""
    path = folder / "c.yaml"
    path.write_text(yaml.safe_dump(CONFIG))
    command = [SNAKEMAKE, "-s", ROOT / "Snakefile", "--directory", folder, "--configfile", path,
               "--workflow-profile", "none", "--cores", "1", "--dry-run", *arguments]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = re.split(r"^ *rule ", done.stdout + done.stderr, flags=re.M)[1:]
    found = {}
    for job in jobs:
        name = job.partition(":")[0]
        wildcards = re.findall(r"(?:model|encoder|decoder)=(\w+)", job)
        found[" ".join([name, *wildcards])] = dict(re.findall(r"(gpu|mem_mb|runtime)=(\w+)", job))
    return found


def test_gpus_are_asked_for_where_one_serves_and_turned_off_by_one_word(tmp_path):
    found = asked(tmp_path)
    gpus = {name for name, resources in found.items() if resources.get("gpu") == "1"}
    assert gpus == {
        "features clip", "encode_fit routing cells", "decode_fit net nano", "decode_fit sampled nano",
    }  # fmt: skip
    assert found.keys() >= {
        "features still",
        "features nano",
        "encode_fit ridge nano",
        "encode_fit slow cells",
    }
    without = asked(tmp_path, "--resources", "gpu=0")
    assert {resources.get("gpu", "0") for resources in without.values()} == {"0"}


def test_a_job_asks_for_twice_as_much_at_each_attempt(tmp_path):
    first, third = asked(tmp_path), asked(tmp_path, "--attempt", "3")
    numbers = [
        (int(resources[k]), int(third[name][k]))
        for name, resources in first.items()
        for k in ("mem_mb", "runtime")
        if resources.get(k, "").isdigit()
    ]
    assert len(numbers) > 8 and all(later == 4 * before for before, later in numbers)


def short_fits(folder):
    """Write the profile with the lines that a study of short fits takes the # away from."""
    text = (ROOT / "profiles/slurm/profile.yaml").read_text()
    short = re.sub(r"^#(?=  (encode_fit|  turn|  runtime|fits-|  fits-))", "", text, flags=re.M)
    assert len(yaml.safe_load(short)["groups"]) == 2
    folder.mkdir(exist_ok=True)
    (folder / "profile.yaml").write_text(short)
    return folder


@pytest.mark.parametrize("short", [False, True])
def test_what_takes_seconds_goes_along_with_others(tmp_path, short):
    pytest.importorskip("snakemake_executor_plugin_slurm")
    profile = short_fits(tmp_path / "p") if short else ROOT / "profiles/slurm"
    many = {f"e{i:02d}": {"name": "ridge", "models": ["cells"]} for i in range(24)}
    config = CONFIG | {"subjects": ["01", "02"], "encoders": many, "decoders": {}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    command = [SNAKEMAKE, "-s", ROOT / "Snakefile", "--directory", tmp_path, "--profile", profile, "--dry-run",
               "--configfile", tmp_path / "c.yaml"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    groups = re.split(r"^.*Group job (\S+) \(.*$", said, flags=re.M)[1:]
    found = [(name, len(re.findall(r"^ +(?:local)?rule (?:figures|encode_fit):", text, re.M)))
             for name, text in zip(groups[::2], groups[1::2], strict=True)]  # fmt: skip
    fits = [(f"fits-{s}", n) for s in ("01", "02") for n in (4, 20)] if short else []
    assert sorted(x for x in found if x[0] != "listing") == [("drawing", 2), *fits]


def test_what_runs_on_a_gpu_is_what_the_library_says():
    text = (ROOT / "workflow/rules/common.smk").read_text()
    said = {
        name: set(ast.literal_eval(re.search(rf"^{name} = (\(.*?\n\))", text, re.M | re.S)[1]))
        for name in ("EXTRACTORS_OF_NETWORKS", "BY_GRADIENT")
    }
    assert said == {"EXTRACTORS_OF_NETWORKS": {*NETWORKS, "vae"}, "BY_GRADIENT": {*TRAINED, "network"}}


@pytest.fixture
def cluster(tmp_path):
    """Make a program that notes its words, and says what it is told to."""

    def program(name, answer="", status=0):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            f"#!/bin/sh\necho {name} \"$@\" >> {tmp_path}/words\nprintf '{answer}'\nexit {status}\n"
        )
        path.chmod(0o755)

    def run(script, *words):
        environment = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
        command = [GENERIC / script, *words]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
        assert done.returncode == 0 and not done.stderr, done.stderr
        return done.stdout

    return program, run


def test_jobs_of_other_clusters(cluster, tmp_path):
    program, run = cluster
    job = ("encode_fit", "8", "6001", "90", "1", "job script.sh")
    program("qsub", "4711\n")
    assert run("submit.sh", *job) == "4711\n"
    assert (tmp_path / "words").read_text() == (
        "qsub -terse -cwd -V -j y -o logs/cluster/ -l h_rt=5400 -N encode_fit -pe smp 8 -l h_vmem=751M -l gpu=1 "
        "job script.sh\n"
    )
    (tmp_path / "words").unlink()
    program("bsub", "Job <815> is submitted to queue <normal>.\n")
    assert run("submit.sh", *job[:4], "0", "job.sh") == "815\n"
    assert (tmp_path / "words").read_text() == (
        "bsub -J encode_fit -n 8 -R span[hosts=1] rusage[mem=6001MB] -M 6001MB -W 90 -o logs/cluster/%J.log job.sh\n"
    )


@pytest.mark.parametrize(
    ("programs", "answer"),
    [
        ({"bjobs": ("DONE\n",)}, "success"), ({"bjobs": ("EXIT\n",)}, "failed"), ({"bjobs": ("PEND\n",)}, "running"),
        ({"bjobs": ("", 255)}, "running"), ({"qstat": ("job_number: 1\n",)}, "running"),
        ({"qstat": ("", 1), "qacct": ("failed 0\nexit_status  0\n",)}, "success"),
        ({"qstat": ("", 1), "qacct": ("failed 0\nexit_status  137\n",)}, "failed"),
        ({"qstat": ("", 1), "qacct": ("failed 100\nexit_status  0\n",)}, "failed"),
        ({"qstat": ("", 1), "qacct": ("", 1)}, "running"),
    ],
)  # fmt: skip
def test_states_of_other_clusters(cluster, programs, answer):
    program, run = cluster
    for name, words in programs.items():
        program(name, *words)
    assert run("status.sh", "12") == f"{answer}\n"


def test_sacct_is_answered_for_by_squeue(cluster, tmp_path):
    program, _ = cluster
    program("squeue", "12|RUNNING\n")
    shim = ROOT / "profiles/slurm/without-accounting/sacct"
    environment = os.environ | {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
    ask = ["-X", "--format=JobIdRaw,State", "--endtime", "now", "--name", "uuid-1"]
    done = subprocess.run([shim, *ask], capture_output=True, text=True, env=environment)
    assert done.stdout == "12|RUNNING\n"
    assert (tmp_path / "words").read_text() == "squeue --format=%i|%T --states=all --noheader --name uuid-1\n"
    assert subprocess.run([shim, "-j", "12"], capture_output=True, env=environment).returncode == 1
