"""Every text of the configuration, filled with what a shell, a path or a format would act upon."""

import copy
import json
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml

from neuroenc.checks import check
from neuroenc.config import Config, parse, schema
from neuroenc.errors import InputError
from tests.conftest import ROOT

HOSTILE = ["$(touch touched)", "`touch touched`", "a'; touch touched; '", 'a"; touch touched; "', "a\ntouch touched",
           "../touched", "--help", "-x", "{x}", "{subject}", "%s", "a b", "a; touch touched", "Müller", "a\0b"]  # fmt: skip
BASE = {
    "label": "hostile",
    "dataset": {"name": "nsd", "root": "tree", "regions": ["floc-faces"]},
    "subjects": ["01"],
    "models": {
        "nano": {"network": "nano", "layers": ["visual"]},
        "cells": {"extractor": "gabor", "pooling": "grid:4"},
        "pixel": {"extractor": "pixel"},
        "own": {"extractor": "timm", "network": "resnet18", "weights": "random:0", "layers": ["layer1"],
                "regions": "objects.h5", "projection": "sparse:0.1"},
    },
    "encoders": {"ridge": {"models": ["nano"]},
                 "routing": {"name": "attention", "models": ["cells"], "networks": {"faces": ["FFA"]}}},
    "decoders": {"ridge": {"models": ["nano"], "layers": ["visual"]}, "low": {"name": "ridge", "models": ["pixel"]}},
    "stack": {"members": ["nano"]},
    "captions": {"model": "nano", "layer": "visual"},
    "reconstruction": {"decoder": "ridge", "model": "nano", "low_level": "low", "judges": ["nano"],
                       "closed_loop": ["nano"], "captions": True},
    "synthesis": {"model": "nano", "regions": ["FFA"], "judge": "nano"},
}  # fmt: skip


def texts(node, definitions, path=()):
    """List the paths of all texts the schema admits; ('*',) stands for an item, '?' for a key of one's own."""
    if "$ref" in node:
        node = definitions[node["$ref"].rpartition("/")[2]]
    for branch in node.get("anyOf", []) + node.get("oneOf", []):
        yield from texts(branch, definitions, path)
    if node.get("type") == "string" and "enum" not in node and "const" not in node:
        yield path
    for key, value in node.get("properties", {}).items():
        yield from texts(value, definitions, (*path, key))
    if "items" in node:
        yield from texts(node["items"], definitions, (*path, "*"))
    for value in [*node.get("patternProperties", {}).values(), node.get("additionalProperties")]:
        if isinstance(value, dict):
            yield (*path, "?")
            yield from texts(value, definitions, (*path, "+"))


DOCUMENT = json.loads(schema())
PATHS = sorted(set(texts(DOCUMENT, DOCUMENT["$defs"])))


def filled(path, value, base=BASE):
    """Put `value` at a path of a configuration: in the last of several places."""
    data = copy.deepcopy(base)
    put(data, path, value)
    return data


def put(node, path, value):
    """Put `value` below a node; what lies in the way and is of another kind gives way."""
    part, *rest = path
    last = len(node) - 1 if isinstance(node, list) else next(reversed(node), "x")
    key = last if part in "*+?" else part
    if not rest:
        if part == "?":
            held = node.pop(key, {})
            node[value] = held
        elif part == "*":
            node[:] = [value]
        else:
            node[key] = value
        return
    if isinstance(node, list) and not node:
        node.append(None)
    kind = list if rest[0] == "*" else dict
    if not isinstance(node[key] if isinstance(node, list) else node.get(key), kind):
        node[key] = kind()
    put(node[key], rest, value)


def accepted(data):
    try:
        check(parse(Config, data))
    except InputError as error:
        assert "\n" not in str(error), str(error)
        return False
    return True


@cache
def survivors():
    """List the places and texts that are not refused."""
    return [(p, v) for p in PATHS for v in HOSTILE if accepted(filled(p, v))]


def test_the_walk_finds_the_texts_and_the_base_is_accepted():
    assert accepted(BASE)
    assert {("captions", "layer"), ("synthesis", "regions", "*"), ("models", "+", "network"), ("subjects", "*"),
            ("models", "?"), ("dataset", "root"), ("encoders", "+", "networks", "+", "*")} <= set(PATHS)  # fmt: skip


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize(
    "path", [("label",), ("subjects", "*"), ("models", "?"), ("encoders", "?"), ("decoders", "?"),
             ("synthesis", "regions", "*"), ("dataset", "regions", "*")]
)  # fmt: skip
def test_what_becomes_part_of_a_file_name_is_refused(path, value):
    assert not accepted(filled(path, value))


@pytest.mark.parametrize("turn", range(3))
def test_what_is_accepted_reaches_the_shell_quoted(turn, tmp_path):
    """Each place takes one of its texts in turn; a shell then splits what a dry run prints."""
    pytest.importorskip("snakemake")
    found = {}
    for place, value in survivors():
        found.setdefault(place, []).append(value)
    assert found.keys() >= {("models", "+", "regions"), ("models", "+", "weights"), ("dataset", "root")}
    merged = BASE
    for number, (place, values) in enumerate(found.items()):
        joined = filled(place, values[(number + 5 * turn) % len(values)], merged)
        merged = joined if accepted(joined) else merged
    root = merged["dataset"]["root"]
    (tmp_path / "run" / root).mkdir(parents=True, exist_ok=True)
    (tmp_path / "run/c.yaml").write_text(yaml.safe_dump(merged, allow_unicode=True))
    if not (weights := merged["models"]["own"]["weights"]).startswith("random:"):
        (tmp_path / "run" / weights).mkdir(parents=True, exist_ok=True)  # that it is there is all that counts
    if table := (merged.get("shapes") or {}).get("meshes"):
        (tmp_path / "run" / table).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / table).touch()
    for folder in merged.get("pools", {}).values():
        folder = os.path.expanduser(os.path.expandvars(folder))  # noqa: PTH111
        (tmp_path / "run" / folder).mkdir(parents=True, exist_ok=True)
    before = sorted(tmp_path.rglob("*"))
    commands = dry_run(tmp_path / "run", "all", "download")
    assert any(f"--root={root}" in words for words in commands)
    for words in commands:
        alone = [w for w in words if w in HOSTILE or w == "touch"]
        assert not alone, words
    left = [p for p in tmp_path.rglob("*") if ".snakemake" not in p.parts]
    assert sorted(left) == before


def test_the_path_of_an_atlas_reaches_the_shell_quoted(tmp_path):
    pytest.importorskip("snakemake")
    (tmp_path / "run/tree").mkdir(parents=True)
    atlas = "--help'; touch touched; '\"$(touch touched)`touch touched` {subject}.nii.gz"
    merged = {**BASE, "dataset": BASE["dataset"] | {"atlas": atlas}}
    assert accepted(merged) and not accepted(filled(("dataset", "atlas"), "a\nb.nii"))
    (tmp_path / "run/c.yaml").write_text(yaml.safe_dump(merged))
    commands = dry_run(tmp_path / "run", "all", "download")
    given = [
        json.loads(w.removeprefix("--options="))
        for words in commands for w in words if w.startswith("--options={") and '"atlas"' in w
    ]  # fmt: skip
    assert given and all(g["atlas"] == atlas for g in given)
    assert not (tmp_path / "run/touched").exists()


@pytest.mark.parametrize(("extractor", "key"), [("file", "path"), ("caption", "texts")])
def test_paths_of_features_and_texts_reach_the_shell_quoted(extractor, key, tmp_path):
    """Each text that a path takes, as the file of a model; a module is refused before anything runs."""
    pytest.importorskip("snakemake")
    (tmp_path / "run/tree").mkdir(parents=True)
    paths = [
        v
        for v in HOSTILE
        if accepted({**BASE, "models": BASE["models"] | {"x": {"extractor": extractor, key: v}}})
    ]
    assert 8 < len(paths) < len(HOSTILE)
    models = {f"x{i}": {"extractor": extractor, key: value} for i, value in enumerate(paths)}
    for value in paths:
        (tmp_path / "run" / value).write_text("")
    merged = {**BASE, "models": models | BASE["models"],
              "encoders": BASE["encoders"] | {"ridge": {"models": ["nano", *models]}}}  # fmt: skip
    (tmp_path / "run/c.yaml").write_text(yaml.safe_dump(merged, allow_unicode=True))
    commands = dry_run(tmp_path / "run", "all")
    given = [
        w
        for words in commands
        for w in words
        if f'"extractor": "{extractor}"' in w and w.startswith("--options=")
    ]
    assert {json.loads(w.removeprefix("--options="))[key] for w in given} == set(paths)
    assert not (tmp_path / "run/touched").exists() or "touched" in paths
    own = {"extractor": "module", "module": "os:getcwd", "layers": ["a"]}
    assert not accepted({**BASE, "models": BASE["models"] | {"x": own}})
    for value in HOSTILE:
        assert not accepted({**BASE, "models": BASE["models"] | {"x": own | {"module": value}}})


def dry_run(folder, *targets):
    binary = Path(sys.executable).with_name("snakemake")
    environment = os.environ | {"PATH": f"{binary.parent}:{os.environ['PATH']}"}
    command = [binary, *targets, "-s", ROOT / "Snakefile", "--directory", folder, "--configfile", folder / "c.yaml",
               "--workflow-profile", "none", "--dry-run", "--printshellcmds", "--cores", "1"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    blocks = re.findall(r"^Shell command: (.*?)^$", text, re.M | re.S)
    assert blocks, text
    return [shlex.split(block) for block in blocks]
