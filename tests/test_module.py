"""The workflow inside another one: `module`, `use rule … as`, a prefix, rules changed; its entry in the catalog."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

pytest.importorskip("snakemake")
CONFIG = {
    "label": "small",
    "dataset": {"name": "nsd", "regions": ["floc-faces"]},
    "simulate": {"n_voxels": 200, "sessions": 2, "n_shared": 10, "n_unique": 40, "picture_size": 96},
    "subjects": ["01"],
    "models": {"gabor": {"extractor": "gabor"}},
}
# as in docs/extend.md, with a path
OTHER = f"""
configfile: "mine.yaml"


module neuroenc:
    snakefile:
        "{ROOT}/workflow/Snakefile"
    config:
        config["encoding"]
    pathvars:
        results="encoding/results",
        resources="encoding/resources",
        logs="encoding/logs",


use rule * from neuroenc as neuroenc_*


use rule encode_fit from neuroenc as neuroenc_encode_fit with:
    threads: 3


rule mine:
    default_target: True
    input:
        rules.neuroenc_split.output,
    output:
        "mine.txt",
    shell:
        "ls {{input}} > {{output}}"
"""


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    programs = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
    command = [programs / "snakemake", "--directory", folder, "--cores", "4",
               "--snakefile", folder / "Snakefile", *arguments]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=folder)


def write(folder: Path, snakefile: str, **changes: object) -> None:
    (folder / "Snakefile").write_text(snakefile)
    (folder / "mine.yaml").write_text(yaml.safe_dump({"other": 1, "encoding": CONFIG | changes}))


def test_another_workflow_uses_this_one_as_a_module(tmp_path):
    write(tmp_path, OTHER)
    planned = snakemake(tmp_path, "--dry-run", "neuroenc_all")
    said = planned.stdout + planned.stderr
    assert planned.returncode == 0, said
    assert "threads: 3" in said.partition("rule neuroenc_encode_fit:")[2].partition("rule ")[0]
    ran = snakemake(tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "mine.txt").read_text() == "encoding/results/small/splits.nc\n"
    assert "processor time" in (tmp_path / "encoding/logs/small/snakemake.log").read_text()
    assert not any((tmp_path / name).exists() for name in ("results", "resources", "logs"))
    again = snakemake(tmp_path, "--dry-run")
    assert "Nothing to be done" in again.stdout + again.stderr


def test_errors_of_a_module_are_said_once_from_its_own_logs(tmp_path):
    (tmp_path / "tree").mkdir()
    write(tmp_path, OTHER, dataset=CONFIG["dataset"] | {"root": "tree"})
    ran = snakemake(tmp_path)
    assert ran.returncode
    (line,) = [line for line in ran.stderr.splitlines() if line.startswith("neuroenc: ")]
    assert line.endswith("[encoding/logs/small/stimuli.log]")
    write(tmp_path, OTHER, subject=["01"])
    (line,) = snakemake(tmp_path).stderr.splitlines()
    assert line.startswith("neuroenc: Unknown key 'subject'")


def test_two_modules_under_prefixes_read_the_same_recordings(tmp_path):
    """The Snakefile of the repository's root, twice, of one only two rules; what users name is not moved."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "features.csv").write_text("stimulus_id,a\n")
    settings = CONFIG | {
        "dataset": CONFIG["dataset"] | {"root": "tree"},
        "models": {"given": {"extractor": "file", "path": "features.csv"}},
    }
    (tmp_path / "Snakefile").write_text(
        "".join(
            f'module {name}:\n    snakefile: "{ROOT}/Snakefile"\n    config: {json.dumps(settings)}\n'
            f'    prefix: "{name}"\nuse rule {which} from {name} as {name}_*\n'
            for name, which in (("one", "*"), ("two", "stimuli, split"))
        )
        + "rule both:\n    default_target: True\n    input: rules.one_all.input, rules.two_split.output\n"
    )
    planned = snakemake(tmp_path, "--dry-run")
    said = planned.stdout + planned.stderr
    assert planned.returncode == 0, said
    inputs = [line for line in said.splitlines() if line.strip().startswith("input: ")]
    recordings = [line for line in inputs if "tree" in line]
    assert len(recordings) == 3 and all(f"{tmp_path}/tree" in line for line in recordings)
    assert any(f"{tmp_path}/features.csv" in line for line in inputs)
    assert "two/results/small/splits.nc" in said and "one/results/small/summary.json" in said


def test_entry_in_the_catalog_is_whole():
    """What the catalog asks of a workflow for its standardized usage, and of the entry."""
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert set(usage["mandatory-flags"]) == {"desc", "flags"}
    snakefile = (ROOT / "workflow/Snakefile").read_text()
    rules = snakefile + "".join(p.read_text() for p in (ROOT / "workflow/rules").glob("*.smk"))
    ways = usage["software-stack-deployment"]
    assert ways == {
        "conda": "    conda:\n" in rules,
        "apptainer": "\ncontainer:" in snakefile,
        "apptainer+conda": False,
        "report": "\nreport:" in snakefile,
    }
    assert (ROOT / "config/README.md").is_file()
    readme = (ROOT / "README.md").read_text().lower()
    assert "snakemake" in readme and "workflow" in readme
