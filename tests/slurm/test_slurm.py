"""The workflow on a real SLURM of this machine: the same numbers as without, and after each fault."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

from tests.conftest import REGIONS, ROOT
from tests.slurm.server import Slurm, why_not
from tests.slurm.test_profiles import short_fits

pytest.importorskip("snakemake_executor_plugin_slurm")
if reason := why_not():
    pytest.skip(reason, allow_module_level=True)
SNAKEMAKE = Path(sys.executable).with_name("snakemake")
CONFIG = {
    "label": "tiny",
    "dataset": {"name": "nsd", "regions": REGIONS},
    "simulate": {"n_voxels": 200, "sessions": 2, "n_shared": 10, "n_unique": 40, "picture_size": 96},
    "subjects": ["01"],
    "split": {"n_inner": 3},
    "models": {"category": {"extractor": "category"}},
    "encoders": {"ridge": {"alphas": [0, 5, 4]}},
    "evaluation": {"n_bootstraps": 100, "n_permutations": 100},
}
RUN = "results/tiny/sub-01/sub-01_enc-ridge_feat-category"
PREDICTIONS = f"{RUN}_desc-predictions.nc"
ENCODE_FIT = "rule_encode_fit_wildcards_01_ridge_category"
CLUSTER = ("--profile", ROOT / "profiles/slurm", "--slurm-init-seconds-before-status-checks", "2")


@pytest.fixture(scope="module")
def slurm():
    with Slurm() as server:
        yield server


def start(folder, *arguments, environment=None, **changed):
    """Start Snakemake in a folder; what it says goes to said.txt there."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(CONFIG | changed))
    environment = dict(environment or os.environ)
    environment["PATH"] = f"{SNAKEMAKE.parent}:{environment['PATH']}"
    command = [SNAKEMAKE, "-s", ROOT / "Snakefile", "--directory", folder, *arguments, "--configfile", path]
    with (folder / "said.txt").open("wb") as said:
        return subprocess.Popen(command, env=environment, stdout=said, stderr=said, start_new_session=True)


def said(folder):
    return (folder / "said.txt").read_text()


def finish(run, folder, status=0):
    assert run.wait(timeout=600) == status, said(folder)
    return said(folder)


def numbers(folder, name, variable):
    with xr.open_dataset(folder / name) as dataset:
        return dataset[variable].load()


def same(a, b, name, variable):
    np.testing.assert_allclose(numbers(a, name, variable), numbers(b, name, variable), rtol=0, atol=1e-6)


def of_rule(slurm, comment, known=()):
    """Return state of the jobs of a rule that are not known yet."""
    return [state for k, (state, said) in slurm.jobs().items() if said == comment and k not in known]


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """What the workflow makes without a cluster."""
    folder = tmp_path_factory.mktemp("local")
    finish(start(folder, PREDICTIONS, "--workflow-profile", "none", "--cores", "2"), folder)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory, slurm):
    folder = tmp_path_factory.mktemp("cluster")
    finish(start(folder, *CLUSTER, PREDICTIONS, environment=slurm.environment), folder)
    return folder


@pytest.fixture
def unfitted(finished, tmp_path):
    """A finished run whose last fit is still to be made."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    for path in (folder / RUN).parent.glob("*_enc-ridge_*"):
        path.unlink()
    return folder


def test_same_numbers_as_without_a_cluster(slurm, finished, local):
    same(finished, local, PREDICTIONS, "prediction")
    same(finished, local, "results/tiny/feat-category_features.nc", "feature")
    # the stimuli are listed and divided in one job
    assert sorted(slurm.jobs().values()) == [
        ("COMPLETED", comment)
        for comment in (
            ENCODE_FIT, "rule_features_wildcards_category",
            "rule_listing_split_stimuli", "rule_responses_wildcards_01", "rule_simulate",
        )
    ]  # fmt: skip
    asked = slurm.run("squeue", "--states=all", "--noheader", "--format=%k %C").splitlines()
    assert f"{ENCODE_FIT} 8" in asked  # whatever the machine has that submits


def test_cancelled_job_is_submitted_again(slurm, unfitted, local):
    known = slurm.jobs()
    run = start(unfitted, *CLUSTER, PREDICTIONS, environment=slurm.environment)
    slurm.wait(lambda: "RUNNING" in of_rule(slurm, ENCODE_FIT, known), "encode_fit")
    slurm.run("scancel", *(set(slurm.jobs()) - set(known)))
    finish(run, unfitted)
    assert sorted(slurm.jobs()[k][0] for k in set(slurm.jobs()) - set(known)) == ["CANCELLED", "COMPLETED"]
    assert of_rule(slurm, ENCODE_FIT, known)[1:] and not of_rule(slurm, "rule_simulate", known)
    same(unfitted, local, PREDICTIONS, "prediction")


def test_job_out_of_memory_is_tried_with_more(slurm, unfitted, local):
    known = slurm.jobs()
    less = ("--set-resources", "encode_fit:mem_mb=60 * 20 ** (attempt - 1)")
    run = start(unfitted, *CLUSTER, PREDICTIONS, *less, environment=slurm.environment)
    text = finish(run, unfitted)
    assert sorted(of_rule(slurm, ENCODE_FIT, known)) == ["COMPLETED", "FAILED"]
    (line,) = [line for line in text.splitlines() if line.startswith("neuroenc: ")]
    assert re.match(r"neuroenc: Job [0-9]+ \(01_ridge_category\) took more memory than it asked for\. ", line)
    same(unfitted, local, PREDICTIONS, "prediction")


def test_second_run_is_refused_and_a_killed_one_leaves_no_job_that_is_submitted_twice(slurm, unfitted, local):
    known = slurm.jobs()
    slurm.run("scontrol", "update", "PartitionName=main", "State=DOWN")  # what is submitted waits
    try:
        first = start(unfitted, *CLUSTER, PREDICTIONS, environment=slurm.environment)
        slurm.wait(lambda: of_rule(slurm, ENCODE_FIT, known) == ["PENDING"], "submission")
        text = finish(start(unfitted, *CLUSTER, PREDICTIONS, environment=slurm.environment), unfitted, 2)
        (line,) = [line for line in text.splitlines() if line.startswith("neuroenc: ")]
        assert "Another run of 'tiny'" in line and "Traceback" not in text
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        second = start(unfitted, *CLUSTER, PREDICTIONS, environment=slurm.environment)
        slurm.wait(lambda: "left jobs" in said(unfitted), "the second run")
    finally:
        slurm.run("scontrol", "update", "PartitionName=main", "State=UP")
    finish(second, unfitted)
    assert of_rule(slurm, ENCODE_FIT, known) == ["COMPLETED"] and len(slurm.jobs()) == len(known) + 1
    same(unfitted, local, PREDICTIONS, "prediction")


def test_short_fits_of_a_subject_are_one_job_in_which_one_follows_another(slurm, unfitted, local, tmp_path):
    fits = [PREDICTIONS.replace("ridge", name) for name in ("ridge", "ridge2", "ridge3")]
    extra = {
        "encoders": {name: {"name": "ridge", "alphas": [0, 5, 4]} for name in ("ridge", "ridge2", "ridge3")}
    }
    known = slurm.jobs()
    run = start(
        unfitted,
        "--profile",
        short_fits(tmp_path),
        *CLUSTER[2:],
        *fits,
        environment=slurm.environment,
        **extra,
    )
    finish(run, unfitted)
    (job,) = set(slurm.jobs()) - set(known)
    assert slurm.jobs()[job][0] == "COMPLETED"
    asked = slurm.run("squeue", "--states=all", "--noheader", f"--jobs={job}", "--format=%C %m %l").split()
    fit = re.search(r"mem_mb=(\d+).*?runtime=(\d+)|runtime=(\d+).*?mem_mb=(\d+)", said(unfitted))
    assert asked[0] == "8" and asked[1] == f"{fit[1] or fit[4]}M", (asked, fit[0])  # as one of them does
    assert asked[2] == "15:00"  # three times five minutes
    for name in fits:
        with xr.open_dataset(unfitted / name) as a, xr.open_dataset(local / PREDICTIONS) as b:
            np.testing.assert_allclose(a["prediction"], b["prediction"], rtol=0, atol=1e-6)


@pytest.fixture
def small_disk(unfitted, tmp_path):
    """The unfinished run on a disk of its own, which has room for notes and logs and not for predictions."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", disk]).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        shutil.copytree(unfitted, disk, dirs_exist_ok=True)
        with (disk / "ballast").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - 100 * 1024)
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.parametrize("where", ["here", "SLURM"])
def test_full_disk_leaves_no_half_of_a_file_and_the_same_command_goes_on(slurm, small_disk, local, where):
    known = slurm.jobs()
    options = (
        (*CLUSTER, "--retries", "0") if where == "SLURM" else ("--workflow-profile", "none", "--cores", "1")
    )
    before = {p: p.read_bytes() for p in (small_disk / "results").rglob("*") if p.is_file()}
    text = finish(start(small_disk, *options, PREDICTIONS, environment=slurm.environment), small_disk, 1)
    said = {line.partition("  [")[0] for line in text.splitlines() if line.startswith("neuroenc: ")}
    (line,) = said  # SLURM's plugin shows it with the log of the job
    assert line.startswith(f"neuroenc: Cannot write {PREDICTIONS}: No space left") and "Free space" in line
    assert "Traceback" not in text and text.splitlines()[-1].startswith(line)
    assert {p: p.read_bytes() for p in (small_disk / "results").rglob("*") if p.is_file()} == before
    (small_disk / "ballast").unlink()
    text = finish(start(small_disk, *options, PREDICTIONS, environment=slurm.environment), small_disk)
    assert re.findall(r"^(?:local)?rule (\w+):", text, re.M) == ["encode_fit"]
    new = [state for k, (state, _) in slurm.jobs().items() if k not in known]
    assert sorted(new) == (["COMPLETED", "FAILED"] if where == "SLURM" else [])
    same(small_disk, local, PREDICTIONS, "prediction")


def test_run_that_has_no_room_for_its_notes_says_so_before_it_begins(small_disk):
    with (small_disk / "more").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 90 * 1024)
    command = [SNAKEMAKE, "-s", ROOT / "Snakefile", "--directory", small_disk, "--workflow-profile", "none",
               "--cores", "1", PREDICTIONS, "--configfile", small_disk / "config.yaml"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert (
        done.stderr.startswith("neuroenc: Cannot write ")
        and "No space left on device. Free space" in done.stderr
    )
