"""Why attention routing comes last on macaque V4, and what does not: a table of grids, readouts and pooling.

    python benchmarks/routing.py [how many of three splits]

Reads the section `routing` of benchmarks/readouts.yaml; each encoder there says on which grids it is fitted.
Random splits by picture, each with its own seed of training, as benchmarks/readouts.py has them; the
validation r is that of the pictures on which options may be chosen. "Pooled" fits the sites of all sessions
together, each to its own pictures. Every fit is kept in results/routing/fits.jsonl, so that a run that was stopped
goes on. Writes benchmarks/results/routing.json and prints the table.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from readouts import measure, prepare, seeds, with_seed

from neuroenc.arrays import average_repeats
from neuroenc.evaluation.scores import pearson_r
from neuroenc.files import write_json
from neuroenc.records import machine, row

COMMAND = "python benchmarks/routing.py"
POOLED = ("attention", "probing")  # encoders that are also fitted to all sessions at once


def pooled(responses: dict[str, xr.Dataset]) -> xr.Dataset:
    """Put the sites of sessions side by side; NaN where a session did not show a picture."""
    parts = []
    for recorded in responses.values():
        ids, mean = average_repeats(recorded)
        first = {s: i for i, s in reversed(list(enumerate(recorded["stimulus_id"].values)))}
        one = recorded.isel(presentation=[first[s] for s in ids])
        parts.append(one.assign(response=(one["response"].dims, mean.astype(np.float32))))
    everything = np.unique(np.concatenate([p["stimulus_id"].values for p in parts]))
    out = np.full((len(everything), sum(p.sizes["neuroid"] for p in parts)), np.nan, np.float32)
    at = 0
    for part in parts:
        rows = np.searchsorted(everything, part["stimulus_id"].values)
        out[rows, at : at + part.sizes["neuroid"]] = part["response"].values
        at += part.sizes["neuroid"]
    sites = xr.concat([p.isel(presentation=slice(1)).drop_vars("response") for p in parts], "neuroid",
                      data_vars="minimal", coords="minimal", compat="override", join="override")  # fmt: skip
    n = len(everything)
    shown = {"stimulus_id": everything, "session": np.full(n, "all"), "run": np.zeros(n, int),
             "repetition": np.zeros(n, int), "split": np.full(n, "train"), "group": everything}  # fmt: skip
    kept = {k: c.variable for k, c in sites.coords.items() if c.dims == ("neuroid",)}
    coords = kept | {k: ("presentation", v) for k, v in shown.items()}
    return xr.Dataset({"response": (("presentation", "neuroid"), out)}, coords, parts[0].attrs)


def r_of(recorded: xr.Dataset, p: xr.Dataset, name: str, ids: str) -> float:
    """Mean over sites of r of predictions or validation predictions."""
    names, mean = average_repeats(recorded)
    truth = dict(zip(names, mean, strict=True))
    shown = np.array([s in truth for s in p[ids].values])
    y = np.stack([truth[s] for s in p[ids].values[shown]])
    predicted = p.sel(neuroid=np.isin(p["neuroid_id"].values, recorded["neuroid_id"].values))
    return float(np.nanmean(pearson_r(y, predicted[name].values[shown])))


def main() -> None:
    folder = Path("results/routing")
    folder.mkdir(parents=True, exist_ok=True)
    config, responses, features, stimuli = prepare("routing", folder)
    log = folder / "fits.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    fitted = {tuple(key): values for key, values in map(json.loads, lines)}
    found: dict[tuple[str, str, str], list[Any]] = {}
    for seed, split in seeds(config, stimuli)[: int(next(iter(sys.argv[1:]), 3))]:
        for label, model in config.fits().values():
            options = with_seed(config.encoders[label], seed)
            fits = {"alone": {s: [s] for s in responses}}
            if label in POOLED and model == "grid7":
                fits["pooled"] = {"all": list(responses)}
            for how, parts in fits.items():
                for part, subjects in parts.items():
                    keys = [(s, f"{label} {model}", how, seed) for s in subjects]
                    if not all(key in fitted for key in keys):
                        recorded = responses[part] if part in responses else pooled(responses)
                        p, _, seconds, _ = measure(recorded, features[model], split, options)
                        for key in keys:
                            of = responses[key[0]]
                            fitted[key] = [r_of(of, p, "validation", "held_stimulus_id"),
                                           r_of(of, p, "prediction", "stimulus_id"), seconds]  # fmt: skip
                            with log.open("a") as file:
                                print(json.dumps([key, fitted[key]]), file=file)
                    for key in keys:
                        found.setdefault(key[:3], []).append(fitted[key])
                        print(*key, "val {:.4f} test {:.4f} {:.0f} s".format(*fitted[key]), flush=True)
    rows = []
    for (subject, readout, how), each in found.items():
        values = np.array(each)
        rows.append(
            row("mean test r", float(values[:, 1].mean()), unit="Pearson r", n=responses[subject].sizes["neuroid"],
                seed=None, null=0.0, interval=(float(values[:, 1].min()), float(values[:, 1].max())),
                command=COMMAND, subject=subject, readout=readout, sites=how,
                validation=float(values[:, 0].mean()), seconds=float(values[:, 2].mean()))
        )  # fmt: skip
    write_json(
        {"label": "routing", "machine": machine(), "rows": rows}, Path("benchmarks/results/routing.json")
    )
    print("| readout | sites | " + " | ".join(f"{s} val | {s} test" for s in responses) + " | s |")
    for readout, how in dict.fromkeys((r["readout"], r["sites"]) for r in rows):
        mine = [r for r in rows if (r["readout"], r["sites"]) == (readout, how)]
        cells = " | ".join(f"{r['validation']:.3f} | {r['value']:.3f}" for r in mine)
        print(f"| {readout} | {how} | {cells} | {np.mean([r['seconds'] for r in mine]):.0f} |")


if __name__ == "__main__":
    main()
