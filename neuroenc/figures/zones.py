"""Figure of a partition: what each space alone explains by region, and how many neuroids are of its zone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from neuroenc.evaluation.zones import UNDECIDED
from neuroenc.figures import style


def draw_zones(rows: list[dict[str, Any]], path: str | Path) -> None:
    """Draw unique variance with its intervals, and the shares of zones, by region.

    Parameters
    ----------
    rows : list of dict
        Of `zone_rows`; over subjects where there are several, small dots are single ones.
    path : path
    """
    top, who = style.highest(rows)
    over = [r for r in rows if r["subject"] == top and r["neuroids"]]
    places, spaces = (list(dict.fromkeys(r[k] for r in over)) for k in ("region", "space"))
    width = 2.4 + max(3.2, len(places) * (0.35 + 0.17 * len(spaces)))
    fig, (upper, lower) = style.figure(2, 1, figsize=(width, 4.8), sharex=True)
    bottom = np.zeros(len(places))
    for n, (space, shift) in enumerate(zip(spaces, np.linspace(-0.28, 0.28, len(spaces)), strict=True)):
        found = [r for r in over if r["space"] == space]
        at = np.array([places.index(r["region"]) for r in found])
        unique, low, high = (np.array([r[k] for r in found], float) for k in ("unique", "low", "high"))
        upper.errorbar(at + shift, unique, np.maximum([unique - low, high - unique], 0), fmt="o",
                       color=style.COLOURS[n], ms=4, lw=1.3, label=space)  # fmt: skip
        single = [r for r in rows if r["subject"] != top and r["space"] == space and r["region"] in places]
        where = [places.index(r["region"]) + shift for r in single]
        upper.plot(where, [r["unique"] for r in single], ".", color="black", ms=3, alpha=0.6, zorder=3)
        share = np.array([r["in_zone"] / r["neuroids"] for r in found])
        lower.bar(at, share, 0.7, bottom[at], color=style.COLOURS[n])
        bottom[at] += share
    lower.bar(range(len(places)), 1 - bottom, 0.7, bottom, color=style.NEUTRAL, label=UNDECIDED)
    upper.axhline(0, color="black", lw=0.6, ls=":")
    upper.set_ylabel("R² that no other explains")
    lower.set_ylabel("share of neuroids")
    lower.set_ylim(0, 1)
    for ax in (upper, lower):
        ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    lower.set_xticks(range(len(places)), places, rotation=45, ha="right")
    fig.suptitle(f"zones, {who}: {over[0]['method'] if over else ''}\n95 % intervals", fontsize=8)
    style.save(fig, path)
