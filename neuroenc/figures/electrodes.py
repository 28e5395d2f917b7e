"""Electrodes in a brain of glass: what each model predicts where."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.errors import InputError
from neuroenc.figures import style

FARTHEST = 130.0  # mm from the origin of MNI's space, beyond any brain
SMALL, LARGE = 10, 34  # of markers: nothing found, and significant


def draw_electrodes(scores: Mapping[tuple[str, str], xr.Dataset], path: str | Path) -> None:
    """Draw r of each electrode, of its best time bin, larger where it is significant: a row for each model.

    Parameters
    ----------
    scores : mapping of (subject, model) to Scores
        With places `x`, `y`, `z`: to the right, front and up, mm, taken to be MNI's.
    path : path

    Raises
    ------
    InputError
        No electrode has a place, or places are no millimetres of a brain.

    Notes
    -----
    A bin is chosen among m, so that significant means q < level of Scores, which holds over electrodes and
    bins together. Electrodes without a place are counted beneath.
    """
    from nilearn.plotting import plot_markers

    models = list(dict.fromkeys(model for _, model in scores))
    rows = [_row(scores, model) for model in models]
    top = max(float(np.nanmax(r, initial=0)) for _, r, _, _ in rows) or 1.0
    fig, axes = style.figure(
        len(models), 1, figsize=(9, 2.3 * len(models) + 0.3), squeeze=False, layout="none"
    )
    fig.subplots_adjust(
        left=0.02, right=0.9, bottom=0.04, top=1 - 0.6 / (2.3 * len(models) + 0.3), hspace=0.15
    )
    for ax, model, (places, r, significant, lacking) in zip(axes[:, 0], models, rows, strict=True):
        plot_markers(
            np.nan_to_num(r), places, node_size=np.where(significant, LARGE, SMALL), node_cmap=style.MAP,
            node_vmin=0, node_vmax=top, node_kwargs={"alpha": 0.9}, display_mode="lyrz", axes=ax, figure=fig,
            colorbar=False, annotate=ax is axes[0, 0],
        )  # fmt: skip
        told = f"{model}: {int(significant.sum())} of {len(r)} electrodes significant"
        ax.set_title(told + (f", {lacking} more without a place" if lacking else ""), fontsize=8)
        box = ax.get_position()
        bar = fig.add_axes((0.92, box.y0 + 0.1 * box.height, 0.012, 0.8 * box.height))
        fig.colorbar(style.mappable(style.MAP, 0, top), cax=bar).set_label("best r", fontsize=8)
    first = next(iter(scores.values()))
    fig.suptitle(f"{first.attrs['dataset']}, {len({s for s, _ in scores})} subjects", fontsize=10)
    style.save(fig, path)


def _row(
    scores: Mapping[tuple[str, str], xr.Dataset], model: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_], int]:
    """Places, best r and significance of the electrodes of all subjects, and how many lack a place."""
    found = [s for (_, name), s in scores.items() if name == model]
    if any(not {"x", "y", "z"} <= set(s.coords) for s in found):
        raise InputError(f"Scores of {model!r} have no places x, y, z. Electrodes with places can be drawn.")
    places = np.concatenate([np.stack([s[axis].values for axis in "xyz"], 1) for s in found]).astype(float)
    r = np.concatenate([_bins(s["score"].sel(metric="pearson_r").values) for s in found])
    q = np.concatenate([_bins(s["q"].values) for s in found])
    level = np.concatenate([np.full(s.sizes["neuroid"], s.attrs["fdr_level"]) for s in found])
    here = np.isfinite(places).all(1)
    if not here.any():
        raise InputError(f"No electrode of {model!r} has a place. Add x, y and z (mm) to the recordings.")
    far = np.abs(places[here]).max()
    if far > FARTHEST:
        raise InputError(
            f"An electrode of {model!r} lies {far:.0f} mm from the origin, expected at most {FARTHEST:.0f}: "
            "places are no millimetres of MNI's space. Transform them."
        )
    best = np.where(np.isfinite(r), r, -np.inf).max(1)
    significant = (np.nan_to_num(q, nan=1.0) < level[:, None]).any(1)
    return (
        places[here],
        np.where(np.isfinite(best), best, np.nan)[here],
        significant[here],
        int((~here).sum()),
    )


def _bins(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(values, np.float64).reshape(len(values), -1)
