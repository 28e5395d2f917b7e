"""Figure and table of how many sessions of a new subject a decoder needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from neuroenc.figures import style
from neuroenc.files import atomic

NAMES = {
    "pretrained": "trained on others, all weights tuned",
    "frozen": "trained on others, trunk frozen",
    "scratch": "network from scratch",
    "ridge": "exact ridge",
}
DIRECTIONS = {
    "brain_to_image_top1": "picture found from a response",
    "image_to_brain_top1": "response found from a picture",
}

KEYS = ("subject", "sessions", "method", "metric", "value", "low", "high", "chance", "n")


def draw_transfer(rows: list[dict[str, Any]], path: str | Path) -> None:
    """Draw top-1 against sessions, a row for each new subject, a column for each direction.

    Parameters
    ----------
    rows : list of dict
        As `decoders.transfer.transfer` gives them.
    path : path
    """
    subjects = list(dict.fromkeys(r["subject"] for r in rows))
    size = (8.2, 0.5 + 2.6 * len(subjects))
    fig, axes = style.figure(len(subjects), 2, figsize=size, sharex=True, sharey=True, squeeze=False)
    for across, subject in zip(axes, subjects, strict=True):
        for ax, (metric, title) in zip(across, DIRECTIONS.items(), strict=True):
            mine = [r for r in rows if r["subject"] == subject and r["metric"] == metric]
            for number, method in enumerate(NAMES):
                each = sorted((r for r in mine if r["method"] == method), key=lambda r: r["sessions"])
                value = [r["value"] for r in each]
                error = [[r["value"] - r["low"] for r in each], [r["high"] - r["value"] for r in each]]
                # beside one another, so that intervals can be told apart
                x = [r["sessions"] * (0.955 + 0.03 * number) for r in each]
                ax.errorbar(x, value, error, fmt="os^D"[number] + "-", ms=4, lw=1.2,
                            color=style.COLOURS[number], label=NAMES[method])  # fmt: skip
            ax.axhline(mine[0]["chance"], color="black", lw=0.6, ls=":")
            ax.set_xscale("log")
            n = sorted({r["sessions"] for r in mine})
            ax.set_xticks(n, list(map(str, n)))
            ax.minorticks_off()
            ax.set_title(f"subject {subject}: {title}", fontsize=9)
            ax.set_xlabel("sessions of the new subject")
        across[0].set_ylabel(f"top-1 of {mine[0]['n']}")
    axes[0, 1].legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    style.save(fig, path)


def write_table(rows: list[dict[str, Any]], path: str | Path) -> None:
    """Write the rows as a table, .csv."""
    with atomic(path) as partial:
        pd.DataFrame(rows).round(6).to_csv(partial, index=False)
