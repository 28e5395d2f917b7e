"""Figures of scores: regions, neuroids against their ceiling, layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from neuroenc.arrays import regions
from neuroenc.errors import InputError
from neuroenc.figures import style
from neuroenc.figures.parcels import groups
from neuroenc.ranking import best


def _title(scores: dict[str, xr.Dataset]) -> str:
    first = next(iter(scores.values()))
    subjects = np.unique(first["subject"].values)
    who = f"subject {subjects[0]}" if len(subjects) == 1 else f"{len(subjects)} subjects"
    return f"{first.attrs['dataset']}, {who}, {first.attrs['n_test_stimuli']} test stimuli"


def draw_regions(scores: dict[str, xr.Dataset], path: str | Path) -> None:
    """Draw mean test r per region and model with 95 % intervals over stimuli, and the ceiling.

    Parcels of an atlas stand beside the regions where they are few.
    """
    first = next(iter(scores.values()))
    members = {name: inside for name, (inside, _) in groups(first).items()}
    names = list(members)
    fig, ax = style.figure(figsize=(max(5.0, 1.1 + 0.72 * len(names)), 3.6))
    ceiling = np.sqrt(np.clip(first["ceiling"].values, 0, None))
    at = np.arange(len(names))
    limits = [
        np.nanmean(ceiling[members[n]]) if np.isfinite(ceiling[members[n]]).any() else np.nan for n in names
    ]
    if np.isfinite(limits).any():
        ax.bar(at, limits, 0.86, color="#DDDDDD", label="noise ceiling (mean)", zorder=0)
    offsets = np.linspace(-0.32, 0.32, len(scores)) if len(scores) > 1 else [0.0]
    for n, ((model, s), offset) in enumerate(zip(scores.items(), offsets, strict=True)):
        colour, marker = style.COLOURS[n % 8], "os^Dv"[n // 8 % 5]
        mean, low, high = np.array([estimate for _, estimate in groups(s).values()]).T
        ax.errorbar(at + offset, mean, [mean - low, high - mean], fmt=marker, ms=4, lw=1.2,
                    color=colour, label=model)  # fmt: skip
    ax.axhline(0, color="black", lw=0.6, ls=":", label="chance")
    counts = [int(members[n].sum()) for n in names]
    ax.set_xticks(at, [f"{n}\n{c}" for n, c in zip(names, counts, strict=True)])
    ax.set_xlabel("region, number of voxels or sites")
    ax.set_ylabel("test accuracy (mean Pearson r)")
    ax.set_title(_title(scores), fontsize=9)
    ax.legend(frameon=False, fontsize=8, ncols=1, loc="upper left", bbox_to_anchor=(1, 1))
    style.save(fig, path)


def draw_scatter(scores: dict[str, xr.Dataset], path: str | Path) -> None:
    """Draw test r of every neuroid against its ceiling, a panel per model on shared axes."""
    columns = min(3, len(scores))
    rows = -(-len(scores) // columns)
    limited = {model: bool(np.isfinite(s["ceiling"].values).any()) for model, s in scores.items()}
    shared = all(limited.values()) or not any(limited.values())
    fig, axes = style.figure(
        rows, columns, figsize=(2.7 * columns + 0.4, 2.6 * rows + 0.4), sharex=shared, sharey=shared,
        squeeze=False,
    )  # fmt: skip
    for ax in axes.flat[len(scores) :]:
        ax.axis("off")
    for ax, (model, s) in zip(axes.flat, scores.items(), strict=False):
        r = s["score"].sel(metric="pearson_r").values.ravel()
        ceiling = np.sqrt(np.clip(s["ceiling"].values.ravel(), 0, None))
        level = s.attrs["fdr_level"]
        significant = s["q"].values.ravel() < level
        if not limited[model]:
            ax.hist(r[np.isfinite(r)], 30, color=style.COLOURS[0])
            ax.locator_params(axis="x", nbins=4)
            ax.set_xlabel("test accuracy (Pearson r)\nno repeats, no ceiling", fontsize=8)
            ax.set_ylabel("voxels or sites")
        else:
            for mask, colour, text in (
                (~significant, "#999999", "n.s."), (significant, style.COLOURS[0], f"q < {level:g}"),
            ):  # fmt: skip
                size = 2.5 if r.size > 500 else 5
                ax.plot(ceiling[mask], r[mask], ".", ms=size, alpha=0.6, color=colour, label=text)
            ax.plot([0, 1], [0, 1], color=style.COLOURS[5], lw=1, label="ceiling")
            ax.axvline(np.sqrt(s.attrs["ceiling_threshold"]), color="black", lw=0.6, ls=":")
            ax.set_xlabel("noise ceiling (r)")
            ax.set_ylabel("test accuracy (Pearson r)")
            ax.legend(frameon=False, fontsize=7, loc="upper left", markerscale=2)
        mean = _mean(r)
        ax.set_title(f"{model}: {'–' if np.isnan(mean) else f'{mean:.3f}'} mean r", fontsize=9)
        if shared:
            ax.label_outer()
    fig.suptitle(_title(scores), fontsize=9)
    style.save(fig, path)


def draw_layers(scores: dict[str, xr.Dataset], path: str | Path) -> None:
    """Draw validation R2 of every layer per region, or per site where there is one region.

    Models of one layer get a row each as well, so that all can be compared on one colour scale.
    """
    first = next(iter(scores.values()))
    members = regions(first)
    by_site = len(members) < 2
    columns, labels = [], []
    for model, s in scores.items():
        table = s["validation_r2"].values.reshape(s.sizes["layer"], s.sizes["neuroid"], -1).mean(-1)
        for name, values in zip(s["layer_name"].values, table, strict=True):
            labels.append(model if s.sizes["layer"] == 1 else f"{model} · {name}")
            columns.append(values if by_site else [_mean(values[m]) for m in members.values()])
    values = np.array(columns)
    if by_site:
        values = values[:, np.argsort(-np.nan_to_num(values, nan=-np.inf).max(0), kind="stable")]
    width = 8.0 if by_site else 2.6 + 0.55 * len(members)
    fig, ax = style.figure(figsize=(width, 1.3 + 0.27 * len(labels)))
    low, high = (float(f(values)) if np.isfinite(values).any() else 0.0 for f in (np.nanmin, np.nanmax))
    # predicting worse than the mean is drawn as such: blue below 0
    how: dict[str, Any] = {"cmap": style.MAP, "vmin": 0} if low >= 0 else {
        "cmap": "RdBu_r", "vmin": -max(-low, high), "vmax": max(-low, high)
    }  # fmt: skip
    image = ax.imshow(values, aspect="auto", interpolation="nearest", **how)
    some = np.isfinite(values).any(0)
    at = np.flatnonzero(some)
    mark = "w." if low >= 0 else "k."
    ax.plot(at, best(values)[some], mark, ms=3 if by_site else 6)
    colour = "white" if low >= 0 else "black"
    ax.set_yticks(range(len(labels)), labels)
    if by_site:
        ax.set_xlabel(f"sites, best predicted first ({colour}: best layer)")
    else:
        ax.set_xticks(range(len(members)), members, rotation=45, ha="right")
        ax.set_xlabel(f"region ({colour}: best layer)")
    fig.colorbar(image, ax=ax, label="validation R²")
    ax.set_title(_title(scores), fontsize=9)
    style.save(fig, path)


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def draw_time_course(scores: dict[str, xr.Dataset], path: str | Path) -> None:
    """Draw the mean test r of each region over time with its 95 % interval, a panel per region.

    Bars below mark clusters of bins above chance (p < 0.05, corrected over time).

    Raises
    ------
    InputError
        Scores without time bins.
    """
    for model, s in scores.items():
        if "region_time_r" not in s:
            raise InputError(
                f"The scores of {model!r} have no time bins to draw over. Leave figures.time_course out for "
                f"{s.attrs['dataset']!r}."
            )
    first = next(iter(scores.values()))
    names = list(first["region_name"].values)
    time = (first["start"].values + first["stop"].values) / 2
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    fig, axes = style.figure(
        rows,
        columns,
        figsize=(3.0 * columns + 1.2, 2.2 * rows + 0.6),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for ax in axes.flat[len(names) :]:
        ax.axis("off")
    every = np.concatenate([s["region_time_r"].values.ravel() for s in scores.values()])
    lowest, highest = (
        (float(np.nanmin(every)), float(np.nanmax(every))) if np.isfinite(every).any() else (0.0, 1.0)
    )
    step = 0.06 * (highest - lowest)
    for ax, (k, name) in zip(axes.flat, enumerate(names), strict=False):
        for n, (model, s) in enumerate(scores.items()):
            colour = style.COLOURS[n % 8]
            mean, low, high = s["region_time_r"].values[k].T
            ax.plot(time, mean, color=colour, lw=1.4, label=model)
            ax.fill_between(time, low, high, color=colour, alpha=0.2, lw=0)
            good = s["region_time_p"].values[k] < 0.05
            ax.plot(time, np.where(good, lowest - (n + 1) * step, np.nan), color=colour, lw=3,
                    solid_capstyle="butt")  # fmt: skip
        ax.axhline(0, color="black", lw=0.6, ls=":", label="chance")
        ax.axvline(0, color="black", lw=0.6)
        count = int(regions(first)[name].sum()) if name != "all" else first.sizes["neuroid"]
        ax.set_title(f"{name}, n = {count}", fontsize=9)
    for ax in axes.flat[: len(names)][-columns:]:  # the lowest of each column
        ax.set_xlabel("time from onset (s)")
        ax.tick_params(labelbottom=True)
    for ax in axes[:, 0]:
        ax.set_ylabel("mean Pearson r")
    axes.flat[columns - 1].legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    fig.suptitle(f"{_title(scores)}; bars: clusters with p < 0.05", fontsize=9)
    style.save(fig, path)
