"""Figures of classifiers: which classes are taken for which, and accuracy over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from neuroenc.figures import style


def draw_classes(found: dict[str, Any], path: str | Path) -> None:
    """Draw the confusion matrix with counts and shares, and over several time bins the AUC of each.

    Bars below mark bins above chance (p < 0.05, against the highest bin of each permutation).

    Parameters
    ----------
    found : dict
        As `evaluation.classification.assess` gives it, with `dataset`, `target` and `estimator`.
    path : path
    """
    counts, names, windows = np.array(found["confusion"]), found["classes"], found["windows"]
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = max(3.0, 0.55 * len(names) + 1.8)
    over_time = len(windows) > 1
    fig, axes = style.figure(
        1, 1 + over_time, figsize=(side + 0.9 + 6.2 * over_time, side), squeeze=False,
        width_ratios=[side, 4.4][: 1 + over_time],
    )  # fmt: skip
    ax = axes[0, 0]
    image = ax.imshow(share, cmap=style.MAP, vmin=0, vmax=1)
    if len(names) <= 20:  # more would not be read
        for i, j in np.ndindex(*counts.shape):
            colour = "white" if share[i, j] < 0.55 else "black"
            ax.text(j, i, f"{counts[i, j]:g}\n{share[i, j]:.2f}", ha="center", va="center", fontsize=7,
                    color=colour)  # fmt: skip
    ax.set_xticks(range(len(names)), names, rotation=45, ha="right")
    ax.set_yticks(range(len(names)), names)
    ax.set_xlabel("taken for")
    ax.set_ylabel("true class")
    fig.colorbar(image, ax=ax, label="share of the true class", shrink=0.8)
    best = windows[found["best"]["window"]]
    a = best["scores"]["accuracy"]
    when = f" at {500 * (best['start'] + best['stop']):.0f} ms" if over_time else ""
    ax.set_title(f"accuracy {a['value']:.3f} (chance {found['chance']['uniform']:.3f}){when}", fontsize=9)
    if over_time:
        _draw_course(axes[0, 1], found)
    fig.suptitle(f"{found['dataset']}, {found['target']}, {found['estimator']}, n = {found['n']}", fontsize=9)
    style.save(fig, path)


def _draw_course(ax: Any, found: dict[str, Any]) -> None:
    windows, metric = found["windows"], found["best"]["metric"]
    time = [(w["start"] + w["stop"]) / 2 for w in windows]
    value, low, high, null, p = (
        np.array([w["scores"][metric][k] for w in windows], float)
        for k in ("value", "low", "high", "null", "p_corrected")
    )
    name = metric.replace("_", " ").replace("auc", "AUC")
    ax.plot(time, value, color=style.COLOURS[0], lw=1.4, label=name)
    ax.fill_between(time, low, high, color=style.COLOURS[0], alpha=0.2, lw=0)
    ax.plot(time, null, color=style.COLOURS[5], lw=1, label="labels dealt anew (mean)")
    ax.axhline(0.5 if metric == "auc" else found["chance"]["uniform"], color="black", lw=0.6, ls=":",
               label="chance")  # fmt: skip
    half = (windows[0]["stop"] - windows[0]["start"]) / 2
    below = np.nanmin(low) - 0.06 * (np.nanmax(high) - np.nanmin(low))
    good = np.array(time)[p < 0.05]
    ax.hlines(np.full(len(good), below), good - half, good + half, color=style.COLOURS[0], lw=3)
    if min(time) < 0 < max(time):
        ax.axvline(0, color="black", lw=0.6)
    ax.set_xlabel("time from onset (s)")
    ax.set_ylabel(name)
    n = found["n_permutations"]
    ax.set_title(f"bars: p < 0.05, corrected by the highest bin\nof each of {n} permutations", fontsize=9)
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
