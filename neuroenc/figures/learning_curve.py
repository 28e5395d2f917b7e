"""Figure of accuracy against the number of training stimuli."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from neuroenc.figures import style


def draw_learning_curve(rows: list[dict[str, Any]], path: str | Path) -> None:
    """Draw mean test r of each fit against the number of training stimuli, a panel per region.

    Parameters
    ----------
    rows : list of dict
        Of `evaluation.learning_curve.curve_rows`; over subjects where there are several.
    path : path
    """
    top, who = style.highest(rows)
    rows = [r for r in rows if r["subject"] == top and np.isfinite(r["r"])]
    places, fits = (list(dict.fromkeys(r[k] for r in rows)) for k in ("region", "fit"))
    columns = min(4, len(places))
    lines = -(-len(places) // columns)
    fig, axes = style.figure(
        lines, columns, figsize=(2.3 * columns + 1.6, 2.1 * lines + 0.6), sharex=True, sharey=True,
        squeeze=False,
    )  # fmt: skip
    for ax in axes.flat[len(places) :]:
        ax.axis("off")
    for ax in axes.flat[max(0, len(places) - columns) : len(places)]:  # the last of each column
        ax.tick_params(labelbottom=True)
    for ax, place in zip(axes.flat, places, strict=False):
        for n, fit in enumerate(fits):
            own = [r for r in rows if (r["region"], r["fit"]) == (place, fit)]
            x, r, low, high = np.array(
                [[v[k] for k in ("n_training_stimuli", "r", "low", "high")] for v in own], float
            ).T
            limits = np.maximum([r - np.maximum(low, -1), np.minimum(high, 1) - r], 0)  # no r is outside
            ax.errorbar(x, r, limits, fmt=f"{'os^Dv'[n // 8 % 5]}-", ms=3.5, lw=1.2,
                        color=style.COLOURS[n % 8], label=fit)  # fmt: skip
        ax.axhline(0, color="black", lw=0.6, ls=":")
        ax.set_title(place, fontsize=9)
        ax.set_xscale("log", base=2)
    ticks = sorted({r["n_training_stimuli"] for r in rows})
    axes[0, 0].set_xticks(ticks, [str(t) for t in ticks])
    axes[0, 0].minorticks_off()
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, frameon=False, fontsize=8, loc="outside right upper")
    fig.supxlabel("training stimuli", fontsize=9)
    fig.supylabel("mean test r (95 %)", fontsize=9)
    fig.suptitle(f"{who}: {rows[0]['method']}", fontsize=9)
    style.save(fig, path)
