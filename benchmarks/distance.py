"""Near and far test pictures, of macaque V4 and of the simulation: `python benchmarks/distance.py [FOLDER]`.

In each of five V4 sessions, in the features of MobileNetV2, and in the simulated NSD of a finished demo, in those of
the small network: the pictures farthest from all others are tested beside as many near ones, by the same training
pictures (`split.kind: distant`). Ridge on two models and the response to the nearest training picture. FOLDER keeps
what is made of V4. Writes benchmarks/results/distance.json and docs/distance.png.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from neuroenc import splits
from neuroenc.arrays import average_repeats, load, positions, regions
from neuroenc.config import Dataset, Ridge, Split, load_config
from neuroenc.datasets import module
from neuroenc.encoders import encode
from neuroenc.evaluation.distance import score_by_distance
from neuroenc.features.extract import extract
from neuroenc.figures import style
from neuroenc.files import write_json
from neuroenc.neighbours import space
from neuroenc.records import row

COMMAND, SESSIONS = "python benchmarks/distance.py", ("190923", "190925", "201025", "210322", "210325")
DEMO, FIGURE = Path("results/demo"), Path("docs/distance.png")
LOOKUP = "nearest training picture"
KINDS = {
    "V1-hV4": ("V1", "V2", "V3", "hV4"),
    "category_areas": ("FFA", "EBA", "PPA", "LO", "OPA", "OFA", "VWFA"),
}


def lookup(
    fitted: xr.Dataset, responses: xr.Dataset, points: np.ndarray, ids: np.ndarray, split: xr.Dataset
) -> xr.Dataset:
    """Put in place of predictions the response to the nearest training picture."""
    shown, mean = average_repeats(responses)
    at = positions(xr.Dataset(coords={"stimulus_id": ("stimulus", ids)}, attrs={"model": "space"}), shown)
    row_of = {s: i for i, s in enumerate(shown)}
    found = np.empty(fitted["prediction"].shape, np.float32)
    for fold in np.unique(fitted["fold"].values):
        train = np.flatnonzero(splits.sides(split, fold, shown, shown)[0] == splits.TRAIN)
        for i in np.flatnonzero(fitted["fold"].values == fold):
            apart = ((points[at[train]] - points[at[row_of[fitted["stimulus_id"].values[i]]]]) ** 2).sum(1)
            found[i] = mean[train[apart.argmin()]]
    made = fitted.copy()
    made["prediction"] = fitted["prediction"].dims, found
    return made


def study(
    responses: xr.Dataset, stimuli: xr.Dataset, features: dict[str, xr.Dataset], by: str
) -> dict[str, Any]:
    """Split by the features `by`, fit, look up, and score near and far pictures."""
    split = splits.make(stimuli, Split(kind="distant", features=by, test_fraction=0.15), features[by])
    fits = {
        name: encode(responses, found, split, Ridge(alphas=(0, 7, 15)))[0] for name, found in features.items()
    }
    ids = stimuli["stimulus_id"].values
    fits[LOOKUP] = lookup(fits[by], responses, space(features[by], ids), ids, split)
    return score_by_distance(responses, fits, split)


def v4(folder: Path) -> list[dict[str, Any]]:
    data = Path(os.environ.get("NEUROENC_REAL_DATA", "../shared/data")).resolve()
    os.environ["NEUROENC_REAL_DATA"] = str(data)
    config = load_config("config/v4.yaml")
    options = Dataset(name="v4", root=str(data / "v4"))
    made = []
    for session in SESSIONS:
        stimuli = module(options).load_stimuli(options, [session])
        responses = module(options).load_responses(options, session)
        features = {}
        for name, model in config.models.items():
            path = folder / f"{session}_{name}.nc"
            if not path.exists():
                model = model.model_copy(update={"layers": ["blocks.3"]}) if name == "mobilenetv2" else model
                extract(stimuli, model, path)
            features[name] = load(path, "features")
        made.append({"recording": f"V4 {session}", **study(responses, stimuli, features, "mobilenetv2")})
        print(made[-1]["recording"], flush=True)
    return made


def simulation() -> list[dict[str, Any]]:
    """Study the first simulated subject; areas of a kind together."""
    responses = load(DEMO / "sub-01/sub-01_responses.nc", "responses").load()
    masks = regions(responses)
    kinds = {f"roi_{k}": ("neuroid", np.any([masks[a] for a in areas], 0)) for k, areas in KINDS.items()}
    responses = responses.drop_vars([f"roi_{name}" for name in masks]).assign_coords(kinds)
    stimuli = load(DEMO / "stimuli.nc", "stimuli")
    shown = np.isin(stimuli["stimulus_id"].values, responses["stimulus_id"].values)
    features = {n: load(DEMO / f"feat-{n}_features.nc", "features") for n in ("nano", "gabor", "category")}
    found = study(responses, stimuli.isel(stimulus=np.flatnonzero(shown)), features, "nano")
    return [{"recording": "simulation, " + k.replace("_", " "), **found, "gaps": [g for g in found["gaps"] if g["region"] == k]}
            for k in KINDS]  # fmt: skip


def draw(studies: list[dict[str, Any]]) -> None:
    models = list(dict.fromkeys(g["model"] for s in studies for g in s["gaps"]))
    fig, ax = style.figure(1, 1, figsize=(8.6, 3.4))
    for k, model in enumerate(models):
        for place, found in enumerate(studies):
            for gap in (g for g in found["gaps"] if g["model"] == model and g["region"] in ("all", *KINDS)):
                x, how = place + 0.17 * (k - (len(models) - 1) / 2), {"color": style.COLOURS[k]}
                ax.plot([x, x], [gap["near"], gap["far"]], lw=1, **how)
                ax.plot(x, gap["near"], "o", ms=5, label=model if gap is found["gaps"][0] else None, **how)
                ax.plot(x, gap["far"], "o", ms=5, mfc="white", **how)
    ax.set_xticks(range(len(studies)), [s["recording"].replace(", ", ",\n") for s in studies], fontsize=8)
    ax.set_ylabel("pattern correlation\nnear (full), far (open)")
    ax.axhline(0, color="black", lw=0.6, ls=":")
    handles = [ax.plot([], [], "o", color=style.COLOURS[k])[0] for k in range(len(models))]
    ax.legend(handles, models, frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    style.save(fig, FIGURE)


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else scratch)
        folder.mkdir(parents=True, exist_ok=True)
        studies = v4(folder) + simulation()
    rows = [
        row(f"gap, {s['recording']}, {g['model']}", g["gap"], unit="pattern correlation", n=g["n_far"],
            interval=(g["low"], g["high"]), null=0.0, command=COMMAND, seed=0, near=g["near"], far=g["far"],
            n_neuroids=g["n_neuroids"], near_distance=g["near_distance"], far_distance=g["far_distance"])
        for s in studies for g in s["gaps"] if g["region"] in ("all", *KINDS)
    ]  # fmt: skip
    write_json({"label": "distance", "rows": rows}, Path("benchmarks/results/distance.json"))
    draw(studies)
    for r in rows:
        print(
            f"{r['name']:60s} near {r['near']:.3f} far {r['far']:.3f} gap {r['value']:+.3f} {r['interval']}"
        )


if __name__ == "__main__":
    main()
