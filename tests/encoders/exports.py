"""Two subjects' fits on disk, the stack of one as an exported folder, and its test pictures."""

import json

from neuroenc.arrays import load
from neuroenc.config import Attention, Model, Ridge
from neuroenc.encoders.export import Subject, digest

MODELS = {"gabor": Model(extractor="gabor"), "cells": Model(extractor="gabor", pooling="grid:4")}
OPTIONS = {
    "gabor": Ridge(alphas=(0, 6, 4)),
    "cells": Attention(max_epochs=2, n_dimensions=16, n_heads=2, device="cpu"),
}


def arguments(folder, *subjects, fit="stack"):
    members = list(OPTIONS) if fit == "stack" else [fit]
    found = []
    for s in subjects:
        found += ["--responses", f"{s}={folder}/r-{s}.nc", "--predictions", f"{s}={folder}/p-{s}-{fit}.nc",
                  "--scores", f"{s}={folder}/s-{s}-{fit}.nc"]  # fmt: skip
        found += [w for m in members for w in ("--weights", f"{s}:{m}={folder}/w-{s}-{m}.safetensors")]
    for m in members:
        found += ["--features", f"{m}={folder}/f-{m}.nc", "--model", f"{m}={MODELS[m].model_dump_json()}"]
    return found


def subject(folder, name="01", fit="stack", **changes):
    members = list(OPTIONS) if fit == "stack" else [fit]
    found = Subject(
        name, load(folder / f"r-{name}.nc", "responses"), load(folder / f"p-{name}-{fit}.nc", "predictions"),
        load(folder / f"s-{name}-{fit}.nc", "scores"),
        {m: folder / f"w-{name}-{m}.safetensors" for m in members},
    )  # fmt: skip
    return found._replace(**changes)


def read(folder):
    return {m: load(folder / f"f-{m}.nc", "features") for m in OPTIONS}


def rewritten(folder, change):
    """Change the facts and make their own hash fit, as somebody who means harm would."""
    facts = json.loads((folder / "encoder.json").read_text())
    change(facts)
    facts["sha256"] = digest(facts)
    (folder / "encoder.json").write_text(json.dumps(facts))
