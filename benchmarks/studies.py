"""Run the simulated studies of config/studies and grade their answers: `make studies`, or `… studies.py NAME …`.

Each study's tree is simulated where it is not there, its configuration is run by Snakemake, and what it says is
held against the truth beside the tree. Prints a line a bar; ends with 1 if one is missed. Writes
benchmarks/results/studies.json, where the rows of studies that were not run are kept.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from neuroenc.arrays import load, regions
from neuroenc.documents import read_json
from neuroenc.figures.comparison import winners
from neuroenc.files import write_json
from neuroenc.records import row
from neuroenc.simulation.grade import truth_of

RESULTS = Path("benchmarks/results/studies.json")
EARLY = ("V1", "V2", "V3", "hV4")
LANGUAGE = "TPJ"
NCSNR = 0.3  # voxels that are graded


class Bar(NamedTuple):
    """What is asked of a study, and what was found."""

    what: str
    value: float
    bar: float
    below: bool = False
    """The value must be no more than the bar"""

    @property
    def met(self) -> bool:
        return bool(self.value <= self.bar if self.below else self.value >= self.bar)


def mean_r(label: str) -> pd.DataFrame:
    """Mean test r, a row for each model, subject and region."""
    rows = read_json(Path(f"results/{label}/summary.json"), "rows")["rows"]
    found = [r for r in rows if r["name"] == "mean test r" and "area_kind" not in r]
    return pd.DataFrame(found)[["subject", "model", "region", "value"]]


def attention_routing() -> Iterator[Bar]:
    """Ask that fixed places win early, routing in category areas, words in the language area."""
    r = mean_r("attention-routing").pivot_table("value", "model", "region")
    yield Bar(
        "V1, Gaussian field less attention",
        r.loc["cells-gaussian", "V1"] - r.loc["cells-attention", "V1"],
        0.03,
    )
    for area in ("FFA", "PPA"):
        gain = r.loc["cells-attention", area] - r.loc["cells", area]
        yield Bar(f"{area}, attention less ridge on cells", gain, 0.03)
    gain = r.loc["words-attention", LANGUAGE] - r.loc["cells-attention", LANGUAGE]
    yield Bar(f"{LANGUAGE}, words less cells", gain, 0.03)
    curve = pd.read_csv("results/attention-routing/learning-curve.csv")
    ends = curve.pivot_table("r", ["fit", "region"], "n_training_stimuli").iloc[:, [0, -1]]
    grown = ends.diff(axis=1).iloc[:, -1]
    for fit in ("cells", "cells-attention", "cells-probing"):
        yield Bar(f"{fit}, 480 less 60 training pictures", grown[fit, "all"], 0.05)
    gain = grown["cells-attention", "PPA"] - grown["cells", "PPA"]
    yield Bar("PPA, what attention gains by pictures less what ridge does", gain, 0.05)
    c = pd.read_csv("results/attention-routing/comparisons.csv")
    runs = c[(c["comparison"] == "ensemble") & (c["region"] == "all") & (c["rival"] != "all of them")]
    yield Bar("mean of runs and layers less the best of them", runs["difference"].min(), 0.0)


def _electrodes(label: str, comparison: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the true kind of each electrode, and which of them the fit of a comparison wins."""
    truth = pd.read_csv("resources/treebank/truth.csv", dtype=str)
    table = pd.read_csv(f"results/{label}/electrodes-{comparison}.csv", dtype={"patient": str})
    assert (table["neuroid_id"].to_numpy() == (truth["patient"] + "_" + truth["electrode"]).to_numpy()).all()
    return truth["kind"].to_numpy(), table["site"].to_numpy(bool)


def _won(label: str, comparison: str, what: str, *kinds: str) -> Iterator[Bar]:
    """Ask that electrodes of these kinds are won, and no others."""
    kind, won = _electrodes(label, comparison)
    true = np.isin(kind, kinds)
    if kinds:
        yield Bar(f"{what}, of the true ones", won[true].mean(), 0.8)
    yield Bar(f"{what}, of the others", won[~true].mean(), 0.05, below=True)


def sites_of_integration() -> Iterator[Bar]:
    """Ask that electrodes driven by a product are sites, no others, and that what is late wins nothing."""
    label = "sites-of-integration"
    yield from _won(label, "integration", "sites found", "product")
    yield from _won(label, "control", "sites of misaligned features")
    yield from _won(label, "aligned", "language in time beats language late", "language", "sum")
    yield from _won(label, "onelate", "late language adds to vision")
    c = pd.read_csv(f"results/{label}/comparisons.csv")
    late = c[(c["comparison"] == "onelate") & (c["subject"] == "all") & (c["region"] == "all")]
    level = late.loc[late["rival"] == "vision", "difference"].abs().max()
    yield Bar("vision with late language, from vision alone", level, 0.01, below=True)
    kind, won = _electrodes(label, "bestmultimodal")  # of sums, too, if the films are long enough
    yield Bar("multimodal is the best style, of products", won[kind == "product"].mean(), 0.8)
    alone = ~np.isin(kind, ("sum", "product"))
    yield Bar("multimodal is the best style, of one or none", won[alone].mean(), 0.05, below=True)
    for style in ("vision", "language"):
        yield from _won(label, f"best{style}", f"{style} is the best style")


def sites_of_integration_scenes() -> Iterator[Bar]:
    """Ask the same where films are cut."""
    label = "sites-of-integration-scenes"
    yield from _won(label, "integration", "sites found", "product")
    yield from _won(label, "control", "sites of misaligned features")


def driver_of(kind: str) -> str:
    """Name the fit that reads what drives a region."""
    fits = {"vision": "gabor", "language": "caption", "vision+language": "gabor+caption-banded"}
    return fits[kind]


def vision_language() -> Iterator[Bar]:
    """Ask that what drives a region predicts it best, and where both do, the fused fit."""
    r = mean_r("vision-language").pivot_table("value", "model", "region")
    truth = pd.read_csv("resources/bold5000/truth.csv").groupby("region")["driver"].first()
    for region, driver in truth.items():
        seen, said, both = (r.loc[m, region] for m in ("gabor", "caption", "gabor+caption-banded"))
        if driver == "vision+language":
            yield Bar(f"{region}, fused less the better one", both - max(seen, said), 0.02)
        else:
            own, other = (seen, said) if driver == "vision" else (said, seen)
            yield Bar(f"{region}, its driver less the other", own - other, 0.1)
    rows = pd.read_csv("results/vision-language/patterns.csv")
    of = (rows["comparison"] == "fusion") & (rows["subject"] == "all") & (rows["region"] != "all")
    best = rows[of & rows["best"] & (rows["metric"] == "picture_r")].set_index("region")["model"]
    both = truth.index[truth == "vision+language"]
    fused = [region in best.index and best[region] == "gabor+caption-banded" for region in both]
    yield Bar("regions of both whose patterns the fused fit has best", float(np.mean(fused)), 1)
    others = [region in best.index and best[region] != driver_of(truth[region]) for region in truth.index]
    yield Bar("regions where a wrong fit has them best", float(np.sum(others)), 0, below=True)


def visual_system() -> Iterator[Bar]:
    """Ask that the best of three models tells the zone of a voxel; and where it is so after FDR."""
    run, root = Path("results/visual-system"), Path("resources/visual-system/nsd")
    r = mean_r("visual-system").pivot_table("value", "model", "region")
    best, right, graded, named = 0, 0, 0, 0
    parted, decided, in_zone = 0, 0, 0
    for subject in ("01", "02"):
        stem = run / f"sub-{subject}/sub-{subject}"
        responses = load(f"{stem}_responses.nc", "responses")
        comparison = load(f"{stem}_comparison-zones.nc", "comparison")
        winner = winners(comparison)[1]
        less = comparison["difference"].sel(metric="pearson_r").values  # gabor less detailed, less short
        highest = np.argmax(np.vstack([np.zeros(less.shape[1]), -less]), axis=0)
        truth, masks = truth_of(root, subject, responses), regions(responses)
        early = np.any([masks[name] for name in EARLY], axis=0)
        zone = np.where(early, 0, np.where(masks[LANGUAGE], 2, 1))
        known = (truth["ncsnr"].values > NCSNR) & ~truth["silent"].values
        best += int((highest[known] == zone[known]).sum())
        right += int((winner[known] == zone[known]).sum())
        named += int(np.isfinite(winner[known]).sum())
        graded += int(known.sum())
        parts = load(f"{stem}_desc-partition_scores.nc", "scores")  # of gabor, detailed, short
        parted += int((parts["largest"].values[known] == zone[known]).sum())
        told = known & (parts["zone"].values >= 0)
        decided += int(told.sum())
        in_zone += int((parts["zone"].values[told] == zone[told]).sum())
    yield Bar(f"{graded} voxels of ncsnr above {NCSNR:g}, best model of their zone", best / graded, 0.8)
    yield Bar(f"{named} of them where it is so after FDR, in their zone", right / named, 0.95)
    yield Bar("of all, largest unique variance of their zone", parted / graded, 0.8)
    yield Bar(f"{decided} of them decided after FDR, in their zone", in_zone / decided, 0.95)
    print(f"{'visual_system':26s} undecided by unique variance {1 - decided / graded:.3f}")
    yield Bar("V1, response-optimised core", r.loc["picture-core", "V1"], 0.1)


def dual_stream_majajhong2015() -> Iterator[Bar]:
    """Ask that the model that made the sites wins in Brain-Score's statistic, with both encoders."""
    rows = read_json(Path("results/dual-stream-majajhong2015/summary.json"), "rows")["rows"]
    found = {
        (r["model"], r["region"]): r["value"] for r in rows if r["name"] == "Brain-Score, explained variance"
    }
    for region, maker in (("V4", "gabor"), ("IT", "nano")):
        for encoder in ("", "-ridge"):
            others = [found[m + encoder, region] for m in ("gabor", "nano", "pixel") if m != maker]
            gain = found[maker + encoder, region] - max(others)
            yield Bar(f"{region}, {maker}{encoder} less the next", gain, 0.1)


def one_hour() -> Iterator[Bar]:
    """Ask that one session finds pictures, that more find more, and that nothing is lost by other people."""
    table = pd.read_csv("results/one-hour/transfer.csv", dtype={"subject": str})
    r = table.pivot_table("value", ["sessions", "method"], "metric").mean(
        axis=1
    )  # over people and directions
    first, last = table["sessions"].min(), table["sessions"].max()
    chance = float(table.loc[table["method"] == "ridge", "chance"].iloc[0])
    yield Bar("ridge, one session, times chance", r[first, "ridge"] / chance, 5)
    for method in ("pretrained", "scratch", "ridge"):
        yield Bar(f"{method}, {last} sessions less one", r[last, method] - r[first, method], 0.1)
    yield Bar("ridge less pretrained, one session", r[first, "ridge"] - r[first, "pretrained"], 0.0)
    yield Bar("pretrained less scratch, one session", r[first, "pretrained"] - r[first, "scratch"], -0.03)


def mindeye() -> Iterator[Bar]:
    """Ask that pictures stand between their bounds, a prior costs nothing, and low and high level trade."""
    rows = read_json(Path("results/mindeye/summary.json"), "rows")["rows"]
    drawn = {
        (r["name"].removeprefix("reconstruction, "), r.get("network"), r["condition"]): r["value"]
        for r in rows
        if r["name"].startswith("reconstruction, ") and r["subject"] == "all"
    }
    for network in ("nano", "gabor"):
        brain, shuffled, true = (drawn["two_way_images", network, c] for c in ("brain", "shuffled", "true"))
        yield Bar(f"two-way by {network}, brain less shuffled", brain - shuffled, 0.15)
        yield Bar(f"two-way by {network}, true embedding less brain", true - brain, 0.0)
    gain = drawn["two_way_images", "nano", "brain"] - drawn["two_way_images", "nano", "plain"]
    yield Bar("two-way by nano, chosen on validation less without the prior", gain, 0.0)
    yield Bar(
        "PixCorr, low level alone less all",
        drawn["pixcorr", None, "low_level"] - drawn["pixcorr", None, "brain"], 0.0,
    )  # fmt: skip
    yield Bar(
        "two-way by nano, all less low level alone",
        drawn["two_way_images", "nano", "brain"] - drawn["two_way_images", "nano", "low_level"], 0.0,
    )  # fmt: skip
    captions = drawn["cider", None, "brain"] - drawn["cider", None, "plain"]
    yield Bar("CIDEr, chosen on validation less without the prior", captions, -0.05)
    for r in rows:
        if r["name"] == "gain by the prior, top1":
            yield Bar(
                f"top-1 of {r['subject']}, chosen on validation less without the prior", r["value"], -0.02
            )
        if r["name"] == "retrieval, brain_to_image_top1" and r["by"] == "dec-ridge_feat-nano":
            yield Bar(f"top-1 of {r['subject']}, ridge, times chance", r["value"] / r["null"], 20)


def regions_decoded() -> Iterator[Bar]:
    """Ask that lesions are named, whole recordings left alone, and that regions carry what drives them."""
    run, counts = Path("results/regions-decoded"), {"named": 0, "lesioned": 0, "false_alarms": 0, "whole": 0}
    for subject in ("01", "02"):
        stem = run / f"sub-{subject}/sub-{subject}_dec"
        high, low = (
            read_json(Path(f"{stem}-{d}_contributions.json"), "rows", "lesions")
            for d in ("high_feat-nano", "low_feat-pixel")
        )
        counts = {k: n + high["lesions"][k] for k, n in counts.items()}
        lost = {
            level: {
                r["region"]: r["change"]
                for r in found["rows"]
                if (r["how"], r["refit"], r["score"]) == ("left_out", True, "cosine")
            }
            for level, found in (("high", high), ("low", low))
        }
        visual = {k: v for k, v in lost["low"].items() if k != LANGUAGE}
        yield Bar(f"{subject}: high-level, lost without {LANGUAGE}", -lost["high"][LANGUAGE], 0.03)
        yield Bar(f"{subject}: low-level, lost without V1", -lost["low"]["V1"], 0.005)
        yield Bar(
            f"{subject}: V1 loses most of the visual regions", float(min(visual, key=visual.get) == "V1"), 1
        )
    yield Bar("lesions, named right", counts["named"] / counts["lesioned"], 0.8)
    yield Bar(
        "whole recordings taken for lesioned", counts["false_alarms"] / counts["whole"], 0.13, below=True
    )


def words_on_cortex() -> Iterator[Bar]:
    """Ask that selective voxels name their category, that captions foretell responses, where persons are."""
    run = Path("results/words-on-cortex")
    grades = (
        pd.DataFrame(read_json(run / "grade.json", "rows")["rows"]).groupby("name")[["value", "null"]].mean()
    )
    for kind, bar in (("caption", 0.9), ("generated caption", 0.8)):
        found = grades.loc[f"category word in the {kind} of a selective voxel"]
        yield Bar(f"selective voxels, {kind} names the category", found["value"], bar)
    silent = grades.loc["silent voxels with a confident caption", "value"]
    yield Bar("silent voxels with a confident caption", silent, 0.05, below=True)
    stems = [run / f"sub-{s}/sub-{s}_desc-captions" for s in ("01", "02")]
    scores = pd.DataFrame([r for s in stems for r in read_json(f"{s}_scores.json", "rows")["rows"]])
    for what, mine in scores.groupby("what"):
        gain = (mine["value"] - mine["null_high"]).min()
        yield Bar(f"{what}, rank correlation less the largest null", gain, 0.05)
    topics = pd.concat([pd.read_csv(f"{s}_topics.csv") for s in stems])
    more = topics[topics["captions"] == "generated"].pivot_table("more", "region", "topic")
    for region, topic in (("FFA", "person"), ("EBA", "person"), ("PPA", "place")):
        yield Bar(f"{region}, captions with {topic} less those of pictures", more.loc[region, topic], 0.2)
    yield Bar("PPA, the same with person", more.loc["PPA", "person"], 0.0, below=True)


class Study(NamedTuple):
    """A configuration, the tree it reads, and its grade."""

    grade: Callable[[], Iterator[Bar]]
    tree: str = ""
    layout: str = ""


STUDIES = {
    "attention_routing": Study(attention_routing),
    "sites_of_integration": Study(sites_of_integration, "resources/treebank", "treebank"),
    "sites_of_integration_scenes": Study(sites_of_integration_scenes, "resources/treebank", "treebank"),
    "vision_language": Study(vision_language, "resources/bold5000", "bold5000"),
    "visual_system": Study(visual_system),
    "regions_decoded": Study(regions_decoded),
    "one_hour": Study(one_hour),
    "mindeye": Study(mindeye),
    "words_on_cortex": Study(words_on_cortex),
    "dual_stream_majajhong2015": Study(dual_stream_majajhong2015, "resources/brainio", "majajhong2015"),
}


def main() -> None:
    chosen = sys.argv[1:] or list(STUDIES)
    before = read_json(RESULTS, "rows")["rows"] if RESULTS.exists() else []
    missed, rows = 0, [r for r in before if r["study"] not in chosen]
    for name in chosen:
        study, start = STUDIES[name], time.time()
        if study.tree and not Path(study.tree).exists():
            subprocess.run(["neuroenc", "simulate", study.tree, "--layout", study.layout], check=True)
        path = f"config/studies/{name}.yaml"
        subprocess.run(["snakemake", "--quiet", "rules", "host", "reason", "--configfile", path], check=True)
        took = time.time() - start
        for bar in study.grade():
            missed += not bar.met
            sign = "at most" if bar.below else "at least"
            print(
                f"{name:26s} {bar.what:58s} {bar.value:6.3f} {sign} {bar.bar:g}{'' if bar.met else '  MISSED'}"
            )
            rows.append(row(bar.what, float(bar.value), unit="", n=1, seed=0, bar=bar.bar, met=bar.met, study=name,
                            command="make studies"))  # fmt: skip
        print(f"{name:26s} {took:.0f} s", flush=True)
    write_json({"label": "studies", "rows": rows}, RESULTS)
    sys.exit(missed > 0)


if __name__ == "__main__":
    main()
