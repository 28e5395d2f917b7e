"""Maps on the inflated surface: accuracy, ceiling, best layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from neuroenc.arrays import same_neuroids
from neuroenc.figures import style
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
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap
    from nilearn.datasets import load_fsaverage, load_fsaverage_data
    from nilearn.plotting import plot_surf_stat_map

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
    colours = ListedColormap(style.COLOURS[: len(names)])
    if len(names) > len(style.COLOURS):  # layers have an order: a sequence of shades
        colours = ListedColormap(colormaps[style.MAP](np.linspace(0, 1, len(names))))
    rows = (
        (f"test accuracy of {layered} (r)", r, style.MAP, 0.0, top),
        ("noise ceiling (r)", ceiling, style.MAP, 0.0, top),
        (f"best layer (q < {level:g})", best, colours, -0.5, len(names) - 0.5),
    )
    inflated = load_fsaverage(MESH)["inflated"].parts
    sulcal = load_fsaverage_data(mesh=MESH, data_type="sulcal").data.parts
    fig, axes = style.figure(3, 4, figsize=(9.5, 6.6), subplot_kw={"projection": "3d"}, layout="none")
    fig.subplots_adjust(left=0.0, right=0.86, bottom=0.0, top=0.92, wspace=0, hspace=0.02)
    for n, (title, values, cmap, low, high) in enumerate(rows):
        for (side, view), ax in zip(VIEWS, axes[n], strict=True):
            part = {"L": "left", "R": "right"}[side]
            plot_surf_stat_map(
                inflated[part],
                on_surface(responses, values.astype(np.float32), side)[: inflated[part].n_vertices],
                hemi=part, view=view, bg_map=sulcal[part], bg_on_data=False, cmap=cmap, vmin=low,
                vmax=high, axes=ax, figure=fig, colorbar=False, symmetric_cbar=False, alpha=1,
            )  # fmt: skip
            ax.set_box_aspect(None, zoom=1.38)
            ax.set_title(f"{part}, {view}" if n == 0 else "", fontsize=8, y=1.0)
        box = axes[n, 3].get_position()
        bar = fig.add_axes((0.88, box.y0 + 0.05, 0.015, box.height - 0.1))
        mappable = style.mappable(cmap, low, high)
        colourbar = fig.colorbar(mappable, cax=bar)
        if n == 2:
            colourbar.set_ticks(range(len(names)), labels=[x.split(".")[-1] for x in names])
        colourbar.set_label(title, fontsize=8)
    first = next(iter(scores.values()))
    fig.suptitle(f"{first.attrs['dataset']}, subject {first['subject'].values[0]}, {MESH}", fontsize=10)
    style.save(fig, path)
