"""Figure and table of one space for several modalities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuroenc.figures import style
from neuroenc.files import atomic

KEYS = ("kind", "of", "metric", "value", "low", "high", "chance", "gallery", "repeats", "subjects")
ASKED = "brain_to_image_top1"


def draw_joint(rows: Sequence[dict[str, Any]], path: str | Path) -> None:
    """Draw top-1 within recordings, from modality to modality, and of all modalities against each alone.

    Parameters
    ----------
    rows : sequence of dict
        As `decoders.joint_scores.score_joint` gives them; of several numbers of repetitions the last is
        drawn, which is all.
    path : path
    """
    rows = list({(r["kind"], r["of"], r["metric"], r["subjects"], r.get("among")): r for r in rows}.values())
    fig, (within, across, joint) = style.figure(1, 3, figsize=(11, 3.6), width_ratios=(1.3, 1, 1))
    _draw_within(within, [r for r in rows if r["kind"] == "within" and r["metric"] == ASKED])
    _draw_across(across, [r for r in rows if r["kind"] == "across" and r["metric"].endswith("_top1")])
    _draw_together(joint, [r for r in rows if r["kind"] == "joint" and r["metric"] == ASKED])
    style.save(fig, path)


def _draw_within(ax: Any, rows: list[dict[str, Any]]) -> None:
    """Draw the recordings, those that the space was trained without as open squares."""
    names = list(dict.fromkeys(r["of"] for r in rows))
    modalities = list(dict.fromkeys(n.partition(":")[0] for n in names))
    for subjects, form, shift in (("within", "o", 0.0), ("across", "s", 0.25)):
        for x, name in enumerate(names):
            row = next((r for r in rows if r["of"] == name and r["subjects"] == subjects), None)
            if row is None:
                continue
            colour = style.COLOURS[modalities.index(name.partition(":")[0]) % len(style.COLOURS)]
            _point(
                ax, x + shift, row, fmt=form, color=colour, mfc="white" if subjects == "across" else colour
            )
    ax.set_xticks(range(len(names)), names, rotation=90)
    ax.set_ylim(0, 1.02)
    ax.set_ylabel("top-1, picture found from a response")
    ax.set_title("within a recording\n(square: space trained without it)", fontsize=9)


def _draw_across(ax: Any, rows: list[dict[str, Any]]) -> None:
    """Draw from which modality (rows) the response of which other (columns) is found."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        start, _, end = row["metric"].removesuffix("_top1").partition("_to_")
        found[start, end] = row
    names = list(dict.fromkeys(start for start, _ in found))
    value = np.full((len(names), len(names)), np.nan)
    for (start, end), row in found.items():
        value[names.index(start), names.index(end)] = row["value"]
    ax.imshow(value, cmap=style.MAP, vmin=0, vmax=1)
    for (start, end), row in found.items():
        told = f"{row['value']:.2f}\n[{row['low']:.2f}, {row['high']:.2f}]\nchance {row['chance']:.2f}"
        ax.text(names.index(end), names.index(start), told, ha="center", va="center", fontsize=7,
                color="black" if row["value"] > 0.55 else "white")  # fmt: skip
    ax.set_xticks(range(len(names)), names)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylabel("from")
    ax.set_title("from modality to modality, top-1 of\nthe same concept's responses", fontsize=9)


def _draw_together(ax: Any, rows: list[dict[str, Any]]) -> None:
    """Draw the most modalities together, and each of them alone among the same concepts."""
    among = max((r["among"] for r in rows), key=lambda name: name.count("+"), default="")
    names = list(dict.fromkeys(r["of"] for r in rows if r["among"] == among))
    for x, name in enumerate(names):
        row = next(r for r in rows if r["among"] == among and r["of"] == name)
        _point(ax, x, row, fmt="o", color="black")
    ax.set_xticks(range(len(names)), [n.replace("+", "+\n") for n in names])
    ax.set_xlim(-0.5, len(names) - 0.5)
    ax.set_ylim(0, 1.02)
    ax.set_title("together, and each alone among\nthe same concepts", fontsize=9)


def _point(ax: Any, x: float, row: dict[str, Any], **how: Any) -> None:
    """Draw a score with its interval, chance as a bar, and labels dealt anew as a cross."""
    error = [[row["value"] - row["low"]], [row["high"] - row["value"]]]
    ax.errorbar([x], [row["value"]], error, ms=5, lw=1.2, **how)
    ax.plot([x - 0.3, x + 0.3], [row["chance"]] * 2, color="black", lw=0.8, ls=":")
    if "shuffled" in row:
        ax.plot([x], [row["shuffled"]], "x", color="0.5", ms=4)


def write_table(rows: Sequence[dict[str, Any]], path: str | Path) -> None:
    """Write all scores with their protocols, .csv."""
    with atomic(path) as partial:
        pd.DataFrame(rows).round(6).to_csv(partial, index=False)
