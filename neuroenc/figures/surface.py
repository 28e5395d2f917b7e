"""Maps on the inflated surface: accuracy, ceiling, best layer, best fit, zones, words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from neuroenc.arrays import holds, same_neuroids
from neuroenc.decoders.voxel_words import same_voxels, split_topics
from neuroenc.evaluation.zones import PARTITION, UNDECIDED
from neuroenc.figures import style
from neuroenc.figures.comparison import winners
from neuroenc.figures.maps import on_surface

MESH = "fsaverage5"
VIEWS = (("L", "lateral"), ("L", "ventral"), ("R", "ventral"), ("R", "medial"))


def draw_surface(responses: xr.Dataset, scores: dict[str, xr.Dataset], path: str | Path) -> None:
    """Draw test r of the model with the most layers, the ceiling on the same scale, the best layer.

    Parameters
    ----------
    responses : Dataset
        With `surface_L` and `surface_R`.
    scores : dict
        Model to Scores; of models with equally many layers the first.
    path : path

    Notes
    -----
    The mesh is fsaverage5, which nilearn brings; its vertices are the first of fsaverage, so that
    maps of the finer mesh are drawn on it without resampling.
    """
    layered = max(scores, key=lambda m: scores[m].sizes["layer"])
    s = scores[layered]
    same_neuroids(responses, s)
    r = s["score"].sel(metric="pearson_r").values
    ceiling = np.sqrt(np.clip(s["ceiling"].values, 0, None))
    names = list(s["layer_name"].values)
    best = np.array([names.index(c) if c else np.nan for c in s["chosen_layer"].values], float)
    level = s.attrs["fdr_level"]
    best[~(s["q"].values < level)] = np.nan
    known = ceiling if np.isfinite(ceiling).any() else r
    top = float(np.nanquantile(known, 0.99)) if np.isfinite(known).any() else 1.0
    maps = [
        Map(f"test accuracy of {layered} (r)", r, top=top), Map("noise ceiling (r)", ceiling, top=top),
        Map(f"best layer (q < {level:g})", best, [str(x).split(".")[-1] for x in names]),
    ]  # fmt: skip
    _draw(responses, maps, f"{s.attrs['dataset']}, subject {s['subject'].values[0]}", path)


def draw_winners(responses: xr.Dataset, comparisons: dict[str, xr.Dataset], path: str | Path) -> None:
    """Draw which fit wins where: a row of maps for each comparison.

    Parameters
    ----------
    responses : Dataset
        With `surface_L` and `surface_R`.
    comparisons : dict
        Label to what `evaluation.compare` gives.
    path : path
    """
    maps = []
    for label, s in comparisons.items():
        same_neuroids(responses, s)
        names, winner = winners(s)
        maps.append(Map(f"{label}: best (q < {s.attrs['fdr_level']:g})", winner, names))
    first = next(iter(comparisons.values()))
    _draw(responses, maps, f"{first.attrs['dataset']}, subject {first['subject'].values[0]}", path)


def draw_zone_map(responses: xr.Dataset, partition: xr.Dataset, path: str | Path) -> None:
    """Draw the zone of each neuroid where it is decided, and the unique variance of each space.

    Parameters
    ----------
    responses : Dataset
        With `surface_L` and `surface_R`.
    partition : Dataset
        Of `evaluation.partition`.
    path : path
    """
    same_neuroids(responses, partition)
    holds(partition, "scores", PARTITION, "encode partition")
    who = f"{partition.attrs['dataset']}, subject {partition['subject'].values[0]}"
    _draw(responses, maps_of_zones(partition), who, path)


def draw_words_on_surface(
    responses: xr.Dataset, table: pd.DataFrame, path: str | Path, *, n_words: int = 7
) -> None:
    """Draw what confident voxels want: the topic, how much of it, and the word that stands out most.

    Parameters
    ----------
    responses : Dataset
        With `surface_L` and `surface_R`.
    table : DataFrame
        Of `decoders.voxels.caption_voxels`; voxels that are not confident are left blank.
    path : path
    n_words : int
        Words that are drawn, those of most voxels; the others go by "another".
    """
    same_voxels(table, responses)
    maps = maps_of_words(table, n_words)
    share = f"{np.isfinite(maps[0].values).sum()} of {len(table)} voxels are confident"
    who = f"{responses.attrs['dataset']}, subject {responses['subject'].values[0]}: {share}"
    _draw(responses, maps, who, path)


class Map(NamedTuple):
    """Values of neuroids: numbers from 0 to `top`, or which of `names`."""

    title: str
    values: NDArray[np.floating]
    names: list[str] | None = None
    top: float = 1.0


def maps_of_zones(partition: xr.Dataset) -> list[Map]:
    """Map the zone of each neuroid where it is decided, and what each space explains alone."""
    names = partition["space_name"].values.astype(str).tolist()
    zone, unique = partition["zone"].values, partition["unique"].values[..., 0]
    known = unique[np.isfinite(unique)]
    top = max(float(np.quantile(known, 0.99)), 1e-3) if len(known) else 1.0
    shown = np.where(zone < 0, len(names), zone)
    shown = np.where(partition["largest"].values < 0, np.nan, shown)
    maps = [Map(f"zone (q < {partition.attrs['fdr_level']:g})", shown, [*names, UNDECIDED])]
    maps += [Map(f"R² of {name} alone", share, top=top) for name, share in zip(names, unique, strict=True)]
    return maps


def maps_of_words(table: pd.DataFrame, n_words: int = 7) -> list[Map]:
    """Map the topic of each confident voxel's words, how many are of each topic, and the first word.

    Parameters
    ----------
    table : DataFrame
        Of `decoders.voxels.caption_voxels`; other voxels are NaN.
    n_words : int
        Words with a colour of their own, those of most voxels.
    """
    topics = split_topics()
    listed = [str(w).split() if c else [] for w, c in zip(table["words"], table["confident"], strict=True)]
    known = np.array([bool(w) for w in listed])

    def masked(values: Sequence[float]) -> NDArray[np.floating]:
        return np.where(known, np.array(values, float), np.nan)

    # of the topics of its words that of the first one, which stands out most
    first = [next((k for w in mine for k, t in enumerate(topics.values()) if w in t), len(topics))
             for mine in listed]  # fmt: skip
    most = max(map(len, listed)) or 1
    maps = [Map("topic of its words", masked(first), [*topics, "none"])]
    maps += [
        Map(f"{name}: words of {most}", masked([sum(w in words for w in mine) for mine in listed]), top=most)
        for name, words in topics.items()
    ]
    count = Counter(mine[0] for mine in listed if mine)
    names = sorted(count, key=lambda w: (-count[w], w))[:n_words]
    place = {w: i for i, w in enumerate(names)}
    others = [*names, "another"] if len(count) > len(names) else names
    maps.append(
        Map("first word", masked([place.get(mine[0], len(names)) if mine else 0 for mine in listed]), others)
    )
    return maps


def _draw(responses: xr.Dataset, maps: list[Map], title: str, path: str | Path) -> None:
    """Draw a row of views for each map."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap
    from nilearn.datasets import load_fsaverage, load_fsaverage_data
    from nilearn.plotting import plot_surf_stat_map

    inflated = load_fsaverage(MESH)["inflated"].parts
    sulcal = load_fsaverage_data(mesh=MESH, data_type="sulcal").data.parts
    longest = max(len(name) for shown in maps for name in shown.names or [""])
    width = 9.5 + 0.09 * max(0, longest - 6)  # room for names beside the bar
    share = 9.5 / width
    fig, axes = style.figure(
        len(maps), 4, figsize=(width, 0.55 + 2.02 * len(maps)), subplot_kw={"projection": "3d"},
        layout="none", squeeze=False,
    )  # fmt: skip
    fig.subplots_adjust(
        left=0.0, right=0.86 * share, bottom=0.0, top=1 - 0.24 / len(maps), wspace=0, hspace=0.02
    )
    for n, shown in enumerate(maps):
        names = shown.names or []
        cmap, low, high = style.MAP, 0.0, shown.top
        if names:  # layers and fits have an order: where they are many, a sequence of shades
            few = len(names) <= len(style.COLOURS)
            shades = (
                style.COLOURS[: len(names)] if few else colormaps[style.MAP](np.linspace(0, 1, len(names)))
            )
            if names[-1] == UNDECIDED:
                shades = (*style.COLOURS[: len(names) - 1], style.NEUTRAL)
            cmap, low, high = ListedColormap(shades), -0.5, len(names) - 0.5
        for (side, view), ax in zip(VIEWS, axes[n], strict=True):
            part = {"L": "left", "R": "right"}[side]
            plot_surf_stat_map(
                inflated[part],
                on_surface(responses, shown.values.astype(np.float32), side)[: inflated[part].n_vertices],
                hemi=part, view=view, bg_map=sulcal[part], bg_on_data=False, cmap=cmap, vmin=low,
                vmax=high, axes=ax, figure=fig, colorbar=False, symmetric_cbar=False, alpha=1,
                avg_method="median" if names else "mean",  # a face between two names has one of them
            )  # fmt: skip
            ax.set_box_aspect(None, zoom=1.38)
            ax.set_title(f"{part}, {view}" if n == 0 else "", fontsize=8, y=1.0)
        box = axes[n, 3].get_position()
        bar = fig.add_axes((0.88 * share, box.y0 + 0.05, 0.015 * share, box.height - 0.1))
        colourbar = fig.colorbar(style.mappable(cmap, low, high), cax=bar)
        if names:
            colourbar.set_ticks(range(len(names)), labels=names)
        colourbar.set_label(shown.title, fontsize=8)
    fig.suptitle(f"{title}, {MESH}", fontsize=10)
    style.save(fig, path)
