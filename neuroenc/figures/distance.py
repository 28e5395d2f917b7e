"""Figure of scores against the distance to training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from neuroenc.figures import style


def draw_distance(found: dict[str, Any], path: str | Path) -> None:
    """Draw the accuracy of all neuroids by distance, and the gap between near and far of each region.

    Parameters
    ----------
    found : dict
        As `evaluation.distance.score_by_distance` gives it.
    path : path
    """
    models = list(dict.fromkeys(r["model"] for r in found["gaps"]))
    places = list(dict.fromkeys(r["region"] for r in found["gaps"]))
    fig, (left, right) = style.figure(1, 2, figsize=(4.4 + max(4.4, 1.4 + 0.72 * len(places)), 3.4))
    offsets = np.linspace(-0.32, 0.32, len(models)) if len(models) > 1 else [0.0]
    for n, (model, offset) in enumerate(zip(models, offsets, strict=True)):
        how: dict[str, Any] = {"color": style.COLOURS[n % 8], "ms": 4, "lw": 1.2}
        marker = "os^Dv"[n // 8 % 5]
        bins = [r for r in found["bins"] if r["model"] == model and r["region"] == "all"]
        _points(left, [r["distance"] for r in bins], bins, "value", f"{marker}-", how | {"label": model})
        gaps = [r for r in found["gaps"] if r["model"] == model]
        _points(right, np.arange(len(places)) + offset, gaps, "gap", marker, how)
    left.set_xlabel(f"distance to the nearest training stimulus ({found['space']})")
    left.set_ylabel("pattern correlation, all neuroids")
    right.axhline(0, color="black", lw=0.6, ls=":")
    right.set_xticks(range(len(places)), places, rotation=45, ha="right")
    right.set_ylabel("near less far (95 % over stimuli)")
    handles, labels = left.get_legend_handles_labels()
    right.legend(handles, labels, frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    who = f"{found['dataset']}, subject {found['subject']}"
    fig.suptitle(f"{who}, split by {found['kind_of_split']}", fontsize=9)
    style.save(fig, path)


def _points(ax: Any, x: Any, rows: list[dict[str, Any]], key: str, fmt: str, how: dict[str, Any]) -> None:
    value, low, high = (np.array([r[k] for r in rows], float) for k in (key, "low", "high"))
    ax.errorbar(x, value, np.maximum([value - low, high - value], 0), fmt=fmt, **how)
