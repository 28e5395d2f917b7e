"""Figure of patterns: the score of each fit by region, and which is significantly the best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from neuroenc.figures import style

NAMES = {"two_versus_two": "2V2 accuracy", "picture_r": "r of patterns"}
CHANCE = {"two_versus_two": 0.5, "picture_r": 0.0}


def draw_patterns(rows: list[dict[str, Any]], path: str | Path) -> None:
    """Draw the patterns' scores by region, a bar a fit, starred where it beats all others.

    Parameters
    ----------
    rows : list of dict
        Of `pattern_rows`; over subjects where there are several, small dots are single ones.
    path : path
    """
    top, who = style.highest(rows)
    over = [r for r in rows if r["subject"] == top]
    places, models = (list(dict.fromkeys(r[k] for r in over)) for k in ("region", "model"))
    size = 0.8 / len(models)
    width = 2.6 + max(3.2, len(places) * (0.35 + 0.22 * len(models)))
    fig, axes = style.figure(2, 1, figsize=(width, 5.2), sharex=True)
    for ax, (metric, name) in zip(axes, NAMES.items(), strict=True):
        chance = CHANCE[metric]
        for n, model in enumerate(models):
            found = [r for r in over if r["metric"] == metric and r["model"] == model]
            x = np.array([places.index(r["region"]) for r in found]) + (n - (len(models) - 1) / 2) * size
            score, low, high = (np.array([r[k] for r in found], float) for k in ("score", "low", "high"))
            limits = np.maximum([score - low, high - score], 0)
            ax.bar(
                x, score - chance, size * 0.9, chance, yerr=limits, error_kw={"lw": 1}, label=model,
                color=style.COLOURS[n % 8], hatch="//" if n >= 8 else None,
            )  # fmt: skip
            for place, r, edge in zip(x, found, np.maximum(high, chance), strict=True):
                if r["best"]:
                    ax.annotate("*", (place, edge), ha="center", va="bottom", fontsize=11)
                each = [
                    one["score"] for one in rows
                    if one["subject"] != top and one["model"] == model and one["metric"] == metric
                    and one["region"] == r["region"]
                ]  # fmt: skip
                ax.plot([place] * len(each), each, ".", color="black", ms=3, alpha=0.6)
        ax.axhline(chance, color="black", lw=0.6)
        ax.set_ylabel(name)
        ax.margins(y=0.12)
    axes[0].legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    axes[1].set_xticks(range(len(places)), places, rotation=45, ha="right")
    methods = "; ".join(dict.fromkeys(r["method"] for r in over))
    fig.suptitle(
        f"{rows[0]['comparison']}, {who}: {methods}\n95 % intervals, * better than all others after FDR",
        fontsize=8,
    )
    style.save(fig, path)
