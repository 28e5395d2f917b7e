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


def sites_of_integration() -> Iterator[Bar]:
    """Ask that electrodes driven by a product are sites, no others, and none of misaligned features."""
    truth = pd.read_csv("resources/treebank/truth.csv", dtype=str)
    product = (truth["kind"] == "product").to_numpy()
    for name in ("integration", "control"):
        table = pd.read_csv(f"results/sites-of-integration/electrodes-{name}.csv", dtype={"patient": str})
        assert (
            table["neuroid_id"].to_numpy() == (truth["patient"] + "_" + truth["electrode"]).to_numpy()
        ).all()
        site = table["site"].to_numpy(bool)
        if name == "integration":
            yield Bar("sites found, of the true ones", site[product].mean(), 0.8)
            yield Bar("false sites, of the others", site[~product].mean(), 0.05, below=True)
        else:
            yield Bar("sites of misaligned features", site.mean(), 0.05, below=True)


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


def visual_system() -> Iterator[Bar]:
    """Ask that the best of three models tells the zone of a voxel; and where it is so after FDR."""
    run, root = Path("results/visual-system"), Path("resources/visual-system/nsd")
    r = mean_r("visual-system").pivot_table("value", "model", "region")
    best, right, graded, named = 0, 0, 0, 0
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
    yield Bar(f"{graded} voxels of ncsnr above {NCSNR:g}, best model of their zone", best / graded, 0.8)
    yield Bar(f"{named} of them where it is so after FDR, in their zone", right / named, 0.95)
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


class Study(NamedTuple):
    """A configuration, the tree it reads, and its grade."""

    grade: Callable[[], Iterator[Bar]]
    tree: str = ""
    layout: str = ""


STUDIES = {
    "attention_routing": Study(attention_routing),
    "sites_of_integration": Study(sites_of_integration, "resources/treebank", "treebank"),
    "vision_language": Study(vision_language, "resources/bold5000", "bold5000"),
    "visual_system": Study(visual_system),
    "mindeye": Study(mindeye),
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
