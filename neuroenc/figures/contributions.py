"""Figure of what decoders lose as regions are taken away, and what regions say alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neuroenc.errors import InputError, invalid
from neuroenc.figures import style

NAMES = {
    "cosine": "cosine to the true embedding", "two_way": "two-way identification (chance .5)",
    "top1": "picture found, top-1",
}  # fmt: skip

KEYS = ("region", "how", "refit", "score", "whole", "value", "change", "low", "high")


def draw_contributions(found: Mapping[str, Any], score: str, path: str | Path) -> None:
    """Draw a row of two panels for each decoder: regions away, and regions alone.

    Parameters
    ----------
    found : mapping of name to what `decode contributions` writes
    score : str
        'cosine', 'two_way' or 'top1'.
    path : path

    Raises
    ------
    InputError
        No such score; no rows.
    """
    if score not in NAMES:
        raise invalid("score", score, NAMES)
    if empty := [name for name, made in found.items() if not made["rows"]]:
        raise InputError(f"The contributions of {empty[0]!r} list no rows. Measure them again.")
    places = list(dict.fromkeys(r["region"] for f in found.values() for r in f["rows"]))
    fig, axes = style.figure(
        len(found), 2, figsize=(2 * (1.6 + 0.42 * len(places)) + 2.6, 0.6 + 2.4 * len(found)), squeeze=False,
        sharex=True,
    )  # fmt: skip
    for (name, made), (away, alone) in zip(found.items(), axes, strict=True):
        rows = [r for r in made["rows"] if r["score"] == score]
        shown = (
            ("left_out", True, "away, fitted anew", "o"), ("left_out", False, "away, decoder as it was", "s"),
            ("noise", False, f"noise of {made['noise']:g} sd in it", "^"),
            ("random_left_out", False, "as many at random away", "x"),
        )  # fmt: skip
        for n, (how, refit, label, marker) in enumerate(shown):
            _points(away, rows, places, how, refit, "change", (n - 1.5) * 0.17, label, marker, n)
        away.axhline(0, color="black", lw=0.6, ls=":")
        away.set_ylabel(f"{name}\nchange of the score")
        for n, (refit, label) in enumerate(
            ((True, "alone, fitted anew"), (False, "alone, decoder as it was"))
        ):
            _points(alone, rows, places, "alone", refit, "value", (n - 0.5) * 0.2, label, "os"[n], n)
        alone.axhline(rows[0]["whole"], color="black", lw=0.8, ls="--", label="all regions")
        for ax in (away, alone):
            ax.set_xticks(range(len(places)), places, rotation=45, ha="right")
    for ax in axes[0]:
        ax.legend(frameon=False, fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    fig.suptitle(f"{NAMES[score]}; 95 % intervals, paired over test pictures", fontsize=9)
    style.save(fig, path)


def _points(
    ax: Any, rows: list[dict[str, Any]], places: list[str], how: str, refit: bool, key: str, offset: float,
    label: str, marker: str, n: int,
) -> None:  # fmt: skip
    """Draw a manipulation's values; the interval is that of the difference to the whole."""
    mine = [r for r in rows if r["how"] == how and r["refit"] == refit]
    x = np.array([places.index(r["region"]) for r in mine]) + offset
    value, change, low, high = (np.array([r[k] for r in mine], float) for k in (key, "change", "low", "high"))
    limits = np.maximum([change - low, high - change], 0)
    ax.errorbar(x, value, limits, fmt=marker, color=style.COLOURS[n], ms=4, lw=1.1, label=label)
