"""The card of an exported encoder: Markdown with the front matter the hub reads, from the facts alone."""

from __future__ import annotations

import json
import re
from typing import Any


def card(facts: dict[str, Any]) -> str:
    """Write the card.

    Parameters
    ----------
    facts : dict
        What `encoder.json` holds.
    """
    subjects = facts["subjects"]
    n = sum(len(s["neuroid_id"]) for s in subjects)
    who = ", ".join(s["subject"] for s in subjects)
    rows = [
        f"| {s['subject']} | {len(s['neuroid_id'])} | {s['n_training']} | {s['n_validation']} | "
        f"{_number(s['r'])} | {_number(s['ceiling_r'])} | {_number(s['coverage_90'])} |"
        for s in subjects
    ]
    members = [
        f"| {m['name']} | {m['encoder']} | {m['contract']['model']} | `{m['contract']['weights']}` | "
        f"{m['contract']['layer']} | {m['contract']['pooling']} |"
        for m in facts["members"]
    ]
    return "\n".join([
        *_front(facts),
        f"# {facts['name']}: {facts['dataset']}, subject {who}",
        "",
        f"Predicts the response of {n} neuroids to a picture. Responses are in {facts['units']}, space "
        f"{facts['space']}; one number stands for the mean over as many presentations as validation pictures "
        f"had ({', '.join(_number(s['repeats']) for s in subjects)} on average).",
        "",
        "```python",
        "import neuroenc",
        "",
        'encoder = neuroenc.load("hub:OWNER/NAME")  # or the folder',
        'response = encoder(["picture.png"])  # (picture, neuroid), with regions and ceilings',
        'encoder.interval(["picture.png"], 0.9)',
        'encoder.distance(["picture.png"])',
        "```",
        "",
        "## What it reads",
        "| member | encoder | network | weights | layers | pooling |",
        "|---|---|---|---|---|---|",
        *members,
        "",
        "The weights of the networks do not come along; those that are found are compared with these hashes.",
        "",
        "## How good it is",
        "On test pictures it was not fitted to; r is that of the means over presentations, the last column "
        "of responses to pictures shown as often as validation pictures were:",
        "",
        "| subject | neuroids | training pictures | validation pictures | mean test r | r of the ceiling | "
        "test responses within the 90 % interval |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *rows,
        "",
        f"Transductive: {facts['transductive']}. Ceilings by {facts['ceiling_method']}.",
        "",
        "## Intervals, and where they end",
        "Intervals are split conformal: as wide as the residuals of validation pictures say, for each "
        "neuroid. A stated share of the responses to *new pictures of the same kind* lies within, over "
        "pictures, shown as often as validation pictures were; means of more presentations vary less, and "
        "lie within more often. Intervals do not grow with the distance to the training pictures. **Of "
        "pictures of other kinds they promise nothing.** `distance` says how far a picture lies from the "
        "nearest "
        "training picture in the features above, in units of how far training pictures lie from one another "
        f"(their median); beyond that of {facts['far']:.0%} of them "
        f"({', '.join(_number(s['farthest']) for s in subjects)}) "
        "`load(…, outside=\"warn\")` warns, `\"nan\"` predicts nothing, `\"refuse\"` raises.",
        "",
        "## Licence",
        facts["licence"],
        "",
        f"Written by neuroenc {facts['neuroenc_version']} from the facts in `encoder.json`; all files are "
        "compared with their hashes when they are read.",
        "",
    ])  # fmt: skip


def _front(facts: dict[str, Any]) -> list[str]:
    known = facts["licence"] != "unstated" and re.fullmatch(r"[a-z0-9][a-z0-9.-]*", facts["licence"])
    licence = (
        [f"license: {facts['licence']}"] if known
        else ["license: other", f"license_name: {json.dumps(facts['licence'])}"]
    )  # fmt: skip
    return ["---", *licence, "library_name: neuroenc", "tags:", "- neuroscience", "- encoding-model",
            f"- {json.dumps(facts['dataset'])}", "---", ""]  # fmt: skip


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"
