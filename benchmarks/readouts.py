"""The fair bench: every readout on the same features, splits and ceilings.

    python benchmarks/readouts.py [v4] [simulation] [draw]

Three seeds: for V4 three random splits by picture, for the simulation three divisions of the training
pictures (its test pictures are named by the dataset), each with its own seed of training. Writes
benchmarks/results/readouts.json, benchmarks/RESULTS.md and docs/readouts.png.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import yaml

from neuroenc import splits
from neuroenc.arrays import average_repeats, load, regions, save
from neuroenc.config import Config, Split, Stack, parse
from neuroenc.datasets import module
from neuroenc.encoders.encode import Fit, encode, queries
from neuroenc.encoders.stack import stack_predictions
from neuroenc.evaluation.ceilings import ceiling
from neuroenc.evaluation.scores import normalised_r, pearson_r
from neuroenc.features.extract import extract
from neuroenc.files import write_json
from neuroenc.records import machine, row
from neuroenc.simulation import cortex
from neuroenc.simulation.grade import KINDS, attention_in_boxes, truth_of
from neuroenc.simulation.simulate import simulate, subject_scenes

MEMORY = "\n## Memory, before and now\n"
COMMAND = "snakemake bench_readouts"
SEEDS = (0, 1, 2)
SIZES = (100, 200, 400, 700)  # training pictures of the learning curve, then all


def prepare(name: str, folder: Path) -> tuple[Config, dict[str, Any], dict[str, Any], Any]:
    """Make or read responses, features and stimuli."""
    section = yaml.safe_load(Path("benchmarks/readouts.yaml").read_text())[name]
    config = parse(Config, section)
    dataset = config.dataset
    if dataset.root is None:
        root = folder / "nsd"
        if not root.exists():
            simulate(root, config.simulate)
        dataset = dataset.model_copy(update={"root": str(root)})
        config = config.model_copy(update={"dataset": dataset})
    source = module(dataset)
    stimuli = folder / f"{name}-stimuli.nc"
    if not stimuli.exists():
        save(source.load_stimuli(dataset, config.subjects), stimuli)
    responses, features = {}, {}
    for subject in config.subjects:
        path = folder / f"{name}-{subject}.nc"
        if not path.exists():
            save(source.load_responses(dataset, subject), path)
        responses[subject] = load(path, "responses")
    for model, options in config.models.items():
        path = folder / f"{name}-{model}.nc"
        if not path.exists():
            extract(load(stimuli, "stimuli"), options, path)
        features[model] = load(path, "features")
    return config, responses, features, load(stimuli, "stimuli")


def peak(*, reset: bool = False) -> float:
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(x for x in lines if x.startswith("VmHWM")).split()[1]) / 1024


def measure(
    responses: xr.Dataset, features: xr.Dataset, split: xr.Dataset, options: Any
) -> tuple[xr.Dataset, list[Fit], float, float]:
    """Fit; predictions, models, seconds and MiB over what was held before."""
    before, start = peak(reset=True), time.perf_counter()
    predictions, fits = encode(responses, features, split, options)
    return predictions, fits, time.perf_counter() - start, peak() - before


def seeds(config: Config, stimuli: xr.Dataset) -> list[tuple[int, xr.Dataset]]:
    if config.split.kind == "dataset":
        made = [(s, config.split.model_copy(update={"seed": s})) for s in SEEDS]
        return [(s, splits.make(stimuli, section)) for s, section in made]
    whole = splits.make(stimuli, config.split)
    return [(s, whole.isel(fold=[s])) for s in SEEDS]


def with_seed(options: Any, seed: int) -> Any:
    return options.model_copy(update={"seed": seed} if hasattr(options, "seed") else {})


def per_neuroid(truth: dict[str, Any], p: xr.Dataset) -> Any:
    y = np.stack([truth[s] for s in p["stimulus_id"].values])
    return pearson_r(y, p["prediction"].values)


def resample(
    truth: dict[str, Any], a: xr.Dataset, b: xr.Dataset | None, masks: dict[str, Any], n: int = 500
) -> Any:
    """Resample test pictures: mean r of a, or r of a less r of b, per mask, (n, n_masks)."""
    rng = np.random.default_rng(0)
    y = np.stack([truth[s] for s in a["stimulus_id"].values])
    out = np.empty((n, len(masks)))
    with np.errstate(invalid="ignore"):
        for i in range(n):
            t = rng.integers(0, len(y), len(y))
            r = pearson_r(y[t], a["prediction"].values[t])
            r = r if b is None else r - pearson_r(y[t], b["prediction"].values[t])
            out[i] = [np.nanmean(r[m]) for m in masks.values()]
    return out


def bench(name: str, folder: Path) -> list[dict[str, Any]]:
    config, responses, features, stimuli = prepare(name, folder)
    rows: list[dict[str, Any]] = []
    for subject, recorded in responses.items():
        ids, mean = average_repeats(recorded)
        truth = dict(zip(ids, mean, strict=True))
        masks = {"all": np.ones(recorded.sizes["neuroid"], bool)}
        if name == "simulation":
            known = truth_of(Path(config.dataset.root or ""), subject, recorded)
            live = ~known["silent"].values
            area = known["area"].values
            masks |= {kind: np.isin(area, areas) & live for kind, areas in KINDS.items()}
            masks |= {k: v & live for k, v in regions(recorded).items()}
        tested = recorded["split"].values == "test"
        tested |= not tested.any()  # no test pictures are named: every picture is tested in some split
        limit = ceiling(
            recorded["response"].values[tested], recorded["stimulus_id"].values[tested],
            config.evaluation.ceiling, recorded["ncsnr"].values if "ncsnr" in recorded.coords
            else np.full(recorded.sizes["neuroid"], np.nan),
        )  # fmt: skip
        runs: dict[str, list[Any]] = {}
        for seed, split in seeds(config, stimuli):
            for model, table in features.items():
                for label, options in config.encoders.items():
                    if (folder / "skip").exists() and f"{name}:{model}:{label}" in (
                        folder / "skip"
                    ).read_text():
                        continue
                    found = measure(recorded, table, split, with_seed(options, seed))
                    runs.setdefault(f"{model} {label}", []).append((found[0], found[2], found[3]))
                    r = per_neuroid(truth, found[0])
                    print(f"{name} {subject} seed {seed} {model:12s} {label:12s} r {np.nanmean(r):.4f} "
                          f"{found[2]:6.1f} s {found[3]:6.0f} MiB", flush=True)  # fmt: skip
                    if name == "simulation" and seed == 0:
                        rows += truths(label, model, found[1], table, recorded, found[0], known, config)
            names = [f"{m} {label}" for m in features for label in config.encoders]
            members = {k: runs[k][-1][0] for k in names}
            start = time.perf_counter()
            for label, select in (("stack", False), ("selection", True)):
                stacked = stack_predictions(recorded, members, Stack(select=select))
                runs.setdefault(label, []).append((stacked, time.perf_counter() - start, 0.0))
            # each layer of the largest network by itself, as its own single-layer ridge
            if name == "v4":
                table = features["mobilenetv2"]
                for layer in dict.fromkeys(table["layer"].values):
                    one = table.isel(channel=table["layer"].values == layer)
                    p, _, seconds, used = measure(recorded, one, split, config.encoders["ridge"])
                    runs.setdefault(f"mobilenetv2 ridge, {layer} alone", []).append((p, seconds, used))
        single = [k for k in runs if k.endswith("alone")] or [k for k in runs if k.endswith(" ridge")]
        best_single = max(
            single, key=lambda k: np.mean([np.nanmean(per_neuroid(truth, p)) for p, _, _ in runs[k]])
        )
        labels = {"command": COMMAND, "recording": name, "subject": subject}
        for fit, found in runs.items():
            each = np.array([per_neuroid(truth, p) for p, _, _ in found])
            draws = np.mean([resample(truth, p, None, masks) for p, _, _ in found], axis=0)
            base = runs[best_single] if fit not in single else None
            gain = (
                np.mean([resample(truth, p, q, masks) for (p, _, _), (q, _, _) in zip(found, base, strict=True)], axis=0)
                if base else None
            )  # fmt: skip
            reference = np.array([per_neuroid(truth, p) for p, _, _ in base]) if base else None
            for i, (kind, mask) in enumerate(masks.items()):
                value = float(np.nanmean(each[:, mask]))
                normalised, _ = normalised_r(each.mean(0), limit, threshold=config.evaluation.threshold)
                extra: dict[str, Any] = {}
                if gain is not None and reference is not None:
                    extra = {
                        "gain": float(np.nanmean((each - reference)[:, mask])),
                        "gain_interval": np.quantile(gain[:, i], [0.025, 0.975]).tolist(),
                        # two-sided, never 0
                        "gain_p": float(min(1, 2 * (1 + min((gain[:, i] <= 0).sum(), (gain[:, i] >= 0).sum())) / (1 + len(gain)))),
                        "against": best_single,
                    }  # fmt: skip
                rows.append(
                    row("mean test r", value, unit="Pearson r", n=int(mask.sum()), seed=None, null=0.0,
                        interval=tuple(np.quantile(draws[:, i], [0.025, 0.975]).tolist()),
                        readout=fit, kind=kind, seeds=np.nanmean(each[:, mask], 1).tolist(),
                        normalised=float(np.nanmedian(normalised[mask])) if np.isfinite(normalised[mask]).any() else None,
                        seconds=float(np.mean([s for _, s, _ in found])),
                        mebibytes=float(np.max([m for _, _, m in found])), **extra, **labels)
                )  # fmt: skip
        if name == "simulation":
            rows += learning_curve(config, recorded, features["nano"], stimuli, truth, masks)
    return rows


def truths(
    label: str, model: str, fits: list[Fit], table: xr.Dataset, recorded: xr.Dataset, p: xr.Dataset,
    known: xr.Dataset, config: Config,
) -> list[dict[str, Any]]:  # fmt: skip
    """Hold fields and attention against what the simulation knows."""
    labels = {"command": COMMAND, "seed": 0, "recording": "simulation", "readout": f"{model} {label}"}
    fit = fits[0]
    if label in ("gaussian", "factorised"):
        if label == "gaussian":
            centre = fit.model.field_[:, :2]
        else:
            side = round(fit.model.mask_.shape[1] ** 0.5)
            weight = fit.model.mask_**4
            at = (np.arange(side) + 0.5) / side
            grid = np.stack([np.tile(at, side), np.repeat(at, side)], 1)
            centre = weight @ grid / weight.sum(1, keepdims=True)
        degrees = np.stack([centre[:, 0] - 0.5, 0.5 - centre[:, 1]], 1) * cortex.DEGREES
        field = known["field"].values[fit.neuroid]
        # voxels whose responses are explained at all, by validation
        clear = (
            np.isfinite(field[:, 0]) & ~known["silent"].values[fit.neuroid] & (fit.model.best_score_ > 0.1)
        )
        error = np.linalg.norm(degrees - field[:, :2], axis=1)[clear]
        rng = np.random.default_rng(0)
        shuffled = np.linalg.norm(degrees[clear] - rng.permutation(field[clear, :2]), axis=1)
        return [
            row("error of receptive-field centres, median", float(np.median(error)), unit="degrees",
                n=int(clear.sum()), null=float(np.median(shuffled)), **labels)
        ]  # fmt: skip
    if label != "attention" or model != "nano":
        return []
    names = queries(recorded, config.encoders["attention"])[1]  # type: ignore[arg-type]
    tested = np.unique(p["stimulus_id"].values)
    place = {s: i for i, s in enumerate(table["stimulus_id"].values)}
    X = (table["feature"].values[[place[s] for s in tested]] - fit.centre) / fit.scale
    n_pictures = config.simulate.n_shared + config.simulate.n_subjects * config.simulate.n_unique
    kinds = {"relevance": "relevance", "attention": "weight"}
    maps = xr.Dataset(
        {
            name: (
                ("stimulus", "query", "row", "column"),
                fit.model.attention_maps(X, kind=kind)[:, : len(names)],
            )
            for name, kind in kinds.items()
        },
        {"stimulus_id": ("stimulus", tested), "query_name": ("query", names)},
    )
    return attention_in_boxes(maps, subject_scenes(n_pictures, config.simulate.seed), labels)


def learning_curve(
    config: Config, recorded: xr.Dataset, table: xr.Dataset, stimuli: xr.Dataset, truth: dict[str, Any],
    masks: dict[str, Any],
) -> list[dict[str, Any]]:  # fmt: skip
    """Ridge, attention and probing on the same tokens, from fewer training pictures."""
    rows = []
    ids = np.unique(recorded["stimulus_id"].values[recorded["split"].values == "train"])
    for size in (*SIZES, len(ids)):
        scores: dict[str, list[Any]] = {"ridge": [], "attention": [], "probing": []}
        for seed in SEEDS:
            kept = np.random.default_rng(seed).permutation(ids)[:size]
            shown = np.isin(recorded["stimulus_id"].values, kept) | (recorded["split"].values == "test")
            few = recorded.isel(presentation=shown)
            split = splits.make(stimuli, Split(kind="dataset", seed=seed))
            for label, each in scores.items():
                p, _ = encode(few, table, split, with_seed(config.encoders[label], seed))
                each.append(per_neuroid(truth, p))
        for label, each in scores.items():
            for kind in ("early", "category"):
                value = np.nanmean(np.array(each)[:, masks[kind]], 1)
                rows.append(row("learning curve", float(value.mean()), unit="Pearson r", n=size, null=0.0,
                                interval=(float(value.min()), float(value.max())), command=COMMAND, seed=None,
                                recording="simulation", readout=f"nano {label}", kind=kind))  # fmt: skip
                print(f"learning curve {size:5d} {label:10s} {kind:9s} {value.mean():.4f}", flush=True)
    return rows


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw mean test r of every readout, a panel per recording, and the learning curve."""
    rows = [r for r in rows if r["value"] is not None]
    from neuroenc.figures import style

    panels = [("v4", s, "all") for s in ("190923", "201025", "210322", "210325")]
    panels += [("simulation", "01", "early"), ("simulation", "01", "category")]
    fig, axes = style.figure(2, 4, figsize=(13, 6.6), squeeze=False)
    for ax, (recording, subject, kind) in zip(axes.flat, panels, strict=False):
        shown = [
            r for r in rows
            if r["name"] == "mean test r" and r["recording"] == recording and r["subject"] == subject
            and r["kind"] == kind and "alone" not in r["readout"]
        ]  # fmt: skip
        shown.sort(key=lambda r: r["value"])
        at = np.arange(len(shown))
        for i, r in enumerate(shown):
            first = r["readout"].split()[0]
            colour = style.COLOURS[{"gabor": 1}.get(first, 0) if len(r["readout"].split()) > 1 else 5]
            ax.plot(r["interval"], [i, i], color=colour, lw=1.5)
            ax.plot(r["value"], i, "o", ms=4, color=colour)
        ax.set_yticks(at, [r["readout"] for r in shown], fontsize=7)
        ax.set_xlabel("mean test r (95 % over pictures)", fontsize=8)
        ax.set_title(f"V4 {subject}" if recording == "v4" else f"simulation, {kind} areas", fontsize=9)
    ax = axes.flat[6]
    for n, (kind, marker) in enumerate((("early", "o"), ("category", "s"))):
        for label, colour in (
            ("ridge", style.COLOURS[0]), ("attention", style.COLOURS[5]), ("probing", style.COLOURS[2]),
        ):  # fmt: skip
            curve = [
                r for r in rows
                if r["name"] == "learning curve" and r["kind"] == kind and r["readout"].endswith(label)
            ]  # fmt: skip
            ax.plot([r["n"] for r in curve], [r["value"] for r in curve], marker=marker, ms=4, color=colour,
                    ls=("-", "--")[n], label=f"{label}, {kind}")  # fmt: skip
    ax.set_xscale("log")
    ax.set_xlabel("training pictures", fontsize=8)
    ax.set_ylabel("mean test r", fontsize=8)
    ax.set_title("simulation, the same tokens", fontsize=9)
    ax.legend(frameon=False, fontsize=7)
    ax = axes.flat[7]
    maps = [r for r in rows if r["name"].startswith(("attention in", "peak of")) and r["map"] == "relevance"]
    ax.barh(range(len(maps)), [r["value"] for r in maps], color=style.COLOURS[5])
    for i, r in enumerate(maps):
        ax.plot([r["null"]] * 2, [i - 0.4, i + 0.4], color="black", lw=1.2)
    ax.set_yticks(range(len(maps)), [r["area"] for r in maps], fontsize=8)
    ax.set_xlabel("peak in the object's box (line: chance)", fontsize=8)
    ax.set_xlim(0, 1)
    style.save(fig, path)


def markdown(rows: list[dict[str, Any]]) -> str:
    """Write the tables."""
    rows = [r for r in rows if r["value"] is not None]  # regions without a voxel
    out = [
        "# Results of the bench of readouts",
        "",
        f"`{COMMAND}` (or `python benchmarks/readouts.py`) makes this page, "
        "`benchmarks/results/readouts.json` and `docs/readouts.png` again. "
        f"Machine: {machine()}; seconds are wall time, and other work ran beside. Every readout reads the same features, splits and ceilings; three seeds. "
        "r is Pearson's, the mean over sites or voxels and seeds; intervals are 95 % over test pictures, of "
        "that mean, the test sets of the seeds taken as independent; "
        "*gain* is over the best single-layer ridge of that recording, with its interval and two-sided p. "
        "Normalised: median r over its ceiling, where repeats give one. Seconds and MiB are of one fit "
        "with all its cross-validation, memory over what was held before.",
        "",
    ]
    for recording, subject, kind in dict.fromkeys(
        (r["recording"], r["subject"], r["kind"]) for r in rows if r["name"] == "mean test r"
    ):
        if recording == "simulation" and kind not in ("all", "early", "category", "language"):
            continue
        found = [
            r for r in rows
            if r["name"] == "mean test r" and (r["recording"], r["subject"], r["kind"]) == (recording, subject, kind)
        ]  # fmt: skip
        title = f"V4 {subject}" if recording == "v4" else f"Simulation, {kind} areas"
        out += [f"## {title}, {found[0]['n']} {'sites' if recording == 'v4' else 'voxels'}", ""]
        out += [
            "| readout | r | 95 % | normalised | gain | 95 % | p | s | MiB |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for r in sorted(found, key=lambda r: -r["value"]):
            low, high = r["interval"]
            gain = (
                f"{r['gain']:+.3f} | {r['gain_interval'][0]:+.3f} to {r['gain_interval'][1]:+.3f} | {r['gain_p']:.3f}"
                if "gain" in r else "| |"
            )  # fmt: skip
            normalised = "" if r["normalised"] is None else f"{r['normalised']:.3f}"
            out.append(
                f"| {r['readout']} | {r['value']:.3f} | {low:.3f} to {high:.3f} | {normalised} | {gain} | "
                f"{r['seconds']:.1f} | {r['mebibytes']:.0f} |"
            )
        out.append("")
    regions_of = [r for r in rows if r["name"] == "mean test r" and r["recording"] == "simulation"]
    kinds = list(dict.fromkeys(r["kind"] for r in regions_of))
    out += ["## Simulation, the stack against its best member in every region", ""]
    out += ["| region | best member | r | stack | difference |", "|---|---|---|---|---|"]
    for kind in kinds:
        members = [r for r in regions_of if r["kind"] == kind and r["readout"] not in ("stack", "selection")]
        best = max(members, key=lambda r: r["value"])
        stacked = next(r for r in regions_of if r["kind"] == kind and r["readout"] == "stack")
        out.append(f"| {kind} | {best['readout']} | {best['value']:.3f} | {stacked['value']:.3f} | "
                   f"{stacked['value'] - best['value']:+.3f} |")  # fmt: skip
    out += ["", "## What the simulation knows", "", "| | value | chance | n |", "|---|---|---|---|"]
    for r in rows:
        if r["name"].startswith(("error of", "attention in", "peak of")):
            what = (
                f"{r['name']}, {r['readout']}" if "area" not in r else f"{r['name']}, {r['area']}, {r['map']}"
            )
            out.append(f"| {what} | {r['value']:.2f} {r['unit']} | {r['null']:.2f} | {r['n']} |")
    out += ["", "## Learning curve (simulation, the same tokens)", ""]
    curve = [r for r in rows if r["name"] == "learning curve"]
    sizes = sorted({r["n"] for r in curve})
    out += ["| readout | areas | " + " | ".join(map(str, sizes)) + " |", "|---|---|" + "---|" * len(sizes)]
    for readout, kind in dict.fromkeys((r["readout"], r["kind"]) for r in curve):
        values = {r["n"]: r["value"] for r in curve if (r["readout"], r["kind"]) == (readout, kind)}
        out.append(f"| {readout} | {kind} | " + " | ".join(f"{values[s]:.3f}" for s in sizes) + " |")
    return "\n".join(out) + "\n"


def main() -> None:
    path, folder = Path("benchmarks/results/readouts.json"), Path("results/readouts")
    folder.mkdir(parents=True, exist_ok=True)
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    for name in sys.argv[1:] or ("v4", "simulation"):
        if name != "draw":  # else tables and figure again, from the stored rows
            rows = [r for r in rows if r["recording"] != name] + bench(name, folder)
            write_json({"label": "readouts", "machine": machine(), "rows": rows}, path)
    page = Path("benchmarks/RESULTS.md")
    known = page.read_text() if page.exists() else ""
    page.write_text(
        markdown(rows) + "".join(known.partition(MEMORY)[1:])
    )  # which benchmarks/readme.py writes
    draw(rows, Path("docs/readouts.png"))


if __name__ == "__main__":
    main()
