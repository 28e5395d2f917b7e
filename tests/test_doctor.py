"""What `neuroenc doctor` finds, and its status."""

import os
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from neuroenc import doctor
from neuroenc.errors import InputError


def by_name(config=None):
    return {finding.name: finding for finding in doctor.examine(config)}


@pytest.fixture
def sound(monkeypatch):
    """A machine on which nothing is wrong, whatever this one is."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=50e9))
    monkeypatch.setattr(doctor, "LEAST_MEMORY", 0)
    monkeypatch.setattr(doctor, "cluster", lambda: doctor.Finding("cluster", "none"))


def test_nothing_is_wrong_and_status_0(run, sound, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = run("doctor")
    lines = out.splitlines()
    assert status == 0 and not err and lines[-1] == "nothing is wrong"
    assert all(line.startswith("ok ") for line in lines[:-1]) and len(lines) > 10
    assert f"python {'.'.join(map(str, sys.version_info[:3]))}" in lines[0]
    assert not list(tmp_path.iterdir())


def test_faults_are_lines_that_say_what_to_do_and_status_1(run, sound, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4096")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1e9))
    monkeypatch.setattr(doctor, "LEAST_MEMORY", 1e6)
    status, out, _ = run("doctor")
    faults = {line.split()[1]: line for line in out.splitlines() if line.startswith("FAULT")}
    assert status == 1 and out.endswith(f"{len(faults)} faults\n")
    assert faults.keys() == {
        "processors", "memory", "results", "scratch", "weights", "HF_HOME", "TORCH_HOME", "offline",
    }  # fmt: skip
    assert "Set OMP_NUM_THREADS to" in faults["processors"] and "point TMPDIR elsewhere" in faults["scratch"]


def test_weights_of_a_configuration(run, sound, tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROENC_WEIGHTS", str(tmp_path / "weights"))
    path = tmp_path / "c.yaml"
    options = {"label": "d", "dataset": {"name": "nsd"}, "subjects": ["01"]}
    path.write_text(
        yaml.safe_dump(options | {"models": {"a": {"network": "clip-vitb32"}, "n": {"network": "nano"}}})
    )
    status, out, _ = run("doctor", path)
    (line,) = [line for line in out.splitlines() if line.startswith("FAULT")]
    assert status == 1 and "clip-vitb32 not fetched. Run `neuroenc weights fetch clip-vitb32`" in line
    path.write_text(
        yaml.safe_dump(options | {"models": {"n": {"network": "nano"}, "g": {"extractor": "gabor"}}})
    )
    assert doctor.weights(path).found == "nano: here"
    status, out, err = run("doctor", tmp_path / "no.yaml")
    assert status == 2 and "File not found" in err and not out


def test_a_library_that_computes_wrongly_or_not_at_all_is_a_fault(monkeypatch):
    solve = np.linalg.solve
    monkeypatch.setattr(np.linalg, "solve", lambda A, B: solve(A, B) + 0.01)
    wrong = doctor.computed("ridge", doctor._ridge)
    assert wrong.remedy and "error 1.0e-02" in wrong.found

    def broken():
        raise ImportError("libcudart.so.12: cannot open\nshared object")

    failed = doctor.computed("torch", broken)
    assert failed.remedy and failed.found == "ImportError: libcudart.so.12: cannot open"
    assert doctor.computed("netCDF", lambda: float("nan")).remedy  # not a number is no small error


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    found = doctor.disk("HF_HOME", tmp_path / "file/below")
    assert "cannot be written to" in str(found) and "Point HF_HOME" in found.remedy


@pytest.mark.parametrize(
    ("answer", "found", "wrong"),
    [
        ("MinJobAge = 300 sec\nAccountingStorageType = accounting_storage/none\nSLURM_VERSION = 22.05.8\n",
         "SLURM 22.05.8, MinJobAge 300 s, accounting_storage/none", False),
        ("MinJobAge = 2 sec\nAccountingStorageType = accounting_storage/slurmdbd\nSLURM_VERSION = 24.05\n",
         "SLURM 24.05, MinJobAge 2 s, accounting_storage/slurmdbd", False),
        ("MinJobAge = 2 sec\nAccountingStorageType = accounting_storage/none\nSLURM_VERSION = 24.05\n",
         "SLURM 24.05, MinJobAge 2 s, accounting_storage/none", True),
        ("", "SLURM does not answer", True),
    ],
)  # fmt: skip
def test_cluster(tmp_path, monkeypatch, answer, found, wrong):
    program = tmp_path / "scontrol"
    program.write_text(f"#!/bin/sh\nprintf '{answer}'\n" + ("" if answer else "exit 1\n"))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    finding = doctor.cluster()
    assert finding.found == found and bool(finding.remedy) == wrong


def test_configuration_is_read_before_anything_is_said(tmp_path):
    with pytest.raises(InputError):
        next(doctor.examine(tmp_path / "no.yaml"))
