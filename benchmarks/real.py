"""What the real inputs show, beyond their runs of the workflow: `make real`.

Reads results/v4, haxby, mtl and n170, adds V4's shuffled control and MTL's pictures seen again, and
writes results/real.json.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from neuroenc.arrays import load
from neuroenc.config import load_config
from neuroenc.decoders.retrieve import retrieval
from neuroenc.encoders.encode import encode
from neuroenc.evaluation.evaluate import evaluate
from neuroenc.evaluation.identification import cosine
from neuroenc.files import write_json
from neuroenc.records import row

COMMAND = "make real"
V4 = Path("results/v4")


def v4_rows() -> list[dict]:
    rows = [
        r | {"command": COMMAND, "recording": "v4"}
        for r in json.loads((V4 / "summary.json").read_text())["rows"]
    ]
    # the same pipeline after the pictures have been dealt anew to the responses
    config = load_config("config/v4.yaml")
    responses = load(V4 / "sub-201025/sub-201025_responses.nc", "responses")
    features = load(V4 / "feat-mobilenetv2_features.nc", "features")
    shown = np.isin(features["stimulus_id"].values, responses["stimulus_id"].values)
    ids = features["stimulus_id"].values.copy()
    ids[shown] = np.random.default_rng(0).permutation(ids[shown])
    shuffled = features.assign_coords(stimulus_id=("stimulus", ids))
    predictions, _ = encode(responses, shuffled, load(V4 / "splits.nc", "splits"), config.encoders["ridge"])
    scores = evaluate(responses, predictions, config.evaluation)
    r = scores["score"].sel(metric="pearson_r").values
    rows.append(
        row("mean test r, pictures shuffled", np.nanmean(r), unit="Pearson r", n=len(r), null=0.0,
            command=COMMAND, seed=0, recording="v4", subject="201025", model="mobilenetv2")
    )  # fmt: skip
    return rows


def summary_rows(name: str) -> list[dict]:
    found = json.loads(Path(f"results/{name}/summary.json").read_text())["rows"]
    return [r | {"command": COMMAND, "recording": name} for r in found]


def mtl_rows() -> list[dict]:
    """Pictures seen again, from spikes between 200 and 1700 ms after the onset, the usual window."""
    responses = load("results/mtl/sub-all/sub-all_responses.nc", "responses")
    ids, phase = responses["stimulus_id"].values, responses["run"].values
    window = (responses["start"].values > 0.2 - 1e-6) & (responses["stop"].values < 1.7 + 1e-6)
    counts = responses["response"].values[..., window].sum(2).astype(float)
    units = np.empty_like(counts)
    for p in (0, 1):  # firing drifts between the phases
        spread = counts[phase == p].std(0)
        units[phase == p] = (counts[phase == p] - counts[phase == p].mean(0)) / np.where(
            spread > 0, spread, 1
        )
    learned = {s: i for i, s in enumerate(ids) if phase[i] == 0}
    asked = np.array([i for i, s in enumerate(ids) if phase[i] == 1 and s in learned])
    rng = np.random.default_rng(0)
    rows = []
    for what, order in (("", np.arange(len(asked))), (", pictures shuffled", rng.permutation(len(asked)))):
        known = units[[learned[ids[i]] for i in asked[order]]]
        found = retrieval(cosine(units[asked], known))
        for name in ("brain_to_image_top1", "brain_to_image_top5"):
            s = found[name]
            rows.append(
                row(f"picture seen again, {name}{what}", s["value"], unit="accuracy", n=len(asked),
                    interval=(s["low"], s["high"]), null=s["chance"], ceiling=1.0, command=COMMAND, seed=0,
                    recording="mtl", subject="all", transductive="units are z-scored within each phase")
            )  # fmt: skip
    return rows


def main() -> None:
    rows = v4_rows() + summary_rows("haxby") + summary_rows("mtl") + mtl_rows() + summary_rows("n170")
    write_json({"label": "real", "rows": rows}, "results/real.json")
    wanted = [
        r for r in rows
        if r["name"].startswith(("mean test r,", "classes, ", "brain_to_image_top1", "median normalised",
                                "retrieval, brain_to_image_top1", "picture seen"))
        or r.get("region") == "all"
    ]  # fmt: skip
    for r in wanted:
        chance = "" if r["null"] is None else f"  (chance {r['null']:.3f})"
        who = f"{r['recording']} {r['subject']} {r.get('model', '')}"
        print(f"{who:26s} {r['name'] + ' ' + r.get('by', ''):54s} {r['value']:.3f}{chance}")
    print("written: results/real.json")


if __name__ == "__main__":
    main()
