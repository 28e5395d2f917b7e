"""Put the figures of the last runs into README.md and the pages of docs/: `make readme`, after `make demo real bench`.

Between `<!-- numbers:NAME -->` and `<!-- /numbers -->`, on whatever page, stands what the function NAME returns; the
pictures are the demo's own. Figures of the demo and the real inputs are kept in benchmarks/results,
so that pages can be checked against them without a run (`--check`).
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

from PIL import Image

from neuroenc.decoders import nano as small
from neuroenc.features import nano, registry
from neuroenc.files import write_json

RESULTS = Path("benchmarks/results")
PAGES = ("README.md", "benchmarks/RESULTS.md", "docs/**/*.md")
BLOCK = re.compile(r"(<!-- numbers:(\w+) -->\n).*?(<!-- /numbers -->)", re.DOTALL)
Rows = list[dict]


def rows_of(name: str) -> Rows:
    return json.loads((RESULTS / f"{name}.json").read_text())["rows"]


def pick(rows: Rows, name: str, **labels: str) -> dict:
    return next(r for r in rows if r["name"] == name and all(r.get(k) == v for k, v in labels.items()))


def demo() -> str:
    rows = rows_of("demo")
    models = list(dict.fromkeys(r["model"] for r in rows if r.get("area_kind") and "model" in r))
    kinds = ("early", "category", "language")
    lines = ["| features | V1–hV4 | category areas | language area | all voxels [95 %] | picture found, top-1 |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for model in models:
        cells = [pick(rows, "mean test r", subject="01", model=model, area_kind=k)["value"] for k in kinds]
        mean = pick(rows, "mean test r", subject="01", model=model, region="all")
        top = pick(rows, "brain_to_image_top1", subject="01", model=model)["value"]
        low, high = mean["interval"]
        lines.append(f"| {model} | " + " | ".join(f"{v:.2f}" for v in cells)
                     + f" | {mean['value']:.3f} [{low:.3f}, {high:.3f}] | {top:.2f} |")  # fmt: skip
    limits = [pick(rows, "mean test r", subject="01", model=models[0], area_kind=k)["ceiling"] for k in kinds]
    all_voxels = pick(rows, "mean test r", subject="01", model=models[0], region="all")["ceiling"]
    lines.append(
        "| *noise ceiling* | " + " | ".join(f"*{v:.2f}*" for v in limits) + f" | *{all_voxels:.3f}* | |"
    )
    chance = pick(rows, "brain_to_image_top1", subject="01", model=models[0])["null"]
    lines.append(f"\nMean test Pearson r, subject 01; chance is 0 for r and {chance:.3f} for top-1. The first "
                 "three columns count voxels that truly carry signal; *all voxels* counts silent ones too.")  # fmt: skip
    return "\n".join(lines)


def graded() -> str:
    rows = rows_of("demo")
    subjects = dict.fromkeys(r["subject"] for r in rows if "subject" in r)

    def span(name: str, **labels: str) -> str:
        values = [
            r["value"] for r in rows if r["name"] == name and all(r.get(k) == v for k, v in labels.items())
        ]
        return f"{min(values):.3f} to {max(values):.3f}"

    found = [r for r in rows if r.get("by") == "dec-ridge_feat-nano" and r["name"].endswith("o_image_top1")]
    said = pick(rows, "category word in the caption of a selective voxel")["null"]
    chance, shuffled = max(r["null"] for r in found), [r["shuffled"] for r in found]
    record = nano.record()
    lines = [
        f"- ceilings against the known ones ({len(subjects)} subjects): median absolute error "
        + "; ".join(f"{m} {span('ceiling error median absolute', method=m)}"
                    for m in ("ncsnr", "split_half", "explainable_variance"))
        + " of the variance",
        f"- silent voxels with p < 0.05: {span('silent voxels with p < 0.05')} (nominal 0.05)",
        "- ridge given the true features reaches "
        + span("share of the attainable r from the true features") + " of the attainable r",
        "- captions of voxels (`sub-*_desc-captions.csv`) hold a word of the category a selective voxel prefers: "
        + span("category word in the caption of a selective voxel") + f" of them (chance {said:.3f}); silent voxels "
        "with a confident caption: " + span("silent voxels with a confident caption"),
        "- the picture found from decoded embeddings (ridge, whole test set, top-1): "
        + span("retrieval, brain_to_image_top1", by="dec-ridge_feat-nano") + f" (chance {chance:.3f}), "
        f"after fitting to shuffled pairs {max(shuffled):.3f} at most",
        f"- the network it brings ({record['parameters']:,} parameters) names the category of "
        f"{record['zero_shot_pictures']:,} unseen pictures without training on labels: accuracy "
        f"{record['zero_shot_accuracy']:.3f}, chance {record['zero_shot_chance']:.3f}; trained in "
        f"{record['seconds'] / 60:.0f} minutes on 2 cores",
        f"- pictures shared by that training and the subjects: "
        f"{pick(rows, 'pictures shared by network training and subjects')['value']:.0f}",
    ]  # fmt: skip
    return "\n".join(lines)


def drawn() -> str:
    rows = [r for r in rows_of("demo") if r["name"].startswith("reconstruction, ") and r["subject"] == "all"]
    last = {r["network"]: r["layer"] for r in rows if r.get("layer")}
    wanted = [("PixCorr", "pixcorr", None), ("SSIM (2-D)", "ssim", None)]
    wanted += [(f"two-way, {n} {layer.rpartition('.')[2]}", "two_way_images", n) for n, layer in last.items()]
    wanted += [("METEOR (exact, stem)", "meteor", None), ("CIDEr", "cider", None)]
    wanted += [("cosine of sentences", "sentence_cosine", "minilm")]
    names = {"shuffled": "shuffled brain", "mean": "mean embedding", "sample": "no embedding",
             "low_level": "low-level picture", "retrieved": "nearest training picture",
             "plain": "brain, no prior", "prior": "brain, prior alone", "brain": "brain",
             "true": "true embedding"}  # fmt: skip
    lines = ["| | " + " | ".join(names.values()) + " |", "|---" * (len(names) + 1) + "|"]
    for label, metric, network in wanted:
        found = {
            r["condition"]: r for r in rows
            if r["name"] == f"reconstruction, {metric}" and r.get("network") == network
            and (network not in last or r.get("layer") == last[network])
        }  # fmt: skip
        cells = []
        for c in names:
            cell = f"{found[c]['value']:.3f}" if c in found else ""
            if c == "brain":
                cell += " [{:.3f}, {:.3f}]".format(*found[c]["interval"])
            cells.append(cell)
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    p, c = small.record(small.PICTURES), small.record(small.CAPTIONS)
    lines.append(
        f"\nMeans over two simulated subjects, 120 test pictures each; intervals are Student's t over the two; two-way "
        f"chance is 0.5. `nano` gave the embedding and favours what it sees. The picture decoder ({p['parameters']:,} "
        f"parameters, trained in {p['seconds'] / 60:.0f} minutes on 2 cores) draws the right category for "
        f"{p['category_of_generated']:.2f} of unseen pictures from their true embedding, by the eye of the network it "
        f"was trained to please, and for {p['category_of_generated_by_a_judge']:.2f} by that of a judge that took no "
        f"part, which names {p['category_of_true_by_a_judge']:.2f} of the true ones; the captioner "
        f"({c['parameters']:,}, {c['seconds'] / 60:.0f} minutes) names it for {c['category_named']:.2f} (chance 0.125)."
    )
    return "\n".join(lines)


def real() -> str:
    rows = rows_of("real")
    v4 = {"recording": "v4", "subject": "201025", "model": "mobilenetv2"}
    r = pick(rows, "mean test r", region="all", **v4)
    site = {"recording": "v4", "subject": "201025"}
    top, direct, network = (
        pick(rows, "retrieval, brain_to_image_top1", by=f"{by}_feat-mobilenetv2", **site)
        for by in ("enc-mixed", "dec-ridge", "dec-network")
    )
    again = pick(rows, "picture seen again, brain_to_image_top1")
    dealt = pick(rows, "picture seen again, brain_to_image_top1, pictures shuffled")
    kind = pick(rows, "classes, accuracy", recording="mtl")
    other = {"recording": "v4", "subject": "210325", "model": "mobilenetv2"}
    normalised = pick(rows, "median normalised r", **other)
    shuffled = pick(rows, "mean test r, pictures shuffled")
    haxby = pick(rows, "classes, accuracy", recording="haxby")
    faces = pick(rows, "classes, auc", recording="n170", by="faces")
    units = pick(
        rows, "highest mean test r of a time bin", recording="mtl", model="mobilenetv2", region="all"
    )
    seeds = ", ".join(f"{v:.3f}" for v in r["per_fold"])
    return "\n".join([
        "| recording | figure | value | chance or control |",
        "|---|---|---|---|",
        f"| macaque V4, 201025, MobileNetV2 | mean test r, three seeds ({seeds}) | {r['value']:.3f} | "
        f"pictures shuffled {shuffled['value']:.3f} |",
        f"| | picture found among {top['n']} by the likelihood of an encoder, top-1 | {top['value']:.3f} "
        f"[{top['interval'][0]:.3f}, {top['interval'][1]:.3f}] | {top['null']:.3f} |",
        f"| | picture found by embeddings decoded from 89 sites (ridge), top-1 | {direct['value']:.3f} "
        f"[{direct['interval'][0]:.3f}, {direct['interval'][1]:.3f}] | {direct['null']:.3f}; fitted to shuffled "
        f"pairs {direct['shuffled']:.3f} |",
        f"| | the same by the contrastive network, top-1 | {network['value']:.3f} "
        f"[{network['interval'][0]:.3f}, {network['interval'][1]:.3f}] | {network['null']:.3f}; fitted to shuffled "
        f"pairs {network['shuffled']:.3f} |",
        f"| macaque V4, 210325 | median r / ceiling (split-half) | {normalised['value']:.3f} | 0 |",
        f"| human, Haxby 2001 | 8 categories, leave one run out | {haxby['value']:.3f} | "
        f"{haxby['null']:.3f}; shuffled {haxby['shuffled']:.3f} |",
        f"| human, EEG of 4 channels | faces against houses, leave one run out, AUC | {faces['value']:.3f} | "
        f"{faces['null']:.1f}; shuffled {faces['shuffled']:.3f} |",
        f"| human, {units['n']} units of the medial temporal lobe | highest mean test r of a 50 ms bin "
        f"({1000 * units['time']:.0f} ms; above chance from {1000 * units['significant_from']:.0f} to "
        f"{1000 * units['significant_to']:.0f} ms, p = {units['cluster_p']:.3f}) | {units['value']:.3f} | 0 |",
        f"| | picture seen again among {again['n']}, top-1 | {again['value']:.3f} "
        f"[{again['interval'][0]:.3f}, {again['interval'][1]:.3f}] | {again['null']:.3f}; shuffled "
        f"{dealt['value']:.3f} |",
        f"| | category of new pictures, 5-way | {kind['value']:.3f} | {kind['null']:.3f}; shuffled "
        f"{kind['shuffled']:.3f} |",
    ])  # fmt: skip


def bench() -> str:
    rows = rows_of("ridge")
    shapes = list(dict.fromkeys(r["shape"] for r in rows if "shape" in r))
    lines = [
        f"Exact ridge against himalaya, both on {rows[0]['machine']}, in one run, single precision "
        "(`make bench`; every setting of himalaya that suits the shape is timed, the fastest counts):",
        "",
        "| shape | neuroenc | himalaya's best | ratio | same alpha | weights differ by | memory, MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for shape in shapes:
        ratio, same = pick(rows, "himalaya's best / neuroenc", shape=shape), pick(
            rows, "targets with himalaya's alpha", shape=shape)  # fmt: skip
        seconds = pick(rows, "neuroenc RidgeCV", shape=shape)["value"]
        weights = pick(rows, "largest difference of weights, relative", shape=shape)["value"]
        ours, theirs = (
            pick(rows, name, shape=shape)["value"]
            for name in ("memory of neuroenc", "memory of himalaya's best")
        )
        lines.append(
            f"| {shape} | {seconds:.1f} s | {seconds * ratio['value']:.1f} s ({ratio['best'].replace(':', ' ')}) | "
            f"{ratio['value']:.1f} | {100 * same['value']:.2f} % | {weights:.1e} | {ours:.0f} / {theirs:.0f} |"
        )
    pool = rows_of("retrieval")
    network_speed, prior_speed = "brain network / MindEye1's", "prior on the same tokens / MindEye1's"
    asked = pick(pool, "time of a query, median")
    banded, attention, stories = (rows_of(name) for name in ("banded", "attention", "stories"))
    faster = pick(banded, "himalaya's fastest / neuroenc")
    less = pick(banded, "neuroenc less himalaya's highest mean test R2")
    gain = pick(stories, "banded less plain ridge on the same features")
    mean = {r["readout"]: r for r in stories if r["name"].startswith("mean test r")}
    best = mean["banded ridge, a band for each space"]
    lines += [
        "",
        "Banded ridge, 20 mixtures of three spaces: "
        f"{faster['value']:.1f} times as fast as himalaya's fastest, mean test "
        f"R2 {less['value']:+.4f}. A step of attention "
        "routing against a direct reading of the published form, at its sizes: head "
        f"{pick(attention, 'published head / neuroenc head')['value']:.1f} times, with the frozen network "
        f"{pick(attention, 'published step in all / neuroenc step')['value']:.0f} times as fast, in "
        f"{pick(attention, 'memory of the neuroenc head')['value']:.0f} MiB instead of "
        f"{pick(attention, 'memory of the published head')['value']:.0f}. Stories ({best['n_training_stories']} to "
        f"train, {best['n_test_stories']} to test, {best['n']} components): banded ridge on questions, word rate "
        f"and sentence embeddings {best['value']:.3f}, plain ridge on the same "
        f"{mean['ridge, all three spaces']['value']:.3f} (gain {gain['value']:+.3f} "
        f"[{gain['interval'][0]:+.3f}, {gain['interval'][1]:+.3f}]), plain ridge on questions and rate alone "
        f"{mean['ridge, questions and rate']['value']:.3f}. Extraction from JPEG reaches "
        f"{pick(rows_of('features'), 'neuroenc / bare loop')['value']:.2f} of the pictures per second of a bare "
        "forward loop over tensors in memory (MobileNetV2). An index of "
        f"{asked['pictures']:,} simulated embeddings of {asked['features']} features answers in {asked['value']:.0f} "
        f"ms (median) at recall@10 {pick(pool, 'recall of the ten nearest, new queries')['value']:.2f}. Training "
        "against a direct reading of MindEye1's configuration (15,724 voxels, batch 32, "
        f"{rows_of('decoding')[0]['device']}): the brain network, to 1,000 whitened components in place of 257 x 768 "
        f"values, takes {pick(rows_of('decoding'), network_speed)['value']:.1f} times its steps per second, the prior on "
        f"the same tokens {pick(rows_of('decoding'), prior_speed)['value']:.2f} times (batch "
        f"{rows_of('decoding')[2]['batch']}).",
    ]
    return "\n".join(lines)


def pipeline() -> str:
    """Write what each stage takes of a subject of the true size."""
    rows = [r for r in rows_of("pipeline") if r.get("scale") == 1]
    threads = sorted({r["threads"] for r in rows})
    lines = [
        "One subject of NSD's shape (10,000 pictures, 30,000 trials, 15,724 voxels; pooled: 4 layers of 4,096; tokens: "
        f"256 x 768; `wide`: 200,000 voxels), on {rows[0]['machine']}, other work beside "
        "(`python benchmarks/pipeline.py subject FOLDER`); what is trained by gradient for one epoch. The peak is of "
        "numbers held, without pages of files; the forecast is what a job asks for; outside is the share of the "
        "processor's time that starting and importing take:",
        "",
        "| stage | threads | s | peak, GB | forecast, GB | written, GB | outside |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in sorted(rows, key=lambda r: threads.index(r["threads"])):
        outside = "" if "processor" not in r else f"{100 * r['outside'] / r['processor']:.0f} %"
        lines.append(
            f"| {r['name']} | {r['threads']} | {r.get('failed') or round(r['seconds'])} | {r['anonymous'] / 1e3:.2f} | "
            f"{r['forecast'] / 1e3:.2f} | {r['disk'] / 1e3:.2f} | {outside} |"
        )
    return "\n".join(lines)


def before() -> str:
    """Write what readouts of tokens take now, beside what the first version took of the same kind of input."""
    rows = [r for r in rows_of("pipeline") if "before" in r]
    lines = [
        "Peak of memory of `encode fit` on 2,500 pictures of 256 x 768 tokens in half precision and 4,000 voxels "
        "(`python benchmarks/pipeline.py before FOLDER`); before, all features were held, several times over:",
        "",
        "| readout | before, GB | now, GB | forecast, GB | s |",
        "|---|---|---|---|---|",
    ]
    for r in rows:
        name = r["name"].removeprefix("encode fit ").partition(",")[0]
        lines.append(
            f"| {name} | {r['before']} | {r['anonymous'] / 1e3:.2f} | {r['forecast'] / 1e3:.2f} | "
            f"{r.get('failed') or round(r['seconds'])} |"
        )
    return "\n".join(lines)


def readouts() -> str:
    rows = rows_of("readouts")
    lines = [
        "| recording | best single-layer ridge | best single readout | stack | gain of the stack [95 %] |",
        "|---|---|---|---|---|",
    ]
    panels = [("v4", s, "all") for s in ("190923", "201025", "210322", "210325")]
    for recording, subject, kind in [
        *panels,
        *(("simulation", "01", k) for k in ("early", "category", "language")),
    ]:
        found = [
            r for r in rows
            if r["name"] == "mean test r" and (r["recording"], r["subject"], r["kind"]) == (recording, subject, kind)
        ]  # fmt: skip
        if not found:
            continue
        stack = next(r for r in found if r["readout"] == "stack")
        single = next(r for r in found if r["readout"] == stack["against"])
        others = [r for r in found if r["readout"] not in ("stack", "selection")]
        best = max(others, key=lambda r: r["value"])
        low, high = stack["gain_interval"]
        title = f"V4 {subject}" if recording == "v4" else f"simulation, {kind} areas"
        lines.append(
            f"| {title} | {single['value']:.3f} ({single['readout']}) | {best['value']:.3f} ({best['readout']}) | "
            f"{stack['value']:.3f} | {stack['gain']:+.3f} [{low:+.3f}, {high:+.3f}] |"
        )
    maps = pick(
        rows_of("demo"), "peak of the map in the object's box", area="all", map="relevance", subject="01"
    )
    lines += [
        "",
        f"In the simulation the peak of a category area's attention map lies in its object's box in "
        f"{100 * maps['value']:.0f} % of {maps['n']} cases (chance {100 * maps['null']:.0f} %).",
    ]
    for r in rows:
        if r["name"].startswith("error of"):
            lines[-1] += (
                f" {r['readout']}: centres of receptive fields are off by {r['value']:.2f} degrees (median of "
                f"{r['n']} voxels; shuffled {r['null']:.2f})."
            )
    return "\n".join(lines)


def faults() -> str:
    counts = json.loads((RESULTS / "faults.json").read_text())["counts"]
    said = "; ".join(f"{fault} {c['right']} of {c['of']}" for fault, c in counts.items())
    return (
        "Faults tried on each stage (`python benchmarks/faults.py`), after which the same command gave the same "
        f"bytes, or one line said why not: {said}. What is promised about files of others stands in "
        "[SECURITY.md](../SECURITY.md)."
    )


def networks() -> str:
    """Write the table of docs/networks.md."""
    lines = [
        "| name | extractor | network | weights | input | preprocessing | range | tokens | layers worth having | half "
        "| licence |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in registry.ENTRIES:
        about = registry.describe(name)
        cells = [
            name, about["extractor"], about.get("network", ""), about["weights"], about.get("input", ""),
            about.get("preprocessing", ""), about.get("range", ""), about.get("tokens", ""), about["layers"], about.get("partner", ""), about.get("licence", ""),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def layers() -> str:
    """Sum up benchmarks/layers.py."""
    rows = rows_of("layers")
    known = [r for r in rows if r["network"] in registry.ENTRIES]
    n, right, refused, untold, wrong = (
        sum(r[k] for r in rows) for k in ("layers", "right", "refused", "untold", "wrong")
    )
    smaller = ", ".join(r["network"] for r in rows if r["smaller"])
    return (
        f"Of {n:,} layers of {len(rows)} untrained networks ({len(known)} of this page, and one of each of "
        f"{len(rows) - len(known)} families of timm and torchvision) {right:,} are stored as hooks that clone have them, "
        f"{refused:,} are refused in one line (windows, attention weights, axes or leading tokens that cannot be told), "
        f"{wrong} are wrong. Of {untold} the values are right and nothing else says what the axes are. Built smaller, of two blocks a tower or for 256 px: "
        f"{smaller}."
    )


def headline() -> str:
    """Write the three lines of the README's first screen."""
    demo, real = rows_of("demo"), rows_of("real")
    stack = pick(demo, "mean test r", subject="01", model="stack", region="all")
    found = pick(demo, "brain_to_image_top1", subject="01", model="stack")
    v4 = {"recording": "v4", "subject": "201025"}
    r = pick(real, "mean test r", region="all", model="mobilenetv2", **v4)
    top = pick(real, "retrieval, brain_to_image_top1", by="enc-mixed_feat-mobilenetv2", **v4)
    low, high = top["interval"]
    return "\n".join([
        f"- a simulated brain whose truth is known: r {stack['value']:.2f} of {stack['ceiling']:.2f} that noise allows, over "
        f"all voxels; the picture found among 120 in {100 * found['value']:.0f} % (chance {100 * found['null']:.1f} %)",
        f"- macaque V4, real recordings: r {r['value']:.2f}; the picture found among {top['n']} in "
        f"{100 * top['value']:.0f} % [{100 * low:.0f}, {100 * high:.0f}] (chance {100 * top['null']:.1f} %)",
        f"- exact ridge with an alpha per voxel: {peer()}",
    ])  # fmt: skip


def peer() -> str:
    """Say in a sentence how ridge stands to himalaya's."""
    rows = rows_of("ridge")
    ratio, same, weights = (
        [r["value"] for r in rows if r["name"] == name]
        for name in ("himalaya's best / neuroenc", "targets with himalaya's alpha",
                     "largest difference of weights, relative")
    )  # fmt: skip
    return (
        f"{min(ratio):.1f} to {max(ratio):.1f} times as fast as himalaya's fastest setting on two CPU cores, with the same alpha "
        f"for {100 * min(same):.2f} % of targets or more and weights within {max(weights):.0e}"
    )


FIGURES = {f.__name__: f for f in (demo, graded, drawn, real, bench, pipeline, before, readouts, faults, networks,
                                   layers, headline, peer)}  # fmt: skip


def main() -> None:
    if "--check" not in sys.argv:
        for name, source in (("demo", "results/demo/summary.json"), ("real", "results/real.json")):
            write_json(json.loads(Path(source).read_text()), RESULTS / f"{name}.json")
        Path("docs").mkdir(exist_ok=True)
        for figure in ("surface", "regions"):
            shutil.copyfile(f"results/demo/sub-01/sub-01_{figure}.png", f"docs/demo_{figure}.png")
        with Image.open("results/demo/sub-01/sub-01_reconstructions.png") as grid:
            size = (1300, round(1300 * grid.height / grid.width))
            grid.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(
                "docs/demo_reconstructions.jpg", quality=85
            )
    fill(check="--check" in sys.argv)


def fill(*, check: bool) -> None:
    """Write the blocks of all pages anew, or end at the first page that is not what the figures say."""
    for path in sorted(p for pattern in PAGES for p in Path().glob(pattern)):
        text = path.read_text()
        written = BLOCK.sub(lambda m: f"{m[1]}{FIGURES[m[2]]()}\n{m[3]}", text)
        if check and text != written:
            sys.exit(f"{path} is not what the figures say: make readme")
        path.write_text(written)


if __name__ == "__main__":
    main()
