"""The table in which papers of reconstruction report: one line a condition, columns in their order."""

from __future__ import annotations

from typing import Any, NamedTuple

from neuroenc.decoders.retrieve import N_WAY

Row = dict[str, Any]
CONDITIONS = (
    "shuffled", "mean", "sample", "retrieved", "low_level", "plain", "prior", "brain", "true"
)  # fmt: skip
"""From the worst to be expected to the best to be had"""


class Column(NamedTuple):
    """A measure of the literature and where it stands among our rows."""

    name: str
    metric: str
    network: str = ""
    """extractor/network; empty: of pixels"""
    layer: str = ""


COLUMNS = (
    Column("PixCorr", "pixcorr"),
    Column("SSIM", "ssim"),
    Column("Alex(2)", "two_way", "torchvision/alexnet", "features.4"),
    Column("Alex(5)", "two_way", "torchvision/alexnet", "features.11"),
    Column("Incep", "two_way", "torchvision/inception_v3", "avgpool"),
    Column("CLIP", "two_way", "open_clip/ViT-L-14-quickgelu", "visual"),
    Column("Eff", "correlation_distance", "torchvision/efficientnet_b1", "avgpool"),
    Column("SwAV", "correlation_distance", "timm/resnet50", "global_pool"),
)
"""As in Brain-Diffuser, MindEye1 and MindEye2: two-way identification, higher is better, by AlexNet,
Inception and CLIP; 1 - r, lower is better, by EfficientNet and SwAV"""
RETRIEVED = (("Image", "image_to_brain_top1"), ("Brain", "brain_to_image_top1"))
"""Columns of retrieval as the papers name them, and the direction their released code computes"""


def picture_table(rows: list[Row]) -> list[str]:
    """Lay rows of a summary out as the literature does, for each subject.

    Parameters
    ----------
    rows : list of dict
        Of summary.json.

    Returns
    -------
    list of str
        Lines; none without reconstructed pictures. Judges of one's own stand behind the columns of papers.
    """
    drawn = [r for r in rows if r["name"].startswith("reconstruction, ")]
    own = [r for r in drawn if r.get("network") and "judge" in r and not _published(r)]
    columns = [*COLUMNS, *dict.fromkeys(_column(r) for r in own if r["name"].endswith("two_way_images"))]
    if not any(r["name"] == "reconstruction, pixcorr" for r in drawn):
        return []
    retrieved = [r for r in rows if r["name"].startswith("retrieval")]
    heads = [c.name for c in columns] + [name for name, _ in RETRIEVED]
    wide = {h: max(8, len(h)) for h in heads}
    lines = []
    for way, told in WAYS.items():
        lines += ["", f"Two-way identification: {told}"]
        lines.append(f"{'subject':>8} {'pictures':<10} " + " ".join(f"{h:>{w}}" for h, w in wide.items()))
        for subject in dict.fromkeys(r["subject"] for r in drawn):
            mine = [r for r in drawn if r["subject"] == subject]
            for condition in CONDITIONS:
                shown = [r for r in mine if r["condition"] == condition]
                if any(r["name"] == "reconstruction, pixcorr" for r in shown):
                    values = [_found(shown, c, way) for c in columns]
                    values += [_retrieval(retrieved, subject, condition, m) for _, m in RETRIEVED]
                    told_as = ["–" if v is None else f"{v:.3f}" for v in values]
                    cells = " ".join(f"{v:>{w}}" for v, w in zip(told_as, wide.values(), strict=True))
                    lines.append(f"{subject:>8} {condition:<10} {cells}")
    return [*lines, "", *_notes(columns, retrieved)]


WAYS = {
    "two_way_images": "distractors are other pictures (the papers' released code)",
    "two_way_reconstructions": "distractors are other reconstructions (the text of MindEye2, A.9)",
}


def _notes(columns: list[Column], retrieved: list[Row]) -> list[str]:
    """Say what each column is."""
    made = {
        "two_way": "two-way, higher is better", "correlation_distance": "1 - r, lower is better",
        "pixcorr": "r of pixels", "ssim": "2-D, grey",
    }  # fmt: skip
    lines = [
        f"{c.name}: {made[c.metric]}" + (f", {c.network} {c.layer}" if c.network else "") for c in columns
    ]
    n = max((r["n"] for r in retrieved if r.get("drawn")), default=0)
    among = N_WAY if any(r["name"].startswith(f"retrieval of {N_WAY}") for r in retrieved) else n
    lines.append(
        f"Image, Brain: as papers name them, top-1 of {among}, the mean over all draws. Their code computes "
        "image_to_brain under Image and brain_to_image under Brain, and so do these columns."
    )
    return lines


def _published(r: Row) -> bool:
    return any((r["judge"], r["layer"]) == (c.network, c.layer) for c in COLUMNS)


def _column(r: Row) -> Column:
    layer = str(r["layer"])
    return Column(f"{r['network']}:{layer.rpartition('.')[2]}", "two_way", r["judge"], layer)


def _found(rows: list[Row], column: Column, way: str) -> float | None:
    """Return the value of a column, if it was measured."""
    metric = way if column.metric == "two_way" else column.metric
    for r in rows:
        at = (r.get("judge", ""), r.get("layer", "")) if column.network else ("", "")
        if r["name"] == f"reconstruction, {metric}" and at == (column.network, column.layer):
            return None if r["value"] is None else float(r["value"])
    return None


def _retrieval(rows: list[Row], subject: str, condition: str, metric: str) -> float | None:
    """Return top-1 of the decoder that was drawn from, in the conditions that have one."""
    if condition not in ("brain", "shuffled"):
        return 1.0 if condition == "true" else None
    for name in (f"retrieval of {N_WAY}, {metric}", f"retrieval, {metric}"):
        for r in rows:
            if r["name"] == name and r["subject"] == subject and r.get("drawn"):
                return float(r["value"]) if condition == "brain" else r["shuffled"]
    return None
