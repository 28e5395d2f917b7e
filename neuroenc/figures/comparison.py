"""Figures of a comparison of encoders: differences by region, and who wins where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.evaluation.effects import ALL
from neuroenc.evaluation.statistics import fdr
from neuroenc.figures import style

LEVEL = 0.05
Row = dict[str, Any]


def draw_comparison(rows: list[Row], path: str | Path) -> None:
    """Draw the difference to each rival by region, and the share of neuroids in which all are beaten.

    Parameters
    ----------
    rows : list of dict
        Of `comparison_rows`; small dots are single subjects where there are several.
    path : path
    """
    top, who = style.highest(rows)
    over = [r for r in rows if r["subject"] == top]
    single = [r for r in rows if r["subject"] != top]
    places = list(dict.fromkeys(r["region"] for r in over))
    rivals = [r for r in dict.fromkeys(r["rival"] for r in over) if r != ALL]
    width = 2.2 + max(3.2, len(places) * (0.35 + 0.17 * len(rivals)))
    fig, (upper, lower) = style.figure(
        2, 1, figsize=(width, 4.8), sharex=True, gridspec_kw={"height_ratios": [3, 2]}
    )
    offsets = np.linspace(-0.3, 0.3, len(rivals)) if len(rivals) > 1 else [0.0]
    for n, (rival, offset) in enumerate(zip(rivals, offsets, strict=True)):
        colour, marker = style.COLOURS[n % 8], "os^Dv"[n // 8 % 5]
        found = [r for r in over if r["rival"] == rival]
        x = np.array([places.index(r["region"]) for r in found]) + offset
        value, low, high = (np.array([r[k] for r in found], float) for k in ("difference", "low", "high"))
        limits = np.maximum([value - low, high - value], 0)
        upper.errorbar(x, value, limits, fmt=marker, color=colour, ms=5, lw=1.3, label=f"less {rival}")
        for place, r, edge in zip(x, found, high, strict=True):
            if r["q"] <= LEVEL:
                upper.annotate("*", (place, edge), ha="center", va="bottom", color=colour, fontsize=10)
        own = [r for r in single if r["rival"] == rival and r["region"] in places]
        upper.plot([places.index(r["region"]) + offset for r in own], [r["difference"] for r in own], ".",
                   color=colour, ms=4, alpha=0.5)  # fmt: skip
    upper.axhline(0, color="black", lw=0.6, ls=":", label="no difference")
    first = rows[0]
    unit = {"pearson_r": "r", "r2": "R²"}[first["metric"]]
    upper.set_ylabel(f"{unit} of {first['better']} less its rival")
    upper.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    _shares(lower, [r for r in over if r["rival"] == ALL], places)
    methods = "; ".join(dict.fromkeys(r["method"] for r in over))
    fig.suptitle(f"{first['comparison']}, {who}: {methods}\n95 % intervals, * q < {LEVEL:g}", fontsize=8)
    style.save(fig, path)


def _shares(ax: Any, found: list[Row], places: list[str]) -> None:
    """Draw the share of neuroids that win, and between how many truly do."""
    found = [r for r in found if r["neuroids"]]
    x = [places.index(r["region"]) for r in found]
    n = np.array([r["neuroids"] for r in found], float)
    wins, low, high = (np.array([r[k] for r in found], float) / n for k in ("wins", "wins_low", "wins_high"))
    ax.bar(x, wins, width=0.6, color="#BBBBBB", label=f"won, q < {LEVEL:g}")
    ax.vlines(x, low, high, color="black", lw=1, label="truly so, 95 % bounds")
    ax.plot(x, low, "_", color="black")
    ax.set_ylim(0, 1)
    ax.set_ylabel("share of neuroids\nin which all are beaten")
    ax.set_xticks(range(len(places)), places, rotation=45, ha="right")
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))


def winners(s: xr.Dataset) -> tuple[list[str], NDArray[np.float32]]:
    """Say which fit is the best of each neuroid, where that is significant.

    Parameters
    ----------
    s : Dataset
        Of `compare`; with time bins the differences are averaged over them.

    Returns
    -------
    names : list of str
        The better, then its rivals.
    winner : ndarray of shape (n_neuroids,)
        Which of them; NaN where neither all rivals are beaten nor the best of them beats the better one, each
        after FDR.
    """
    names = [s.attrs["better"], *s["rival_name"].values.astype(str)]
    level = s.attrs["fdr_level"]
    metric = s["difference"].sel(metric=s.attrs["metric"])
    rest = [d for d in metric.dims if d not in ("rival", "neuroid")]
    difference = metric.mean(rest).values
    known = np.isfinite(difference).all(0)
    best = np.argmin(np.where(known, difference, 0), axis=0)
    beaten = fdr(s["loses_p"].values) <= level
    winner = np.where(beaten & (difference.min(0) < 0), best + 1, np.nan)
    return names, np.where(known, np.where(s["wins"].values, 0, winner), np.nan).astype(np.float32)
