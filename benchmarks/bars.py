"""Hold the figures of `make demo` and `make real` against what they must reach; exit 1 if one does not.

`python benchmarks/bars.py [demo] [real]`
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

Rows = list[dict]
FILES = {"demo": "results/demo/summary.json", "real": "results/real.json"}


def values(rows: Rows, name: str, **labels: str) -> list[float]:
    found = [r["value"] for r in rows if r["name"] == name and all(r.get(k) == v for k, v in labels.items())]
    assert found, f"no figure {name} {labels}"
    return found


def demo(rows: Rows) -> list[tuple[str, float, str, float]]:
    def r(model: str, kind: str) -> list[float]:
        return values(rows, "mean test r", model=model, area_kind=kind)

    silent = values(rows, "silent voxels with p < 0.05")
    limits = [x["interval"] for x in rows if x["name"] == "silent voxels with p < 0.05"]
    pairs = list(zip(r("gabor", "early"), r("nano", "early"), strict=True))
    trained = list(
        zip(r("nano", "category"), r("gabor", "category"), r("untrained", "category"), strict=True)
    )
    stacked = [
        s - max(members)
        for kind in ("early", "category", "language")
        for s, *members in zip(
            r("stack", kind), r("gabor", kind), r("nano", kind), r("nanogrid-attention", kind), strict=True
        )
    ]
    # a stack is no worse in expectation; a kind of area on 120 test pictures may fall short by a little
    maps = values(rows, "peak of the map in the object's box", area="all", map="relevance")
    judged = {
        c: [
            r["value"] for r in rows
            if r["name"] == "reconstruction, two_way_images" and r.get("network") == "gabor"
            and r["condition"] == c and r["subject"] != "all"
        ]
        for c in ("shuffled", "brain", "true")
    }  # fmt: skip
    loop, said = (
        [
            b - s
            for b, s in zip(
                *(
                    values(rows, f"reconstruction, {name}", condition=c, **labels)
                    for c in ("brain", "shuffled")
                ),
                strict=True,
            )
        ]
        for name, labels in (("closed_loop_r", {"encoder": "nano", "region": "all"}), ("cider", {}))
    )
    nominal = sum(low <= 0.05 <= high for low, high in limits) / len(silent)
    return [
        ("share of the attainable r from the true features, least",
         min(values(rows, "share of the attainable r from the true features")), ">=", 0.9),
        ("early areas: gabor minus nano, least", min(a - b for a, b in pairs), ">=", 0.0),
        ("category areas: nano minus gabor, least", min(a - b for a, b, _ in trained), ">=", 0.0),
        ("category areas: nano minus its untrained twin, least", min(a - c for a, _, c in trained), ">=", 0.0),
        ("every kind of area: stack minus its best member, least", min(stacked), ">=", -0.003),
        # of both subjects together, 502 maps: a share of the 251 of one has a standard error of 0.025
        ("peak of attention maps in the object's box, mean (chance 0.16)", sum(maps) / len(maps), ">=", 0.8),
        ("category word in the caption of a selective voxel, least (chance 0.125)",
         min(values(rows, "category word in the caption of a selective voxel")), ">=", 0.8),
        ("category word in the generated caption of a selective voxel, least (chance 0.125)",
         min(values(rows, "category word in the generated caption of a selective voxel")), ">=", 0.8),
        ("pictures drawn from the brain: two-way by gabor, which gave no embedding, least (chance 0.5)",
         min(judged["brain"]), ">=", 0.65),
        ("the same from a shuffled brain, most", max(judged["shuffled"]), "<=", 0.6),
        ("the same from the true embedding, least", min(judged["true"]), ">=", 0.9),
        ("closed loop: r of drawn pictures, brain minus shuffled, least", min(loop), ">=", 0.05),
        ("decoded captions: CIDEr, brain minus shuffled, least", min(said), ">=", 0.3),
        ("silent voxels with a confident caption, most",
         max(values(rows, "silent voxels with a confident caption")), "<=", 0.06),
        ("silent voxels: runs whose 95 % interval holds the nominal rate", nominal, ">=", 0.8),
        ("ceiling error of ncsnr, mean, largest",
         max(map(abs, values(rows, "ceiling error mean", method="ncsnr"))), "<=", 0.03),
        ("pictures shared with the network's training",
         values(rows, "pictures shared by network training and subjects")[0], "<=", 0.0),
    ]  # fmt: skip


def real(rows: Rows) -> list[tuple[str, float, str, float]]:
    v4 = {"recording": "v4", "subject": "201025", "model": "mobilenetv2"}
    site = {"recording": "v4", "subject": "201025"}
    shuffled = values(rows, "mean test r, pictures shuffled")[0]
    return [
        ("V4 201025: mean test r", values(rows, "mean test r", region="all", **v4)[0], ">=", 0.58),
        ("V4 201025: 240-way retrieval, top-1", values(rows, "brain_to_image_top1", **v4)[0], ">=", 0.78),
        (
            "V4 201025: 240-way retrieval by the likelihood of an encoder, top-1",
            values(rows, "retrieval, brain_to_image_top1", by="enc-mixed_feat-mobilenetv2", **site)[0],
            ">=",
            0.87,
        ),
        (
            "V4 201025: 240-way retrieval by decoded embeddings, top-1",
            values(rows, "retrieval, brain_to_image_top1", by="dec-ridge_feat-mobilenetv2", **site)[0],
            ">=",
            0.60,
        ),
        (
            "MTL: picture seen again, of 50, top-1",
            values(rows, "picture seen again, brain_to_image_top1")[0],
            ">=",
            0.18,
        ),
        ("V4 201025: pictures shuffled, |r|", abs(shuffled), "<=", 0.03),
        (
            "N170: faces against houses, AUC",
            values(rows, "classes, auc", by="faces")[0],
            ">=",
            0.68,
        ),
        ("Haxby: 8-way decoding", values(rows, "classes, accuracy", recording="haxby")[0], ">=", 0.60),
    ]


def main() -> None:
    failed = False
    for name in sys.argv[1:] or FILES:
        rows = json.loads(Path(FILES[name]).read_text())["rows"]
        for what, value, sign, bar in {"demo": demo, "real": real}[name](rows):
            met = value >= bar if sign == ">=" else value <= bar
            failed |= not met
            print(f"{'met   ' if met else 'MISSED'} {what}: {value:.3f} (to reach: {sign} {bar})")
    sys.exit(failed)


if __name__ == "__main__":
    main()
